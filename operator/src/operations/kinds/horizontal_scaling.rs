//! HorizontalScaling: members come, as learners first, or go, one at a time.

use std::time::Duration;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::ops_request::{
    HorizontalScaling as Scaling, LastComponentConfiguration, OpsRequestSpec, ScaleIn, ScaleOut,
};

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row, has_newest_revision};
use crate::operations::kind::{Edited, Kind, LONG};
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct HorizontalScaling;

impl Kind for HorizontalScaling {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.horizontal_scaling.iter();
        let names = names.map(|ops| ops.component_name.clone());
        ("horizontalScaling", names.collect())
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::HorizontalScaling,
            Reason::HorizontalScalingStarted,
        )
    }

    fn deadline(&self) -> Duration {
        2 * LONG
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::MEMBERS
    }

    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        let mut of = edited.spec.horizontal_scaling.iter();
        let Some(asked) = of.find(|asked| asked.component_name == edited.component) else {
            return Ok(Vec::new());
        };
        let (replicas, offline) = scaled(edited.component, asked, edited.last)?;
        let mut fields = vec![Field::Replicas(replicas)];
        if offline != edited.last.offline_instances {
            fields.push(Field::OfflineInstances(offline));
        }
        Ok(fields)
    }

    /// Pods that come or go, against those that held a member when the operation began.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let (before, status) = (&facts.last.instances, facts.status);
        let wanted = &status.update_revisions;
        let come = wanted.keys().filter(|pod| !before.contains(pod));
        let come = come.map(|pod| {
            let votes = |m: &KnownMember| m.pod_name == *pod && !m.is_learner;
            let updated = has_newest_revision(status, pod);
            let lacks = updated.err().or_else(|| {
                let voter = status.members.iter().any(votes);
                (!voter).then(|| "it has no vote yet".to_owned())
            });
            let pod = pod.clone();
            Row { pod, lacks }
        });
        let go = before.iter().filter(|pod| !wanted.contains_key(*pod));
        let go = go.map(|pod| {
            let listed = status.members.iter().any(|m| m.pod_name == *pod);
            let lacks = if listed {
                Some("it is still a member".to_owned())
            } else {
                let there = status.current_revisions.contains_key(pod);
                there.then(|| "its pod is still there".to_owned())
            };
            let pod = pod.clone();
            Row { pod, lacks }
        });
        come.chain(go).collect()
    }
}

/// The number of members that a scaling leads to, and the pods that must not exist.
fn scaled(
    component: &str,
    asked: &Scaling,
    last: &LastComponentConfiguration,
) -> Result<(i32, Vec<String>), Refused> {
    let from = last.replicas;
    let mut replicas = from;
    let mut offline = last.offline_instances.clone();
    if let Some(out) = &asked.scale_out {
        replicas = replicas.saturating_add(grow(component, out, &mut offline)?);
    }
    if let Some(less) = &asked.scale_in {
        replicas = replicas.saturating_sub(shrink(component, less, last, &mut offline)?);
    }
    let component = component.to_owned();
    if replicas < 1 {
        return Err(Refused::NoneLeft {
            component,
            from,
            replicas,
        });
    }
    if replicas % 2 == 0 {
        return Err(Refused::Even {
            component,
            from,
            replicas,
        });
    }
    Ok((replicas, offline))
}

fn grow(component: &str, out: &ScaleOut, offline: &mut Vec<String>) -> Result<i32, Refused> {
    let field = "scaleOut.offlineInstancesToOnline";
    let listed = &out.offline_instances_to_online;
    let changes = changed((component, field), out.replica_changes, listed)?;
    for name in listed {
        if !offline.contains(name) {
            return Err(instance(
                (component, field),
                name,
                "not one of offlineInstances",
            ));
        }
        offline.retain(|known| known != name);
    }
    Ok(changes)
}

fn shrink(
    component: &str,
    less: &ScaleIn,
    last: &LastComponentConfiguration,
    offline: &mut Vec<String>,
) -> Result<i32, Refused> {
    let field = "scaleIn.onlineInstancesToOffline";
    let listed = &less.online_instances_to_offline;
    let changes = changed((component, field), less.replica_changes, listed)?;
    for name in listed {
        if offline.contains(name) {
            return Err(instance((component, field), name, "offline already"));
        }
        if !last.instances.contains(name) {
            return Err(instance(
                (component, field),
                name,
                "no member of the component",
            ));
        }
        offline.push(name.clone());
    }
    Ok(changes)
}

/// By how many members the size changes: as many as are named where no number is given, and never fewer.
fn changed(
    (component, field): (&str, &'static str),
    changes: Option<i32>,
    listed: &[String],
) -> Result<i32, Refused> {
    let count = i32::try_from(listed.len()).unwrap_or(i32::MAX);
    let changes = changes.unwrap_or(count);
    if count <= changes {
        return Ok(changes);
    }
    Err(Refused::MoreNamedThanChanged {
        component: component.to_owned(),
        field,
        listed: listed.len(),
        changes,
    })
}

fn instance((component, field): (&str, &'static str), name: &str, what: &'static str) -> Refused {
    Refused::Instance {
        component: component.to_owned(),
        field,
        name: name.to_owned(),
        what,
    }
}
