//! IO: what the API server is too busy for is asked again, for a while, and no answer is waited for without end.
//!
//! How long to wait is kube's own policy. That one repeats everything, for minutes: here only what may be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, Uri};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::time::{Instant, Sleep, timeout};
use tower::buffer::BufferLayer;
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, Layer, Service, ServiceBuilder};

use crate::out;

/// Longest that a request is repeated.
const IN_ALL: Duration = Duration::from_secs(10);
/// Waits where the API server asks for none.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);
/// Longest that an answer is waited for, repetitions included: the API server itself gives up after a minute.
const ANSWER: Duration = Duration::from_secs(60);
/// Requests that may wait to be sent.
const WAITING: usize = 64;

/// A client that repeats what the API server answers by 429 or 503.
///
/// # Errors
/// When what the kubeconfig names cannot be used.
pub(crate) fn client(mut config: Config) -> kube::Result<Client> {
    config.default_retry = false;
    let again = again().map_err(|error| kube::Error::Service(error.into()))?;
    let layer = ServiceBuilder::new()
        .layer(Limit)
        .layer(RetryLayer::new(again))
        .layer(BufferLayer::new(WAITING))
        .into_inner();
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

fn again() -> Result<Again, kube::client::retry::InvalidBackoff> {
    Ok(Again {
        policy: RetryPolicy::new(SHORTEST, LONGEST, u32::MAX, true)?,
        until: None,
        told: Arc::default(),
    })
}

/// Gives up requests that are not answered; what may last as long as it likes (a watch, logs) is left alone.
#[derive(Clone, Copy)]
struct Limit;

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, service: S) -> Limited<S> {
        Limited(service)
    }
}

#[derive(Clone)]
struct Limited<S>(S);

impl<S, R> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = R, Error = BoxError> + 'static,
    S::Future: Send + 'static,
    R: Send + 'static,
{
    type Response = R;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<R, BoxError>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let goes_on = goes_on(request.uri());
        let answer = self.0.call(request);
        async move {
            if goes_on {
                return answer.await;
            }
            match timeout(ANSWER, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs()).into()),
            }
        }
        .boxed()
    }
}

/// Whether the answer may begin late: a watch's or that of logs that are followed.
fn goes_on(uri: &Uri) -> bool {
    let mut words = uri.query().unwrap_or_default().split('&');
    words.any(|word| ["watch=true", "follow=true"].contains(&word))
}

/// kube's policy within a limit of time. One is copied for each request.
#[derive(Clone)]
struct Again {
    policy: RetryPolicy,
    /// When it is over, once a request was refused.
    until: Option<Instant>,
    /// Whether the user knows; shared by all requests.
    told: Arc<AtomicBool>,
}

impl<R> Policy<Request<Body>, Response<R>, BoxError> for Again {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        answer: &mut Result<Response<R>, BoxError>,
    ) -> Option<Self::Future> {
        let status = answer.as_ref().ok()?.status();
        if !may_be_repeated(request.method(), request.uri().path(), status) {
            return None;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + IN_ALL);
        let wait = self.policy.retry(request, answer)?;
        if wait.deadline() > until {
            return None;
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            out::note(&format!("the API server answers {status}: asking again"));
        }
        Some(wait)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Policy::<_, Response<R>, BoxError>::clone_request(&mut self.policy, request)
    }
}

