//! Pure: a segment of the archive, its bytes, and how it is linked to the one before it.
//!
//! Bytes: [`MAGIC`], length of the header (4 bytes, big endian), header (JSON), body ([`Event`]s in protobuf, each
//! after its length), SHA-256 of all that.

use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hexadecimal;

/// Version of the format of a segment.
pub const FORMAT: u32 = 1;
/// Version of one that says what was changed last before it.
pub const KNOWING: u32 = 2;
/// The first bytes of a segment.
pub const MAGIC: &[u8; 8] = b"etcd-arc";
/// Largest header that is read, in bytes.
const HEADER: usize = 16 * 1024;
/// So many first bytes of a segment have its header.
pub const BEGINNING: u64 = MAGIC.len() as u64 + 4 + HEADER as u64;
/// Largest body that is written and read, in bytes: one revision of etcd may be large, and is never divided.
pub const BODY: u64 = 256 * 1024 * 1024;
/// So old may a confirmation be, in milliseconds, that vouches for the end of a segment with later events.
pub const NEAR: i64 = 2000;
/// No revision and no time is greater: one is added to them without a look.
const MOST: i64 = i64::MAX / 2;
/// Bytes of the hash at the end.
const HASH: usize = 32;

/// Bytes that are no segment, or one that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASegment {
    /// It ends too early.
    #[error("it is cut after {0} bytes")]
    Cut(usize),
    /// It begins with something else.
    #[error("it does not begin as a segment does")]
    Magic,
    /// Its hash is another one.
    #[error("the hash at its end is not that of the bytes before it")]
    Hash,
    /// Its header or an event cannot be read.
    #[error("its {0} cannot be read: {1}")]
    Shape(&'static str, String),
    /// Written by a program of another version.
    #[error(
        "its formatVersion is {0}, this program reads {FORMAT} and {KNOWING}: use the operator that wrote it, or a newer one"
    )]
    Version(u64),
    /// Header and events do not agree.
    #[error("it contradicts itself: {0}")]
    Contradiction(String),
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Event {
    /// True when the key was deleted.
    #[prost(bool, tag = "1")]
    pub delete: bool,
    /// The key.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// Its value.
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
    /// Identifier of its lease; 0 without.
    #[prost(int64, tag = "4")]
    pub lease: i64,
    /// Revision in which the key was created.
    #[prost(int64, tag = "5")]
    pub create_revision: i64,
    /// Revision of the change.
    #[prost(int64, tag = "6")]
    pub revision: i64,
    /// Version of the key.
    #[prost(int64, tag = "7")]
    pub version: i64,
    /// When the archive received it: milliseconds since 1970, never less than in an earlier event.
    #[prost(int64, tag = "8")]
    pub at: i64,
    /// Seconds for which the lease was granted; 0 when that was not known any more.
    #[prost(int64, tag = "9")]
    pub lease_seconds: i64,
}

/// Revisions that the archive does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gap {
    /// The last revision before it.
    pub after: i64,
    /// The last revision that is missing.
    pub until: i64,
    /// Why.
    pub why: String,
}

/// The changes of one revision, by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Changes {
    /// The revision.
    pub revision: i64,
    /// The first 8 bytes of the SHA-256 of each change, hexadecimal.
    pub hashes: Vec<String>,
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// Version of this format.
    pub format_version: u32,
    /// Its number, from 0.
    pub sequence: u64,
    /// Hash of the segment before it, hexadecimal; empty in the first.
    pub previous: String,
    /// Identifier of the etcd cluster, hexadecimal.
    pub cluster_id: String,
    /// Who wrote it: the pod.
    pub writer: String,
    /// Its events come after this revision.
    pub after: i64,
    /// And go up to this one.
    pub through: i64,
    /// How many they are.
    pub events: u64,
    /// Bytes of the body.
    pub body: u64,
    /// The time that the segment before it ended at, in milliseconds since 1970.
    pub since: i64,
    /// Up to this time it has all that happened, if it is later than the last event: then the member has said so.
    /// Otherwise it is when that one arrived.
    pub until: i64,
    /// False when the archive was not in step meanwhile: times of events are then later than the events.
    pub continuous: bool,
    /// Revisions before `after` that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// In a segment without events: the last changes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Changes>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// What it says of itself.
    pub header: Header,
    /// Its events, in etcd's order.
    pub events: Vec<Event>,
}

/// The end of a chain: what the next segment must follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number of the last segment.
    pub sequence: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// Its last revision.
    pub through: i64,
    /// Its time.
    pub until: i64,
    /// What had happened by then is archived, as far as that is known.
    pub confirmed: Option<i64>,
    /// Identifier of the etcd cluster, hexadecimal.
    pub cluster_id: String,
}

