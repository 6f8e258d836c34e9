//! One bare run, before it begins, and what its checks expect. Pure.

use std::time::Duration;

use etcd_history::check::{Expectations, InTime};

use crate::bare::member::Layout;
use crate::bare::{catalog, gofail, links, release, shared};
use crate::faults::Fault;
use crate::scenario::{Act, Origin, Plan, PlanError, Trial, auto_compaction};
use crate::timeouts;

/// Version of etcd where none is asked for: that of the operator's clusters.
pub const VERSION: &str = "v3.6.16";

/// One bare run, before it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct BarePlan {
    /// Scenario, members, seed.
    pub plan: Plan,
    /// Version of etcd, which is the tag of its image. Of several with commas between them the members have one each in
    /// turn: `v3.5.35,v3.6.16`. Behind a colon is the one that all have later, where a fault changes it:
    /// `v3.5.35:v3.6.16`. What follows behind a `+` are flags that are switched on: `v3.6.16+unsafe-no-fsync`.
    pub version: String,
    /// What it looks for, where that is a known bug.
    pub hunt: Option<Hunt>,
}

/// A run that looks for one bug: its faults are repeated until a check shows it or the time is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hunt {
    /// Its name.
    pub bug: &'static str,
    /// Longest time under load.
    pub limit: Duration,
    /// Checks that show it.
    pub checks: &'static [&'static str],
    /// A part of the panic or the error with which a member ends that shows it, or of the panic's stack.
    pub panic: Option<&'static str>,
}

impl BarePlan {
    /// A plan for a scenario by its name, of bare members' own or of those that both tiers have; the scenario's first
    /// member count unless said otherwise.
    ///
    /// # Errors
    /// [`PlanError`] for a name or a count that does not exist, or versions that no member would have, or that cannot
    /// run it.
    pub fn named(
        name: &str,
        members: Option<u32>,
        version: &str,
        seed: u64,
    ) -> Result<Self, PlanError> {
        let all = [catalog::all(), shared::all()].concat();
        let named = Self {
            plan: Plan::among(&all, name, members, seed)?,
            version: version.to_owned(),
            hunt: None,
        };
        named.checked()
    }

    /// The same, unless something of its version would be ignored.
    ///
    /// # Errors
    /// [`PlanError`] for versions that no member would ever have, or that are none.
    pub fn checked(self) -> Result<Self, PlanError> {
        let mut flags = self.version.split('+').skip(1);
        let next = self.next_version();
        if self.versions().chain(next).any(str::is_empty)
            || next.is_some_and(|next| next.contains([',', ':']))
            || flags.any(|flag| flag.is_empty() || flag.contains([',', ':']))
        {
            let version = self.version;
            return Err(PlanError::Version { version });
        }
        if next.is_some() && !self.changes_version() {
            return Err(PlanError::NextVersion {
                name: self.plan.scenario.name,
                version: self.version,
            });
        }
        let (versions, members) = (self.versions().count(), self.plan.members);
        if u32::try_from(versions).is_ok_and(|versions| versions <= members) {
            self.can_run()?;
            return Ok(self);
        }
        Err(PlanError::Versions {
            name: self.plan.scenario.name,
            members,
            versions,
        })
    }

