//! A real program behind a real filter: this executable is the supervisor, the program, and the test. Needs Linux with
//! seccomp's user notification; where there is none the tests are ignored and say so.

#[cfg(target_os = "linux")]
mod cases;
#[cfg(target_os = "linux")]
mod program;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;

    let first = std::env::args().nth(1);
    match first.as_deref() {
        Some("disk") => {
            let part = Part::parse_from(std::env::args().skip(1));
            part.command.start().unwrap_or_else(|error| {
                eprintln!("{error:#}");
                std::process::ExitCode::FAILURE
            })
        }
        Some("program") => program::run(std::env::args().nth(2).as_deref()),
        _ => cases::run(),
    }
}

/// As the program has it that this is a part of.
#[cfg(target_os = "linux")]
#[derive(clap::Parser)]
struct Part {
    #[command(subcommand)]
    command: disk_faults::Command,
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("ignored: seccomp is one of Linux");
}
