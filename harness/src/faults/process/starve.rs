//! The containers of members get a part of a processor only, as on a machine that is too small: the kernel lets them
//! run for that part of each period, and then none of them.

use futures::future::join_all;

use crate::cluster::NodeShell;
use crate::faults::members::roster;
use crate::faults::process::scripts::CONTAINERS;
use crate::faults::running::{Injected, Running};
use crate::faults::seen::until_seen;
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed};
use crate::faults::together::all_or_none;
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Healing, Member, Selector, Target};

/// Shell functions: the control groups of a pod's containers, and their share. What was before, and what was given, is
/// kept in files, for the pod's containers only: a group of one that has ended is gone, and one that was started since
/// is as it should be.
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
  if [ -e $1/cpu.max ]; then read -r q p <$1/cpu.max; echo "$((p * $2 / 100)) $p"
  else echo $(($(cat $1/cpu.cfs_period_us) * $2 / 100)); fi
}
# takes DIR PART: true when that is less than it has
takes() { o=$(share $1); o=${o%% *}; case $o in max | -1) ;; *) [ $o -gt ${2%% *} ] ;; esac; }
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

/// Takes the share of each container, but of one that has no more of its own. How often etcd was stopped is counted
/// from then on: a limit of its own stops it too.
fn inject_script(dir: &str, trace: &str, uid: &str, percent: u8) -> String {
    let place = format!("{dir}/{trace}");
    format!(
        "{CONTAINERS}{FUNCTIONS}: >{place}.shares\n: >{place}.given\n\
         for c in etcd kbagent metrics-exporter; do for i in $(ids '{uid}' $c); do\n\
         d=$(group $i)\n\
         [ -n \"$d\" ] || {{ echo \"no control group bounds the processors of container $i\" >&2; exit 1; }}\n\
         g=$(part $d {percent})\n\
         if ! takes $d \"$g\"; then [ $c != etcd ] && continue\n\
         echo \"container etcd has no more than {percent}% of a processor already: $(share $d)\" >&2; exit 1; fi\n\
         echo \"$d $(share $d)\" >>{place}.shares\n\
         give $d \"$g\" || exit 1\n\
         echo \"$c $d $(throttled $d) $g\" >>{place}.given\n\
         done; done\n\
         grep -q '^etcd ' {place}.given || {{ echo 'no etcd of the pod runs' >&2; exit 1; }}"
    )
}

/// Gives back what was taken.
fn heal_script(dir: &str, trace: &str) -> String {
    let place = format!("{dir}/{trace}");
    format!(
        "{FUNCTIONS}[ -e {place}.shares ] || exit 0\n\
         while read -r d old; do [ ! -d $d ] || give $d \"$old\" || exit 1; done <{place}.shares\n\
         rm -f {place}.shares {place}.given"
    )
}

