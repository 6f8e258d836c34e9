//! A table by hash whose entries stand one behind the other: a new one is written at the end and not at a random place,
//! and to grow moves eight bytes a key. With millions of keys the time is that of looks at memory which no cache has.

use std::hash::Hasher as _;

use super::brief::Brief;
use crate::hash::FastHasher;

/// Places of the smallest table.
const SMALLEST: usize = 16;

/// Entries of a table that caches do not hold.
const LARGE: usize = 1 << 12;
/// Most keys that are looked at together.
const TOGETHER: usize = 96;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The upper half of its key's hash: where its search begins, and what is compared before the key.
    hash: u32,
    /// Its number, from 1; 0 where no entry is. More entries than that do not fit into any memory.
    number: u32,
}

const FREE: Place = Place { hash: 0, number: 0 };

/// Keys and what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Dense<V> {
    entries: Vec<(Brief, V)>,
    /// A power of two of them, a quarter of which is free at least. An entry is at the first place behind that of its
    /// hash that was free.
    places: Vec<Place>,
}

impl<V> Default for Dense<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl<V> Dense<V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// In no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Brief> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.find(hash(key), key).is_some()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<(&Brief, &V)> {
        let (_, at) = self.find(hash(key), key)?;
        self.entries.get(at).map(|(key, value)| (key, value))
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let (_, at) = self.find(hash(key), key)?;
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// Brings keys that will be asked for into the caches. To ask for one waits for memory twice, for its place and for
    /// its entry, and the next question waits for that; here none waits for another.
    pub(crate) fn warm<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, look: impl Fn(&V) -> i64) {
        if self.entries.len() < LARGE {
            return;
        }
        let mut hashes = [0; TOGETHER];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self::hash(key);
            count += 1;
        }
        // Little stands between one look and the next: a processor has so many steps under way and no more.
        let places = hashes[..count].iter();
        let places = places.map(|hash| self.places[*hash as usize & self.mask()]);
        let seen = places.fold(0, |seen, place| seen ^ place.number);
        std::hint::black_box(seen);
        let entries = hashes[..count].iter().filter_map(|hash| self.first(*hash));
        let seen = entries.fold(0, |seen, (key, value)| {
            seen ^ i64::from(matches!(key, Brief::Short(..))) ^ look(value)
        });
        std::hint::black_box(seen);
    }

    /// The first entry of a hash.
    fn first(&self, hash: u32) -> Option<&(Brief, V)> {
        let mut at = hash as usize & self.mask();
        loop {
            let place = self.places.get(at)?;
            let position = (place.number as usize).checked_sub(1)?;
            if place.hash == hash {
                return self.entries.get(position);
            }
            at = (at + 1) & self.mask();
        }
    }

    pub(crate) fn insert(&mut self, key: Brief, value: V) -> Option<V> {
        let hash = hash(key.bytes());
        if let Some((_, at)) = self.find(hash, key.bytes()) {
            let held = &mut self.entries[at].1;
            return Some(std::mem::replace(held, value));
        }
        if (self.entries.len() + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.entries.push((key, value));
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.settle(Place { hash, number });
        None
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<(Brief, V)> {
        let (place, at) = self.find(hash(key), key)?;
        let number = self.places[place].number;
        self.vacate(place);
        // The last entry takes its number.
        let last = self.entries.len() - 1;
        if at < last {
            let moved = hash(self.entries[last].0.bytes());
            let from = self.numbered(moved, last)?;
            self.places[from].number = number;
        }
        Some(self.entries.swap_remove(at))
    }

    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    /// Place and position of an entry.
    fn find(&self, hash: u32, key: &[u8]) -> Option<(usize, usize)> {
        let mut at = hash as usize & self.mask();
        loop {
            let place = self.places.get(at)?;
            let position = (place.number as usize).checked_sub(1)?;
            if place.hash == hash && self.entries[position].0.bytes() == key {
                return Some((at, position));
            }
            at = (at + 1) & self.mask();
        }
    }

    /// The place of the entry at this position.
    fn numbered(&self, hash: u32, position: usize) -> Option<usize> {
        let mut at = hash as usize & self.mask();
        loop {
            let number = self.places.get(at)?.number as usize;
            if number.checked_sub(1)? == position {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Puts it at the first free place from that of its hash on.
    fn settle(&mut self, place: Place) {
        let mask = self.mask();
        let mut at = place.hash as usize & mask;
        while self.places[at] != FREE {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    /// Frees a place, and moves up those that were put behind it because it was taken.
    fn vacate(&mut self, place: usize) {
        let mask = self.mask();
        let mut hole = place;
        let mut at = (hole + 1) & mask;
        while self.places[at] != FREE {
            let home = self.places[at].hash as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.places[hole] = FREE;
    }

    fn grow(&mut self) {
        let more = (self.places.len() * 2).max(SMALLEST);
        let before = std::mem::replace(&mut self.places, vec![FREE; more]);
        for place in before {
            if place != FREE {
                self.settle(place);
            }
        }
    }
}

/// The upper half of a key's hash.
fn hash(key: &[u8]) -> u32 {
    let mut hasher = FastHasher::default();
    hasher.write_usize(key.len());
    hasher.write(key);
    (hasher.finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Random;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_an_ordered_table_holds_whatever_comes_and_goes() {
        let mut random = Random::new(3);
        for keys in [1, 7, 40, 3_000] {
            let mut dense = Dense::<u64>::default();
            let mut sorted: BTreeMap<String, u64> = BTreeMap::new();
            for step in 0..20_000 {
                let key = format!("k/{}", random.below(keys));
                match random.below(5) {
                    0 | 1 => {
                        let known = sorted.insert(key.clone(), step);
                        assert_eq!(dense.insert(Brief::from(&key), step), known);
                    }
                    2 | 3 => {
                        let gone = dense.remove(key.as_bytes());
                        assert_eq!(gone.map(|(_, value)| value), sorted.remove(&key));
                    }
                    _ => {
                        let held = dense.get(key.as_bytes());
                        let held = held.map(|(key, value)| (key.text().to_owned(), *value));
                        assert_eq!(
                            held,
                            sorted.get_key_value(&key).map(|(k, v)| (k.clone(), *v))
                        );
                        assert_eq!(dense.contains(key.as_bytes()), sorted.contains_key(&key));
                    }
                }
                assert_eq!(dense.len(), sorted.len());
            }
            let mut held: Vec<&str> = dense.keys().map(Brief::text).collect();
            held.sort_unstable();
            assert!(held.iter().eq(sorted.keys()));
        }
    }

    #[test]
    fn keys_are_looked_at_once_where_they_are_there() {
        let names: Vec<String> = (0..2 * LARGE).map(|n| format!("k/{n}")).collect();
        let looks = |dense: &Dense<usize>, from: usize| {
            let looked = std::cell::RefCell::new(Vec::new());
            dense.warm(names[from..].iter().map(String::as_bytes), |number| {
                looked.borrow_mut().push(*number);
                0
            });
            looked.into_inner()
        };
        let mut dense = Dense::default();
        for (number, name) in names.iter().enumerate().take(LARGE - 1) {
            dense.insert(Brief::from(name), number);
        }
        assert!(looks(&dense, 0).is_empty(), "a cache holds it");
        dense.insert(Brief::from(&names[LARGE]), LARGE);
        assert_eq!(looks(&dense, 5), Vec::from_iter(5..5 + TOGETHER));
        let few = [LARGE - 3, LARGE - 2, LARGE];
        assert_eq!(looks(&dense, LARGE - 3), few);
        assert!(looks(&dense, LARGE + 1).is_empty());
        assert!(looks(&dense, names.len()).is_empty());
    }

    #[test]
    fn entries_of_one_hash_are_told_apart_and_stay_in_reach() {
        // Places behind each other, over the end of the table, of which some go.
        let mut dense = Dense::<usize>::default();
        dense.grow();
        let last = SMALLEST - 1;
        for number in 1..=5 {
            dense
                .entries
                .push((Brief::from(format!("{number}").as_str()), number));
            dense.settle(Place {
                hash: u32::try_from(last).expect("small"),
                number: u32::try_from(number).expect("small"),
            });
        }
        let taken = |dense: &Dense<usize>| -> Vec<u32> {
            let from_last = dense.places[last..].iter().chain(&dense.places[..last]);
            from_last.map(|place| place.number).take(6).collect()
        };
        assert_eq!(taken(&dense), [1, 2, 3, 4, 5, 0]);
        dense.vacate(0);
        assert_eq!(taken(&dense), [1, 3, 4, 5, 0, 0]);
        dense.vacate(last);
        assert_eq!(taken(&dense), [3, 4, 5, 0, 0, 0]);
    }
}
