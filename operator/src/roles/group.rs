//! The labels of one InstanceSet's pods: takes in views and pod versions, decides, has it written.
//!
//! One task for each InstanceSet, so that a cluster that hangs holds up no other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kbagent_protocol::MemberView;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tracing::{info, warn};

use super::board::{Board, SetKey};
use super::decide::decide;
use super::export::{Trace, Traces};
use super::facts::PodFacts;
use super::failover::Tracker;
use super::knowledge::AgentReports;
use super::metrics::RoleMetrics;
use super::timing;
use super::trace::Election;
use super::write::{Error, Labeller, Written};

/// What a group is told.
#[derive(Debug)]
pub(super) enum Input {
    /// A version of a pod.
    Pod(PodFacts),
    /// A pod is gone.
    Gone { pod: String, uid: String },
    /// A view of an agent is in this box.
    Said(Mailbox),
    /// An agent has become silent.
    Silent { pod: String, uid: String },
}

/// Views of one agent that its group has not taken yet: while that waits for the API server, an agent that talks all
/// the time fills its own box only, and the newest view replaces the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Mailbox(Arc<Mutex<VecDeque<MemberView>>>);

impl Mailbox {
    /// Views that are kept: in the normal course of things every one.
    const SIZE: usize = 16;

    /// Puts a view in; true when there is one more than before, and the group must hear of it.
    pub(super) fn put(&self, view: MemberView) -> bool {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = views.len() >= Self::SIZE;
        if full {
            views.pop_back();
        }
        views.push_back(view);
        !full
    }

    fn take(&self) -> Option<MemberView> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        views.pop_front()
    }
}

/// The state of one group.
pub(super) struct Group {
    set: SetKey,
    labeller: Labeller,
    metrics: RoleMetrics,
    board: Arc<Board>,
    traces: Traces,
    tracker: Tracker,
    pods: BTreeMap<String, PodFacts>,
    /// Versions written here that the watch has not delivered yet.
    written: BTreeMap<String, PodFacts>,
    knowledge: AgentReports,
}

impl Group {
    pub(super) fn new(
        set: SetKey,
        labeller: Labeller,
        metrics: RoleMetrics,
        (board, traces): (Arc<Board>, Traces),
    ) -> Self {
        Self {
            set,
            labeller,
            metrics,
            board,
            traces,
            tracker: Tracker::default(),
            pods: BTreeMap::new(),
            written: BTreeMap::new(),
            knowledge: AgentReports::default(),
        }
    }

