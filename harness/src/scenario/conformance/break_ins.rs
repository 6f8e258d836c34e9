//! Attempts to get into a guarded cluster from another pod. Each must be refused; beside them stand those that must be
//! let in, or a port that does not answer would pass.

use etcd_operator_api::names::{CERTIFICATE_KEY, ComponentName, PRIVATE_KEY};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject};
use serde_json::Value;

use super::bring_up::bring_up;
use super::checklist::Checklist;
use super::outcome::found;
use super::{forged, peers};
use crate::deploy::{EtcdCluster, Guard, apply};
use crate::scenario::client::{ADMIN, ClientPlan, RecordingClient, TLS, USER, folder};
use crate::scenario::inside::Inside;
use crate::scenario::load::Load;
use crate::scenario::outcome::Found;
use crate::scenario::subject::Subject;
use crate::scenario::{Lab, RunError};
use crate::timeouts;

/// Secrets with what must open nothing: of another CA, over, of another cluster; and what is the members' own.
const FOREIGN: &str = "foreign";
const EXPIRED: &str = "expired";
const OTHERS: &str = "other-etcd-client";
const MEMBERS: &str = "quartz-etcd-tls-certs";
/// Name of the other cluster.
const OTHER: &str = "other";
/// Ports of etcd for clients and for peers, and of the agent.
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const AGENT: u16 = 5001;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    PlainText,
    NoCertificate,
    /// The certificate in the Secret of this volume.
    Certificate(&'static str),
    /// That of applications, and a user who has logged in.
    User(&'static str),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Key(&'static str),
    Path(&'static str, &'static str),
}

struct Attempt {
    port: u16,
    shows: Shows,
    asks: Asks,
    let_in: bool,
}

/// All attempts.
fn attempts() -> Vec<Attempt> {
    let attempt = |port, shows, asks, let_in| Attempt {
        port,
        shows,
        asks,
        let_in,
    };
    let key = Asks::Key("run/a");
    let version = Asks::Path("GET", "/version");
    let mut all = vec![
        attempt(CLIENTS, Shows::User(ADMIN), key, true),
        attempt(CLIENTS, Shows::User(USER), key, true),
        attempt(CLIENTS, Shows::User(USER), Asks::Key("other/a"), false),
        attempt(CLIENTS, Shows::Certificate(TLS), version, true),
        // Not even a member's: etcd takes a peer from an address that is a member's, and this pod has another one.
        attempt(PEERS, Shows::Certificate(MEMBERS), version, false),
        // In plain text etcd's peers and the agent answer a few paths, or none.
        attempt(
            AGENT,
            Shows::PlainText,
            Asks::Path("GET", "/v1.0/getrole"),
            true,
        ),
        attempt(
            AGENT,
            Shows::PlainText,
            Asks::Path("GET", "/v1.0/member"),
            false,
        ),
        attempt(
            AGENT,
            Shows::PlainText,
            Asks::Path("GET", "/v1.0/beats"),
            false,
        ),
    ];
    let strangers = [
        Shows::PlainText,
        Shows::NoCertificate,
        Shows::Certificate(FOREIGN),
        Shows::Certificate(EXPIRED),
        Shows::Certificate(OTHERS),
    ];
    let changes = ["/v1.0/action", "/v1.0/handoff", "/v1.0/election"];
    for shows in strangers {
        all.push(attempt(CLIENTS, shows, key, false));
        all.push(attempt(PEERS, shows, version, false));
        let asks = changes.map(|path| Asks::Path("POST", path));
        all.extend(asks.map(|asks| attempt(AGENT, shows, asks, false)));
    }
    // An application is no member, and a member is no operator.
    all.push(attempt(PEERS, Shows::Certificate(TLS), version, false));
    for shows in [TLS, MEMBERS].map(Shows::Certificate) {
        all.push(attempt(
            AGENT,
            shows,
            Asks::Path("POST", "/v1.0/action"),
            false,
        ));
    }
    all
}

/// Attempts on a new cluster with TLS and users.
pub(crate) async fn break_ins(lab: &Lab, subject: &Subject) -> Found {
    let mut list = Checklist::new("break_ins", lab.live.clone());
    if !bring_up(lab, subject, &mut list).await {
        return found(list);
    }
    let prepared = prepare(lab, subject).await;
    if list
        .step("a pod has what is to be refused", prepared)
        .is_some()
    {
        for attempt in attempts() {
            try_one(subject, &attempt, &mut list).await;
        }
        Box::pin(peers::check(lab, subject, &mut list)).await;
    }
    found(list)
}

