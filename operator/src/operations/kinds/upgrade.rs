//! Upgrade: pods are recreated one by one with another version of etcd.

use etcd_operator_api::OpsRequest;
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::ops_request::{LastConfiguration, OpsRequestSpec, UpgradeComponent};

use crate::operations::edit::Field;
use crate::operations::facts::{Facts, Row};
use crate::operations::kind::{Edited, Kind};
use crate::operations::observed::Seen;
use crate::operations::obstacle::Needs;
use crate::operations::refusal::Refused;

pub(super) struct Upgrade;

impl Kind for Upgrade {
    fn named(&self, spec: &OpsRequestSpec) -> (&'static str, Vec<String>) {
        let names = asked(spec).map(|ops| ops.component_name.clone());
        ("upgrade.components", names.collect())
    }

    fn started(&self) -> (ConditionType, Reason) {
        (
            ConditionType::VersionUpgrading,
            Reason::VersionUpgradeStarted,
        )
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
        let named = |asked: &&UpgradeComponent| {
            given(&asked.component_definition_name).or_else(|| given(&asked.service_version))
        };
        match asked(&request.spec).find(|asked| named(asked).is_none()) {
            Some(asked) => Err(Refused::NoVersion {
                component: asked.component_name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn fields(&self, edited: &Edited<'_>) -> Result<Vec<Field>, Refused> {
        let mut of = asked(edited.spec);
        let Some(asked) = of.find(|asked| asked.component_name == edited.component) else {
            return Ok(Vec::new());
        };
        let definition = given(&asked.component_definition_name);
        let version = given(&asked.service_version);
        let definition = definition.map(|name| Field::ComponentDef(Some(name)));
        let fields = definition
            .into_iter()
            .chain(version.map(|version| Field::ServiceVersion(Some(version))));
        Ok(fields.collect())
    }

    /// Every member says itself that it runs the version.
    fn rows(&self, facts: &Facts<'_>) -> Vec<Row> {
        let mut of = asked(facts.spec);
        let named = of
            .find(|asked| asked.component_name == facts.component)
            .and_then(|asked| given(&asked.service_version));
        // Without one it is what the operator has resolved: the spec is its owner's, who may leave the version out.
        let resolved = || {
            let status = facts.cluster.status.as_ref()?;
            let component = status.components.get(facts.component)?;
            component.service_version.clone()
        };
        let Some(wanted) = named.or_else(resolved) else {
            return facts
                .rows_after_rollout(|_| Some("its version is not resolved yet".to_owned()));
        };
        // A release may be called 3.6.16-2; etcd says three numbers.
        let wanted = wanted.split(['-', '+']).next().unwrap_or(&wanted);
        facts.rows_after_rollout(|pod| {
            let mut members = facts.status.members.iter();
            let member = members.find(|member| member.pod_name == pod);
            match member.and_then(|member| member.version.as_ref()) {
                None => Some("it has not said its version yet".to_owned()),
                Some(runs) if *runs == wanted => None,
                Some(runs) => Some(format!("it runs etcd {runs}, not {wanted}")),
            }
        })
    }
}

fn asked(spec: &OpsRequestSpec) -> impl Iterator<Item = &UpgradeComponent> {
    spec.upgrade.iter().flat_map(|upgrade| &upgrade.components)
}

/// An empty text names nothing, as in a Cluster.
fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}
