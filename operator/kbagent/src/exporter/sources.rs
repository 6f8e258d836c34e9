//! Asks the other containers of the pod, all at once; one that fails is left out.

use std::path::Path;
use std::time::Duration;

use hyper::StatusCode;
use kbagent_protocol::{PATH_AGENT, PATH_MEMBER};
use serde::de::DeserializeOwned;

use super::exposition::{Sources, Volume};
use super::settings::Settings;
use crate::http::Call;

/// Deadline of each source: a scrape has ten seconds as a rule.
const DEADLINE: Duration = Duration::from_secs(3);

/// What the sources say now.
pub(super) async fn read(settings: &Settings) -> Sources {
    let (etcd, view, agent) = tokio::join!(
        text(&settings.etcd_metrics, "/metrics"),
        document(&settings.agent, PATH_MEMBER),
        document(&settings.agent, PATH_AGENT),
    );
    Sources {
        etcd,
        view,
        agent,
        volume: volume(&settings.volume),
    }
}

async fn text(address: &str, path: &str) -> Option<String> {
    let call = Call {
        deadline: DEADLINE,
        ..Call::get(address, path)
    };
    match call.send(String::new()).await {
        Ok((StatusCode::OK, body)) => String::from_utf8(body.into()).ok(),
        Ok((status, _)) => {
            tracing::debug!(address, path, %status, "a source answered with an error");
            None
        }
        Err(error) => {
            tracing::debug!(%error, "a source did not answer");
            None
        }
    }
}

async fn document<T: DeserializeOwned>(address: &str, path: &str) -> Option<T> {
    serde_json::from_str(&text(address, path).await?).ok()
}

fn volume(path: &Path) -> Option<Volume> {
    let found = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(Volume {
        capacity: bytes(found.f_blocks),
        available: bytes(found.f_bavail),
    })
}
