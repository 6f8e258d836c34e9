//! What the proxy is told: the members, and the ports at which they are reached through it.

use serde::Deserialize;

/// Most members of a cluster.
const MEMBERS_MAX: usize = 9;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Seed of the jitter.
    pub(crate) seed: u64,
    /// The members.
    pub(crate) members: Vec<Member>,
}

/// One member of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Its name, which is that of its host: who connects is known by what its address is.
    pub(crate) name: String,
    /// Port at which the others reach it through the proxy.
    pub(crate) listen: u16,
    /// Its own peer port.
    pub(crate) port: u16,
}

impl Config {
    /// Parses and checks a document.
    ///
    /// # Errors
    /// The field, and what would be accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !(2..=MEMBERS_MAX).contains(&config.members.len()) {
            return Err(format!("members must be 2 to {MEMBERS_MAX}"));
        }
        for (number, member) in config.members.iter().enumerate() {
            let mut before = config.members.iter().take(number);
            if before.any(|other| other.name == member.name || other.listen == member.listen) {
                return Err(format!(
                    "members: {} has the name or the port of another",
                    member.name
                ));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_members_have_no_port_in_common() {
        let text = |port: u16| {
            format!(
                r#"{{"seed":1,"members":[{{"name":"a","listen":1,"port":2380}},
                    {{"name":"b","listen":{port},"port":2380}}]}}"#
            )
        };
        assert_eq!(Config::parse(&text(2)).unwrap().members.len(), 2);
        assert!(Config::parse(&text(1)).unwrap_err().contains("port"));
        assert!(Config::parse(r#"{"seed":1,"members":[]}"#).is_err());
        assert!(Config::parse(r#"{"seed":1,"member":[]}"#).is_err());
    }
}
