//! Care of databases over the model world.

use etcd_operator_api::condition::Reason;
use etcd_operator_api::defragmentation::DefragmentationStep;
use kbagent_protocol::{Alarm, AlarmKind, Id};

use super::plan;
use super::tests::{grown, in_order, is_whole, settle};
use super::world::World;
use crate::instanceset::events::summary;

const MIB: u64 = 1024 * 1024;

/// Three members led by `a-0`, with a quota of 16 MiB in the template and databases of these sizes.
fn with_databases(size: u64, in_use: u64) -> World {
    let mut world = grown(3);
    if let Some(spec) = world.desired.template.spec.as_mut() {
        let flag = format!("--quota-backend-bytes={}", 16 * MIB);
        spec.containers[0].args = Some(vec![flag]);
    }
    settle(&mut world);
    world.set_leader("a-0");
    let pods = world.pod_names().into_iter();
    world.databases.sizes = pods.map(|pod| (pod, (size, in_use))).collect();
    (world.databases.live, world.databases.revision) = (MIB, 9);
    world
}

fn member(world: &World, pod: &str) -> Id {
    let member = world.members.iter().find(|member| member.name == pod);
    member.expect("a member").id
}

fn next(world: &World) -> (Vec<String>, Vec<&'static str>) {
    let next = plan(&world.desired, &world.observe());
    let reasons = next.waiting.iter().map(super::Waiting::reason).collect();
    (next.steps.iter().map(summary).collect(), reasons)
}

/// What the condition says, with its reason.
fn alarm_told(world: &World) -> (Reason, String) {
    let status = plan(&world.desired, &world.observe()).status;
    let observations = status.expect("a status").observations;
    let reasons = [Reason::NoAlarm, Reason::NoSpace, Reason::Corrupt];
    let mut told = observations.into_iter();
    let told = told.find(|told| reasons.contains(&told.reason));
    let told = told.expect("the condition");
    (told.reason, told.message)
}

#[test]
fn out_of_space_is_compacted_defragmented_leader_last_and_then_disarmed() {
    let mut world = with_databases(16 * MIB, 15 * MIB);
    world.raise(AlarmKind::NoSpace, "a-1");
    world.raise(AlarmKind::NoSpace, "a-2");
    let told = settle(&mut world);
    let (one, two) = (member(&world, "a-1"), member(&world, "a-2"));
    let expected = [
        "compact the key space through a-0".to_owned(),
        "defragment a-1".to_owned(),
        "defragment a-2".to_owned(),
        "move leadership from a-0 to a-2".to_owned(),
        "defragment a-0".to_owned(),
        format!("disarm NOSPACE of member {one}"),
        format!("disarm NOSPACE of member {two}"),
    ];
    assert_eq!(told, expected);
    assert_eq!(is_whole(&world), Ok(()));
    assert_eq!(alarm_told(&world).0, Reason::NoAlarm);
}

#[test]
fn an_alarm_stands_while_the_data_itself_is_too_large_and_says_quota_and_volume() {
    let mut world = with_databases(16 * MIB, 15 * MIB);
    let requests = &mut world.desired.claims[0].spec.resources.requests;
    let size = serde_json::from_str("\"1Gi\"").expect("a quantity");
    requests.insert("storage".to_owned(), size);
    world.raise(AlarmKind::NoSpace, "a-1");
    world.databases.live = 15 * MIB;
    let told = settle(&mut world);
    let once = |start: &str| told.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (once("compact"), once("defragment"), once("disarm")),
        (1, 3, 0)
    );
    let (steps, reasons) = next(&world);
    assert_eq!((steps, reasons), (Vec::new(), vec!["NoSpace"]));
    let (reason, text) = alarm_told(&world);
    assert_eq!(reason, Reason::NoSpace);
    for part in ["a-1 has 15 MiB", "of 16 MiB", "volume of 1Gi"] {
        assert!(text.contains(part), "{text}");
    }
    // Keys are deleted: it begins again, and this time space is freed.
    (world.databases.live, world.databases.revision) = (MIB, 10);
    let told = settle(&mut world);
    in_order(&told, &["compact", "defragment", "disarm NOSPACE"]);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_quota_that_a_member_tells_outweighs_the_templates() {
    let mut world = with_databases(16 * MIB, MIB);
    world.databases.quota = Some(64 * MIB);
    world.raise(AlarmKind::NoSpace, "a-1");
    assert!(settle(&mut world)[0].starts_with("disarm NOSPACE"));
}

