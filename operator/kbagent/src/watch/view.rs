//! Pure: from one view and one poll to the next view, and whether the difference matters to anyone.

use std::time::{Duration, Instant};

use kbagent_protocol::{
    AccountsReport, Campaign, Care, EtcdState, Format, Id, LogSeen, MemberStanding, MemberStatus,
    MemberView, V2Store,
};
use serde::{Deserialize, Serialize};

use super::names::Names;
use crate::etcd::{EtcdError, Status};

/// Polling interval while nothing changes: finds a change of leader in 25 ms on average for under 1 % of a core.
const CALM: Duration = Duration::from_millis(50);
/// Pace while the member has no leader, does not answer or has just changed.
const ALERT: Duration = Duration::from_millis(10);
/// How long the fast interval lasts after a change; then a lasting fault is polled at the slow one.
const ALERT_FOR: Duration = Duration::from_secs(5);
/// How long a hint holds if no leader is elected: two election timeouts, after which it will not come any more.
const HINT_FOR: Duration = Duration::from_secs(3);
/// How long a healthy member is watched closely after a change. Short: once there is a new leader, processor time is
/// wanted for what follows from it.
const SETTLE: Duration = Duration::from_millis(50);

/// Why etcd of this pod must not run (M10, M11, B2, B4). The launcher leaves it as JSON in the run directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A fixed word, see [`EtcdState::Refused`].
    pub code: String,
    /// What was found.
    pub message: String,
}

/// The newest view and when its status was read.
#[derive(Clone, Debug)]
pub struct Knowledge {
    view: MemberView,
    /// The leader this member named in the newest term it knew one in.
    elected: Option<(u64, Id)>,
    elected_at: Option<Instant>,
    /// At its last answer raft named another member as its leader, whatever the term.
    follows: bool,
    answered_at: Option<Instant>,
    changed_at: Instant,
    hinted_at: Option<Instant>,
}

impl Knowledge {
    /// Before the first poll.
    #[must_use]
    pub fn new(instance: String, pod_uid: String, agent_incarnation: u64, now: Instant) -> Self {
        let etcd = EtcdState::Starting {
            reason: "not asked yet".into(),
        };
        let view = MemberView {
            instance,
            pod_uid,
            agent_incarnation,
            sequence: 0,
            etcd,
            status: None,
            status_age_ms: None,
            under_way: None,
            care: reported(&Care::default()),
            campaign: None,
            standing: None,
            file_system_bytes: None,
            accounts: None,
            v2_store: None,
        };
        Self {
            view,
            elected: None,
            elected_at: None,
            follows: false,
            answered_at: None,
            changed_at: now,
            hinted_at: None,
        }
    }

    /// With this view.
    #[cfg(test)]
    pub(crate) fn of(view: MemberView) -> Self {
        let now = Instant::now();
        let first = Self::new(String::new(), String::new(), 1, now);
        let answered_at = view.status.is_some().then_some(now);
        Self {
            view,
            answered_at,
            ..first
        }
    }

    /// With what raft says of it.
    #[cfg(test)]
    pub(crate) fn set_follows(&mut self, follows: bool) {
        self.follows = follows;
    }

    /// The view as it is sent at `now`.
    #[must_use]
    pub fn at(&self, now: Instant) -> MemberView {
        let age = self
            .answered_at
            .map(|then| now.saturating_duration_since(then));
        let status_age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        MemberView {
            status_age_ms,
            ..self.view.clone()
        }
    }

    /// The status, if etcd gave it no longer than `age` ago and still answers.
    #[must_use]
    pub fn fresh(&self, age: Duration, now: Instant) -> Option<&MemberStatus> {
        let recent = now.saturating_duration_since(self.answered_at?) <= age;
        let status = self.view.status.as_ref()?;
        (recent && self.view.etcd == EtcdState::Running).then_some(status)
    }

    /// The state of the etcd process.
    #[must_use]
    pub fn etcd(&self) -> &EtcdState {
        &self.view.etcd
    }

