//! What a component with running members may become: versions, variables, the cluster domain.

use etcd_operator_api::TerminationPolicy;
use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::volume::RetentionPolicy;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::plan::last_word;
use super::*;

/// As [`shipped`], with members that run these versions; `None` is one whose version is not known.
pub(super) fn running(wished: &str, versions: &[Option<&str>]) -> Observed {
    let plan = planned(&component());
    let mut its = plan.instance_set;
    its.annotations_mut()
        .insert(labels::SERVICE_VERSION.into(), wished.into());
    let status = its.status.get_or_insert_default();
    status.cluster_id = Some("7".into());
    let members = versions
        .iter()
        .enumerate()
        .map(|(at, version)| KnownMember {
            pod_name: format!("ledger-store-{at}"),
            member_id: format!("{at}"),
            version: version.map(str::to_owned),
            ..KnownMember::default()
        });
    status.members = members.collect();
    Observed {
        instance_set: Some(its),
        environment: Some(plan.environment),
        ..shipped()
    }
}

fn asked(version: &str, observed: &Observed) -> Option<String> {
    let mut component = component();
    component.spec.service_version = Some(version.into());
    let told = plan(&component, observed, "cluster.local");
    told.err().map(|error| error.to_string())
}

#[test]
fn versions_are_compared_with_what_members_run() {
    let all = |version| [Some(version); 3];
    let table = [
        // The last spec says 3.6.16, and no member runs it yet.
        ("3.6.16", &all("3.6.1"), "3.7.3", Some("3.6.11 first")),
        ("3.6.16", &all("3.6.16"), "3.7.3", None),
        // What KubeBlocks' upgrade.yaml asks for.
        ("3.6.1", &all("3.6.1"), "3.6.12", None),
        (
            "3.6.16",
            &[Some("3.6.16"), Some("3.6.16"), Some("3.6.1")],
            "3.7.3",
            Some("3.6.11 first"),
        ),
        ("3.5.35", &all("3.5.15"), "3.6.16", Some("3.5.26 first")),
        // etcd is asked first; a member of the older minor holds the way open without that.
        ("3.6.16", &all("3.6.16"), "3.5.35", None),
        ("3.6.16", &all("3.6.16"), "3.5.16", Some("name 3.5.26")),
        ("3.7.3", &all("3.7.3"), "3.5.35", Some("cannot go back")),
        (
            "3.7.3",
            &[Some("3.7.3"), Some("3.6.16"), Some("3.6.16")],
            "3.6.16",
            None,
        ),
        ("3.7.3", &all("3.7.3"), "3.6.16", None),
        (
            "3.6.16",
            &[Some("3.6.16"), Some("3.6.16"), None],
            "3.7.3",
            Some("ledger-store-2 runs is not known"),
        ),
        (
            "3.6.16",
            &[Some("3.6.16"), Some("3.6.16"), None],
            "3.6.1",
            None,
        ),
    ];
    for (wished, versions, to, refused) in table {
        let told = asked(to, &running(wished, versions));
        match (&told, refused) {
            (None, None) => {}
            (Some(told), Some(word)) if told.contains(word) => {}
            _ => panic!("{wished} {versions:?} to {to}: {told:?}"),
        }
    }
}

