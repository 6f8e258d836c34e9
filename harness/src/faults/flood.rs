//! A pod without credentials floods the agents of all members and holds half-open connections to them, while objects
//! that no type can read are in the namespace. It is the recording client's pod, which is a pod like any other to an
//! agent.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::NodeShell;
use crate::deploy::cluster_resource;
use crate::faults::members::roster;
use crate::faults::running::{Injected, Running};
use crate::faults::seen::until_seen;
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed, KUBECONFIG};
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Healing, Member, Target};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Label of the recording client's pod.
const CLIENT: &str = "etcd-harness/part=workload";
/// Half-open connections that are held, to all agents together.
const HALF_OPEN: usize = 200;
/// Objects that cannot be read.
const POISON: usize = 3;
/// Levels of their JSON: more than the operator reads (100), and few enough for this harness's own parser (128).
const DEPTH: usize = 110;
/// Label of those objects, so that what a killed process left is found.
pub(crate) const UNREADABLE: &str = "etcd-harness/unreadable";
/// Requests after which the flood is one.
const FLOOD: u64 = 50;

/// Makes the objects and starts the flood.
pub(crate) async fn inject(context: &FaultContext, fault: &Fault) -> Result<Injected, FaultError> {
    let pods: Api<Pod> = Api::namespaced(context.cluster.kube.clone(), &context.namespace);
    let listed = pods.list(&ListParams::default().labels(CLIENT)).await;
    let listed =
        listed.map_err(|error| FaultError::api("list the recording client's pod", error))?;
    let roster = roster(context).await?;
    // Without a recording client a member's own pod is as good: nothing of what it does has credentials.
    let client = listed.items.first().map(Member::of);
    let client = client.or_else(|| roster.members.first().cloned());
    let client = client.ok_or_else(|| {
        FaultError::find("a pod that floods", "the namespace has no pod of a run")
    })?;
    let agents: Vec<String> = roster
        .members
        .iter()
        .filter_map(|member| member.ip.clone())
        .collect();
    if agents.is_empty() {
        return Err(FaultError::find(
            "an agent to flood",
            "no member has an address",
        ));
    }
    let node = client.node()?.to_owned();
    let planes = context.cluster.control_planes();
    let plane = planes.into_iter().next().ok_or_else(|| {
        let what = "a control-plane node that deletes the unreadable Clusters";
        FaultError::find(what, "the cluster has none")
    })?;
    let flood = Flood {
        fault: fault.to_string(),
        context: context.clone(),
        shell: context.cluster.shell(&node)?,
        plane: context.cluster.shell(plane)?,
        trace: context.trace(),
    };
    let deed = Deed {
        trace: &flood.trace,
        limit: context.dead_man,
        heal: &end(&flood.trace),
        inject: &begin(&flood.trace, &client.uid, &agents),
    };
    flood.poison().await?;
    if let Err(error) = deadman::run(&flood.shell, &deed).await {
        deadman::take_back(&flood.plane, &flood.poisons()).await;
        return Err(error.into());
    }
    Ok(Injected {
        targets: vec![Target::Pod {
            pod: client.pod,
            node,
            part: "floods the agents".into(),
        }],
        evidence: Evidence::new()
            .with("agents", agents.join(" "))
            .with("unreadable Clusters", POISON),
        running: Box::new(flood),
    })
}

struct Flood {
    fault: String,
    context: FaultContext,
    /// Where the client's pod is.
    shell: NodeShell,
    /// Where the unreadable Clusters are deleted.
    plane: NodeShell,
    trace: String,
}

impl Flood {
    fn clusters(&self) -> Api<DynamicObject> {
        let kube = self.context.cluster.kube.clone();
        Api::namespaced_with(kube, &self.context.namespace, &cluster_resource())
    }

    /// Name of the traces of the unreadable Clusters, whose timer is in another node.
    fn poisons(&self) -> String {
        format!("{}-poison", self.trace)
    }

    /// Starts the timer that deletes them, then makes them.
    async fn poison(&self) -> Result<(), FaultError> {
        let deed = Deed {
            trace: &self.poisons(),
            limit: self.context.dead_man,
            heal: &deletion(&self.context.namespace, &self.trace),
            inject: "true",
        };
        deadman::run(&self.plane, &deed).await?;
        let made = self.make().await;
        if made.is_err() {
            deadman::take_back(&self.plane, &self.poisons()).await;
        }
        made
    }

