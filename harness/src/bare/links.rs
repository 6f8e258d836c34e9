//! Links between members, each of which leads one way through the proxy: which of them a fault concerns, by which rule,
//! and what the proxy says of them. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::faults::{
    Cut, Direction, Disturbance, Evidence, Fault, Member, Selector, Traffic, parties,
};

/// From which member to which.
pub(crate) type Pair = (String, String);

/// What a link does, as the proxy takes it; without any of it everything passes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) blocked: bool,
    pub(crate) delay_ms: u32,
    pub(crate) jitter_ms: u32,
    pub(crate) bytes_s: u32,
    pub(crate) down_ms: u32,
    pub(crate) up_ms: u32,
    pub(crate) reset_ms: u32,
    pub(crate) lost_percent: u8,
}

/// What a link has done under its rule, as the proxy says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) rule: Rule,
    pub(crate) since_ms: u64,
    /// Bytes that are under way now.
    pub(crate) waiting: u64,
    pub(crate) bytes: u64,
    pub(crate) pieces: u64,
    /// Pieces and new connections that met a closed link.
    pub(crate) stopped: u64,
    /// Pieces that waited for a slow link.
    pub(crate) queued: u64,
    pub(crate) least_us: u64,
    pub(crate) most_us: u64,
    pub(crate) resets: u64,
    pub(crate) downs: u32,
    /// Pieces that were lost and sent again.
    pub(crate) lost: u64,
}

/// What the proxy says of all links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) links: Vec<Line>,
}

/// A fault of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkFault {
    /// Who is chosen, and what that means.
    pub(crate) cut: Cut,
    direction: Direction,
    pub(crate) rule: Rule,
}

/// The fault of links that a fault is; none for one that needs no proxy. Two sides are split by one where there is one.
pub(crate) fn of(fault: &Fault) -> Option<LinkFault> {
    let blocked = Rule {
        blocked: true,
        ..Rule::default()
    };
    let (cut, direction, rule) = match fault {
        Fault::Split { side, direction } => (Cut::Side(side.clone()), *direction, blocked),
        Fault::Isolate {
            of,
            traffic: Traffic::Peer,
            direction,
        } => (Cut::Members(of.clone()), *direction, blocked),
        Fault::Bridge { through } => (Cut::Around(through.clone()), Direction::Both, blocked),
        Fault::DisturbPeers { of, how, direction } => {
            (Cut::Members(of.clone()), *direction, rule(*how))
        }
        _ => return None,
    };
    Some(LinkFault {
        cut,
        direction,
        rule,
    })
}

/// True for a fault that members can only have with a proxy between them.
pub(crate) fn needs_proxy(fault: &Fault) -> bool {
    let by_network = matches!(
        fault,
        Fault::Split {
            direction: Direction::Both,
            ..
        }
    );
    of(fault).is_some() && !by_network
}

fn rule(how: Disturbance) -> Rule {
    let all = Rule::default();
    match how {
        Disturbance::Delay { ms, jitter_ms } => Rule {
            delay_ms: ms,
            jitter_ms,
            ..all
        },
        Disturbance::Throttle { bytes_s } => Rule { bytes_s, ..all },
        Disturbance::Flap { down_ms, up_ms } => Rule {
            down_ms,
            up_ms,
            ..all
        },
        Disturbance::Reset { every_ms } => Rule {
            reset_ms: every_ms,
            ..all
        },
        Disturbance::Lose { percent } => Rule {
            lost_percent: percent,
            ..all
        },
    }
}

impl LinkFault {
    /// Who is meant.
    pub(crate) fn selector(&self) -> &Selector {
        match &self.cut {
            Cut::Members(of) | Cut::Side(of) | Cut::Around(of) => of,
        }
    }

    /// The links that it concerns, given the members chosen and all members.
    pub(crate) fn pairs(&self, chosen: &[Member], all: &[Member]) -> Vec<Pair> {
        let parties = parties(&self.cut, chosen, all);
        let mut pairs = BTreeSet::new();
        let far = if parties.far.is_empty() {
            all.iter().map(|member| member.pod.clone()).collect()
        } else {
            parties.far
        };
        for near in &parties.near {
            for far in far.iter().filter(|far| *far != near) {
                if self.direction != Direction::Incoming {
                    pairs.insert((near.clone(), far.clone()));
                }
                if self.direction != Direction::Outgoing {
                    pairs.insert((far.clone(), near.clone()));
                }
            }
        }
        pairs.into_iter().collect()
    }

    /// Milliseconds by which a linearizable read at a chosen member is late at least: it waits for others each way.
    pub(crate) fn least_delay_ms(&self) -> u64 {
        let ways = if self.direction == Direction::Both {
            2
        } else {
            1
        };
        u64::from(self.rule.delay_ms) * ways
    }
}

