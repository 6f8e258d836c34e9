//! Pure: a BackupRepo as a Job uses it, or why it cannot be used. The sole reader of its raw spec.

use std::collections::BTreeMap;

use etcd_operator_api::BackupRepo;
pub(super) use etcd_operator_api::backup_repo::DEFAULT;
use etcd_operator_api::backup_repo::{NAMESPACES, SecretReference};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

/// Settings of a bucket that are read.
const BUCKET: [&str; 5] = ["bucket", "endpoint", "region", "pathStyle", "mountOptions"];
/// Settings of a claim that are read.
const CLAIM: [&str; 2] = ["storageClassName", "accessMode"];

/// A repository as a Job uses it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// A bucket.
    Bucket {
        /// What follows on the Job's command line.
        arguments: Vec<String>,
        /// Where its credential is.
        credential: SecretReference,
    },
    /// A claim in the Backup's own namespace.
    Claim {
        /// Its name.
        name: String,
        /// Its size.
        size: Quantity,
        /// Its class; the default one when absent.
        class: Option<String>,
        /// Its access mode.
        mode: String,
    },
}

/// Whether policies that name no repository use this one.
pub(super) fn is_default(repo: &BackupRepo) -> bool {
    repo.annotations().get(DEFAULT).map(String::as_str) == Some("true")
}

/// Reads a repository for who is in a namespace, which gets its credential with it.
pub(super) fn read_for(repo: &BackupRepo, namespace: &str) -> Result<Place, String> {
    if repo.serves(namespace) {
        return read(repo);
    }
    Err(format!(
        "its annotation {NAMESPACES} does not name namespace {namespace}: have an administrator add that, or use another \
         BackupRepo"
    ))
}

/// Reads a repository. Why it cannot be used names the field.
pub(super) fn read(repo: &BackupRepo) -> Result<Place, String> {
    let spec = &repo.spec;
    match spec.storage_provider_ref.as_str() {
        "s3" | "minio" => bucket(repo),
        "pvc" => claim(repo),
        other => Err(format!(
            "spec.storageProviderRef {other:?} is not supported: s3, minio or pvc"
        )),
    }
}

fn bucket(repo: &BackupRepo) -> Result<Place, String> {
    let config = &repo.spec.config;
    known(config, &BUCKET)?;
    let of = |key: &str| {
        config
            .get(key)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    };
    let bucket = of("bucket").ok_or("spec.config.bucket is missing: name the bucket")?;
    let mut arguments = vec![format!("--bucket={bucket}")];
    match of("endpoint") {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            arguments.push(format!("--endpoint-url={url}"));
        }
        Some(url) => {
            return Err(format!(
                "spec.config.endpoint {url:?} must begin with https:// or http://"
            ));
        }
        None if repo.spec.storage_provider_ref == "minio" => {
            return Err("spec.config.endpoint is missing: the URL of the minio server".to_owned());
        }
        None => {}
    }
    if let Some(region) = of("region") {
        arguments.push(format!("--region={region}"));
    }
    match of("pathStyle") {
        None | Some("true") => {}
        Some("false") => arguments.push("--virtual-hosted".to_owned()),
        Some(other) => {
            return Err(format!(
                "spec.config.pathStyle {other:?} must be true or false"
            ));
        }
    }
    let credential = repo.spec.credential.clone();
    let credential = credential.ok_or("spec.credential is missing: name a Secret")?;
    Ok(Place::Bucket {
        arguments,
        credential,
    })
}

fn claim(repo: &BackupRepo) -> Result<Place, String> {
    let config = &repo.spec.config;
    known(config, &CLAIM)?;
    let of = |key: &str| config.get(key).filter(|value| !value.is_empty()).cloned();
    let mode = of("accessMode").unwrap_or_else(|| "ReadWriteOnce".to_owned());
    if !["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"].contains(&mode.as_str()) {
        return Err(format!(
            "spec.config.accessMode {mode:?} must be ReadWriteOnce, ReadWriteMany or ReadWriteOncePod"
        ));
    }
    let size = repo.spec.volume_capacity.clone();
    Ok(Place::Claim {
        name: format!("backup-repo-{}", repo.name_any()),
        size: size.ok_or("spec.volumeCapacity is missing: how large the claim is")?,
        class: of("storageClassName"),
        mode,
    })
}

