//! The calls of seccomp's user notification, which no safe crate wraps: the only module that may be unsafe.
#![expect(unsafe_code, reason = "seccomp(2) and its ioctls have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    pub(crate) id: u64,
    /// The thread that called.
    pub(crate) thread: u32,
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
}

/// What a call that waits is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel does it.
    Continue,
    /// It ends with this error.
    Fail(i32),
}

/// Puts a filter in front of this thread's system calls, and of what it executes. A call that the filter announces
/// waits for an answer at what this returns.
pub(crate) fn install(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // Without the second flag signals, of which Go sends itself many, interrupt a call that waits; Linux has it since
    // 5.19.
    let kinder =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mut last = io::ErrorKind::Unsupported.into();
    for flags in [kinder, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER] {
        // SAFETY: `program` and the instructions that it points to live until the call has returned, which only reads
        // them.
        let listener = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        match i32::try_from(listener) {
            Ok(listener) if listener >= 0 => {
                // SAFETY: the kernel has just made it for this process; nothing else has it.
                return Ok(unsafe { OwnedFd::from_raw_fd(listener) });
            }
            _ => last = io::Error::last_os_error(),
        }
        if last.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(last)
}

/// Lets the one who waits and the one who answers take turns on one processor, where the kernel can (6.6).
pub(crate) fn take_turns(listener: &OwnedFd) {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: the request takes its flags by value.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SYNC_WAKE_UP,
        )
    };
}

/// The next call that waits.
pub(crate) fn receive(listener: &OwnedFd) -> io::Result<Notice> {
    let mut notice = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data {
            nr: 0,
            arch: 0,
            instruction_pointer: 0,
            args: [0; 6],
        },
    };
    // SAFETY: the kernel writes one `seccomp_notif`, whose size is part of the request's number, and keeps no pointer.
    let done = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut notice,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Notice {
        id: notice.id,
        thread: notice.pid,
        number: notice.data.nr.into(),
        arguments: notice.data.args,
    })
}

/// True while the call still waits: its thread is then who it was.
pub(crate) fn waits(listener: &OwnedFd, notice: &Notice) -> bool {
    // SAFETY: the kernel reads one number and keeps no pointer.
    let done = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const notice.id,
        )
    };
    done == 0
}

/// Answers a call. One that was interrupted or killed meanwhile needs none.
pub(crate) fn answer(listener: &OwnedFd, notice: &Notice, answer: Answer) {
    let mut response = libc::seccomp_notif_resp {
        id: notice.id,
        val: 0,
        error: 0,
        flags: 0,
    };
    match answer {
        // The lowest flag, whose constant is wider than its field.
        Answer::Continue => response.flags = 1,
        Answer::Fail(error) => response.error = -error,
    }
    // SAFETY: the kernel reads one `seccomp_notif_resp`, whose size is part of the request's number, and keeps no
    // pointer.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut response,
        )
    };
}
