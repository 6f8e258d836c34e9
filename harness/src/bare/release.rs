//! What differs between the releases of etcd that members can have: their flags, their failpoints, and which of them
//! run in one cluster. Pure.

use crate::bare::gofail;
use crate::faults::Fault;

/// The minor release and the patch of a version of etcd 3: 6 and 16 of `v3.6.16-gofail`. None of a tag of another form,
/// which is taken for a release that has everything.
fn release(version: &str) -> Option<(u32, u32)> {
    let (minor, rest) = version.strip_prefix("v3.")?.split_once('.')?;
    let patch = rest.split('-').next()?;
    Some((minor.parse().ok()?, patch.parse().ok()?))
}

/// Settings whose flag has its name from 3.6 on: the former name, which 3.7 does not take, and the release with which
/// it came.
const FORMER: [(&str, &str, (u32, u32)); 3] = [
    (
        "snapshot-catchup-entries",
        "experimental-snapshot-catchup-entries",
        (5, 14),
    ),
    (
        "compaction-batch-limit",
        "experimental-compaction-batch-limit",
        (4, 0),
    ),
    (
        "compaction-sleep-interval",
        "experimental-compaction-sleep-interval",
        (5, 16),
    ),
];

/// The flag for a setting in this version of etcd.
///
/// # Errors
/// Which release is the first that has one, in words.
pub(super) fn flag<'a>(version: &str, setting: &'a str) -> Result<&'a str, String> {
    let release = release(version);
    let is_from = |first: (u32, u32)| release.is_none_or(|release| release >= first);
    let renamed = FORMER.into_iter().find(|(name, ..)| *name == setting);
    let (minor, patch) = match renamed {
        Some(_) if is_from((6, 0)) => return Ok(setting),
        Some((_, former, first)) if is_from(first) => return Ok(former),
        Some((.., first)) => first,
        None if setting == "unsafe-no-fsync" && !is_from((4, 10)) => (4, 10),
        None => return Ok(setting),
    };
    Err(format!("--{setting} came with etcd 3.{minor}.{patch}"))
}

/// Whether members that have these versions in turn can run a scenario with these settings and faults.
///
/// # Errors
/// The version that cannot, and why, in words.
pub(super) fn can_run<'a>(
    versions: &[&'a str],
    settings: &[&str],
    faults: &[Fault],
) -> Result<(), (&'a str, String)> {
    for version in versions {
        let minor = release(version).map(|(minor, _)| minor);
        let missing = || settings.iter().find_map(|name| flag(version, name).err());
        let why = match minor {
            Some(..4) => Some(
                "etcd before 3.4 does not log JSON, by which the effects of faults are proved"
                    .to_owned(),
            ),
            Some(4) if gofail::needed(faults) => Some(
                "etcd 3.4 has few of the failpoints, and is not built with those that it has"
                    .to_owned(),
            ),
            Some(4) if !versions.iter().all(|other| is_beside_3_4(other)) => Some(
                "etcd 3.4 ends (`panic: not implemented`) at what members of 3.6 and later send; it runs beside 3.5 alone"
                    .to_owned(),
            ),
            _ => missing(),
        };
        if let Some(why) = why {
            return Err((*version, why));
        }
    }
    Ok(())
}

/// The version as a member of it tells it: `3.6.16` of `v3.6.16-gofail`. None of a tag of another form.
pub(super) fn told_as(version: &str) -> Option<&str> {
    release(version)?;
    Some(version.strip_prefix('v')?.trim_end_matches(gofail::SUFFIX))
}

/// The program of this version that restores a snapshot.
pub(super) fn restores_by(version: &str) -> &'static str {
    match release(version) {
        Some((..6, _)) => "/usr/local/bin/etcdctl",
        _ => "/usr/local/bin/etcdutl",
    }
}

/// The newest release of which members with users are known to tell others their status: 3.5.31 and 3.6.1 do not.
const OPEN_STATUS: (u32, u32) = (5, 27);

