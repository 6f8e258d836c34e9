//! Faults on containers, by Docker's API: a member is killed, frozen or cut off. The faults are those of the scenario
//! language, as far as they make sense here.
//!
//! No dead man's switch: the members belong to this run alone and disturb no other one. What a killed harness leaves is
//! removed before the next run.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::crash::KILLED;
use crate::bare::effect::{left, until_answered, until_shown};
use crate::bare::failing::Failure;
use crate::bare::links::LinkFault;
use crate::bare::member::Layout;
use crate::bare::packets::Harm as PacketHarm;
use crate::bare::status::Status;
use crate::bare::turns::Cycle;
use crate::bare::{
    clock, damage, disk, disturbed, election, failing, failpoint, links, packets, power, turns,
    versions,
};
use crate::faults::{
    Active, Container, Direction, Evidence, Fault, FaultError, Healing, Injected, LogDamage,
    Member, Running, Selector, Target, Traffic, Unsynced,
};

/// What is done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Kill,
    Freeze,
    CutOff,
    Split,
}

/// Members that were harmed.
struct Harmed {
    cluster: BareCluster,
    fault: String,
    harm: Harm,
    members: Vec<String>,
    /// A member that was not: it asks the others.
    witness: Option<String>,
}

/// By which means bare members have a fault, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    /// Docker's API, on containers.
    Docker(Harm, Selector),
    /// The same, in turns.
    Turns(Cycle, Selector),
    /// The proxy between members.
    Links(LinkFault),
    /// etcd itself.
    Election(Selector),
    /// The files of a member that was killed.
    Log(LogDamage, Selector),
    /// The control groups of containers: so many writes a second.
    Disk(u32, Selector),
    /// The supervisor of a member's disk: what was not synced is lost.
    Power(Unsynced, Selector),
    /// The same: it fails in this way.
    Failing(Failure, Selector),
    /// etcd itself, at a failpoint.
    Failpoint(Selector),
    /// A queue of the kernel, in the network of a member.
    Packets(PacketHarm, Selector),
    /// The program of the member: it is started with that of another version.
    Version(bool, Selector),
    /// The code by which its etcd asks for the time.
    Clock(clock::Change, Selector),
}

impl Means {
    /// The members that it harms.
    fn of(&self) -> &Selector {
        match self {
            Self::Docker(_, of)
            | Self::Turns(_, of)
            | Self::Election(of)
            | Self::Log(_, of)
            | Self::Disk(_, of)
            | Self::Power(_, of)
            | Self::Failing(_, of)
            | Self::Failpoint(of)
            | Self::Packets(_, of)
            | Self::Version(_, of)
            | Self::Clock(_, of) => of,
            Self::Links(of) => of.selector(),
        }
    }
}

