//! An archive in its repository: appended to by one writer, merged, pruned, and read in order.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::history::Last;
use super::name::{Object, cover, is_mark, mark_name};
use super::segment::{BODY, Gap, Link, Segment};
use crate::apart::apart;
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
/// So many objects are looked at for the last change, where the newest does not carry it on: a segment without any is
/// written once a minute.
const LOOKED: usize = 128;
/// Objects that are read at a time.
const AT_ONCE: usize = 32;
/// So often an archive with a hole is listed until the hole is believed.
const LISTED: u32 = 3;
/// Largest object that several segments are merged into, in bytes.
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

impl Inventory {
    /// How many objects there are.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.chain.len() + self.covered.len()
    }
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

    /// Refuses a place in the folder of another backup.
    ///
    /// # Errors
    /// When it lies in one.
    pub async fn apart(&self) -> Result<(), Error> {
        apart(&self.repository, &self.folder).await
    }

    /// Whether the repository refuses a second writer.
    ///
    /// # Errors
    /// When it does not.
    pub async fn fences(&self, writer: &str) -> Result<(), Error> {
        self.repository.fences(&self.folder, writer).await
    }

    /// Notes that a Backup has written to it.
    ///
    /// # Errors
    /// When the repository does not take that.
    pub async fn mark(&self, backup_uid: &str) -> Result<(), Error> {
        let content = Bytes::copy_from_slice(backup_uid.as_bytes());
        let mark = self.folder.path().clone().join(mark_name(backup_uid));
        self.repository.append(&mark, content).await
    }

    /// The objects that name Backups which have written to it.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn marks(&self) -> Result<Vec<Path>, Error> {
        self.repository.list(&self.folder, is_mark).await
    }

    /// What is there.
    ///
    /// # Errors
    /// When it cannot be listed, or a segment is missing in the middle.
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        let mut listed = 1;
        loop {
            let names = self.repository.names(&self.folder).await?;
            let sizes: HashMap<String, u64> = names.into_iter().collect();
            let objects = sizes.keys().filter_map(|name| Object::read(name)).collect();
            let missing = match cover(objects) {
                Ok((chain, covered)) => {
                    let sized = |object: Object| {
                        let size = sizes.get(&object.name()).copied().unwrap_or_default();
                        (object, size)
                    };
                    let chain = chain.into_iter().map(sized).collect();
                    return Ok(Inventory { chain, covered });
                }
                Err(missing) => missing,
            };
            // A list is made page by page: segments may be merged between two of them.
            if listed == LISTED {
                return Err(Error::Archive {
                    object: self.path(&Object::segment(missing.0)),
                    why: format!(
                        "{missing}: something other than the operator has deleted it; begin another archive"
                    ),
                });
            }
            listed += 1;
        }
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

    /// The last changes: the newest segment that has any, or carries them on, is looked for in few.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn newest(&self, inventory: &Inventory) -> Result<Last, Error> {
        for (object, _) in inventory.chain.iter().rev().take(LOOKED) {
            let segments = self.read(object).await?;
            let mut known = segments.iter().rev();
            if let Some(last) = known.find_map(|(segment, _)| Last::of(segment)) {
                return Ok(last);
            }
        }
        Ok(Last::default())
    }

    /// The newest gap, looked for in the newest objects, 32 MiB of them at most.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn gap(&self, inventory: &Inventory) -> Result<Option<Gap>, Error> {
        let mut bytes = 0;
        let looked = inventory.chain.iter().rev().take(LOOKED);
        let looked = looked.take_while(|(_, size)| {
            bytes += size;
            bytes <= LARGEST
        });
        let looked: Vec<Object> = looked.map(|(object, _)| object.clone()).collect();
        let mut read = stream::iter(looked)
            .map(|object| async move { self.read(&object).await })
            .buffered(AT_ONCE);
        while let Some(segments) = read.try_next().await? {
            let mut gaps = segments.into_iter().rev();
            if let Some(gap) = gaps.find_map(|(segment, _)| segment.header.gap) {
                return Ok(Some(gap));
            }
        }
        Ok(None)
    }

    /// Whether a segment is there by itself.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn has(&self, sequence: u64) -> Result<bool, Error> {
        let segment = self.path(&Object::segment(sequence));
        Ok(self.repository.length(&segment).await?.is_some())
    }

    /// Number of the last segment that is there. Segments may be merged meanwhile.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn end(&self) -> Result<Option<u64>, Error> {
        let names = self.repository.names(&self.folder).await?;
        let objects = names.iter().filter_map(|(name, _)| Object::read(name));
        Ok(objects.map(|object| object.last).max())
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
        self.clear(inventory).await?;
        let Some(range) = ripe(inventory) else {
            return Ok(());
        };
        let (all, begins) = self.joined(inventory, range.clone()).await?;
        let mut merged = inventory.chain.range(range.clone());
        let Some((first, _)) = merged.next() else {
            return Ok(());
        };
        let object = Object {
            first: first.first,
            last: merged.next_back().map_or(first.last, |(last, _)| last.last),
            begins,
        };
        let size = all.len() as u64;
        self.repository.append(&self.path(&object), all).await?;
        let merged: Vec<_> = inventory.chain.drain(range.clone()).collect();
        inventory.chain.insert(range.start, (object, size));
        // Before the first of them is deleted: what cannot be deleted now is not forgotten.
        let superfluous = merged.into_iter().map(|(object, _)| object);
        inventory.covered.extend(superfluous);
        self.clear(inventory).await
    }

    /// The bytes of some objects of the chain, which follow each other, and what the first begins after.
    async fn joined(
        &self,
        inventory: &Inventory,
        range: Range<usize>,
    ) -> Result<(Bytes, Option<(i64, i64)>), Error> {
        let (mut all, mut begins) = (Vec::new(), None);
        let mut link: Option<Link> = None;
        for (object, _) in inventory.chain.range(range) {
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
            all.push(bytes);
        }
        // A large one is not copied.
        let all = match all.as_slice() {
            [only] => only.clone(),
            all => all.concat().into(),
        };
        Ok((all, begins))
    }

    /// Deletes what others make superfluous; what is left is tried again the next time.
    async fn clear(&self, inventory: &mut Inventory) -> Result<(), Error> {
        while let Some(superfluous) = inventory.covered.last() {
            self.repository.delete(&self.path(superfluous)).await?;
            inventory.covered.pop();
        }
        Ok(())
    }

    /// Revision of the newest verified full backup beside the archive, of the same etcd cluster, whose snapshot is
    /// there; of none above the revision `most`.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn base(&self, cluster_id: &str, most: i64) -> Result<Option<i64>, Error> {
        let mut proven = self.repository.beside(&self.folder).await?;
        proven.retain(|(_, found)| {
            found.cluster_id == cluster_id
                && found.verification.verified
                && found.revision.is_some_and(|revision| revision <= most)
        });
        proven.sort_by_key(|(_, found)| Reverse(found.revision));
        for (folder, found) in proven {
            let snapshot = folder.path().clone().join(found.object.as_str());
            if self.repository.length(&snapshot).await? == Some(found.bytes) {
                return Ok(found.revision);
            }
        }
        Ok(None)
    }

    /// When the newest object was stored, by the repository's clock.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn dated(&self, inventory: &Inventory) -> Result<Option<i64>, Error> {
        match inventory.chain.back() {
            Some((object, _)) => self.repository.dated(&self.path(object)).await,
            None => Ok(None),
        }
    }

    /// Whether anything ended before a time (milliseconds since 1970) that could be deleted.
    #[must_use]
    pub fn is_prunable(inventory: &Inventory, before: i64) -> bool {
        second(inventory).is_some_and(|(_, since)| since < before)
    }

    /// Deletes what ended before a time, the oldest first, and never what is put over the full backup of revision
    /// `base`. The last objects always stay, and all do while there is anything superfluous: it would be left over
    /// before the new beginning. The revision and the time that the archive begins after now, when anything was
    /// deleted.
    ///
    /// # Errors
    /// When the repository fails.
    pub async fn prune(
        &self,
        inventory: &mut Inventory,
        before: i64,
        base: i64,
    ) -> Result<Option<(i64, i64)>, Error> {
        if !inventory.covered.is_empty() {
            return Ok(None);
        }
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
}