/// Whether members of this version tell their status when they have users: it is asked for as none of them.
///
/// # Errors
/// Why not, in words.
pub(super) fn tells_status(version: &str) -> Result<(), String> {
    if release(version).is_some_and(|release| release <= OPEN_STATUS) {
        return Ok(());
    }
    let (minor, patch) = OPEN_STATUS;
    Err(format!(
        "behind 3.{minor}.{patch} members with users tell their status to users alone, and it is asked for as none"
    ))
}

/// Why a member with these settings cannot have the next version: its command keeps the names of its first one's flags.
pub(super) fn renamed(version: &str, next: &str, settings: &[&str]) -> Option<String> {
    let mut settings = settings.iter();
    let name = settings.find(|name| flag(version, name).ok() != flag(next, name).ok())?;
    Some(format!("--{name} has another name in {version}"))
}

/// Why members of these versions cannot go back to the next one. Their cluster has the version of the oldest of them.
pub(super) fn goes_back<'a>(
    mut versions: impl Iterator<Item = &'a str>,
    next: &str,
) -> Option<String> {
    let (next, _) = release(next)?;
    let back = versions.all(|version| release(version).is_some_and(|(minor, _)| minor > next));
    back.then(|| {
        "etcd ends (`invalid downgrade`) where its minor release is below that of its cluster"
            .to_owned()
    })
}

