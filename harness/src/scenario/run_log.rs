//! What a run has recorded so far: its phases, each step of its faults, and the verdicts of what went wrong on the way.

use std::fmt::Display;
use std::time::Duration;

use etcd_history::Record;
use etcd_history::record::{FaultStep, Nanos};
use serde_json::Value;

use crate::faults::{Active, Evidence, Fault, FaultError, in_words};
use crate::observe::{self, Reading};
use crate::report::{Finding, Verdict};
use crate::scenario::blame::{Blame, Blamed};
use crate::scenario::event::Moment;
use crate::scenario::notes::fault_record;
use crate::scenario::{Event, Interrupt, Live};
use crate::wait::{Poll, wait_until};

/// What a run has recorded so far.
pub(crate) struct RunLog {
    live: Live,
    /// What must be added to this host's clock to get the recording client's.
    pub(crate) offset: Nanos,
    /// That clock when the traffic began.
    first: Option<Reading>,
    /// Records of the run.
    pub(crate) told: Vec<Record>,
    /// What the run found by itself.
    pub(crate) verdicts: Vec<Verdict>,
}

impl RunLog {
    pub(crate) fn new(live: &Live) -> Self {
        Self {
            live: live.clone(),
            offset: 0,
            first: None,
            told: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// The traffic has begun, and the client's clock is known: what was told before was told on this host's.
    pub(crate) fn started(&mut self, first: Reading) {
        self.offset = first.offset();
        for record in &mut self.told {
            record.shift(self.offset);
        }
        self.first = Some(first);
    }

    /// The traffic has ended. Where the two clocks have moved against each other, what the client saw cannot be held
    /// against the times of faults and phases.
    pub(crate) fn stopped(&mut self, last: Option<Reading>) {
        let (Some(first), Some(last)) = (self.first, last) else {
            return;
        };
        if let Err(apart) = observe::offsets_agree(&first, &last) {
            let apart = apart / 1_000_000;
            let reason = format!(
                "clocks moved apart by {apart} ms: the times of faults and phases are not those of the client"
            );
            self.doubt("clock", reason);
        }
    }

    pub(crate) fn phase(&mut self, name: &str) {
        self.live.say(format!("phase {name}"));
        self.told.push(Record::Phase {
            t: self.now(),
            name: name.to_owned(),
        });
    }

    /// A step of the product that failed is a violation. Where the harness itself failed meanwhile, nothing is known of
    /// the product.
    pub(crate) fn judge<T>(&mut self, check: &'static str, result: Result<T, &impl Blamed>) {
        match result {
            Ok(_) => {}
            Err(error) if error.blame() == Blame::Harness => self.doubt(check, error.to_string()),
            Err(error) => self.violation(check, error.to_string()),
        }
    }

    /// A set-up that failed: that the members do not come up is the product's failure, and nothing else is.
    pub(crate) fn judge_set_up(&mut self, error: &impl Blamed) {
        match error.blame() {
            Blame::Product => self.violation("set_up", error.to_string()),
            Blame::Either | Blame::Harness => self.doubt("set_up", error.to_string()),
        }
    }

    /// A step that is the harness's own: without it the run proves nothing.
    pub(crate) fn need<T>(&mut self, check: &'static str, result: Result<T, &impl Display>) {
        if let Err(error) = result {
            self.doubt(check, error.to_string());
        }
    }

    /// What the final phase says: that members cannot be read or written to is the product's failure, that the client
    /// cannot say so is not.
    pub(crate) fn judge_final(&mut self, summary: Result<&Value, &impl Display>) {
        let summary = match summary {
            Ok(summary) => summary,
            Err(error) => return self.doubt("final", error.to_string()),
        };
        self.live.say(format!("final: {summary}"));
        self.doubt_watchers(summary);
        match summary["unread"].as_array() {
            Some(unread) if unread.is_empty() => {}
            Some(_) => {
                let unread = &summary["unread"];
                let explanation = format!("not every member could be read at the end: {unread}");
                self.violation("final", explanation);
            }
            None => self.doubt(
                "final",
                format!("the client does not say what it read: {summary}"),
            ),
        }
    }

    pub(crate) fn violation(&mut self, check: &'static str, explanation: String) {
        self.live.say(format!("{check}: {explanation}"));
        let ops = Vec::new();
        let finding = Finding::Violation { explanation, ops };
        self.verdicts.push(Verdict::new(check, finding));
    }

    /// Watchers that did not see the last write: what they missed before it is not known either.
    fn doubt_watchers(&mut self, summary: &Value) {
        if let Some(unseen) = unseen(summary) {
            self.doubt("final", unseen);
        }
    }

    /// Something because of which the run proves nothing.
    pub(crate) fn doubt(&mut self, check: &'static str, reason: String) {
        self.live.say(format!("{check}: {reason}"));
        let finding = Finding::Inconclusive { reason };
        self.verdicts.push(Verdict::new(check, finding));
    }

    pub(crate) fn now(&self) -> Nanos {
        observe::now(self.offset)
    }

    /// Records an injection that began then and has just returned.
    ///
    /// # Errors
    /// That of the injection.
    pub(crate) fn injected(
        &mut self,
        (begun, number): (Nanos, u32),
        fault: &Fault,
        active: Result<Active, FaultError>,
    ) -> Result<Active, FaultError> {
        let targets = active
            .as_ref()
            .map(|active| in_words(&active.targets))
            .unwrap_or_default();
        let now = self.now();
        let note = |t, step, evidence| fault_record((t, number), fault, &targets, step, evidence);
        let mut wrote = Evidence::new();
        if let Err(error) = &active {
            wrote.add_writes(error.writes().iter().copied());
        }
        self.told.push(note(begun, FaultStep::Injecting, wrote));
        let active = active?;
        self.told
            .push(note(now, FaultStep::Injected, active.evidence.clone()));
        Ok(active)
    }

    /// Waits until this has happened since that moment, as `now` shows. Where it does not come in time the run proves
    /// nothing. False, too, for a run that is to end.
    pub(crate) async fn await_event<F>(
        &mut self,
        (event, before, limit): (Event, &Moment, Duration),
        interrupt: &Interrupt,
        now: impl Fn() -> F,
    ) -> bool
    where
        F: Future<Output = Result<Moment, String>>,
    {
        let seen = wait_until(event.to_string(), limit, async || {
            let now = now().await;
            match now.and_then(|now| event.between(before, &now)) {
                Ok(seen) => Poll::Ready(seen),
                Err(status) => Poll::NotYet::<_, String>(status),
            }
        });
        match interrupt.or(seen).await {
            Ok(Ok(seen)) => {
                self.live.say(seen);
                true
            }
            Ok(Err(error)) => {
                self.doubt("faults", error.to_string());
                false
            }
            Err(_) => false,
        }
    }

    /// Looks for the effect of a fault; without one the run proves nothing.
    pub(crate) async fn effect(&mut self, number: u32, active: &mut Active) {
        let seen = active.effect().await;
        let targets = in_words(&active.targets);
        let now = self.now();
        let note =
            |step, evidence| fault_record((now, number), &active.fault, &targets, step, evidence);
        match seen {
            Ok(evidence) => {
                self.live.say(format!("  on {targets}: {evidence}"));
                self.told.push(note(FaultStep::Effective, evidence));
            }
            Err(error) => {
                let evidence = Evidence::new().with("error", &error);
                self.told.push(note(FaultStep::Ineffective, evidence));
                self.doubt("faults", error.to_string());
            }
        }
    }

    /// Heals in reverse order and looks for what is left.
    pub(crate) async fn heal(&mut self, active: Vec<(u32, Active)>) {
        for (number, mut active) in active.into_iter().rev() {
            let fault = active.fault.clone();
            let targets = in_words(&active.targets);
            let note =
                |t, step, evidence| fault_record((t, number), &fault, &targets, step, evidence);
            self.told
                .push(note(self.now(), FaultStep::Healing, Evidence::new()));
            let healed = active.heal().await;
            let at = self.now();
            let left = match &healed {
                Ok(_) => active.residue().await,
                Err(error) => Ok(Some(error.to_string())),
            };
            match left {
                Ok(None) => {
                    let healing = healed.unwrap_or_default();
                    for reason in healing.doubts {
                        self.doubt("faults", reason);
                    }
                    self.told
                        .push(note(at, FaultStep::Healed, healing.evidence));
                }
                Ok(Some(left)) => {
                    let evidence = Evidence::new().with("left", &left);
                    self.told.push(note(at, FaultStep::Residue, evidence));
                    self.doubt("faults", format!("something of `{fault}` is left: {left}"));
                }
                Err(error) => {
                    let evidence = Evidence::new().with("error", &error);
                    self.told.push(note(at, FaultStep::Residue, evidence));
                    let reason = format!("it is not known what is left of `{fault}`: {error}");
                    self.doubt("faults", reason);
                }
            }
        }
        self.live.say("healed");
    }
}

/// What the summary of the final phase says of watchers that did not see its last write.
fn unseen(summary: &Value) -> Option<String> {
    let counts = summary["watchers"].as_array()?;
    let [seen, of] = counts.as_slice() else {
        return None;
    };
    let (seen, of) = (seen.as_u64()?, of.as_u64()?);
    (seen < of)
        .then(|| format!("{seen} of {of} watchers saw the last write in the time that they had"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use serde_json::json;

    use super::*;
    use crate::report::Severity;
    use crate::scenario::RunError;

    #[test]
    fn clocks_that_move_apart_make_a_run_inconclusive() {
        const MS: Nanos = 1_000_000;
        let read = |before: Nanos, clock: Nanos, after: Nanos| {
            Reading::of(before * MS, &format!("{} 0", clock * MS), after * MS).expect("a reading")
        };
        let ended = |last: Option<Reading>| {
            let mut log = RunLog::new(&Live::quiet());
            log.started(read(0, 7050, 100));
            log.stopped(last);
            log.verdicts
        };
        // The client's clock is 7 s ahead all the time.
        assert_eq!(ended(Some(read(60_000, 67_050, 60_100))).len(), 0);
        assert_eq!(
            ended(None).len(),
            0,
            "that it did not stop is told otherwise"
        );
        let verdicts = ended(Some(read(60_000, 69_050, 60_100)));
        let [verdict] = verdicts.as_slice() else {
            panic!("{verdicts:?}");
        };
        let Finding::Inconclusive { reason } = &verdict.finding else {
            panic!("{verdict:?}");
        };
        assert!(reason.contains("moved apart by 1900 ms"), "{reason}");
    }

    #[test]
    fn what_was_told_before_the_client_began_is_on_its_clock_as_well() {
        let mut log = RunLog::new(&Live::quiet());
        log.phase("ready");
        let before = log.told[0].time();
        let now = observe::now(0);
        let hour = 3_600_000_000_000;
        let reading = Reading::of(now, &format!("{} 0", now + hour), now);
        log.started(reading.expect("a reading"));
        assert_eq!(log.told[0].time(), before + hour);
        log.phase("warm_up");
        assert!(log.told[1].time() >= log.told[0].time());
    }

    #[test]
    fn what_a_fault_wrote_before_it_failed_is_in_the_history() {
        let mut log = RunLog::new(&Live::quiet());
        let failed = FaultError::find("space", "there is none").with_writes(vec![7, 8]);
        let told = log.injected((5, 0), &Fault::FillQuota, Err(failed));
        let error = told.expect_err("the injection failed");
        assert!(error.to_string().contains("space"), "{error}");
        let [Record::Fault(record)] = log.told.as_slice() else {
            panic!("{:?}", log.told);
        };
        assert_eq!(
            (record.step, &record.writes),
            (FaultStep::Injecting, &vec![7, 8])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_does_not_come_proves_nothing() {
        let before = Moment::default();
        let event = (Event::Revisions(3), &before, Duration::from_secs(60));
        let asked = Cell::new(0);
        let later = || {
            asked.set(asked.get() + 1);
            let revision = asked.get();
            ready(Ok::<_, String>(Moment {
                revision,
                ..Moment::default()
            }))
        };
        let interrupt = Interrupt::never();
        let mut log = RunLog::new(&Live::quiet());
        assert!(log.await_event(event, &interrupt, later).await);
        assert_eq!((asked.get(), log.verdicts.len()), (3, 0));
        let never = || ready(Err::<Moment, _>("no answer".to_owned()));
        assert!(!log.await_event(event, &interrupt, never).await);
        let found: Vec<Severity> = log.verdicts.iter().map(Verdict::severity).collect();
        assert_eq!(found, [Severity::Inconclusive]);
        interrupt.ask();
        assert!(!log.await_event(event, &interrupt, later).await);
        assert_eq!(log.verdicts.len(), 1, "it was not to come");
    }

    /// What a step makes of a run: nothing, or how bad its verdict is.
    fn severity(told: impl FnOnce(&mut RunLog)) -> Option<Severity> {
        let mut log = RunLog::new(&Live::quiet());
        told(&mut log);
        assert!(log.verdicts.len() <= 1, "{:?}", log.verdicts);
        log.verdicts.first().map(Verdict::severity)
    }

    #[test]
    fn only_what_the_product_failed_at_is_a_violation() {
        let full = || RunError::Client {
            command: "stop".to_owned(),
            message: "failed to write the stop file: No space left on device".to_owned(),
        };
        let absent = || RunError::Wait("the members to be ready".to_owned());
        let refused = || RunError::api("create the Cluster", &"refused");
        fn failed<E>(error: &E) -> Result<(), &E> {
            Err(error)
        }
        let (violation, doubt) = (Some(Severity::Violation), Some(Severity::Inconclusive));
        for check in ["recovery", "operation"] {
            assert_eq!(
                severity(|log| log.judge(check, failed(&absent()))),
                violation
            );
            assert_eq!(
                severity(|log| log.judge(check, failed(&refused()))),
                violation
            );
            assert_eq!(severity(|log| log.judge(check, failed(&full()))), doubt);
        }
        for check in ["stop", "history", "addresses"] {
            assert_eq!(severity(|log| log.need(check, failed(&full()))), doubt);
            let well: Result<(), &RunError> = Ok(());
            assert_eq!(severity(|log| log.need(check, well)), None);
        }
        assert_eq!(severity(|log| log.judge_set_up(&absent())), violation);
        assert_eq!(severity(|log| log.judge_set_up(&full())), doubt);
        assert_eq!(severity(|log| log.judge_set_up(&refused())), doubt);
    }

    #[test]
    fn members_that_cannot_be_read_are_a_violation_and_a_client_that_cannot_say_so_is_not() {
        let told = |summary: Value| severity(|log| log.judge_final(Ok::<_, &RunError>(&summary)));
        let summary = |unread: Value| json!({"unread": unread, "watchers": [4, 4]});
        assert_eq!(told(summary(json!([]))), None);
        assert_eq!(
            told(summary(json!(["a-0: no answer"]))),
            Some(Severity::Violation)
        );
        assert_eq!(told(json!({})), Some(Severity::Inconclusive));
        let error = RunError::Client {
            command: "final".to_owned(),
            message: "the connection broke".to_owned(),
        };
        let failed = severity(|log| log.judge_final(Err(&error)));
        assert_eq!(failed, Some(Severity::Inconclusive));
    }

    #[test]
    fn watchers_that_miss_the_last_write_prove_nothing() {
        let of = |seen, of| unseen(&json!({"watchers": [seen, of]}));
        assert_eq!(of(4, 4), None);
        let words = "3 of 4 watchers saw the last write";
        assert!(of(3, 4).is_some_and(|told| told.contains(words)));
        assert_eq!(unseen(&json!({"read": []})), None);
    }
}
