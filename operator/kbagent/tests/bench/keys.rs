//! A client of keys over gRPC: etcd's JSON gateway does not know its callers by their certificates.

use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use kbagent::tls::{Speaks, Tls};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Longest a call may take.
const DEADLINE: Duration = Duration::from_secs(3);

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Credentials {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Token {
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Done {}

/// One client, with a certificate and perhaps a user's token.
#[derive(Clone)]
pub(crate) struct Keys {
    channel: Channel,
    token: Option<String>,
}

impl Keys {
    /// At `host:port`, with this certificate.
    pub(crate) fn new(address: &str, tls: &Tls) -> Self {
        let tls = tls.clone();
        let connector = tower::service_fn(move |uri: Uri| {
            let tls = tls.clone();
            async move {
                let address = uri.authority().unwrap().to_string();
                tls.connect(&address, Speaks::Http2).await.map(TokioIo::new)
            }
        });
        // The connector speaks TLS: tonic would refuse `https` without settings of its own.
        let origin: Uri = format!("https://{address}").parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let endpoint = endpoint.origin(origin);
        Self {
            channel: endpoint.connect_with_connector_lazy(connector),
            token: None,
        }
    }

    /// The same, logged in.
    pub(crate) async fn logs_in(&self, name: &str, password: &str) -> Result<Self, Status> {
        let credentials = Credentials {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let path = "/etcdserverpb.Auth/Authenticate";
        let token: Token = self.call(path, credentials).await?;
        Ok(Self {
            token: Some(token.token),
            ..self.clone()
        })
    }

    /// Writes a key.
    pub(crate) async fn put(&self, key: &str) -> Result<(), Status> {
        let request = Put {
            key: key.as_bytes().to_vec(),
            value: b"x".to_vec(),
        };
        let _: Done = self.call("/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    async fn call<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let metadata = request.metadata_mut();
            metadata.insert("token", token.parse().unwrap());
        }
        let exchange = async {
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(path);
            grpc.unary(request, path, codec).await
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("no answer"))??;
        Ok(answer.into_inner())
    }
}
