//! Brings a cluster up, and says how long that took.

use super::checklist::Checklist;
use crate::scenario::Lab;
use crate::scenario::subject::Subject;
use crate::timeouts;

pub(super) async fn bring_up(
    lab: &Lab,
    subject: &Subject,
    list: &mut Checklist,
) -> Result<(), String> {
    let begin = lab.live.seconds();
    subject
        .apply(None, None, &[])
        .await
        .map_err(|error| error.to_string())?;
    subject
        .wait_whole(timeouts::CLUSTER_RUNNING)
        .await
        .map_err(|error| error.to_string())?;
    let took = lab.live.seconds() - begin;
    lab.live.say(format!(
        "{} members ready after {took:.1} s",
        subject.members
    ));
    list.figure("ready_s", took);
    Ok(())
}
