//! Which CAs members believe, as a text that stays on record beside them. Secrets are lost and spoiled; what members
//! were started with does not change by that.

use std::collections::BTreeSet;
use std::fmt;

use super::rotate::digest;

/// Digits of a fingerprint that are on record.
const DIGITS: usize = 16;

/// CAs by the first digits of their SHA-256 fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Believed(BTreeSet<String>);

impl Believed {
    /// These CAs, as they are encoded.
    #[must_use]
    pub(crate) fn of(cas: &BTreeSet<Vec<u8>>) -> Self {
        Self(cas.iter().map(|ca| digest(ca)).collect())
    }

    /// What is on record; `None` for a text that is no such record: it says nothing.
    #[must_use]
    pub(crate) fn read(text: &str) -> Option<Self> {
        let is_one =
            |part: &str| part.len() == DIGITS && part.chars().all(|c| c.is_ascii_hexdigit());
        let parts = text.split(',');
        let read = parts.map(|part| is_one(part).then(|| part.to_owned()));
        read.collect::<Option<_>>().map(Self)
    }

    /// Whether this CA is among them.
    #[must_use]
    pub(crate) fn has(&self, ca: &[u8]) -> bool {
        self.0.contains(&digest(ca))
    }
}

impl fmt::Display for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(String::as_str).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_record_is_read_as_it_was_written_and_nothing_else_is() {
        let cas = BTreeSet::from([b"one".to_vec(), b"two".to_vec()]);
        let believed = Believed::of(&cas);
        let text = believed.to_string();
        assert_eq!(Believed::read(&text), Some(believed.clone()), "{text}");
        assert!(believed.has(b"one") && believed.has(b"two") && !believed.has(b"three"));
        assert_ne!(Believed::of(&[b"one".to_vec()].into()), believed);
        let half = &text[..20];
        for other in ["", ",", "none", half, &text.replace(',', " ")] {
            assert_eq!(Believed::read(other), None, "{other:?}");
        }
    }
}