/// Another cluster, what is forged, and a pod that has both.
async fn prepare(lab: &Lab, subject: &Subject) -> Result<(), RunError> {
    let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
    subject.wait_closed(limit).await?;
    let mut other = EtcdCluster::new(&subject.namespace, OTHER, 1);
    other.guard = Guard::Tls;
    other.apply(&subject.kube).await?;
    other.wait_running(&subject.kube).await?;
    let secrets: Api<Secret> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let name = ComponentName::existing(&Subject::leader_service()).ca_secret();
    let ca = secrets.get(&name).await;
    let ca = ca.map_err(|error| RunError::api(format!("read Secret {name}"), &error))?;
    let text = |key: &str| {
        let value = ca.data.as_ref().and_then(|data| data.get(key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        value.unwrap_or_default()
    };
    let forge = |error: rcgen::Error| RunError::api("forge a certificate", &error);
    let (cert, key) = (text(CERTIFICATE_KEY), text(PRIVATE_KEY));
    let made = [
        forged::expired(EXPIRED, (&cert, &key)).map_err(forge)?,
        forged::foreign(FOREIGN).map_err(forge)?,
    ];
    let made: Result<Vec<DynamicObject>, _> =
        made.into_iter().map(serde_json::from_value).collect();
    let made = made.map_err(|error| RunError::api("build a Secret", &error))?;
    apply(&subject.kube, &subject.namespace, &made).await?;
    let plan = ClientPlan {
        image: &lab.client_image,
        seed: 1,
        load: Load::default(),
        others: &[FOREIGN, EXPIRED, OTHERS, MEMBERS],
        judged: false,
        on_control_plane: !lab.cluster.control_planes().is_empty(),
    };
    let client = RecordingClient::create(subject, &plan).await?;
    client.wait_running(limit).await
}

async fn try_one(subject: &Subject, attempt: &Attempt, list: &mut Checklist) {
    let Attempt {
        port,
        shows,
        asks,
        let_in,
    } = attempt;
    let what = format!("{shows:?} at {port}, {asks:?}");
    let arguments = arguments(subject, attempt);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let inside = Inside::of(&subject.kube, &subject.namespace);
    let told = inside.exec(&arguments, timeouts::NODE_COMMAND).await;
    let Some(told) = list.step(format!("{what} is tried"), told) else {
        return;
    };
    let told: Value = serde_json::from_slice(&told).unwrap_or_default();
    let words = told["told"].as_str().unwrap_or_default();
    let verb = if *let_in { "let in" } else { "refused" };
    list.holds(
        format!("{what} is {verb}: {words}"),
        told["let_in"] == *let_in,
    );
}

fn arguments(subject: &Subject, attempt: &Attempt) -> Vec<String> {
    let pod = subject.pod_names().into_iter().next().unwrap_or_default();
    let address = match attempt.port {
        CLIENTS => subject.service_address(),
        port => subject
            .member_address(&pod)
            .replace(&format!(":{CLIENTS}"), &format!(":{port}")),
    };
    let mut arguments = vec!["break-in".to_owned(), "--address".to_owned(), address];
    let mut more = |name: &str, value: &str| arguments.extend([name, value].map(str::to_owned));
    if attempt.shows != Shows::PlainText {
        more("--trusts", &folder(TLS));
    }
    match attempt.shows {
        Shows::PlainText | Shows::NoCertificate => {}
        Shows::Certificate(volume) => more("--shows", &folder(volume)),
        Shows::User(volume) => {
            more("--shows", &folder(TLS));
            more("--user", &folder(volume));
        }
    }
    match attempt.asks {
        Asks::Key(key) => more("--asks", key),
        Asks::Path(method, path) => {
            more("--method", method);
            more("--asks", path);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stranger_is_tried_at_every_port_and_ports_of_clients_let_someone_in() {
        let all = attempts();
        for port in [CLIENTS, PEERS, AGENT] {
            let of = || all.iter().filter(|attempt| attempt.port == port);
            let lets_in = of().any(|attempt| attempt.let_in);
            assert_eq!(lets_in, port != PEERS, "{port}");
            for shows in [
                Shows::PlainText,
                Shows::NoCertificate,
                Shows::Certificate(FOREIGN),
                Shows::Certificate(EXPIRED),
                Shows::Certificate(OTHERS),
            ] {
                let refused = of().any(|attempt| attempt.shows == shows && !attempt.let_in);
                assert!(refused, "{shows:?} at {port}");
            }
        }
        let members = ComponentName::existing(&Subject::leader_service()).tls_secret();
        assert_eq!(members, MEMBERS);
        let others = ComponentName::new(OTHER, "etcd").expect("a name");
        assert_eq!(others.client_secret(), OTHERS);
    }
}
