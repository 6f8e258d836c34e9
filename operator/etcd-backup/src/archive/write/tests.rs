//! A writer against pretended members and slow buckets.

use std::cell::Cell;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tokio::time::sleep_until;

use super::*;
use crate::archive::segment::tests::event;
use crate::archive::segment::{Event, Segment};
use crate::path::Folder;
use crate::repository::Repository;

/// What an archive that is written here begins after.
const BASE: i64 = 10;

/// A member of a cluster that has another revision from time to time.
struct Double {
    began: Instant,
    every: Duration,
    /// The last revision that its watch had.
    told: i64,
    asked: bool,
    /// The last one that its store gets, if it hangs.
    stuck: Option<i64>,
    /// Whether reads through it are answered.
    reads: bool,
}

impl Double {
    fn every(every: Duration) -> Self {
        Double {
            began: Instant::now(),
            every,
            told: BASE,
            asked: false,
            stuck: None,
            reads: true,
        }
    }
}

/// Revision of a cluster that has had another one so often.
fn head(began: Instant, every: Duration) -> i64 {
    BASE + (began.elapsed().as_millis() / every.as_millis()) as i64
}

impl Source for Double {
    async fn next(&mut self, until: Instant) -> Result<Message, Error> {
        loop {
            let has = self.stuck.unwrap_or(i64::MAX);
            if self.told < has.min(head(self.began, self.every)) {
                self.told += 1;
                return Ok(Message::Events(vec![event(self.told, 0, 0)]));
            }
            if std::mem::take(&mut self.asked) {
                return Ok(Message::Delivered(self.told));
            }
            if Instant::now() >= until {
                return Err(silent());
            }
            let next = self.began + self.every * (self.told + 1 - BASE) as u32;
            let next = if self.told < has { next } else { until };
            sleep_until(next.min(until)).await;
        }
    }

    fn before(&mut self) -> Vec<Event> {
        Vec::new()
    }

    async fn ask(&mut self) -> Result<(), Error> {
        self.asked = true;
        Ok(())
    }

    fn head(&self) -> BoxFuture<'static, Result<i64, Error>> {
        let (began, every, reads) = (self.began, self.every, self.reads);
        async move {
            sleep(Duration::from_millis(2)).await;
            if reads {
                return Ok(head(began, every));
            }
            sleep(Duration::from_secs(20)).await;
            Err(silent())
        }
        .boxed()
    }

    async fn fill(&self, _leases: &mut Leases, _events: &mut [Event]) {}
}

fn silent() -> Error {
    Error::Member {
        what: "watch all keys",
        endpoint: "a".to_owned(),
        message: "it does not answer in time".to_owned(),
    }
}

thread_local! {
    static BEGAN: Cell<(Instant, i64)> = Cell::new((Instant::now(), now()));
}

/// A clock that goes as the test's time does.
fn clock() -> i64 {
    let (began, at) = BEGAN.get();
    at + began.elapsed().as_millis() as i64
}

/// An archive in a bucket, and what its writer knows of it.
struct Bench {
    repository: Repository,
    archive: Archive,
    standing: Sender<Standing>,
}

impl Bench {
    /// In a bucket that needs so long for a request.
    fn new(request: Duration) -> Self {
        BEGAN.set((Instant::now(), now()));
        let slow = ThrottleConfig {
            wait_delete_per_call: request,
            wait_get_per_call: request,
            wait_list_per_call: request,
            wait_list_with_delimiter_per_call: request,
            wait_put_per_call: request,
            ..ThrottleConfig::default()
        };
        let store = ThrottledStore::new(InMemory::new(), slow);
        let folder = Folder::read("pre/demo/shop-u/etcd/archive").expect("a folder");
        let repository = Repository::over(Arc::new(store));
        Bench {
            archive: Archive::new(repository.clone(), folder, None),
            repository,
            standing: Sender::new(Standing::default()),
        }
    }

    /// As another process finds it.
    fn later(&self) -> Self {
        Bench {
            repository: self.repository.clone(),
            archive: self.archive.clone(),
            standing: Sender::new(Standing::default()),
        }
    }

