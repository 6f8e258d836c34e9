//! A power loss: members are killed, and what they had written and not synced is undone before they start again.
//!
//! Each supervisor holds the next sync for a moment first, so that something is lost, and so that who continues without
//! the sync says so to others.

use disk_faults::{Kept, Order, Report};
use futures::future::join_all;

use crate::bare::cluster::BareCluster;
use crate::faults::{
    AnyRunning, Evidence, Fault, FaultError, Healing, Injected, Running, Unsynced,
};

/// So long a supervisor waits for a sync, which every write of a client causes: the last second of who syncs nothing.
const WAIT_MS: u64 = 1000;
/// So long it holds the first one: less than an election takes to begin.
const HOLD_MS: u64 = 100;

/// What members have lost.
pub(super) struct Loss {
    evidence: Evidence,
    /// Why it is no power loss that proves something.
    doubt: Option<String>,
}

/// Members whose power is gone.
struct Dark {
    fault: String,
    killed: Box<dyn AnyRunning>,
    doubt: Option<String>,
}

/// Kills etcd of these members and takes what they have not synced. Their containers run on.
pub(super) async fn lose(
    cluster: &BareCluster,
    fault: &Fault,
    (members, lost, seed): (&[String], Unsynced, u64),
) -> Result<Loss, FaultError> {
    match switch_off(cluster, fault, (members, lost, seed)).await {
        Ok(reports) => Ok(loss(members, &reports)),
        Err(error) => {
            // The error of the injection is the one to report; the run removes the containers in any case.
            let _ = cluster.kill(members).await;
            let starts = members.iter().map(|member| cluster.start(member));
            let _ = join_all(starts).await;
            Err(error)
        }
    }
}

async fn switch_off(
    cluster: &BareCluster,
    fault: &Fault,
    (members, lost, seed): (&[String], Unsynced, u64),
) -> Result<Vec<Report>, FaultError> {
    let order = |number: u64| Order::LosePower {
        kept: match lost {
            Unsynced::All | Unsynced::LastSecond => Kept::Nothing,
            // Members do not lose alike.
            Unsynced::Some => Kept::Some {
                seed: seed.wrapping_mul(31).wrapping_add(number),
            },
        },
        wait_ms: WAIT_MS,
        hold_ms: HOLD_MS,
    };
    if lost == Unsynced::LastSecond {
        // A member that kept what the others have lost would not follow the leader that they elect without it.
        each(cluster, fault, members, |_| Order::StandStill).await?;
    }
    each(cluster, fault, members, order).await
}

/// Gives each of these members its order, at once. To the end, also when one fails: the others have obeyed then.
async fn each(
    cluster: &BareCluster,
    fault: &Fault,
    members: &[String],
    order: impl Fn(u64) -> Order,
) -> Result<Vec<Report>, FaultError> {
    let orders = members.iter().zip(0..).map(|(member, number)| {
        let order = order(number);
        async move { cluster.order(fault, (member.as_str(), order)).await }
    });
    join_all(orders).await.into_iter().collect()
}

fn loss(members: &[String], reports: &[Report]) -> Loss {
    let undone: u64 = reports.iter().map(Report::undone).sum();
    let each = members.iter().zip(reports).map(|(member, report)| {
        let files = report.lost.iter().filter(|lost| lost.bytes > 0);
        let files: Vec<&str> = files.map(|lost| lost.file.as_str()).collect();
        let files = files.join(" ");
        format!("{member} {} bytes of [{files}]", report.undone())
    });
    let times = reports.iter().filter_map(|report| report.died_at_ms);
    let spread = times.clone().max().zip(times.min());
    let mut evidence = Evidence::new()
        .with("undone_bytes", undone)
        .with("undone", each.collect::<Vec<_>>().join(", "))
        .with(
            "held_syncs",
            reports.iter().map(|report| report.held).sum::<u64>(),
        );
    if let Some((last, first)) = spread {
        evidence.add("died_within_ms", last - first);
    }
    let untracked = reports.iter().find_map(|report| report.untracked.clone());
    let doubt = match untracked {
        Some(why) => Some(format!("a write that could not be undone: {why}")),
        None => (undone == 0).then(|| "nothing was un-synced, so that nothing was lost".to_owned()),
    };
    Loss { evidence, doubt }
}

impl Loss {
    /// The loss of members that are killed now.
    pub(super) fn of(self, fault: &Fault, killed: Injected) -> Injected {
        let mut evidence = killed.evidence;
        evidence.extend(self.evidence);
        Injected {
            targets: killed.targets,
            evidence,
            running: Box::new(Dark {
                fault: fault.to_string(),
                killed: killed.running,
                doubt: self.doubt,
            }),
        }
    }
}

impl Running for Dark {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let evidence = self.killed.effect().await?;
        match &self.doubt {
            None => Ok(evidence),
            Some(seen) => Err(FaultError::NoEffect {
                fault: self.fault.clone(),
                waited_s: 0.0,
                seen: seen.clone(),
            }),
        }
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        self.killed.heal().await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        self.killed.residue().await
    }
}

#[cfg(test)]
mod tests {
    use disk_faults::Loss as File;

    use super::*;

    fn report(bytes: u64, died_at_ms: u64) -> Report {
        Report {
            lost: vec![File {
                file: "member/wal/0.wal".to_owned(),
                pages: 1,
                bytes,
                cut: 0,
            }],
            died_at_ms: Some(died_at_ms),
            held: 1,
            ..Report::default()
        }
    }

    #[test]
    fn a_loss_says_what_was_undone_and_how_far_apart() {
        let members = ["a".to_owned(), "b".to_owned()];
        let loss = loss(&members, &[report(512, 1_000), report(0, 1_040)]);
        assert_eq!(loss.doubt, None);
        let fact = |name| loss.evidence.get(name);
        assert_eq!(fact("undone_bytes"), Some("512"));
        assert_eq!(fact("died_within_ms"), Some("40"));
        assert_eq!(fact("held_syncs"), Some("2"));
        let each = "a 512 bytes of [member/wal/0.wal], b 0 bytes of []";
        assert_eq!(fact("undone"), Some(each));
    }

    #[test]
    fn a_loss_of_nothing_or_one_that_is_not_whole_proves_nothing() {
        let members = ["a".to_owned()];
        let nothing = loss(&members, &[report(0, 1)]);
        assert!(nothing.doubt.is_some_and(|doubt| doubt.contains("nothing")));
        let mut partial = report(512, 1);
        partial.untracked = Some("fallocate with mode 8".to_owned());
        let partial = loss(&members, &[partial]);
        assert!(partial.doubt.is_some_and(|doubt| doubt.contains("mode 8")));
    }
}