/// Injects a fault: chooses its targets now, does it.
///
/// # Errors
/// [`FaultError::Unavailable`] for a fault that bare members cannot have, else the step that failed; what was half done
/// is taken back.
pub(crate) async fn inject(
    cluster: &BareCluster,
    fault: &Fault,
    seed: u64,
) -> Result<Active, FaultError> {
    let begun = Instant::now();
    let unavailable = |reason| FaultError::Unavailable {
        fault: fault.to_string(),
        reason,
    };
    let means = means(fault, cluster.layout()).map_err(unavailable)?;
    let names = cluster.layout().names();
    let status = cluster.look().await;
    let status = status.map_err(|error| FaultError::find("the members", error))?;
    let all = status.members(&names);
    let chosen = means.of().select(&all, seed)?;
    let apart = |chosen: Vec<Member>| {
        let members: Vec<String> = chosen.into_iter().map(|member| member.pod).collect();
        let witness = witness(&status, &names, &members);
        (members, witness)
    };
    let leader = status.leader().unwrap_or("unknown");
    let evidence = Evidence::new().with("leader", leader);
    let injected = match means {
        Means::Docker(harm, _) => {
            let (members, witness) = apart(chosen);
            harmed(cluster, fault, (harm, members, witness), evidence).await?
        }
        Means::Turns(cycle, _) => turns::inject(cluster, (fault, cycle), chosen, evidence),
        Means::Links(of) => {
            disturbed::inject(cluster, (fault, of), (chosen, all), evidence).await?
        }
        Means::Election(_) => election::inject(cluster, fault, chosen, &status).await?,
        Means::Disk(writes_s, _) => {
            disk::inject(cluster, (fault, writes_s), chosen, evidence).await?
        }
        Means::Power(lost, _) => {
            let (members, witness) = apart(chosen);
            let loss = power::lose(cluster, fault, (&members, lost, seed)).await?;
            let killed = (Harm::Kill, members, witness);
            let killed = harmed(cluster, fault, killed, evidence).await?;
            loss.of(fault, killed)
        }
        Means::Failing(failure, _) => {
            failing::inject(cluster, (fault, failure), apart(chosen), evidence).await?
        }
        Means::Failpoint(_) => {
            let (members, witness) = apart(chosen);
            failpoint::inject(cluster, fault, (members, witness, seed), evidence).await?
        }
        Means::Packets(harm, _) => {
            let (members, witness) = apart(chosen);
            packets::inject(cluster, (fault, harm), (members, witness, seed), evidence).await?
        }
        Means::Version(in_turn, _) => {
            let (members, _) = apart(chosen);
            versions::inject(cluster, (fault, in_turn), members, evidence).await?
        }
        Means::Clock(change, _) => {
            clock::inject(cluster, (fault, change), apart(chosen), evidence).await?
        }
        Means::Log(how, _) => damage::inject(cluster, (fault, how), chosen, evidence).await?,
    };
    Ok(Active::of(fault, begun, injected))
}

/// A member that is not harmed and can ask the others: one that an earlier fault has killed or frozen cannot.
fn witness(status: &Status, names: &[String], harmed: &[String]) -> Option<String> {
    let mut able = names.iter().filter(|name| status.answers(name));
    able.find(|name| !harmed.contains(name)).cloned()
}

/// Harms the containers of these members.
async fn harmed(
    cluster: &BareCluster,
    fault: &Fault,
    (harm, members, witness): (Harm, Vec<String>, Option<String>),
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let mut harmed = Harmed {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        harm,
        witness,
        members,
    };
    if let Err(error) = harmed.begin().await {
        // The error of the injection is the one to report; the run removes the containers in any case.
        let _ = Running::heal(&mut harmed).await;
        return Err(FaultError::docker(format!("inject {fault}"), error));
    }
    Ok(Injected {
        targets: harmed
            .members
            .iter()
            .map(|name| Target::member(name))
            .collect(),
        evidence,
        running: Box::new(harmed),
    })
}

/// True for a fault that bare members can have, with what it needs between or beside them.
pub(crate) fn is_possible(fault: &Fault) -> bool {
    let able = Layout::new("", 3, &[])
        .with_proxy(true)
        .with_supervisor(true)
        .with_failpoints(true);
    means(fault, &able).is_ok()
}

