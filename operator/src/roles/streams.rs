//! One stream of views for every pod: connect, listen, notice silence, connect again.
//!
//! Passes on what arrives, and when nothing does; draws no conclusion. Ends when its handle is dropped.

use std::sync::Arc;
use std::time::Duration;

use kbagent_protocol::{EtcdState, MemberStatus, MemberView, Role};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::announce::{Announcer, Elections};
use super::facts::PodKey;
use super::group::{Input, Mailbox};
use super::store::MemberStore;
use crate::agent::{AgentClient, Peer, Watch};

/// An agent repeats its view every second; after this long without one it counts as silent.
const SILENCE: Duration = Duration::from_millis(2500);
/// Views that are taken of one agent in a second. In an election it says a dozen.
const VIEWS_A_SECOND: u32 = 100;
/// Pause before the first new connection.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Longest pause between connections: a member that starts is noticed this soon.
const PAUSE_LONGEST: Duration = Duration::from_millis(250);

/// Where a stream leads.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) pod: PodKey,
    pub(super) instance_set: String,
    pub(super) agent: Peer,
    /// How often an agent without a stream is asked for its role by a plain request: the safety net.
    pub(super) probe: Duration,
}

/// A running stream; dropping it ends it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) agent: Peer,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    /// Starts listening to the agent at `target`.
    pub(super) fn start(
        target: Target,
        agents: AgentClient,
        store: Arc<MemberStore>,
        group: mpsc::UnboundedSender<Input>,
        elections: &Elections,
    ) -> Self {
        let announcer = elections.of(&target.pod, &target.agent.uid);
        let agent = target.agent.clone();
        let listener = Listener {
            target,
            agents,
            store,
            group,
            heard: Instant::now(),
            silent: false,
            mailbox: Mailbox::default(),
            announcer,
            second: (Instant::now(), 0),
        };
        Self {
            agent,
            task: tokio::spawn(listener.listen()),
        }
    }
}

struct Listener {
    target: Target,
    agents: AgentClient,
    store: Arc<MemberStore>,
    group: mpsc::UnboundedSender<Input>,
    heard: Instant,
    silent: bool,
    mailbox: Mailbox,
    announcer: Announcer,
    /// When the present second began, and the views of it.
    second: (Instant, u32),
}

impl Listener {
    async fn listen(mut self) {
        let mut pause = PAUSE_FIRST;
        let mut probe = Instant::now() + self.target.probe;
        loop {
            // A node that dies after the connection leaves the request without an answer for a quarter of an hour.
            let opened = timeout(SILENCE, self.agents.watch(&self.target.agent)).await;
            match opened {
                Ok(Ok(mut watch)) => {
                    if self.follow(&mut watch).await {
                        pause = PAUSE_FIRST;
                    }
                }
                Ok(Err(error)) => {
                    debug!(pod = %self.target.pod.name, %error, "no stream of the agent");
                }
                Err(_) => debug!(pod = %self.target.pod.name, "the agent does not offer a stream"),
            }
            self.note_silence();
            if Instant::now() >= probe {
                probe = Instant::now() + self.target.probe;
                self.probe().await;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// Takes views until the stream ends or stalls. True when at least one came.
    async fn follow(&mut self, watch: &mut Watch) -> bool {
        let mut any = false;
        loop {
            match timeout(SILENCE, watch.next()).await {
                Ok(Ok(view)) => {
                    any = true;
                    self.take(view);
                    self.pace().await;
                }
                Ok(Err(error)) => {
                    debug!(pod = %self.target.pod.name, %error, "the stream of the agent ended");
                    return any;
                }
                Err(_) => return any,
            }
        }
    }

    /// Lets the rest of a second pass when its views are used up: the agent waits meanwhile.
    async fn pace(&mut self) {
        let (began, views) = &mut self.second;
        *views += 1;
        let rest = Duration::from_secs(1).saturating_sub(began.elapsed());
        if rest.is_zero() || *views >= VIEWS_A_SECOND {
            sleep(rest).await;
            self.second = (Instant::now(), 0);
        }
    }

    fn take(&mut self, view: MemberView) {
        if view.pod_uid != self.target.agent.uid || view.instance != self.target.pod.name {
            // An address that was given to another pod: its view belongs to another stream.
            return;
        }
        self.heard = Instant::now();
        self.silent = false;
        self.store
            .put(&self.target.pod, &self.target.instance_set, &view);
        self.announcer.take(&view);
        if self.mailbox.put(view) {
            self.send(Input::Said(self.mailbox.clone()));
        }
    }

    fn note_silence(&mut self) {
        if !self.silent && self.heard.elapsed() > SILENCE {
            self.silent = true;
            self.store
                .silence(&self.target.pod, &self.target.instance_set);
            let (pod, uid) = (self.target.pod.name.clone(), self.target.agent.uid.clone());
            self.send(Input::Silent { pod, uid });
        }
    }

    /// The safety net: the role by a plain request, laid over the last view, because it has no identifiers.
    async fn probe(&mut self) {
        let Some(seen) = self.store.of(&self.target.pod, &self.target.agent.uid) else {
            return;
        };
        if let Ok(answer) = self.agents.role(&self.target.agent).await
            && let Some(status) = seen.view.status.clone()
        {
            self.take(MemberView {
                etcd: EtcdState::Running,
                status: Some(with_role(status, answer.role, answer.term)),
                ..seen.view
            });
        }
    }

    fn send(&self, input: Input) {
        // A group that has ended has no pods left and needs no message.
        let _ended = self.group.send(input);
    }
}

fn with_role(before: MemberStatus, role: Role, term: u64) -> MemberStatus {
    let (leader_id, leader) = match role {
        Role::Leader => (Some(before.member_id), None),
        // A plain answer does not name the leader that the member follows, and an old term's leader must not be taken
        // for it.
        Role::Follower | Role::Learner if before.term == term && before.role() != Role::Leader => {
            (before.leader_id, before.leader.clone())
        }
        Role::Follower | Role::Learner => (None, None),
    };
    MemberStatus {
        leader_id,
        leader,
        term,
        is_learner: role == Role::Learner,
        ..before
    }
}