/// Prints how many containers were starved, how many of them are still the same, how many of those have the share that
/// they were given, and how often the kernel has stopped etcd since.
fn look_script(dir: &str, trace: &str) -> String {
    format!(
        "{FUNCTIONS}all=0 same=0 kept=0 stops=0\n\
         while read -r c d n g; do all=$((all+1)); [ -d $d ] || continue; same=$((same+1))\n\
         [ \"$(share $d)\" != \"$g\" ] || kept=$((kept+1))\n\
         [ $c != etcd ] || stops=$(($(throttled $d) - n))\n\
         done <{dir}/{trace}.given\necho \"$all $same $kept $stops\""
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
    kept: u64,
    stops: u64,
}

impl Seen {
    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            all: next()?,
            same: next()?,
            kept: next()?,
            stops: next()?,
        })
    }

    /// True when the share that was given has stopped etcd.
    fn shows_it(self) -> bool {
        self.all > 0 && self.kept == self.all && self.stops > 0
    }

    /// Why the share was not the given one to the end.
    fn add_doubts(self, name: &str, healing: &mut Healing) {
        if self.same < self.all {
            healing.early(name, "a container that was started again");
        }
        if self.kept < self.same {
            let other = self.same - self.kept;
            healing.doubt(format!(
                "{name}: {other} of {} containers had another share of a processor at the end than was given",
                self.same
            ));
        }
    }

    fn words(self) -> String {
        let Self {
            all,
            same,
            kept,
            stops,
        } = self;
        let other = same - kept;
        let other = match other {
            0 => String::new(),
            _ => format!(", {other} of them with another share than was given"),
        };
        format!("{same} of {all} containers starved{other}, etcd stopped {stops} times")
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
            let seen = until_seen(&self.fault, name.clone(), async || {
                let seen = one.look().await?;
                Ok(match seen.shows_it() {
                    true => Ok(seen.words()),
                    false => Err(seen.words()),
                })
            });
            evidence.add(name, seen.await?);
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
            last.add_doubts(&name, &mut healing);
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
        let (ended, said) = ran(script);
        assert!(ended, "{said}");
        said
    }

    /// Whether a script succeeded, and what it said.
    fn ran(script: &str) -> (bool, String) {
        let output = Command::new("sh").args(["-c", script]).output();
        let output = output.expect("a shell");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }

    /// A group of control files, of a container that was stopped four times.
    fn group(dir: &Path, name: &str, files: &[(&str, &str)]) {
        let group = dir.join(name);
        fs::create_dir_all(&group).expect("a folder");
        for (file, text) in files {
            fs::write(group.join(file), text).expect("a file");
        }
        fs::write(group.join("cpu.stat"), "nr_periods 9\nnr_throttled 4\n").expect("a file");
    }

    /// The script that starves the containers whose groups are in this folder, by their names.
    fn inject(dir: &Path, percent: u8) -> String {
        let place = dir.display().to_string();
        let begin = format!(": >{place}/t.shares");
        let here = format!(
            "ids() {{ [ ! -d {place}/$2 ] || echo $2; }}\ngroup() {{ echo {place}/$1; }}\n{begin}"
        );
        inject_script(&place, "t", "u-1", percent).replacen(&begin, &here, 1)
    }

    fn look(dir: &Path) -> Seen {
        let place = dir.display().to_string();
        Seen::read(&sh(&look_script(&place, "t"))).expect("numbers")
    }

    #[test]
    fn a_part_of_a_processor_is_taken_and_what_was_before_is_given_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let text = |path: &str| fs::read_to_string(dir.join(path)).expect("a file");
        group(dir, "etcd", &[("cpu.max", "max 100000\n")]);
        let one = [
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "50000\n"),
        ];
        group(dir, "kbagent", &one);
        group(dir, "metrics-exporter", &[("cpu.max", "10000 100000\n")]);
        sh(&inject(dir, 20));
        assert_eq!(text("etcd/cpu.max"), "20000 100000\n");
        assert_eq!(text("kbagent/cpu.cfs_quota_us"), "10000\n");
        let had_less = "10000 100000\n";
        assert_eq!(text("metrics-exporter/cpu.max"), had_less);
        let seen = look(dir);
        assert_eq!((seen.all, seen.same, seen.kept, seen.stops), (2, 2, 2, 0));
        sh(&heal_script(&dir.display().to_string(), "t"));
        assert_eq!(text("etcd/cpu.max"), "max 100000\n");
        assert_eq!(text("kbagent/cpu.cfs_quota_us"), "-1\n");
        assert_eq!(text("metrics-exporter/cpu.max"), had_less);
        assert!(!dir.join("t.shares").exists() && !dir.join("t.given").exists());
        sh(&heal_script(&dir.display().to_string(), "t"));
    }

    /// The limit of a member's own has stopped etcd before, and stops its agent while the fault is on.
    #[test]
    fn only_a_share_that_is_ours_and_stops_etcd_is_an_effect() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let write = |path: &str, text: &str| fs::write(dir.join(path), text).expect("a file");
        for name in ["etcd", "kbagent"] {
            group(dir, name, &[("cpu.max", "100000 100000\n")]);
        }
        sh(&inject(dir, 5));
        write("kbagent/cpu.stat", "nr_throttled 9\n");
        assert!(!look(dir).shows_it(), "{:?}", look(dir));
        write("etcd/cpu.stat", "nr_throttled 6\n");
        assert!(look(dir).shows_it(), "{:?}", look(dir));
        let doubts = |seen: Seen| {
            let mut healing = Healing::default();
            seen.add_doubts("m-0", &mut healing);
            healing.doubts.join("; ")
        };
        assert_eq!(doubts(look(dir)), "");
        for other in ["100000 100000\n", "max 100000\n", "5000 200000\n"] {
            write("etcd/cpu.max", other);
            assert!(!look(dir).shows_it(), "{other}");
            let doubts = doubts(look(dir));
            assert!(doubts.contains("m-0: 1 of 2 containers"), "{doubts}");
        }
        write("etcd/cpu.max", "5000 100000\n");
        assert!(look(dir).shows_it());
        fs::remove_dir_all(dir.join("kbagent")).expect("it is there");
        assert!(!look(dir).shows_it());
        assert!(doubts(look(dir)).contains("started again"));
    }

    #[test]
    fn etcd_that_has_no_more_already_is_not_starved() {
        let dir = tempfile::tempdir().expect("a folder");
        group(dir.path(), "etcd", &[("cpu.max", "100000 100000\n")]);
        let (ended, said) = ran(&inject(dir.path(), 100));
        assert!(
            !ended && said.contains("no more than 100% of a processor"),
            "{said}"
        );
        fs::remove_dir_all(dir.path().join("etcd")).expect("it is there");
        let (ended, said) = ran(&inject(dir.path(), 20));
        assert!(!ended && said.contains("no etcd of the pod runs"), "{said}");
    }

    #[test]
    fn the_scripts_are_valid_shell() {
        let inject = inject_script("/d", "t", "u-1", 20);
        for script in [inject, heal_script("/d", "t"), look_script("/d", "t")] {
            assert_is_shell(&script);
        }
    }
}
