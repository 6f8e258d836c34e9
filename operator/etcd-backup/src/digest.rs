//! Pure: the checksums of a snapshot as it streams by.

use sha2::{Digest, Sha256};

/// Bytes of the hash that etcd appends to a snapshot.
const APPENDED: usize = 32;
/// etcd's database has pages of this size or a multiple: what is before the hash is whole pages.
const PAGE: u64 = 512;

/// Hashes what streams by without keeping it.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    whole: Sha256,
    /// Of all bytes but the last 32.
    body: Sha256,
    tail: Vec<u8>,
    bytes: u64,
}

/// What a stream was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Hexadecimal SHA-256 of all of it.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

impl Digests {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        self.bytes += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let done = self.tail.len().saturating_sub(APPENDED);
        self.body.update(&self.tail[..done]);
        self.tail.drain(..done);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sum of any stream.
    pub fn sum(self) -> Sum {
        Sum {
            sha256: hexadecimal(&self.whole.finalize()),
            bytes: self.bytes,
        }
    }

    /// The sum of a snapshot, whose last 32 bytes are etcd's hash of the rest (D3).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn snapshot(self) -> Result<Sum, String> {
        let body = self.bytes.saturating_sub(APPENDED as u64);
        if body == 0 || !body.is_multiple_of(PAGE) {
            return Err(format!(
                "{} bytes are no whole pages and a hash of {APPENDED} bytes",
                self.bytes
            ));
        }
        if self.body.clone().finalize().as_slice() != self.tail.as_slice() {
            return Err("the hash at its end is not that of the bytes before it".to_owned());
        }
        Ok(self.sum())
    }
}

/// Lower-case hexadecimal text.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(pages: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![seed; pages * 512];
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    fn judge(bytes: &[u8], piece: usize) -> Result<Sum, String> {
        let mut digests = Digests::default();
        for piece in bytes.chunks(piece) {
            digests.update(piece);
        }
        digests.snapshot()
    }

    proptest! {
        #[test]
        fn a_snapshot_is_right_in_any_pieces_and_wrong_when_cut_or_changed(
            pages in 1_usize..4, seed: u8, piece in 1_usize..700, at in 0_usize..2000, cut in 1_usize..600,
        ) {
            let whole = snapshot(pages, seed);
            let sum = judge(&whole, piece).expect("right");
            prop_assert_eq!(sum.bytes, whole.len() as u64);
            prop_assert_eq!(sum.sha256, hexadecimal(&Sha256::digest(&whole)));
            let shorter = whole.len().saturating_sub(cut);
            prop_assert!(judge(&whole[..shorter], piece).is_err());
            let mut changed = whole;
            let at = at % changed.len();
            changed[at] ^= 1;
            prop_assert!(judge(&changed, piece).is_err());
        }
    }

    #[test]
    fn nothing_is_no_snapshot() {
        assert!(judge(&[], 1).is_err());
        assert!(judge(&Sha256::digest([]), 8).is_err());
    }
}
