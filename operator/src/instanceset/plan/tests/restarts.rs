//! Stories of a member whose etcd was killed and comes back in its pod, while other things are to be done.

use super::*;
use crate::instanceset::plan::revision::revision;

/// Three members that are to be updated; the etcd of a-1 was just killed.
fn killed() -> (World, Observed) {
    let mut world = grown(3);
    world.change_template("etcd:2");
    let mut seen = world.observe();
    let pod = seen.pods.get_mut("a-1").expect("a pod");
    (pod.ready, pod.runs, pod.restarts) = (false, false, true);
    pod.view = None;
    (world, seen)
}

fn deleted(world: &World, seen: &Observed) -> Vec<String> {
    let steps = plan(&world.desired, seen).steps.into_iter();
    let deletions = steps.filter_map(|step| match step {
        Step::DeletePod { name, .. } => Some(name),
        _ => None,
    });
    deletions.collect()
}

#[test]
fn it_is_updated_first_when_the_others_can_spare_it() {
    let (world, seen) = killed();
    assert_eq!(deleted(&world, &seen), ["a-1"]);
}

#[test]
fn it_is_not_recreated_while_another_pod_is_not_back() {
    // Recreated before: it answers its agent already, and its pod is not ready yet.
    let (world, mut seen) = killed();
    let other = seen.pods.get_mut("a-2").expect("a pod");
    (other.ready, other.revision) = (false, revision(&world.desired));
    assert!(other.takes_part());
    assert_eq!(deleted(&world, &seen), Vec::<String>::new());
}

#[test]
fn the_quorum_waits_for_it_unless_it_cannot_start() {
    let (world, mut seen) = killed();
    let dead = seen.pods.get_mut("a-2").expect("a pod");
    (dead.ready, dead.view) = (false, None);
    assert_eq!(deleted(&world, &seen), Vec::<String>::new());
    let pod = seen.pods.get_mut("a-1").expect("a pod");
    let broken = "container etcd: CrashLoopBackOff".to_owned();
    (pod.restarts, pod.broken) = (false, Some(broken));
    assert_eq!(deleted(&world, &seen), ["a-1"]);
}
