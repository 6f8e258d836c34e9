//! Faults of one process: killed, kept dead, frozen.

use futures::future::join_all;

use crate::cluster::NodeShell;
use crate::faults::members::roster;
use crate::faults::process::scripts::{self, LeftAlone, Process, Which};
use crate::faults::running::{Injected, Running};
use crate::faults::seen::{Look, until_seen};
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed};
use crate::faults::together::all_or_none;
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Healing, Member, Target};

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// SIGKILL once.
    Kill,
    /// SIGKILL whenever it is there.
    KeepKilling,
    /// SIGSTOP.
    Freeze,
    /// Out of memory, once.
    Exhaust,
}

/// Age in seconds of a process that has begun to serve, or whose killer does not come by any more: it does ten times a
/// second, and on a machine that stalls seconds later.
const LONG_ALIVE_S: f64 = 5.0;

impl Harm {
    /// True when there is nothing to take back.
    const fn is_over_at_once(self) -> bool {
        matches!(self, Harm::Kill | Harm::Exhaust)
    }
}

/// One container that is harmed.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    /// What it is, for reports.
    pub target: Target,
    /// UID of the pod; empty for any pod of the node.
    pub uid: String,
    /// Node.
    pub node: String,
    /// Name of the container.
    pub container: String,
}

impl Victim {
    /// A container of a pod that is no member's.
    pub(crate) fn of_pod(pod: Member, container: String) -> Result<Self, FaultError> {
        let node = pod.node()?.to_owned();
        Ok(Self {
            target: Target::Pod {
                pod: pod.pod,
                node: node.clone(),
                part: format!("container {container}"),
            },
            uid: pod.uid,
            node,
            container,
        })
    }

    fn which(&self) -> Which<'_> {
        Which {
            uid: &self.uid,
            container: &self.container,
        }
    }
}

/// Injects a fault of a member's process.
pub(crate) async fn inject(context: &FaultContext, fault: &Fault) -> Result<Injected, FaultError> {
    let (container, of, harm) = match fault {
        Fault::KillProcess { container, of } => (container, of, Harm::Kill),
        Fault::KeepKilling { container, of } => (container, of, Harm::KeepKilling),
        Fault::FreezeProcess { container, of } => (container, of, Harm::Freeze),
        Fault::ExhaustMemory { container, of } => (container, of, Harm::Exhaust),
        other => {
            return Err(FaultError::Unavailable {
                fault: other.to_string(),
                reason: "it is no fault of a process".into(),
            });
        }
    };
    let roster = roster(context).await?;
    let chosen = of.select(&roster.members, context.seed)?;
    let victims: Result<Vec<Victim>, FaultError> = chosen
        .iter()
        .map(|member: &Member| {
            Ok(Victim {
                target: Target::Member {
                    pod: member.pod.clone(),
                    node: member.node.clone(),
                    part: format!("container {}", container.name()),
                },
                uid: member.uid.clone(),
                node: member.node()?.to_owned(),
                container: container.name().to_owned(),
            })
        })
        .collect();
    let evidence = Evidence::new()
        .with("pods from", roster.pods_from)
        .with("roles from", roster.roles_from);
    let mut injected = harm_all(context, fault, victims?, harm).await?;
    injected.evidence.extend(evidence);
    Ok(injected)
}

/// Harms containers wherever they are: members', the operator's, the control plane's.
pub(crate) async fn harm_all(
    context: &FaultContext,
    fault: &Fault,
    victims: Vec<Victim>,
    harm: Harm,
) -> Result<Injected, FaultError> {
    let attempts = join_all(victims.into_iter().map(|victim| hit(context, victim, harm))).await;
    let hits = all_or_none(attempts, async |hit: Hit| {
        if !harm.is_over_at_once() {
            deadman::take_back(&hit.shell, &hit.trace).await;
        }
    })
    .await?;
    let mut evidence = Evidence::new();
    for hit in &hits {
        let pids: Vec<String> = hit.before.iter().map(|p| p.pid.to_string()).collect();
        evidence.add(format!("{} pid", hit.name()), pids.join(" "));
    }
    let targets = hits.iter().map(|hit| hit.victim.target.clone()).collect();
    Ok(Injected {
        targets,
        evidence,
        running: Box::new(Harmed {
            fault: fault.to_string(),
            harm,
            hits,
        }),
    })
}

