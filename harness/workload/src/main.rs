//! The recording client: runs in a pod of the cluster under test, travels the users' route and writes down what it saw.
//!
//! One process for all clients, so that there is one clock. It judges nothing: what it writes is checked elsewhere, by
//! code that sees only the history. It never retries a request that may have left.

mod again;
mod ask;
mod attempt;
mod break_in;
mod bucket;
mod classify;
mod clients;
mod clock;
mod config;
mod connection;
mod dial;
mod dial_all;
mod disk;
mod execute;
mod failpoints;
mod finish;
mod judge;
mod locks;
mod login;
mod mix;
mod names;
mod objects;
#[cfg(target_os = "linux")]
mod packets;
mod progress;
mod proxy;
mod reach;
mod recorder;
mod run;
mod samples;
mod schedule;
mod successor;
#[cfg(test)]
mod test_support;
mod throughput;
mod tls;
#[cfg(target_os = "linux")]
mod vdso;
mod watchers;
mod writers;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{clock::Told, config::Config};

/// Longest wait for a gated `run` to see that it may begin.
const STARTS: Duration = Duration::from_secs(10);

/// The recording client of the harness.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Stands between a member that is a plain container and its disk.
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Disk(disk_faults::Command),
    #[command(flatten)]
    Client(Command),
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends and records until the stop file appears, then keeps watching.
    Run {
        /// The configuration, one JSON document.
        #[arg(long, env = "WORKLOAD_CONFIG")]
        config: String,
    },
    /// Lets a gated `run` begin; prints its clock, and for how long this command waited for it, in nanoseconds.
    Start {
        #[command(flatten)]
        place: Place,
    },
    /// Ends the traffic and waits until no operation is open; prints as `start` does.
    Stop {
        #[command(flatten)]
        place: Place,
        /// Longest wait in seconds.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Writes the tombstone and reads what every member has; prints what it found as JSON.
    Final {
        #[command(flatten)]
        place: Place,
        /// Longest time in seconds.
        #[arg(long, default_value_t = 100)]
        seconds: u64,
        /// A member that is read, as `POD=HOST:PORT`; those of the beginning when none is given.
        #[arg(long = "member", value_parser = member)]
        members: Vec<config::Member>,
    },
    /// Prints the status of members and their list, as JSON.
    State {
        #[command(flatten)]
        place: Place,
        /// A member that is asked, as `POD=HOST:PORT`.
        #[arg(long = "member", value_parser = member)]
        members: Vec<config::Member>,
    },
    /// Prints the member list, as a line of JSON, a few times a second until it is ended, or run again.
    Lists {
        #[command(flatten)]
        place: Place,
        /// A member that is asked, as `POD=HOST:PORT`.
        #[arg(long = "member", value_parser = member)]
        members: Vec<config::Member>,
    },
    /// Prints the CA and certificate that are mounted, and those that members show, as JSON.
    Certificates {
        #[command(flatten)]
        place: Place,
        /// A member that is asked, as `POD=HOST:PORT`.
        #[arg(long = "member", value_parser = member)]
        members: Vec<config::Member>,
    },
    /// Writes as fast as it is answered; prints how many writes that were and how long they took, as JSON.
    Throughput {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        amount: throughput::Amount,
    },
    /// Tries to get in, and prints whether it was let in and what it was told, as JSON.
    BreakIn {
        #[command(flatten)]
        attempt: break_in::Attempt,
    },
    #[command(flatten)]
    Plain(dial::Command),
    /// Asks for the addresses of `host:port` and prints them.
    Lookup {
        /// What to ask for.
        address: String,
    },
    /// Carries what members that are plain containers send each other, by rules that can be changed.
    Proxy {
        /// The members, one JSON document.
        #[arg(long, env = "PROXY_CONFIG")]
        config: String,
        #[command(flatten)]
        place: Place,
    },
    /// Sets rules of the proxy in this container; prints what its links have done.
    Rules {
        #[command(flatten)]
        place: Place,
        /// The rules, one JSON document; asks only when not given.
        #[arg(long, default_value = r#"{"set":[]}"#)]
        set: String,
    },
    /// Serves a folder as an S3 bucket, by TLS.
    Bucket {
        #[command(flatten)]
        bucket: bucket::Bucket,
    },
    /// Limits what another container of this host writes to its disk; prints its limits.
    Throttle {
        #[command(flatten)]
        order: disk::Order,
    },
    /// Failpoints of the etcd in this container, if it was built with some.
    #[command(subcommand)]
    Failpoint(failpoints::Command),
    /// Harms packets between this network namespace and others, by a queue of the kernel.
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Packets(packets::Command),
    /// Lets a process see another time than the machine.
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Clock(vdso::Command),
    /// Prints the history.
    Dump {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Folder of the history.
    #[arg(long, env = "WORKLOAD_DIR", default_value = "/history")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let end = match Cli::parse().part {
        // Before a runtime has threads.
        #[cfg(target_os = "linux")]
        Part::Disk(command) => command.start(),
        Part::Client(command) => start(command).map(|()| ExitCode::SUCCESS),
    };
    match end {
        Ok(code) => code,
        Err(error) => {
            eprintln!("workload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    match command {
        Command::Run { config } => {
            runtime.block_on(until_terminated(run::run(Config::parse(&config)?)))
        }
        Command::Start { place } => told(runtime.block_on(begin(&place))?),
        Command::Stop { place, seconds } => {
            told(runtime.block_on(stop(&place, Duration::from_secs(seconds)))?)
        }
        Command::Final {
            place,
            seconds,
            members,
        } => {
            let limit = Duration::from_secs(seconds);
            let summary = runtime.block_on(finish::run(&place.dir, members, limit))?;
            println!("{}", serde_json::to_string(&summary)?);
            Ok(())
        }
        Command::State { place, members } => {
            told(runtime.block_on(ask::state(&place.dir, &members))?)
        }
        Command::Lists { place, members } => {
            let ended = runtime.block_on(ask::lists(&place.dir, members));
            // Not waited for: a write that nothing reads has no end.
            runtime.shutdown_background();
            ended
        }
        Command::Certificates { place, members } => {
            told(runtime.block_on(ask::certificates(&place.dir, &members))?)
        }
        Command::Throughput { place, amount } => {
            told(runtime.block_on(throughput::run(&place.dir, amount))?)
        }
        Command::BreakIn { attempt } => {
            println!("{}", runtime.block_on(break_in::run(&attempt)));
            Ok(())
        }
        Command::Plain(command) => runtime.block_on(until_terminated(command.run())),
        Command::Lookup { address } => runtime.block_on(lookup(&address)),
        Command::Proxy { config, place } => {
            runtime.block_on(until_terminated(proxy::run(&config, &place.dir)))
        }
        Command::Rules { place, set } => told(runtime.block_on(proxy::ask(&place.dir, &set))?),
        Command::Bucket { bucket } => runtime.block_on(until_terminated(bucket::run(&bucket))),
        Command::Throttle { order } => {
            println!("{}", disk::limit(&order)?.trim());
            Ok(())
        }
        Command::Failpoint(command) => told(command.run()?),
        #[cfg(target_os = "linux")]
        Command::Packets(command) => command.run(&runtime, terminated()),
        #[cfg(target_os = "linux")]
        Command::Clock(command) => command.run(&runtime, terminated()),
        Command::Dump { place } => dump(&place),
    }
}

fn told(text: impl std::fmt::Display) -> anyhow::Result<()> {
    println!("{text}");
    Ok(())
}

async fn begin(place: &Place) -> anyhow::Result<Told> {
    std::fs::write(run::start_file(&place.dir), b"").context("failed to write the start file")?;
    let begun = clock::told(&run::started_file(&place.dir), STARTS).await;
    begun.context("failed to see the traffic begin")
}

async fn lookup(address: &str) -> anyhow::Result<()> {
    let found = tokio::net::lookup_host(address).await;
    for found in found.context("failed to resolve it")? {
        println!("{found}");
    }
    Ok(())
}

fn member(text: &str) -> Result<config::Member, String> {
    let (pod, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not POD=HOST:PORT"))?;
    Ok(config::Member {
        pod: pod.to_owned(),
        address: address.to_owned(),
    })
}

/// Runs this until it ends or the process is asked to.
async fn until_terminated(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        end = run => end,
        end = terminated() => end,
    }
}

/// A process that is PID 1 of its container has no default for SIGTERM.
async fn terminated() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signal = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    signal.recv().await;
    Ok(())
}

async fn stop(place: &Place, limit: Duration) -> anyhow::Result<Told> {
    std::fs::write(run::stop_file(&place.dir), b"").context("failed to write the stop file")?;
    let ended = clock::told(&run::stopped_file(&place.dir), limit).await;
    ended.context("failed to see the traffic end")
}

fn dump(place: &Place) -> anyhow::Result<()> {
    let path = place.dir.join("history.jsonl");
    let mut file =
        std::fs::File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut out = io::stdout().lock();
    let length = io::copy(&mut file, &mut out).context("failed to print the history")?;
    // Who reads it knows by this that nothing was cut off.
    writeln!(out, "end {length}").context("failed to print the history")?;
    out.flush().context("failed to print the history")
}