impl Segment {
    /// A segment of complete events; count, length and last revision are set here.
    #[must_use]
    pub fn new(mut header: Header, events: Vec<Event>) -> Self {
        let length = |event: &Event| {
            let length = event.encoded_len();
            (length + prost::length_delimiter_len(length)) as u64
        };
        header.format_version = header.last.as_ref().map_or(FORMAT, |_| KNOWING);
        header.events = events.len() as u64;
        header.body = events.iter().map(length).sum();
        header.through = events.last().map_or(header.after, |event| event.revision);
        Segment { header, events }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When it contradicts itself or is too large: nothing is written that could not be read.
    pub fn encode(&self) -> Result<Vec<u8>, NotASegment> {
        self.check()?;
        let shape = |error: String| NotASegment::Shape("header", error);
        let header = serde_json::to_vec(&self.header).map_err(|error| shape(error.to_string()))?;
        if header.len() > HEADER {
            return Err(shape(format!("it has {} bytes", header.len())));
        }
        let length = u32::try_from(header.len()).map_err(|error| shape(error.to_string()))?;
        let mut bytes = Vec::with_capacity(header.len() + self.header.body as usize + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&header);
        for event in &self.events {
            let encoded = event.encode_length_delimited(&mut bytes);
            encoded.map_err(|error| NotASegment::Shape("event", error.to_string()))?;
        }
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        Ok(bytes)
    }

    /// Reads the segment at the beginning of `bytes`; how long it is, and its hash in hexadecimal.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize, String), NotASegment> {
        let (header, begin) = read_header(bytes)?;
        let end = begin + header.body as usize;
        let cut = NotASegment::Cut(bytes.len());
        let hash = bytes.get(end..end + HASH).ok_or(cut)?;
        if Sha256::digest(&bytes[..end]).as_slice() != hash {
            return Err(NotASegment::Hash);
        }
        let (mut body, mut events) = (&bytes[begin..end], Vec::new());
        while !body.is_empty() {
            let event = Event::decode_length_delimited(&mut body);
            events.push(event.map_err(|error| NotASegment::Shape("event", error.to_string()))?);
        }
        let hash = hexadecimal(hash);
        let segment = Segment { header, events };
        segment.check()?;
        Ok((segment, end + HASH, hash))
    }

    /// The link that the next segment must follow.
    #[must_use]
    pub fn link(&self, hash: String) -> Link {
        Link {
            sequence: self.header.sequence,
            hash,
            through: self.header.through,
            until: self.header.until,
            confirmed: self.confirmed(),
            cluster_id: self.header.cluster_id.clone(),
        }
    }

    /// The revision that an archive begins after whose first segment this is, and the first time that it knows.
    #[must_use]
    pub fn begins(&self) -> (i64, i64) {
        let header = &self.header;
        let known = header.sequence > 0 && header.continuous;
        (
            header.after,
            if known { header.since } else { header.until },
        )
    }

    /// What had happened by this time is archived up to its end; `None` where it was never confirmed.
    #[must_use]
    pub fn confirmed(&self) -> Option<i64> {
        let (since, until) = (self.header.since, self.header.until);
        let end = self.events.last().map_or(since, |event| event.at);
        match until.saturating_sub(end) {
            ..=0 => None,
            // The word is older than the last event, and how old is not written down.
            1 => Some(end.saturating_sub(NEAR)),
            _ => Some(until),
        }
    }

    /// Whether it follows the end of a chain.
    ///
    /// # Errors
    /// What does not fit.
    pub fn follows(&self, before: &Link) -> Result<(), String> {
        let header = &self.header;
        let after = header.gap.as_ref().map_or(header.after, |gap| gap.after);
        let fits = [
            (header.sequence == before.sequence + 1, "number"),
            (header.previous == before.hash, "hash of the one before it"),
            (header.cluster_id == before.cluster_id, "etcd cluster"),
            (after == before.through, "first revision"),
            (header.since == before.until, "time"),
        ];
        match fits.iter().find(|(fits, _)| !fits) {
            None => Ok(()),
            Some((_, what)) => Err(format!(
                "segment {} does not follow segment {}: another {what}",
                header.sequence, before.sequence
            )),
        }
    }

