//! A checker that never fires is none: one bad plan for each rule, each of which is good but for that rule.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kbagent_protocol::{Alarm, AlarmKind, Id, action};

use super::super::pods::{self, Purpose};
use super::super::tests::grown;
use super::super::world::World;
use super::super::{Grace, Plan, Removal, Step, Via, volumes};
use super::lint;
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{NodeSeen, Observed, PodSeen, Reading};

/// A world as it is seen, to be bent.
struct Scene {
    desired: Desired,
    seen: Observed,
}

fn scene(members: u32) -> Scene {
    of(&grown(members))
}

fn of(world: &World) -> Scene {
    Scene {
        desired: world.desired.clone(),
        seen: world.observe(),
    }
}

impl Scene {
    fn pod(&mut self, name: &str) -> &mut PodSeen {
        self.seen.pods.get_mut(name).expect("the pod")
    }

    fn id(&self, pod: &str) -> Id {
        let status = self.seen.pods[pod].status().expect("a status");
        status.member_id
    }

    fn members(&mut self) -> &mut Vec<kbagent_protocol::Member> {
        match &mut self.seen.members {
            Reading::Known(list) => &mut list.members,
            Reading::Unknown(why) => panic!("{why}"),
        }
    }

    /// The rules that the steps break.
    fn broken(&self, steps: Vec<Step>) -> Vec<String> {
        let plan = Plan {
            steps,
            ..Plan::default()
        };
        let found = lint(&self.desired, &self.seen, &plan);
        let rule = |text: &String| text.split(':').next().map(str::to_owned);
        found.iter().filter_map(rule).collect()
    }

    fn delete(&self, pod: &str, grace: Grace) -> Step {
        let how = match grace {
            Grace::Template => Removal::Evict,
            Grace::Moment | Grace::Dead => Removal::Delete,
        };
        Step::DeletePod {
            name: pod.to_owned(),
            uid: self.seen.pods[pod].uid.clone(),
            grace,
            how,
            why: String::new(),
        }
    }

    /// As [`Self::delete`], without the budget.
    fn delete_at_once(&self, pod: &str) -> Step {
        let mut step = self.delete(pod, Grace::Template);
        if let Step::DeletePod { how, .. } = &mut step {
            *how = Removal::Delete;
        }
        step
    }

    fn remove(&self, pod: &str, member: Id) -> Step {
        Step::RemoveMember {
            via: via(),
            pod: pod.to_owned(),
            host: String::new(),
            member,
            why: String::new(),
            drain: None,
        }
    }

    fn delete_claim(&self, pod: &str) -> Step {
        let name = format!("data-{pod}");
        let uid = self.seen.claims[&name].uid.clone();
        Step::DeleteClaim { name, uid }
    }

    fn create(&self, pod: &str, purpose: &Purpose<'_>) -> Step {
        Step::CreatePod(Box::new(pods::build(&self.desired, pod, purpose)))
    }

    fn create_claim(&self, pod: &str, join: Option<Id>) -> Step {
        let template = &self.desired.claims[0];
        Step::CreateClaim(Box::new(volumes::build(&self.desired, template, pod, join)))
    }
}

fn via() -> Via {
    Via {
        pod: "a-0".to_owned(),
        ip: std::net::Ipv4Addr::LOCALHOST.into(),
    }
}

fn add(pod: &str) -> Step {
    Step::AddLearner {
        via: via(),
        pod: pod.to_owned(),
        host: String::new(),
    }
}

fn promote(member: Id) -> Step {
    Step::Promote {
        via: via(),
        pod: "a-0".to_owned(),
        member,
    }
}

#[test]
fn a_good_plan_breaks_nothing() {
    let mut good = scene(3);
    let gone = good.id("a-2");
    assert_eq!(
        good.broken(vec![good.delete("a-2", Grace::Template)]),
        [""; 0]
    );
    assert_eq!(good.broken(vec![good.remove("a-2", gone)]), [""; 0]);
    good.pod("a-2").node = NodeSeen::Gone;
    assert_eq!(good.broken(vec![good.delete("a-2", Grace::Dead)]), [""; 0]);
}

