//! The step between the supervisor and the program: a process that puts the filter in front of itself, hands what
//! listens to it over, and becomes the program.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::filter;
use crate::kernel;

/// What is said where the filter is there.
const READY: &[u8] = b"ready";

/// Becomes the program. Standard input is a socket to the supervisor. Without a filter the program runs anyway,
/// and the supervisor knows why. `reads` are announced where they are to be refused.
pub(crate) fn enter(command: &[String], reads: bool) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("failed to find a program")?;
    let filtered = rustix::thread::set_no_new_privs(true).map_err(io::Error::from);
    let filtered = filtered.and_then(|()| kernel::install(&filter::program(reads)));
    let told = match &filtered {
        Ok(listener) => tell(READY, Some(listener)),
        Err(error) => tell(error.to_string().as_bytes(), None),
    };
    told.context("failed to hand the listener over")?;
    // Closed before the program begins, as the kernel made it.
    let failed = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .exec();
    Err(failed).with_context(|| format!("failed to start {program}"))
}

fn tell(text: &[u8], listener: Option<&OwnedFd>) -> io::Result<()> {
    let files: Vec<_> = listener.iter().map(|file| file.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no space for a file"));
    }
    let stdin = io::stdin();
    let text = [IoSlice::new(text)];
    sendmsg(stdin.as_fd(), &text, &mut control, SendFlags::empty())?;
    Ok(())
}

/// What listens to the program, from the process that is about to become it.
///
/// # Errors
/// Why there is no filter.
pub(crate) fn listener(from: &UnixStream) -> anyhow::Result<OwnedFd> {
    let mut text = [0; 1000];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut text)];
    let received = recvmsg(from, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
        .context("failed to hear from the program")?;
    let files = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    match files {
        Some(listener) => Ok(listener),
        None => bail!(
            "seccomp's user notification is not to be had: {}",
            String::from_utf8_lossy(&text[..received.bytes])
        ),
    }
}
