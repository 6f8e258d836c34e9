//! The dead man's switch inside a node: the script that heals is put into the node first, with a timer that runs it,
//! and healing runs that same script. So healing by hand and by the switch cannot differ, and the switch needs nothing
//! of the harness: it also works when the harness was killed.
//!
//! The timer outlives a heal that failed and tries again until one succeeds. Injection and healing hold one lock, so a
//! heal never overtakes an injection that Docker is slow to run; one that comes before it forbids it.
//!
//! `/run` of a node is emptied by its restart, and so is what most of these scripts heal (processes, rules). What a
//! restart leaves, a manifest moved aside and the filler of a volume, is found again by [`crate::faults::residue`].

use std::time::Duration;

use crate::cluster::{NodeShell, ShellError};

/// Folder of the scripts in a node.
pub(crate) const DIR: &str = "/run/etcd-harness";
/// What a script in a control-plane node begins with to use kubectl.
pub(crate) const KUBECONFIG: &str = "export KUBECONFIG=/etc/kubernetes/admin.conf\n";
/// Who it is that heals early.
pub(crate) const BY_SWITCH: &str = "the dead man's switch";
/// Names of faults that were healed before they were injected; not in [`DIR`], for nothing of them is left to heal.
const FORBIDDEN: &str = "/run/etcd-harness-forbidden";
/// Seconds that one script waits for another of the same fault; less than a command in a node gets.
const LOCK_S: u32 = 20;
/// How often a script looks whether its timer has started, twenty times a second: a node may stand still for seconds.
const LOOKS: u32 = 200;

/// What is done in a node and how it is taken back.
pub(crate) struct Deed<'a> {
    /// Name of the fault's traces.
    pub trace: &'a str,
    /// How long it lives at most.
    pub limit: Duration,
    /// What takes it back; also right when there is nothing to take back. Any status but 0 says that something is left.
    pub heal: &'a str,
    /// What is done.
    pub inject: &'a str,
}

/// Puts the healing script into the node and starts its timer, then injects; what that prints is given back.
/// A failed injection is healed at once.
pub(crate) async fn run(shell: &NodeShell, deed: &Deed<'_>) -> Result<String, ShellError> {
    match shell.check("inject a fault", &script(deed)).await {
        Ok(output) => Ok(output),
        Err(error) => {
            take_back(shell, deed.trace).await;
            Err(error)
        }
    }
}

/// Runs the healing script now and, when it succeeded, takes the timer away. Also right when the timer was faster.
pub(crate) async fn heal(shell: &NodeShell, trace: &str) -> Result<Healed, ShellError> {
    let output = shell.check("heal", &heal_script(trace)).await?;
    Ok(if output.contains("by-timer") {
        Healed::ByTimer
    } else {
        Healed::Now
    })
}

/// As [`heal`], for an injection that failed elsewhere: nothing else can be done about an error than to leave it to the
/// timer.
pub(crate) async fn take_back(shell: &NodeShell, trace: &str) {
    if let Err(error) = heal(shell, trace).await {
        tracing::warn!(%error, "half a fault was not healed at once; its timer will");
    }
}

/// What is left of the switch itself.
pub(crate) async fn residue(shell: &NodeShell, trace: &str) -> Result<Option<String>, ShellError> {
    let output = shell
        .check(
            "look for residue",
            &format!("ls {DIR} 2>/dev/null | grep -F {trace} || :"),
        )
        .await?;
    let left = output.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((!left.is_empty()).then(|| format!("{DIR}/{left} in node {}", shell.container())))
}

/// Who healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Healed {
    /// We did.
    Now,
    /// The timer had gone off before: the fault ended earlier than the plan says.
    ByTimer,
}

fn script(deed: &Deed<'_>) -> String {
    arm_script(deed.trace, deed.limit, deed.heal) + &inject_script(deed.trace, deed.inject)
}

