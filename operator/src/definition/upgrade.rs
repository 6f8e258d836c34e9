//! Which version may follow which in a running cluster (V1, V2). Pure.

use super::minor::Minor;

/// The oldest version that a minor's members must have before any of them is upgraded to the next minor: what older
/// ones left behind breaks the next (etcd-io/etcd#19557, #20793, #20967).
const FLOORS: [((u64, u64), u64); 2] = [((3, 5), 26), ((3, 6), 11)];

/// The lowest minor that etcd's own downgrade leads to.
const LOWEST: (u64, u64) = (3, 5);

/// The last minor whose servers read requests of the API v2 in their log.
pub(crate) const READS_OLD: &str = "3.6";

/// Why a version may not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoad {
    /// More than one minor at a time.
    #[error(
        "serviceVersion cannot go from {from} to {to}: etcd is upgraded one minor at a time, go to {major}.{minor} first"
    )]
    Jump {
        /// What runs.
        from: String,
        /// What is asked for.
        to: String,
        /// The minor that comes first.
        major: u64,
        /// The minor that comes first.
        minor: u64,
    },
    /// Too old for the next minor.
    #[error("serviceVersion cannot go from {from} to {to}: every member must have {floor} first")]
    Floor {
        /// What runs.
        from: String,
        /// What is asked for.
        to: String,
        /// The version that must come first.
        floor: String,
    },
    /// Back by more than a minor, or to one that etcd does not lead back to.
    #[error(
        "serviceVersion cannot go back from {from} to {to}: etcd is downgraded one minor at a time, and not below {lowest}"
    )]
    Downgrade {
        /// What runs.
        from: String,
        /// What is asked for.
        to: String,
        /// The lowest minor that a downgrade leads to.
        lowest: String,
    },
    /// Back to a release from which there is no way up again.
    #[error(
        "serviceVersion cannot go back from {from} to {to}: name {floor} or a later release of that minor; older ones leave \
         behind what breaks the way up again"
    )]
    DowngradeFloor {
        /// What runs.
        from: String,
        /// What is asked for.
        to: String,
        /// The oldest release.
        floor: String,
    },
}

/// Whether members that run the versions of `running` may be followed by version `to`. While one of them runs the minor
/// of `to` it holds etcd's cluster version back, and any release of that minor will do.
///
/// # Errors
/// With the reason and what to do first.
pub(crate) fn check_upgrade(running: &[&str], to: &str) -> Result<(), NoRoad> {
    let held_back = running.iter().any(|from| minor_of(from) == minor_of(to));
    running
        .iter()
        .try_for_each(|from| check_one(from, to, held_back))
}

fn check_one(from: &str, to: &str, held_back: bool) -> Result<(), NoRoad> {
    let (Some(old), Some(new)) = (numbers(from), numbers(to)) else {
        return Ok(());
    };
    let told = || (from.to_owned(), to.to_owned());
    let ((major, minor, patch), (new_major, new_minor, _)) = (old, new);
    if (new_major, new_minor) == (major, minor) {
        return Ok(());
    }
    if (new_major, new_minor) < (major, minor) {
        return check_back(told(), old, new, held_back);
    }
    let (from, to) = told();
    if new_major != major || new_minor != minor.saturating_add(1) {
        let minor = minor.saturating_add(1);
        return Err(NoRoad::Jump {
            from,
            to,
            major,
            minor,
        });
    }
    match floor_of((major, minor)) {
        Some(floor) if patch < floor => Err(NoRoad::Floor {
            from,
            to,
            floor: format!("{major}.{minor}.{floor}"),
        }),
        _ => Ok(()),
    }
}

type Numbers = (u64, u64, u64);

fn check_back(
    (from, to): (String, String),
    (major, minor, _): Numbers,
    (new_major, new_minor, patch): Numbers,
    held_back: bool,
) -> Result<(), NoRoad> {
    let one_back = new_major == major && new_minor.saturating_add(1) == minor;
    let (low_major, low_minor) = LOWEST;
    if !one_back || (new_major, new_minor) < LOWEST {
        return Err(NoRoad::Downgrade {
            from,
            to,
            lowest: format!("{low_major}.{low_minor}"),
        });
    }
    match floor_of((new_major, new_minor)) {
        Some(floor) if patch < floor && !held_back => Err(NoRoad::DowngradeFloor {
            from,
            to,
            floor: format!("{new_major}.{new_minor}.{floor}"),
        }),
        _ => Ok(()),
    }
}

