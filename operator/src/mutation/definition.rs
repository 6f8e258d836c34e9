//! Definitions: what a change of one does to a Cluster that runs by it, and to one that is new.

use serde_json::Value;

use super::*;

/// Fields of a ComponentDefinition of which nothing comes, and why.
const SILENT: &[(&str, &str)] = &[
    ("description", WORDS),
    ("lifecycleActions.memberJoin.http.path", ONE_VALUE),
    ("lifecycleActions.memberJoin.http.port", ONE_VALUE),
    ("lifecycleActions.memberLeave.http.path", ONE_VALUE),
    ("lifecycleActions.memberLeave.http.port", ONE_VALUE),
    ("lifecycleActions.roleProbe.http.path", ONE_VALUE),
    ("lifecycleActions.roleProbe.http.port", ONE_VALUE),
    ("lifecycleActions.switchover.http.path", ONE_VALUE),
    ("lifecycleActions.switchover.http.port", ONE_VALUE),
    ("provider", WORDS),
    ("serviceKind", WORDS),
];

const WORDS: &str = "it tells people what the definition is";

const DEFINITION: &str = include_str!("../../../deploy/40-componentdefinition.yaml");

#[test]
fn every_field_of_a_definition_has_an_effect_or_is_refused() {
    let cluster: Value = serde_saphyr::from_str(CLUSTER).expect("YAML");
    let (components, sets) = running(&cluster);
    let mut cluster: Cluster = serde_json::from_value(cluster).expect("a Cluster");
    // No ComponentVersion stands between the definition and the images.
    cluster.spec.component_specs[0].service_version = None;
    // One Cluster names the services that it wants, the other one takes what there is.
    let mut plain = cluster.clone();
    plain.spec.component_specs[0].services.clear();
    let base: Value = serde_saphyr::from_str(DEFINITION).expect("YAML");
    let becomes = |object: &Value| -> Result<_, String> {
        let definition: ComponentDefinition =
            serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        if let Some(wrong) = check_definition(&definition).message {
            return Err(wrong);
        }
        let mut all = Vec::new();
        let runs = (&cluster, &components[..], &sets[..]);
        for (cluster, components, sets) in [runs, (&plain, &[], &[])] {
            let (planned, services) =
                cluster::tests::objects::of_definition(cluster, components, &definition)?;
            for (at, component) in planned.iter().enumerate() {
                let its = sets.get(at);
                let (its, others) =
                    component::tests::objects::of_definition(component, its, &definition)?;
                all.push((json!(component), services.clone(), others, read(&its)?));
            }
        }
        Ok(all)
    };
    let leaves = leaves_of::<ComponentDefinition>();
    assert!(leaves.len() > 40, "{} leaves", leaves.len());
    compare(
        &silent(&leaves, &base, becomes),
        SILENT,
        "a ComponentDefinition",
    );
}
