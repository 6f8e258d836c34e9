//! IO: the Certificate that cert-manager is asked for. What it issues is read from its Secret, like a user's.

use etcd_operator_api::Component;
use kube::api::Api;
use kube::{Client, ResourceExt};

use super::request::{Request, RequestSpec, obstacle};
use super::secrets::labelled;
use crate::controller::{ApplyError, apply_if_different, delete, own};

/// Sees to it that cert-manager is asked for this, and for nothing when nothing is wanted. Why it has not issued it.
pub(super) async fn ask(
    client: &Client,
    component: &Component,
    wanted: Option<&RequestSpec>,
) -> Result<Option<String>, ApplyError> {
    let (name, namespace) = (
        component.name_any(),
        component.namespace().unwrap_or_default(),
    );
    let api: Api<Request> = Api::namespaced(client.clone(), &namespace);
    let Some(wanted) = wanted else {
        return withdraw(client, component, &api).await.map(|()| None);
    };
    let mut request = Request::new(&name, wanted.clone());
    request.metadata = labelled(component, &name);
    own(&mut request, component);
    match apply_if_different(client, &request).await {
        Ok(_) => {}
        Err(ApplyError::Read { source, .. } | ApplyError::Write { source, .. })
            if is_not_found(&source) =>
        {
            return Ok(Some(
                "certificates.cert-manager.io is not there: install cert-manager, or take the annotation away and make the \
                 Secret yourself"
                    .to_owned(),
            ));
        }
        Err(error) => return Err(error),
    }
    let live = api.get_opt(&name).await;
    let live = live.map_err(|source| ApplyError::Read {
        kind: "Certificate".to_owned(),
        name: name.clone(),
        source,
    })?;
    Ok(live.and_then(|live| obstacle(&live)))
}

/// Takes back what was asked for. Where cert-manager is not there, or may not be asked, nothing of ours can be.
async fn withdraw(
    client: &Client,
    component: &Component,
    api: &Api<Request>,
) -> Result<(), ApplyError> {
    let name = component.name_any();
    let found = match api.get_opt(&name).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.is_forbidden() => None,
        Err(error) if is_not_found(&error) => None,
        Err(source) => {
            return Err(ApplyError::Read {
                kind: "Certificate".to_owned(),
                name,
                source,
            });
        }
    };
    let uid = component.uid().unwrap_or_default();
    let ours = |request: &Request| request.owner_references().iter().any(|o| o.uid == uid);
    match found.filter(ours) {
        Some(request) => delete(client, &request).await,
        None => Ok(()),
    }
}

/// Where a whole API is not there the server answers in plain text, which has a code and no reason.
fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
