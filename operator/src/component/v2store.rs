//! PURE: whether clients have left anything in etcd's store of API v2, which servers of 3.6 do not start with (V6).
//!
//! Every member of 3.5 is asked: its launcher has etcd's own tool look at log and snapshots, which a backup has not.

use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::{Component, labels};
use kube::ResourceExt;

use crate::definition::Minor;

/// The last minor with that store.
const LAST: &str = "3.5.0";

/// What the members say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// Nothing stands in the way, or nothing was to be asked.
    Clean,
    /// A member has something.
    Content {
        /// Its pod.
        pod: String,
        /// What was found.
        found: String,
    },
    /// A member has not said.
    Unknown(String),
}

/// What they say before the first pod of version `to` is made; `wished` is what pods are made for now.
pub(super) fn store(
    component: &Component,
    (members, wished): (&[&KnownMember], &str),
    to: &str,
) -> Store {
    let unwanted = component.annotations().get(labels::WITHOUT_V2_CHECK);
    let (last, to) = (Minor::of(LAST), Minor::of(to));
    let minor = |member: &KnownMember| member.version.as_deref().and_then(Minor::of);
    let begun = Minor::of(wished) > last || members.iter().any(|member| minor(member) > last);
    if to <= last || begun || unwanted.map(String::as_str) == Some("true") {
        return Store::Clean;
    }
    let mut unknown = match members {
        [] => Store::Unknown("no member is known".to_owned()),
        _ => Store::Clean,
    };
    for member in members {
        let told = member.v2_store.clone().unwrap_or_default();
        let pod = member.pod_name.clone();
        match (told.clean, told.message) {
            (Some(true), _) => {}
            (Some(false), found) => {
                let found = found.unwrap_or_default();
                return Store::Content { pod, found };
            }
            (None, Some(why)) => unknown = Store::Unknown(format!("{pod}: {why}")),
            (None, None) => {
                let why = "its agent has not said yet; one from before says nothing until the pod is recreated (OpsRequest \
                           Restart)";
                unknown = Store::Unknown(format!("{pod}: {why}"));
            }
        }
    }
    unknown
}
