//! The members at one time, as scenarios wait for them.

use futures::future::try_join_all;

use crate::bare::cluster::BareCluster;
use crate::scenario::event::Moment;

/// What etcd logs when it has taken a leader's snapshot in place of its store, in every version from 3.4 on.
const APPLIED: &str = "\"applied snapshot\"";

impl BareCluster {
    /// The members now; snapshots are counted in their logs, which takes longer, and only when asked for.
    ///
    /// # Errors
    /// Why no member tells, in words.
    pub(crate) async fn moment(&self, snapshots: bool) -> Result<Moment, String> {
        let status = self.look().await?;
        Ok(Moment {
            leader: status.leader().map(str::to_owned),
            revision: status.revision(),
            behind: status.behind(),
            snapshots: if snapshots {
                self.snapshots().await?
            } else {
                0
            },
        })
    }

    /// Snapshots that members have got from a leader, by their logs.
    async fn snapshots(&self) -> Result<usize, String> {
        let names = self.layout().names();
        let logs = try_join_all(names.iter().map(|name| self.whole_log(name))).await;
        let logs = logs.map_err(|error| error.to_string())?;
        Ok(logs.iter().map(|log| log.matches(APPLIED).count()).sum())
    }
}
