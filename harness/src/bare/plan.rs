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
            expectations.operations.extend(trial.load.kinds());
            expectations.contested_locks = trial.load.contested();
            if trial.load.lone_deletes > 0 {
                // One client sends ten a second and waits for every answer, and the fault is over in half a second.
                expectations.traffic.during = 3;
            }
            if trial.load.compacts_deletes {
                // No client but these few writes then, which wait for compactions that last a second.
                expectations.traffic.before = 5;
                expectations.traffic.after = 5;
            }
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
mod tests {
    use etcd_history::check::{AutoCompaction, OperationKind};

    use super::*;
    use crate::scenario::{Event, Load};

    fn plan(name: &str) -> BarePlan {
        BarePlan::named(name, None, VERSION, 7).expect("a plan")
    }

    #[test]
    fn nothing_is_claimed_of_a_service_that_is_not_there() {
        for scenario in catalog::all().into_iter().chain(shared::all()) {
            let expectations = plan(scenario.name).expectations();
            assert!(!expectations.kubernetes, "{}", scenario.name);
            assert!(expectations.gaps.is_empty(), "{}", scenario.name);
            assert_eq!(expectations.terms_per_election, None, "{}", scenario.name);
            let faults = scenario.all_faults().len() * scenario.rounds() as usize;
            assert_eq!(expectations.faults as usize, faults, "{}", scenario.name);
            let members = scenario.members.first().copied();
            assert_eq!(Some(expectations.members), members, "{}", scenario.name);
        }
    }

    #[test]
    fn a_fault_waits_for_what_stands_before_it_and_no_other_does() {
        let later = plan("bare::successor_frozen");
        let trial = later.trial().expect("faults");
        assert_eq!(trial.trigger(0), None);
        assert_eq!(trial.trigger(1), Some(Event::LeaderChanged));
        assert!(trial.waits_for_events() && !trial.counts_snapshots());
        let first = plan("bare::killed_at_revision");
        let trial = first.trial().expect("faults");
        assert_eq!(trial.trigger(0), Some(Event::Revisions(200)));
        let sent = plan("bare::snapshot_after_split");
        let trial = sent.trial().expect("faults");
        assert!(trial.waits_for_events() && trial.counts_snapshots());
    }

    #[test]
    fn locks_and_elections_must_be_contested_where_there_are_some() {
        let contested = |name| plan(name).expectations().contested_locks;
        assert_eq!(contested("bare::locks_leader_killed"), 2);
        assert_eq!(contested("bare::locks_leader_frozen"), 2);
        assert_eq!(contested("bare::leader_killed"), 0);
        let of = |holders| {
            Load {
                holders,
                ..Load::default()
            }
            .contested()
        };
        assert_eq!([0, 1, 2, 3, 4].map(of), [0, 0, 0, 1, 2]);
    }

    #[test]
    fn clients_of_objects_must_meet_each_other_and_list_in_pages() {
        let met = |name| {
            let kinds = plan(name).expectations().operations;
            let of_objects = [OperationKind::FurtherPage, OperationKind::OutdatedWrite];
            of_objects.map(|kind| kinds.contains(&kind))
        };
        assert_eq!(met("bare::objects_leader_killed"), [true, true]);
        assert_eq!(met("bare::leader_killed"), [false, false]);
    }

    #[test]
    fn what_etcd_is_set_to_compact_by_itself_is_expected_of_it() {
        let mut plan = plan("bare::leader_killed");
        assert_eq!(plan.expectations().auto_compaction, None);
        let Act::Faults(trial) = &mut plan.plan.scenario.act else {
            panic!("it has faults");
        };
        trial.settings.push(("auto-compaction-retention", "5s"));
        let keeps = AutoCompaction::Periodic {
            retention_ms: 5_000,
        };
        assert_eq!(plan.expectations().auto_compaction, Some(keeps));
    }

    #[test]
    fn a_follower_that_is_cut_off_moves_no_leadership() {
        let terms = |name| plan(name).expectations().terms_per_round;
        assert_eq!(terms("bare::follower_cut_off"), Some(0));
        assert_eq!(terms("bare::leader_killed"), None);
    }

