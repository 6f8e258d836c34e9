//! Runs one scenario: creates the cluster, starts load, injects faults, heals, looks for what is left, saves, judges,
//! reports.
//!
//! Everything is saved before it is judged, and whatever fails on the way is itself a verdict, so that a run that
//! broke in the middle still shows how far it came.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_history::check::{self, Expectations};
use etcd_history::record::Nanos;
use etcd_history::{History, Record};
use jiff::Timestamp;
use serde_json::json;
use tokio::task::{JoinError, JoinHandle};

use crate::deploy::collect_namespace;
use crate::report::Severity;
use crate::report::{RunDir, RunDirError, Verdict, worst};
use crate::scenario::outcome::{Found, Gaps, TrialResult, cut_short, only_the_gap, time};
use crate::scenario::subject::Subject;
use crate::scenario::trial::TrialRun;
use crate::scenario::{Act, Lab, Live, Plan, RunError, conformance, goals, interrupt, leftovers};

/// A run of which nothing more is measured: what was seen is fetched, and waits to be saved and judged.
pub struct Measured {
    lab: Lab,
    plan: Plan,
    started: Timestamp,
    dir: RunDir,
    /// Its cluster; none where it was not made.
    subject: Option<Subject>,
    found: Found,
    /// Seconds that the act took, without what was fetched before.
    acted_s: f64,
}

/// Runs a plan.
///
/// # Errors
/// [`RunError`] when nothing could be run or saved. Everything else is in the verdict.
pub async fn run(lab: &Lab, plan: &Plan) -> Result<TrialResult, RunError> {
    let lab = Lab {
        live: lab.live.anew(),
        ..lab.clone()
    };
    Box::pin(measure(lab, plan.clone())).await?.judge().await
}

/// Runs a plan until nothing of it is measured any more.
///
/// # Errors
/// [`RunError`] when nothing could be run, and when its turn does not come.
pub async fn measure(lab: Lab, plan: Plan) -> Result<Measured, RunError> {
    let live = lab.live.clone();
    live.telling(Box::pin(measure_in(lab, plan))).await
}

async fn measure_in(lab: Lab, plan: Plan) -> Result<Measured, RunError> {
    let started = Timestamp::now();
    let dir = RunDir::create(&lab.runs, started, &plan.trial(), plan.seed)?;
    lab.live
        .say(format!("{}: {}", plan.trial(), plan.scenario.story));
    lab.live
        .say(format!("seed {}; again: {}", plan.seed, plan.replay()));
    save_plan(&dir, (&plan, &plan.replay()), started, None)?;

    // Nothing of a fault is on now: a run is only set up ahead while the one before it is judged.
    let leftovers = leftovers::before(&lab).await;
    let begin = lab.live.seconds();
    let (subject, mut found) = match leftovers {
        Some(leftovers) => (None, not_made(leftovers)),
        None => {
            let reach = plan.scenario.reach();
            let subject = Subject::create(&lab.cluster, &plan.trial(), plan.members, reach).await?;
            let subject = subject.guarded(plan.scenario.guard());
            let subject = subject.balanced(plan.scenario.is_outside());
            lab.live.say(format!("namespace {}", subject.namespace));
            let found = Box::pin(act(&lab, &plan, &subject)).await;
            (Some(subject), found)
        }
    };
    if !lab.turn.comes().await {
        if let Some(subject) = &subject {
            clean_up(&lab, subject).await;
        }
        dir.delete()?;
        return Err(RunError::GivenUp);
    }
    if subject.is_some() {
        found.verdicts.extend(leftovers::after(&lab).await);
    }
    let acted_s = lab.live.seconds() - begin;
    if lab.interrupt.is_asked() {
        found = cut_short(found);
    }
    Ok(Measured {
        lab,
        plan,
        started,
        dir,
        subject,
        found,
        acted_s,
    })
}

impl Measured {
    /// True when nothing has gone wrong so far: the cluster is healthy, and nothing of a fault is left.
    pub fn is_well(&self) -> bool {
        worst(&self.found.verdicts).0 == Severity::Pass
    }

    /// Workers that another cluster can be set up on meanwhile; none where the harness did not create the cluster.
    pub fn workers(&self) -> usize {
        let cluster = &self.lab.cluster;
        if cluster.own {
            cluster.workers().len()
        } else {
            0
        }
    }

