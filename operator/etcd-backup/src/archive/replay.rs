//! Puts an archive over a backup: each revision by one transaction into a private etcd, then compared change by change.

use std::path::Path;
use std::time::Duration;

use etcd_client::{LeaseGrantOptions, PutOptions, Txn, TxnOp};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::lease::keep_alive;
use super::search::{Search, Target};
use super::segment::{Event, Segment};
use super::store::{Archive, Inventory};
use super::watch::{Message, Watch};
use crate::digest::Digests;
use crate::error::Error;
use crate::member::{Member, SHORT, answer};
use crate::utility::{NewMember, Ports, Programs};

/// How a private etcd is started: one transaction holds what one revision held, leases last for twelve seconds at
/// least, and nothing is forced to the disk: what comes of it is a snapshot, and after a crash all is repeated.
const PRIVATE: [&str; 5] = [
    "--max-txn-ops=10000000",
    "--max-request-bytes=1073741824",
    "--quota-backend-bytes=107374182400",
    "--election-timeout=8000",
    "--unsafe-no-fsync",
];
/// How often leases are kept alive.
const KEEP: Duration = Duration::from_secs(3);
/// Seconds of a lease whose grant was not known any more when the archive asked.
const UNKNOWN: i64 = 600;
/// Longest silence of the watch that compares.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest time of one transaction.
const TRANSACTION: Duration = Duration::from_secs(60);

/// An archive and how far it is replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The archive.
    pub archive: Archive,
    /// How far.
    pub target: Target,
    /// Ports of the private etcd, on loopback.
    pub ports: Ports,
}

/// What is replayed over which backup.
#[derive(Debug)]
pub struct Plan<'a> {
    archive: &'a Archive,
    inventory: Inventory,
    ports: Ports,
    base: i64,
    /// The revision that is restored.
    pub target: i64,
}

/// Reads all that is needed of the archive, and finds the revision: before anything is changed.
///
/// # Errors
/// When the restore cannot be.
pub async fn plan(replay: &Replay, base: i64) -> Result<Plan<'_>, Error> {
    let archive = &replay.archive;
    let inventory = archive.inventory().await?;
    let mut search = Search::new(base, replay.target)?;
    let mut walk = archive.walk(&inventory, base);
    let target = loop {
        let Some(segment) = walk.next().await? else {
            break search.end()?;
        };
        if let Some(target) = search.next(&segment)? {
            break target;
        }
    };
    Ok(Plan {
        archive,
        inventory,
        ports: replay.ports,
        base,
        target,
    })
}

impl Plan<'_> {
    /// Replaces a snapshot by that of the target; `scratch` is a folder that is empty.
    ///
    /// # Errors
    /// When any part fails, or what comes of it is not what is archived.
    pub async fn run(
        &self,
        programs: &Programs,
        snapshot: &Path,
        scratch: &Path,
    ) -> Result<(), Error> {
        if self.target == self.base {
            return Ok(());
        }
        let (data, made) = (scratch.join("private"), scratch.join("replayed.db"));
        let new = NewMember {
            name: "private".to_owned(),
            peer_url: format!("http://127.0.0.1:{}", self.ports.peer),
            token: "private".to_owned(),
            bump: false,
        };
        programs.restore(snapshot, &data, &new).await?;
        let server = programs
            .start_with(&data, &new.name, self.ports, &PRIVATE)
            .await?;
        let member = Member::connect(server.client_url()).await?;
        let filled = async {
            self.fill(&member).await?;
            self.compare(&member).await?;
            take(&member, &made).await
        };
        let filled = tokio::select! {
            filled = Box::pin(filled) => filled,
            error = Box::pin(keep_alive(&member, KEEP)) => Err(error),
        };
        server.stop().await;
        filled?;
        let moved = async {
            tokio::fs::remove_dir_all(&data).await?;
            tokio::fs::rename(&made, snapshot).await
        };
        moved.await.map_err(|source| disk(snapshot, source))
    }

    async fn fill(&self, member: &Member) -> Result<(), Error> {
        disarm(member).await?;
        let began = member.status().await?.revision;
        if began != self.base {
            let text = format!(
                "the restored backup has revision {began} instead of {}",
                self.base
            );
            return Err(Error::Differs(text));
        }
        let mut known = std::collections::HashSet::new();
        let mut walk = self.archive.walk(&self.inventory, self.base);
        while let Some(segment) = walk.next().await? {
            for revision in revisions(&segment, self.base, self.target) {
                for event in revision.iter().filter(|event| event.lease != 0) {
                    if known.insert(event.lease) {
                        grant(member, event).await?;
                    }
                }
                transact(member, revision).await?;
            }
            if segment.header.through >= self.target {
                return Ok(());
            }
        }
        let text = format!(
            "the archive ended before revision {}, which it had just before",
            self.target
        );
        Err(Error::Differs(text))
    }

    /// What etcd has made of it is what is archived, versions and leases included.
    async fn compare(&self, member: &Member) -> Result<(), Error> {
        let mut watch = Watch::begin(member, self.base).await?;
        let mut walk = self.archive.walk(&self.inventory, self.base);
        let mut got = std::collections::VecDeque::new();
        while let Some(segment) = walk.next().await? {
            for wanted in revisions(&segment, self.base, self.target).flatten() {
                while got.is_empty() {
                    match watch.next(Instant::now() + SILENCE).await? {
                        Message::Events(events) => got.extend(events),
                        Message::Ended(why) => return Err(Error::Differs(why)),
                        Message::Compacted(at) => {
                            return Err(Error::Differs(format!("compacted at {at}")));
                        }
                        Message::Delivered(_) | Message::Other => {}
                    }
                }
                let same = got.pop_front().is_some_and(|got: Event| {
                    let plain = Event {
                        at: 0,
                        lease_seconds: 0,
                        ..wanted.clone()
                    };
                    got == plain
                });
                if !same {
                    let text = format!(
                        "a change of revision {} is another one than archived",
                        wanted.revision
                    );
                    return Err(Error::Differs(text));
                }
            }
            if segment.header.through >= self.target {
                break;
            }
        }
        Ok(())
    }
}

