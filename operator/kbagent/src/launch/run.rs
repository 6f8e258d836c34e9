//! Does what was decided: waits, refuses out loud, or starts etcd and stands over it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kbagent_protocol::flags::CONFIG_FILE;
use rustix::process::Pid;
use serde::Serialize;

use super::arguments::{arguments, front, has_config_file, opens_v2};
use super::decide::{Decision, decide};
use super::demand::Gate;
use super::evidence::{self, beside, expected, identity_path, is_setting};
use super::supervise::{End, Signals, listen, supervise};
use super::{BEGUN_FILE, FORCED_FILE, FRONT_FILE, REFUSED_FILE};
use crate::config::Config;
use crate::etcd::Client;

/// Pause between two attempts while no member returns a member list.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Pause between two looks while etcd must not start.
const REFUSED_EVERY: Duration = Duration::from_secs(3);
/// Longest wait for the own DNS name (N1); older etcd resolves it once at start and gives up.
const OWN_NAME: Duration = Duration::from_secs(10);
/// Pause between two looks at the own DNS name.
const OWN_NAME_EVERY: Duration = Duration::from_millis(100);

/// Shortest time that a restarted etcd stays down: clients of the service are refused at once meanwhile, and not
/// accepted by a member that does not serve yet, until the service leads elsewhere.
const DOWN: Duration = Duration::from_millis(500);
/// Longest time that it stays down while no other member is within reach. The kubelet's liveness probe waits longer.
const DOWN_ALONE: Duration = Duration::from_secs(5);
/// Pause between two looks for another member, and the deadline of one.
const DOWN_EVERY: Duration = Duration::from_millis(100);

/// Time in which a member whose etcd has stopped for it is removed. The kubelet's liveness probe waits longer.
const DRAINED: Duration = Duration::from_secs(10);

/// Why the launcher ended without an etcd.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No program was given.
    #[error("failed to launch: no program after \"--\"")]
    NoProgram,
    /// etcd would take no flag. No refusal for the operator: for one it replaces the member, whose data is whole.
    #[error(
        "failed to launch: with --{CONFIG_FILE} etcd takes no other flag, and those that say who it is, where it joins \
         and what is encrypted would be void: write the file's settings as flags"
    )]
    ConfigFile,
    /// The marks of the start could not be written.
    #[error("failed to write {path}")]
    Mark {
        /// The file.
        path: String,
        /// The error.
        source: io::Error,
    },
    /// Signals cannot be received.
    #[error("failed to receive signals")]
    Signals(#[source] io::Error),
    /// The program could not be executed.
    #[error("failed to execute {program}")]
    Execute {
        /// The program.
        program: String,
        /// The error.
        source: io::Error,
    },
}

/// Waits until etcd may start, starts it, and stands over it until it ends; the status to end with.
///
/// # Errors
/// When etcd may start but cannot be started.
pub async fn run(config: &Config, command: &[String]) -> Result<u8, LaunchError> {
    let (program, user) = command.split_first().ok_or(LaunchError::NoProgram)?;
    if has_config_file(user) {
        return Err(LaunchError::ConfigFile);
    }
    let mut signals = Signals::new().map_err(LaunchError::Signals)?;
    let listener = match listen(&config.run_dir) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(%error, "failed to listen for the agent: a deposed etcd is not restarted");
            None
        }
    };
    let mut gate = Gate::new(Instant::now());
    let mut attended = false;
    loop {
        // Each time: a volume that was lost meanwhile must not be taken for a new one (M11).
        let decision = tokio::select! {
            decision = ready(config, program) => decision,
            _ = signals.stop() => return Ok(0),
        };
        prepare(config, &decision, user)?;
        let flags = arguments(config, &decision, user);
        tracing::info!(?flags, "etcd starts");
        let etcd = start(program, &flags)?;
        if !std::mem::replace(&mut attended, true) {
            attend(program, opens_v2(user));
        }
        match supervise(etcd, listener.as_ref(), &mut gate, &mut signals).await {
            End::Exited(status) => return Ok(status),
            End::Restart => tokio::select! {
                () = down(config) => {}
                _ = signals.stop() => return Ok(0),
            },
            End::Drained => tokio::select! {
                () = tokio::time::sleep(DRAINED) => {}
                _ = signals.stop() => return Ok(0),
            },
        }
    }
}

async fn ready(config: &Config, program: &str) -> Decision {
    let decision = settle(config, program).await;
    own_name(config).await;
    decision
}

/// Starts etcd with this process's input and outputs.
fn start(program: &str, flags: &[String]) -> Result<Pid, LaunchError> {
    let mut etcd = Command::new(program);
    etcd.args(flags);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
        etcd.env_remove(name);
    }
    let failed = |source| LaunchError::Execute {
        program: program.to_owned(),
        source,
    };
    let child = etcd.spawn().map_err(failed)?;
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    number.ok_or_else(|| failed(io::Error::other("its process has no number")))
}

/// Starts the check of the store of API v2 with the tool that lies beside etcd. The supervisor reaps it like any child.
fn attend(program: &str, open: bool) {
    let tool = Path::new(program).with_file_name("etcdutl");
    let begun = std::env::current_exe().and_then(|own| {
        let mut check = Command::new(own);
        check.arg("v2store").arg(tool).args(open.then_some("open"));
        check.stdin(Stdio::null()).spawn()
    });
    if let Err(error) = begun {
        tracing::warn!(%error, "failed to start the check of the store of API v2");
    }
}

/// Keeps etcd down until another member with a leader is within reach, within bounds.
async fn down(config: &Config) {
    let began = Instant::now();
    tokio::time::sleep(DOWN).await;
    while began.elapsed() < DOWN_ALONE && !led(config).await {
        tokio::time::sleep(DOWN_EVERY).await;
    }
    let down_ms = began.elapsed().as_millis();
    tracing::info!(down_ms, "etcd may start again");
}

