//! What would come of a Cluster, without writing anything: an operation is refused before it touches the spec.

use etcd_operator_api::Cluster;
use k8s_openapi::api::core::v1::Service;

use super::observe::observe;
use super::plan::plan;
use crate::component::{self, RehearseError};
use crate::controller::{Context, rehearse as ask};

/// Why the Cluster could not be carried out when it is edited from `now` to `next`; `None` when it could. Names the
/// field as its status would. Objects that the edit does not change are not asked about: what is wrong with them
/// already does not stand in the way of an operation that does not need them.
///
/// # Errors
/// When something that this depends on cannot be read.
pub(crate) async fn rehearse(
    context: &Context,
    now: &Cluster,
    next: &Cluster,
) -> Result<Option<String>, RehearseError> {
    let observed = observe(&context.client, next).await;
    let observed = observed.map_err(|error| RehearseError(error.to_string()))?;
    let planned = match plan(next, &observed) {
        Err(refused) => return Ok(Some(refused.to_string())),
        Ok(planned) => planned,
    };
    for (component, resolution) in planned.components.iter().zip(&planned.resolutions) {
        if let Some(refused) = component::rehearse(context, component).await? {
            let name = &resolution.name;
            return Ok(Some(format!("spec.componentSpecs[{name}].{refused}")));
        }
    }
    let before = plan(now, &observed).map_or_else(|_| Vec::new(), |planned| planned.services);
    let new = |service: &&Service| !before.contains(service);
    for service in planned.services.iter().filter(new) {
        let refused = ask(&context.client, service).await;
        if let Some(refused) = refused.map_err(|error| RehearseError(error.to_string()))? {
            let name = service.metadata.name.as_deref().unwrap_or_default();
            return Ok(Some(format!("service {name} cannot be made: {refused}")));
        }
    }
    Ok(None)
}
