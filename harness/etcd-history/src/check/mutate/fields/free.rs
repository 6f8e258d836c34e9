//! Fields that are not spoiled one record at a time.

/// Fields that one changed record does not show, by the mutation that changes them in many and nothing else.
pub(super) const ALONE: &[(&str, &str)] = &[
    ("call.route", "no reference client"),
    (
        "return.outcome.ok.member",
        "serializable reads of one member attributed to another",
    ),
    ("pod.uid", "pod that never came back under another UID"),
    ("member.status.leader", "two leaders in one term"),
    ("member.status.learner", "leader without a vote"),
    ("member.status.applied_index", "applied ahead of committed"),
    (
        "member.status.raft_index",
        "committed index that stands still",
    ),
    (
        "membership.members.name",
        "lists that do not know a member's name",
    ),
];

/// Fields that carry no promise, and why.
pub(super) const NO_PROMISE: &[(&str, &str)] = &[
    (
        "call.scheduled",
        "says how late the client itself was: it excuses claims about time and accuses no one",
    ),
    (
        "call.request.txn.then.range.serializable",
        "a transaction is placed by its answer, whatever its reads asked for",
    ),
    (
        "call.request.txn.else.range.serializable",
        "a transaction is placed by its answer, whatever its reads asked for",
    ),
    (
        "return.outcome.failed.message",
        "words for people: no check reads it",
    ),
    (
        "return.outcome.unknown.class",
        "whatever the class, the outcome is unknown; `hand_over` counts one of them",
    ),
    (
        "return.outcome.unknown.message",
        "words for people: no check reads it",
    ),
    (
        "watch.target",
        "where a watcher is connected: it tells which streams continue one another, and accuses no one alone",
    ),
    (
        "watch.event.cancelled.reason",
        "words for people: no check reads it",
    ),
    (
        "watch.event.broken.message",
        "words for people, but for those of a client that gave a silent stream up, and then of several",
    ),
    (
        "start.incarnation",
        "tells one process from another; that two starts have one is a mutation of two records",
    ),
    ("start.config", "words for people: no check reads it"),
    ("fault.evidence", "words for people: no check reads it"),
    ("pod.node", "where it runs: no check reads it"),
    ("pod.phase", "words for people: no check reads it"),
    (
        "endpoints.resource_version",
        "the lines are in the order of the watch",
    ),
    ("endpoints.ready", "clients are served by what is `serving`"),
    (
        "machine.source",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.interval",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.late",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.waiting",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.stolen",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.idle",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.processors",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.runnable",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.delayed",
        "says how busy the machine was: it excuses claims about time and accuses no one",
    ),
    (
        "machine.disk",
        "is shown beside the verdicts, and nothing is judged by it",
    ),
];
