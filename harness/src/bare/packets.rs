//! Faults of packets between a member and its peers: lost, doubled, damaged, out of order. `workload packets` does it,
//! in a container of its own that shares the member's network and has no other right than to change that. Its rule goes
//! with it, however it ends, and it ends by itself after three minutes.

use serde::Deserialize;

use crate::bare::BareError;
use crate::bare::beside::{Beside, LIMIT};
use crate::bare::cluster::BareCluster;
use crate::bare::effect::{until_answered, until_shown};
use crate::bare::member::PEER_PORT;
use crate::faults::{
    Evidence, Fault, FaultError, Healing, Injected, PacketHarm, Running, Target, Traffic,
};

/// What is done to how many packets of a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Harm {
    how: How,
    percent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Lose,
    Other(PacketHarm),
}

/// What was done to packets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    passed: u64,
    lost: u64,
    duplicated: u64,
    corrupted: u64,
    reordered: u64,
    delayed: u64,
}

/// What the member's kernel has counted of TCP meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kernel {
    sent_again: u64,
    checksum_wrong: u64,
    out_of_order: u64,
    doubled: u64,
}

/// A line that it prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    sent: Counts,
    received: Counts,
    kernel: Kernel,
    /// `asked` or `limit`; none while it runs.
    ended: Option<String>,
}

/// What it prints of the rule.
#[derive(Debug, Deserialize)]
struct Look {
    rule: bool,
}

/// Members whose packets are harmed.
struct Harmed {
    cluster: BareCluster,
    fault: String,
    harm: Harm,
    members: Vec<String>,
    /// A member whose packets are left alone: it asks the others.
    witness: Option<String>,
}

/// What a fault does to packets between members, if it does that.
pub(crate) fn of(fault: &Fault) -> Option<Harm> {
    let (how, percent) = match fault {
        Fault::LosePackets {
            traffic: Traffic::Peer,
            percent,
            ..
        } => (How::Lose, percent),
        Fault::HarmPackets { how, percent, .. } => (How::Other(*how), percent),
        _ => return None,
    };
    Some(Harm {
        how,
        percent: *percent,
    })
}

/// Harms packets of these members.
///
/// # Errors
/// [`FaultError::Unavailable`] where this kernel has no queue for them, else the step that failed.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, harm): (&Fault, Harm),
    (members, witness, seed): (Vec<String>, Option<String>, u64),
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let harmed = Harmed {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        harm,
        members,
        witness,
    };
    for (seed, member) in (seed..).zip(&harmed.members) {
        let begun = cluster.harm_packets(member, harm, seed).await;
        let begun = match begun {
            Ok(()) => harmed.begun(member).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = begun {
            // The error of the injection is the one to report; the run removes the containers in any case.
            for member in &harmed.members {
                let _ = cluster.remove_beside(&daemon(member)).await;
            }
            let fault = harmed.fault;
            return Err(FaultError::Unavailable { fault, reason });
        }
    }
    let targets = harmed.members.iter();
    Ok(Injected {
        targets: targets.map(|name| Target::member(name)).collect(),
        evidence,
        running: Box::new(harmed),
    })
}

/// Name of the container that harms a member's packets.
fn daemon(member: &str) -> String {
    format!("{member}-packets")
}

impl How {
    /// Its word on the command line.
    fn word(self) -> &'static str {
        match self {
            How::Lose => "lose",
            How::Other(PacketHarm::Duplicate) => "duplicate",
            How::Other(PacketHarm::Corrupt) => "corrupt",
            How::Other(PacketHarm::Reorder) => "reorder",
        }
    }

    /// The packets that it has harmed.
    fn harmed(self, counts: &Counts) -> u64 {
        match self {
            How::Lose => counts.lost,
            How::Other(PacketHarm::Duplicate) => counts.duplicated,
            How::Other(PacketHarm::Corrupt) => counts.corrupted,
            How::Other(PacketHarm::Reorder) => counts.reordered,
        }
    }

    /// What TCP itself says of them, by name.
    fn seen(self, kernel: &Kernel) -> (&'static str, u64) {
        match self {
            How::Lose => ("sent_again", kernel.sent_again),
            How::Other(PacketHarm::Duplicate) => ("doubled", kernel.doubled),
            How::Other(PacketHarm::Corrupt) => ("checksum_wrong", kernel.checksum_wrong),
            How::Other(PacketHarm::Reorder) => ("out_of_order", kernel.out_of_order),
        }
    }

    /// What shows that it bites: packets of both ways, and TCP's own figure.
    ///
    /// # Errors
    /// What was seen instead, in words.
    fn shown(self, report: &Report) -> Result<Evidence, String> {
        let (sent, received) = (self.harmed(&report.sent), self.harmed(&report.received));
        let (name, seen) = self.seen(&report.kernel);
        if sent == 0 || received == 0 || seen == 0 {
            return Err(format!("not seen yet: {report:?}"));
        }
        let passed = report.sent.passed + report.received.passed;
        Ok(Evidence::new()
            .with("harmed_sent", sent)
            .with("harmed_received", received)
            .with("passed", passed)
            .with(name, seen))
    }
}

