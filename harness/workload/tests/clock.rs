//! `workload clock` against a process that says its time as etcd does: this program once more.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Holds the name of the process that says its time.
const NAME: &str = "WORKLOAD_CLOCK_TEST";

/// The name of one begins with this that looks at its clock all the time.
const WATCHED: &str = "clk-w";

/// Not a test: what the others start. It answers with its time until its input ends, and says then how often it has
/// seen that go back.
#[test]
#[ignore = "is started by the tests of this file"]
fn says_its_time() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    std::fs::write("/proc/self/comm", &name).expect("it has a name");
    // Where only parents may trace (Yama) its sibling may, too. A kernel without Yama refuses this, and needs it not.
    let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens");
    let port = listener.local_addr().expect("an address").port();
    println!("\nport {port}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || answer(stream));
        }
    });
    let back = Arc::new(AtomicU32::new(0));
    if name.starts_with(WATCHED) {
        let back = Arc::clone(&back);
        std::thread::spawn(move || watch(&back));
    }
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).expect("an input");
    println!("\nback {}", back.load(Ordering::Relaxed));
}

/// Answers with the time, or, as etcd's gateway does, when the three seconds of a watch have passed.
fn answer(mut stream: TcpStream) {
    let mut question = [0; 512];
    let length = stream.read(&mut question).expect("a question");
    let watch = question[..length].starts_with(b"POST /v3/watch ");
    let asked = Instant::now();
    // Looks at its own clock all the time, by which Go's timers end.
    while watch && asked.elapsed() < Duration::from_secs(3) {
        std::thread::yield_now();
    }
    let end = if watch {
        "context deadline exceeded"
    } else {
        ""
    };
    let date = httpdate::fmt_http_date(SystemTime::now());
    // One who has asked and is gone needs no answer.
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n{end}");
}

/// Counts how often the time of this process goes back.
fn watch(back: &AtomicU32) {
    let mut last = SystemTime::now();
    loop {
        let now = SystemTime::now();
        if now < last {
            back.fetch_add(1, Ordering::Relaxed);
        }
        last = now;
        std::thread::yield_now();
    }
}

/// The process that says its time; it ends with this.
struct Shown {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    place: [String; 4],
}

impl Shown {
    fn start(name: &str) -> Self {
        // The name of a process has 15 bytes at most.
        let name = format!("{name}-{}", std::process::id());
        let own = std::env::current_exe().expect("this program");
        let child = Command::new(own)
            .args(["says_its_time", "--exact", "--ignored", "--nocapture"])
            .env(NAME, &name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("an output"));
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        let port = lines.find_map(|line| Some(line.strip_prefix("port ")?.to_owned()));
        let port = port.expect("it says its port");
        let place = ["--program".to_owned(), name, "--port".to_owned(), port];
        let input = child.stdin.take();
        Self {
            child,
            input,
            output,
            place,
        }
    }

    fn command(&self, order: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
        command.arg("clock").args(order).args(&self.place);
        command
    }

    /// Runs a command; the one line that it prints.
    fn says(&self, order: &str) -> Value {
        let output = self.command(&[order]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{order}: {said}");
        serde_json::from_slice(&output.stdout).expect("a line of JSON")
    }

    fn shift(&self, how: &[&str]) -> (Child, Lines) {
        let shift = self.command(&[&["shift"][..], how].concat());
        let mut shift = { shift }.stdout(Stdio::piped()).spawn().expect("it starts");
        let output = shift.stdout.take().expect("an output");
        (shift, Lines(BufReader::new(output)))
    }

    /// How often it has seen its time go back. It ends.
    fn went_back(mut self) -> String {
        drop(self.input.take());
        let mut lines = self.output.by_ref().lines().map_while(Result::ok);
        let back = lines.find_map(|line| Some(line.strip_prefix("back ")?.to_owned()));
        back.expect("it says how often")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.input.take());
        let ended = self.child.wait().expect("it ends");
        assert!(std::thread::panicking() || ended.success(), "{ended}");
    }
}

/// What a command prints, line by line.
struct Lines(BufReader<ChildStdout>);

impl Lines {
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it is read");
        serde_json::from_str(&line).expect("a line of JSON")
    }
}