    /// Saves and judges it. Objects and logs are collected meanwhile, and the namespace is deleted.
    ///
    /// # Errors
    /// [`RunError`] when it cannot be saved.
    pub async fn judge(self) -> Result<TrialResult, RunError> {
        let live = self.lab.live.clone();
        live.telling(Box::pin(self.judge_in())).await
    }

    async fn judge_in(self) -> Result<TrialResult, RunError> {
        let Self {
            lab,
            plan,
            started,
            dir,
            subject,
            found,
            acted_s,
        } = self;
        let mut phases = phases(&found.history);
        let last = if phases.is_empty() { "look" } else { "fetch" };
        let before: f64 = phases.values().sum();
        phases.insert(last.to_owned(), (acted_s - before).max(0.0));
        let begin = lab.live.seconds();
        lab.live.say("saving and judging");
        let wanted = (plan.clone(), plan.replay());
        let judged = save_and_judge(&dir, wanted, started, found);
        let (judged, put_away) = tokio::join!(judged, put_away(&lab, subject.as_ref(), &dir));
        put_away?;
        let found = joined(judged)?;
        phases.insert("save, judge".to_owned(), lab.live.seconds() - begin);
        let ended = ended(&lab.live, &plan, &found, phases, &dir);
        tell(&lab.live, &ended);
        Ok(ended)
    }
}

/// Collects what a post-mortem needs and deletes the namespace: members that keep running would take the next run's
/// processor.
async fn put_away(lab: &Lab, subject: Option<&Subject>, dir: &RunDir) -> Result<(), RunError> {
    if let Some(subject) = subject {
        let collected = collect_namespace(&lab.cluster, &subject.namespace, dir.path()).await;
        if let Err(error) = collected {
            lab.live
                .say(format!("objects and logs are not saved: {error}"));
        }
        clean_up(lab, subject).await;
    }
    Ok(dir.write_log("harness.log", lab.live.text().as_bytes())?)
}

/// A run that was not made: what another process left would be attributed to it.
fn not_made(leftovers: Verdict) -> Found {
    Found {
        history: History::default(),
        expectations: None,
        verdicts: vec![leftovers],
    }
}

async fn act(lab: &Lab, plan: &Plan, subject: &Subject) -> Found {
    match &plan.scenario.act {
        Act::Faults(trial) => Box::pin(TrialRun::new(lab, plan, subject, trial).run()).await,
        Act::Conform => until_asked(lab, conformance::conform(lab, subject)).await,
        Act::Admission => until_asked(lab, conformance::admission(lab, subject)).await,
        Act::Manifests => Box::pin(until_asked(lab, conformance::manifests(lab, subject))).await,
        Act::BreakIns => Box::pin(until_asked(lab, conformance::break_ins(lab, subject))).await,
        Act::Backups => Box::pin(until_asked(lab, conformance::backups(lab, subject))).await,
        Act::NetworkPolicies => {
            let seen = conformance::network_policies(lab, subject);
            Box::pin(until_asked(lab, seen)).await
        }
        Act::Documents => until_asked(lab, conformance::documents(lab, subject)).await,
    }
}

/// For what injects nothing: it may be left anywhere.
async fn until_asked(lab: &Lab, work: impl Future<Output = Found>) -> Found {
    lab.interrupt.or(work).await.unwrap_or(Found {
        history: History::default(),
        expectations: None,
        verdicts: Vec::new(),
    })
}

/// Saves a run, judges it and reports it, on a thread of its own. The plan comes with the command that repeats it.
pub(crate) fn save_and_judge(
    dir: &RunDir,
    (plan, replay): (Plan, String),
    started: Timestamp,
    mut found: Found,
) -> JoinHandle<Result<Found, RunDirError>> {
    let dir = dir.clone();
    tokio::task::spawn_blocking(move || {
        dir.write_history(&found.history)?;
        let expectations = found.expectations.as_ref();
        save_plan(&dir, (&plan, &replay), started, expectations)?;
        judge(&mut found);
        dir.write_reports(&found.history, &found.verdicts)?;
        Ok(found)
    })
}

