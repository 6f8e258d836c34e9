//! Runs one bare plan: members and client come up side by side, load, the fault, heal, final reads; what was seen is
//! saved before it is judged, and the containers are removed in any case.

use std::time::{Duration, Instant};

use etcd_history::check;
use etcd_history::{Expectations, History};
use jiff::Timestamp;

use crate::bare::bugs;
use crate::bare::client::BareClient;
use crate::bare::cluster::BareCluster;
use crate::bare::defrag::Defrags;
use crate::bare::faults::inject;
use crate::bare::leftovers;
use crate::bare::origin::Images;
use crate::bare::plan::Hunt;
use crate::bare::remover;
use crate::bare::users::Users;
use crate::bare::{BareError, BareLab, BarePlan};
use crate::faults::Active;
use crate::observe::MachineLog;
use crate::report::{Finding, RunDir, Verdict};
use crate::scenario::event::Moment;
use crate::scenario::merge::merge;
use crate::scenario::notes::figure;
use crate::scenario::outcome::{Found, cut_short};
use crate::scenario::run_log::RunLog;
use crate::scenario::runner::{ended, joined, phases, save_and_judge, save_plan, tell};
use crate::scenario::{Event, Live, Trial, TrialResult};
use crate::timeouts;
use crate::wait::pause;

/// Time under load between two rounds.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

/// The phase that begins when a member was found that has ended by the panic which a hunt looks for.
pub(super) const CRASHED: &str = "crashed";

/// Time in which members are defragmented before a fault comes.
const DEFRAGMENTED: Duration = Duration::from_secs(1);

/// Rounds of a hunt without their faults, one after the other, that end it: another run begins with new members.
const FUTILE: u32 = 5;

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Its faults came, and all members are back.
    Done,
    /// A fault did not come.
    Futile,
    /// A member did not come back.
    Lost,
}

/// Whether a hunt continues after its rounds: it does after one whose fault did not come, which has not looked. Pure.
#[derive(Debug, Default)]
struct Endurance {
    futile: u32,
}

impl Endurance {
    fn goes_on(&mut self, ended: Round) -> bool {
        self.futile = match ended {
            Round::Done => 0,
            Round::Futile => self.futile + 1,
            Round::Lost => return false,
        };
        self.futile < FUTILE
    }
}

/// Runs a plan.
///
/// # Errors
/// [`BareError`] when nothing could be run or saved. Everything else is in the verdict.
pub async fn run(lab: &BareLab, plan: &BarePlan) -> Result<TrialResult, BareError> {
    run_with(lab, plan, lab.live.anew()).await
}

/// Runs one plan beside others: what it says comes when it has ended.
///
/// # Errors
/// As [`run`].
pub async fn run_apart(lab: &BareLab, plan: &BarePlan) -> Result<TrialResult, BareError> {
    let live = lab.live.anew().held();
    let ended = run_with(lab, plan, live.clone()).await;
    live.release();
    ended
}

async fn run_with(lab: &BareLab, plan: &BarePlan, live: Live) -> Result<TrialResult, BareError> {
    let lab = BareLab {
        live: live.clone(),
        ..lab.clone()
    };
    live.telling(Box::pin(run_in(&lab, plan))).await
}

