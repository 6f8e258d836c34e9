//! Writes into the code of a process that runs: all of its threads are stopped for that, and none may be about to
//! continue in what is overwritten.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longest time for which threads are held, so that no member misses a leader: no longer than between two heartbeats.
const HELD: Duration = Duration::from_millis(50);
/// Between two looks at those that have not.
const LOOK: Duration = Duration::from_micros(100);
/// Between two tries.
const RUNS: Duration = Duration::from_millis(100);
/// Most of them.
const TRIES: u32 = 50;

/// What is written, which is asked for while all threads stand still.
pub(super) type Code<'a> = dyn Fn() -> anyhow::Result<Vec<u8>> + Sync + 'a;

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// What was written.
    pub(super) bytes: Vec<u8>,
    /// How often the threads were stopped for it.
    pub(super) tries: u32,
    /// How long they were, the last time.
    pub(super) held: Duration,
}

/// Writes over code of a process at an address, while none of its threads is in any of this code.
pub(super) fn write(
    process: i32,
    code: &Range<u64>,
    (at, new): (u64, &Code<'_>),
) -> anyhow::Result<Written> {
    let mut last = String::new();
    for tries in 1..=TRIES {
        // The kernel releases all threads that one of ours has stopped, or not yet, when that ends.
        let tried = thread::scope(|scope| scope.spawn(|| attempt(process, code, (at, new))).join());
        let tried = tried.map_err(|_| anyhow::anyhow!("the thread that stops others panicked"))?;
        match tried.with_context(|| format!("failed to change the code of process {process}"))? {
            Tried::Written(bytes, held) => return Ok(Written { bytes, tries, held }),
            Tried::NotNow(why) => last = why,
        }
        thread::sleep(RUNS);
    }
    anyhow::bail!(
        "process {process} could not be stopped outside of its clock, {TRIES} times; the last time: {last}"
    )
}

enum Tried {
    /// This, and it was stopped for so long.
    Written(Vec<u8>, Duration),
    /// Why it was not.
    NotNow(String),
}

fn attempt(process: i32, code: &Range<u64>, (at, new): (u64, &Code<'_>)) -> anyhow::Result<Tried> {
    let begun = Instant::now();
    let mut threads = Threads::default();
    loop {
        let all = threads_of(process)?;
        let new: Vec<Pid> = all
            .into_iter()
            .filter(|thread| !threads.has(*thread))
            .collect();
        if new.is_empty() {
            break;
        }
        threads.stop(&new)?;
        if let Some(why) = threads.wait(begun + HELD)? {
            return Ok(Tried::NotNow(why));
        }
    }
    for at in 0..threads.stopped.len() {
        if let Some(why) = threads.leave((process, at), code, begun + HELD)? {
            return Ok(Tried::NotNow(why));
        }
    }
    let bytes = new()?;
    let memory = format!("/proc/{process}/mem");
    let written = File::options().write(true).open(&memory);
    let written = written.and_then(|file| file.write_all_at(&bytes, at));
    written.with_context(|| format!("failed to write {memory}"))?;
    drop(threads);
    Ok(Tried::Written(bytes, begun.elapsed()))
}

/// The threads of a process.
fn threads_of(process: i32) -> anyhow::Result<Vec<Pid>> {
    let folder = format!("/proc/{process}/task");
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to read {folder}"))?;
    let mut threads = Vec::new();
    for entry in entries {
        let name = entry
            .with_context(|| format!("failed to read {folder}"))?
            .file_name();
        threads.extend(
            name.to_str()
                .and_then(|name| name.parse().ok())
                .map(Pid::from_raw),
        );
    }
    Ok(threads)
}

/// Threads of another process that this thread stops. They continue when this is dropped.
#[derive(Default)]
struct Threads {
    /// Those that were told to stop and have not been seen to.
    told: Vec<Pid>,
    /// Those that have, with the signal that they were about to get.
    stopped: Vec<(Pid, Option<Signal>)>,
    ended: Vec<Pid>,
}

impl Threads {
    fn has(&self, thread: Pid) -> bool {
        let mut stopped = self.stopped.iter();
        self.told.contains(&thread)
            || self.ended.contains(&thread)
            || stopped.any(|(stopped, _)| *stopped == thread)
    }

    /// Tells these to stop.
    fn stop(&mut self, threads: &[Pid]) -> anyhow::Result<()> {
        for thread in threads {
            let told = ptrace::seize(*thread, ptrace::Options::empty());
            match told.and_then(|()| ptrace::interrupt(*thread)) {
                Ok(()) => self.told.push(*thread),
                Err(Errno::ESRCH) => self.ended.push(*thread),
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("failed to stop thread {thread}: it needs CAP_SYS_PTRACE, and no other tracer")
                    });
                }
            }
        }
        Ok(())
    }

    /// Waits until all have stopped; why not, when it took too long.
    fn wait(&mut self, until: Instant) -> anyhow::Result<Option<String>> {
        while let Some(thread) = self.told.last().copied() {
            match waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if until <= Instant::now() => {
                    return Ok(Some(format!("thread {thread} did not stop in {HELD:?}")));
                }
                Ok(WaitStatus::StillAlive) => {
                    thread::sleep(LOOK);
                    continue;
                }
                Ok(WaitStatus::Stopped(_, signal)) => self.stopped.push((thread, Some(signal))),
                Ok(WaitStatus::PtraceEvent(..)) => self.stopped.push((thread, None)),
                Ok(_) | Err(Errno::ECHILD) => self.ended.push(thread),
                // It is about to get a signal without a name, and gets it when it is released.
                Err(Errno::EINVAL) => return Ok(Some(format!("a signal of thread {thread}"))),
                Err(error) => return Err(error).context("failed to wait for a thread to stop"),
            }
            self.told.pop();
        }
        Ok(None)
    }

    /// Lets one that has stopped end what it does in this code, an instruction at a time; why it could not.
    fn leave(
        &mut self,
        (process, at): (i32, usize),
        code: &Range<u64>,
        until: Instant,
    ) -> anyhow::Result<Option<String>> {
        let (thread, signal) = self.stopped[at];
        loop {
            match place(process, thread, code)? {
                Place::Outside => return Ok(None),
                Place::Unclear(why) => return Ok(Some(why)),
                Place::Inside if signal.is_some() || until <= Instant::now() => {
                    return Ok(Some(format!("thread {thread} asks for the time")));
                }
                Place::Inside => {}
            }
            let stepped = ptrace::step(thread, None);
            match stepped.and_then(|()| waitpid(thread, Some(WaitPidFlag::__WALL))) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => continue,
                Ok(WaitStatus::Stopped(_, signal)) => self.stopped[at].1 = Some(signal),
                Ok(WaitStatus::PtraceEvent(..)) => {}
                // It has ended, or is about to get a signal without a name.
                _ => drop(self.stopped.swap_remove(at)),
            }
            return Ok(Some(format!("thread {thread} was met by a signal")));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for (thread, signal) in &self.stopped {
            // One that was killed meanwhile needs it no longer.
            let _ = ptrace::detach(*thread, *signal);
        }
    }
}

