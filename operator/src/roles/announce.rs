//! Elections that agents began, as events of their pods. Agents have no access to the API server; what they began is in
//! their views.
//!
//! Every replica writes the same event under the same name, so there is one of it. Nothing waits for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::{Campaign, MemberView, Outcome};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::facts::PodKey;
use super::timing;

/// Events that wait for the API server; what does not fit is in the agent's log and figures.
const WAITING: usize = 64;
/// Events of one pod follow each other no faster, whatever its agent says.
const PACE: Duration = Duration::from_secs(5);

/// An election, and whose.
#[derive(Clone, Debug)]
struct Told {
    pod: PodKey,
    uid: String,
    incarnation: u64,
    campaign: Campaign,
}

/// Writes events.
#[derive(Clone, Debug)]
pub(super) struct Elections(mpsc::Sender<Told>);

impl Elections {
    /// Starts the writer, which ends with the last handle.
    pub(super) fn start(client: Client, identity: &str) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Told>(WAITING);
        let identity = identity.to_owned();
        tokio::spawn(async move {
            while let Some(told) = receiver.recv().await {
                info!(pod = %told.pod.name, term = told.campaign.term, "{}", note(&told.campaign));
                let events: Api<Event> = Api::namespaced(client.clone(), &told.pod.namespace);
                let event = event(&told, &identity, Timestamp::now());
                let params = PostParams::default();
                match timeout(timing::API_CALL, events.create(&params, &event)).await {
                    Ok(Ok(_)) => {}
                    // Another replica was sooner.
                    Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                    Ok(Err(error)) => debug!(%error, "failed to write the event of an election"),
                    Err(_) => debug!("gave up the event of an election: no answer"),
                }
            }
        });
        Self(sender)
    }

    /// The part for one pod.
    pub(super) fn of(&self, pod: &PodKey, uid: &str) -> Announcer {
        Announcer {
            elections: self.clone(),
            pod: pod.clone(),
            uid: uid.to_owned(),
            news: News::default(),
        }
    }
}

/// Finds what is new in the views of one pod.
#[derive(Debug)]
pub(super) struct Announcer {
    elections: Elections,
    pod: PodKey,
    uid: String,
    news: News,
}

impl Announcer {
    pub(super) fn take(&mut self, view: &MemberView) {
        if let Some(campaign) = self.news.of(view, Instant::now()) {
            // Full only when the API server does not answer.
            let _lost = self.elections.0.try_send(Told {
                pod: self.pod.clone(),
                uid: self.uid.clone(),
                incarnation: view.agent_incarnation,
                campaign,
            });
        }
    }
}

/// What was reported of one agent.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// The agent's incarnation and the term of its newest campaign.
    newest: Option<(u64, u64)>,
    at: Option<Instant>,
}

impl News {
    /// A campaign that is new. What an agent has in its first view is not, unless it is a new agent.
    fn of(&mut self, view: &MemberView, now: Instant) -> Option<Campaign> {
        let incarnation = view.agent_incarnation;
        let term = view.campaign.map_or(0, |campaign| campaign.term);
        let before = self.newest;
        if before.is_some_and(|(known, newest)| known == incarnation && newest >= term) {
            return None;
        }
        let soon = self
            .at
            .is_some_and(|at| now.saturating_duration_since(at) < PACE);
        self.newest = Some((incarnation, term));
        let told = view.campaign.filter(|_| before.is_some() && !soon);
        if told.is_some() {
            self.at = Some(now);
        }
        told
    }
}

fn note(campaign: &Campaign) -> String {
    let Campaign {
        term,
        leader,
        after_ms,
        ..
    } = campaign;
    let why = if campaign.suspected {
        "has been silent for too long"
    } else {
        "has died"
    };
    let what = match campaign.outcome {
        Outcome::Won => format!("and leads since {after_ms} ms after that was known"),
        Outcome::Late => {
            "and does not lead: another was sooner, or Raft's own timeout decided".to_owned()
        }
        Outcome::Needless => {
            "and leads, which there was no need for: the old leader is there. See docs/failover.md"
                .to_owned()
        }
    };
    format!("the leader {leader} {why}: this member campaigned from term {term} {what}")
}

