//! Server-side apply of manifests, whatever their kinds.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};

use crate::deploy::DeployError;
use crate::timeouts;
use crate::wait::{Poll, WaitError, wait_until};

/// The name under which we apply.
const FIELD_MANAGER: &str = "etcd-harness";

/// The objects of a text with any number of YAML documents.
///
/// # Errors
/// Names `file` when it is not YAML or holds something that is no object.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<DynamicObject>, DeployError> {
    let fail = |message: String| DeployError::Parse {
        file: file.to_owned(),
        message,
    };
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(text).map_err(|error| fail(error.to_string()))?;
    let mut objects = Vec::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let object: DynamicObject =
            serde_json::from_value(document).map_err(|error| fail(error.to_string()))?;
        if object.types.is_none() || object.metadata.name.is_none() {
            return Err(fail("a document has no apiVersion, kind or name".into()));
        }
        objects.push(object);
    }
    Ok(objects)
}

/// Applies objects in their order. `namespace` is for those that name none. A kind that is not served yet (its CRD was
/// applied a moment ago) is waited for.
///
/// # Errors
/// The first object that is refused, with the API server's words.
pub(crate) async fn apply(
    kube: &Client,
    namespace: &str,
    objects: &[DynamicObject],
) -> Result<Vec<DynamicObject>, DeployError> {
    let mut applied = Vec::new();
    for object in objects {
        let name = describe(object);
        let (resource, capabilities) = resolve(kube, object).await?;
        let api = api_for(kube, namespace, object, &resource, &capabilities);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let done = api
            .patch(&object.name_any(), &params, &Patch::Apply(object))
            .await;
        applied.push(done.map_err(|error| DeployError::call("apply", name, error))?);
    }
    Ok(applied)
}

fn api_for(
    kube: &Client,
    namespace: &str,
    object: &DynamicObject,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
) -> Api<DynamicObject> {
    if capabilities.scope == Scope::Cluster {
        return Api::all_with(kube.clone(), resource);
    }
    let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
    Api::namespaced_with(kube.clone(), &namespace, resource)
}

/// `Kind namespace/name`, for messages.
pub(crate) fn describe(object: &DynamicObject) -> String {
    let kind = object
        .types
        .as_ref()
        .map_or("object", |types| types.kind.as_str());
    let namespace = object
        .namespace()
        .map(|namespace| namespace + "/")
        .unwrap_or_default();
    format!("{kind} {namespace}{}", object.name_any())
}

async fn resolve(
    kube: &Client,
    object: &DynamicObject,
) -> Result<(ApiResource, ApiCapabilities), DeployError> {
    let name = describe(object);
    let types = object.types.clone().unwrap_or_default();
    let gvk = GroupVersionKind::try_from(&types)
        .map_err(|error| DeployError::call("apply", name.clone(), error))?;
    let found = wait_until(
        "its kind",
        timeouts::CRD_ESTABLISHED,
        async || match pinned_kind(kube, &gvk).await {
            Ok(found) => Poll::Ready(found),
            // Not served (yet): discovery answers 404, or a list without the kind.
            Err(kube::Error::Api(status)) if status.code != 404 => Poll::Failed(status.to_string()),
            Err(error) => Poll::NotYet(error.to_string()),
        },
    )
    .await;
    found.map_err(|error| match error {
        WaitError::TimedOut { last, .. } => {
            DeployError::call("apply", name, format!("its kind is not served: {last}"))
        }
        WaitError::Failed { source, .. } => DeployError::call("apply", name, source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_and_empty_ones_dropped() {
        let text = "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: b\n  namespace: a\ndata: {}\n";
        let objects = parse("x.yaml", text).expect("objects");
        let names: Vec<String> = objects.iter().map(describe).collect();
        assert_eq!(names, ["Namespace a", "Secret a/b"]);
    }

    #[test]
    fn a_document_that_is_no_object_is_refused_with_its_file() {
        let error = parse("x.yaml", "a: 1\n")
            .expect_err("no object")
            .to_string();
        assert!(error.contains("x.yaml"), "{error}");
    }
}
