//! Pure: up to which revision an archive is replayed over a backup, or why it cannot be. Segments are shown in order.

use jiff::Timestamp;

use super::segment::{Gap, Segment};

/// What a restore asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This revision.
    Revision(i64),
    /// This time: milliseconds since 1970.
    Time(i64),
    /// All there is.
    Latest,
    /// All there is, and at least up to this revision, which the archive had.
    AtLeast(i64),
}

/// Why a restore cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The archive begins too late for this backup.
    #[error(
        "the archive begins after revision {begins} and the backup is of revision {base}: what was in between was pruned by \
         the archive's retentionPeriod, or never archived. Use a newer backup, and ask for nothing before it"
    )]
    Begins {
        /// Revision that the archive begins after.
        begins: i64,
        /// The backup's.
        base: i64,
    },
    /// The target lies before the backup.
    #[error(
        "revision {target} is asked for and the backup is of revision {base}: use an older backup"
    )]
    Before {
        /// The target.
        target: i64,
        /// The backup's.
        base: i64,
    },
    /// The target lies before the archive.
    #[error("{} is before the archive's beginning, {}", shown(*.target), shown(*.begins))]
    Earlier {
        /// The target.
        target: i64,
        /// The first time of the archive.
        begins: i64,
    },
    /// The target lies after the archive's end.
    #[error(
        "the archive ends at revision {through} and {}: ask for no later one, or wait until it is archived",
        shown(*.until)
    )]
    Later {
        /// Its last revision.
        through: i64,
        /// Its last time.
        until: i64,
    },
    /// The archive had more.
    #[error(
        "the archive ends at revision {through} and {}, and it had revision {known}: something other than the operator has \
         deleted its newest segments, or has set the repository back. Bring them back, or ask for revision {through}",
        shown(*.until)
    )]
    Shrunk {
        /// Its last revision.
        through: i64,
        /// Its last time.
        until: i64,
        /// The revision that it had.
        known: i64,
    },
    /// The archive was not in step with the cluster at that time.
    #[error(
        "the archive was not in step with the cluster from {} to {}, and what was when in between it does not know: ask \
         for another time, or for a revision from {after} to {through}",
        shown(*.since), shown(*.until)
    )]
    Uncertain {
        /// Begin of that time.
        since: i64,
        /// Its end.
        until: i64,
        /// Revision before it.
        after: i64,
        /// Revision after it.
        through: i64,
    },
    /// Revisions are missing between the backup and the target.
    #[error(
        "revisions {} to {} are missing in the archive ({}): ask for revision {} at most, or use a backup of revision {} \
         or later", .0.after + 1, .0.until, .0.why, .0.after, .0.until
    )]
    Gap(Gap),
    /// The archive is another etcd cluster's.
    #[error(
        "the archive is of etcd cluster {0} and the backup of {1}: use a backup of the cluster that the archive is of"
    )]
    Cluster(String, String),
    /// Backup and archive have different histories.
    #[error(
        "revision {0} of the backup is another one than the archive's: in between the cluster was recovered without a quorum, \
         or its disks were set back. Restore the backup alone, or the archive over a backup from before"
    )]
    History(i64),
    /// There is no archive.
    #[error("the archive has no segment yet: wait until its Backup has a status.timeRange")]
    Empty,
}

/// A time as it is shown.
fn shown(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| milliseconds.to_string(), |time| time.to_string())
}

/// Looks for the revision of a target.
#[derive(Clone, Debug)]
pub struct Search {
    base: i64,
    target: Target,
    seen: Option<(i64, i64)>,
    /// Whether all that had happened at the end of the last segment is in those that were shown. Before the first one
    /// nothing is known: the archive may have begun long after its backup, or in the middle of what it had missed.
    known: bool,
}

impl Search {
    /// Over a backup of revision `base`.
    ///
    /// # Errors
    /// When the target lies before the backup.
    pub fn new(base: i64, target: Target) -> Result<Self, Refusal> {
        match target {
            Target::Revision(target) if target < base => Err(Refusal::Before { target, base }),
            _ => Ok(Search {
                base,
                target,
                seen: None,
                known: false,
            }),
        }
    }

