//! How far a backup is: noted by what makes it, served to the operator as JSON.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http_limits::Limits;
use kbagent_protocol::{BackupProgress, BackupStage, PATH_PROGRESS};
use tokio::sync::watch::Sender;

use crate::error::Error;

/// How far a backup is; its clones are one.
#[derive(Clone, Debug, Default)]
pub struct Progress(Sender<BackupProgress>);

impl Progress {
    /// So many bytes of the snapshot were sent, and so many are to come.
    pub fn sent(&self, bytes: u64, remaining: u64) {
        self.0.send_replace(BackupProgress {
            stage: BackupStage::Writing,
            written: bytes,
            total: Some(bytes.saturating_add(remaining)),
        });
    }

    /// All of it was sent, and it is compared.
    pub fn verifying(&self) {
        let noted = |progress: &mut BackupProgress| progress.stage = BackupStage::Verifying;
        self.0.send_modify(noted);
    }

    /// How far it is.
    #[must_use]
    pub fn now(&self) -> BackupProgress {
        *self.0.borrow()
    }
}

/// Serves until it is dropped.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve(port: u16, progress: Progress) -> Result<std::convert::Infallible, Error> {
    let router = Router::new()
        .route(PATH_PROGRESS, get(json))
        .with_state(progress);
    listen(port, router).await
}

async fn json(State(progress): State<Progress>) -> Json<BackupProgress> {
    Json(progress.now())
}

/// Serves routes on a port of the pod.
pub(crate) async fn listen(port: u16, router: Router) -> Result<std::convert::Infallible, Error> {
    let listener = http_limits::listen(([0, 0, 0, 0], port).into());
    let listener =
        listener.map_err(|error| Error::Settings(format!("port {port} cannot be had: {error}")))?;
    Ok(http_limits::serve(listener, router, Limits::default()).await)
}
