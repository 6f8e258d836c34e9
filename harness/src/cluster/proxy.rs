//! What pods and services answer, asked through the API server: nothing of the cluster need be reachable from here.

use kube::Client;
use kube::api::PostParams;

use crate::timeouts;

/// The pod or service that is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) namespace: &'a str,
    /// `pods` or `services`.
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) port: u16,
}

/// The answer to `GET /{path}`, or why there is none.
pub(crate) async fn get(kube: &Client, target: Endpoint<'_>, path: &str) -> Result<String, String> {
    ask(kube, target, path, None).await
}

/// The answer to `POST /{path}` with this body of JSON, or why there is none.
pub(crate) async fn post(
    kube: &Client,
    target: Endpoint<'_>,
    path: &str,
    body: &str,
) -> Result<String, String> {
    ask(kube, target, path, Some(body)).await
}

async fn ask(
    kube: &Client,
    target: Endpoint<'_>,
    path: &str,
    body: Option<&str>,
) -> Result<String, String> {
    let Endpoint {
        namespace,
        kind,
        name,
        port,
    } = target;
    let objects = format!("/api/v1/namespaces/{namespace}/{kind}");
    let (proxy, place) = (format!("proxy/{path}"), format!("{name}:{port}"));
    let request = kube::core::Request::new(objects);
    let request = match body {
        None => request.get_subresource(&proxy, &place),
        Some(body) => {
            let (parameters, body) = (PostParams::default(), body.as_bytes().to_vec());
            request.create_subresource(&proxy, &place, &parameters, body)
        }
    };
    let request = request.map_err(|error| error.to_string())?;
    match tokio::time::timeout(timeouts::API_CALL, kube.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| format!("{place}/{path}: {error}")),
        Err(_) => Err(format!("{place}/{path}: no answer in time")),
    }
}
