//! Text of a store that owns what it holds: keys and values of a few bytes are in the table itself, so that to compare
//! them is no look at another place in memory.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// Longest text without a place of its own: with it the whole has 24 bytes.
const SHORT: usize = 22;

/// Text, whose order is that of its bytes.
#[derive(Clone)]
pub(crate) enum Brief {
    /// So many of these bytes.
    Short(u8, [u8; SHORT]),
    /// What is longer.
    Long(Rc<str>),
}

impl Brief {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            // It was text when it came.
            Self::Short(..) => std::str::from_utf8(self.bytes()).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

impl From<&str> for Brief {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(length, bytes)
            }
            _ => Self::Long(Rc::from(text)),
        }
    }
}

impl From<&String> for Brief {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Borrow<[u8]> for Brief {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl Hash for Brief {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl PartialEq for Brief {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Brief {}

impl PartialOrd for Brief {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Brief {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Debug for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_that_it_was_made_of_whatever_its_length() {
        let texts = ["", "k", "k/00000001", "twenty-two bytes, full", "äöü/€"];
        let long = "x".repeat(300);
        let lengths = (0..30).map(|length| &long[..length]);
        for text in texts.into_iter().chain(lengths).chain([long.as_str()]) {
            assert_eq!(Brief::from(text).text(), text);
        }
        assert!(matches!(Brief::from(texts[3]), Brief::Short(22, _)));
        assert_eq!(size_of::<Brief>(), 24);
    }

    #[test]
    fn its_order_is_that_of_the_text() {
        let long = "k/0".repeat(9);
        let mut texts = ["k/1", "k", "", "k/", &long, "l", "k/0", "äö", "k/0k/0"];
        let mut briefs = texts.map(Brief::from);
        briefs.sort();
        texts.sort_unstable();
        assert_eq!(briefs.map(|brief| brief.text().to_owned()), texts);
    }
}
