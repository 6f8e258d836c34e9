//! Writes the archive: watches a member, closes segments, stores them. Resumes from the repository alone.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::ask::{Asked, Asks};
use super::clock::now;
use super::collect::{Collector, Hole, Tail};
use super::lease::Leases;
use super::name::Object;
use super::owner::{Owner, keep_former};
use super::source::{Followed, Source};
use super::standing::Standing;
use super::store::Archive;
use super::tidy::{Shelf, Tidy};
use super::watch::Message;
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
    /// UID of the Backup object that it writes for.
    pub backup_uid: String,
    /// What is older is deleted.
    pub keep: Option<Duration>,
    /// Revision of the newest full backup that counts, where another process tells it: nothing above it is deleted.
    pub told: Option<Receiver<Option<i64>>>,
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
    leases: Leases,
    owner: Owner,
    standing: &'a Sender<Standing>,
    tidy: Tidy,
    /// Milliseconds since 1970.
    clock: fn() -> i64,
    /// When the member was asked for what it has confirmed last.
    confirmed: Option<Instant>,
    /// Since when something waits, and when the last segment was closed.
    waits: Option<Instant>,
    closed: Instant,
    wrote: Instant,
    holes: u32,
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
    writer.count();
    // etcd would say nothing at all until it has come as far.
    let through = writer.collector.through();
    if status.revision < through {
        let why = format!(
            "the member has revision {}, the archive {through}: it lags, or the cluster was set back",
            status.revision
        );
        return Err(End::Again(why));
    }
    let mut source = Followed::begin(member, through).await?;
    follow(writer, &mut source).await
}

