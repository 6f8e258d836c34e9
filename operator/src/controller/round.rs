//! The time limit of a round: one that hangs ends, and is begun again after a pause.

use std::time::Duration;

use tokio::time::timeout;

/// Longest a round of a Cluster, Component or definition may take: some dozen calls of the API server.
pub(super) const ROUND: Duration = Duration::from_secs(30);

/// A round took too long.
#[derive(Debug, thiserror::Error)]
#[error("failed to finish in {0} s")]
pub(crate) struct Late(u64);

/// What the round comes to, within `limit`.
///
/// # Errors
/// Those of the round, or that it took too long.
pub(super) async fn within<T, E: From<Late>>(
    limit: Duration,
    round: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, round)
        .await
        .unwrap_or_else(|_| Err(Late(limit.as_secs()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_round_that_hangs_ends() {
        let hangs = within::<(), Late>(ROUND, std::future::pending()).await;
        assert_eq!(
            hangs.expect_err("late").to_string(),
            "failed to finish in 30 s"
        );
        assert_eq!(
            within::<_, Late>(ROUND, async { Ok(5) })
                .await
                .expect("in time"),
            5
        );
    }
}
