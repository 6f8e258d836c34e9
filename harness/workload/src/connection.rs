//! One TCP connection to etcd: connected first, sent on afterwards, never silently replaced.
//!
//! A gRPC channel reconnects on its own; here it must not, because then it could not be known whether a request had
//! left. The channel is given one stream, and a second demand for one is an error by which an unsent request is
//! recognised.

use std::{
    future::{Ready, ready},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use etcd_client::{Channel, Client, ConnectOptions};
use etcd_history::Outcome;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, interval},
};
use tonic::{
    codegen::{
        Context, Poll, Service,
        http::{Uri, uri::InvalidUri},
    },
    transport::Endpoint,
};

use crate::{
    classify::BeforeSend,
    login,
    reach::{Reach, Wire},
};

/// A dial is given up after this, since the service may have moved in between.
pub(crate) const DIAL: Duration = Duration::from_millis(150);

/// The same where it is better to have one late than to dial again.
const PATIENT: Duration = Duration::from_secs(5);

/// A connection that went quiet is found dead after these two together. etcd's server takes pings of a
/// connection with traffic as often as wanted, and of an idle one every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_ANSWER: Duration = Duration::from_secs(2);

/// A SYN to a service without endpoints often gets no answer, since the kernel sends few refusals a second, and its own
/// next one comes a second later.
const AGAIN: Duration = Duration::from_millis(50);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct DialError {
    kind: BeforeSend,
    message: String,
}

impl DialError {
    fn new(kind: BeforeSend, error: &impl ToString) -> Self {
        Self {
            kind,
            message: error.to_string(),
        }
    }

    /// As the outcome of an operation that wanted the connection.
    pub(crate) fn outcome(self) -> Outcome {
        self.kind.meaning().outcome(self.message)
    }
}

/// The request met a connection that was closed: it was not sent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection was closed before the request was sent")]
pub(crate) struct Closed;

/// Opens a connection of its own.
pub(crate) async fn dial(reach: &Reach, name: &str, until: Instant) -> Result<Client, DialError> {
    match tokio::time::timeout_at(until, connect(reach, name)).await {
        Ok(result) => result,
        Err(elapsed) => Err(DialError::new(BeforeSend::Timeout, &elapsed)),
    }
}

/// Connects with a fresh SYN every [`AGAIN`]; whatever is answered first counts.
async fn stream(address: SocketAddr) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut again = interval(AGAIN);
    loop {
        tokio::select! {
            _ = again.tick() => {
                attempts.spawn(TcpStream::connect(address));
            }
            Some(ended) = attempts.join_next() => return ended.unwrap_or_else(|error| Err(io::Error::other(error))),
        }
    }
}

async fn connect(reach: &Reach, name: &str) -> Result<Client, DialError> {
    let address = reach
        .names
        .address(name)
        .await
        .map_err(|e| DialError::new(BeforeSend::Name, &e))?;
    let stream = stream(address)
        .await
        .map_err(|error| DialError::new(BeforeSend::of_io(&error), &error))?;
    stream
        .set_nodelay(true)
        .map_err(|e| DialError::new(BeforeSend::Other, &e))?;
    let wire = reach.wire(name, stream).await;
    let wire = wire.map_err(|error| DialError::new(BeforeSend::Handshake, &error))?;
    let handshake = |error: &dyn std::error::Error| {
        DialError::new(
            BeforeSend::Handshake,
            &format!("{error}: {:?}", error.source()),
        )
    };
    let origin: Uri = url(reach.scheme(), name)
        .parse()
        .map_err(|error: InvalidUri| handshake(&error))?;
    // TLS is spoken already: tonic refuses to connect to an https URI by a connector, where its own TLS is built in.
    let channel = Endpoint::from_shared(url("http", name))
        .map_err(|error| handshake(&error))?
        .origin(origin)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true)
        .connect_with_connector(OneStream(Some(TokioIo::new(wire))))
        .await
        .map_err(|error| handshake(&error))?;
    let channel = match &reach.login {
        Some(login) => {
            let logged_in = login.ready(&channel).await;
            logged_in.map_err(|error| DialError::new(BeforeSend::LogIn, &error))?;
            login.over(channel)
        }
        None => Channel::Tonic(channel),
    };
    Client::from_channel(channel, Some(ConnectOptions::new()))
        .await
        .map_err(|error| handshake(&error))
}

/// Of `host:port`, whose name may end with the root's dot. The connector ignores it, requests carry it.
fn url(scheme: &str, name: &str) -> String {
    format!("{scheme}://{}", name.replace(".:", ":"))
}

/// A connector with one connection to give.
struct OneStream(Option<TokioIo<Box<dyn Wire>>>);

impl Service<Uri> for OneStream {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = Closed;
    type Future = Ready<Result<Self::Response, Closed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or(Closed))
    }
}

/// A connection that is kept and shared, and dialled again only when it has been given up.
pub(crate) struct Held {
    reach: Arc<Reach>,
    name: String,
    /// True when an operation that runs into its deadline condemns the connection.
    pub(crate) redials_on_deadline: bool,
    current: Mutex<(u64, Option<Client>)>,
}

impl Held {
    /// A connection to `host:port` that is not yet dialled.
    pub(crate) fn new(reach: Arc<Reach>, name: &str) -> Self {
        let name = name.to_owned();
        Self {
            reach,
            name,
            redials_on_deadline: true,
            current: Mutex::new((0, None)),
        }
    }

    /// The connection, dialled when there is none; the number is for [`Held::give_up`].
    pub(crate) async fn get(&self, deadline: Instant) -> Result<(u64, Client), DialError> {
        self.take(deadline.min(Instant::now() + DIAL), deadline)
            .await
    }

    /// The same, for the end of a run, when nothing moves any more: a slow machine takes its time.
    pub(crate) async fn get_patiently(
        &self,
        deadline: Instant,
    ) -> Result<(u64, Client), DialError> {
        self.take(deadline.min(Instant::now() + PATIENT), deadline)
            .await
    }

    /// The same, for who must have an answer of this very member: a log-in may take its time, too.
    pub(crate) async fn get_logged_in(&self) -> Result<(u64, Client), DialError> {
        let deadline = Instant::now() + DIAL + self.log_in();
        self.take(deadline, deadline).await
    }

    async fn take(&self, dialled: Instant, deadline: Instant) -> Result<(u64, Client), DialError> {
        let locked = tokio::time::timeout_at(deadline, self.current.lock()).await;
        let mut current =
            locked.map_err(|elapsed| DialError::new(BeforeSend::Timeout, &elapsed))?;
        if let (number, Some(client)) = &*current {
            return Ok((*number, client.clone()));
        }
        let client = dial(&self.reach, &self.name, dialled).await?;
        current.0 += 1;
        current.1 = Some(client.clone());
        Ok((current.0, client))
    }

    /// How long a log-in may take before there is a connection: none where it has no user.
    fn log_in(&self) -> Duration {
        match self.reach.login {
            Some(_) => login::ANSWER,
            None => Duration::ZERO,
        }
    }

    /// Drops a connection, unless it has been replaced already.
    pub(crate) async fn give_up(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.0 == number {
            current.1 = None;
        }
    }
}