    async fn make(&self) -> Result<(), FaultError> {
        for number in 0..POISON {
            let name = name(&self.trace, number);
            let failed = |error: String| FaultError::api(format!("make Cluster {name}"), error);
            let object = serde_json::from_value(unreadable(&name))
                .map_err(|error| failed(error.to_string()))?;
            let made = self
                .clusters()
                .create(&PostParams::default(), &object)
                .await;
            made.map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    /// A Cluster of the flood that is still there.
    async fn left(&self) -> Result<Option<String>, FaultError> {
        for number in 0..POISON {
            let name = name(&self.trace, number);
            let found = self.clusters().get_metadata_opt(&name).await;
            let found = found
                .map_err(|error| FaultError::api(format!("look for Cluster {name}"), error))?;
            if found.is_some() {
                return Ok(Some(format!("Cluster {name} is still there")));
            }
        }
        Ok(None)
    }

    /// What the flood has done so far.
    async fn done(&self) -> Result<Done, FaultError> {
        let place = place(&self.trace);
        let script = format!("cat {place}.sent {place}.held 2>/dev/null; true");
        Ok(Done::read(
            &self.shell.check("look at the flood", &script).await?,
        ))
    }
}

impl Running for Flood {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let seen = until_seen(&self.fault, "a flood", async || {
            let done = self.done().await?;
            let is_one = done.sent >= FLOOD && done.held >= HALF_OPEN;
            Ok(is_one.then_some(done).ok_or_else(|| format!("{done:?}")))
        });
        let done = seen.await?;
        Ok(Evidence::new()
            .with("requests sent", done.sent)
            .with("half-open connections made", done.held))
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        // What cannot be looked at is healed too, and each part whatever became of the other.
        let done = self.done().await;
        let flood = deadman::heal(&self.shell, &self.trace).await;
        let poison = deadman::heal(&self.plane, &self.poisons()).await;
        let (done, healed) = (done?, [flood?, poison?]);
        let gone = wait_until("its Clusters gone", timeouts::HEAL, async || {
            match self.left().await {
                Ok(None) => Poll::Ready(()),
                Ok(Some(left)) => Poll::NotYet::<_, FaultError>(left),
                Err(error) => Poll::NotYet(error.to_string()),
            }
        });
        gone.await
            .map_err(|error| FaultError::api("delete the flood's Clusters", error))?;
        let mut healing = Healing::default();
        healing.evidence.add("requests sent in all", done.sent);
        if healed.contains(&Healed::ByTimer) {
            healing.early("the flood", BY_SWITCH);
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        if let Some(left) = self.left().await? {
            return Ok(Some(left));
        }
        if let Some(left) = deadman::residue(&self.plane, &self.poisons()).await? {
            return Ok(Some(left));
        }
        Ok(deadman::residue(&self.shell, &self.trace).await?)
    }
}

/// What the two files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    sent: u64,
    held: usize,
}

impl Done {
    fn read(text: &str) -> Self {
        let last = |word: &str| {
            text.lines()
                .rev()
                .find_map(|line| line.strip_prefix(word)?.trim().parse().ok())
        };
        Self {
            sent: last("sent ").unwrap_or(0),
            held: last("held ")
                .and_then(|held: u64| usize::try_from(held).ok())
                .unwrap_or(0),
        }
    }
}

fn name(trace: &str, number: usize) -> String {
    format!("poison-{trace}-{number}")
}

/// Deletes the unreadable Clusters, by names: no list of them can be read whole.
fn deletion(namespace: &str, trace: &str) -> String {
    let names: Vec<String> = (0..POISON).map(|number| name(trace, number)).collect();
    format!(
        "{KUBECONFIG}kubectl --request-timeout=5s delete -n {namespace} clusters.apps.kubeblocks.io {} --ignore-not-found \
         --wait=false >/dev/null || exit 1",
        names.join(" ")
    )
}

/// A Cluster that the schema lets through and that is nested deeper than the operator reads.
fn unreadable(name: &str) -> Value {
    let deep = (0..DEPTH).fold(json!({}), |inner, _| json!({ "a": inner }));
    json!({
        "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster",
        "metadata": { "name": name, "labels": { UNREADABLE: "true" } },
        "spec": { "terminationPolicy": "Delete", "componentSpecs": [{
            "name": "etcd", "componentDef": "etcd", "replicas": 1, "schedulingPolicy": { "affinity": deep },
        }] },
    })
}

fn place(trace: &str) -> String {
    format!("{}/{trace}", deadman::DIR)
}

/// Starts two loops in the network of the pod: one sends requests and reads no answer, one opens connections and never
/// ends the head of its request. Paced: the nodes share their processors with what is measured.
fn begin(trace: &str, uid: &str, agents: &[String]) -> String {
    let place = place(trace);
    let each = HALF_OPEN.div_ceil(agents.len());
    let agents = agents.join(" ");
    format!(
        r#"B=/run/containerd/io.containerd.runtime.v2.task/k8s.io
for f in $(grep -lsF '"io.kubernetes.cri.sandbox-uid":"{uid}"' $B/*/config.json); do
  i=$(cat ${{f%/config.json}}/init.pid 2>/dev/null) && [ -d /proc/$i ] && break
  i=
done
[ -n "$i" ] || {{ echo 'the recording client has no process here' >&2; exit 1; }}
cat >{place}.flood <<'END-OF-FLOOD'
trap '' PIPE
ask='GET /v1.0/members HTTP/1.1'
half() {{
  while [ -e {place}.loop ]; do
    open=()
    for n in $(seq {each}); do for ip in {agents}; do
      exec {{fd}}<>/dev/tcp/$ip/5001 && {{ printf "$ask\r\nHost:" >&$fd; open+=($fd); }}
    done; done 2>/dev/null
    echo "held ${{#open[@]}}" >>{place}.held
    sleep 2
    for fd in "${{open[@]}}"; do exec {{fd}}>&-; done
  done
}}
half &
sent=0
while [ -e {place}.loop ]; do
  for ip in {agents}; do
    exec {{fd}}<>/dev/tcp/$ip/5001 && {{ printf "$ask\r\nHost: x\r\n\r\n" >&$fd && sent=$((sent+1)); exec {{fd}}>&-; }}
  done 2>/dev/null
  echo "sent $sent" >{place}.sent
  sleep 0.03
done
wait
END-OF-FLOOD
: >{place}.loop
setsid -f sh -c 'echo $$ >{place}.group; exec nsenter -t '$i' -n bash {place}.flood' </dev/null >/dev/null 2>&1"#
    )
}

/// Ends it, wherever it is. Without `--`, which dash takes for a number after a signal.
fn end(trace: &str) -> String {
    let place = place(trace);
    format!(
        "rm -f {place}.loop\n[ -s {place}.group ] && kill -KILL -$(cat {place}.group) 2>/dev/null\n\
         rm -f {place}.flood {place}.group {place}.sent {place}.held\ntrue"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use super::*;

    #[test]
    fn the_scripts_are_valid_and_name_the_pod_and_every_agent() {
        let agents = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        let script = begin("f1", "u-1", &agents);
        assert!(script.contains("sandbox-uid\":\"u-1\"") && script.contains("10.0.0.1 10.0.0.2"));
        assert!(script.contains("seq 100"), "two hundred for two agents");
        for (shell, script) in [
            ("sh", script.as_str()),
            ("sh", &end("f1")),
            ("sh", &deletion("n", "f1")),
            ("bash", flood(&script)),
        ] {
            let status = std::process::Command::new(shell)
                .args(["-n", "-c", script])
                .status();
            assert!(status.expect("a shell").success(), "{script}");
        }
    }

    fn flood(script: &str) -> &str {
        let (_, rest) = script.split_once("<<'END-OF-FLOOD'\n").expect("a flood");
        rest.split_once("\nEND-OF-FLOOD").expect("its end").0
    }

    /// What the other end says until it closes, or has said all; the limit is only against hanging.
    fn said(mut stream: TcpStream) -> String {
        let guard = std::time::Duration::from_secs(60);
        stream.set_read_timeout(Some(guard)).expect("timeout");
        let mut text = Vec::new();
        let mut part = [0; 128];
        while !text.ends_with(b"\r\n\r\n") {
            match stream.read(&mut part) {
                Ok(read) if read > 0 => text.extend_from_slice(&part[..read]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The flood's script for a port, with its files in another place; three half-open connections, which it closes
    /// when the file `hold` is gone.
    fn local_flood(place: &str, port: u16) -> String {
        let script = begin("f1", "u", &["127.0.0.1".to_owned()]);
        let script = flood(&script);
        let hold = "while [ -e PLACE.hold ]; do sleep 0.05; done";
        let changes = [
            ("sleep 2\n", hold.to_owned() + "\n"),
            ("/5001", format!("/{port}")),
            ("seq 200", "seq 3".to_owned()),
        ];
        let script = changes
            .iter()
            .fold(script.to_owned(), |script, (from, to)| {
                assert!(script.contains(from), "{from}: {script}");
                script.replace(from, to)
            });
        script
            .replace("PLACE", place)
            .replace(&super::place("f1"), place)
    }

    #[test]
    fn a_flood_asks_and_leaves_requests_half_said() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
        let port = listener.local_addr().expect("address").port();
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("f1").display().to_string();
        for file in ["loop", "hold"] {
            std::fs::write(format!("{place}.{file}"), "").expect("write");
        }
        let mut child = std::process::Command::new("bash")
            .args(["-c", &local_flood(&place, port)])
            .spawn()
            .expect("bash");
        let mut said_by = Vec::new();
        let listen = |stream| std::thread::spawn(move || said(stream));
        let held = || std::fs::read_to_string(format!("{place}.held")).unwrap_or_default();
        let ended = |of: &[JoinHandle<String>]| of.iter().filter(|one| one.is_finished()).count();
        while ended(&said_by) < 3 || !held().contains("held 3\n") {
            said_by.push(listen(listener.accept().expect("accept").0));
        }
        let (whole, others): (Vec<_>, Vec<_>) =
            said_by.into_iter().partition(JoinHandle::is_finished);
        for text in whole.into_iter().map(|one| one.join().expect("a text")) {
            assert!(text.ends_with("\r\n\r\n"), "it was not held: {text}");
        }
        for file in ["loop", "hold"] {
            std::fs::remove_file(format!("{place}.{file}")).expect("remove");
        }
        child.wait().expect("it ends when it is told to");
        listener.set_nonblocking(true).expect("not blocking");
        let rest = listener.incoming().map_while(Result::ok).map(listen);
        let others = others.into_iter().chain(rest.collect::<Vec<_>>());
        let texts: Vec<String> = others.map(|one| one.join().expect("a text")).collect();
        let begins = |text: &String| text.starts_with("GET /v1.0/members HTTP/1.1\r\nHost:");
        assert!(texts.iter().all(begins), "{texts:?}");
        let half = texts.iter().filter(|text| !text.ends_with("\r\n\r\n"));
        assert_eq!(half.count(), 3, "{texts:?}");
        let sent = std::fs::read_to_string(format!("{place}.sent")).expect("sent");
        let done = Done::read(&(sent + &held()));
        assert!(done.sent >= 3 && done.held == 3, "{done:?}");
    }

    #[test]
    fn a_flood_that_is_ended_is_killed_in_the_shell_of_a_node() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("f1").display().to_string();
        let sh = |script: &str| {
            let status = std::process::Command::new("sh")
                .args(["-c", script])
                .status();
            assert!(status.expect("a shell").success(), "{script}");
        };
        sh(&format!(
            "setsid -f sh -c 'echo $$ >{place}.group; exec sleep 60' </dev/null >/dev/null 2>&1\n\
             until [ -s {place}.group ]; do sleep 0.05; done"
        ));
        let group = std::fs::read_to_string(format!("{place}.group")).expect("a group");
        sh(&end("f1").replace(&super::place("f1"), &place));
        // One that was not waited for has no command line either.
        let line = format!("/proc/{}/cmdline", group.trim());
        let begun = std::time::Instant::now();
        while std::fs::read(&line).is_ok_and(|line| !line.is_empty()) {
            assert!(begun.elapsed().as_secs() < 20, "it continues");
            sh("sleep 0.05");
        }
    }

    #[test]
    fn poison_is_deeper_than_the_operator_reads_and_figures_are_the_last_ones() {
        let text = unreadable("x").to_string();
        assert!(text.matches('{').count() > 100, "{text}");
        assert!(
            serde_json::from_str::<Value>(&text).is_ok(),
            "the harness itself reads it"
        );
        let done = Done::read("sent 7\nheld 3\nheld 200\n");
        assert_eq!(done, Done { sent: 7, held: 200 });
        assert_eq!(Done::read(""), Done::default());
    }
}
