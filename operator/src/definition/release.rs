//! Which images run a version of a definition's service. Pure.
//!
//! A release of a ComponentVersion is one version, or a rule for all patch releases of a minor: `serviceVersion:
//! 3.6.x`, with [`VERSION`] in its images, where the version that was asked for is put.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use etcd_operator_api::{ComponentDefinition, ComponentVersion};
use kube::ResourceExt;

use super::pattern::matches;
use super::unresolved::Unresolved;

/// What stands for the version in the images of a rule.
pub(super) const VERSION: &str = "$(SERVICE_VERSION)";

/// A version and its images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Release {
    /// The version, e.g. `3.6.5`.
    pub service_version: String,
    /// Images by container name; empty when the definition's own images are meant.
    pub images: BTreeMap<String, String>,
}

impl Release {
    /// This release when it is of `version`, or what its rule makes of `version`.
    fn of(&self, version: &str) -> Option<Self> {
        if self.service_version == version {
            return rule(version).is_none().then(|| self.clone());
        }
        let rule = rule(&self.service_version)?;
        let (major, minor, _) = patch_release(version)?;
        (rule == (major, minor)).then(|| Self {
            service_version: version.to_owned(),
            images: self
                .images
                .iter()
                .map(|(name, image)| (name.clone(), image.replace(VERSION, version)))
                .collect(),
        })
    }
}

/// The release of a version. When none is asked for, that of the definition's own `serviceVersion`, which is the
/// one it was made and tried for; without one, the newest that is named.
///
/// # Errors
/// When the version is not offered for the definition.
pub(crate) fn release_for(
    definition: &ComponentDefinition,
    version: Option<&str>,
    versions: &[ComponentVersion],
) -> Result<Release, Unresolved> {
    let releases = releases(definition, versions);
    let default = definition.spec.service_version.as_deref();
    let found = match version.or(default) {
        None => releases
            .into_iter()
            .find(|release| rule(&release.service_version).is_none()),
        Some(version) => releases.iter().find_map(|release| release.of(version)),
    };
    found.ok_or_else(|| not_offered(definition, version, versions))
}

/// The error that names what there is, and what comes nearest to what was asked for.
pub(super) fn not_offered(
    definition: &ComponentDefinition,
    version: Option<&str>,
    versions: &[ComponentVersion],
) -> Unresolved {
    let offered = offered(definition, versions);
    let wanted = version.unwrap_or_default().to_owned();
    let nearest = nearest(&wanted, &offered);
    Unresolved::Version {
        nearest: nearest.map_or_else(String::new, |nearest| format!("; the nearest is {nearest}")),
        wanted,
        definition: definition.name_any(),
        known: offered.join(", "),
    }
}

/// The versions on offer, newest first; a rule as it is written, e.g. `3.6.x`.
pub(crate) fn offered(
    definition: &ComponentDefinition,
    versions: &[ComponentVersion],
) -> Vec<String> {
    releases(definition, versions)
        .into_iter()
        .map(|release| release.service_version)
        .collect()
}

/// What is on offer that has most in common with `wanted`: its minor before its patch release.
fn nearest(wanted: &str, offered: &[String]) -> Option<String> {
    let parts: Vec<i64> = wanted
        .trim_start_matches(['v', 'V'])
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok())
        .collect();
    let [major, minor, patch @ ..] = parts.as_slice() else {
        return None;
    };
    let distance = |text: &String| {
        let own: Vec<i64> = text
            .split(['.', '-', '+'])
            .map_while(|part| part.parse().ok())
            .collect();
        let of = |at: usize, wanted: i64| {
            own.get(at)
                .map_or(0, |own| own.saturating_sub(wanted).saturating_abs())
        };
        (
            of(0, *major),
            of(1, *minor),
            of(2, patch.first().copied().unwrap_or_default()),
        )
    };
    let found = offered.iter().min_by_key(|text| distance(text))?;
    let same_minor = rule(found).is_some_and(|(own_major, own_minor)| {
        i64::try_from(own_major).is_ok_and(|own| own == *major)
            && i64::try_from(own_minor).is_ok_and(|own| own == *minor)
    });
    Some(match patch.first() {
        Some(patch) if same_minor && *patch >= 0 => format!("{major}.{minor}.{patch}"),
        _ => found.clone(),
    })
}

