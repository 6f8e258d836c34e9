//! A user of etcd: logs in with name and password, and shows the token that it got with every request.
//!
//! A member that was restarted knows no token from before, and a changed password takes all away. etcd refuses a
//! request with such a token before it proposes anything, so that a new log-in and the same request again repeat
//! nothing; etcd's own client does so too.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use etcd_client::{Channel, Client};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{
    body::Body,
    codegen::{Context, Poll, Service, http},
    transport,
};
use tower::{BoxError, util::BoxCloneSyncService};

use crate::schedule::pause;

/// The call by which a token is got; it is sent without one.
const LOG_IN: &str = "/etcdserverpb.Auth/Authenticate";
/// Where etcd looks for a token.
const TOKEN: &str = "token";
/// gRPC's number of "unauthenticated".
const UNAUTHENTICATED: &str = "16";
/// Longest wait for an answer: a password costs etcd some processor time, and a quorum.
pub(crate) const ANSWER: Duration = Duration::from_secs(1);
/// A member that is behind does not know a token yet that is younger than this: no reason to get another one.
const YOUNG: Duration = Duration::from_millis(300);
/// Spacing of looks for a token that another task gets.
const LOOK: Duration = Duration::from_millis(10);

/// Why there is no token. Never the password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to log in as {user}: {why}")]
    Refused { user: String, why: String },
    #[error("failed to log in: no answer in {} ms", ANSWER.as_millis())]
    Silent,
}

#[derive(Clone)]
struct Token {
    value: http::HeaderValue,
    since: Instant,
}

/// A user, and its token.
pub(crate) struct Login {
    folder: PathBuf,
    token: watch::Sender<Option<Token>>,
    /// Held by who gets a token.
    busy: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.folder.display())
    }
}

