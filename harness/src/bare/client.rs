//! The recording client in a container beside the members. It is given no leader service.

use std::collections::HashMap;

use etcd_history::History;
use serde_json::{Value, json};

use crate::bare::BareError;
use crate::bare::cluster::{BareCluster, Recipe};
use crate::bare::member::{Layout, address};
use crate::bare::users::{self, Users};
use crate::observe::{self, Reading};
use crate::scenario::Load;
use crate::scenario::client::rates;
use crate::scenario::dumped;

/// Where the client keeps its history.
const DIR: &str = "/history";

/// The recording client's container.
pub(crate) struct BareClient<'a> {
    cluster: &'a BareCluster,
    name: String,
}

impl<'a> BareClient<'a> {
    /// Makes and starts it; it sends nothing before [`Self::start`]. It logs in where members have users.
    pub(crate) async fn create(
        cluster: &'a BareCluster,
        image: &str,
        (seed, load, judged): (u64, Load, bool),
        users: Option<&Users>,
    ) -> Result<Self, BareError> {
        let name = cluster.layout().client();
        let mut config = config(cluster.layout(), seed, load);
        config["judged"] = judged.into();
        if users.is_some() {
            config["access"] = users::access();
        }
        let memory = (DIR.to_owned(), "size=512m,mode=1777".to_owned());
        cluster
            .create(Recipe {
                name: &name,
                hostname: &name,
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
        if let Some(users) = users {
            users.give(cluster).await?;
        }
        cluster.start(&name).await?;
        Ok(Self { cluster, name })
    }

    /// Starts the traffic; returns the client's clock.
    pub(crate) async fn start(&self) -> Result<Reading, BareError> {
        self.clock("start").await
    }

    /// Ends the traffic; returns the client's clock.
    pub(crate) async fn stop(&self) -> Result<Reading, BareError> {
        self.clock("stop").await
    }

    /// Runs a command that prints the client's clock.
    async fn clock(&self, command: &str) -> Result<Reading, BareError> {
        let before = observe::now(0);
        let printed = self.run(&[command]).await?;
        let reading = Reading::of(before, &printed, observe::now(0));
        reading.map_err(|message| self.failed(command, message))
    }

    /// The final phase; returns its summary.
    pub(crate) async fn finish(&self) -> Result<Value, BareError> {
        let text = self.run(&["final", "--seconds", "25"]).await?;
        serde_json::from_str(&text)
            .map_err(|error| self.failed("final", format!("{error}: {text}")))
    }

    /// The history so far.
    pub(crate) async fn history(&self) -> Result<History, BareError> {
        let printed = self.run(&["dump"]).await?;
        let text = dumped::whole(printed.as_bytes()).map_err(|cut| self.failed("dump", cut))?;
        History::read(text).map_err(|error| self.failed("dump", error.to_string()))
    }

    /// What it has found wrong while it recorded, or why it no longer looks.
    pub(crate) async fn said(&self) -> Option<String> {
        said(&self.cluster.log(&self.name, "all").await).map(str::to_owned)
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

/// The line of a client's log that is no progress.
fn said(log: &str) -> Option<&str> {
    log.lines().find(|line| line.starts_with("not "))
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
    fn what_the_client_found_stands_among_its_progress() {
        let log = "   1s    110 ops | term 2 leader bare-7-1\nnot linearizable, by what is recorded so far: op 3\n   2s    220 ops\n";
        assert_eq!(
            said(log),
            Some("not linearizable, by what is recorded so far: op 3")
        );
        assert_eq!(said("   1s    110 ops | term 2 no leader\n"), None);
    }

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
