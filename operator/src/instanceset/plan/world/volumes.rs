//! Volumes that grow.

use etcd_operator_api::names;
use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimSpec;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Disk, World};
use crate::instanceset::names as keys;
use crate::instanceset::observed::{ClaimSeen, Size, class_of};

const GIB: f64 = 1_073_741_824.0;
/// The largest volume that the driver can make, in gibibytes.
const MOST: u32 = 1000;

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
fn asked(claim: &PersistentVolumeClaim) -> u32 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests
        .and_then(|requests| requests.get("storage"))
        .map_or(0, whole)
}

impl Disk {
    /// True when no volume is ever made for its claim.
    pub(super) fn never_comes(&self) -> bool {
        self.class.as_deref() == Some("broken")
    }

    fn size_seen(&self) -> Size {
        let (requested, capacity) = self.size;
        Size {
            requested: Some(gibibytes(requested)),
            capacity: Some(gibibytes(capacity)),
            told: String::new(),
        }
    }
}

impl World {
    pub(super) fn create_claim(&mut self, claim: &PersistentVolumeClaim) {
        let meta = claim.metadata.clone();
        let spec = claim.spec.as_ref();
        let disk = Disk {
            uid: self.number(),
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            terminating: false,
            lost: false,
            bound: meta.owner_references.is_some(),
            foreign: false,
            member: None,
            forced: None,
            size: (asked(claim), asked(claim)),
            class: spec
                .and_then(|spec| spec.storage_class_name.clone())
                .map(|class| self.rewritten(class)),
        };
        let old = self.disks.insert(meta.name.unwrap_or_default(), disk);
        assert!(old.is_none(), "a claim of the name exists");
    }

    pub(super) fn claim_seen(&self, name: &str, disk: &Disk) -> ClaimSeen {
        ClaimSeen {
            uid: disk.uid.to_string(),
            labels: disk.labels.clone(),
            annotations: disk.annotations.clone(),
            terminating: disk.terminating,
            lost: (disk.lost || self.gives_up(name)).then(|| "its node is gone".to_owned()),
            owned: !disk.foreign,
            bound: disk.bound,
            class: class_of(&disk.annotations, disk.class.as_deref()),
            class_in_spec: disk.class.clone(),
            size: disk.size_seen(),
        }
    }

    /// What a policy of the cluster makes of a class.
    fn rewritten(&self, class: String) -> String {
        match self.rewrites {
            Some((from, to)) if from == class => to.to_owned(),
            _ => class,
        }
    }

    /// Claims are those of an operator that put no class on record.
    pub(in super::super) fn forget_classes(&mut self) {
        for disk in self.disks.values_mut() {
            disk.annotations.remove(keys::CLASS);
        }
    }

    /// The owner writes an annotation on all claims, or takes it away.
    pub(in super::super) fn annotate_claims(&mut self, key: &str, value: Option<&str>) {
        for disk in self.disks.values_mut() {
            match value {
                Some(value) => disk.annotations.insert(key.to_owned(), value.to_owned()),
                None => disk.annotations.remove(key),
            };
        }
    }

    /// The owner asks for volumes of so many gibibytes.
    pub(in super::super) fn want_volumes(&mut self, size: u32) {
        self.desired.claims[0].spec.resources = of(size).resources;
    }

    /// The owner names a storage class.
    pub(in super::super) fn want_class(&mut self, class: &str) {
        self.desired.claims[0].spec.storage_class_name = Some(class.to_owned());
    }

    /// The class of each disk, by name; none is empty.
    pub(in super::super) fn classes(&self) -> Vec<&str> {
        let classes = self.disks.values().map(|disk| disk.class.as_deref());
        classes.map(Option::unwrap_or_default).collect()
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

    /// The driver makes volumes larger that are in use, and their file systems, up to what it can.
    pub(super) fn enlarge(&mut self) {
        let pods = &self.pods;
        for (name, disk) in &mut self.disks {
            let pod = name.strip_prefix("data-").and_then(|pod| pods.get(pod));
            let used = pod.is_some_and(|pod| pod.running.is_some());
            if used && !disk.lost && disk.size.0 <= MOST {
                disk.size.1 = disk.size.0;
            }
        }
    }

    pub(super) fn file_system_of(&self, pod: &str) -> Option<u64> {
        let disk = self.disks.get(&names::claim("data", pod))?;
        Some(u64::from(disk.size.1) << 30)
    }
}