impl Login {
    /// The user of the files `username` and `password` of this folder.
    pub(crate) fn of(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.to_owned(),
            token: watch::Sender::new(None),
            busy: Arc::default(),
        })
    }

    /// Waits until there is a token, got over this connection unless another one is already at it.
    pub(crate) async fn ready(
        self: &Arc<Self>,
        channel: &transport::Channel,
    ) -> Result<(), LoginError> {
        loop {
            if self.token.borrow().is_some() {
                return Ok(());
            }
            match self.renew(channel) {
                Some(task) => match task.await {
                    Ok(ended) => return ended,
                    Err(_) => return Err(LoginError::Silent),
                },
                None => pause(LOOK).await,
            }
        }
    }

    /// The token is of no use, whatever said so: the next connection gets another one.
    pub(crate) fn forget(&self) {
        self.token.send_if_modified(|token| match token {
            Some(known) if known.since.elapsed() >= YOUNG => {
                *token = None;
                true
            }
            _ => false,
        });
    }

    /// Gets another token in place of one that etcd does not know.
    fn replace(self: &Arc<Self>, channel: &transport::Channel) {
        self.forget();
        if self.token.borrow().is_none() {
            // The next request waits for it.
            drop(self.renew(channel));
        }
    }

    /// The body of an answer, whose end may say that etcd does not know the token: with TLS etcd's answers say nothing
    /// of it in their headers.
    fn watched(self: Arc<Self>, body: Body, channel: transport::Channel) -> Body {
        Body::new(body.map_frame(move |frame| {
            if frame.trailers_ref().is_some_and(refused) {
                self.replace(&channel);
            }
            frame
        }))
    }

    /// Gets a token, also when the caller does not wait for it; nothing when another task is at it.
    fn renew(
        self: &Arc<Self>,
        channel: &transport::Channel,
    ) -> Option<JoinHandle<Result<(), LoginError>>> {
        let held = Arc::clone(&self.busy).try_lock_owned().ok()?;
        let (login, channel) = (Arc::clone(self), channel.clone());
        Some(tokio::spawn(async move {
            let _held = held;
            let got = timeout(ANSWER, login.ask(channel)).await;
            let value = got.map_err(|_| LoginError::Silent)??;
            let since = Instant::now();
            login.token.send_replace(Some(Token { value, since }));
            Ok(())
        }))
    }

    async fn ask(&self, channel: transport::Channel) -> Result<http::HeaderValue, LoginError> {
        let (user, password) = (self.read("username")?, self.read("password")?);
        let refused = |why: String| LoginError::Refused {
            user: user.clone(),
            why,
        };
        let client = Client::from_channel(Channel::Tonic(channel), None).await;
        let mut auth = client
            .map_err(|error| refused(error.to_string()))?
            .auth_client();
        let answer = auth.authenticate(user.clone(), password).await;
        let answer = answer.map_err(|error| refused(error.to_string()))?;
        let mut value: http::HeaderValue = answer
            .token()
            .parse()
            .map_err(|_| refused("its token is no header".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn read(&self, name: &str) -> Result<String, LoginError> {
        let path = self.folder.join(name);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| LoginError::Read { path, source })?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// The connection, as this user.
    pub(crate) fn over(self: &Arc<Self>, channel: transport::Channel) -> Channel {
        let login = Arc::clone(self);
        Channel::Custom(BoxCloneSyncService::new(Shown { channel, login }))
    }
}

/// Shows the token, and gets another one when etcd does not know it.
#[derive(Clone)]
struct Shown {
    channel: transport::Channel,
    login: Arc<Login>,
}

type Answer = Result<http::Response<Body>, BoxError>;

impl Service<http::Request<Body>> for Shown {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let other = self.channel.clone();
        // The one that has said that it is ready.
        let mut channel = std::mem::replace(&mut self.channel, other.clone());
        let login = Arc::clone(&self.login);
        Box::pin(async move {
            if request.uri().path() == LOG_IN {
                return Ok(channel.call(request).await?);
            }
            // Where the log-in fails, this request goes without a token and is refused; the next one tries again.
            let _ = login.ready(&other).await;
            if let Some(token) = login.token.borrow().clone() {
                request.headers_mut().insert(TOKEN, token.value);
            }
            let response = channel.call(request).await?;
            if refused(response.headers()) {
                login.replace(&other);
            }
            Ok(response.map(|body| login.watched(body, other)))
        })
    }
}

/// True when headers or trailers say that etcd does not know the token of a request.
fn refused(headers: &http::HeaderMap) -> bool {
    headers
        .get("grpc-status")
        .is_some_and(|status| status == UNAUTHENTICATED)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tonic::codegen::Bytes;

    use super::*;

    #[test]
    fn no_text_about_a_user_holds_its_password() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("password"), "hunter2").expect("written");
        let login = Login::of(folder.path());
        assert!(!format!("{login:?}").contains("hunter2"));
        let error = login.read("username").expect_err("there is none");
        assert!(error.to_string().contains("username"), "{error}");
        assert_eq!(login.read("password").expect("a text"), "hunter2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_a_member_does_not_know_yet_is_kept() {
        let login = Login::of(Path::new("/nowhere"));
        let value = http::HeaderValue::from_static("a.1");
        let since = Instant::now();
        login.token.send_replace(Some(Token { value, since }));
        login.forget();
        assert!(login.token.borrow().is_some());
        tokio::time::advance(YOUNG).await;
        login.forget();
        assert!(login.token.borrow().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_only_the_end_of_an_answer_refuses_is_replaced() {
        let login = Login::of(Path::new("/nowhere"));
        let value = http::HeaderValue::from_static("a.1");
        let since = Instant::now();
        login.token.send_replace(Some(Token { value, since }));
        tokio::time::advance(YOUNG).await;
        let channel = transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        for (status, kept) in [("0", true), (UNAUTHENTICATED, false)] {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            let answer =
                Full::<Bytes>::default().with_trailers(std::future::ready(Some(Ok(trailers))));
            let body = Arc::clone(&login).watched(Body::new(answer), channel.clone());
            let read = body.collect().await.expect("a body");
            assert!(read.trailers().is_some(), "trailers are passed on");
            assert_eq!(login.token.borrow().is_some(), kept, "status {status}");
        }
    }
}
