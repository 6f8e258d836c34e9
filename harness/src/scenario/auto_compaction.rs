//! What etcd compacts by itself in a run, by its settings.

use etcd_history::check::AutoCompaction;
use etcd_operator_api::settings::{COMPACTION_MODE, COMPACTION_RETENTION};

/// Mode and retention in the operator's definition of etcd.
pub(crate) const DEFINED: (&str, &str) = ("periodic", "1h");
/// Mode and retention where nothing is set: etcd compacts nothing.
pub(crate) const PLAIN: (&str, &str) = ("periodic", "0");

/// What etcd compacts with these settings in place of its usual mode and retention. With such as etcd refuses it does
/// not start.
pub(crate) fn of(settings: &[(&str, &str)], usual: (&str, &str)) -> Option<AutoCompaction> {
    let set = |wanted| {
        let mut settings = settings.iter().rev();
        settings.find(|(name, _)| *name == wanted)
    };
    let mode = set(COMPACTION_MODE).map_or(usual.0, |(_, mode)| *mode);
    let retention = set(COMPACTION_RETENTION).map_or(usual.1, |(_, retention)| *retention);
    AutoCompaction::of_flags(mode, retention).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_in_the_place_of_the_usual_ones() {
        let periodic = |retention_ms| Some(AutoCompaction::Periodic { retention_ms });
        let revision = |retention| Some(AutoCompaction::Revision { retention });
        let (mode, retention) = (COMPACTION_MODE, COMPACTION_RETENTION);
        assert_eq!(of(&[], PLAIN), None);
        assert_eq!(of(&[], DEFINED), periodic(3_600_000));
        assert_eq!(of(&[(retention, "5s")], PLAIN), periodic(5_000));
        let last = [
            (retention, "5s"),
            (retention, "7s"),
            ("snapshot-count", "100"),
        ];
        assert_eq!(of(&last, DEFINED), periodic(7_000));
        let by_revision = [(mode, "revision"), (retention, "100")];
        assert_eq!(of(&by_revision, DEFINED), revision(100));
        assert_eq!(of(&[(retention, "0")], DEFINED), None);
    }

    #[test]
    fn the_definition_says_what_is_taken_for_it() {
        let definition = include_str!("../../../deploy/40-componentdefinition.yaml");
        let (mode, retention) = DEFINED;
        for flag in [
            format!("--{COMPACTION_MODE}={mode}\n"),
            format!("--{COMPACTION_RETENTION}={retention}\n"),
        ] {
            assert!(definition.contains(&flag), "{flag}");
        }
    }
}
