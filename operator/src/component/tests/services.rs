//! Services of each pod.

use etcd_operator_api::service::{ComponentServiceOverride, ServiceType};
use k8s_openapi::api::core::v1::Service;

use super::*;

/// As KubeBlocks' `cluster-with-lb.yaml` asks for it.
fn with_peers(replicas: i32) -> Component {
    let mut component = component();
    component.spec.replicas = replicas;
    component.spec.services = vec![ComponentServiceOverride {
        name: "peer".to_owned(),
        service_type: ServiceType::LoadBalancer,
        pod_service: Some(true),
        ..ComponentServiceOverride::default()
    }];
    component
}

fn names(services: &[Service]) -> Vec<String> {
    services.iter().map(ResourceExt::name_any).collect()
}

#[test]
fn each_pod_has_a_service_of_its_own_where_it_is_asked_for() {
    let leader = names(&planned(&component()).services);
    assert_eq!(leader.len(), 1, "none by itself: {leader:?}");
    let services = planned(&with_peers(3)).services;
    let own = (0..3).map(|at| format!("{}-peer-{at}", leader[0]));
    let all: Vec<String> = leader.iter().cloned().chain(own).collect();
    assert_eq!(names(&services), all);
    let spec = services[2].spec.clone().expect("a spec");
    assert_eq!(spec.type_.as_deref(), Some("LoadBalancer"));
    let selector = spec.selector.expect("a selector");
    assert_eq!(selector[labels::POD_NAME], format!("{}-1", leader[0]));
    assert!(!selector.contains_key(labels::ROLE));
    assert_eq!(spec.ports.expect("ports")[0].port, 2380);
}

#[test]
fn services_go_with_their_members() {
    let observed = Observed {
        services: planned(&with_peers(5)).services,
        ..shipped()
    };
    let planned = plan(&with_peers(3), &observed, "cluster.local").expect("a plan");
    let gone = names(&planned.obsolete_services);
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(
        gone.iter()
            .all(|name| name.ends_with("-peer-3") || name.ends_with("-peer-4"))
    );
}
