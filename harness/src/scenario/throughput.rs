//! Writes a second of clusters that are there at the same time and are measured in turn, so that all see the same
//! machine.

use std::time::Duration;

use crate::bench::throughput::{ThroughputReport, Turn};
use crate::cluster::volumes;
use crate::deploy::{Guard, Reach, wait_quiet};
use crate::scenario::client::{ClientPlan, RecordingClient};
use crate::scenario::inside::Inside;
use crate::scenario::load::Load;
use crate::scenario::subject::Subject;
use crate::scenario::{Lab, RunError};
use crate::timeouts;

/// One of the clusters.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// What differs, in words.
    pub name: String,
    /// What it is closed with.
    pub guard: Guard,
    /// A setting of etcd.
    pub setting: Option<(&'static str, &'static str)>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub members: u32,
    pub clients: u32,
    pub bytes: u32,
    pub seconds: u64,
    pub turns: u32,
}

/// Makes the clusters, measures each in turn, and deletes them.
///
/// # Errors
/// When a cluster does not come up, or its client cannot write.
pub(crate) async fn measure(
    lab: &Lab,
    variants: &[Variant],
    amount: Amount,
) -> Result<ThroughputReport, RunError> {
    wait_quiet(&lab.cluster.kube).await?;
    let mut subjects = Vec::new();
    let measured = Box::pin(measured(lab, variants, amount, &mut subjects)).await;
    let mut deleted = Ok(());
    for subject in &subjects {
        deleted = deleted.and(Subject::delete(subject).await);
    }
    let report = measured?;
    deleted.map(|()| report)
}

/// The report; every cluster that was begun is in `subjects`.
async fn measured(
    lab: &Lab,
    variants: &[Variant],
    amount: Amount,
    subjects: &mut Vec<Subject>,
) -> Result<ThroughputReport, RunError> {
    let own = lab.cluster.own && lab.cluster.has_node_shells();
    let pool = own.then_some(volumes::LOCAL);
    for variant in variants {
        if let Some(pool) = &pool {
            volumes::prepare(&lab.cluster, pool).await?;
        }
        let name = "bench::throughput";
        let subject = Subject::create(&lab.cluster, name, amount.members, Reach::Usual).await?;
        let subject = subject.guarded(variant.guard);
        subjects.push(subject.clone());
        let settings: Vec<_> = variant.setting.into_iter().collect();
        subject.apply(pool.as_ref(), None, &settings).await?;
        let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
        subject.wait_whole(limit).await?;
        subject.wait_closed(limit).await?;
        let client = ClientPlan {
            image: &lab.client_image,
            seed: 1,
            load: Load::default(),
            others: &[],
            judged: false,
            on_control_plane: !lab.cluster.control_planes().is_empty(),
        };
        // It is never started: nothing of it is in the way.
        let client = RecordingClient::create(&subject, &client).await?;
        client.wait_running(limit).await?;
        lab.live.say(format!("{} is ready", variant.name));
    }
    let mut turns = vec![Vec::new(); subjects.len()];
    for round in 1..=amount.turns {
        for (at, subject) in subjects.iter().enumerate() {
            let turn = turn(subject, amount).await?;
            lab.live.say(format!(
                "turn {round} of {}, {}: {:.0} writes a second",
                amount.turns, variants[at].name, turn.writes_s
            ));
            turns[at].push(turn);
        }
    }
    let names = variants.iter().map(|variant| variant.name.clone());
    Ok(ThroughputReport {
        members: amount.members,
        clients: amount.clients,
        bytes: amount.bytes,
        seconds: amount.seconds,
        clusters: names.zip(turns).collect(),
    })
}

async fn turn(subject: &Subject, amount: Amount) -> Result<Turn, RunError> {
    let [clients, bytes, seconds] = [
        amount.clients.to_string(),
        amount.bytes.to_string(),
        amount.seconds.to_string(),
    ];
    let arguments = [
        "throughput",
        "--clients",
        &clients,
        "--bytes",
        &bytes,
        "--seconds",
        &seconds,
    ];
    // Half of it is for one attempt.
    let limit = 2 * Duration::from_secs(amount.seconds) + timeouts::NODE_COMMAND;
    let inside = Inside::of(&subject.kube, &subject.namespace);
    let text = inside.exec(&arguments, limit).await?;
    serde_json::from_slice(&text).map_err(|error| RunError::Client {
        command: "throughput".to_owned(),
        message: format!("{error}: {}", String::from_utf8_lossy(&text)),
    })
}
