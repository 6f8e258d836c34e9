//! `harness bench throughput`: writes a second of clusters that differ in one thing.

use std::path::PathBuf;

use super::{CommandResult, Exit, TargetArgs, json};
use crate::bench::FastElection;
use crate::scenario::throughput::{self, Variant};
use crate::scenario::{Lab, Live};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The clusters, all there at the same time; the first is what the others are compared with.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "shipped,tls,users"
    )]
    of: Vec<FastElection>,
    /// Members of each.
    #[arg(long, default_value_t = 3)]
    members: u32,
    /// Clients, each with a connection of its own through the leader service.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    bytes: u32,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Where the JSON goes; beside the runs unless said otherwise.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let lab = Lab::attach(&target.choice(), Live::loud()).await?;
    let variant = |of: &FastElection| Variant {
        name: match of.suffix().trim_start_matches(", ") {
            "" => "as shipped".to_owned(),
            words => words.to_owned(),
        },
        guard: of.guard(),
        setting: of.setting(),
    };
    let variants: Vec<Variant> = args.of.iter().map(variant).collect();
    let amount = throughput::Amount {
        members: args.members,
        clients: args.clients,
        bytes: args.bytes,
        seconds: args.seconds,
        turns: args.turns,
    };
    let report = Box::pin(throughput::measure(&lab, &variants, amount)).await?;
    print!("{}", report.text());
    let lacking = report.lacking();
    for line in lacking.iter().flatten() {
        println!("{line}");
    }
    let broken = report.broken();
    if broken > 0 {
        println!("in {broken} turns a client failed: their writes a second are compared with none");
    }
    let name = format!("bench-throughput-{}-{}.json", args.members, args.clients);
    let path = args.json.unwrap_or_else(|| lab.runs.join(name));
    json::write(&path, &report)?;
    println!("{}", path.display());
    Ok(match lacking {
        None => Exit::Inconclusive,
        Some(lacking) if !lacking.is_empty() => Exit::Violation,
        Some(_) if broken > 0 => Exit::Inconclusive,
        Some(_) => Exit::Pass,
    })
}
