//! The members as they are now: pods from the API server, who leads from the agents themselves.
//!
//! Labels lag behind and must be testable, so they are asked only when no agent answers. While the API server is
//! unavailable the members seen last stand in for it; agents are then still asked, from inside a node.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::faults::network::rules::PROBE_PORTS;
use crate::faults::{FaultContext, FaultError, Member};
use crate::timeouts;

/// The labels that all pods of a component have.
pub(crate) fn pod_labels(cluster: &str, component: &str) -> String {
    format!(
        "{}={cluster},{}={component}",
        labels::INSTANCE,
        labels::COMPONENT_NAME
    )
}

/// Who leads is known from the agents themselves.
const AGENTS: &str = "agents";

/// The members and where the knowledge of them comes from.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    /// The members, by ordinal.
    pub members: Vec<Member>,
    /// `API server` or `last seen`.
    pub pods_from: &'static str,
    /// `agents` or `labels`.
    pub roles_from: &'static str,
}

impl FaultContext {
    /// Looks at the members now, so that a fault can be injected later even when the API server is unavailable by then.
    pub async fn look(&self) {
        if let Err(error) = roster(self).await {
            tracing::debug!(%error, "members not seen");
        }
    }

    /// The pod of the member that leads now; none where no agent names a leader.
    ///
    /// # Errors
    /// When it is not known which members there are.
    pub(crate) async fn leader(&self) -> Result<Option<String>, FaultError> {
        Ok(roster(self).await?.leader())
    }
}

impl Roster {
    /// The pod that leads. A label is no answer: it lags behind an election.
    fn leader(self) -> Option<String> {
        let by_agents = self.roles_from == AGENTS;
        let mut members = self.members.into_iter();
        let leader = members.find(|member| member.role.as_deref() == Some("leader"));
        leader.filter(|_| by_agents).map(|member| member.pod)
    }
}

/// Who is there and who leads, now.
pub(crate) async fn roster(context: &FaultContext) -> Result<Roster, FaultError> {
    let (mut members, pods_from) = match list(context).await {
        Ok(members) => {
            context.remember(&members);
            (members, "API server")
        }
        Err(error) => match context.remembered() {
            members if members.is_empty() => return Err(error),
            members => (members, "last seen"),
        },
    };
    let views = ask_agents(context, &members).await;
    let roles_from = if apply_views(&mut members, &views) {
        AGENTS
    } else {
        "labels"
    };
    Ok(Roster {
        members,
        pods_from,
        roles_from,
    })
}

async fn list(context: &FaultContext) -> Result<Vec<Member>, FaultError> {
    let api: Api<Pod> = Api::namespaced(context.cluster.kube.clone(), &context.namespace);
    let params = ListParams::default().labels(&pod_labels(&context.etcd, &context.component));
    let action = || {
        format!(
            "list the pods of etcd cluster {}/{}",
            context.namespace, context.etcd
        )
    };
    let listed = tokio::time::timeout(timeouts::API_CALL_FAST, api.list(&params))
        .await
        .map_err(|_| FaultError::api(action(), "no answer in time"))?
        .map_err(|error| FaultError::api(action(), error))?;
    let mut members: Vec<Member> = listed.items.iter().map(Member::of).collect();
    members.sort_by_key(|member| (member.ordinal, member.pod.clone()));
    Ok(members)
}

/// What one agent says of its own member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    term: u64,
    leader: Option<String>,
    learner: bool,
}

/// Asks all agents at once from inside a node: no API server in the way, and a silent agent costs half a second. From
/// ports of probes, for a cut counts what is dropped.
async fn ask_agents(context: &FaultContext, members: &[Member]) -> BTreeMap<String, View> {
    let asked: Vec<(&str, &str)> = members
        .iter()
        .filter_map(|m| Some((m.pod.as_str(), m.ip.as_deref()?)))
        .collect();
    let node = members
        .iter()
        .filter_map(|m| m.node.as_deref())
        .chain(context.cluster.workers())
        .next();
    let Some(shell) = node.and_then(|node| context.cluster.shell(node).ok()) else {
        return BTreeMap::new();
    };
    match shell.run(&ask_script(&asked)).await {
        Ok(output) => parse_views(&output.stdout),
        Err(error) => {
            tracing::debug!(%error, "agents not asked");
            BTreeMap::new()
        }
    }
}

/// One line a member: its pod, a tab, the agent's JSON. With TLS an agent tells who has no certificate its role only.
fn ask_script(members: &[(&str, &str)]) -> String {
    let calls: Vec<String> = members
        .iter()
        .map(|(pod, ip)| {
            let ask = format!("curl -sf -m 0.5 --local-port {PROBE_PORTS} http://{ip}:5001/v1.0");
            format!("(v=$({ask}/member || {ask}/getrole) && printf '%s\\t%s\\n' {pod} \"$v\") &\n")
        })
        .collect();
    format!("{}wait", calls.concat())
}

