//! An archive in its repository: appended to by one writer, merged, pruned, and read in order.

use std::collections::VecDeque;

use bytes::Bytes;
use object_store::path::Path;

use super::name::{Object, cover};
use super::segment::{BODY, Event, Link, Segment};
use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;
use crate::seal::{Keys, NotOpened, open, seal};

/// Largest segment that is read: its body, header and hash, and what encryption adds.
const SEGMENT: u64 = BODY + 256 * 1024;
/// The first bytes of a segment that is encrypted; its length (4 bytes, big endian) and itself follow.
const SEALED: &[u8; 8] = b"etcd-ars";
/// So many segments become one object.
pub const MERGED: usize = 256;
/// The newest of them stay by themselves, so that a writer that was stopped for a while still meets them.
const APART: usize = 64;
/// So many objects are looked at for the last change: a segment without any is written once a minute.
const LOOKED: usize = 16;
/// Largest object that segments are merged into, in bytes.
const LARGEST: u64 = 32 * 1024 * 1024;

/// An archive.
#[derive(Clone, Debug)]
pub struct Archive {
    repository: Repository,
    folder: Folder,
    keys: Option<Keys>,
}

/// What an archive consists of.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The objects of the chain, in its order, and their lengths.
    pub chain: VecDeque<(Object, u64)>,
    /// What others make superfluous.
    pub covered: Vec<Object>,
}

impl Archive {
    /// The archive in a folder. All of it is encrypted with the keys, or none of it when there are none.
    #[must_use]
    pub fn new(repository: Repository, folder: Folder, keys: Option<Keys>) -> Self {
        Archive {
            repository,
            folder,
            keys,
        }
    }

    /// The bytes of a segment as they are stored: other ones each time that it is encrypted.
    ///
    /// # Errors
    /// When it cannot be encrypted.
    pub fn sealed(&self, sequence: u64, bytes: Vec<u8>) -> Result<Bytes, Error> {
        let Some(keys) = &self.keys else {
            return Ok(bytes.into());
        };
        let object = self.path(&Object::segment(sequence));
        let sealed = seal(keys, &bytes).and_then(|sealed| {
            let length = u32::try_from(sealed.len());
            let length = length.map_err(|_| NotOpened::Limit("a segment has more than 4 GiB"))?;
            Ok([SEALED.as_slice(), &length.to_be_bytes(), &sealed].concat())
        });
        sealed
            .map(Bytes::from)
            .map_err(|source| Error::Sealed { object, source })
    }

    /// Where an object lies.
    #[must_use]
    pub fn path(&self, object: &Object) -> Path {
        self.folder.path().clone().join(object.name())
    }

    /// Whether the repository refuses a second writer.
    ///
    /// # Errors
    /// When it does not.
    pub async fn fences(&self, writer: &str) -> Result<(), Error> {
        self.repository.fences(&self.folder, writer).await
    }

