//! Brings a cluster up, and says how long that took.

use super::checklist::Checklist;
use crate::scenario::subject::Subject;
use crate::scenario::{Lab, RunError};
use crate::timeouts;

/// True when it is up. No record of the machine can excuse one that is late, so that it is waited for patiently.
pub(super) async fn bring_up(lab: &Lab, subject: &Subject, list: &mut Checklist) -> bool {
    let begin = lab.live.seconds();
    let up = list.step("the cluster comes up", up(subject).await);
    if up.is_none() {
        return false;
    }
    let took = lab.live.seconds() - begin;
    lab.live.say(format!(
        "{} members ready after {took:.1} s",
        subject.members
    ));
    list.figure("ready_s", took);
    true
}

async fn up(subject: &Subject) -> Result<(), RunError> {
    subject.apply(None, None, &[]).await?;
    let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
    subject.wait_whole(limit).await
}
