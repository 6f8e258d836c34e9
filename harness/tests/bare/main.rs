//! Real etcd in containers: one scenario from nothing to a verdict, and nothing left afterwards, also of a harness that
//! was killed.
//!
//! Only with `ETCD_HARNESS_BARE=1`, as `make bare` sets it: with an image of the recording client that is older than
//! this tree the run would be red although nothing is wrong.

mod killed;

use std::path::PathBuf;
use std::process::ExitCode;

use harness::bare::{BareLab, BarePlan, VERSION, run};
use harness::report::Severity;
use harness::scenario::Live;
use libtest_mimic::{Arguments, Failed, Trial};

const HARNESS: &str = env!("CARGO_BIN_EXE_harness");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let wanted = std::env::var_os("ETCD_HARNESS_BARE").is_some_and(|wanted| wanted == "1");
    if !wanted {
        eprintln!("bare/* are ignored: `make bare` builds the images and runs them");
    }
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        let trial = Trial::test(name, test).with_kind("docker");
        trial.with_ignored_flag(!wanted)
    };
    let trials = vec![
        trial("bare/leader_killed", leader_killed),
        trial("bare/killed", killed::killed),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn leader_killed() -> Result<(), Failed> {
    let runs = tempfile::tempdir()?;
    let plan = plan()?;
    let ended = block_on(async {
        let lab = lab(runs.path().to_owned()).await?;
        let ended = run(&lab, &plan).await.map_err(|error| error.to_string());
        let left = lab.left().await.map_err(|error| error.to_string())?;
        if left.is_empty() {
            ended
        } else {
            Err(format!("{} is left", left.join(", ")))
        }
    })?;
    if !matches!(ended.severity, Severity::Pass | Severity::NotJudged) {
        return Err(format!("{}: {}", ended.severity.word(), ended.cause).into());
    }
    if ended.operations < 50 || !ended.dir.join("report.html").exists() {
        return Err(format!(
            "{} operations, no page or hardly any load",
            ended.operations
        )
        .into());
    }
    Ok(())
}

fn plan() -> Result<BarePlan, String> {
    BarePlan::named("bare::leader_killed", Some(3), VERSION, 7).map_err(|error| error.to_string())
}

async fn lab(runs: PathBuf) -> Result<BareLab, String> {
    BareLab::connect(runs, Live::quiet(), PathBuf::from(HARNESS))
        .await
        .map_err(|error| error.to_string())
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}
