//! PURE: TLS of a component: what is refused, and what the pods get.

use etcd_operator_api::tls::{IssuerName, TlsSecretRef};
use etcd_operator_api::{Component, InstanceSet, labels, names};
use k8s_openapi::api::core::v1::{KeyToPath, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kbagent_protocol::{OPERATOR_NAME, OPERATOR_NAME_VARIABLE, TLS_DIRECTORY_VARIABLE};
use kube::ResourceExt;

use super::observe::Observed;
use super::part::{mount, secret_volume, set};
use super::request::{IssuerRef, NoIssuer};
use crate::certificates::Subject;

/// Volume of the members' certificate, and where KubeBlocks' etcd has it.
const VOLUME: &str = "tls";
const DIRECTORY: &str = "/etc/pki/tls";
/// Keys of the Secret, and the files they become.
const FILES: [(&str, &str); 3] = [
    (names::CA_KEY, "ca.pem"),
    (names::CERTIFICATE_KEY, "cert.pem"),
    (names::PRIVATE_KEY, "key.pem"),
];
/// Tells the launcher which common name peers have.
const PEER_NAME_VARIABLE: &str = "KB_TLS_PEER_NAME";
/// Changes with the CAs that etcd is to believe, which it reads at its start.
const TRUST_VARIABLE: &str = "KB_TRUSTED_CAS";
/// Says in a definition that its exporter serves TLS when it is given a certificate.
const EXPORTER_VARIABLE: &str = "KB_EXPORTER_TLS";
/// Name of the exporter's port in plain text, and with TLS.
const FIGURES: (&str, &str) = ("http-metrics", "https-metrics");
/// What the launcher is called by.
const LAUNCH: &str = "launch";

/// TLS cannot be had so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TlsError {
    #[error("issuer is needed with tls: true, e.g. issuer: {{name: KubeBlocks}}")]
    NoIssuer,
    #[error("issuer has no effect without tls: true: set that, or leave issuer out")]
    NoTls,
    #[error("issuer.secretRef is needed with issuer.name UserProvided, and goes with no other")]
    SecretRef,
    #[error(
        "issuer.secretRef.namespace {namespace:?} is another namespace than the Cluster's, from which nothing is read: copy \
         the Secret, and leave the field out"
    )]
    Namespace { namespace: String },
    #[error(transparent)]
    NoManager(#[from] NoIssuer),
    #[error(
        "metadata.annotations[{}] has cert-manager issue the Secret of issuer UserProvided: set tls: true and issuer: {{name: \
         UserProvided, secretRef: {{name: NAME, ca: ca.crt, cert: tls.crt, key: tls.key}}}}, which are the keys that it \
         writes, or take the annotation away",
        labels::CERT_MANAGER_ISSUER
    )]
    ManagerKeys,
    #[error(
        "tls cannot be switched {} while there are members: their peer URLs would change under them. Set it back, or make \
         a new Cluster and copy the data",
        if *on { "on" } else { "off" }
    )]
    Switched { on: bool },
    #[error(
        "issuer.name cannot go from {from} to {to} while there are members: they believe the CA of before. Set it back, or \
         make a new Cluster and copy the data"
    )]
    IssuerChanged { from: String, to: &'static str },
    #[error("compDef {definition:?} cannot have tls: {why}")]
    Definition {
        definition: String,
        why: &'static str,
    },
}

/// Who issues the certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// The operator.
    Own,
    /// The user, by this Secret.
    User(TlsSecretRef),
}

impl Tls {
    fn issuer(&self) -> IssuerName {
        match self {
            Tls::Own => IssuerName::KubeBlocks,
            Tls::User(_) => IssuerName::UserProvided,
        }
    }

    /// What is recorded of it in the InstanceSet.
    pub(super) fn record(&self) -> (String, String) {
        let issuer = self.issuer().as_str().to_owned();
        (labels::TLS_ISSUER.to_owned(), issuer)
    }
}

