//! What the function becomes: code that makes the system call itself and works out another time from what the kernel
//! answers, and behind it the numbers for that. Pure.
//!
//! Of the `now` that the kernel answers, in nanoseconds, it makes `base + (now - base) * percent / 100 + offset`. Each
//! clock has a base of its own: what the clock said while all threads stood still, so that no thread sees it go back
//! by the rate. The product fits 64 bits for a hundred days at ten times the machine's rate.
//!
//! It uses the registers that a caller in C expects to lose, and no stack.

use std::ops::RangeInclusive;

use clap::ValueEnum;

/// Rates at which a clock can run, in percent of the machine's.
pub(super) const PERCENT: RangeInclusive<i64> = 10..=1_000;
/// Offsets in milliseconds, which is a century either way: nanoseconds since 1970 with that have 64 bits.
pub(super) const MS: RangeInclusive<i64> = -3_155_760_000_000..=3_155_760_000_000;
/// The code knows the kernel's clocks of less than this number.
pub(super) const CLOCKS: usize = 12;

/// Whose times are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    /// The time of day.
    Realtime,
    /// The time since the machine was started, which Go measures durations by. It goes back at the end, where it was
    /// ahead.
    Monotonic,
}

impl Clock {
    /// The kernel's clocks that say this time, by their numbers.
    pub(super) const fn numbers(self) -> &'static [usize] {
        match self {
            // `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`, `CLOCK_TAI`.
            Self::Realtime => &[0, 5, 11],
            // `CLOCK_MONOTONIC`, `CLOCK_MONOTONIC_RAW`, `CLOCK_MONOTONIC_COARSE`, `CLOCK_BOOTTIME`.
            Self::Monotonic => &[1, 4, 6, 7],
        }
    }
}

/// How clocks are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    /// So many nanoseconds are added.
    offset: i64,
    /// What has passed since their bases is so many percent of what it was.
    percent: i64,
}

impl Shift {
    /// Ahead by so many milliseconds, or behind, and at such a rate from now on.
    pub(super) fn new(ms: i64, percent: i64) -> Self {
        Self {
            offset: ms.saturating_mul(1_000_000),
            percent,
        }
    }

    /// The numbers as the code finds them, with the bases of the clocks: a clock whose base is 0 stays as it is.
    fn bytes(self, bases: [i64; CLOCKS]) -> Vec<u8> {
        let numbers = [self.percent, self.offset].into_iter().chain(bases);
        numbers.flat_map(i64::to_le_bytes).collect()
    }
}

/// The function on one kind of processor.
#[derive(Debug)]
pub(super) struct Machine {
    /// As Rust names it.
    arch: &'static str,
    /// The function's name.
    pub(super) function: &'static str,
    /// Its instructions. The numbers are addressed relative to them, directly behind the last.
    code: &'static [&'static [u8]],
}

impl Machine {
    /// Of this machine.
    pub(super) fn own() -> anyhow::Result<&'static Self> {
        let arch = std::env::consts::ARCH;
        let found = MACHINES.iter().find(|machine| machine.arch == arch);
        found.ok_or_else(|| anyhow::anyhow!("no code for this processor: {arch}"))
    }

    /// All of it, for clocks with these bases.
    pub(super) fn shifted_by(&self, shift: Shift, bases: [i64; CLOCKS]) -> Vec<u8> {
        [self.code.concat(), shift.bytes(bases)].concat()
    }
}

const MACHINES: [Machine; 2] = [
    Machine {
        arch: "x86_64",
        function: "__vdso_clock_gettime",
        code: X86_64,
    },
    Machine {
        arch: "aarch64",
        function: "__kernel_clock_gettime",
        code: AARCH64,
    },
];