fn event(told: &Told, identity: &str, now: Timestamp) -> Event {
    let (pod, campaign) = (&told.pod, &told.campaign);
    let kind = match campaign.outcome {
        Outcome::Needless => "Warning",
        Outcome::Won | Outcome::Late => "Normal",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}.{:x}.{:x}",
                pod.name, told.incarnation, campaign.term
            )),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        reason: Some("FastElection".to_owned()),
        action: Some("Campaign".to_owned()),
        note: Some(note(campaign)),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some("etcd-operator".to_owned()),
        reporting_instance: Some(identity.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(told.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::Id;

    use serde_json::{Value, json};

    use super::super::test_support::running;
    use super::*;
    use crate::fake_api::{NEVER, server};

    fn campaign(term: u64) -> Campaign {
        Campaign {
            term,
            leader: Id(0xa1),
            suspected: false,
            outcome: Outcome::Won,
            after_ms: 31,
        }
    }

    fn view(incarnation: u64, campaign: Option<Campaign>) -> MemberView {
        MemberView {
            agent_incarnation: incarnation,
            campaign,
            ..running("a-0", "u0", 1, Some("a-0"), 3)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_not_answered_holds_no_other_up() {
        let (context, asked) = server(|line| match line.contains("namespaces/first/") {
            true => (NEVER, Value::Null),
            false => (201, json!({ "metadata": {} })),
        });
        let elections = Elections::start(context.client.clone(), "operator-1");
        for namespace in ["first", "second"] {
            let key = PodKey {
                namespace: namespace.into(),
                name: "a-0".into(),
            };
            let mut announcer = elections.of(&key, "u0");
            announcer.take(&view(1, None));
            announcer.take(&view(1, Some(campaign(7))));
        }
        tokio::time::sleep(timing::API_CALL * 2).await;
        let asked = asked.lock().expect("no panic");
        let paths: Vec<bool> = asked
            .iter()
            .map(|(line, _)| line.contains("namespaces/second/"))
            .collect();
        assert_eq!(paths, [false, true]);
    }

    #[test]
    fn an_election_is_told_once_and_an_old_one_never() {
        let (mut news, now) = (News::default(), Instant::now());
        let old = view(1, Some(campaign(3)));
        assert_eq!(news.of(&old, now), None, "from before this operator");
        assert_eq!(news.of(&old, now), None);
        let new = view(1, Some(campaign(7)));
        assert_eq!(news.of(&new, now), Some(campaign(7)));
        assert_eq!(news.of(&new, now), None, "repeated each second");
        assert_eq!(news.of(&old, now), None, "out of order");
        let restarted = view(2, None);
        assert_eq!(news.of(&restarted, now + PACE), None);
        let again = view(2, Some(campaign(7)));
        assert_eq!(news.of(&again, now + PACE), Some(campaign(7)));
    }

    #[test]
    fn an_agent_that_invents_elections_fills_nothing() {
        let (mut news, now) = (News::default(), Instant::now());
        assert_eq!(news.of(&view(1, None), now), None);
        let told = (1..=1000).filter(|term| {
            let view = view(term / 10, Some(campaign(*term)));
            news.of(&view, now).is_some()
        });
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn all_replicas_write_one_event_about_the_pod() {
        let told = Told {
            pod: PodKey {
                namespace: "demo".into(),
                name: "a-0".into(),
            },
            uid: "u0".into(),
            incarnation: 0xbeef,
            campaign: campaign(0x10),
        };
        let [one, two] =
            ["operator-1", "operator-2"].map(|it| event(&told, it, Timestamp::UNIX_EPOCH));
        assert_eq!(one.metadata.name.as_deref(), Some("a-0.beef.10"));
        assert_eq!(one.metadata.name, two.metadata.name);
        let about = one.regarding.expect("an object");
        assert_eq!(
            (about.kind.as_deref(), about.uid.as_deref()),
            (Some("Pod"), Some("u0"))
        );
        assert_eq!(
            one.note.as_deref(),
            Some(
                "the leader a1 has died: this member campaigned from term 16 and leads since 31 ms after that was known"
            )
        );
        let mut needless = told;
        needless.campaign.outcome = Outcome::Needless;
        let event = event(&needless, "operator-1", Timestamp::UNIX_EPOCH);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }
}
