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

    /// True when the key is one of them.
    pub(crate) fn hold(&self, key: &str) -> bool {
        match self.end {
            None => key == self.key,
            Some("\0") => key >= self.key,
            Some(end) => key >= self.key && key < end,
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
