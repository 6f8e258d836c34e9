//! PURE: a verb and one look -> the OpsRequest for it, or why there is none.

use anyhow::bail;
use etcd_operator_api::defragmentation::{DEFRAGMENTATION, INSTANCES};
use etcd_operator_api::ops_request::{
    ComponentOps, CustomOps, CustomOpsComponent, CustomParameter, Rebuild, RebuildInstance,
    Switchover,
};
use etcd_operator_api::{InstanceSet, OpsRequest, OpsRequestSpec, OpsType, labels};
use kbagent_protocol::Role;
use kube::ResourceExt;

use crate::look::Seen;
use crate::model::{pods_of, running};

/// A day and a week: requests of a command are not kept forever.
const KEEP_SUCCEEDED: i32 = 24 * 60 * 60;
const KEEP_OTHERS: i32 = 7 * KEEP_SUCCEEDED;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Switchover { to: Option<String> },
    Restart,
    Rebuild { pods: Vec<String>, force: bool },
    Defrag { pods: Vec<String> },
}

/// The request, with the beginning of its name: the rest is drawn when it is made.
pub(crate) fn request(
    seen: &Seen,
    component: Option<&str>,
    verb: &Verb,
) -> anyhow::Result<OpsRequest> {
    let set = set(seen, component)?;
    let component_name = component_of(set);
    let mut spec = OpsRequestSpec {
        cluster_name: seen.cluster.name_any(),
        ttl_seconds_after_succeed: Some(KEEP_SUCCEEDED),
        ttl_seconds_after_unsuccessful_completion: Some(KEEP_OTHERS),
        ..OpsRequestSpec::default()
    };
    match verb {
        Verb::Restart => {
            spec.kind = OpsType::Restart;
            spec.restart = vec![ComponentOps { component_name }];
        }
        Verb::Switchover { to } => {
            let instance_name = leader(seen, set)?;
            if let Some(to) = to {
                fits(seen, set, to)?;
                if *to == instance_name {
                    bail!("{to} leads already: name another member, or leave out --to");
                }
            }
            spec.kind = OpsType::Switchover;
            spec.switchover = vec![Switchover {
                component_name: Some(component_name),
                component_object_name: None,
                instance_name,
                candidate_name: to.clone(),
            }];
        }
        Verb::Rebuild { pods, force } => {
            fit(seen, set, pods)?;
            let instance = |name: &String| RebuildInstance {
                name: name.clone(),
                target_node_name: None,
            };
            spec.kind = OpsType::RebuildInstance;
            spec.force = force.then_some(true);
            spec.rebuild_from = vec![Rebuild {
                component_name,
                instances: pods.iter().map(instance).collect(),
                in_place: Some(true),
                ..Rebuild::default()
            }];
        }
        Verb::Defrag { pods } => {
            fit(seen, set, pods)?;
            spec.kind = OpsType::Custom;
            spec.custom = Some(defragmentation(component_name, pods));
        }
    }
    let mut request = OpsRequest::new("", spec);
    request.metadata.name = None;
    let kind = match verb {
        Verb::Defrag { .. } => "defrag".to_owned(),
        _ => format!("{:?}", request.spec.kind).to_lowercase(),
    };
    request.metadata.generate_name = Some(format!("{}-{kind}-", seen.cluster.name_any()));
    request.metadata.namespace = seen.cluster.namespace();
    Ok(request)
}

/// KubeBlocks' operation, of these members or of all.
fn defragmentation(component_name: String, pods: &[String]) -> CustomOps {
    let named = CustomParameter {
        name: INSTANCES.to_owned(),
        value: pods.join(","),
    };
    CustomOps {
        ops_definition_name: DEFRAGMENTATION.to_owned(),
        components: vec![CustomOpsComponent {
            component_name,
            parameters: Vec::from_iter((!pods.is_empty()).then_some(named)),
        }],
        ..CustomOps::default()
    }
}

