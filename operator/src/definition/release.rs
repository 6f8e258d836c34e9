//! Which images run a version of a definition's service. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use etcd_operator_api::{ComponentDefinition, ComponentVersion};
use kube::ResourceExt;

use super::pattern::matches;
use super::unresolved::Unresolved;

/// A version and its images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The version, e.g. `3.6.5`.
    pub service_version: String,
    /// Images by container name; empty when the definition's own images are meant.
    pub images: BTreeMap<String, String>,
}

/// The release of a version. When none is asked for, that of the definition's own `serviceVersion`, which is the
/// one it was made and tried for; without one, the newest.
///
/// # Errors
/// When the version is not offered for the definition.
pub fn release_for(
    definition: &ComponentDefinition,
    version: Option<&str>,
    versions: &[ComponentVersion],
) -> Result<Release, Unresolved> {
    let releases = releases(definition, versions);
    let default = definition.spec.service_version.as_deref();
    let found = match version.or(default) {
        None => releases.into_iter().next(),
        Some(version) => releases.into_iter().find(|r| r.service_version == version),
    };
    found.ok_or_else(|| Unresolved::Version {
        wanted: version.unwrap_or_default().to_owned(),
        definition: definition.name_any(),
        known: offered(definition, versions).join(", "),
    })
}

/// The versions on offer, newest first.
#[must_use]
pub fn offered(definition: &ComponentDefinition, versions: &[ComponentVersion]) -> Vec<String> {
    releases(definition, versions)
        .into_iter()
        .map(|release| release.service_version)
        .collect()
}

/// All releases, newest first. A ComponentVersion goes before the definition's own images.
fn releases(definition: &ComponentDefinition, versions: &[ComponentVersion]) -> Vec<Release> {
    let name = definition.name_any();
    let mut found: Vec<Release> = versions
        .iter()
        .flat_map(|version| of_version(&name, version))
        .chain(own_release(definition))
        .collect();
    found.sort_by(|a, b| newest_first(&a.service_version, &b.service_version));
    found.dedup_by(|later, earlier| later.service_version == earlier.service_version);
    found
}

fn of_version(definition: &str, version: &ComponentVersion) -> Vec<Release> {
    let rules = version.spec.compatibility_rules.iter();
    let names: Vec<&String> = rules
        .filter(|rule| {
            rule.comp_defs
                .iter()
                .any(|pattern| matches(pattern, definition))
        })
        .flat_map(|rule| &rule.releases)
        .collect();
    let releases = version
        .spec
        .releases
        .iter()
        .filter(|release| names.contains(&&release.name));
    releases
        .map(|release| Release {
            service_version: release.service_version.clone(),
            images: release.images.clone(),
        })
        .collect()
}

fn own_release(definition: &ComponentDefinition) -> Option<Release> {
    let service_version = definition.spec.service_version.clone()?;
    Some(Release {
        service_version,
        images: BTreeMap::new(),
    })
}

/// Orders versions, the newest first: by their numbers, then by their text.
#[must_use]
pub fn newest_first(a: &str, b: &str) -> Ordering {
    numbers(b).cmp(&numbers(a)).then_with(|| b.cmp(a))
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> ComponentVersion {
        serde_saphyr::from_str(
            r#"
metadata: {name: versions}
spec:
  compatibilityRules:
  - compDefs: ["^store-"]
    releases: [old, new]
  releases:
  - {name: old, serviceVersion: 3.5.9, images: {etcd: "store:3.5.9"}}
  - {name: new, serviceVersion: 3.5.15, images: {etcd: "store:3.5.15"}}
  - {name: other, serviceVersion: 4.0.0, images: {etcd: "store:4"}}
"#,
        )
        .expect("version")
    }

    fn definition(name: &str) -> ComponentDefinition {
        let yaml = format!("metadata: {{name: {name}}}\nspec: {{runtime: {{}}}}");
        serde_saphyr::from_str(&yaml).expect("definition")
    }

    #[test]
    fn newest_is_by_number_and_only_among_compatible_releases() {
        let release = release_for(&definition("store-1"), None, &[version()]).expect("release");
        assert_eq!(release.service_version, "3.5.15");
        assert_eq!(release.images["etcd"], "store:3.5.15");
        assert_eq!(
            offered(&definition("store-1"), &[version()]),
            ["3.5.15", "3.5.9"]
        );
    }

    #[test]
    fn a_definition_prefers_its_own_version_with_the_images_of_the_release() {
        let mut definition = definition("store-1");
        definition.spec.service_version = Some("3.5.9".to_owned());
        let release = release_for(&definition, None, &[version()]).expect("release");
        assert_eq!(release.images["etcd"], "store:3.5.9");
    }

    #[test]
    fn an_incompatible_definition_is_offered_nothing() {
        assert!(offered(&definition("shop"), &[version()]).is_empty());
    }
}