/// `edi` is the clock, `rsi` where its time is written.
const X86_64: &[&[u8]] = &[
    &[0xf3, 0x0f, 0x1e, 0xfa],                         // endbr64
    &[0xb8, 0xe4, 0x00, 0x00, 0x00],                   // mov eax, 228 (clock_gettime)
    &[0x0f, 0x05],                                     // syscall
    &[0x85, 0xc0],                                     // test eax, eax
    &[0x75, 0x61],                                     // jnz done
    &[0x83, 0xff, 0x0b],                               // cmp edi, 11
    &[0x77, 0x5c],                                     // ja done
    &[0x48, 0x8d, 0x0d, 0x6d, 0x00, 0x00, 0x00],       // lea rcx, [bases]
    &[0x41, 0x89, 0xf8],                               // mov r8d, edi
    &[0x4a, 0x8b, 0x0c, 0xc1],                         // mov rcx, [rcx + 8 * r8]
    &[0x48, 0x85, 0xc9],                               // test rcx, rcx
    &[0x74, 0x49],                                     // jz done
    &[0x48, 0x69, 0x06, 0x00, 0xca, 0x9a, 0x3b],       // imul rax, [rsi], 1000000000
    &[0x48, 0x03, 0x46, 0x08],                         // add rax, [rsi + 8]
    &[0x48, 0x29, 0xc8],                               // sub rax, rcx
    &[0x48, 0x0f, 0xaf, 0x05, 0x3b, 0x00, 0x00, 0x00], // imul rax, [percent]
    &[0x48, 0x99],                                     // cqo
    &[0x41, 0xb8, 0x64, 0x00, 0x00, 0x00],             // mov r8d, 100
    &[0x49, 0xf7, 0xf8],                               // idiv r8
    &[0x48, 0x01, 0xc8],                               // add rax, rcx
    &[0x48, 0x03, 0x05, 0x2e, 0x00, 0x00, 0x00],       // add rax, [offset]
    &[0x48, 0x99],                                     // cqo
    &[0xb9, 0x00, 0xca, 0x9a, 0x3b],                   // mov ecx, 1000000000
    &[0x48, 0xf7, 0xf9],                               // idiv rcx (rax: seconds, rdx: the rest)
    &[0x48, 0x85, 0xd2],                               // test rdx, rdx
    &[0x79, 0x06],                                     // jns store
    &[0x48, 0x01, 0xca],                               // add rdx, rcx
    &[0x48, 0xff, 0xc8],                               // dec rax
    &[0x48, 0x89, 0x06],                               // store: mov [rsi], rax
    &[0x48, 0x89, 0x56, 0x08],                         // mov [rsi + 8], rdx
    &[0x31, 0xc0],                                     // xor eax, eax
    &[0xc3],                                           // done: ret
    &[0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc],       // int3, never reached
];

