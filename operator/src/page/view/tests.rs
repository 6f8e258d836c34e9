//! States, bounds and hostile names of the view.

use kbagent_protocol::Id;

use super::*;
use crate::fake_agent;

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

fn running_view(pod: &str, leads: bool, applied: u64) -> MemberView {
    let status = MemberStatus {
        leader_id: Some(Id(1)),
        raft_index: 120,
        applied_index: applied,
        db_size_bytes: 25_000,
        db_size_in_use_bytes: 9_000,
        db_quota_bytes: Some(2 << 30),
        ..fake_agent::status(Id(if leads { 1 } else { 2 }))
    };
    fake_agent::view(pod, "u", status)
}

fn add(facts: &mut Facts, namespace: &str, name: &str, phase: &str) {
    let set = format!("{name}-etcd");
    let cluster = ClusterFacts {
        phase: Some(phase.to_owned()),
        message: None,
    };
    facts.clusters.insert(key(namespace, name), cluster);
    let counts = SetFacts {
        cluster: name.to_owned(),
        wanted: 3,
        ready: 3,
        ..SetFacts::default()
    };
    facts.sets.insert(key(namespace, &set), counts);
    for ordinal in 0..3_u64 {
        let pod = format!("{set}-{ordinal}");
        let leads = ordinal == 1;
        let applied = if ordinal == 2 { 100 } else { 120 };
        let one = PodFacts {
            set: set.clone(),
            label: Some(if leads { "leader" } else { "follower" }.to_owned()),
            view: Some((running_view(&pod, leads, applied), false)),
        };
        facts.pods.insert(key(namespace, &pod), one);
    }
}

fn pod<'a>(facts: &'a mut Facts, name: &str) -> &'a mut PodFacts {
    facts.pods.get_mut(&key("shop", name)).expect("a pod")
}

/// What a Cluster says that names no definition, as `cluster::resolution` words it.
const REFUSED: &str =
    "spec.componentSpecs[etcd].componentDef is empty: name a ComponentDefinition, e.g. etcd";

/// One cluster of each state, and one that was refused.
pub(in crate::page) fn facts() -> Facts {
    let mut facts = Facts::default();
    add(&mut facts, "shop", "orders", "Running");
    add(&mut facts, "shop", "new", "Updating");
    add(&mut facts, "shop", "full", "Running");
    let refused = ClusterFacts {
        phase: Some("Failed".into()),
        message: Some(REFUSED.into()),
    };
    facts.clusters.insert(key("archive", "refused"), refused);
    let waiting = (
        "CatchingUp".to_owned(),
        "new-etcd-2 has applied 100 of 120".to_owned(),
    );
    if let Some(set) = facts.sets.get_mut(&key("shop", "new-etcd")) {
        (set.ready, set.waiting) = (2, vec![waiting]);
    }
    if let Some((view, silent)) = &mut pod(&mut facts, "full-etcd-2").view {
        (view.sequence, *silent) = (2, true);
    }
    if let Some((view, _)) = &mut pod(&mut facts, "full-etcd-0").view
        && let Some(status) = &mut view.status
    {
        status.alarms = vec!["NOSPACE".into()];
        status.db_size_bytes = (2 << 30) - 5000;
    }
    let failover = FailoverView {
        at: "2026-11-28T11:58:03Z".parse().expect("a time"),
        from: "orders-etcd-0".into(),
        to: "orders-etcd-1".into(),
        term: 3,
        seen_first: "the old leader was lost",
        unlabelled_ms: Some(12),
        labelled_ms: 140,
        endpoints_ms: Some(171),
    };
    facts
        .failovers
        .insert(key("shop", "orders-etcd"), vec![failover]);
    facts
}

/// One cluster all of whose texts are `mark`.
pub(in crate::page) fn hostile(mark: &str) -> Facts {
    let mut facts = Facts::default();
    let said = || mark.to_owned();
    let cluster = ClusterFacts {
        phase: Some(said()),
        message: Some(said()),
    };
    facts.clusters.insert(key(mark, mark), cluster);
    let set = SetFacts {
        cluster: said(),
        waiting: vec![(said(), said())],
        message: Some(said()),
        ..SetFacts::default()
    };
    facts.sets.insert(key(mark, mark), set);
    let mut view = running_view(mark, false, 1);
    if let Some(status) = &mut view.status {
        (status.version, status.alarms) = (said(), vec![said()]);
    }
    let mut one = PodFacts {
        set: said(),
        label: Some("leader".into()),
        view: Some((view.clone(), false)),
    };
    facts.pods.insert(key(mark, mark), one.clone());
    view.etcd = EtcdState::Starting { reason: said() };
    (one.label, one.view) = (Some(said()), Some((view, false)));
    facts.pods.insert(key(mark, &format!("{mark}-2")), one);
    let failover = FailoverView {
        at: Timestamp::UNIX_EPOCH,
        from: said(),
        to: said(),
        term: 1,
        seen_first: "",
        unlabelled_ms: None,
        labelled_ms: 1,
        endpoints_ms: None,
    };
    facts.failovers.insert(key(mark, mark), vec![failover]);
    facts
}

