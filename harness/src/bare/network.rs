//! The networks of one run. A member keeps its address for as long as the run lasts: where several are killed and
//! started again, a client that still dials the address of one would otherwise meet another.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
    NetworkCreateRequest, NetworkDisconnectRequest, NetworkingConfig,
};

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::deploy::owner;

/// Members' addresses begin so far behind the first of the network: the bridge may have one of those.
const FIRST: u32 = 10;
/// Another process may take a free subnet before this one.
const TRIES: u32 = 5;

impl BareCluster {
    /// Makes the network, or both.
    pub(crate) async fn make_networks(&self) -> Result<(), BareError> {
        self.make_network(self.layout().network()).await?;
        match self.layout().peers() {
            Some(name) => self.make_network(name).await,
            None => Ok(()),
        }
    }

    /// Makes it twice: Docker knows which subnet is free, and takes fixed addresses only where it was told the subnet.
    async fn make_network(&self, name: String) -> Result<(), BareError> {
        let mut tries = TRIES;
        loop {
            self.request_network(&name, None).await?;
            let Some(free) = self.subnet(&name).await? else {
                return Ok(());
            };
            let removed = self.docker().remove_network(&name).await;
            removed.map_err(|error| BareError::docker(format!("remove network {name}"), error))?;
            let made = self.request_network(&name, Some(free)).await;
            tries -= 1;
            if made.is_ok() || tries == 0 {
                return made;
            }
        }
    }