    /// Runs until every sender is gone.
    pub(super) async fn run(mut self, mut inputs: UnboundedReceiver<Input>) {
        let mut pause = timing::PAUSE_FIRST;
        while let Some(input) = inputs.recv().await {
            self.take(input);
            loop {
                while let Ok(input) = inputs.try_recv() {
                    self.take(input);
                }
                match self.settle().await {
                    Ok(()) => {
                        pause = timing::PAUSE_FIRST;
                        break;
                    }
                    Err(error) => {
                        warn!(%error, "failed to write roles; retrying");
                        sleep(pause).await;
                        pause = (pause * 2).min(timing::PAUSE_LONGEST);
                    }
                }
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Pod(facts) => {
                if self
                    .written
                    .get(&facts.name)
                    .is_some_and(|own| !own.is_newer_than(&facts))
                {
                    self.written.remove(&facts.name);
                }
                self.pods.insert(facts.name.clone(), facts);
            }
            Input::Gone { pod, uid } => {
                self.pods
                    .retain(|name, facts| *name != pod || facts.uid != uid);
                self.written
                    .retain(|name, facts| *name != pod || facts.uid != uid);
                self.knowledge.forget(&pod, &uid);
            }
            Input::Said(mailbox) => {
                if let Some(view) = mailbox.take() {
                    if let Some(campaign) = view.campaign {
                        let election = Election {
                            pod: view.instance.clone(),
                            campaign,
                            told: Instant::now(),
                        };
                        self.board.campaigned(&self.set, election);
                    }
                    self.knowledge.hear(view);
                }
            }
            Input::Silent { pod, uid } => self.knowledge.silence(&pod, &uid),
        }
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let cached = self.newest();
        self.track(&cached, Instant::now());
        if decide(&cached, &self.knowledge).is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let written = self.labeller.settle(&cached, &self.knowledge).await?;
        for Written { facts, at } in written {
            let leads = facts.is_labelled_leader();
            let (winner, term) = (facts.name.clone(), facts.term.unwrap_or(0));
            if leads {
                let took = began.elapsed();
                self.metrics.leader_labelled(took);
                info!(pod = %facts.name, term = facts.term, took_ms = took.as_millis() as u64, "leader labelled");
            }
            self.written.insert(facts.name.clone(), facts);
            self.track(&self.newest(), at);
            if leads {
                self.follow(winner, term);
            }
        }
        Ok(())
    }

    /// The newest version of every pod that the watch has shown or that was written here.
    fn newest(&self) -> Vec<PodFacts> {
        let pods = self.pods.values();
        pods.map(|facts| match self.written.get(&facts.name) {
            Some(own) if own.is_newer_than(facts) => own.clone(),
            Some(_) | None => facts.clone(),
        })
        .collect()
    }

    fn track(&mut self, pods: &[PodFacts], now: Instant) {
        if let Some(failover) = self.tracker.look(now, pods, &self.knowledge) {
            let ms = |time: Duration| time.as_millis() as u64;
            info!(instance_set = %self.set.1, namespace = %self.set.0, from = %failover.from, to = %failover.to,
                term = failover.term, news = ?failover.news, unlabelled_ms = failover.unlabelled.map(ms),
                labelled_ms = ms(failover.labelled), "leader changed");
            self.metrics.failed_over(&failover);
            self.board.record(&self.set, failover);
        }
    }

    /// Helps the endpoints to follow, and notes when they did. Its failover, if it was one, is on record by now.
    fn follow(&self, winner: String, term: u64) {
        let endpoints = self.labeller.endpoints.clone();
        let (board, metrics, set) = (
            Arc::clone(&self.board),
            self.metrics.clone(),
            self.set.clone(),
        );
        let traces = self.traces.clone();
        let cluster = self.knowledge.cluster();
        let labelled = Instant::now();
        tokio::spawn(async move {
            if endpoints.hurry(winner, term).await {
                let now = Instant::now();
                if board.served(&set, term, now) {
                    metrics.endpoints_followed(now - labelled);
                }
            }
            if let Some((failover, election)) = board.of_term(&set, term) {
                traces.send(&Trace {
                    set,
                    cluster,
                    failover,
                    election,
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kbagent_protocol::EtcdState;
    use kube::client::Body;
    use kube::{Api, Client};
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};

    use super::super::endpoints::Endpoints;
    use super::super::failover::News;
    use super::super::test_support::running;
    use super::*;

    fn stored(name: &str, role: &str) -> Value {
        json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "1",
            "labels": { "kubeblocks.io/role": role },
            "annotations": { "apps.kubeblocks.io/last-role-snapshot-version": "2" } } })
    }

    fn facts(pod: &Value) -> PodFacts {
        let pod: kube::core::PartialObjectMeta =
            serde_json::from_value(pod.clone()).expect("a pod");
        PodFacts::of(&pod)
    }

    /// An API server that keeps what is written to its two pods and lists the labelled one as the service's endpoint.
    fn api(pods: Vec<Value>) -> Client {
        let pods = Arc::new(Mutex::new(pods));
        let serve = move |request: Request<Body>| {
            let pods = Arc::clone(&pods);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let mut pods = pods.lock().expect("no panic");
                let answer = if head.method == Method::PATCH {
                    let written: Value = serde_json::from_slice(&body).unwrap_or_default();
                    let mut all = pods.iter_mut();
                    let pod = all.find(|pod| pod["metadata"]["uid"] == written["metadata"]["uid"]);
                    let pod = pod.expect("a pod");
                    for field in ["labels", "annotations"] {
                        let mut values = written["metadata"][field].clone();
                        let map = values.as_object_mut().expect("a map");
                        map.retain(|_, value| !value.is_null());
                        pod["metadata"][field] = values;
                    }
                    pod["metadata"]["resourceVersion"] = json!("2");
                    pod.clone()
                } else if head.uri.path().contains("endpointslices") {
                    let leads =
                        |pod: &&Value| pod["metadata"]["labels"]["kubeblocks.io/role"] == "leader";
                    let target = |pod: &Value| json!({ "addresses": ["1"], "targetRef": { "name": pod["metadata"]["name"] } });
                    let endpoints: Vec<Value> = pods.iter().filter(leads).map(target).collect();
                    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {},
                        "items": [{ "metadata": { "name": "s" }, "addressType": "IPv4", "endpoints": endpoints }] })
                } else {
                    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
                        "items": *pods })
                };
                Ok::<_, kube::Error>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        };
        Client::new(tower::service_fn(serve), "n")
    }

    fn group(client: &Client, board: &Arc<Board>, metrics: &RoleMetrics) -> Group {
        let endpoints = Endpoints {
            slices: Api::namespaced(client.clone(), "n"),
            services: Api::namespaced(client.clone(), "n"),
            cluster: "a".to_owned(),
            instance_set: "a".to_owned(),
        };
        let labeller = Labeller::new(Api::namespaced(client.clone(), "n"), endpoints);
        let set = ("n".to_owned(), "a".to_owned());
        let shown = (Arc::clone(board), Traces::default());
        Group::new(set, labeller, metrics.clone(), shown)
    }

    fn said(view: MemberView) -> Input {
        let mailbox = Mailbox::default();
        mailbox.put(view);
        Input::Said(mailbox)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failover_is_on_the_board_with_its_parts_and_in_the_figures() {
        let pods = vec![stored("a-0", "leader"), stored("a-1", "follower")];
        let (board, metrics) = (Arc::new(Board::default()), RoleMetrics::default());
        let mut group = group(&api(pods.clone()), &board, &metrics);
        for pod in &pods {
            group.take(Input::Pod(facts(pod)));
        }
        for (sequence, pod) in [(1, "a-0"), (2, "a-1")] {
            group.take(said(running(
                pod,
                &format!("uid-{pod}"),
                sequence,
                Some("a-0"),
                2,
            )));
        }
        group.settle().await.expect("nothing to write");
        assert!(board.failovers().is_empty());
        let mut dead = running("a-0", "uid-a-0", 3, Some("a-0"), 2);
        dead.etcd = EtcdState::Unreachable {
            reason: "refused".into(),
            refused: true,
        };
        group.take(said(dead));
        group.settle().await.expect("stripped");
        group.take(said(running("a-1", "uid-a-1", 4, Some("a-1"), 3)));
        group.settle().await.expect("labelled");
        // Paused time: this is over when nothing else is left to do.
        sleep(Duration::from_secs(2)).await;
        let all = board.failovers();
        let [one] = all[&("n".to_owned(), "a".to_owned())].as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(
            (one.from.as_str(), one.to.as_str(), one.term),
            ("a-0", "a-1", 3)
        );
        assert_eq!(one.news, News::Lost);
        assert!(
            one.unlabelled.is_some_and(|gone| gone <= one.labelled),
            "{one:?}"
        );
        assert!(
            one.endpoints.is_some_and(|seen| seen >= one.labelled),
            "{one:?}"
        );
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for part in ["strip", "label", "endpoints"] {
            let count = format!("etcd_operator_failover_seconds_count{{part=\"{part}\"}} 1");
            assert!(text.contains(&count), "{count}\n{text}");
        }
    }

    #[test]
    fn an_agent_that_talks_all_the_time_fills_its_own_box_only() {
        let mailbox = Mailbox::default();
        let told = (0..1000).filter(|at| mailbox.put(running("a-0", "u0", *at, None, 3)));
        assert_eq!(told.count(), Mailbox::SIZE, "messages to the group");
        let views = std::iter::from_fn(|| mailbox.take());
        let sequences: Vec<u64> = views.map(|view| view.sequence).collect();
        assert_eq!(sequences.len(), Mailbox::SIZE);
        assert_eq!(
            (sequences.first(), sequences.last()),
            (Some(&0), Some(&999)),
            "the newest is kept"
        );
    }
}
