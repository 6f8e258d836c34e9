//! What pods and services answer, asked through the API server: nothing of the cluster need be reachable from here.

use kube::Client;

use crate::timeouts;

/// The pod or service that is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) namespace: &'a str,
    /// `pods` or `services`.
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) port: u16,
}

/// The answer to `GET /{path}`, or why there is none.
pub(crate) async fn get(kube: &Client, target: Target<'_>, path: &str) -> Result<String, String> {
    let Target {
        namespace,
        kind,
        name,
        port,
    } = target;
    let objects = format!("/api/v1/namespaces/{namespace}/{kind}");
    let request = kube::core::Request::new(objects)
        .get_subresource(&format!("proxy/{path}"), &format!("{name}:{port}"))
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(timeouts::API_CALL, kube.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| format!("{name}:{port}/{path}: {error}")),
        Err(_) => Err(format!("{name}:{port}/{path}: no answer in time")),
    }
}
