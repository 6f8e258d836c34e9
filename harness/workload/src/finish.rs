//! The final phase, at quiescence: what is left, as every member has it.
//!
//! Runs beside the stopped clients, in a process of its own, and appends to the same history, with the clock of the
//! clients. Leases are ended first, so that nothing changes any more by itself; then a tombstone is written, which
//! every member must have applied before it is read; then every member is read twice (linearizably and from what it
//! has) and asked for its hash at one revision.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use etcd_client::GetOptions;
use etcd_history::{
    Outcome, Record, Request,
    record::{FinalState, HashSample, Route},
};
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    again::{AGAIN, ask, side_by_side, until_done},
    attempt::{self, Shared},
    config::{Config, Member},
    connection::Held,
    execute::{ANSWER_LIMIT, key_value},
    reach::Reach,
    recorder::{Attempt, Recorder},
    run::config_file,
    schedule::pause,
    successor::Place,
};

/// First client number of the final phase.
const CLIENT: u32 = 9000;
/// First client number of those that read members.
const READER: u32 = CLIENT + 1;
/// First client number of those that revoke leases.
const REVOKER: u32 = CLIENT + 500;
/// Leases that are revoked at a time: one after the other they take seconds on a slow machine.
const LANES: u32 = 16;
/// Name of the file with the process that runs it.
const FINAL: &str = "final";

/// What the final phase found.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Revision of the tombstone.
    pub(crate) revision: i64,
    /// Members that were read.
    pub(crate) read: Vec<String>,
    /// Members that were not, and why.
    pub(crate) unread: Vec<String>,
    /// Watchers that saw the tombstone, of how many.
    pub(crate) watchers: (usize, usize),
}

impl Summary {
    /// Of a cluster that took nothing any more: no member was read.
    fn of_none(members: &[Member], error: &anyhow::Error) -> Self {
        let unread = members.iter();
        Self {
            revision: 0,
            read: Vec::new(),
            unread: unread
                .map(|member| format!("{}: {error:#}", member.pod))
                .collect(),
            watchers: (0, 0),
        }
    }
}

/// Runs it, within `limit`, with these members; with those of the beginning when there are none. In the place of one
/// that was run before, once that one has ended: two at a time would give their operations the same numbers.
pub(crate) async fn run(
    dir: &Path,
    members: Vec<Member>,
    limit: Duration,
) -> anyhow::Result<Summary> {
    let until = Instant::now() + limit;
    let place = Place::take(dir, FINAL).context("failed to take the place of a former one")?;
    let alone = timeout_at(until, place.alone()).await;
    let alone = alone.context("the one that was run before does not end")?;
    let _alone = alone.context("failed to wait for the one that was run before")?;
    tokio::select! {
        ran = Box::pin(run_alone(dir, members, until)) => ran,
        () = place.lost() => bail!("it was run again, and this is the former one"),
    }
}

async fn run_alone(dir: &Path, members: Vec<Member>, until: Instant) -> anyhow::Result<Summary> {
    let text = std::fs::read_to_string(config_file(dir))
        .context("failed to read the configuration of the run: is `workload run` up?")?;
    let config = Config::parse(&text)?;
    let recorder = Recorder::join(&config.history()).context("failed to open the history")?;
    let begin = std::fs::metadata(config.history())?.len();
    let [reach, admin] = Reach::both(&config.access);
    let (_, stopping) = watch::channel(false);
    let shared = Arc::new(Shared {
        config,
        recorder,
        reach,
        admin,
        stopping,
    });
    let now = if members.is_empty() {
        shared.config.members.clone()
    } else {
        members
    };
    let entry = Arc::new(Entry::of(&shared, &now)?);

    let written = async {
        Box::pin(end_leases(&shared, &entry, until)).await?;
        Box::pin(tombstone(&shared, &entry, until)).await
    };
    // A cluster that takes no write is what is found; an error would be this program's own.
    let (tombstone, revision) = match written.await {
        Ok(written) => written,
        Err(error) => return Ok(Summary::of_none(&now, &error)),
    };
    let (read, unread) = read_all(&shared, &now, (revision, until)).await;
    let of = watched(&shared.config, &now);
    let seen = watchers(&shared, begin, (&tombstone, of), until).await?;
    Ok(Summary {
        revision,
        read,
        unread,
        watchers: (seen, of),
    })
}

/// Watchers that must see the last write. Who watched a member that has left saw its end, and no more.
fn watched(config: &Config, now: &[Member]) -> usize {
    if !config.rates.watch {
        return 0;
    }
    let members = config.members.iter();
    let members = members.filter(|member| now.contains(member)).count();
    members + usize::from(config.service.is_some())
}

/// Where what any member may take is sent: to the leader service, or where there is none to the first member.
struct Entry {
    route: Route,
    held: Held,
    /// As who may list all leases.
    admin: Held,
}