/// The healing script in its file, and the timer.
fn arm_script(trace: &str, limit: Duration, heal: &str) -> String {
    let seconds = limit.as_secs().max(1);
    // The marker keeps the shell from ending the text early; the script is data until it runs.
    format!(
        "set -e\nmkdir -p {DIR}\ncat >{DIR}/{trace}.heal <<'END-OF-{trace}'\n{heal}\nEND-OF-{trace}\n\
         setsid -f sh -c 'echo $$ >{DIR}/{trace}.pid; sleep {seconds}; : >{DIR}/{trace}.due; \
         until {}; do sleep 1; done; {}' </dev/null >/dev/null 2>&1\n\
         for i in $(seq {LOOKS}); do [ -s {DIR}/{trace}.pid ] && break; sleep 0.05; done\n\
         [ -s {DIR}/{trace}.pid ] || {{ echo 'the timer did not start' >&2; exit 1; }}\n\
         set +e\n",
        locked(&format!("{DIR}/{trace}"), "heal"),
        forget(&format!("{DIR}/{trace}")),
    )
}

/// Injects under the lock, unless a heal came first.
fn inject_script(trace: &str, inject: &str) -> String {
    format!(
        "cat >{DIR}/{trace}.inject <<'END-OF-DEED-{trace}'\n\
         [ -e {FORBIDDEN}/{trace} ] && {{ echo 'it was healed before it was injected' >&2; exit 1; }}\n\
         {inject}\nEND-OF-DEED-{trace}\n{}",
        locked(&format!("{DIR}/{trace}"), "inject"),
    )
}

/// Runs one of a fault's scripts when no other of them runs. What it leaves running in the background holds no lock.
fn locked(place: &str, what: &str) -> String {
    format!("flock -o -w {LOCK_S} {place}.lock sh {place}.{what}")
}

fn forget(place: &str) -> String {
    format!("rm -f {place}.heal {place}.inject {place}.due {place}.pid {place}.lock")
}

fn heal_script(trace: &str) -> String {
    let place = format!("{DIR}/{trace}");
    // Forbidden first: an injection that is still on its way then either has its script here or will not be made.
    // The timer may heal at the same moment, and then takes its files away: the script first.
    format!(
        "mkdir -p {FORBIDDEN} && : >{FORBIDDEN}/{trace} || exit 1\n\
         [ -e {place}.heal ] || {{ echo by-timer; exit 0; }}\n\
         {} || {{ [ -e {place}.heal ] || {{ echo by-timer; exit 0; }}; \
         echo 'the healing script failed; its timer tries again' >&2; exit 1; }}\n\
         {{ [ -e {place}.due ] || [ ! -e {place}.heal ]; }} && echo by-timer\n\
         [ -s {place}.pid ] && kill -- -$(cat {place}.pid) 2>/dev/null\n\
         {}",
        locked(&place, "heal"),
        forget(&place),
    )
}