impl BareCluster {
    /// Starts the container that harms packets of a member.
    async fn harm_packets(&self, member: &str, harm: Harm, seed: u64) -> Result<(), BareError> {
        let order = [
            ("--harm", harm.how.word().to_owned()),
            ("--percent", harm.percent.to_string()),
            ("--port", PEER_PORT.to_string()),
            ("--seed", seed.to_string()),
            ("--seconds", LIMIT.as_secs().to_string()),
        ];
        let order = order.map(|(name, value)| [name.to_owned(), value]);
        let words = Vec::from(["packets", "harm"].map(str::to_owned));
        let beside = Beside {
            name: &daemon(member),
            order: [words, order.concat()].concat(),
            rights: rights(harm.how),
            processes: false,
        };
        self.run_beside(member, beside).await
    }

    /// Whether packets of a member are given to a queue.
    ///
    /// # Errors
    /// Why that is not known, in words.
    async fn has_packet_rule(&self, member: &str) -> Result<bool, String> {
        let beside = Beside {
            name: &format!("{}-look", daemon(member)),
            order: Vec::from(["packets", "look"].map(str::to_owned)),
            rights: &["NET_ADMIN"],
            processes: false,
        };
        let look: Look = self.ask_beside(member, beside).await?;
        Ok(look.rule)
    }
}

/// What it may do: change the network of the member, and send whole packets where it sends copies.
fn rights(how: How) -> &'static [&'static str] {
    match how {
        How::Other(PacketHarm::Duplicate) => &["NET_ADMIN", "NET_RAW"],
        _ => &["NET_ADMIN"],
    }
}

impl Harmed {
    /// Waits until it has begun at a member.
    ///
    /// # Errors
    /// Why it has not, in words.
    async fn begun(&self, member: &str) -> Result<(), String> {
        self.cluster.begun_beside::<Report>(&daemon(member)).await
    }

    /// The last line of a member's.
    ///
    /// # Errors
    /// What it says instead.
    async fn report(&self, member: &str) -> Result<Report, String> {
        let said = self.cluster.said_beside(&daemon(member)).await;
        said.map_err(|said| format!("{member}: {said}"))
    }

    async fn shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for member in &self.members {
            let report = self.report(member).await?;
            let shown = self.harm.how.shown(&report);
            evidence.extend(shown.map_err(|seen| format!("{member}: {seen}"))?);
        }
        Ok(evidence)
    }

    /// Ends it at a member.
    ///
    /// # Errors
    /// The step that failed.
    async fn end(&self, member: &str, healing: &mut Healing) -> Result<(), BareError> {
        let name = daemon(member);
        // Its rule goes with it.
        let last = self.cluster.end_beside::<Report>(&name).await?;
        match last {
            Ok(last) => {
                match last.ended.as_deref() {
                    Some("asked") => {}
                    Some(_) => healing.early(member, "its time limit"),
                    None => healing.doubt(format!("{name} was killed: {last:?}")),
                }
                if let Ok(evidence) = self.harm.how.shown(&last) {
                    healing.evidence.extend(evidence);
                }
            }
            Err(said) => healing.early(member, &format!("its own end: {said}")),
        }
        Ok(())
    }
}