async fn run_in(lab: &BareLab, plan: &BarePlan) -> Result<TrialResult, BareError> {
    let started = Timestamp::now();
    lab.find_images(&plan.images()).await?;
    let whole = &plan.plan;
    let dir = RunDir::create(&lab.runs, started, &whole.trial(), whole.seed)?;
    let replay = plan.replay();
    lab.live
        .say(format!("{}: {}", whole.trial(), whole.scenario.story));
    lab.live
        .say(format!("seed {}; again: {replay}", whole.seed));
    save_plan(&dir, (whole, &replay), started, None)?;
    match leftovers::remove_orphaned(&lab.docker).await {
        Ok(runs) => runs.iter().for_each(|run| {
            lab.live.say(format!(
                "removed run {run}, which a process that died had left"
            ));
        }),
        // It is another run's: this one has names and a network of its own.
        Err(error) => lab.live.say(format!("left of another run: {error}")),
    }

    remover::start(&lab.harness, &lab.live);
    let name = format!("{:08x}", rand::random::<u32>());
    let layout = plan.layout(&name);
    let cluster = BareCluster::new(lab.docker.clone(), layout);
    let begin = lab.live.seconds();
    let mut found = Box::pin(BareRun::new(lab, plan, &cluster).run()).await;
    let acted_s = lab.live.seconds() - begin;
    let (saved, removed) = leave(&cluster, &dir).await;
    saved?;
    if let Err(error) = removed {
        let reason = error.to_string();
        found
            .verdicts
            .push(Verdict::new("residue", Finding::Inconclusive { reason }));
    }
    if lab.interrupt.is_asked() {
        found = cut_short(found);
    }
    Box::pin(conclude(lab, plan, (started, dir), (found, acted_s))).await
}

/// Saves, judges, draws.
async fn conclude(
    lab: &BareLab,
    plan: &BarePlan,
    (started, dir): (Timestamp, RunDir),
    (found, acted_s): (Found, f64),
) -> Result<TrialResult, BareError> {
    let mut seconds = phases(&found.history);
    let before: f64 = seconds.values().sum();
    seconds.insert("fetch, remove".to_owned(), (acted_s - before).max(0.0));
    let begin = lab.live.seconds();
    let wanted = (plan.plan.clone(), plan.replay());
    let found = joined(save_and_judge(&dir, wanted, started, found).await)?;
    seconds.insert("save, judge".to_owned(), lab.live.seconds() - begin);
    let ended = ended(&lab.live, &plan.plan, &found, seconds, &dir);
    tell(&lab.live, &ended);
    dir.write_log("harness.log", lab.live.text().as_bytes())?;
    Ok(ended)
}

/// Saves what every container has said, and removes them in any case.
async fn leave(
    cluster: &BareCluster,
    dir: &RunDir,
) -> (Result<(), BareError>, Result<(), BareError>) {
    let saved = save_logs(cluster, dir).await;
    (saved, cluster.remove().await)
}

/// What every container has said.
async fn save_logs(cluster: &BareCluster, dir: &RunDir) -> Result<(), BareError> {
    let mut names = cluster.layout().names();
    names.push(cluster.layout().client());
    names.extend(cluster.layout().proxy());
    for name in names {
        let text = cluster.log(&name, "all").await;
        dir.write_log(&format!("{name}.log"), text.as_bytes())?;
    }
    Ok(())
}

/// One run, and what it has recorded so far.
struct BareRun<'a> {
    lab: &'a BareLab,
    plan: &'a BarePlan,
    cluster: &'a BareCluster,
    log: RunLog,
    expectations: Expectations,
    machine: Option<MachineLog>,
    /// True once a member has ended by the panic that is looked for.
    crashed: bool,
    /// Who logs in, where members have users.
    users: Option<Users>,
}

impl<'a> BareRun<'a> {
    fn new(lab: &'a BareLab, plan: &'a BarePlan, cluster: &'a BareCluster) -> Self {
        let machine = MachineLog::start();
        if let Err(error) = &machine {
            lab.live.say(format!("the machine is not sampled: {error}"));
        }
        Self {
            lab,
            plan,
            cluster,
            log: RunLog::new(&lab.live),
            expectations: plan.expectations(),
            machine: machine.ok(),
            crashed: false,
            users: plan.has_users().then(Users::new),
        }
    }