/// `w0` is the clock, `x1` where its time is written.
const AARCH64: &[&[u8]] = &[
    &[0x5f, 0x24, 0x03, 0xd5], // bti c
    &[0xe9, 0x03, 0x00, 0x2a], // mov w9, w0
    &[0x28, 0x0e, 0x80, 0xd2], // mov x8, #113 (clock_gettime)
    &[0x01, 0x00, 0x00, 0xd4], // svc #0
    &[0x00, 0x03, 0x00, 0x35], // cbnz w0, done
    &[0x3f, 0x2d, 0x00, 0x71], // cmp w9, #11
    &[0xc8, 0x02, 0x00, 0x54], // b.hi done
    &[0x6a, 0x03, 0x00, 0x10], // adr x10, bases
    &[0x4a, 0x59, 0x69, 0xf8], // ldr x10, [x10, w9, uxtw #3]
    &[0x6a, 0x02, 0x00, 0xb4], // cbz x10, done
    &[0x2b, 0x30, 0x40, 0xa9], // ldp x11, x12, [x1]
    &[0x0d, 0x40, 0x99, 0x52], // mov w13, #0xca00 (1000000000, its lower half)
    &[0x4d, 0x73, 0xa7, 0x72], // movk w13, #0x3b9a, lsl #16
    &[0x6b, 0x31, 0x0d, 0x9b], // madd x11, x11, x13, x12
    &[0x6b, 0x01, 0x0a, 0xcb], // sub x11, x11, x10
    &[0xec, 0x01, 0x00, 0x58], // ldr x12, percent
    &[0x6b, 0x7d, 0x0c, 0x9b], // mul x11, x11, x12
    &[0x8c, 0x0c, 0x80, 0x52], // mov w12, #100
    &[0x6b, 0x0d, 0xcc, 0x9a], // sdiv x11, x11, x12
    &[0x6b, 0x01, 0x0a, 0x8b], // add x11, x11, x10
    &[0x8c, 0x01, 0x00, 0x58], // ldr x12, offset
    &[0x6b, 0x01, 0x0c, 0x8b], // add x11, x11, x12
    &[0x6c, 0x0d, 0xcd, 0x9a], // sdiv x12, x11, x13 (seconds)
    &[0x8b, 0xad, 0x0d, 0x9b], // msub x11, x12, x13, x11 (the rest)
    &[0x6b, 0x00, 0xf8, 0xb6], // tbz x11, #63, store
    &[0x6b, 0x01, 0x0d, 0x8b], // add x11, x11, x13
    &[0x8c, 0x05, 0x00, 0xd1], // sub x12, x12, #1
    &[0x2c, 0x2c, 0x00, 0xa9], // store: stp x12, x11, [x1]
    &[0xc0, 0x03, 0x5f, 0xd6], // done: ret
    &[0x1f, 0x20, 0x03, 0xd5], // nop, never reached
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_kernels_clocks_says_one_time() {
        let all = [Clock::Realtime, Clock::Monotonic].map(Clock::numbers);
        let mut all = all.concat();
        assert!(all.iter().all(|number| *number < CLOCKS), "{all:?}");
        all.sort_unstable();
        assert_eq!(all, [0, 1, 4, 5, 6, 7, 11]);
    }

    #[test]
    fn no_offset_and_no_rate_overflows_a_time_of_day() {
        // In the year 2100, three minutes after the base.
        let base = 4_102_444_800_000_000_000_i64;
        let passed = 180_000_000_000_i64;
        let scaled = passed.checked_mul(*PERCENT.end()).expect("64 bits") / 100;
        for ms in [*MS.start(), *MS.end()] {
            let shift = Shift::new(ms, *PERCENT.end());
            assert_eq!(shift.offset / 1_000_000, ms, "not cut off");
            let time = base.checked_add(scaled);
            let time = time.and_then(|time| time.checked_add(shift.offset));
            assert!(time.is_some(), "{ms}");
        }
    }

    #[test]
    fn the_numbers_are_behind_the_code_where_they_are_looked_for() {
        let mut bases = [0; CLOCKS];
        (bases[0], bases[11]) = (7, 9);
        for machine in &MACHINES {
            let code = machine.code.concat().len();
            assert_eq!(code % 8, 0, "{}", machine.arch);
            let all = machine.shifted_by(Shift::new(-1_500, 110), bases);
            let number = |at: usize| {
                let bytes = all[code + 8 * at..][..8].try_into().expect("8 bytes");
                i64::from_le_bytes(bytes)
            };
            assert_eq!(all.len(), code + 8 * (2 + CLOCKS));
            assert_eq!([0, 1, 2, 3].map(number), [110, -1_500_000_000, 7, 0]);
            assert_eq!(number(13), 9);
        }
        // What instructions that address one of them say: bytes from their end (x86), words from their beginning (ARM).
        let x86_64 = [(7, 16), (15, 0), (20, 8)];
        for (load, part) in x86_64 {
            let end = X86_64[..=load].concat().len();
            let [.., distance, 0, 0, 0] = X86_64[load] else {
                panic!("no load: {:x?}", X86_64[load]);
            };
            assert_eq!(end + usize::from(*distance), X86_64.concat().len() + part);
        }
        for (load, part) in [(7, 16), (15, 0), (20, 8)] {
            let [low, high, 0, _] = AARCH64[load] else {
                panic!("no load: {:x?}", AARCH64[load]);
            };
            let words = (usize::from(*high) << 8 | usize::from(*low)) >> 5;
            assert_eq!(4 * (load + words), AARCH64.concat().len() + part);
        }
    }

    #[test]
    fn it_divides_by_a_hundred_and_by_the_nanoseconds_of_a_second() {
        let ends_with = |instruction: &[u8], number: u32| {
            assert!(instruction.ends_with(&number.to_le_bytes()), "{number}");
        };
        ends_with(X86_64[12], 1_000_000_000);
        ends_with(X86_64[17], 100);
        ends_with(X86_64[22], 1_000_000_000);
        // Of `mov` and `movk`: 16 bits, behind the number of a register of 5.
        let half = |instruction: &[u8]| {
            let word = u32::from_le_bytes(instruction.try_into().expect("a word"));
            word >> 5 & 0xffff
        };
        assert_eq!(half(AARCH64[12]) << 16 | half(AARCH64[11]), 1_000_000_000);
        assert_eq!(half(AARCH64[17]), 100);
        // Clocks behind the last base stay as they are: the number that both compare with.
        assert_eq!(usize::from(X86_64[5][2]), CLOCKS - 1);
        let compared = u32::from_le_bytes(AARCH64[5].try_into().expect("a word")) >> 10 & 0xfff;
        assert_eq!(usize::try_from(compared).expect("a number"), CLOCKS - 1);
    }

    #[test]
    fn jumps_lead_to_the_end_or_over_the_borrow() {
        let starts = |code: &[&[u8]]| -> Vec<usize> {
            let lengths = code.iter().scan(0, |at, instruction| {
                *at += instruction.len();
                Some(*at - instruction.len())
            });
            lengths.collect()
        };
        let at = starts(X86_64);
        for (jump, to) in [(4, 31), (6, 31), (11, 31), (25, 28)] {
            let distance = usize::from(X86_64[jump][1]);
            assert_eq!(at[jump + 1] + distance, at[to], "jump {jump}");
        }
        let words = |instruction: &[u8], bits: u32| {
            let word = u32::from_le_bytes(instruction.try_into().expect("a word"));
            usize::try_from(word >> 5 & ((1 << bits) - 1)).expect("a number")
        };
        for (jump, to, bits) in [(4, 28, 19), (6, 28, 19), (9, 28, 19), (24, 27, 14)] {
            assert_eq!(jump + words(AARCH64[jump], bits), to, "jump {jump}");
        }
    }
}
