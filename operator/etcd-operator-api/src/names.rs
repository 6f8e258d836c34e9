//! Names of children, from KubeBlocks' rules, and the bounds that keep them valid.
//!
//! Pure functions of names. A Kubernetes host name and label value hold 63 characters; the longest of ours
//! are `{cluster}-{comp}-headless` and the pods' names.

use std::fmt;

/// Most characters of a DNS label: service and host names.
const MAX_LABEL: usize = 63;
/// Suffix of the headless service's name; longer than any pod's ordinal.
const HEADLESS_SUFFIX: &str = "-headless";

/// A name that cannot be used, because names that are made from it would be invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadName {
    /// Names of children would be too long.
    #[error(
        "metadata.name {cluster:?} is too long: with component {component:?} it may have {max} characters, it has {len}"
    )]
    TooLong {
        /// Name of the Cluster.
        cluster: String,
        /// Name of the component.
        component: String,
        /// Largest number of characters that the Cluster's name may have.
        max: usize,
        /// Number of characters that it has.
        len: usize,
    },
    /// The name cannot start the name of a service.
    #[error(
        "metadata.name {cluster:?} cannot name services: it must start with a letter and hold lower-case letters, digits and '-' only"
    )]
    NotALabel {
        /// The Cluster.
        cluster: String,
    },
}

/// Name of a Component and of its InstanceSet, `{cluster}-{comp}`: the root of all names of its children.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentName(String);

impl ComponentName {
    /// The name for a component of a Cluster.
    ///
    /// # Errors
    /// When a child's name would be invalid.
    pub fn new(cluster: &str, component: &str) -> Result<Self, BadName> {
        let max = MAX_LABEL - HEADLESS_SUFFIX.len() - 1 - component.len().min(MAX_LABEL / 2);
        let len = cluster.len();
        let starts = cluster.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !starts || !cluster.chars().all(plain) {
            return Err(BadName::NotALabel {
                cluster: cluster.to_owned(),
            });
        }
        if len > max {
            let (cluster, component) = (cluster.to_owned(), component.to_owned());
            return Err(BadName::TooLong {
                cluster,
                component,
                max,
                len,
            });
        }
        Ok(ComponentName(format!("{cluster}-{component}")))
    }

    /// The name of an InstanceSet or Component that exists.
    #[must_use]
    pub fn existing(name: &str) -> Self {
        ComponentName(name.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the leader service, or of a further service of the component.
    #[must_use]
    pub fn service(&self, service_name: &str) -> String {
        if service_name.is_empty() {
            self.0.clone()
        } else {
            format!("{}-{service_name}", self.0)
        }
    }

    /// Name of the headless service, which gives the pods their host names.
    #[must_use]
    pub fn headless(&self) -> String {
        format!("{}{HEADLESS_SUFFIX}", self.0)
    }

    /// Name of the pod, and member, with an ordinal.
    #[must_use]
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.0)
    }

    /// The ordinal of one of its pods; `None` when the pod is not one of them.
    #[must_use]
    pub fn ordinal(&self, pod: &str) -> Option<u32> {
        let digits = pod.strip_prefix(&self.0)?.strip_prefix('-')?;
        let ordinal: u32 = digits.parse().ok()?;
        (ordinal.to_string() == digits).then_some(ordinal)
    }

    /// The pods that `replicas` members live in: the lowest ordinals that are not offline.
    #[must_use]
    pub fn pods(&self, replicas: u32, offline: &[String]) -> Vec<String> {
        (0..)
            .map(|ordinal| self.pod(ordinal))
            .filter(|pod| !offline.contains(pod))
            .take(replicas as usize)
            .collect()
    }

    /// Name of the ConfigMap with the containers' environment.
    #[must_use]
    pub fn env_config_map(&self) -> String {
        format!("{}-env", self.0)
    }

    /// Name of the Secret with the agents' token (key [`TOKEN_KEY`]).
    #[must_use]
    pub fn agent_secret(&self) -> String {
        format!("{}-kbagent", self.0)
    }

    /// Name of the Secret with the members' certificate, which their pods mount.
    #[must_use]
    pub fn tls_secret(&self) -> String {
        format!("{}-tls-certs", self.0)
    }

    /// Name of the Secret with the CA and its key, which no pod mounts.
    #[must_use]
    pub fn ca_secret(&self) -> String {
        format!("{}-ca", self.0)
    }

    /// Name of the Secret with a certificate for applications.
    #[must_use]
    pub fn client_secret(&self) -> String {
        format!("{}-client", self.0)
    }

