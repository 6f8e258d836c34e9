//! Cuts what is nested too deeply out of the API server's answers, before they are parsed.
//!
//! The server stores JSON far deeper than serde_json reads (128 levels), in open parts of specs and with them in
//! `managedFields`, and one such object would make a whole list unreadable. No type of Kubernetes is half as deep: what
//! is left of such a part is refused by its own type, with the object's name.

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Bytes};
use hyper::header::CONTENT_TYPE;

/// Levels that are kept. A list adds two to its objects.
const DEEPEST: usize = 100;

/// Lets JSON pass down to [`DEEPEST`] levels: an object or list below them comes out empty.
#[derive(Debug, Default)]
struct Shallow {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Shallow {
    /// What is kept of the next bytes. They are not copied while nothing is cut.
    fn keep(&mut self, bytes: Bytes) -> Bytes {
        let mut kept = Vec::new();
        let mut from = (self.depth <= DEEPEST).then_some(0);
        let mut whole = from.is_some();
        for (at, byte) in bytes.iter().enumerate() {
            let before = self.depth;
            self.step(*byte);
            if let (Some(start), true) = (from, self.depth > DEEPEST) {
                kept.extend_from_slice(bytes.get(start..=at).unwrap_or_default());
                (from, whole) = (None, false);
            } else if before > DEEPEST && self.depth <= DEEPEST {
                from = Some(at);
            }
        }
        if whole {
            return bytes;
        }
        if let Some(start) = from {
            kept.extend_from_slice(bytes.get(start..).unwrap_or_default());
        }
        kept.into()
    }

    fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// The response with its JSON cut off below the deepest level; other content is left as it is.
pub(crate) fn cut<B>(
    response: Response<B>,
) -> Response<impl Body<Data = Bytes, Error = B::Error> + Send + 'static>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let kind = response.headers().get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let mut shallow = Shallow::default();
    response.map(|body| {
        body.map_frame(move |frame| match is_json {
            true => frame.map_data(|bytes| shallow.keep(bytes)),
            false => frame,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use etcd_operator_api::Cluster;
    use http::Request;
    use http_body_util::Full;
    use kube::api::{Api, ListParams, PartialObjectMeta};
    use kube::{Client, ResourceExt};
    use proptest::prelude::*;
    use tower::ServiceExt;

    use super::*;

    fn nested(levels: usize) -> String {
        format!(
            "{}1{}",
            r#"{"a":["#.repeat(levels / 2),
            "]}".repeat(levels / 2)
        )
    }

    fn keep_in_pieces(text: &str, piece: usize) -> Vec<u8> {
        let mut shallow = Shallow::default();
        let pieces = text.as_bytes().chunks(piece);
        pieces
            .flat_map(|piece| shallow.keep(Bytes::copy_from_slice(piece)))
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_kept_is_json_wherever_it_is_split(levels in 0_usize..400, piece in 1_usize..64) {
            let text = format!(r#"{{"deep":{},"brackets":"{{[\\\"{{[","after":"{}"}}"#, nested(levels), "x".repeat(levels));
            let kept: serde_json::Value = serde_json::from_slice(&keep_in_pieces(&text, piece)).expect("JSON");
            prop_assert_eq!(kept["brackets"].as_str(), Some(r#"{[\"{["#));
            prop_assert_eq!(kept["after"].as_str().map(str::len), Some(levels));
            if levels < DEEPEST - 1 {
                prop_assert_eq!(kept, serde_json::from_str::<serde_json::Value>(&text).expect("JSON"));
            }
        }
    }

    /// A client of an API server that lists one Cluster with a deep spec and one without.
    fn client() -> Client {
        let cluster = |name: &str, fields: &str, affinity: &str| {
            format!(
                r#"{{"metadata":{{"name":"{name}","managedFields":[{{"fieldsV1":{fields}}}]}},"spec":{{"terminationPolicy":"Delete",
                "componentSpecs":[{{"name":"etcd","replicas":1,"schedulingPolicy":{{"affinity":{affinity}}}}}]}}}}"#
            )
        };
        let deep = nested(2000);
        let list = format!(
            r#"{{"metadata":{{}},"items":[{},{}]}}"#,
            cluster("deep", &deep, &deep),
            cluster("plain", "{}", "{}")
        );
        let server = tower::service_fn(move |_: Request<kube::client::Body>| {
            let body = Full::new(Bytes::from(list.clone()));
            let response = Response::builder().header(CONTENT_TYPE, "application/json");
            futures::future::ready(Ok::<_, Infallible>(
                response.body(body).expect("a response"),
            ))
        });
        Client::new(server.map_response(cut), "default")
    }

    #[tokio::test]
    async fn a_list_with_a_deep_object_is_read_and_the_object_is_refused_by_its_own_type() {
        let clusters = Api::<Cluster>::all(client())
            .list(&ListParams::default())
            .await;
        let clusters = clusters.expect("a list").items;
        let names: Vec<_> = clusters.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["deep", "plain"]);
        let policies = clusters
            .iter()
            .filter_map(|c| c.spec.component_specs[0].scheduling_policy.as_ref());
        let read = policies.map(|policy| {
            let affinity = policy.affinity.as_ref().expect("an affinity");
            affinity
                .parse::<k8s_openapi::api::core::v1::Affinity>("affinity")
                .is_ok()
        });
        assert_eq!(read.collect::<Vec<_>>(), [false, true]);
        let heads = Api::<PartialObjectMeta<Cluster>>::all(client())
            .list(&ListParams::default())
            .await;
        assert_eq!(heads.expect("a list").items.len(), 2);
    }
}
