//! What is wrong with a definition or a version, before any cluster uses it. Pure.

use std::collections::BTreeSet;

use etcd_operator_api::component_definition::DefinitionPhase;
use etcd_operator_api::{
    ComponentDefinition, ComponentDefinitionStatus, ComponentVersion, ComponentVersionStatus,
};
use k8s_openapi::api::core::v1::PodSpec;

use super::metadata::{Metadata, check_metadata};
use super::release::newest_first;

/// The status of a definition: available, or why not.
#[must_use]
pub fn check_definition(definition: &ComponentDefinition) -> ComponentDefinitionStatus {
    let wrong = definition_error(definition);
    ComponentDefinitionStatus {
        observed_generation: definition.metadata.generation,
        phase: Some(phase(wrong.as_ref())),
        message: wrong,
    }
}

/// The status of a version: available, or why not.
#[must_use]
pub fn check_version(version: &ComponentVersion) -> ComponentVersionStatus {
    let mut offered: Vec<&str> = version
        .spec
        .releases
        .iter()
        .map(|release| release.service_version.as_str())
        .collect();
    offered.sort_by(|a, b| newest_first(a, b));
    offered.dedup();
    let wrong = version_error(version);
    ComponentVersionStatus {
        observed_generation: version.metadata.generation,
        phase: Some(phase(wrong.as_ref())),
        message: wrong,
        service_versions: Some(offered.join(",")),
    }
}

fn phase(wrong: Option<&String>) -> DefinitionPhase {
    if wrong.is_some() {
        DefinitionPhase::Unavailable
    } else {
        DefinitionPhase::Available
    }
}

fn definition_error(definition: &ComponentDefinition) -> Option<String> {
    let spec = &definition.spec;
    let runtime: PodSpec = match spec.runtime.parse("spec.runtime") {
        Ok(runtime) => runtime,
        Err(error) => return Some(error.to_string()),
    };
    if runtime.containers.is_empty() {
        return Some("spec.runtime.containers is empty".to_owned());
    }
    let labels = check_metadata(Metadata::Labels, &spec.labels);
    let metadata = labels.and_then(|()| check_metadata(Metadata::Annotations, &spec.annotations));
    if let Err(wrong) = metadata {
        return Some(format!("spec.{wrong}"));
    }
    if let Some(name) = twice(spec.roles.iter().map(|role| role.name.as_str())) {
        return Some(format!("spec.roles names {name:?} twice"));
    }
    if let Some(name) = twice(spec.services.iter().map(|service| service.name.as_str())) {
        return Some(format!("spec.services names {name:?} twice"));
    }
    let roles: BTreeSet<&str> = spec.roles.iter().map(|role| role.name.as_str()).collect();
    spec.services.iter().find_map(|service| {
        let role = service
            .role_selector
            .as_deref()
            .filter(|role| !role.is_empty())?;
        (!roles.contains(role)).then(|| {
            format!(
                "spec.services[{}].roleSelector {role:?} is not one of spec.roles",
                service.name
            )
        })
    })
}

fn version_error(version: &ComponentVersion) -> Option<String> {
    let known: BTreeSet<&str> = version
        .spec
        .releases
        .iter()
        .map(|release| release.name.as_str())
        .collect();
    if let Some(name) = twice(
        version
            .spec
            .releases
            .iter()
            .map(|release| release.name.as_str()),
    ) {
        return Some(format!("spec.releases names {name:?} twice"));
    }
    let mut named = version
        .spec
        .compatibility_rules
        .iter()
        .flat_map(|rule| &rule.releases);
    named
        .find(|name| !known.contains(name.as_str()))
        .map(|name| {
            format!("spec.compatibilityRules names release {name:?}, which is not in spec.releases")
        })
}

fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_is_no_pod_spec_makes_the_definition_unavailable() {
        let definition: ComponentDefinition = serde_saphyr::from_str(
            "metadata: {name: x, generation: 3}\nspec: {runtime: {containers: {}}}",
        )
        .expect("definition");
        let status = check_definition(&definition);
        assert_eq!(status.phase, Some(DefinitionPhase::Unavailable));
        assert_eq!(status.observed_generation, Some(3));
        assert!(status.message.expect("message").contains("spec.runtime"));
    }

    #[test]
    fn a_service_cannot_select_an_undeclared_role() {
        let definition: ComponentDefinition = serde_saphyr::from_str(
            "metadata: {name: x}\nspec: {runtime: {containers: [{name: a}]}, services: [{name: s, roleSelector: boss}]}",
        )
        .expect("definition");
        let message = check_definition(&definition).message.expect("message");
        assert!(message.contains("roleSelector \"boss\""), "{message}");
    }
}
