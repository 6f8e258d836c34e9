//! The program that is looked after: writes in the folder where it runs, and tells a number on its standard output
//! whenever it holds something for written.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// What it does.
pub(crate) fn run(what: Option<&str>) -> ExitCode {
    let supervisor = parent_id();
    let done = match what {
        Some("log") => log(),
        Some("never") => never(),
        Some("once") => once(supervisor),
        Some("back") => back(supervisor),
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
fn log() -> io::Result<()> {
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
        log.sync_data()?;
        at += line.len() as u64;
        told(number)?;
    }
    Ok(())
}

/// The same without a sync, slowly.
fn never() -> io::Result<()> {
    let mut log = File::create("log")?;
    for number in 0_u64.. {
        log.write_all(format!("{number:015}\n").as_bytes())?;
        told(number)?;
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Writes and syncs one file, and empties another that was there before.
fn once(supervisor: u32) -> io::Result<()> {
    let mut file = File::create("new")?;
    file.write_all(b"written")?;
    File::create("old")?.write_all(b"emptied")?;
    told(0)?;
    sleep(Duration::from_millis(300));
    file.sync_all()?;
    told(1)?;
    outlive_nothing(supervisor);
    Ok(())
}

/// Writes once without a sync and waits.
fn back(supervisor: u32) -> io::Result<()> {
    File::create("file")?.write_all(b"written back")?;
    told(0)?;
    outlive_nothing(supervisor);
    Ok(())
}

/// Waits until its supervisor is gone: it must not stay behind a test that has ended.
fn outlive_nothing(supervisor: u32) {
    while parent_id() == supervisor {
        sleep(Duration::from_millis(50));
    }
}

fn told(number: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{number}")?;
    out.flush()
}
