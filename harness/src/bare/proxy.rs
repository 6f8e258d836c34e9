//! The proxy between members: a container that all they send each other passes, where a run has a fault of links.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::bare::BareError;
use crate::bare::cluster::{BareCluster, Recipe};
use crate::bare::links::{Pair, Report, Rule};
use crate::bare::member::{Layout, PEER_PORT};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Where the proxy keeps its socket.
const DIR: &str = "/proxy";
/// The program of the image.
const PROGRAM: &str = "/workload";

impl BareCluster {
    /// Makes and starts the proxy, where these members have one, and waits until it carries connections.
    pub(crate) async fn make_proxy(&self, image: &str, seed: u64) -> Result<(), BareError> {
        let Some(name) = self.layout().proxy() else {
            return Ok(());
        };
        let memory = (DIR.to_owned(), "size=1m,mode=1777".to_owned());
        self.make(Recipe {
            name: &name,
            hostname: &name,
            image,
            command: vec![PROGRAM.to_owned(), "proxy".to_owned()],
            environment: vec![
                format!("PROXY_CONFIG={}", config(self.layout(), seed)),
                format!("WORKLOAD_DIR={DIR}"),
            ],
            memory: HashMap::from([memory]),
            binds: Vec::new(),
        })
        .await?;
        let what = "the proxy between the members answer";
        let answered = wait_until(what, timeouts::EFFECT, async || {
            match self.rules(&[], Rule::default()).await {
                Ok(_) => Poll::Ready(()),
                Err(error) => Poll::NotYet::<_, String>(error.to_string()),
            }
        });
        match answered.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let said = self.log(&name, "3").await;
                Err(silent(name, format!("{error}; {}", said.trim())))
            }
        }
    }

    /// Gives links a rule; returns what all links have done.
    pub(crate) async fn rules(&self, pairs: &[Pair], rule: Rule) -> Result<Report, BareError> {
        let failed = |message: String| BareError::Command {
            command: "workload rules".to_owned(),
            container: self.layout().proxy().unwrap_or_default(),
            message,
        };
        let name = self.layout().proxy();
        let name = name.ok_or_else(|| failed("these members have no proxy".to_owned()))?;
        let orders = orders(pairs, rule).to_string();
        let output = self
            .run(&name, &[PROGRAM, "rules", "--set", &orders])
            .await?;
        if !output.success() {
            return Err(failed(output.stderr.trim().to_owned()));
        }
        serde_json::from_str(&output.stdout).map_err(|error| failed(error.to_string()))
    }
}

/// The proxy does not answer. It is the harness's own, and no member.
fn silent(container: String, message: String) -> BareError {
    BareError::Command {
        command: "workload proxy".to_owned(),
        container,
        message,
    }
}

/// What the proxy is told at its start.
fn config(layout: &Layout, seed: u64) -> Value {
    let member = |(name, listen)| json!({"name": name, "listen": listen, "port": PEER_PORT});
    let members: Vec<Value> = layout.proxied_ports().into_iter().map(member).collect();
    json!({"seed": seed, "members": members})
}

fn orders(pairs: &[Pair], rule: Rule) -> Value {
    let order = |(from, to): &Pair| json!({"from": from, "to": to, "rule": rule});
    json!({"set": pairs.iter().map(order).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::blame::{Blame, Blamed as _};

    #[test]
    fn a_proxy_that_does_not_answer_is_no_failure_of_a_member() {
        let error = silent("bare-7-proxy".to_owned(), "not after 10 s".to_owned());
        assert_eq!(error.blame(), Blame::Harness);
        assert!(error.to_string().contains("bare-7-proxy"), "{error}");
    }

    #[test]
    fn every_member_is_reached_at_a_port_of_its_own() {
        let layout = Layout::new("7", 3, &[]).with_proxy(true);
        let config = config(&layout, 4);
        assert_eq!(config["seed"], 4);
        assert_eq!(
            config["members"][2],
            json!({"name": "bare-7-2", "listen": 2383, "port": 2380})
        );
    }

    #[test]
    fn orders_name_each_link() {
        let pairs = [("a".to_owned(), "b".to_owned())];
        let orders = orders(&pairs, Rule::default());
        assert_eq!(orders["set"][0]["from"], "a");
        assert_eq!(orders["set"][0]["rule"]["blocked"], false);
    }
}
