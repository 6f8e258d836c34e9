//! The recording client in a container beside the members. It is given no leader service.

use std::collections::HashMap;

use etcd_history::History;
use etcd_history::record::Nanos;
use serde_json::{Value, json};

use crate::bare::BareError;
use crate::bare::cluster::{BareCluster, Recipe};
use crate::bare::member::{Layout, address};
use crate::observe;
use crate::scenario::Load;
use crate::scenario::client::{offset, rates};

/// Where the client keeps its history.
const DIR: &str = "/history";

/// The recording client's container.
pub(crate) struct BareClient<'a> {
    cluster: &'a BareCluster,
    name: String,
}

impl<'a> BareClient<'a> {
    /// Makes and starts it; it sends nothing before [`Self::start`].
    pub(crate) async fn create(
        cluster: &'a BareCluster,
        image: &str,
        (seed, load): (u64, Load),
    ) -> Result<Self, BareError> {
        let name = cluster.layout().client();
        let config = config(cluster.layout(), seed, load);
        let memory = (DIR.to_owned(), "size=512m,mode=1777".to_owned());
        cluster
            .make(Recipe {
                name: &name,
                image,
                command: vec!["/workload".to_owned(), "run".to_owned()],
                environment: vec![
                    format!("WORKLOAD_CONFIG={config}"),
                    format!("WORKLOAD_DIR={DIR}"),
                ],
                memory: HashMap::from([memory]),
                binds: cluster.layout().client_binds(),
            })
            .await?;
        Ok(Self { cluster, name })
    }

    /// Starts the traffic; returns what must be added to this host's wall clock to get the client's.
    pub(crate) async fn start(&self) -> Result<Nanos, BareError> {
        let before = observe::now(0);
        let printed = self.run(&["start"]).await?;
        let after = observe::now(0);
        Ok(offset(
            before,
            printed.trim().parse().unwrap_or(before),
            after,
        ))
    }

    /// Ends the traffic.
    pub(crate) async fn stop(&self) -> Result<(), BareError> {
        self.run(&["stop"]).await.map(drop)
    }

    /// The final phase; returns its summary.
    pub(crate) async fn finish(&self) -> Result<Value, BareError> {
        let text = self.run(&["final", "--seconds", "25"]).await?;
        serde_json::from_str(&text)
            .map_err(|error| self.failed("final", format!("{error}: {text}")))
    }

    /// The history so far.
    pub(crate) async fn history(&self) -> Result<History, BareError> {
        let text = self.run(&["dump"]).await?;
        History::read(text.as_bytes()).map_err(|error| self.failed("dump", error.to_string()))
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, BareError> {
        let command = [&["/workload"], arguments].concat();
        let message = match self.cluster.run(&self.name, &command).await {
            Ok(output) if output.success() => return Ok(output.stdout),
            Ok(output) => output.stderr,
            // It may have ended because it does not take its configuration, which its log says.
            Err(error) => format!("{error}; {}", self.cluster.log(&self.name, "3").await),
        };
        Err(self.failed(&arguments.join(" "), message.trim().to_owned()))
    }

    fn failed(&self, command: &str, message: String) -> BareError {
        BareError::Command {
            command: format!("workload {command}"),
            container: self.name.clone(),
            message,
        }
    }
}

/// What the client is told.
fn config(layout: &Layout, seed: u64, load: Load) -> Value {
    let member = |name: &String| json!({"pod": name, "address": address(name)});
    let members: Vec<Value> = layout.names().iter().map(member).collect();
    json!({
        "seed": seed,
        "members": members,
        "gated": true,
        "held_redials_on_deadline": load.held_redials_on_deadline,
        "rates": rates(load),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_knows_all_members_and_no_service() {
        let config = config(&Layout::new("7", 3, &[]), 4, Load::default());
        assert_eq!(config["service"], Value::Null);
        assert_eq!(config["members"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            config["members"][2],
            json!({"pod": "bare-7-2", "address": "bare-7-2:2379"})
        );
    }
}
