//! The commands: a clock is shifted for a while, looked at, and set back.

use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::time::TimeValLike as _;
use nix::time::ClockId;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::vdso::code::{CLOCKS, Clock, MS, Machine, PERCENT, Shift};
use crate::vdso::deadline::Deadlines;
use crate::vdso::image::{self, Image};
use crate::vdso::rate::Rate;
use crate::vdso::stopped::{self, Code, Written};
use crate::vdso::{date, elf};

/// Between two lines.
const LINE: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Shifts it, or lets it run fast or slow, until it is told to end or its time is over; prints what is seen of it,
    /// a line of JSON at a time.
    Shift(Order),
    /// Sets it back, if it is shifted; prints whether it was.
    Restore(Place),
    /// Prints whether it is shifted.
    Look(Place),
}

/// Whose clock.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Name of the process, of which there is one.
    #[arg(long, default_value = "etcd")]
    program: String,
    /// Port of the loopback at which it answers with its time, by HTTP.
    #[arg(long, default_value_t = 2379)]
    port: u16,
}

/// How it is shifted.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    #[command(flatten)]
    place: Place,
    /// By so many milliseconds, backwards where it is less than none.
    #[arg(
        long,
        allow_negative_numbers = true,
        default_value_t = 0,
        value_parser = clap::value_parser!(i64).range(MS)
    )]
    ms: i64,
    /// From now on it runs at so many percent of the machine's rate: 110 is a clock that is fast.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(PERCENT))]
    rate_percent: i64,
    /// Which of its clocks.
    #[arg(long = "clock", default_value = "realtime")]
    clocks: Vec<Clock>,
    /// It ends by itself after so many seconds.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    /// It was told to.
    Asked,
    /// Its time was over.
    Limit,
}

/// What is seen while it is shifted, and at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// The code that shifts it is where it was written.
    in_place: bool,
    /// By how many seconds its answers are ahead of this machine.
    ahead_s: Option<i64>,
    /// The least and the most percent of this machine's rate at which the time runs that its answers say; none before
    /// that can be known.
    rate_percent: Option<[i64; 2]>,
    /// The least percent of this machine's rate at which its monotonic clock runs: by a deadline that it kept. None
    /// where that clock is not changed, or nothing is known yet.
    deadline_percent: Option<i64>,
    /// How often its threads were stopped until it could be written, and for how long the last time.
    tries: u32,
    held_us: u128,
    /// How it ended, if it has: then it is set back.
    ended: Option<End>,
}

/// What is seen of one that may be shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Look {
    shifted: bool,
    ahead_s: Option<i64>,
}

