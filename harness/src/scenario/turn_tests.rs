//! Runs that were begun ahead, against an API server that makes and deletes namespaces, has no nodes and refuses all
//! else.

use std::path::Path;
use std::sync::{Arc, Mutex};

use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Interrupt, Lab, Live, Plan, RunError, Turn, TurnGiver, measure};
use crate::cluster::Cluster;
use crate::report::Severity;

type Asked = Arc<Mutex<Vec<String>>>;

/// A client of it, and what it was asked.
async fn api_server() -> (Client, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = answer(stream, &seen).await;
        }
    });
    let url = format!("http://{address}").parse().expect("a URL");
    let client = Client::try_from(Config::new(url)).expect("a client");
    (client, asked)
}

/// One request a connection.
async fn answer(stream: TcpStream, asked: &Asked) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let refused = |code: u16| {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused", "reason": "Forbidden", "code": code})
    };
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    let none = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []});
    let (code, text) = match (method, path) {
        ("POST", "/api/v1/namespaces") => {
            (201, serde_json::from_slice(&body).unwrap_or(Value::Null))
        }
        // What every run's namespace has of the harness's own.
        ("GET", "/apis/networking.k8s.io/v1") => {
            let policies = json!({"name": "networkpolicies", "singularName": "networkpolicy",
                "namespaced": true, "kind": "NetworkPolicy", "verbs": ["patch"]});
            let all = json!({"kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": "networking.k8s.io/v1", "resources": [policies]});
            (200, all)
        }
        ("PATCH", path) if path.contains("/networkpolicies/") => {
            (200, serde_json::from_slice(&body).unwrap_or(Value::Null))
        }
        ("DELETE", path) if path.contains("/clusters/") => (404, refused(404)),
        ("DELETE", _) => (200, done),
        // The kind is not served.
        ("GET", "/apis/apps.kubeblocks.io/v1/clusters") => (404, refused(404)),
        // A cluster in which nothing is left of any fault.
        ("GET", "/api/v1/nodes" | "/api/v1/namespaces" | "/api/v1/persistentvolumes") => {
            (200, none)
        }
        _ => (403, refused(403)),
    };
    asked
        .lock()
        .expect("a list")
        .push(format!("{method} {path}"));
    let text = text.to_string();
    let head = format!(
        "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all((head + &text).as_bytes()).await?;
    stream.flush().await
}

fn lab(kube: Client, runs: &Path) -> (TurnGiver, Lab) {
    let (giver, turn) = Turn::later();
    let lab = Lab {
        cluster: Cluster::of_client(kube),
        runs: runs.to_owned(),
        keep: false,
        live: Live::quiet().held(),
        interrupt: Interrupt::never(),
        turn,
        client_image: String::new(),
        manifests: None,
    };
    (giver, lab)
}

fn plan() -> Plan {
    Plan::named("provision::conform", None, 1).expect("a plan")
}

fn deleted_namespaces(asked: &Asked) -> usize {
    let asked = asked.lock().expect("a list");
    let of =
        |line: &&String| line.starts_with("DELETE /api/v1/namespaces/") && !line.ends_with("/pods");
    asked.iter().filter(of).count()
}

#[tokio::test]
async fn a_run_whose_turn_does_not_come_leaves_nothing_behind() {
    let (kube, asked) = api_server().await;
    let runs = tempfile::tempdir().expect("a folder");
    let (giver, lab) = lab(kube, runs.path());
    let run = measure(lab, plan());
    drop(giver);
    let given_up = run.await.err();
    assert!(matches!(given_up, Some(RunError::GivenUp)), "{given_up:?}");
    assert_eq!(deleted_namespaces(&asked), 1);
    let left = std::fs::read_dir(runs.path()).expect("a folder").count();
    assert_eq!(left, 0, "a run directory is left");
}

#[tokio::test]
async fn what_failed_before_its_turn_is_told_in_its_turn() {
    let (kube, asked) = api_server().await;
    let runs = tempfile::tempdir().expect("a folder");
    let (giver, lab) = lab(kube, runs.path());
    let live = lab.live.clone();
    let run = measure(lab, plan());
    live.release();
    giver.give();
    let measured = run.await.expect("a run");
    assert!(!measured.is_well(), "its objects were refused");
    assert_eq!(measured.workers(), 0, "not a cluster of our own");
    assert_eq!(deleted_namespaces(&asked), 0, "they are collected first");
    let ended = measured.judge().await.expect("a verdict");
    // By an API server, and not by the product.
    assert_eq!(ended.severity, Severity::Inconclusive);
    assert!(ended.cause.contains("refused"), "{}", ended.cause);
    assert_eq!(deleted_namespaces(&asked), 1);
    for file in [
        "plan.json",
        "history.jsonl",
        "logs/harness.log",
        "verdicts.json",
        "report.html",
        "missing.txt",
    ] {
        assert!(ended.dir.join(file).exists(), "{file}");
    }
    assert!(ended.ahead_s > 0.0 && ended.ahead_s <= ended.seconds);
    assert!(
        ended.phases.contains_key("save, judge"),
        "{:?}",
        ended.phases
    );
}
