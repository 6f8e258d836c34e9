//! How a command ends that has made something: the program itself, at an API server on loopback.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[path = "../src/fake_api.rs"]
mod fake_api;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use fake_api::{Answer, serve};
use serde_json::{Value, json};

/// What the server answers who follows the request.
enum Followed {
    /// That it failed; not before the test says so, where it does.
    Ended(Option<Receiver<()>>),
    /// That it may not be watched.
    Forbidden,
}

/// A server with one cluster of one component; the file that leads to it.
fn server(name: &str, followed: Followed) -> std::path::PathBuf {
    let mut made = Value::Null;
    let (url, _asked) = serve(move |line, body| {
        let (code, body) = answer(line, body, &mut made, &followed);
        Answer {
            code,
            retry_after: None,
            body,
        }
    });
    let config = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": url } }], "users": [{ "name": "c", "user": {} }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c", "namespace": "ns" } }] });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

fn answer(line: &str, body: &Value, made: &mut Value, followed: &Followed) -> (u16, Value) {
    let list = |items: Value| json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items });
    if line.starts_with("POST") {
        *made = body.clone();
        made["metadata"]["uid"] = "u".into();
        return (201, made.clone());
    }
    if line.contains("fieldSelector") {
        return match followed {
            Followed::Forbidden => (
                403,
                json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no watch" }),
            ),
            Followed::Ended(told) => {
                if let Some(told) = told {
                    told.recv().unwrap();
                }
                made["status"] = json!({ "phase": "Failed" });
                (200, list(json!([made])))
            }
        };
    }
    let labels = json!({ "apps.kubeblocks.io/component-name": "etcd" });
    let set = json!({ "apiVersion": "workloads.kubeblocks.io/v1", "kind": "InstanceSet",
        "metadata": { "name": "db-etcd", "labels": labels }, "spec": { "replicas": 3, "selector": {}, "template": {} } });
    let cluster = json!({ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster",
        "metadata": { "name": "db", "namespace": "ns" },
        "spec": { "terminationPolicy": "Delete", "componentSpecs": [] } });
    let answer = if line.contains("/clusters/db") {
        cluster
    } else if line.contains("/instancesets") {
        list(json!([set]))
    } else {
        list(json!([]))
    };
    (200, answer)
}

fn restart(kubeconfig: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kubectl-kbetcd"))
        .args(["restart", "db"])
        .args(more)
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_closed_output_hides_no_end() {
    let (closed, told) = channel();
    let kubeconfig = server("closed", Followed::Ended(Some(told)));
    let mut child = restart(&kubeconfig, &[]);
    // As `| head -1` does.
    let mut first = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut first).unwrap();
    assert!(first.contains(" made; it continues"), "{first}");
    drop(output);
    closed.send(()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let noted = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{noted}");

    let kubeconfig = server("closed-json", Followed::Ended(None));
    let mut child = restart(&kubeconfig, &["-o", "json"]);
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn what_is_made_and_cannot_be_followed_is_shown_and_under_way() {
    let kubeconfig = server("forbidden", Followed::Forbidden);
    let ended = restart(&kubeconfig, &["-o", "json"]).wait_with_output();
    let ended = ended.unwrap();
    let noted = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(4), "{noted}");
    assert!(
        noted.contains("no watch") && noted.contains("is made and continues"),
        "{noted}"
    );
    let object: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("db-restart-"), "{name}");
}
