//! How a CA is replaced under members that live: they believe both, then certificates are of the new one, then the old
//! one is believed no longer. What is done follows from the Secret of the CA, so any operator continues.
//!
//! etcd reads the CAs that it believes at its start and certificates at each handshake. So a change of what is believed
//! takes a restart of all members, one of certificates takes the time that a mounted Secret needs.

use std::collections::BTreeMap;
use std::fmt;

use etcd_operator_api::labels;
use etcd_operator_api::names::{CERTIFICATE_KEY, PRIVATE_KEY};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use sha2::{Digest, Sha256};

use super::issue::Made;
use super::read::Data;

/// Keys of the CA's Secret while it is replaced: the CA that comes, with its key, and the one that goes.
const NEXT_CERT: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
/// Time that a Secret takes to reach all pods: more than a kubelet's period of a minute and its cache.
const SPREAD: SignedDuration = SignedDuration::from_mins(labels::CA_MINUTES_LEAST as i64);
/// Time after which no operator or application uses a CA or certificate that it has read before, unless its owner says
/// another one.
const HELD: SignedDuration = SignedDuration::from_hours(2);
/// A CA is replaced so long before its end: certificates of a year are never cut short.
const EARLY: SignedDuration = SignedDuration::from_hours(24 * 365 * 2);

/// When Secrets were seen to hold what a stage wants; `None` before.
type Since = Option<Timestamp>;

/// How far the replacement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// None is in progress.
    #[default]
    Steady,
    /// Secrets come to hold both CAs.
    Trusting(Since),
    /// Members are restarted to believe both.
    Restarting,
    /// Certificates come to be of the new one.
    Reissuing(Since),
    /// Secrets come to hold the new CA alone.
    Dropping(Since),
}

impl Stage {
    /// What is on record; what cannot be read is the beginning.
    #[must_use]
    pub(crate) fn read(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        let (word, since) = text.split_once(' ').unwrap_or((text, ""));
        let since = since.parse().ok();
        match word {
            "trusting" => Stage::Trusting(since),
            "restarting" => Stage::Restarting,
            "reissuing" => Stage::Reissuing(since),
            "dropping" => Stage::Dropping(since),
            _ => Stage::Steady,
        }
    }

    fn since(self) -> Since {
        match self {
            Stage::Trusting(since) | Stage::Reissuing(since) | Stage::Dropping(since) => since,
            Stage::Steady | Stage::Restarting => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Steady => "steady",
            Stage::Trusting(_) => "trusting",
            Stage::Restarting => "restarting",
            Stage::Reissuing(_) => "reissuing",
            Stage::Dropping(_) => "dropping",
        })?;
        self.since().map_or(Ok(()), |since| write!(f, " {since}"))
    }
}

/// What the next step depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// How far it is.
    pub stage: Stage,
    /// Whether another CA is asked for, or due.
    pub wanted: bool,
    /// Whether the Secrets of members and applications hold what they must, before this round writes any.
    pub settled: bool,
    /// Whether all members were started with the CAs that they are to believe.
    pub restarted: bool,
    /// Time after which applications have read their Secrets again.
    pub held: SignedDuration,
    /// The time.
    pub now: Timestamp,
}

/// How long applications may hold what they have read, and what is wrong with what their owner says of it.
#[must_use]
pub(crate) fn held(annotations: &BTreeMap<String, String>) -> (SignedDuration, Option<String>) {
    let Some(said) = annotations.get(labels::CA_MINUTES) else {
        return (HELD, None);
    };
    let accepted = labels::CA_MINUTES_LEAST..=labels::CA_MINUTES_MOST;
    match said.parse::<u16>() {
        Ok(minutes) if accepted.contains(&minutes) => {
            (SignedDuration::from_mins(minutes.into()), None)
        }
        _ => {
            let wrong = format!(
                "annotation {} of the CA's Secret must be {} to {} minutes as a whole number, not {said:?}: {} are taken",
                labels::CA_MINUTES,
                accepted.start(),
                accepted.end(),
                HELD.as_mins()
            );
            (HELD, Some(wrong))
        }
    }
}

/// What is written into the CA's Secret next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// A new CA stands beside.
    Begin,
    /// Secrets were seen to be as they must: the time begins.
    Settle,
    /// Members are to be restarted.
    Restart,
    /// The new CA signs.
    Reissue,
    /// The old one is believed no longer.
    Drop,
    /// Members are to be restarted once more, and that is all.
    End,
}

