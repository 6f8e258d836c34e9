//! The clock of the recording client: wall time anchored once, monotonic from there.
//!
//! Every record of a run carries this clock's nanoseconds, so that intervals are true even where the wall clock is
//! stepped, and times of other processes on the same host can be translated by one offset. One that is started again,
//! and the process of the final phase, continue the clock of the first: it is kept beside the history, with what the
//! kernel's monotonic clock said then. An anchor of their own would put a step of the wall clock between their times.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use etcd_history::record::Nanos;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::schedule::pause;

/// Spacing of looks for a file that another process tells its clock by.
const LOOK: Duration = Duration::from_millis(10);
/// Another one each time that the machine boots, when its monotonic clock begins again.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// An anchored clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Nanos,
    anchor: Instant,
}

impl Clock {
    /// Anchors a clock now.
    pub(crate) fn anchored() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            wall: nanos(wall),
            anchor: Instant::now(),
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// An instant of this process on this clock; instants before the anchor give the anchor.
    pub(crate) fn at(&self, instant: Instant) -> Nanos {
        self.wall + nanos(instant.saturating_duration_since(self.anchor))
    }

    /// The clock of a history: that of the first process that wrote to it. Anchored now where there was none, or the
    /// machine has booted since.
    pub(crate) fn of(history: &Path) -> io::Result<Self> {
        let boot = boot()?;
        match Kept::read(&kept_file(history)) {
            Ok(kept) if kept.boot == boot => return Ok(kept.continued()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let clock = Self::anchored();
        let kept = Kept {
            clock: clock.now(),
            monotonic: monotonic(),
            boot,
        };
        whole(&kept_file(history), &serde_json::to_string(&kept)?)?;
        Ok(clock)
    }

    /// The clock of a history that another process is writing to.
    pub(crate) fn joined(history: &Path) -> io::Result<Self> {
        let kept = Kept::read(&kept_file(history))?;
        match boot()? == kept.boot {
            true => Ok(kept.continued()),
            false => Err(io::Error::other("its clock is from before the last boot")),
        }
    }

    /// Tells other processes this clock, by a file that appears whole.
    pub(crate) fn tell(&self, file: &Path) -> io::Result<()> {
        whole(file, &self.now().to_string())
    }
}

/// A clock, as a process keeps it for the others that write to the same history.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// What it said.
    clock: Nanos,
    /// What the kernel's monotonic clock said then, which is one for all processes.
    monotonic: Nanos,
    /// The boot since which that clock has run.
    boot: String,
}

impl Kept {
    fn read(file: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        Ok(serde_json::from_str(&text)?)
    }

    fn continued(&self) -> Clock {
        let since = monotonic().saturating_sub(self.monotonic);
        Clock {
            wall: self.clock.saturating_add(since),
            anchor: Instant::now(),
        }
    }
}

/// The file beside a history that keeps its clock.
fn kept_file(history: &Path) -> PathBuf {
    history.with_extension("clock")
}

fn boot() -> io::Result<String> {
    std::fs::read_to_string(BOOT).map(|boot| boot.trim().to_owned())
}

fn monotonic() -> Nanos {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic));
    // It counts from the boot of the machine and is never negative.
    nanos(now.unwrap_or_default())
}

/// Writes a file that appears whole.
fn whole(file: &Path, text: &str) -> io::Result<()> {
    let part = file.with_extension("part");
    std::fs::write(&part, text)?;
    std::fs::rename(part, file)
}

/// The clock of another process, as a file had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Its clock when it wrote the file.
    clock: Nanos,
    /// For so long the file was not there.
    waited: Duration,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.clock, nanos(self.waited))
    }
}

