//! What can go wrong, where, and what to do next.

use std::io;

use object_store::path::Path;

use crate::archive::search::Refusal;
use crate::manifest::NotAManifest;
use crate::path::NotAPath;
use crate::seal::NotOpened;

/// A failure of a Job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository did not do what it was asked to.
    #[error("failed to {what} {object} in the repository: {}: {}", shown(.source), remedy(.source))]
    Store {
        /// `read`, `write`, `delete`, `list`.
        what: &'static str,
        /// The object.
        object: Path,
        /// The repository's answer.
        #[source]
        source: object_store::Error,
    },
    /// The repository cannot be used as it is configured.
    #[error("the repository cannot be used: {0}")]
    Settings(String),
    /// What the repository returned is not what was written.
    #[error(
        "the repository returned other bytes than were written as {object}: {found}; the backup is worthless, make \
         another one in another repository"
    )]
    Lying {
        /// The object.
        object: Path,
        /// The difference.
        found: String,
    },
    /// The object is there already, and another writer's.
    #[error(
        "{0} is there already and belongs to another backup: one of the same name was deleted and its data kept \
         (deletionPolicy: Retain), or two clusters or two Jobs write to one path; make a Backup of another name, or \
         give the BackupRepo another pathPrefix"
    )]
    Taken(Path),
    /// A manifest cannot be used.
    #[error("{object} cannot be used: {source}")]
    Manifest {
        /// The object.
        object: Path,
        /// Why.
        #[source]
        source: NotAManifest,
    },
    /// An object cannot be encrypted or decrypted.
    #[error("{object} cannot be used: {source}")]
    Sealed {
        /// The object.
        object: Path,
        /// Why.
        #[source]
        source: NotOpened,
    },
    /// What the archive holds cannot be used.
    #[error("the archive cannot be used at {object}: {why}")]
    Archive {
        /// The object.
        object: Path,
        /// What is wrong.
        why: String,
    },
    /// Another writer continues the archive.
    #[error(
        "{object} was written by {by}: another writer continues this archive, and this one ends; if that is no pod of \
         the same Backup, give the BackupRepo another pathPrefix"
    )]
    Fenced {
        /// The object.
        object: Path,
        /// Who wrote it.
        by: String,
    },
    /// An archive is to be deleted of which nothing says whose it is.
    #[error(
        "nothing says which Backup has begun the archive at {0}, and another one of this name may have kept it \
         (deletionPolicy: Retain); if that is not needed, annotate the Backup with \
         dataprotection.kubeblocks.io/delete-unowned-archive=true"
    )]
    Unowned(Path),
    /// The archive does not lead to what a restore asks for.
    #[error("the restore cannot be: {0}")]
    Refused(#[from] Refusal),
    /// A backup that was never verified has users, and the new cluster has none.
    #[error(
        "etcd's authentication is on in the backup, so the new members' agents would be refused: make a new Cluster with \
         systemAccounts, e.g. [{{name: root}}], and tls: true; this one holds no data yet: delete it"
    )]
    Users,
    /// There is no such backup.
    #[error(
        "there is no backup at {0}: it has no manifest, so it was never completed, or it was deleted"
    )]
    NoBackup(Path),
    /// A path is none.
    #[error(transparent)]
    Path(#[from] NotAPath),
    /// etcd did not answer as it must.
    #[error("failed to {what} at {endpoint}: {message}")]
    Member {
        /// What was asked.
        what: &'static str,
        /// The member.
        endpoint: String,
        /// The error.
        message: String,
    },
    /// The stream ended early or was spoiled on its way.
    #[error(
        "the snapshot of {endpoint} is torn after {bytes} bytes: {why}; nothing of it is kept, the next attempt begins \
         again"
    )]
    Torn {
        /// The member.
        endpoint: String,
        /// Bytes received.
        bytes: u64,
        /// What is wrong.
        why: String,
    },
    /// The local disk did not do what it was asked to.
    #[error("failed to {what} {path}: {source}; the volume must hold {needed}")]
    Disk {
        /// What was done.
        what: &'static str,
        /// The file.
        path: String,
        /// What it takes.
        needed: &'static str,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// etcd's own program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name and verb.
        program: String,
        /// The end of what it printed.
        output: String,
    },
    /// The restored data is not what the member had.
    #[error("the restored snapshot differs from the member: {0}; the backup is not to be used")]
    Differs(String),
    /// The target is in use.
    #[error("{0} holds data already and is left alone: restore into an empty volume")]
    NotEmpty(String),
}

