//! VerticalScaling: pods get other resources one by one, in place where Kubernetes does it. What is not named stays.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{OpsRequestSpec, VerticalScaling as Asked};
use etcd_operator_api::quantity::amount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row};
use crate::operations::kind::{Edited, Kind};
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct VerticalScaling;

impl Kind for VerticalScaling {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = spec.vertical_scaling.iter();
        let names = names.map(|ops| ops.component_name.clone());
        ("verticalScaling", names.collect())
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::VerticalScaling,
            Reason::VerticalScalingStarted,
        )
    }

    fn needs(&self, _spec: &OpsRequestSpec) -> Needs {
        Needs::ROLLOUT
    }

    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        let Some(asked) = asked(edited.spec, edited.component) else {
            return Ok(Vec::new());
        };
        let mut fields = Vec::new();
        for (name, amount) in &asked.limits {
            fields.push(Field::Limit(name.clone(), Some(amount.clone())));
        }
        for (name, amount) in &asked.requests {
            fields.push(Field::Request(name.clone(), Some(amount.clone())));
        }
        Ok(fields)
    }
    /// etcd's container has the amounts in every pod.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let Some(asked) = asked(facts.spec, facts.component) else {
            return Vec::new();
        };
        facts.rows_after_rollout(|pod| {
            let Some(pod) = facts.pods.get(pod).and_then(|pod| pod.spec.as_ref()) else {
                return Some("its pod was not seen yet".to_owned());
            };
            let resources = facts
                .etcd_of(pod)
                .and_then(|container| container.resources.clone());
            let resources = resources.unwrap_or_default();
            let limits = lacking(
                "limits",
                &asked.limits,
                &resources.limits.unwrap_or_default(),
            );
            let requests = resources.requests.unwrap_or_default();
            limits.or_else(|| lacking("requests", &asked.requests, &requests))
        })
    }
}

fn asked<'a>(spec: &'a OpsRequestSpec, component: &str) -> Option<&'a Asked> {
    let mut of = spec.vertical_scaling.iter();
    of.find(|asked| asked.component_name == component)
}

/// The first amount that is another one. Kubernetes may write the same amount otherwise: `1` for `1000m`.
fn lacking(
    field: &str,
    wanted: &BTreeMap<String, Quantity>,
    has: &BTreeMap<String, Quantity>,
) -> Option<String> {
    wanted.iter().find_map(|(name, wanted)| {
        let has = has.get(name);
        let same = has.is_some_and(|has| has == wanted || amount(has) == amount(wanted));
        let has = has.map_or("none", |has| has.0.as_str());
        (!same).then(|| format!("{field}.{name} is {has}, not {}", wanted.0))
    })
}
