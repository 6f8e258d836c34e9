//! The containers of members get a part of a processor only, as on a machine that is too small: the kernel lets them
//! run for that part of each period, and then none of them.

use futures::future::join_all;

use crate::cluster::NodeShell;
use crate::faults::members::roster;
use crate::faults::process::scripts::CONTAINERS;
use crate::faults::running::{Injected, Running};
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed};
use crate::faults::together::all_or_none;
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Healing, Member, Selector, Target};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Shell functions: the control groups of a pod's containers, and their share. What was before is kept in a file, for
/// the pod's containers only: a group of one that has ended is gone, and one that was started since is as it should be.
const FUNCTIONS: &str = r#"
# group ID: the control group that bounds a container's processors
group() {
  find /sys/fs/cgroup -type d -name "*$1*" | while read -r d; do
    if [ -e $d/cpu.max ] || [ -e $d/cpu.cfs_quota_us ]; then echo $d; return; fi
  done
}
share() { if [ -e $1/cpu.max ]; then cat $1/cpu.max; else cat $1/cpu.cfs_quota_us; fi; }
give() { if [ -e $1/cpu.max ]; then echo "$2" >$1/cpu.max; else echo "$2" >$1/cpu.cfs_quota_us; fi; }
# part DIR PERCENT: that part of one processor
part() {
  if [ -e $1/cpu.max ]; then echo "$((1000 * $2)) 100000"; else echo $(($(cat $1/cpu.cfs_period_us) * $2 / 100)); fi
}
throttled() { sed -n 's/^nr_throttled //p' $1/cpu.stat; }
"#;

/// Injects it.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    of: &Selector,
    percent: u8,
) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let chosen = of.select(&roster.members, context.seed)?;
    let attempts = join_all(
        chosen
            .iter()
            .map(|member| starve(context, member.clone(), percent)),
    )
    .await;
    let starved = all_or_none(attempts, async |one: Starved| {
        deadman::take_back(&one.shell, &one.trace).await;
    })
    .await?;
    let evidence = Evidence::new()
        .with("pods from", roster.pods_from)
        .with("roles from", roster.roles_from);
    Ok(Injected {
        targets: starved.iter().map(|one| one.target.clone()).collect(),
        evidence,
        running: Box::new(Starving {
            fault: fault.to_string(),
            starved,
        }),
    })
}

async fn starve(
    context: &FaultContext,
    member: Member,
    percent: u8,
) -> Result<Starved, FaultError> {
    let node = member.node()?.to_owned();
    let shell = context.cluster.shell(&node)?;
    let trace = context.trace();
    let deed = Deed {
        trace: &trace,
        limit: context.dead_man,
        heal: &heal_script(deadman::DIR, &trace),
        inject: &inject_script(deadman::DIR, &trace, &member.uid, percent),
    };
    deadman::run(&shell, &deed).await?;
    Ok(Starved {
        target: Target::Member {
            pod: member.pod,
            node: Some(node),
            part: "all containers".to_owned(),
        },
        shell,
        trace,
    })
}

/// Takes the share of each container and prints how often it was stopped until then.
fn inject_script(dir: &str, trace: &str, uid: &str, percent: u8) -> String {
    format!(
        "{CONTAINERS}{FUNCTIONS}: >{dir}/{trace}.shares\n\
         for i in $(ids '{uid}' etcd) $(ids '{uid}' kbagent) $(ids '{uid}' metrics-exporter); do\n\
         d=$(group $i)\n\
         [ -n \"$d\" ] || {{ echo \"no control group bounds the processors of container $i\" >&2; exit 1; }}\n\
         echo \"$d $(throttled $d) $(share $d)\" >>{dir}/{trace}.shares\n\
         give $d \"$(part $d {percent})\" || exit 1\n\
         done\n\
         [ -s {dir}/{trace}.shares ] || {{ echo 'no container of the pod runs' >&2; exit 1; }}"
    )
}

/// Gives back what was taken.
fn heal_script(dir: &str, trace: &str) -> String {
    format!(
        "{FUNCTIONS}[ -e {dir}/{trace}.shares ] || exit 0\n\
         while read -r d n old; do [ ! -d $d ] || give $d \"$old\" || exit 1; done <{dir}/{trace}.shares\n\
         rm -f {dir}/{trace}.shares"
    )
}

/// Prints how often the kernel has stopped the one that it has stopped most, and how many of the containers are the
/// same as at the start: one that has nothing to do is never stopped.
fn look_script(dir: &str, trace: &str) -> String {
    format!(
        "{FUNCTIONS}all=0 same=0 most=0\n\
         while read -r d n old; do all=$((all+1)); [ -d $d ] || continue; same=$((same+1))\n\
         t=$(($(throttled $d) - n)); [ $most -ge $t ] || most=$t\n\
         done <{dir}/{trace}.shares\necho \"$all $same $most\""
    )
}

