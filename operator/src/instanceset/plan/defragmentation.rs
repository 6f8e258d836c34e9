//! Members that are defragmented because their owner asked for it: how far that is, read off what agents report.
//! When it is a member's turn is decided by [`super::upkeep`], as for every other defragmentation (D8).

use etcd_operator_api::defragmentation::{
    Defragmentation, DefragmentationStep, DefragmentedMember,
};
use kbagent_protocol::Defragmented;

use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{Observed, PodSeen};

/// What to say of an agent that does not report defragmentations.
const EARLIER: &str = "its agent is of an earlier release and does not report that it was defragmented: restart the component \
                       first (OpsRequest Restart)";

/// The request as it is to be recorded. One that is done stays on record.
#[must_use]
pub(crate) fn record(desired: &Desired, seen: &Observed) -> Option<Defragmentation> {
    let before = desired.recorded.defragmentation.as_ref();
    let Some(wish) = &desired.defragmentation else {
        return before.cloned();
    };
    let known = |pod: &String| {
        let own = before.filter(|before| before.token == wish.token)?;
        let found = own.members.iter().find(|known| known.pod_name == *pod)?;
        Some(found.clone())
    };
    let members = wish.pods.iter().map(|pod| {
        let known = known(pod).unwrap_or_else(|| DefragmentedMember {
            pod_name: pod.clone(),
            ..DefragmentedMember::default()
        });
        match known.step {
            DefragmentationStep::Asked => look(desired, seen, &wish.token, known),
            _ => known,
        }
    });
    Some(Defragmentation {
        token: wish.token.clone(),
        members: members.collect(),
    })
}

/// The request that a member is still to be defragmented for.
#[must_use]
pub(crate) fn asked<'a>(record: Option<&'a Defragmentation>, pod: &str) -> Option<&'a str> {
    let record = record?;
    let mut members = record.members.iter();
    let open = |member: &DefragmentedMember| {
        member.pod_name == pod && member.step == DefragmentationStep::Asked
    };
    members.any(open).then_some(record.token.as_str())
}

/// Where a member stands that is still to be done.
fn look(
    desired: &Desired,
    seen: &Observed,
    token: &str,
    mut member: DefragmentedMember,
) -> DefragmentedMember {
    if !desired.wants(&member.pod_name) {
        member.step = DefragmentationStep::Left;
        return member;
    }
    let Some(last) = seen.pods.get(&member.pod_name).and_then(reported) else {
        return member;
    };
    match last {
        None => {
            member.step = DefragmentationStep::Refused;
            member.message = Some(EARLIER.to_owned());
        }
        Some(last) if last.request == token => {
            let bytes = |bytes: u64| i64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
            member.step = DefragmentationStep::Done;
            member.bytes_before = bytes(last.bytes_before);
            member.bytes_after = bytes(last.bytes_after);
        }
        Some(_) => {}
    }
    member
}

/// What an agent reports of its last defragmentation, if it reports now: nothing, where it is of an earlier release.
fn reported(pod: &PodSeen) -> Option<Option<&Defragmented>> {
    let view = pod.view.as_ref().filter(|_| pod.heard)?;
    Some(view.care.last.as_ref())
}