/// Waits for what another process says of its clock.
pub(crate) async fn told(file: &Path, limit: Duration) -> anyhow::Result<Told> {
    let begin = Instant::now();
    let mut waited = Duration::ZERO;
    loop {
        let looked = begin.elapsed();
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let clock = text.parse::<Nanos>();
                let clock = clock.with_context(|| format!("{text:?} is no clock"))?;
                return Ok(Told { clock, waited });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => waited = looked,
            Err(error) => return Err(error).context("failed to read its clock"),
        }
        if looked > limit {
            bail!("nothing was told within {} s", limit.as_secs());
        }
        pause(LOOK).await;
    }
}

/// A duration in nanoseconds, saturating after three centuries.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clock_of_the_process_that_records_is_told_and_not_the_wall_clock() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("started");
        // Its anchor is older than a step of the wall clock.
        let clock = Clock {
            wall: 1_000_000_000,
            anchor: Instant::now(),
        };
        let later = async {
            pause(Duration::from_millis(60)).await;
            clock.tell(&file).unwrap();
        };
        let begin = Instant::now();
        let (read, ()) = tokio::join!(told(&file, Duration::from_secs(60)), later);
        let read = read.unwrap();
        assert!(
            (1_060_000_000..=clock.now()).contains(&read.clock),
            "{read}"
        );
        assert!(read.waited > Duration::ZERO && read.waited <= begin.elapsed());
        let text = read.to_string();
        assert_eq!(text, format!("{} {}", read.clock, nanos(read.waited)));
        assert!(!dir.path().join("started.part").exists());

        let silent = told(&dir.path().join("stopped"), Duration::ZERO).await;
        let error = silent.unwrap_err().to_string();
        assert!(error.contains("nothing was told"), "{error}");
        std::fs::write(&file, "").unwrap();
        assert!(
            told(&file, Duration::ZERO).await.is_err(),
            "no clock at all"
        );
    }

    /// A history's clock, changed as another time would have left it.
    fn change(history: &Path, change: impl FnOnce(&mut Kept)) {
        let mut kept = Kept::read(&kept_file(history)).unwrap();
        change(&mut kept);
        let text = serde_json::to_string(&kept).unwrap();
        whole(&kept_file(history), &text).unwrap();
    }

    const HOUR: Nanos = 3_600_000_000_000;
    const MINUTE: Nanos = 60_000_000_000;

    #[test]
    fn a_step_of_the_wall_clock_does_not_come_between_processes_of_one_history() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history.jsonl");
        let first = Clock::of(&history).unwrap();
        // As if the wall clock had been put forward by an hour since the first one began.
        change(&history, |kept| kept.clock -= HOUR);
        for next in [Clock::of(&history), Clock::joined(&history)] {
            let apart = next.unwrap().now() - (first.now() - HOUR);
            assert!(apart.abs() < MINUTE, "{apart}");
        }
        // What it said a minute ago is a minute ago.
        change(&history, |kept| kept.monotonic -= 10 * MINUTE);
        let later = Clock::joined(&history).unwrap().now() - (first.now() - HOUR);
        assert!((later - 10 * MINUTE).abs() < MINUTE, "{later}");
    }

    #[test]
    fn a_clock_from_before_the_boot_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history.jsonl");
        let missing = Clock::joined(&history).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let first = Clock::of(&history).unwrap();
        change(&history, |kept| {
            (kept.clock, kept.boot) = (kept.clock - HOUR, "another".to_owned());
        });
        let error = Clock::joined(&history).unwrap_err().to_string();
        assert!(error.contains("before the last boot"), "{error}");
        let apart = Clock::of(&history).unwrap().now() - first.now();
        assert!(apart.abs() < MINUTE, "{apart}");
        assert!(Clock::joined(&history).is_ok());
        std::fs::write(kept_file(&history), "{").unwrap();
        assert!(Clock::of(&history).is_err(), "no clock at all");
    }

    #[test]
    fn runs_forward_and_keeps_intervals() {
        let clock = Clock::anchored();
        let first = Instant::now();
        let later = first + Duration::from_millis(250);
        assert_eq!(clock.at(later) - clock.at(first), 250_000_000);
        assert!(clock.now() >= clock.at(first));
    }
}
