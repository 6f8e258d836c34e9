//! Watches all pods of InstanceSets and keeps a group and streams for them.
//!
//! Wiring only: which pod belongs to which group, which stream is due.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use etcd_operator_api::labels;

use super::announce::Elections;
use super::board::{Board, Labelled};
use super::departed::{self, Departed};
use super::endpoints::Endpoints;
use super::export::Traces;
use super::facts::{PodFacts, PodKey, whereabouts};
use super::group::{Group, Input};
use super::metrics::RoleMetrics;
use super::store::MemberStore;
use super::streams::{Stream, Target};
use super::write::Labeller;
use crate::agent::{AgentClient, Peer};
use crate::controller::events;
use crate::watches::Watches;

/// What the role path works with.
pub(crate) struct Context {
    /// The API server.
    pub client: Client,
    /// Speaks to agents.
    pub agents: AgentClient,
    /// Where views are put for the reconciler.
    pub store: Arc<MemberStore>,
    /// Where labels and failovers are shown.
    pub board: Arc<Board>,
    /// Figures.
    pub metrics: RoleMetrics,
    /// Where failovers are sent as traces.
    pub traces: Traces,
    /// Figures of watches.
    pub watches: Watches,
    /// The one namespace to serve; all when `None`.
    pub namespace: Option<String>,
    /// Name of this replica.
    pub identity: String,
}

/// Follows pods and their agents for ever.
///
/// # Errors
/// When the watch of pods ends, which it only does with the process.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let pods: Api<Pod> = match &context.namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let selector = format!(
        "{}={}",
        labels::WORKLOAD_MANAGED_BY,
        labels::WORKLOAD_MANAGED_BY_VALUE
    );
    let config = watcher::Config::default().labels(&selector);
    let mut events = std::pin::pin!(events(pods, config, &context.watches));
    let elections = Elections::start(context.client.clone(), &context.identity);
    let mut path = Path {
        context,
        elections,
        groups: HashMap::new(),
        pods: HashMap::new(),
        listed: None,
    };
    loop {
        match events.try_next().await {
            Ok(Some(event)) => path.take(event),
            Ok(None) => anyhow::bail!("failed to keep watching pods: the stream ended"),
            // Counted and told by the watch itself.
            Err(_) => {}
        }
    }
}

struct Member {
    uid: String,
    group: (String, String),
    stream: Option<Stream>,
    /// Its pod is being deleted.
    leaves: bool,
}

struct Running {
    inputs: mpsc::UnboundedSender<Input>,
    task: JoinHandle<()>,
    pods: usize,
}

struct Path {
    context: Arc<Context>,
    elections: Elections,
    groups: HashMap<(String, String), Running>,
    pods: HashMap<PodKey, Member>,
    /// Pods seen since the watch restarted; the others are gone.
    listed: Option<HashSet<PodKey>>,
}