impl Command {
    /// Does it, until `ends` says so.
    pub(crate) fn run(
        self,
        runtime: &Runtime,
        ends: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> anyhow::Result<()> {
        match self {
            Self::Shift(order) => {
                let mut ends = Box::pin(ends);
                // Polled once before anything is changed: else an order to end could kill this process, and leave
                // what it has changed.
                let ended = runtime.block_on(async {
                    tokio::select! {
                        biased;
                        ended = &mut ends => Some(ended),
                        () = std::future::ready(()) => None,
                    }
                });
                if let Some(ended) = ended {
                    return ended;
                }
                let (tell, told) = channel();
                runtime.spawn(async move {
                    if ends.await.is_ok() {
                        // One that has ended by itself does not listen.
                        let _ = tell.send(());
                    }
                });
                let limit = Instant::now() + Duration::from_secs(order.seconds);
                shift(&order, |longest| match told.recv_timeout(longest) {
                    Ok(()) => Some(End::Asked),
                    Err(RecvTimeoutError::Timeout) if Instant::now() < limit => None,
                    Err(_) => Some(End::Limit),
                })
            }
            Self::Restore(place) => {
                let member = Member::find(&place.program)?;
                let shifted = member.is_shifted()?;
                if shifted {
                    member.restore()?;
                }
                print(&place.look(shifted))
            }
            Self::Look(place) => {
                let member = Member::find(&place.program)?;
                print(&place.look(member.is_shifted()?))
            }
        }
    }
}

impl Order {
    /// What is asked for.
    fn shift(&self) -> anyhow::Result<Shift> {
        anyhow::ensure!(
            self.ms != 0 || self.rate_percent != 100,
            "there is nothing to change: --ms takes another number than 0, or --rate-percent another than 100"
        );
        Ok(Shift::new(self.ms, self.rate_percent))
    }
}

impl Place {
    fn look(&self, shifted: bool) -> Look {
        let seen = date::seen(self.port).ok();
        let ahead_s = seen.map(|seen| seen.ahead_s);
        Look { shifted, ahead_s }
    }
}

/// Shifts a clock until `ends` says how it ends, which waits for so long at most.
fn shift(order: &Order, ends: impl FnMut(Duration) -> Option<End>) -> anyhow::Result<()> {
    let new = order.shift()?;
    let program = &order.place.program;
    let member = Member::find(program)?;
    let shifted = member.is_shifted()?;
    anyhow::ensure!(
        !shifted,
        "the clock of {program} is shifted already: `workload clock restore` sets it back"
    );
    let machine = Machine::own()?;
    // The bases are read while all of its threads stand still: none can have seen a later time.
    let code = || -> anyhow::Result<Vec<u8>> {
        Ok(machine.shifted_by(new, bases(&order.clocks, machine_time)?))
    };
    let written = member.write(&code)?;
    let measured = order.clocks.contains(&Clock::Monotonic);
    let deadlines = measured.then(|| Deadlines::of(order.place.port));
    let watched = watch(
        &member,
        (order.place.port, deadlines.as_ref()),
        &written,
        ends,
    );
    // Whatever was seen, and also when it could not be printed.
    let restored = member.restore();
    restored.with_context(|| format!("failed to set the clock of {program} back"))?;
    let (last, end) = watched?;
    let ended = Some(end);
    print(&Report { ended, ..last })
}

/// What these clocks say, in nanoseconds, each at its own place; all others are 0.
fn bases(
    clocks: &[Clock],
    says: impl Fn(usize) -> anyhow::Result<i64>,
) -> anyhow::Result<[i64; CLOCKS]> {
    let mut bases = [0; CLOCKS];
    for number in clocks.iter().flat_map(|clock| clock.numbers()) {
        bases[*number] = says(*number)?;
    }
    Ok(bases)
}

/// What a clock of the kernel says in this process.
fn machine_time(number: usize) -> anyhow::Result<i64> {
    let now = ClockId::from_raw(i32::try_from(number)?).now();
    let now = now.with_context(|| format!("failed to read clock {number} of the kernel"))?;
    Ok(now.num_nanoseconds())
}

/// Prints what is seen until `ends` says how it ends; what was seen last.
fn watch(
    member: &Member,
    (port, deadlines): (u16, Option<&Deadlines>),
    written: &Written,
    mut ends: impl FnMut(Duration) -> Option<End>,
) -> anyhow::Result<(Report, End)> {
    let mut longest = Duration::ZERO;
    let mut rate = Rate::default();
    loop {
        let end = ends(longest);
        let seen = date::seen(port).ok();
        let report = Report {
            in_place: member.has(&written.bytes)?,
            ahead_s: seen.map(|seen| seen.ahead_s),
            rate_percent: seen.and_then(|seen| rate.percent(seen.answer)),
            deadline_percent: deadlines.and_then(Deadlines::least_percent),
            tries: written.tries,
            held_us: written.held.as_micros(),
            ended: None,
        };
        if let Some(end) = end {
            return Ok((report, end));
        }
        print(&report)?;
        longest = LINE;
    }
}

fn print(line: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    out.flush().context("failed to print")
}

/// A process, and its function.
struct Member {
    process: i32,
    /// What the kernel maps into each process.
    image: Image,
    /// Where that is in this one.
    addresses: Range<u64>,
    function: Range<usize>,
}

impl Member {
    fn find(program: &str) -> anyhow::Result<Self> {
        let name = Machine::own()?.function;
        let process = image::named(program)?;
        let image = Image::own()?;
        let function = elf::function(&image.bytes, name);
        let function = function.with_context(|| format!("this kernel has no function {name}"))?;
        let addresses = Image::of(process)?.addresses;
        Ok(Self {
            process,
            image,
            addresses,
            function,
        })
    }