    async fn request_network(&self, name: &str, subnet: Option<Subnet>) -> Result<(), BareError> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(owner::labels(self.layout().run())),
            ipam: subnet.map(|subnet| Ipam {
                config: Some(vec![subnet.config()]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let made = self.docker().create_network(request).await;
        made.map_err(|error| BareError::docker(format!("make network {name}"), error))?;
        Ok(())
    }

    /// None where it is too small for fixed addresses.
    async fn subnet(&self, network: &str) -> Result<Option<Subnet>, BareError> {
        let found = self.docker().inspect_network(network, None).await;
        let found = found
            .map_err(|error| BareError::docker(format!("inspect network {network}"), error))?;
        let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let mut subnets = configs.into_iter().filter_map(|config| config.subnet);
        Ok(subnets.find_map(|subnet| Subnet::parse(&subnet)))
    }

    /// Where a container is in the network when it is made.
    pub(crate) async fn first_place(&self, name: &str) -> Result<NetworkingConfig, BareError> {
        let network = self.layout().network();
        let endpoint = self.endpoint(name, &network, None).await?;
        Ok(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        })
    }

    /// A place in a network, there with one more name; a member's with its address.
    async fn endpoint(
        &self,
        name: &str,
        network: &str,
        alias: Option<String>,
    ) -> Result<EndpointSettings, BareError> {
        let mut names = self.layout().names().into_iter();
        let number = names.position(|member| member == name);
        let address = match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) => {
                let subnet = self.subnet(network).await?;
                subnet.map(|subnet| subnet.member(number))
            }
            None => None,
        };
        Ok(EndpointSettings {
            aliases: alias.map(|alias| vec![alias]),
            ipam_config: address.map(|address| EndpointIpamConfig {
                ipv4_address: Some(address.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// Takes its networks from a container.
    pub(crate) async fn disconnect(&self, name: &str) -> Result<(), BareError> {
        self.leave(name, &self.layout().network()).await?;
        self.leave_peers(name).await
    }

    /// Takes a member's network to the other members from it, where they have one of their own.
    pub(crate) async fn leave_peers(&self, name: &str) -> Result<(), BareError> {
        match self.layout().peers() {
            Some(network) => self.leave(name, &network).await,
            None => Ok(()),
        }
    }

    async fn leave(&self, name: &str, network: &str) -> Result<(), BareError> {
        let request = NetworkDisconnectRequest {
            container: name.to_owned(),
            force: Some(true),
        };
        let done = self.docker().disconnect_network(network, request).await;
        done.map_err(|error| BareError::docker(format!("disconnect container {name}"), error))
    }

    /// Gives them back.
    pub(crate) async fn connect(&self, name: &str) -> Result<(), BareError> {
        self.join(name, &self.layout().network(), None).await?;
        self.join_peers(name).await
    }

    /// Connects a member to the other members, where they have a network of their own.
    pub(crate) async fn join_peers(&self, name: &str) -> Result<(), BareError> {
        match self.layout().peers() {
            Some(network) => {
                let alias = self.layout().peer(name);
                self.join(name, &network, Some(alias)).await
            }
            None => Ok(()),
        }
    }

    async fn join(
        &self,
        name: &str,
        network: &str,
        alias: Option<String>,
    ) -> Result<(), BareError> {
        let endpoint = self.endpoint(name, network, alias).await?;
        let request = NetworkConnectRequest {
            container: name.to_owned(),
            endpoint_config: Some(endpoint),
        };
        let done = self.docker().connect_network(network, request).await;
        done.map_err(|error| BareError::docker(format!("connect container {name}"), error))
    }
}

/// Addresses of one network: members have some of the first half, and Docker gives away those of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subnet {
    first: Ipv4Addr,
    bits: u32,
}

impl Subnet {
    /// None for one of IPv6, or too small.
    fn parse(subnet: &str) -> Option<Self> {
        let (first, bits) = subnet.split_once('/')?;
        let (first, bits) = (first.parse().ok()?, bits.parse().ok()?);
        // 32 addresses in each half.
        (bits <= 26).then_some(Self { first, bits })
    }

    fn config(self) -> IpamConfig {
        let half = 1 << (31 - self.bits);
        let second = Ipv4Addr::from(u32::from(self.first) | half);
        IpamConfig {
            subnet: Some(format!("{}/{}", self.first, self.bits)),
            ip_range: Some(format!("{second}/{}", self.bits + 1)),
            ..Default::default()
        }
    }

    fn member(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + FIRST + number)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::FakeDocker;

    #[test]
    fn members_and_others_share_a_network_and_no_address() {
        let subnet = Subnet::parse("172.20.0.0/16").expect("a subnet");
        assert_eq!(subnet.member(2).to_string(), "172.20.0.12");
        let config = subnet.config();
        assert_eq!(config.subnet.as_deref(), Some("172.20.0.0/16"));
        assert_eq!(config.ip_range.as_deref(), Some("172.20.128.0/17"));
        let small = Subnet::parse("192.168.16.64/26").expect("a subnet");
        assert_eq!(small.member(6).to_string(), "192.168.16.80");
        assert_eq!(small.config().ip_range.as_deref(), Some("192.168.16.96/27"));
        for none in ["192.168.16.0/27", "fd00::/64", "172.20.0.0", ""] {
            assert_eq!(Subnet::parse(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn a_subnet_that_another_process_took_is_asked_for_again() {
        let (made, taken) = (AtomicU32::new(0), br#"{"message":"Pool overlaps"}"#);
        let fake = FakeDocker::new(move |asked| match asked.split(' ').next() {
            Some("DELETE") => (204, Vec::new()),
            Some("GET") => (
                200,
                br#"{"IPAM":{"Config":[{"Subnet":"172.20.0.0/16"}]}}"#.to_vec(),
            ),
            _ => match made.fetch_add(1, Ordering::Relaxed) {
                1 => (403, taken.to_vec()),
                _ => (201, br#"{"Id":"n","Warning":""}"#.to_vec()),
            },
        });
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 3, &[]));
        cluster.make_networks().await.expect("a network");
        let asked = fake.asked();
        let verbs: Vec<_> = asked
            .iter()
            .filter_map(|one| one.split(' ').next())
            .collect();
        let round = ["POST", "GET", "DELETE", "POST"];
        assert_eq!(verbs, [round, round].concat());
        let place = |name: &'static str| cluster.endpoint(name, "bare-r", None);
        let of = |endpoint: EndpointSettings| endpoint.ipam_config?.ipv4_address;
        let member = place("bare-r-2").await.expect("a place");
        assert_eq!(of(member).as_deref(), Some("172.20.0.12"));
        assert_eq!(of(place("bare-r-client").await.expect("a place")), None);
    }
}
