//! What is given to which Services, and what is taken back.

use super::*;

fn network(node: &str, prefix: u32) -> Network {
    Network {
        name: "kind".to_owned(),
        node: node.parse().expect("an address"),
        prefix,
    }
}

fn wish(name: &str, has: &[&str]) -> Wish {
    let shows = has.iter().map(|ip| LoadBalancerIngress {
        ip: Some((*ip).to_owned()),
        ..LoadBalancerIngress::default()
    });
    Wish {
        namespace: "n".to_owned(),
        name: name.to_owned(),
        version: None,
        shows: shows.collect(),
    }
}

fn service(namespace: &str, spec: &serde_json::Value, ingress: &serde_json::Value) -> Service {
    let object = json!({
        "metadata": { "name": "s", "namespace": namespace },
        "spec": spec,
        "status": { "loadBalancer": { "ingress": ingress } },
    });
    serde_json::from_value(object).expect("a service")
}

#[test]
fn addresses_are_of_the_nodes_network_and_far_from_those_of_containers() {
    for (prefix, least) in [(16, 63), (24, 63), (28, 7), (30, 1)] {
        let network = network("172.18.0.3", prefix);
        let pool = pool(&network, "etcd-harness");
        assert!(pool.len() >= least, "/{prefix}: {pool:?}");
        let size = 1u32 << (32 - prefix);
        let first = u32::from(network.node) & !(size - 1);
        for address in pool {
            let offset = u32::from(address) - first;
            assert!(
                offset >= size / 2 && offset < size - 1,
                "/{prefix}: {address}"
            );
        }
    }
}

#[test]
fn two_clusters_on_one_network_have_their_own() {
    let network = network("172.18.0.3", 16);
    let ours: BTreeSet<_> = pool(&network, "etcd-harness").into_iter().collect();
    let theirs: BTreeSet<_> = pool(&network, "etcd-lab").into_iter().collect();
    assert!(ours.is_disjoint(&theirs));
}

#[test]
fn a_service_keeps_its_address_and_no_two_have_the_same() {
    let pool: Vec<Ipv4Addr> = (1..4).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
    let wanting = [
        wish("a", &["10.0.0.1"]),
        wish("b", &[]),
        wish("c", &[]),
        wish("d", &[]),
    ];
    let taken = BTreeSet::from([pool[0]]);
    let gifts = give(&wanting, &pool, &taken);
    let new: Vec<_> = gifts.new.iter().map(|(w, at)| (&*w.name, *at)).collect();
    assert_eq!(new, [("b", pool[1]), ("c", pool[2])], "none is left for d");
    assert_eq!(gifts.on, pool.iter().copied().collect());
    let gifts = give(&wanting[..1], &pool, &taken);
    assert!(gifts.new.is_empty());
    assert_eq!(gifts.on, taken, "the others are free again");
}

#[test]
fn what_another_implementation_gave_is_left_alone() {
    let pool: Vec<Ipv4Addr> = (1..4).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
    let balancer = json!({ "type": "LoadBalancer" });
    let named = json!([{ "hostname": "lb.example" }]);
    let services = [
        service("n", &balancer, &json!([{ "ip": "192.168.0.1" }])),
        service("n", &balancer, &named),
        // In our pool, in a namespace that is none of ours.
        service("other", &balancer, &json!([{ "ip": "10.0.0.1" }])),
        service("other", &balancer, &json!([])),
        service("n", &balancer, &json!([])),
    ];
    let taken = shown_by(&services, &[]);
    let of_one = shown_by(&services, &["n".to_owned()]);
    assert_eq!(of_one, BTreeSet::from([pool[0]]), "the other may go");
    let scope = Scope::namespace("n");
    let wishes = services.iter().filter_map(|one| Wish::of(one, &scope));
    let wanting: Vec<Wish> = wishes.collect();
    let gifts = give(&wanting, &pool, &taken);
    assert_eq!(gifts.new, [(&wanting[2], pool[1])]);
    assert_eq!(gifts.on, BTreeSet::from([pool[1]]));
    assert_eq!(gifts.taken, BTreeSet::from([pool[0], pool[1]]));
}

#[test]
fn of_two_that_give_one_does_not_overwrite_and_the_same_address_is_told() {
    let pool: Vec<Ipv4Addr> = (1..4).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
    let balancer = json!({ "type": "LoadBalancer" });
    let mut listed = service("n", &balancer, &json!([]));
    listed.metadata.resource_version = Some("7".to_owned());
    let wish = Wish::of(&listed, &Scope::Everywhere).expect("it wants one");
    let write = shown_from(wish.version.as_deref(), &json!([]));
    assert_eq!(write["metadata"]["resourceVersion"], "7");
    let same = json!([{ "ip": "10.0.0.1" }]);
    let services = [
        service("n", &balancer, &same),
        service("m", &balancer, &same),
        service("o", &balancer, &json!([{ "ip": "10.0.0.2" }])),
    ];
    assert_eq!(
        doubled(&services, &pool),
        [(pool[0], "n/s and m/s".to_owned())]
    );
}

#[test]
fn only_load_balancers_without_a_class_or_a_place_are_served() {
    let serves = |scope: &Scope, spec: serde_json::Value| {
        Wish::of(&service("n", &spec, &json!([])), scope).is_some()
    };
    let all = Scope::Everywhere;
    let balancer = json!({ "type": "LoadBalancer" });
    assert!(serves(&all, balancer.clone()));
    assert!(serves(&Scope::namespace("n"), balancer.clone()));
    assert!(!serves(&Scope::namespace("m"), balancer));
    assert!(!serves(&all, json!({ "type": "NodePort" })));
    let of_class = json!({ "type": "LoadBalancer", "loadBalancerClass": "x/y" });
    assert!(!serves(&all, of_class));
    let local = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    assert!(!serves(&all, local));
}

/// A look that takes until it is let on.
struct Slow {
    begun: std::sync::Arc<tokio::sync::Notify>,
    on: std::sync::Arc<tokio::sync::Notify>,
    did: std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>,
}

impl Serve for Slow {
    async fn look(&mut self) -> Result<Vec<String>, String> {
        self.begun.notify_one();
        self.on.notified().await;
        self.did.lock().expect("no panic").push("look");
        Ok(Vec::new())
    }

    async fn take_back(&mut self) -> Result<(), ClusterError> {
        self.did.lock().expect("no panic").push("take back");
        Ok(())
    }
}

/// Whether it is ended, or dropped by a set-up that fails.
#[tokio::test]
async fn what_a_look_under_way_adds_is_taken_back_too() {
    for ended in [true, false] {
        let slow = Slow {
            begun: std::sync::Arc::default(),
            on: std::sync::Arc::default(),
            did: std::sync::Arc::default(),
        };
        let (begun, on, did) = (slow.begun.clone(), slow.on.clone(), slow.did.clone());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serving(slow, stopped, |_| {}));
        begun.notified().await;
        if ended {
            let end = tokio::spawn(Addresses { stop, task }.end());
            tokio::task::yield_now().await;
            on.notify_one();
            end.await.expect("no panic").expect("taken back");
        } else {
            drop(stop);
            on.notify_one();
            task.await.expect("no panic").expect("taken back");
        }
        assert_eq!(*did.lock().expect("no panic"), ["look", "take back"]);
    }
}