#[test]
fn nobody_is_defragmented_while_another_is_away_or_an_update_goes_on() {
    let mut world = with_databases(16 * MIB, MIB);
    world.raise(AlarmKind::NoSpace, "a-1");
    world.silent = Some("a-2".to_owned());
    let (steps, reasons) = next(&world);
    assert_eq!(steps, Vec::<String>::new());
    assert!(reasons.contains(&"NotAlone"), "{reasons:?}");
    let sizes = &mut world.databases.sizes;
    sizes.values_mut().for_each(|db| *db = (MIB, MIB));
    let (steps, reasons) = next(&world);
    assert_eq!(
        (steps, reasons),
        (Vec::new(), vec!["NotAlone"]),
        "a-2 may be full"
    );
    let sizes = &mut world.databases.sizes;
    sizes.values_mut().for_each(|db| *db = (16 * MIB, MIB));
    world.silent = None;
    world.change_template("etcd:2");
    let (steps, reasons) = next(&world);
    assert!(steps.iter().all(|step| step.starts_with("evict pod")));
    assert!(reasons.contains(&"NotAlone"), "{reasons:?}");
}

#[test]
fn a_member_that_is_being_defragmented_counts_as_away() {
    let mut world = with_databases(200 * MIB, 100 * MIB);
    let first = plan(&world.desired, &world.observe());
    world.take(&first, usize::MAX);
    assert_eq!(world.databases.under_way.as_deref(), Some("a-1"));
    let (steps, reasons) = next(&world);
    assert_eq!(steps, Vec::<String>::new(), "no second one");
    assert_eq!(reasons, ["Defragmenting"]);
    world.change_template("etcd:2");
    let stopped: Vec<String> = next(&world).0;
    let others = |step: &String| !step.starts_with("evict pod a-1");
    assert!(!stopped.iter().any(others), "{stopped:?}");
    world.condemn("a-2");
    assert_eq!(world.members.len(), 3);
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn free_pages_are_given_back_when_they_are_worth_it() {
    let mut world = with_databases(90 * MIB, MIB);
    assert_eq!(settle(&mut world), Vec::<String>::new(), "a small one");
    let mut set = |db| world.databases.sizes.insert("a-1".to_owned(), db);
    set((200 * MIB, 120 * MIB));
    assert_eq!(settle(&mut world), Vec::<String>::new(), "40 % are free");
    let sizes = &mut world.databases.sizes;
    sizes.insert("a-1".to_owned(), (200 * MIB, 100 * MIB));
    assert_eq!(settle(&mut world), ["defragment a-1"]);
    assert_eq!(is_whole(&world), Ok(()));
}

/// All volumes grow, and of each round only that step is taken.
fn only_volumes_grow(world: &mut World) {
    for at in 0..3 {
        let next = plan(&world.desired, &world.observe());
        let grows = format!("let claim data-a-{at} grow to 2Gi");
        assert_eq!(next.steps.first().map(summary), Some(grows));
        assert_eq!(next.steps.len(), 2, "{:?}", next.steps);
        world.take(&next, 1);
        world.tick();
    }
    assert_eq!(world.sizes(), [2; 3]);
}

#[test]
fn volumes_grow_beside_care_of_databases_that_never_succeeds() {
    let mut full = with_databases(16 * MIB, 15 * MIB);
    full.raise(AlarmKind::NoSpace, "a-1");
    let mut spacious = with_databases(16 * MIB, 15 * MIB);
    spacious.databases.quota = Some(64 * MIB);
    spacious.raise(AlarmKind::NoSpace, "a-1");
    let mut asked = with_databases(2 * MIB, 2 * MIB);
    ask(&mut asked, "u", &["a-1", "a-2"]);
    let mut led = with_databases(2 * MIB, 2 * MIB);
    ask(&mut led, "u", &["a-0"]);
    for (mut world, care) in [
        (full, "compact"),
        (with_databases(200 * MIB, MIB), "defragment a-1"),
        (spacious, "disarm NOSPACE"),
        (asked, "defragment a-1"),
        (led, "move leadership from a-0"),
    ] {
        world.want_volumes(2);
        only_volumes_grow(&mut world);
        let steps = next(&world).0;
        assert!(
            steps.len() == 1 && steps[0].starts_with(care),
            "{care}: {steps:?}"
        );
        settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()));
    }
}

