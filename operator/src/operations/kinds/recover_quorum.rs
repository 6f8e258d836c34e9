//! RecoverQuorum: one member continues without the others, whose quorum does not come back (D11).
//!
//! An annotation of the InstanceSet asks for it: its planner chooses the survivor, puts each step on record in the
//! InstanceSet's status, and refuses while a quorum is there. The request tells what is on record.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{
    LastConfiguration, OpsComponentStatus, OpsRequestSpec, ProgressDetail, ProgressStatus,
};
use etcd_operator_api::recovery::{Recovery, RecoveryStep, RecoveryWish, Standing};
use etcd_operator_api::{ClusterPhase, InstanceSet, OpsRequest, labels};
use kube::ResourceExt;

use crate::operations::facts::{Facts, Progress, Row, View};
use crate::operations::kind::Kind;
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct RecoverQuorum;

impl Kind for RecoverQuorum {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.recover_quorum.iter();
        let names = names.map(|asked| asked.component_name.clone());
        ("recoverQuorum", names.collect())
    }

    fn begins_in(&self, phase: ClusterPhase) -> bool {
        use ClusterPhase::{Abnormal, Failed, Running, Updating};
        matches!(phase, Running | Failed | Abnormal | Updating)
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::QuorumRecovering,
            Reason::QuorumRecoveryStarted,
        )
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::MEMBERS
    }

    fn check(
        &self,
        request: &OpsRequest,
        seen: &Seen,
        before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        for asked in &request.spec.recover_quorum {
            let component = asked.component_name.clone();
            // As admission has it, where its rules are installed.
            if asked.accept_data_loss == asked.dry_run {
                return Err(Refused::NotApproved { component });
            }
            let Some(last) = before.components.get_mut(&component) else {
                continue;
            };
            if !seen.sets.contains_key(&component) {
                return Err(Refused::NothingToRecover { component });
            }
            if let Some(name) = asked.named_survivor()
                && !last.instances.iter().any(|pod| pod == name)
            {
                let (name, known) = (name.to_owned(), last.instances.join(", "));
                return Err(Refused::NoSurvivor {
                    component,
                    name,
                    known,
                });
            }
            last.recovery = request.uid();
        }
        Ok(())
    }

    /// The survivor: it leads, and the others vote again.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let recovery = facts.status.recovery.as_ref();
        let Some(own) = recovery.filter(|own| facts.last.recovery.as_ref() == Some(&own.token))
        else {
            let lacks = Some("no survivor is chosen yet".to_owned());
            let pod = "furthest".to_owned();
            return vec![Row { pod, lacks }];
        };
        let lacks = match own.step {
            RecoveryStep::Done => None,
            step => Some(stands(step).to_owned()),
        };
        let pod = own.survivor.clone().unwrap_or_default();
        vec![Row { pod, lacks }]
    }

    fn outcome(&self, view: &View<'_>) -> Result<String, String> {
        let mut told = Vec::new();
        for (component, own) in on_record(view) {
            match own.step {
                RecoveryStep::Refused | RecoveryStep::Failed => {
                    return Err(format!("{component}: {}", own.message));
                }
                RecoveryStep::Surveyed => {
                    told.push(format!("nothing was done in {component}: {}", own.message));
                }
                _ => told.push(own.message.clone()),
            }
        }
        Ok(told.join("; "))
    }

    /// A dry run is about no pods: it is done when all components were looked at.
    fn progress(&self, view: &View<'_>) -> Option<Progress> {
        let all = view.request.spec.recover_quorum.iter();
        if !all.clone().all(|asked| asked.dry_run) {
            return None;
        }
        let mut progress = Progress::default();
        let records = on_record(view);
        let surveyed = records
            .values()
            .map(|own| own.step == RecoveryStep::Surveyed);
        progress.complete = surveyed.filter(|done| *done).count() == all.count();
        for (component, own) in records {
            let status = OpsComponentStatus {
                progress_details: own.standings.iter().map(detail).collect(),
                ..OpsComponentStatus::default()
            };
            progress.components.insert(component.to_owned(), status);
        }
        Some(progress)
    }
}

/// What the InstanceSets have on record of this request, by component.
fn on_record<'a>(view: &View<'a>) -> BTreeMap<&'a str, &'a Recovery> {
    let components = view.recorded.last_configuration.components.iter();
    let own = components.filter_map(|(name, last)| {
        let set = view.seen.sets.get(name)?;
        let own = set.status.as_ref()?.recovery.as_ref()?;
        (last.recovery.as_ref() == Some(&own.token)).then_some((name.as_str(), own))
    });
    own.collect()
}

fn detail(standing: &Standing) -> ProgressDetail {
    let number = |number: Option<i64>| number.map_or("unknown".to_owned(), |n| n.to_string());
    let mut text = format!(
        "member {}: term {}, index {}, revision {}",
        standing.member_id,
        number(standing.term),
        number(standing.index),
        number(standing.revision)
    );
    if let Some(why) = &standing.message {
        text += &format!(" ({why})");
    }
    ProgressDetail {
        object_key: format!("Pod/{}", standing.pod_name),
        status: ProgressStatus::Succeed,
        message: Some(text),
    }
}

const fn stands(step: RecoveryStep) -> &'static str {
    match step {
        RecoveryStep::Chosen => "it is chosen, and the pods of the others are stopped",
        RecoveryStep::Isolated => "no other can run any more, and it is started as the only member",
        RecoveryStep::Forced => "it leads, and the others join as learners",
        RecoveryStep::Surveyed | RecoveryStep::Refused => "nothing was done",
        RecoveryStep::Failed => "it did not become the only member",
        RecoveryStep::Done => "it is done",
    }
}

/// What is asked of each InstanceSet, by name.
pub(in super::super) fn wishes(
    request: &OpsRequest,
    sets: &BTreeMap<String, InstanceSet>,
) -> BTreeMap<String, Option<RecoveryWish>> {
    let asked = request.spec.recover_quorum.iter();
    let wish = asked.filter_map(|asked| {
        let set = sets.get(&asked.component_name)?;
        let wish = RecoveryWish {
            token: request.uid()?,
            request: request.name_any(),
            survivor: asked.named_survivor().map(str::to_owned),
            dry_run: asked.dry_run,
        };
        Some((set.name_any(), Some(wish)))
    });
    wish.collect()
}

/// The InstanceSets that still carry what this request asked of them.
pub(in super::super) fn withdrawn(
    request: &OpsRequest,
    sets: &BTreeMap<String, InstanceSet>,
) -> BTreeMap<String, Option<RecoveryWish>> {
    let own = |set: &&InstanceSet| {
        let text = set.annotations().get(labels::RECOVER);
        let wish = text.and_then(|text| serde_json::from_str::<RecoveryWish>(text).ok());
        wish.is_some_and(|wish| Some(wish.token) == request.uid())
    };
    let all = sets.values().filter(own);
    all.map(|set| (set.name_any(), None)).collect()
}

/// What cannot be taken back any more, for a message.
pub(in super::super) fn under_way(
    recorded: &LastConfiguration,
    sets: &BTreeMap<String, InstanceSet>,
) -> String {
    let began = recorded.components.iter().find(|(component, last)| {
        let status = sets.get(*component).and_then(|set| set.status.as_ref());
        let own = status.and_then(|status| status.recovery.as_ref());
        own.is_some_and(|own| {
            let steps = [RecoveryStep::Isolated, RecoveryStep::Forced];
            last.recovery.as_ref() == Some(&own.token) && steps.contains(&own.step)
        })
    });
    began.map_or_else(String::new, |(component, _)| {
        format!("; the recovery of {component} has begun and continues")
    })
}
