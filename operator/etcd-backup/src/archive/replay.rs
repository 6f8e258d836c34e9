//! Puts an archive over a backup: each revision by one transaction into a private etcd, then compared change by change.

use std::time::Duration;

use etcd_client::{LeaseGrantOptions, PutOptions, Txn, TxnOp};
use tokio::time::{Instant, timeout};

use super::history::Last;
use super::search::{Refusal, Search, Target};
use super::segment::{Event, Segment};
use super::store::{Archive, Inventory};
use super::watch::{Message, Watch};
use crate::error::Error;
use crate::member::{Member, SHORT, answer};

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
}

/// What is replayed over which backup.
#[derive(Debug)]
pub struct Plan<'a> {
    archive: &'a Archive,
    inventory: Inventory,
    base: i64,
    /// The revision that is restored.
    pub target: i64,
}

/// Reads all that is needed of the archive, and finds the revision: before anything is changed. `base` is the backup's
/// revision, `cluster` the identifier of its etcd cluster.
///
/// # Errors
/// When the restore cannot be.
pub async fn plan<'a>(replay: &'a Replay, (base, cluster): (i64, &str)) -> Result<Plan<'a>, Error> {
    let archive = &replay.archive;
    let inventory = archive.inventory().await?;
    let mut search = Search::new(base, replay.target)?;
    let mut walk = archive.walk(&inventory, base);
    let target = loop {
        let Some(segment) = walk.next().await? else {
            break search.end()?;
        };
        let of = &segment.header.cluster_id;
        if of != cluster {
            return Err(Refusal::Cluster(of.clone(), cluster.to_owned()).into());
        }
        if let Some(target) = search.next(&segment)? {
            break target;
        }
    };
    Ok(Plan {
        archive,
        inventory,
        base,
        target,
    })
}

impl Plan<'_> {
    /// Whether the archive has anything that the backup has not.
    pub(crate) fn any(&self) -> bool {
        self.target != self.base
    }

    /// Puts the archive over a private etcd that has the backup.
    ///
    /// # Errors
    /// When any part fails, or what comes of it is not what is archived.
    pub(crate) async fn replay(&self, member: &Member) -> Result<(), Error> {
        self.fill(member).await?;
        self.compare(member).await
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
        let mut last = Last::default();
        let mut got = std::collections::VecDeque::new();
        while let Some(segment) = walk.next().await? {
            let until = segment
                .events
                .partition_point(|event| event.revision <= self.base);
            last.remember(&segment.events[..until]);
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
                    if last.contradicts(&watch.before()) {
                        return Err(Refusal::History(self.base).into());
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
