//! What the function becomes: code that makes the system call itself and adds an offset to what the kernel answers,
//! and behind it the offset. Pure.
//!
//! It uses the registers that a caller in C expects to lose, and no stack.

use clap::ValueEnum;

/// Whose times are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    /// The time of day.
    Realtime,
    /// The time since the machine was started, which Go measures durations by. It goes back at the end.
    Monotonic,
}

impl Clock {
    /// The kernel's clocks, one bit each: those that say this time.
    const fn bits(self) -> u64 {
        match self {
            // `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`, `CLOCK_TAI`.
            Self::Realtime => 1 << 0 | 1 << 5 | 1 << 11,
            // `CLOCK_MONOTONIC`, `CLOCK_MONOTONIC_RAW`, `CLOCK_MONOTONIC_COARSE`, `CLOCK_BOOTTIME`.
            Self::Monotonic => 1 << 1 | 1 << 4 | 1 << 6 | 1 << 7,
        }
    }
}

/// What is added to which clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    seconds: i64,
    /// Less than a second, and not less than none.
    nanoseconds: i64,
    clocks: u64,
}

impl Shift {
    /// So many milliseconds, or less than none.
    pub(super) fn new(ms: i64, clocks: &[Clock]) -> Self {
        Self {
            seconds: ms.div_euclid(1_000),
            nanoseconds: ms.rem_euclid(1_000) * 1_000_000,
            clocks: clocks.iter().fold(0, |bits, clock| bits | clock.bits()),
        }
    }

    fn bytes(self) -> [[u8; 8]; 3] {
        let [seconds, nanoseconds] = [self.seconds, self.nanoseconds].map(i64::to_le_bytes);
        [seconds, nanoseconds, self.clocks.to_le_bytes()]
    }
}

/// The function on one kind of processor.
#[derive(Debug)]
pub(super) struct Machine {
    /// As Rust names it.
    arch: &'static str,
    /// The function's name.
    pub(super) function: &'static str,
    /// Its instructions. The offset is addressed relative to them, directly behind the last.
    code: &'static [&'static [u8]],
}

impl Machine {
    /// Of this machine.
    pub(super) fn own() -> anyhow::Result<&'static Self> {
        let arch = std::env::consts::ARCH;
        let found = MACHINES.iter().find(|machine| machine.arch == arch);
        found.ok_or_else(|| anyhow::anyhow!("no code for this processor: {arch}"))
    }

    /// All of it, with this offset.
    pub(super) fn shifted_by(&self, shift: Shift) -> Vec<u8> {
        [self.code.concat(), shift.bytes().concat()].concat()
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
    &[0xf3, 0x0f, 0x1e, 0xfa],                   // endbr64
    &[0xb8, 0xe4, 0x00, 0x00, 0x00],             // mov eax, 228 (clock_gettime)
    &[0x0f, 0x05],                               // syscall
    &[0x85, 0xc0],                               // test eax, eax
    &[0x75, 0x3c],                               // jnz done
    &[0x83, 0xff, 0x1f],                         // cmp edi, 31
    &[0x77, 0x37],                               // ja done
    &[0x8b, 0x0d, 0x46, 0x00, 0x00, 0x00],       // mov ecx, [clocks]
    &[0x0f, 0xa3, 0xf9],                         // bt ecx, edi
    &[0x73, 0x2c],                               // jnc done
    &[0x48, 0x8b, 0x0d, 0x2a, 0x00, 0x00, 0x00], // mov rcx, [seconds]
    &[0x48, 0x01, 0x0e],                         // add [rsi], rcx
    &[0x48, 0x8b, 0x0d, 0x28, 0x00, 0x00, 0x00], // mov rcx, [nanoseconds]
    &[0x48, 0x03, 0x4e, 0x08],                   // add rcx, [rsi + 8]
    &[0x48, 0x81, 0xf9, 0x00, 0xca, 0x9a, 0x3b], // cmp rcx, 1000000000
    &[0x7c, 0x0a],                               // jl store
    &[0x48, 0x81, 0xe9, 0x00, 0xca, 0x9a, 0x3b], // sub rcx, 1000000000
    &[0x48, 0xff, 0x06],                         // inc qword [rsi]
    &[0x48, 0x89, 0x4e, 0x08],                   // store: mov [rsi + 8], rcx
    &[0xc3],                                     // done: ret
    &[0xcc, 0xcc, 0xcc, 0xcc],                   // int3, never reached
];

