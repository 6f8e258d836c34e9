//! A bench of real members on loopback addresses, each with the launcher and an agent, as a pod has them.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that breaks has to stop the test"
)]

pub(crate) mod ca;
pub(crate) mod failover;
pub(crate) mod keys;
pub(crate) mod secured;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use kbagent::http::{Call, Opens};
use kbagent::tls::FILES;
use kbagent_protocol::{
    ActionAnswer, ActionRequest, Authorization, MemberView, PATH_ACTION, PATH_GETROLE, PATH_MEMBER,
    PATH_WATCH, Role, RoleAnswer,
};
use serde::de::DeserializeOwned;

pub(crate) const CLIENT_PORT: u16 = 22379;
pub(crate) const TOKEN: &str = "bench-token";

/// One pod: its directories, its etcd and its agent.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) host: String,
    dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
    pub(crate) etcd: Option<Child>,
    pub(crate) agent: Option<Child>,
}

impl Pod {
    /// Pod number `n` on the loopback network `net`.
    pub(crate) fn new(net: u8, n: u8, peers: &[u8]) -> Self {
        let host = format!("127.77.{net}.{}", n + 1);
        let entry = |n: &u8| format!("p{n}=127.77.{net}.{}", n + 1);
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path).display().to_string();
        fs::create_dir_all(at("run")).unwrap();
        fs::create_dir_all(at("data")).unwrap();
        fs::write(at("token"), TOKEN).unwrap();
        let env = [
            ("POD_NAME", format!("p{n}")),
            ("POD_UID", format!("uid-{n}")),
            ("KB_CLUSTER_UID", format!("bench-{net}")),
            ("KB_HEADLESS_DOMAIN", "invalid".to_owned()),
            (
                "KB_PEERS",
                peers.iter().map(entry).collect::<Vec<_>>().join(","),
            ),
            ("KB_DATA_DIR", at("data/etcd")),
            ("KB_RUN_DIR", at("run")),
            ("KB_TOKEN_FILE", at("token")),
            (Authorization::VARIABLE, "signed".to_owned()),
            ("KB_CLIENT_PORT", CLIENT_PORT.to_string()),
            ("KB_PEER_PORT", "22380".to_owned()),
            ("KB_ETCD_ENDPOINT", format!("http://{host}:{CLIENT_PORT}")),
            ("KB_ETCD_METRICS", format!("{host}:22381")),
            ("KB_PEER_ENDPOINT", format!("http://{host}:22380")),
            ("KB_LISTEN", format!("{host}:5001")),
        ];
        let env = env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Self {
            name: format!("p{n}"),
            host,
            dir,
            env,
            etcd: None,
            agent: None,
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// The frozen set of the first start is the set of peers.
    pub(crate) fn bootstraps(mut self) -> Self {
        let peers = self.env["KB_PEERS"].clone();
        self.set("KB_BOOTSTRAP_MEMBERS", &peers);
        self
    }

    /// The agent accepts clients at the pod's address, and etcd has one of its own, as it has within a pod.
    pub(crate) fn relay(&mut self) {
        let own = self.host.replacen("127.77.", "127.78.", 1);
        let host = self.host.clone();
        self.set("POD_IP", &host);
        let endpoint = self.env["KB_ETCD_ENDPOINT"].replace(&host, &own);
        self.set("KB_ETCD_ENDPOINT", &endpoint);
        self.set("KB_RELAY_CLIENTS", "true");
    }

    /// Moves it to an address of its own, which other members see, instead of one of loopback. For a network namespace
    /// of its own, where `lo` gets that address.
    pub(crate) fn addressed(&mut self) {
        let elsewhere = |text: &str| text.replace("127.77.", "10.77.");
        self.host = elsewhere(&self.host);
        for value in self.env.values_mut() {
            *value = elsewhere(value);
        }
        let added = Command::new("ip")
            .args(["address", "add", &format!("{}/32", self.host), "dev", "lo"])
            .status();
        assert!(
            added.is_ok_and(|status| status.success()),
            "failed to add {}: run this in a network namespace of its own (unshare -Urn, ip link set lo up)",
            self.host
        );
    }

    /// The files by which etcd speaks TLS, in a directory of their own: CA, certificate, key.
    pub(crate) fn certificates(&mut self, texts: &[String; 3]) {
        let directory = self.path("tls");
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in FILES.iter().zip(texts) {
            // As the kubelet does: a file is whole or it is the one of before.
            let partial = directory.join(format!("{name}.partial"));
            fs::write(&partial, text).unwrap();
            fs::rename(&partial, directory.join(name)).unwrap();
        }
        self.set("KB_TLS_DIR", &directory.display().to_string());
        for endpoint in ["KB_ETCD_ENDPOINT", "KB_PEER_ENDPOINT"] {
            let url = self.env[endpoint].replace("http://", "https://");
            self.set(endpoint, &url);
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn command(&self, log: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kbagent"));
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(log))
            .unwrap();
        command
            .envs(&self.env)
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file);
        command
    }

    pub(crate) fn start_etcd(&mut self) {
        self.start_etcd_of("ETCD_BIN");
    }

    /// Starts the etcd whose path is in a variable of the test's environment.
    pub(crate) fn start_etcd_of(&mut self, variable: &str) {
        self.start_etcd_with(variable, &[]);
    }

    /// With more flags.
    pub(crate) fn start_etcd_with(&mut self, variable: &str, flags: &[&str]) {
        let mut command = self.command("etcd.log");
        command
            .args(["launch", "--"])
            .arg(std::env::var_os(variable).unwrap());
        // Where the agent accepts clients the launcher says where etcd listens.
        if !self.env.contains_key("KB_RELAY_CLIENTS") {
            let clients = self.env["KB_ETCD_ENDPOINT"].replace("https://", "http://");
            command.arg(format!("--listen-client-urls={clients}"));
        }
        for (flag, port) in [("peer", 22380), ("metrics", 22381)] {
            command.arg(format!("--listen-{flag}-urls=http://{}:{port}", self.host));
        }
        command.args(flags);
        self.etcd = Some(command.spawn().unwrap());
    }

    pub(crate) fn start_agent(&mut self) {
        self.agent = Some(self.command("agent.log").arg("serve").spawn().unwrap());
    }

    pub(crate) fn start(mut self) -> Self {
        self.start_etcd();
        self.start_agent();
        self
    }

    /// Kills etcd; its launcher ends with it.
    pub(crate) fn kill_etcd(&mut self) {
        if self.etcd.is_some() {
            self.signal("KILL");
            self.ended();
        }
    }

    /// Waits until the launcher has ended; how.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.etcd.take().unwrap().wait().unwrap()
    }

