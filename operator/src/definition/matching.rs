//! Which ComponentDefinition a component's `componentDef` means. Pure.
//!
//! KubeBlocks' rule: the exact name wins, else names it is a prefix of, else names it matches as a regular
//! expression; among those that offer the service version the lexically last name wins.

use etcd_operator_api::{ComponentDefinition, ComponentVersion};
use kube::ResourceExt;

use super::pattern::expression;
use super::release::{not_offered, release_for};
use super::unresolved::Unresolved;

/// What a component asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Its `componentDef`.
    pub definition: &'a str,
    /// Its `serviceVersion`, when it has one.
    pub version: Option<&'a str>,
    /// The definition it runs by already: kept while it still fits, so that a newly installed definition does not
    /// restart running members.
    pub current: Option<&'a str>,
}

/// The definition that is meant.
///
/// # Errors
/// When none matches, or none of those that match offers the version.
pub(crate) fn resolve<'a>(
    wanted: Wanted<'_>,
    definitions: &'a [ComponentDefinition],
    versions: &[ComponentVersion],
) -> Result<&'a ComponentDefinition, Unresolved> {
    let candidates = candidates(wanted.definition, definitions);
    let Some(last) = candidates.last() else {
        let wanted = wanted.definition.to_owned();
        return Err(Unresolved::Definition {
            wanted,
            known: names(definitions),
        });
    };
    let offering: Vec<_> = candidates
        .iter()
        .filter(|definition| release_for(definition, wanted.version, versions).is_ok())
        .collect();
    let current = offering
        .iter()
        .find(|d| Some(d.name_any().as_str()) == wanted.current);
    current
        .or(offering.last())
        .map(|found| **found)
        .ok_or_else(|| not_offered(last, wanted.version, versions))
}

/// The definitions that `pattern` means by the strongest way that means any, by name.
fn candidates<'a>(
    pattern: &str,
    definitions: &'a [ComponentDefinition],
) -> Vec<&'a ComponentDefinition> {
    let by = |test: &dyn Fn(&str) -> bool| {
        let mut found: Vec<_> = definitions.iter().filter(|d| test(&d.name_any())).collect();
        found.sort_by_key(|definition| definition.name_any());
        found
    };
    let ways: [&dyn Fn(&str) -> bool; 2] =
        [&|name| name == pattern, &|name| name.starts_with(pattern)];
    let mut found = ways.iter().map(|way| by(*way));
    if let Some(found) = found.find(|found| !found.is_empty()) {
        return found;
    }
    expression(pattern).map_or_else(Vec::new, |expression| by(&|name| expression.is_match(name)))
}

fn names(definitions: &[ComponentDefinition]) -> String {
    let mut names: Vec<_> = definitions.iter().map(ResourceExt::name_any).collect();
    names.sort();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::matches;
    use super::*;

    fn definitions(names: &[&str]) -> Vec<ComponentDefinition> {
        names
            .iter()
            .map(|name| {
                let yaml = format!(
                    "metadata: {{name: {name}}}\nspec: {{serviceVersion: 3.6.1, runtime: {{}}}}"
                );
                serde_saphyr::from_str(&yaml).expect("definition")
            })
            .collect()
    }

    fn found(pattern: &str, names: &[&str], current: Option<&str>) -> Result<String, Unresolved> {
        let definitions = definitions(names);
        let wanted = Wanted {
            definition: pattern,
            version: None,
            current,
        };
        resolve(wanted, &definitions, &[]).map(ResourceExt::name_any)
    }

    #[test]
    fn exact_name_then_prefix_then_expression() {
        let names = ["etcd-3-0.1.0", "etcd-3-0.2.0", "etcd-3", "other"];
        assert_eq!(found("etcd-3", &names, None).as_deref(), Ok("etcd-3"));
        assert_eq!(found("etcd", &names, None).as_deref(), Ok("etcd-3-0.2.0"));
        assert_eq!(
            found("^etcd-3-.*1.0$", &names, None).as_deref(),
            Ok("etcd-3-0.1.0")
        );
    }

    #[test]
    fn an_expression_that_would_be_large_matches_nothing() {
        let large = "e|(((((x{20}){9}){9}){9}){9})";
        assert!(
            regex_lite::Regex::new(large).is_ok(),
            "it is one without a limit"
        );
        assert!(!matches(large, "etcd-3"));
        assert!(found(large, &["etcd-3"], None).is_err());
        let deep = format!("{}e{}", "(".repeat(20), ")".repeat(20));
        assert!(!matches(&deep, "etcd-3"));
        assert!(matches("^etcd-[0-9]+(\\.[0-9]+)*$", "etcd-3.6"));
    }

    #[test]
    fn a_running_component_keeps_its_definition() {
        let names = ["etcd-3-0.1.0", "etcd-3-0.2.0"];
        assert_eq!(
            found("etcd", &names, Some("etcd-3-0.1.0")).as_deref(),
            Ok("etcd-3-0.1.0")
        );
        assert_eq!(
            found("etcd-3-0.2", &names, Some("etcd-3-0.1.0")).as_deref(),
            Ok("etcd-3-0.2.0")
        );
    }

    #[test]
    fn what_is_unknown_is_named_with_what_there_is() {
        let error = found("mysql", &["etcd-3"], None).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            r#"componentDef "mysql" matches no ComponentDefinition, there are: etcd-3"#
        );
        let definitions = definitions(&["etcd-3"]);
        let wanted = Wanted {
            definition: "etcd",
            version: Some("9.9.9"),
            current: None,
        };
        let error = resolve(wanted, &definitions, &[]).expect_err("unknown version");
        assert_eq!(
            error.to_string(),
            r#"serviceVersion "9.9.9" is not offered for componentDef "etcd-3", there are: 3.6.1; the nearest is 3.6.1"#
        );
    }
}
