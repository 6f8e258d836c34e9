//! The long-running part: all clients of the process, until the stop file appears.
//!
//! When it does, the traffic ends and every open operation is waited for; watches and samples continue until the
//! process ends, because the final phase is to be seen by them.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use etcd_history::{Record, record::Route};
use machine::Sampler;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    attempt::Shared,
    clients,
    config::Config,
    dial_all,
    reach::Reach,
    recorder::Recorder,
    samples,
    schedule::{Schedule, pause, until},
    watchers::Watcher,
    writers::Writer,
};

/// Spacing of looks for the stop file.
const LOOK: Duration = Duration::from_millis(50);

/// Number of the first watcher of the future.
const FUTURE_WATCHERS: u32 = 500;

/// The file that starts everything where the configuration says so.
pub(crate) fn start_file(dir: &Path) -> PathBuf {
    dir.join("start")
}

/// The file that ends the traffic, and the one that says that it has ended.
pub(crate) fn stop_file(dir: &Path) -> PathBuf {
    dir.join("stop")
}

/// Written when the traffic has ended.
pub(crate) fn stopped_file(dir: &Path) -> PathBuf {
    dir.join("stopped")
}

/// The configuration, for the final phase.
pub(crate) fn config_file(dir: &Path) -> PathBuf {
    dir.join("config.json")
}

/// Runs all clients for ever.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let dir = config.dir.clone();
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    std::fs::write(config_file(&dir), serde_json::to_vec(&config)?)
        .context("failed to keep the configuration")?;
    let recorder = Recorder::open(&config.history()).context("failed to open the history")?;
    recorder.record(&Record::Start {
        t: recorder.clock.now(),
        incarnation: rand::random(),
        config: serde_json::to_value(&config)?,
    });
    while config.gated && !start_file(&dir).exists() {
        pause(LOOK).await;
    }
    let [reach, admin] = Reach::both(&config.access);
    let (stop, stopping) = watch::channel(stop_file(&dir).exists());
    let shared = Arc::new(Shared {
        config,
        recorder,
        reach,
        admin,
        stopping,
    });

    let _machine = sample_machine(&shared).context("failed to sample the machine")?;
    let mut background = background(&shared);
    let mut traffic = traffic(&shared);
    background.spawn(progress(Arc::clone(&shared)));
    loop {
        if !*stop.borrow() && stop_file(&dir).exists() {
            stop.send_replace(true);
        }
        if *stop.borrow() {
            while let Some(end) = traffic.join_next().await {
                end.context("a client panicked")?;
            }
            std::fs::write(stopped_file(&dir), b"").context("failed to say that it is over")?;
            break;
        }
        if let Some(end) = traffic.try_join_next() {
            end.context("a client panicked")?;
        }
        pause(LOOK).await;
    }
    while let Some(end) = background.join_next().await {
        end.context("a watch or a sampler panicked")?;
    }
    Ok(())
}

/// How busy the machine is, on a thread of its own.
fn sample_machine(shared: &Arc<Shared>) -> std::io::Result<Sampler> {
    let clock = shared.recorder.clock;
    let shared = Arc::clone(shared);
    Sampler::start(
        "workload",
        move || clock.now(),
        move |sample| shared.recorder.record(&Record::Machine(sample)),
    )
}

/// What runs until the process ends.
fn background(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let config = &shared.config;
    let service = config.service.clone();
    let service = service.map(|address| ("service".to_owned(), address));
    let members = config
        .members
        .iter()
        .map(|m| (m.pod.clone(), m.address.clone()));
    for (number, (target, address)) in service.into_iter().chain(members).enumerate() {
        let names = Arc::clone(&shared.reach.names);
        let name = address.clone();
        tasks.spawn(async move { names.keep(&name).await });
        if config.rates.watch {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let watcher = Watcher {
                number,
                target,
                address,
                ahead: 0,
            };
            tasks.spawn(watcher.run(Arc::clone(shared)));
        }
    }
    for (number, member) in (FUTURE_WATCHERS..).zip(&config.members) {
        if config.rates.future > 0 {
            let watcher = Watcher {
                number,
                target: member.pod.clone(),
                address: member.address.clone(),
                ahead: config.rates.future,
            };
            tasks.spawn(watcher.run(Arc::clone(shared)));
        }
    }
    for member in &config.members {
        tasks.spawn(samples::run(Arc::clone(shared), member.clone()));
    }
    tasks
}

/// What the stop file ends.
fn traffic(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let rates = &shared.config.rates;
    for client in 0..rates.clients {
        tasks.spawn(clients::run(Arc::clone(shared), client));
    }
    for number in 0..rates.holders {
        tasks.spawn(clients::hold(Arc::clone(shared), number));
    }
    let writers = [
        Writer {
            route: Route::ServiceFresh,
            rate: rates.fresh,
            first_client: 1000,
        },
        Writer {
            route: Route::ServiceHeld,
            rate: rates.held,
            first_client: 2000,
        },
    ];
    for writer in writers {
        tasks.spawn(writer.run(Arc::clone(shared)));
    }
    tasks.spawn(dial_all::run(Arc::clone(shared)));
    tasks
}

/// The line a second.
async fn progress(shared: Arc<Shared>) {
    let Some(schedule) = Schedule::new(Instant::now(), 1.0) else {
        return;
    };
    for second in 1.. {
        until(schedule.at(second)).await;
        // No process reads it any more: no reason to stop recording.
        let _ = writeln!(
            std::io::stdout(),
            "{}",
            shared.recorder.progress.line(second)
        );
    }
}