#[test]
fn no_volume_grows_beside_a_change_that_members_feel() {
    let mut world = with_databases(2 * MIB, 2 * MIB);
    world.want_volumes(2);
    world.change_template("etcd:2");
    let steps = next(&world).0;
    assert!(
        steps.len() == 1 && steps[0].starts_with("evict pod"),
        "{steps:?}"
    );
}

#[test]
fn the_only_member_is_defragmented_as_the_leader_it_is() {
    let mut world = grown(1);
    let sizes = &mut world.databases.sizes;
    sizes.insert("a-0".to_owned(), (200 * MIB, MIB));
    assert_eq!(settle(&mut world), ["defragment a-0"]);
}

/// An owner asks for these members.
fn ask(world: &mut World, token: &str, pods: &[&str]) {
    let pods: Vec<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
    world.ask(token, &pods);
}

fn steps_on_record(world: &World) -> Vec<DefragmentationStep> {
    let record = world.desired.recorded.defragmentation.as_ref();
    let members = record.into_iter().flat_map(|record| &record.members);
    members.map(|member| member.step).collect()
}

#[test]
fn what_an_owner_asks_for_is_done_once_whatever_it_frees_the_leader_last() {
    let mut world = with_databases(2 * MIB, 2 * MIB);
    assert_eq!(settle(&mut world), Vec::<String>::new(), "a small one");
    ask(&mut world, "u", &["a-0", "a-1", "a-2"]);
    let asked = |pod: &str| format!("defragment {pod}, as OpsRequest u asks");
    let leader = "move leadership from a-0 to a-2".to_owned();
    let expected = [asked("a-1"), asked("a-2"), leader, asked("a-0")];
    assert_eq!(settle(&mut world), expected);
    assert_eq!(steps_on_record(&world), [DefragmentationStep::Done; 3]);
    assert_eq!(is_whole(&world), Ok(()));
    // The request stays until its OpsRequest takes it off, and an agent forgets when it is restarted.
    world.databases.forget();
    assert_eq!(settle(&mut world), Vec::<String>::new());
    ask(&mut world, "v", &["a-2"]);
    let told = settle(&mut world);
    assert_eq!(
        told.last().map(String::as_str),
        Some("defragment a-2, as OpsRequest v asks")
    );
    assert_eq!(steps_on_record(&world), [DefragmentationStep::Done]);
    world.desired.defragmentation = None;
    settle(&mut world);
    assert_eq!(
        steps_on_record(&world),
        [DefragmentationStep::Done],
        "it stays on record"
    );
}

#[test]
fn what_an_owner_asks_for_waits_like_any_other() {
    let mut world = with_databases(2 * MIB, 2 * MIB);
    ask(&mut world, "u", &["a-1"]);
    world.silent = Some("a-2".to_owned());
    let (steps, reasons) = next(&world);
    assert_eq!(steps, Vec::<String>::new());
    assert!(reasons.contains(&"NotAlone"), "{reasons:?}");
    world.silent = Some("a-1".to_owned());
    let (steps, reasons) = next(&world);
    assert_eq!(steps, Vec::<String>::new());
    assert!(reasons.contains(&"NotAlone"), "{reasons:?}");
    world.silent = None;
    world.change_template("etcd:2");
    let steps = next(&world).0;
    assert!(
        !steps.iter().any(|step| step.starts_with("defragment")),
        "{steps:?}"
    );
    settle(&mut world);
    assert_eq!(steps_on_record(&world), [DefragmentationStep::Done]);
}

