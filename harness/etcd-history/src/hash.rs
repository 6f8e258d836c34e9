//! A quick hash for operation numbers, keys and values: histories are our own, so the tables need no protection.
//!
//! Deterministic, so that a verdict never depends on the order of a randomly seeded table.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A table with the quick hash.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// A set with the quick hash.
pub(crate) type FastSet<K> = HashSet<K, BuildHasherDefault<FastHasher>>;

/// Multiplies each word to 128 bits and folds the halves: numbers in text differ in few high bits, which a plain
/// multiplication would lose.
#[derive(Clone, Copy, Default)]
pub(crate) struct FastHasher(u64);

impl FastHasher {
    fn add(&mut self, word: u64) {
        let mixed = u128::from(self.0.rotate_left(23) ^ word ^ 0x2437_1305_a308_d313);
        let product = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are folded")]
        let folded = (product >> 64) as u64 ^ product as u64;
        self.0 = folded;
    }
}

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        // Byte by byte: to copy so few costs a call.
        if !rest.is_empty() {
            let last = rest.iter().rev();
            self.add(last.fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> u64 {
        let mut hasher = FastHasher::default();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn every_byte_counts_at_its_place() {
        let bytes: Vec<u8> = (1..40).collect();
        for length in 0..bytes.len() {
            for at in 0..length {
                let mut other = bytes[..length].to_vec();
                other[at] ^= 0x80;
                assert_ne!(hash(&other), hash(&bytes[..length]), "{at} of {length}");
                other[at] ^= 0x80;
                other.swap(0, at);
                assert_eq!(hash(&other) == hash(&bytes[..length]), at == 0);
            }
        }
    }
}