/// Elements of a bucket's answer that repeat who asked and how that was signed. Errors are read by more users than the
/// credential is: they are in statuses, events and logs.
const SIGNED: [&str; 10] = [
    "AWSAccessKeyId",
    "AccessKeyId",
    "OSSAccessKeyId",
    "Token-0",
    "StringToSign",
    "StringToSignBytes",
    "SignatureProvided",
    "CanonicalRequest",
    "CanonicalRequestBytes",
    "CanonicalQueryString",
];

/// The answer of a repository, without what it repeats of the credential.
fn shown(error: &object_store::Error) -> String {
    let text = error.to_string();
    SIGNED.iter().fold(text, |text, name| without(&text, name))
}

/// A text without the elements of this name. One that has no end was cut: all after its begin goes.
fn without(text: &str, name: &str) -> String {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let (mut kept, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(&begin) {
        kept.push_str(before);
        rest = after.split_once(&end).map_or("", |(_, after)| after);
    }
    kept + rest
}

/// What helps against an answer of a repository.
fn remedy(error: &object_store::Error) -> &'static str {
    use object_store::Error as Answer;
    match error {
        Answer::NotFound { .. } => {
            "check bucket and path, or whether the object was deleted by hand"
        }
        Answer::PermissionDenied { .. } | Answer::Unauthenticated { .. } => {
            "check the credential of the BackupRepo and what it may do in the bucket"
        }
        Answer::AlreadyExists { .. } | Answer::Precondition { .. } => "another writer was first",
        _ => "check that the repository is reachable from this namespace and has free space",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bucket_repeats_of_the_credential_is_not_shown() {
        let told = |body: &str| {
            let source = object_store::Error::PermissionDenied {
                path: "p/manifest.json".to_owned(),
                source: format!("403 Forbidden: {body}").into(),
            };
            let object = Path::from("p/manifest.json");
            let what = "write";
            let error = Error::Store {
                what,
                object,
                source,
            };
            error.to_string()
        };
        let unknown = told(
            "<Error><Code>InvalidAccessKeyId</Code><Message>It does not exist.</Message>\
             <AWSAccessKeyId>AKIASECRET</AWSAccessKeyId><RequestId>R1</RequestId></Error>",
        );
        assert!(!unknown.contains("AKIASECRET"), "{unknown}");
        for kept in [
            "InvalidAccessKeyId",
            "It does not exist.",
            "R1",
            "check the credential",
        ] {
            assert!(unknown.contains(kept), "{kept}: {unknown}");
        }
        let other = told(
            "<Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIASECRET</AWSAccessKeyId>\
             <StringToSign>AWS4 a</StringToSign><SignatureProvided>f00d</SignatureProvided>\
             <StringToSignBytes>41 57</StringToSignBytes><OSSAccessKeyId>LTAI5</OSSAccessKeyId>\
             <AccessKeyId>HPUA</AccessKeyId><Token-0>FwoG</Token-0><CanonicalRequest>PUT /b",
        );
        for gone in [
            "AKIASECRET",
            "AWS4 a",
            "f00d",
            "41 57",
            "LTAI5",
            "HPUA",
            "FwoG",
            "PUT /b",
        ] {
            assert!(!other.contains(gone), "{gone}: {other}");
        }
        assert!(other.contains("SignatureDoesNotMatch"), "{other}");
        assert_eq!(without("<A>1</A>b<A>2</A>c", "A"), "bc");
    }
}