    #[test]
    fn the_command_that_repeats_it_leads_back_to_the_plan() {
        let plan = BarePlan::named("bare::all_killed", Some(5), "v3.6.1", 9).expect("a plan");
        assert_eq!(
            plan.replay(),
            "harness bare run bare::all_killed --members 5 --version v3.6.1 --seed 9"
        );
        assert_eq!(plan.images(), ["etcd-harness/etcd:v3.6.1"]);
        let again = BarePlan::named(&plan.plan.trial(), None, "v3.6.1", 9).expect("a plan");
        assert_eq!(again, plan);
    }

    #[test]
    fn flags_behind_a_version_are_switched_on_and_no_part_of_the_image() {
        let mut plan = plan("bare::all_killed");
        assert!(!plan.layout("7").is_supervised());
        plan.version = "v3.6.1+unsafe-no-fsync".to_owned();
        assert_eq!(plan.images(), ["etcd-harness/etcd:v3.6.1"]);
        let command = plan.layout("7").command("bare-7-0");
        assert!(command.contains(&"--unsafe-no-fsync=true".to_owned()));
        assert!(plan.replay().contains("--version v3.6.1+unsafe-no-fsync"));
    }

    #[test]
    fn members_have_several_versions_in_turn_and_none_is_for_nobody() {
        let of = |version| BarePlan::named("bare::all_killed", Some(3), version, 7);
        let two = of("v3.5.35,v3.6.16+unsafe-no-fsync").expect("a plan");
        let images = ["etcd-harness/etcd:v3.5.35", "etcd-harness/etcd:v3.6.16"];
        assert_eq!(two.images(), images);
        let command = two.layout("7").command("bare-7-0");
        assert!(command.contains(&"--unsafe-no-fsync=true".to_owned()));
        assert!(
            two.replay()
                .contains("--version v3.5.35,v3.6.16+unsafe-no-fsync")
        );
        let error = of("v3.5.35,v3.6.1,v3.6.16,v3.7.3").expect_err("one is for no member");
        let text = error.to_string();
        assert!(
            text.contains("4 versions") && text.contains("3 members"),
            "{text}"
        );
        for wrong in ["", "v3.6.1,", "v3.6.1+", "v3.6.1+unsafe-no-fsync,v3.6.16"] {
            let error = of(wrong).expect_err(wrong).to_string();
            assert!(error.contains("--version"), "{wrong:?}: {error}");
        }
        let mut save = plan("bare::leader_panics_in_save");
        save.version = "v3.6.1,v3.6.16-gofail".to_owned();
        assert!(
            save.replay()
                .contains("--version v3.6.1-gofail,v3.6.16-gofail ")
        );
    }

    #[test]
    fn a_later_version_is_for_members_whose_version_changes_and_for_no_others() {
        let of = |name, version| BarePlan::named(name, Some(3), version, 7);
        let plan = of("bare::all_upgraded", "v3.5.35:v3.6.16+unsafe-no-fsync").expect("a plan");
        let images = ["etcd-harness/etcd:v3.5.35", "etcd-harness/etcd:v3.6.16"];
        assert_eq!(plan.images(), images);
        assert!(plan.replay().contains("--version v3.5.35:v3.6.16+unsafe"));
        assert_eq!(plan.layout("7").next_version(), Some("v3.6.16"));
        let plain = of("bare::all_upgraded", "v3.6.16").expect("a plan");
        assert_eq!(plain.layout("7").next_version(), None);
        let said = |name, version| of(name, version).expect_err("it is refused").to_string();
        assert!(said("bare::all_killed", "v3.5.35:v3.6.16").contains("keep their version"));
        for wrong in [
            "v3.5.35:",
            ":v3.6.16",
            "v3.5.35:v3.6.1:v3.6.16",
            "v3.5.35:v3.6.1,v3.6.16",
        ] {
            assert!(
                said("bare::all_upgraded", wrong).contains("--version"),
                "{wrong}"
            );
        }
        assert!(said("bare::all_upgraded", "v3.4.18:v3.6.16").contains("beside 3.5 alone"));
        assert!(said("bare::all_upgraded", "v3.6.16:v3.5.35").contains("invalid downgrade"));
        assert!(of("bare::all_upgraded", "v3.5.35:v3.5.9").is_ok());
    }