#[test]
fn changes_of_membership() {
    let mut three = scene(3);
    let (one, two) = (three.id("a-1"), three.id("a-2"));
    assert!(
        three
            .broken(vec![three.remove("a-1", one), three.remove("a-2", two)])
            .contains(&"M1".to_owned())
    );
    assert_eq!(three.broken(vec![promote(two)]), ["M2"]);
    assert_eq!(three.broken(vec![three.remove("a-1", two)]), ["M4"]);
    assert_eq!(three.broken(vec![three.remove("a-1", Id(1))]), ["M4"]);
    assert!(three.broken(vec![add("a-1")]).contains(&"M4".to_owned()));
    assert_eq!(three.broken(vec![add("a-5")]), ["M16"]);
    three.members()[0].is_learner = true;
    assert!(three.broken(vec![add("a-3")]).contains(&"M1".to_owned()));

    // A healthy member goes while another that is wanted has no vote: the way to a cluster of one.
    let mut two = scene(3);
    two.members().truncate(2);
    two.seen.pods.remove("a-2");
    assert_eq!(two.broken(vec![two.remove("a-1", one)]), ["M3"]);

    let mut alone = scene(3);
    for pod in ["a-1", "a-2"] {
        alone.pod(pod).heard = false;
    }
    let first = alone.id("a-0");
    assert_eq!(alone.broken(vec![alone.remove("a-0", first)]), ["M13"]);
    let only = scene(1);
    assert_eq!(only.broken(vec![only.remove("a-0", first)]), ["M13"]);

    let mut blind = scene(3);
    blind.seen.members = Reading::Unknown(String::new());
    assert_eq!(blind.broken(vec![add("a-5")]), ["M5"]);
    assert_eq!(blind.broken(vec![blind.remove("a-1", one)]), ["M5"]);

    let mut elsewhere = scene(3);
    elsewhere.desired.members.push("a-3".to_owned());
    elsewhere.desired.cluster_domain = "other".to_owned();
    assert_eq!(elsewhere.broken(vec![add("a-3")]), ["N"]);
}

#[test]
fn ends_of_pods() {
    let mut three = scene(3);
    let both = vec![
        three.delete("a-1", Grace::Template),
        three.delete("a-2", Grace::Template),
    ];
    assert!(three.broken(both).contains(&"P9".to_owned()));
    assert_eq!(
        three.broken(vec![three.delete("a-1", Grace::Moment)]),
        ["M4"]
    );
    assert_eq!(three.broken(vec![three.delete("a-1", Grace::Dead)]), ["P5"]);
    let mut old = three.delete("a-1", Grace::Template);
    if let Step::DeletePod { uid, .. } = &mut old {
        uid.push('x');
    }
    assert_eq!(three.broken(vec![old]), ["C2"]);
    // The address says nothing.
    three.members()[1].peer_urls = vec!["http://10.9.9.9:2380".to_owned()];
    assert_eq!(
        three.broken(vec![three.delete("a-1", Grace::Moment)]),
        ["M4"]
    );

    assert_eq!(three.broken(vec![three.delete_at_once("a-1")]), ["P4"]);
    let mut dead = scene(3);
    dead.pod("a-1").heard = false;
    let held = dead.delete("a-1", Grace::Template);
    assert_eq!(dead.broken(vec![held]), ["P4"]);
    let mut stopped = scene(3);
    stopped.desired.stop = true;
    let held = stopped.delete("a-1", Grace::Template);
    assert_eq!(stopped.broken(vec![held]), ["P4"]);

    let mut short = scene(3);
    short.pod("a-0").heard = false;
    assert_eq!(
        short.broken(vec![short.delete("a-1", Grace::Template)]),
        ["P9"]
    );
    // Nor does silence: its etcd may vote.
    let mut silent = scene(5);
    for pod in ["a-0", "a-1", "a-2"] {
        silent.pod(pod).heard = false;
    }
    assert_eq!(silent.broken(vec![silent.delete_at_once("a-0")]), ["P9"]);

    let mut blind = scene(3);
    blind.seen.members = Reading::Unknown(String::new());
    assert_eq!(blind.broken(vec![blind.delete_at_once("a-1")]), ["M5"]);

    let mut fork = scene(3);
    fork.members().truncate(1);
    assert_eq!(fork.broken(vec![fork.delete("a-1", Grace::Moment)]), ["M5"]);
}

