//! What may still be taken of a plan when the API server has refused some of its steps.
//!
//! A plan is made from what was seen, and a step that is refused leaves that as it was: each other step is as right as
//! it was, but for those that need it. Nothing is taken on the strength of a step that was refused.

use std::collections::BTreeSet;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{Removal, Step};
use crate::instanceset::names as keys;

/// The steps that were refused, as far as others depend on them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    any: bool,
    /// A step was refused that all others stand on.
    ground: bool,
    /// A member was not to be touched.
    change: bool,
    /// The service by whose names peers find a pod that comes back was not to be set right.
    names: bool,
    /// Pods of members whose claim or pod could not be made.
    slots: BTreeSet<String>,
}

/// What depends on a step, and what it depends on.
enum Part {
    /// Nothing, and it on nothing.
    Apart,
    /// All that comes later: a cluster is begun, or continued by one member, with all its parts or not at all.
    Ground,
    /// The rest of this member.
    Member(String),
    /// Further changes of what runs or is stored: one that is refused is looked at again before the next.
    Change,
    /// It depends on all others.
    Last,
}

impl Refused {
    /// Notes that the API server has refused a step, and that nothing has happened.
    pub(crate) fn note(&mut self, step: &Step) {
        self.any = true;
        self.names |= matches!(step, Step::ApplyService(_));
        match part(step) {
            Part::Apart => {}
            Part::Ground | Part::Last => self.ground = true,
            Part::Member(pod) => {
                self.slots.insert(pod);
            }
            Part::Change => self.change = true,
        }
    }

    /// Whether a later step of the plan may still be taken.
    #[must_use]
    pub(crate) fn allows(&self, step: &Step) -> bool {
        let evicts = || matches!(step, Step::DeletePod { how, .. } if *how == Removal::Evict);
        if self.ground || (self.names && evicts()) {
            return false;
        }
        match part(step) {
            Part::Apart => true,
            Part::Ground | Part::Change => !self.change,
            Part::Member(pod) => !self.slots.contains(&pod),
            Part::Last => !self.any,
        }
    }
}

fn part(step: &Step) -> Part {
    match step {
        _ if step.is_apart() => Part::Apart,
        Step::AddFinalizer | Step::ApplyService(_) => Part::Ground,
        Step::RemoveFinalizer => Part::Last,
        Step::CreateClaim(claim) => owner(claim).map_or(Part::Ground, Part::Member),
        Step::CreatePod(pod) => returning(pod).map_or(Part::Ground, Part::Member),
        _ => Part::Change,
    }
}

/// The pod of a claim that is made for a learner. One that is missing when the cluster is begun counts as lost once any
/// pod is there (M11).
fn owner(claim: &PersistentVolumeClaim) -> Option<String> {
    let meta = &claim.metadata;
    let mut annotations = meta.annotations.iter().flatten();
    annotations.find(|(key, _)| *key == keys::JOIN)?;
    meta.labels.as_ref()?.get(labels::POD_NAME).cloned()
}

