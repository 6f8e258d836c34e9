//! TLS of a Component: what its pods get, and what is refused before anything is touched.

use etcd_operator_api::tls::{Issuer, IssuerName, TlsConfig, TlsSecretRef};

use super::*;

fn with_tls(config: TlsConfig) -> Component {
    let mut component = component();
    component.spec.tls_config = Some(config);
    component
}

pub(super) fn issued() -> TlsConfig {
    TlsConfig {
        enable: true,
        issuer: Some(Issuer::default()),
    }
}

fn given(namespace: Option<&str>) -> TlsConfig {
    let secret = TlsSecretRef {
        namespace: namespace.map(str::to_owned),
        name: "mine".to_owned(),
        ca: "ca".to_owned(),
        cert: "cert".to_owned(),
        key: "key".to_owned(),
    };
    TlsConfig {
        enable: true,
        issuer: Some(Issuer {
            name: IssuerName::UserProvided,
            secret_ref: Some(secret),
        }),
    }
}

fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let mut env = container.env.iter().flatten();
    env.find(|variable| variable.name == name)?.value.as_deref()
}

#[test]
fn etcd_agent_and_exporter_get_the_certificate() {
    let plan = planned(&with_tls(issued()));
    let (_, spec) = pod(&plan);
    let volume = spec.volumes.iter().flatten().find(|v| v.name == "tls");
    let secret = volume.and_then(|v| v.secret.as_ref()).expect("a Secret");
    assert_eq!(
        secret.secret_name.as_deref(),
        Some("ledger-store-tls-certs")
    );
    assert_eq!(secret.default_mode, Some(0o440));
    let items = secret.items.iter().flatten();
    let items: Vec<_> = items.map(|i| (i.key.as_str(), i.path.as_str())).collect();
    let files = [
        ("ca.crt", "ca.pem"),
        ("tls.crt", "cert.pem"),
        ("tls.key", "key.pem"),
    ];
    assert_eq!(items, files);
    let operator = Some("_operator.kbagent");
    for (name, peer_name, operator) in [
        ("etcd", Some("etcd-member"), None),
        ("kbagent", None, operator),
    ] {
        let container = container(&spec, name);
        let mut mounts = container.volume_mounts.iter().flatten();
        let mount = mounts.find(|mount| mount.name == "tls").expect("a mount");
        assert_eq!(
            (mount.mount_path.as_str(), mount.read_only),
            ("/etc/pki/tls", Some(true))
        );
        assert_eq!(variable(container, "KB_TLS_DIR"), Some("/etc/pki/tls"));
        assert_eq!(variable(container, "KB_TLS_PEER_NAME"), peer_name, "{name}");
        assert_eq!(variable(container, "KB_TLS_OPERATOR_NAME"), operator);
    }
    let all = serde_json::to_string(&plan.instance_set.spec.template.0).expect("JSON");
    assert!(
        !all.contains("ledger-store-ca"),
        "the CA's key is in no pod"
    );
    let wanted = plan.certificates.expect("certificates");
    assert!(
        wanted
            .names
            .dns
            .contains("*.ledger-store-headless.books.svc.cluster.local")
    );
    assert!(!wanted.members_made);
}

#[test]
fn the_exporter_serves_tls_where_its_definition_says_that_it_can() {
    let scraped = |component: &Component, observed: &Observed| {
        let plan = super::super::plan::plan(component, observed, "cluster.local").expect("a plan");
        let (_, spec) = pod(&plan);
        let exporter = container(&spec, "metrics-exporter").clone();
        let annotations = plan.instance_set.spec.headless_service_annotations;
        let scheme = annotations["monitor.kubeblocks.io/scheme"].clone();
        assert_eq!(annotations["monitor.kubeblocks.io/port"], "9187");
        let ports = exporter.ports.iter().flatten();
        let ports: Vec<_> = ports.filter_map(|port| port.name.clone()).collect();
        let probe = exporter
            .liveness_probe
            .as_ref()
            .and_then(|p| p.http_get.as_ref());
        assert_eq!(
            probe.map(|get| get.port.clone()),
            Some(IntOrString::String(ports[0].clone())),
        );
        let mounted = exporter.volume_mounts.iter().flatten();
        let mounted = mounted.filter(|mount| mount.name == "tls").count();
        let directory = variable(&exporter, "KB_TLS_DIR").is_some();
        (scheme, ports[0].clone(), mounted, directory)
    };
    let text = str::to_owned;
    let plain = (text("http"), text("http-metrics"), 0, false);
    assert_eq!(scraped(&component(), &shipped()), plain);
    let secured = (text("https"), text("https-metrics"), 1, true);
    assert_eq!(scraped(&with_tls(issued()), &shipped()), secured);
    // One of another make is given no key.
    let mut other = shipped();
    let definition = other.definition.as_mut().expect("a definition");
    let runtime = serde_json::to_string(&definition.spec.runtime.0).expect("JSON");
    let runtime = runtime.replace("KB_EXPORTER_TLS", "OTHER");
    definition.spec.runtime.0 = serde_json::from_str(&runtime).expect("JSON");
    assert_eq!(scraped(&with_tls(issued()), &other), plain);
}

