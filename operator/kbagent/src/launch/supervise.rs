//! Stands over etcd as its parent: passes signals on, reaps what ends, and kills etcd when the agent demands it.
//!
//! The launcher is process 1 of the container: what is orphaned there becomes its child, and when it ends the kernel
//! kills everything else in the container.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::timeout;

use super::demand::{Demand, Gate, Running};
use super::{LAUNCHER_SOCKET, YES};

/// Longest demand: two words.
const DEMAND_BYTES: u64 = 64;
/// Longest time that one caller may take.
const EXCHANGE: Duration = Duration::from_millis(200);

/// How etcd ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, or by another's hand: with this status.
    Exited(u8),
    /// It was killed here, to be started again.
    Restart,
    /// It was told to stop, to be started again later.
    Drained,
}

/// Signals that concern the launcher. Made before etcd, so that none is missed.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    child: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// Waits until the process is told to stop: as process 1 it would not die of a signal by itself.
    pub(super) async fn stop(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
        }
    }
}

/// Listens for demands of the agent, which runs as the same user.
pub(super) fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let path = run_dir.join(LAUNCHER_SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Stands over the etcd with number `etcd` until it ends.
pub(super) async fn supervise(
    etcd: Pid,
    listener: Option<&UnixListener>,
    gate: &mut Gate,
    signals: &mut Signals,
) -> End {
    let mut state = Running::Serves;
    let mut ended = false;
    loop {
        if let Some(status) = reap(etcd) {
            return match state {
                Running::Killed => End::Restart,
                Running::Drains => End::Drained,
                state => End::Exited(code(status, state)),
            };
        }
        tokio::select! {
            _ = signals.child.recv() => {}
            stop = signals_stop(&mut signals.terminate, &mut signals.interrupt) => {
                state = Running::Stops;
                send(etcd, stop);
            }
            demanded = accept(listener) => {
                let judge = |demand| gate.judge(demand, state, Instant::now());
                match answer(demanded, judge).await {
                    Some(Demand::Restart { term }) => {
                        tracing::warn!(term, "etcd has lost its leader: it is killed and started again");
                        state = Running::Killed;
                        send(etcd, Signal::KILL);
                    }
                    Some(Demand::Drain) => {
                        tracing::info!("the member is about to be removed: etcd is told to stop");
                        state = Running::Drains;
                        send(etcd, Signal::TERM);
                    }
                    Some(Demand::End) if !ended => {
                        tracing::info!("etcd waits for streams of clients: it is killed");
                        ended = true;
                        send(etcd, Signal::KILL);
                    }
                    _ => {}
                }
            }
        }
    }
}

async fn signals_stop(terminate: &mut unix::Signal, interrupt: &mut unix::Signal) -> Signal {
    tokio::select! {
        _ = terminate.recv() => Signal::TERM,
        _ = interrupt.recv() => Signal::INT,
    }
}

/// Sends a signal. A process that has ended and was not reaped yet takes it without effect.
fn send(etcd: Pid, signal: Signal) {
    if let Err(error) = kill_process(etcd, signal) {
        tracing::warn!(%error, ?signal, "failed to send etcd a signal");
    }
}

/// Reaps all that has ended; the status of etcd when it is among it.
fn reap(etcd: Pid) -> Option<WaitStatus> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == etcd && (status.exited() || status.signaled()) {
            return Some(status);
        }
    }
    None
}

/// What the container's runtime is told. An etcd that is process 1 ends with 0 after a request to stop; as a child it
/// dies of the signal that it was sent.
fn code(status: WaitStatus, state: Running) -> u8 {
    let word = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (_, Some(_)) if state == Running::Stops => 0,
        (_, Some(signal)) => 128 + signal,
        _ => 1,
    };
    u8::try_from(word).unwrap_or(1)
}

/// The next caller. Without a listener there never is one.
async fn accept(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Reads one demand and answers it; the demand when it is to be done.
async fn answer(
    caller: io::Result<UnixStream>,
    judge: impl FnOnce(Demand) -> Result<(), &'static str>,
) -> Option<Demand> {
    let mut stream = match caller {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "failed to accept a demand of the agent");
            // Out of descriptors, perhaps: without a pause this would turn without end.
            tokio::time::sleep(EXCHANGE).await;
            return None;
        }
    };
    let own = rustix::process::geteuid().as_raw();
    if stream.peer_cred().map_or(true, |peer| peer.uid() != own) {
        return None;
    }
    let demand = timeout(EXCHANGE, read(&mut stream)).await.ok().flatten();
    let verdict = match demand {
        Some(demand) => judge(demand),
        None => Err("this is no demand"),
    };
    if let (Some(demand), Err(why)) = (demand, verdict) {
        tracing::info!(%demand, why, "a demand of the agent is refused");
    }
    let text = verdict.err().unwrap_or(YES);
    let _ = timeout(EXCHANGE, stream.write_all(text.as_bytes())).await;
    demand.filter(|_| verdict.is_ok())
}

async fn read(stream: &mut UnixStream) -> Option<Demand> {
    let mut line = Vec::new();
    let mut limited = stream.take(DEMAND_BYTES);
    let mut byte = [0];
    while limited.read(&mut byte).await.ok()? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Demand::parse(std::str::from_utf8(&line).ok()?)
}