impl Report {
    /// What it says of these links.
    ///
    /// # Errors
    /// When it does not know one, in words.
    pub(crate) fn of(&self, pairs: &[Pair]) -> Result<Vec<&Line>, String> {
        let line = |(from, to): &Pair| {
            let mut lines = self.links.iter();
            let found = lines.find(|line| line.from == *from && line.to == *to);
            found.ok_or_else(|| format!("the proxy knows no link from {from} to {to}"))
        };
        pairs.iter().map(line).collect()
    }

    /// Links that have a rule.
    pub(crate) fn ruled(&self) -> Vec<String> {
        let ruled = |line: &&Line| line.rule != Rule::default();
        let words = |line: &Line| format!("{} to {}: {:?}", line.from, line.to, line.rule);
        self.links.iter().filter(ruled).map(words).collect()
    }
}

/// What shows on the links themselves that a rule bites.
///
/// # Errors
/// What was seen instead, in words.
pub(crate) fn shown(rule: &Rule, lines: &[&Line]) -> Result<Evidence, String> {
    let without = |what: &str, bites: &dyn Fn(&Line) -> bool| match lines.iter().find(|l| !bites(l))
    {
        Some(line) => Err(format!("{} to {}: {what}: {line:?}", line.from, line.to)),
        None => Ok(()),
    };
    let sum = |of: &dyn Fn(&Line) -> u64| lines.iter().map(|line| of(line)).sum::<u64>();
    let mut evidence = Evidence::new().with("links", lines.len());
    if rule.blocked {
        without("nothing was stopped yet", &|line| line.stopped > 0)?;
        without("something passed", &|line| line.bytes == 0)?;
        evidence.add("stopped", sum(&|line| line.stopped));
        evidence.add("bytes_waiting", sum(&|line| line.waiting));
    }
    if rule.delay_ms > 0 {
        let least = u64::from(rule.delay_ms) * 1000;
        without("nothing passed yet", &|line| line.pieces > 0)?;
        without("it was not late", &|line| line.least_us >= least)?;
        let held = |us: Option<u64>| us.unwrap_or_default() / 1000;
        evidence.add("pieces", sum(&|line| line.pieces));
        let least = lines.iter().map(|line| line.least_us).min();
        evidence.add("held_least_ms", held(least));
        let most = lines.iter().map(|line| line.most_us).max();
        evidence.add("held_most_ms", held(most));
    }
    if rule.bytes_s > 0 {
        if sum(&|line| line.queued) == 0 {
            return Err("no link was full yet".to_owned());
        }
        let quick = |line: &Line| {
            let passed = u128::from(line.bytes) * 1000;
            passed > u128::from(rule.bytes_s) * u128::from(line.since_ms + 1)
        };
        without("more passed than was allowed", &|line| !quick(line))?;
        evidence.add("queued", sum(&|line| line.queued));
        let full = lines.iter().max_by_key(|line| line.bytes);
        let rate = full.map_or(0, |line| line.bytes * 1000 / (line.since_ms + 1));
        evidence.add("most_bytes_s", rate);
    }
    if rule.down_ms > 0 {
        without("it has not gone down twice", &|line| line.downs >= 2)?;
        without("nothing was stopped yet", &|line| line.stopped > 0)?;
        let downs = lines.iter().map(|line| line.downs).max();
        evidence.add("downs", downs.unwrap_or_default());
        evidence.add("stopped", sum(&|line| line.stopped));
    }
    if rule.reset_ms > 0 {
        let resets = sum(&|line| line.resets);
        if resets < lines.len() as u64 {
            return Err(format!("{resets} connections were reset"));
        }
        evidence.add("resets", resets);
    }
    if rule.lost_percent > 0 {
        without("nothing was lost yet", &|line| line.lost > 0)?;
        evidence.add("lost", sum(&|line| line.lost));
        let most = lines.iter().map(|line| line.most_us).max();
        evidence.add("held_most_ms", most.unwrap_or_default() / 1000);
    }
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u32) -> Vec<Member> {
        let member = |ordinal: u32| Member {
            pod: format!("m{ordinal}"),
            ordinal: Some(ordinal),
            uid: String::new(),
            ip: None,
            node: None,
            role: None,
        };
        (0..count).map(member).collect()
    }

    fn pairs(fault: &Fault, chosen: usize, count: u32) -> Vec<String> {
        let all = members(count);
        let found = of(fault).expect("a fault of links");
        let pairs = found.pairs(&all[chosen..=chosen], &all);
        let words = pairs.into_iter();
        words.map(|(from, to)| format!("{from}>{to}")).collect()
    }

    fn line(rule: Rule) -> Line {
        Line {
            from: "a".to_owned(),
            to: "b".to_owned(),
            rule,
            since_ms: 1000,
            waiting: 0,
            bytes: 0,
            pieces: 0,
            stopped: 0,
            queued: 0,
            least_us: 0,
            most_us: 0,
            resets: 0,
            downs: 0,
            lost: 0,
        }
    }

    #[test]
    fn a_way_is_cut_between_the_sides_and_not_the_other() {
        let split = |direction| Fault::Split {
            side: Selector::Leader,
            direction,
        };
        assert_eq!(pairs(&split(Direction::Outgoing), 1, 3), ["m1>m0", "m1>m2"]);
        assert_eq!(pairs(&split(Direction::Incoming), 1, 3), ["m0>m1", "m2>m1"]);
        assert_eq!(pairs(&split(Direction::Both), 1, 3).len(), 4);
        let bridge = Fault::Bridge {
            through: Selector::Leader,
        };
        assert_eq!(pairs(&bridge, 0, 3), ["m1>m2", "m2>m1"]);
    }

    #[test]
    fn members_alone_have_a_network_only_for_what_it_can_do() {
        let split = |direction| Fault::Split {
            side: Selector::Leader,
            direction,
        };
        assert!(!needs_proxy(&split(Direction::Both)));
        assert!(needs_proxy(&split(Direction::Incoming)));
        assert!(needs_proxy(&Fault::Bridge {
            through: Selector::Leader
        }));
        assert!(!needs_proxy(&Fault::FreezeDns));
        let clients = Fault::Isolate {
            of: Selector::Leader,
            traffic: Traffic::Client,
            direction: Direction::Both,
        };
        assert_eq!(of(&clients), None, "they do not pass the proxy");
    }

    #[test]
    fn a_rule_without_its_mark_on_a_link_is_not_shown() {
        let blocked = Rule {
            blocked: true,
            ..Rule::default()
        };
        let mut seen = line(blocked);
        assert!(shown(&blocked, &[&seen]).is_err());
        seen.stopped = 1;
        assert!(shown(&blocked, &[&seen]).is_ok());
        seen.bytes = 1;
        assert!(shown(&blocked, &[&seen]).is_err(), "it leaks");

        let late = rule(Disturbance::Delay {
            ms: 50,
            jitter_ms: 0,
        });
        let mut seen = line(late);
        assert!(shown(&late, &[&seen]).is_err());
        (seen.pieces, seen.least_us) = (1, 49_000);
        assert!(shown(&late, &[&seen]).is_err());
        seen.least_us = 50_001;
        let evidence = shown(&late, &[&seen]).expect("shown");
        assert_eq!(evidence.get("held_least_ms"), Some("50"));

        let slow = rule(Disturbance::Throttle { bytes_s: 1000 });
        let mut seen = line(slow);
        seen.bytes = 900;
        assert!(shown(&slow, &[&seen]).is_err(), "nothing had to wait");
        seen.queued = 3;
        assert!(shown(&slow, &[&seen]).is_ok());
        seen.bytes = 2000;
        assert!(shown(&slow, &[&seen]).is_err(), "it is not slow");

        let flap = rule(Disturbance::Flap {
            down_ms: 100,
            up_ms: 100,
        });
        let mut seen = line(flap);
        (seen.downs, seen.stopped) = (1, 1);
        assert!(shown(&flap, &[&seen]).is_err());
        seen.downs = 2;
        assert!(shown(&flap, &[&seen]).is_ok());

        let reset = rule(Disturbance::Reset { every_ms: 100 });
        let mut seen = line(reset);
        assert!(shown(&reset, &[&seen]).is_err());
        seen.resets = 1;
        assert!(shown(&reset, &[&seen]).is_ok());

        let lossy = rule(Disturbance::Lose { percent: 10 });
        let mut seen = line(lossy);
        seen.pieces = 9;
        assert!(shown(&lossy, &[&seen]).is_err());
        (seen.lost, seen.most_us) = (1, 200_900);
        let evidence = shown(&lossy, &[&seen]).expect("shown");
        assert_eq!(evidence.get("held_most_ms"), Some("200"));
    }

    #[test]
    fn what_the_proxy_says_is_read_and_its_rules_are_found() {
        let text = r#"{"links":[{"from":"a","to":"b","rule":{"blocked":true,"delay_ms":0,"jitter_ms":0,"bytes_s":0,
            "down_ms":0,"up_ms":0,"reset_ms":0,"lost_percent":0},"since_ms":5,"waiting":7,"bytes":0,"pieces":0,"stopped":1,"queued":0,
            "least_us":0,"most_us":0,"resets":0,"downs":0,"lost":0}]}"#;
        let report: Report = serde_json::from_str(text).expect("a report");
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(report.of(&[pair("a", "b")]).map(|l| l[0].waiting), Ok(7));
        assert!(report.of(&[pair("b", "a")]).is_err());
        assert_eq!(report.ruled().len(), 1);
    }
}
