//! Pure: what a backup says of itself. Written last: without it there is no backup.

use serde::{Deserialize, Serialize};

use crate::seal::ALGORITHM;

/// Version of the format of a backup that is not encrypted.
pub const FORMAT: u32 = 1;
/// Version of one that is.
pub const SEALED: u32 = 2;
/// Largest manifest that is read, in bytes.
pub const LARGEST: u64 = 64 * 1024;

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotAManifest {
    /// No JSON, or not of this shape.
    #[error("it is no manifest: {0}")]
    Shape(String),
    /// Written by a program of another version.
    #[error(
        "its formatVersion is {0}, this program reads {FORMAT} and {SEALED}: use the operator that wrote it, or a newer one"
    )]
    Version(u64),
    /// It does not say how it is encrypted, or says it of one that is not.
    #[error(
        "its formatVersion {0} does not fit its encryption {1:?}: {SEALED} is that of {ALGORITHM}"
    )]
    Encryption(u32, Option<String>),
    /// It names an object outside its folder.
    #[error("its object {0:?} is no plain name")]
    Object(String),
}

/// Of what a backup was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// UID of the Backup object.
    pub backup_uid: String,
    /// Namespace of the Cluster.
    pub namespace: String,
    /// Name of the Cluster.
    pub cluster: String,
    /// Its component.
    pub component: String,
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub format_version: u32,
    /// Of what it was made.
    pub source: Source,
    /// Name of the object beside this one that holds the snapshot.
    pub object: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Hexadecimal SHA-256 of it, as it lies in the repository.
    pub sha256: String,
    /// The algorithm that it is encrypted by; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// When the stream began (RFC 3339).
    pub started_at: String,
    /// When it ended.
    pub ended_at: String,
    /// Version of the etcd that it was taken from.
    pub etcd_version: String,
    /// Identifier of that etcd cluster, hexadecimal.
    pub cluster_id: String,
    /// Identifier of the member, hexadecimal.
    pub member_id: String,
    /// Revision of the member before the stream.
    pub revision_before: i64,
    /// And after it.
    pub revision_after: i64,
    /// Revision of the snapshot itself, as etcdutl reads it; absent when it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Hash that etcdutl computes of the file, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Keys in all revisions, as etcdutl counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_keys: Option<u64>,
    /// Whether etcd's authentication is on in it: who restores it needs its users. Absent when it was not looked at,
    /// and in verified backups of before, where it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<bool>,
    /// What came of restoring it.
    pub verification: Verification,
}

/// What came of restoring a backup and comparing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verification {
    /// True when it was read back from the repository, restored, and its hash is the member's.
    pub verified: bool,
    /// Hash of the key space at the revision, of both (hexadecimal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<String>,
    /// Why it is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or of a version that is not known.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAManifest> {
        let shape = |error: serde_json::Error| NotAManifest::Shape(error.to_string());
        // The version first: a later format may have any other shape.
        let any: serde_json::Value = serde_json::from_slice(bytes).map_err(shape)?;
        let version = any["formatVersion"].as_u64().unwrap_or_default();
        if ![FORMAT, SEALED].map(u64::from).contains(&version) {
            return Err(NotAManifest::Version(version));
        }
        let manifest: Manifest = serde_json::from_value(any).map_err(shape)?;
        let sealed = manifest.encryption.as_deref() == Some(ALGORITHM);
        if sealed != (manifest.format_version == SEALED) || sealed != manifest.encryption.is_some()
        {
            return Err(NotAManifest::Encryption(
                manifest.format_version,
                manifest.encryption,
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let object = &manifest.object;
        if object.is_empty() || object.starts_with('.') || !object.chars().all(plain) {
            return Err(NotAManifest::Object(object.clone()));
        }
        Ok(manifest)
    }

    /// UID of the Backup that a manifest of any version names; `None` where it names none.
    #[must_use]
    pub fn owner(bytes: &[u8]) -> Option<String> {
        let any: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        any["source"]["backupUid"].as_str().map(str::to_owned)
    }

    /// True when nothing has looked whether etcd's authentication is on in it.
    #[must_use]
    pub fn is_unlooked(&self) -> bool {
        !self.verification.verified && self.authentication.is_none()
    }

    /// As it is written.
    ///
    /// # Errors
    /// Never for this type; the serializer's signature has one.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            format_version: FORMAT,
            source: Source {
                backup_uid: "u".into(),
                namespace: "demo".into(),
                cluster: "shop".into(),
                component: "etcd".into(),
            },
            object: "snapshot-a.db".into(),
            bytes: 7,
            sha256: "00".into(),
            encryption: None,
            started_at: "2026-01-01T00:00:00Z".into(),
            ended_at: "2026-01-01T00:00:01Z".into(),
            etcd_version: "3.6.16".into(),
            cluster_id: "a".into(),
            member_id: "b".into(),
            revision_before: 1,
            revision_after: 3,
            revision: Some(2),
            hash: Some("c".into()),
            total_keys: Some(4),
            authentication: Some(true),
            verification: Verification {
                verified: true,
                hash_kv: Some("d".into()),
                reason: None,
            },
        }
    }

    #[test]
    fn a_manifest_is_read_back_as_it_was_written() {
        let bytes = manifest().write().expect("json");
        assert_eq!(Manifest::read(&bytes).expect("a manifest"), manifest());
        assert!((bytes.len() as u64) < LARGEST);
    }

    #[test]
    fn what_was_looked_at_is_not_looked_at_again() {
        let of = |verified: bool, authentication: Option<bool>| {
            let mut manifest = manifest();
            manifest.authentication = authentication;
            manifest.verification.verified = verified;
            let bytes = manifest.write().expect("json");
            Manifest::read(&bytes).expect("a manifest").is_unlooked()
        };
        assert!(of(false, None));
        // A verified one of before says it only where it is on.
        for (verified, authentication) in [(true, None), (false, Some(false)), (false, Some(true))]
        {
            assert!(
                !of(verified, authentication),
                "{verified} {authentication:?}"
            );
        }
    }

    #[test]
    fn another_version_and_another_place_are_refused_by_name() {
        let told = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(manifest()).expect("json");
            change(&mut json);
            let read = Manifest::read(json.to_string().as_bytes());
            read.expect_err("refused").to_string()
        };
        assert!(told(&|json| json["formatVersion"] = 3.into()).contains("formatVersion is 3"));
        assert!(told(&|json| json["formatVersion"] = 2.into()).contains("does not fit"));
        assert!(told(&|json| json["encryption"] = "AES-256-GCM".into()).contains("does not fit"));
        assert!(told(&|json| json["encryption"] = "none".into()).contains("does not fit"));
        assert!(told(&|json| json["later"] = 2.into()).contains("unknown field `later`"));
        for object in ["../a", "a/b", "", ".hidden"] {
            assert!(told(&|json| json["object"] = object.into()).contains("no plain name"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::read(&bytes);
        }
    }
}
