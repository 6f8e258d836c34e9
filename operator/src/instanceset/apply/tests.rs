//! What agents are asked when a member is removed, against agents and an API server of the test.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_operator_api::names::TOKEN_KEY;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::controller::Context;
use crate::fake_agent::{Answers, Note, TOKEN, acting};
use crate::fake_api::{failure, server};
use crate::instanceset::plan::tests::corrected;

/// The leader, through which members are removed.
const LEADER: &str = "a-0";
/// The member that is removed.
const LEAVING: &str = "a-2";
const MEMBER: Id = Id(0xabc);
/// What a drain may take of the 30 s that a round has: a removal must come after it.
const LONGEST: Duration = Duration::from_secs(15);

/// The members' agents, and the API server that has their pods.
struct Stage {
    context: Context,
    desired: Desired,
    leader: Via,
    own: Via,
    notes: UnboundedReceiver<Note>,
}

/// What the API server has of the pod of the leaving member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Pod,
    /// Another one, with another address.
    Successor,
    Nothing,
    /// It does not say.
    Failure,
}

impl Stage {
    /// Both agents run, and answer so.
    async fn new(leader: Answers, own: Answers) -> Self {
        Self::with(leader, own, Has::Pod).await
    }

    async fn with(leader: Answers, own: Answers, has: Has) -> Self {
        let (sender, notes) = unbounded_channel();
        let leader = Via {
            pod: LEADER.to_owned(),
            ip: acting(LEADER, leader, &sender).await,
        };
        let own = Via {
            pod: LEAVING.to_owned(),
            ip: acting(LEAVING, own, &sender).await,
        };
        let (at_leader, at_own) = (pod(&leader), pod(&own));
        let successor = pod(&Via {
            ip: [127, 0, 0, 9].into(),
            ..own.clone()
        });
        let (context, _) = server(move |line| match line {
            _ if line.contains("/secrets/a-kbagent") => (200, secret()),
            _ if line.contains("/pods/a-0") => (200, at_leader.clone()),
            _ if line.contains("/pods/a-2") => match has {
                Has::Pod => (200, at_own.clone()),
                Has::Successor => (200, successor.clone()),
                Has::Nothing => failure(404, "NotFound", "there is none"),
                Has::Failure => failure(500, "InternalError", "down"),
            },
            _ => failure(404, "NotFound", line),
        });
        Self {
            context,
            desired: corrected().0,
            leader,
            own,
            notes,
        }
    }

    fn applier(&self) -> Applier<'_> {
        Applier::new(&self.context.client, &self.context.agents, &self.desired)
    }

    /// The removal, after a drain where one is planned.
    fn removal(&self, drain: bool) -> Step {
        Step::RemoveMember {
            via: self.leader.clone(),
            pod: LEAVING.to_owned(),
            host: format!("{LEAVING}.a-headless.demo.svc.cluster.local"),
            member: MEMBER,
            why: "the cluster was made smaller".to_owned(),
            drain: drain.then(|| self.own.clone()),
        }
    }

    /// What agents were asked and have answered, in this order.
    fn told(&mut self) -> Vec<String> {
        let notes = std::iter::from_fn(|| self.notes.try_recv().ok());
        notes.map(|note| words(&note)).collect()
    }
}

fn words(note: &Note) -> String {
    match note {
        Note::Asked(pod, request) => format!("{pod} is asked for {}", request.action),
        Note::Answered(pod) => format!("{pod} has answered"),
    }
}

fn pod(of: &Via) -> Value {
    json!({
        "metadata": { "name": of.pod, "namespace": "demo", "uid": "u",
            "labels": { labels::WORKLOAD_INSTANCE: "a" } },
        "spec": { "containers": [{ "name": "kbagent" }] },
        "status": { "podIP": of.ip.to_string() },
    })
}

fn secret() -> Value {
    let owner = json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Component", "name": "a",
        "uid": "u", "controller": true }]);
    json!({ "metadata": { "name": "a-kbagent", "ownerReferences": owner },
        "data": { TOKEN_KEY: STANDARD.encode(TOKEN) } })
}

const DRAINED: [&str; 2] = ["a-2 is asked for udf-drain", "a-2 has answered"];
const REMOVED: [&str; 2] = ["a-0 is asked for memberLeave", "a-0 has answered"];

