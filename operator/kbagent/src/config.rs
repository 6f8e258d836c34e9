//! What the pod's environment tells kbagent. Read once at the start, from a function, so that tests need no process
//! environment. docs: every variable is named here and nowhere else.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use failover_traces::COLLECTOR_VARIABLE;
use kbagent_protocol::{Authorization, Id, OPERATOR_NAME_VARIABLE, TLS_DIRECTORY_VARIABLE};

use crate::http::Opens;
use crate::tls::Tls;

/// A variable that is missing or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Needed and absent.
    #[error("failed to read the environment: {0} is not set")]
    Missing(&'static str),
    /// Present and unreadable.
    #[error("failed to read the environment: {name} is {value:?}, which is no {wanted}")]
    Unreadable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// A peer: the name of its pod and the host it is reached at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name of the pod, which is the member's name.
    pub name: String,
    /// DNS name or address.
    pub host: String,
}

/// When a follower is told to campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastElection {
    /// `false`: never.
    Off,
    /// `true`: when the leader's etcd has died.
    News,
    /// `suspicion`: also when it is silent for too long.
    Suspicion,
}

impl FastElection {
    /// Whether a death counts.
    #[must_use]
    pub fn news(self) -> bool {
        self != FastElection::Off
    }

    /// Whether silence counts.
    #[must_use]
    pub fn suspicion(self) -> bool {
        self == FastElection::Suspicion
    }
}

impl std::str::FromStr for FastElection {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "false" => Ok(FastElection::Off),
            "true" => Ok(FastElection::News),
            "suspicion" => Ok(FastElection::Suspicion),
            _ => Err(()),
        }
    }
}