fn parse_views(text: &str) -> BTreeMap<String, View> {
    text.lines()
        .filter_map(|line| {
            let (pod, json) = line.split_once('\t')?;
            let view: serde_json::Value = serde_json::from_str(json).ok()?;
            if view["operation"] == "getRole" {
                let role = view["role"].as_str()?;
                let view = View {
                    term: view["term"].as_u64()?,
                    leader: (role == "leader").then(|| pod.to_owned()),
                    learner: role == "learner",
                };
                return Some((pod.to_owned(), view));
            }
            // What an agent knew before its etcd went away is no evidence of now.
            (view["etcd"]["state"] == "running").then_some(())?;
            let status = view.get("status")?;
            Some((
                pod.to_owned(),
                View {
                    term: status["term"].as_u64()?,
                    leader: status["leader"].as_str().map(str::to_owned),
                    learner: status["isLearner"].as_bool().unwrap_or(false),
                },
            ))
        })
        .collect()
}

/// Sets the roles that the agents report: the leader is the member that the highest term names. False when none is
/// named.
fn apply_views(members: &mut [Member], views: &BTreeMap<String, View>) -> bool {
    let newest = views
        .values()
        .filter(|view| view.leader.is_some())
        .max_by_key(|view| view.term);
    let Some(leader) = newest.and_then(|view| view.leader.clone()) else {
        return false;
    };
    for member in members {
        let learner = match views.get(&member.pod) {
            Some(view) => view.learner,
            // Its agent is silent: a learner by its label is one still.
            None => member.role.as_deref() == Some("learner"),
        };
        let role = if member.pod == leader {
            "leader"
        } else if learner {
            "learner"
        } else {
            "follower"
        };
        member.role = Some(role.to_owned());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::member::tests::members;

    fn answer(pod: &str, term: u64, leader: &str, state: &str) -> String {
        let leader = if leader.is_empty() {
            "null".into()
        } else {
            format!("{leader:?}")
        };
        format!(
            r#"{pod}	{{"instance":"{pod}","etcd":{{"state":"{state}"}},"status":{{"term":{term},"leader":{leader},"isLearner":false}}}}"#
        )
    }

    #[test]
    fn the_highest_term_names_the_leader_whatever_labels_and_the_old_leader_say() {
        let mut all = members(3, 0);
        let text = [
            answer("m-0", 4, "m-0", "running"),
            answer("m-1", 5, "m-2", "running"),
        ]
        .join("\n");
        assert!(apply_views(&mut all, &parse_views(&text)));
        let roles: Vec<&str> = all
            .iter()
            .map(|member| member.role.as_deref().expect("a role"))
            .collect();
        assert_eq!(roles, ["follower", "follower", "leader"]);
    }

    #[test]
    fn agents_that_tell_their_roles_only_name_the_leader_of_the_highest_term() {
        let mut all = members(3, 0);
        let role = |pod: &str, role: &str, term: u64| {
            format!(r#"{pod}	{{"operation":"getRole","role":"{role}","term":{term}}}"#)
        };
        let text = [
            role("m-0", "leader", 4),
            role("m-1", "follower", 5),
            role("m-2", "leader", 5),
        ];
        assert!(apply_views(&mut all, &parse_views(&text.join("\n"))));
        let roles: Vec<_> = all.iter().map(|member| member.role.as_deref()).collect();
        assert_eq!(roles, [Some("follower"), Some("follower"), Some("leader")]);
    }

    #[test]
    fn without_an_agent_that_knows_a_leader_labels_stand() {
        let mut all = members(3, 0);
        let text = [
            answer("m-0", 4, "", "running"),
            answer("m-1", 9, "m-1", "unreachable"),
            "garbage".into(),
        ]
        .join("\n");
        assert!(!apply_views(&mut all, &parse_views(&text)));
        assert_eq!(all[0].role.as_deref(), Some("leader"));
    }

    #[test]
    fn who_leads_is_not_read_from_labels() {
        let of = |roles_from| Roster {
            members: members(3, 1),
            pods_from: "API server",
            roles_from,
        };
        assert_eq!(of(AGENTS).leader().as_deref(), Some("m-1"));
        assert_eq!(of("labels").leader(), None);
    }

    #[test]
    fn every_member_is_asked_at_once() {
        let script = ask_script(&[("m-0", "10.0.0.1"), ("m-1", "10.0.0.2")]);
        assert_eq!(script.matches("&\n").count(), 2);
        assert!(script.contains("http://10.0.0.2:5001/v1.0/member") && script.ends_with("wait"));
        assert!(
            script.contains("|| curl"),
            "an agent with TLS tells its role only"
        );
    }
}