#[test]
fn a_request_ends_for_members_that_leave_and_for_agents_that_cannot_report() {
    let mut world = with_databases(2 * MIB, 2 * MIB);
    world.databases.unreported = true;
    ask(&mut world, "u", &["a-1"]);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert_eq!(steps_on_record(&world), [DefragmentationStep::Refused]);
    let record = world
        .desired
        .recorded
        .defragmentation
        .clone()
        .expect("a record");
    let why = record.members[0].message.as_deref().unwrap_or_default();
    assert!(why.contains("of an earlier release"), "{why}");

    let mut world = with_databases(2 * MIB, 2 * MIB);
    world.silent = Some("a-0".to_owned());
    ask(&mut world, "u", &["a-2"]);
    let waits = plan(&world.desired, &world.observe());
    world.take(&waits, usize::MAX);
    assert_eq!(steps_on_record(&world), [DefragmentationStep::Asked]);
    world.silent = None;
    world.scale(1);
    settle(&mut world);
    assert_eq!(steps_on_record(&world), [DefragmentationStep::Left]);
}

#[test]
fn a_corrupt_member_is_replaced_and_its_alarm_disarmed_when_it_has_left() {
    for leader in ["a-0", "a-1"] {
        let mut world = grown(3);
        let before = world.disk_of("a-1");
        world.raise(AlarmKind::Corrupt, "a-1");
        world.set_leader(leader);
        let told = settle(&mut world);
        if leader == "a-1" {
            assert!(told[0].starts_with("move leadership from a-1"), "{told:?}");
        }
        in_order(
            &told,
            &[
                "remove a-1",
                "disarm CORRUPT",
                "add a-1 as a learner",
                "promote learner a-1",
            ],
        );
        assert_ne!(world.disk_of("a-1"), before);
        assert_eq!(is_whole(&world), Ok(()));
        assert_eq!(alarm_told(&world).0, Reason::NoAlarm);
    }
}

#[test]
fn leadership_never_moves_to_a_corrupt_member() {
    let mut world = grown(5);
    world.raise(AlarmKind::Corrupt, "a-4");
    world.raise(AlarmKind::Corrupt, "a-3");
    world.set_leader("a-3");
    let told = settle(&mut world);
    in_order(
        &told,
        &[
            "move leadership from a-3 to a-2",
            "remove a-3",
            "remove a-4",
        ],
    );
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn data_that_differs_comes_before_space() {
    let mut world = with_databases(16 * MIB, 15 * MIB);
    world.raise(AlarmKind::NoSpace, "a-1");
    world.raise(AlarmKind::Corrupt, "a-2");
    let told = settle(&mut world);
    in_order(
        &told,
        &["remove a-2", "disarm CORRUPT", "compact", "disarm NOSPACE"],
    );
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn an_alarm_of_a_member_that_has_left_is_disarmed() {
    let mut world = grown(3);
    world.databases.alarms.push(Alarm {
        member: Id(0xdead),
        kind: AlarmKind::Corrupt,
    });
    assert_eq!(settle(&mut world), ["disarm CORRUPT of member dead"]);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn where_no_majority_agrees_nobody_is_touched() {
    for wrong in [vec!["a-0", "a-1"], vec![]] {
        let mut world = grown(3);
        for pod in &wrong {
            world.raise(AlarmKind::Corrupt, pod);
        }
        if wrong.is_empty() {
            world.databases.alarms.push(Alarm {
                member: Id(0),
                kind: AlarmKind::Corrupt,
            });
        }
        let (steps, reasons) = next(&world);
        assert_eq!(steps, Vec::<String>::new());
        assert!(reasons.contains(&"CorruptWithoutMajority"), "{reasons:?}");
    }
}