#[test]
fn ends_of_data() {
    let mut only = grown(1);
    only.delete_claim("a-0");
    let only = of(&only);
    assert_eq!(
        only.broken(vec![only.delete("a-0", Grace::Template)]),
        ["D"]
    );
    let mut three = grown(3);
    three.delete_claim("a-2");
    let mut going = of(&three);
    assert_eq!(
        going.broken(vec![going.delete("a-2", Grace::Template)]),
        [""; 0]
    );
    going.seen.members = Reading::Unknown(String::new());
    for pod in ["a-0", "a-1", "a-2"] {
        going.pod(pod).view = None;
    }
    assert_eq!(going.broken(vec![going.delete_at_once("a-2")]), ["D"]);

    let mut member = scene(3);
    assert_eq!(
        member.broken(vec![member.delete_claim("a-1")]),
        ["M19", "M10"]
    );
    member.seen.pods.remove("a-1");
    assert_eq!(member.broken(vec![member.delete_claim("a-1")]), ["M10"]);
    member.members()[1].peer_urls = vec!["http://10.9.9.9:2380".to_owned()];
    assert_eq!(
        member.broken(vec![member.delete_claim("a-1")]),
        ["M10"],
        "on record by its identifier"
    );
    member.seen.members = Reading::Unknown(String::new());
    assert_eq!(member.broken(vec![member.delete_claim("a-1")]), ["M5"]);
    let mut old = member.delete_claim("a-1");
    if let Step::DeleteClaim { uid, .. } = &mut old {
        uid.push('x');
    }
    assert!(member.broken(vec![old]).contains(&"C2".to_owned()));
}

#[test]
fn births() {
    let mut three = scene(3);
    let set = three.desired.members.clone();
    let first = Purpose {
        bootstrap: Some(&set),
        ..Purpose::default()
    };
    assert_eq!(
        three.broken(vec![three.create("a-1", &Purpose::default())]),
        ["M11"]
    );
    three.seen.pods.remove("a-1");
    assert_eq!(three.broken(vec![three.create("a-1", &first)]), ["B2"]);
    three.seen.claims.remove("data-a-1");
    assert_eq!(
        three.broken(vec![three.create("a-1", &Purpose::default())]),
        ["M19"]
    );
    let id = Some(three.members()[1].id);
    assert_eq!(
        three.broken(vec![three.create_claim("a-1", id)]),
        ["M11"],
        "it was started"
    );
    assert_eq!(
        three.broken(vec![three.create_claim("a-0", None)]),
        ["M19", "M11"]
    );
    assert!(
        three
            .broken(vec![Step::RemoveFinalizer])
            .contains(&"C4".to_owned())
    );
}

#[test]
fn nodes_that_users_name() {
    let mut three = scene(3);
    let id = three.id("a-1");
    three.seen.pods.remove("a-1");
    three.desired.recorded.placements = vec![etcd_operator_api::instance_set::Placement {
        pod_name: "a-1".to_owned(),
        node_name: "n7".to_owned(),
        member_id: "77".to_owned(),
    }];
    let create = |join, node| {
        let purpose = Purpose {
            join,
            node,
            ..Purpose::default()
        };
        three.broken(vec![three.create("a-1", &purpose)])
    };
    assert_eq!(create(Some(id), Some("n7")), Vec::<String>::new());
    assert_eq!(create(Some(id), None), ["M20"]);
    assert_eq!(create(Some(id), Some("n8")), ["M20"]);
    assert_eq!(create(None, Some("n7")), ["M20"], "no new member");
    assert_eq!(create(Some(Id(0x77)), Some("n7")), ["M20"], "the old one");
}

