//! The cluster as an action needs it: a fresh list agreed by a quorum, where the leader is, and how each voter stands.

use std::time::Duration;

use futures::future::join_all;

use super::candidate::{LeaderMark, Standing};
use super::outcome::Failure;
use crate::etcd::{Client, EtcdError, Member, MemberList, Status};

/// Deadline of a linearizable list.
pub(super) const LIST: Duration = Duration::from_secs(2);
/// Deadline of a status of any member.
pub(super) const STATUS: Duration = Duration::from_millis(700);

/// One look at the cluster through the own member.
pub struct Cluster {
    own: Client,
    status: Status,
    list: MemberList,
}

impl Cluster {
    /// Looks through `own`.
    ///
    /// # Errors
    /// When the own member does not answer, or a quorum does not.
    pub async fn look(own: &Client) -> Result<Self, EtcdError> {
        let status = own.status(STATUS).await?;
        let list = own.members(true, LIST).await?;
        Ok(Self {
            own: own.clone(),
            status,
            list,
        })
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.list.members
    }

    /// The whole list.
    #[must_use]
    pub fn list(&self) -> &MemberList {
        &self.list
    }

    /// Identifier of the own member.
    #[must_use]
    pub fn own_id(&self) -> u64 {
        self.status.header.map_or(0, |header| header.member_id)
    }

    /// The member that leads, as the own member sees it.
    ///
    /// # Errors
    /// When there is none.
    pub fn leader(&self) -> Result<&Member, Failure> {
        let id = self.status.leader;
        let found = self
            .list
            .members
            .iter()
            .find(|member| member.id == id && id != 0);
        found.ok_or_else(|| Failure::Failed("the cluster has no leader now: try again".into()))
    }

    /// A client of a member: the own one, or by its first client URL.
    ///
    /// # Errors
    /// When the member has never started.
    pub fn client_of(&self, member: &Member) -> Result<Client, Failure> {
        if member.id == self.own_id() {
            return Ok(self.own.clone());
        }
        let url = member.client_urls.first().ok_or_else(|| {
            Failure::Precondition(format!(
                "member {:x} has no client URL: it never started",
                member.id
            ))
        })?;
        Ok(self.own.of(url, member.id)?)
    }

    /// Where the leader stands, asked of the leader itself. To be read before [`Cluster::standings`].
    ///
    /// # Errors
    /// When there is no leader, or the one that was thought to lead does not.
    pub async fn mark(&self) -> Result<LeaderMark, Failure> {
        let leader = self.leader()?;
        let status = self.client_of(leader)?.status(STATUS).await?;
        if status.leader != leader.id {
            return Err(Failure::Failed(
                "leadership is moving by itself: try again".into(),
            ));
        }
        Ok(LeaderMark {
            id: leader.id,
            term: status.raft_term,
            index: status.raft_index,
        })
    }

    /// What every member says of itself, all asked at once.
    pub async fn standings(&self) -> Vec<Standing> {
        let ask = self.list.members.iter().map(|member| async {
            let status = match self.client_of(member) {
                Ok(client) => client
                    .status(STATUS)
                    .await
                    .map_err(|error| error.to_string()),
                Err(failure) => Err(failure.to_string()),
            };
            Standing {
                member: member.clone(),
                status,
            }
        });
        join_all(ask).await
    }
}
