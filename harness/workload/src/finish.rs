//! The final phase, at quiescence: what is left, as every member has it.
//!
//! Runs beside the stopped clients, in a process of its own, and appends to the same history. Leases are ended first,
//! so that nothing changes any more by itself; then a tombstone is written, which every member must have applied before
//! it is read; then every member is read twice (linearizably and from what it has) and asked for its hash at one
//! revision.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use etcd_client::{Client, GetOptions};
use etcd_history::{
    Outcome, Record, Request,
    record::{FinalState, HashSample, Route},
};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    attempt::{self, Shared},
    config::{Config, Member},
    connection::{Held, dial},
    execute::{ANSWER_LIMIT, key_value},
    reach::Reach,
    recorder::{Attempt, Recorder},
    run::config_file,
    schedule::pause,
};

/// First client number of the final phase.
const CLIENT: u32 = 9000;
/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(100);

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

/// Runs it, within `limit`, with these members; with those of the beginning when there are none.
pub(crate) async fn run(
    dir: &Path,
    members: Vec<Member>,
    limit: Duration,
) -> anyhow::Result<Summary> {
    let until = Instant::now() + limit;
    let text = std::fs::read_to_string(config_file(dir))
        .context("failed to read the configuration of the run: is `workload run` up?")?;
    let config = Config::parse(&text)?;
    let recorder = Recorder::join(&config.history()).context("failed to open the history")?;
    let begin = std::fs::metadata(config.history())?.len();
    let [reach, admin] = Reach::both(&config.access);
    let (_, stopping) = watch::channel(false);
    let shared = Shared {
        config,
        recorder,
        reach,
        admin,
        stopping,
    };
    let now = if members.is_empty() {
        &shared.config.members
    } else {
        &members
    };
    let entry = Entry::of(&shared, now)?;

    Box::pin(end_leases(&shared, &entry, until)).await?;
    let (tombstone, revision) = Box::pin(tombstone(&shared, &entry, until)).await?;
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for member in now {
        match Box::pin(read_member(&shared, member, revision, until)).await {
            Ok(()) => read.push(member.pod.clone()),
            Err(error) => unread.push(format!("{}: {error:#}", member.pod)),
        }
    }
    let of = if shared.config.rates.watch {
        // Who watched a member that has left saw its end, and no more.
        let watched = shared.config.members.iter();
        let watched = watched.filter(|member| now.contains(member)).count();
        watched + usize::from(shared.config.service.is_some())
    } else {
        0
    };
    let seen = watchers(&shared, begin, &tombstone, of).await?;
    Ok(Summary {
        revision,
        read,
        unread,
        watchers: (seen, of),
    })
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
    until: Instant,
    request: impl Fn(u64) -> Request,
) -> anyhow::Result<(Attempt, i64)> {
    let client = shared.recorder.client(CLIENT);
    loop {
        let op = shared.recorder.op();
        let attempt = Attempt {
            op,
            client,
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

async fn end_leases(shared: &Shared, entry: &Entry, until: Instant) -> anyhow::Result<()> {
    let leases = loop {
        match entry.admin.get(until).await {
            Ok((number, mut client)) => match timeout_at(until, client.leases()).await {
                Ok(Ok(answer)) => break answer,
                other if Instant::now() >= until => bail!("failed to list the leases: {other:?}"),
                _ => entry.admin.give_up(number).await,
            },
            Err(error) if Instant::now() >= until => {
                return Err(error).context("failed to reach the cluster to list its leases");
            }
            Err(_) => {}
        }
        pause(AGAIN).await;
    };
    for lease in leases.leases() {
        let id = lease.id();
        insist(shared, entry, until, |_| Request::LeaseRevoke { id }).await?;
    }
    Ok(())
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
    let (attempt, revision) = insist(shared, entry, until, put).await?;
    let Request::Put { value, .. } = attempt.request else {
        bail!("the tombstone is a put")
    };
    Ok((value, revision))
}

/// Both reads and the hash of one member.
async fn read_member(
    shared: &Shared,
    member: &Member,
    revision: i64,
    until: Instant,
) -> anyhow::Result<()> {
    let (key, end) = (shared.config.prefix.clone(), shared.config.range_end());
    let held = Held::new(Arc::clone(&shared.reach), &member.address);
    let client = shared.recorder.client(CLIENT + 1);
    loop {
        let request = Request::Range {
            key: key.clone(),
            range_end: Some(end.clone()),
            limit: 0,
            serializable: false,
            revision: 0,
        };
        let op = shared.recorder.op();
        let attempt = Attempt {
            op,
            client,
            route: Route::Member,
            scheduled: None,
            request,
        };
        match attempt::held(shared, &held, &attempt).await {
            Outcome::Ok { .. } => break,
            Outcome::Failed { class, message } | Outcome::Unknown { class, message } => {
                if Instant::now() >= until {
                    bail!("no linearizable read: {class}: {message}");
                }
            }
        }
        pause(AGAIN).await;
    }
    let mut client = dial(&shared.admin, &member.address, until).await?;
    final_state(shared, member, &mut client, (revision, until)).await?;
    let hash = timeout_at(until, client.maintenance_client().hash_kv(revision))
        .await
        .context("no hash in time")?
        .context("no hash")?;
    shared.recorder.record(&Record::Hash(HashSample {
        t: shared.recorder.clock.now(),
        pod: member.pod.clone(),
        revision,
        hash: hash.hash(),
        compact_revision: hash.compact_version(),
    }));
    Ok(())
}

/// The keys from what the member has, once it has the tombstone.
async fn final_state(
    shared: &Shared,
    member: &Member,
    client: &mut Client,
    (revision, until): (i64, Instant),
) -> anyhow::Result<()> {
    let (key, end) = (shared.config.prefix.clone(), shared.config.range_end());
    loop {
        let options = GetOptions::new()
            .with_range(end.as_str())
            .with_serializable();
        let mut kv = client.kv_client().max_decoding_message_size(ANSWER_LIMIT);
        let answer = timeout_at(until, kv.get(key.as_str(), Some(options)))
            .await
            .context("no serializable read in time")?
            .context("no serializable read")?;
        let at = answer
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision);
        if at >= revision {
            shared.recorder.record(&Record::FinalState(FinalState {
                t: shared.recorder.clock.now(),
                pod: member.pod.clone(),
                revision: at,
                kvs: answer.kvs().iter().map(key_value).collect(),
            }));
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("stays at revision {at}, the tombstone is {revision}");
        }
        pause(AGAIN).await;
    }
}

/// Waits until the watchers of the main process have seen the tombstone: how many did.
async fn watchers(
    shared: &Shared,
    begin: u64,
    tombstone: &str,
    of: usize,
) -> anyhow::Result<usize> {
    use std::io::{Read as _, Seek as _};
    const WAIT: Duration = Duration::from_secs(6);
    let until = Instant::now() + WAIT;
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
