//! Volumes that grow.

use etcd_operator_api::names;
use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimSpec;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Disk, World};
use crate::instanceset::observed::Size;

const GIB: f64 = 1_073_741_824.0;

fn gibibytes(size: u32) -> Quantity {
    Quantity(format!("{size}Gi"))
}

/// A claim of so many gibibytes.
pub(super) fn of(size: u32) -> VolumeClaimSpec {
    let mut spec = VolumeClaimSpec::default();
    let requests = &mut spec.resources.requests;
    requests.insert("storage".to_owned(), gibibytes(size));
    spec
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few gibibytes"
)]
fn whole(size: &Quantity) -> u32 {
    (amount(size).unwrap_or_default() / GIB) as u32
}

/// What a claim asks for, in gibibytes.
pub(super) fn asked(claim: &PersistentVolumeClaim) -> u32 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests
        .and_then(|requests| requests.get("storage"))
        .map_or(0, whole)
}

impl Disk {
    pub(super) fn size_seen(&self) -> Size {
        let (requested, capacity) = self.size;
        Size {
            requested: Some(gibibytes(requested)),
            capacity: Some(gibibytes(capacity)),
            told: String::new(),
        }
    }
}

impl World {
    /// The owner asks for volumes of so many gibibytes.
    pub(in super::super) fn want_volumes(&mut self, size: u32) {
        self.desired.claims[0].spec = of(size);
    }

    /// What volumes have, in gibibytes, by ordinal.
    pub(in super::super) fn sizes(&self) -> Vec<u32> {
        self.disks.values().map(|disk| disk.size.1).collect()
    }

    pub(super) fn ask_for(&mut self, name: &str, to: &Quantity) {
        if let Some(disk) = self.disks.get_mut(name) {
            disk.size.0 = whole(to);
        }
    }

    /// The driver makes volumes larger that are in use, and their file systems.
    pub(super) fn enlarge(&mut self) {
        let pods = &self.pods;
        for (name, disk) in &mut self.disks {
            let pod = name.strip_prefix("data-").and_then(|pod| pods.get(pod));
            if pod.is_some_and(|pod| pod.running.is_some()) && !disk.lost {
                disk.size.1 = disk.size.0;
            }
        }
    }

    pub(super) fn file_system_of(&self, pod: &str) -> Option<u64> {
        let disk = self.disks.get(&names::claim("data", pod))?;
        Some(u64::from(disk.size.1) << 30)
    }
}
