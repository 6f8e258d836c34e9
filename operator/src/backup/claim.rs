//! IO: the claim of a repository in a namespace: made where it is not there, and looked at where it is. Its name alone
//! says nothing: it is anyone's to take.

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::job::{self, Frame};
use super::place::Place;
use crate::controller::is_refusal;

/// A claim that many nodes mount at the same time.
const MANY: &str = "ReadWriteMany";
/// One that a single node does.
const ONE: &str = "ReadWriteOnce";

/// The parts of a Job as the repository's claim is; why that cannot be used, or is refused. One that is not there is
/// made when `making`.
///
/// # Errors
/// When the API server does not answer.
pub(super) async fn provide(
    client: &Client,
    frame: &Frame,
    making: bool,
) -> kube::Result<Result<Frame, String>> {
    let Some(wanted) = job::repository_claim(&frame.place, &frame.namespace) else {
        return Ok(Ok(frame.clone()));
    };
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &frame.namespace);
    if let Some(there) = claims.get_opt(&wanted.name_any()).await? {
        return Ok(used(frame, &there));
    }
    if making {
        match claims.create(&PostParams::default(), &wanted).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            // A quota or a policy: the Backup says so, and holds back others for an hour at most.
            Err(kube::Error::Api(status)) if is_refusal(&status) => {
                let (namespace, name) = (&frame.namespace, wanted.name_any());
                let why = &status.message;
                return Ok(Err(format!(
                    "claim {namespace}/{name} of the BackupRepo cannot be created: {why}"
                )));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(frame.clone()))
}

/// Pure: the parts of a Job that uses this claim; why it is no repository's.
pub(super) fn used(frame: &Frame, claim: &PersistentVolumeClaim) -> Result<Frame, String> {
    let (namespace, name) = (&frame.namespace, claim.name_any());
    let mut owners = claim.owner_references().iter();
    let owner = owners.find(|owner| owner.controller == Some(true));
    if let Some(owner) = owner {
        return Err(format!(
            "claim {namespace}/{name} belongs to {} {}, and the BackupRepo needs one of that name: give the BackupRepo \
             another name",
            owner.kind, owner.name
        ));
    }
    if let Some(pod) = claim.labels().get(labels::POD_NAME) {
        return Err(format!(
            "claim {namespace}/{name} is the volume of member {pod}, and the BackupRepo needs one of that name: give the \
             BackupRepo another name"
        ));
    }
    let mut frame = frame.clone();
    let status = claim.status.as_ref();
    let bound = status.and_then(|status| status.access_modes.as_ref());
    let asked = || claim.spec.as_ref()?.access_modes.as_ref();
    let mut modes = bound.or_else(asked).into_iter().flatten();
    if let Place::Claim { mode, .. } = &mut frame.place
        && mode.as_str() == ONE
        && modes.any(|mode| mode == MANY)
    {
        // As a volume of NFS: no two pods have to be on one node for it.
        *mode = MANY.to_owned();
    }
    Ok(frame)
}