/// The component that is meant: the one of that name, or the only one.
pub(crate) fn set<'a>(seen: &'a Seen, component: Option<&str>) -> anyhow::Result<&'a InstanceSet> {
    let cluster = seen.cluster.name_any();
    let known: Vec<String> = seen.sets.iter().map(component_of).collect();
    let listed = known.join(", ");
    match (component, seen.sets.as_slice()) {
        (_, []) => {
            bail!("cluster {cluster} has no component yet: kubectl kbetcd explain {cluster}")
        }
        (None, [only]) => Ok(only),
        (None, _) => bail!("cluster {cluster} has several components: --component one of {listed}"),
        (Some(name), sets) => {
            let found = sets.iter().find(|set| component_of(set) == name);
            found.ok_or_else(|| {
                anyhow::anyhow!(
                    "cluster {cluster} has no component {name}: --component one of {listed}"
                )
            })
        }
    }
}

/// Name of the component within its Cluster.
pub(crate) fn component_of(set: &InstanceSet) -> String {
    let label = set.labels().get(labels::COMPONENT_NAME);
    label.cloned().unwrap_or_else(|| set.name_any())
}

/// Refuses pods that cannot be meant.
fn fit(seen: &Seen, set: &InstanceSet, pods: &[String]) -> anyhow::Result<()> {
    for (at, pod) in pods.iter().enumerate() {
        fits(seen, set, pod)?;
        if pods[..at].contains(pod) {
            bail!("{pod} is named twice: name each pod once");
        }
    }
    Ok(())
}

/// Refuses a pod that holds no member of the component.
fn fits(seen: &Seen, set: &InstanceSet, pod: &str) -> anyhow::Result<()> {
    let members = set.status.iter().flat_map(|status| &status.members);
    let mut known: Vec<String> = members.map(|member| member.pod_name.clone()).collect();
    known.extend(pods_of(seen, &set.name_any()).map(ResourceExt::name_any));
    known.sort();
    known.dedup();
    if !known.iter().any(|name| name == pod) {
        let known = known.join(", ");
        bail!(
            "{pod} holds no member of {}: name one of {known}",
            set.name_any()
        );
    }
    Ok(())
}

