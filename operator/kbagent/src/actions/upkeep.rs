//! Care of the database: compaction, defragmentation of the own member, alarms disarmed (D7, D8, D15).

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use kbagent_protocol::{Alarm, AlarmKind, Defragmented, Id, action};
use tokio::sync::watch;

use super::candidate::fitness;
use super::cluster::{Cluster, STATUS};
use super::long::{Long, Rest};
use super::outcome::{Failure, Success};
use crate::etcd::{Client, HashKv, Status};
use crate::watch::Own;

/// Deadline of what is committed by raft like a write.
const CHANGE: Duration = Duration::from_secs(5);
/// How long entries are appended at a call, which is less than the operator waits for its answer.
const APPENDING: Duration = Duration::from_secs(2);
/// Entries that are under way at a time, and most of a call.
const AT_A_TIME: u64 = 32;
const APPENDED: u64 = 4096;
/// Longest a defragmentation may take: eight gigabytes on a slow disk.
const DEFRAGMENTATION: Duration = Duration::from_secs(900);
/// Longest a member may take to hash its key space.
const HASH: Duration = Duration::from_secs(120);
/// A second defragmentation gains nothing, and a failed one has stopped its member already.
const DEFRAGMENTED: Rest = Rest {
    after_success: Duration::from_secs(60),
    after_failure: Duration::from_secs(600),
};

/// Care of one member, and of what all members share.
pub(super) struct Upkeep {
    own: Client,
    shown: watch::Sender<Own>,
    defragmentation: Long,
    comparison: Long,
}

impl Upkeep {
    pub(super) fn new(own: Client, shown: watch::Sender<Own>) -> Self {
        Self {
            own,
            defragmentation: Long::new(action::DEFRAGMENT, shown.clone(), DEFRAGMENTED),
            comparison: Long::new(action::DISARM, shown.clone(), Rest::default()),
            shown,
        }
    }

    /// Appends entries without effect to the log.
    pub(super) async fn append(&self) -> Result<Success, Failure> {
        let began = Instant::now();
        let mut appended = 0;
        while appended < APPENDED && began.elapsed() < APPENDING {
            try_join_all((0..AT_A_TIME).map(|_| self.own.append_nothing(CHANGE))).await?;
            appended += AT_A_TIME;
        }
        tracing::info!(appended, "entries without effect were appended to the log");
        Ok(Success::text(&appended.to_string()))
    }

    /// Compacts to the newest revision.
    pub(super) async fn compact(&self) -> Result<Success, Failure> {
        let revision = revision(&self.own).await?;
        match self.own.compact(revision, CHANGE).await {
            Ok(()) => tracing::info!(revision, "the key space was compacted"),
            // Nothing was written since the last time.
            Err(error) if error.rejection().contains("has been compacted") => {}
            Err(error) => return Err(error.into()),
        }
        self.shown.send_modify(|own| own.care.compacted = revision);
        Ok(Success::text(&revision.to_string()))
    }

    /// Disarms an alarm. CORRUPT goes only when the member has left, and hashes show that the others agree.
    pub(super) async fn disarm(&self, alarm: Alarm) -> Result<Success, Failure> {
        let own = self.own.clone();
        let disarm = async move {
            own.disarm(alarm, CHANGE).await?;
            let (member, kind) = (alarm.member, alarm.kind.as_str());
            tracing::info!(%member, kind, "an alarm was disarmed");
            Ok(kind.to_owned())
        };
        if alarm.kind == AlarmKind::NoSpace {
            return disarm.await.map(|kind| Success::text(&kind));
        }
        let (may, own) = (self.has_left(alarm.member), self.own.clone());
        let compared = async move {
            agree(&own).await?;
            disarm.await
        };
        self.comparison.run(may, compared).await
    }

