//! What is wrong with a definition or a version, before any cluster uses it. Pure.

use std::collections::BTreeSet;

use etcd_operator_api::component_definition::{ComponentDefinitionSpec, DefinitionPhase};
use etcd_operator_api::component_version::Release;
use etcd_operator_api::update::{MemberUpdateStrategy, PodUpdatePolicy};
use etcd_operator_api::{
    ComponentDefinition, ComponentDefinitionStatus, ComponentVersion, ComponentVersionStatus,
};
use k8s_openapi::api::core::v1::PodSpec;
use kbagent_protocol::flags::{self, CONFIG_FILE};

use super::metadata::{BadMetadata, Metadata, check_metadata};
use super::release::{VERSION, newest_first, rule};

/// The status of a definition: available, or why not.
pub(crate) fn check_definition(definition: &ComponentDefinition) -> ComponentDefinitionStatus {
    let wrong = definition_error(definition);
    ComponentDefinitionStatus {
        observed_generation: definition.metadata.generation,
        phase: Some(phase(wrong.as_ref())),
        message: wrong,
    }
}

/// The status of a version: available, or why not.
pub(crate) fn check_version(version: &ComponentVersion) -> ComponentVersionStatus {
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
    if let Some(wrong) = config_file(&runtime) {
        return Some(wrong);
    }
    if let Some(wrong) = without_effect(definition, &runtime) {
        return Some(wrong);
    }
    if let Err(wrong) = metadata(&definition.spec) {
        return Some(wrong.to_string());
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

/// Labels and annotations that pods and services would be given.
fn metadata(spec: &ComponentDefinitionSpec) -> Result<(), BadMetadata> {
    check_metadata(Metadata::Labels, "spec.labels", &spec.labels)?;
    check_metadata(Metadata::Annotations, "spec.annotations", &spec.annotations)?;
    spec.services.iter().try_for_each(|service| {
        let field = format!("spec.services[{}].annotations", service.name);
        check_metadata(Metadata::ServiceAnnotations, &field, &service.annotations)
    })
}

/// With a file of settings etcd takes no flag: neither its identity nor its certificates would be the operator's. The
/// first container is the service itself.
fn config_file(runtime: &PodSpec) -> Option<String> {
    let first = runtime.containers.first()?;
    let places = [("command", &first.command), ("args", &first.args)];
    let names = |words: &Option<Vec<String>>| {
        let mut flags = words.iter().flatten().filter_map(|word| flags::read(word));
        flags.any(|(name, _)| name == CONFIG_FILE)
    };
    let (field, _) = places.into_iter().find(|(_, words)| names(words))?;
    Some(format!(
        "spec.runtime.containers[{}].{field} has --{CONFIG_FILE}, with which etcd takes no other flag, the operator's \
         neither: write the file's settings as flags",
        first.name
    ))
}

/// Fields of which nothing would come.
fn without_effect(definition: &ComponentDefinition, runtime: &PodSpec) -> Option<String> {
    let spec = &definition.spec;
    if spec.update_strategy == MemberUpdateStrategy::Parallel {
        let text = "spec.updateStrategy Parallel is not supported, all members at once would take the quorum: use Serial or \
                    BestEffortParallel";
        return Some(text.to_owned());
    }
    if spec.pod_update_policy == PodUpdatePolicy::StrictInPlace {
        let text = "spec.podUpdatePolicy StrictInPlace is not supported, most fields cannot be changed in place: use PreferInPlace or \
                    ReCreate";
        return Some(text.to_owned());
    }
    let mut volumes = spec.volumes.iter();
    if let Some(volume) = volumes.find(|volume| volume.need_snapshot == Some(true)) {
        let name = &volume.name;
        return Some(format!(
            "spec.volumes[{name}].needSnapshot is not supported: no backup is made"
        ));
    }
    let actions = spec.lifecycle_actions.as_ref();
    let probe = actions.and_then(|actions| actions.role_probe.as_ref());
    if probe.is_some_and(|probe| probe.timeout_seconds > 1) {
        let text = "spec.lifecycleActions.roleProbe.timeoutSeconds above 1 is not supported: agents push changes of role";
        return Some(text.to_owned());
    }
    let exporter = spec.exporter.as_ref()?.container_name.as_ref()?;
    let known = runtime
        .containers
        .iter()
        .any(|container| container.name == *exporter);
    (!known).then(|| {
        format!("spec.exporter.containerName {exporter:?} is none of spec.runtime.containers")
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
    if let Some(wrong) = version.spec.releases.iter().find_map(image_error) {
        return Some(wrong);
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

/// A rule whose images are the same for all versions would run one and call it another.
fn image_error(release: &Release) -> Option<String> {
    let (name, version) = (&release.name, &release.service_version);
    let is_rule = rule(version).is_some();
    let wrong = |image: &&String| image.contains(VERSION) != is_rule;
    let image = release.images.values().find(wrong)?;
    Some(if is_rule {
        format!(
            "spec.releases[{name}] stands for all versions {version}, and its image {image:?} has no {VERSION}"
        )
    } else {
        format!(
            "spec.releases[{name}] has {VERSION} in its image {image:?}, and serviceVersion {version} is no rule: write \
             3.6.x, say, for all patch releases of a minor"
        )
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
    fn a_rule_for_versions_has_the_version_in_its_images() {
        let told = |version: &str, image: &str| {
            let yaml = format!(
                "metadata: {{name: x}}\nspec:\n  compatibilityRules: [{{compDefs: [a], releases: [r]}}]\n  \
                 releases: [{{name: r, serviceVersion: {version}, images: {{etcd: \"{image}\"}}}}]\n"
            );
            let version: ComponentVersion = serde_saphyr::from_str(&yaml).expect("version");
            check_version(&version).message.unwrap_or_default()
        };
        assert_eq!(told("3.6.x", "e:v$(SERVICE_VERSION)"), "");
        assert_eq!(told("3.6.1", "e:v3.6.1"), "");
        assert!(told("3.6.x", "e:v3.6.1").contains("has no $(SERVICE_VERSION)"));
        assert!(told("3.6.1", "e:v$(SERVICE_VERSION)").contains("is no rule"));
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

    #[test]
    fn a_file_of_settings_is_refused_by_the_field_that_names_it() {
        let told = |container: &str| {
            let yaml =
                format!("metadata: {{name: x}}\nspec: {{runtime: {{containers: [{container}]}}}}");
            let definition: ComponentDefinition =
                serde_saphyr::from_str(&yaml).expect("definition");
            check_definition(&definition).message.unwrap_or_default()
        };
        for (container, field) in [
            ("{name: etcd, args: [--pre-vote, --config-file=/x]}", "args"),
            ("{name: etcd, args: [-config-file, /x]}", "args"),
            (
                "{name: etcd, command: [kbagent, launch, --, etcd, --config-file, /x]}",
                "command",
            ),
        ] {
            let told = told(container);
            let begin = format!("spec.runtime.containers[etcd].{field} has --config-file");
            assert!(told.starts_with(&begin), "{container}: {told}");
        }
        // Another program's flag of that name is its own.
        assert_eq!(
            told("{name: etcd, args: [--name=x]}, {name: b, args: [--config-file=/x]}"),
            ""
        );
    }

    #[test]
    fn fields_of_which_nothing_would_come_are_named() {
        let table = [
            ("updateStrategy: Parallel", "spec.updateStrategy"),
            (
                "podUpdatePolicy: StrictInPlace",
                "use PreferInPlace or ReCreate",
            ),
            (
                "volumes: [{name: data, needSnapshot: true}]",
                "spec.volumes[data].needSnapshot",
            ),
            (
                "exporter: {containerName: b}",
                "spec.exporter.containerName \"b\"",
            ),
            (
                "lifecycleActions: {roleProbe: {timeoutSeconds: 5}}",
                "roleProbe.timeoutSeconds",
            ),
            (
                "labels: {kubeblocks.io/role: leader}",
                "spec.labels[kubeblocks.io/role]",
            ),
            (
                "services: [{name: s, annotations: {apps.kubeblocks.io/x: y}}]",
                "spec.services[s].annotations[apps.kubeblocks.io/x]",
            ),
        ];
        for (field, word) in table {
            let yaml = format!(
                "metadata: {{name: x}}\nspec:\n  runtime: {{containers: [{{name: a}}]}}\n  {field}\n"
            );
            let definition: ComponentDefinition =
                serde_saphyr::from_str(&yaml).expect("definition");
            let told = check_definition(&definition).message.unwrap_or_default();
            assert!(told.contains(word), "{field}: {told}");
        }
    }
}
