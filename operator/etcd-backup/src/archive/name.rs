//! Pure: names of the archive's objects, and which of them make the chain.
//!
//! A segment is named by its number alone, so that of two writers one creates it. Many are merged into one object,
//! after which they are deleted; until then, and for what a late writer leaves, the merged one counts.

/// An object of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Number of its first segment.
    pub first: u64,
    /// Number of its last segment.
    pub last: u64,
    /// Of one that holds many: the revision and the time (milliseconds since 1970) that it begins after.
    pub begins: Option<(i64, i64)>,
}

impl Object {
    /// How names begin.
    pub(crate) const BEGINNINGS: [&'static str; 2] = ["segment-", "merged-"];

    /// One segment.
    #[must_use]
    pub fn segment(sequence: u64) -> Self {
        Object {
            first: sequence,
            last: sequence,
            begins: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        match self.begins {
            None => format!("segment-{:012}", self.first),
            Some((after, since)) => {
                format!(
                    "merged-{:012}-{:012}-{after}-{since}",
                    self.first, self.last
                )
            }
        }
    }

    /// Reads a name; `None` for an object that is none of the archive's.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let kind = parts.next()?;
        let numbers: Option<Vec<i64>> = parts.map(|part| part.parse().ok()).collect();
        let number = |at: i64| u64::try_from(at).ok();
        let object = match (kind, numbers?.as_slice()) {
            ("segment", [at]) => Object::segment(number(*at)?),
            ("merged", [first, last, after, since]) => Object {
                first: number(*first)?,
                last: number(*last)?,
                begins: Some((*after, *since)),
            },
            _ => return None,
        };
        (object.name() == name && object.first <= object.last).then_some(object)
    }
}

/// How names of objects begin that name a Backup which has written to the archive.
const MARK: &str = "owner-";

/// Name of the object that names this Backup.
#[must_use]
pub fn mark_name(backup_uid: &str) -> String {
    format!("{MARK}{backup_uid}")
}

/// Whether an object names a Backup that has written to the archive.
#[must_use]
pub fn is_mark(name: &str) -> bool {
    name.starts_with(MARK)
}

/// A segment that no object has, although later ones are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {0} is missing, and later ones are there")]
pub struct Missing(pub u64);

/// The objects that make the chain, in its order, and those that others make superfluous.
///
/// Segments are merged from the first on. So single ones before a merged one are left over of what was merged and
/// deleted since: where they do not lead to it, the archive begins with it.
///
/// # Errors
/// When a segment is missing in the middle.
pub fn cover(mut all: Vec<Object>) -> Result<(Vec<Object>, Vec<Object>), Missing> {
    // Of those that begin together the longest first; a merged one before the segment.
    all.sort_by_key(|object| {
        (
            object.first,
            std::cmp::Reverse((object.last, object.begins)),
        )
    });
    let merged = all.iter().find(|object| object.begins.is_some());
    let merged = merged.map(|object| object.first);
    let (mut chain, mut covered): (Vec<Object>, Vec<Object>) = (Vec::new(), Vec::new());
    for object in all {
        let Some(end) = chain.last().map(|last| last.last) else {
            chain.push(object);
            continue;
        };
        if object.last <= end {
            covered.push(object);
        } else if object.first <= end + 1 {
            chain.push(object);
        } else if merged.is_some_and(|merged| object.first <= merged) {
            covered.append(&mut chain);
            chain.push(object);
        } else {
            return Err(Missing(end + 1));
        }
    }
    Ok((chain, covered))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(first: u64, last: u64) -> Object {
        Object {
            first,
            last,
            begins: Some((5, 7)),
        }
    }

    proptest! {
        #[test]
        fn names_come_back(first in 0_u64..1 << 40, more in 0_u64..99, after in 1_i64..i64::MAX, since in 0_i64..1 << 50) {
            for object in [Object::segment(first), Object { first, last: first + more, begins: Some((after, since)) }] {
                prop_assert_eq!(Object::read(&object.name()), Some(object));
            }
        }

        #[test]
        fn whatever_was_merged_and_left_over_every_segment_is_there_once(
            count in 1_u64..40, merges in prop::collection::vec((0_u64..40, 1_u64..20), 0..6), kept: u64, shuffle: u64,
        ) {
            let merges: Vec<_> = merges.iter().filter(|(first, more)| first + more < count).collect();
            let mut all: Vec<_> = merges.iter().map(|(first, more)| merged(*first, first + more)).collect();
            let within = |at: u64| merges.iter().any(|(first, more)| (*first..=first + more).contains(&at));
            all.extend((0..count).filter(|at| !within(*at) || kept >> at & 1 == 1).map(Object::segment));
            let turn = shuffle as usize % all.len();
            all.rotate_left(turn);
            let total = all.len();
            let (chain, covered) = cover(all.clone()).expect("no hole");
            prop_assert_eq!(chain.len() + covered.len(), total);
            let mut next = 0;
            for object in &chain {
                prop_assert!(object.first <= next && next <= object.last);
                next = object.last + 1;
            }
            prop_assert_eq!(next, count);
            // Any segment that only one object has is missed, unless it lies before all that was merged.
            let Some(lost) = (1..count - 1).find(|at| all.iter().filter(|o| (o.first..=o.last).contains(at)).count() == 1)
            else { return Ok(()) };
            all.retain(|object| !(object.first..=object.last).contains(&lost));
            let first = all.iter().map(|object| object.first).min();
            let begin = all.iter().filter(|object| object.begins.is_some()).map(|object| object.first).min();
            if let Some(begin) = begin.filter(|begin| lost < *begin) {
                match cover(all.clone()) {
                    Ok((chain, _)) => {
                        prop_assert!(lost < chain[0].first && chain[0].first <= begin);
                        prop_assert!(chain.windows(2).all(|two| two[1].first <= two[0].last + 1));
                        let end = all.iter().map(|object| object.last).max();
                        prop_assert_eq!(chain.last().map(|object| object.last), end);
                    }
                    // The object that is gone had more.
                    Err(Missing(missing)) => prop_assert!(begin < missing),
                }
            } else if first.is_some_and(|first| first < lost) && all.iter().any(|object| object.first > lost) {
                prop_assert!(cover(all).is_err());
            }
        }
    }

    #[test]
    fn what_is_left_over_before_the_first_merged_object_is_no_hole_and_what_is_missing_after_it_is()
    {
        let left: Vec<_> = (101..=255).map(Object::segment).collect();
        let with = |more: &[Object]| cover([left.as_slice(), more].concat());
        let (chain, covered) = with(&[merged(512, 767), Object::segment(768)]).expect("no hole");
        assert_eq!(chain, [merged(512, 767), Object::segment(768)]);
        assert_eq!(covered, left);
        // They lead to it: nothing is deleted.
        let (chain, covered) = with(&[merged(256, 511)]).expect("no hole");
        assert_eq!((chain.len(), covered.len()), (156, 0));
        let lost = [merged(256, 511), merged(768, 800)];
        assert_eq!(with(&lost), Err(Missing(512)));
        let lost = [merged(256, 511), Object::segment(513)];
        assert_eq!(with(&lost), Err(Missing(512)));
        // Without a merged one nothing was ever deleted.
        assert_eq!(with(&[Object::segment(300)]), Err(Missing(256)));
    }

    #[test]
    fn other_names_are_none() {
        for other in [
            "probe",
            "segment-1",
            "segment-",
            "merged-1-2",
            "segment-000000000001-",
            "manifest.json",
            &mark_name("1"),
        ] {
            assert_eq!(Object::read(other), None, "{other}");
        }
    }
}
