//! Packet rules that are in place: the proof that they drop something, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, try_join_all};

use super::active::Running;
use super::deadman::{self, BY_SWITCH, Healed};
use super::network::Rules;
use super::repoint::Repoint;
use super::rules::Count;
use crate::faults::{Evidence, FaultError, Healing};
use crate::timeouts;
use crate::wait::{Poll, WaitError, wait_every};

/// Packet rules that are in place.
pub(crate) struct Cutoff {
    rules: Arc<Rules>,
    follow: Repoint,
}

/// How long the traffic that is there anyway gets to meet the rules before packets are sent on purpose.
const QUIET: Duration = Duration::from_millis(1500);

impl Cutoff {
    pub(crate) fn new(rules: Arc<Rules>, follow: Repoint) -> Self {
        Self { rules, follow }
    }

    async fn look(&self) -> Result<Evidence, FaultError> {
        let start = Instant::now();
        let limit = timeouts::EFFECT;
        let seen = wait_every(timeouts::POLL_NODES, "packets dropped", limit, async || {
            let counts = match self.rules.counts().await {
                Ok(counts) => counts,
                Err(error) => return Poll::Failed(error),
            };
            let words = describe(&counts);
            if counts
                .values()
                .all(|count| count.is_some_and(|count| count.dropped > 0))
            {
                return Poll::Ready(words);
            }
            if start.elapsed() > QUIET {
                self.rules.nudge().await;
            }
            Poll::NotYet(words.to_string())
        })
        .await;
        match seen {
            Ok(evidence) => Ok(evidence),
            Err(WaitError::Failed { source, .. }) => Err(source),
            Err(WaitError::TimedOut { elapsed, last, .. }) => Err(FaultError::NoEffect {
                fault: self.rules.fault.clone(),
                waited_s: elapsed.as_secs_f64(),
                seen: last,
            }),
        }
    }

    async fn undo(&mut self) -> Result<Healing, FaultError> {
        self.follow.stop();
        let mut healing = Healing::from(describe(&self.rules.counts().await?));
        if self.follow.times() > 0 {
            healing.evidence.add(
                "pointed at new addresses",
                format!("{} times", self.follow.times()),
            );
        }
        let nodes = self.rules.installed.lock().await.nodes.clone();
        let healed = nodes.iter().map(async |(node, shell)| {
            Ok::<_, FaultError>((node.clone(), deadman::heal(shell, &self.rules.trace).await?))
        });
        for (node, healed) in try_join_all(healed).await? {
            if healed == Healed::ByTimer {
                let by = format!("{BY_SWITCH} or the node's restart");
                healing.early(format!("the rules in {node}"), &by);
            }
        }
        Ok(healing)
    }

    async fn left(&self) -> Result<Option<String>, FaultError> {
        for (node, shell) in &self.rules.installed.lock().await.nodes {
            if self.rules.count(shell).await?.is_some() {
                return Ok(Some(format!(
                    "packet rules {} in node {node}",
                    self.rules.trace
                )));
            }
            if let Some(left) = deadman::residue(shell, &self.rules.trace).await? {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }
}

fn describe(counts: &BTreeMap<String, Option<Count>>) -> Evidence {
    let mut evidence = Evidence::new();
    for (node, count) in counts {
        let text = match count {
            None => "no rules".to_owned(),
            Some(count) if count.seen == count.dropped => {
                format!("{} packets dropped", count.dropped)
            }
            Some(count) => format!("{} of {} packets dropped", count.dropped, count.seen),
        };
        evidence.add(node.clone(), text);
    }
    evidence
}

impl Running for Cutoff {
    fn effect(&mut self) -> BoxFuture<'_, Result<Evidence, FaultError>> {
        Box::pin(self.look())
    }

    fn heal(&mut self) -> BoxFuture<'_, Result<Healing, FaultError>> {
        Box::pin(self.undo())
    }

    fn residue(&self) -> BoxFuture<'_, Result<Option<String>, FaultError>> {
        Box::pin(self.left())
    }
}
