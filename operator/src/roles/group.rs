//! The labels of one InstanceSet's pods: takes in views and pod versions, decides, has it written.
//!
//! One task for each InstanceSet, so that a cluster that hangs holds up no other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kbagent_protocol::MemberView;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tracing::{info, warn};

use super::decide::decide;
use super::facts::PodFacts;
use super::knowledge::Knowledge;
use super::metrics::RoleMetrics;
use super::timing;
use super::write::{Error, Labeller};

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
    pub(super) labeller: Labeller,
    pub(super) metrics: RoleMetrics,
    pods: BTreeMap<String, PodFacts>,
    /// Versions written here that the watch has not delivered yet.
    written: BTreeMap<String, PodFacts>,
    knowledge: Knowledge,
}

impl Group {
    pub(super) fn new(labeller: Labeller, metrics: RoleMetrics) -> Self {
        Self {
            labeller,
            metrics,
            pods: BTreeMap::new(),
            written: BTreeMap::new(),
            knowledge: Knowledge::default(),
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
                    self.knowledge.hear(view);
                }
            }
            Input::Silent { pod, uid } => self.knowledge.silence(&pod, &uid),
        }
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let cached: Vec<PodFacts> = self
            .pods
            .values()
            .map(|facts| match self.written.get(&facts.name) {
                Some(own) if own.is_newer_than(facts) => own.clone(),
                Some(_) | None => facts.clone(),
            })
            .collect();
        if decide(&cached, &self.knowledge).is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let written = self.labeller.settle(&cached, &self.knowledge).await?;
        for facts in written {
            if facts.is_labelled_leader() {
                let took = began.elapsed();
                self.metrics.leader_labelled(took);
                info!(pod = %facts.name, term = facts.term, took_ms = took.as_millis() as u64, "leader labelled");
            }
            self.written.insert(facts.name.clone(), facts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::running;
    use super::*;

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