/// The settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// `POD_NAME`: the member's name.
    pub pod_name: String,
    /// `POD_UID`.
    pub pod_uid: String,
    /// `POD_IP`: what the own DNS name must resolve to.
    pub pod_ip: Option<String>,
    /// `POD_IPS`: its addresses of both families, separated by commas; none from an operator of before.
    pub pod_ips: Vec<IpAddr>,
    /// `KB_CLUSTER_UID`: in the cluster token and in the identity file (B4).
    pub cluster_uid: String,
    /// `KB_HEADLESS_DOMAIN`: members are `{pod}.{this}`.
    pub headless_domain: String,
    /// `KB_LEADER_SERVICE`: DNS name of the service that leads to the leader.
    pub leader_service: Option<String>,
    /// `KB_PEERS`: the pods of the component, the own one perhaps among them.
    pub peers: Vec<Peer>,
    /// `KB_BOOTSTRAP_MEMBERS`: the frozen set of the first start (B1); absent once the cluster ID is latched.
    pub bootstrap: Option<Vec<Peer>>,
    /// `KB_JOIN_MEMBER_ID`: the learner this pod was made for.
    pub join_member_id: Option<Id>,
    /// `KB_FORCE_NEW_CLUSTER`: by this mark etcd is started once as the only member of its cluster (D11).
    pub force: Option<String>,
    /// `KB_DATA_DIR`: etcd's data directory; the identity file lies beside it.
    pub data_dir: PathBuf,
    /// `KB_RUN_DIR`: what etcd's and kbagent's containers tell each other, gone with the pod.
    pub run_dir: PathBuf,
    /// `KB_TOKEN_FILE`: the token of changes.
    pub token_file: PathBuf,
    /// `KB_AUTHORIZATION`: how callers show that they know it.
    pub authorization: Authorization,
    /// `KB_CLIENT_PORT` of every member.
    pub client_port: u16,
    /// `KB_PEER_PORT` of every member.
    pub peer_port: u16,
    /// `KB_ETCD_ENDPOINT`: the own member.
    pub etcd_endpoint: String,
    /// `KB_ETCD_METRICS`: `host:port` of the own member's metrics.
    pub metrics_address: String,
    /// `KB_PEER_ENDPOINT`: the own member's peer endpoint.
    pub peer_endpoint: String,
    /// `KB_TLS_DIR`: etcd speaks TLS, with the files of this directory; plain when it is not set.
    pub tls: Tls,
    /// `KB_TLS_PEER_NAME`: the common name that a peer's certificate must have.
    pub tls_peer_name: Option<String>,
    /// `KB_TLS_OPERATOR_NAME`: the name by which the operator's certificate is known; any of the CA is as good without.
    pub tls_operator_name: Option<String>,
    /// `KB_ACCOUNTS_DIR`: the users that etcd is given; none when it is not set.
    pub accounts_dir: Option<PathBuf>,
    /// `KB_FAST_ELECTION`: when a follower is told to campaign.
    pub fast_election: FastElection,
    /// `KB_RELAY_CLIENTS`: the agent accepts clients while its etcd is dead, and leads them to the leader.
    pub relay_clients: bool,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector of traces of failovers; none when it is not set.
    pub collector: Option<String>,
    /// `KB_LISTEN`: where kbagent listens. `0.0.0.0` is all addresses, those of IPv6 too.
    pub listen: SocketAddr,
    /// `KB_ELECTION_TIMEOUT_MS`: etcd's election timeout; an etcd that hangs longer is fenced.
    pub election_timeout: Duration,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// When a needed variable is missing or unreadable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// Reads from `lookup`.
    ///
    /// # Errors
    /// When a needed variable is missing or unreadable.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = Env(lookup);
        let headless_domain = env.needed("KB_HEADLESS_DOMAIN")?;
        let peers = |text: String| parse_peers(&text, &headless_domain);
        let client_port = env.parsed("KB_CLIENT_PORT", "port", 2379)?;
        let peer_port = env.parsed("KB_PEER_PORT", "port", 2380)?;
        let tls_dir = env.given(TLS_DIRECTORY_VARIABLE).map(PathBuf::from);
        let tls = Tls::new(tls_dir.as_deref());
        let own = |port| format!("{}://127.0.0.1:{port}", tls.scheme());
        Ok(Self {
            pod_name: env.needed("POD_NAME")?,
            pod_uid: env.needed("POD_UID")?,
            pod_ip: env.given("POD_IP"),
            pod_ips: env.addresses("POD_IPS")?,
            cluster_uid: env.needed("KB_CLUSTER_UID")?,
            leader_service: env.given("KB_LEADER_SERVICE"),
            peers: env.given("KB_PEERS").map(peers).unwrap_or_default(),
            bootstrap: env.given("KB_BOOTSTRAP_MEMBERS").map(peers),
            join_member_id: match env.given("KB_JOIN_MEMBER_ID") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| ConfigError::Unreadable {
                    name: "KB_JOIN_MEMBER_ID",
                    value: text,
                    wanted: "hexadecimal member identifier",
                })?),
            },
            force: env.given("KB_FORCE_NEW_CLUSTER"),
            data_dir: env.path("KB_DATA_DIR", "/var/lib/etcd/data/etcd"),
            run_dir: env.path("KB_RUN_DIR", "/run/kbagent"),
            token_file: env.path("KB_TOKEN_FILE", "/etc/kbagent/token"),
            authorization: env.parsed(
                Authorization::VARIABLE,
                "word bearer or signed",
                Authorization::default(),
            )?,
            client_port,
            peer_port,
            etcd_endpoint: env
                .given("KB_ETCD_ENDPOINT")
                .unwrap_or_else(|| own(client_port)),
            metrics_address: env
                .given("KB_ETCD_METRICS")
                .unwrap_or_else(|| "127.0.0.1:2381".to_owned()),
            peer_endpoint: env
                .given("KB_PEER_ENDPOINT")
                .unwrap_or_else(|| own(peer_port)),
            tls,
            tls_peer_name: env.given("KB_TLS_PEER_NAME"),
            tls_operator_name: env.given(OPERATOR_NAME_VARIABLE),
            accounts_dir: env.given("KB_ACCOUNTS_DIR").map(PathBuf::from),
            fast_election: env.parsed(
                "KB_FAST_ELECTION",
                "word true, suspicion or false",
                FastElection::News,
            )?,
            relay_clients: env.parsed("KB_RELAY_CLIENTS", "word true or false", false)?,
            collector: env.given(COLLECTOR_VARIABLE),
            listen: env.parsed(
                "KB_LISTEN",
                "address with port",
                SocketAddr::from(([0, 0, 0, 0], kbagent_protocol::PORT)),
            )?,
            election_timeout: Duration::from_millis(env.parsed(
                "KB_ELECTION_TIMEOUT_MS",
                "number of milliseconds",
                1000,
            )?),
            headless_domain,
        })
    }

    /// The host of a pod of this component.
    #[must_use]
    pub fn host_of(&self, pod: &str) -> String {
        let known = self.peers.iter().chain(self.bootstrap.iter().flatten());
        match known.into_iter().find(|peer| peer.name == pod) {
            Some(peer) => peer.host.clone(),
            None => format!("{pod}.{}", self.headless_domain),
        }
    }

    /// What opens the agent of `pod`, another of this component or the own one.
    #[must_use]
    pub fn opens<'a>(&self, token: &'a str, pod: &'a str) -> Opens<'a> {
        Opens {
            token,
            sends: self.authorization,
            pod,
        }
    }

    /// How the etcd of a pod is reached, whatever its address.
    #[must_use]
    pub fn etcd_tls(&self, pod: &str) -> Tls {
        self.tls.named(&self.host_of(pod))
    }

    /// How the agent of `pod` is reached: agents that take signed requests speak TLS where etcd does.
    #[must_use]
    pub fn agents_tls(&self, pod: &str) -> Tls {
        match self.authorization {
            Authorization::Signed => self.tls.named(&self.host_of(pod)),
            Authorization::Bearer => Tls::default(),
        }
    }

    /// The peer URL of a host.
    #[must_use]
    pub fn peer_url(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.tls.scheme(), self.peer_port)
    }

    /// The client URL of a host.
    #[must_use]
    pub fn client_url(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.tls.scheme(), self.client_port)
    }

    /// `host:port` of the own member for clients.
    #[must_use]
    pub fn etcd_address(&self) -> String {
        without_scheme(&self.etcd_endpoint)
    }

    /// `host:port` of the own member for peers.
    #[must_use]
    pub fn peer_address(&self) -> String {
        without_scheme(&self.peer_endpoint)
    }

    /// The pod's addresses, of each family one.
    fn own_ips(&self) -> impl Iterator<Item = IpAddr> {
        let first = self.pod_ip.as_ref().and_then(|ip| ip.parse().ok());
        first.into_iter().chain(self.pod_ips.iter().copied())
    }

    /// The addresses that clients of the service come to, where the agent may have them: apart from the one at which it
    /// asks its own member, which stays etcd's alone.
    #[must_use]
    pub fn front_ips(&self) -> Vec<IpAddr> {
        let own = self.etcd_address().parse::<SocketAddr>().ok();
        let apart = |own: &SocketAddr| {
            own.port() == self.client_port && self.own_ips().all(|ip| ip != own.ip())
        };
        if !own.is_some_and(|own| apart(&own)) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for ip in self.own_ips().filter(|ip| !ip.is_unspecified()) {
            if !found.contains(&ip) {
                found.push(ip);
            }
        }
        found
    }

    /// Whether an address is the pod's; `None` when it knows none of its own.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> Option<bool> {
        self.own_ips().next()?;
        Some(self.own_ips().any(|own| own == address))
    }

    /// The own peer URL, by which the member is known (M4).
    #[must_use]
    pub fn own_peer_url(&self) -> String {
        self.peer_url(&self.host_of(&self.pod_name))
    }

    /// Client URLs of the other pods.
    #[must_use]
    pub fn other_client_urls(&self) -> Vec<String> {
        let others = self.peers.iter().filter(|peer| peer.name != self.pod_name);
        others.map(|peer| self.client_url(&peer.host)).collect()
    }
}