/// `w0` is the clock, `x1` where its time is written.
const AARCH64: &[&[u8]] = &[
    &[0x5f, 0x24, 0x03, 0xd5], // bti c
    &[0xe9, 0x03, 0x00, 0x2a], // mov w9, w0
    &[0x28, 0x0e, 0x80, 0xd2], // mov x8, #113 (clock_gettime)
    &[0x01, 0x00, 0x00, 0xd4], // svc #0
    &[0x40, 0x02, 0x00, 0x35], // cbnz w0, done
    &[0x3f, 0x7d, 0x00, 0x71], // cmp w9, #31
    &[0x08, 0x02, 0x00, 0x54], // b.hi done
    &[0xaa, 0x02, 0x00, 0x18], // ldr w10, clocks
    &[0x4a, 0x25, 0xc9, 0x1a], // lsr w10, w10, w9
    &[0xaa, 0x01, 0x00, 0x36], // tbz w10, #0, done
    &[0x2b, 0x30, 0x40, 0xa9], // ldp x11, x12, [x1]
    &[0xaa, 0x01, 0x00, 0x58], // ldr x10, seconds
    &[0x6b, 0x01, 0x0a, 0x8b], // add x11, x11, x10
    &[0xaa, 0x01, 0x00, 0x58], // ldr x10, nanoseconds
    &[0x8c, 0x01, 0x0a, 0x8b], // add x12, x12, x10
    &[0x0a, 0x40, 0x99, 0x52], // mov w10, #0xca00 (1000000000, its lower half)
    &[0x4a, 0x73, 0xa7, 0x72], // movk w10, #0x3b9a, lsl #16
    &[0x9f, 0x01, 0x0a, 0xeb], // cmp x12, x10
    &[0x6b, 0x00, 0x00, 0x54], // b.lt store
    &[0x8c, 0x01, 0x0a, 0xcb], // sub x12, x12, x10
    &[0x6b, 0x05, 0x00, 0x91], // add x11, x11, #1
    &[0x2b, 0x30, 0x00, 0xa9], // store: stp x11, x12, [x1]
    &[0xc0, 0x03, 0x5f, 0xd6], // done: ret
    &[0x1f, 0x20, 0x03, 0xd5], // nop, never reached
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_no_fraction_below_none() {
        let of = |ms| {
            let shift = Shift::new(ms, &[Clock::Realtime]);
            (shift.seconds, shift.nanoseconds)
        };
        assert_eq!(of(3_600_000), (3_600, 0));
        assert_eq!(of(1_250), (1, 250_000_000));
        assert_eq!(of(-1), (-1, 999_000_000));
        assert_eq!(of(-2_000), (-2, 0));
    }

    #[test]
    fn each_of_the_kernels_clocks_says_one_time() {
        let all = Shift::new(0, &[Clock::Realtime, Clock::Monotonic]);
        assert_eq!(Clock::Realtime.bits() & Clock::Monotonic.bits(), 0);
        assert_eq!(all.clocks, Clock::Realtime.bits() | Clock::Monotonic.bits());
        assert_eq!(Shift::new(0, &[Clock::Monotonic]).clocks & 1, 0);
    }

    #[test]
    fn the_offset_is_behind_the_code_where_it_is_looked_for() {
        let shift = Shift::new(-1_500, &[Clock::Realtime]);
        for machine in &MACHINES {
            let code = machine.code.concat().len();
            assert_eq!(code % 8, 0, "{}", machine.arch);
            let all = machine.shifted_by(shift);
            assert_eq!(all.len(), code + 24);
            assert_eq!(all[code..code + 8], (-2_i64).to_le_bytes());
            assert_eq!(all[code + 8..code + 16], 500_000_000_i64.to_le_bytes());
            assert_eq!(all[code + 16..], Clock::Realtime.bits().to_le_bytes());
        }
        // What instructions that load a part of it say: bytes from their end (x86), words from their beginning (ARM).
        let x86_64 = [(7, 16), (10, 0), (12, 8)];
        for (load, part) in x86_64 {
            let end = X86_64[..=load].concat().len();
            let [.., distance, 0, 0, 0] = X86_64[load] else {
                panic!("no load: {:x?}", X86_64[load]);
            };
            assert_eq!(end + usize::from(*distance), X86_64.concat().len() + part);
        }
        for (load, part) in [(7, 16), (11, 0), (13, 8)] {
            let [low, high, 0, _] = AARCH64[load] else {
                panic!("no load: {:x?}", AARCH64[load]);
            };
            let words = (usize::from(*high) << 8 | usize::from(*low)) >> 5;
            assert_eq!(4 * (load + words), AARCH64.concat().len() + part);
        }
    }

    #[test]
    fn jumps_lead_to_the_end_or_over_the_carry() {
        let starts = |code: &[&[u8]]| -> Vec<usize> {
            let lengths = code.iter().scan(0, |at, instruction| {
                *at += instruction.len();
                Some(*at - instruction.len())
            });
            lengths.collect()
        };
        let at = starts(X86_64);
        for (jump, to) in [(4, 19), (6, 19), (9, 19), (15, 18)] {
            let distance = usize::from(X86_64[jump][1]);
            assert_eq!(at[jump + 1] + distance, at[to], "jump {jump}");
        }
        let words = |instruction: &[u8], bits: u32| {
            let word = u32::from_le_bytes(instruction.try_into().expect("a word"));
            usize::try_from(word >> 5 & ((1 << bits) - 1)).expect("a number")
        };
        for (jump, to, bits) in [(4, 22, 19), (6, 22, 19), (9, 22, 14), (18, 21, 19)] {
            assert_eq!(jump + words(AARCH64[jump], bits), to, "jump {jump}");
        }
    }
}
