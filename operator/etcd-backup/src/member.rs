//! Asks one named member of etcd. Every call has a deadline.

use std::path::Path;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, CompactionOptions, ConnectOptions, GetOptions, Identity,
    SnapshotStreaming, TlsOptions, UserAddOptions,
};
use tokio::time::{sleep, timeout};

use crate::error::Error;

/// Longest time to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Deadline of a short call.
pub(crate) const SHORT: Duration = Duration::from_secs(10);
/// Deadline of a read whose answer is of no use when it comes late.
const HEAD: Duration = Duration::from_secs(5);
/// Deadline of a hash over all keys: it reads the whole database.
const HASH: Duration = Duration::from_secs(300);
/// Deadline of a compaction: it goes through the whole database, a thousand keys at a time, with pauses.
const COMPACTION: Duration = Duration::from_secs(3600);
/// How often a hash is asked for where the connection is lost: it was idle while a copy was restored, and what closed
/// it meanwhile (the member's agent at a change of leaders, a firewall) shows at its next use. It is only a read.
const HASH_ASKED: u32 = 3;
/// Time before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest silence within a stream.
const SILENCE: Duration = Duration::from_secs(60);

/// etcd's administrator, and the role with all rights.
const ROOT: &str = "root";
/// What etcd says to who logs in without authentication, and with a password that is wrong.
const OFF: &str = "authentication is not enabled";
const REFUSED: &str = "authentication failed";

/// A member.
#[derive(Clone)]
pub struct Member {
    client: Client,
    endpoint: String,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Identifier of the cluster.
    pub cluster: u64,
    /// Identifier of the member.
    pub member: u64,
    /// Revision of its key space.
    pub revision: i64,
    /// True when it follows, or is, a leader.
    pub led: bool,
    /// True for a member without a vote.
    pub learner: bool,
    /// Its version.
    pub version: String,
    /// Bytes of its database.
    pub database: u64,
}

/// A hash of a key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The hash.
    pub hash: u32,
    /// The revision that the member was compacted at: hashes of different ones differ.
    pub compacted: i64,
}

impl Member {
    /// The member at `endpoint` (`http://host:port`) and no other: requests are never balanced.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::connect_with(endpoint, None, ConnectOptions::new()).await
    }

    /// As `connect`, with the certificates in a folder: `ca.crt`, `tls.crt` and `tls.key`, read now.
    ///
    /// # Errors
    /// When they cannot be read, or it does not answer.
    pub async fn connect_by(endpoint: &str, tls: Option<&Path>) -> Result<Self, Error> {
        Self::connect_with(endpoint, tls, ConnectOptions::new()).await
    }

    /// As `connect_by`; calls fail, and watches end, while the member has no leader: it may be cut off.
    ///
    /// # Errors
    /// When they cannot be read, or it does not answer.
    pub async fn connect_led(endpoint: &str, tls: Option<&Path>) -> Result<Self, Error> {
        let options = ConnectOptions::new().with_require_leader(true);
        Self::connect_with(endpoint, tls, options).await
    }

    async fn connect_with(
        endpoint: &str,
        tls: Option<&Path>,
        mut options: ConnectOptions,
    ) -> Result<Self, Error> {
        if let Some(folder) = tls {
            options = options.with_tls(certificates(folder)?);
        }
        let options = options
            .with_connect_timeout(CONNECT)
            .with_tcp_keepalive(SHORT);
        let client = timeout(CONNECT, Client::connect([endpoint], Some(options)));
        let client = answer("connect", endpoint, client.await)?;
        Ok(Member {
            client,
            endpoint: endpoint.to_owned(),
        })
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Its address.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let mut client = self.client.clone();
        let status = timeout(SHORT, client.status()).await;
        let status = answer("read the status", &self.endpoint, status)?;
        let header = status.header();
        Ok(Status {
            cluster: header.map(|header| header.cluster_id()).unwrap_or_default(),
            member: header.map(|header| header.member_id()).unwrap_or_default(),
            revision: header.map(|header| header.revision()).unwrap_or_default(),
            led: status.leader() != 0,
            learner: status.is_learner(),
            version: status.version().to_owned(),
            database: u64::try_from(status.db_size()).unwrap_or_default(),
        })
    }

    /// The cluster's revision, by a read that the majority has agreed to; a member that does not proceed does not
    /// answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn head(&self) -> Result<i64, Error> {
        let mut client = self.client.clone();
        // Of any key: only the answer's header is of interest.
        let options = GetOptions::new().with_keys_only().with_limit(1);
        let read = timeout(HEAD, client.get([0_u8], Some(options))).await;
        let read = answer("read the cluster's revision", &self.endpoint, read)?;
        let header = read.header().ok_or_else(|| Error::Member {
            what: "read the cluster's revision",
            endpoint: self.endpoint.clone(),
            message: "its answer has no header".to_owned(),
        })?;
        Ok(header.revision())
    }

    /// Begins a snapshot.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn snapshot(&self) -> Result<Stream, Error> {
        let mut client = self.client.clone();
        let stream = timeout(SILENCE, client.snapshot()).await;
        Ok(Stream {
            stream: answer("begin the snapshot", &self.endpoint, stream)?,
            endpoint: self.endpoint.clone(),
        })
    }

    /// The hash of all keys up to a revision.
    ///
    /// # Errors
    /// When it does not answer, or has no such revision.
    pub async fn hash(&self, revision: i64) -> Result<Hash, Error> {
        let mut client = self.client.clone();
        let mut asked = 1;
        let hash = loop {
            match timeout(HASH, client.hash_kv(revision)).await {
                Ok(Err(error)) if asked < HASH_ASKED && is_lost(&error) => {
                    asked += 1;
                    sleep(AGAIN).await;
                }
                hash => break hash,
            }
        };
        let hash = answer("hash the key space", &self.endpoint, hash)?;
        Ok(Hash {
            hash: hash.hash(),
            compacted: hash.compact_version(),
        })
    }

    /// Forgets all revisions before `revision` and waits until it is done.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let mut client = self.client.clone();
        let options = CompactionOptions::new().with_physical();
        let done = timeout(COMPACTION, client.compact(revision, Some(options))).await;
        answer("compact", &self.endpoint, done).map(|_| ())
    }
}

