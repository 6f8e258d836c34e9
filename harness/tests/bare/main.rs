//! Real etcd in containers: one scenario from nothing to a verdict, and nothing left afterwards.
//!
//! Ignored, saying so, where Docker or an image is missing.

use std::path::PathBuf;
use std::process::ExitCode;

use harness::bare::{BareLab, BarePlan, VERSION, run};
use harness::report::judgement::Severity;
use harness::scenario::Live;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = ready().err();
    if let Some(reason) = &missing {
        eprintln!("bare/* are ignored: {reason}");
    }
    let trials = vec![
        Trial::test("bare/leader_killed", leader_killed)
            .with_kind(if missing.is_some() {
                "no members here"
            } else {
                "docker"
            })
            .with_ignored_flag(missing.is_some()),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The reason why nothing can be run here, if there is one.
fn ready() -> Result<(), String> {
    let plan = plan()?;
    block_on(async {
        let lab = lab(std::env::temp_dir()).await?;
        lab.find_images(&plan.image())
            .await
            .map_err(|error| error.to_string())
    })
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
    BareLab::connect(runs, Live::quiet())
        .await
        .map_err(|error| error.to_string())
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}
