//! Encrypts what goes into a repository, in pieces of any size: AES-256-GCM by the STREAM construction.
//!
//! Bytes: [`MAGIC`], version (1), salt of the pass phrase (16), salt of the object (32), check of the key (16); then
//! chunks of [`CHUNK`] bytes, each with its tag (16). The last may be shorter, and is marked as the last. A nonce is
//! the chunk's number and that mark, the header is authenticated with each chunk: what is cut, exchanged, repeated or
//! added is seen. The key is of one object only: HKDF-SHA256, with the object's salt, of what PBKDF2-HMAC-SHA256 makes
//! of the pass phrase and its salt.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, pbkdf2};

/// The first bytes of what is encrypted.
pub const MAGIC: &[u8; 8] = b"etcd-enc";
/// The algorithm, as it is named in Kubernetes objects and manifests.
pub const ALGORITHM: &str = "AES-256-GCM";
/// Version of the format that this program writes, and the only one that it reads.
const VERSION: u8 = 1;
/// Bytes of a chunk before it is encrypted.
pub const CHUNK: usize = 64 * 1024;
/// Bytes that prove a chunk.
const TAG: usize = 16;
const PHRASE_SALT: usize = 16;
const OBJECT_SALT: usize = 32;
const CHECK: usize = 16;
/// Bytes before the first chunk.
pub const HEADER: usize = MAGIC.len() + 1 + PHRASE_SALT + OBJECT_SALT + CHECK;
/// Rounds that make a guess of the pass phrase dear.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(599_999);
/// What is derived from an object's key: the one that encrypts, and what its header shows.
const DERIVED: [&[&[u8]]; 2] = [&[b"etcd-enc key"], &[b"etcd-enc check"]];
/// Shortest pass phrase, in bytes.
const SHORTEST: usize = 12;
/// Longest one that is read.
const LONGEST: usize = 4096;
/// Most keys that are kept: each writer of an archive may have made one.
const KNOWN: usize = 64;

/// What cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Another beginning.
    #[error("it is not encrypted by this program")]
    Magic,
    /// Written by a program of another version.
    #[error(
        "version {0} of its encryption is not known to this program: use the operator that wrote it, or a newer one"
    )]
    Version(u8),
    /// Another key.
    #[error(
        "it was encrypted with another pass phrase: the Secret that status.encryptionConfig of the Backup names must hold \
         the one that it had when the backup was made"
    )]
    Key,
    /// Cut or changed.
    #[error("it was cut or changed in chunk {0}: its proof does not fit")]
    Changed(u32),
    /// More than a counter holds, or no randomness.
    #[error("it cannot be encrypted: {0}")]
    Limit(&'static str),
}

/// A pass phrase and the keys that came of it. Nothing of it is ever shown.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    phrase: Vec<u8>,
    known: Mutex<Vec<([u8; PHRASE_SALT], [u8; 32])>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys")
    }
}

impl Keys {
    /// Keys of a pass phrase.
    ///
    /// # Errors
    /// When it is too short or too long.
    pub fn new(phrase: &[u8]) -> Result<Self, String> {
        let phrase = phrase.trim_ascii();
        if !(SHORTEST..=LONGEST).contains(&phrase.len()) {
            return Err(format!(
                "the pass phrase has {} bytes, {SHORTEST} to {LONGEST} are allowed: make one with openssl rand -base64 32",
                phrase.len()
            ));
        }
        Ok(Keys(Arc::new(Shared {
            phrase: phrase.to_vec(),
            known: Mutex::default(),
        })))
    }

