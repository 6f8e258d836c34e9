//! Which system calls are announced, and which are refused because what they write would not be seen. Pure.

use std::mem::offset_of;

use libc::{seccomp_data, sock_filter};

/// AUDIT_ARCH of this processor: the machine's number in ELF, and that it has 64 bits and the lower byte first.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = libc::EM_X86_64 as u32 | 0xc000_0000;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = libc::EM_AARCH64 as u32 | 0xc000_0000;

/// Calls that write files or sync them. `sync_file_range` promises nothing after a power loss.
const ANNOUNCED: &[i64] = &[
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
];

/// Calls that read files. What is read by a mapping passes unseen: there is no call for it.
const READS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_preadv2,
];

/// Calls that write files by another way, and the error with which Go and the C library take one that is known.
const REFUSED: &[(i64, i32)] = &[
    (libc::SYS_copy_file_range, libc::ENOSYS),
    (libc::SYS_splice, libc::EINVAL),
    (libc::SYS_sendfile, libc::ENOSYS),
    (libc::SYS_io_uring_setup, libc::ENOSYS),
    (libc::SYS_io_submit, libc::ENOSYS),
    (libc::SYS_openat2, libc::ENOSYS),
    (libc::SYS_truncate, libc::ENOSYS),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, libc::ENOSYS),
];

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const HAS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The program: on both architectures the lower half of an argument comes first. Reads are announced where that is
/// asked for: each would wait for an answer.
pub(crate) fn program(reads: bool) -> Vec<sock_filter> {
    let mut program = vec![
        load(offset_of!(seccomp_data, arch)),
        jump(EQUAL, ARCHITECTURE, (1, 0)),
        refuse(libc::ENOSYS),
        load(offset_of!(seccomp_data, nr)),
    ];
    let reads = if reads { READS } else { &[] };
    for call in ANNOUNCED.iter().chain(reads) {
        program.extend([when(*call, 1), end(libc::SECCOMP_RET_USER_NOTIF)]);
    }
    for (call, error) in REFUSED {
        program.extend([when(*call, 1), refuse(*error)]);
    }
    // A file that is opened and emptied.
    let emptied = end(libc::SECCOMP_RET_USER_NOTIF);
    program.extend(emptying(libc::SYS_openat, 2, emptied));
    #[cfg(target_arch = "x86_64")]
    program.extend(emptying(libc::SYS_open, 1, refuse(libc::ENOSYS)));
    // A shared mapping of a file that can be written.
    program.extend([
        when(libc::SYS_mmap, 7),
        load(argument(2)),
        jump(HAS, libc::PROT_WRITE.cast_unsigned(), (0, 4)),
        load(argument(3)),
        jump(HAS, libc::MAP_ANONYMOUS.cast_unsigned(), (2, 0)),
        // Alone, or as a part of MAP_SHARED_VALIDATE.
        jump(HAS, libc::MAP_SHARED.cast_unsigned(), (0, 1)),
        refuse(libc::EACCES),
        end(libc::SECCOMP_RET_ALLOW),
    ]);
    program.push(end(libc::SECCOMP_RET_ALLOW));
    program
}

/// What is done when a call opens a file and empties it: its flags are in this argument.
fn emptying(call: i64, flags: usize, done: sock_filter) -> [sock_filter; 5] {
    [
        when(call, 4),
        load(argument(flags)),
        jump(HAS, libc::O_TRUNC.cast_unsigned(), (0, 1)),
        done,
        end(libc::SECCOMP_RET_ALLOW),
    ]
}

fn argument(number: usize) -> usize {
    offset_of!(seccomp_data, args) + number * size_of::<u64>()
}

/// Continues with the next instruction for this call, else behind so many.
fn when(call: i64, past: u8) -> sock_filter {
    jump(EQUAL, u32::try_from(call).unwrap_or(u32::MAX), (0, past))
}

fn load(at: usize) -> sock_filter {
    step(LOAD, u32::try_from(at).unwrap_or(u32::MAX), (0, 0))
}

fn jump(code: u16, value: u32, to: (u8, u8)) -> sock_filter {
    step(code, value, to)
}

