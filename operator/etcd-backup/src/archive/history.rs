//! Pure: whether etcd has the history that the archive has. A cluster that was recovered from a lost quorum, or whose
//! disks were set back, counts its revisions on from an older one, under the identifier that it had.

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::segment::Event;

/// The changes of the last revision of an archive, by their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    revision: i64,
    events: Vec<[u8; 32]>,
}

impl Last {
    /// Takes the changes at the end of some; where there are none the last revision is what it was.
    pub fn remember(&mut self, events: &[Event]) {
        let Some(last) = events.last() else {
            return;
        };
        let of = events
            .iter()
            .rev()
            .take_while(|event| event.revision == last.revision);
        *self = Last {
            revision: last.revision,
            events: of.map(hash).collect(),
        };
    }

    /// Whether etcd tells another change of that revision. Of other revisions nothing is known.
    #[must_use]
    pub fn contradicts(&self, told: &[Event]) -> bool {
        let mut same = told.iter().filter(|event| event.revision == self.revision);
        same.any(|event| !self.events.contains(&hash(event)))
    }
}

/// Of what etcd itself has of a change.
fn hash(event: &Event) -> [u8; 32] {
    let plain = Event {
        at: 0,
        lease_seconds: 0,
        ..event.clone()
    };
    Sha256::digest(plain.encode_to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::segment::tests::event;

    #[test]
    fn another_change_of_the_last_revision_is_another_history() {
        let (first, second) = (event(12, 0, 0), event(12, 0, 1));
        let mut last = Last::default();
        assert!(
            !last.contradicts(std::slice::from_ref(&first)),
            "nothing is known"
        );
        last.remember(&[event(11, 0, 0), first.clone(), second.clone()]);
        last.remember(&[]);
        // In any order and in pieces; times are the archive's own.
        let mut later = second.clone();
        (later.at, later.lease_seconds) = (77, 5);
        assert!(!last.contradicts(&[later, first.clone()]));
        assert!(!last.contradicts(&[second]) && !last.contradicts(&[]));
        assert!(!last.contradicts(&[event(11, 0, 9), event(13, 0, 0)]));
        let mut other = first.clone();
        other.value = b"another".to_vec();
        assert!(last.contradicts(&[first, other]));
    }
}