    /// Whether members of its versions can run it.
    ///
    /// # Errors
    /// [`PlanError::Release`] for the version that cannot.
    pub(crate) fn can_run(&self) -> Result<(), PlanError> {
        let versions: Vec<&str> = self.versions().chain(self.next_version()).collect();
        let settings = self.settings();
        let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        let faults = self.plan.scenario.all_faults();
        let refused = |(version, reason): (&str, String)| PlanError::Release {
            name: self.plan.scenario.name,
            version: version.to_owned(),
            reason,
        };
        for version in versions.iter().filter(|_| self.has_users()) {
            let tells = release::tells_status(version);
            tells.map_err(|reason| refused((*version, reason)))?;
        }
        release::can_run(&versions, &names, faults).map_err(refused)?;
        let Some(next) = self.next_version() else {
            return Ok(());
        };
        let mut first = self.versions();
        let renamed = first.find_map(|version| release::renamed(version, next, &names));
        let unable = renamed.or_else(|| release::goes_back(self.versions(), next));
        unable.map_or(Ok(()), |reason| Err(refused((next, reason))))
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// The version of etcd, as the build that its faults need.
    fn build(&self) -> String {
        gofail::build(&self.version, self.plan.scenario.all_faults())
    }

    /// The command that repeats it.
    pub fn replay(&self) -> String {
        if let Some(hunt) = self.hunt {
            return format!(
                "harness bug {} --version {} --seed {}",
                hunt.bug,
                self.build(),
                self.plan.seed
            );
        }
        format!(
            "harness bare run {} --members {} --version {} --seed {}",
            self.plan.scenario.name,
            self.plan.members,
            self.build(),
            self.plan.seed
        )
    }

    /// True when its etcd is a build with failpoints, which no registry has.
    pub(crate) fn has_failpoints(&self) -> bool {
        gofail::needed(self.plan.scenario.all_faults())
    }

    /// The versions that its members have in turn, without flags.
    fn versions(&self) -> impl Iterator<Item = &str> {
        parts(&self.version).0.split(',')
    }

    /// The version that all have later, where it names one.
    fn next_version(&self) -> Option<&str> {
        parts(&self.version).1
    }

    /// True when its members are started with another version.
    fn changes_version(&self) -> bool {
        let mut faults = self.plan.scenario.all_faults().iter();
        faults.any(|fault| matches!(fault, Fault::ChangeVersion { .. }))
    }

    /// How its members come to be.
    pub(crate) fn origin(&self) -> Origin {
        self.trial().map(|trial| trial.origin).unwrap_or_default()
    }

    /// The images that its members have in turn, and the one that all have later.
    pub(crate) fn images_in_turn(&self) -> (Vec<String>, Option<String>) {
        let build = self.build();
        let (first, next) = parts(&build);
        let image = |version: &str| format!("etcd-harness/etcd:{version}");
        (first.split(',').map(image).collect(), next.map(image))
    }

    /// All images of etcd that it needs.
    pub fn images(&self) -> Vec<String> {
        let (mut all, next) = self.images_in_turn();
        all.extend(next);
        all
    }

    /// The scenario's settings of etcd, and the flags behind the version.
    fn settings(&self) -> Vec<(&str, &str)> {
        let settings = self.trial().map(|trial| trial.settings.clone());
        let mut settings = settings.unwrap_or_default();
        let switched = self.version.split('+').skip(1);
        settings.extend(switched.map(|flag| (flag, "true")));
        settings
    }

    /// Its members in a run with this name: behind a proxy where a fault needs one, else with a network of their own
    /// where one takes them from each other alone.
    pub(crate) fn layout(&self, run: &str) -> Layout {
        let faults = self.plan.scenario.all_faults();
        let proxied = faults.iter().any(links::needs_proxy);
        let split = |fault: &Fault| matches!(fault, Fault::Split { .. });
        Layout::new(run, self.plan.members, &self.settings())
            .with_versions(self.versions())
            .with_next(self.next_version())
            .with_joining(self.origin() == Origin::Joined)
            .with_supervisor(faults.iter().any(needs_supervisor))
            .with_failpoints(self.has_failpoints())
            .with_proxy(proxied)
            .with_slow_disks(
                faults
                    .iter()
                    .any(|fault| matches!(fault, Fault::SlowDisk { .. })),
            )
            .with_peers_apart(!proxied && faults.iter().any(split))
    }

    /// Its faults under load; none for a scenario that has none.
    pub(crate) fn trial(&self) -> Option<&Trial> {
        match &self.plan.scenario.act {
            Act::Faults(trial) => Some(trial),
            _ => None,
        }
    }

    /// True when clients log in.
    pub(crate) fn has_users(&self) -> bool {
        self.trial().is_some_and(|trial| trial.replaces_user)
    }

    /// What the checks expect. There is no Kubernetes, no leader service and no agent: gaps, and how soon a leader is
    /// elected, are only reported.
    pub(crate) fn expectations(&self) -> Expectations {
        let members = self.plan.members;
        let promise = &self.plan.scenario.promise;
        let events = self.trial().map_or(0, Trial::events);
        let mut expectations = promise.expectations(members, events);
        if let Some(trial) = self.trial() {
            expectations = trial.load.expected(expectations);
            let usual = auto_compaction::PLAIN;
            expectations.auto_compaction = auto_compaction::of(&trial.settings, usual);
        }
        expectations.kubernetes = false;
        expectations.planned = false;
        // Nor are there agents that elect at once.
        expectations.gaps.clear();
        expectations.terms_per_election = None;
        let limit_ms = u64::try_from(timeouts::BARE_WHOLE.as_millis()).unwrap_or(u64::MAX);
        let in_time = |(from, to): (&str, &str)| InTime {
            from: from.to_owned(),
            to: to.to_owned(),
            limit_ms,
        };
        let recovers = (events > 0).then_some(("recover", "recovered"));
        // Members that come to be in another way take longer.
        let together = self.origin() == Origin::Together;
        let ready = together.then_some(("set_up", "ready"));
        let phases = ready.into_iter().chain(recovers);
        expectations.in_time = phases.map(in_time).collect();
        expectations
    }
}

/// A version without flags: what members have in turn, and what all have later.
fn parts(version: &str) -> (&str, Option<&str>) {
    let plain = version.split('+').next().unwrap_or_default();
    match plain.split_once(':') {
        Some((first, next)) => (first, Some(next)),
        None => (plain, None),
    }
}

/// The command that makes these images of etcd.
pub(super) fn made_by(etcd: &[String]) -> String {
    let tag = |image: &String| image.rsplit(':').next().unwrap_or(image).to_owned();
    let versions: Vec<String> = etcd.iter().map(tag).collect();
    format!("images/etcd.sh {}", versions.join(" "))
}

/// True for a fault that needs something between members and their disks.
fn needs_supervisor(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::LosePower { .. }
            | Fault::FailDisk { .. }
            | Fault::FillDisk { .. }
            | Fault::FailReads { .. }
    )
}

#[cfg(test)]
mod tests;
