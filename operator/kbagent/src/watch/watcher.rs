//! The poll loop: one request in flight, fast interval during changes, slow otherwise.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::{EtcdState, LogSeen, MemberStanding, MemberView, V2Store};
use tokio::sync::{Notify, watch};

use super::first_write::{FirstWrite, Writes};
use super::hint;
use super::hold;
use super::names::{self, Names};
use super::view::{Hints, Knowledge, Own, Refusal};
use super::{log, removed, standing, v2store, volume};
use crate::config::Config;
use crate::etcd::Client;
use crate::launch::{ANSWERED_FILE, REFUSED_FILE};

/// Deadline of one poll. A status needs no disk and no other member: one that takes longer hangs, starves, or has its
/// database locked (defragmentation, hash of the key space).
const DEADLINE: Duration = Duration::from_millis(300);

/// The poll loop's parts.
pub(crate) struct Watcher {
    client: Client,
    run_dir: PathBuf,
    names: watch::Receiver<Names>,
    names_wanted: Arc<Notify>,
    removed: watch::Receiver<Option<Refusal>>,
    standing: watch::Receiver<Option<MemberStanding>>,
    volume: watch::Receiver<Option<u64>>,
    v2_store: watch::Receiver<Option<V2Store>>,
    log: watch::Receiver<Option<LogSeen>>,
    own: watch::Receiver<Own>,
    alarm: Arc<Notify>,
    knowledge: watch::Sender<Knowledge>,
    writes: Writes,
    written: watch::Sender<Option<FirstWrite>>,
    marked: bool,
}

/// Signs of trouble besides polls.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// The own member is to be polled at once, and at the fast interval.
    pub alarm: Arc<Notify>,
    /// The leader may have died.
    pub news: Arc<Notify>,
    /// When the own member, while it leads, last lost the majority of its peers, or another one said that it leads
    /// instead: the others are to be asked.
    pub doubted: Arc<watch::Sender<Option<Instant>>>,
}

/// Starts watching the own member; the receiver always holds the newest knowledge, and wakes on changes that matter.
/// `written` gets the first write of each term that the member was elected for.
#[must_use]
pub(crate) fn start(
    config: &Arc<Config>,
    client: &Client,
    incarnation: u64,
    own: watch::Receiver<Own>,
    trouble: &Trouble,
    written: watch::Sender<Option<FirstWrite>>,
) -> watch::Receiver<Knowledge> {
    let first = Knowledge::new(
        config.pod_name.clone(),
        config.pod_uid.clone(),
        incarnation,
        Instant::now(),
    );
    let (knowledge, seen) = watch::channel(first);
    let (names_to, names) = watch::channel(Names::new());
    let (removed_to, removed) = watch::channel(None);
    let (standing_to, standing) = watch::channel(None);
    let (volume_to, volume) = watch::channel(None);
    tokio::spawn(volume::look(config.data_dir.clone(), volume_to));
    let (v2_to, v2_store) = watch::channel(None);
    tokio::spawn(v2store::look(config.run_dir.clone(), v2_to));
    let (log_to, log) = watch::channel(None);
    tokio::spawn(log::look(config.data_dir.clone(), seen.clone(), log_to));
    let names_wanted = Arc::new(Notify::new());
    tokio::spawn(names::keep(
        client.clone(),
        Arc::clone(&names_wanted),
        names_to,
    ));
    tokio::spawn(removed::look(Arc::clone(config), seen.clone(), removed_to));
    tokio::spawn(standing::look(
        Arc::clone(config),
        seen.clone(),
        standing_to,
    ));
    let alarm = Arc::clone(&trouble.alarm);
    tokio::spawn(hold::own(
        config.etcd_address(),
        config.tls.clone(),
        Arc::clone(&alarm),
    ));
    tokio::spawn(hint::listen(
        Arc::clone(config),
        seen.clone(),
        Arc::clone(&alarm),
        Arc::clone(&trouble.news),
    ));
    let watcher = Watcher {
        client: client.clone(),
        run_dir: config.run_dir.clone(),
        names,
        names_wanted,
        removed,
        standing,
        volume,
        v2_store,
        log,
        own,
        alarm,
        knowledge,
        writes: Writes::default(),
        written,
        marked: false,
    };
    tokio::spawn(watcher.run());
    seen
}

impl Watcher {
    async fn run(mut self) {
        loop {
            self.poll().await;
            let pace = self.knowledge.borrow().pace(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                // What begins or ends is told at once.
                Ok(()) = self.own.changed() => {}
                // A name that was missing: the leader is named at once.
                _ = self.names.changed() => {}
                () = self.alarm.notified() => {
                    self.knowledge.send_if_modified(|known| {
                        known.alert(Instant::now());
                        false
                    });
                }
            }
        }
    }

    async fn poll(&mut self) {
        let poll = self.client.status(DEADLINE).await;
        let refusal = match &poll {
            Err(error) if error.is_refused() => self.refusal(),
            _ => None,
        };
        let answered = poll.is_ok();
        let names = self.names.borrow_and_update().clone();
        let standing = self.standing.borrow().clone();
        let v2_store = self.v2_store.borrow().clone();
        let hints = Hints {
            names: &names,
            refusal: refusal.as_ref(),
            standing: standing.as_ref(),
            file_system_bytes: *self.volume.borrow(),
            v2_store: v2_store.as_ref(),
            log: *self.log.borrow(),
            own: self.own.borrow().clone(),
        };
        let now = Instant::now();
        let changed = self
            .knowledge
            .send_if_modified(|known| known.fold(poll, &hints, now));
        let view = self.knowledge.borrow().at(now);
        if changed {
            tell(&view);
        }
        if let (EtcdState::Running, Some(status)) = (&view.etcd, &view.status)
            && let Some(first) = self.writes.look(status, now)
        {
            self.written.send_replace(Some(first));
        }
        if view
            .status
            .is_some_and(|status| status.leader_id.is_some() && status.leader.is_none())
        {
            self.names_wanted.notify_one();
        }
        if answered && !self.marked {
            self.mark();
        }
    }

    /// Leaves the mark that etcd has run in this pod: from now on an empty data directory is a lost one (M11).
    fn mark(&mut self) {
        match fs::write(self.run_dir.join(ANSWERED_FILE), "") {
            Ok(()) => self.marked = true,
            Err(error) => tracing::debug!(%error, "failed to leave the mark that etcd answered"),
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        let launcher = fs::read(self.run_dir.join(REFUSED_FILE)).ok();
        let read = launcher.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        read.or_else(|| self.removed.borrow().clone())
    }
}

fn tell(view: &MemberView) {
    let status = view.status.as_ref();
    tracing::info!(
        etcd = ?view.etcd,
        role = status.map(|status| status.role().as_str()),
        term = status.map(|status| status.term),
        leader = status.and_then(|status| status.leader.as_deref()),
        sequence = view.sequence,
        "the member changed"
    );
}
