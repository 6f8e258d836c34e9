//! A failover as a trace: one span for the whole, one for each part. Pure: the caller brings the time.

use std::time::Instant;

use kbagent_protocol::{Campaign, Outcome};

use super::failover::Failover;

/// A campaign of an agent, as its view reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Election {
    /// The pod of the member that campaigned.
    pub(super) pod: String,
    /// What its agent says.
    pub(super) campaign: Campaign,
    /// When this replica had that.
    pub(super) told: Instant,
}

/// A span below that of the failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// `election`, `strip`, `label` or `endpoints`.
    pub(super) name: &'static str,
    /// Its begin.
    pub(super) from: Instant,
    /// Its end.
    pub(super) to: Instant,
}

/// The parts of a failover, by this replica's clock. Those that it has not seen are missing.
pub(super) fn parts(failover: &Failover, election: Option<&Election>) -> Vec<Part> {
    let began = failover.began;
    let part = |name, from, to| Part { name, from, to };
    let election = election
        .filter(|election| led_to(election, failover))
        .and_then(|election| {
            let took = std::time::Duration::from_millis(election.campaign.after_ms);
            let from = election.told.checked_sub(took)?;
            Some(part("election", from, election.told))
        });
    let stripped = failover.unlabelled.map(|after| began + after);
    let labelled = began + failover.labelled;
    let endpoints = failover
        .endpoints
        .map(|after| part("endpoints", labelled, (began + after).max(labelled)));
    let strip = stripped.map(|at| part("strip", began, at));
    let label = part("label", stripped.unwrap_or(began), labelled);
    election
        .into_iter()
        .chain(strip)
        .chain([label])
        .chain(endpoints)
        .collect()
}

/// True when the failover's leader got its term by this campaign.
fn led_to(election: &Election, failover: &Failover) -> bool {
    let campaign = &election.campaign;
    let won = matches!(campaign.outcome, Outcome::Won | Outcome::Needless);
    won && election.pod == failover.to && campaign.term.saturating_add(1) == failover.term
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kbagent_protocol::Id;

    use super::super::failover::News;
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn failover(began: Instant) -> Failover {
        Failover {
            from: "db-0".to_owned(),
            to: "db-1".to_owned(),
            term: 5,
            news: News::Lost,
            began,
            unlabelled: Some(ms(12)),
            labelled: ms(90),
            endpoints: Some(ms(130)),
        }
    }

    fn election(told: Instant, term: u64, outcome: Outcome) -> Election {
        Election {
            pod: "db-1".to_owned(),
            campaign: Campaign {
                term,
                leader: Id(7),
                suspected: false,
                outcome,
                after_ms: 40,
            },
            told,
        }
    }

    #[test]
    fn the_parts_follow_each_other_and_the_election_lies_beside_them() {
        let began = Instant::now() + ms(1000);
        let won = election(began + ms(45), 4, Outcome::Won);
        let spans: Vec<_> = parts(&failover(began), Some(&won))
            .into_iter()
            .map(|part| (part.name, part.from - (began - ms(1)), part.to - part.from))
            .collect();
        let expected = [
            ("election", ms(6), ms(40)),
            ("strip", ms(1), ms(12)),
            ("label", ms(13), ms(78)),
            ("endpoints", ms(91), ms(40)),
        ];
        assert_eq!(spans, expected);
    }

    #[test]
    fn what_was_not_seen_has_no_span() {
        let began = Instant::now();
        let seen = Failover {
            unlabelled: None,
            endpoints: None,
            ..failover(began)
        };
        let names = |election: Option<&Election>| -> Vec<_> {
            parts(&seen, election)
                .iter()
                .map(|part| part.name)
                .collect()
        };
        assert_eq!(names(None), ["label"]);
        let other_term = election(began, 3, Outcome::Won);
        let late = election(began, 4, Outcome::Late);
        let other_pod = Election {
            pod: "db-2".to_owned(),
            ..election(began, 4, Outcome::Won)
        };
        for other in [other_term, late, other_pod] {
            assert_eq!(names(Some(&other)), ["label"], "{other:?}");
        }
    }
}
