//! Which sectors of an un-synced page a power loss leaves: the same for the same seed, file and page. Pure.

/// Sectors of a page.
pub(crate) const SECTORS: u64 = 8;

/// The choice for one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64, file: &str) -> Self {
        // FNV: the name, not the number of the file, so that another run chooses alike.
        let name = file.bytes().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed ^ name)
    }

    /// How many sectors at the beginning of a page are there: none of a third of all pages, all of another third.
    pub(crate) fn sectors(self, page: u64) -> u64 {
        let drawn = mixed(self.0 ^ mixed(page));
        match drawn % 3 {
            0 => 0,
            1 => SECTORS,
            _ => 1 + drawn / 3 % (SECTORS - 1),
        }
    }
}

/// SplitMix64.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_comes_and_comes_again() {
        let chance = Chance::new(7, "0.wal");
        let drawn: Vec<u64> = (0..1000).map(|page| chance.sectors(page)).collect();
        for sectors in 0..=SECTORS {
            assert!(drawn.contains(&sectors), "{sectors}");
        }
        assert!(drawn.iter().all(|sectors| *sectors <= SECTORS));
        let other = |chance: Chance| {
            (0..1000)
                .map(|page| chance.sectors(page))
                .collect::<Vec<_>>()
        };
        assert_eq!(other(Chance::new(7, "0.wal")), drawn);
        assert_ne!(other(Chance::new(8, "0.wal")), drawn);
        assert_ne!(other(Chance::new(7, "1.wal")), drawn);
    }
}
