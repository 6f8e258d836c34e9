//! Writes the archive: watches a member, closes segments, stores them. Resumes from the repository alone.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::collect::{Collector, Tail};
use super::lease::Leases;
use super::standing::Standing;
use super::store::{Archive, Inventory};
use super::watch::{Message, Watch};
use crate::error::Error;
use crate::member::Member;

/// How often the member is asked whether it has delivered all: the most that is lost with a cluster, and a little.
const ASK: Duration = Duration::from_millis(400);
/// Longest silence of a watch, which is asked all the time.
const SILENCE: Duration = Duration::from_secs(5);
/// Time to the next try, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// So often a member may leave out revisions until they count as lost.
const HOLES: u32 = 4;
/// How long the revision of the newest full backup is believed.
const BELIEVED: Duration = Duration::from_secs(600);
/// After so long without a write another writer may have taken over: the repository is asked first.
const STALE: Duration = Duration::from_secs(5);

/// What is archived.
#[derive(Clone, Debug)]
pub struct Write {
    /// Client URLs of members, or one that leads to any of them.
    pub members: Vec<String>,
    /// Folder with the certificates that they are spoken to with; read for each connection.
    pub tls: Option<PathBuf>,
    /// An archive without a segment begins after this revision: that of a full backup.
    pub after: i64,
    /// Name of this writer: the pod's.
    pub writer: String,
    /// What is older is deleted.
    pub keep: Option<Duration>,
}

/// Why a watch is begun again, or never.
enum End {
    Again(String),
    Never(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Member { .. } | Error::Store { .. } => End::Again(error.to_string()),
            other => End::Never(other),
        }
    }
}

struct Writer<'a> {
    archive: &'a Archive,
    collector: Collector,
    inventory: Inventory,
    leases: Leases,
    standing: &'a Sender<Standing>,
    keep: Option<Duration>,
    base: Option<(i64, Instant)>,
    wrote: Instant,
    holes: u32,
}

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Writes until another writer takes over, or what is there cannot be continued.
///
/// # Errors
/// Always, when it ends.
pub async fn write(
    archive: &Archive,
    settings: &Write,
    standing: &Sender<Standing>,
) -> Result<Infallible, Error> {
    let mut members = settings.members.iter().cycle();
    let mut writer: Option<Writer<'_>> = None;
    let mut wait = RETRY.0;
    loop {
        let Some(member) = members.next() else {
            return Err(Error::Settings(
                "no member is named to be watched".to_owned(),
            ));
        };
        let began = writer.as_ref().map(|writer| writer.collector.through());
        let end = Box::pin(session(archive, settings, standing, &mut writer, member)).await;
        let why = match end {
            Err(End::Never(error)) => return Err(error),
            Err(End::Again(why)) => why,
        };
        let proceeded = writer.as_ref().map(|writer| writer.collector.through()) != began;
        wait = if proceeded {
            RETRY.0
        } else {
            (wait * 2).min(RETRY.1)
        };
        eprintln!("the watch of {member} has ended, next try in {wait:?}: {why}");
        standing.send_modify(|standing| standing.failure = Some(why));
        sleep(wait).await;
    }
}

fn another_history(revision: i64) -> String {
    format!(
        "revision {revision} of etcd is another one than the archive's: the cluster was recovered without a quorum, or its \
         disks were set back, and writes that are archived are gone in it. Make another full Backup and another archive; \
         this one restores what was before"
    )
}

