//! Asks the agents of the other members what they know of theirs, again and again while clients are held. Connections
//! are kept, and a question that is late is not asked twice: with TLS each connection takes a handshake, which costs
//! processor time just when a cluster elects its leader.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::StatusCode;
use kbagent_protocol::{MemberView, PATH_MEMBER};
use tokio::time::timeout;

use super::others::Others;
use crate::config::Config;
use crate::http::Session;
use crate::tls::Tls;

/// Deadline of a question.
pub(super) const ANSWER: Duration = Duration::from_millis(300);

/// What came of one question, and the connection if it can be used again.
struct Answer {
    pod: String,
    agent: SocketAddr,
    said: Option<(MemberView, Session)>,
}

/// The agents that are asked.
#[derive(Default)]
pub(super) struct Agents {
    kept: BTreeMap<String, (SocketAddr, Session)>,
    asked: BTreeSet<String>,
    questions: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Agents {
    /// Asks each agent that is not being asked already.
    pub(super) fn ask(&mut self, config: &Config, others: &Others) {
        for (pod, agent) in &others.agents {
            if !self.asked.insert(pod.clone()) {
                continue;
            }
            let kept = self.kept.remove(pod).filter(|(at, _)| at == agent);
            let session = kept.map(|(_, session)| session);
            let (pod, agent, tls) = (pod.clone(), *agent, config.agents_tls(pod));
            self.questions.push(Box::pin(async move {
                let said = timeout(ANSWER, view(agent, &tls, session)).await;
                let said = said.ok().flatten();
                Answer { pod, agent, said }
            }));
        }
    }

    /// The next answer, and whose it is; `None` when all have answered.
    pub(super) async fn next(&mut self) -> Option<(String, Option<MemberView>)> {
        let Answer { pod, agent, said } = self.questions.next().await?;
        self.asked.remove(&pod);
        let view = said.map(|(view, session)| {
            self.kept.insert(pod.clone(), (agent, session));
            view
        });
        Some((pod, view))
    }
}

/// What another agent knows of its member.
async fn view(
    agent: SocketAddr,
    tls: &Tls,
    session: Option<Session>,
) -> Option<(MemberView, Session)> {
    let address = agent.to_string();
    let mut session = match session {
        Some(session) => session,
        None => Session::open(&address, tls).await.ok()?,
    };
    match session.get(&address, PATH_MEMBER).await {
        Ok((StatusCode::OK, body)) => Some((serde_json::from_slice(&body).ok()?, session)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kbagent_protocol::Authorization;
    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::FILES;
    use crate::watch::Knowledge;

    /// As a component with TLS is shipped, with one certificate for all.
    fn config(directory: &Path) -> Config {
        let text = directory.display().to_string();
        let config = Config::from_lookup(&|name| match name {
            "KB_TLS_DIR" => Some(text.clone()),
            Authorization::VARIABLE => Some("signed".to_owned()),
            "POD_NAME" | "POD_UID" | "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => {
                Some("x".to_owned())
            }
            _ => None,
        });
        let config = config.expect("config");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([config.host_of("p1")]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        for (name, text) in FILES
            .iter()
            .zip([made.pem(), made.pem(), key.serialize_pem()])
        {
            fs::write(directory.join(name), text).expect("write");
        }
        config
    }

    /// An agent that speaks TLS alone; the connections that it accepted.
    async fn serve(listener: TcpListener, tls: Tls, accepted: Arc<AtomicUsize>) {
        let now = std::time::Instant::now();
        let view = Knowledge::new("p1".to_owned(), String::new(), 1, now).at(now);
        let view = serde_json::to_string(&view).expect("a view");
        let length = view.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{view}");
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, accepted, answer) = (tls.clone(), Arc::clone(&accepted), answer.clone());
            tokio::spawn(async move {
                let Ok((mut stream, _)) = tls.accept(stream).await else {
                    return;
                };
                accepted.fetch_add(1, Ordering::Relaxed);
                let mut heard = Vec::new();
                while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
                    if heard.ends_with(b"\r\n\r\n") {
                        heard.clear();
                        stream.write_all(answer.as_bytes()).await.expect("answers");
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn agents_are_asked_by_tls_and_on_one_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config(directory.path());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let agent = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, config.tls.clone(), Arc::clone(&accepted)));
        let others = Others {
            voters: 2,
            agents: BTreeMap::from([("p1".to_owned(), agent)]),
        };
        // A machine that stands still has an answer come too late: it is asked again then, on another connection.
        for _ in 0..20 {
            let before = accepted.load(Ordering::Relaxed);
            if three_answers(&config, &others).await {
                assert_eq!(accepted.load(Ordering::Relaxed) - before, 1);
                return;
            }
        }
        panic!("no answer in time");
    }

    /// Asks three times; false where an answer was late.
    async fn three_answers(config: &Config, others: &Others) -> bool {
        let mut agents = Agents::default();
        for _ in 0..3 {
            agents.ask(config, others);
            // It is asked already.
            agents.ask(config, others);
            let (pod, view) = agents.next().await.expect("an answer");
            assert_eq!(pod, "p1");
            let Some(view) = view else {
                return false;
            };
            assert_eq!(view.instance, "p1");
            assert!(agents.next().await.is_none());
        }
        true
    }
}
