//! The table of durations: every limit of the harness by name, with the reason for its size.

use std::time::Duration;

/// Spacing of questions while waiting.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// Spacing of the lines that report progress: nothing is silent for more than five seconds.
pub(crate) const TELL: Duration = Duration::from_secs(5);
/// Spacing of questions about things that take tens of seconds (nodes, image loads), to spare two cores.
pub(crate) const POLL_SLOW: Duration = Duration::from_secs(1);
/// Least time a single question gets, whatever is left of the limit.
pub(crate) const POLL_CALL_MIN: Duration = Duration::from_millis(50);
/// One request to the API server that must not hang (a paused API server answers nothing, for ever).
pub(crate) const API_CALL: Duration = Duration::from_secs(10);
/// One command in a node.
pub(crate) const NODE_COMMAND: Duration = Duration::from_secs(30);
/// A node that was stopped or restarted is Ready again: systemd, containerd and kubelet of six nodes on two cores.
pub(crate) const NODE_READY: Duration = Duration::from_secs(180);
/// The cluster of a run is attached to: several questions that each have no answer in their time.
pub(crate) const ATTACH: Duration = Duration::from_secs(60);
/// The API server answers after its node or its process came back.
pub(crate) const API_SERVER_BACK: Duration = Duration::from_secs(120);
/// The operator's Deployment is available, its image loaded.
pub(crate) const OPERATOR_AVAILABLE: Duration = Duration::from_secs(120);
/// CRDs are served after being applied.
pub(crate) const CRD_ESTABLISHED: Duration = Duration::from_secs(30);
/// A new etcd cluster is Running (aim: 6 s for three members, 9 s for five, with images present).
pub(crate) const CLUSTER_RUNNING: Duration = Duration::from_secs(120);
/// A policy has its effect on new connections: plugins follow the API server within a second or two, and an attempt
/// that is dropped is given up after three.
pub(crate) const POLICY: Duration = Duration::from_secs(20);
/// A namespace with its pods and volumes is gone.
pub(crate) const NAMESPACE_GONE: Duration = Duration::from_secs(120);
/// The effect of a fault that acts at once (a signal, a packet rule under heartbeats) is seen. It comes within a
/// second; to look at it takes two commands in nodes, of which one took 22 s on a busy machine. The fault is on
/// until it is healed, so that what is seen late is its effect too.
pub(crate) const EFFECT: Duration = NODE_COMMAND.saturating_mul(2);
/// The effect of a fault that Kubernetes must first notice (pod replaced, static pod gone) is seen.
pub(crate) const EFFECT_SLOW: Duration = Duration::from_secs(60);
/// Bare members answer and follow one leader, from nothing or after a fault (aim: 1 s; most of it is Docker's).
pub(crate) const BARE_WHOLE: Duration = Duration::from_secs(20);
/// What a fault waits for has happened.
pub(crate) const EVENT: Duration = Duration::from_secs(60);
/// An operation on an etcd cluster has ended, with a fault in its middle (aim: 12 s for two more members).
pub(crate) const OPERATION: Duration = Duration::from_secs(180);
/// All volumes have grown, one after the other: a kubelet looks at a volume when it synchronises its pod, once in 60 to
/// 90 s.
pub(crate) const GROWTH: Duration = Duration::from_secs(10 * 60);
/// A CA or a password is replaced: another CA takes three stages of five minutes, a kubelet's two before each of them,
/// and all members are restarted twice.
pub(crate) const ROTATION: Duration = Duration::from_secs(30 * 60);
/// What a fault did is undone.
pub(crate) const HEAL: Duration = Duration::from_secs(60);
/// How long a fault lives at most when nothing heals it: the dead-man's default.
pub(crate) const DEAD_MAN: Duration = Duration::from_secs(180);
/// The same for faults that are to be on so long after their effect was seen: the run heals them, not the timer, and
/// looks for their effect once more before.
pub(crate) fn dead_man(on: Duration) -> Duration {
    DEAD_MAN.max(EFFECT_SLOW + on + EFFECT + HEAL)
}
/// What a killed run left is gone: its faults' timers, a node's start after one, and a little for the look itself.
pub(crate) const RESIDUE_BEFORE: Duration = Duration::from_secs(300);
/// Whatever a run's own faults moved has settled: a node is Ready again a few seconds after it says so. A command in a
/// node that has no answer in its time leaves time for a second look.
pub(crate) const RESIDUE_AFTER: Duration = NODE_COMMAND.saturating_mul(2);
/// Another process holds the cluster's lock: how long `up` waits for it.
pub(crate) const LOCK: Duration = Duration::from_secs(900);
/// One script below `images/` (the longest builds a node image from source on two cores).
pub(crate) const IMAGE_SCRIPT: Duration = Duration::from_secs(45 * 60);
/// One request to the API server where the caller can continue without an answer.
pub(crate) const API_CALL_FAST: Duration = Duration::from_secs(2);
/// Spacing of questions that cost a command in every node.
pub(crate) const POLL_NODES: Duration = Duration::from_millis(300);
/// A disruption budget that refuses an eviction lets it through at last, as a drain waits for it.
pub(crate) const EVICTION: Duration = Duration::from_secs(60);
/// A container that does not freeze at once (many processes on few cores) freezes at last.
pub(crate) const FREEZE: Duration = Duration::from_secs(10);
/// How much longer than its limit something is waited for. What comes late is judged afterwards, with the machine's
/// load beside it; only what never comes is a failure at once.
const PATIENCE: u32 = 4;

/// How long a run waits for what a claim gives this much time.
pub(crate) const fn patient(limit: Duration) -> Duration {
    limit.saturating_mul(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_waited_for_as_long_as_two_looks_may_take_and_less_than_the_fault_lasts() {
        for limit in [EFFECT, EFFECT_SLOW] {
            assert!(limit >= 2 * NODE_COMMAND, "{limit:?}");
            assert!(limit < DEAD_MAN, "{limit:?}");
        }
    }

    #[test]
    fn a_look_for_residue_that_had_no_answer_is_made_again() {
        for limit in [RESIDUE_AFTER, RESIDUE_BEFORE] {
            assert!(limit > NODE_COMMAND + POLL_SLOW, "{limit:?}");
        }
    }
}
