//! Keys of one revision: mostly one, sometimes those of a whole range that was deleted. They are compared one by one
//! where they are few, else found by a hash, so that n of them do not cost n times n.

use crate::hash::{FastMap, FastSet};

/// So many are compared one by one.
const FEW: usize = 16;

/// A set of keys.
#[derive(Debug, Default)]
pub(crate) struct KeySet<'a> {
    few: Vec<&'a str>,
    many: FastSet<&'a str>,
}

impl<'a> KeySet<'a> {
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.few.contains(&key) || (!self.many.is_empty() && self.many.contains(key))
    }

    pub(crate) fn insert(&mut self, key: &'a str) {
        if self.few.len() < FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
    }

    /// Gives back what many took: to clear it costs as much as there is space.
    pub(crate) fn clear(&mut self) {
        self.few.clear();
        if !self.many.is_empty() {
            self.many = FastSet::default();
        }
    }
}

/// Where each key of a list stands first.
pub(crate) struct Places<'k>(Option<FastMap<&'k str, usize>>);

impl<'k> Places<'k> {
    /// Of a list in which so many keys will be looked for.
    pub(crate) fn of(keys: impl ExactSizeIterator<Item = &'k str>, wanted: usize) -> Self {
        if keys.len().min(wanted) <= FEW {
            return Self(None);
        }
        let mut places = FastMap::default();
        for (place, key) in keys.enumerate() {
            places.entry(key).or_insert(place);
        }
        Self(Some(places))
    }

    /// The place of a key; where they are few, what a look at one after the other finds.
    pub(crate) fn find(
        &self,
        key: &str,
        one_by_one: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        match &self.0 {
            Some(places) => places.get(key).copied(),
            None => one_by_one(),
        }
    }
}

/// Which of these are new: another one of that key, or none, is among those that are known or stand in front.
pub(crate) fn fresh<'e, E>(
    known: &'e [E],
    found: &'e [E],
    key: impl Fn(&'e E) -> &'e str,
    same: impl Fn(&E, &E) -> bool,
) -> Vec<bool> {
    if known.len().max(found.len()) <= FEW {
        let before = |at: usize| known.iter().chain(&found[..at]);
        let found = found.iter().enumerate();
        return found
            .map(|(at, one)| !before(at).any(|other| same(other, one)))
            .collect();
    }
    let mut last: FastMap<&str, &E> = known.iter().map(|one| (key(one), one)).collect();
    let found = found.iter();
    found
        .map(|one| {
            last.insert(key(one), one)
                .is_none_or(|other| !same(other, one))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_several_watchers_saw_of_many_keys_is_not_compared_with_all_of_it() {
        let names: Vec<String> = (0..2_000).map(|n| format!("k{n}")).collect();
        let compared = Cell::new(0);
        let new = |known: &[String], found: &[String]| {
            let same = |a: &String, b: &String| {
                compared.set(compared.get() + 1);
                a == b
            };
            let fresh = fresh(known, found, String::as_str, same);
            fresh.iter().filter(|fresh| **fresh).count()
        };
        assert_eq!(new(&[], &names), names.len());
        assert_eq!(new(&names, &names), 0);
        assert_eq!(new(&names[1..], &names), 1);
        assert!(compared.get() < 3 * names.len(), "{}", compared.get());
        assert_eq!(new(&names[..2], &names[1..4]), 2);
        let twice = [&names[..1], &names[..1]].concat();
        assert_eq!(new(&[], &twice), 1);
    }

    #[test]
    fn many_keys_are_not_compared_one_by_one() {
        let names: Vec<String> = (0..1_000).map(|n| format!("k{n}")).collect();
        let mut set = KeySet::default();
        for (at, name) in names.iter().enumerate() {
            assert!(!set.contains(name), "{name}");
            set.insert(name);
            assert!(set.contains(name) && set.contains(&names[at / 2]));
        }
        assert_eq!(set.few.len(), FEW);
        set.clear();
        assert!(!names.iter().any(|name| set.contains(name)));
        let twice = || names.iter().chain(&names[..1]).map(String::as_str);
        let twice: Vec<&str> = twice().collect();
        let places = Places::of(twice.iter().copied(), names.len());
        let by_hand = || -> Option<usize> { panic!("they are many") };
        assert_eq!(places.find("k0", by_hand), Some(0));
        assert_eq!(places.find("k999", by_hand), Some(999));
        assert_eq!(places.find("k", by_hand), None);
        let few = Places::of(twice.iter().copied(), 1);
        assert_eq!(few.find("k0", || Some(7)), Some(7));
    }
}
