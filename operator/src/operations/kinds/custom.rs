//! Custom: the operation that KubeBlocks' add-on for etcd defines, `etcd-defragmentation` (D8).
//!
//! An annotation of the InstanceSet asks for it: its planner has one member after the other defragmented, when all
//! others can spare it, and puts on record what agents report. The request tells what is on record.

use std::collections::{BTreeMap, BTreeSet};

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::defragmentation::{
    DEFRAGMENTATION, Defragmentation, DefragmentationStep, DefragmentationWish, DefragmentedMember,
    INSTANCES,
};
use etcd_operator_api::ops_request::{
    CustomOpsComponent, LastComponentConfiguration, LastConfiguration, OpsRequestSpec,
};
use etcd_operator_api::{ClusterPhase, InstanceSet, OpsRequest, labels};
use kube::ResourceExt;

use crate::operations::facts::{Facts, Row, View};
use crate::operations::kind::Kind;
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Custom;

impl Kind for Custom {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = components(spec).iter();
        let names = names.map(|asked| asked.component_name.clone());
        ("custom.components", names.collect())
    }

    /// All members must take part.
    fn begins_in(&self, phase: ClusterPhase) -> bool {
        phase == ClusterPhase::Running
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::CustomOperation,
            Reason::EtcdDefragmentationStarting,
        )
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::MEMBERS
    }

    fn check(
        &self,
        request: &OpsRequest,
        _seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        // As admission has it, where its rules are installed.
        let custom = request.spec.custom.as_ref();
        let name = custom.map(|custom| custom.ops_definition_name.as_str());
        if name != Some(DEFRAGMENTATION) {
            let name = name.unwrap_or_default().to_owned();
            return Err(Refused::UnknownOperation { name });
        }
        for asked in components(&request.spec) {
            let Some(last) = before.components.get_mut(&asked.component_name) else {
                continue;
            };
            fits(asked, last)?;
            last.defragmentation = request.uid();
        }
        Ok(())
    }

    /// Those that are asked for: the agent of each says that it was done, or it is no member any more.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let asked = components(facts.spec).iter();
        let mut asked = asked.filter(|asked| asked.component_name == facts.component);
        let pods = asked.next().map(|asked| pods(asked, facts.last));
        let record = facts.status.defragmentation.as_ref();
        let own = record.filter(|own| facts.last.defragmentation.as_ref() == Some(&own.token));
        let row = |pod: String| {
            let mut members = own.into_iter().flat_map(|own| &own.members);
            let lacks = match members.find(|member| member.pod_name == pod) {
                None => Some("it is not its turn yet".to_owned()),
                Some(member) => match member.step {
                    DefragmentationStep::Done | DefragmentationStep::Left => None,
                    DefragmentationStep::Asked => Some("it is not defragmented yet".to_owned()),
                    DefragmentationStep::Refused => member.message.clone(),
                },
            };
            Row { pod, lacks }
        };
        pods.unwrap_or_default().into_iter().map(row).collect()
    }

    fn outcome(&self, view: &View<'_>) -> Result<String, String> {
        let own = on_record(view);
        let members = || own.iter().flat_map(|own| &own.members);
        let mut refused = members().filter(|one| one.step == DefragmentationStep::Refused);
        if let Some(member) = refused.next() {
            let why = member.message.as_deref().unwrap_or_default();
            return Err(format!("{}: {why}", member.pod_name));
        }
        Ok(members().filter_map(told).collect::<Vec<_>>().join("; "))
    }
}

/// What came of a member.
fn told(member: &DefragmentedMember) -> Option<String> {
    let pod = &member.pod_name;
    match (member.step, member.bytes_before.zip(member.bytes_after)) {
        (DefragmentationStep::Done, Some((before, after))) => Some(format!(
            "{pod} from {} to {} KiB",
            before / 1024,
            after / 1024
        )),
        (DefragmentationStep::Left, _) => Some(format!("{pod} is no member any more")),
        _ => None,
    }
}

fn components(spec: &OpsRequestSpec) -> &[CustomOpsComponent] {
    let custom = spec.custom.as_ref();
    custom.map_or(&[], |custom| custom.components.as_slice())
}

/// The pods whose members are meant: those that are named, or all.
fn pods(asked: &CustomOpsComponent, last: &LastComponentConfiguration) -> Vec<String> {
    match asked.parameters.first() {
        None => last.instances.clone(),
        Some(named) => {
            let names = named.value.split(',');
            names.map(|name| name.trim().to_owned()).collect()
        }
    }
}