/// Asks a command to end, which it does as one that was asked.
fn end((mut shift, mut lines): (Child, Lines)) {
    let process = i32::try_from(shift.id()).ok().and_then(Pid::from_raw);
    kill_process(process.expect("a process"), Signal::TERM).expect("it is asked to end");
    let last = std::iter::from_fn(|| Some(lines.next())).find(|line| !line["ended"].is_null());
    assert_eq!(last.expect("a last line")["ended"], "asked");
    assert!(shift.wait().expect("it ends").success());
}

/// Ahead by so many seconds, as far as a machine that is busy shows it.
fn is_ahead(seen: &Value, seconds: i64) -> bool {
    let ahead = seen["ahead_s"].as_i64();
    ahead.is_some_and(|ahead| (ahead - seconds).abs() <= 20)
}

#[test]
fn a_process_has_another_time_until_its_end_is_asked_for() {
    let shown = Shown::start("clock-a");
    for (ms, seconds) in [("3600000", 3_600), ("-3600000", -3_600)] {
        let before = shown.says("look");
        assert!(
            before["shifted"] == false && is_ahead(&before, 0),
            "{before}"
        );
        let (shift, mut lines) = shown.shift(&["--ms", ms]);
        let first = lines.next();
        assert!(
            first["in_place"] == true && is_ahead(&first, seconds),
            "{first}"
        );
        assert_eq!(shown.says("look")["shifted"], true);
        end((shift, lines));
        let after = shown.says("look");
        assert!(after["shifted"] == false && is_ahead(&after, 0), "{after}");
    }
}

#[test]
fn what_one_that_was_killed_has_left_is_found_and_restored() {
    let shown = Shown::start("clock-k");
    let (mut shift, mut lines) = shown.shift(&["--ms", "3600000"]);
    assert_eq!(lines.next()["ended"], Value::Null);
    shift.kill().expect("it is killed");
    shift.wait().expect("it ends");
    let again = shown.command(&["shift", "--ms", "1000"]).output();
    let again = again.expect("it runs");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("shifted already"),
        "{said}"
    );
    let left = shown.says("restore");
    assert!(left["shifted"] == true && is_ahead(&left, 0), "{left}");
    assert_eq!(shown.says("restore")["shifted"], false);
}

/// Lets a clock run at this rate until that is seen of it; how often it went back, the end included.
fn runs_at((name, percent): (&str, i64), is_seen: impl Fn(i64, i64) -> bool) -> String {
    let shown = Shown::start(name);
    let (shift, mut lines) = shown.shift(&["--rate-percent", &percent.to_string()]);
    loop {
        let line = lines.next();
        assert!(
            line["in_place"] == true && line["ended"].is_null(),
            "{line}"
        );
        let rate = |at: usize| line["rate_percent"][at].as_i64();
        let (Some(least), Some(most)) = (rate(0), rate(1)) else {
            continue;
        };
        assert!((least..=most).contains(&percent), "{line}");
        if is_seen(least, most) {
            break;
        }
    }
    end((shift, lines));
    assert_eq!(shown.says("look")["shifted"], false);
    shown.went_back()
}

#[test]
fn a_clock_that_runs_slow_never_goes_back() {
    let seen = |_: i64, most: i64| most < 100;
    assert_eq!(runs_at(("clk-ws", 50), seen), "0");
}

#[test]
fn a_clock_that_runs_fast_goes_back_at_its_end_alone() {
    let seen = |least: i64, _: i64| least > 100;
    assert_eq!(runs_at(("clk-wf", 200), seen), "1");
}

#[test]
fn a_monotonic_clock_that_runs_fast_ends_a_deadline_early() {
    let shown = Shown::start("clock-m");
    let fast = ["--clock", "monotonic", "--rate-percent", "150"];
    let (shift, mut lines) = shown.shift(&fast);
    let least = loop {
        let line = lines.next();
        assert!(
            line["in_place"] == true && line["ended"].is_null(),
            "{line}"
        );
        // The time of day is the machine's, where it was said.
        assert!(line["ahead_s"].is_null() || is_ahead(&line, 0), "{line}");
        if let Some(least) = line["deadline_percent"].as_i64()
            && least > 100
        {
            break least;
        }
    };
    assert!(least <= 150, "{least}");
    end((shift, lines));
    assert_eq!(shown.says("look")["shifted"], false);
}
