//! How a cluster is reached: addresses, TLS and a user. Whatever here connects to etcd does it by this.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{login::Login, names::Names, tls::Tls};

/// Folders with what opens a cluster; the texts themselves are in no configuration and no history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Access {
    /// CA, certificate and key (`ca.crt`, `tls.crt`, `tls.key`); plain text when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<PathBuf>,
    /// Name and password (`username`, `password`) of who reads and writes; who has the certificate when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<PathBuf>,
    /// The same of who asks members for their status and hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<PathBuf>,
    /// True where passwords may travel in clear: members and client are on a network that no other process is on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) clear: bool,
}

impl Access {
    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let users = self.user.is_some() || self.admin.is_some();
        (users && self.tls.is_none() && !self.clear).then_some(
            "access.user and access.admin need access.tls, or access.clear: passwords would travel in clear",
        )
    }
}

/// How a cluster is reached, by one user.
#[derive(Debug)]
pub(crate) struct Reach {
    /// The addresses.
    pub(crate) names: Arc<Names>,
    tls: Option<Arc<Tls>>,
    /// The user; who has the certificate, or anyone, when absent.
    pub(crate) login: Option<Arc<Login>>,
}

/// A connection, encrypted or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Reach {
    /// As who reads and writes, and as who asks members.
    pub(crate) fn both(access: &Access) -> [Arc<Self>; 2] {
        let names = Arc::new(Names::default());
        let tls = access
            .tls
            .as_deref()
            .map(|folder| Arc::new(Tls::of(folder)));
        [&access.user, &access.admin].map(|user| {
            Arc::new(Self {
                names: Arc::clone(&names),
                tls: tls.clone(),
                login: user.as_deref().map(Login::of),
            })
        })
    }

    /// With this TLS, or none, as the user of this folder, or no user.
    pub(crate) fn with(tls: Option<Tls>, user: Option<&Path>) -> Self {
        Self {
            names: Arc::default(),
            tls: tls.map(Arc::new),
            login: user.map(Login::of),
        }
    }

    /// The scheme of its URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// What is spoken on a new connection to `host:port`: TLS, where the cluster has it.
    pub(crate) async fn wire(&self, address: &str, stream: TcpStream) -> io::Result<Box<dyn Wire>> {
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.shake(address, stream).await?),
            None => Box::new(stream),
        })
    }

    /// Tells that a token was of no use where the answer does not show it.
    pub(crate) fn forget_token(&self) {
        if let Some(login) = &self.login {
            login.forget();
        }
    }
}