impl Member {
    /// Whether etcd's authentication is on. etcd says so to who logs in, whatever the password.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn authenticates(&self) -> Result<bool, Error> {
        let mut client = self.client.auth_client();
        match timeout(SHORT, client.authenticate(ROOT.to_owned(), "-".to_owned())).await {
            Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.message().contains(OFF) => {
                Ok(false)
            }
            Ok(Err(etcd_client::Error::GRpcStatus(status)))
                if status.message().contains(REFUSED) =>
            {
                Ok(true)
            }
            other => answer("ask for authentication", &self.endpoint, other).map(|_logged_in| true),
        }
    }

    /// Makes a user an administrator that is known by its certificate; whether anything was to be done.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn admit(&self, user: &str) -> Result<bool, Error> {
        let mut client = self.client.clone();
        let users = timeout(SHORT, client.user_list()).await;
        let users = answer("list the users", &self.endpoint, users)?;
        let there = users.users().iter().any(|known| known == user);
        if there {
            let of = timeout(SHORT, client.user_get(user)).await;
            let of = answer("read a user", &self.endpoint, of)?;
            if of.roles().iter().any(|role| role == ROOT) {
                return Ok(false);
            }
        } else {
            let options = UserAddOptions::new().with_no_pwd();
            let added = timeout(SHORT, client.user_add(user, "", Some(options))).await;
            answer("make a user", &self.endpoint, added)?;
        }
        let given = timeout(SHORT, client.user_grant_role(user, ROOT)).await;
        answer("make a user an administrator", &self.endpoint, given).map(|_| true)
    }
}

/// A snapshot that arrives.
pub struct Stream {
    stream: SnapshotStreaming,
    endpoint: String,
}

/// A piece of a snapshot.
#[derive(Debug)]
pub struct Piece {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Bytes that are still to come.
    pub remaining: u64,
}

impl Stream {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks or stays silent.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        let piece = timeout(SILENCE, self.stream.message()).await;
        let piece = answer("read the snapshot", &self.endpoint, piece)?;
        Ok(piece.map(|piece| Piece {
            bytes: piece.blob().to_vec(),
            remaining: piece.remaining_bytes(),
        }))
    }
}

fn certificates(folder: &Path) -> Result<TlsOptions, Error> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| Error::Settings(format!(
            "{} cannot be read ({source}): the Secret with the cluster's client certificate needs ca.crt, tls.crt and tls.key",
            path.display()
        )))
    };
    let ca = Certificate::from_pem(read("ca.crt")?);
    let own = Identity::from_pem(read("tls.crt")?, read("tls.key")?);
    Ok(TlsOptions::new().ca_certificate(ca).identity(own))
}

pub(crate) fn answer<T>(
    what: &'static str,
    endpoint: &str,
    answer: Result<Result<T, etcd_client::Error>, tokio::time::error::Elapsed>,
) -> Result<T, Error> {
    let message = match answer {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => match hint(&error) {
            Some(hint) => format!("{error}: {hint}"),
            None => error.to_string(),
        },
        Err(_) => {
            "it does not answer in time: check the member's pod and the network policy".to_owned()
        }
    };
    Err(Error::Member {
        what,
        endpoint: endpoint.to_owned(),
        message,
    })
}

/// True when the connection failed, and no answer came: what a server says has no source.
fn is_lost(error: &etcd_client::Error) -> bool {
    use std::error::Error as _;
    match error {
        etcd_client::Error::TransportError(_) => true,
        etcd_client::Error::GRpcStatus(status) => status.source().is_some(),
        _ => false,
    }
}

fn hint(error: &etcd_client::Error) -> Option<&'static str> {
    let text = error.to_string();
    let denied = [
        "user name is empty",
        "permission denied",
        "invalid auth token",
        "user name not found",
    ];
    denied.iter().any(|denial| text.contains(denial)).then_some(
        "etcd's authentication is on and does not know this client for an administrator: Jobs are `etcd-backup` by their \
         certificate, a user that systemAccounts of the Cluster brings; switched on by hand, `etcdctl auth disable`",
    )
}
