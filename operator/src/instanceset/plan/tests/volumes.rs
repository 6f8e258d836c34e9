//! Stories of volumes that grow.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::*;

#[test]
fn volumes_grow_one_after_the_other_and_no_pod_is_touched() {
    let mut world = grown(3);
    let before = world.members.clone();
    world.want_volumes(2);
    let told = settle(&mut world);
    let grown = [0, 1, 2].map(|at| format!("let claim data-a-{at} grow to 2Gi"));
    assert_eq!(told, grown);
    assert_eq!((world.sizes(), is_whole(&world)), (vec![2, 2, 2], Ok(())));
    assert_eq!(world.members, before);
    let volumes = &world.desired.recorded.volumes;
    assert!(volumes.iter().all(|v| v.capacity.as_deref() == Some("2Gi")));
    assert!(volumes.iter().all(|v| v.file_system_bytes == Some(2 << 30)));
}

#[test]
fn the_next_volume_waits_until_the_first_has_grown() {
    let mut world = grown(3);
    world.want_volumes(2);
    let next = plan(&world.desired, &world.observe());
    world.take(&next, usize::MAX);
    let mut seen = world.observe();
    let first = seen.claims.get_mut("data-a-0").expect("a claim");
    first.size.told = "FileSystemResizePending".to_owned();
    let next = plan(&world.desired, &seen);
    assert_eq!(next.steps, []);
    let why = next.waiting.iter().map(ToString::to_string);
    assert_eq!(
        why.collect::<Vec<_>>(),
        ["claim data-a-0 grows to 2Gi: FileSystemResizePending"]
    );
}

/// Three members of which the first asks for a volume that its driver cannot make.
fn infeasible() -> World {
    let mut world = grown(3);
    world.want_volumes(30_000);
    assert_eq!(settle(&mut world), ["let claim data-a-0 grow to 30000Gi"]);
    assert_eq!(world.sizes(), [1; 3]);
    world
}

#[test]
fn a_growth_that_does_not_come_is_taken_back_before_others_grow() {
    let mut world = infeasible();
    world.want_volumes(2);
    let grown = [0, 1, 2].map(|at| format!("let claim data-a-{at} grow to 2Gi"));
    assert_eq!(settle(&mut world), grown);
    assert_eq!((world.sizes(), is_whole(&world)), (vec![2; 3], Ok(())));
}

#[test]
fn a_growth_that_does_not_come_cannot_go_back_to_what_there_is_and_says_so() {
    let mut world = infeasible();
    world.want_volumes(1);
    let next = plan(&world.desired, &world.observe());
    assert_eq!(next.steps, []);
    let why = next.waiting.iter().map(ToString::to_string);
    let told = "claim data-a-0 grows to 30000Gi; 1Gi is asked for now, and a claim that has 1Gi takes only more than that: \
                ask for more, or rebuild the member";
    assert_eq!(why.collect::<Vec<_>>(), [told]);
    // New members have what is asked for now.
    world.lose_node("a-2");
    settle(&mut world);
    world.condemn("a-0");
    settle(&mut world);
    assert_eq!((world.sizes(), is_whole(&world)), (vec![1; 3], Ok(())));
}

#[test]
fn no_volume_shrinks_and_none_grows_that_is_going_or_another_s() {
    let mut world = grown(3);
    world.want_volumes(2);
    settle(&mut world);
    world.want_volumes(1);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    world.want_volumes(3);
    let mut seen = world.observe();
    for (name, claim) in &mut seen.claims {
        claim.owned = name != "data-a-0";
        claim.size.capacity = claim.size.capacity.take().filter(|_| name != "data-a-1");
    }
    let next = plan(&world.desired, &seen);
    let name = |step: &Step| matches!(step, Step::GrowClaim { name, .. } if name == "data-a-2");
    assert!(
        next.steps.len() == 1 && name(&next.steps[0]),
        "{:?}",
        next.steps
    );
}

#[test]
fn volumes_of_members_that_are_stopped_stay_on_record() {
    let mut world = grown(3);
    world.want_class("fast");
    settle(&mut world);
    world.want_volumes(2);
    settle(&mut world);
    let told = |world: &World| {
        let volumes = world.desired.recorded.volumes.iter();
        let told = volumes.map(|v| {
            let (class, has) = (v.storage_class_name.clone(), v.capacity.clone());
            (v.pod_name.clone(), class, v.requested.clone(), has)
        });
        told.collect::<Vec<_>>()
    };
    let before = told(&world);
    assert_eq!(before.len(), 3, "{before:?}");
    world.scale(0);
    settle(&mut world);
    assert_eq!((world.pod_names().len(), told(&world)), (0, before.clone()));
    // As a release before left them.
    world.desired.recorded.volumes.clear();
    settle(&mut world);
    assert_eq!(told(&world), before);
    // One whose claim is gone is none.
    world.delete_claim("a-2");
    world.tick();
    settle(&mut world);
    assert_eq!(told(&world), before[..2]);
}

#[test]
fn the_checker_sees_what_no_plan_may_do_to_volumes() {
    let mut world = grown(3);
    world.want_volumes(2);
    let seen = world.observe();
    let good = plan(&world.desired, &seen);
    let step = |to: &str| {
        let (name, uid) = ("data-a-1".to_owned(), seen.claims["data-a-1"].uid.clone());
        let to = Quantity(to.to_owned());
        Step::GrowClaim { name, uid, to }
    };
    let told = |steps: Vec<Step>| {
        let plan = Plan {
            steps,
            ..good.clone()
        };
        check::lint(&world.desired, &seen, &plan).join("; ")
    };
    assert_eq!(told(vec![step("2Gi")]), "");
    assert!(told(vec![step("1Gi")]).contains("V1"));
    assert!(told(vec![step("2Gi"), good.steps[0].clone()]).contains("V2"));
    let asked = |pod: &str, to: &str| {
        let mut seen = seen.clone();
        let claim = seen.claims.get_mut("data-a-1").expect("a claim");
        claim.size.requested = Some(Quantity("30Gi".to_owned()));
        let (name, uid) = (
            format!("data-{pod}"),
            seen.claims[&format!("data-{pod}")].uid.clone(),
        );
        let to = Quantity(to.to_owned());
        let plan = Plan {
            steps: vec![Step::GrowClaim { name, uid, to }],
            ..good.clone()
        };
        check::lint(&world.desired, &seen, &plan).join("; ")
    };
    assert_eq!(asked("a-1", "2Gi"), "", "less than was asked for");
    assert!(asked("a-1", "1Gi").contains("V1"), "what it has");
    assert!(asked("a-2", "2Gi").contains("V2"), "another one");
    let mut stale = step("2Gi");
    if let Step::GrowClaim { uid, .. } = &mut stale {
        uid.push('0');
    }
    assert!(told(vec![stale]).contains("C2"));
    world.want_class("fast");
    let plan = Plan {
        steps: vec![step("2Gi")],
        ..good.clone()
    };
    let moves = check::lint(&world.desired, &seen, &plan).join("; ");
    assert!(moves.contains("its member moves"), "{moves}");
}
