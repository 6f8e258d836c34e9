//! The command line, one file a command.

mod addresses;
mod bare;
mod bench;
mod bug;
mod check;
mod cli;
mod convert;
mod doctor;
mod down;
mod exit;
mod fault;
mod history_file;
mod json;
mod killed;
mod list;
mod logs;
mod probes;
mod report;
mod run;
mod series;
mod status;
mod suspicion;
mod target;
mod throughput;
mod up;
mod within;

pub use cli::{Cli, Command, start};
pub use exit::{CommandResult, Exit};
pub use target::TargetArgs;