/// Runs every healing script that is left in a node. One that fails stays, with its timer.
pub(crate) fn heal_all_script() -> String {
    format!(
        "for f in {DIR}/*.heal; do [ -e \"$f\" ] || continue; t=${{f%.heal}}; \
         if {}; then [ -s $t.pid ] && kill -- -$(cat $t.pid) 2>/dev/null; {}; echo \"healed ${{t##*/}}\"; \
         else echo \"not healed: ${{t##*/}}\"; fi; done",
        locked("$t", "heal"),
        forget("$t"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sh(script: &str, dir: &std::path::Path) -> (bool, String) {
        let forbidden = dir.join("forbidden").display().to_string();
        let script = script.replace(FORBIDDEN, &forbidden);
        let script = script.replace(DIR, &dir.display().to_string());
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("a shell");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// Waits until it is so; the limit is only against hanging.
    fn until(what: &str, is: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !is() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            Command::new("sleep").arg("0.05").status().expect("a sleep");
        }
    }

    /// Whether nothing is left of a fault: its timer takes its files away last.
    fn gone(dir: &std::path::Path, trace: &str) -> bool {
        let left = ["heal", "inject", "due", "pid", "lock"];
        let at = |what: &str| dir.join(format!("{trace}.{what}"));
        !left.into_iter().any(|what| at(what).exists())
    }

    #[test]
    fn the_timer_heals_when_nobody_else_does() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let mark = dir.path().join("healed by 'someone'");
        let heal = format!("touch \"{}\"", mark.display());
        assert!(sh(&arm_script("t1", Duration::from_secs(3), &heal), dir.path()).0);
        until("the timer to take its files away", || {
            gone(dir.path(), "t1")
        });
        assert!(mark.exists());
        assert_eq!(sh(&heal_script("t1"), dir.path()).1.trim(), "by-timer");
    }

    #[test]
    fn healing_by_hand_stops_the_timer() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let count = dir.path().join("count");
        let heal = format!("echo x >>{}", count.display());
        assert!(
            sh(
                &arm_script("t2", Duration::from_secs(600), &heal),
                dir.path()
            )
            .0
        );
        assert!(!count.exists(), "nothing is healed before its time");
        let timer = std::fs::read_to_string(dir.path().join("t2.pid")).expect("a timer");
        let (healed, out) = sh(&heal_script("t2"), dir.path());
        assert!(healed && out.is_empty(), "{out}");
        // One that was not waited for has no command line either.
        let line = format!("/proc/{}/cmdline", timer.trim());
        until("the timer to end", || {
            !std::fs::read(&line).is_ok_and(|line| !line.is_empty())
        });
        assert!(gone(dir.path(), "t2"));
        assert_eq!(std::fs::read_to_string(count).expect("healed once"), "x\n");
    }

    #[test]
    fn all_that_is_left_is_healed() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for trace in ["a", "b"] {
            assert!(
                sh(
                    &arm_script(trace, Duration::from_secs(60), "true"),
                    dir.path()
                )
                .0
            );
        }
        let (_, out) = sh(&heal_all_script(), dir.path());
        assert_eq!(out, "healed a\nhealed b\n");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }

    /// A healing script that fails until the folder has a file `may`.
    fn stubborn(dir: &std::path::Path) -> String {
        let at = |name: &str| dir.join(name).display().to_string();
        format!("[ -e {} ] && : >{}", at("may"), at("healed"))
    }

    #[test]
    fn a_heal_that_failed_is_tried_again_by_the_timer() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let arm = arm_script("t3", Duration::from_secs(1), &stubborn(dir.path()));
        assert!(sh(&arm, dir.path()).0);
        assert!(!sh(&heal_script("t3"), dir.path()).0, "it cannot heal yet");
        assert!(!sh(&heal_all_script(), dir.path()).1.contains("healed t3"));
        assert!(dir.path().join("t3.heal").exists(), "the script stays");
        std::fs::write(dir.path().join("may"), "").expect("write");
        until("the timer to heal", || gone(dir.path(), "t3"));
        assert!(dir.path().join("healed").exists());
    }

    #[test]
    fn healing_after_the_timer_went_off_and_failed_is_not_in_time() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let arm = arm_script("t4", Duration::from_secs(1), "[ -e DIR/may ]");
        let arm = arm.replace("DIR/may", &dir.path().join("may").display().to_string());
        assert!(sh(&arm, dir.path()).0);
        until("the timer to go off", || dir.path().join("t4.due").exists());
        std::fs::write(dir.path().join("may"), "").expect("write");
        let (healed, out) = sh(&heal_script("t4"), dir.path());
        assert!(healed);
        assert_eq!(out.trim(), "by-timer");
    }

    #[test]
    fn what_was_healed_before_it_was_injected_is_not_injected() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let done = dir.path().join("done").display().to_string();
        let deed = Deed {
            trace: "t5",
            limit: Duration::from_secs(60),
            heal: "true",
            inject: &format!(": >{done}; echo injected"),
        };
        assert_eq!(sh(&heal_script("t5"), dir.path()).1.trim(), "by-timer");
        assert!(!sh(&script(&deed), dir.path()).0);
        assert!(!dir.path().join("done").exists());
        let deed = Deed {
            trace: "t6",
            ..deed
        };
        assert_eq!(sh(&script(&deed), dir.path()).1.trim(), "injected");
        for trace in ["t5", "t6"] {
            assert!(sh(&heal_script(trace), dir.path()).0);
        }
    }

    #[test]
    fn what_an_injection_leaves_running_does_not_keep_it_from_being_healed() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let deed = Deed {
            trace: "t7",
            limit: Duration::from_secs(60),
            heal: "true",
            inject: "setsid -f sleep 60 </dev/null >/dev/null 2>&1",
        };
        assert!(sh(&script(&deed), dir.path()).0);
        // It fails when the lock is not free for LOCK_S.
        assert!(sh(&heal_script("t7"), dir.path()).0);
    }
}