impl Running for Harmed {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "packets of every target be harmed, and TCP see it";
        until_shown(&self.fault, what, || self.shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        for member in &self.members {
            let ended = self.end(member, &mut healing).await;
            ended.map_err(|error| FaultError::Heal {
                fault: self.fault.clone(),
                reason: error.to_string(),
            })?;
        }
        let asked = (self.members.as_slice(), self.witness.as_ref());
        until_answered(&self.cluster, &self.fault, asked, healing).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for member in &self.members {
            let set = self.cluster.has_packet_rule(member).await;
            if set.map_err(|why| FaultError::find(format!("packet rules of {member}"), why))? {
                return Ok(Some(format!("{member}: its packets are given to a queue")));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::{FakeDocker, log_line};
    use crate::faults::Selector;

    const LINE: &str = r#"{"sent":{"passed":90,"lost":4,"duplicated":0,"corrupted":0,"reordered":0,"delayed":0},
        "received":{"passed":80,"lost":3,"duplicated":0,"corrupted":0,"reordered":0,"delayed":0},
        "kernel":{"sent_again":5,"checksum_wrong":0,"out_of_order":2,"doubled":0},"ended":null}"#;

    fn line(ended: &str) -> String {
        LINE.replace('\n', "").replace("null", ended)
    }

    fn harmed(fake: &FakeDocker, how: How) -> Harmed {
        Harmed {
            cluster: BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[])),
            fault: "packets".to_owned(),
            harm: Harm { how, percent: 10 },
            members: vec!["m0".to_owned()],
            witness: None,
        }
    }

    #[test]
    fn packets_of_peers_alone_are_harmed() {
        let lose = |traffic| Fault::LosePackets {
            of: Selector::Leader,
            traffic,
            percent: 5,
        };
        let (how, percent) = (How::Lose, 5);
        assert_eq!(of(&lose(Traffic::Peer)), Some(Harm { how, percent }));
        assert_eq!(of(&lose(Traffic::All)), None);
        assert_eq!(of(&Fault::FreezeDns), None);
    }

    #[test]
    fn only_copies_need_a_further_right() {
        assert_eq!(rights(How::Lose), ["NET_ADMIN"]);
        assert_eq!(rights(How::Other(PacketHarm::Corrupt)), ["NET_ADMIN"]);
        let copies = rights(How::Other(PacketHarm::Duplicate));
        assert_eq!(copies, ["NET_ADMIN", "NET_RAW"]);
    }

    #[test]
    fn it_is_shown_by_packets_of_both_ways_and_by_tcp() {
        let report: Report = serde_json::from_str(&line("null")).expect("a report");
        let evidence = How::Lose.shown(&report).expect("shown");
        assert_eq!(evidence.get("harmed_sent"), Some("4"));
        assert_eq!(evidence.get("sent_again"), Some("5"));
        for how in [
            PacketHarm::Duplicate,
            PacketHarm::Corrupt,
            PacketHarm::Reorder,
        ] {
            assert!(How::Other(how).shown(&report).is_err(), "{how:?}");
        }
        let mut without = report.clone();
        without.received.lost = 0;
        assert!(How::Lose.shown(&without).is_err(), "one way only");
        let mut unseen = report;
        unseen.kernel.sent_again = 0;
        assert!(How::Lose.shown(&unseen).is_err(), "TCP has not seen it");
    }

    /// What healing says of a daemon whose last line is this.
    async fn healed(last: String) -> Healing {
        let fake = FakeDocker::new(move |request| {
            let log = request.starts_with("GET") && request.ends_with("/logs");
            match log {
                true => (200, log_line(&format!("{last}\n"))),
                false => (204, Vec::new()),
            }
        });
        let mut healing = Healing::default();
        let harmed = harmed(&fake, How::Lose);
        harmed.end("m0", &mut healing).await.expect("ended");
        let asked = fake.asked();
        assert_eq!(
            asked,
            [
                "POST /containers/m0-packets/stop",
                "GET /containers/m0-packets/logs",
                "DELETE /containers/m0-packets"
            ]
        );
        healing
    }

    #[tokio::test]
    async fn one_that_ended_by_itself_was_shorter_than_planned() {
        let asked = healed(line("\"asked\"")).await;
        assert!(asked.doubts.is_empty(), "{asked}");
        assert_eq!(asked.evidence.get("harmed_received"), Some("3"));
        let limit = healed(line("\"limit\"")).await;
        assert!(limit.doubts[0].contains("time limit"), "{limit}");
        let killed = healed(line("null")).await;
        assert!(killed.doubts[0].contains("was killed"), "{killed}");
        let failed = healed("workload: failed to read packets".to_owned()).await;
        assert!(failed.doubts[0].contains("failed to read"), "{failed}");
    }

    #[tokio::test]
    async fn a_kernel_without_a_queue_is_the_reason() {
        let fake = FakeDocker::new(|request| match request {
            "GET /containers/m0-packets/logs" => {
                let said = "workload: failed to open a queue of packets\n";
                (200, log_line(said))
            }
            _ => (200, br#"{"State":{"Running":false,"ExitCode":1}}"#.to_vec()),
        });
        let why = harmed(&fake, How::Lose).begun("m0").await;
        let why = why.expect_err("it has ended");
        assert!(why.contains("failed to open a queue"), "{why}");
    }
}