async fn hit(context: &FaultContext, victim: Victim, harm: Harm) -> Result<Hit, FaultError> {
    let shell = context.cluster.shell(&victim.node)?;
    let trace = context.trace();
    let (heal, script) = match harm {
        Harm::Kill | Harm::Exhaust => {
            let script = match harm {
                Harm::Kill => scripts::kill(victim.which()),
                _ => scripts::exhaust(victim.which()),
            };
            let output = shell.check("kill a process", &script).await?;
            return Ok(Hit {
                before: scripts::parse(&output),
                victim,
                shell,
                trace,
            });
        }
        Harm::Freeze => (
            scripts::stop_loop(deadman::DIR, &trace) + "\n" + &scripts::go_on(victim.which()),
            scripts::keep_stopping(victim.which(), deadman::DIR, &trace),
        ),
        Harm::KeepKilling => (
            scripts::stop_loop(deadman::DIR, &trace),
            scripts::list(victim.which())
                + "\n"
                + &scripts::keep_killing(victim.which(), deadman::DIR, &trace),
        ),
    };
    let deed = Deed {
        trace: &trace,
        limit: context.dead_man,
        heal: &heal,
        inject: &script,
    };
    let output = deadman::run(&shell, &deed).await?;
    Ok(Hit {
        before: scripts::parse(&output),
        victim,
        shell,
        trace,
    })
}

/// One container that was hit.
struct Hit {
    victim: Victim,
    shell: NodeShell,
    trace: String,
    /// Its processes when it was hit.
    before: Vec<Process>,
}

impl Hit {
    fn name(&self) -> String {
        self.victim.target.to_string()
    }

    /// Its processes but etcd's launcher.
    async fn now(&self) -> Result<Vec<Process>, FaultError> {
        let which = self.victim.which();
        let output = self
            .shell
            .check("list processes", &scripts::list(which))
            .await?;
        let mut found = scripts::parse(&output);
        found.retain(|process| !process.launches(which));
        Ok(found)
    }

    /// What of the container the loop has left alone, of what is not stopped.
    async fn left_alone(&self, harm: Harm) -> Result<LeftAlone, FaultError> {
        let which = self.victim.which();
        let script = scripts::before_the_end(which, deadman::DIR, &self.trace);
        let output = self.shell.check("list processes", &script).await?;
        Ok(scripts::left_alone(&output, |process| {
            process.state != 'T' && is_harmed(process, which, harm)
        }))
    }

    async fn kills(&self) -> Result<usize, FaultError> {
        let script = format!("cat {}/{}.kills 2>/dev/null || :", deadman::DIR, self.trace);
        let output = self.shell.check("count kills", &script).await?;
        Ok(kills(&scripts::parse(&output), self.victim.which()))
    }
}

/// Kills of what the container is for: a launcher that was hit is no proof of an etcd that is dead.
fn kills(killed: &[Process], which: Which<'_>) -> usize {
    killed
        .iter()
        .filter(|process| !process.launches(which))
        .count()
}

/// Whether a loop harms this process: what else than etcd runs in etcd's container is stopped, and not killed.
fn is_harmed(process: &Process, which: Which<'_>, harm: Harm) -> bool {
    let beside = which.container == "etcd" && process.command != "etcd";
    let spared = harm == Harm::KeepKilling && beside;
    !(process.launches(which) || spared)
}

/// Those that were hit before: same number, same start.
fn still_there(before: &[Process], now: &[Process]) -> usize {
    now.iter()
        .filter(|p| {
            before
                .iter()
                .any(|b| b.pid == p.pid && b.started == p.started)
        })
        .count()
}

struct Harmed {
    fault: String,
    harm: Harm,
    hits: Vec<Hit>,
}

impl Harmed {
    /// One hit's effect: the evidence, or what is seen instead.
    async fn seen(&self, hit: &Hit) -> Look<String> {
        Ok(match self.harm {
            Harm::Kill | Harm::Exhaust => {
                let now = hit.now().await?;
                let left = still_there(&hit.before, &now);
                let word = now.first().map_or("none in its place yet".to_owned(), |p| {
                    format!("now pid {}", p.pid)
                });
                if left == 0 {
                    Ok(format!("gone, {word}"))
                } else {
                    Err(format!("{left} killed processes are still there"))
                }
            }
            Harm::KeepKilling => match hit.kills().await? {
                0 => Err("no kill yet".to_owned()),
                kills => Ok(format!("{kills} kills")),
            },
            Harm::Freeze => {
                let now = hit.now().await?;
                let stopped = now.iter().filter(|p| p.state == 'T').count();
                let text = format!("{stopped} of {} processes in state T", now.len());
                if stopped > 0 && stopped == now.len() {
                    Ok(text)
                } else {
                    Err(text)
                }
            }
        })
    }

