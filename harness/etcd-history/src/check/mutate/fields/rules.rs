//! The table of fields, by the check that owns them: a line each.

use super::Change::{self, Add, Be, Drop, Flip, Other, Pop};
use super::Rule;
use crate::check::mutate::Owed::{self, Doubt, Violation};

/// Two seconds, for times.
const LATER: Change = Add(2_000_000_000);
/// An hour, for times of what happens seldom.
const MUCH_LATER: Change = Add(3_600_000_000_000);
const EARLIER: Change = Add(-2_000_000_000);
const FAR: Change = Add(1_000);
const MORE: Change = Add(1);

/// Fields of one check, and how each is spoiled; what the check owes stands before them.
type Group = (&'static str, Owed, &'static [(&'static str, Change)]);

/// How each field is spoiled.
const GROUPS: &[Group] = &[
    (
        "assumptions",
        Doubt,
        &[
            ("call.t", LATER),
            ("call.op", FAR),
            ("call.client", MORE),
            ("call.request.lease_keep_alive.id", MORE),
            ("call.request.lease_revoke.id", MORE),
            ("return.t", LATER),
            ("return.op", FAR),
            ("watch.t", LATER),
            ("member.t", LATER),
            ("hash.pod", Other),
            ("final_state.pod", Other),
            ("start.t", LATER),
            ("fault.t", LATER),
            ("fault.fault", FAR),
            ("fault.step", Be("\"ineffective\"")),
            ("endpoints.t", MUCH_LATER),
            ("membership.t", LATER),
            ("machine.t", LATER),
            ("phase.t", MUCH_LATER),
        ],
    ),
    (
        "linearizable",
        Violation,
        &[
            ("fault.writes", Pop),
            ("call.request.put.key", Other),
            ("call.request.put.value", Other),
            ("call.request.put.lease", MORE),
            ("call.request.range.key", Other),
            ("call.request.range.range_end", Drop),
            ("call.request.range.limit", Be("1")),
            ("call.request.range.serializable", Flip),
            ("call.request.delete.key", Other),
            ("call.request.delete.range_end", Be("\"t/z\"")),
            ("call.request.txn.compare.mod_revision.key", Other),
            ("call.request.txn.compare.mod_revision.revision", MORE),
            ("call.request.txn.compare.value.key", Other),
            ("call.request.txn.compare.value.value", Other),
            ("call.request.txn.compare.version.key", Other),
            ("call.request.txn.compare.version.version", MORE),
            ("call.request.txn.then.put.key", Other),
            ("call.request.txn.then.put.value", Other),
            ("call.request.txn.then.put.lease", Be("5")),
            ("call.request.txn.then.range.key", Other),
            ("call.request.txn.then.range.range_end", Be("\"t/z\"")),
            ("call.request.txn.then.range.limit", Be("1")),
            ("call.request.txn.then.range.revision", Be("1")),
            ("call.request.txn.then.delete.key", Other),
            ("call.request.txn.then.delete.range_end", Be("\"t/z\"")),
            ("call.request.txn.else.put.key", Other),
            ("call.request.txn.else.put.value", Other),
            ("call.request.txn.else.put.lease", Be("5")),
            ("call.request.txn.else.range.key", Other),
            ("call.request.txn.else.range.range_end", Be("\"t/z\"")),
            ("call.request.txn.else.range.limit", Be("1")),
            ("call.request.txn.else.range.revision", Be("1")),
            ("call.request.txn.else.delete.key", Other),
            ("call.request.txn.else.delete.range_end", Be("\"t/z\"")),
            ("return.outcome.ok.revision", MORE),
            ("return.outcome.ok.response.range.kvs.key", Other),
            ("return.outcome.ok.response.range.kvs.value", Other),
            ("return.outcome.ok.response.range.kvs.create_revision", MORE),
            ("return.outcome.ok.response.range.kvs.mod_revision", MORE),
            ("return.outcome.ok.response.range.kvs.version", MORE),
            ("return.outcome.ok.response.range.kvs.lease", Be("5")),
            ("return.outcome.ok.response.range.count", MORE),
            ("return.outcome.ok.response.range.more", Be("true")),
            (
                "return.outcome.ok.response.txn.responses.range.kvs.key",
                Other,
            ),
            (
                "return.outcome.ok.response.txn.responses.range.kvs.value",
                Other,
            ),
            (
                "return.outcome.ok.response.txn.responses.range.kvs.create_revision",
                MORE,
            ),
            (
                "return.outcome.ok.response.txn.responses.range.kvs.mod_revision",
                MORE,
            ),
            (
                "return.outcome.ok.response.txn.responses.range.kvs.version",
                MORE,
            ),
            (
                "return.outcome.ok.response.txn.responses.range.kvs.lease",
                Be("5"),
            ),
            ("return.outcome.ok.response.txn.responses.range.count", MORE),
            (
                "return.outcome.ok.response.txn.responses.range.more",
                Be("true"),
            ),
            ("return.outcome.ok.response.delete.deleted", MORE),
            (
                "return.outcome.ok.response.txn.responses.delete.deleted",
                MORE,
            ),
            ("return.outcome.ok.response.txn.succeeded", Flip),
        ],
    ),
    (
        "reads",
        Violation,
        &[
            ("call.request.range.revision", FAR),
            ("call.request.compact.revision", FAR),
            ("return.outcome.failed.class", Be("\"compacted\"")),
            ("hash.compact_revision", FAR),
        ],
    ),
    (
        "leases",
        Violation,
        &[
            ("call.request.lease_grant.id", MORE),
            ("call.request.lease_grant.ttl", MORE),
            ("return.outcome.ok.response.lease_grant.id", MORE),
            ("return.outcome.ok.response.lease_grant.ttl", Add(-1)),
            ("return.outcome.ok.response.lease_keep_alive.ttl", MORE),
        ],
    ),
    (
        "raft",
        Violation,
        &[
            ("return.outcome.ok.term", Add(-1)),
            ("member.pod", Other),
            ("member.status.member", Other),
            ("member.status.term", FAR),
            ("member.status.revision", FAR),
        ],
    ),
    (
        "watch",
        Violation,
        &[
            ("watch.watcher", MORE),
            ("watch.stream", FAR),
            ("watch.event.opened.key", Be("\"t/v\"")),
            ("watch.event.opened.range_end", Be("\"t/l\"")),
            ("watch.event.opened.start_revision", FAR),
            ("watch.event.events.revision", FAR),
            ("watch.event.events.fragment", Flip),
            ("watch.event.events.events.put.kv.key", Other),
            ("watch.event.events.events.put.kv.value", Other),
            ("watch.event.events.events.put.kv.create_revision", MORE),
            ("watch.event.events.events.put.kv.mod_revision", MORE),
            ("watch.event.events.events.put.kv.version", MORE),
            ("watch.event.events.events.put.kv.lease", Be("5")),
            ("watch.event.events.events.put.prev.key", Other),
            ("watch.event.events.events.put.prev.value", Other),
            ("watch.event.events.events.put.prev.create_revision", MORE),
            ("watch.event.events.events.put.prev.mod_revision", MORE),
            ("watch.event.events.events.put.prev.version", MORE),
            ("watch.event.events.events.put.prev.lease", Be("5")),
            ("watch.event.events.events.delete.prev.key", Other),
            ("watch.event.events.events.delete.prev.value", Other),
            (
                "watch.event.events.events.delete.prev.create_revision",
                MORE,
            ),
            ("watch.event.events.events.delete.prev.mod_revision", MORE),
            ("watch.event.events.events.delete.prev.version", MORE),
            ("watch.event.events.events.delete.prev.lease", Be("5")),
            ("watch.event.events.events.delete.key", Other),
            ("watch.event.events.events.delete.mod_revision", MORE),
            ("watch.event.progress.revision", FAR),
            ("watch.event.cancelled.compact_revision", FAR),
        ],
    ),
    (
        "agreement",
        Violation,
        &[
            ("member.status.cluster", Other),
            ("hash.hash", MORE),
            ("hash.revision", FAR),
        ],
    ),
    (
        "linearizable",
        Doubt,
        &[("hash.t", EARLIER), ("final_state.t", EARLIER)],
    ),
    ("agreement", Doubt, &[("hash.compact_revision", FAR)]),
    (
        "durability",
        Violation,
        &[
            ("final_state.revision", Add(-1)),
            ("final_state.kvs.key", Other),
            ("final_state.kvs.value", Other),
            ("final_state.kvs.create_revision", MORE),
            ("final_state.kvs.mod_revision", MORE),
            ("final_state.kvs.version", MORE),
            ("final_state.kvs.lease", Be("5")),
        ],
    ),
    (
        "membership",
        Violation,
        &[
            ("fault.name", Be("\"lose_data\"")),
            ("membership.cluster", Other),
            ("membership.members.id", Other),
            ("membership.members.learner", Flip),
        ],
    ),
    (
        "elections",
        Violation,
        &[("fault.target", Be("\"pod/demo-etcd-2\""))],
    ),
    (
        "labels",
        Violation,
        &[
            ("pod.t", LATER),
            ("pod.pod", Other),
            ("pod.resource_version", FAR),
            ("pod.role", Drop),
            ("pod.deleted", Be("true")),
            ("endpoints.service", Other),
            ("endpoints.serving", Pop),
        ],
    ),
    (
        "quorum",
        Violation,
        &[("pod.ready", Flip), ("pod.deleting", Flip)],
    ),
    ("in_time", Doubt, &[("phase.name", Other)]),
];

/// A rule for each field.
pub(super) fn rules() -> impl Iterator<Item = Rule> {
    GROUPS.iter().flat_map(|(check, owed, fields)| {
        let rule = move |(path, change): &(&'static str, Change)| (*path, *change, *check, *owed);
        fields.iter().map(rule)
    })
}