/// The step that is due.
#[must_use]
pub(crate) fn next(facts: &Facts) -> Option<Move> {
    let after = |done: Move, wait: SignedDuration| match facts.stage.since() {
        // A time that is ahead is as good as now: nothing may be hurried.
        Some(since) if since > facts.now => facts.settled.then_some(Move::Settle),
        Some(since) => (facts.now.duration_since(since) >= wait).then_some(done),
        None => facts.settled.then_some(Move::Settle),
    };
    match facts.stage {
        Stage::Steady => facts.wanted.then_some(Move::Begin),
        Stage::Trusting(_) => after(Move::Restart, facts.held),
        Stage::Restarting => facts.restarted.then_some(Move::Reissue),
        Stage::Reissuing(_) => after(Move::Drop, facts.held),
        Stage::Dropping(_) => after(Move::End, SPREAD),
    }
}

/// Whether another CA is wanted: a value that was not obeyed yet, or a life that ends.
#[must_use]
pub(crate) fn wanted(
    annotations: &BTreeMap<String, String>,
    ends: Timestamp,
    now: Timestamp,
) -> bool {
    let read = |key| annotations.get(key);
    let asked = read(labels::CA_ROTATE);
    let asked = asked.is_some() && asked != read(labels::CA_ROTATED);
    asked || ends.duration_since(now) < EARLY
}

/// All CAs that are to be believed, as PEM.
#[must_use]
pub(crate) fn bundle(data: &Data) -> Vec<u8> {
    let parts = [CERTIFICATE_KEY, NEXT_CERT, PREVIOUS];
    let parts = parts.iter().filter_map(|key| data.get(*key));
    parts.flat_map(|part| part.0.iter().copied()).collect()
}

/// A short text that changes with what is believed.
#[must_use]
pub(crate) fn digest(bundle: &[u8]) -> String {
    let digest = Sha256::digest(bundle);
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Data and annotations of the CA's Secret after a step; `made` is the CA that a beginning brings.
#[must_use]
pub(crate) fn after(
    step: Move,
    (data, annotations): (&Data, &BTreeMap<String, String>),
    made: Option<&Made>,
    now: Timestamp,
) -> (Data, BTreeMap<String, String>) {
    let (mut data, mut annotations) = (data.clone(), annotations.clone());
    let stage = Stage::read(annotations.get(labels::CA_STEP).map(String::as_str));
    let text = |text: &String| ByteString(text.clone().into_bytes());
    let stage = match step {
        Move::Begin => {
            if let Some(made) = made {
                data.insert(NEXT_CERT.to_owned(), text(&made.cert));
                data.insert(NEXT_KEY.to_owned(), text(&made.key));
            }
            // What is asked for meanwhile is asked for once more.
            if let Some(asked) = annotations.get(labels::CA_ROTATE).cloned() {
                annotations.insert(labels::CA_ROTATED.to_owned(), asked);
            }
            Stage::Trusting(None)
        }
        Move::Settle => match stage {
            Stage::Trusting(_) => Stage::Trusting(Some(now)),
            Stage::Reissuing(_) => Stage::Reissuing(Some(now)),
            Stage::Dropping(_) => Stage::Dropping(Some(now)),
            other => other,
        },
        Move::Restart => Stage::Restarting,
        Move::Reissue => match (data.remove(NEXT_CERT), data.remove(NEXT_KEY)) {
            (Some(cert), Some(key)) => {
                let old = data.insert(CERTIFICATE_KEY.to_owned(), cert);
                data.insert(PRIVATE_KEY.to_owned(), key);
                data.extend(old.map(|old| (PREVIOUS.to_owned(), old)));
                Stage::Reissuing(None)
            }
            // Taken out by hand: what signs continues to sign, and what is believed shrinks to it.
            _ => Stage::Dropping(None),
        },
        Move::Drop => {
            data.remove(PREVIOUS);
            Stage::Dropping(None)
        }
        Move::End => Stage::Steady,
    };
    if matches!(step, Move::Restart | Move::End) {
        annotations.insert(labels::CA_TRUST.to_owned(), digest(&bundle(&data)));
    }
    match stage {
        Stage::Steady => annotations.remove(labels::CA_STEP),
        stage => annotations.insert(labels::CA_STEP.to_owned(), stage.to_string()),
    };
    (data, annotations)
}

#[cfg(test)]
#[path = "rotate_tests.rs"]
mod tests;