/// The means for a fault. A split of two sides is one of the network where members have one of their own.
///
/// # Errors
/// Why there is none.
fn means(fault: &Fault, layout: &Layout) -> Result<Means, String> {
    let needs_proxy = links::needs_proxy(fault);
    match links::of(fault) {
        Some(of) if layout.proxy().is_some() => return Ok(Means::Links(of)),
        Some(_) if needs_proxy => {
            return Err("these members have no proxy between them".to_owned());
        }
        _ => {}
    }
    let ms = |ms: &u32| Duration::from_millis(u64::from(*ms));
    match fault {
        Fault::Elect { of } => return Ok(Means::Election(of.clone())),
        Fault::SlowDisk { of, writes_s } => return Ok(Means::Disk(*writes_s, of.clone())),
        Fault::DamageLog { of, how } => return Ok(Means::Log(*how, of.clone())),
        Fault::LosePower { .. }
        | Fault::FailDisk { .. }
        | Fault::FillDisk { .. }
        | Fault::FailReads { .. }
            if !layout.is_supervised() =>
        {
            return Err("nothing stands between these members and their disks".to_owned());
        }
        Fault::LosePower { of, lost } => return Ok(Means::Power(*lost, of.clone())),
        Fault::FailDisk { of } => return Ok(Means::Failing(Failure::Syncs, of.clone())),
        Fault::FillDisk { of } => return Ok(Means::Failing(Failure::Space, of.clone())),
        Fault::FailReads { of, what } => {
            return Ok(Means::Failing(Failure::Reads(*what), of.clone()));
        }
        Fault::LosePackets { of, .. } | Fault::HarmPackets { of, .. } => {
            let harm = packets::of(fault);
            let harm = harm.ok_or_else(|| "packets between members alone are lost".to_owned())?;
            return Ok(Means::Packets(harm, of.clone()));
        }
        Fault::ChangeVersion { of, in_turn } => return Ok(Means::Version(*in_turn, of.clone())),
        Fault::ShiftClock { of, seconds } => {
            return Ok(Means::Clock(clock::Change::Ahead(*seconds), of.clone()));
        }
        Fault::DriftClock { of, clock, percent } => {
            let change = clock::Change::rate(*clock, *percent)?;
            return Ok(Means::Clock(change, of.clone()));
        }
        Fault::Failpoint { .. } if !layout.has_failpoints() => {
            return Err("etcd of these members serves no failpoints".to_owned());
        }
        Fault::Failpoint { of, .. } => return Ok(Means::Failpoint(of.clone())),
        Fault::FreezeInTurns {
            of,
            frozen_ms,
            runs_ms,
        } => {
            let (frozen, runs) = (ms(frozen_ms), ms(runs_ms));
            return Ok(Means::Turns(Cycle { frozen, runs }, of.clone()));
        }
        _ => {}
    }
    let (harm, of) = harm(fault).ok_or_else(|| {
        "members that are plain containers are killed, frozen, cut off and elected, the links and packets between them disturbed, \
         their logs damaged, their disks slowed, filled and made to fail, their power is taken, and etcd has failpoints and \
         another time"
            .to_owned()
    })?;
    if harm == Harm::Split && layout.peers().is_none() {
        return Err("these members have no network of their own".to_owned());
    }
    Ok(Means::Docker(harm, of.clone()))
}

/// What a fault does to containers, and to which; nothing for those that need more than Docker's API.
fn harm(fault: &Fault) -> Option<(Harm, &Selector)> {
    match fault {
        Fault::KillProcess {
            container: Container::Etcd,
            of,
        } => Some((Harm::Kill, of)),
        Fault::FreezeProcess {
            container: Container::Etcd,
            of,
        } => Some((Harm::Freeze, of)),
        Fault::Isolate {
            of,
            traffic: Traffic::All,
            direction: Direction::Both,
        } => Some((Harm::CutOff, of)),
        Fault::Split {
            side,
            direction: Direction::Both,
        } => Some((Harm::Split, side)),
        _ => None,
    }
}

impl Harmed {
    async fn begin(&self) -> Result<(), BareError> {
        match self.harm {
            Harm::Kill => self.cluster.kill(&self.members).await,
            Harm::Freeze => all(self.members.iter().map(|name| self.cluster.pause(name))).await,
            Harm::CutOff => {
                all(self
                    .members
                    .iter()
                    .map(|name| self.cluster.disconnect(name)))
                .await
            }
            Harm::Split => {
                all(self
                    .members
                    .iter()
                    .map(|name| self.cluster.leave_peers(name)))
                .await
            }
        }
    }

    async fn end(&self) -> Result<(), BareError> {
        let members = self.members.iter();
        match self.harm {
            Harm::Kill => all(members.map(|name| self.cluster.start(name))).await,
            Harm::Freeze => all(members.map(|name| self.cluster.unpause(name))).await,
            Harm::CutOff => all(members.map(|name| self.cluster.connect(name))).await,
            Harm::Split => all(members.map(|name| self.cluster.join_peers(name))).await,
        }
    }

