//! Pure builders: the Jobs of backups, their claim and the copy of a credential.

use std::collections::BTreeMap;

use etcd_operator_api::backup_policy::{ARCHIVE, SecretKey};
use etcd_operator_api::restore::SeedArchive;
use etcd_operator_api::{Backup, labels};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec,
    PodTemplateSpec, SeccompProfile, Secret, Volume, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kbagent_protocol::IDENTITY_FILE;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};

use super::part::{
    MEBI, PHRASE_FILE, REPOSITORY_CLAIM, add_volume, claim_volume, container, empty, key_volume,
    mount, pod_name, secret_volume, together,
};
use super::place::Place;

/// Label of Jobs and their pods: UID of the Backup they work for.
pub(super) const BACKUP_UID: &str = labels::BACKUP_UID;
/// Annotation of the Backup of an archive, `"true"`: it may be deleted although nothing says which Backup has written
/// it, as of an encrypted one of an earlier release.
pub(super) const DELETE_UNOWNED: &str = "dataprotection.kubeblocks.io/delete-unowned-archive";
/// Container of a Job that does the work and leaves the report.
pub(super) const WORK: &str = "backup";
/// A Job is ended after so many seconds: a snapshot of 8 GiB at 5 MiB/s takes half an hour, twice.
pub(super) const DEADLINE: i64 = 7200;
/// One that replays an archive, after so many: it makes a transaction of each revision since the backup.
pub(super) const REPLAY: i64 = 7 * 24 * 3600;
/// User and group of a Job's processes; those of the members, whose volume one of them fills.
const USER: i64 = 1000;
/// Where the repository's claim is mounted.
const REPOSITORY: &str = "/repository";
/// Where the credential is mounted.
const CREDENTIAL: &str = "/etc/repository";
/// Where a backup is restored to be proven.
const SCRATCH: &str = "/scratch";
/// Where a member's claim is mounted.
const VOLUME: &str = "/volume";
/// Name of etcd's data directory on it.
const DATA_FOLDER: &str = "etcd";
/// Where the pass phrase of a backup is mounted, and that of the archive over it.
const PHRASE: &str = "/etc/pass-phrase";
const ARCHIVE_PHRASE: &str = "/etc/archive-pass-phrase";
/// Where the certificate for etcd is mounted.
pub(super) const TLS: &str = "/etc/etcd";

/// What all Jobs of one Backup share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// Namespace of the Backup.
    pub(super) namespace: String,
    /// Reference to what the Job goes with.
    pub(super) owner: OwnerReference,
    /// UID of the Backup.
    pub(super) uid: String,
    /// Image with the program that is copied beside etcd's.
    pub(super) tool: String,
    /// Image of etcd, of the cluster's version; `None` for a Job that needs none.
    pub(super) etcd: Option<String>,
    /// Pod spec of the members, whose scheduling a Job shares.
    pub(super) like: PodSpec,
    /// The repository.
    pub(super) place: Place,
    /// Folder of the backup in it.
    pub(super) path: String,
    /// How often the Job is repeated.
    pub(super) retries: i32,
    /// With what the backup is encrypted.
    pub(super) pass_phrase: Option<SecretKey>,
}

/// What a backup is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Save {
    /// The Cluster.
    pub(super) cluster: String,
    /// Its component.
    pub(super) component: String,
    /// Client URL of the member.
    pub(super) member: String,
    /// Secret with the certificate that it wants of clients.
    pub(super) tls: Option<String>,
    /// Bytes of the member's database.
    pub(super) database: u64,
    /// Bytes a second at most.
    pub(super) rate: Option<u64>,
    /// Names of earlier backups beside it, which the Job looks for.
    pub(super) earlier: Vec<String>,
}

/// Name of a Job, or of something else that goes with a Backup.
pub(super) fn name(what: &str, backup: &str, uid: &str) -> String {
    // Names of Jobs become labels, which hold 63 characters.
    let backup: String = backup.chars().take(40).collect();
    let uid: String = uid.chars().take(8).collect();
    format!(
        "{what}-{}-{uid}",
        backup.trim_end_matches(['-', '.']).replace('.', "-")
    )
}

/// Name of the copy of a credential: another one for another version of it. Nothing of its content is in the name.
pub(super) fn credential_name(backup: &str, uid: &str, original: &Secret) -> String {
    let version = format!(
        "{:?} {:?}",
        original.metadata.uid, original.metadata.resource_version
    );
    let hash = Sha256::digest(version);
    let hash: String = hash
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}-{hash}", name("repo", backup, uid))
}