/// `host:port` of a URL.
#[must_use]
pub fn without_scheme(url: &str) -> String {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    address.trim_end_matches('/').to_owned()
}

struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    /// A variable that is set and not empty (an empty one is what a template without a value leaves).
    fn given(&self, name: &str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn needed(&self, name: &'static str) -> Result<String, ConfigError> {
        self.given(name).ok_or(ConfigError::Missing(name))
    }

    fn path(&self, name: &str, default: &str) -> PathBuf {
        PathBuf::from(self.given(name).unwrap_or_else(|| default.to_owned()))
    }

    fn addresses(&self, name: &'static str) -> Result<Vec<IpAddr>, ConfigError> {
        let text = self.given(name).unwrap_or_default();
        let entries = text.split(',').map(str::trim);
        let read = |entry: &str| {
            entry.parse().map_err(|_| ConfigError::Unreadable {
                name,
                value: text.clone(),
                wanted: "list of addresses with commas between them",
            })
        };
        entries
            .filter(|entry| !entry.is_empty())
            .map(read)
            .collect()
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        name: &'static str,
        wanted: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        match self.given(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| ConfigError::Unreadable {
                name,
                value,
                wanted,
            }),
        }
    }
}

/// `a,b=host`: a pod's name, and where it differs from `{name}.{domain}`, its host.
fn parse_peers(text: &str, domain: &str) -> Vec<Peer> {
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let peer = |entry: &str| match entry.split_once('=') {
        Some((name, host)) => Peer {
            name: name.to_owned(),
            host: host.to_owned(),
        },
        None => Peer {
            name: entry.to_owned(),
            host: format!("{entry}.{domain}"),
        },
    };
    entries.map(peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "POD_NAME" => "c-etcd-1",
            "POD_UID" => "u",
            "KB_CLUSTER_UID" => "cu",
            "KB_HEADLESS_DOMAIN" => "c-etcd-headless.ns.svc.cluster.local",
            "KB_PEERS" => "c-etcd-0, c-etcd-1,c-etcd-2=10.0.0.9,",
            "KB_JOIN_MEMBER_ID" => "8e9e05c52164694d",
            "KB_BOOTSTRAP_MEMBERS" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn addresses_follow_from_names() {
        let config = Config::from_lookup(&lookup).expect("config");
        assert_eq!(
            config.own_peer_url(),
            "http://c-etcd-1.c-etcd-headless.ns.svc.cluster.local:2380"
        );
        assert_eq!(
            config.other_client_urls(),
            [
                "http://c-etcd-0.c-etcd-headless.ns.svc.cluster.local:2379",
                "http://10.0.0.9:2379"
            ]
        );
        assert_eq!(config.bootstrap, None, "an empty value is no value");
        assert_eq!(config.join_member_id, Some(Id(0x8e9e_05c5_2164_694d)));
        assert_eq!(config.peer_address(), "127.0.0.1:2380");
        assert_eq!(config.etcd_address(), "127.0.0.1:2379");
    }

    #[test]
    fn fast_election_is_on_unless_it_is_said_otherwise() {
        let with = |value: &'static str| {
            let given = move |name: &str| match name {
                "KB_FAST_ELECTION" => Some(value.to_owned()),
                _ => lookup(name),
            };
            Config::from_lookup(&given).map(|config| config.fast_election)
        };
        assert_eq!(with("").expect("config"), FastElection::News);
        assert_eq!(with("false").expect("config"), FastElection::Off);
        assert_eq!(with("suspicion").expect("config"), FastElection::Suspicion);
        let relays = |value: &'static str| {
            let given = move |name: &str| match name {
                "KB_RELAY_CLIENTS" => Some(value.to_owned()),
                _ => lookup(name),
            };
            Config::from_lookup(&given).map(|config| config.relay_clients)
        };
        assert_eq!(relays("").ok(), Some(false), "old definitions have none");
        assert_eq!(relays("true").ok(), Some(true));
        assert!(relays("on").is_err());
        let error = with("no").expect_err("neither");
        assert_eq!(
            error.to_string(),
            "failed to read the environment: KB_FAST_ELECTION is \"no\", which is no word true, suspicion or false"
        );
    }

    #[test]
    fn the_agent_has_addresses_for_clients_only_beside_one_that_is_etcds_alone() {
        let front = |ip: &'static str, ips: &'static str, own: &'static str| {
            let given = move |name: &str| match name {
                "POD_IP" => Some(ip.to_owned()),
                "POD_IPS" => Some(ips.to_owned()),
                "KB_ETCD_ENDPOINT" => Some(own.to_owned()),
                _ => lookup(name),
            };
            let config = Config::from_lookup(&given).expect("config");
            let found = config.front_ips();
            found.iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        for ip in ["10.0.0.1", "fd00::1"] {
            assert_eq!(front(ip, "", ""), [ip], "an operator of before");
            assert_eq!(front(ip, ip, ""), [ip]);
            assert_eq!(front("", ip, ""), [ip]);
        }
        let both = ["10.0.0.1", "fd00::1"];
        assert_eq!(front("10.0.0.1", "10.0.0.1,fd00::1", ""), both);
        assert_eq!(front("", "10.0.0.1, fd00::1,", ""), both);
        for own in ["http://10.0.0.1:2379", "http://[fd00::1]:2379"] {
            assert!(
                front("10.0.0.1", "10.0.0.1,fd00::1", own).is_empty(),
                "{own}"
            );
        }
        for (ip, own) in [
            ("", ""),
            ("0.0.0.0", ""),
            ("::", ""),
            ("127.0.0.1", ""),
            ("10.0.0.1", "http://10.0.0.1:2379"),
            ("10.0.0.1", "http://127.0.0.1:2377"),
            ("10.0.0.1", "http://localhost:2379"),
        ] {
            for ips in ["", ip] {
                assert!(front(ip, ips, own).is_empty(), "{ip} {own}");
            }
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused_by_name() {
        let given = |name: &str| match name {
            "POD_IPS" => Some("10.0.0.1,x".to_owned()),
            _ => lookup(name),
        };
        let error = Config::from_lookup(&given).expect_err("no address");
        assert_eq!(
            error.to_string(),
            "failed to read the environment: POD_IPS is \"10.0.0.1,x\", which is no list of addresses with commas \
             between them"
        );
    }

    #[test]
    fn an_address_of_either_family_is_the_pods_own() {
        let own = |ip: &'static str, ips: &'static str, address: &str| {
            let given = move |name: &str| match name {
                "POD_IP" => Some(ip.to_owned()),
                "POD_IPS" => Some(ips.to_owned()),
                _ => lookup(name),
            };
            let config = Config::from_lookup(&given).expect("config");
            config.is_own(address.parse().expect("an address"))
        };
        assert_eq!(own("10.0.0.1", "10.0.0.1,fd00::1", "fd00::1"), Some(true));
        assert_eq!(own("10.0.0.1", "", "10.0.0.1"), Some(true));
        assert_eq!(own("10.0.0.1", "", "10.0.0.2"), Some(false));
        assert_eq!(own("", "", "10.0.0.2"), None);
    }

    #[test]
    fn with_certificates_all_of_etcds_urls_are_https() {
        let given = |name: &str| match name {
            "KB_TLS_DIR" => Some("/etc/pki/tls".to_owned()),
            _ => lookup(name),
        };
        let config = Config::from_lookup(&given).expect("config");
        let urls = [config.own_peer_url(), config.client_url("h")];
        let own = [config.etcd_endpoint.clone(), config.peer_endpoint.clone()];
        for url in urls.iter().chain(&own).chain(&config.other_client_urls()) {
            assert!(url.starts_with("https://"), "{url}");
        }
        assert_eq!(config.peer_address(), "127.0.0.1:2380");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let none = |_: &str| None;
        let error = Config::from_lookup(&none).expect_err("nothing is set");
        assert_eq!(
            error.to_string(),
            "failed to read the environment: KB_HEADLESS_DOMAIN is not set"
        );
    }
}