#[test]
fn pods_stay_as_they_are_until_3_7_can_read_every_members_log() {
    let its = |to: &str, observed: &Observed| {
        let mut wish = component();
        wish.spec.service_version = Some(to.into());
        // What else comes before another minor has tests of its own.
        let without = [labels::WITHOUT_BACKUP, labels::WITHOUT_V2_CHECK];
        let without = without.map(|name| (name.to_owned(), "true".to_owned()));
        wish.annotations_mut().extend(without);
        let plan = plan(&wish, observed, "cluster.local").expect("plan");
        let of = |name: &str| plan.instance_set.annotations().get(name).cloned();
        let version = of(labels::SERVICE_VERSION).expect("a version");
        (version, of(labels::UPGRADE))
    };
    let told = |version: &str, to: Option<&str>| (version.to_owned(), to.map(str::to_owned));
    let mut observed = running("3.6.16", &[Some("3.6.16"); 3]);
    assert_eq!(its("3.7.3", &observed), told("3.6.16", Some("3.7")));
    let live = observed.instance_set.as_mut().expect("an InstanceSet");
    live.status.get_or_insert_default().readable_by = Some("3.7".into());
    assert_eq!(its("3.7.3", &observed), told("3.7.3", Some("3.7")));
    // Once pods are made for it that stays so, and nothing else waits for logs.
    let mixed = [Some("3.7.3"), Some("3.6.16"), Some("3.6.16")];
    assert_eq!(
        its("3.7.3", &running("3.7.3", &mixed)),
        told("3.7.3", Some("3.7"))
    );
    let all = running("3.7.0", &[Some("3.7.0"); 3]);
    assert_eq!(its("3.7.3", &all), told("3.7.3", None));
    let older = running("3.5.35", &[Some("3.5.35"); 3]);
    assert_eq!(its("3.6.16", &older), told("3.6.16", None));
}

#[test]
fn pods_stay_as_they_are_until_the_older_minor_can_read_every_members_data() {
    let mut wish = component();
    wish.spec.service_version = Some("3.5.35".into());
    let without = (labels::WITHOUT_BACKUP.to_owned(), "true".to_owned());
    wish.annotations_mut().extend([without]);
    let mut observed = running("3.6.16", &[Some("3.6.16"); 3]);
    let its = |observed: &Observed| {
        let plan = plan(&wish, observed, "cluster.local").expect("plan");
        let of = |name: &str| plan.instance_set.annotations().get(name).cloned();
        let image = container(&pod(&plan).1, "etcd").image.clone();
        let version = of(labels::SERVICE_VERSION).expect("a version");
        (version, image.expect("an image"), of(labels::DOWNGRADE))
    };
    let (version, image, target) = its(&observed);
    assert_eq!(
        (version.as_str(), target.as_deref()),
        ("3.6.16", Some("3.5"))
    );
    assert!(image.ends_with("3.6.16"), "{image}");

    let live = observed.instance_set.as_mut().expect("an InstanceSet");
    live.status.get_or_insert_default().readable_by = Some("3.5".into());
    let (version, image, target) = its(&observed);
    assert_eq!(
        (version.as_str(), target.as_deref()),
        ("3.5.35", Some("3.5"))
    );
    assert!(image.ends_with("3.5.35"), "{image}");

    // Once pods are made for it that stays so, whatever a member that is unavailable does not say.
    let mixed = [Some("3.5.35"), Some("3.6.16"), Some("3.6.16")];
    let (version, _, target) = its(&running("3.5.35", &mixed));
    assert_eq!(
        (version.as_str(), target.as_deref()),
        ("3.5.35", Some("3.5"))
    );
    let (version, _, target) = its(&running("3.5.35", &[Some("3.5.35"); 3]));
    assert_eq!((version.as_str(), target), ("3.5.35", None));
}

#[test]
fn a_cluster_that_never_formed_may_take_any_version() {
    let mut observed = running("3.7.3", &[]);
    let its = observed.instance_set.as_mut().expect("an InstanceSet");
    its.status = None;
    assert_eq!(asked("3.5.35", &observed), None);
}

#[test]
fn variables_that_etcd_or_the_operator_reads_are_refused() {
    for name in [
        "ETCD_FORCE_NEW_CLUSTER",
        "ETCD_NAME",
        "KB_BOOTSTRAP_MEMBERS",
        "POD_NAME",
        "POD_IP",
        "POD_IPS",
    ] {
        let mut component = component();
        component.spec.env.push(EnvVar {
            name: name.into(),
            ..EnvVar::default()
        });
        let told = refused(&component, &shipped());
        assert!(told.contains(&format!("env[{name}] is reserved")), "{told}");
    }
}