/// The issuer of cert-manager that issues the user's Secret, and that Secret.
pub(super) fn manager(
    component: &Component,
    tls: Option<&Tls>,
) -> Result<Option<(IssuerRef, String)>, TlsError> {
    let Some(text) = component.annotations().get(labels::CERT_MANAGER_ISSUER) else {
        return Ok(None);
    };
    let issuer = IssuerRef::read(text)?;
    let keys = [names::CA_KEY, names::CERTIFICATE_KEY, names::PRIVATE_KEY];
    match tls {
        Some(Tls::User(secret)) if [&secret.ca, &secret.cert, &secret.key] == keys => {
            Ok(Some((issuer, secret.name.clone())))
        }
        _ => Err(TlsError::ManagerKeys),
    }
}

/// What the component asks for; `None` without TLS.
pub(super) fn check(
    component: &Component,
    observed: &Observed,
    runtime: &PodSpec,
) -> Result<Option<Tls>, TlsError> {
    let wanted = wanted(component)?;
    if wanted.is_some() {
        fits(component, runtime)?;
    }
    unchanged(wanted.as_ref(), observed.instance_set.as_ref())?;
    Ok(wanted)
}

fn wanted(component: &Component) -> Result<Option<Tls>, TlsError> {
    let config = component.spec.tls_config.clone().unwrap_or_default();
    let issuer = match (config.enable, config.issuer) {
        (false, None) => return Ok(None),
        (false, Some(_)) => return Err(TlsError::NoTls),
        (true, None) => return Err(TlsError::NoIssuer),
        (true, Some(issuer)) => issuer,
    };
    match (issuer.name, issuer.secret_ref) {
        (IssuerName::KubeBlocks, None) => Ok(Some(Tls::Own)),
        (IssuerName::UserProvided, Some(secret)) => {
            let own = component.namespace();
            let other = secret.namespace.as_ref().filter(|name| !name.is_empty());
            match other.filter(|name| Some(*name) != own.as_ref()) {
                Some(namespace) => Err(TlsError::Namespace {
                    namespace: namespace.clone(),
                }),
                None => Ok(Some(Tls::User(secret))),
            }
        }
        _ => Err(TlsError::SecretRef),
    }
}

/// A definition of one's own may start etcd by other means, which would stay in plain text.
fn fits(component: &Component, runtime: &PodSpec) -> Result<(), TlsError> {
    let etcd = runtime.containers.first();
    let command = etcd.and_then(|etcd| etcd.command.as_ref());
    let launched = command.is_some_and(|words| words.iter().any(|word| word == LAUNCH));
    let taken = runtime.volumes.iter().flatten();
    let taken = taken.into_iter().any(|volume| volume.name == VOLUME);
    let why = match (launched, taken) {
        (false, _) => "its first container does not start etcd by kbagent's launch",
        (true, true) => "it has a volume named tls of its own",
        (true, false) => return Ok(()),
    };
    Err(TlsError::Definition {
        definition: component.spec.comp_def.clone(),
        why,
    })
}

/// Peer URLs and the members' CA stay as they were made (N5).
fn unchanged(wanted: Option<&Tls>, running: Option<&InstanceSet>) -> Result<(), TlsError> {
    let Some(running) = running else {
        return Ok(());
    };
    let known = running.annotations().get(labels::TLS_ISSUER);
    match (known, wanted.map(|tls| tls.issuer().as_str())) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(TlsError::Switched { on: true }),
        (Some(_), None) => Err(TlsError::Switched { on: false }),
        (Some(from), Some(to)) if from != to => Err(TlsError::IssuerChanged {
            from: from.clone(),
            to,
        }),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// Gives the certificate to etcd and the agent, and to no other container.
pub(super) fn put_into(pod: &mut PodSpec, tls: &Tls, secret: String, agent: &str) {
    let item = |(key, path): (&str, &str)| KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: None,
    };
    let mut volume = secret_volume(VOLUME, secret);
    if let Some(source) = &mut volume.secret {
        source.items = Some(FILES.into_iter().map(item).collect());
    }
    pod.volumes.get_or_insert_default().push(volume);
    let etcd = pod.containers.first().map(|etcd| etcd.name.clone());
    for container in &mut pod.containers {
        let is_etcd = Some(&container.name) == etcd.as_ref();
        if !is_etcd && container.name != agent {
            continue;
        }
        mount(container, VOLUME, DIRECTORY, TLS_DIRECTORY_VARIABLE);
        // A user's CA may have signed members under any name, and signs nothing for the operator.
        match (tls, is_etcd) {
            (Tls::Own, true) => set(container, PEER_NAME_VARIABLE, Subject::Member.common_name()),
            (Tls::Own, false) => set(container, OPERATOR_NAME_VARIABLE, OPERATOR_NAME),
            (Tls::User(_), _) => {}
        }
    }
}

