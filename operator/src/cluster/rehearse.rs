//! What would come of a Cluster, without writing anything: an operation is refused before it touches the spec.

use etcd_operator_api::Cluster;

use super::observe::observe;
use super::plan::plan;
use crate::component::{self, RehearseError};
use crate::controller::Context;

/// Why the Cluster could not be carried out; `None` when it could. Names the field as its status would.
///
/// # Errors
/// When something that this depends on cannot be read.
pub async fn rehearse(
    context: &Context,
    cluster: &Cluster,
) -> Result<Option<String>, RehearseError> {
    let observed = observe(&context.client, cluster).await;
    let observed = observed.map_err(|error| RehearseError(error.to_string()))?;
    let planned = match plan(cluster, &observed) {
        Err(refused) => return Ok(Some(refused.to_string())),
        Ok(planned) => planned,
    };
    for (component, resolution) in planned.components.iter().zip(&planned.resolutions) {
        if let Some(refused) = component::rehearse(context, component).await? {
            let name = &resolution.name;
            return Ok(Some(format!("spec.componentSpecs[{name}].{refused}")));
        }
    }
    Ok(None)
}
