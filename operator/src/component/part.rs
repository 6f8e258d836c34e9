//! PURE: parts of the members' pods.

use k8s_openapi::api::core::v1::{Container, EnvVar, SecretVolumeSource, Volume, VolumeMount};

/// A volume with a Secret, which the pod's user reads through its fsGroup, and no other.
pub(super) fn secret_volume(name: &str, secret: String) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Mounts a volume, which a container only reads, and says in this variable where.
pub(super) fn mount(container: &mut Container, volume: &str, directory: &str, variable: &str) {
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(VolumeMount {
        name: volume.to_owned(),
        mount_path: directory.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    set(container, variable, directory);
}

/// Gives a container a variable.
pub(super) fn set(container: &mut Container, name: &str, value: &str) {
    let env: &mut Vec<EnvVar> = container.env.get_or_insert_default();
    env.retain(|known| known.name != name);
    env.push(EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    });
}
