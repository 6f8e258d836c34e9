//! Pure builders: parts of the pods of Jobs.

use etcd_operator_api::backup_policy::SecretKey;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, KeyToPath,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodAffinity, PodAffinityTerm,
    ResourceRequirements, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Label of pods that use a repository's claim: its name.
pub(super) const REPOSITORY_CLAIM: &str = "dataprotection.kubeblocks.io/repository-claim";
/// Name of the file with a pass phrase.
pub(super) const PHRASE_FILE: &str = "passPhrase";
/// Bytes.
pub(super) const MEBI: u64 = 1024 * 1024;

pub(super) fn container(memory: u64) -> Container {
    let limits = [("cpu", "1".to_owned()), ("memory", memory.to_string())];
    let requests = [
        ("cpu", "50m".to_owned()),
        ("memory", (64 * MEBI).to_string()),
    ];
    let quantities = |all: [(&str, String); 2]| {
        let all = all
            .into_iter()
            .map(|(name, amount)| (name.to_owned(), Quantity(amount)));
        Some(all.collect())
    };
    Container {
        resources: Some(ResourceRequirements {
            limits: quantities(limits),
            requests: quantities(requests),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// On the node of others that use the same claim, and nowhere else: another node could not mount it, and an archive's
/// pod has it all the time. Its own label is one of those, so that the first of them may go anywhere.
pub(super) fn together(claim: String) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some([(REPOSITORY_CLAIM.to_owned(), claim)].into()),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_affinity: Some(PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAffinity::default()
        }),
        ..Affinity::default()
    }
}

pub(super) fn pod_name() -> EnvVar {
    EnvVar {
        name: "POD_NAME".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

pub(super) fn empty(name: &str, bytes: u64) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(Quantity(bytes.to_string())),
        }),
        ..Volume::default()
    }
}

pub(super) fn claim_volume(name: &str, claim: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

pub(super) fn secret_volume(name: &str, secret: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// One key of a Secret, by another name.
pub(super) fn key_volume(name: &str, of: &SecretKey) -> Volume {
    let mut volume = secret_volume(name, &of.name);
    if let Some(secret) = &mut volume.secret {
        secret.items = Some(vec![KeyToPath {
            key: of.key.clone(),
            path: PHRASE_FILE.to_owned(),
            mode: None,
        }]);
    }
    volume
}

pub(super) fn add_volume(job: &mut Job, volume: Volume, path: &str) {
    let Some(spec) = job
        .spec
        .as_mut()
        .and_then(|spec| spec.template.spec.as_mut())
    else {
        return;
    };
    if let Some(work) = spec.containers.first_mut() {
        work.volume_mounts.get_or_insert_default().push(mount(
            &volume.name,
            path,
            volume.secret.is_some(),
        ));
    }
    spec.volumes.get_or_insert_default().push(volume);
}