    async fn writer(&self) -> Writer<'_> {
        let settings = Write {
            members: Vec::new(),
            tls: None,
            after: BASE,
            writer: "w".to_owned(),
            backup_uid: "uid".to_owned(),
            keep: None,
            told: None,
        };
        let opened = Box::pin(Writer::open(&self.archive, &settings, &self.standing, "c")).await;
        let mut writer = opened.expect("a writer");
        writer.clock = clock;
        writer
    }

    /// How long the repository is behind.
    fn lag(&self) -> i64 {
        self.standing.borrow().lag(Instant::now())
    }

    /// How long it is behind now and then while a member is followed for this time.
    async fn lags(&self, writer: &mut Writer<'_>, source: &mut Double, time: Duration) -> Vec<i64> {
        let looks = async {
            let (mut lags, end) = (Vec::new(), Instant::now() + time);
            while Instant::now() < end {
                sleep(Duration::from_millis(333)).await;
                lags.push(self.lag());
            }
            lags
        };
        tokio::select! {
            lags = looks => lags,
            Err(_) = Box::pin(follow(writer, source)) => panic!("it has ended"),
        }
    }

    async fn stored(&self) -> Vec<Segment> {
        let inventory = self.archive.inventory().await.expect("a list");
        let mut stored = Vec::new();
        for (object, _) in &inventory.chain {
            let segments = self.archive.read(object).await.expect("segments");
            stored.extend(segments.into_iter().map(|(segment, _)| segment));
        }
        stored
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_bucket_is_tidied_while_the_archive_stays_in_step() {
    let bench = Bench::new(Duration::from_millis(40));
    let mut writer = bench.writer().await;
    let mut source = Double::every(Duration::from_millis(400));
    let lags = bench
        .lags(&mut writer, &mut source, Duration::from_secs(400))
        .await;
    assert!(lags.iter().all(|lag| *lag < 2000), "{lags:?}");
    drop(writer);
    let inventory = bench.archive.inventory().await.expect("a list");
    let merged = inventory
        .chain
        .iter()
        .filter(|(object, _)| object.begins.is_some());
    assert!(merged.count() >= 2, "{}", inventory.chain.len());
    let stored = bench.stored().await;
    assert!(stored.len() > 700, "{}", stored.len());
    // What had happened before the first confirmation is not known.
    let unknown = stored.iter().filter(|segment| !segment.header.continuous);
    let unknown: Vec<u64> = unknown.map(|segment| segment.header.sequence).collect();
    assert_eq!(unknown, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_stands_still_is_not_taken_for_one_that_is_in_step() {
    let bench = Bench::new(Duration::from_millis(1));
    let mut writer = bench.writer().await;
    let mut source = Double::every(Duration::from_millis(400));
    // Ten revisions arrive, more happen, and the member continues to say that these ten are all.
    source.stuck = Some(BASE + 10);
    let lags = bench
        .lags(&mut writer, &mut source, Duration::from_secs(30))
        .await;
    assert!(lags[..9].iter().all(|lag| *lag < 2000), "{lags:?}");
    assert!(lags[20..].is_sorted_by(|a, b| a < b), "{lags:?}");
    assert!(lags.last().is_some_and(|lag| *lag > 20_000), "{lags:?}");
    // What it had is archived nevertheless.
    let last = bench.stored().await.pop().expect("a segment").header;
    assert_eq!(last.through, BASE + 10);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_answers_no_reads_is_left_for_another_when_it_delivers_nothing() {
    let bench = Bench::new(Duration::from_millis(1));
    let mut writer = bench.writer().await;
    let mut source = Double::every(Duration::from_millis(400));
    (source.reads, source.stuck) = (false, Some(BASE + 50));
    let began = Instant::now();
    let Err(end) = Box::pin(follow(&mut writer, &mut source)).await;
    assert!(matches!(end, End::Again(_)), "another member is tried");
    // What it delivers is taken until then, and confirms nothing.
    let passed = began.elapsed();
    let until = Duration::from_millis(50 * 400) + SILENCE;
    assert!(passed >= until && passed < until + SILENCE, "{passed:?}");
    let lag = bench.lag();
    assert!(lag >= 20_000, "{lag}");
    let stored = bench.stored().await;
    assert!(stored.len() > 5, "{}", stored.len());
    assert!(stored.iter().all(|segment| !segment.header.continuous));
}

/// A segment of one revision.
async fn stores(writer: &mut Writer<'_>, revision: i64) -> Result<(), Error> {
    let now = clock();
    let taken = writer.collector.event(event(revision, 0, 0), now);
    taken.expect("no hole");
    writer.collector.confirm(revision, now).expect("no hole");
    Box::pin(writer.store()).await
}

#[tokio::test(start_paused = true)]
async fn a_writer_whose_last_segments_are_gone_ends_and_the_next_one_archives_them_again() {
    let bench = Bench::new(Duration::from_millis(1));
    let mut writer = bench.writer().await;
    for revision in 11..15 {
        stores(&mut writer, revision).await.expect("stored");
    }
    // The repository is set back while changes come all the time.
    for lost in [2, 3] {
        let object = bench.archive.path(&Object::segment(lost));
        bench.repository.delete(&object).await.expect("deleted");
    }
    let ended = stores(&mut writer, 15).await.expect_err("a hole");
    let ended = ended.to_string();
    assert!(
        ended.contains("segment-000000000003") && ended.contains("not there any more"),
        "{ended}"
    );
    drop(writer);
    let later = bench.later();
    let mut writer = later.writer().await;
    assert_eq!(later.standing.borrow().through, 12);
    for revision in 13..16 {
        stores(&mut writer, revision).await.expect("stored");
    }
    let stored = later.stored().await;
    let through = stored.iter().map(|segment| segment.header.through);
    assert_eq!(through.collect::<Vec<_>>(), [11, 12, 13, 14, 15]);
}

/// A clock that continued, and is an hour back since.
fn corrected() -> i64 {
    clock() - 3_600_000
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_neither_stops_the_archive_nor_hides_that_it_is_behind() {
    let bench = Bench::new(Duration::from_millis(1));
    let mut writer = bench.writer().await;
    let mut source = Double::every(Duration::from_millis(400));
    let mut before = 0;
    for clock in [clock as fn() -> i64, corrected] {
        writer.clock = clock;
        let lags = bench
            .lags(&mut writer, &mut source, Duration::from_secs(20))
            .await;
        assert!(lags.iter().all(|lag| *lag < 2000), "{lags:?}");
        let stored = bench.standing.borrow().segments;
        assert!(stored > before + 30, "{stored} after {before}");
        before = stored;
    }
    // Nothing follows the member now, and the clock is of no account.
    sleep(Duration::from_secs(30)).await;
    assert!(bench.lag() >= 30_000);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_known_to_the_writer_that_comes_after() {
    let bench = Bench::new(Duration::from_millis(1));
    let mut writer = bench.writer().await;
    assert_eq!(bench.standing.borrow().gap, None);
    let skipped = Box::pin(writer.skip(BASE + 5, "compacted".to_owned())).await;
    assert!(matches!(skipped, Err(End::Again(_))));
    let known = bench.standing.borrow().gap.clone();
    assert_eq!(
        known.as_ref().map(|gap| (gap.after, gap.until)),
        Some((10, 15))
    );
    // Others follow it.
    for revision in 16..40 {
        let now = clock();
        let taken = writer.collector.event(event(revision, 0, 0), now);
        taken.expect("no hole");
        writer.collector.confirm(revision, now).expect("no hole");
        Box::pin(writer.store()).await.expect("stored");
    }
    drop(writer);
    let later = bench.later();
    let _writer = later.writer().await;
    assert_eq!(later.standing.borrow().gap, known);
}

#[tokio::test(start_paused = true)]
async fn who_continues_an_archive_without_an_owner_names_the_former_one_before_it_writes() {
    let bench = Bench::new(Duration::from_millis(1));
    let tail = Tail::New {
        after: BASE,
        cluster_id: "c".to_owned(),
        since: clock(),
    };
    let mut former = Collector::new("archive-log-11111111-6f9cd5b7c4-x2x4z", tail);
    let taken = former.event(event(BASE + 1, 0, 0), clock());
    taken.expect("no hole");
    former.confirm(BASE + 1, clock()).expect("no hole");
    let (segment, bytes) = former.close(clock()).expect("a segment");
    let stored = bench.archive.append(segment.header.sequence, bytes.into());
    stored.await.expect("stored");
    let marks = async || {
        let marks = bench.archive.marks().await.expect("a list");
        let names = marks.iter().filter_map(|mark| mark.filename());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut writer = bench.writer().await;
    assert_eq!(marks().await, ["owner-former"]);
    let now = clock();
    let taken = writer.collector.event(event(BASE + 2, 0, 0), now);
    taken.expect("no hole");
    writer.collector.confirm(BASE + 2, now).expect("no hole");
    Box::pin(writer.store()).await.expect("stored");
    assert_eq!(marks().await, ["owner-former", "owner-uid"]);
}
