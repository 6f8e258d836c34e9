//! ComponentVersion: which images make which version of a service. Data and admission rules only.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component_definition::DefinitionPhase;

/// Releases of a service and the definitions that can run them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.kubeblocks.io",
    version = "v1",
    kind = "ComponentVersion",
    status = "ComponentVersionStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cmpv",
    category = "kubeblocks",
    doc = "Releases of a service and the ComponentDefinitions that can run them.",
    printcolumn = r#"{"name":"Versions","type":"string","jsonPath":".status.serviceVersions"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ComponentVersionSpec {
    /// Which definitions can run which releases.
    #[schemars(length(min = 1, max = 128))]
    pub compatibility_rules: Vec<CompatibilityRule>,
    /// The releases.
    #[schemars(length(min = 1, max = 128))]
    pub releases: Vec<Release>,
}

/// Definitions that can run releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompatibilityRule {
    /// Names, prefixes or regular expressions of names of ComponentDefinitions.
    #[schemars(length(min = 1, max = 128))]
    pub comp_defs: Vec<String>,
    /// Names of releases.
    #[schemars(length(min = 1, max = 128))]
    pub releases: Vec<String>,
}

/// Images of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Name of the release.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub changes: Option<String>,
    /// Version of the service that users ask for; `3.6.x` stands for every patch release of a minor.
    #[schemars(length(min = 1, max = 32))]
    pub service_version: String,
    /// Images by container name; `$(SERVICE_VERSION)` in those of a `3.6.x` is the version that was asked for.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 128))]
    pub images: BTreeMap<String, String>,
}

/// What is known of a ComponentVersion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentVersionStatus {
    /// Generation of the spec that the rest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether clusters may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DefinitionPhase>,
    /// Why they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The versions on offer, newest first, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_versions: Option<String>,
}
