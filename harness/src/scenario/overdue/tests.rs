//! What a replacement must look like, and each way in which it may not be one.

use serde_json::json;

use super::*;
use crate::cluster::{Repository, assert_is_shell};
use crate::scenario::state::{Listed, PodState};

const MINUTES: u16 = 5;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// Three members, each on a node of its own.
fn state() -> State {
    let pod = |n: u32| {
        let state = PodState {
            uid: format!("uid-{n}"),
            member: (10 + n).to_string(),
            node: format!("n-{n}"),
            ..PodState::default()
        };
        (format!("q-{n}"), state)
    };
    let member = |n: u32| Listed {
        id: (10 + n).to_string(),
        name: format!("q-{n}"),
        learner: false,
    };
    State {
        pods: (0..3).map(pod).collect(),
        members: (0..3).map(member).collect(),
    }
}

/// The same when the member of q-1 is another one, on another node.
fn replaced() -> State {
    let mut state = state();
    let pod = state.pods.get_mut("q-1").expect("a pod");
    pod.uid = "uid-new".to_owned();
    pod.member = "255".to_owned();
    pod.node = "n-3".to_owned();
    state.members[1].id = "255".to_owned();
    state
}

fn volumes(of_second: &str) -> BTreeMap<String, String> {
    let all = [("q-0", "v-0"), ("q-1", of_second), ("q-2", "v-2")];
    all.map(|(pod, volume)| (pod.to_owned(), volume.to_owned()))
        .into()
}

fn before() -> Before {
    Before {
        state: state(),
        volumes: volumes("v-1"),
    }
}

fn old() -> Old {
    let hit = [Target::Node("n-1".to_owned())];
    before().hit(&hit).expect("a member")
}

/// What the operator records of a node that was not ready since second 1000.
fn steps() -> Vec<Recorded> {
    let removal = "remove q-1 (member b): the volume of claim data-q-1 is there: node n-1 has not been ready for 5 \
                   minutes, and the owner allows 5";
    let all = [
        (DELETE, "force-delete pod q-1: its node", 1300),
        (REMOVE, removal, 1300),
        ("CreatePod", "create pod q-0", 5),
        ("AddLearner", "add q-1 as a learner", 1302),
        ("Promote", "promote learner q-1 (member ff) to voter", 1310),
    ];
    let step = |(reason, note, second): (&str, &str, i64)| Recorded {
        reason: reason.to_owned(),
        note: note.to_owned(),
        at: at(second),
        times: 1,
    };
    all.map(step).to_vec()
}

fn wrong(steps: &[Recorded]) -> Option<String> {
    wrong_record(steps, &old(), &replaced(), (at(1000), MINUTES))
}

#[test]
fn a_replacement_is_on_record_when_its_time_is_over() {
    assert_eq!(wrong(&steps()), None);
    for (place, step) in steps().iter().enumerate() {
        if step.reason == "CreatePod" {
            continue;
        }
        let mut early = steps();
        early[place].at = Timestamp::from_millisecond(1_299_999).expect("a time");
        let told = wrong(&early).expect("it came too soon");
        assert!(told.contains("not been ready for 300.0 s"), "{told}");
        early[place].at = at(900);
        let told = wrong(&early).expect("it came before all");
        assert!(told.contains("not been ready for -100.0 s"), "{told}");
    }
}

#[test]
fn each_step_of_a_replacement_is_on_record_once_and_in_order() {
    for (place, step) in steps().iter().enumerate() {
        if step.reason == "CreatePod" {
            continue;
        }
        let reason = &step.reason;
        let mut changed = steps();
        changed.remove(place);
        let told = wrong(&changed).expect("it is missing");
        assert!(told.contains(&format!("0 events {reason}")), "{told}");
        changed.extend([step.clone(), step.clone()]);
        let told = wrong(&changed).expect("it was done by two");
        assert!(told.contains(&format!("2 events {reason}")), "{told}");
        let mut changed = steps();
        changed[place].times = 2;
        assert!(wrong(&changed).is_some(), "{reason} twice");
        let mut changed = steps();
        changed[place].note = step.note.replace("q-1", "q-2");
        assert!(wrong(&changed).is_some(), "{reason} of another");
    }
    for (place, second) in [(1, 1303), (3, 1311)] {
        let mut changed = steps();
        changed[place].at = at(second);
        let told = wrong(&changed).expect("a disorder");
        assert!(told.contains("before what it needs"), "{told}");
    }
    let mut other = steps();
    other[1].note = "remove q-1 (member b): its data is lost".to_owned();
    assert!(wrong(&other).is_some_and(|told| told.contains("the owner allows 5")));
    // The member that is removed is the old one, the one that gets its vote the new one.
    for (place, id) in [(1, "(member b)"), (4, "(member ff)")] {
        let mut other = steps();
        other[place].note = other[place].note.replace(id, "(member a)");
        assert!(wrong(&other).is_some(), "{id}");
    }
}