impl Entry {
    fn of(shared: &Shared, members: &[Member]) -> anyhow::Result<Self> {
        let (route, address) = match (&shared.config.service, members.first()) {
            (Some(service), _) => (Route::ServiceHeld, service),
            (None, Some(member)) => (Route::Member, &member.address),
            (None, None) => bail!("there is neither a service nor a member to send to"),
        };
        let held = Held::new(Arc::clone(&shared.reach), address);
        let admin = Held::new(Arc::clone(&shared.admin), address);
        Ok(Self { route, held, admin })
    }
}

/// One recorded operation, tried again - as a new operation - until it is acknowledged.
async fn insist(
    shared: &Shared,
    entry: &Entry,
    (client, until): (u32, Instant),
    request: impl Fn(u64) -> Request,
) -> anyhow::Result<(Attempt, i64)> {
    loop {
        // The attempt says what comes of a connection that is not there.
        let _ = entry.held.get_patiently(until).await;
        let op = shared.recorder.op();
        let attempt = Attempt {
            op,
            client: shared.recorder.client(client),
            route: entry.route,
            scheduled: None,
            request: request(op),
        };
        match attempt::held(shared, &entry.held, &attempt).await {
            Outcome::Ok { revision, .. } => return Ok((attempt, revision)),
            Outcome::Failed { class, .. } if class == "lease_not_found" => return Ok((attempt, 0)),
            Outcome::Failed { class, message } | Outcome::Unknown { class, message } => {
                if Instant::now() >= until {
                    bail!(
                        "failed to get {:?} acknowledged: {class}: {message}",
                        attempt.request
                    );
                }
            }
        }
        pause(AGAIN).await;
    }
}

async fn end_leases(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    until: Instant,
) -> anyhow::Result<()> {
    let list = || {
        ask(&entry.admin, until, |mut client| async move {
            client.leases().await
        })
    };
    let leases = until_done(until, list).await;
    let leases = leases.context("failed to list the leases")?;
    let leases = leases.leases().iter().map(etcd_client::LeaseStatus::id);
    side_by_side(LANES, leases.collect(), |lane, id| {
        let (shared, entry) = (Arc::clone(shared), Arc::clone(entry));
        async move {
            let who = (REVOKER + lane, until);
            let revoked = insist(&shared, &entry, who, |_| Request::LeaseRevoke { id });
            Box::pin(revoked).await.map(drop)
        }
    })
    .await
}

async fn tombstone(
    shared: &Shared,
    entry: &Entry,
    until: Instant,
) -> anyhow::Result<(String, i64)> {
    let prefix = &shared.config.prefix;
    let put = |op: u64| Request::Put {
        key: format!("{prefix}z/tombstone"),
        value: format!("c{CLIENT}-{op}"),
        lease: 0,
    };
    let (attempt, revision) = insist(shared, entry, (CLIENT, until), put).await?;
    let Request::Put { value, .. } = attempt.request else {
        bail!("the tombstone is a put")
    };
    Ok((value, revision))
}

/// Reads all members side by side: those that were read, and those that were not, and why.
async fn read_all(
    shared: &Arc<Shared>,
    members: &[Member],
    (revision, until): (i64, Instant),
) -> (Vec<String>, Vec<String>) {
    let mut reading = JoinSet::new();
    for (n, member) in (0..).zip(members) {
        let (shared, member) = (Arc::clone(shared), member.clone());
        reading.spawn(async move {
            let reader = Reader::new(&shared, &member, (n, until));
            let read = Box::pin(reader.read(revision)).await;
            (n, member.pod, read)
        });
    }
    let mut ended = reading.join_all().await;
    ended.sort_by_key(|(n, ..)| *n);
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for (_, pod, result) in ended {
        match result {
            Ok(()) => read.push(pod),
            Err(error) => unread.push(format!("{pod}: {error:#}")),
        }
    }
    (read, unread)
}

/// Reads one member, and tries again what fails until the time is over.
struct Reader<'a> {
    shared: &'a Shared,
    member: &'a Member,
    client: u32,
    held: Held,
    admin: Held,
    until: Instant,
}

impl<'a> Reader<'a> {
    fn new(shared: &'a Shared, member: &'a Member, (n, until): (u32, Instant)) -> Self {
        Self {
            shared,
            member,
            client: shared.recorder.client(READER + n),
            held: Held::new(Arc::clone(&shared.reach), &member.address),
            admin: Held::new(Arc::clone(&shared.admin), &member.address),
            until,
        }
    }

    /// Both reads and the hash.
    async fn read(&self, revision: i64) -> anyhow::Result<()> {
        until_done(self.until, || self.linearizable()).await?;
        until_done(self.until, || self.final_state(revision)).await?;
        until_done(self.until, || self.hash(revision)).await
    }

