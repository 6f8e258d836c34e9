//! The request that a run ends early: it stops waiting, heals what it has injected and saves what there is. The second
//! signal ends the process at once; timers on the nodes heal what is left then.

use std::sync::{Arc, mpsc};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::scenario::RunError;

/// Exit code of a run that was interrupted, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Name of the only verdict of an interrupted run.
pub(super) const CHECK: &str = "interrupted";

/// Whether the run is to end early.
#[derive(Clone, Debug)]
pub struct Interrupt {
    sender: Arc<watch::Sender<bool>>,
}

impl Interrupt {
    /// Never.
    pub fn never() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(false)),
        }
    }

    /// SIGINT and SIGTERM do, for the rest of this process.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn by_signal() -> std::io::Result<Self> {
        let interrupt = Self::never();
        let sender = Arc::clone(&interrupt.sender);
        // A thread of its own outlives the runtimes of single runs, and may be started from within one.
        let (listening, begun) = mpsc::channel();
        let listen = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(listen(&sender, &listening)),
                // Without a receiver there is no caller that could use it.
                Err(error) => drop(listening.send(Err(error))),
            }
        };
        std::thread::Builder::new().spawn(listen)?;
        begun.recv().map_err(std::io::Error::other)??;
        Ok(interrupt)
    }

    /// Asks for it, as a signal does.
    pub(crate) fn ask(&self) {
        self.sender.send_replace(true);
    }

    /// True from the first signal on.
    pub fn is_asked(&self) -> bool {
        *self.sender.borrow()
    }

    /// The result of the work, unless the interrupt comes first: then the work is dropped where it is.
    ///
    /// # Errors
    /// [`RunError::Interrupted`].
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, RunError> {
        let mut asked = self.sender.subscribe();
        let asked = async {
            let _ = asked.wait_for(|asked| *asked).await;
        };
        tokio::select! {
            biased;
            () = asked => Err(RunError::Interrupted),
            done = work => Ok(done),
        }
    }
}

/// Says over `listening` whether it listens, then sets `asked` at the first signal; the second one ends the process.
async fn listen(asked: &watch::Sender<bool>, listening: &mpsc::Sender<std::io::Result<()>>) {
    let signals =
        signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    let (mut int, mut term) = match signals {
        Ok(signals) => signals,
        Err(error) => return drop(listening.send(Err(error))),
    };
    drop(listening.send(Ok(())));
    loop {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        if asked.send_replace(true) {
            std::process::exit(i32::from(EXIT_CODE));
        }
        eprintln!("interrupted: healing and saving; once more ends it at once");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait::pause;

    #[tokio::test]
    async fn signals_are_listened_to_from_within_a_runtime_too() {
        let interrupt = Interrupt::by_signal().expect("signals");
        assert!(!interrupt.is_asked());
    }

    #[tokio::test]
    async fn work_is_left_when_it_is_asked_for() {
        let interrupt = Interrupt::never();
        assert_eq!(interrupt.or(async { 7 }).await.expect("done"), 7);
        let long = interrupt.or(pause(Duration::from_secs(600)));
        let ask = async {
            pause(Duration::from_millis(10)).await;
            interrupt.ask();
        };
        let (left, ()) = tokio::join!(long, ask);
        assert!(matches!(left, Err(RunError::Interrupted)));
        assert!(interrupt.is_asked());
        let next = interrupt.or(async { 7 }).await;
        assert!(next.is_err(), "nothing more is begun");
    }
}
