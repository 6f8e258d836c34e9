//! What came of killed harnesses: each in a line, and all together.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::commands::Exit;
use crate::commands::killed::process::End;

/// One fault whose harness was to be killed.
pub(super) struct Kill {
    pub(super) fault: &'static str,
    /// When it was killed, or had ended; from the line that names the fault.
    pub(super) after: Duration,
    pub(super) end: End,
    /// What the harness had said last.
    pub(super) said: String,
    /// How long it took until nothing was left.
    pub(super) clean: Duration,
    /// What was left at the end.
    pub(super) left: String,
}

impl std::fmt::Display for Kill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (after, clean) = (self.after.as_secs_f64(), self.clean.as_secs_f64());
        let how = match self.end {
            End::Killed => format!("killed after {after:.2} s"),
            End::Early => "killed before it had begun".to_owned(),
            End::Through => format!("through after {after:.2} s, not killed"),
            End::Otherwise(status) => format!("not killed at {after:.2} s, it had ended: {status}"),
        };
        write!(f, "{:<32} {how} ({}), ", self.fault, self.said)?;
        if self.left.is_empty() {
            write!(f, "clean after {clean:.1} s")
        } else {
            write!(f, "after {clean:.1} s there is still: {}", self.left)
        }
    }
}

/// What all kills come to, which it prints.
pub(super) fn ended(kills: &[Kill]) -> Exit {
    let count = |wanted: fn(End) -> bool| kills.iter().filter(|kill| wanted(kill.end)).count();
    let killed = count(|end| end == End::Killed);
    let through = count(|end| end == End::Through);
    let early = count(|end| end == End::Early);
    let otherwise = count(|end| matches!(end, End::Otherwise(_)));
    let of_kills = kills.iter().filter(|kill| kill.end == End::Killed);
    let longest = of_kills.map(|kill| kill.clean).max().unwrap_or_default();
    let mut text = format!(
        "{killed} kills, the longest clean after {:.1} s",
        longest.as_secs_f64()
    );
    // Writing to a string cannot fail.
    if through > 0 {
        let _ = write!(text, "; {through} were through before and do not count");
    }
    if early > 0 {
        let _ = write!(text, "; {early} had not begun and do not count");
    }
    if otherwise > 0 {
        let _ = write!(text, "; {otherwise} had failed before and prove nothing");
    }
    let at_work = kills.iter().filter(|kill| kill.end == End::Killed);
    let at_work: BTreeSet<&str> = at_work.map(|kill| kill.fault).collect();
    let tried: BTreeSet<&str> = kills.iter().map(|kill| kill.fault).collect();
    let spared: Vec<&str> = tried.difference(&at_work).copied().collect();
    if !spared.is_empty() {
        let _ = write!(text, "; never killed at its work: {}", spared.join(", "));
    }
    let stays = kills.iter().find(|kill| !kill.left.is_empty());
    if let Some(kill) = stays {
        let _ = write!(text, "; `{}` left something behind", kill.fault);
    }
    println!("{text}");
    match stays {
        Some(_) => Exit::Violation,
        None if killed == 0 || otherwise > 0 || !spared.is_empty() => Exit::Inconclusive,
        None => Exit::Pass,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;
    use crate::commands::killed::process::SIGKILL;

    fn kill(raw: i32, left: &str) -> Kill {
        Kill {
            fault: "kill-etcd leader",
            after: Duration::from_secs(1),
            end: End::of(ExitStatus::from_raw(raw), true),
            said: String::new(),
            clean: Duration::from_secs(2),
            left: left.to_owned(),
        }
    }

    /// As wait(2) gives an exit by itself.
    const fn exited(code: i32) -> i32 {
        code << 8
    }

    #[test]
    fn something_that_stays_is_a_violation_and_no_kill_proves_nothing() {
        let killed = |left| kill(SIGKILL, left);
        assert_eq!(ended(&[killed("")]), Exit::Pass);
        let stays = "worker: packet rules";
        assert_eq!(ended(&[killed(""), killed(stays)]), Exit::Violation);
        assert_eq!(
            ended(&[killed(""), kill(exited(3), stays)]),
            Exit::Violation
        );
        assert_eq!(ended(&[]), Exit::Inconclusive);
    }

    #[test]
    fn a_harness_that_ended_by_itself_is_no_kill() {
        let killed = || kill(SIGKILL, "");
        assert_eq!(ended(&[killed(), kill(exited(0), "")]), Exit::Pass);
        assert_eq!(ended(&[kill(exited(0), "")]), Exit::Inconclusive);
        for other in [exited(3), exited(2), 15] {
            let failed = kill(other, "");
            assert!(failed.to_string().contains("not killed"), "{failed}");
            assert_eq!(ended(&[killed(), failed]), Exit::Inconclusive, "{other}");
        }
        assert!(killed().to_string().contains("killed after 1.00 s"));
    }

    #[test]
    fn a_kill_before_anything_was_on_is_none_and_each_kind_needs_one() {
        let early = Kill {
            end: End::of(ExitStatus::from_raw(SIGKILL), false),
            ..kill(SIGKILL, "")
        };
        assert_eq!(early.end, End::Early);
        assert!(early.to_string().contains("before it had begun"), "{early}");
        let of = |fault, kill: Kill| Kill { fault, ..kill };
        let killed = || kill(SIGKILL, "");
        let split = || of("split minority", killed());
        assert_eq!(ended(&[split(), early]), Exit::Inconclusive);
        let through = || of("split minority", kill(exited(0), ""));
        assert_eq!(ended(&[killed(), through()]), Exit::Inconclusive);
        assert_eq!(ended(&[killed(), through(), split()]), Exit::Pass);
    }
}