    /// The last status, however old.
    #[must_use]
    pub fn status(&self) -> Option<&MemberStatus> {
        self.view.status.as_ref()
    }

    /// When etcd last answered.
    #[must_use]
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// True when raft in the member followed another one at its last answer. It knows that earlier than the status can
    /// be believed: a leader's first status comes with the old term until the member has applied an entry of the new
    /// one, and what it applies may lag behind for long.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// Takes in one poll. True when the change matters: then the sequence has grown.
    pub fn fold(
        &mut self,
        poll: Result<Status, EtcdError>,
        hints: &Hints<'_>,
        now: Instant,
    ) -> bool {
        let mut next = self.view.clone();
        next.under_way = hints.own.under_way.map(str::to_owned);
        next.care = reported(&hints.own.care);
        next.campaign = hints.own.campaign;
        next.file_system_bytes = hints.file_system_bytes;
        next.standing = hints.standing.filter(|_| poll.is_err()).cloned();
        next.accounts.clone_from(&hints.own.accounts);
        next.v2_store = hints.v2_store.cloned();
        match poll {
            Ok(status) => {
                let mut status = named(&status, hints.names, &next.instance);
                status.format.log = hints.log;
                self.follows = status.leader_id.is_some_and(|id| id != status.member_id);
                self.distrust(&mut status, now);
                next.status = Some(status);
                next.etcd = EtcdState::Running;
                self.answered_at = Some(now);
            }
            Err(error) => next.etcd = silent(&error, hints.refusal, self.answered_at.is_some()),
        }
        let matters = matters(&self.view, &next);
        if matters {
            next.sequence += 1;
            self.changed_at = now;
        }
        self.view = next;
        matters
    }

    /// Takes the leader out of a status that names a second one for a term. etcd reads the two apart: the leader
    /// from raft's newest state, the term from the newest entry applied, so for a moment after an election a new
    /// leader comes with the old term. The next poll has both.
    fn distrust(&mut self, status: &mut MemberStatus, now: Instant) {
        let Some(leader) = status.leader_id else {
            return;
        };
        match self.elected {
            Some((term, elected)) if term == status.term && elected != leader => {
                status.leader_id = None;
                status.leader = None;
            }
            known if known == Some((status.term, leader)) => {}
            _ => {
                self.elected = Some((status.term, leader));
                self.elected_at = Some(now);
            }
        }
    }

    /// Polls at the fast interval for a while after a hint of a change.
    pub fn alert(&mut self, now: Instant) {
        self.hinted_at = Some(now);
    }

    /// How long to wait before the next poll.
    #[must_use]
    pub fn pace(&self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.changed_at);
        let led = self
            .view
            .status
            .as_ref()
            .is_some_and(|status| status.leader_id.is_some());
        let well = led && self.view.etcd == EtcdState::Running;
        let alert_for = if well { SETTLE } else { ALERT_FOR };
        let hinted = self.hinted_at.is_some_and(|then| {
            let came = self.elected_at.is_some_and(|elected| elected > then);
            !came && now.saturating_duration_since(then) < HINT_FOR
        });
        if since < alert_for || hinted {
            ALERT
        } else {
            CALM
        }
    }
}

/// What is known besides the poll.
pub struct Hints<'a> {
    /// Names of members.
    pub names: &'a Names,
    /// A reason why etcd must not run.
    pub refusal: Option<&'a Refusal>,
    /// How large the file system of etcd's data is.
    pub file_system_bytes: Option<u64>,
    /// What was read of etcd's log.
    pub log: Option<LogSeen>,
    /// What the metrics of a silent member say.
    pub standing: Option<&'a MemberStanding>,
    /// What the launcher's check of the store of API v2 has found.
    pub v2_store: Option<&'a V2Store>,
    /// What the agent itself does.
    pub own: Own,
}

/// What the agent does with its member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Name of the long action that is in progress.
    pub under_way: Option<&'static str>,
    /// What was done to free space.
    pub care: Care,
    /// The newest election that was begun and has ended.
    pub campaign: Option<Campaign>,
    /// What came of users that it was given.
    pub accounts: Option<AccountsReport>,
}

