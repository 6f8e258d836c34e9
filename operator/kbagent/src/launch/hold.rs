//! Becomes etcd, with a lock by which the agent learns of its death: the kernel gives up a process's record locks
//! before it closes any of its sockets.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// Attempts to get the lock: the agent, which looks at it ten times a second, has it for a moment each time, and for
/// longer where it waits for a processor.
const TRIES: u32 = 100;
const AGAIN: Duration = Duration::from_millis(5);

/// Replaces this process by the command, which then holds a lock of the mark as long as it lives. It runs without
/// the lock, too.
///
/// # Errors
/// When the command cannot be started.
pub fn hold(mark: &Path, command: &[String]) -> io::Result<Infallible> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| io::Error::other("no program after \"--\""))?;
    // To be open until the command is there: a record lock ends with any descriptor of its file.
    let _held = lock(mark)
        .inspect_err(|error| {
            tracing::warn!(%error, "clients that come while etcd dies are reset: its mark cannot be locked");
        })
        .ok();
    Err(Command::new(program).args(arguments).exec())
}

fn lock(mark: &Path) -> io::Result<File> {
    let file = File::options().write(true).open(mark)?;
    fcntl_setfd(&file, FdFlags::empty())?;
    for _ in 1..TRIES {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN | Errno::ACCESS) => std::thread::sleep(AGAIN),
            other => return other.map(|()| file).map_err(io::Error::from),
        }
    }
    Err(io::Error::from(io::ErrorKind::WouldBlock))
}
