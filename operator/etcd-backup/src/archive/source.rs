//! A member that is followed. The writer asks it for nothing else, so a test can be one.

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::lease::Leases;
use super::segment::Event;
use super::watch::{Message, Watch};
use crate::error::Error;
use crate::member::Member;

/// What is followed.
pub(super) trait Source {
    /// The next message; an error when there is none until then. It may be dropped: nothing is lost by that.
    async fn next(&mut self, until: Instant) -> Result<Message, Error>;
    /// What the last message had of the revision that the watch begins after, once.
    fn before(&mut self) -> Vec<Event>;
    /// Asks for [`Message::Delivered`].
    async fn ask(&mut self) -> Result<(), Error>;
    /// The cluster's revision, as its majority has agreed to, through this member.
    fn head(&self) -> BoxFuture<'static, Result<i64, Error>>;
    /// Writes into events for how long their leases were granted.
    async fn fill(&self, leases: &mut Leases, events: &mut [Event]);
}

/// A member of etcd.
pub(super) struct Followed {
    member: Member,
    watch: Watch,
}

impl Followed {
    /// Watches a member after a revision.
    pub(super) async fn begin(member: Member, after: i64) -> Result<Self, Error> {
        let watch = Watch::begin(&member, after).await?;
        Ok(Followed { member, watch })
    }
}

impl Source for Followed {
    async fn next(&mut self, until: Instant) -> Result<Message, Error> {
        self.watch.next(until).await
    }

    fn before(&mut self) -> Vec<Event> {
        self.watch.before()
    }

    async fn ask(&mut self) -> Result<(), Error> {
        self.watch.ask().await
    }

    fn head(&self) -> BoxFuture<'static, Result<i64, Error>> {
        let member = self.member.clone();
        async move { member.head().await }.boxed()
    }

    async fn fill(&self, leases: &mut Leases, events: &mut [Event]) {
        leases.fill(&self.member, events).await;
    }
}
