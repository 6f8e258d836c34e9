//! The dead man's switch inside a node: the script that heals is put into the node first, with a timer that runs it,
//! and healing runs that same script. So healing by hand and by the switch cannot differ, and the switch needs nothing
//! of the harness: it also works when the harness was killed.
//!
//! `/run` of a node is emptied by its restart, and so is what these scripts heal (processes, rules, mounts); the one
//! exception, a static pod's manifest moved aside, says itself how it is found again.

use std::time::Duration;

use crate::cluster::{NodeShell, ShellError};

/// Folder of the scripts in a node.
pub(crate) const DIR: &str = "/run/etcd-harness";

/// What is done in a node and how it is taken back.
pub(crate) struct Deed<'a> {
    /// Name of the fault's traces.
    pub trace: &'a str,
    /// How long it lives at most.
    pub limit: Duration,
    /// What takes it back; also right when there is nothing to take back.
    pub heal: &'a str,
    /// What is done.
    pub inject: &'a str,
}

/// Puts the healing script into the node and starts its timer, then injects; what that prints is given back.
/// A failed injection is healed at once.
pub(crate) async fn run(shell: &NodeShell, deed: &Deed<'_>) -> Result<String, ShellError> {
    let script = format!(
        "{}{}",
        arm_script(deed.trace, deed.limit, deed.heal),
        deed.inject
    );
    match shell.check("inject a fault", &script).await {
        Ok(output) => Ok(output),
        Err(error) => {
            if let Err(second) = heal(shell, deed.trace).await {
                tracing::warn!(%second, "a failed injection was not healed at once; its timer will");
            }
            Err(error)
        }
    }
}

/// Runs the healing script now and takes the timer away. Also right when the timer was faster.
pub(crate) async fn heal(shell: &NodeShell, trace: &str) -> Result<Healed, ShellError> {
    let output = shell.check("heal", &heal_script(trace)).await?;
    Ok(if output.contains("by-timer") {
        Healed::ByTimer
    } else {
        Healed::Now
    })
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
    /// The timer had done it before: the fault ended earlier than the plan says.
    ByTimer,
}

fn arm_script(trace: &str, limit: Duration, heal: &str) -> String {
    let seconds = limit.as_secs().max(1);
    // The marker keeps the shell from ending the text early; the script is data until it runs.
    format!(
        "set -e\nmkdir -p {DIR}\ncat >{DIR}/{trace}.heal <<'END-OF-{trace}'\n{heal}\nEND-OF-{trace}\n\
         setsid -f sh -c 'echo $$ >{DIR}/{trace}.pid; sleep {seconds}; sh {DIR}/{trace}.heal; \
         rm -f {DIR}/{trace}.heal {DIR}/{trace}.pid' </dev/null >/dev/null 2>&1\n\
         for i in 1 2 3 4 5 6 7 8 9 10; do [ -s {DIR}/{trace}.pid ] && break; sleep 0.05; done\n\
         [ -s {DIR}/{trace}.pid ] || {{ echo 'the timer did not start' >&2; exit 1; }}\n\
         set +e\n"
    )
}

fn heal_script(trace: &str) -> String {
    // The timer is stopped first, so that two do not heal at once; its shell leads a group of its own.
    format!(
        "[ -e {DIR}/{trace}.heal ] || {{ echo by-timer; exit 0; }}\n\
         kill -- -$(cat {DIR}/{trace}.pid) 2>/dev/null\n\
         sh {DIR}/{trace}.heal || exit 1\n\
         rm -f {DIR}/{trace}.heal {DIR}/{trace}.pid"
    )
}

/// Runs every healing script that is left in a node, whoever left it.
pub(crate) fn heal_all_script() -> String {
    format!(
        "for f in {DIR}/*.heal; do [ -e \"$f\" ] || continue; t=${{f%.heal}}; \
         kill -- -$(cat $t.pid) 2>/dev/null; sh $f; rm -f $f $t.pid; echo \"healed ${{t##*/}}\"; done"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sh(script: &str, dir: &std::path::Path) -> (bool, String) {
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

    #[test]
    fn the_timer_heals_when_nobody_else_does() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let mark = dir.path().join("healed by 'someone'");
        let heal = format!("touch \"{}\"", mark.display());
        assert!(sh(&arm_script("t1", Duration::from_secs(1), &heal), dir.path()).0);
        assert!(!mark.exists());
        let (_, out) = sh(
            "sleep 1.6; ls -A DIR".replace("DIR", DIR).as_str(),
            dir.path(),
        );
        assert!(mark.exists());
        assert!(!out.contains("t1."), "{out}");
        assert_eq!(sh(&heal_script("t1"), dir.path()).1.trim(), "by-timer");
    }

    #[test]
    fn healing_by_hand_stops_the_timer() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let count = dir.path().join("count");
        let heal = format!("echo x >>{}", count.display());
        assert!(sh(&arm_script("t2", Duration::from_secs(1), &heal), dir.path()).0);
        assert!(sh(&heal_script("t2"), dir.path()).0);
        sh("sleep 1.5", dir.path());
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
}