    /// True while Docker says that the member is harmed.
    async fn is_on(&self, member: &str) -> Result<bool, BareError> {
        let seen = self.cluster.seen(member).await?;
        Ok(match self.harm {
            Harm::Kill => !seen.running && seen.exit_code == KILLED,
            Harm::Freeze => seen.paused,
            Harm::CutOff => seen.running && seen.networks.is_empty(),
            Harm::Split => seen.running && seen.networks.len() == 1,
        })
    }

    /// What shows that a member is harmed, not only in Docker's opinion.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self, member: &str) -> Result<Evidence, String> {
        if !self
            .is_on(member)
            .await
            .map_err(|error| error.to_string())?
        {
            return Err(format!("{member} runs as before"));
        }
        let mut evidence = Evidence::new();
        evidence.add(
            "docker",
            match self.harm {
                Harm::Kill => format!("exited with {KILLED}"),
                Harm::Freeze => "paused".to_owned(),
                Harm::CutOff => "without a network".to_owned(),
                Harm::Split => "without its peers' network".to_owned(),
            },
        );
        if let Some(witness) = self.witness.as_ref().filter(|_| self.harm != Harm::Split) {
            let both = [witness.clone(), member.to_owned()];
            let status = self.cluster.look_from(witness, &both).await?;
            if !status.answers(witness) {
                return Err(format!("{witness} cannot ask for {member}"));
            }
            if status.answers(member) {
                return Err(format!("{member} still answers {witness}"));
            }
            evidence.add("no_answer_to", witness);
        }
        if matches!(self.harm, Harm::CutOff | Harm::Split) {
            let own = self.cluster.look_from(member, &[member.to_owned()]).await?;
            if !own.answers(member) || own.has_leader(member) {
                return Err(format!("{member} still knows a leader"));
            }
            evidence.add("own_leader", "none");
        }
        Ok(evidence)
    }

    async fn all_shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for shown in join_all(self.members.iter().map(|name| self.shown(name))).await {
            evidence.extend(shown?);
        }
        Ok(evidence)
    }
}

impl Running for Harmed {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "every target stop answering";
        until_shown(&self.fault, what, || self.all_shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.clone(),
            reason,
        };
        let mut healing = Healing::default();
        for member in &self.members {
            let on = self.is_on(member).await;
            if !on.map_err(|error| failed(error.to_string()))? {
                healing.early(member, "something else");
            }
        }
        self.end()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let asked = (self.members.as_slice(), self.witness.as_ref());
        until_answered(&self.cluster, &self.fault, asked, healing).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        let networks = 1 + usize::from(self.cluster.layout().peers().is_some());
        left(&self.cluster, &self.members, |seen| {
            seen.running && !seen.paused && seen.networks.len() >= networks
        })
        .await
    }
}

