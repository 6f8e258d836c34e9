//! The program that is looked after: writes in the folder where it runs, and tells a number on its standard output
//! whenever it holds something for written.

use std::fs::{self, File};
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// The file in its folder with the turns of a program that waits for them: `l` writes a line, `b` a block, `s` syncs,
/// `e` empties the file that was there before, `r` reads the one in the folder below.
pub(crate) const TURNS: &str = "turns";

/// A file in a folder below its own.
pub(crate) const BELOW: &str = "below/file";

/// What it does.
pub(crate) fn run(what: Option<&str>) -> ExitCode {
    let supervisor = parent_id();
    let done = match what {
        Some("log") => log(File::sync_data),
        Some("empty_and_log") => empty().and_then(|()| log(File::sync_all)),
        Some("turns") => turns(supervisor),
        _ => Err(io::Error::other("nothing to do")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("program: {error}");
            ExitCode::from(3)
        }
    }
}

/// Appends numbered lines for ever, each synced before it is told; every other by a write of pieces.
fn log(sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let mut log = File::create("log")?;
    log.set_len(1 << 20)?;
    log.sync_all()?;
    let mut at = 0;
    for number in 0_u64.. {
        let line = format!("{number:015}\n");
        if number % 2 == 0 {
            log.write_all_at(line.as_bytes(), at)?;
        } else {
            log.seek(SeekFrom::Start(at))?;
            let (one, other) = line.as_bytes().split_at(7);
            if log.write_vectored(&[IoSlice::new(one), IoSlice::new(other)])? < line.len() {
                return Err(io::Error::other("a part was written"));
            }
        }
        sync(&log)?;
        at += line.len() as u64;
        told(number)?;
    }
    Ok(())
}

/// Takes its turns as the test writes them, and tells the number of each when it is done: so the test knows what has
/// been written when it gives an order. Ends with its supervisor: it must not stay behind a test that has ended.
fn turns(supervisor: u32) -> io::Result<()> {
    let mut log = File::create("log")?;
    let (mut number, mut lines) = (0_u64, 0_u64);
    let mut done = 0;
    while parent_id() == supervisor {
        // Only writes and syncs are announced: no order keeps it from looking for its next turn.
        let Some(turn) = fs::read(TURNS)?.get(done).copied() else {
            sleep(Duration::from_millis(5));
            continue;
        };
        match turn {
            b'l' => {
                log.write_all(format!("{lines:015}\n").as_bytes())?;
                lines += 1;
            }
            b'b' => log.write_all(&[b'b'; 4096])?,
            b's' => log.sync_all()?,
            b'e' => empty()?,
            b'r' => fs::read(BELOW).map(drop)?,
            other => return Err(io::Error::other(format!("no turn: {other}"))),
        }
        told(number)?;
        (done, number) = (done + 1, number + 1);
    }
    Ok(())
}

/// Empties a file that was there before, and writes into it.
fn empty() -> io::Result<()> {
    File::create("old")?.write_all(b"emptied")
}

fn told(number: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{number}")?;
    out.flush()
}