/// The Job that makes a backup.
pub(super) fn save(frame: &Frame, job: &str, credential: Option<&str>, save: &Save) -> Job {
    let scratch = scratch_bytes(save.database);
    let mut arguments = vec![
        "save".to_owned(),
        format!("--member={}", save.member),
        format!("--backup-uid={}", frame.uid),
        format!("--namespace={}", frame.namespace),
        format!("--cluster={}", save.cluster),
        format!("--component={}", save.component),
        format!("--scratch={SCRATCH}"),
    ];
    arguments.extend(save.rate.map(|rate| format!("--rate={rate}")));
    arguments.extend(save.tls.as_ref().map(|_| format!("--tls={TLS}")));
    let earlier = save.earlier.iter();
    arguments.extend(earlier.map(|name| format!("--earlier={name}")));
    let memory = twice_and(512, save.database);
    let mut job = skeleton(frame, job, credential, arguments, memory);
    add_volume(&mut job, empty("scratch", scratch), SCRATCH);
    add_certificate(&mut job, save.tls.as_deref());
    job
}

/// The Job that deletes the data of a Backup.
pub(super) fn erase(frame: &Frame, job: &str, credential: Option<&str>, backup: &Backup) -> Job {
    let mut arguments = vec!["delete".to_owned(), format!("--backup-uid={}", frame.uid)];
    if backup.spec.backup_method == ARCHIVE {
        arguments.push("--archive".to_owned());
        let said = backup.annotations().get(DELETE_UNOWNED);
        if said.map(String::as_str) == Some("true") {
            arguments.push("--unowned".to_owned());
        }
    }
    skeleton(frame, job, credential, arguments, 128 * MEBI)
}

/// What is filled with a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    /// The member's claim.
    pub(super) claim: String,
    /// The member, which has its pod's name.
    pub(super) member: String,
    /// Its peer URL.
    pub(super) peer_url: String,
    /// UID of the Cluster.
    pub(super) cluster_uid: String,
    /// SHA-256 that the backup must have.
    pub(super) sha256: String,
    /// Its length.
    pub(super) bytes: u64,
    /// The user that the members' agents are, in a Cluster with users.
    pub(super) admin: Option<String>,
    /// The archive that is put over it.
    pub(super) archive: Option<SeedArchive>,
}

/// The Job that fills a claim. As what data and identity are written is what the member's launcher expects.
pub(super) fn fill(frame: &Frame, job: &str, credential: Option<&str>, fill: &Fill) -> Job {
    let identity = serde_json::json!({ "clusterUid": fill.cluster_uid, "podName": fill.member });
    let mut arguments = vec![
        "restore".to_owned(),
        format!("--volume={VOLUME}"),
        format!("--data={DATA_FOLDER}"),
        format!("--name={}", fill.member),
        format!("--peer-url={}", fill.peer_url),
        format!("--token=etcd-{}", fill.cluster_uid),
        format!("--identity-file={IDENTITY_FILE}"),
        format!("--identity={identity}"),
        format!("--sha256={}", fill.sha256),
    ];
    if let Some(archive) = &fill.archive {
        arguments.push(format!("--archive-path={}", archive.path));
        arguments.extend(
            archive
                .revision
                .map(|revision| format!("--to-revision={revision}")),
        );
        arguments.extend(
            archive
                .time
                .as_ref()
                .map(|time| format!("--to-time={time}")),
        );
        arguments.extend(
            archive
                .at_least
                .map(|revision| format!("--at-least-revision={revision}")),
        );
        if archive.encryption.is_some() {
            arguments.push(format!(
                "--archive-pass-phrase={ARCHIVE_PHRASE}/{PHRASE_FILE}"
            ));
        }
    }
    arguments.extend(fill.admin.as_ref().map(|user| format!("--admin={user}")));
    // An etcd may run on it: for an archive, for an administrator, and to look at what was never looked at.
    let memory = twice_and(1024, fill.bytes);
    let mut job = skeleton(frame, job, credential, arguments, memory);
    let over = fill.archive.as_ref();
    if let Some(key) = over.and_then(|archive| archive.encryption.as_ref()) {
        add_volume(
            &mut job,
            key_volume("archive-pass-phrase", key),
            ARCHIVE_PHRASE,
        );
    }
    add_volume(&mut job, claim_volume("data", &fill.claim), VOLUME);
    if let (Some(_), Some(spec)) = (over, &mut job.spec) {
        spec.active_deadline_seconds = Some(REPLAY);
    }
    job
}

/// Bytes of the scratch volume: the snapshot, its restored copy and etcd's log. The database may have grown since.
pub(super) fn scratch_bytes(database: u64) -> u64 {
    (512 * MEBI).saturating_add(database.saturating_mul(5) / 2)
}

/// Bytes of memory: twice what is held, and so many MiB. Members and Jobs say how much that is, and may say anything:
/// the operator ends at an overflow.
fn twice_and(mebi: u64, held: u64) -> u64 {
    (mebi * MEBI).saturating_add(held.saturating_mul(2))
}