/// The name of a pod that neither begins a cluster nor continues one alone.
fn returning(pod: &Pod) -> Option<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut environment = containers.flat_map(|container| container.env.iter().flatten());
    let begins = |name: &str| [keys::ENV_BOOTSTRAP, keys::ENV_FORCE].contains(&name);
    if environment.any(|variable| begins(&variable.name)) {
        return None;
    }
    pod.metadata.name.clone()
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::Id;

    use super::*;
    use crate::instanceset::plan::pods::{self, Purpose};
    use crate::instanceset::plan::steps::{Changes, Labelled};
    use crate::instanceset::plan::tests::corrected;
    use crate::instanceset::plan::{Grace, Via, services, volumes};

    fn pod(name: &str, purpose: &Purpose<'_>) -> Step {
        let (desired, _) = corrected();
        Step::CreatePod(Box::new(pods::build(&desired, name, purpose)))
    }

    fn claim(name: &str, join: Option<Id>) -> Step {
        let (desired, _) = corrected();
        let claim = volumes::build(&desired, &desired.claims[0], name, join);
        Step::CreateClaim(Box::new(claim))
    }

    fn service(uid: Option<&str>) -> Step {
        let mut service = services::build(&corrected().0);
        service.metadata.uid = uid.map(str::to_owned);
        Step::ApplyService(Box::new(service))
    }

    fn label() -> Step {
        Step::Relabel {
            kind: Labelled::Pod,
            name: "a-0".to_owned(),
            uid: "u".to_owned(),
            changes: Changes::default(),
        }
    }

    fn of_claim(step: fn(String, String) -> Step) -> Step {
        step("data-a-0".to_owned(), "u".to_owned())
    }

    fn evict() -> Step {
        Step::DeletePod {
            name: "a-0".to_owned(),
            uid: "u".to_owned(),
            grace: Grace::Template,
            how: Removal::Evict,
            why: String::new(),
        }
    }

    fn remove(pod: &str) -> Step {
        Step::RemoveMember {
            via: Via {
                pod: "a-0".to_owned(),
                ip: std::net::Ipv4Addr::LOCALHOST.into(),
            },
            pod: pod.to_owned(),
            host: String::new(),
            member: Id(1),
            why: String::new(),
            drain: None,
        }
    }

    /// Which of these are still taken when the first was refused.
    fn allowed(refused: &Step, later: &[Step]) -> Vec<bool> {
        let mut rule = Refused::default();
        rule.note(refused);
        later.iter().map(|step| rule.allows(step)).collect()
    }

    #[test]
    fn what_touches_no_member_holds_up_nothing_but_the_end() {
        let release = of_claim(|name, uid| Step::ReleaseClaim { name, uid });
        let bind = of_claim(|name, uid| Step::BindClaim { name, uid });
        let grow = of_claim(|name, uid| {
            let to = k8s_openapi::apimachinery::pkg::api::resource::Quantity("2Gi".to_owned());
            Step::GrowClaim { name, uid, to }
        });
        let service = service(Some("u"));
        for refused in [&service, &label(), &release, &bind, &grow] {
            let boot = [String::new()];
            let begins = Purpose {
                bootstrap: Some(&boot),
                ..Purpose::default()
            };
            let later = [
                claim("a-1", None),
                pod("a-1", &begins),
                evict(),
                remove("a-2"),
                Step::RemoveFinalizer,
            ];
            // A voter is not stopped while its peers might not find it again.
            let expected = [true, true, *refused != service, true, false];
            assert_eq!(allowed(refused, &later), expected, "{refused:?}");
        }
        let mut ended = evict();
        if let Step::DeletePod { how, .. } = &mut ended {
            *how = Removal::Delete;
        }
        assert_eq!(allowed(&service, &[ended]), [true]);
    }

    #[test]
    fn a_member_that_is_not_made_holds_up_only_itself() {
        let other = claim("a-2", Some(Id(2)));
        for refused in [claim("a-1", Some(Id(1))), pod("a-1", &Purpose::default())] {
            let later = [
                pod("a-1", &Purpose::default()),
                pod("a-2", &Purpose::default()),
                other.clone(),
                evict(),
                // It is down in any case.
                remove("a-1"),
                label(),
                Step::RemoveFinalizer,
            ];
            let expected = [false, true, true, true, true, true, false];
            assert_eq!(allowed(&refused, &later), expected, "{refused:?}");
        }
    }

    #[test]
    fn after_a_change_that_is_refused_members_come_back_and_no_other_one_changes() {
        let force = Purpose {
            force: Some("t-1"),
            ..Purpose::default()
        };
        let retire = of_claim(|name, uid| Step::RetireClaim { name, uid });
        let delete = of_claim(|name, uid| Step::DeleteClaim { name, uid });
        for refused in [evict(), retire.clone(), delete, remove("a-2")] {
            let later = [
                pod("a-1", &Purpose::default()),
                label(),
                evict(),
                retire.clone(),
                remove("a-1"),
                pod("a-0", &force),
                Step::RemoveFinalizer,
            ];
            let expected = [true, true, false, false, false, false, false];
            assert_eq!(allowed(&refused, &later), expected, "{refused:?}");
        }
    }

    #[test]
    fn nothing_comes_after_what_all_stand_on() {
        let boot = ["a-0".to_owned()];
        let begins = Purpose {
            bootstrap: Some(&boot),
            ..Purpose::default()
        };
        for refused in [
            Step::AddFinalizer,
            service(None),
            claim("a-0", None),
            pod("a-0", &begins),
        ] {
            let later = [pod("a-1", &Purpose::default()), evict(), label()];
            assert_eq!(allowed(&refused, &later), [false; 3], "{refused:?}");
        }
    }
}
