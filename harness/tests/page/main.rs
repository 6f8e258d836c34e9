//! The page in a real browser: a run of 100,000 operations is drawn, zoomed and panned without a screen.
//!
//! Ignored, saying so, where no Chromium is installed: the page is part of the product, a browser is not.
//! `REPORT_PAGE_DIR` keeps the pages and pictures there instead of in a temporary directory.

mod sample;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use harness::report::{Finding, RunDir, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

const OPERATIONS: usize = 100_000;
/// Largest page of a run of that size.
const PAGE_BYTES_MAX: u64 = 12 * 1024 * 1024;
/// A run that any page draws at once: what the large one is held against, in the same browser on the same machine.
const FEW: usize = 1_000;
/// How many times as long the large page may draw 95 frames in 100, having a hundred times as much to draw.
const SLOWER_MAX: f64 = 6.0;
/// Times below this are noise of the browser's clock, in milliseconds.
const CLOCK_MS: f64 = 4.0;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        });
    if browser.is_none() {
        eprintln!("page/* are ignored: no Chromium on this machine (chromium, google-chrome)");
    }
    let trials = vec![
        Trial::test("page/stays_small", stays_small),
        Trial::test("page/is_fluid_in_a_browser", move || {
            is_fluid(browser.ok_or("no Chromium on this machine")?)
        })
        .with_kind(if browser.is_some() {
            "browser"
        } else {
            "no browser here"
        })
        .with_ignored_flag(browser.is_none()),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Writes the made run and gives its directory.
fn write_run(parent: &Path, operations: usize) -> Result<RunDir, Failed> {
    let history = sample::history(7, operations);
    let started = "2026-09-21T13:13:20Z".parse()?;
    let run = RunDir::create(parent, started, "failover/sample", 7)?;
    run.write_plan(&serde_json::json!({
        "scenario": "failover/sample", "seed": 7, "members": 3, "started": "2026-09-21T13:13:20Z",
        "description": "The leader is killed, cut off from its peers, and its pod deleted, under load.",
        "faults": [{"at": "25s", "kill_process": "leader"}, {"at": "58s", "isolate_from_peers": "leader"}],
    }))?;
    run.write_history(&history)?;
    run.write_reports(&history, &verdicts())?;
    Ok(run)
}

fn verdicts() -> Vec<Verdict> {
    let explanation = "get reg/3 by client 9 returned revision 24170, but the put of revision 24172 was acknowledged \
        2.1 ms before it was called </script>";
    let violation = Finding::Violation {
        explanation: explanation.into(),
        ops: vec![40_321, 40_335],
    };
    let mut gap = Verdict::new("leader_service_gap", Finding::Pass);
    gap.figures.insert("longest_gap_fresh_ms".into(), 1287.4);
    gap.figures.insert("longest_gap_dial_all_ms".into(), 1191.0);
    let reason = "only 2 of 3 members answered with a hash at revision 61233".to_owned();
    vec![
        Verdict::new("durability", Finding::Pass),
        gap,
        Verdict::new("hash_agreement", Finding::Inconclusive { reason }),
        Verdict::new("linearizable", violation),
        Verdict::new("watch_order", Finding::Pass),
    ]
}

fn place() -> Result<(Option<tempfile::TempDir>, PathBuf), Failed> {
    if let Some(kept) = std::env::var_os("REPORT_PAGE_DIR") {
        return Ok((None, kept.into()));
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().to_path_buf();
    Ok((Some(dir), path))
}

fn stays_small() -> Result<(), Failed> {
    let (_keep, parent) = place()?;
    let run = write_run(&parent, OPERATIONS)?;
    let bytes = std::fs::metadata(run.page_path())?.len();
    println!(
        "page of {OPERATIONS} operations: {:.2} MB",
        bytes as f64 / 1e6
    );
    if bytes > PAGE_BYTES_MAX {
        return Err(format!("{bytes} bytes, at most {PAGE_BYTES_MAX}").into());
    }
    Ok(())
}

fn is_fluid(browser: &str) -> Result<(), Failed> {
    let few = look(browser, FEW)?;
    let figures = look(browser, OPERATIONS)?;
    println!("{figures:#}");
    for movement in ["zoom", "pan", "jump"] {
        let slowest = |figures: &serde_json::Value| {
            let p95 = figures[movement]["p95_ms"].as_f64();
            p95.ok_or_else(|| Failed::from(format!("{movement} was not measured: {figures}")))
        };
        let (alone, all) = (slowest(&few)?.max(CLOCK_MS), slowest(&figures)?);
        println!(
            "{movement}: 95 of 100 frames within {all:.1} ms, {alone:.1} ms with {FEW} operations"
        );
        if all > alone * SLOWER_MAX {
            return Err(format!("{movement}: {all} ms, {alone} ms with {FEW} operations").into());
        }
    }
    if figures["deaf"] != serde_json::json!([]) || !figures["error"].is_null() {
        return Err(format!("inputs without effect or an error: {figures}").into());
    }
    let seen = figures["chosen"].as_array().map(Vec::len);
    if figures["ops"].as_u64().is_none_or(|ops| ops < 90_000) || seen != Some(3) {
        return Err(format!("not all of the run can be reached: {figures}").into());
    }
    Ok(())
}

/// Opens the page of a run of so many operations, lets it test itself, and gives the figures of that.
fn look(browser: &str, operations: usize) -> Result<serde_json::Value, Failed> {
    let (_keep, parent) = place()?;
    let run = write_run(&parent, operations)?;
    let profile = tempfile::tempdir()?;
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--enable-logging=stderr", "--window-size=1600,1000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--dump-dom")
        .arg(format!(
            "file://{}#selftest",
            run.page_path().canonicalize()?.display()
        ))
        .output()?;
    let dom = String::from_utf8_lossy(&output.stdout);
    let console = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<_> = console
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    if !complaints.is_empty() {
        return Err(format!("the page complains: {complaints:?}").into());
    }
    figures(&dom)
}

/// The figures that the page's own test wrote into the document.
fn figures(dom: &str) -> Result<serde_json::Value, Failed> {
    let head = dom.get(..2000.min(dom.len())).unwrap_or(dom);
    let text = head
        .split("data-selftest=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .ok_or_else(|| format!("the page's test did not end: {head}"))?;
    Ok(serde_json::from_str(&text.replace("&quot;", "\""))?)
}