/// What a thread made. Panics when the thread did.
pub(crate) fn joined<T>(made: Result<T, JoinError>) -> T {
    made.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Adds what the checks say to what the run itself found.
fn judge(found: &mut Found) {
    let Some(expectations) = &found.expectations else {
        return;
    };
    found
        .verdicts
        .extend(check::all(&found.history, expectations));
}

/// Saves a plan and the command that repeats it.
pub(crate) fn save_plan(
    dir: &RunDir,
    (plan, replay): (&Plan, &str),
    started: Timestamp,
    expectations: Option<&Expectations>,
) -> Result<(), RunDirError> {
    let document = json!({
        "scenario": plan.trial(),
        "seed": plan.seed,
        "members": plan.members,
        "description": plan.scenario.story,
        "started": started.to_string(),
        "replay": replay,
        "plan": plan.scenario,
        "expectations": expectations,
    });
    dir.write_plan(&document)
}

/// How a run ended.
pub(crate) fn ended(
    live: &Live,
    plan: &Plan,
    found: &Found,
    phases: BTreeMap<String, f64>,
    dir: &RunDir,
) -> TrialResult {
    let (severity, cause) = worst(&found.verdicts);
    let cause = cause.map(|verdict| format!("{}: {}", verdict.check, verdict.explanation()));
    let operations = found
        .history
        .records
        .iter()
        .filter(|record| matches!(record, etcd_history::Record::Call(_)))
        .count();
    TrialResult {
        trial: plan.trial(),
        members: plan.members,
        severity,
        only_the_gap: only_the_gap(&found.verdicts),
        time: time(found),
        interrupted: found
            .verdicts
            .iter()
            .any(|verdict| verdict.check == interrupt::CHECK),
        cause: cause.unwrap_or_default(),
        gaps: Gaps::of(&found.verdicts),
        operations,
        seconds: live.seconds(),
        ahead_s: live.ahead_seconds(),
        phases,
        took: goals::took(plan, &found.history),
        dir: dir.path().to_owned(),
    }
}

/// Seconds of each phase until the next one, but for the last: it ends with the recording.
pub(crate) fn phases(history: &History) -> BTreeMap<String, f64> {
    let mut begun: Vec<(Nanos, &str)> = Vec::new();
    for record in &history.records {
        if let Record::Phase { t, name } = record {
            begun.push((*t, name));
        }
    }
    let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
    for pair in begun.windows(2) {
        let (from, name) = pair[0];
        let word = match name.strip_prefix("operation_") {
            Some(number) if number.ends_with("done") => "operation_done",
            Some(_) => "operation",
            None => name,
        };
        let took = Duration::from_nanos((pair[1].0 - from).max(0).unsigned_abs());
        *seconds.entry(word.to_owned()).or_default() += took.as_secs_f64();
    }
    seconds
}

async fn clean_up(lab: &Lab, subject: &Subject) {
    if lab.keep {
        lab.live
            .say(format!("namespace {} is kept", subject.namespace));
        if let Err(error) = subject.keep().await {
            lab.live.say(error.to_string());
        }
        return;
    }
    if let Err(error) = subject.delete().await {
        lab.live
            .say(format!("namespace {} stays: {error}", subject.namespace));
    }
}

/// Says how a run ended.
pub(crate) fn tell(live: &Live, ended: &TrialResult) {
    let gaps = ended.gaps.map_or_else(String::new, |gaps| {
        let told =
            |[new, held, all]: [f64; 3]| format!("{new:.0} new, {held:.0} held, {all:.0} dial-all");
        format!(
            ", longest gap ms: median {}; most {}",
            told(gaps.median),
            told(gaps.most)
        )
    });
    live.say(format!(
        "{}: {} operations{gaps} - {}",
        ended.severity.word(),
        ended.operations,
        ended.dir.join("report.html").display()
    ));
    if !ended.cause.is_empty() {
        live.say(&ended.cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_come_again_are_added_up() {
        let at = |(second, name): (i64, &str)| Record::Phase {
            t: second * 1_000_000_000,
            name: name.to_owned(),
        };
        let told = [
            (0, "set_up"),
            (3, "fault"),
            (5, "recover"),
            (6, "fault"),
            (9, "operation_0"),
            (11, "operation_0_done"),
            (12, "final"),
        ];
        let history = History {
            records: told.map(at).to_vec(),
        };
        let expected = [
            ("fault", 5.0),
            ("operation", 2.0),
            ("operation_done", 1.0),
            ("recover", 1.0),
            ("set_up", 3.0),
        ];
        let expected = expected.map(|(name, seconds)| (name.to_owned(), seconds));
        assert_eq!(phases(&history), BTreeMap::from(expected));
    }
}