/// What an archive without its first object begins after; only merged objects go.
fn second(inventory: &Inventory) -> Option<(i64, i64)> {
    inventory.chain.get(1).and_then(|(object, _)| object.begins)
}

/// The segments that are merged next: at the first place where there are enough. One that is too large to be joined
/// with the next goes alone: it gets a name that says what it begins after, without which nothing before it could be
/// deleted.
fn ripe(inventory: &Inventory) -> Option<Range<usize>> {
    let chain = &inventory.chain;
    let begin = chain
        .iter()
        .position(|(object, _)| object.begins.is_none())?;
    if chain.len() < begin + MERGED + APART {
        return None;
    }
    let (mut end, mut bytes) = (begin, 0);
    for (object, size) in chain.range(begin..begin + MERGED) {
        bytes += size;
        if object.begins.is_some() || (bytes > LARGEST && end > begin) {
            break;
        }
        end += 1;
    }
    Some(begin..end)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_their_sizes_all_but_the_newest_get_a_name_that_says_where_they_begin(
            large in prop::collection::vec((0_usize..700, 1_u64..40), 0..9), count in 0_usize..700,
        ) {
            let size = |at: usize| large.iter().find(|(known, _)| *known == at).map_or(1000, |(_, size)| size << 20);
            let sized = |at: usize| (Object::segment(at as u64), size(at));
            let mut inventory = Inventory { chain: (0..count).map(sized).collect(), covered: Vec::new() };
            while let Some(range) = ripe(&inventory) {
                let merged: Vec<_> = inventory.chain.drain(range.clone()).collect();
                prop_assert!((1..=MERGED).contains(&merged.len()));
                let bytes: u64 = merged.iter().map(|(_, size)| size).sum();
                prop_assert!(bytes <= LARGEST || merged.len() == 1, "{bytes}");
                prop_assert!(merged.iter().all(|(object, _)| object.begins.is_none()));
                let object = Object { first: merged[0].0.first, last: merged[merged.len() - 1].0.last, begins: Some((1, 1)) };
                inventory.chain.insert(range.start, (object, bytes));
            }
            let left = inventory.chain.iter().filter(|(object, _)| object.begins.is_none());
            prop_assert!(left.count() < MERGED + APART);
            let named = inventory.chain.iter().map(|(object, _)| object.begins.is_some());
            prop_assert!(named.skip_while(|named| *named).all(|named| !named), "the newest are by themselves");
        }
    }
}
