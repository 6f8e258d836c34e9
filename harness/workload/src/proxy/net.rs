//! All links, by the members that they lead from and to.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::lookup_host;
use tokio::task::JoinSet;

use crate::proxy::config::{Config, Member};
use crate::proxy::link::{Link, Told};
use crate::proxy::rule::Rule;

/// Longest time until a name has an address.
const LOOKUP: Duration = Duration::from_secs(2);

/// All links between the members.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) members: Vec<Member>,
    links: Vec<Link>,
}

/// Rules for some links; the others keep theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    pub(crate) set: Vec<Order>,
}

/// A rule for one link.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) rule: Rule,
}

/// What one link has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) from: String,
    pub(crate) to: String,
    #[serde(flatten)]
    pub(crate) told: Told,
}

impl Net {
    /// Links that everything passes at once.
    pub(crate) fn new(config: &Config) -> Self {
        let count = config.members.len();
        let seed = |number: usize| config.seed.rotate_left(8) ^ number as u64;
        Self {
            members: config.members.clone(),
            links: (0..count * count)
                .map(|number| Link::new(seed(number)))
                .collect(),
        }
    }

    /// The link from one member to another, by their places.
    pub(crate) fn link(&self, from: usize, to: usize) -> &Link {
        &self.links[from * self.members.len() + to]
    }

    /// Takes all orders, or none.
    ///
    /// # Errors
    /// What cannot be done, and what would be accepted.
    pub(crate) fn take(&self, orders: &Orders) -> Result<(), String> {
        let mut found = Vec::new();
        for order in &orders.set {
            order.rule.check()?;
            let (from, to) = (self.place(&order.from)?, self.place(&order.to)?);
            if from == to {
                return Err(format!("{} has no link to itself", order.from));
            }
            found.push((self.link(from, to), order.rule));
        }
        for (link, rule) in found {
            link.set(rule);
        }
        Ok(())
    }

    /// What every link has done.
    pub(crate) fn tell(&self) -> Vec<Line> {
        let places = 0..self.members.len();
        let pairs = places
            .clone()
            .flat_map(|from| places.clone().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from != to)
            .map(|(from, to)| Line {
                from: self.members[from].name.clone(),
                to: self.members[to].name.clone(),
                told: self.link(from, to).tell(),
            })
            .collect()
    }

    /// The member that has an address now: it may get another one when it was cut off. All are asked at once, because the
    /// name of one that does not run may take a while to be none.
    pub(crate) async fn at(&self, address: SocketAddr) -> Option<usize> {
        let wanted = address.ip().to_canonical();
        let mut lookups = JoinSet::new();
        for (place, member) in self.members.iter().enumerate() {
            let name = member.name.clone();
            lookups.spawn(async move {
                let found = tokio::time::timeout(LOOKUP, lookup_host((name, 0))).await;
                let mut all = found.ok()?.ok()?;
                all.any(|one| one.ip().to_canonical() == wanted)
                    .then_some(place)
            });
        }
        while let Some(place) = lookups.join_next().await {
            if let Ok(Some(place)) = place {
                return Some(place);
            }
        }
        None
    }

    fn place(&self, name: &str) -> Result<usize, String> {
        let place = self.members.iter().position(|member| member.name == name);
        place.ok_or_else(|| {
            let all: Vec<&str> = self.members.iter().map(|m| m.name.as_str()).collect();
            format!("{name:?} is no member; there are {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net() -> Net {
        let text = r#"{"seed":1,"members":[{"name":"a","listen":1,"port":2380},{"name":"b","listen":2,"port":2380}]}"#;
        Net::new(&Config::parse(text).unwrap())
    }

    fn orders(text: &str) -> Orders {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn orders_are_taken_whole_or_not_at_all() {
        let net = net();
        let good = r#"{"from":"a","to":"b","rule":{"blocked":true}}"#;
        for bad in [
            r#"{"from":"b","to":"c","rule":{}}"#,
            r#"{"from":"b","to":"b","rule":{}}"#,
            r#"{"from":"b","to":"a","rule":{"reset_ms":1}}"#,
        ] {
            assert!(
                net.take(&orders(&format!(r#"{{"set":[{good},{bad}]}}"#)))
                    .is_err()
            );
            assert!(net.tell().iter().all(|line| !line.told.rule.blocked));
        }
        net.take(&orders(&format!(r#"{{"set":[{good}]}}"#)))
            .unwrap();
        let blocked: Vec<bool> = net
            .tell()
            .iter()
            .map(|line| line.told.rule.blocked)
            .collect();
        assert_eq!(blocked, [true, false], "one way only");
    }
}