    /// Keys of the pass phrase in a file.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn read(file: &Path) -> Result<Self, String> {
        let phrase = std::fs::read(file);
        let phrase =
            phrase.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        Self::new(&phrase)
    }

    /// Whether an object of which this is the beginning was encrypted with this pass phrase.
    ///
    /// # Errors
    /// When it was not.
    pub fn check(&self, beginning: &[u8]) -> Result<(), NotOpened> {
        let header = beginning.first_chunk::<HEADER>().ok_or(NotOpened::Magic)?;
        self.open(header).map(drop)
    }

    /// What the pass phrase and a salt make; that is slow, so it is kept.
    fn master(&self, salt: [u8; PHRASE_SALT]) -> [u8; 32] {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, master)) = known.iter().find(|(of, _)| *of == salt) {
            return *master;
        }
        let mut master = [0; 32];
        let phrase = &self.0.phrase;
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ROUNDS,
            &salt,
            phrase,
            &mut master,
        );
        if known.len() == KNOWN {
            known.remove(0);
        }
        known.push((salt, master));
        master
    }

    /// The salt of the newest key: it is as good for another object, and takes no time.
    fn salt(&self) -> Result<[u8; PHRASE_SALT], NotOpened> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.last() {
            Some((salt, _)) => Ok(*salt),
            None => random(),
        }
    }

    fn open(&self, header: &[u8; HEADER]) -> Result<LessSafeKey, NotOpened> {
        let rest = header.strip_prefix(MAGIC).ok_or(NotOpened::Magic)?;
        let (version, rest) = rest.split_first().ok_or(NotOpened::Magic)?;
        if *version != VERSION {
            return Err(NotOpened::Version(*version));
        }
        let (salt, rest) = rest.split_first_chunk().ok_or(NotOpened::Magic)?;
        let (object, check) = rest.split_first_chunk().ok_or(NotOpened::Magic)?;
        let (key, own) = object_key(self.master(*salt), object)?;
        // No secret: who tries pass phrases has it, and the tags, anyway.
        if own.as_slice() == check {
            Ok(key)
        } else {
            Err(NotOpened::Key)
        }
    }
}

/// The key of an object, and what its header shows of it.
fn object_key(
    master: [u8; 32],
    salt: &[u8; OBJECT_SALT],
) -> Result<(LessSafeKey, [u8; CHECK]), NotOpened> {
    let failed = |_| NotOpened::Limit("no key could be derived");
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&master);
    let part = key.expand(DERIVED[0], &AES_256_GCM);
    let part = LessSafeKey::new(UnboundKey::from(part.map_err(failed)?));
    let mut check = [0; CHECK];
    let shown = key.expand(DERIVED[1], Length);
    let shown = shown.and_then(|shown| shown.fill(&mut check));
    shown.map_err(failed)?;
    Ok((part, check))
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        CHECK
    }
}

fn random<const N: usize>() -> Result<[u8; N], NotOpened> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| NotOpened::Limit("the system gives no random numbers"))?;
    Ok(bytes)
}

/// Number of a chunk and whether it is the last.
fn nonce(chunk: u32, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// Encrypts one object.
pub struct Sealer {
    key: LessSafeKey,
    header: [u8; HEADER],
    begun: bool,
    waiting: Vec<u8>,
    chunk: u32,
}

impl Sealer {
    /// Begins an object, with a key of its own.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(keys: &Keys) -> Result<Self, NotOpened> {
        let (salt, object) = (keys.salt()?, random::<OBJECT_SALT>()?);
        let (key, check) = object_key(keys.master(salt), &object)?;
        let mut header = [0; HEADER];
        let parts: [&[u8]; 5] = [MAGIC, &[VERSION], &salt, &object, &check];
        header.copy_from_slice(&parts.concat());
        Ok(Sealer {
            key,
            header,
            begun: false,
            waiting: Vec::new(),
            chunk: 0,
        })
    }

    /// Takes the next bytes; what is to be written of them and of those before.
    ///
    /// # Errors
    /// When the object is longer than 256 TiB.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, NotOpened> {
        self.waiting.extend_from_slice(bytes);
        let mut sealed = self.beginning();
        let mut done = 0;
        // The last chunk is not known as such until the end.
        while self.waiting.len() - done > CHUNK {
            let chunk = self.waiting[done..done + CHUNK].to_vec();
            sealed.extend(self.seal(chunk, false)?);
            done += CHUNK;
        }
        self.waiting.drain(..done);
        Ok(sealed)
    }

    /// What is left to be written.
    ///
    /// # Errors
    /// When the object is longer than 256 TiB.
    pub fn finish(mut self) -> Result<Vec<u8>, NotOpened> {
        let mut sealed = self.beginning();
        let last = std::mem::take(&mut self.waiting);
        sealed.extend(self.seal(last, true)?);
        Ok(sealed)
    }

    fn beginning(&mut self) -> Vec<u8> {
        let begun = std::mem::replace(&mut self.begun, true);
        if begun {
            Vec::new()
        } else {
            self.header.to_vec()
        }
    }

    fn seal(&mut self, mut chunk: Vec<u8>, last: bool) -> Result<Vec<u8>, NotOpened> {
        let (number, header) = (self.chunk, Aad::from(&self.header));
        self.chunk = number
            .checked_add(1)
            .ok_or(NotOpened::Limit("it is longer than 256 TiB"))?;
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce(number, last), header, &mut chunk);
        sealed.map_err(|_| NotOpened::Limit("a chunk could not be encrypted"))?;
        Ok(chunk)
    }
}

