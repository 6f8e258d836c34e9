//! The recording client's pod: made beside the etcd cluster, started when that is ready, asked for its history at the
//! end.

use std::time::{Duration, Instant};

use etcd_history::History;
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::deploy::{Keys, refused};
use crate::observe::{self, Reading};
use crate::scenario::dumped;
use crate::scenario::inside::{Inside, POD};
use crate::scenario::load::Load;
use crate::scenario::outside::{Outside, Routes};
use crate::scenario::subject::Subject;
use crate::scenario::{Live, RunError};
use crate::timeouts;
use crate::wait::{Poll, WaitError, pause, wait_until};

/// Volumes with what opens the cluster: certificate, and users.
pub(super) const TLS: &str = "tls";
pub(super) const USER: &str = "user";
pub(super) const ADMIN: &str = "admin";
pub(super) const AUDITOR: &str = "auditor";
/// Group of the client's process, as its image has it: it may read the Secrets.
const GROUP: u32 = 65532;
/// Operations a second of one of many mixed clients: each waits for an answer before it asks again.
const EACH: u32 = 50;
/// Keys of each kind, where there are to be more than the recording client has by default.
const MANY_KEYS: u32 = 30;
/// Most mixed clients.
const MOST_CLIENTS: u32 = 100;
/// Seconds of a lease that is to end within a run; etcd makes what is shorter than 2 s longer.
const SHORT_LEASE_S: u32 = 3;
/// Of a load, what is no rate of the client.
const NO_RATES: [&str; 3] = ["held_redials_on_deadline", "outlives_node", "operations_s"];
/// The command that asks for addresses. It needs no other process of the pod.
const LOOKUP: &str = "lookup";
/// What the program's own errors begin with.
const SAYS: &str = "workload: ";
/// Longest time for stopping the traffic: the deadline of an operation and an exec on a busy machine.
const STOP: Duration = Duration::from_secs(40);
/// Seconds that the final phase gets: on a slow machine one answer takes some of them, and what fails is tried again.
const FINAL_S: u64 = 100;
/// Longest time for the command of the final phase, of which one attempt gets half.
const FINAL: Duration = Duration::from_secs(240);
/// Longest time for the history, of which one attempt gets half.
const HISTORY: Duration = Duration::from_secs(120);

/// The recording client's pod.
#[derive(Clone)]
pub(super) struct RecordingClient {
    place: Place,
}

/// Where it runs.
#[derive(Clone)]
enum Place {
    Pod(Inside),
    /// With the addresses that it knows the members by.
    Container(Outside, Routes),
}

impl RecordingClient {
    /// Makes the pod; it waits for [`Self::start`].
    pub(super) async fn create(subject: &Subject, plan: &ClientPlan<'_>) -> Result<Self, RunError> {
        let inside = Inside::of(&subject.kube, &subject.namespace);
        let object = serde_json::from_value(pod(subject, plan))
            .map_err(|error| RunError::api("build the client's pod", &error))?;
        // The namespace's service account is made by a controller, which may itself be coming back from a run before.
        wait_until(
            "the client's pod to be accepted",
            timeouts::API_SERVER_BACK,
            async || match inside.pods.create(&PostParams::default(), &object).await {
                Ok(_) => Poll::Ready(()),
                Err(kube::Error::Api(status)) if status.code == 409 => Poll::Ready(()),
                Err(error) => refused(&error),
            },
        )
        .await
        .map_err(|error| match error {
            WaitError::Failed { source, .. } => RunError::api("create the client's pod", &source),
            late @ WaitError::TimedOut { .. } => RunError::Unready(late.to_string()),
        })?;
        Ok(Self {
            place: Place::Pod(inside),
        })
    }

    /// Makes a container outside of the Kubernetes cluster; its client waits for [`Self::start`].
    pub(super) async fn outside(
        cluster: &Cluster,
        subject: &Subject,
        plan: &ClientPlan<'_>,
        routes: Routes,
    ) -> Result<Self, RunError> {
        let mut config = config(subject, plan);
        let members = routes.members.iter();
        config["service"] = json!(routes.leader);
        config["members"] = members
            .map(|(pod, address)| json!({"pod": pod, "address": address}))
            .collect();
        let outside = Outside::create(cluster, &subject.namespace, plan.image, &config).await?;
        outside.prove(subject, &routes).await?;
        Ok(Self {
            place: Place::Container(outside, routes),
        })
    }

