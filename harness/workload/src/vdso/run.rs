//! The commands: a clock is shifted for a while, looked at, and set back.

use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::vdso::code::{Clock, Machine, Shift};
use crate::vdso::image::{self, Image};
use crate::vdso::stopped::{self, Written};
use crate::vdso::{date, elf};

/// Between two lines.
const LINE: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Shifts it until it is told to end or its time is over; prints what is seen of it, a line of JSON at a time.
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
    #[arg(long, allow_negative_numbers = true)]
    ms: i64,
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

impl Place {
    fn look(&self, shifted: bool) -> Look {
        let ahead_s = date::ahead(self.port).ok();
        Look { shifted, ahead_s }
    }
}

/// Shifts a clock until `ends` says how it ends, which waits for so long at most.
fn shift(order: &Order, ends: impl FnMut(Duration) -> Option<End>) -> anyhow::Result<()> {
    let program = &order.place.program;
    let member = Member::find(program)?;
    let shifted = member.is_shifted()?;
    anyhow::ensure!(
        !shifted,
        "the clock of {program} is shifted already: `workload clock restore` sets it back"
    );
    let bytes = Machine::own()?.shifted_by(Shift::new(order.ms, &order.clocks));
    let written = member.write(&bytes)?;
    let watched = watch((&member, &bytes), (order.place.port, written), ends);
    // Whatever was seen, and also when it could not be printed.
    let restored = member.restore();
    restored.with_context(|| format!("failed to set the clock of {program} back"))?;
    let (last, end) = watched?;
    let ended = Some(end);
    print(&Report { ended, ..last })
}

/// Prints what is seen until `ends` says how it ends; what was seen last.
fn watch(
    (member, bytes): (&Member, &[u8]),
    (port, written): (u16, Written),
    mut ends: impl FnMut(Duration) -> Option<End>,
) -> anyhow::Result<(Report, End)> {
    let mut longest = Duration::ZERO;
    loop {
        let end = ends(longest);
        let report = Report {
            in_place: member.has(bytes)?,
            ahead_s: date::ahead(port).ok(),
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
    fn write(&self, bytes: &[u8]) -> anyhow::Result<Written> {
        let (length, longest) = (bytes.len(), self.function.len());
        anyhow::ensure!(
            length <= longest,
            "this kernel's function has {longest} bytes, and {length} are needed"
        );
        let at = self.addresses.start + u64::try_from(self.function.start)?;
        stopped::write(self.process, &self.addresses, (at, bytes))
    }

    /// Makes the function what it was.
    fn restore(&self) -> anyhow::Result<Written> {
        self.write(&self.image.bytes[self.function.clone()])
    }
}
