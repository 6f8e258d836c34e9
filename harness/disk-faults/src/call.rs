//! A system call as it was announced: what it would read, write or sync. Pure.

use crate::kernel::Notice;

/// What a call is about to do. `file` is the number by which its process has the file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Writes so many bytes, at this place or where the file stands.
    Write {
        file: i32,
        at: Option<u64>,
        bytes: u64,
    },
    /// The same, of pieces that a table in its memory names; with flags it is no plain write.
    WriteMany {
        file: i32,
        at: Option<u64>,
        table: u64,
        pieces: u64,
        flags: i32,
    },
    Resize {
        file: i32,
        to: u64,
    },
    Allocate {
        file: i32,
        mode: i32,
        at: u64,
        bytes: u64,
    },
    Sync {
        file: i32,
    },
    SyncAll,
    Read {
        file: i32,
    },
    /// Opens a file and empties it; its path is in its memory.
    Empty {
        folder: i32,
        path: u64,
    },
    Other,
}

impl Call {
    pub(crate) fn of(notice: &Notice) -> Self {
        let [first, second, third, fourth, _, sixth] = notice.arguments;
        let file = number(first);
        // A place behind the end of the number's positive half is none: pwritev2 writes where the file stands.
        let place = |at: u64| i64::try_from(at).is_ok().then_some(at);
        match notice.number {
            libc::SYS_write => Call::Write {
                file,
                at: None,
                bytes: third,
            },
            libc::SYS_pwrite64 => Call::Write {
                file,
                at: Some(fourth),
                bytes: third,
            },
            libc::SYS_writev => Call::WriteMany {
                file,
                at: None,
                table: second,
                pieces: third,
                flags: 0,
            },
            libc::SYS_pwritev | libc::SYS_pwritev2 => Call::WriteMany {
                file,
                at: place(fourth),
                table: second,
                pieces: third,
                // What pwritev has there means nothing.
                flags: match notice.number {
                    libc::SYS_pwritev2 => number(sixth),
                    _ => 0,
                },
            },
            libc::SYS_ftruncate => Call::Resize { file, to: second },
            libc::SYS_fallocate => Call::Allocate {
                file,
                mode: number(second),
                at: third,
                bytes: fourth,
            },
            libc::SYS_fsync | libc::SYS_fdatasync => Call::Sync { file },
            libc::SYS_sync | libc::SYS_syncfs => Call::SyncAll,
            libc::SYS_read
            | libc::SYS_pread64
            | libc::SYS_readv
            | libc::SYS_preadv
            | libc::SYS_preadv2 => Call::Read { file },
            libc::SYS_openat => Call::Empty {
                folder: file,
                path: second,
            },
            _ => Call::Other,
        }
    }
}

/// The lower half, which is all that an `int` has.
fn number(argument: u64) -> i32 {
    (argument as u32).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_the_call() {
        let of = |number, arguments| {
            Call::of(&Notice {
                id: 1,
                thread: 2,
                number,
                arguments,
            })
        };
        let write = |at| Call::Write {
            file: 5,
            at,
            bytes: 40,
        };
        assert_eq!(of(libc::SYS_write, [5, 0xdead, 40, 9, 0, 0]), write(None));
        assert_eq!(
            of(libc::SYS_pwrite64, [5, 0xdead, 40, 9, 0, 0]),
            write(Some(9))
        );
        let many = |at, flags| Call::WriteMany {
            file: 5,
            at,
            table: 0xdead,
            pieces: 2,
            flags,
        };
        let dsync = libc::RWF_DSYNC;
        let pwritev2 = |at, flags: i32| of(libc::SYS_pwritev2, [5, 0xdead, 2, at, 0, flags as u64]);
        assert_eq!(pwritev2(u64::MAX, 0), many(None, 0));
        assert_eq!(pwritev2(8, dsync), many(Some(8), dsync));
        for call in [libc::SYS_pwritev, libc::SYS_writev] {
            let at = (call == libc::SYS_pwritev).then_some(8);
            let rest = [5, 0xdead, 2, 8, 0, 9];
            assert_eq!(of(call, rest), many(at, 0), "{call}");
        }
        let here = libc::AT_FDCWD as u64;
        let empty = Call::Empty {
            folder: libc::AT_FDCWD,
            path: 0xbeef,
        };
        assert_eq!(of(libc::SYS_openat, [here, 0xbeef, 0, 0, 0, 0]), empty);
        assert_eq!(of(libc::SYS_fdatasync, [3; 6]), Call::Sync { file: 3 });
        assert_eq!(of(libc::SYS_pread64, [3; 6]), Call::Read { file: 3 });
        assert_eq!(of(libc::SYS_close, [3; 6]), Call::Other);
    }
}
