//! The token that an agent wants for changes, read by name from the Secret of its component. Never cached, never logged.

use etcd_operator_api::names::{ComponentName, TOKEN_KEY};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The Secret could not be read.
    #[error("failed to read the agents' token from secret {secret}: {source}")]
    Read {
        /// The secret.
        secret: String,
        /// Why.
        source: Box<kube::Error>,
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
pub async fn read(
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
    let token = secret.data.and_then(|mut data| data.remove(TOKEN_KEY));
    let token = token.and_then(|token| String::from_utf8(token.0).ok());
    token
        .map(|token| token.trim().to_owned())
        .ok_or(TokenError::Missing { secret: name })
}