/// Takes what a member delivers, and asks it all the time whether that is all.
async fn follow(writer: &mut Writer<'_>, source: &mut impl Source) -> Result<Infallible, End> {
    let mut tick = interval(ASK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut asks = Asks::default();
    let (mut at, mut when) = writer.moment();
    // A member that answers no reads must not hold up what it delivers.
    let mut head: Fuse<BoxFuture<'static, Result<i64, Error>>> = Fuse::terminated();
    loop {
        let message = tokio::select! {
            message = source.next(heard + SILENCE) => {
                heard = Instant::now();
                message?
            }
            revision = &mut head => {
                match revision {
                    Ok(revision) => {
                        asks.push(Asked { revision, at, when });
                        source.ask().await?;
                    }
                    Err(error) if heard > when => eprintln!("what is archived is not confirmed: {error}"),
                    Err(error) => return Err(error.into()),
                }
                Message::Other
            }
            _ = tick.tick() => {
                if head.is_terminated() {
                    (at, when) = writer.moment();
                    head = source.head().fuse();
                }
                Message::Other
            }
        };
        if writer.handle(source, message, &mut asks).await? {
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
        let inventory = archive.inventory().await?;
        // One that has begun continues where it is.
        if inventory.chain.is_empty() {
            archive.apart().await?;
        }
        archive.fences(&settings.writer).await?;
        let tail = archive.tail(&inventory).await?;
        let begins = match inventory.chain.front() {
            Some((object, _)) => archive.read(object).await?.into_iter().next(),
            None => None,
        };
        if let Some((segment, _)) = &begins {
            keep_former(archive, &settings.backup_uid, &segment.header.writer).await?;
        }
        let begins = begins.map(|(segment, _)| segment.begins());
        let gap = archive.gap(&inventory).await?;
        standing.send_modify(|standing| {
            standing.begins = begins;
            standing.through = tail.as_ref().map_or(settings.after, |link| link.through);
            standing.until = tail.as_ref().map_or_else(now, |link| link.until);
            let behind = now().saturating_sub(standing.until).max(0);
            standing.in_step = Some((Instant::now(), behind));
            standing.gap = gap;
            standing.objects = inventory.objects();
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
        collector.remember(archive.newest(&inventory).await?);
        let tidy = Tidy::start(Shelf {
            archive: archive.clone(),
            inventory,
            cluster_id: collector.cluster_id().to_owned(),
            keep: settings.keep,
            told: settings.told.clone(),
            clock: now,
            standing: standing.clone(),
        });
        Ok(Writer {
            archive,
            collector,
            leases: Leases::default(),
            owner: Owner::new(&settings.backup_uid),
            standing,
            tidy,
            clock: now,
            confirmed: None,
            waits: None,
            closed: Instant::now(),
            wrote: Instant::now(),
            holes: 0,
        })
    }

    /// Now, as the archive counts time, and by a clock that is never set.
    fn moment(&mut self) -> (i64, Instant) {
        (self.collector.time((self.clock)()), Instant::now())
    }

    fn is_due(&self) -> bool {
        let waited = self.waits.map(|at| at.elapsed()).unwrap_or_default();
        self.collector.is_due(waited, self.closed.elapsed())
    }

    /// Counts from now on for how long something waits, if anything does.
    fn count(&mut self) {
        if self.collector.waiting().is_empty() {
            self.waits = None;
        } else {
            self.waits.get_or_insert_with(Instant::now);
        }
    }

    /// Takes a message, and stores a segment when one is due; whether it did.
    async fn handle(
        &mut self,
        source: &mut impl Source,
        message: Message,
        asks: &mut Asks,
    ) -> Result<bool, End> {
        if self.collector.contradicts(&source.before()) {
            let why = another_history(self.collector.through());
            return Err(End::Never(Error::Settings(why)));
        }
        self.take(message, asks).await?;
        let due = self.is_due();
        if due {
            source
                .fill(&mut self.leases, self.collector.waiting())
                .await;
            self.store().await?;
        }
        Ok(due)
    }

    async fn take(&mut self, message: Message, asks: &mut Asks) -> Result<(), End> {
        let hole = match message {
            Message::Events(events) => {
                let now = (self.clock)();
                let mut events = events.into_iter();
                let hole = events.find_map(|event| self.collector.event(event, now).err());
                self.count();
                hole
            }
            Message::Delivered(revision) => self.delivered(revision, asks).err(),
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

    /// The member has delivered all it has. Where that is what the cluster had when it was asked, and nothing waits,
    /// the repository has it, too.
    fn delivered(&mut self, revision: i64, asks: &mut Asks) -> Result<(), Hole> {
        self.collector.reached(revision)?;
        self.holes = 0;
        let Some(asked) = asks.answered(revision) else {
            return Ok(());
        };
        if !self.collector.confirm(revision, asked.at)? {
            return Ok(());
        }
        self.confirmed = Some(asked.when);
        let waits = !self.collector.waiting().is_empty();
        self.standing.send_modify(|standing| {
            standing.newest = standing.newest.max(revision);
            if !waits {
                standing.in_step = Some((asked.when, 0));
                standing.failure = None;
            }
        });
        Ok(())
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
        let (segment, bytes) = self.collector.close((self.clock)()).map_err(|error| {
            Error::Settings(format!("the next segment cannot be written: {error}"))
        })?;
        (self.closed, self.waits) = (Instant::now(), None);
        self.count();
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
        // Nothing waits only where the last that came was confirmed, or that the member had no more.
        let all = self.collector.waiting().is_empty();
        let confirmed = self.confirmed.filter(|_| all);
        self.standing.send_modify(|standing| {
            standing.stored(&segment, size);
            if let Some(at) = confirmed {
                standing.in_step = Some((at, 0));
            }
        });
        self.tidy.stored((Object::segment(sequence), size as u64));
        Ok(())
    }

    async fn append(&mut self, sequence: u64, bytes: &Bytes) -> Result<(), Error> {
        self.follows(sequence).await?;
        let segment = (sequence, bytes.clone());
        self.owner.append(self.archive, segment).await
    }
}

impl Writer<'_> {
    /// The repository ends just before a segment: no other writer has gone on, and what was stored is there. One that
    /// begins again has the rest from etcd; a segment behind a hole would only be missed when it is restored.
    async fn follows(&self, sequence: u64) -> Result<(), Error> {
        let before = sequence.checked_sub(1);
        let there = match before {
            Some(before) => self.archive.has(before).await?,
            None => true,
        };
        if there && self.wrote.elapsed() <= STALE {
            return Ok(());
        }
        let newest = self.archive.end().await?;
        if let Some(newest) = newest.filter(|newest| *newest > sequence) {
            return Err(Error::Fenced {
                object: self.archive.path(&Object::segment(newest)),
                by: "another writer".to_owned(),
            });
        }
        match before.filter(|before| newest.is_none_or(|newest| newest < *before)) {
            None => Ok(()),
            Some(lost) => Err(Error::Archive {
                object: self.archive.path(&Object::segment(lost)),
                why: "it was stored, and is not there any more: something other than the operator has deleted it, or has \
                      set the repository back; the next writer continues after what is there"
                    .to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
