//! Pure: where an archive stands, as its writer publishes it.

use super::segment::{Gap, Segment};

/// Where an archive stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// First revision and time (milliseconds since 1970) that it begins after.
    pub begins: Option<(i64, i64)>,
    /// Last revision in the repository.
    pub through: i64,
    /// Its time, in milliseconds since 1970.
    pub until: i64,
    /// When the repository last had all that the member had delivered, in milliseconds since 1970.
    pub in_step: i64,
    /// Newest revision that the member has said to have.
    pub newest: i64,
    /// Segments that this writer has stored.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last gap.
    pub gap: Option<Gap>,
    /// Why it does not proceed, if it does not.
    pub failure: Option<String>,
}

impl Standing {
    /// A segment is in the repository.
    pub fn stored(&mut self, segment: &Segment, bytes: usize) {
        let header = &segment.header;
        self.begins.get_or_insert((header.after, header.since));
        self.through = header.through;
        self.until = header.until;
        self.newest = self.newest.max(header.through);
        self.segments += 1;
        self.bytes += bytes as u64;
        self.failure = None;
        if let Some(gap) = &header.gap {
            self.gap = Some(gap.clone());
        }
    }

    /// How far the repository is behind the cluster, in milliseconds.
    #[must_use]
    pub fn lag(&self, now: i64) -> i64 {
        (now - self.in_step).max(0)
    }
}
