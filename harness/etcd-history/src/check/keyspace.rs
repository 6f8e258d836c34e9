//! Which keys a request or a watch is about.

/// A set of keys: one key, or all in `[key, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Keys<'a> {
    pub(crate) key: &'a str,
    end: Option<&'a str>,
}

impl<'a> Keys<'a> {
    /// The keys that etcd means by a key and a range end. A range end of one zero byte means all from `key` on.
    pub(crate) fn new(key: &'a str, range_end: Option<&'a str>) -> Self {
        Self {
            key,
            end: range_end.filter(|end| !end.is_empty()),
        }
    }

    /// True when there is a range end.
    pub(crate) fn is_range(&self) -> bool {
        self.end.is_some()
    }

    /// Where a range begins and, if it has an end, ends; absent for one key.
    pub(crate) fn ends(&self) -> Option<(&'a str, Option<&'a str>)> {
        let end = self.end?;
        Some((self.key, (end != "\0").then_some(end)))
    }

    /// True when the key is one of them.
    pub(crate) fn hold(&self, key: &str) -> bool {
        match self.end {
            None => key == self.key,
            Some("\0") => key >= self.key,
            Some(end) => key >= self.key && key < end,
        }
    }

    /// True when all of the others are among them.
    pub(crate) fn cover(&self, others: Self) -> bool {
        match (self.end, others.end) {
            (None, None) => self.key == others.key,
            (_, None) => self.hold(others.key),
            (None, Some(_)) => false,
            (Some("\0"), Some(_)) => others.key >= self.key,
            (Some(_), Some("\0")) => false,
            (Some(end), Some(other)) => others.key >= self.key && other <= end,
        }
    }

    /// True when a scan that starts at `key` must stop before this one.
    pub(crate) fn ends_before(&self, key: &str) -> bool {
        match self.end {
            None => key != self.key,
            Some("\0") => false,
            Some(end) => key >= end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_covers_what_is_among_its_keys() {
        let range = |end| Keys::new("b", Some(end));
        let one = |key| Keys::new(key, None);
        let (to_d, on) = (range("d"), range("\0"));
        for (keys, others, covers) in [
            (to_d, one("b"), true),
            (to_d, one("d"), false),
            (to_d, Keys::new("c", Some("d")), true),
            (to_d, Keys::new("a", Some("c")), false),
            (to_d, range("e"), false),
            (to_d, on, false),
            (on, to_d, true),
            (on, one("z"), true),
            (on, Keys::new("a", Some("\0")), false),
            (one("b"), one("b"), true),
            (one("b"), one("c"), false),
            (one("b"), to_d, false),
        ] {
            assert_eq!(keys.cover(others), covers, "{keys:?} {others:?}");
        }
    }
}
