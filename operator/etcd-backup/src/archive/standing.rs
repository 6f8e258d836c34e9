//! Pure: where an archive stands, as its writer publishes it.

use tokio::time::Instant;

use super::segment::{Gap, Segment};

/// An archive of so many objects warns: each start of its writer and each restore lists all of them.
const MANY: usize = 250_000;
/// It is told in such steps: the operator puts the text on record, and writes the record when it changes (C6).
const STEP: usize = 50_000;

/// Where an archive stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// First revision and time (milliseconds since 1970) that it begins after.
    pub begins: Option<(i64, i64)>,
    /// Last revision in the repository.
    pub through: i64,
    /// Its time, in milliseconds since 1970.
    pub until: i64,
    /// When the repository last had all that the cluster had, and how many milliseconds it was behind then already: by
    /// a clock that is never set. Absent while that is not known.
    pub in_step: Option<(Instant, i64)>,
    /// Newest revision that the member has said to have.
    pub newest: i64,
    /// Segments that this writer has stored.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last gap.
    pub gap: Option<Gap>,
    /// Objects that the archive has.
    pub objects: usize,
    /// Why it does not proceed, if it does not.
    pub failure: Option<String>,
}

impl Standing {
    /// A segment is in the repository.
    pub fn stored(&mut self, segment: &Segment, bytes: usize) {
        let header = &segment.header;
        self.begins.get_or_insert_with(|| segment.begins());
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

    /// What will be a trouble later.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.objects > MANY).then(|| {
            format!(
                "it has more than {} objects in the repository, and all of them are listed when its writer starts and when \
                 it is restored: give this Backup a retentionPeriod, or a shorter one",
                self.objects / STEP * STEP
            )
        })
    }

    /// How far the repository is behind the cluster, in milliseconds.
    #[must_use]
    pub fn lag(&self, now: Instant) -> i64 {
        let Some((at, behind)) = self.in_step else {
            return i64::MAX;
        };
        let passed = now.saturating_duration_since(at).as_millis();
        behind.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}
