//! The status of every member, asked directly and often: who leads, in which term, how far.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::StatusResponse;
use etcd_history::{
    Record,
    record::{MemberSample, RaftStatus},
};
use tokio::time::timeout_at;

use crate::{
    attempt::Shared,
    config::Member,
    connection::Held,
    schedule::{Schedule, until},
};

/// A member that has not answered after this is silent.
const ANSWER: Duration = Duration::from_millis(300);

/// Asks one member for ever.
pub(crate) async fn run(shared: Arc<Shared>, member: Member) {
    let held = Held::new(Arc::clone(&shared.admin), &member.address);
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of a sampling period"
    )]
    let rate = 1000.0 / shared.config.rates.status_ms as f64;
    let Some(schedule) = Schedule::new(Instant::now(), rate) else {
        return;
    };
    let mut n = 0;
    loop {
        until(schedule.at(n)).await;
        let status = ask(&held).await;
        shared
            .recorder
            .progress
            .member(&member.pod, status.as_ref());
        let t = shared.recorder.clock.now();
        let sample = MemberSample {
            t,
            pod: member.pod.clone(),
            status,
        };
        shared.recorder.record(&Record::Member(sample));
        // Samples say how it is now: unlike writes, the ones that a silent member cost are not made up for.
        while schedule.at(n) <= Instant::now() {
            n += 1;
        }
    }
}

async fn ask(held: &Held) -> Option<RaftStatus> {
    let (number, client) = held.get_logged_in().await.ok()?;
    let deadline = tokio::time::Instant::now() + ANSWER;
    let mut maintenance = client.maintenance_client();
    if let Ok(Ok(response)) = timeout_at(deadline, maintenance.status()).await {
        return raft_status(&response);
    }
    held.give_up(number).await;
    None
}

fn raft_status(response: &StatusResponse) -> Option<RaftStatus> {
    let header = response.header()?;
    let leader = response.leader();
    Some(RaftStatus {
        cluster: format!("{:x}", header.cluster_id()),
        member: format!("{:x}", header.member_id()),
        leader: (leader != 0).then(|| format!("{leader:x}")),
        term: response.raft_term(),
        raft_index: response.raft_index(),
        applied_index: response.raft_applied_index(),
        revision: header.revision(),
        learner: response.is_learner(),
    })
}