    /// Whether what is mapped into it is another than what the kernel has.
    fn is_shifted(&self) -> anyhow::Result<bool> {
        Ok(Image::of(self.process)?.bytes != self.image.bytes)
    }

    /// Whether its function begins with this.
    fn has(&self, bytes: &[u8]) -> anyhow::Result<bool> {
        let image = Image::of(self.process)?;
        Ok(image.bytes[self.function.start..].starts_with(bytes))
    }

    /// Writes this over the beginning of its function.
    fn write(&self, new: &Code<'_>) -> anyhow::Result<Written> {
        let longest = self.function.len();
        let fits = || -> anyhow::Result<Vec<u8>> {
            let bytes = new()?;
            let length = bytes.len();
            anyhow::ensure!(
                length <= longest,
                "this kernel's function has {longest} bytes, and {length} are needed"
            );
            Ok(bytes)
        };
        let at = self.addresses.start + u64::try_from(self.function.start)?;
        stopped::write(self.process, &self.addresses, (at, &fits))
    }

    /// Makes the function what it was.
    fn restore(&self) -> anyhow::Result<Written> {
        self.write(&|| Ok(self.image.bytes[self.function.clone()].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn order(words: &[&str]) -> Result<Order, String> {
        let words = ["clock", "shift"].iter().chain(words).copied();
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Shift(order)) => Ok(order),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_rate_and_an_offset_are_taken_within_what_is_accepted() {
        let both = order(&["--ms", "-5", "--rate-percent", "110"]).expect("an order");
        assert_eq!((both.ms, both.rate_percent), (-5, 110));
        let rate = order(&["--rate-percent", "50"]).expect("an order");
        assert_eq!((rate.ms, rate.rate_percent), (0, 50));
        let ms = order(&["--ms", "7"]).expect("an order");
        assert_eq!((ms.ms, ms.rate_percent), (7, 100));
        for percent in ["9", "0", "-100", "1001", "1.1"] {
            let refused = order(&[&format!("--rate-percent={percent}")]).expect_err(percent);
            assert!(refused.contains("--rate-percent"), "{refused}");
        }
        let refused = order(&["--rate-percent", "9"]).expect_err("too slow");
        assert!(refused.contains("10..=1000"), "{refused}");
        let refused = order(&["--ms", "3155760000001"]).expect_err("too far");
        assert!(refused.contains("3155760000000"), "{refused}");
        for words in [&[][..], &["--ms", "0", "--rate-percent", "100"]] {
            let refused = order(words).expect("an order").shift();
            let refused = refused.expect_err("nothing to do").to_string();
            assert!(refused.contains("--ms takes another"), "{refused}");
        }
    }

    #[test]
    fn each_clock_has_a_base_of_its_own_and_the_others_have_none() {
        let says = |number: usize| -> anyhow::Result<i64> { Ok(i64::try_from(number)? + 100) };
        let bases = bases(&[Clock::Realtime], says).expect("bases");
        assert_eq!([bases[0], bases[5], bases[11]], [100, 105, 111]);
        assert_eq!(bases.iter().filter(|base| **base == 0).count(), CLOCKS - 3);
    }

    #[test]
    fn the_machines_clocks_are_read_in_nanoseconds() {
        let second = 1_000_000_000;
        let before = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let before = i64::try_from(before.expect("after 1970").as_nanos()).expect("64 bits");
        let read = machine_time(0).expect("the time of day");
        assert!((read - before).abs() < 600 * second, "{read}, {before}");
        for number in [Clock::Realtime, Clock::Monotonic]
            .map(Clock::numbers)
            .concat()
        {
            assert!(machine_time(number).expect("a clock") > 0, "{number}");
        }
        assert!(machine_time(99).is_err());
    }
}