/// True when another member answers and knows a leader.
async fn led(config: &Config) -> bool {
    let looks = config
        .other_client_urls()
        .into_iter()
        .filter_map(|url| Client::new(&url, &config.tls).ok())
        .map(|client| async move { client.status(DOWN_EVERY).await });
    let answers = futures::future::join_all(looks).await;
    answers.iter().flatten().any(|status| status.leader != 0)
}

/// Looks again and again until etcd may start.
async fn settle(config: &Config, program: &str) -> Decision {
    let mut told: Option<Decision> = None;
    loop {
        let decision = look(config, program).await;
        if told.as_ref() != Some(&decision) {
            tell(config, &decision);
            told = Some(decision.clone());
        }
        match decision {
            Decision::Start
            | Decision::Shorten(_)
            | Decision::Force(_)
            | Decision::Bootstrap
            | Decision::Join(_) => return decision,
            Decision::Ask => tokio::time::sleep(ASK_EVERY).await,
            Decision::Refuse(_) => tokio::time::sleep(REFUSED_EVERY).await,
        }
    }
}

async fn look(config: &Config, program: &str) -> Decision {
    let mut evidence = match evidence::local(config) {
        Ok(evidence) => evidence,
        Err(error) => {
            tracing::warn!(%error, "failed to read the volume or the run directory");
            return Decision::Ask;
        }
    };
    if evidence.wal {
        evidence.old_log = evidence::old_log(config, program).await;
    }
    let decision = decide(&evidence);
    if decision != Decision::Ask {
        return decision;
    }
    evidence.members = evidence::members(config).await;
    decide(&evidence)
}

fn tell(config: &Config, decision: &Decision) {
    let path = config.run_dir.join(REFUSED_FILE);
    let outcome = match decision {
        Decision::Refuse(refusal) => {
            tracing::error!(
                code = refusal.code,
                message = refusal.message,
                "etcd must not start"
            );
            publish(&path, refusal)
        }
        other => {
            if let Decision::Shorten(count) = other {
                tracing::warn!(
                    snapshot_count = count,
                    "the log holds requests of the API v2, which etcd 3.7 does not read: a snapshot is made behind them"
                );
            }
            tracing::info!(decision = ?other, "checked the volume and the members");
            retract(&path)
        }
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, path = %path.display(), "failed to write the launch decision for kbagent");
    }
}

/// Leaves something for the agent, whole or not at all.
pub(super) fn publish(path: &Path, told: &impl Serialize) -> io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, serde_json::to_vec(told)?)?;
    fs::rename(&partial, path)
}

pub(super) fn retract(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits, within bounds, until the own name leads to this pod.
async fn own_name(config: &Config) {
    let host = config.host_of(&config.pod_name);
    let until = Instant::now() + OWN_NAME;
    loop {
        if let Ok(addresses) = tokio::net::lookup_host((host.as_str(), config.peer_port)).await {
            let mut found = addresses.map(|address| config.is_own(address.ip()));
            // Without an address of its own, any will do.
            if found.any(|own| own.unwrap_or(true)) {
                return;
            }
        }
        if Instant::now() >= until {
            tracing::warn!(
                host,
                "own DNS name does not resolve to this pod yet; starting anyway"
            );
            return;
        }
        tokio::time::sleep(OWN_NAME_EVERY).await;
    }
}

/// Writes whose volume this is, then that etcd was begun: in this order, see [`decide`]. A forced start is on record
/// before it begins.
fn prepare(config: &Config, decision: &Decision, user: &[String]) -> Result<(), LaunchError> {
    let marked = |path: &Path| {
        let path = path.display().to_string();
        move |source| LaunchError::Mark { path, source }
    };
    let identity = identity_path(config);
    write_identity(config, &identity).map_err(marked(&identity))?;
    if let Decision::Force(mark) = decision {
        let forced = beside(config, FORCED_FILE);
        write_whole(&forced, mark.as_bytes()).map_err(marked(&forced))?;
    }
    let begun = config.run_dir.join(BEGUN_FILE);
    fs::write(&begun, "").map_err(marked(&begun))?;
    let mark = config.run_dir.join(FRONT_FILE);
    match front(config, user) {
        true => fs::write(&mark, ""),
        false => retract(&mark),
    }
    .map_err(marked(&mark))
}

fn write_identity(config: &Config, path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    write_whole(path, &serde_json::to_vec(&expected(config))?)
}

/// Writes a file that outlives a loss of power, whole or not at all.
fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::File::create(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_started_with_a_file_of_settings() {
        let run_dir = tempfile::tempdir().expect("a directory");
        let text = run_dir.path().display().to_string();
        let config = Config::from_lookup(&|name| match name {
            "KB_RUN_DIR" | "KB_DATA_DIR" => Some(text.clone()),
            "POD_NAME" | "POD_UID" | "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => {
                Some("x".to_owned())
            }
            _ => None,
        })
        .expect("config");
        for flags in [&["--config-file=/x"][..], &["-config-file", "/x"]] {
            let command: Vec<String> = [&["/bin/false"][..], flags]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect();
            let ended = tokio::time::timeout(Duration::from_secs(30), run(&config, &command)).await;
            let error = ended.expect("an end").expect_err("no start");
            assert!(matches!(error, LaunchError::ConfigFile), "{error}");
            assert!(error.to_string().contains("--config-file"), "{error}");
        }
        let left = fs::read_dir(run_dir.path()).expect("a directory").count();
        assert_eq!(left, 0, "nothing is on record");
    }
}