pub(super) fn skeleton(
    frame: &Frame,
    job: &str,
    credential: Option<&str>,
    mut arguments: Vec<String>,
    memory: u64,
) -> Job {
    arguments.push(format!("--path={}", frame.path));
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    match &frame.place {
        Place::Claim { name, .. } => {
            arguments.push(format!("--folder={REPOSITORY}"));
            volumes.push(claim_volume("repository", name));
            mounts.push(mount("repository", REPOSITORY, false));
        }
        Place::Bucket {
            arguments: bucket, ..
        } => {
            arguments.extend(bucket.clone());
            arguments.push(format!("--credentials={CREDENTIAL}"));
            volumes.push(secret_volume("credential", credential.unwrap_or_default()));
            mounts.push(mount("credential", CREDENTIAL, true));
        }
    }
    if let Some(key) = &frame.pass_phrase {
        arguments.push(format!("--pass-phrase={PHRASE}/{PHRASE_FILE}"));
        volumes.push(key_volume("pass-phrase", key));
        mounts.push(mount("pass-phrase", PHRASE, true));
    }
    // etcd's image has etcd's programs and not ours.
    let install = frame.etcd.is_some().then(|| Container {
        name: "install".to_owned(),
        image: Some(frame.tool.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["install".to_owned(), "/tools/etcd-backup".to_owned()]),
        volume_mounts: Some(vec![mount("tools", "/tools", false)]),
        ..container(64 * MEBI)
    });
    if install.is_some() {
        volumes.push(empty("tools", 64 * MEBI));
        mounts.push(mount("tools", "/tools", true));
    }
    let work = Container {
        name: WORK.to_owned(),
        image: Some(frame.etcd.clone().unwrap_or_else(|| frame.tool.clone())),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: install
            .is_some()
            .then(|| vec!["/tools/etcd-backup".to_owned()]),
        args: Some(arguments),
        env: Some(vec![pod_name()]),
        volume_mounts: Some(mounts),
        ..container(memory)
    };
    made(frame, job, pod(frame, install, work, volumes))
}

/// The Job around its pod. Only one label is on the pod: no service and no budget selects it.
fn made(frame: &Frame, job: &str, pod: PodSpec) -> Job {
    let mut own = BTreeMap::from([(BACKUP_UID.to_owned(), frame.uid.clone())]);
    let mut all = own.clone();
    own.extend(shared(frame).map(|claim| (REPOSITORY_CLAIM.to_owned(), claim)));
    all.insert(
        labels::MANAGED_BY.to_owned(),
        labels::MANAGED_BY_VALUE.to_owned(),
    );
    Job {
        metadata: ObjectMeta {
            name: Some(job.to_owned()),
            namespace: Some(frame.namespace.clone()),
            labels: Some(all),
            owner_references: Some(vec![frame.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(frame.retries),
            active_deadline_seconds: Some(DEADLINE),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(own),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(
    frame: &Frame,
    install: Option<Container>,
    work: Container,
    volumes: Vec<Volume>,
) -> PodSpec {
    let like = &frame.like;
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(10),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        // Where members may run a Job may, and their images can be pulled.
        image_pull_secrets: like.image_pull_secrets.clone(),
        node_selector: like.node_selector.clone(),
        tolerations: like.tolerations.clone(),
        runtime_class_name: like.runtime_class_name.clone(),
        scheduler_name: like.scheduler_name.clone(),
        affinity: shared(frame).map(together),
        init_containers: install.map(|install| vec![install]),
        containers: vec![work],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

/// Label of pods that use a claim which one node mounts at a time.
fn shared(frame: &Frame) -> Option<String> {
    match &frame.place {
        Place::Claim { name, mode, .. } if mode == "ReadWriteOnce" => {
            let value: String = name.chars().take(63).collect();
            Some(value.trim_end_matches(['-', '.']).to_owned())
        }
        _ => None,
    }
}

/// The Secret of the cluster itself, so that a renewed certificate arrives.
pub(super) fn add_certificate(job: &mut Job, secret: Option<&str>) {
    if let Some(secret) = secret {
        add_volume(job, secret_volume("etcd", secret), TLS);
    }
}

/// The claim of a repository in a namespace; `None` for a bucket. No object owns it: backups outlive what made them.
pub(super) fn repository_claim(place: &Place, namespace: &str) -> Option<PersistentVolumeClaim> {
    let Place::Claim {
        name,
        size,
        class,
        mode,
    } = place
    else {
        return None;
    };
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.clone()]),
            storage_class_name: class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size.clone())])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// A credential in the Job's namespace; it goes with its owner.
pub(super) fn credential_copy(frame: &Frame, name: &str, original: &Secret) -> Secret {
    let wanted = ["accessKeyId", "secretAccessKey", "ca.crt"];
    let mut data = original.data.clone().unwrap_or_default();
    data.retain(|key, _| wanted.contains(&key.as_str()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(frame.namespace.clone()),
            labels: Some(BTreeMap::from([(BACKUP_UID.to_owned(), frame.uid.clone())])),
            owner_references: Some(vec![frame.owner.clone()]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(data),
        ..Secret::default()
    }
}