    /// The container outside; none for a client in a pod.
    pub(super) fn container(&self) -> Option<&Outside> {
        match &self.place {
            Place::Pod(_) => None,
            Place::Container(outside, _) => Some(outside),
        }
    }

    async fn exec(&self, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, RunError> {
        let printed = match &self.place {
            Place::Pod(inside) => inside.exec(arguments, limit).await,
            Place::Container(outside, _) => outside.exec(arguments, limit).await,
        };
        match printed {
            // Where it does not run, as with an image that is older than its configuration, a command tells nothing.
            Err(RunError::Client { command, message }) if may_not_run(&command, &message) => {
                Err(RunError::Client {
                    command,
                    message: message + &self.last_words().await,
                })
            }
            printed => printed,
        }
    }

    /// Waits until its process runs.
    pub(super) async fn wait_running(&self, limit: Duration) -> Result<(), RunError> {
        // A container runs when it was made.
        let Place::Pod(inside) = &self.place else {
            return Ok(());
        };
        wait_until(
            "the recording client to run",
            limit,
            async || match inside.pods.get(POD).await {
                Ok(pod) => match running(&pod) {
                    Ok(()) => Poll::Ready(()),
                    Err(status) => Poll::NotYet::<(), String>(status),
                },
                Err(error) => Poll::NotYet(error.to_string()),
            },
        )
        .await
        .map_err(|error| RunError::Unready(error.to_string()))
    }

    /// Starts the traffic; returns the client's clock.
    pub(super) async fn start(&self) -> Result<Reading, RunError> {
        self.clock("start", timeouts::NODE_COMMAND).await
    }

    /// Ends the traffic; returns the client's clock.
    pub(super) async fn stop(&self) -> Result<Reading, RunError> {
        self.clock("stop", STOP).await
    }

    /// What its process said when it ended by itself, nothing where it did not.
    async fn last_words(&self) -> String {
        let Place::Pod(inside) = &self.place else {
            return String::new();
        };
        match tokio::time::timeout(timeouts::API_CALL, inside.pods.get(POD)).await {
            Ok(Ok(pod)) => {
                let said = ended(&pod).map(|said| format!("; it had ended: {said}"));
                said.unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    /// Runs a command that prints the client's clock.
    async fn clock(&self, command: &str, limit: Duration) -> Result<Reading, RunError> {
        let before = observe::now(0);
        let printed = self.exec(&[command], limit).await?;
        let after = observe::now(0);
        let reading = Reading::of(before, &String::from_utf8_lossy(&printed), after);
        reading.map_err(|message| RunError::Client {
            command: command.to_owned(),
            message,
        })
    }

    /// The final phase, with the members that the cluster has now; returns its summary.
    pub(super) async fn finish(&self, subject: &Subject) -> Result<Value, RunError> {
        let members = match &self.place {
            Place::Pod(_) => subject.member_arguments(&subject.pod_names()),
            Place::Container(_, routes) => routes.arguments(),
        };
        let seconds = FINAL_S.to_string();
        let mut arguments = vec!["final", "--seconds", &seconds];
        arguments.extend(members.iter().map(String::as_str));
        let text = self.exec(&arguments, FINAL).await?;
        serde_json::from_slice(&text).map_err(|error| RunError::Client {
            command: "final".to_owned(),
            message: format!("{error}: {}", String::from_utf8_lossy(&text)),
        })
    }

    /// Asks the cluster's DNS for `host:port`, as a client there does.
    pub(super) async fn lookup(&self, address: &str) -> Result<String, RunError> {
        let text = self
            .exec(&[LOOKUP, address], timeouts::NODE_COMMAND)
            .await?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// The history so far.
    pub(super) async fn history(&self) -> Result<History, RunError> {
        let begin = Instant::now();
        loop {
            let left = HISTORY.saturating_sub(begin.elapsed());
            let printed = self.exec(&["dump"], left).await?;
            match dumped::whole(&printed) {
                Ok(text) => return Ok(History::read(text)?),
                Err(message) if left.is_zero() => {
                    let command = "dump".to_owned();
                    return Err(RunError::Client { command, message });
                }
                Err(_) => pause(timeouts::POLL).await,
            }
        }
    }

    /// Says the client's lines until the task is dropped.
    pub(super) async fn tell(self, live: Live) {
        let params = LogParams {
            follow: true,
            tail_lines: Some(0),
            ..LogParams::default()
        };
        let Place::Pod(inside) = &self.place else {
            return;
        };
        let Ok(stream) = inside.pods.log_stream(POD, &params).await else {
            return;
        };
        let mut lines = stream.lines();
        while let Ok(Some(line)) = lines.try_next().await {
            live.say(format!("   {line}"));
        }
    }
}

/// What the client is told.
pub(super) struct ClientPlan<'a> {
    pub(super) image: &'a str,
    pub(super) seed: u64,
    pub(super) load: Load,
    /// Secrets that are mounted beside those that open the cluster, when they come, each at [`folder`] of its name.
    pub(super) others: &'a [&'static str],
    /// True when what it records is judged as it comes.
    pub(super) judged: bool,
    /// True when there are control-plane nodes that it can run on, where no fault hits it.
    pub(super) on_control_plane: bool,
}

fn config(subject: &Subject, plan: &ClientPlan<'_>) -> Value {
    let member = |pod: &String| json!({"pod": pod, "address": subject.member_address(pod)});
    let members: Vec<Value> = subject.pod_names().iter().map(member).collect();
    json!({
        "seed": plan.seed,
        "service": subject.service_address(),
        "members": members,
        "gated": true,
        "judged": plan.judged,
        "held_redials_on_deadline": plan.load.held_redials_on_deadline,
        "rates": rates(plan.load),
        "access": subject.keys().map_or(json!({}), |keys| access(&keys)),
    })
}

/// Where the client finds what opens the cluster: folders, one a Secret.
fn access(keys: &Keys) -> Value {
    let mut access = json!({ "tls": folder(TLS) });
    if keys.users.is_some() {
        access["user"] = json!(folder(USER));
        access["admin"] = json!(folder(ADMIN));
    }
    access
}

/// Where the Secret of a volume is mounted.
pub(super) fn folder(volume: &str) -> String {
    format!("/access/{volume}")
}

/// Volumes of the Secrets, each with the Secret's name.
fn secrets(keys: &Keys) -> Vec<(&'static str, String)> {
    let mut secrets = vec![(TLS, keys.tls.clone())];
    if let Some([user, admin, auditor]) = &keys.users {
        secrets.extend([
            (USER, user.clone()),
            (ADMIN, admin.clone()),
            (AUDITOR, auditor.clone()),
        ]);
    }
    secrets
}

/// What the client sends: the load by the same names, but for what is no rate or is told in another way.
pub(crate) fn rates(load: Load) -> Value {
    let mut rates = json!(load);
    if let Some(fields) = rates.as_object_mut() {
        fields.retain(|name, _| !NO_RATES.contains(&name.as_str()));
    }
    if load.operations_s > 0 {
        let clients = (load.operations_s / EACH).clamp(1, MOST_CLIENTS);
        rates["clients"] = json!(clients);
        rates["client_rate"] = json!(f64::from(load.operations_s) / f64::from(clients));
    }
    if load.compacts_deletes {
        // More of them, so that a key is deleted long after it was written last.
        rates["keys"] = json!(MANY_KEYS);
    }
    if load.leases_expire {
        rates["lease_s"] = json!(SHORT_LEASE_S);
    }
    rates
}

fn pod(subject: &Subject, plan: &ClientPlan<'_>) -> Value {
    // In memory, so that a disk that is busy for etcd never delays a record; on disk where it must outlive the node.
    let volume = if plan.load.outlives_node {
        json!({})
    } else {
        json!({"medium": "Memory", "sizeLimit": "512Mi"})
    };
    let node = if plan.on_control_plane {
        json!({"node-role.kubernetes.io/control-plane": ""})
    } else {
        json!({})
    };
    let keys = subject.keys();
    let own = keys.as_ref().map(secrets).unwrap_or_default().into_iter();
    let own = own.map(|(name, secret)| (name, secret, false));
    let others = plan
        .others
        .iter()
        .map(|name| (*name, (*name).to_owned(), true));
    let secrets: Vec<_> = own.chain(others).collect();
    let mut mounts = vec![json!({"name": "history", "mountPath": "/history"})];
    let mut volumes = vec![json!({"name": "history", "emptyDir": volume})];
    for (name, secret, optional) in secrets {
        mounts.push(json!({"name": name, "mountPath": folder(name), "readOnly": true}));
        volumes.push(json!({"name": name,
            "secret": {"secretName": secret, "defaultMode": 0o440, "optional": optional}}));
    }
    json!({
        "metadata": {"name": POD, "namespace": subject.namespace, "labels": {"etcd-harness/part": "workload", "etcd-client": "true"}},
        "spec": {
            "nodeSelector": node,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Always",
            "securityContext": {"fsGroup": GROUP},
            "containers": [{
                "name": POD,
                "image": plan.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/workload", "run"],
                // Its last line says why it ended.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "env": [
                    {"name": "WORKLOAD_CONFIG", "value": config(subject, plan).to_string()},
                    {"name": "WORKLOAD_DIR", "value": "/history"},
                ],
                "volumeMounts": mounts,
                "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}},
            }],
            "volumes": volumes,
        },
    })
}

/// Whether a command may have failed because the client does not run. A look-up that says itself why it failed, and is
/// asked for again and again, has not.
fn may_not_run(command: &str, message: &str) -> bool {
    let needs_none = command.split(' ').next() == Some(LOOKUP);
    !(needs_none && message.starts_with(SAYS))
}

/// What the newest process of the pod that ended said.
fn ended(pod: &Pod) -> Option<String> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let states = [&container.state, &container.last_state];
    let mut states = states.into_iter().flatten();
    let ended = states.find_map(|state| state.terminated.as_ref())?;
    let said = ended.message.as_deref().unwrap_or_default();
    let said = said.trim().lines().next_back().unwrap_or("it said nothing");
    Some(format!("exit code {}, {said}", ended.exit_code))
}

fn running(pod: &Pod) -> Result<(), String> {
    let status = pod.status.as_ref();
    let container = status
        .and_then(|s| s.container_statuses.as_deref())
        .and_then(|all| all.first());
    let Some(container) = container else {
        return Err("no container yet".to_owned());
    };
    let state = container.state.as_ref();
    if state.is_some_and(|state| state.running.is_some()) {
        return Ok(());
    }
    let waiting = state
        .and_then(|state| state.waiting.as_ref())
        .and_then(|waiting| waiting.reason.clone());
    Err(waiting.unwrap_or_else(|| "not running".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_phase_is_over_before_the_command_is_given_up() {
        let one = FINAL / 2;
        assert!(
            one >= Duration::from_secs(FINAL_S) + timeouts::API_CALL,
            "{one:?}"
        );
    }

    #[test]
    fn the_client_knows_every_rate_and_is_told_all_of_a_load() {
        let client = include_str!("../../workload/src/config.rs");
        let load = Load {
            leases_expire: true,
            keepers: 7,
            operations_s: 100,
            ..Load::default()
        };
        let told = rates(load);
        for name in told.as_object().expect("rates").keys() {
            assert!(client.contains(&format!("pub(crate) {name}: ")), "{name}");
        }
        for (name, value) in json!(load).as_object().expect("a load") {
            let own = NO_RATES.contains(&name.as_str());
            assert_eq!(told.get(name), (!own).then_some(value), "{name}");
        }
        assert_eq!(told["lease_s"], json!(SHORT_LEASE_S));
        assert_eq!(
            (&told["clients"], &told["client_rate"]),
            (&json!(2), &json!(50.0))
        );
    }

    #[test]
    fn a_look_up_that_failed_says_why_itself() {
        let main = include_str!("../../workload/src/main.rs");
        assert!(main.contains(&format!("eprintln!(\"{SAYS}")));
        let said = "workload: no addresses of a:1";
        assert!(!may_not_run("lookup a:1", said));
        assert!(may_not_run("lookup a:1", "container not found"));
        for command in ["start", "dump", "final --seconds 100"] {
            assert!(may_not_run(command, said), "{command}");
        }
    }

    #[test]
    fn a_client_that_ended_says_why() {
        let pod = |state: Value, last: Value| -> Pod {
            serde_json::from_value(json!({"status": {"containerStatuses": [{"name": POD, "image": "",
                "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last}]}}))
            .expect("a pod")
        };
        let full = "12s 90 ops\nfailed to write the history: its volume is full\n";
        let full = json!({"terminated": {"exitCode": 70, "message": full}});
        let running = json!({"running": {}});
        let expected = "exit code 70, failed to write the history: its volume is full";
        assert_eq!(
            ended(&pod(running.clone(), full.clone())).as_deref(),
            Some(expected)
        );
        assert_eq!(ended(&pod(full, json!({}))).as_deref(), Some(expected));
        assert_eq!(ended(&pod(running, json!({}))), None);
        assert_eq!(ended(&Pod::default()), None);
    }
}