/// The changes of each revision after `base`, up to `target`.
fn revisions(segment: &Segment, base: i64, target: i64) -> impl Iterator<Item = &[Event]> {
    let all = segment.events.chunk_by(|a, b| a.revision == b.revision);
    all.filter(move |of| {
        of.first()
            .is_some_and(|event| event.revision > base && event.revision <= target)
    })
}

/// A backup of a member that was full is full, too: here is space.
async fn disarm(member: &Member) -> Result<(), Error> {
    use etcd_client::{AlarmAction, AlarmType};
    let mut client = member.client();
    let disarmed = timeout(
        SHORT,
        client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None),
    )
    .await;
    answer("disarm the alarm NOSPACE", member.endpoint(), disarmed).map(drop)
}

/// A lease as it was granted, unless the backup has it.
async fn grant(member: &Member, event: &Event) -> Result<(), Error> {
    let mut client = member.client();
    let there = timeout(SHORT, client.lease_time_to_live(event.lease, None)).await;
    if answer("look for a lease", member.endpoint(), there)?.granted_ttl() > 0 {
        return Ok(());
    }
    let seconds = if event.lease_seconds > 0 {
        event.lease_seconds
    } else {
        UNKNOWN
    };
    let options = LeaseGrantOptions::new().with_id(event.lease);
    let granted = timeout(SHORT, client.lease_grant(seconds, Some(options))).await;
    answer("grant a lease", member.endpoint(), granted).map(drop)
}

async fn transact(member: &Member, events: &[Event]) -> Result<(), Error> {
    let operations: Vec<TxnOp> = events
        .iter()
        .map(|event| {
            if event.delete {
                TxnOp::delete(event.key.clone(), None)
            } else {
                let options = PutOptions::new().with_lease(event.lease);
                TxnOp::put(event.key.clone(), event.value.clone(), Some(options))
            }
        })
        .collect();
    let mut client = member
        .client()
        .kv_client()
        .max_decoding_message_size(1 << 30);
    let done = timeout(TRANSACTION, client.txn(Txn::new().and_then(operations))).await;
    let done = answer("replay a revision", member.endpoint(), done)?;
    let (made, wanted) = (
        done.header().map(etcd_client::ResponseHeader::revision),
        events.first().map(|event| event.revision),
    );
    if made == wanted {
        return Ok(());
    }
    let text = format!(
        "replayed as revision {}, archived as {}",
        made.unwrap_or_default(),
        wanted.unwrap_or_default()
    );
    Err(Error::Differs(text))
}

/// The snapshot of the private etcd.
async fn take(member: &Member, to: &Path) -> Result<(), Error> {
    let mut pieces = member.snapshot().await?;
    let mut file = tokio::fs::File::create(to)
        .await
        .map_err(|source| disk(to, source))?;
    let mut digests = Digests::default();
    while let Some(piece) = pieces.next().await? {
        digests.update(&piece.bytes);
        file.write_all(&piece.bytes)
            .await
            .map_err(|source| disk(to, source))?;
    }
    file.flush().await.map_err(|source| disk(to, source))?;
    let bytes = digests.bytes();
    digests.snapshot().map(drop).map_err(|why| Error::Torn {
        endpoint: member.endpoint().to_owned(),
        bytes,
        why,
    })
}

fn disk(path: &Path, source: std::io::Error) -> Error {
    Error::Disk {
        what: "write",
        path: path.display().to_string(),
        needed: "the restored data three times and 500 MiB",
        source,
    }
}
