//! What a cluster must look like, without load and without faults: objects and their names, answers of every pod, what
//! the API server refuses, KubeBlocks' own manifests, the commands of the documents.
//!
//! Everything is looked at before anything is judged: one run names all that is wrong.

mod admission;
mod checklist;
mod documents;
mod manifests;
mod objects;
mod probes;
mod requests;
mod strangers;
mod termination;

use etcd_history::History;

pub(super) use admission::admission;
pub(super) use documents::documents;
pub(super) use manifests::manifests;

use crate::report::{Finding, Judgement};
use crate::scenario::Lab;
use crate::scenario::runner::Found;
use crate::scenario::subject::Subject;
use crate::timeouts;

use checklist::Checklist;

/// A new cluster against the design.
pub(super) async fn conform(lab: &Lab, subject: &Subject) -> Found {
    let mut list = Checklist::new("conform", lab.live.clone());
    match bring_up(lab, subject, &mut list).await {
        Ok(()) => {
            objects::check(subject, &mut list).await;
            probes::check(lab, subject, &mut list).await;
        }
        Err(reason) => list.wrong(reason),
    }
    found(list)
}

async fn bring_up(lab: &Lab, subject: &Subject, list: &mut Checklist) -> Result<(), String> {
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

fn found(list: Checklist) -> Found {
    Found {
        history: History::default(),
        expectations: None,
        judgements: vec![list.judgement()],
    }
}

/// A judgement of something that was not there to be looked at.
fn not_there(check: &str, reason: &str) -> Found {
    let judgement = Judgement::new(
        check,
        Finding::Inconclusive {
            reason: reason.to_owned(),
        },
    );
    Found {
        history: History::default(),
        expectations: None,
        judgements: vec![judgement],
    }
}