    /// Number of the etcd that the launcher has started, when it runs.
    pub(crate) fn etcd_pid(&self) -> Option<String> {
        let launcher = self.etcd.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children"));
        // The check of the store of API v2 is the launcher's own program.
        let is_etcd = |pid: &&str| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() != "kbagent")
        };
        children
            .ok()?
            .split_whitespace()
            .find(is_etcd)
            .map(str::to_owned)
    }

    /// Sends a signal to etcd, by its name.
    pub(crate) fn signal(&self, name: &str) {
        self.send(name, &self.etcd_pid().unwrap());
    }

    /// Sends a signal to the launcher, by its name.
    pub(crate) fn signal_launcher(&self, name: &str) {
        self.send(name, &self.etcd.as_ref().unwrap().id().to_string());
    }

    /// Sends a signal to etcd, its launcher and the agent, as when the whole node stops or continues.
    pub(crate) fn signal_all(&self, name: &str) {
        let etcd = self.etcd_pid();
        let children = [&self.etcd, &self.agent].into_iter().flatten();
        let children = children.map(|child| child.id().to_string());
        for pid in children.chain(etcd) {
            self.send(name, &pid);
        }
    }

    fn send(&self, name: &str, pid: &str) {
        let status = Command::new("kill").args(["-s", name, pid]).status();
        assert!(
            status.unwrap().success(),
            "{}: kill -s {name} {pid}",
            self.name
        );
    }

    /// Runs `kbagent handoff` as the pod's preStop does.
    pub(crate) fn handoff(&self) -> Child {
        self.command("handoff.log").arg("handoff").spawn().unwrap()
    }

    pub(crate) fn agent_address(&self) -> String {
        format!("{}:5001", self.host)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let address = self.agent_address();
        let call = Call {
            deadline: Duration::from_secs(4),
            ..Call::get(&address, path)
        };
        let (status, body) = call.send(String::new()).await.ok()?;
        (status == StatusCode::OK).then(|| serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn role(&self) -> Option<(Role, u64)> {
        let answer: RoleAnswer = self.get(PATH_GETROLE).await?;
        Some((answer.role, answer.term))
    }

    pub(crate) async fn view(&self) -> MemberView {
        until("a view, which is always there", 5, async || {
            self.get(PATH_MEMBER).await
        })
        .await
    }

    /// What `token` opens this pod's agent by.
    pub(crate) fn opens<'a>(&'a self, token: &'a str) -> Opens<'a> {
        Opens {
            token,
            sends: Authorization::Signed,
            pod: &self.name,
        }
    }

    /// Runs an action with the token.
    pub(crate) async fn action(&self, action: &str, parameters: &[(&str, &str)]) -> ActionAnswer {
        let parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let request = ActionRequest {
            action: action.into(),
            parameters,
            timeout_seconds: None,
        };
        let body = serde_json::to_string(&request).unwrap();
        let (status, body) = self.post(PATH_ACTION, body).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        serde_json::from_slice(&body).unwrap()
    }

    /// Posts a request with the token.
    pub(crate) async fn post(&self, path: &str, body: String) -> (StatusCode, Bytes) {
        let address = self.agent_address();
        let call = Call {
            method: Method::POST,
            opens: Some(self.opens(TOKEN)),
            deadline: Duration::from_secs(20),
            ..Call::get(&address, path)
        };
        call.send(body).await.unwrap()
    }

    /// Reads the stream of views on a thread; each with the moment it came.
    pub(crate) fn stream(&self) -> Receiver<(Instant, MemberView)> {
        let (sender, receiver) = channel();
        let mut stream = TcpStream::connect(self.agent_address()).unwrap();
        write!(stream, "GET {PATH_WATCH} HTTP/1.1\r\nHost: bench\r\n\r\n").unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Chunk sizes and headers are no JSON documents.
                if let Ok(view) = serde_json::from_str(&line)
                    && sender.send((Instant::now(), view)).is_err()
                {
                    return;
                }
            }
        });
        receiver
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(pid) = self.etcd_pid() {
            let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
        }
        for child in [&mut self.etcd, &mut self.agent].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for log in ["agent.log", "etcd.log"] {
                let text = fs::read_to_string(self.path(log)).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                let last = lines.len().saturating_sub(12);
                eprintln!("--- {} {log}\n{}", self.name, lines[last..].join("\n"));
            }
        }
    }
}

/// Waits until `look` brings something, for at most `seconds`.
pub(crate) async fn until<T>(
    what: &str,
    seconds: u64,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Number of the pod that leads, when all pods agree on one leader and one term.
pub(crate) async fn settled_leader(pods: &[Pod]) -> usize {
    until("one leader that all agree on", 20, async || {
        let mut roles = Vec::new();
        for pod in pods {
            roles.push(pod.role().await?);
        }
        let leaders: Vec<_> = (0..roles.len())
            .filter(|n| roles[*n].0 == Role::Leader)
            .collect();
        let same_term = roles.iter().all(|(_, term)| *term == roles[0].1);
        (leaders.len() == 1 && same_term).then(|| leaders[0])
    })
    .await
}

/// The output of an action that has to succeed.
pub(crate) fn output<T: DeserializeOwned>(answer: &ActionAnswer) -> T {
    assert_eq!(answer.error, None, "{:?}", answer.message);
    let bytes = STANDARD.decode(answer.output.as_ref().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Three members, started for the first time.
pub(crate) fn three(net: u8) -> Vec<Pod> {
    (0..3)
        .map(|n| Pod::new(net, n, &[0, 1, 2]).bootstraps().start())
        .collect()
}