/// Watches one member for as long as it delivers.
async fn session<'a>(
    archive: &'a Archive,
    settings: &Write,
    standing: &'a Sender<Standing>,
    slot: &mut Option<Writer<'a>>,
    member: &str,
) -> Result<Infallible, End> {
    let member = Member::connect_led(member, settings.tls.as_deref()).await?;
    let status = member.status().await?;
    let cluster = format!("{:x}", status.cluster);
    let writer = match slot {
        Some(writer) => writer,
        None => slot.insert(Writer::open(archive, settings, standing, &cluster).await?),
    };
    if cluster != writer.collector.cluster_id() {
        let why = format!(
            "the archive is of etcd cluster {} and {} is a member of {cluster}: make another Backup for it",
            writer.collector.cluster_id(),
            member.endpoint()
        );
        return Err(End::Never(Error::Settings(why)));
    }
    writer.collector.interrupted();
    // etcd would say nothing at all until it has come as far.
    let through = writer.collector.through();
    if status.revision < through {
        let why = format!(
            "the member has revision {}, the archive {through}: it lags, or the cluster was set back",
            status.revision
        );
        return Err(End::Again(why));
    }
    let mut watch = Watch::begin(&member, writer.collector.through()).await?;
    let mut ask = interval(ASK);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let message = tokio::select! {
            message = watch.next(heard + SILENCE) => {
                heard = Instant::now();
                message?
            }
            _ = ask.tick() => {
                watch.ask().await?;
                Message::Other
            }
        };
        if writer.collector.contradicts(&watch.before()) {
            return Err(End::Never(Error::Settings(another_history(
                writer.collector.through(),
            ))));
        }
        writer.take(message).await?;
        if writer.collector.is_due(now()) {
            writer
                .leases
                .fill(&member, writer.collector.waiting())
                .await;
            writer.store().await?;
            // That may have taken long.
            heard = Instant::now();
        }
    }
}

impl<'a> Writer<'a> {
    /// Continues what is in the repository.
    async fn open(
        archive: &'a Archive,
        settings: &Write,
        standing: &'a Sender<Standing>,
        cluster: &str,
    ) -> Result<Self, Error> {
        archive.fences(&settings.writer).await?;
        let inventory = archive.inventory().await?;
        let tail = archive.tail(&inventory).await?;
        let begins = match inventory.chain.front() {
            Some((object, _)) => archive.read(object).await?.into_iter().next(),
            None => None,
        };
        let begins = begins.map(|(segment, _)| (segment.header.after, segment.header.since));
        standing.send_modify(|standing| {
            standing.begins = begins;
            standing.through = tail.as_ref().map_or(settings.after, |link| link.through);
            standing.until = tail.as_ref().map_or_else(now, |link| link.until);
            standing.in_step = standing.until;
        });
        let tail = tail.map_or_else(
            || Tail::New {
                after: settings.after,
                cluster_id: cluster.to_owned(),
                since: now(),
            },
            Tail::Link,
        );
        let mut collector = Collector::new(&settings.writer, tail);
        collector.remember(&archive.newest(&inventory).await?);
        Ok(Writer {
            archive,
            collector,
            inventory,
            leases: Leases::default(),
            standing,
            keep: settings.keep,
            base: None,
            wrote: Instant::now(),
            holes: 0,
        })
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        let now = now();
        let hole = match message {
            Message::Events(events) => {
                let mut events = events.into_iter();
                events.find_map(|event| self.collector.event(event, now).err())
            }
            Message::Delivered(revision) => {
                let hole = self.collector.confirm(revision, now).err();
                if hole.is_none() {
                    self.confirmed(revision, now);
                }
                hole
            }
            Message::Compacted(revision) => {
                let why = "compacted in etcd before it was archived";
                return self.skip(revision, why.to_owned()).await;
            }
            Message::Ended(why) => return Err(End::Again(why)),
            Message::Other => None,
        };
        if self.collector.is_too_large() {
            let why =
                "a single revision has more than 256 MiB of changes: an archive cannot hold it"
                    .to_owned();
            return Err(End::Never(Error::Settings(why)));
        }
        let Some(hole) = hole else {
            return Ok(());
        };
        self.holes += 1;
        if self.holes < HOLES {
            return Err(End::Again(hole.to_string()));
        }
        self.holes = 0;
        let why = format!("{hole} in {HOLES} attempts");
        self.skip(hole.next - 1, why).await
    }

