//! Whether the own member's log holds requests of the API v2, which a start of 3.7 would not read (V7). Looked at while
//! etcd of 3.6 runs: members of 3.5 beside it may still write such ones, and later ones have none.

use std::path::PathBuf;
use std::time::Duration;

use kbagent_protocol::{EtcdState, LogSeen};
use tokio::sync::watch;

use super::view::Knowledge;
use crate::wal::Reader;

/// How often what was written since is read. Pods are not replaced sooner one after another.
const EVERY: Duration = Duration::from_secs(2);
/// Versions whose members may have such a log, and do not mind.
const READS_OLD: &str = "3.6.";

/// Follows the log of the data directory, and publishes what it holds.
pub(super) async fn look(
    directory: PathBuf,
    knowledge: watch::Receiver<Knowledge>,
    found: watch::Sender<Option<LogSeen>>,
) {
    let mut reader = Reader::default();
    let mut told = String::new();
    while !found.is_closed() {
        let counts = {
            let known = knowledge.borrow();
            let version = known.status().map(|status| status.version.as_str());
            *known.etcd() == EtcdState::Running
                && version.is_some_and(|version| version.starts_with(READS_OLD))
        };
        let seen = match counts {
            true => read(&mut reader, directory.clone(), &mut told).await,
            false => {
                // Where etcd starts again it may write over what it had not finished.
                reader = Reader::default();
                None
            }
        };
        found.send_replace(seen);
        tokio::time::sleep(EVERY).await;
    }
}

async fn read(reader: &mut Reader, directory: PathBuf, told: &mut String) -> Option<LogSeen> {
    let mut own = std::mem::take(reader);
    // A volume that hangs holds this thread and nothing else.
    let work = tokio::task::spawn_blocking(move || {
        let content = own.read(&directory);
        (own, content)
    });
    let (own, content) = work.await.ok()?;
    *reader = own;
    match content {
        Ok(content) => content.map(|content| LogSeen {
            read_to: content.last,
            old_request: content.old_request,
        }),
        Err(error) => {
            // Once for each reason: it is tried again every other second.
            let error = error.to_string();
            if *told != error {
                tracing::warn!(error, "failed to read etcd's log");
                *told = error;
            }
            None
        }
    }
}
