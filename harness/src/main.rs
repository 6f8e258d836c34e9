//! Entry point of the `harness` binary: arguments in, exit code out. All else is in [`harness::commands`].

use std::process::ExitCode;

use harness::commands::{Cli, Exit};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // clap would leave with 2, which here means "inconclusive".
            let usage = error.use_stderr();
            let _ = error.print();
            return if usage {
                Exit::Environment.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    harness::commands::start(cli).into()
}
