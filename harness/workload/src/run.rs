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
    watchers::{Begin, Watcher},
    writers::Writer,
};

/// Spacing of looks for the stop file.
const LOOK: Duration = Duration::from_millis(50);

/// Number of the first watcher of the future.
const FUTURE_WATCHERS: u32 = 500;
/// The same of the past.
const PAST_WATCHERS: u32 = 600;
/// The same of those that begin before all revisions.
const NEGATIVE_WATCHERS: u32 = 700;
/// The same of those that begin at the compacted revision.
const COMPACTED_WATCHERS: u32 = 800;

/// The file that starts everything where the configuration says so.
pub(crate) fn start_file(dir: &Path) -> PathBuf {
    dir.join("start")
}

/// Has the clock of the process that writes the history, as it was when it saw the start file.
pub(crate) fn started_file(dir: &Path) -> PathBuf {
    dir.join("started")
}

/// The file that ends the traffic.
pub(crate) fn stop_file(dir: &Path) -> PathBuf {
    dir.join("stop")
}

/// Has that clock as it was when the traffic had ended.
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
    let recorder = Recorder::open(&config.history(), judges(&config));
    let recorder = recorder.context("failed to open the history")?;
    recorder.record(&Record::Start {
        t: recorder.clock.now(),
        incarnation: rand::random(),
        config: serde_json::to_value(&config)?,
    });
    while config.gated && !start_file(&dir).exists() {
        pause(LOOK).await;
    }
    let told = recorder.clock.tell(&started_file(&dir));
    told.context("failed to say that it has begun")?;
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
            end_traffic(&shared, &mut traffic).await?;
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

/// True when what is recorded is judged as it comes. A process that is started again behind the end of the traffic has
/// records of the final phase before it.
fn judges(config: &Config) -> bool {
    config.judged && !stop_file(&config.dir).exists()
}

/// Waits for every open operation and says that the traffic is over. Who is told so begins the final phase.
async fn end_traffic(shared: &Shared, traffic: &mut JoinSet<()>) -> anyhow::Result<()> {
    while let Some(end) = traffic.join_next().await {
        end.context("a client panicked")?;
    }
    // The final phase is another process, which writes to keys of the run.
    shared.recorder.end_judging();
    let told = shared
        .recorder
        .clock
        .tell(&stopped_file(&shared.config.dir));
    told.context("failed to say that it is over")
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
                begin: Begin::Continued,
            };
            tasks.spawn(watcher.run(Arc::clone(shared)));
        }
    }
    for watcher in further_watchers(config) {
        tasks.spawn(watcher.run(Arc::clone(shared)));
    }
    for member in &config.members {
        tasks.spawn(samples::run(Arc::clone(shared), member.clone()));
    }
    tasks
}