    /// The member has delivered all; the repository has it, too, when nothing waits.
    fn confirmed(&mut self, revision: i64, now: i64) {
        self.holes = 0;
        let waits = !self.collector.waiting().is_empty();
        self.standing.send_modify(|standing| {
            standing.newest = standing.newest.max(revision);
            if !waits {
                standing.in_step = now;
                standing.failure = None;
            }
        });
    }

    /// Records that revisions are lost, and has the watch begun again behind them.
    async fn skip(&mut self, until: i64, why: String) -> Result<(), End> {
        self.collector.interrupted();
        if !self.collector.waiting().is_empty() {
            self.store().await?;
        }
        if until > self.collector.through() {
            self.collector.skip(until, why.clone());
            self.store().await?;
        }
        Err(End::Again(why))
    }

    /// Closes a segment and stores it, for as long as that takes: nothing is read from the member meanwhile.
    async fn store(&mut self) -> Result<(), Error> {
        let (segment, bytes) = self.collector.close(now()).map_err(|error| {
            Error::Settings(format!("the next segment cannot be written: {error}"))
        })?;
        let sequence = segment.header.sequence;
        // Once: what is tried again must be the same bytes.
        let bytes = self.archive.sealed(sequence, bytes)?;
        let size = bytes.len();
        let mut wait = RETRY.0;
        while let Err(error) = self.append(sequence, &bytes).await {
            if matches!(error, Error::Fenced { .. } | Error::Archive { .. }) {
                return Err(error);
            }
            eprintln!("segment {sequence} is not stored yet, next try in {wait:?}: {error}");
            self.standing
                .send_modify(|standing| standing.failure = Some(error.to_string()));
            sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
        self.wrote = Instant::now();
        let all = self.collector.waiting().is_empty();
        self.standing.send_modify(|standing| {
            standing.stored(&segment, size);
            if all {
                standing.in_step = segment.header.until;
            }
        });
        self.inventory
            .chain
            .push_back((super::name::Object::segment(sequence), size as u64));
        // Only space is at stake: it is tried again after the next segment.
        if let Err(error) = self.tidy().await {
            eprintln!("old segments are not merged or deleted yet: {error}");
        }
        Ok(())
    }

    async fn append(&self, sequence: u64, bytes: &Bytes) -> Result<(), Error> {
        if self.wrote.elapsed() > STALE {
            let inventory = self.archive.inventory().await?;
            let newest = inventory.chain.back().map(|(object, _)| object.last);
            if newest.is_some_and(|newest| newest > sequence) {
                let object = super::name::Object::segment(newest.unwrap_or_default());
                return Err(Error::Fenced {
                    object: self.archive.path(&object),
                    by: "another writer".to_owned(),
                });
            }
        }
        self.archive.append(sequence, bytes.clone()).await
    }

    async fn tidy(&mut self) -> Result<(), Error> {
        self.archive.merge(&mut self.inventory).await?;
        let Some(keep) = self.keep else {
            return Ok(());
        };
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before = now().saturating_sub(keep);
        if !Archive::is_prunable(&self.inventory, before) {
            return Ok(());
        }
        let base = self.base().await?;
        let pruned = self
            .archive
            .prune(&mut self.inventory, before, base)
            .await?;
        if let Some(begins) = pruned {
            self.standing
                .send_modify(|standing| standing.begins = Some(begins));
        }
        Ok(())
    }

    /// Revision of the newest full backup. Without one nothing is deleted: what is there may yet be all there is.
    async fn base(&mut self) -> Result<i64, Error> {
        if let Some((base, at)) = self.base
            && at.elapsed() < BELIEVED
        {
            return Ok(base);
        }
        let base = self.archive.base(self.collector.cluster_id()).await?;
        let base = base.unwrap_or(i64::MIN);
        self.base = Some((base, Instant::now()));
        Ok(base)
    }
}