#[test]
fn labels_and_annotations_are_checked_and_reach_pods_and_services() {
    let mut component = component();
    component.spec.labels.insert("team".into(), "blue".into());
    let plan = planned(&component);
    let (template, _) = pod(&plan);
    assert_eq!(
        template.metadata.and_then(|m| m.labels).expect("labels")["team"],
        "blue"
    );
    assert_eq!(plan.services[0].labels()["team"], "blue");
    component.spec.labels.insert("team".into(), "b c".into());
    let told = refused(&component, &shipped());
    assert!(told.starts_with("labels[team] has a value"), "{told}");
    component.spec.labels.clear();
    let fence = labels::ROLE_FENCE.to_owned();
    component.spec.annotations.insert(fence, "9".into());
    let told = refused(&component, &shipped());
    assert!(told.contains("is the operator's own"), "{told}");
}

#[test]
fn a_restart_stays_done_when_its_annotation_is_taken_out() {
    let mut manifest = component();
    let restarted = planned(&manifest).instance_set;
    let observed = Observed {
        instance_set: Some(restarted.clone()),
        ..shipped()
    };
    manifest.spec.annotations.clear();
    let again = plan(&manifest, &observed, "cluster.local").expect("plan");
    assert_eq!(again.instance_set.spec.template, restarted.spec.template);
    manifest
        .spec
        .annotations
        .insert(labels::RESTART.into(), "again".into());
    let again = plan(&manifest, &observed, "cluster.local").expect("plan");
    assert_ne!(again.instance_set.spec.template, restarted.spec.template);
}

#[test]
fn policies_reach_the_instance_set_also_with_its_deletion() {
    let mut held = component();
    held.spec.termination_policy = TerminationPolicy::DoNotTerminate;
    let its = planned(&held).instance_set;
    assert_eq!(its.annotations()[labels::TERMINATION_POLICY], labels::HELD);
    let read = |its: &InstanceSet| Desired::read(its, "cluster.local").expect("it is read");
    assert!(read(&its).keep_when_deleted, "nothing of it goes");
    let mut deleted = its.clone();
    deleted.metadata.deletion_timestamp = Some(at(1));
    assert!(read(&deleted).held && !read(&deleted).deleting);

    // The policy is changed and the Cluster deleted at once: the Component is not planned any more.
    let mut going = held;
    going.spec.termination_policy = TerminationPolicy::Delete;
    let retention = RetentionPolicy {
        when_deleted: Some(Retention::Retain),
        when_scaled: None,
    };
    going.spec.persistent_volume_claim_retention_policy = Some(retention);
    let word = last_word(&going, &its).expect("it has something to say");
    let annotation = &word["metadata"]["annotations"][labels::TERMINATION_POLICY];
    assert!(annotation.is_null());
    let policy = &word["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(policy["whenDeleted"], "Retain");
    assert_eq!(last_word(&going, &planned(&going).instance_set), None);
}

#[test]
fn the_definitions_quota_gives_way_to_a_claim_that_does_not_hold_it() {
    let quota = |size: &str| {
        let mut component = component();
        let requests = &mut component.spec.volume_claim_templates[0]
            .spec
            .resources
            .requests;
        requests.insert("storage".into(), Quantity(size.into()));
        let (_, spec) = pod(&planned(&component));
        let args = container(&spec, "etcd").args.clone().unwrap_or_default();
        let mut quotas = args
            .iter()
            .filter_map(|arg| arg.strip_prefix("--quota-backend-bytes="));
        (quotas.next().map(str::to_owned), quotas.next().is_none())
    };
    assert_eq!(quota("20Gi"), (Some("2147483648".into()), true));
    assert_eq!(quota("1Gi"), (Some("536870912".into()), true));
}

#[test]
fn a_cluster_that_has_formed_keeps_its_domain() {
    let observed = running("3.6.1", &[Some("3.6.1"); 3]);
    let told = |observed: &Observed, domain: &str| {
        let told = plan(&component(), observed, domain);
        told.err().map(|error| error.to_string())
    };
    assert_eq!(told(&observed, "cluster.local"), None);
    let error = told(&observed, "example.org").expect("it is refused");
    assert!(
        error.contains("svc.cluster.local") && error.contains("set it back"),
        "{error}"
    );
    let mut young = observed;
    if let Some(status) = young
        .instance_set
        .as_mut()
        .and_then(|its| its.status.as_mut())
    {
        status.cluster_id = None;
    }
    assert_eq!(
        told(&young, "example.org"),
        None,
        "a first start may be corrected"
    );
}