    async fn run(mut self) -> Found {
        let plan = self.plan;
        let Some(trial) = plan.trial() else {
            let reason = format!("{} has no faults", plan.plan.scenario.name);
            self.log.doubt("set_up", reason);
            return self.found(History::default());
        };
        self.log.phase("set_up");
        let client = match Box::pin(self.make_ready(trial)).await {
            Ok(client) => client,
            Err(error) => {
                self.log.judge_set_up(&error);
                return self.found(History::default());
            }
        };
        self.log.phase("warm_up");
        self.rest(trial.warm_up).await;
        let shown = match plan.hunt {
            Some(hunt) => Box::pin(self.hunt(trial, hunt, &client)).await,
            None => {
                self.rounds(trial, &client).await;
                false
            }
        };
        self.log.phase("settle");
        self.rest(trial.settle).await;
        self.log.phase("final");
        let history = Box::pin(self.finish(&client, shown)).await;
        self.found(history)
    }

    /// All rounds, and after each what the client has found wrong so far.
    async fn rounds(&mut self, trial: &Trial, client: &BareClient<'_>) {
        let mut said = None;
        for round in 0..trial.rounds {
            if round > 0 {
                self.rest(BETWEEN_ROUNDS).await;
            }
            let goes_on = !self.lab.interrupt.is_asked()
                && Box::pin(self.round(trial, round)).await == Round::Done;
            if said.is_none() {
                said = client.said().await;
                said.iter().for_each(|said| self.lab.live.say(said.clone()));
            }
            if !goes_on {
                break;
            }
        }
    }

    /// Rounds until a check shows the bug, the time is over, or members do not come back; true when it was shown. That
    /// a member stays away does not hide what the others show.
    async fn hunt(&mut self, trial: &Trial, hunt: Hunt, client: &BareClient<'_>) -> bool {
        let begin = Instant::now();
        let mut endurance = Endurance::default();
        for round in 0.. {
            let left = hunt.limit.saturating_sub(begin.elapsed());
            if left.is_zero() || self.lab.interrupt.is_asked() {
                break;
            }
            let ended = if trial.faults.is_empty() {
                self.rest(trial.lasts.min(left)).await;
                Round::Done
            } else {
                Box::pin(self.round(trial, round)).await
            };
            let shown = self.shows(hunt, client).await;
            self.log.need("history", shown.as_ref().map(drop));
            if shown.unwrap_or_default() || self.crashed {
                self.lab
                    .live
                    .say(format!("{} is shown", bugs::title(hunt.bug)));
                return true;
            }
            if !endurance.goes_on(ended) {
                break;
            }
            if ended == Round::Futile {
                self.rest(BETWEEN_ROUNDS).await;
            }
        }
        false
    }