#[tokio::test]
async fn clients_have_left_before_the_removal_is_asked_for() {
    let mut stage = Stage::new(Answers::Done, Answers::Done).await;
    let taken = stage.applier().take(&stage.removal(true)).await;
    taken.expect("it is removed");
    assert_eq!(stage.told(), [DRAINED, REMOVED].concat());
}

#[tokio::test]
async fn the_member_that_was_drained_is_the_one_that_is_removed() {
    let mut stage = Stage::new(Answers::Done, Answers::Done).await;
    let taken = stage.applier().take(&stage.removal(true)).await;
    taken.expect("it is removed");
    let requests = std::iter::from_fn(|| stage.notes.try_recv().ok());
    let requests: Vec<ActionRequest> = requests
        .filter_map(|note| match note {
            Note::Asked(_, request) => Some(request),
            Note::Answered(_) => None,
        })
        .collect();
    assert!(requests[0].parameters.is_empty(), "an agent drains its own");
    let left = |key| requests[1].parameters.get(key).map(String::as_str);
    assert_eq!(left(parameter::MEMBER_ID), Some("abc"));
    assert_eq!(left(parameter::LEAVE_MEMBER_POD_NAME), Some(LEAVING));
}

#[tokio::test]
async fn no_clients_are_asked_to_leave_where_the_plan_does_not_say_so() {
    let mut stage = Stage::new(Answers::Done, Answers::Done).await;
    let taken = stage.applier().take(&stage.removal(false)).await;
    taken.expect("it is removed");
    assert_eq!(stage.told(), REMOVED);
    let vote = Step::Promote {
        via: stage.leader.clone(),
        pod: LEAVING.to_owned(),
        member: MEMBER,
    };
    stage.applier().take(&vote).await.expect("it votes");
    let voted = ["a-0 is asked for udf-memberPromote", REMOVED[1]];
    assert_eq!(stage.told(), voted);
}

#[tokio::test]
async fn a_drain_that_is_refused_does_not_prevent_the_removal() {
    for word in [
        "notDefined",
        "preconditionFailed",
        "busy",
        "timedOut",
        "failed",
    ] {
        let mut stage = Stage::new(Answers::Done, Answers::Refused(word)).await;
        let taken = stage.applier().take(&stage.removal(true)).await;
        taken.unwrap_or_else(|error| panic!("{word}: {error}"));
        assert_eq!(stage.told(), [DRAINED, REMOVED].concat(), "{word}");
    }
}

#[tokio::test]
async fn a_drain_that_reaches_no_agent_does_not_prevent_the_removal() {
    for has in [Has::Successor, Has::Nothing, Has::Failure] {
        let mut stage = Stage::with(Answers::Done, Answers::Done, has).await;
        let taken = stage.applier().take(&stage.removal(true)).await;
        taken.unwrap_or_else(|error| panic!("{has:?}: {error}"));
        assert_eq!(stage.told(), REMOVED, "{has:?}");
    }
}

#[tokio::test]
async fn a_drain_that_is_not_answered_only_delays_the_removal() {
    let mut stage = Stage::new(Answers::Done, Answers::Never).await;
    let step = stage.removal(true);
    let applier = Applier::new(&stage.context.client, &stage.context.agents, &stage.desired);
    let notes = &mut stage.notes;
    let asked = async {
        let first = notes.recv().await.expect("an agent is asked");
        // The clock is not stopped for longer: sockets would be late by it.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::time::resume();
        first
    };
    let (taken, first) = tokio::join!(timeout(LONGEST, applier.take(&step)), asked);
    assert_eq!(words(&first), DRAINED[0]);
    taken.expect("in time").expect("it is removed");
    assert_eq!(stage.told(), REMOVED, "the drain has no answer");
}

#[tokio::test]
async fn a_removal_that_is_refused_is_told_whatever_came_of_the_drain() {
    for own in [Answers::Done, Answers::Refused("preconditionFailed")] {
        let mut stage = Stage::new(Answers::Refused("busy"), own).await;
        let taken = stage.applier().take(&stage.removal(true)).await;
        let error = taken.expect_err("the member is there still");
        assert!(error.is_not_now(), "{error}");
        let error = error.to_string();
        assert!(error.contains("memberLeave through a-0"), "{error}");
        assert_eq!(stage.told(), [DRAINED, REMOVED].concat(), "{own:?}");
    }
}