fn refuse(error: i32) -> sock_filter {
    end(libc::SECCOMP_RET_ERRNO | error.cast_unsigned())
}

fn end(with: u32) -> sock_filter {
    step(RETURN, with, (0, 0))
}

fn step(code: u16, k: u32, (jt, jf): (u8, u8)) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does.
    fn verdict((architecture, reads): (u32, bool), call: i64, arguments: [u64; 6]) -> u32 {
        let mut data = vec![0_u8; size_of::<seccomp_data>()];
        let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        put(offset_of!(seccomp_data, nr), &(call as i32).to_ne_bytes());
        put(offset_of!(seccomp_data, arch), &architecture.to_ne_bytes());
        for (number, value) in arguments.iter().enumerate() {
            put(argument(number), &value.to_ne_bytes());
        }
        let program = program(reads);
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jumps = match code {
                RETURN => return k,
                LOAD => {
                    let word = data[k as usize..][..4].try_into().expect("four bytes");
                    loaded = u32::from_ne_bytes(word);
                    continue;
                }
                EQUAL => loaded == k,
                HAS => loaded & k != 0,
                other => panic!("{other:#x}"),
            };
            at += usize::from(if jumps { jt } else { jf });
        }
    }

    fn of(call: i64, arguments: [u64; 6]) -> u32 {
        verdict((ARCHITECTURE, false), call, arguments)
    }

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const ASKED: u32 = libc::SECCOMP_RET_USER_NOTIF;

    fn failed(error: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | error as u32
    }

    #[test]
    fn writes_and_syncs_are_announced_and_other_ways_to_write_refused() {
        for call in ANNOUNCED {
            assert_eq!(of(*call, [0; 6]), ASKED, "{call}");
        }
        for (call, error) in REFUSED {
            assert_eq!(of(*call, [0; 6]), failed(*error), "{call}");
        }
        let linux_aio = of(libc::SYS_io_submit, [7, 1, 0xdead, 0, 0, 0]);
        assert_eq!(linux_aio, failed(libc::ENOSYS));
        for call in [
            libc::SYS_read,
            libc::SYS_sendmsg,
            libc::SYS_execve,
            libc::SYS_futex,
        ] {
            assert_eq!(of(call, [u64::MAX; 6]), ALLOWED, "{call}");
        }
        let strange = verdict((7, false), libc::SYS_read, [0; 6]);
        assert_eq!(strange, failed(libc::ENOSYS));
    }

    #[test]
    fn reads_are_announced_only_where_that_is_asked_for() {
        for call in READS {
            let asked = |reads| verdict((ARCHITECTURE, reads), *call, [0; 6]);
            assert_eq!([asked(true), asked(false)], [ASKED, ALLOWED], "{call}");
        }
        for call in ANNOUNCED {
            assert_eq!(verdict((ARCHITECTURE, true), *call, [0; 6]), ASKED);
        }
        let opened = verdict((ARCHITECTURE, true), libc::SYS_openat, [0; 6]);
        assert_eq!(opened, ALLOWED);
    }

    #[test]
    fn a_file_that_is_emptied_is_announced() {
        let open = |flags: i32| of(libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
        assert_eq!(open(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC), ASKED);
        assert_eq!(open(libc::O_RDWR | libc::O_CREAT), ALLOWED);
    }

    #[test]
    fn only_a_mapping_through_which_a_file_is_written_is_refused() {
        let map = |protection: i32, flags: i32| {
            of(
                libc::SYS_mmap,
                [0, 0, protection as u64, flags as u64, 0, 0],
            )
        };
        let both = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(map(both, libc::MAP_SHARED), failed(libc::EACCES));
        assert_eq!(map(both, libc::MAP_SHARED_VALIDATE), failed(libc::EACCES));
        assert_eq!(map(both, libc::MAP_SHARED | libc::MAP_ANONYMOUS), ALLOWED);
        assert_eq!(map(both, libc::MAP_PRIVATE), ALLOWED);
        assert_eq!(map(libc::PROT_READ, libc::MAP_SHARED), ALLOWED);
    }
}