/// That nothing was defragmented yet is a report, too: agents of earlier releases have none.
fn reported(care: &Care) -> Care {
    Care {
        last: Some(care.last.clone().unwrap_or_default()),
        ..care.clone()
    }
}

fn named(status: &Status, names: &Names, own_name: &str) -> MemberStatus {
    let header = status.header.unwrap_or_default();
    let leader_id = (status.leader != 0).then_some(status.leader);
    let leader = leader_id.and_then(|id| {
        let own = (id == header.member_id).then(|| own_name.to_owned());
        own.or_else(|| names.get(&id).filter(|name| !name.is_empty()).cloned())
    });
    MemberStatus {
        member_id: Id(header.member_id),
        cluster_id: Id(header.cluster_id),
        leader_id: leader_id.map(Id),
        leader,
        revision: header.revision,
        term: status.raft_term,
        raft_index: status.raft_index,
        applied_index: status.raft_applied_index,
        is_learner: status.is_learner,
        version: status.version.clone(),
        db_size_bytes: u64::try_from(status.db_size).unwrap_or(0),
        db_size_in_use_bytes: u64::try_from(status.db_size_in_use).unwrap_or(0),
        db_quota_bytes: u64::try_from(status.db_size_quota)
            .ok()
            .filter(|quota| *quota > 0),
        format: format(status),
        alarms: status.errors.clone(),
    }
}

fn format(status: &Status) -> Format {
    let storage = Some(&status.storage_version).filter(|version| !version.is_empty());
    let downgrade = status.downgrade.as_ref().filter(|info| info.enabled);
    Format {
        storage_version: storage.cloned(),
        downgrade_to: downgrade.map(|info| info.target_version.clone()),
        log: None,
    }
}

fn silent(error: &EtcdError, refusal: Option<&Refusal>, answered_before: bool) -> EtcdState {
    let refused = error.is_refused();
    if let (Some(refusal), true) = (refusal, refused) {
        let Refusal { code, message } = refusal.clone();
        return EtcdState::Refused { code, message };
    }
    let kind = if refused {
        "refused"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "error"
    };
    let reason = format!("{kind}: {error}");
    if answered_before {
        EtcdState::Unreachable { reason, refused }
    } else {
        EtcdState::Starting { reason }
    }
}

/// Indexes and sizes move all the time and ride on the next line that is sent anyway. A file that has become smaller
/// was defragmented: the operator waits for that.
fn matters(old: &MemberView, new: &MemberView) -> bool {
    let size = |view: &MemberView| {
        view.status
            .as_ref()
            .map_or(0, |status| status.db_size_bytes)
    };
    // How long it has had no leader rides on other lines.
    let known = |view: &MemberView| {
        let standing = view.standing.clone();
        standing.map(|standing| MemberStanding {
            leaderless_seconds: 0,
            ..standing
        })
    };
    !same_state(&old.etcd, &new.etcd)
        || essence(old) != essence(new)
        || (&old.under_way, &old.care, old.campaign) != (&new.under_way, &new.care, new.campaign)
        || old.accounts != new.accounts
        || size(new) < size(old)
        || known(old) != known(new)
        || old.file_system_bytes != new.file_system_bytes
        || old.v2_store != new.v2_store
}

fn same_state(old: &EtcdState, new: &EtcdState) -> bool {
    match (old, new) {
        (EtcdState::Starting { .. }, EtcdState::Starting { .. }) => true,
        (
            EtcdState::Unreachable { refused: old, .. },
            EtcdState::Unreachable { refused: new, .. },
        ) => old == new,
        _ => old == new,
    }
}

fn essence(view: &MemberView) -> Option<MemberStatus> {
    let mut status = view.status.clone()?;
    // How far the log was read is among what moves all the time.
    if let Some(log) = &mut status.format.log {
        log.read_to = 0;
    }
    Some(MemberStatus {
        revision: 0,
        raft_index: 0,
        applied_index: 0,
        db_size_bytes: 0,
        db_size_in_use_bytes: 0,
        ..status
    })
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
