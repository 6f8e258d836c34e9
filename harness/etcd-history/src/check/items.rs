//! The keys of a store with what they hold. In order where the store is copied and compared; by a hash, and brought
//! into order when a range is asked for, where it is large and alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::brief::Brief;
use super::dense::Dense;
use super::keyspace::Keys;

/// Keys that are gone or named twice, from which on the order is cleaned.
const SPARE: usize = 1 << 10;

/// Keys and what they hold.
pub(crate) trait Items<S, V>: Default {
    fn get(&self, key: &str) -> Option<&V>;
    fn get_mut(&mut self, key: &str) -> Option<&mut V>;
    fn insert(&mut self, key: S, value: V) -> Option<V>;
    fn remove(&mut self, key: &str) -> Option<(S, V)>;
    fn len(&self) -> usize;
    /// Looks at keys that will be asked for, where that makes the questions quicker. `look` reads what is looked at.
    fn warm<'k>(&self, _keys: impl Iterator<Item = &'k str>, _look: impl Fn(&V) -> i64) {}
    /// Those of a set that are there, in order.
    fn scan<'s>(&'s mut self, keys: Keys<'s>) -> impl Iterator<Item = (&'s S, &'s V)>
    where
        S: 's,
        V: 's;
}

/// In order always.
impl<'a, V> Items<&'a str, V> for BTreeMap<&'a str, V> {
    fn get(&self, key: &str) -> Option<&V> {
        self.get(key)
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.get_mut(key)
    }

    fn insert(&mut self, key: &'a str, value: V) -> Option<V> {
        self.insert(key, value)
    }

    fn remove(&mut self, key: &str) -> Option<(&'a str, V)> {
        self.remove_entry(key)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn scan<'s>(&'s mut self, keys: Keys<'s>) -> impl Iterator<Item = (&'s &'a str, &'s V)>
    where
        &'a str: 's,
        V: 's,
    {
        let from = (Bound::Included(keys.key), Bound::Unbounded);
        let all = self.range::<str, _>(from);
        all.take_while(move |(key, _)| !keys.ends_before(key))
    }
}

/// By a hash. The order of the keys is made when the first range is asked for, and from then on from those that are new
/// since the last one.
#[derive(Clone, Debug)]
pub(crate) struct Hashed<V> {
    all: Dense<V>,
    /// True when a range was asked for.
    scanned: bool,
    /// In order, with some that are gone.
    order: BTreeSet<Brief>,
    /// Not in the order yet, with some that are gone or named twice.
    new: Vec<Brief>,
}

impl<V> Default for Hashed<V> {
    fn default() -> Self {
        Self {
            all: Dense::default(),
            scanned: false,
            order: BTreeSet::new(),
            new: Vec::new(),
        }
    }
}

impl<V> Hashed<V> {
    /// Cleans the order once in so many changes that they pay for it.
    fn tidy(&mut self) {
        if self.order.len() + self.new.len() <= 4 * self.all.len() + SPARE {
            return;
        }
        self.new.sort_unstable();
        self.new.dedup();
        self.new.retain(|key| self.all.contains(key.bytes()));
        self.order.retain(|key| self.all.contains(key.bytes()));
    }
}

impl<V> Items<Brief, V> for Hashed<V> {
    fn get(&self, key: &str) -> Option<&V> {
        self.all.get(key.as_bytes()).map(|(_, value)| value)
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.all.get_mut(key.as_bytes())
    }

    fn insert(&mut self, key: Brief, value: V) -> Option<V> {
        if !self.scanned {
            return self.all.insert(key, value);
        }
        let before = self.all.insert(key.clone(), value);
        if before.is_none() {
            self.new.push(key);
            self.tidy();
        }
        before
    }

    fn remove(&mut self, key: &str) -> Option<(Brief, V)> {
        self.all.remove(key.as_bytes())
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    fn warm<'k>(&self, keys: impl Iterator<Item = &'k str>, look: impl Fn(&V) -> i64) {
        self.all.warm(keys.map(str::as_bytes), look);
    }

    fn scan<'s>(&'s mut self, keys: Keys<'s>) -> impl Iterator<Item = (&'s Brief, &'s V)>
    where
        Brief: 's,
        V: 's,
    {
        if !self.scanned {
            self.scanned = true;
            self.new.extend(self.all.keys().cloned());
        }
        self.order.extend(self.new.drain(..));
        let from = (Bound::Included(keys.key.as_bytes()), Bound::Unbounded);
        let named = self.order.range::<[u8], _>(from);
        let named = named.take_while(move |key| !keys.ends_before(key.text()));
        let all = &self.all;
        named.filter_map(move |key| all.get(key.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Random;

    #[test]
    fn a_range_is_what_an_ordered_table_says_whatever_came_before() {
        let mut random = Random::new(7);
        let mut hashed = Hashed::<i64>::default();
        let mut sorted: BTreeMap<String, i64> = BTreeMap::new();
        for step in 0..20_000_i64 {
            let key = format!("k/{}", random.below(300));
            match random.below(10) {
                0..5 => {
                    let before = hashed.insert(Brief::from(&key), step);
                    let known = sorted.insert(key, step);
                    assert_eq!(before, known);
                }
                5..9 => {
                    let before = hashed.remove(&key).map(|(_, held)| held);
                    assert_eq!(before, sorted.remove(&key));
                }
                _ => {
                    let end = format!("k/{}", random.below(300));
                    let found = hashed.scan(Keys::new(&key, Some(&end)));
                    let found: Vec<_> = found
                        .map(|(key, held)| (key.text().to_owned(), *held))
                        .collect();
                    let known = sorted
                        .iter()
                        .filter(|(known, _)| **known >= key && **known < end);
                    let known: Vec<_> = known.map(|(key, number)| (key.clone(), *number)).collect();
                    assert_eq!(found, known);
                }
            }
            assert_eq!(hashed.len(), sorted.len());
        }
    }

    #[test]
    fn keys_that_come_and_go_take_no_memory() {
        let mut hashed = Hashed::<i64>::default();
        for step in 0..50_000 {
            let key = format!("k/{step}");
            hashed.insert(Brief::from(&key), step);
            if step % 3_000 == 0 {
                assert_eq!(hashed.scan(Keys::new("", Some("\0"))).count(), 1);
            }
            hashed.remove(&key);
            hashed.insert(Brief::from("same"), step);
            hashed.remove("same");
        }
        assert!(hashed.order.len() + hashed.new.len() <= SPARE + 4);
    }
}
