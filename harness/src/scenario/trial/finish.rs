//! The end of a trial: the traffic stops, the client reads what is left, the history is fetched.

use etcd_history::History;

use super::set_up::Stage;
use super::state::TrialRun;
use crate::scenario::client::RecordingClient;
use crate::scenario::merge::merge;

impl TrialRun<'_> {
    /// Stops the traffic, lets the client read what is left, fetches the history.
    pub(super) async fn finish(&mut self, stage: Stage) -> History {
        let stopped = stage.client.stop().await;
        self.log.need("stop", stopped.as_ref());
        self.log.stopped(stopped.ok());
        // A store in which others still write has no last state.
        if !self.lab.interrupt.is_asked() && self.trial.probes.is_empty() {
            self.read_all(&stage.client).await;
        }
        stage.lines.abort();
        let client = stage.client.history().await;
        self.log.need("history", client.as_ref().map(|_| ()));
        self.outside = None;
        if let Some(addresses) = stage.addresses {
            self.log.need("addresses", addresses.end().await.as_ref());
        }
        let mut seen = stage.observer.finish(self.log.offset).await;
        let machine = self.machine.take();
        seen.extend(
            machine
                .into_iter()
                .flat_map(|log| log.finish(self.log.offset)),
        );
        merge(
            client.unwrap_or_default(),
            seen,
            std::mem::take(&mut self.log.told),
        )
    }

    /// Lets the client read what every member has at the end.
    async fn read_all(&mut self, client: &RecordingClient) {
        let summary = client.finish(&self.subject).await;
        self.log.judge_final(summary.as_ref());
    }
}
