//! What is there after a power loss, what a failing disk does, and that a supervisor is not in the way otherwise.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use disk_faults::{Kept, Order, Report};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

use crate::program::{BELOW, TURNS};

/// Bytes of a line of the program's log.
const LINE: u64 = 16;
/// The file with the first order, in the folder where the supervisor runs: most tests have none.
const FIRST: &str = "first";
/// Only against hanging.
const GUARD: Duration = Duration::from_secs(60);

pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::from_args();
    let lack = lack().err();
    if let Some(reason) = &lack {
        eprintln!("ignored: {reason}");
    }
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, test).with_ignored_flag(lack.is_some())
    };
    let trials = vec![
        trial("what_was_synced_survives_a_power_loss", synced_survives),
        trial("what_was_never_synced_does_not", never_synced_is_lost),
        trial("an_emptied_file_has_its_content_again", emptied_comes_back),
        trial("what_was_written_before_it_stood_still_stays", stands_still),
        trial("a_refused_sync_is_eio_and_its_write_is_lost", refused_sync),
        trial("one_refused_write_is_eio", refused_write),
        trial("a_disk_that_was_healed_refuses_nothing", healed),
        trial("a_full_disk_is_enospc_and_loses_nothing", full_disk),
        trial("a_disk_with_space_again_takes_blocks", space_again),
        trial("what_cannot_be_read_at_the_start_is_eio", unreadable),
        trial("a_healed_start_reads_all", readable_again),
        trial("the_exit_is_that_of_the_program", exits_alike),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Why nothing can be looked after here.
fn lack() -> Result<(), String> {
    let mut supervised = Supervised::with_turns("lack", "l")?;
    supervised.tells(0)?;
    supervised.order(Order::Tell).map(drop)
}

/// A program behind a supervisor, in a folder of its own; both end with the test.
struct Supervised {
    folder: TempDir,
    name: String,
    supervisor: Child,
    out: BufReader<ChildStdout>,
    errors: ChildStderr,
    /// The last number that was told.
    last: Option<u64>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The program ends when its output has no reader, or at its next call that is announced.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn own() -> Command {
    let own = std::env::current_exe().unwrap_or_default();
    Command::new(own)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Supervised {
    /// A program that takes turns, with its first ones.
    fn with_turns(test: &str, turns: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(words)?;
        fs::write(folder.path().join(TURNS), turns).map_err(words)?;
        Self::start_in(folder, test, "turns")
    }

    fn start(test: &str, program: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(words)?;
        Self::start_in(folder, test, program)
    }

    /// A program that takes these turns, and an order that is there before it begins.
    fn with_first(test: &str, turns: &str, order: &Order) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(words)?;
        let below = folder.path().join(BELOW);
        fs::create_dir(below.parent().ok_or("no folder")?).map_err(words)?;
        fs::write(below, b"below").map_err(words)?;
        fs::write(folder.path().join(TURNS), turns).map_err(words)?;
        let order = serde_json::to_string(order).map_err(words)?;
        fs::write(folder.path().join(FIRST), order).map_err(words)?;
        Self::start_in(folder, test, "turns")
    }

    fn start_in(folder: TempDir, test: &str, program: &str) -> Result<Self, String> {
        fs::write(folder.path().join("old"), b"before").map_err(words)?;
        let name = format!("disk-faults-{}-{test}", std::process::id());
        let path = folder.path().canonicalize().map_err(words)?;
        let own_path = std::env::current_exe().map_err(words)?;
        let mut supervisor = own()
            .args(["disk", "run", "--name", &name, "--folder"])
            .arg(&path)
            .args(["--first", FIRST, "--"])
            .arg(own_path)
            .args(["program", program])
            .current_dir(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(words)?;
        let out = supervisor.stdout.take().ok_or("no output")?;
        let errors = supervisor.stderr.take().ok_or("no errors")?;
        Ok(Self {
            folder,
            name,
            supervisor,
            out: BufReader::new(out),
            errors,
            last: None,
        })
    }

    /// More turns for the program.
    fn give(&self, turns: &str) -> Result<(), String> {
        let path = self.folder.path().join(TURNS);
        let mut file = OpenOptions::new().append(true).open(path).map_err(words)?;
        file.write_all(turns.as_bytes()).map_err(words)
    }

    /// The next number that the program tells.
    fn told(&mut self) -> Result<u64, String> {
        let mut line = String::new();
        self.out.read_line(&mut line).map_err(words)?;
        let number = line.trim().parse();
        let number = number.map_err(|error| format!("{line:?}: {error}"))?;
        self.last = Some(number);
        Ok(number)
    }

    fn tells(&mut self, number: u64) -> Result<(), String> {
        while self.told()? < number {}
        Ok(())
    }

    fn order(&self, order: Order) -> Result<Report, String> {
        let order = serde_json::to_string(&order).map_err(words)?;
        let output = own()
            .args(["disk", "order", "--name", &self.name, &order])
            .output();
        let output = output.map_err(words)?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(words)
    }

    /// Lets a program that waits for its turn stand still, and gives it these: its log, which does not grow.
    fn still(&self, turns: &str) -> Result<Vec<u8>, String> {
        self.order(Order::StandStill)?;
        let log = self.file("log")?;
        self.give(turns)?;
        // Time to write in, if it could.
        sleep(Duration::from_millis(100));
        check(self.file("log")? == log, "it wrote on")?;
        Ok(log)
    }

    /// The power goes when a sync has been held, however late that is.
    fn lose_power(&self, kept: Kept) -> Result<Report, String> {
        self.order(Order::LosePower {
            kept,
            wait_ms: 60_000,
            hold_ms: 20,
        })
    }

    /// Ends a supervisor whose power is gone; the last number that the program has told.
    fn last_told(&mut self) -> Result<u64, String> {
        self.supervisor.kill().map_err(words)?;
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).map_err(words)?;
        match rest.lines().last() {
            Some(last) => last.parse().map_err(words),
            None => self.last.ok_or_else(|| "nothing was told".to_owned()),
        }
    }

    /// Waits for its end; exit code, and what was said.
    fn ends(&mut self) -> Result<(Option<i32>, String), String> {
        let begun = Instant::now();
        while self.supervisor.try_wait().map_err(words)?.is_none() {
            if begun.elapsed() > GUARD {
                return Err("it did not end".to_owned());
            }
            sleep(Duration::from_millis(5));
        }
        let status = self.supervisor.wait().map_err(words)?;
        let mut said = String::new();
        self.errors.read_to_string(&mut said).map_err(words)?;
        Ok((status.code(), said))
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        fs::read(self.folder.path().join(name)).map_err(words)
    }
}

/// Lines of a log from its first on; what follows must be zeros.
fn lines(log: &[u8]) -> Result<u64, String> {
    let mut lines = 0_u64;
    let mut rest = log;
    while let Some(after) = rest.strip_prefix(format!("{lines:015}\n").as_bytes()) {
        (rest, lines) = (after, lines + 1);
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(format!("something else follows {lines} lines"));
    }
    Ok(lines)
}

fn check(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn synced_survives() -> Result<(), Failed> {
    let mut supervised = Supervised::start("synced", "log")?;
    supervised.tells(40)?;
    let report = supervised.lose_power(Kept::Nothing)?;
    let last = supervised.last_told()?;
    let log = supervised.file("log")?;
    check(log.len() == 1 << 20, format!("{} bytes", log.len()))?;
    // One more may have been synced and not been told.
    let lines = lines(&log)?;
    check(
        lines == last + 1 || lines == last + 2,
        format!("{lines} lines, told up to {last}"),
    )?;
    check(
        report.undone() == LINE && report.held > 0,
        format!("{report:?}"),
    )?;
    check(report.lost[0].file == "log", format!("{report:?}"))?;
    check(report.untracked.is_none(), format!("{report:?}"))?;
    Ok(())
}

fn never_synced_is_lost() -> Result<(), Failed> {
    let mut supervised = Supervised::with_turns("never", &"l".repeat(21))?;
    supervised.tells(20)?;
    let report = supervised.order(Order::LosePower {
        kept: Kept::Nothing,
        wait_ms: 50,
        hold_ms: 0,
    })?;
    check(supervised.file("log")?.is_empty(), "something was kept")?;
    check(
        report.undone() == 21 * LINE && report.held == 0,
        format!("{report:?}"),
    )?;
    Ok(())
}

fn emptied_comes_back() -> Result<(), Failed> {
    let mut supervised = Supervised::start("emptied", "empty_and_log")?;
    supervised.tells(10)?;
    check(supervised.file("old")? == b"emptied", "it was not emptied")?;
    let report = supervised.lose_power(Kept::Nothing)?;
    check(report.held == 1, format!("{report:?}"))?;
    check(supervised.file("old")? == b"before", "it is not as it was")?;
    let last = supervised.last_told()?;
    // What was synced of the other file is there, and what was not is not.
    let lines = lines(&supervised.file("log")?)?;
    check(
        lines == last + 1 || lines == last + 2,
        format!("{lines} lines, told up to {last}"),
    )?;
    Ok(())
}

fn stands_still() -> Result<(), Failed> {
    let mut supervised = Supervised::with_turns("still", &"l".repeat(21))?;
    supervised.tells(20)?;
    let first = supervised.still("l")?;
    check(lines(&first)? == 21, "not what was told")?;
    supervised.order(Order::Heal)?;
    supervised.tells(21)?;
    // The sync comes after the line, and is held: by then the line is written.
    let second = supervised.still("ls")?;
    check(lines(&second)? == 22, "it still stands still")?;
    let report = supervised.lose_power(Kept::Nothing)?;
    check(
        report.undone() == LINE && report.held == 1,
        format!("{report:?}"),
    )?;
    check(supervised.file("log")? == second, "not as it stood still")?;
    Ok(())
}

fn refused_sync() -> Result<(), Failed> {
    let mut supervised = Supervised::start("sync", "log")?;
    supervised.tells(40)?;
    supervised.order(Order::RefuseSyncs { next: None })?;
    let (code, said) = supervised.ends()?;
    check(
        code == Some(3) && said.contains("Input/output error"),
        format!("{code:?}: {said}"),
    )?;
    let report = Report::last_in(&said).ok_or("no report")?;
    check(
        report.refused == 1 && report.undone() == LINE,
        format!("{report:?}"),
    )?;
    let last = supervised.last_told()?;
    check(
        lines(&supervised.file("log")?)? == last + 1,
        "not what was told",
    )?;
    Ok(())
}

fn refused_write() -> Result<(), Failed> {
    let mut supervised = Supervised::start("write", "log")?;
    supervised.tells(10)?;
    supervised.order(Order::RefuseWrites { next: Some(1) })?;
    let (code, said) = supervised.ends()?;
    let report = Report::last_in(&said).ok_or("no report")?;
    check(
        code == Some(3) && report.refused == 1,
        format!("{code:?}: {said}"),
    )?;
    Ok(())
}

fn healed() -> Result<(), Failed> {
    let mut supervised = Supervised::with_turns("healed", "le")?;
    supervised.tells(1)?;
    supervised.order(Order::RefuseSyncs { next: None })?;
    supervised.order(Order::Heal)?;
    supervised.give("s")?;
    supervised.tells(2)?;
    let report = supervised.order(Order::Tell)?;
    // The other file was not synced.
    check(
        report.refused == 0 && report.unsynced_pages == 1,
        format!("{report:?}"),
    )?;
    Ok(())
}

fn full_disk() -> Result<(), Failed> {
    let mut supervised = Supervised::with_turns("full", "l")?;
    supervised.tells(0)?;
    supervised.order(Order::Fill)?;
    // The next line is in the block of the first one, what follows is not.
    supervised.give("l")?;
    supervised.tells(1)?;
    supervised.give("b")?;
    let (code, said) = supervised.ends()?;
    check(
        code == Some(3) && said.contains("No space left on device"),
        format!("{code:?}: {said}"),
    )?;
    let report = Report::last_in(&said).ok_or("no report")?;
    check(
        report.no_space == 1 && report.refused == 0 && report.undone() == 0,
        format!("{report:?}"),
    )?;
    check(report.untracked.is_none(), format!("{report:?}"))?;
    let log = supervised.file("log")?;
    check(lines(&log)? == 2, "what had space is not there")?;
    Ok(())
}

fn space_again() -> Result<(), Failed> {
    let mut supervised = Supervised::with_turns("space", "l")?;
    supervised.tells(0)?;
    supervised.order(Order::Fill)?;
    supervised.order(Order::Heal)?;
    supervised.give("b")?;
    supervised.tells(1)?;
    let report = supervised.order(Order::Tell)?;
    check(report.no_space == 0, format!("{report:?}"))?;
    Ok(())
}

fn unreadable_below() -> Order {
    Order::RefuseReads {
        below: "below".to_owned(),
        ending: String::new(),
    }
}

fn unreadable() -> Result<(), Failed> {
    let order = unreadable_below();
    // Its turns are in a file that can be read.
    let mut supervised = Supervised::with_first("unreadable", "lr", &order)?;
    supervised.tells(0)?;
    let (code, said) = supervised.ends()?;
    check(
        code == Some(3) && said.contains("Input/output error"),
        format!("{code:?}: {said}"),
    )?;
    let report = Report::last_in(&said).ok_or("no report")?;
    check(
        report.unread == 1 && report.refused == 0 && report.undone() == 0,
        format!("{report:?}"),
    )?;
    Ok(())
}

fn readable_again() -> Result<(), Failed> {
    let mut supervised = Supervised::with_first("readable", "lr", &Order::Heal)?;
    supervised.tells(1)?;
    let report = supervised.order(Order::Tell)?;
    check(report.unread == 0, format!("{report:?}"))?;
    let late = supervised.order(unreadable_below());
    check(
        late.is_err_and(|why| why.contains("reads are not announced")),
        "it was not refused",
    )?;
    Ok(())
}

fn exits_alike() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let run = |name: &str, command: &[&str]| {
        let name = format!("disk-faults-{}-{name}", std::process::id());
        let mut supervisor = own();
        supervisor.args(["disk", "run", "--name", &name, "--folder"]);
        supervisor
            .arg(folder.path())
            .arg("--")
            .args(command)
            .output()
    };
    let code = run("code", &["/bin/sh", "-c", "exit 7"])?;
    check(code.status.code() == Some(7), format!("{code:?}"))?;
    let killed = run("killed", &["/bin/sh", "-c", "kill -9 $$"])?;
    check(killed.status.code() == Some(137), format!("{killed:?}"))?;
    let absent = folder.path().join("absent");
    let absent = run("absent", &[&absent.display().to_string()])?;
    let said = String::from_utf8_lossy(&absent.stderr).into_owned();
    check(
        !absent.status.success() && said.contains("failed to start"),
        said,
    )?;
    let wrong = own().args(["disk", "order", r#""explode""#]).output()?;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    check(
        !wrong.status.success() && said.contains("refuse_syncs"),
        said,
    )?;
    Ok(())
}