/// All of them to their end, then the first error.
async fn all(
    work: impl Iterator<Item = impl Future<Output = Result<(), BareError>>>,
) -> Result<(), BareError> {
    join_all(work).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::{BarePlan, VERSION, bugs, catalog, shared};
    use crate::faults::{EtcdClock, FailAction, Unreadable};

    #[test]
    fn every_fault_of_the_catalogue_can_be_injected() {
        let all = catalog::all().into_iter().chain(shared::all());
        for scenario in all {
            let plan = BarePlan::named(scenario.name, None, VERSION, 7).expect("a plan");
            for fault in scenario.all_faults() {
                let means = means(fault, &plan.layout("7"));
                assert!(means.is_ok(), "{}: {fault}: {means:?}", scenario.name);
            }
        }
    }

    #[test]
    fn every_fault_of_a_known_bug_can_be_injected() {
        for bug in bugs::all() {
            let plan = bug.plan(bug.affected, 7);
            for fault in plan.plan.scenario.all_faults() {
                let means = means(fault, &plan.layout("7"));
                assert!(means.is_ok(), "{}: {fault}: {means:?}", bug.name);
            }
        }
    }

    #[test]
    fn what_would_only_be_done_in_part_is_not_done() {
        let isolate = |traffic| Fault::Isolate {
            of: Selector::Leader,
            traffic,
            direction: Direction::Both,
        };
        let layout = Layout::new("7", 3, &[]);
        assert!(means(&isolate(Traffic::All), &layout).is_ok());
        let clients = means(&isolate(Traffic::Client), &layout.clone().with_proxy(true));
        assert!(clients.is_err(), "peers would be cut off too");
        assert!(means(&Fault::FillQuota, &layout).is_err());
    }

    #[test]
    fn a_disk_that_fails_or_is_full_needs_a_supervisor() {
        let of = || Selector::Leader;
        let layout = Layout::new("7", 3, &[]);
        let supervised = layout.clone().with_supervisor(true);
        let what = Unreadable::Log;
        let log = Fault::FailReads { of: of(), what };
        for (fault, failure) in [
            (Fault::FailDisk { of: of() }, Failure::Syncs),
            (Fault::FillDisk { of: of() }, Failure::Space),
            (log, Failure::Reads(Unreadable::Log)),
        ] {
            let refused = means(&fault, &layout);
            assert!(refused.is_err_and(|reason| reason.contains("nothing stands between")));
            assert_eq!(
                means(&fault, &supervised),
                Ok(Means::Failing(failure, of()))
            );
        }
    }

    #[test]
    fn a_rate_that_would_not_show_is_refused() {
        let drift = |clock, percent| {
            let of = Selector::Leader;
            means(
                &Fault::DriftClock { of, clock, percent },
                &Layout::new("7", 3, &[]),
            )
        };
        for percent in [10, 99, 101, 1_000] {
            assert!(drift(EtcdClock::TimeOfDay, percent).is_ok(), "{percent}");
        }
        assert!(drift(EtcdClock::Monotonic, 110).is_ok());
        for (clock, percent) in [
            (EtcdClock::TimeOfDay, 100),
            (EtcdClock::TimeOfDay, 9),
            (EtcdClock::TimeOfDay, 1_001),
            (EtcdClock::Monotonic, 50),
            (EtcdClock::Monotonic, 109),
        ] {
            let refused = drift(clock, percent);
            assert!(
                refused.is_err_and(|reason| reason.contains("to 1000 %")),
                "{clock:?} {percent}"
            );
        }
    }

    #[test]
    fn a_failpoint_needs_members_that_serve_theirs() {
        let fault = Fault::Failpoint {
            of: Selector::Leader,
            at: vec!["raftBeforeSave".to_owned()],
            action: FailAction::Panic,
        };
        let layout = Layout::new("7", 3, &[]);
        let refused = means(&fault, &layout);
        assert!(refused.is_err_and(|reason| reason.contains("no failpoints")));
        let served = means(&fault, &layout.with_failpoints(true));
        assert_eq!(served, Ok(Means::Failpoint(Selector::Leader)));
    }

    #[test]
    fn a_fault_of_links_needs_the_proxy_and_a_split_takes_what_there_is() {
        let split = |direction| Fault::Split {
            side: Selector::Leader,
            direction,
        };
        let layout = Layout::new("7", 3, &[]);
        let one_way = means(&split(Direction::Incoming), &layout);
        assert!(one_way.is_err_and(|reason| reason.contains("no proxy")));
        assert!(means(&split(Direction::Both), &layout).is_err());
        let both = |layout: Layout| means(&split(Direction::Both), &layout).expect("a means");
        let apart = both(layout.clone().with_peers_apart(true));
        assert!(matches!(apart, Means::Docker(Harm::Split, _)));
        assert!(matches!(both(layout.with_proxy(true)), Means::Links(_)));
    }
}