    async fn linearizable(&self) -> anyhow::Result<()> {
        // The attempt says what comes of a connection that is not there.
        let _ = self.held.get_patiently(self.until).await;
        let request = Request::Range {
            key: self.shared.config.prefix.clone(),
            range_end: Some(self.shared.config.range_end()),
            limit: 0,
            serializable: false,
            revision: 0,
        };
        let attempt = Attempt {
            op: self.shared.recorder.op(),
            client: self.client,
            route: Route::Member,
            scheduled: None,
            request,
        };
        match attempt::held(self.shared, &self.held, &attempt).await {
            Outcome::Ok { .. } => Ok(()),
            Outcome::Failed { class, message } | Outcome::Unknown { class, message } => {
                bail!("no linearizable read: {class}: {message}")
            }
        }
    }

    /// The keys from what the member has, once it has the tombstone.
    async fn final_state(&self, revision: i64) -> anyhow::Result<()> {
        let (key, end) = (
            self.shared.config.prefix.clone(),
            self.shared.config.range_end(),
        );
        let answer = ask(&self.admin, self.until, |client| async move {
            let options = GetOptions::new().with_range(end).with_serializable();
            let mut kv = client.kv_client().max_decoding_message_size(ANSWER_LIMIT);
            kv.get(key, Some(options)).await
        });
        let answer = answer.await.context("no serializable read")?;
        let at = answer
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision);
        if at < revision {
            bail!("stays at revision {at}, the tombstone is {revision}");
        }
        self.shared.recorder.record(&Record::FinalState(FinalState {
            t: self.shared.recorder.clock.now(),
            pod: self.member.pod.clone(),
            revision: at,
            kvs: answer.kvs().iter().map(key_value).collect(),
        }));
        Ok(())
    }

    async fn hash(&self, revision: i64) -> anyhow::Result<()> {
        let answer = ask(&self.admin, self.until, |client| async move {
            client.maintenance_client().hash_kv(revision).await
        });
        let hash = answer.await.context("no hash")?;
        self.shared.recorder.record(&Record::Hash(HashSample {
            t: self.shared.recorder.clock.now(),
            pod: self.member.pod.clone(),
            revision,
            hash: hash.hash(),
            compact_revision: hash.compact_version(),
        }));
        Ok(())
    }
}

/// Waits until the watchers of the main process have seen the tombstone, or the time is over: how many did.
async fn watchers(
    shared: &Shared,
    begin: u64,
    (tombstone, of): (&str, usize),
    until: Instant,
) -> anyhow::Result<usize> {
    use std::io::{Read as _, Seek as _};
    loop {
        let mut file = std::fs::File::open(shared.config.history())?;
        file.seek(std::io::SeekFrom::Start(begin))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let mut seen = std::collections::BTreeSet::new();
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(Record::Watch(watch)) = serde_json::from_slice(line) else {
                continue;
            };
            let event = serde_json::to_string(&watch.event)?;
            if event.contains(tombstone) {
                seen.insert(watch.target);
            }
        }
        if seen.len() >= of || Instant::now() >= until {
            return Ok(seen.len());
        }
        pause(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration and the history of a run with a member at which nothing listens.
    fn unreachable(dir: &Path) {
        let text = serde_json::json!({
            "seed": 1,
            "dir": dir,
            "members": [{"pod": "a-0", "address": "127.0.0.1:1"}],
        });
        std::fs::write(config_file(dir), text.to_string()).unwrap();
        drop(Recorder::open(&dir.join("history.jsonl"), false).unwrap());
    }

    /// The harness takes an error of this program for its own, and an unread member for the cluster's.
    #[tokio::test]
    async fn a_cluster_that_takes_nothing_has_no_member_that_was_read() {
        let dir = tempfile::tempdir().unwrap();
        unreachable(dir.path());
        let limit = Duration::from_millis(300);
        let summary = Box::pin(run(dir.path(), Vec::new(), limit)).await.unwrap();
        assert!(
            summary.read.is_empty() && summary.unread.len() == 1,
            "{summary:?}"
        );
        assert!(summary.unread[0].starts_with("a-0: "), "{summary:?}");
        assert_eq!(summary.watchers, (0, 0));
        std::fs::remove_file(config_file(dir.path())).unwrap();
        assert!(Box::pin(run(dir.path(), Vec::new(), limit)).await.is_err());
    }

    /// Its connection broke, so that it is run again: both would write to one history.
    #[tokio::test]
    async fn one_that_is_run_again_ends() {
        let dir = tempfile::tempdir().unwrap();
        unreachable(dir.path());
        let former = Box::pin(run(dir.path(), Vec::new(), Duration::from_secs(60)));
        let again = async { std::fs::write(dir.path().join(FINAL), u32::MAX.to_string()) };
        let (ended, written) = tokio::join!(former, again);
        written.unwrap();
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("run again"), "{error}");
    }
}
