//! The commands, which are part of another program: it calls them `disk`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::supervise::{Options, run};
use crate::{enter, orders};

/// What a supervisor does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a program and looks after its files.
    Run(Run),
    /// Used by `run`: becomes the program.
    #[command(hide = true)]
    Enter {
        /// Its reads are announced, too.
        #[arg(long)]
        reads: bool,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Gives an order to a supervisor; prints its report.
    Order {
        /// Where it is given.
        #[command(flatten)]
        place: Place,
        /// The order, one JSON document.
        order: String,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    place: Place,
    /// The folder whose files are looked after.
    #[arg(long)]
    folder: PathBuf,
    /// A file with an order that is obeyed before the program begins; there may be none.
    #[arg(long)]
    first: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Where orders are given.
#[derive(Debug, Args)]
pub struct Place {
    /// Name of the supervisor's socket.
    #[arg(long, default_value = "disk-faults")]
    name: String,
}

impl Command {
    /// Does it. Before any other thread is there: `enter` filters its own alone.
    ///
    /// # Errors
    /// The step that failed.
    pub fn start(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Run(of) => {
                let options = Options {
                    folder: &of.folder,
                    name: &of.place.name,
                    first: of.first.as_deref(),
                };
                run(&options, &of.command).map(ExitCode::from)
            }
            Command::Enter { reads, command } => {
                enter::enter(&command, reads).map(|()| ExitCode::SUCCESS)
            }
            Command::Order { place, order } => {
                let report = orders::ask(&place.name, &order)?;
                println!("{}", serde_json::to_string(&report)?);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