#[test]
fn only_events_of_the_instance_set_are_its_record() {
    let event = |kind: &str, name: &str| -> Event {
        let event = json!({ "metadata": {}, "reason": "Promote", "note": "promote",
            "eventTime": "1970-01-01T00:00:07.000000Z", "regarding": { "kind": kind, "name": name },
            "series": { "count": 3, "lastObservedTime": "1970-01-01T00:00:09.000000Z" } });
        serde_json::from_value(event).expect("an event")
    };
    let read = record(&event("InstanceSet", "q"), "q").expect("a step");
    assert_eq!(
        (read.reason.as_str(), read.at, read.times),
        ("Promote", at(7), 3)
    );
    assert_eq!(record(&event("Component", "q"), "q"), None);
    assert_eq!(record(&event("InstanceSet", "r"), "q"), None);
}

#[test]
fn the_operator_says_it_in_these_words() {
    let repository = Repository::find().expect("the repository");
    let read = |path: &str| repository.read(path).expect("a file of the operator");
    let events = read("operator/src/instanceset/events.rs");
    for words in [
        "\"force-delete pod\"",
        "\"{how} {name}: {why}\"",
        "\"remove {pod} (member {member}): {why}\"",
        "\"add {pod} as a learner\"",
        "\"promote learner {pod} (member {member}) to voter\"",
        "\"DeletePod\"",
        "\"RemoveMember\"",
        "\"AddLearner\"",
        "\"Promote\"",
    ] {
        assert!(events.contains(words), "{words}");
    }
    let why = read("operator/src/instanceset/unreachable.rs");
    assert!(why.contains("minutes, and the owner allows {}\""));
}

#[test]
fn the_new_member_is_on_another_node_and_the_others_are_as_before() {
    let told = |after: &State| not_replaced(&state(), after, &old());
    assert_eq!(told(&replaced()), None);
    let changed = |change: &dyn Fn(&mut State)| {
        let mut after = replaced();
        change(&mut after);
        told(&after).expect("it is seen")
    };
    assert!(told(&state()).is_some(), "nothing was done");
    assert!(
        changed(&|state| state.pods.get_mut("q-1").expect("a pod").node = "n-1".to_owned())
            .contains("node n-1")
    );
    assert!(
        changed(&|state| state.pods.get_mut("q-1").expect("a pod").uid = "uid-1".to_owned())
            .contains("before")
    );
    assert!(changed(&|state| state.members[1].learner = true).contains("learner"));
    assert!(changed(&|state| drop(state.members.remove(2))).contains("2 members"));
    let still_listed = changed(&|state| {
        let mut member = state.members[1].clone();
        member.id = "11".to_owned();
        state.members.push(member);
    });
    assert!(still_listed.contains("4 members"), "{still_listed}");
    let another = changed(&|state| {
        state.pods.get_mut("q-2").expect("a pod").member = "99".to_owned();
        state.members[2].id = "99".to_owned();
    });
    assert!(another.contains("q-2 has lost its member 12"), "{another}");
}

#[test]
fn a_node_that_returns_changes_nothing() {
    assert_eq!(changed(&replaced(), &replaced()), None);
    assert!(
        changed(&replaced(), &state()).is_some(),
        "the old one is back"
    );
    let mut more = replaced();
    more.members.push(state().members[1].clone());
    assert!(changed(&replaced(), &more).is_some(), "it is listed again");
    let mut moved = replaced();
    moved.pods.get_mut("q-0").expect("a pod").uid.push('b');
    assert!(changed(&replaced(), &moved).is_some(), "another pod");
    assert_eq!(used_again(&volumes("v-9"), &old()), None);
    let used = used_again(&volumes("v-1"), &old()).expect("it is used");
    assert!(used.contains("pod q-1") && used.contains("v-1"), "{used}");
}

#[test]
fn one_member_is_hit_or_the_run_proves_nothing() {
    let expected = Old {
        pod: "q-1".to_owned(),
        uid: "uid-1".to_owned(),
        member: "11".to_owned(),
        node: "n-1".to_owned(),
        volume: "v-1".to_owned(),
    };
    assert_eq!(old(), expected);
    let node = |name: &str| Target::Node(name.to_owned());
    for hit in [vec![], vec![node("n-9")], vec![node("n-1"), node("n-2")]] {
        assert!(before().hit(&hit).is_err(), "{hit:?}");
    }
    let mut unbound = before();
    unbound.volumes.remove("q-1");
    assert!(
        unbound.hit(&[node("n-1")]).is_err(),
        "its volume is not known"
    );
}

#[test]
fn a_node_says_since_when_it_is_not_ready() {
    let of = |status: &str| {
        let conditions = json!([{ "type": "MemoryPressure", "status": "Unknown" },
            { "type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:16:40Z" }]);
        let node = json!({ "metadata": {}, "status": { "conditions": conditions } });
        not_ready(&serde_json::from_value(node).expect("a node"))
    };
    assert_eq!(of("Unknown"), Some(at(1000)));
    assert_eq!(of("False"), Some(at(1000)));
    assert_eq!(of("True"), None);
}

#[test]
fn the_script_is_valid_shell_and_finds_both_forms_of_a_name() {
    let script = script("1b-2c");
    assert_is_shell(&script);
    assert!(script.contains("pod1b[-_]2c"));
}

#[test]
fn identifiers_are_those_of_the_events() {
    assert_eq!(id("18446744073709551615"), "ffffffffffffffff");
    assert_eq!(id("11"), "b");
}
