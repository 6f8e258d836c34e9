//! IO: passwords of etcd's users, from their Secrets into the one that the members' agents read. Nothing is logged but
//! names.

use std::collections::BTreeMap;

use etcd_operator_api::Component;
use etcd_operator_api::account::{PASSWORD_KEY, USERNAME_KEY};
use etcd_operator_api::names::ComponentName;
use k8s_openapi::ByteString;
use kbagent_protocol::{ACCOUNTS_FILE, Account, Accounts, LARGEST_ACCOUNTS, Password};
use kube::{Client, ResourceExt};

use super::accounts::{Planned, Source};
use super::ensure::token;
use super::secrets::{Data, Secrets};
use crate::controller::ApplyError;

/// Type of our Secrets.
const SECRET_TYPE: &str = "Opaque";
/// Longest password in bytes: etcd hashes no more.
const LONGEST: usize = 72;

/// A user has no password that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccountFault {
    #[error(
        "systemAccounts[{account}]: Secret {secret} is not there: make it, with the password under {key:?}"
    )]
    NoSecret {
        account: String,
        secret: String,
        key: String,
    },
    #[error("systemAccounts[{account}]: Secret {secret} has no key {key:?}, or it is empty")]
    Missing {
        account: String,
        secret: String,
        key: String,
    },
    #[error("systemAccounts[{account}]: Secret {secret}, key {key:?} is no password: {why}")]
    Unfit {
        account: String,
        secret: String,
        key: String,
        why: &'static str,
    },
    #[error(
        "systemAccounts: all users together have {size} bytes, {LARGEST_ACCOUNTS} are written at most"
    )]
    TooLarge { size: usize },
}

/// Agents have the users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provided {
    /// Which ones.
    pub(super) generation: String,
    /// How many.
    pub(super) users: usize,
    /// A user keeps the password of before, because of this.
    pub(super) kept: Option<String>,
}

/// Agents have none, or it could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error(transparent)]
    Fault(#[from] AccountFault),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Sees to it that the agents' Secret holds these users with the passwords of the moment.
pub(super) async fn provide(
    client: &Client,
    component: &Component,
    planned: &[Planned],
) -> Result<Provided, CredentialError> {
    let secrets = Secrets::of(client, component);
    let name = ComponentName::existing(&component.name_any()).accounts_secret();
    let live = secrets.ours(&name).await?;
    let data = live.as_ref().and_then(|live| live.data.as_ref());
    let before = data.and_then(|data| data.get(ACCOUNTS_FILE));
    let before: Option<Accounts> = before.and_then(|of| serde_json::from_slice(&of.0).ok());
    let known = |account: &str| {
        let mut all = before.iter().flat_map(|before| &before.accounts);
        all.find(|known| known.name == account)?.password.clone()
    };
    let (mut accounts, mut kept) = (Vec::new(), None);
    for Planned { account, source } in planned {
        let kept_password = known(&account.name);
        let password = Box::pin(password(&secrets, account, source, kept_password.as_ref())).await;
        let password = match (password, kept_password) {
            (Ok(password), _) => password,
            (Err(CredentialError::Fault(fault)), Some(before)) => {
                kept.get_or_insert(format!("{fault}. etcd keeps the password of before"));
                Some(before)
            }
            (Err(error), _) => return Err(error),
        };
        accounts.push(Account {
            password,
            ..account.clone()
        });
    }
    let generation = match before {
        Some(before) if before.accounts == accounts => before.generation,
        _ => {
            let all = Accounts {
                generation: format!("{:016x}", rand::random::<u64>()),
                accounts: accounts.clone(),
            };
            secrets
                .write(live.as_ref(), (&name, SECRET_TYPE), file(&all)?)
                .await?;
            all.generation
        }
    };
    Ok(Provided {
        generation,
        users: accounts.len(),
        kept,
    })
}

fn file(accounts: &Accounts) -> Result<Data, AccountFault> {
    // Text, lists and maps of text: it cannot fail.
    let bytes = serde_json::to_vec(accounts).unwrap_or_default();
    let size = bytes.len();
    if u64::try_from(size).unwrap_or(u64::MAX) > LARGEST_ACCOUNTS {
        return Err(AccountFault::TooLarge { size });
    }
    Ok(Data::from([(ACCOUNTS_FILE.to_owned(), ByteString(bytes))]))
}

async fn password(
    secrets: &Secrets<'_>,
    account: &Account,
    source: &Source,
    before: Option<&Password>,
) -> Result<Option<Password>, CredentialError> {
    let (secret, key, found) = match source {
        Source::Certificate => return Ok(None),
        Source::Given { secret, key } => (secret, key.as_str(), secrets.get(secret).await?),
        Source::Generated { secret } => match secrets.ours(secret).await? {
            Some(found) => (secret, PASSWORD_KEY, Some(found)),
            None => {
                let password = before.cloned().unwrap_or_else(|| Password(token()));
                let text = |text: &str| ByteString(text.as_bytes().to_vec());
                let data = BTreeMap::from([
                    (USERNAME_KEY.to_owned(), text(&account.name)),
                    (PASSWORD_KEY.to_owned(), text(&password.0)),
                ]);
                secrets.write(None, (secret, SECRET_TYPE), data).await?;
                return Ok(Some(password));
            }
        },
    };
    let (account, secret, key) = (account.name.clone(), secret.clone(), key.to_owned());
    let Some(found) = found else {
        return Err(AccountFault::NoSecret {
            account,
            secret,
            key,
        }
        .into());
    };
    let data = found.data.unwrap_or_default();
    let Some(bytes) = data.get(&key).filter(|bytes| !bytes.0.is_empty()) else {
        return Err(AccountFault::Missing {
            account,
            secret,
            key,
        }
        .into());
    };
    match read(&bytes.0) {
        Ok(password) => Ok(Some(password)),
        Err(why) => Err(AccountFault::Unfit {
            account,
            secret,
            key,
            why,
        }
        .into()),
    }
}

fn read(bytes: &[u8]) -> Result<Password, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    if text.len() > LONGEST {
        return Err("it has more than 72 bytes, and etcd hashes no more");
    }
    if text.chars().any(char::is_control) {
        return Err(
            "it holds a line break or another control character: `printf` writes none, `echo` does",
        );
    }
    Ok(Password(text.to_owned()))
}