/// Whether the exporter of this name can serve TLS: its definition says so.
pub(super) fn exporter_can(pod: &PodSpec, exporter: &str) -> bool {
    let mut containers = pod.containers.iter();
    let container = containers.find(|container| container.name == exporter);
    let mut env = container
        .into_iter()
        .flat_map(|container| container.env.iter().flatten());
    env.any(|known| known.name == EXPORTER_VARIABLE && known.value.as_deref() == Some("true"))
}

/// Has the exporter serve by the members' certificate. Its port is called by what is spoken there, so that scrapers
/// know each pod's, also of one that was made before.
pub(super) fn put_into_exporter(pod: &mut PodSpec, exporter: &str) {
    let mut containers = pod.containers.iter_mut();
    let Some(container) = containers.find(|container| container.name == exporter) else {
        return;
    };
    mount(container, VOLUME, DIRECTORY, TLS_DIRECTORY_VARIABLE);
    let (plain, secure) = FIGURES;
    for port in container.ports.iter_mut().flatten() {
        if port.name.as_deref() == Some(plain) {
            port.name = Some(secure.to_owned());
        }
    }
    let probes = [
        &mut container.startup_probe,
        &mut container.liveness_probe,
        &mut container.readiness_probe,
    ];
    let asked = probes.into_iter().flatten();
    for asked in asked.filter_map(|probe| probe.http_get.as_mut()) {
        if asked.port == IntOrString::String(plain.to_owned()) {
            asked.port = IntOrString::String(secure.to_owned());
        }
    }
}

/// Has etcd started again when the CAs change that it is to believe.
pub(super) fn start_with(pod: &mut PodSpec, trust: &str) {
    if let Some(etcd) = pod.containers.first_mut() {
        set(etcd, TRUST_VARIABLE, trust);
    }
}

/// Which CAs members are to be started with: as it is on record, else as their template says. The CA's Secret counts
/// for the first members only: it may be gone, or a copy of another time, for which nothing is restarted.
pub(super) fn trust(observed: &Observed) -> Option<String> {
    let Some(its) = &observed.instance_set else {
        return observed.trust.clone();
    };
    let on_record = its.annotations().get(labels::CA_TRUST).cloned();
    on_record.or_else(|| in_template(its))
}

/// The CAs that all members were started with; `None` while one was not, or where no CA was ever replaced.
pub(super) fn started_with(its: &InstanceSet) -> Option<String> {
    let (spec, status) = (&its.spec, its.status.as_ref()?);
    let wanted = if spec.stop { 0 } else { spec.replicas };
    let counts = [
        status.replicas,
        status.ready_replicas,
        status.updated_replicas,
    ];
    let all = status.observed_generation == its.metadata.generation
        && counts.iter().all(|count| *count == wanted);
    in_template(its).filter(|_| all)
}

/// What the template of members says of the CAs that they are started with.
fn in_template(its: &InstanceSet) -> Option<String> {
    let template = &its.spec.template.0;
    let containers = template.get("spec")?.get("containers")?.as_array()?;
    let mut env = containers.iter().filter_map(|c| c.get("env")?.as_array());
    let named = |variable: &&serde_json::Value| variable["name"] == TRUST_VARIABLE;
    let found = env.find_map(|env| env.iter().find(named))?;
    Some(found["value"].as_str()?.to_owned())
}
