//! An API server for tests: answers by a closure and notes what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{DATE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::config::Config;
use crate::controller::Context;
use crate::metrics::Metrics;

/// The code of an answer that does not come.
pub(crate) const NEVER: u16 = 0;
/// Time for a handshake with an agent of a test.
const PATIENT: Duration = Duration::from_secs(30);

/// One request: `GET /path?query`, and its body.
pub(crate) type Asked = (String, Value);

/// A context whose API server answers with a code and a body, and all that it was asked. The time of an answer is the
/// field `date` of its body.
pub(crate) fn server(
    answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static,
) -> (Context, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (notes, answer) = (Arc::clone(&asked), Arc::new(answer));
    let serve = move |request: Request<Body>| {
        let (notes, answer) = (Arc::clone(&notes), Arc::clone(&answer));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            notes.lock().expect("no panic").push((line.clone(), body));
            let (code, body) = answer(&line);
            if code == NEVER {
                std::future::pending::<()>().await;
            }
            let mut response = Response::new(Body::from(body.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code).expect("a code");
            if let Some(date) = body["date"].as_str() {
                let date = HeaderValue::from_str(date).expect("a date");
                response.headers_mut().insert(DATE, date);
            }
            Ok::<_, kube::Error>(response)
        }
    };
    let config = Config {
        cluster_domain: "cluster.local".to_owned(),
        namespace: "kb-system".to_owned(),
        service_account: "etcd-operator".to_owned(),
        token_age: Duration::ZERO,
        namespaces: vec![],
        identity: "operator-0".to_owned(),
        collector: None,
        backup_image: "etcd-backup:1".to_owned(),
    };
    let client = Client::new(tower::service_fn(serve), "ns");
    let mut context = Context::new(client, config, Metrics::default());
    context.agents = context.agents.with_handshake(PATIENT);
    (context, asked)
}

/// The body of a failure.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message });
    (code, body)
}
