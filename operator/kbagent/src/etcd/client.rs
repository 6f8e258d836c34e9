//! One lazily connected channel to one member. Cloning shares the connection.

use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::{InvalidUri, PathAndQuery};
use hyper_util::rt::TokioIo;
use kbagent_protocol::{Alarm, AlarmKind};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Status as GrpcStatus};
use tonic_prost::ProstCodec;

use super::error::EtcdError;
use super::messages::{
    AlarmRequest, CompactionRequest, Done, DowngradeRequest, Empty, HashKv, HashKvRequest,
    HashKvResponse, IdRequest, Member, MemberAddRequest, MemberAddResponse, MemberList,
    MemberListRequest, ResponseHeader, Status,
};
use crate::tls::{Speaks, Stream, Tls};

/// Longest time to wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(1);

/// What is asked of etcd's downgrade: `DowngradeRequest.DowngradeAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downgrade {
    /// Whether it could begin.
    Validate = 0,
    /// It begins.
    Enable = 1,
    /// It ends where it is.
    Cancel = 2,
}

/// A client of one member.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    endpoint: String,
    tls: Tls,
    member: Option<u64>,
}

pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) deadline: Duration,
}

impl Client {
    /// A client of the member at `endpoint` (`http://host:port`, `https:` with TLS); connects at the first call and
    /// again after a loss.
    ///
    /// # Errors
    /// When the address is no URL.
    pub fn new(endpoint: &str, tls: &Tls) -> Result<Self, EtcdError> {
        let unfit = |message: String| EtcdError::Transport {
            endpoint: endpoint.to_owned(),
            message,
        };
        let origin: Uri = endpoint
            .parse()
            .map_err(|error: InvalidUri| unfit(error.to_string()))?;
        // The connector speaks TLS. Where another crate of the same build has tonic speak it, tonic refuses to connect
        // to an https URI by a connector.
        let dialled = endpoint.replacen("https:", "http:", 1);
        let built = Endpoint::from_shared(dialled).map_err(|error| unfit(error.to_string()))?;
        let built = built.origin(origin);
        // Small windows: answers are a few hundred bytes, and kbagent's memory counts in every pod.
        let built = built
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(64 * 1024)
            .buffer_size(16usize);
        let channel = if tls.is_on() {
            built.connect_with_connector_lazy(connector(tls))
        } else {
            built.connect_lazy()
        };
        Ok(Self {
            channel,
            endpoint: endpoint.to_owned(),
            tls: tls.clone(),
            member: None,
        })
    }

    /// A client of the member `id`, with the same certificates. What it says of itself must come from that member:
    /// while its etcd is dead its agent leads clients to the leader.
    ///
    /// # Errors
    /// When the address is no URL.
    pub fn of(&self, endpoint: &str, id: u64) -> Result<Self, EtcdError> {
        let client = Self::new(endpoint, &self.tls)?;
        Ok(Self {
            member: Some(id),
            ..client
        })
    }

    fn is_of(&self, header: Option<ResponseHeader>) -> Result<(), EtcdError> {
        match self.member {
            Some(id) if header.unwrap_or_default().member_id != id => Err(EtcdError::Another {
                endpoint: self.endpoint.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The address.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// `Maintenance.Status`: answered by the member itself, even without a leader; not while its database is locked, as
    /// it is by a defragmentation or, while it writes, by a hash of the key space.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn status(&self, deadline: Duration) -> Result<Status, EtcdError> {
        let path = "/etcdserverpb.Maintenance/Status";
        let call = Call {
            name: "read the status",
            path,
            deadline,
        };
        let status: Status = self.unary(call, Empty {}).await?;
        self.is_of(status.header)?;
        Ok(status)
    }

    /// The member list; linearizable: agreed by a quorum just now (3.5 and newer; 3.4 ignores the flag).
    ///
    /// # Errors
    /// See [`EtcdError`]. An error is not an empty list (M5).
    pub async fn members(
        &self,
        linearizable: bool,
        deadline: Duration,
    ) -> Result<MemberList, EtcdError> {
        let path = "/etcdserverpb.Cluster/MemberList";
        let call = Call {
            name: "list the members",
            path,
            deadline,
        };
        self.unary(call, MemberListRequest { linearizable }).await
    }

    /// Adds a learner (M2: never a voter).
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have been added anyway (M6).
    pub async fn add_learner(
        &self,
        peer_url: &str,
        deadline: Duration,
    ) -> Result<Option<Member>, EtcdError> {
        let path = "/etcdserverpb.Cluster/MemberAdd";
        let request = MemberAddRequest {
            peer_urls: vec![peer_url.to_owned()],
            is_learner: true,
        };
        let call = Call {
            name: "add the learner",
            path,
            deadline,
        };
        let answer: MemberAddResponse = self.unary(call, request).await?;
        Ok(answer.member)
    }

    /// Gives a learner its vote.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have been promoted anyway (M6).
    pub async fn promote(&self, id: u64, deadline: Duration) -> Result<MemberList, EtcdError> {
        let path = "/etcdserverpb.Cluster/MemberPromote";
        self.unary(
            Call {
                name: "promote the learner",
                path,
                deadline,
            },
            IdRequest { id },
        )
        .await
    }

    /// Removes a member by its identifier (M4).
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have been removed anyway (M6).
    pub async fn remove(&self, id: u64, deadline: Duration) -> Result<MemberList, EtcdError> {
        let path = "/etcdserverpb.Cluster/MemberRemove";
        self.unary(
            Call {
                name: "remove the member",
                path,
                deadline,
            },
            IdRequest { id },
        )
        .await
    }

    /// Moves leadership to `target`; only the leader obeys.
    ///
    /// # Errors
    /// See [`EtcdError`]; leadership may have moved anyway (M6).
    pub async fn move_leader(&self, target: u64, deadline: Duration) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.Maintenance/MoveLeader";
        let call = Call {
            name: "move leadership",
            path,
            deadline,
        };
        let _: MemberList = self.unary(call, IdRequest { id: target }).await?;
        Ok(())
    }

    /// Forgets all revisions before `revision`. Members free their pages a little later, each for itself.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn compact(&self, revision: i64, deadline: Duration) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.KV/Compact";
        let call = Call {
            name: "compact",
            path,
            deadline,
        };
        let _: Done = self.unary(call, CompactionRequest { revision }).await?;
        Ok(())
    }

    /// Rewrites this member's database without its free pages. The member neither reads nor applies meanwhile.
    ///
    /// # Errors
    /// See [`EtcdError`]; after a timeout it continues.
    pub async fn defragment(&self, deadline: Duration) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.Maintenance/Defragment";
        let call = Call {
            name: "defragment",
            path,
            deadline,
        };
        let _: Done = self.unary(call, Empty {}).await?;
        Ok(())
    }

