//! A real OpenTelemetry collector under a test: the program of `hack/collector`, whose path is in `COLLECTOR_BIN`. It
//! writes each request that it takes as a line of JSON. Tests of the operator and of kbagent include this file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

/// Longest time until the collector accepts, and until it has written what was sent.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:@PORT@"}}}}
exporters: {file: {path: "@FILE@", flush_interval: 50ms}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], exporters: [file]}}
"#;

/// A collector that ends with its test.
pub(crate) struct Collector {
    process: Child,
    folder: PathBuf,
    port: u16,
}

/// A span as the collector has written it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) trace: String,
    pub(crate) span: String,
    /// Empty for a span that has none.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The span's own and those of the process that sent it.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    /// Starts it on a free port, and waits until it accepts.
    pub(crate) async fn start() -> Self {
        let program = std::env::var_os("COLLECTOR_BIN")
            .expect("COLLECTOR_BIN: the collector that `make traces` builds");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let name = format!("collector-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("spans");
        let config = CONFIG.replace("@PORT@", &port.to_string());
        let config = config.replace("@FILE@", &file.display().to_string());
        fs::write(folder.join("config.yaml"), config).expect("its configuration");
        let log = File::create(folder.join("log")).expect("its log");
        let process = Command::new(program)
            .arg("--config")
            .arg(folder.join("config.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("its log"))
            .stderr(log)
            .spawn()
            .expect("the collector starts");
        let mut collector = Self {
            process,
            folder,
            port,
        };
        collector.accepts().await;
        collector
    }

    async fn accepts(&mut self) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().expect("a process of ours");
            assert!(ended.is_none(), "it ended: {}", self.log());
            assert!(Instant::now() < end, "it does not accept: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where it accepts, as `http://HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans that it has written, as soon as they are what is wanted.
    pub(crate) async fn received(
        &self,
        what: &str,
        wanted: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        let end = Instant::now() + PATIENCE;
        loop {
            let written = fs::read_to_string(self.folder.join("spans")).unwrap_or_default();
            let spans = read(&written);
            if wanted(&spans) {
                return spans;
            }
            assert!(Instant::now() < end, "{what}: {spans:#?}\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The spans of its file. Its last line may not be whole yet.
fn read(written: &str) -> Vec<Received> {
    let requests = written
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut all = Vec::new();
    for request in requests {
        for process in list(&request["resourceSpans"]) {
            let sender = attributes(&process["resource"]);
            for scope in list(&process["scopeSpans"]) {
                all.extend(list(&scope["spans"]).iter().map(|span| one(span, &sender)));
            }
        }
    }
    all
}

fn one(span: &Value, sender: &BTreeMap<String, String>) -> Received {
    let mut all = sender.clone();
    all.extend(attributes(span));
    let moment = |name: &str| text(&span[name]).parse().expect("nanoseconds");
    Received {
        trace: text(&span["traceId"]),
        span: text(&span["spanId"]),
        parent: text(&span["parentSpanId"]),
        name: text(&span["name"]),
        from: moment("startTimeUnixNano"),
        to: moment("endTimeUnixNano"),
        attributes: all,
    }
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let pairs = list(&of["attributes"]).iter();
    pairs
        .map(|pair| (text(&pair["key"]), text(&pair["value"]["stringValue"])))
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