/// The leader: as the member with the highest term says, else by the role label.
fn leader(seen: &Seen, set: &InstanceSet) -> anyhow::Result<String> {
    let name = set.name_any();
    let leads = pods_of(seen, &name).filter_map(|pod| {
        let status = running(seen, pod)?;
        (status.role() == Role::Leader).then(|| (status.term, pod.name_any()))
    });
    if let Some((_, pod)) = leads.max() {
        return Ok(pod);
    }
    let labelled = |pod: &&_| {
        let role = ResourceExt::labels(*pod).get(labels::ROLE);
        role.map(String::as_str) == Some(Role::Leader.as_str())
    };
    match pods_of(seen, &name).find(labelled) {
        Some(pod) => Ok(pod.name_any()),
        None => bail!(
            "no member of {name} leads, so there is no leadership to move: kubectl kbetcd explain {}",
            seen.cluster.name_any()
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_support::seen;

    fn spec(seen: &Seen, component: Option<&str>, verb: &Verb) -> serde_json::Value {
        let request = request(seen, component, verb).expect("a request");
        serde_json::to_value(request.spec).expect("JSON")
    }

    fn refusal(seen: &Seen, component: Option<&str>, verb: &Verb) -> String {
        let error = request(seen, component, verb).expect_err("a refusal");
        error.to_string()
    }

    #[test]
    fn a_switchover_moves_away_from_the_member_that_leads() {
        let to = Verb::Switchover {
            to: Some("db-etcd-1".into()),
        };
        let expected = json!([{ "componentName": "etcd", "instanceName": "db-etcd-0", "candidateName": "db-etcd-1" }]);
        assert_eq!(spec(&seen(), None, &to)["switchover"], expected);
        let free = spec(&seen(), Some("etcd"), &Verb::Switchover { to: None });
        assert_eq!(free["type"], "Switchover");
        assert_eq!(free["switchover"][0].get("candidateName"), None);
    }

    #[test]
    fn a_label_names_the_leader_where_agents_are_silent() {
        let mut seen = seen();
        seen.views.clear();
        let verb = Verb::Switchover { to: None };
        let text = refusal(&seen, None, &verb);
        assert!(
            text.contains("no member of db-etcd leads") && text.contains("kbetcd explain db"),
            "{text}"
        );
        let labels = seen.pods[1].metadata.labels.as_mut().expect("labels");
        labels.insert(labels::ROLE.to_owned(), "leader".to_owned());
        assert_eq!(
            spec(&seen, None, &verb)["switchover"][0]["instanceName"],
            "db-etcd-1"
        );
    }

    #[test]
    fn a_rebuild_names_its_members_and_forces_only_when_asked_to() {
        let verb = |force| Verb::Rebuild {
            pods: vec!["db-etcd-2".into()],
            force,
        };
        let made = spec(&seen(), None, &verb(false));
        let expected = json!([{ "componentName": "etcd", "instances": [{ "name": "db-etcd-2" }], "inPlace": true }]);
        assert_eq!(made["rebuildFrom"], expected);
        assert_eq!(made.get("force"), None);
        assert_eq!(spec(&seen(), None, &verb(true))["force"], true);
    }

    #[test]
    fn a_defragmentation_has_kubeblocks_shape_and_names_members_only_when_told_to() {
        let verb = |pods: &[&str]| Verb::Defrag {
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
        };
        let all = spec(&seen(), None, &verb(&[]));
        let expected = json!({ "opsDefinitionName": "etcd-defragmentation", "components": [{ "componentName": "etcd" }] });
        assert_eq!(
            (&all["type"], &all["custom"]),
            (&json!("Custom"), &expected)
        );
        let two = spec(&seen(), None, &verb(&["db-etcd-2", "db-etcd-0"]));
        let named = json!([{ "name": "instances", "value": "db-etcd-2,db-etcd-0" }]);
        assert_eq!(two["custom"]["components"][0]["parameters"], named);
        let made = request(&seen(), None, &verb(&[])).expect("a request");
        assert_eq!(made.metadata.generate_name.as_deref(), Some("db-defrag-"));
        let text = refusal(&seen(), None, &verb(&["db-etcd-9"]));
        assert!(text.contains("db-etcd-9 holds no member"), "{text}");
        let text = refusal(&seen(), None, &verb(&["db-etcd-1", "db-etcd-1"]));
        assert!(text.contains("named twice"), "{text}");
    }

    #[test]
    fn a_request_has_the_beginning_of_a_name_and_is_not_kept_forever() {
        let made = request(&seen(), None, &Verb::Restart).expect("a request");
        let metadata = serde_json::to_value(&made.metadata).expect("JSON");
        assert_eq!(
            metadata,
            json!({ "generateName": "db-restart-", "namespace": "ns" })
        );
        assert_eq!(
            made.spec.restart,
            [ComponentOps {
                component_name: "etcd".into()
            }]
        );
        assert!(
            made.spec.ttl_seconds_after_succeed
                < made.spec.ttl_seconds_after_unsuccessful_completion
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        let mut seen = seen();
        let rebuild = |pods: &[&str]| Verb::Rebuild {
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            force: false,
        };
        let text = refusal(&seen, None, &rebuild(&["db-etcd-9"]));
        assert!(
            text.ends_with("name one of db-etcd-0, db-etcd-1, db-etcd-2"),
            "{text}"
        );
        let text = refusal(&seen, None, &rebuild(&["db-etcd-1", "db-etcd-1"]));
        assert!(text.contains("named twice"), "{text}");
        let text = refusal(
            &seen,
            None,
            &Verb::Switchover {
                to: Some("db-etcd-0".into()),
            },
        );
        assert!(text.contains("leads already"), "{text}");
        let text = refusal(&seen, Some("web"), &Verb::Restart);
        assert!(text.ends_with("--component one of etcd"), "{text}");
        let mut other = seen.sets[0].clone();
        other.metadata.labels = Some([(labels::COMPONENT_NAME.to_owned(), "b".to_owned())].into());
        seen.sets.push(other);
        let text = refusal(&seen, None, &Verb::Restart);
        assert!(text.ends_with("--component one of etcd, b"), "{text}");
        seen.sets.clear();
        let text = refusal(&seen, None, &Verb::Restart);
        assert!(text.contains("no component yet"), "{text}");
    }
}