    /// Takes the next segment; the revision as soon as it is known.
    ///
    /// # Errors
    /// When the restore cannot be.
    pub fn next(&mut self, segment: &Segment) -> Result<Option<i64>, Refusal> {
        let header = &segment.header;
        if self.seen.is_none() {
            // A gap before the first one's events is as good as a later beginning.
            if header.after > self.base {
                return Err(Refusal::Begins {
                    begins: header.after,
                    base: self.base,
                });
            }
            if let Target::Time(target) = self.target
                && target < header.since
            {
                return Err(Refusal::Earlier {
                    target,
                    begins: header.since,
                });
            }
        } else if let Some(gap) = &header.gap
            && gap.until > self.base
        {
            return Err(Refusal::Gap(gap.clone()));
        }
        self.seen = Some((header.through, header.until));
        let found = match self.target {
            Target::Revision(target) => (target <= header.through).then_some(target),
            Target::Time(target) if target < header.until => Some(self.at(target, segment)?),
            _ => None,
        };
        // Earlier programs wrote `continuous` into what came after a time that they had missed, until a confirmation.
        self.known = self.known && header.continuous || segment.confirmed().is_some();
        match found {
            Some(target) if target < self.base => Err(Refusal::Before {
                target,
                base: self.base,
            }),
            found => Ok(found),
        }
    }

    /// The last revision at a time within a segment.
    fn at(&self, target: i64, segment: &Segment) -> Result<i64, Refusal> {
        let header = &segment.header;
        if !self.known || !header.continuous && target > header.since {
            return Err(Refusal::Uncertain {
                since: header.since,
                until: header.until,
                after: header.after,
                through: header.through,
            });
        }
        let before = segment.events.iter().take_while(|event| event.at <= target);
        Ok(before.last().map_or(header.after, |event| event.revision))
    }

    /// There are no more segments: the revision, when the target is the very end.
    ///
    /// # Errors
    /// When the target lies beyond.
    pub fn end(self) -> Result<i64, Refusal> {
        let Some((through, until)) = self.seen else {
            return Err(Refusal::Empty);
        };
        match self.target {
            Target::Latest => {}
            Target::AtLeast(known) if through >= known => {}
            Target::AtLeast(known) => {
                return Err(Refusal::Shrunk {
                    through,
                    until,
                    known,
                });
            }
            Target::Time(target) if target <= until && self.known => {}
            _ => return Err(Refusal::Later { through, until }),
        }
        if through < self.base {
            return Err(Refusal::Later { through, until });
        }
        Ok(through)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::segment::tests::chain;

    fn find(segments: &[Segment], base: i64, target: Target) -> Result<i64, Refusal> {
        let mut search = Search::new(base, target)?;
        for segment in segments {
            if let Some(revision) = search.next(segment)? {
                return Ok(revision);
            }
        }
        search.end()
    }

    proptest! {
        #[test]
        fn a_target_is_found_exactly_when_the_archive_leads_to_it(
            sizes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 1..6),
            base in 8_i64..30, target in 8_i64..40, time in 980_i64..1200,
        ) {
            let segments: Vec<Segment> = chain(&sizes).into_iter().map(|(segment, _, _)| segment).collect();
            let through = segments.last().expect("one").header.through;
            let until = segments.last().expect("one").header.until;
            let found = find(&segments, base, Target::Revision(target));
            prop_assert_eq!(found.ok(), (10 <= base && base <= target && target <= through).then_some(target));
            let events = segments.iter().flat_map(|segment| &segment.events);
            let then = events.filter(|event| event.at <= time).map(|event| event.revision).max().unwrap_or(10);
            let found = find(&segments, base, Target::Time(time));
            // What was before the first one is not known.
            let known = segments[0].header.until;
            let can = 10 <= base && base <= then && (known..=until).contains(&time);
            prop_assert_eq!(found.ok(), can.then_some(then));
            let found = find(&segments, base, Target::Latest);
            prop_assert_eq!(found.ok(), (10 <= base && base <= through).then_some(through));
        }
    }

    #[test]
    fn a_gap_is_in_the_way_of_what_comes_after_it_unless_the_backup_is_newer() {
        let mut segments: Vec<Segment> = chain(&[vec![0, 0], vec![0, 0], vec![0]])
            .into_iter()
            .map(|(segment, _, _)| segment)
            .collect();
        // Revisions 11 and 12, then 13 to 17 are missing, then 18 and 19, 20.
        for segment in &mut segments[1..] {
            segment.header.after += 5;
            segment.header.through += 5;
            segment
                .events
                .iter_mut()
                .for_each(|event| event.revision += 5);
        }
        let gap = Gap {
            after: 12,
            until: 17,
            why: "compacted".into(),
        };
        segments[1].header.gap = Some(gap.clone());
        assert_eq!(find(&segments, 10, Target::Revision(12)), Ok(12));
        assert_eq!(
            find(&segments, 10, Target::Revision(18)),
            Err(Refusal::Gap(gap.clone()))
        );
        assert_eq!(find(&segments, 16, Target::Latest), Err(Refusal::Gap(gap)));
        assert_eq!(find(&segments, 17, Target::Revision(18)), Ok(18));
        assert_eq!(find(&segments, 18, Target::Latest), Ok(20));
    }