/// Where a thread is that has stopped.
enum Place {
    /// In this code.
    Inside,
    /// Elsewhere, and it does not come back without a call.
    Outside,
    /// Why that is not known.
    Unclear(String),
}

fn place(process: i32, thread: Pid, code: &Range<u64>) -> anyhow::Result<Place> {
    let read = |name: &str| {
        let path = format!("/proc/{process}/task/{thread}/{name}");
        fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
    };
    Ok(match instruction(&read("syscall")?) {
        None => Place::Unclear(format!("where thread {thread} is, is not known")),
        Some(at) if code.contains(&at) => Place::Inside,
        Some(_) if blocks_signals(&read("status")?) => {
            Place::Unclear(format!("thread {thread} may be handling a signal"))
        }
        Some(_) => Place::Outside,
    })
}

/// Where a thread is that does not run: the last number.
fn instruction(syscall: &str) -> Option<u64> {
    let last = syscall.split_whitespace().last()?;
    u64::from_str_radix(last.strip_prefix("0x")?, 16).ok()
}

/// Whether a thread may be handling a signal, and so come back to where that met it: a Go program blocks all signals
/// meanwhile, and this one (SIGURG) at hardly any other time.
fn blocks_signals(status: &str) -> bool {
    let mut lines = status.lines();
    let blocked = lines.find_map(|line| line.strip_prefix("SigBlk:"));
    let blocked = blocked.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    blocked.is_none_or(|bits| bits & 1 << (Signal::SIGURG as u32 - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_thread_is_stands_last() {
        let waits = "202 0xc000100148 0x80 0x0 0x0 0x0 0x0 0x7ffc8f3b7a10 0x46d5a3\n";
        assert_eq!(instruction(waits), Some(0x46_d5a3));
        assert_eq!(
            instruction("-1 0x7ffc8f3b7a10 0x7f10cd9e7af0\n"),
            Some(0x7f10_cd9e_7af0)
        );
        assert_eq!(instruction("running\n"), None);
        assert_eq!(instruction(""), None);
    }

    #[test]
    fn a_thread_that_blocks_signals_may_be_handling_one() {
        let status = |bits| format!("Name:\tetcd\nSigQ:\t0/9\nSigBlk:\t{bits}\nSigIgn:\t0\n");
        assert!(!blocks_signals(&status("0000000000000000")));
        assert!(blocks_signals(&status("fffffffe7ffbfeff")));
        assert!(blocks_signals("Name:\tetcd\n"), "not known");
    }
}
