//! Labels and annotations that owners give: what Kubernetes takes, and what is not the operator's own. Pure.

use std::collections::BTreeMap;

use etcd_operator_api::labels;

/// Longest name or value.
const LONGEST: usize = 63;
/// Longest prefix of a key.
const LONGEST_PREFIX: usize = 253;
/// Prefixes of annotations that Kubernetes' controllers of volumes write on claims, and believe.
const OF_VOLUMES: [&str; 3] = [
    "pv.kubernetes.io",
    "volume.kubernetes.io",
    "volume.beta.kubernetes.io",
];

/// What labels and annotations are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// Of pods, and of what goes with them: values are names.
    Labels,
    /// Of pods: values are any text.
    Annotations,
    /// Of claims: values are names.
    ClaimLabels,
    /// Of claims: values are any text.
    ClaimAnnotations,
    /// Of services: values are any text.
    ServiceAnnotations,
}

/// A label or annotation that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}[{key}] {why}")]
pub(crate) struct BadMetadata {
    field: String,
    key: String,
    why: &'static str,
}

/// Checks all of `given`, which is the value of `field`.
///
/// # Errors
/// With the first that cannot be had.
pub(crate) fn check_metadata(
    kind: Metadata,
    field: &str,
    given: &BTreeMap<String, String>,
) -> Result<(), BadMetadata> {
    let names = matches!(kind, Metadata::Labels | Metadata::ClaimLabels);
    for (key, value) in given {
        let wrong = if !is_key(key) {
            Some(
                "is no key that Kubernetes takes: up to 63 letters, digits, '-', '_', '.', and a DNS prefix",
            )
        } else if is_reserved(kind, key) {
            Some("is the operator's own: take it out")
        } else if kind == Metadata::ClaimAnnotations && OF_VOLUMES.contains(&prefix(key)) {
            Some(
                "is what Kubernetes itself writes on claims: take it out, and name a class in storageClassName",
            )
        } else if names && !value.is_empty() && !is_name(value) {
            Some(
                "has a value that Kubernetes does not take: up to 63 letters, digits, '-', '_', '.'",
            )
        } else {
            None
        };
        if let Some(why) = wrong {
            let (field, key) = (field.to_owned(), key.clone());
            return Err(BadMetadata { field, key, why });
        }
    }
    Ok(())
}

/// True for a label that the operator gives, or finds its objects by. Services, budgets and the role path live by it.
pub(crate) fn is_own_label(key: &str) -> bool {
    let own = [
        labels::MANAGED_BY,
        labels::INSTANCE,
        labels::COMPONENT,
        labels::REVISION,
    ];
    is_ours(key) || own.contains(&key)
}

/// True for a key of KubeBlocks and so of the operator.
pub(crate) fn is_ours(key: &str) -> bool {
    let prefix = prefix(key);
    prefix == "kubeblocks.io" || prefix.ends_with(".kubeblocks.io")
}

fn is_reserved(kind: Metadata, key: &str) -> bool {
    match kind {
        Metadata::Labels | Metadata::ClaimLabels => is_own_label(key),
        // A new value of it restarts pods.
        Metadata::Annotations => is_ours(key) && key != labels::RESTART,
        Metadata::ClaimAnnotations => is_ours(key),
        // They are for Prometheus, and the operator itself puts them on the headless service alone.
        Metadata::ServiceAnnotations => is_ours(key) && !key.starts_with(labels::MONITOR_PREFIX),
    }
}

fn prefix(key: &str) -> &str {
    key.split_once('/').map_or("", |(prefix, _)| prefix)
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let part = |part: &str| {
        let inner = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    let dns = |prefix: &str| prefix.len() <= LONGEST_PREFIX && prefix.split('.').all(part);
    is_name(name) && prefix.is_none_or(dns)
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    text.len() <= LONGEST && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_takes_and_the_operator_does_not_own_is_taken() {
        let long = "x".repeat(64);
        let table = [
            (Metadata::Labels, "team", "blue", None),
            (Metadata::Labels, "example.org/team", "", None),
            (
                Metadata::Labels,
                "team",
                "b c",
                Some("labels[team] has a value"),
            ),
            (Metadata::Labels, "team", long.as_str(), Some("has a value")),
            (Metadata::Labels, "a b", "x", Some("no key")),
            (Metadata::Labels, "Example.org/a", "x", Some("no key")),
            (Metadata::Labels, "/a", "x", Some("no key")),
            (Metadata::Labels, "-a", "x", Some("no key")),
            (Metadata::Labels, labels::ROLE, "leader", Some("own")),
            (Metadata::Labels, labels::INSTANCE, "x", Some("own")),
            (Metadata::Annotations, "note", "b c", None),
            (Metadata::Annotations, labels::RESTART, "now", None),
            (Metadata::Annotations, labels::ROLE_FENCE, "9", Some("own")),
            (Metadata::Annotations, "", "", Some("no key")),
            (Metadata::ClaimLabels, "team", "blue", None),
            (Metadata::ClaimLabels, "team", "b c", Some("has a value")),
            (Metadata::ClaimLabels, labels::POD_NAME, "x", Some("own")),
            (Metadata::ClaimAnnotations, "note", "b c", None),
            (
                Metadata::ClaimAnnotations,
                labels::RESTART,
                "now",
                Some("own"),
            ),
            (
                Metadata::ClaimAnnotations,
                "pv.kubernetes.io/bind-completed",
                "yes",
                Some("Kubernetes itself writes"),
            ),
            (
                Metadata::ServiceAnnotations,
                "monitor.kubeblocks.io/scrape",
                "true",
                None,
            ),
            (
                Metadata::ServiceAnnotations,
                labels::RESTART,
                "now",
                Some("own"),
            ),
        ];
        for (kind, key, value, refused) in table {
            let given = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let told = check_metadata(kind, "labels", &given);
            let told = told.err().map(|e| e.to_string());
            match (&told, refused) {
                (None, None) => {}
                (Some(told), Some(word)) if told.contains(word) => {}
                _ => panic!("{key}={value}: {told:?}"),
            }
        }
    }
}
