//! Learns of the own etcd's death before its sockets are closed: waits for the lock of the mark that etcd holds
//! ([`crate::launch::hold`]).

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::listen::listen_beside;

/// Pause between two looks for an etcd that holds the mark.
const LOOK: Duration = Duration::from_millis(100);
/// Pause after a failure: of a volume that is broken, say.
const AGAIN: Duration = Duration::from_secs(10);

/// The file that a living etcd has locked.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    /// Its etcd has died and none has locked it since.
    dead: AtomicBool,
    /// A listener beside a dead etcd is open. Of two of them the next etcd would not be the second.
    open: AtomicBool,
}

/// A listener beside an etcd that is dying.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) listener: TcpListener,
    /// To be dropped after it.
    pub(super) open: Open,
}

/// There is no other listener beside a dead etcd as long as this lives.
#[derive(Debug)]
pub(super) struct Open(Arc<Mark>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.store(false, Ordering::Release);
    }
}

impl Mark {
    pub(super) fn new(path: PathBuf) -> Self {
        let (dead, open) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { path, dead, open }
    }

    /// True from etcd's death until another one runs, as far as it is known: what still accepts is about to die.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Blocks until an etcd has locked the file, and then until it dies. The lock lasts as long as the file that is
    /// returned.
    fn death(&self) -> io::Result<File> {
        let file = loop {
            match File::options().write(true).open(&self.path) {
                Ok(file) if is_held(&file)? => break file,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => thread::sleep(LOOK),
            }
        };
        self.dead.store(false, Ordering::Release);
        loop {
            match fcntl_lock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        self.dead.store(true, Ordering::Release);
        Ok(file)
    }
}

/// True when another process has locked the file.
fn is_held(file: &File) -> io::Result<bool> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // At once: an etcd that starts now wants it.
            fcntl_lock(file, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Listens beside each etcd that dies, where it may, in a thread of its own: nothing else must be in its way.
///
/// # Errors
/// When there can be no thread.
pub(super) fn watch(
    mark: &Arc<Mark>,
    (ip, port): (Ipv4Addr, u16),
    may: impl Fn() -> bool + Send + 'static,
) -> io::Result<mpsc::Receiver<Beside>> {
    let (to, deaths) = mpsc::channel(1);
    let mark = Arc::clone(mark);
    let work = move || {
        while !to.is_closed() {
            let lock = match mark.death() {
                Ok(lock) => lock,
                Err(error) => {
                    tracing::warn!(%error, path = %mark.path.display(), "failed to wait for etcd's death");
                    thread::sleep(AGAIN);
                    continue;
                }
            };
            if !may() || mark.open.swap(true, Ordering::AcqRel) {
                continue;
            }
            let open = Open(Arc::clone(&mark));
            let listener = listen_beside(ip, port);
            // Not before: the next etcd comes after this listener.
            drop(lock);
            match listener {
                Ok(listener) => {
                    let beside = Beside { listener, open };
                    if to.blocking_send(beside).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "failed to listen beside a dying etcd"),
            }
        }
    };
    thread::Builder::new()
        .name("etcd-dies".to_owned())
        .spawn(work)?;
    Ok(deaths)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::channel;

    use super::*;
    use crate::launch;

    const MARK: &str = "KB_TEST_MARK";

    #[test]
    #[ignore = "what the test below runs in another process: a process's own locks never bar it"]
    fn another_process_holds_the_mark() {
        let mark = std::env::var_os(MARK).expect("the path of the mark");
        let sleep = ["sleep", "60"].map(str::to_owned);
        panic!("{:?}", launch::hold(Path::new(&mark), &sleep));
    }

    /// A process that is in etcd's place.
    fn etcd(mark: &Path) -> Child {
        let test = "relay::dying::tests::another_process_holds_the_mark";
        let child = Command::new("/proc/self/exe")
            .args([test, "--exact", "--ignored"])
            .env(MARK, mark)
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        let name = format!("/proc/{}/comm", child.id());
        while fs::read_to_string(&name).expect("it lives") != "sleep\n" {
            thread::sleep(Duration::from_millis(5));
        }
        child
    }

    #[test]
    fn a_death_is_known_and_forgotten_when_the_next_etcd_runs() {
        let dir = tempfile::tempdir().expect("a folder");
        let mark = Arc::new(Mark::new(dir.path().join("mark")));
        fs::write(&mark.path, "").expect("a file");
        let (to, deaths) = channel();
        let waits = Arc::clone(&mark);
        // Ends with the test's process: a wait for a lock cannot be given up.
        thread::spawn(move || while to.send(waits.death().is_ok()).is_ok() {});
        assert!(!mark.is_dead(), "nothing is known");
        for _ in 0..2 {
            let mut etcd = etcd(&mark.path);
            while mark.is_dead() {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(LOOK * 3);
            assert!(deaths.try_recv().is_err(), "it lives");
            etcd.kill().expect("killed");
            etcd.wait().expect("ended");
            assert_eq!(deaths.recv_timeout(Duration::from_secs(5)), Ok(true));
            assert!(mark.is_dead());
        }
    }
}