    #[test]
    fn a_version_that_cannot_run_a_scenario_is_refused_before_anything_is_made() {
        let of = |name, version| BarePlan::named(name, Some(3), version, 7);
        let said = |name, version| of(name, version).expect_err("it is refused").to_string();
        for (name, version, why) in [
            (
                "bare::snapshot_after_split",
                "v3.5.9",
                "etcd v3.5.9: --snapshot",
            ),
            (
                "bare::all_killed",
                "v3.4.9+unsafe-no-fsync",
                "--unsafe-no-fsync",
            ),
            ("bare::leader_panics_in_save", "v3.4.18", "failpoints"),
        ] {
            let said = said(name, version);
            assert!(said.contains(name) && said.contains(why), "{said}");
        }
        assert!(said("bare::all_killed", "v3.4.18,v3.6.16").contains("beside 3.5 alone"));
        let mixed = of("bare::all_killed", "v3.4.18,v3.5.9").expect("a plan");
        let images = ["etcd-harness/etcd:v3.4.18", "etcd-harness/etcd:v3.5.9"];
        assert_eq!(mixed.images(), images);
    }

    #[test]
    fn each_member_has_the_flags_of_its_own_version() {
        let name = "bare::snapshot_after_split";
        let mixed = BarePlan::named(name, Some(3), "v3.5.35,v3.6.16", 7).expect("a plan");
        let layout = mixed.layout("7");
        let flags = |member: &str| layout.flags(member).join(" ");
        for member in ["bare-7-0", "bare-7-2"] {
            assert!(flags(member).contains(" --experimental-snapshot-catchup-entries=50"));
        }
        assert!(flags("bare-7-1").contains(" --snapshot-catchup-entries=50"));
    }

    #[test]
    fn a_scenario_with_failpoints_chooses_the_build_of_the_version_that_is_asked_for() {
        let mut plan = plan("bare::leader_panics_in_save");
        assert!(plan.layout("7").has_failpoints());
        plan.version = "v3.6.1+unsafe-no-fsync".to_owned();
        assert_eq!(plan.images(), ["etcd-harness/etcd:v3.6.1-gofail"]);
        let build = "--version v3.6.1-gofail+unsafe-no-fsync --seed 7";
        assert!(plan.replay().ends_with(build), "{}", plan.replay());
        let command = plan.layout("7").command("bare-7-0");
        assert!(command.contains(&"--unsafe-no-fsync=true".to_owned()));
        let named = |version| BarePlan::named("bare::all_killed", None, version, 7);
        let plain = named("v3.6.1-gofail").expect("a plan");
        assert_eq!(plain.images(), ["etcd-harness/etcd:v3.6.1-gofail"]);
        assert!(!plain.layout("7").has_failpoints());
    }

    #[test]
    fn only_members_whose_disk_has_a_fault_are_supervised() {
        let command = |name| plan(name).layout("7").command("bare-7-0");
        assert_eq!(command("bare::all_power_lost")[0], "/workload");
        assert_eq!(command("bare::failing_disk_leader")[0], "/workload");
        assert_eq!(command("bare::full_disk_leader")[0], "/workload");
        assert_eq!(command("bare::unreadable_log_follower")[0], "/workload");
        assert_eq!(
            command("bare::unreadable_snapshots_follower")[0],
            "/workload"
        );
        assert_eq!(command("bare::log_torn")[0], "/usr/local/bin/etcd");
    }

    #[test]
    fn a_wrong_name_says_where_the_right_ones_are() {
        let error = BarePlan::named("leader_killed", None, VERSION, 7).expect_err("no such name");
        let text = error.to_string();
        assert!(
            text.contains("harness bare list") && text.contains("near: bare::leader_killed"),
            "{text}"
        );
    }
}
