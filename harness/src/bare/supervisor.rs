//! Orders to what stands between a member and its disk: the client's program in the member's own container.

use disk_faults::{Order, Report};

use crate::bare::cluster::BareCluster;
use crate::bare::member::{FIRST_ORDER, SUPERVISOR};
use crate::faults::{Fault, FaultError};

/// What it says of a machine without seccomp's user notification.
const UNABLE: &str = "not to be had";

impl BareCluster {
    /// Leaves an order that the supervisor of a member obeys before etcd begins the next time.
    ///
    /// # Errors
    /// Why it cannot be written there, in words.
    pub(super) async fn order_first(&self, member: &str, order: &Order) -> Result<(), String> {
        let order = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        let written = self.write_file(member, FIRST_ORDER, &order).await;
        written.map_err(|error| error.to_string())
    }

    /// Gives an order to the supervisor of a member.
    ///
    /// # Errors
    /// [`FaultError::Unavailable`] where this machine lets nothing stand there.
    pub(super) async fn order(
        &self,
        fault: &Fault,
        (member, order): (&str, Order),
    ) -> Result<Report, FaultError> {
        let failed = |reason: String| {
            if reason.contains(UNABLE) {
                return FaultError::Unavailable {
                    fault: fault.to_string(),
                    reason,
                };
            }
            FaultError::find(format!("the supervisor of {member}"), reason)
        };
        let program = [SUPERVISOR.0, SUPERVISOR.1].concat();
        let order = serde_json::to_string(&order).map_err(|error| failed(error.to_string()))?;
        let command = [program.as_str(), "disk", "order", &order];
        let output = self.run(member, &command).await;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if !output.success() {
            return Err(failed(output.stderr.trim().to_owned()));
        }
        serde_json::from_str(&output.stdout)
            .map_err(|error| failed(format!("{error}: {}", output.stdout)))
    }
}
