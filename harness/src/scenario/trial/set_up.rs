//! The set-up of a run: cluster and client come up side by side, in this run's turn or before it; the traffic only
//! starts in its turn.

use futures::stream::BoxStream;

use crate::cluster::addresses::{Addresses, Scope};
use crate::cluster::volumes::{self, Pool};
use crate::deploy::{growing, wait_quiet};
use crate::observe::{self, Observer};
use crate::scenario::client::{ClientPlan, RecordingClient};
use crate::scenario::inside::Inside;
use crate::scenario::moving;
use crate::scenario::notes::figure;
use crate::scenario::outside::Routes;
use crate::scenario::probes;
use crate::scenario::rotation;
use crate::scenario::sizes::sizes;
use crate::scenario::subject::{self, Subject};
use crate::scenario::{Operation, RunError};
use crate::timeouts;

use super::state::TrialRun;

/// Member lists of etcd, as text: asked through the API server, or from the client's pod where that cannot ask.
fn member_lists(all: &Subject, watched: observe::Subject) -> BoxStream<'static, String> {
    if all.guard.has_tls() {
        let members = all.member_arguments(&all.pod_names());
        let command = [&["lists".to_owned()], &members[..]].concat();
        return Inside::of(&all.kube, &all.namespace).lines(command);
    }
    observe::member_lists(all.kube.clone(), watched.namespace, all.pod_names())
}

/// What runs beside the trial.
pub(super) struct Stage {
    pub(super) client: RecordingClient,
    pub(super) observer: Observer,
    pub(super) lines: tokio::task::JoinHandle<()>,
    pub(super) addresses: Option<Addresses>,
}

/// A cluster that is ready, and a client that waits to be started.
struct Ready {
    client: RecordingClient,
    observer: Observer,
    watched: observe::Subject,
    addresses: Option<Addresses>,
}

impl TrialRun<'_> {
    /// Everything until traffic flows; nothing when the run's turn does not come.
    pub(super) async fn set_up(&mut self) -> Result<Option<Stage>, RunError> {
        let lab = self.lab;
        self.log.phase("prepare");
        let prepared = Box::pin(self.prepare());
        lab.interrupt
            .or(prepared)
            .await
            .and_then(|prepared| prepared)?;
        self.log.phase("set_up");
        let ready = Box::pin(self.make_ready());
        let ready = lab.interrupt.or(ready).await.and_then(|ready| ready)?;
        if !lab.turn.comes().await {
            return Ok(None);
        }
        self.log.phase("quiet");
        let start = Box::pin(self.start(ready));
        let stage = lab.interrupt.or(start).await.and_then(|stage| stage)?;
        Ok(Some(stage))
    }

    /// Makes what is not there yet on this machine. It may take minutes, once, and says nothing of the product.
    async fn prepare(&mut self) -> Result<(), RunError> {
        let cluster = &self.lab.cluster;
        if self.trial.growing {
            Box::pin(growing::prepare(cluster)).await?;
        }
        if let Some(pool) = &self.pool() {
            volumes::prepare(cluster, pool).await?;
        }
        if self.trial.operations.contains(&Operation::MoveVolumes) {
            volumes::prepare(cluster, &moving::TO).await?;
        }
        Ok(())
    }

    /// Cluster and client come up side by side.
    async fn make_ready(&mut self) -> Result<Ready, RunError> {
        let (lab, subject) = (self.lab, self.subject.clone());
        let subject = &subject;
        let client_plan = ClientPlan {
            image: &lab.client_image,
            seed: self.plan.seed,
            load: self.trial.load,
            others: &[rotation::STALE],
            judged: self.trial.judged_live(),
            on_control_plane: !lab.cluster.control_planes().is_empty(),
        };
        let addresses = self.serve_addresses().await?;
        let pool = self.pool();
        let watched = observe::Subject {
            namespace: subject.namespace.clone(),
            pods: subject::pod_selector(),
            service: Subject::leader_service(),
        };
        let observer = Observer::start(&lab.cluster.kube, &watched);
        let begin = lab.live.seconds();
        let client = async {
            if self.trial.outside {
                return Ok(None);
            }
            let client = RecordingClient::create(subject, &client_plan).await?;
            client
                .wait_running(timeouts::patient(timeouts::CLUSTER_RUNNING))
                .await?;
            Ok::<_, RunError>(Some(client))
        };
        let cluster = async {
            let first = self.trial.operations.first();
            let version = first.and_then(|operation| operation.begins_with());
            let settings = &self.trial.settings;
            subject.apply(pool.as_ref(), version, settings).await?;
            let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
            subject.wait_whole(limit).await?;
            subject.wait_closed(limit).await
        };
        let (client, cluster) = tokio::join!(client, cluster);
        cluster?;
        self.log.phase("ready");
        let client = match client? {
            Some(client) => client,
            None => Box::pin(self.go_outside(&client_plan)).await?,
        };
        let took = lab.live.seconds() - begin;
        lab.live.say(format!(
            "{} members ready after {took:.1} s",
            self.plan.members
        ));
        self.log.verdicts.push(figure("created", "ready_s", took));
        Ok(Ready {
            client,
            observer,
            watched,
            addresses,
        })
    }

    /// Gives addresses to load balancers, where the run has some.
    async fn serve_addresses(&self) -> Result<Option<Addresses>, RunError> {
        if !self.trial.outside {
            return Ok(None);
        }
        let live = self.lab.live.clone();
        let tell = move |text| live.say(format!("address: {text}"));
        let scope = Scope::namespace(&self.subject.namespace);
        let serving = Addresses::serve(&self.lab.cluster, scope, tell).await?;
        Ok(Some(serving))
    }

    /// A client outside of the Kubernetes cluster, once every address leads where it must.
    async fn go_outside(&mut self, plan: &ClientPlan<'_>) -> Result<RecordingClient, RunError> {
        let routes = Routes::open(&self.subject).await?;
        let cluster = &self.lab.cluster;
        let client = RecordingClient::outside(cluster, &self.subject, plan, routes).await?;
        self.outside = client.container().cloned();
        Ok(client)
    }

    /// Traffic flows, once nothing else is in progress in the cluster.
    async fn start(&mut self, ready: Ready) -> Result<Stage, RunError> {
        let lab = self.lab;
        let Ready {
            client,
            mut observer,
            watched,
            addresses,
        } = ready;
        if let Err(error) = wait_quiet(&lab.cluster.kube).await {
            lab.live.say(error.to_string());
        }
        probes::start(&self.subject, &self.trial.probes).await?;
        self.log.started(client.start().await?);
        if !self.trial.operations.is_empty() {
            let most = sizes(self.plan.members, &self.trial.operations)
                .into_iter()
                .max();
            let all = self.subject.with_members(most.unwrap_or(self.plan.members));
            let lists = member_lists(&all, watched);
            observer.follow_membership(lists);
        }
        let lines = tokio::spawn(client.clone().tell(lab.live.clone()));
        Ok(Stage {
            client,
            observer,
            lines,
            addresses,
        })
    }

    /// Volumes of the nodes' own in a cluster of our own; the default class in any other.
    fn pool(&self) -> Option<Pool> {
        let fits = match (self.trial.growing, self.trial.small_volumes) {
            (true, _) => volumes::GROWING,
            (_, true) => volumes::SMALL,
            _ => volumes::LOCAL,
        };
        let needed =
            fits != volumes::LOCAL || (self.lab.cluster.own && self.lab.cluster.has_node_shells());
        needed.then_some(fits)
    }
}
