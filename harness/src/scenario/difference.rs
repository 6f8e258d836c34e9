//! What an operation has not done, by what was there before it and what is there after it. Pure.

use super::Operation;
use super::operation::{CPU_LIMIT, QUOTA, Replaced};
use super::state::{PodState, State};

/// What the operation has not done.
pub(super) fn lacking(
    operation: Operation,
    before: &State,
    after: &State,
    replaced: Option<&Replaced>,
) -> Option<String> {
    let each = |wrong: &dyn Fn(&PodState) -> Option<String>| {
        let mut pods = after.pods.iter();
        pods.find_map(|(name, pod)| Some(format!("pod {name} {}", wrong(pod)?)))
    };
    if before.pods.is_empty() {
        return Some("no pod was there before".to_owned());
    }
    // What does not scale keeps every pod's member, but for the one that it is to replace.
    let renews = matches!(operation, Operation::RecoverQuorum | Operation::MoveVolumes);
    if !renews
        && !matches!(operation, Operation::Scale(_))
        && let Some(lost) = other_members(before, after, replaced.map(|own| own.pod.as_str()))
    {
        return Some(lost);
    }
    match operation {
        Operation::Scale(to) => not_scaled(to, after),
        Operation::Restart | Operation::StopAndStart => not_restarted(before, after),
        Operation::Resize => each(&|pod| {
            let is = pod.cpu_limit.as_deref().unwrap_or("none");
            (millicores(is) != millicores(CPU_LIMIT))
                .then(|| format!("has the processor limit {is}, not {CPU_LIMIT}"))
        }),
        Operation::Switchover => not_moved(before, after),
        Operation::Upgrade { to, .. } => {
            each(&|pod| (pod.version != to).then(|| format!("runs etcd {}, not {to}", pod.version)))
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        Operation::Reconfigure => each(&|pod| {
            let is = pod
                .quota
                .map_or("unknown".to_owned(), |quota| quota.to_string());
            (pod.quota != Some(QUOTA as f64))
                .then(|| format!("has the quota {is}, not {QUOTA} bytes"))
        }),
        Operation::RebuildFollower | Operation::MoveFollower => {
            not_rebuilt(before, after, replaced)
        }
        Operation::RecoverQuorum => not_recovered(before, after),
        Operation::MoveVolumes => not_renewed(before, after),
        Operation::Grow(_) | Operation::GrowTooFar { .. } => restarted(before, after),
        // A backup is proved by what is restored from it, what is replaced by what lets in.
        Operation::Expose
        | Operation::Balance
        | Operation::Conceal
        | Operation::BackUpAndRestore
        | Operation::ArchiveAndRestore
        | Operation::RotateCa
        | Operation::RotatePassword => None,
    }
}

/// The pod has another member than before, on the node that was named.
fn not_rebuilt(before: &State, after: &State, replaced: Option<&Replaced>) -> Option<String> {
    let Some(Replaced { pod, target }) = replaced else {
        return Some("no pod was chosen".to_owned());
    };
    let Some(is) = after.pods.get(pod) else {
        return Some(format!("pod {pod} is not there"));
    };
    let was = before.pods.get(pod);
    if was.is_some_and(|was| was.member == is.member) {
        return Some(format!("pod {pod} still has the member that it had"));
    }
    let target = target.as_ref().filter(|target| **target != is.node)?;
    Some(format!("pod {pod} is on node {}, not on {target}", is.node))
}

/// Leadership is where it was, and has been elsewhere since or may have been: to move and to return takes two terms.
/// Whether the request moved it is not known then.
pub(super) fn returned(before: &State, after: &State) -> Option<String> {
    let leader = after.leader()?;
    let terms = after.term().saturating_sub(before.term());
    (before.leader() == Some(leader) && terms >= 2).then(|| {
        format!("where leadership moved to: it is with {leader} again, {terms} terms later")
    })
}

fn not_moved(before: &State, after: &State) -> Option<String> {
    match (before.leader(), after.leader()) {
        (Some(old), Some(new)) if old != new => None,
        (old, new) => Some(format!(
            "the leader was {} and is {}",
            old.unwrap_or("unknown"),
            new.unwrap_or("unknown")
        )),
    }
}

/// One member is the one that was there, all others are new, and there are as many as before.
fn not_recovered(before: &State, after: &State) -> Option<String> {
    let members = u32::try_from(before.pods.len()).unwrap_or(u32::MAX);
    if let Some(wrong) = not_scaled(members, after) {
        return Some(wrong);
    }
    let kept = before.pods.iter().filter(|(name, was)| {
        let is = after.pods.get(*name);
        is.is_some_and(|is| is.member == was.member)
    });
    let kept: Vec<&str> = kept.map(|(name, _)| name.as_str()).collect();
    (kept.len() != 1).then(|| format!("{kept:?} kept their members, and not one of them"))
}

/// Every pod has another member than before, and there are as many.
fn not_renewed(before: &State, after: &State) -> Option<String> {
    let members = u32::try_from(before.pods.len()).unwrap_or(u32::MAX);
    if let Some(wrong) = not_scaled(members, after) {
        return Some(wrong);
    }
    let kept = |name: &String, was: &PodState| {
        let is = after.pods.get(name);
        is.is_none_or(|is| is.member == was.member)
    };
    let mut pods = before.pods.iter();
    pods.find(|(name, was)| kept(name, was))
        .map(|(name, _)| format!("pod {name} still has the member that it had"))
}

/// So many pods, each with a voter of the list, and no other member.
pub(super) fn not_scaled(to: u32, after: &State) -> Option<String> {
    let wanted = usize::try_from(to).unwrap_or(usize::MAX);
    let (pods, members) = (after.pods.len(), after.members.len());
    if (pods, members) != (wanted, wanted) {
        return Some(format!(
            "there are {pods} pods and {members} members, not {to}"
        ));
    }
    if let Some(learner) = after.members.iter().find(|member| member.learner) {
        return Some(format!("member {} is a learner", learner.name));
    }
    let listed = |id: &str| after.members.iter().any(|member| member.id == id);
    let mut pods = after.pods.iter();
    pods.find(|(_, pod)| !listed(&pod.member))
        .map(|(name, _)| format!("the member list does not hold the member of pod {name}"))
}

/// A pod that is the same as before.
fn not_restarted(before: &State, after: &State) -> Option<String> {
    let same = |name: &String, pod: &PodState| {
        let was = before.pods.get(name);
        was.is_some_and(|was| was.uid == pod.uid)
    };
    let mut pods = after.pods.iter();
    pods.find(|(name, pod)| same(name, pod))
        .map(|(name, _)| format!("pod {name} is the one that was there before"))
}

/// A pod that is another one than before, or has a container that was started again.
fn restarted(before: &State, after: &State) -> Option<String> {
    let same = |name: &String, was: &PodState| {
        let is = after.pods.get(name);
        is.is_some_and(|is| (&is.uid, is.restarts) == (&was.uid, was.restarts))
    };
    let mut pods = before.pods.iter();
    pods.find(|(name, was)| !same(name, was))
        .map(|(name, _)| format!("pod {name} was restarted"))
}

/// A pod, other than `but`, that has another member than before, or is not there.
pub(super) fn other_members(before: &State, after: &State, but: Option<&str>) -> Option<String> {
    let kept = |name: &String, was: &PodState| {
        let is = after.pods.get(name);
        but == Some(name) || is.is_some_and(|is| is.member == was.member)
    };
    let mut pods = before.pods.iter();
    pods.find(|(name, was)| !kept(name, was))
        .map(|(name, was)| format!("pod {name} has lost its member {}", was.member))
}

/// Thousandths of a core; absent for what is no such quantity.
fn millicores(quantity: &str) -> Option<f64> {
    match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok(),
        None => quantity.parse::<f64>().ok().map(|cores| cores * 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::state::Listed;

    /// Three members, the first of which leads.
    fn state() -> State {
        let pod = |n: u32| {
            let state = PodState {
                uid: format!("uid-{n}"),
                restarts: 0,
                cpu_limit: Some("1".to_owned()),
                member: format!("{n}"),
                leader: "0".to_owned(),
                term: 4,
                version: "3.6.1".to_owned(),
                quota: Some(1.0),
                node: format!("n-{n}"),
            };
            (format!("q-{n}"), state)
        };
        let member = |n: u32| Listed {
            id: n.to_string(),
            name: format!("q-{n}"),
            learner: false,
        };
        State {
            pods: (0..3).map(pod).collect(),
            members: (0..3).map(member).collect(),
        }
    }

    fn changed(change: impl Fn(&mut PodState)) -> State {
        let mut state = state();
        state.pods.values_mut().for_each(change);
        state
    }

    /// What is done, what it looks like when it was, and what a test says when it was not.
    fn cases() -> Vec<(Operation, State, &'static str)> {
        let mut scaled = state();
        scaled.pods.remove("q-2");
        scaled.pods.remove("q-1");
        scaled.members.truncate(1);
        let mut rebuilt = state();
        rebuilt.pods.get_mut("q-2").expect("a pod").member.push('0');
        let mut regrown = state();
        for at in [1, 2] {
            let pod = regrown.pods.get_mut(&format!("q-{at}")).expect("a pod");
            pod.member.push('0');
            regrown.members[at].id.push('0');
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let quota = QUOTA as f64;
        let restarted = changed(|pod| pod.uid.push('b'));
        let upgrade = Operation::Upgrade {
            from: "3.6.1",
            to: "3.6.16",
        };
        vec![
            (
                Operation::Scale(1),
                scaled,
                "there are 3 pods and 3 members",
            ),
            (
                Operation::Restart,
                restarted.clone(),
                "is the one that was there",
            ),
            (
                Operation::StopAndStart,
                restarted,
                "is the one that was there",
            ),
            (
                Operation::Resize,
                changed(|pod| pod.cpu_limit = Some("1.5".to_owned())),
                "has the processor limit 1,",
            ),
            (
                Operation::Switchover,
                changed(|pod| pod.leader = "1".to_owned()),
                "the leader was q-0 and is q-0",
            ),
            (
                upgrade,
                changed(|pod| pod.version = "3.6.16".to_owned()),
                "runs etcd 3.6.1,",
            ),
            (
                Operation::Reconfigure,
                changed(|pod| pod.quota = Some(quota)),
                "has the quota",
            ),
            (
                Operation::RecoverQuorum,
                regrown,
                "kept their members, and not one",
            ),
            (
                Operation::RebuildFollower,
                rebuilt,
                "still has the member that it had",
            ),
        ]
    }

    /// What the operation of a case replaces.
    fn replaced(operation: Operation) -> Option<Replaced> {
        (operation == Operation::RebuildFollower).then(|| Replaced {
            pod: "q-2".to_owned(),
            target: None,
        })
    }

    #[test]
    fn a_member_has_moved_when_another_one_is_on_the_node_that_was_named() {
        let replaced = Replaced {
            pod: "q-2".to_owned(),
            target: Some("n-9".to_owned()),
        };
        let move_follower = Operation::MoveFollower;
        let lacking = |after: &State| lacking(move_follower, &state(), after, Some(&replaced));
        let told = lacking(&state()).unwrap_or_default();
        assert!(told.contains("still has the member"), "{told}");
        assert!(lacking(&State::default()).is_some());
        let mut moved = state();
        let pod = moved.pods.get_mut("q-2").expect("a pod");
        pod.member.push('0');
        let told = lacking(&moved);
        assert_eq!(told.as_deref(), Some("pod q-2 is on node n-2, not on n-9"));
        let pod = moved.pods.get_mut("q-2").expect("a pod");
        pod.node = "n-9".to_owned();
        assert_eq!(lacking(&moved), None);
    }

    #[test]
    fn volumes_have_moved_when_every_pod_has_another_member() {
        let lacking = |after: &State| lacking(Operation::MoveVolumes, &state(), after, None);
        let mut moved = state();
        for at in 0..3 {
            let told = lacking(&moved).expect("one has not moved");
            assert_eq!(told, format!("pod q-{at} still has the member that it had"));
            let pod = moved.pods.get_mut(&format!("q-{at}")).expect("a pod");
            pod.member.push('0');
            moved.members[at].id.push('0');
        }
        assert_eq!(lacking(&moved), None);
        moved.members[1].learner = true;
        assert_eq!(lacking(&moved).as_deref(), Some("member q-1 is a learner"));
        assert!(lacking(&State::default()).is_some());
    }

    #[test]
    fn leadership_that_has_returned_in_later_terms_may_have_moved() {
        let later =
            |leader: &str, term| changed(|pod| (pod.leader, pod.term) = (leader.to_owned(), term));
        // To another in the next term, as a transfer is.
        assert_eq!(returned(&state(), &later("1", 5)), None);
        assert_eq!(not_moved(&state(), &later("1", 5)), None);
        // It never left: there was no other term, or the former leader has that one, too.
        for term in [4, 5] {
            assert_eq!(returned(&state(), &later("0", term)), None);
            assert!(not_moved(&state(), &later("0", term)).is_some());
        }
        let told = returned(&state(), &later("0", 6)).expect("not known");
        assert!(told.contains("with q-0 again, 2 terms later"), "{told}");
        let mut disagree = later("0", 6);
        disagree.pods.get_mut("q-1").expect("a pod").leader = "1".to_owned();
        assert_eq!(
            (disagree.leader(), returned(&state(), &disagree)),
            (None, None)
        );
    }

    #[test]
    fn an_operation_that_did_nothing_lacks_its_effect_and_one_that_did_it_does_not() {
        for (operation, done, told) in cases() {
            let replaced = replaced(operation);
            let lacking = |after| lacking(operation, &state(), after, replaced.as_ref());
            assert_eq!(lacking(&done), None, "{operation:?}");
            let nothing = lacking(&state()).unwrap_or_default();
            assert!(nothing.contains(told), "{operation:?}: {nothing}");
        }
    }

    #[test]
    fn a_volume_grows_under_pods_that_are_not_restarted() {
        let taken_back = Operation::GrowTooFar {
            first: 8192,
            then: 512,
        };
        for operation in [Operation::Grow(512), taken_back] {
            let lacking = |after: &State| lacking(operation, &state(), after, None);
            assert_eq!(lacking(&state()), None);
            for other in [
                changed(|pod| pod.uid.push('b')),
                changed(|pod| pod.restarts += 1),
            ] {
                let told = lacking(&other).expect("it was restarted");
                assert!(told.contains("pod q-0 was restarted"), "{told}");
            }
            assert!(lacking(&State::default()).is_some());
        }
    }

    #[test]
    fn a_restart_keeps_the_members_and_a_scaling_leaves_no_learner() {
        let mut lost = changed(|pod| pod.uid.push('b'));
        lost.pods.get_mut("q-1").expect("a pod").member = "9".to_owned();
        let told = lacking(Operation::Restart, &state(), &lost, None).unwrap_or_default();
        assert!(told.contains("q-1 has lost its member 1"), "{told}");
        let mut learning = state();
        learning.members[1].learner = true;
        let told = lacking(Operation::Scale(3), &state(), &learning, None).unwrap_or_default();
        assert!(told.contains("q-1 is a learner"), "{told}");
        let mut strange = state();
        strange.members[1].id = "7".to_owned();
        let told = lacking(Operation::Scale(3), &state(), &strange, None).unwrap_or_default();
        assert!(
            told.contains("does not hold the member of pod q-1"),
            "{told}"
        );
    }

    #[test]
    fn pods_that_are_gone_have_not_had_the_effect() {
        for (operation, _, _) in cases() {
            let replaced = replaced(operation);
            let told = lacking(operation, &state(), &State::default(), replaced.as_ref());
            assert!(told.is_some(), "{operation:?}");
            let nothing = State::default();
            assert!(lacking(operation, &nothing, &nothing, replaced.as_ref()).is_some());
        }
    }

    #[test]
    fn only_some_pods_done_is_not_done() {
        let mut half = changed(|pod| pod.version = "3.6.16".to_owned());
        half.pods.get_mut("q-0").expect("a pod").version = "3.6.1".to_owned();
        let operation = Operation::Upgrade {
            from: "3.6.1",
            to: "3.6.16",
        };
        let told = lacking(operation, &state(), &half, None).unwrap_or_default();
        assert!(told.contains("q-0 runs etcd 3.6.1"), "{told}");
    }
}