impl Path {
    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(pod) => {
                let key = key(&pod);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key);
                }
                self.seen(&pod);
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<PodKey> = self
                    .pods
                    .keys()
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                for key in gone {
                    self.gone(&key);
                }
            }
            Event::Apply(pod) => self.seen(&pod),
            Event::Delete(pod) => {
                let key = key(&pod);
                if self
                    .pods
                    .get(&key)
                    .is_some_and(|known| Some(&known.uid) == pod.uid().as_ref())
                {
                    self.departed(&key);
                    self.gone(&key);
                }
            }
        }
    }

    fn seen(&mut self, pod: &Pod) {
        let key = key(pod);
        let Some(place) = whereabouts(pod) else {
            return;
        };
        let facts = PodFacts::of(pod);
        if self
            .pods
            .get(&key)
            .is_some_and(|known| known.uid != facts.uid)
        {
            self.gone(&key);
        }
        let group = (key.namespace.clone(), place.instance_set.clone());
        let inputs = self.group(&group, &place.cluster);
        if !self.pods.contains_key(&key) {
            let member = Member {
                uid: facts.uid.clone(),
                group: group.clone(),
                stream: None,
                leaves: false,
            };
            self.pods.insert(key.clone(), member);
            if let Some(running) = self.groups.get_mut(&group) {
                running.pods += 1;
            }
        }
        let labelled = Labelled {
            instance_set: place.instance_set.clone(),
            uid: facts.uid.clone(),
            role: facts.role.clone(),
        };
        self.context.board.put(key.clone(), labelled);
        let ip = place.ip.and_then(|ip| ip.parse().ok());
        let agent = ip.map(|ip| Peer::at(pod, ip));
        if let Some(member) = self.pods.get_mut(&key) {
            member.leaves = pod.metadata.deletion_timestamp.is_some();
            let followed = member.stream.as_ref().map(|stream| &stream.agent);
            if let Some(agent) = agent.filter(|agent| followed != Some(agent)) {
                let target = Target {
                    pod: key,
                    instance_set: place.instance_set,
                    agent,
                    probe: place.probe,
                };
                let store = Arc::clone(&self.context.store);
                let agents = self.context.agents.clone();
                let inputs = inputs.clone();
                member.stream = Some(Stream::start(
                    target,
                    agents,
                    store,
                    inputs,
                    &self.elections,
                ));
            }
        }
        let _ended = inputs.send(Input::Pod(facts));
    }

    /// The pod's object is gone. Its etcd may not be.
    fn departed(&self, key: &PodKey) {
        let Some(Member {
            uid,
            group,
            stream: Some(stream),
            ..
        }) = self.pods.get(key)
        else {
            return;
        };
        let store = &self.context.store;
        if let Some(last) = store.of(key, uid).filter(departed::led) {
            let others = self
                .pods
                .iter()
                .filter(|(other, member)| &member.group == group && *other != key);
            let others: Vec<_> = others
                .filter_map(|(other, member)| Some((store.of(other, &member.uid)?, member.leaves)))
                .collect();
            let clients = (self.context.client.clone(), self.context.agents.clone());
            let departed = Departed {
                pod: key.clone(),
                instance_set: group.1.clone(),
                agent: stream.agent.clone(),
                heir: departed::heir(&last, &others),
            };
            let served = self.context.namespace.clone();
            tokio::spawn(departed::ask_to_hand_over(clients, served, departed));
        }
    }

    fn gone(&mut self, key: &PodKey) {
        let Some(member) = self.pods.remove(key) else {
            return;
        };
        self.context.store.forget(key);
        self.context.board.forget(key);
        let Some(running) = self.groups.get_mut(&member.group) else {
            return;
        };
        let _ended = running.inputs.send(Input::Gone {
            pod: key.name.clone(),
            uid: member.uid,
        });
        running.pods -= 1;
        if running.pods == 0
            && let Some(running) = self.groups.remove(&member.group)
        {
            // With no pod there is nothing to label, and nothing that it may be in the middle of.
            running.task.abort();
            let (namespace, instance_set) = &member.group;
            self.context.store.forget_all(namespace, instance_set);
            self.context.board.forget_all(&member.group);
        }
    }

    fn group(&mut self, name: &(String, String), cluster: &str) -> mpsc::UnboundedSender<Input> {
        let context = &self.context;
        let running = self.groups.entry(name.clone()).or_insert_with(|| {
            let (inputs, receiver) = mpsc::unbounded_channel();
            let pods = Api::namespaced(context.client.clone(), &name.0);
            let endpoints = Endpoints {
                slices: Api::namespaced(context.client.clone(), &name.0),
                services: Api::namespaced(context.client.clone(), &name.0),
                cluster: cluster.to_owned(),
                instance_set: name.1.clone(),
            };
            let labeller = Labeller::new(pods, endpoints);
            let group = Group::new(
                name.clone(),
                labeller,
                context.metrics.clone(),
                (Arc::clone(&context.board), context.traces.clone()),
            );
            Running {
                inputs,
                task: tokio::spawn(group.run(receiver)),
                pods: 0,
            }
        });
        running.inputs.clone()
    }
}

fn key(pod: &Pod) -> PodKey {
    PodKey {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
    }
}