    /// True when what was seen so far shows the bug.
    async fn shows(&self, hunt: Hunt, client: &BareClient<'_>) -> Result<bool, BareError> {
        if hunt.checks.is_empty() {
            return Ok(false);
        }
        let history = merge(client.history().await?, Vec::new(), self.log.told.clone());
        let expectations = self.expectations.clone();
        let judged =
            tokio::task::spawn_blocking(move || check::shows(&history, &expectations, hunt.checks));
        match judged.await {
            Ok(shown) => Ok(shown),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Everything until traffic flows.
    async fn make_ready(&mut self, trial: &Trial) -> Result<BareClient<'a>, BareError> {
        let (lab, cluster) = (self.lab, self.cluster);
        let begin = lab.live.seconds();
        cluster.make_networks().await?;
        let (etcd, next) = self.plan.images_in_turn();
        let images = Images {
            etcd,
            next,
            client: lab.client_image.clone(),
        };
        // A hunt looks for its bug itself, with the bug's own checks.
        let judged = self.plan.hunt.is_none() && trial.judged_live();
        let load = (self.plan.plan.seed, trial.load, judged);
        let members = async {
            cluster.make_proxy(&lab.client_image, load.0).await?;
            cluster.start_members(&images, self.plan.origin()).await?;
            cluster
                .wait_whole(timeouts::patient(timeouts::BARE_WHOLE))
                .await
        };
        let users = self.users.as_ref();
        let client = BareClient::create(cluster, &lab.client_image, load, users);
        let (members, client) = tokio::join!(members, client);
        let (leader, version) = members?;
        if let Some(users) = &self.users {
            users.enable(cluster).await?;
        }
        let took = lab.live.seconds() - begin;
        self.log.phase("ready");
        let count = self.plan.plan.members;
        lab.live.say(format!(
            "{count} members of etcd {version} follow {leader} {took:.2} s after nothing was there"
        ));
        self.log.verdicts.push(figure("created", "ready_s", took));
        let client = client?;
        self.log.started(client.start().await?);
        Ok(client)
    }

    /// The faults once.
    async fn round(&mut self, trial: &Trial, round: u32) -> Round {
        let before = if trial.waits_for_events() {
            match self.cluster.moment(trial.counts_snapshots()).await {
                Ok(before) => before,
                Err(error) => {
                    self.log.doubt("faults", error);
                    return Round::Futile;
                }
            }
        } else {
            Moment::default()
        };
        self.log.phase("fault");
        let defrags = self.defragment(trial).await;
        let (on, came) = self.inject_all(trial, round, &before).await;
        let came = self.end_defrags(defrags).await && came;
        let came = came && self.replace_user().await;
        match trial.until {
            // Without the faults there is nothing to wait for.
            Some(event) if came => {
                self.await_event(event, &before, trial.lasts).await;
            }
            _ => self.rest(trial.lasts).await,
        }
        self.log.phase("heal");
        self.log.heal(on).await;
        let whole = self.recover().await;
        // A hunt looks for what comes of a snapshot, and has many rounds.
        if trial.sends_snapshot && self.plan.hunt.is_none() && whole && came {
            self.await_event(Event::SnapshotSent, &before, timeouts::BARE_WHOLE)
                .await;
        }
        match (whole, came) {
            (false, _) => Round::Lost,
            (true, false) => Round::Futile,
            (true, true) => Round::Done,
        }
    }

    /// Injects the faults, each when what it waits for is seen; false when one did not come.
    async fn inject_all(
        &mut self,
        trial: &Trial,
        round: u32,
        before: &Moment,
    ) -> (Vec<(u32, Active)>, bool) {
        let each = u32::try_from(trial.faults.len()).unwrap_or_default();
        // Another seed, so that it is not the same follower each time.
        let seed = self.plan.plan.seed.wrapping_add(u64::from(round));
        let mut on: Vec<(u32, Active)> = Vec::new();
        for ((number, place), fault) in (round * each..).zip(0..).zip(&trial.faults) {
            if let Some(event) = trial.trigger(place)
                && !self.await_event(event, before, timeouts::EVENT).await
            {
                break;
            }
            self.lab.live.say(format!("fault {number}: {fault}"));
            let begun = self.log.now();
            let active = inject(self.cluster, fault, seed).await;
            match self.log.injected((begun, number), fault, active) {
                Ok(mut active) => {
                    self.log.effect(number, &mut active).await;
                    on.push((number, active));
                }
                Err(error) => {
                    self.log.doubt("faults", error.to_string());
                    break;
                }
            }
        }
        let came = on.len() == trial.faults.len();
        (on, came)
    }

    /// Defragments members, where that is wanted, until the faults have come.
    async fn defragment(&self, trial: &Trial) -> Option<Defrags> {
        let defrags = trial.defragments.then(|| Defrags::begin(self.cluster));
        if defrags.is_some() {
            self.rest(DEFRAGMENTED).await;
        }
        defrags
    }

    /// Ends that; where no member was defragmented the run proves nothing.
    async fn end_defrags(&mut self, defrags: Option<Defrags>) -> bool {
        let Some(defrags) = defrags else {
            return true;
        };
        let done = defrags.end().await;
        self.lab.live.say(format!("{done} defragmentations"));
        if done == 0 {
            let reason = "no member was defragmented before the faults";
            self.log.doubt("faults", reason.to_owned());
        }
        done > 0
    }

    /// Replaces the clients' user, where they have one; without that the run proves nothing.
    async fn replace_user(&mut self) -> bool {
        let Some(users) = &mut self.users else {
            return true;
        };
        let replaced = users.replace(self.cluster).await;
        self.log.need("users", replaced.as_ref());
        replaced.is_ok()
    }

    /// Waits until this has happened since that moment; without it the run proves nothing.
    async fn await_event(&mut self, event: Event, before: &Moment, limit: Duration) -> bool {
        let cluster = self.cluster;
        let now = || cluster.moment(event == Event::SnapshotSent);
        let event = (event, before, limit);
        let comes = self.log.await_event(event, &self.lab.interrupt, now);
        comes.await
    }

    /// All members answer again and follow one leader; false when they do not.
    async fn recover(&mut self) -> bool {
        self.log.phase("recover");
        let whole = self
            .cluster
            .wait_whole(timeouts::patient(timeouts::BARE_WHOLE))
            .await;
        self.log.judge("recovery", whole.as_ref().map(drop));
        if whole.is_ok() {
            self.log.phase("recovered");
        } else {
            self.look_for_panic().await;
        }
        whole.is_ok()
    }

    /// Notes a member that has ended by the panic that is looked for.
    async fn look_for_panic(&mut self) {
        let Some(panic) = self.plan.hunt.and_then(|hunt| hunt.panic) else {
            return;
        };
        if self.cluster.has_panicked(panic).await {
            self.log.phase(CRASHED);
            self.crashed = true;
        }
    }

    /// Stops the traffic, lets the client read what is left, fetches the history. Members that were shown to differ are
    /// not waited for.
    async fn finish(&mut self, client: &BareClient<'_>, shown: bool) -> History {
        let stopped = client.stop().await;
        self.log.need("stop", stopped.as_ref());
        self.log.stopped(stopped.ok());
        if !shown && !self.lab.interrupt.is_asked() {
            let summary = client.finish().await;
            self.log.judge_final(summary.as_ref());
        }
        let history = client.history().await;
        self.log.need("history", history.as_ref().map(drop));
        let machine = self.machine.take();
        let seen = machine
            .into_iter()
            .flat_map(|log| log.finish(self.log.offset));
        let told = std::mem::take(&mut self.log.told);
        merge(history.unwrap_or_default(), seen.collect(), told)
    }

    fn found(self, history: History) -> Found {
        let judged = !history.records.is_empty();
        Found {
            history,
            expectations: judged.then_some(self.expectations),
            verdicts: self.log.verdicts,
        }
    }

    /// Lets time pass, unless the run is to end.
    async fn rest(&self, duration: Duration) {
        let _ = self.lab.interrupt.or(pause(duration)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::{FakeDocker, log_line};

    #[tokio::test]
    async fn containers_are_removed_also_where_their_logs_cannot_be_saved() {
        let fake = FakeDocker::new(|request| match request.ends_with("/logs") {
            true => (200, log_line("ready\n")),
            false => (200, b"[]".to_vec()),
        });
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[]));
        let folder = tempfile::tempdir().expect("a folder");
        // It has no folder for logs.
        let dir = RunDir::open(folder.path()).expect("a run");
        let (saved, removed) = leave(&cluster, &dir).await;
        assert!(saved.is_err() && removed.is_ok(), "{saved:?} {removed:?}");
        let asked = fake.asked();
        assert!(asked.contains(&"GET /networks".to_owned()), "{asked:?}");
    }

    #[test]
    fn a_fault_that_does_not_come_ends_no_hunt_and_members_that_stay_away_do() {
        let mut endurance = Endurance::default();
        let mut after = |ended: &[Round]| {
            let ended = ended.iter();
            ended
                .map(|ended| endurance.goes_on(*ended))
                .collect::<Vec<_>>()
        };
        let futile = [Round::Futile; FUTILE as usize - 1];
        assert!(after(&futile).iter().all(|goes_on| *goes_on));
        assert_eq!(after(&[Round::Done]), [true], "one that came");
        assert!(after(&futile).iter().all(|goes_on| *goes_on));
        assert_eq!(after(&[Round::Futile]), [false], "nothing comes any more");
        assert_eq!(after(&[Round::Done, Round::Lost]), [true, false]);
    }
}
