//! Rules for versions (V1, V7).

use etcd_operator_api::labels;
use kbagent_protocol::MemberStatus;

use super::lint::{Lint, Violation};
use crate::definition::{Minor, READS_OLD};
use crate::instanceset::observed::PodSeen;
use crate::instanceset::plan::Grace;

/// A downgrade begins while every member answers and runs the minor after its target.
pub(super) fn begin(lint: &Lint<'_>, to: Minor, found: &mut Vec<Violation>) {
    let told: Vec<&MemberStatus> = statuses(lint).collect();
    let fits = |id| {
        let mut told = told.iter();
        told.any(|status| status.member_id == id && Minor::of(&status.version) == Some(to.next()))
    };
    let members = lint.members().unwrap_or_default();
    if members.is_empty() || !members.iter().all(|member| fits(member.id)) {
        found.push(format!(
            "V1: a downgrade to {to} begins, and not every member runs {}",
            to.next()
        ));
    }
}

/// A pod is not stopped for one of an older minor, which could not read its data.
pub(super) fn replace(
    lint: &Lint<'_>,
    (name, pod): (&str, &PodSeen),
    grace: Grace,
    found: &mut Vec<Violation>,
) {
    let meta = lint.desired.template.metadata.as_ref();
    let version = meta.and_then(|meta| meta.labels.as_ref()?.get(labels::SERVICE_VERSION));
    let next = version.and_then(|version| Minor::of(version));
    let gone = lint.desired.deleting || lint.desired.stop || grace != Grace::Template;
    let (Some(next), Some(status), false) = (next, pod.status(), gone) else {
        return;
    };
    log(next, (name, status), found);
    let format = status.format.storage_version.as_deref();
    let runs_older = Minor::of(&status.version).is_none_or(|runs| runs <= next);
    if !runs_older && format.and_then(Minor::of).is_none_or(|of| of > next) {
        found.push(format!(
            "V1: {name} is stopped for {next}, which does not read its data of {format:?}"
        ));
    }
}

/// A pod is not stopped for a minor that does not read what its member's log holds, or may hold.
fn log(to: Minor, (name, status): (&str, &MemberStatus), found: &mut Vec<Violation>) {
    let reads = Minor::of(READS_OLD);
    let runs = Minor::of(&status.version);
    let passes = runs.is_some() && runs <= reads && Some(to) > reads;
    if passes
        && status
            .format
            .log
            .is_none_or(|log| log.old_request.is_some())
    {
        let log = status.format.log;
        found.push(format!(
            "V7: {name} is stopped for {to}, and its log is {log:?}"
        ));
    }
}

fn statuses<'a>(lint: &Lint<'a>) -> impl Iterator<Item = &'a MemberStatus> {
    lint.seen.pods.values().filter_map(PodSeen::status)
}