fn names(all: &[ClusterView]) -> Vec<(&str, State)> {
    all.iter()
        .map(|one| (one.name.as_str(), one.state))
        .collect()
}

#[test]
fn what_needs_attention_comes_first() {
    assert_eq!(
        names(&clusters(&facts())),
        [
            ("refused", State::NeedsAttention),
            ("full", State::NeedsAttention),
            ("new", State::Changing),
            ("orders", State::Ok),
        ]
    );
}

#[test]
fn a_running_cluster_whose_service_leads_to_no_one_or_to_two_needs_attention() {
    let mut none = facts();
    pod(&mut none, "orders-etcd-1").label = Some("follower".into());
    assert!(names(&clusters(&none)).contains(&("orders", State::NeedsAttention)));
    let mut two = facts();
    pod(&mut two, "orders-etcd-0").label = Some("leader".into());
    assert!(names(&clusters(&two)).contains(&("orders", State::NeedsAttention)));
}

#[test]
fn members_without_a_cluster_are_shown() {
    let mut facts = facts();
    facts.clusters.remove(&key("shop", "orders"));
    let all = clusters(&facts);
    let orphan = all.iter().find(|one| one.name == "orders").expect("shown");
    assert_eq!(orphan.state, State::NeedsAttention);
    assert_eq!(orphan.components[0].members.len(), 3);
}

#[test]
fn a_silent_member_says_nothing_of_its_term() {
    let all = clusters(&facts());
    let full = all.iter().find(|one| one.name == "full").expect("shown");
    let row = &full.components[0].members[2];
    assert_eq!((row.term, row.lag, row.db_bytes), (None, None, None));
    assert_eq!(row.role.as_deref(), Some("follower"), "the label's");
}

#[test]
fn a_page_is_bounded_and_a_number_too_high_is_the_last_one() {
    let mut facts = Facts::default();
    for number in 0..60 {
        add(&mut facts, "n", &format!("c{number:02}"), "Running");
    }
    let all = clusters(&facts);
    let shown = |number| {
        let view = page(&all, number, "r", Timestamp::UNIX_EPOCH, &[]);
        (view.page, view.pages, view.clusters.len(), view.total)
    };
    assert_eq!(shown(1), (1, 3, PAGE, 60));
    assert_eq!(shown(0), (1, 3, PAGE, 60));
    assert_eq!(shown(usize::MAX), (3, 3, 10, 60));
}

#[test]
fn one_cluster_with_many_pods_and_long_texts_is_cut() {
    let mut facts = hostile(&"x".repeat(100_000));
    let (at, one) = facts.pods.pop_first().expect("a pod");
    for number in 0..100 {
        facts
            .pods
            .insert((at.0.clone(), format!("p{number}")), one.clone());
    }
    let all = clusters(&facts);
    let component = &all[0].components[0];
    assert_eq!(
        (component.members.len(), component.more_members),
        (SHOWN, 85)
    );
    assert!(component.waiting_on[0].message.len() < 1000);
    assert!(component.members[0].alarms[0].len() < 1000);
}

#[test]
fn the_shape_of_the_json_is_version_one() {
    let facts = facts();
    let view = page(
        &clusters(&facts),
        1,
        "operator-0",
        Timestamp::UNIX_EPOCH,
        &[],
    );
    let json = serde_json::to_value(&view).expect("JSON");
    assert_eq!(json["format"], 1);
    let orders = &json["clusters"][3];
    assert_eq!(orders["state"], "ok");
    let component = &orders["components"][0];
    assert_eq!(
        component["serviceLeadsTo"],
        serde_json::json!(["orders-etcd-1"])
    );
    assert_eq!(
        component["members"][2],
        serde_json::json!({ "pod": "orders-etcd-2", "role": "follower", "term": 3, "lag": 20, "dbBytes": 25000,
            "quotaBytes": 2147483648_u64, "version": "3.6.16", "alarms": [], "trouble": null })
    );
    assert_eq!(
        component["failovers"][0],
        serde_json::json!({ "at": "2026-11-28T11:58:03Z", "from": "orders-etcd-0", "to": "orders-etcd-1", "term": 3,
            "seenFirst": "the old leader was lost", "unlabelledMs": 12, "labelledMs": 140, "endpointsMs": 171 })
    );
}
