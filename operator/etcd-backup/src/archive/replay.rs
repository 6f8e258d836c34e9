//! Puts an archive over a backup: each revision by one transaction into a private etcd, portion by portion.

use std::collections::HashSet;
use std::time::Duration;

use etcd_client::{LeaseGrantOptions, PutOptions, Txn, TxnOp};
use tokio::time::{Instant, timeout};

pub use super::planned::Plan;
use super::portions::{Filled, Told, portions};
use super::search::{Refusal, Search, Target};
use super::segment::Event;
use super::store::Archive;
use super::walk::Walk;
use super::watch::{Message, Watch};
use crate::error::Error;
use crate::member::{Member, SHORT, answer};

/// Seconds of a lease whose grant was not known any more when the archive asked.
const UNKNOWN: i64 = 600;
/// Longest silence of the watch that compares.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of changes that are replayed before they are compared and compacted, and the part of the database that may be
/// as many: each compaction goes through all of it.
const PORTION: u64 = 64 * 1024 * 1024;
const PART: u64 = 8;
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

/// Reads all that is needed of the archive, and finds the revision: before anything is changed. `base` is the backup's
/// revision, `cluster` the identifier of its etcd cluster.
///
/// # Errors
/// When the restore cannot be.
pub async fn plan<'a>(replay: &'a Replay, (base, cluster): (i64, &str)) -> Result<Plan<'a>, Error> {
    let archive = &replay.archive;
    let inventory = archive.inventory().await?;
    let mut search = Search::new(base, replay.target)?;
    let time = match replay.target {
        Target::Time(time) => Some(time),
        Target::Revision(_) | Target::Latest | Target::AtLeast(_) => None,
    };
    let mut walk = Walk::begin(archive, &inventory, (base, time));
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
    /// Puts the archive over a private etcd that has the backup.
    ///
    /// # Errors
    /// When any part fails, or what comes of it is not what is archived.
    pub(crate) async fn replay(&self, member: &Member) -> Result<(), Error> {
        disarm(member).await?;
        let status = member.status().await?;
        if status.revision != self.base {
            let text = format!(
                "the restored backup has revision {} instead of {}",
                status.revision, self.base
            );
            return Err(Error::Differs(text));
        }
        let mut private = Private {
            member,
            watch: None,
            leases: HashSet::new(),
        };
        let portion = PORTION.max(status.database / PART);
        Box::pin(portions(self, &mut private, portion)).await
    }
}

/// A private etcd.
struct Private<'a> {
    member: &'a Member,
    watch: Option<Watch>,
    /// Leases that it has.
    leases: HashSet<i64>,
}

impl Filled for Private<'_> {
    async fn make(&mut self, revision: &[Event]) -> Result<(), Error> {
        for event in revision.iter().filter(|event| event.lease != 0) {
            if self.leases.insert(event.lease) {
                grant(self.member, event).await?;
            }
        }
        transact(self.member, revision).await
    }

    async fn tell(&mut self, after: i64) -> Result<(), Error> {
        self.watch = Some(Watch::begin(self.member, after).await?);
        Ok(())
    }

    async fn told(&mut self) -> Result<Told, Error> {
        let Some(watch) = &mut self.watch else {
            return Err(Error::Differs("nothing is watched".to_owned()));
        };
        let events = match watch.next(Instant::now() + SILENCE).await? {
            Message::Events(events) => events,
            Message::Ended(why) => return Err(Error::Differs(why)),
            Message::Compacted(at) => return Err(Error::Differs(format!("compacted at {at}"))),
            Message::Delivered(_) | Message::Other => Vec::new(),
        };
        Ok(Told {
            before: watch.before(),
            events,
        })
    }

    async fn compact(&mut self, revision: i64) -> Result<(), Error> {
        self.watch = None;
        self.member.compact(revision).await
    }
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
