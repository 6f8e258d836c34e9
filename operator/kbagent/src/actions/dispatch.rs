//! From a request to the action, one change at a time, within a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::{ActionAnswer, ActionRequest, Alarm, Id, Role, action, parameter};
use tokio::sync::{Mutex, watch};

use super::drain::drain;
use super::outcome::{Failure, Success, answer};
use super::upkeep::Upkeep;
use super::{downgrade, membership, switchover};
use crate::config::Config;
use crate::etcd::Client;
use crate::watch::{Knowledge, Own};

/// Deadline of an action that names none (KubeBlocks' default).
const DEFAULT: Duration = Duration::from_secs(30);
/// Longest deadline that is granted (KubeBlocks' cap).
const LONGEST: Duration = Duration::from_secs(60);
/// How old a status may be to answer for the role.
pub const ROLE_AGE: Duration = Duration::from_secs(1);

/// Actions that change something: one at a time.
const CHANGES: [&str; 11] = [
    action::SWITCHOVER,
    action::MEMBER_JOIN,
    action::MEMBER_PROMOTE,
    action::MEMBER_LEAVE,
    action::DRAIN,
    action::COMPACT,
    action::DEFRAGMENT,
    action::DISARM,
    action::DOWNGRADE,
    action::CANCEL_DOWNGRADE,
    action::APPEND,
];

/// Runs actions.
pub struct Actions {
    config: Arc<Config>,
    own: Client,
    knowledge: watch::Receiver<Knowledge>,
    change: Mutex<()>,
    moved_at: watch::Sender<Option<Instant>>,
    upkeep: Upkeep,
}

impl Actions {
    /// Through the own member; `shown` is what others see of it.
    pub fn new(
        config: Arc<Config>,
        own: Client,
        knowledge: watch::Receiver<Knowledge>,
        shown: watch::Sender<Own>,
    ) -> Self {
        let upkeep = Upkeep::new(own.clone(), shown);
        Self {
            config,
            own,
            knowledge,
            change: Mutex::new(()),
            moved_at: watch::Sender::new(None),
            upkeep,
        }
    }

    /// When a switchover was last begun here.
    pub fn moved_at(&self) -> watch::Receiver<Option<Instant>> {
        self.moved_at.subscribe()
    }

    /// Runs one.
    pub async fn run(&self, request: &ActionRequest) -> ActionAnswer {
        let asked = request.timeout_seconds.filter(|seconds| *seconds > 0);
        let deadline = asked.map_or(DEFAULT, |seconds| Duration::from_secs(seconds.into()));
        let deadline = deadline.min(LONGEST);
        let result = match tokio::time::timeout(deadline, self.dispatch(request)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::TimedOut(format!(
                "{} took longer than {} s: it may have happened",
                request.action,
                deadline.as_secs()
            ))),
        };
        if let Err(failure) = &result {
            tracing::info!(action = request.action, error = %failure, "an action did not succeed");
        }
        answer(result)
    }

    async fn dispatch(&self, request: &ActionRequest) -> Result<Success, Failure> {
        let given = |name: &str| {
            let value = request.parameters.get(name).map(|value| value.trim());
            value.filter(|value| !value.is_empty())
        };
        let name = request.action.as_str();
        if name == action::ROLE_PROBE {
            return self.role();
        }
        if !CHANGES.contains(&name) {
            return Err(Failure::NotDefined(format!("etcd has no action {name:?}")));
        }
        let Ok(_alone) = self.change.try_lock() else {
            return Err(Failure::Busy(
                "another change is under way in this pod".into(),
            ));
        };
        match name {
            action::SWITCHOVER => {
                let current = given(parameter::SWITCHOVER_CURRENT_NAME);
                let candidate = given(parameter::SWITCHOVER_CANDIDATE_NAME);
                self.moved_at.send_replace(Some(Instant::now()));
                switchover::switchover(&self.own, current, candidate).await
            }
            action::MEMBER_JOIN => {
                let host = self.host(
                    given(parameter::JOIN_MEMBER_POD_FQDN),
                    given(parameter::JOIN_MEMBER_POD_NAME),
                );
                let host = host.ok_or_else(|| missing(parameter::JOIN_MEMBER_POD_NAME))?;
                membership::join(&self.own, &self.config.peer_url(&host)).await
            }
            action::MEMBER_PROMOTE => {
                membership::promote(&self.own, id(given(parameter::MEMBER_ID))?).await
            }
            action::DOWNGRADE => {
                let to = given(parameter::DOWNGRADE_TARGET);
                let to = to.ok_or_else(|| missing(parameter::DOWNGRADE_TARGET))?;
                downgrade::begin(&self.own, to).await
            }
            action::CANCEL_DOWNGRADE => downgrade::cancel(&self.own).await,
            action::DRAIN => drain(&self.config, self.newest_role()).await,
            action::APPEND => self.upkeep.append().await,
            action::COMPACT => self.upkeep.compact().await,
            action::DEFRAGMENT => {
                let request = given(parameter::DEFRAGMENTATION_REQUEST);
                self.upkeep.defragment(request).await
            }
            action::DISARM => {
                let kind = given(parameter::ALARM).and_then(|kind| kind.parse().ok());
                let alarm = Alarm {
                    member: id(given(parameter::MEMBER_ID))?,
                    kind: kind.ok_or_else(|| missing(parameter::ALARM))?,
                };
                self.upkeep.disarm(alarm).await
            }
            _ => {
                let host = self.host(
                    given(parameter::LEAVE_MEMBER_POD_FQDN),
                    given(parameter::LEAVE_MEMBER_POD_NAME),
                );
                let host = host.ok_or_else(|| missing(parameter::LEAVE_MEMBER_POD_NAME))?;
                let id = id(given(parameter::MEMBER_ID))?;
                membership::leave(&self.own, id, Some(&self.config.peer_url(&host))).await
            }
        }
    }

    fn newest_role(&self) -> Option<Role> {
        let knowledge = self.knowledge.borrow();
        let status = knowledge.fresh(ROLE_AGE, Instant::now())?;
        Some(status.role())
    }

    fn role(&self) -> Result<Success, Failure> {
        let knowledge = self.knowledge.borrow();
        match knowledge.fresh(ROLE_AGE, Instant::now()) {
            Some(status) => Ok(Success::text(status.role().as_str())),
            None => Err(Failure::Failed(format!(
                "etcd does not answer: {:?}",
                knowledge.etcd()
            ))),
        }
    }

    fn host(&self, fqdn: Option<&str>, pod: Option<&str>) -> Option<String> {
        let given = fqdn.map(|fqdn| fqdn.trim_end_matches('.').to_owned());
        given.or_else(|| pod.map(|pod| self.config.host_of(pod)))
    }
}

fn missing(name: &str) -> Failure {
    Failure::BadRequest(format!("the parameter {name} is missing"))
}

fn id(text: Option<&str>) -> Result<Id, Failure> {
    let text = text.ok_or_else(|| missing(parameter::MEMBER_ID))?;
    text.parse().map_err(|_| {
        Failure::BadRequest(format!(
            "{} is {text:?}, no hexadecimal identifier",
            parameter::MEMBER_ID
        ))
    })
}
