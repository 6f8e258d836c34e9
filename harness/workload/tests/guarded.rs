//! A real etcd with TLS and users, loaded as in a run. Needs the path of an `etcd` in `ETCD_BIN`, with `etcdctl` beside
//! it.

use std::{
    fs,
    io::{self, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use serde_json::{Value, json};

/// Longest wait for what takes a moment.
const SOON: Duration = Duration::from_secs(20);
/// In no file that a run leaves, and in no argument.
const PASSWORD: &str = "a-password-of-this-test";

/// Ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Certificates and users in folders, as Secrets are mounted.
struct Folders {
    root: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a CA");
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a CA").pem();
        let issuer = Issuer::new(params, key);
        let folders = Self { root };
        for name in ["member", "client"] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
            let own = "127.0.0.1".parse().expect("an address");
            params.subject_alt_names.push(SanType::IpAddress(own));
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let key = KeyPair::generate().expect("a key");
            let made = params.signed_by(&key, &issuer).expect("signed");
            folders.write(name, "ca.crt", &ca);
            folders.write(name, "tls.crt", &made.pem());
            folders.write(name, "tls.key", &key.serialize_pem());
        }
        for user in ["root", "harness"] {
            folders.write(user, "username", user);
            folders.write(user, "password", PASSWORD);
        }
        folders
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, folder: &str, name: &str, text: &str) {
        fs::create_dir_all(self.path(folder)).expect("made");
        fs::write(self.path(folder).join(name), text).expect("written");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < SOON, "failed to see {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An etcd of one member, and how it is asked by hand.
struct Etcd {
    port: u16,
    peers: u16,
    data: PathBuf,
    member: PathBuf,
    binary: PathBuf,
}

impl Etcd {
    fn new(folders: &Folders, binary: &Path) -> Self {
        Self {
            port: free_port(),
            peers: free_port(),
            data: folders.path("data"),
            member: folders.path("member"),
            binary: binary.to_owned(),
        }
    }

    fn start(&self) -> Process {
        let own = format!("https://localhost:{}", self.port);
        let peer = format!("http://127.0.0.1:{}", self.peers);
        let file = |name: &str| self.member.join(name).display().to_string();
        let listen = format!("https://127.0.0.1:{}", self.port);
        let child = Command::new(&self.binary)
            .arg(format!("--data-dir={}", self.data.display()))
            .args(["--name=one", "--client-cert-auth", "--log-level=error"])
            .args(["--listen-client-urls", &listen])
            .args(["--advertise-client-urls", &own])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args(["--trusted-ca-file", &file("ca.crt")])
            .args(["--cert-file", &file("tls.crt")])
            .args(["--key-file", &file("tls.key")])
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        Process(child)
    }

    fn control(&self, arguments: &[&str]) -> Output {
        let file = |name: &str| self.member.join(name).display().to_string();
        Command::new(self.binary.with_file_name("etcdctl"))
            .arg(format!("--endpoints=https://localhost:{}", self.port))
            .args(["--cacert", &file("ca.crt"), "--cert", &file("tls.crt")])
            .args(["--key", &file("tls.key"), "--command-timeout=5s"])
            .args(arguments)
            .output()
            .expect("etcdctl runs")
    }

    fn told(&self, arguments: &[&str]) {
        let output = self.control(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
    }

    fn lock(&self) {
        until("etcd to answer", || {
            let output = self.control(&["endpoint", "health"]);
            output.status.success().then_some(())
        });
        let password = format!("harness:{PASSWORD}");
        let root = format!("root:{PASSWORD}");
        self.told(&["user", "add", &root]);
        self.told(&["user", "grant-role", "root", "root"]);
        self.told(&["role", "add", "keys"]);
        self.told(&[
            "role",
            "grant-permission",
            "keys",
            "--prefix=true",
            "readwrite",
            "run/",
        ]);
        self.told(&["user", "add", &password]);
        self.told(&["user", "grant-role", "harness", "keys"]);
        self.told(&["auth", "enable"]);
    }
}

fn workload(folders: &Folders, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
    command
        .args(arguments)
        .env("WORKLOAD_DIR", folders.path("history"));
    command
}

fn run(folders: &Folders, arguments: &[&str]) -> String {
    let output = workload(folders, arguments).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Records of the history so far.
fn history(folders: &Folders) -> Vec<Value> {
    let text = fs::read_to_string(folders.path("history").join("history.jsonl"));
    let text = text.unwrap_or_default();
    let lines = text.lines().skip(1);
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn acknowledged(folders: &Folders) -> usize {
    let text = history(folders);
    let done = |record: &&Value| record.to_string().contains(r#""result":"ok""#);
    text.iter().filter(done).count()
}

/// Who is let in with what, and that what is refused is refused for its reason.
fn break_in(folders: &Folders, address: &str) {
    let strangers = Folders::new();
    let path = |folders: &Folders, name: &str| folders.path(name).display().to_string();
    let ca = path(folders, "client");
    let tried = |more: &[&str]| {
        let arguments = [&["break-in", "--address", address, "--asks"], more].concat();
        let told: Value = serde_json::from_str(&run(folders, &arguments)).expect("JSON");
        (told["let_in"] == true, told["told"].to_string())
    };
    let root = path(folders, "root");
    let known = ["run/", "--trusts", &ca, "--shows", &ca, "--user", &root];
    let (let_in, told) = tried(&known);
    assert!(let_in, "{told}");
    // etcd's port for clients speaks gRPC and HTTP/1.1, as that for peers does.
    let version = [
        "/version", "--method", "GET", "--trusts", &ca, "--shows", &ca,
    ];
    let (let_in, told) = tried(&version);
    assert!(let_in, "{told}");
    folders.write("stale", "username", "root");
    folders.write("stale", "password", "another");
    let stale = path(folders, "stale");
    let foreign = path(&strangers, "client");
    for (what, words) in [
        (vec!["run/"], ""),
        (vec!["run/", "--trusts", &ca], ""),
        (vec!["run/", "--trusts", &ca, "--shows", &foreign], ""),
        (
            vec!["run/", "--trusts", &foreign, "--shows", &ca],
            "invalid peer certificate",
        ),
        (
            vec!["run/", "--trusts", &ca, "--shows", &ca, "--user", &stale],
            "authentication failed",
        ),
        (vec!["/version", "--method", "GET"], ""),
    ] {
        let (let_in, told) = tried(&what);
        assert!(!let_in && told.contains(words), "{what:?}: {told}");
    }
}

#[test]
#[ignore = "needs ETCD_BIN"]
fn a_run_on_a_guarded_cluster_outlives_a_restart_and_a_change_of_users_and_tells_no_password() {
    let binary = PathBuf::from(std::env::var_os("ETCD_BIN").expect("ETCD_BIN"));
    let folders = Folders::new();
    let etcd = Etcd::new(&folders, &binary);
    let mut process = etcd.start();
    etcd.lock();
    let address = format!("localhost:{}", etcd.port);
    let config = json!({
        "seed": 7,
        "service": address,
        "members": [{"pod": "one", "address": address}],
        "dir": folders.path("history"),
        "access": {
            "tls": folders.path("client"),
            "user": folders.path("harness"),
            "admin": folders.path("root"),
        },
    });
    let mut running = workload(&folders, &["run"]);
    running.env("WORKLOAD_CONFIG", config.to_string());
    let running = running.stdout(Stdio::null()).spawn().expect("it runs");
    let _running = Process(running);
    let member = format!("--member=one={address}");
    let grows = |what: &str| {
        let before = acknowledged(&folders);
        let begin = Instant::now();
        while acknowledged(&folders) <= before + 50 {
            let ends = history(&folders).into_iter().rev();
            let mut ends = ends.filter(|record| record.to_string().contains("class"));
            let last = ends.next();
            assert!(begin.elapsed() < SOON, "failed to see {what}: {last:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    grows("answers to who has logged in");
    let lists = folders.path("lists");
    let _lists = follow_lists(&folders, &member, &lists);
    more_lists(&lists);

    // Its tokens are gone with it.
    drop(process);
    process = etcd.start();
    until("etcd to be back", || {
        let user = format!("--user=root:{PASSWORD}");
        let output = etcd.control(&["endpoint", "health", &user]);
        output.status.success().then_some(())
    });
    grows("answers after a restart");
    more_lists(&lists);
    gives_way_within_a_write(&folders, &member);

    let root = format!("--user=root:{PASSWORD}");
    etcd.told(&["user", "add", "other:x", &root]);
    grows("answers after a change of users");

    tells_of_members(&folders, &member);
    break_in(&folders, &address);

    run(&folders, &["stop"]);
    let summary: Value = serde_json::from_str(&run(&folders, &["final", &member])).expect("JSON");
    assert_eq!(summary["unread"], json!([]), "{summary}");
    assert_eq!(summary["watchers"], json!([2, 2]), "{summary}");
    let text = recorded(&folders);
    assert!(!text.contains(PASSWORD));
    drop(process);
}

/// Writes member lists into a file until it is dropped.
fn follow_lists(folders: &Folders, member: &str, file: &Path) -> Process {
    let out = fs::File::create(file).expect("made");
    let child = workload(folders, &["lists", member]).stdout(out).spawn();
    Process(child.expect("it runs"))
}

fn more_lists(file: &Path) {
    let lines = || fs::read_to_string(file).expect("read").lines().count();
    let before = lines();
    until("more member lists", || (lines() > before + 2).then_some(()));
}

/// One that waits for its reader ends, too, once it is begun again.
fn gives_way_within_a_write(folders: &Folders, member: &str) {
    let (reader, full) = full_pipe();
    let stuck = workload(folders, &["lists", member]).stdout(full).spawn();
    let mut stuck = Process(stuck.expect("it runs"));
    // Several lists would be printed by now.
    std::thread::sleep(Duration::from_secs(2));
    assert!(stuck.0.try_wait().expect("asked").is_none());
    let file = folders.path("next");
    let _next = follow_lists(folders, member, &file);
    let ended = until("the former end", || stuck.0.try_wait().expect("asked"));
    assert!(ended.success(), "{ended}");
    more_lists(&file);
    drop(reader);
}

/// A pipe that takes no byte more.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut filling = writer.try_clone().expect("the same pipe");
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    // Its last write waits until the reader is dropped.
    std::thread::spawn(move || {
        while filling.write_all(&[b'x'; 1024]).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    until("the pipe be full", || {
        let before = written.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(200));
        (before > 0 && written.load(Ordering::Relaxed) == before).then_some(())
    });
    (reader, writer)
}

/// What is asked of members beside the run.
fn tells_of_members(folders: &Folders, member: &str) {
    let state: Value = serde_json::from_str(&run(folders, &["state", member])).expect("JSON");
    assert_eq!(state["members"][0]["name"], "one", "{state}");
    let status = &state["pods"]["one"];
    assert_eq!(status["leader"], status["header"]["member_id"], "{state}");

    let told = run(folders, &["certificates", member]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert!(
        told["served"]["one"]
            .as_str()
            .expect("shown")
            .starts_with("30")
    );
}

/// The history, which has a record of each kind.
fn recorded(folders: &Folders) -> String {
    let records = history(folders);
    let text = records.iter().map(Value::to_string).collect::<String>();
    for kind in ["hash", "final_state", "member"] {
        let seen = records
            .iter()
            .any(|record| record.to_string().contains(kind));
        assert!(seen, "no record of {kind}");
    }
    text
}