struct Starved {
    target: Target,
    shell: NodeShell,
    trace: String,
}

/// What [`look_script`] prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    all: u64,
    same: u64,
    most: u64,
}

impl Seen {
    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            all: next()?,
            same: next()?,
            most: next()?,
        })
    }

    fn words(self) -> String {
        let Self { all, same, most } = self;
        format!("{same} of {all} containers starved, one of them stopped {most} times")
    }
}

impl Starved {
    async fn look(&self) -> Result<Seen, FaultError> {
        let script = look_script(deadman::DIR, &self.trace);
        let output = self
            .shell
            .check("look at the processors' shares", &script)
            .await?;
        Seen::read(&output).ok_or_else(|| FaultError::find("the processors' shares", output))
    }
}

struct Starving {
    fault: String,
    starved: Vec<Starved>,
}

impl Running for Starving {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let mut evidence = Evidence::new();
        for one in &self.starved {
            let name = one.target.to_string();
            let seen = wait_until(name.clone(), timeouts::EFFECT, async || {
                match one.look().await {
                    Ok(seen) if seen.most > 0 => Poll::Ready(seen.words()),
                    Ok(seen) => Poll::NotYet(seen.words()),
                    Err(error) => Poll::Failed(error),
                }
            })
            .await;
            let text = seen.map_err(|error| FaultError::unseen(&self.fault, error))?;
            evidence.add(name, text);
        }
        Ok(evidence)
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        let healed = join_all(self.starved.iter().map(async |one| {
            // What cannot be looked at is healed anyway.
            let last = one.look().await;
            (one, last, deadman::heal(&one.shell, &one.trace).await)
        }))
        .await;
        for (one, last, healed) in healed {
            let name = one.target.to_string();
            if healed? == Healed::ByTimer {
                healing.early(&name, BY_SWITCH);
                continue;
            }
            let last = last?;
            if last.same < last.all {
                healing.early(&name, "a container that was started again");
            }
            healing.evidence.add(name, last.words());
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for one in &self.starved {
            if let Some(left) = deadman::residue(&one.shell, &one.trace).await? {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::cluster::assert_is_shell;

    fn sh(script: &str) -> String {
        let output = Command::new("sh").args(["-c", script]).output();
        let output = output.expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A group of control files, and the script of a fault that has hit it.
    fn group(dir: &Path, name: &str, files: &[(&str, &str)]) -> String {
        let group = dir.join(name);
        fs::create_dir_all(&group).expect("a folder");
        for (file, text) in files {
            fs::write(group.join(file), text).expect("a file");
        }
        fs::write(group.join("cpu.stat"), "nr_periods 9\nnr_throttled 4\n").expect("a file");
        group.display().to_string()
    }

    #[test]
    fn a_part_of_a_processor_is_taken_and_what_was_before_is_given_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().display().to_string();
        let two = group(dir.path(), "two", &[("cpu.max", "max 100000\n")]);
        let one = [
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "50000\n"),
        ];
        let one = group(dir.path(), "one", &one);
        let taken = |dir: &str| format!("{FUNCTIONS}d={dir}; part $d 20; share $d");
        assert_eq!(sh(&taken(&two)), "20000 100000\nmax 100000\n");
        assert_eq!(sh(&taken(&one)), "10000\n-1\n");
        let shares = format!("{two} 1 max 100000\n{one} 4 -1\n{place}/gone 0 -1\n");
        fs::write(dir.path().join("t.shares"), shares).expect("a file");
        sh(&format!(
            "{FUNCTIONS}give {two} '20000 100000'; give {one} 10000"
        ));
        let seen = Seen::read(&sh(&look_script(&place, "t"))).expect("numbers");
        assert_eq!((seen.all, seen.same, seen.most), (3, 2, 3));
        sh(&heal_script(&place, "t"));
        let text = |path: &str| fs::read_to_string(path).expect("a file");
        assert_eq!(text(&format!("{two}/cpu.max")), "max 100000\n");
        assert_eq!(text(&format!("{one}/cpu.cfs_quota_us")), "-1\n");
        assert!(!dir.path().join("t.shares").exists());
        sh(&heal_script(&place, "t"));
    }

    #[test]
    fn the_scripts_are_valid_shell() {
        let inject = inject_script("/d", "t", "u-1", 20);
        for script in [inject, heal_script("/d", "t"), look_script("/d", "t")] {
            assert_is_shell(&script);
        }
    }
}