#[test]
fn a_users_certificate_must_be_for_the_pods_and_the_leader() {
    let plan = planned(&with_tls(given(Some("books"))));
    let (_, spec) = pod(&plan);
    let etcd = container(&spec, "etcd");
    // His CA may have signed members under any name.
    assert_eq!(variable(etcd, "KB_TLS_PEER_NAME"), None);
    // And has signed none for the operator.
    let agent = container(&spec, "kbagent");
    assert_eq!(variable(agent, "KB_TLS_OPERATOR_NAME"), None);
    let domain = "ledger-store-headless.books.svc.cluster.local";
    let wanted = [
        format!("ledger-store-0.{domain}"),
        format!("ledger-store-1.{domain}"),
        format!("ledger-store-2.{domain}"),
        "ledger-store.books.svc.cluster.local".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    assert_eq!(plan.certificates.expect("certificates").needed, wanted);
}

#[test]
fn without_tls_nothing_in_a_pod_and_nothing_on_record_speaks_of_it() {
    for config in [None, Some(TlsConfig::default())] {
        let mut component = component();
        component.spec.tls_config = config;
        let plan = planned(&component);
        assert!(plan.certificates.is_none());
        let (_, spec) = pod(&plan);
        assert!(
            spec.volumes
                .iter()
                .flatten()
                .all(|volume| volume.name != "tls")
        );
        assert_eq!(variable(container(&spec, "etcd"), "KB_TLS_DIR"), None);
        let annotations = plan.instance_set.annotations();
        assert!(!annotations.contains_key(labels::TLS_ISSUER));
        assert_eq!(
            annotations.get(labels::TEMPLATE_INPUTS),
            planned(&super::component())
                .instance_set
                .annotations()
                .get(labels::TEMPLATE_INPUTS)
        );
    }
}

#[test]
fn tls_and_its_issuer_are_fixed_while_there_are_members() {
    let running = |config: Option<TlsConfig>| {
        let mut component = component();
        component.spec.tls_config = config;
        let mut observed = shipped();
        observed.instance_set = Some(planned(&component).instance_set);
        observed
    };
    let told = refused(&with_tls(issued()), &running(None));
    assert!(
        told.starts_with("tls cannot be switched on while there are members"),
        "{told}"
    );
    let told = refused(&component(), &running(Some(issued())));
    assert!(told.starts_with("tls cannot be switched off"), "{told}");
    let told = refused(&with_tls(given(None)), &running(Some(issued())));
    assert!(
        told.starts_with("issuer.name cannot go from KubeBlocks to UserProvided"),
        "{told}"
    );
    let again = plan(
        &with_tls(issued()),
        &running(Some(issued())),
        "cluster.local",
    );
    assert!(
        again
            .expect("the same")
            .certificates
            .expect("certificates")
            .members_made
    );
}

#[test]
fn what_has_no_effect_or_no_meaning_is_refused_by_its_field() {
    let half = |enable, issuer| TlsConfig { enable, issuer };
    let mut secretless = given(None);
    if let Some(issuer) = &mut secretless.issuer {
        issuer.secret_ref = None;
    }
    let mut both = given(None);
    if let Some(issuer) = &mut both.issuer {
        issuer.name = IssuerName::KubeBlocks;
    }
    let cases = [
        (half(true, None), "issuer is needed"),
        (half(false, Some(Issuer::default())), "issuer has no effect"),
        (secretless, "issuer.secretRef is needed"),
        (both, "issuer.secretRef is needed"),
        (given(Some("other")), "issuer.secretRef.namespace \"other\""),
    ];
    for (config, wanted) in cases {
        let told = refused(&with_tls(config), &shipped());
        assert!(told.starts_with(wanted), "{told}");
    }
}

#[test]
fn a_definition_that_would_leave_etcd_in_plain_text_is_refused() {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut observed = shipped();
        let definition = observed.definition.as_mut().expect("shipped");
        change(&mut definition.spec.runtime.0);
        refused(&with_tls(issued()), &observed)
    };
    let told = with(&|runtime| runtime["containers"][0]["command"] = serde_json::json!(["etcd"]));
    assert!(
        told.contains("does not start etcd by kbagent's launch"),
        "{told}"
    );
    let told = with(&|runtime| {
        let volumes = runtime["volumes"].as_array_mut().expect("volumes");
        volumes.push(serde_json::json!({ "name": "tls", "emptyDir": {} }));
    });
    assert!(told.contains("volume named tls"), "{told}");
}