/// Whether what is asked of a component can be meant.
fn fits(asked: &CustomOpsComponent, last: &LastComponentConfiguration) -> Result<(), Refused> {
    let component = asked.component_name.clone();
    let wrong = |at: usize, name: &str| at > 0 || name != INSTANCES;
    let parameters = asked.parameters.iter().enumerate();
    let mut parameters = parameters.map(|(at, parameter)| (at, parameter.name.as_str()));
    if let Some((_, name)) = parameters.find(|(at, name)| wrong(*at, name)) {
        let name = name.to_owned();
        return Err(Refused::Parameter { component, name });
    }
    let pods = pods(asked, last);
    if pods.is_empty() {
        return Err(Refused::NoMembers { component });
    }
    for (at, pod) in pods.iter().enumerate() {
        let name = pod.clone();
        if !last.instances.contains(pod) {
            let known = last.instances.join(", ");
            return Err(Refused::NotDefragmented {
                component,
                name,
                known,
            });
        }
        if pods[..at].contains(pod) {
            return Err(Refused::MemberTwice { component, name });
        }
    }
    Ok(())
}

/// What the InstanceSets have on record of this request.
fn on_record<'a>(view: &View<'a>) -> Vec<&'a Defragmentation> {
    let components = view.recorded.last_configuration.components.iter();
    let own = components.filter_map(|(name, last)| {
        let set = view.seen.sets.get(name)?;
        let own = set.status.as_ref()?.defragmentation.as_ref()?;
        (last.defragmentation.as_ref() == Some(&own.token)).then_some(own)
    });
    own.collect()
}

/// What is asked of each InstanceSet, by name.
pub(in super::super) fn wishes(
    request: &OpsRequest,
    recorded: &LastConfiguration,
    sets: &BTreeMap<String, InstanceSet>,
) -> BTreeMap<String, Option<DefragmentationWish>> {
    let asked = components(&request.spec).iter();
    let wish = asked.filter_map(|asked| {
        let set = sets.get(&asked.component_name)?;
        let last = recorded.components.get(&asked.component_name)?;
        let wish = DefragmentationWish {
            token: request.uid()?,
            pods: pods(asked, last),
        };
        Some((set.name_any(), Some(wish)))
    });
    wish.collect()
}

/// What is to be asked once more: an InstanceSet carries it no longer, and has members on record that are not done. A
/// request that was forced has taken its place, or its owner has taken it off.
pub(in super::super) fn lost(
    request: &OpsRequest,
    recorded: &LastConfiguration,
    sets: &BTreeMap<String, InstanceSet>,
) -> BTreeMap<String, Option<DefragmentationWish>> {
    let is_lost = |set: &&InstanceSet| !carries(set, request) && !is_done(set, request);
    let names: BTreeSet<String> = sets
        .values()
        .filter(is_lost)
        .map(|s| s.name_any())
        .collect();
    let mut wishes = wishes(request, recorded, sets);
    wishes.retain(|name, _| names.contains(name));
    wishes
}

/// The InstanceSets that still carry what this request asked of them.
pub(in super::super) fn withdrawn(
    request: &OpsRequest,
    sets: &BTreeMap<String, InstanceSet>,
) -> BTreeMap<String, Option<DefragmentationWish>> {
    let all = sets.values().filter(|set| carries(set, request));
    all.map(|set| (set.name_any(), None)).collect()
}

/// Whether the InstanceSet is asked by this request.
fn carries(set: &InstanceSet, request: &OpsRequest) -> bool {
    let text = set.annotations().get(labels::DEFRAGMENT);
    let wish = text.and_then(|text| serde_json::from_str::<DefragmentationWish>(text).ok());
    wish.is_some_and(|wish| Some(wish.token) == request.uid())
}

/// Whether it has on record of this request that nothing more will come of any member.
fn is_done(set: &InstanceSet, request: &OpsRequest) -> bool {
    let status = set.status.as_ref();
    let record = status.and_then(|status| status.defragmentation.as_ref());
    record.is_some_and(|record| {
        let mut members = record.members.iter();
        Some(&record.token) == request.uid().as_ref()
            && members.all(|member| member.step != DefragmentationStep::Asked)
    })
}