    /// Disarms an alarm.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn disarm(&self, alarm: Alarm, deadline: Duration) -> Result<(), EtcdError> {
        /// `AlarmRequest.AlarmAction`.
        const DEACTIVATE: i32 = 2;
        let path = "/etcdserverpb.Maintenance/Alarm";
        let call = Call {
            name: "disarm the alarm",
            path,
            deadline,
        };
        let request = AlarmRequest {
            action: DEACTIVATE,
            member_id: alarm.member.0,
            // `AlarmType`.
            alarm: match alarm.kind {
                AlarmKind::NoSpace => 1,
                AlarmKind::Corrupt => 2,
            },
        };
        let _: Done = self.unary(call, request).await?;
        Ok(())
    }

    /// Appends an entry without effect to the log: a question for alarms, which etcd answers by raft.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn append_nothing(&self, deadline: Duration) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.Maintenance/Alarm";
        let call = Call {
            name: "append to the log",
            path,
            deadline,
        };
        // `AlarmRequest.AlarmAction`: 0 gets them.
        let _: Done = self.unary(call, AlarmRequest::default()).await?;
        Ok(())
    }

    /// Asks of the downgrade to a minor, e.g. `3.5`; no minor is needed to cancel it.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn downgrade(
        &self,
        what: Downgrade,
        to: &str,
        deadline: Duration,
    ) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.Maintenance/Downgrade";
        let call = Call {
            name: match what {
                Downgrade::Validate => "validate the downgrade",
                Downgrade::Enable => "enable the downgrade",
                Downgrade::Cancel => "cancel the downgrade",
            },
            path,
            deadline,
        };
        let request = DowngradeRequest {
            action: what as i32,
            version: to.to_owned(),
        };
        let _: Done = self.unary(call, request).await?;
        Ok(())
    }

    /// Hash of all keys up to `revision`, and the revision that the member was compacted at: hashes of members that
    /// were compacted at different ones differ.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn hash_kv(&self, revision: i64, deadline: Duration) -> Result<HashKv, EtcdError> {
        let path = "/etcdserverpb.Maintenance/HashKV";
        let call = Call {
            name: "hash the key space",
            path,
            deadline,
        };
        let answer: HashKvResponse = self.unary(call, HashKvRequest { revision }).await?;
        self.is_of(answer.header)?;
        Ok(HashKv {
            hash: answer.hash,
            compact_revision: answer.compact_revision,
        })
    }

    pub(super) async fn unary<Q, A>(&self, call: Call, request: Q) -> Result<A, EtcdError>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let exchange = async {
            grpc.ready()
                .await
                .map_err(|error| GrpcStatus::from_error(Box::new(error)))?;
            let path = PathAndQuery::from_static(call.path);
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(request.into_request(), path, codec).await
        };
        match tokio::time::timeout(call.deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(EtcdError::from_status(&status, call.name, &self.endpoint)),
            Err(_) => Err(EtcdError::TimedOut {
                endpoint: self.endpoint.clone(),
                deadline_ms: call.deadline.as_millis(),
            }),
        }
    }
}

/// Connects with the certificates of the moment.
fn connector(
    tls: &Tls,
) -> impl tower::Service<Uri, Response = TokioIo<Box<dyn Stream>>, Error = std::io::Error, Future: Send>
+ Send
+ use<> {
    let tls = tls.clone();
    tower::service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            tls.connect(&address, Speaks::Http2).await.map(TokioIo::new)
        }
    })
}
