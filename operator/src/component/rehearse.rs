//! What would come of a Component, without writing anything.

use etcd_operator_api::Component;

use super::observe::observe;
use super::plan::plan;
use crate::controller::Context;

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RehearseError(pub(crate) String);

/// Why the Component could not be carried out; `None` when it could.
///
/// # Errors
/// When something that this depends on cannot be read.
pub async fn rehearse(
    context: &Context,
    component: &Component,
) -> Result<Option<String>, RehearseError> {
    let observed = observe(&context.client, component).await;
    let observed = observed.map_err(|error| RehearseError(error.to_string()))?;
    let planned = plan(component, &observed, &context.config.cluster_domain);
    Ok(planned.err().map(|refused| refused.to_string()))
}
