//! What a killed process leaves is removed by another one of the same program: it waits for the end of a pipe whose
//! other end only the first one holds, so that nothing can end that one without its notice.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::bare::{BareError, leftovers};
use crate::cluster::connect_docker;
use crate::deploy::owner;
use crate::scenario::Live;
use crate::timeouts;
use crate::wait::{Poll, pause, wait_until};

/// Time for a process to end after its end of the pipe has: the kernel closes files before it gives up the memory.
const DYING: Duration = Duration::from_secs(30);
/// So long nothing may appear: Docker may still make what the process had asked for.
const QUIET: Duration = Duration::from_secs(10);
/// Longest time for all looks; `harness doctor --residue --fix` and the next run find what is left then.
const LIMIT: Duration = Duration::from_secs(180);

/// The one of this process. It has the pipe, which must last as long as this process.
static STARTED: OnceLock<io::Result<Child>> = OnceLock::new();

/// Starts it with this program, once in a process; says so when that fails.
pub(crate) fn start(harness: &Path, live: &Live) {
    let _pipe = STARTED.get_or_init(|| {
        let started = command(harness, &owner::own()).spawn();
        if let Err(error) = &started {
            let program = harness.display();
            live.say(format!(
                "failed to start {program}, which removes what this process leaves if it is killed: {error}; \
                 `harness doctor --residue --fix` removes it then"
            ));
        }
        started
    });
}

/// What it is started with, as the command line has it.
pub(crate) fn arguments(owner: &str) -> [&str; 3] {
    ["bare", "remove-left", owner]
}

fn command(harness: &Path, owner: &str) -> Command {
    let mut command = Command::new(harness);
    command
        .args(arguments(owner))
        .stdin(Stdio::piped())
        // What it inherited would stay open for who reads what this process prints.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A terminal sends Ctrl-C to the group of this process.
        .process_group(0);
    command
}

/// Waits for the end of the standard input, which is that of its owner, and removes what the owner left.
///
/// # Errors
/// When the owner still runs, or it cannot be known; then nothing is removed.
pub(crate) async fn remove_left(owner: &str) -> Result<(), BareError> {
    // It may block: this process does nothing else. A pipe that cannot be read has ended, too.
    let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
    died(DYING, owner, owner::has_died).await?;
    Box::pin(until_quiet(|| remove_once(owner))).await;
    Ok(())
}

/// Waits until a process has died.
async fn died(
    limit: Duration,
    owner: &str,
    has_died: impl Fn(&str) -> bool,
) -> Result<(), BareError> {
    let ended = wait_until(format!("process {owner} end"), limit, async || {
        if has_died(owner) {
            Poll::Ready(())
        } else {
            Poll::NotYet::<_, BareError>("it runs, or nothing is known of it".to_owned())
        }
    });
    ended
        .await
        .map_err(|error| BareError::Wait(error.to_string()))
}

/// Removes all that is there of a process; false when nothing was.
async fn remove_once(owner: &str) -> Result<bool, BareError> {
    let docker = connect_docker().await?;
    leftovers::remove_of(&docker, owner).await
}

/// Removes again and again until nothing has been there for a while.
async fn until_quiet<F: Future<Output = Result<bool, BareError>>>(mut remove: impl FnMut() -> F) {
    let looks = async {
        let mut last = Instant::now();
        while last.elapsed() < QUIET {
            // Where Docker does not answer, something may be there.
            if !matches!(remove().await, Ok(false)) {
                last = Instant::now();
            }
            pause(timeouts::POLL_SLOW).await;
        }
    };
    let _over = tokio::time::timeout(LIMIT, looks).await;
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// How long the looks take when they see this, which is asked with the time since the first.
    async fn looked(seen: impl Fn(Duration) -> Result<bool, BareError>) -> Duration {
        let begin = Instant::now();
        until_quiet(async || seen(begin.elapsed())).await;
        begin.elapsed()
    }

    /// Not less, and no more than two looks more.
    fn about(took: Duration, expected: Duration) {
        assert!(took >= expected, "{took:?}");
        assert!(took < expected + 2 * timeouts::POLL_SLOW, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_appears_late_is_removed_and_then_it_ends() {
        about(looked(|_| Ok(false)).await, QUIET);
        let late = Duration::from_secs(7);
        let once = looked(|at| Ok((late..late + timeouts::POLL_SLOW).contains(&at))).await;
        about(once, late + QUIET);
        // Docker is started again meanwhile.
        let silent = looked(|at| match at < late {
            true => Err(BareError::Wait("Docker".to_owned())),
            false => Ok(false),
        });
        about(silent.await, late + QUIET - timeouts::POLL_SLOW);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_stay_where_something_always_is_or_docker_hangs() {
        about(looked(|_| Ok(true)).await, LIMIT);
        let begin = Instant::now();
        until_quiet(std::future::pending).await;
        about(begin.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_a_process_that_runs_is_removed() {
        let dying = died(DYING, "a.b.1.2.3", |_| false).await;
        let error = dying.expect_err("it runs").to_string();
        assert!(error.contains("process a.b.1.2.3 end"), "{error}");
        let begin = Instant::now();
        let ended = died(DYING, "a.b.1.2.3", |_| begin.elapsed() > DYING / 2);
        assert!(ended.await.is_ok());
    }

    #[test]
    fn it_is_started_with_what_the_command_line_takes() {
        let command = command(Path::new("harness"), "a.b.1.2.3");
        assert_eq!(command.get_program(), OsStr::new("harness"));
        let given: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(given, arguments("a.b.1.2.3").map(OsStr::new));
    }

    #[test]
    fn nothing_but_the_pipe_is_between_it_and_who_started_it() {
        let started = command(Path::new("true"), "a.b.1.2.3").spawn();
        let mut ended = started.expect("a program of every system");
        assert!(ended.stdin.is_some() && ended.stdout.is_none() && ended.stderr.is_none());
        assert!(ended.wait().is_ok());
    }
}