    /// What is seen of a hit before it is healed, and whether it is over already.
    async fn last(&self, hit: &Hit) -> Result<(String, bool), FaultError> {
        let left = hit.left_alone(self.harm).await?;
        if self.harm == Harm::KeepKilling {
            let (kills, oldest) = (hit.kills().await?, left.oldest_s);
            let last = format!("{kills} kills in all, the process at the end {oldest:.1} s old");
            return Ok((last, over(left)));
        }
        let same = still_there(&hit.before, &hit.now().await?);
        let all = hit.before.len();
        let last = format!("{same} of {all} frozen processes are the same at the end");
        // One in their place was stopped as soon as it was seen.
        Ok((last, over(left)))
    }
}

/// Whether a fault was over before its end: the loop has passed over what it was to harm, or does not turn any more. On
/// a machine that stalls a process is some seconds old when the loop comes by, and that is no end.
fn over(left: LeftAlone) -> bool {
    left.passed_over || left.oldest_s > LONG_ALIVE_S
}

impl Running for Harmed {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let mut evidence = Evidence::new();
        for hit in &self.hits {
            let seen = until_seen(&self.fault, hit.name(), || self.seen(hit));
            evidence.add(hit.name(), seen.await?);
        }
        Ok(evidence)
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        if self.harm.is_over_at_once() {
            return Ok(healing);
        }
        let healed = join_all(self.hits.iter().map(async |hit| {
            // What cannot be looked at is healed anyway.
            let last = self.last(hit).await;
            (
                hit.name(),
                last,
                deadman::heal(&hit.shell, &hit.trace).await,
            )
        }))
        .await;
        for (name, last, healed) in healed {
            let (last, over) = last?;
            if healed? == Healed::ByTimer {
                healing.early(&name, BY_SWITCH);
            } else if over {
                let by = match self.harm {
                    Harm::KeepKilling => "a process that was not killed again",
                    _ => "a process that was not stopped again",
                };
                healing.early(&name, by);
            }
            healing.evidence.add(name, last);
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for hit in &self.hits {
            let stopped = hit.now().await?.iter().filter(|p| p.state == 'T').count();
            if self.harm == Harm::Freeze && stopped > 0 {
                return Ok(Some(format!(
                    "{}: {stopped} processes are still stopped",
                    hit.name()
                )));
            }
            if let Some(left) = deadman::residue(&hit.shell, &hit.trace).await? {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, started: u64) -> Process {
        Process {
            container_id: "c".into(),
            pid,
            started,
            state: 'S',
            command: "etcd".into(),
        }
    }

    #[test]
    fn a_killed_launcher_is_no_killed_etcd() {
        let launcher = Process {
            command: "kbagent".into(),
            ..process(1, 5)
        };
        let which = |container| Which { uid: "", container };
        let killed = [launcher, process(7, 100)];
        assert_eq!(kills(&killed, which("etcd")), 1);
        assert_eq!(kills(&killed, which("kbagent")), 2);
    }

    #[test]
    fn what_a_loop_does_not_kill_is_not_left_alone_by_it() {
        let of = |command: &str, container, harm| {
            let process = Process {
                command: command.to_owned(),
                ..process(7, 100)
            };
            is_harmed(&process, Which { uid: "", container }, harm)
        };
        for harm in [Harm::KeepKilling, Harm::Freeze] {
            assert!(of("etcd", "etcd", harm) && !of("kbagent", "etcd", harm));
            assert!(of("kbagent", "kbagent", harm));
        }
        assert!(of("etcdutl", "etcd", Harm::Freeze));
        assert!(!of("etcdutl", "etcd", Harm::KeepKilling));
    }

    #[test]
    fn a_stall_while_a_new_process_waits_for_its_killer_is_no_end_of_the_fault() {
        let left = |oldest_s, passed_over| {
            over(LeftAlone {
                oldest_s,
                passed_over,
            })
        };
        assert!(!left(4.0, false));
        assert!(left(0.7, true), "two turns have passed it over");
        assert!(left(5.5, false), "nothing turns any more");
    }

    #[test]
    fn a_new_process_with_an_old_number_is_not_the_killed_one() {
        let before = [process(7, 100)];
        assert_eq!(still_there(&before, &[process(7, 100), process(8, 1)]), 1);
        assert_eq!(still_there(&before, &[process(7, 200)]), 0);
    }
}