/// Watchers of each member that do not continue where the last stream ended.
fn further_watchers(config: &Config) -> Vec<Watcher> {
    let rates = &config.rates;
    let future = (rates.future > 0).then_some((FUTURE_WATCHERS, Begin::Ahead(rates.future)));
    let negative = [
        (PAST_WATCHERS, Begin::Past),
        (NEGATIVE_WATCHERS, Begin::Negative),
    ];
    let negative = negative.into_iter().filter(|_| rates.negative);
    let compacted = rates.compacts_deletes || rates.crowd > 0;
    let compacted = compacted.then_some((COMPACTED_WATCHERS, Begin::Compacted(rates.crowd)));
    let kinds = future.into_iter().chain(negative).chain(compacted);
    let each = kinds.flat_map(|(first, begin)| {
        let members = (first..).zip(&config.members);
        members.map(move |(number, member)| Watcher {
            number,
            target: member.pod.clone(),
            address: member.address.clone(),
            begin,
        })
    });
    each.collect()
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
    for number in 0..rates.keepers {
        tasks.spawn(clients::keep(Arc::clone(shared), number));
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
    // It leaves a key with each write, and each compaction would take longer than the one before.
    if rates.lone_deletes == 0 && !rates.compacts_deletes {
        tasks.spawn(dial_all::run(Arc::clone(shared)));
    }
    tasks
}

/// The line a second.
async fn progress(shared: Arc<Shared>) {
    let Some(schedule) = Schedule::new(Instant::now(), 1.0) else {
        return;
    };
    let mut told = false;
    for second in 1.. {
        until(schedule.at(second)).await;
        if let Some(said) = shared.recorder.progress.said().get()
            && !std::mem::replace(&mut told, true)
        {
            let _ = writeln!(std::io::stdout(), "{said}");
        }
        // No process reads it any more: no reason to stop recording.
        let _ = writeln!(
            std::io::stdout(),
            "{}",
            shared.recorder.progress.line(second)
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A run that is judged, with its history in this folder.
    fn shared(dir: &Path) -> Shared {
        let member = json!({"pod": "a-0", "address": "127.0.0.1:1"});
        let config = json!({"seed": 1, "members": [member], "dir": dir, "judged": true});
        let config = Config::parse(&config.to_string()).unwrap();
        let recorder = Recorder::open(&config.history(), judges(&config)).unwrap();
        let [reach, admin] = Reach::both(&config.access);
        let (_, stopping) = watch::channel(false);
        Shared {
            config,
            recorder,
            reach,
            admin,
            stopping,
        }
    }

    #[tokio::test]
    async fn the_judge_ends_behind_the_last_operation_and_before_the_final_phase() {
        let dir = tempfile::tempdir().unwrap();
        let run = Arc::new(shared(dir.path()));
        let mut traffic = JoinSet::new();
        let last = Arc::clone(&run);
        traffic.spawn(async move {
            pause(LOOK).await;
            assert!(last.recorder.judged(), "its answer is judged");
        });
        end_traffic(&run, &mut traffic).await.unwrap();
        assert!(!run.recorder.judged());
        assert!(stopped_file(dir.path()).exists());

        // No one can be told here that it is over: the judge has ended before.
        let mut untold = shared(dir.path());
        assert!(untold.recorder.judged());
        untold.config.dir = dir.path().join("nowhere");
        let error = end_traffic(&untold, &mut JoinSet::new()).await.unwrap_err();
        assert!(error.to_string().contains("failed to say"), "{error}");
        assert!(!untold.recorder.judged());
    }

    #[test]
    fn watches_before_all_revisions_have_watches_of_the_past_beside_them() {
        let member = |name: &str| json!({"pod": name, "address": "127.0.0.1:1"});
        let of = |rates: serde_json::Value| {
            let members = [member("a-0"), member("a-1")];
            let config = json!({"seed": 1, "members": members, "rates": rates});
            let watchers = further_watchers(&Config::parse(&config.to_string()).unwrap());
            let told = watchers.into_iter();
            told.map(|watcher| (watcher.number, watcher.target, watcher.begin))
                .collect::<Vec<_>>()
        };
        assert!(of(json!({})).is_empty());
        let future = of(json!({"future": 50}));
        assert_eq!(future[1], (501, "a-1".to_owned(), Begin::Ahead(50)));
        let compacted = of(json!({"compacts_deletes": true}));
        assert_eq!(compacted[0], (800, "a-0".to_owned(), Begin::Compacted(0)));
        let crowded = of(json!({"crowd": 399}));
        assert_eq!(crowded[1], (801, "a-1".to_owned(), Begin::Compacted(399)));
        let negative = of(json!({"negative": true}));
        let begins: Vec<Begin> = negative.iter().map(|(.., begin)| *begin).collect();
        let (past, before) = (Begin::Past, Begin::Negative);
        assert_eq!(begins, [past, past, before, before]);
        let mut numbers: Vec<u32> = negative.iter().map(|(number, ..)| *number).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), 4, "each is another watcher");
    }

    #[test]
    fn a_process_that_is_started_again_in_the_final_phase_does_not_judge() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = shared(dir.path()).config;
        assert!(judges(&config));
        std::fs::write(stop_file(dir.path()), b"").unwrap();
        assert!(!judges(&config));
        std::fs::remove_file(stop_file(dir.path())).unwrap();
        config.judged = false;
        assert!(!judges(&config));
    }
}