    /// What is there.
    ///
    /// # Errors
    /// When it cannot be listed, or a segment is missing in the middle.
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        let names = self.repository.names(&self.folder).await?;
        let sizes: std::collections::HashMap<String, u64> = names.into_iter().collect();
        let objects = sizes.keys().filter_map(|name| Object::read(name)).collect();
        let (chain, covered) = cover(objects).map_err(|missing| Error::Archive {
            object: self.path(&Object::segment(missing.0)),
            why: format!(
                "{missing}: something other than the operator has deleted it; begin another archive"
            ),
        })?;
        let sized = |object: Object| {
            let size = sizes.get(&object.name()).copied().unwrap_or_default();
            (object, size)
        };
        Ok(Inventory {
            chain: chain.into_iter().map(sized).collect(),
            covered,
        })
    }

    /// All segments of an object, with their hashes; they follow each other.
    ///
    /// # Errors
    /// When it cannot be read or is not what it must be.
    pub async fn read(&self, object: &Object) -> Result<Vec<(Segment, String)>, Error> {
        let bytes = self.bytes(object).await?;
        self.decoded(object, &bytes)
    }

    async fn bytes(&self, object: &Object) -> Result<Bytes, Error> {
        self.repository.whole(&self.path(object), SEGMENT).await
    }

    fn decoded(&self, object: &Object, bytes: &[u8]) -> Result<Vec<(Segment, String)>, Error> {
        let unusable = |why| Error::Archive {
            object: self.path(object),
            why,
        };
        decode(object, self.keys.as_ref(), bytes).map_err(unusable)
    }

    /// The end of the chain; `None` of an archive without a segment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn tail(&self, inventory: &Inventory) -> Result<Option<Link>, Error> {
        let Some((object, _)) = inventory.chain.back() else {
            return Ok(None);
        };
        let mut segments = self.read(object).await?;
        Ok(segments.pop().map(|(segment, hash)| segment.link(hash)))
    }

    /// The last changes, of the newest segment that has any; it is looked for in few.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn newest(&self, inventory: &Inventory) -> Result<Vec<Event>, Error> {
        for (object, _) in inventory.chain.iter().rev().take(LOOKED) {
            let segments = self.read(object).await?;
            let events = segments
                .into_iter()
                .rev()
                .map(|(segment, _)| segment.events);
            if let Some(events) = events.into_iter().find(|events| !events.is_empty()) {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    /// Writes the next segment.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another writer has written it.
    pub async fn append(&self, sequence: u64, bytes: Bytes) -> Result<(), Error> {
        let object = Object::segment(sequence);
        let path = self.path(&object);
        match self.repository.append(&path, bytes).await {
            Err(Error::Taken(_)) => {
                let by = match self.read(&object).await {
                    Ok(segments) => segments
                        .first()
                        .map(|(segment, _)| segment.header.writer.clone()),
                    Err(error) => Some(format!("something else ({error})")),
                };
                let by = by.unwrap_or_default();
                Err(Error::Fenced { object: path, by })
            }
            other => other,
        }
    }

    /// Merges old segments into one object, when there are enough of them. A restart repeats what was not finished.
    ///
    /// # Errors
    /// When the repository fails; nothing is lost then.
    pub async fn merge(&self, inventory: &mut Inventory) -> Result<(), Error> {
        for superfluous in std::mem::take(&mut inventory.covered) {
            self.repository.delete(&self.path(&superfluous)).await?;
        }
        let Some(range) = ripe(inventory) else {
            return Ok(());
        };
        let (mut all, mut begins) = (Vec::new(), None);
        let mut link: Option<Link> = None;
        for (object, _) in inventory.chain.range(range.clone()) {
            let bytes = self.bytes(object).await?;
            for (segment, hash) in self.decoded(object, &bytes)? {
                let follows = link.as_ref().map_or(Ok(()), |link| segment.follows(link));
                follows.map_err(|why| Error::Archive {
                    object: self.path(object),
                    why,
                })?;
                begins.get_or_insert((segment.header.after, segment.header.since));
                link = Some(segment.link(hash));
            }
            all.extend_from_slice(&bytes);
        }
        let merged: Vec<_> = inventory.chain.drain(range.clone()).collect();
        let (Some((first, _)), Some((last, _))) = (merged.first(), merged.last()) else {
            return Ok(());
        };
        let object = Object {
            first: first.first,
            last: last.last,
            begins,
        };
        let size = all.len() as u64;
        let written = self
            .repository
            .append(&self.path(&object), all.into())
            .await;
        if let Err(error) = written {
            merged
                .into_iter()
                .rev()
                .for_each(|one| inventory.chain.insert(range.start, one));
            return Err(error);
        }
        inventory.chain.insert(range.start, (object, size));
        for (old, _) in merged {
            if let Err(error) = self.repository.delete(&self.path(&old)).await {
                inventory.covered.push(old);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Revision of the newest verified full backup beside the archive, of the same etcd cluster.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn base(&self, cluster_id: &str) -> Result<Option<i64>, Error> {
        let manifests = self.repository.beside(&self.folder).await?;
        let proven = manifests
            .into_iter()
            .filter(|found| found.cluster_id == cluster_id && found.verification.verified);
        Ok(proven.filter_map(|found| found.revision).max())
    }

    /// Whether anything ended before a time (milliseconds since 1970) that could be deleted.
    #[must_use]
    pub fn is_prunable(inventory: &Inventory, before: i64) -> bool {
        second(inventory).is_some_and(|(_, since)| since < before)
    }

    /// Deletes what ended before a time, the oldest first, and never what is put over the full backup of revision
    /// `base`. The last objects always stay. The revision and the time that the archive begins after now, when anything
    /// was deleted.
    ///
    /// # Errors
    /// When the repository fails.
    pub async fn prune(
        &self,
        inventory: &mut Inventory,
        before: i64,
        base: i64,
    ) -> Result<Option<(i64, i64)>, Error> {
        let mut begins = None;
        while let Some(next) =
            second(inventory).filter(|(after, since)| *since < before && *after <= base)
        {
            let Some((object, _)) = inventory.chain.front() else {
                break;
            };
            self.repository.delete(&self.path(object)).await?;
            inventory.chain.pop_front();
            begins = Some(next);
        }
        Ok(begins)
    }

    /// All segments in order, from one that begins no later than after `revision`.
    #[must_use]
    pub fn walk(&self, inventory: &Inventory, revision: i64) -> Walk<'_> {
        let old =
            |(object, _): &(Object, u64)| object.begins.is_some_and(|(after, _)| after <= revision);
        let begin = inventory.chain.iter().rposition(old).unwrap_or_default();
        let objects = inventory
            .chain
            .iter()
            .skip(begin)
            .map(|(object, _)| object.clone());
        Walk {
            archive: self,
            objects: objects.collect(),
            ready: VecDeque::new(),
            link: None,
        }
    }
}

/// What an archive without its first object begins after; only merged objects go.
fn second(inventory: &Inventory) -> Option<(i64, i64)> {
    inventory.chain.get(1).and_then(|(object, _)| object.begins)
}

/// The segments that are merged next: at the first place where there are enough.
fn ripe(inventory: &Inventory) -> Option<std::ops::Range<usize>> {
    let chain = &inventory.chain;
    let begin = chain
        .iter()
        .position(|(object, size)| object.begins.is_none() && *size < LARGEST / 4)?;
    if chain.len() < begin + MERGED + APART {
        return None;
    }
    let (mut end, mut bytes) = (begin, 0);
    for (object, size) in chain.range(begin..begin + MERGED) {
        bytes += size;
        if object.begins.is_some() || bytes > LARGEST {
            break;
        }
        end += 1;
    }
    (end > begin + 1).then_some(begin..end)
}

/// The segment at the beginning of `bytes`, how long it is, and its hash.
fn first(keys: Option<&Keys>, bytes: &[u8]) -> Result<(Segment, usize, String), String> {
    let (keys, sealed) = match (keys, bytes.strip_prefix(SEALED)) {
        (None, None) => return Segment::decode(bytes).map_err(|error| error.to_string()),
        (None, Some(_)) => return Err("it is encrypted: name its pass phrase".to_owned()),
        (Some(_), None) => {
            return Err(
                "it is not encrypted, although the archive is: something other than the operator has written it".to_owned(),
            );
        }
        (Some(keys), Some(sealed)) => (keys, sealed),
    };
    let cut = || format!("it is cut after {} bytes", bytes.len());
    let (length, rest) = sealed.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|error| error.to_string())?;
    let sealed = rest.get(..length).ok_or_else(cut)?;
    let plain = open(keys, sealed).map_err(|error| error.to_string())?;
    let (segment, read, hash) = Segment::decode(&plain).map_err(|error| error.to_string())?;
    if read != plain.len() {
        return Err("it holds more than a segment".to_owned());
    }
    Ok((segment, SEALED.len() + 4 + length, hash))
}

fn decode(
    object: &Object,
    keys: Option<&Keys>,
    bytes: &[u8],
) -> Result<Vec<(Segment, String)>, String> {
    let (mut rest, mut segments) = (bytes, Vec::new());
    let mut expected = object.first;
    while !rest.is_empty() {
        let (segment, length, hash) = first(keys, rest)?;
        if segment.header.sequence != expected {
            return Err(format!(
                "it holds segment {} where {expected} must be",
                segment.header.sequence
            ));
        }
        expected += 1;
        rest = rest.get(length..).unwrap_or_default();
        segments.push((segment, hash));
    }
    if expected != object.last + 1 {
        return Err(format!(
            "it ends before segment {expected}, and {} is its last",
            object.last
        ));
    }
    Ok(segments)
}

/// Goes through an archive.
#[derive(Debug)]
pub struct Walk<'a> {
    archive: &'a Archive,
    objects: VecDeque<Object>,
    ready: VecDeque<(Segment, String)>,
    link: Option<Link>,
}

impl Walk<'_> {
    /// The next segment, which follows the one before; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be read, or does not follow.
    pub async fn next(&mut self) -> Result<Option<Segment>, Error> {
        loop {
            while let Some((segment, hash)) = self.ready.pop_front() {
                let object = || self.archive.path(&Object::segment(segment.header.sequence));
                if let Some(link) = &self.link {
                    // Merged objects may overlap.
                    if segment.header.sequence <= link.sequence {
                        continue;
                    }
                    let follows = segment.follows(link);
                    follows.map_err(|why| Error::Archive {
                        object: object(),
                        why,
                    })?;
                }
                self.link = Some(segment.link(hash));
                return Ok(Some(segment));
            }
            let Some(object) = self.objects.pop_front() else {
                return Ok(None);
            };
            self.ready = self.archive.read(&object).await?.into();
        }
    }
}
