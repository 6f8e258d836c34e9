//! PURE: a request and what was seen of its Cluster -> its new status, and one thing to do.
//!
//! The order of things: a decision is on record before it is acted on (`Creating` holds what was there before), and
//! an end is told only of what was seen.
//!
//! `begin`, `follow` and `cancel` are its phases, `end` is how it leaves them, and `look` what they ask.

mod begin;
mod cancel;
mod end;
mod follow;
mod look;
mod time;

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::defragmentation::DefragmentationWish;
use etcd_operator_api::ops_request::OpsRequestStatus;
use etcd_operator_api::recovery::RecoveryWish;
use etcd_operator_api::{OpsPhase, OpsRequest};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::edit::Change;
use super::observed::Seen;

/// Polling interval for state that has no watch.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Nothing but recording the status; where it changed, that makes the next round.
    Record,
    /// Try the edit without making it, then decide again.
    Rehearse(Vec<Change>),
    /// Edit the Cluster, then record the status with the generation that came of it.
    Edit(Vec<Change>),
    /// Ask agents to move leadership, then decide again.
    Switchover,
    /// Mark the claims on record: their members are rebuilt.
    Rebuild,
    /// Take the request's marks off claims, then decide again.
    Unmark,
    /// Ask InstanceSets to give up their quorum, by name; `None` takes that back.
    Recover(BTreeMap<String, Option<RecoveryWish>>),
    /// Ask InstanceSets to defragment members, by name; `None` takes that back.
    Defragment(BTreeMap<String, Option<DefragmentationWish>>),
    /// Delete the request: its time is over.
    Delete,
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) status: OpsRequestStatus,
    pub(super) act: Act,
    /// When to look again at the latest.
    pub(super) again: Option<Duration>,
}

/// Decides about a request.
pub(super) fn decide(request: &OpsRequest, seen: &Seen, now: &Time) -> Decision {
    let mut story = Story::new(request, seen, now);
    story.readable();
    let (act, again) = match story.status.phase {
        None | Some(OpsPhase::Pending) => match story.withdrawal() {
            // An earlier release could go back to waiting after it had asked.
            Some(act) => (act, Some(LOOK_AGAIN)),
            None => story.admit(),
        },
        Some(OpsPhase::Creating) => story.begin(),
        Some(OpsPhase::Running) => story.follow(),
        Some(OpsPhase::Cancelling) => story.follow_cancel(),
        Some(_) => story.expire(),
    };
    Decision {
        status: story.status,
        act,
        again,
    }
}

/// What a request that is being deleted still asks for, and takes back first.
pub(super) fn leave(request: &OpsRequest, seen: &Seen, now: &Time) -> Option<Act> {
    Story::new(request, seen, now).withdrawal()
}

type Next = (Act, Option<Duration>);

struct Story<'a> {
    request: &'a OpsRequest,
    seen: &'a Seen,
    now: &'a Time,
    status: OpsRequestStatus,
}

impl<'a> Story<'a> {
    fn new(request: &'a OpsRequest, seen: &'a Seen, now: &'a Time) -> Self {
        Story {
            request,
            seen,
            now,
            status: request.status.clone().unwrap_or_default(),
        }
    }
}
