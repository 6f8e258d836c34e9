//! The supervisor: starts the program behind the filter, answers its calls one after the other, takes orders, ends as
//! the program ends.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::call::Call;
use crate::disk::{Disk, Refusal};
use crate::kernel;
use crate::message::{Kept, MARK, Order, Report};
use crate::target::Target;
use crate::{enter, orders};

/// How a program is looked after.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// The folder whose files are.
    pub(crate) folder: &'a Path,
    /// The name at which orders are taken.
    pub(crate) name: &'a str,
    /// A file that may have an order for the program's start.
    pub(crate) first: Option<&'a Path>,
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    disk: Disk,
    program: Option<Pid>,
    /// Why calls are not announced.
    blind: Option<String>,
    /// Reads are announced.
    reads: bool,
    /// Calls wait to be answered.
    still: bool,
    /// The power is gone: no call is answered any more.
    off: bool,
    /// The program is dead.
    gone: bool,
}

/// Runs the program to its end; returns its exit code. After a power loss it does not return: the machine is off.
pub(crate) fn run(options: &Options<'_>, command: &[String]) -> anyhow::Result<u8> {
    let folder = std::path::absolute(options.folder)?;
    let first = options.first.map(first_order).transpose()?.flatten();
    let reads = matches!(first, Some(Order::RefuseReads { .. }));
    let orders = orders::listen(options.name)?;
    let (program, listener) = start(command, reads)?;
    let blind = listener.as_ref().err().map(|error| format!("{error:#}"));
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            disk: Disk::new(&folder),
            program: Pid::from_raw(program.id().cast_signed()),
            blind,
            reads,
            still: false,
            off: false,
            gone: false,
        }),
        changed: Condvar::new(),
    });
    // Before any call is answered.
    if let Some(Err(error)) = first.map(|order| shared.obey(order)) {
        eprintln!("disk-faults: the first order was not obeyed: {error:#}");
    }
    match listener {
        Ok(listener) => {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.answer(&listener));
        }
        Err(error) => eprintln!("disk-faults: nothing is looked after: {error:#}"),
    }
    let obeying = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in orders.incoming().flatten() {
            if let Err(error) = orders::serve(stream, |order| obeying.obey(order)) {
                eprintln!("disk-faults: an order was not answered: {error:#}");
            }
        }
    });
    shared.end(program)
}

/// The order that waits for the program's start; none where the file is not there.
fn first_order(path: &Path) -> anyhow::Result<Option<Order>> {
    let place = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("failed to read {place}")),
    };
    let order = serde_json::from_str(&text);
    match order.with_context(|| format!("failed to read the order in {place}"))? {
        Order::LosePower { .. } => bail!("{place}: nothing is written before the program begins"),
        order => Ok(Some(order)),
    }
}

/// Starts the program; what listens to it, or why nothing does.
fn start(command: &[String], reads: bool) -> anyhow::Result<(Child, anyhow::Result<OwnedFd>)> {
    let (ours, theirs) = UnixStream::pair().context("failed to make a socket")?;
    let own = std::env::current_exe().context("failed to find this program")?;
    let program = Command::new(own)
        .args(["disk", "enter"])
        .args(reads.then_some("--reads"))
        .arg("--")
        .args(command)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .context("failed to start a process")?;
    Ok((program, enter::listener(&ours)))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, whatever changes.
    fn pause(&self, time: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, time, |_| true);
    }

    /// Answers every call that is announced.
    fn answer(&self, listener: &OwnedFd) {
        kernel::take_turns(listener);
        loop {
            let notice = match kernel::receive(listener) {
                Ok(notice) => notice,
                // It was interrupted or killed before it could be read.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
                    if self.lock().gone {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    eprintln!("disk-faults: calls are not announced any more: {error}");
                    return;
                }
            };
            let waited = self.changed.wait_while(self.lock(), |state| state.still);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.off || !kernel::waits(listener, &notice) {
                continue;
            }
            let held = state.disk.held();
            let told = state.disk.decide(Call::of(&notice), Target(notice.thread));
            if let Some(told) = told {
                // Under the lock: what is answered has been kept before anything is undone.
                kernel::answer(listener, &notice, told);
            }
            if state.disk.held() > held {
                self.changed.notify_all();
            }
        }
    }

    fn obey(&self, order: Order) -> anyhow::Result<Report> {
        let mut state = self.lock();
        if let Some(why) = &state.blind {
            bail!("{why}");
        }
        if state.off {
            bail!("the power is gone");
        }
        match order {
            Order::StandStill => {
                state.disk.written_back();
                state.still = true;
            }
            Order::LosePower {
                kept,
                wait_ms,
                hold_ms,
            } => {
                drop(state);
                let wait = Duration::from_millis(wait_ms);
                return self.lose_power(kept, (wait, Duration::from_millis(hold_ms)));
            }
            Order::RefuseSyncs { next } => state.disk.syncs = Refusal::of(next),
            Order::RefuseWrites { next } => state.disk.writes = Refusal::of(next),
            Order::Fill => state.disk.full = true,
            Order::RefuseReads { below, ending } => {
                if !state.reads {
                    bail!("reads are not announced: this must be the first order");
                }
                state.disk.refuse_reads(&below, ending);
            }
            Order::Heal => {
                state.still = false;
                self.changed.notify_all();
                state.disk.heal();
            }
            Order::Tell => {}
        }
        Ok(state.disk.report())
    }

    /// Syncs stop to return; when one was held for a while, the program is killed and what it did not sync is undone.
    fn lose_power(&self, kept: Kept, (wait, hold): (Duration, Duration)) -> anyhow::Result<Report> {
        let mut state = self.lock();
        state.disk.holds = true;
        state.still = false;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, wait, |state| state.disk.held() == 0 && !state.gone);
        drop(waited);
        self.pause(hold);
        state = self.lock();
        let program = state.program.filter(|_| !state.gone);
        let program = program.ok_or_else(|| anyhow!("the program had ended before"))?;
        state.off = true;
        kill_process(program, Signal::KILL).context("failed to kill the program")?;
        let dead = self.changed.wait_while(state, |state| !state.gone);
        state = dead.unwrap_or_else(PoisonError::into_inner);
        let died = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let lost = state.disk.lose(kept);
        let report = Report {
            lost,
            died_at_ms: u64::try_from(died).ok(),
            ..state.disk.report()
        };
        say(&report);
        Ok(report)
    }

    /// Waits for the end of the program. What a failing disk had refused to sync is not there later; a full one has
    /// what it took.
    fn end(&self, mut program: Child) -> anyhow::Result<u8> {
        let status = program.wait().context("failed to wait for the program")?;
        let mut state = self.lock();
        state.gone = true;
        self.changed.notify_all();
        while state.off {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let lost = if state.disk.refused() > 0 {
            state.disk.lose(Kept::Nothing)
        } else {
            Vec::new()
        };
        say(&Report {
            lost,
            ..state.disk.report()
        });
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}

/// Into the log, where it stays.
fn say(report: &Report) {
    if let Ok(report) = serde_json::to_string(report) {
        eprintln!("{MARK}{report}");
    }
}