/// All releases, newest first, a named one before the rule of its minor. A ComponentVersion goes before the
/// definition's own images, also where only a rule of it holds the definition's version.
fn releases(definition: &ComponentDefinition, versions: &[ComponentVersion]) -> Vec<Release> {
    let name = definition.name_any();
    let mut found: Vec<Release> = versions
        .iter()
        .flat_map(|version| of_version(&name, version))
        .collect();
    if let Some(own) = own_release(definition) {
        let by_rule = found
            .iter()
            .find_map(|release| release.of(&own.service_version));
        found.push(by_rule.unwrap_or(own));
    }
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

/// The minor whose patch releases a rule such as `3.6.x` stands for; none when the text is no rule.
pub(super) fn rule(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.strip_suffix(".x")?.split_once('.')?;
    Some((number(major)?, number(minor)?))
}

/// The three numbers of a version that is written `x.y.z` and no other way: it becomes part of an image's name.
fn patch_release(version: &str) -> Option<(u64, u64, u64)> {
    let mut parts = version.split('.').map(number);
    let found = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(found)
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let short = text == "0" || !text.starts_with('0');
    (plain && short).then(|| text.parse().ok()).flatten()
}

/// Orders versions, the newest first: by their numbers, then by their text.
pub(crate) fn newest_first(a: &str, b: &str) -> Ordering {
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

    fn by_rule() -> ComponentVersion {
        serde_saphyr::from_str(
            r#"
metadata: {name: versions}
spec:
  compatibilityRules: [{compDefs: [store], releases: [a, b, c]}]
  releases:
  - {name: a, serviceVersion: 3.5.x, images: {etcd: "store:v$(SERVICE_VERSION)"}}
  - {name: b, serviceVersion: 3.6.x, images: {etcd: "store:v$(SERVICE_VERSION)"}}
  - {name: c, serviceVersion: 3.6.4, images: {etcd: "special:4"}}
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
        definition.spec.service_version = Some("3.6.7".to_owned());
        let release = release_for(&definition, None, &[by_rule()]).expect("release");
        assert_eq!(release.images["etcd"], "store:v3.6.7", "of the rule");
    }

    #[test]
    fn an_incompatible_definition_is_offered_nothing() {
        assert!(offered(&definition("shop"), &[version()]).is_empty());
    }

    #[test]
    fn a_rule_offers_every_patch_release_of_its_minor() {
        let image = |version: &str| {
            let found = release_for(&definition("store-1"), Some(version), &[by_rule()]);
            found.map(|release| (release.service_version, release.images["etcd"].clone()))
        };
        let made = |version: &str| Ok((version.to_owned(), format!("store:v{version}")));
        for version in ["3.5.0", "3.5.35", "3.6.12", "3.6.99"] {
            assert_eq!(image(version), made(version));
        }
        let named = ("3.6.4".to_owned(), "special:4".to_owned());
        assert_eq!(image("3.6.4"), Ok(named), "a named release comes first");
        let default = release_for(&definition("store-1"), None, &[by_rule()]).expect("one");
        assert_eq!(default.service_version, "3.6.4", "a rule is no default");
    }

    #[test]
    fn what_is_no_patch_release_is_refused_with_the_nearest() {
        let cases = [
            ("3.4.20", "; the nearest is 3.5.x"),
            ("3.8.1", "; the nearest is 3.6.x"),
            ("v3.6.12", "; the nearest is 3.6.12"),
            ("3.6.12-rc.1", "; the nearest is 3.6.12"),
            ("3.5.7.1", "; the nearest is 3.5.7"),
            ("3.05.7", "; the nearest is 3.5.7"),
            ("3.5.x", "; the nearest is 3.5.x"),
            ("3.5.", "; the nearest is 3.5.x"),
            ("3.5.+7", "; the nearest is 3.5.x"),
            ("latest", ""),
            ("3", ""),
            ("3.5.99999999999999999999", "; the nearest is 3.5.x"),
        ];
        for (wanted, told) in cases {
            let refused = release_for(&definition("store-1"), Some(wanted), &[by_rule()]);
            let text = refused.expect_err(wanted).to_string();
            let known = "there are: 3.6.4, 3.6.x, 3.5.x";
            assert!(text.ends_with(&format!("{known}{told}")), "{text}");
        }
    }
}
