//! An API server that refuses steps: what is left of a plan breaks no rule, whichever step was refused.

use super::super::refused::Refused;
use super::super::world::World;
use super::super::{Plan, Step, check};
use super::{Mishap, Wish, all};
use crate::instanceset::observed::Observed;

/// How steps begin, in words, that a quota or a policy refuses.
pub(super) const WHAT: &[&str] = &["create claim", "create pod", "label"];

/// From some moment on nothing new is taken, and pods that are deleted stay away.
const QUOTA: &[Mishap] = &[Mishap::Refuse, Mishap::DeletePod];

/// What is still taken of a plan when this step is refused, and all before it are taken.
fn left(plan: &Plan, refused: &Step) -> Vec<Step> {
    let mut rule = Refused::default();
    let mut left = Vec::new();
    for step in &plan.steps {
        if std::ptr::eq(step, refused) {
            rule.note(step);
        } else if rule.allows(step) {
            left.push(step.clone());
        }
    }
    left
}

/// Whether a plan is as right without any one of its steps, and without those that need it.
pub(super) fn judge(world: &World, seen: &Observed, plan: &Plan) -> Result<(), String> {
    for refused in plan.steps.iter().filter(|_| plan.steps.len() > 1) {
        let rest = Plan {
            steps: left(plan, refused),
            ..plan.clone()
        };
        let broken = check::lint(&world.desired, seen, &rest);
        if !broken.is_empty() {
            return Err(format!("without {refused:?}: {}", broken.join("; ")));
        }
    }
    Ok(())
}

#[test]
fn every_order_of_an_api_server_that_refuses() {
    all(&[Wish::size(3, 3).with(QUOTA, 2)]);
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_an_api_server_that_refuses_and_more() {
    all(&[
        Wish::size(1, 3).with(QUOTA, 1),
        Wish::size(3, 1).with(QUOTA, 1),
        Wish::first(3, "etcd:1").with(QUOTA, 1),
        Wish::size(3, 5).with(QUOTA, 2),
        Wish::size(5, 3).with(QUOTA, 2),
        Wish::update(3, 1).with(QUOTA, 2),
    ]);
}
