//! Volumes that grow: the edit, its refusals, and what is taken for evidence.

use serde_json::json;

use super::*;

/// KubeBlocks' own example.
const EXPAND: &str = "{type: VolumeExpansion, volumeExpansion: [{componentName: etcd, volumeClaimTemplates: [{name: data, storage: 30Gi}]}]}";

#[test]
fn the_size_is_edited_and_the_former_one_is_on_record() {
    let (request, edited, _) = begun(EXPAND);
    let template = &edited.spec.component_specs[0].volume_claim_templates[0];
    assert_eq!(template.spec.resources.requests["storage"].0, "30Gi");
    let last = &request.status.expect("recorded").last_configuration;
    assert_eq!(last.components["etcd"].storage["data"].0, "20Gi");
}

#[test]
fn volumes_have_grown_when_claims_and_the_file_systems_in_pods_say_so() {
    let (request, edited, _) = begun(EXPAND);
    let told = |volumes: &[(&str, Option<i64>)]| {
        let mut set = set(3, 3, 0);
        set.spec.volume_claim_templates = edited.spec.component_specs[0]
            .volume_claim_templates
            .clone();
        let volumes = volumes.iter().enumerate().map(|(at, (capacity, bytes))| {
            json!({ "name": "data", "podName": format!("db-etcd-{at}"), "requested": "30Gi",
                "capacity": capacity, "fileSystemBytes": bytes })
        });
        let volumes = serde_json::Value::Array(volumes.collect());
        set.status.get_or_insert_default().volumes =
            serde_json::from_value(volumes).expect("volumes");
        let decision = decide(&request, &seen(edited.clone(), set), &at(9));
        let components = decision.status.components.values();
        let mut details = components.flat_map(|component| &component.progress_details);
        let lacks = details.find_map(|detail| detail.message.clone());
        let text = lacks.unwrap_or_else(|| message(&decision, ConditionType::Succeed));
        (phase(&decision), text)
    };
    let full = Some(31_526_391_808);
    let running = Some(OpsPhase::Running);
    for (volumes, lacks) in [
        (&[("20Gi", full); 3], "has 20Gi, not 30Gi"),
        (&[("30Gi", None); 3], "file system was not seen"),
        (
            &[("30Gi", full), ("30Gi", Some(20 << 30)), ("30Gi", full)],
            "file system has 21474836480 bytes",
        ),
    ] {
        let (phase, text) = told(volumes);
        assert!(phase == running && text.contains(lacks), "{text}");
    }
    let (phase, text) = told(&[("30Gi", full); 2]);
    assert!(
        phase == running && text.contains("was not seen yet"),
        "{text}"
    );
    let (phase, text) = told(&[("30Gi", full); 3]);
    assert_eq!(phase, Some(OpsPhase::Succeed), "{text}");
    assert!(
        text.contains("data-db-etcd-2: 30Gi, a file system of 31526391808 bytes"),
        "{text}"
    );
}

#[test]
fn templates_that_are_not_there_or_named_twice_are_refused() {
    let refusal = |spec: &str| {
        let seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
        let decision = decide(&request("a", 0, spec), &seen, &at(1));
        message(&decision, ConditionType::Validated)
    };
    let other = EXPAND.replace("data", "wal");
    assert!(refusal(&other).contains("\"wal\" is no claim template of the component: data"));
    let twice = EXPAND.replace("30Gi}", "30Gi}, {name: data, storage: 40Gi}");
    assert!(refusal(&twice).contains("twice"), "{}", refusal(&twice));
}