#[test]
fn care_of_databases() {
    let defragment = |pod: &str| Step::Defragment {
        via: Via {
            pod: pod.to_owned(),
            ..via()
        },
        request: None,
    };
    let mut world = grown(3);
    world.set_leader("a-0");
    let mut good = of(&world);
    assert_eq!(good.broken(vec![defragment("a-1")]), [""; 0]);
    assert_eq!(good.broken(vec![defragment("a-0")]), ["D8"], "it leads");
    let two = vec![defragment("a-1"), defragment("a-2")];
    assert!(good.broken(two).contains(&"D8".to_owned()));
    let grow = Step::GrowClaim {
        name: "data-a-1".to_owned(),
        uid: good.seen.claims["data-a-1"].uid.clone(),
        to: Quantity("2Gi".to_owned()),
    };
    assert_eq!(good.broken(vec![grow, defragment("a-1")]), [""; 0]);
    let replaced = vec![good.delete("a-2", Grace::Template), defragment("a-1")];
    assert!(good.broken(replaced).contains(&"D8".to_owned()));
    let asked = Step::Defragment {
        via: Via {
            pod: "a-1".to_owned(),
            ..via()
        },
        request: Some("u".to_owned()),
    };
    assert_eq!(good.broken(vec![asked]), ["D8"], "nothing was asked for");
    assert_eq!(good.broken(vec![Step::Compact { via: via() }]), ["D7"]);
    let view = good.pod("a-2").view.as_mut().expect("a view");
    view.under_way = Some(action::DEFRAGMENT.to_owned());
    assert_eq!(good.broken(vec![defragment("a-1")]), ["D8"], "another is");
    let stopped = good.delete("a-1", Grace::Template);
    assert_eq!(good.broken(vec![stopped]), ["P9"], "one of two that serve");

    world.fill("a-1");
    let full = of(&world);
    let disarm = |member, kind| Step::Disarm {
        via: via(),
        alarm: Alarm { member, kind },
    };
    let id = full.id("a-1");
    assert_eq!(full.broken(vec![Step::Compact { via: via() }]), [""; 0]);
    assert_eq!(full.broken(vec![disarm(id, AlarmKind::NoSpace)]), ["D7"]);
    for wrong in [id, Id(0)] {
        assert_eq!(
            full.broken(vec![disarm(wrong, AlarmKind::Corrupt)]),
            ["D15"]
        );
    }
    let left = disarm(Id(0xdead), AlarmKind::Corrupt);
    assert_eq!(full.broken(vec![left]), [""; 0]);
}

#[test]
fn members_that_move_to_another_class() {
    let mut world = grown(3);
    world.set_leader("a-0");
    world.want_class("fast");
    let (one, two) = (of(&world).id("a-1"), of(&world).id("a-2"));
    let move_one = |scene: &Scene| scene.broken(vec![scene.remove("a-1", one)]);
    assert_eq!(move_one(&of(&world)), [""; 0]);
    let first = of(&world).id("a-0");
    let leads = of(&world);
    assert_eq!(leads.broken(vec![leads.remove("a-0", first)]), ["M21"]);
    let both = vec![leads.remove("a-1", one), add("a-5")];
    assert!(leads.broken(both).contains(&"M21".to_owned()));

    let mut unready = of(&world);
    unready.pod("a-2").ready = false;
    assert_eq!(move_one(&unready), ["M21"]);
    let mut silent = scene(5);
    silent.desired.claims[0].spec.storage_class_name = Some("fast".to_owned());
    silent.pod("a-2").heard = false;
    assert_eq!(move_one(&silent), ["M21"], "M13 alone would let it go");
    let mut larger = of(&world);
    larger.desired.members.push("a-3".to_owned());
    assert!(move_one(&larger).contains(&"M21".to_owned()));

    // A member that is removed for another reason does not move.
    let mut rebuilt = world.clone();
    rebuilt.condemn("a-1");
    let mut rebuilt = of(&rebuilt);
    rebuilt.pod("a-2").ready = false;
    assert_eq!(move_one(&rebuilt), [""; 0]);
    let mut smaller = of(&world);
    smaller.desired.members.truncate(2);
    smaller.pod("a-1").ready = false;
    assert_eq!(smaller.broken(vec![smaller.remove("a-2", two)]), [""; 0]);
}
