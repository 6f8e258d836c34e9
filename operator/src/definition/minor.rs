//! A minor release, e.g. `3.5`. Pure.

use std::fmt;

/// The minor that a version belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Minor {
    major: u64,
    minor: u64,
}

impl Minor {
    /// The minor of a version, `3.5.35` or `3.5`; none when the text does not begin with two numbers.
    pub(crate) fn of(version: &str) -> Option<Self> {
        let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(Self { major, minor })
    }

    /// The one after it.
    pub(crate) fn next(self) -> Self {
        Self {
            minor: self.minor.saturating_add(1),
            ..self
        }
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
