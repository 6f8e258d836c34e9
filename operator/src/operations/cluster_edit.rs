//! IO out: the edit of a Cluster that an operation is, and what the API server made of it.

use etcd_operator_api::Cluster;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};

use super::edit::{self, Change};
use crate::controller::{Context, cannot_rehearse, is_refusal};

/// Who edits Clusters for a user: the fields are the user's, not the operator's own.
const FIELD_MANAGER: &str = "etcd-operator-operations";

/// What the API server made of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was taken; the generation of the Cluster that has it.
    Taken(Option<i64>),
    /// The Cluster has changed since it was read: read it and decide again.
    Outdated,
    /// It is refused, and would be again.
    Refused(String),
}

/// Whether an edit is made, or only asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is made.
    Write,
    /// The API server says what it would say, admission policies included.
    DryRun,
}

/// Edits the Cluster where it does not have a change yet.
///
/// # Errors
/// When it is not known what became of it.
pub(super) async fn edit(
    cluster: &Cluster,
    changes: &[Change],
    context: &Context,
    mode: Mode,
) -> kube::Result<Answer> {
    let missing = edit::missing(cluster, changes);
    if missing.is_empty() {
        return Ok(Answer::Taken(cluster.metadata.generation));
    }
    let patch = serde_json::from_value(edit::patch(cluster, &missing));
    let patch = Patch::<()>::Json(patch.map_err(kube::Error::SerdeError)?);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        dry_run: mode == Mode::DryRun,
        ..PatchParams::default()
    };
    let namespace = cluster.namespace().unwrap_or_default();
    let clusters: Api<Cluster> = Api::namespaced(context.client.clone(), &namespace);
    let name = cluster.name_any();
    let refused = match clusters.patch(&name, &params, &patch).await {
        Ok(edited) => return Ok(Answer::Taken(edited.metadata.generation)),
        Err(kube::Error::Api(status)) if status.is_conflict() => return Ok(Answer::Outdated),
        Err(kube::Error::Api(status)) if mode == Mode::DryRun && cannot_rehearse(&status) => {
            return Ok(Answer::Taken(None));
        }
        Err(kube::Error::Api(status)) if is_refusal(&status) => status,
        Err(error) => return Err(error),
    };
    // A patch of an older version fails at its `test`, which is answered as an invalid object is: with 422.
    let now = clusters.get_metadata_opt(&name).await?;
    let same = now.is_some_and(|now| now.resource_version() == cluster.resource_version());
    Ok(match same {
        true => Answer::Refused(refused.message.clone()),
        false => Answer::Outdated,
    })
}