    #[test]
    fn a_time_that_the_archive_does_not_know_is_refused_and_revisions_are_named() {
        let mut segments: Vec<Segment> = chain(&[vec![0, 0], vec![0, 0], vec![0]])
            .into_iter()
            .map(|(segment, _, _)| segment)
            .collect();
        segments[1].header.continuous = false;
        let (since, until) = (segments[1].header.since, segments[1].header.until);
        assert_eq!(find(&segments, 10, Target::Time(since)), Ok(12));
        let refused = find(&segments, 10, Target::Time(since + 1)).expect_err("not known");
        assert_eq!(
            refused,
            Refusal::Uncertain {
                since,
                until,
                after: 12,
                through: 14
            }
        );
        assert!(
            refused.to_string().contains("1970-01-01T00:00:01.017Z"),
            "{refused}"
        );
        assert_eq!(find(&segments, 10, Target::Time(until)), Ok(14));
        assert_eq!(find(&segments, 10, Target::Revision(13)), Ok(13));
    }

    #[test]
    fn what_an_earlier_program_called_in_step_while_it_caught_up_is_refused() {
        let mut segments: Vec<Segment> = chain(&vec![vec![0, 0]; 7])
            .into_iter()
            .map(|(segment, _, _)| segment)
            .collect();
        // It was unavailable before the third; that one and the next two ended with an arrival, the sixth with a
        // confirmation.
        segments[2].header.continuous = false;
        for at in 2..5 {
            let end = segments[at].events[1].at;
            segments[at].header.until = end;
            segments[at + 1].header.since = end;
        }
        let refused = |time| {
            let found = find(&segments, 10, Target::Time(time));
            matches!(found, Err(Refusal::Uncertain { .. }))
        };
        let (since, until) = (segments[2].header.since, segments[5].header.until);
        assert_eq!(find(&segments, 10, Target::Time(since)), Ok(14));
        assert!((since + 1..until).all(refused));
        assert_eq!(find(&segments, 10, Target::Time(until)), Ok(22));
        let last = segments[6].events[0].at;
        assert_eq!(find(&segments, 10, Target::Time(last)), Ok(23));
        // The end of an archive that has not caught up is none that is known.
        let end = segments[3].header.until;
        let found = find(&segments[..4], 10, Target::Time(end));
        assert!(matches!(found, Err(Refusal::Later { .. })), "{found:?}");
        // One that began over an older backup has only this to say that it has caught up.
        let first = &mut segments[0];
        first.header.until = first.events[1].at;
        let begun = (first.header.since, first.header.until);
        segments[1].header.since = begun.1;
        for time in [begun.0, begun.1, segments[1].events[0].at] {
            let found = find(&segments, 10, Target::Time(time));
            assert!(matches!(found, Err(Refusal::Uncertain { .. })), "{found:?}");
        }
    }

    #[test]
    fn an_end_that_the_archive_had_passed_is_refused_and_both_revisions_are_named() {
        let mut segments: Vec<Segment> = chain(&[vec![0, 0], vec![0, 0], vec![0]])
            .into_iter()
            .map(|(segment, _, _)| segment)
            .collect();
        for known in [5, 14, 15] {
            assert_eq!(find(&segments, 10, Target::AtLeast(known)), Ok(15));
        }
        // The repository lists no newer one.
        segments.pop();
        let until = segments[1].header.until;
        let refused = find(&segments, 10, Target::AtLeast(15)).expect_err("it is older");
        let (through, known) = (14, 15);
        assert_eq!(
            refused,
            Refusal::Shrunk {
                through,
                until,
                known
            }
        );
        let told = refused.to_string();
        assert!(
            told.contains("ends at revision 14") && told.contains("had revision 15"),
            "{told}"
        );
        assert_eq!(find(&segments, 10, Target::AtLeast(14)), Ok(14));
    }

    #[test]
    fn an_empty_archive_leads_nowhere() {
        assert_eq!(find(&[], 5, Target::Latest), Err(Refusal::Empty));
    }
}
