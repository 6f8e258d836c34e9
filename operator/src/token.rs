//! The token that an agent wants for changes, read by name from the Secret of its component. Never cached, never
//! logged.

use crate::client::message;
use etcd_operator_api::Component;
use etcd_operator_api::names::{ComponentName, TOKEN_KEY};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The Secret could not be read.
    #[error("failed to read the agents' token from secret {secret}: {}", message(.source))]
    Read {
        /// The secret.
        secret: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// Another user made the Secret, and knows its content.
    #[error(
        "failed to read the agents' token: secret {secret} was not made by the operator: delete it"
    )]
    Foreign {
        /// The secret.
        secret: String,
    },
    /// The Secret holds none.
    #[error("failed to read the agents' token: secret {secret} has no key token")]
    Missing {
        /// The secret.
        secret: String,
    },
}

/// Reads the token of the agents of `component`.
///
/// # Errors
/// When the Secret cannot be read or has no token.
pub(crate) async fn read(
    client: &Client,
    namespace: &str,
    component: &ComponentName,
) -> Result<String, TokenError> {
    let name = component.agent_secret();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = match secrets.get(&name).await {
        Ok(secret) => secret,
        Err(source) => {
            return Err(TokenError::Read {
                secret: name,
                source: Box::new(source),
            });
        }
    };
    if !is_ours(&secret, component) {
        return Err(TokenError::Foreign { secret: name });
    }
    let token = secret.data.and_then(|mut data| data.remove(TOKEN_KEY));
    let token = token.and_then(|token| String::from_utf8(token.0).ok());
    token
        .map(|token| token.trim().to_owned())
        .ok_or(TokenError::Missing { secret: name })
}

/// Whether the Component of that name controls the Secret.
#[must_use]
pub(crate) fn is_ours(secret: &Secret, component: &ComponentName) -> bool {
    let mut owners = secret.owner_references().iter();
    let controller = owners.find(|owner| owner.controller == Some(true));
    controller
        .is_some_and(|owner| owner.kind == Component::kind(&()) && owner.name == component.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::server;

    async fn read_from(owners: Value) -> Result<String, TokenError> {
        let (context, _) = server(move |_| {
            let metadata = json!({ "name": "c-etcd-kbagent", "ownerReferences": owners });
            (
                200,
                json!({ "metadata": metadata, "data": { TOKEN_KEY: "aGVsbG8=" } }),
            )
        });
        read(&context.client, "n", &ComponentName::existing("c-etcd")).await
    }

    #[tokio::test]
    async fn a_secret_of_somebody_else_opens_nothing() {
        let owner = |kind: &str, name: &str| json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": kind, "name": name, "uid": "u", "controller": true }]);
        let token = read_from(owner("Component", "c-etcd")).await;
        assert_eq!(token.expect("a token"), "hello");
        for other in [
            json!([]),
            owner("Component", "other"),
            owner("ReplicaSet", "c-etcd"),
        ] {
            let refused = read_from(other).await.expect_err("not ours");
            assert!(matches!(refused, TokenError::Foreign { .. }), "{refused}");
        }
    }
}
