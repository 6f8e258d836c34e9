//! The own etcd stops because its member is about to be removed: etcd drops what a removed member has in hand, and its
//! clients would learn that from requests that fail.

use std::sync::Arc;

use kbagent_protocol::Role;

use super::outcome::{Failure, Success};
use crate::config::Config;
use crate::fence::Launcher;
use crate::launch::Demand;
use crate::stopping::end_etcd;

/// Has clients leave a member that does not lead, while the others serve them; its `role` is unknown when absent.
pub(super) async fn drain(config: &Arc<Config>, role: Option<Role>) -> Result<Success, Failure> {
    if role.is_none_or(|role| role == Role::Leader) {
        let why = "etcd leads, or does not say whether it does: leadership is transferred first";
        return Err(Failure::Precondition(why.to_owned()));
    }
    let demanded = Launcher::new(&config.run_dir).demand(Demand::Drain).await;
    demanded.map_err(|error| Failure::Precondition(error.to_string()))?;
    match end_etcd(config).await {
        true => Ok(Success::text("etcd has stopped")),
        false => Err(Failure::TimedOut(
            "etcd was told to stop and still listens".to_owned(),
        )),
    }
}