    /// Revisions have no holes, times never go back, and the header says what is there.
    fn check(&self) -> Result<(), NotASegment> {
        let header = &self.header;
        let refuse = |what: String| Err(NotASegment::Contradiction(what));
        if header.events != self.events.len() as u64 || header.body > BODY {
            return refuse(format!("{} events, {} bytes", header.events, header.body));
        }
        if header.after.max(header.through).max(header.until) > MOST {
            let Header { after, until, .. } = header;
            return refuse(format!(
                "it begins after revision {after}, and ends at time {until}"
            ));
        }
        let (mut revision, mut at) = (header.after, header.since);
        for event in &self.events {
            let next = event.revision == revision + 1;
            if !next && (event.revision != revision || revision == header.after) {
                return refuse(format!("revision {} after {revision}", event.revision));
            }
            if event.at < at || event.at > header.until {
                return refuse(format!("time {} of revision {}", event.at, event.revision));
            }
            (revision, at) = (event.revision, event.at);
        }
        if header.until < at || revision != header.through {
            return refuse(format!("it ends at revision {revision} and time {at}"));
        }
        let knows = header.last.is_some();
        if knows != (header.format_version == KNOWING) {
            return refuse(format!("formatVersion {}", header.format_version));
        }
        let last = header.last.as_ref();
        if last.is_some_and(|last| header.events > 0 || last.revision > header.after) {
            return refuse("it has other last changes".to_owned());
        }
        match &header.gap {
            Some(gap) if gap.after >= gap.until || gap.until != header.after => {
                refuse(format!("gap of {} to {}", gap.after, gap.until))
            }
            _ => Ok(()),
        }
    }
}

/// Who wrote the segment that begins with these bytes; `None` where they do not tell, as of one that is encrypted.
#[must_use]
pub fn writer(beginning: &[u8]) -> Option<String> {
    let (header, _) = read_header(beginning).ok()?;
    Some(header.writer)
}

