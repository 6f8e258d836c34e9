//! How a command ends.
//!
//! Exit codes: 0 pass, 1 violation, 2 inconclusive, 3 usage or environment, 130 interrupted.

use std::process::ExitCode;

use crate::report::Severity;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything as promised.
    Pass = 0,
    /// A promise was broken.
    Violation = 1,
    /// The run proves nothing (a fault without effect, too little traffic).
    Inconclusive = 2,
    /// Wrong usage, or something is missing on this machine.
    Environment = 3,
    /// The run was interrupted; it was healed and saved.
    Interrupted = crate::scenario::interrupt::EXIT_CODE as isize,
}

impl From<Severity> for Exit {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Pass | Severity::NotJudged => Self::Pass,
            Severity::Inconclusive => Self::Inconclusive,
            Severity::Violation => Self::Violation,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What a command returns: its exit, or an error, which is an environment problem (3).
pub type CommandResult = anyhow::Result<Exit>;

/// What an error says, with each cause that what stands in front of it has not said already.
pub(super) fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::report::RunDirError;

    #[test]
    fn an_error_says_each_cause_once() {
        let full = RunDirError::Read {
            path: "a".into(),
            source: io::Error::other("no disk"),
        };
        let error = anyhow::Error::from(full).context("failed to judge it");
        assert_eq!(
            told(&error),
            "failed to judge it: failed to read a: no disk"
        );
        let error = anyhow::anyhow!("no disk").context("failed to judge it");
        assert_eq!(told(&error), "failed to judge it: no disk");
    }
}
