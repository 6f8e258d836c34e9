//! Reconfiguring: pods are recreated one by one with other settings, which etcd and its agent read when they start.

use std::collections::{BTreeMap, BTreeSet};

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{LastConfiguration, OpsRequestSpec, Parameter};
use etcd_operator_api::settings::OF_THE_AGENT;
use etcd_operator_api::{ClusterPhase, OpsRequest};
use k8s_openapi::api::core::v1::PodSpec;
use kbagent_protocol::flags;

use crate::operations::edit::Field;
use crate::operations::facts::{AGENT, Facts, Row};
use crate::operations::kind::{Edited, Kind};
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Reconfiguring;

impl Kind for Reconfiguring {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.reconfigures.iter();
        let names = names.map(|ops| ops.component_name.clone());
        ("reconfigures", names.collect())
    }

    fn begins_in(&self, phase: ClusterPhase) -> bool {
        use ClusterPhase::{Abnormal, Failed, Running, Updating};
        matches!(phase, Running | Failed | Abnormal | Updating)
    }

    fn started(&self) -> (ConditionType, Reason) {
        (ConditionType::Reconfigure, Reason::ReconfigureStarted)
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::ROLLOUT
    }

    fn check(
        &self,
        request: &OpsRequest,
        _seen: &Seen,
        _before: &mut LastConfiguration,
    ) -> Result<(), Refused> {
        for asked in &request.spec.reconfigures {
            let mut keys = BTreeSet::new();
            let mut all = asked.parameters.iter();
            if let Some(twice) = all.find(|parameter| !keys.insert(&parameter.key)) {
                return Err(Refused::KeyTwice {
                    component: asked.component_name.clone(),
                    key: twice.key.clone(),
                });
            }
        }
        Ok(())
    }

    /// A setting without a value goes back to the definition's.
    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        let fields = asked(edited.spec, edited.component);
        Ok(fields
            .map(|asked| Field::Setting(asked.key.clone(), asked.value.clone()))
            .collect())
    }

    /// etcd's command line and the agent's environment are what the newest template says, with the settings that were
    /// asked for in them.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let template = facts.template().unwrap_or_default();
        let wanted = Flags::of(facts, &template);
        let lacks = |pod: &str| -> Option<String> {
            let Some(seen) = facts.pods.get(pod).and_then(|pod| pod.spec.as_ref()) else {
                return Some("its pod was not seen yet".to_owned());
            };
            let runs = Flags::of(facts, seen);
            let mut all = asked(facts.spec, facts.component);
            all.find_map(|Parameter { key, value }| {
                let (runs, wanted) = (runs.get(key), wanted.get(key));
                let same = runs == wanted && (value.is_none() || value.as_deref() == runs);
                let text = |value: Option<&str>| value.unwrap_or("unset").to_owned();
                let wanted = value.as_deref().or(wanted);
                (!same).then(|| format!("it runs with {key} {}, not {}", text(runs), text(wanted)))
            })
        };
        facts.rows_after_rollout(lacks)
    }
}

/// Flags of etcd and the agent's settings, by name.
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn of(facts: &Facts<'_>, pod: &PodSpec) -> Self {
        let etcd = facts.etcd_of(pod);
        let args = etcd.and_then(|container| container.args.as_deref());
        let args = flags::joined(args.unwrap_or_default());
        let flags = args.iter().filter_map(|arg| flags::read(arg));
        let flags = flags.filter_map(|(name, value)| Some((name, value?)));
        let agent = pod.containers.iter().find(|c| c.name == AGENT);
        let variables = agent
            .and_then(|agent| agent.env.as_ref())
            .into_iter()
            .flatten();
        let settings = variables.filter_map(|variable| {
            let own = OF_THE_AGENT
                .iter()
                .find(|(_, name)| *name == variable.name)?;
            Some((own.0, variable.value.as_deref()?))
        });
        let all = flags.chain(settings);
        let owned = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Flags(owned.collect())
    }

    /// Versions before 3.6 call some of them experimental.
    fn get(&self, setting: &str) -> Option<&str> {
        let experimental = format!("experimental-{setting}");
        let found = self.0.get(setting).or_else(|| self.0.get(&experimental));
        found.map(String::as_str)
    }
}

fn asked<'a>(spec: &'a OpsRequestSpec, component: &str) -> impl Iterator<Item = &'a Parameter> {
    let mut of = spec.reconfigures.iter();
    let found = of.find(|asked| asked.component_name == component);
    found.into_iter().flat_map(|asked| &asked.parameters)
}