/// Decrypts one object.
pub struct Opener {
    keys: Keys,
    begun: Option<(LessSafeKey, [u8; HEADER])>,
    waiting: Vec<u8>,
    chunk: u32,
}

impl Opener {
    /// Begins an object.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Opener {
            keys: keys.clone(),
            begun: None,
            waiting: Vec::new(),
            chunk: 0,
        }
    }

    /// Takes the next bytes; what they and those before have become. It is proven, but not that more follows.
    ///
    /// # Errors
    /// When it is not what was written.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, NotOpened> {
        self.waiting.extend_from_slice(bytes);
        let mut opened = Vec::new();
        let mut done = 0;
        if self.begun.is_none() {
            let Some(header) = self.waiting.first_chunk::<HEADER>() else {
                return Ok(opened);
            };
            self.begun = Some((self.keys.open(header)?, *header));
            done = HEADER;
        }
        while self.waiting.len() - done > CHUNK + TAG {
            let chunk = self.waiting[done..done + CHUNK + TAG].to_vec();
            opened.extend(self.open(chunk, false)?);
            done += CHUNK + TAG;
        }
        self.waiting.drain(..done);
        Ok(opened)
    }

    /// The rest, when the object ends here.
    ///
    /// # Errors
    /// When it does not.
    pub fn finish(mut self) -> Result<Vec<u8>, NotOpened> {
        let last = std::mem::take(&mut self.waiting);
        self.open(last, true)
    }

    fn open(&mut self, mut chunk: Vec<u8>, last: bool) -> Result<Vec<u8>, NotOpened> {
        let number = self.chunk;
        let changed = NotOpened::Changed(number);
        let (key, header) = self.begun.as_ref().ok_or(NotOpened::Magic)?;
        let opened = key.open_in_place(nonce(number, last), Aad::from(header), &mut chunk);
        let length = opened.map_err(|_| changed.clone())?.len();
        chunk.truncate(length);
        self.chunk = number.checked_add(1).ok_or(changed)?;
        Ok(chunk)
    }
}

/// The whole of a small object.
///
/// # Errors
/// When there is no randomness.
pub fn seal(keys: &Keys, bytes: &[u8]) -> Result<Vec<u8>, NotOpened> {
    let mut sealer = Sealer::new(keys)?;
    let mut sealed = sealer.push(bytes)?;
    sealed.extend(sealer.finish()?);
    Ok(sealed)
}

/// Decrypts the whole of a small object.
///
/// # Errors
/// When it is not what was written.
pub fn open(keys: &Keys, sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
    let mut opener = Opener::new(keys);
    let mut bytes = opener.push(sealed)?;
    bytes.extend(opener.finish()?);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