    /// Name of the Secret with the certificate of backups' Jobs, where etcd has users.
    #[must_use]
    pub fn backup_secret(&self) -> String {
        format!("{}-backup", self.0)
    }

    /// Name of the Secret with the password of one user of etcd, where the operator has drawn it.
    #[must_use]
    pub fn account_secret(&self, account: &str) -> String {
        format!("{}-account-{account}", self.0)
    }

    /// Name of the Secret with all users of etcd, which the members' agents read.
    #[must_use]
    pub fn accounts_secret(&self) -> String {
        format!("{}-accounts", self.0)
    }

    /// Name of the BackupPolicy that is made for the component.
    #[must_use]
    pub fn backup_policy(&self) -> String {
        format!("{}-backup-policy", self.0)
    }

    /// Name of the PodDisruptionBudget.
    #[must_use]
    pub fn disruption_budget(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of the claim template that etcd's data is on.
pub const DATA: &str = "data";
/// Key of the agents' token in its Secret.
pub const TOKEN_KEY: &str = "token";
/// Key of a second token in that Secret, which agents take too, while the first one is replaced.
pub const TOKEN_ALSO_KEY: &str = "also";

/// Key of the CA's certificate in a Secret with a certificate.
pub const CA_KEY: &str = "ca.crt";
/// Key of the certificate.
pub const CERTIFICATE_KEY: &str = "tls.crt";
/// Key of its private key.
pub const PRIVATE_KEY: &str = "tls.key";

/// Name of a pod's claim.
#[must_use]
pub fn claim(template: &str, pod: &str) -> String {
    format!("{template}-{pod}")
}

/// Name of a service of a Cluster.
#[must_use]
pub fn cluster_service(cluster: &str, service_name: &str) -> String {
    if service_name.is_empty() {
        cluster.to_owned()
    } else {
        format!("{cluster}-{service_name}")
    }
}

/// Name of the ServiceAccount of all pods of a definition in a namespace.
#[must_use]
pub fn service_account(definition: &str) -> String {
    format!("kb-{definition}")
}

/// Domain of the pods' host names: `{pod}.{this}`.
#[must_use]
pub fn headless_domain(name: &ComponentName, namespace: &str, cluster_domain: &str) -> String {
    format!("{}.{namespace}.svc.{cluster_domain}", name.headless())
}

/// DNS name of a service.
#[must_use]
pub fn service_domain(service: &str, namespace: &str, cluster_domain: &str) -> String {
    format!("{service}.{namespace}.svc.{cluster_domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_named_as_kubeblocks_names_them() {
        let name = ComponentName::new("shop", "etcd").expect("valid");
        assert_eq!(name.service(""), "shop-etcd");
        assert_eq!(name.service("client"), "shop-etcd-client");
        assert_eq!(name.headless(), "shop-etcd-headless");
        assert_eq!(name.pod(2), "shop-etcd-2");
        assert_eq!(claim("data", &name.pod(2)), "data-shop-etcd-2");
        assert_eq!(name.env_config_map(), "shop-etcd-env");
        assert_eq!(
            headless_domain(&name, "demo", "cluster.local"),
            "shop-etcd-headless.demo.svc.cluster.local"
        );
    }

    #[test]
    fn ordinals_are_read_back_exactly() {
        let name = ComponentName::existing("shop-etcd");
        assert_eq!(name.ordinal("shop-etcd-12"), Some(12));
        assert_eq!(name.ordinal("shop-etcd-012"), None);
        assert_eq!(name.ordinal("shop-etcd-x-1"), None);
        assert_eq!(name.ordinal("shop-etc-1"), None);
    }

    #[test]
    fn offline_pods_are_skipped() {
        let name = ComponentName::existing("shop-etcd");
        let offline = ["shop-etcd-1".to_owned()];
        assert_eq!(
            name.pods(3, &offline),
            ["shop-etcd-0", "shop-etcd-2", "shop-etcd-3"]
        );
    }

    #[test]
    fn long_and_odd_names_are_refused_with_their_bound() {
        let error = ComponentName::new(&"a".repeat(50), "etcd").expect_err("too long");
        assert!(
            error
                .to_string()
                .contains("it may have 49 characters, it has 50"),
            "{error}"
        );
        assert!(ComponentName::new(&"a".repeat(49), "etcd").is_ok());
        assert!(ComponentName::new("my.shop", "etcd").is_err());
        assert!(ComponentName::new("9shop", "etcd").is_err());
    }
}