fn known(config: &BTreeMap<String, String>, keys: &[&str]) -> Result<(), String> {
    match config.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!(
            "spec.config.{key} is no setting of this provider: it has {}",
            keys.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn repo(spec: &Value) -> BackupRepo {
        serde_json::from_value(
            json!({ "apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "BackupRepo",
            "metadata": { "name": "s3-repo" }, "spec": spec }),
        )
        .expect("a repository")
    }

    fn minio(config: &Value) -> BackupRepo {
        repo(
            &json!({ "storageProviderRef": "minio", "accessMethod": "Tool", "pvReclaimPolicy": "Retain",
            "volumeCapacity": "100Gi", "config": config,
            "credential": { "name": "s3-credential-for-backuprepo", "namespace": "kb-system" } }),
        )
    }

    #[test]
    fn the_bucket_of_kubeblocks_example_is_read() {
        let config = json!({ "bucket": "b", "endpoint": "http://minio:9000", "region": "cn-northwest-1",
            "mountOptions": "--memory-limit 1000" });
        let Place::Bucket {
            arguments,
            credential,
        } = read(&minio(&config)).expect("a place")
        else {
            panic!("no bucket");
        };
        assert_eq!(
            arguments,
            [
                "--bucket=b",
                "--endpoint-url=http://minio:9000",
                "--region=cn-northwest-1"
            ]
        );
        assert_eq!(credential.namespace, "kb-system");
    }

    #[test]
    fn a_repository_that_names_namespaces_is_for_no_other() {
        let mut named = minio(&json!({ "bucket": "b", "endpoint": "https://m" }));
        for (value, a, b) in [
            (None, true, true),
            (Some("team-a"), true, false),
            (Some("team-b, team-a"), true, true),
            (Some(""), false, false),
        ] {
            let annotation = value.map(|value| (NAMESPACES.to_owned(), value.to_owned()));
            named.metadata.annotations = annotation.map(|annotation| [annotation].into());
            for (namespace, may) in [("team-a", a), ("team-b", b), ("team", value.is_none())] {
                let found = read_for(&named, namespace);
                assert_eq!(found.is_ok(), may, "{value:?} {namespace}");
                if let Err(why) = found {
                    assert!(why.contains(NAMESPACES) && why.contains(namespace), "{why}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_effect_is_refused_by_name() {
        for (config, told) in [
            (json!({}), "spec.config.bucket"),
            (json!({ "bucket": "b" }), "spec.config.endpoint"),
            (
                json!({ "bucket": "b", "endpoint": "minio:9000" }),
                "must begin with",
            ),
            (
                json!({ "bucket": "b", "endpoint": "http://m", "insecure": "true" }),
                "spec.config.insecure",
            ),
            (
                json!({ "bucket": "b", "endpoint": "http://m", "pathStyle": "no" }),
                "spec.config.pathStyle",
            ),
        ] {
            let error = read(&minio(&config)).expect_err("refused");
            assert!(error.contains(told), "{error}");
        }
        let claim = |config: Value| {
            read(&repo(
                &json!({ "storageProviderRef": "pvc", "pvReclaimPolicy": "Retain",
                "volumeCapacity": "10Gi", "config": config }),
            ))
        };
        assert!(
            matches!(claim(json!({})), Ok(Place::Claim { mode, .. }) if mode == "ReadWriteOnce")
        );
        let error = claim(json!({ "accessMode": "ReadOnlyMany" })).expect_err("refused");
        assert!(error.contains("spec.config.accessMode"), "{error}");
    }
}