/// True for a version that a member of 3.4 can have in its cluster.
fn is_beside_3_4(version: &str) -> bool {
    release(version).is_some_and(|(minor, _)| matches!(minor, 4 | 5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{FailAction, Selector};

    #[test]
    fn a_release_is_read_from_a_tag_and_another_tag_is_none() {
        assert_eq!(release("v3.4.9"), Some((4, 9)));
        assert_eq!(release("v3.6.16-gofail"), Some((6, 16)));
        for tag in ["", "main", "v3.6", "v4.0.1", "v3.six.1", "v3.6.x"] {
            assert_eq!(release(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_version_is_told_without_what_only_its_tag_says() {
        assert_eq!(told_as("v3.6.16-gofail"), Some("3.6.16"));
        assert_eq!(told_as("v3.4.9"), Some("3.4.9"));
        assert_eq!(told_as("v3.6.0-rc.2"), Some("3.6.0-rc.2"));
        assert_eq!(told_as("main"), None);
    }

    #[test]
    fn a_snapshot_is_restored_by_etcdctl_until_that_could_no_more() {
        let by = |version| restores_by(version).rsplit('/').next().unwrap_or_default();
        assert_eq!(
            ["v3.4.18", "v3.5.35", "v3.6.1", "main"].map(by),
            ["etcdctl", "etcdctl", "etcdutl", "etcdutl"]
        );
    }

    #[test]
    fn a_setting_has_the_name_that_the_version_gives_it() {
        let catchup = |version| flag(version, "snapshot-catchup-entries");
        let former = "experimental-snapshot-catchup-entries";
        for version in ["v3.6.0", "v3.7.3", "main"] {
            assert_eq!(catchup(version), Ok("snapshot-catchup-entries"));
        }
        for version in ["v3.5.14", "v3.5.35"] {
            assert_eq!(catchup(version), Ok(former));
        }
        for version in ["v3.4.18", "v3.5.9", "v3.5.13"] {
            let why = catchup(version).expect_err(version);
            assert!(why.contains("3.5.14"), "{why}");
        }
        let limit = |version| flag(version, "compaction-batch-limit");
        for version in ["v3.4.3", "v3.5.13", "v3.5.35"] {
            assert_eq!(limit(version), Ok("experimental-compaction-batch-limit"));
        }
        for version in ["v3.6.0", "v3.7.3"] {
            assert_eq!(limit(version), Ok("compaction-batch-limit"));
        }
        let interval = |version| flag(version, "compaction-sleep-interval");
        let former = "experimental-compaction-sleep-interval";
        assert_eq!(interval("v3.5.16"), Ok(former));
        assert_eq!(interval("v3.7.3"), Ok("compaction-sleep-interval"));
        let why = interval("v3.5.15").expect_err("it has none");
        assert!(why.contains("3.5.16"), "{why}");
        let no_fsync = |version| flag(version, "unsafe-no-fsync").is_ok();
        let versions = ["v3.4.9", "v3.4.10", "v3.5.0", "v3.6.16"];
        assert_eq!(versions.map(no_fsync), [false, true, true, true]);
        for usual in ["snapshot-count", "pre-vote", "logger", "log-outputs"] {
            assert_eq!(flag("v3.4.3", usual), Ok(usual));
        }
    }

    #[test]
    fn what_a_version_cannot_run_is_refused_with_the_version_and_the_reason() {
        let failpoint = Fault::Failpoint {
            of: Selector::Leader,
            at: vec!["raftBeforeSave".to_owned()],
            action: FailAction::Panic,
        };
        let elect = Fault::Elect {
            of: Selector::AnyFollower,
        };
        let of = |versions: &[&'static str], settings: &[&str], fault: &Fault| {
            can_run(versions, settings, std::slice::from_ref(fault)).err()
        };
        let refused = |versions: &[&'static str], settings: &[&str], fault: &Fault, why: &str| {
            let (version, told) = of(versions, settings, fault).expect("it is refused");
            assert_eq!(version, *versions.last().expect("a version"), "{told}");
            assert!(told.contains(why), "{told}");
        };
        assert_eq!(of(&["v3.4.9"], &["snapshot-count"], &elect), None);
        assert_eq!(of(&["v3.6.16-gofail"], &[], &failpoint), None);
        refused(&["v3.3.27"], &[], &elect, "before 3.4");
        refused(&["v3.4.18-gofail"], &[], &failpoint, "failpoints");
        let catchup = ["snapshot-count", "snapshot-catchup-entries"];
        refused(&["v3.6.16", "v3.5.9"], &catchup, &elect, "3.5.14");
    }

    #[test]
    fn a_flag_that_a_later_version_calls_otherwise_keeps_a_member_from_it() {
        let of =
            |version, next| renamed(version, next, &["snapshot-count", "compaction-batch-limit"]);
        assert_eq!(of("v3.5.35", "v3.5.9"), None);
        assert_eq!(of("v3.6.1", "v3.7.3"), None);
        let why = of("v3.5.35", "v3.6.1").expect("it is refused");
        assert!(why.contains("--compaction-batch-limit"), "{why}");
    }

    #[test]
    fn members_go_back_to_no_release_before_that_of_the_oldest() {
        let of = |versions: &[&'static str], next| goes_back(versions.iter().copied(), next);
        let why = of(&["v3.6.16", "v3.7.3"], "v3.5.35").expect("it is refused");
        assert!(why.contains("invalid downgrade"), "{why}");
        for (versions, next) in [
            (["v3.6.16", "v3.5.35"], "v3.5.9"),
            (["v3.5.35", "v3.5.35"], "v3.5.9"),
            (["v3.5.35", "v3.5.35"], "v3.6.1"),
            (["v3.6.16", "main"], "v3.5.35"),
            (["v3.6.16", "v3.6.16"], "main"),
        ] {
            assert_eq!(of(&versions, next), None, "{versions:?} {next}");
        }
    }

    #[test]
    fn members_of_3_4_have_those_of_3_5_beside_them_and_no_later_ones() {
        let of = |versions: &[&'static str]| can_run(versions, &[], &[]).err();
        assert_eq!(of(&["v3.4.9", "v3.5.9"]), None);
        assert_eq!(of(&["v3.5.35", "v3.6.16", "v3.7.3"]), None);
        for other in ["v3.6.1", "v3.7.3", "main"] {
            let (version, why) = of(&[other, "v3.4.9"]).expect("it is refused");
            assert_eq!(version, "v3.4.9");
            assert!(why.contains("beside 3.5 alone"), "{why}");
        }
    }
}