/// The header, and where the body begins.
fn read_header(bytes: &[u8]) -> Result<(Header, usize), NotASegment> {
    let cut = || NotASegment::Cut(bytes.len());
    let begin = MAGIC.len() + 4;
    let length = bytes.get(MAGIC.len()..begin).ok_or_else(cut)?;
    if bytes[..MAGIC.len()] != *MAGIC {
        return Err(NotASegment::Magic);
    }
    let length = length
        .iter()
        .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length > HEADER {
        return Err(NotASegment::Shape(
            "header",
            format!("it has {length} bytes"),
        ));
    }
    let header = bytes.get(begin..begin + length).ok_or_else(cut)?;
    let shape = |error: serde_json::Error| NotASegment::Shape("header", error.to_string());
    // The version first: a later format may have any other shape.
    let any: serde_json::Value = serde_json::from_slice(header).map_err(shape)?;
    let version = any["formatVersion"].as_u64().unwrap_or_default();
    if ![FORMAT, KNOWING].map(u64::from).contains(&version) {
        return Err(NotASegment::Version(version));
    }
    let header: Header = serde_json::from_value(any).map_err(shape)?;
    if header.body > BODY {
        return Err(NotASegment::Contradiction(format!("{} bytes", header.body)));
    }
    Ok((header, begin + length))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Segments as an archive has them: `sizes` are the events of each revision, by segment.
    pub(crate) fn chain(sizes: &[Vec<u8>]) -> Vec<(Segment, Vec<u8>, String)> {
        let (mut made, mut revision, mut at) = (Vec::new(), 10, 1000);
        let mut previous = String::new();
        for (sequence, revisions) in sizes.iter().enumerate() {
            let (after, since) = (revision, at);
            let mut events = Vec::new();
            for events_of_one in revisions {
                (revision, at) = (revision + 1, at + 5);
                for number in 0..=*events_of_one % 3 {
                    events.push(event(revision, at, number));
                }
            }
            at += 7;
            let segment = Segment::new(
                header(sequence as u64, &previous, after, (since, at)),
                events,
            );
            let bytes = segment.encode().expect("a segment");
            let (_, _, hash) = Segment::decode(&bytes).expect("a segment");
            previous.clone_from(&hash);
            made.push((segment, bytes, hash));
        }
        made
    }

    pub(crate) fn event(revision: i64, at: i64, number: u8) -> Event {
        Event {
            delete: number == 2,
            key: vec![b'k', number],
            value: vec![number; 9],
            lease: i64::from(number),
            create_revision: 3,
            revision,
            version: 1,
            at,
            lease_seconds: 0,
        }
    }

    pub(crate) fn header(
        sequence: u64,
        previous: &str,
        after: i64,
        (since, until): (i64, i64),
    ) -> Header {
        Header {
            format_version: FORMAT,
            sequence,
            previous: previous.to_owned(),
            cluster_id: "c".into(),
            writer: "w".into(),
            after,
            through: after,
            events: 0,
            body: 0,
            since,
            until,
            continuous: true,
            gap: None,
            last: None,
        }
    }

    proptest! {
        #[test]
        fn a_segment_comes_back_and_never_when_it_is_cut_or_changed(
            sizes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..5), at: usize, bit in 0_u8..8, cut: usize,
        ) {
            for (segment, bytes, _) in chain(&sizes) {
                let mut longer = bytes.clone();
                longer.extend_from_slice(b"rest");
                let (read, length, _) = Segment::decode(&longer).expect("a segment");
                prop_assert_eq!((&read, length), (&segment, bytes.len()));
                prop_assert!(Segment::decode(&bytes[..cut % bytes.len()]).is_err());
                let mut changed = bytes.clone();
                let at = at % changed.len();
                changed[at] ^= 1 << bit;
                prop_assert!(Segment::decode(&changed).is_err(), "byte {}", at);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read = Segment::decode(&bytes);
            let _read = Segment::decode(&[MAGIC.as_slice(), &bytes].concat());
        }

        #[test]
        fn segments_follow_each_other_and_no_other(
            sizes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 2..6),
        ) {
            let chain = chain(&sizes);
            for (before, (segment, _, hash)) in chain.iter().enumerate() {
                for (next, (other, _, _)) in chain.iter().enumerate() {
                    let follows = other.follows(&segment.link(hash.clone()));
                    prop_assert_eq!(follows.is_ok(), next == before + 1, "{} after {}", next, before);
                }
            }
        }
    }

    #[test]
    fn a_segment_that_contradicts_itself_is_neither_written_nor_read() {
        let good = Segment::new(
            header(0, "", 4, (0, 9)),
            vec![event(5, 1, 0), event(5, 1, 1), event(6, 2, 0)],
        );
        assert!(good.encode().is_ok());
        type Spoil = fn(&mut Segment);
        let spoil: [(&str, Spoil); 10] = [
            ("a revision that no etcd has", |s| s.header.after = i64::MAX),
            ("a time that no clock tells", |s| s.header.until = i64::MAX),
            ("a hole in revisions", |s| s.events[2].revision = 7),
            ("a revision of before", |s| s.events[0].revision = 4),
            ("a time that goes back", |s| s.events[2].at = 0),
            ("a time after its end", |s| s.header.until = 1),
            ("another last revision", |s| s.header.through = 7),
            ("another count", |s| s.header.events = 2),
            ("a gap elsewhere", |s| {
                s.header.gap = Some(Gap {
                    after: 1,
                    until: 3,
                    why: String::new(),
                })
            }),
            ("a gap of nothing", |s| {
                s.header.gap = Some(Gap {
                    after: 4,
                    until: 4,
                    why: String::new(),
                })
            }),
        ];
        for (what, spoil) in spoil {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(
                matches!(bad.encode(), Err(NotASegment::Contradiction(_))),
                "{what}"
            );
        }
    }

    #[test]
    fn last_changes_are_those_before_a_segment_without_any_and_have_a_version() {
        let with = |change: &dyn Fn(&mut Segment)| {
            let mut header = header(0, "", 4, (0, 9));
            header.last = Some(Changes {
                revision: 4,
                hashes: vec!["00".into()],
            });
            let mut segment = Segment::new(header, Vec::new());
            change(&mut segment);
            segment.encode()
        };
        let bytes = with(&|_| ()).expect("a segment");
        let (read, _, _) = Segment::decode(&bytes).expect("a segment");
        assert_eq!(
            (read.header.format_version, read.header.events),
            (KNOWING, 0)
        );
        assert_eq!(read.header.last.expect("changes").revision, 4);
        type Spoil = fn(&mut Segment);
        let spoil: [Spoil; 4] = [
            |s| s.header.format_version = FORMAT,
            |s| s.header.last = None,
            |s| s.header.last.as_mut().expect("changes").revision = 5,
            |s| *s = Segment::new(s.header.clone(), vec![event(5, 1, 0)]),
        ];
        for spoil in spoil {
            let told = with(&spoil);
            assert!(
                matches!(told, Err(NotASegment::Contradiction(_))),
                "{told:?}"
            );
        }
        let plain = Segment::new(header(0, "", 4, (0, 9)), Vec::new());
        assert_eq!(plain.header.format_version, FORMAT, "as before");
    }

    #[test]
    fn times_that_no_clock_tells_end_no_program() {
        for (times, confirmed) in [
            ((i64::MIN, i64::MAX), Some(i64::MAX)),
            ((i64::MIN, i64::MIN + 1), Some(i64::MIN)),
            ((i64::MAX, i64::MAX), None),
        ] {
            let segment = Segment::new(header(0, "", 4, times), Vec::new());
            assert_eq!(segment.confirmed(), confirmed, "{times:?}");
        }
    }

    #[test]
    fn a_later_format_is_refused_by_name() {
        let text = br#"{"formatVersion":3,"other":1}"#;
        let bytes = [MAGIC.as_slice(), &(text.len() as u32).to_be_bytes(), text].concat();
        assert_eq!(
            Segment::decode(&bytes).unwrap_err(),
            NotASegment::Version(3)
        );
    }
}