    /// Defragments the own member, or joins the defragmentation that is under way. The `request` that it answers is
    /// shown when it has ended, also where it ended a moment ago.
    pub(super) async fn defragment(&self, request: Option<&str>) -> Result<Success, Failure> {
        let (own, shown) = (self.own.clone(), self.shown.clone());
        let work = async move {
            let before = own.status(STATUS).await?;
            own.defragment(DEFRAGMENTATION).await?;
            let bytes = |status: &Status| u64::try_from(status.db_size).unwrap_or_default();
            let after = own.status(STATUS).await;
            let done = Defragmented {
                request: String::new(),
                bytes_before: bytes(&before),
                bytes_after: after.as_ref().map_or(0, bytes),
            };
            tracing::info!(
                done.bytes_before,
                done.bytes_after,
                "the database was defragmented"
            );
            shown.send_modify(|own| {
                own.care.defragmented = before.header.unwrap_or_default().revision;
                own.care.last = Some(done);
            });
            Ok("defragmented".to_owned())
        };
        let done = self.defragmentation.run(self.can_be_spared(), work).await?;
        if let Some(request) = request {
            let answer = |own: &mut Own| {
                let last = own.care.last.get_or_insert_default();
                request.clone_into(&mut last.request);
            };
            self.shown.send_modify(answer);
        }
        Ok(done)
    }

    async fn has_left(&self, id: Id) -> Result<(), Failure> {
        let cluster = Cluster::look(&self.own).await?;
        if id == Id(0) || cluster.members().iter().any(|member| member.id == id.0) {
            return Err(Failure::Precondition(format!(
                "the alarm CORRUPT is about member {id}: it stays until that member is removed (0 is an unknown one)"
            )));
        }
        Ok(())
    }

    /// While it defragments a member is as good as away: it must not lead, and all others must be voters that keep up,
    /// as it must itself.
    async fn can_be_spared(&self) -> Result<(), Failure> {
        let cluster = Cluster::look(&self.own).await?;
        if cluster.members().len() == 1 {
            return Ok(());
        }
        if cluster.leader()?.id == cluster.own_id() {
            return Err(Failure::Precondition(
                "this member leads: move leadership first".to_owned(),
            ));
        }
        let mark = cluster.mark().await?;
        for standing in cluster.standings().await {
            fitness(&mark, &standing).map_err(|why| {
                let member = &standing.member;
                let text = format!("member {:x} ({}): {why}", member.id, member.name);
                Failure::Precondition(text)
            })?;
        }
        Ok(())
    }
}

/// Compares the hashes of all voters. Nothing is written while the alarm stands, so they are of the same revision.
async fn agree(own: &Client) -> Result<(), Failure> {
    let cluster = Cluster::look(own).await?;
    let revision = revision(own).await?;
    let voters = cluster.members().iter().filter(|one| !one.is_learner);
    let asked = voters.map(|voter| {
        let client = cluster.client_of(voter);
        async move {
            let hash = client?.hash_kv(revision, HASH).await?;
            Ok::<_, Failure>((voter.name.clone(), hash))
        }
    });
    compare(&try_join_all(asked).await?)
}

/// Says which hashes differ.
fn compare(hashes: &[(String, HashKv)]) -> Result<(), Failure> {
    if hashes.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return Ok(());
    }
    let told = hashes.iter().map(|(name, of)| {
        let (hash, compacted) = (of.hash, of.compact_revision);
        format!("{name} has {hash:08x}, compacted at {compacted}")
    });
    let told: Vec<String> = told.collect();
    Err(Failure::Precondition(format!(
        "the alarm CORRUPT stays: hashes of the key space differ ({})",
        told.join("; ")
    )))
}

async fn revision(own: &Client) -> Result<i64, Failure> {
    let status = own.status(STATUS).await?;
    Ok(status.header.unwrap_or_default().revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_agree_only_when_all_are_the_same_of_the_same_compaction() {
        let hash = |hash, compact_revision| HashKv {
            hash,
            compact_revision,
        };
        let named = |all: &[HashKv]| {
            let all = all.iter().enumerate();
            all.map(|(at, of)| (format!("a-{at}"), *of))
                .collect::<Vec<_>>()
        };
        assert_eq!(compare(&named(&[hash(7, 1)])), Ok(()));
        assert_eq!(compare(&named(&[hash(7, 1), hash(7, 1)])), Ok(()));
        for other in [hash(8, 1), hash(7, 2)] {
            let told = compare(&named(&[hash(7, 1), hash(7, 1), other]));
            let told = told.expect_err("they differ").to_string();
            assert!(told.contains("a-2 has"), "{told}");
        }
    }
}