/// Whether a request may be sent twice. What is made may: it has its name before it is sent (`follow::make`). For a pod
/// that the API server cannot reach, as where policies keep it from agents, it answers 503, and would again.
fn may_be_repeated(method: &Method, path: &str, status: StatusCode) -> bool {
    // /api/v1/namespaces/NAMESPACE/pods/POD/proxy/...
    let is_of_a_pod = path.split('/').nth(7) == Some("proxy");
    let refused = match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => !is_of_a_pod,
        _ => false,
    };
    refused && [Method::GET, Method::POST].contains(method)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::Api;
    use kube::api::ListParams;
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;
    use crate::fake_api::Answer;
    use crate::test_support::server;

    const PODS: &str = "/api/v1/namespaces/ns/pods";
    const AGENT: &str = "/api/v1/namespaces/ns/pods/db-etcd-0:3601/proxy/member";

    /// Lists pods of a server that answers so, one after the other; the outcome, how often it was asked, and how long.
    async fn listed(
        answers: &'static [(u16, Option<&'static str>)],
    ) -> (Result<usize, u16>, usize, Duration) {
        let mut next = answers.iter();
        let (config, asked) = server(move |_, _| {
            let (code, retry_after) = *next.next().expect("asked once more");
            let body = match code {
                200 => {
                    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [{ "metadata": { "name": "a" } }] })
                }
                _ => {
                    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "busy" })
                }
            };
            Answer {
                code,
                retry_after,
                body,
            }
        });
        let begin = Instant::now();
        let pods: Api<Pod> = Api::namespaced(client(config).expect("a client"), "ns");
        let answer = pods.list(&ListParams::default()).await;
        let outcome = match answer {
            Ok(list) => Ok(list.items.len()),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(error) => panic!("{error}"),
        };
        let asked = asked.lock().expect("no panic").len();
        (outcome, asked, begin.elapsed())
    }

    #[tokio::test]
    async fn a_busy_server_is_asked_again_when_it_says_and_not_for_too_long() {
        let (outcome, asked, took) = listed(&[(429, Some("1")), (503, None), (200, None)]).await;
        assert_eq!((outcome, asked), (Ok(1), 3));
        assert!(took >= Duration::from_secs(1), "{took:?}");
        let (outcome, asked, took) = listed(&[(429, Some("11"))]).await;
        assert_eq!((outcome, asked), (Err(429), 1));
        assert!(took < Duration::from_secs(11), "{took:?}");
        let (outcome, asked, _) = listed(&[(500, None)]).await;
        assert_eq!((outcome, asked), (Err(500), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_time_is_over() {
        let busy = tower::service_fn(|_: Request<Body>| {
            let busy = Response::builder().status(503).body(());
            std::future::ready(busy.map_err(BoxError::from))
        });
        let layer = RetryLayer::new(again().expect("a policy"));
        let service = ServiceBuilder::new().layer(layer).service(busy);
        let request = Request::get(PODS).body(Body::empty()).expect("a request");
        let begin = Instant::now();
        let answer = service.oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), 503);
        let took = begin.elapsed();
        assert!(took <= IN_ALL && took >= IN_ALL - LONGEST, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_not_waited_for_without_end_unless_it_goes_on() {
        let ends = |query: &'static str| async move {
            let hangs = |_: Request<Body>| std::future::pending::<Result<Response<()>, BoxError>>();
            let service = Limited(tower::service_fn(hangs));
            let request = Request::get(format!("{PODS}{query}"));
            let request = request.body(Body::empty()).expect("a request");
            let ended = timeout(ANSWER * 2, service.oneshot(request)).await;
            ended
                .ok()
                .map(|answer| answer.expect_err("late").to_string())
        };
        let late = Some("no answer in 60 s".to_owned());
        for query in [
            "",
            "?limit=500",
            "/db-etcd-0/log?container=etcd&tailLines=9",
        ] {
            assert_eq!(ends(query).await, late, "{query}");
        }
        for query in [
            "?allowWatchBookmarks=true&watch=true",
            "/db-etcd-0/log?follow=true&container=etcd",
        ] {
            assert_eq!(ends(query).await, None, "{query}");
        }
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let table = [
            (Method::GET, PODS, 429, true),
            (Method::GET, PODS, 503, true),
            (Method::GET, PODS, 504, false),
            (Method::GET, AGENT, 429, true),
            (Method::GET, AGENT, 503, false),
            (Method::GET, "/api/v1/namespaces/proxy/pods", 503, true),
            (Method::POST, PODS, 503, true),
            (Method::PATCH, PODS, 503, false),
            (Method::DELETE, PODS, 429, false),
        ];
        for (method, path, status, expected) in table {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                may_be_repeated(&method, path, status),
                expected,
                "{method} {path} {status}"
            );
        }
    }
}