fn floor_of(minor: (u64, u64)) -> Option<u64> {
    let mut floors = FLOORS.iter();
    floors.find(|(of, _)| *of == minor).map(|(_, floor)| *floor)
}

/// The minor that etcd's data must be led back to before members of version `to` can read it; none when all members
/// run that minor already, or an older one.
pub(crate) fn leads_down(running: &[&str], to: &str) -> Option<Minor> {
    let target = Minor::of(to)?;
    let mut versions = running.iter().filter_map(|version| Minor::of(version));
    versions.any(|minor| minor > target).then_some(target)
}

/// The minor of `to`, when its servers do not read all that members of `running` may have in their logs (V7).
pub(crate) fn leads_past_old_requests(running: &[&str], to: &str) -> Option<Minor> {
    let reads = |minor: &Minor| Minor::of(READS_OLD).is_some_and(|last| *minor <= last);
    let target = Minor::of(to).filter(|to| !reads(to))?;
    let mut versions = running.iter().filter_map(|version| Minor::of(version));
    versions.any(|minor| reads(&minor)).then_some(target)
}

/// The minor that a version belongs to; none when it is not written as a version.
pub(crate) fn minor_of(version: &str) -> Option<(u64, u64)> {
    numbers(version).map(|(major, minor, _)| (major, minor))
}

fn numbers(version: &str) -> Option<Numbers> {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_one_minor_at_a_time_from_their_floor() {
        let table = [
            ("3.6.1", "3.6.16", None),
            ("3.6.16", "3.6.1", None),
            ("3.5.35", "3.6.16", None),
            ("3.6.16", "3.7.3", None),
            ("3.5.15", "3.6.16", Some("3.5.26 first")),
            ("3.6.1", "3.7.3", Some("3.6.11 first")),
            ("3.5.35", "3.7.3", Some("go to 3.6 first")),
            ("3.6.16", "3.5.35", None),
            ("3.7.3", "3.6.16", None),
            ("3.6.16", "3.5.16", Some("name 3.5.26 or a later")),
            ("3.7.3", "3.6.1", Some("name 3.6.11 or a later")),
            ("3.7.3", "3.5.35", Some("one minor at a time")),
            ("3.5.35", "3.4.40", Some("not below 3.5")),
            ("3.6.16", "2.3.0", Some("cannot go back")),
            ("custom", "3.7.3", None),
        ];
        for (from, to, refused) in table {
            let told = check_upgrade(&[from], to).err().map(|e| e.to_string());
            match (told, refused) {
                (None, None) => {}
                (Some(told), Some(word)) => assert!(told.contains(word), "{told}"),
                (told, _) => panic!("{from} to {to}: {told:?}"),
            }
        }
    }

    #[test]
    fn an_unfinished_upgrade_may_be_taken_back_by_one_minor() {
        assert_eq!(check_upgrade(&["3.7.3", "3.6.16"], "3.6.1"), Ok(()));
        assert!(check_upgrade(&["3.7.3", "3.7.3"], "3.6.1").is_err());
        assert!(check_upgrade(&["3.7.3", "3.6.16"], "3.5.35").is_err());
    }

    #[test]
    fn data_is_led_down_while_any_member_runs_a_later_minor() {
        let to = |running: &[&str], version| leads_down(running, version).map(|m| m.to_string());
        assert_eq!(to(&["3.6.16"; 3], "3.5.35").as_deref(), Some("3.5"));
        let mixed = ["3.5.35", "3.6.16", "3.5.35"];
        assert_eq!(to(&mixed, "3.5.35").as_deref(), Some("3.5"));
        for (running, version) in [
            (["3.5.35"; 3], "3.5.35"),
            (["3.6.16"; 3], "3.6.1"),
            (mixed, "3.6.16"),
            (["custom"; 3], "3.5.35"),
        ] {
            assert_eq!(to(&running, version), None, "{running:?} to {version}");
        }
    }

    #[test]
    fn the_member_that_is_furthest_back_decides() {
        assert_eq!(check_upgrade(&["3.6.16", "3.6.11"], "3.7.3"), Ok(()));
        assert!(check_upgrade(&["3.6.16", "3.6.1"], "3.7.3").is_err());
        assert!(check_upgrade(&["3.6.16", "3.5.35"], "3.7.3").is_err());
    }
}
