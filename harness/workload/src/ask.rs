//! Questions about members, for who has no way of its own to a cluster that is not open to all. The answers are in the
//! text of etcd's JSON gateway: numbers are decimal text, and what is empty or false may be left out.

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use etcd_client::Client;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    config::{Config, Member},
    connection::{Held, dial},
    reach::Reach,
    run::config_file,
    schedule::pause,
    successor::Place,
    tls::{FILES, Tls},
};

/// Longest time for one answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Time between two member lists.
const EVERY: Duration = Duration::from_millis(250);
/// Name of the file with the process that prints them.
const LISTS: &str = "lists";

/// The status of each of these members, and the member list as a quorum has it.
pub(crate) async fn state(dir: &Path, members: &[Member]) -> anyhow::Result<Value> {
    let admin = admin(dir)?;
    let mut pods = BTreeMap::new();
    let mut list = Value::Null;
    for member in members {
        let until = Instant::now() + ANSWER;
        let client = dial(&admin, &member.address, until).await;
        let client = client
            .with_context(|| format!("failed to reach {} of pod {}", member.address, member.pod))?;
        let status = timeout_at(until, status(&client)).await;
        let status = status.with_context(|| format!("pod {}: no status in time", member.pod))?;
        pods.insert(&member.pod, status?);
        if list.is_null() {
            let answer = timeout_at(until, members_of(&client)).await;
            let answer = answer.context("no member list in time")?;
            list = answer?["members"].take();
        }
    }
    Ok(json!({"pods": pods, "members": list}))
}

/// A line with the member list, of the first of these members that answers, again and again until nothing reads it, or
/// another process does this in its place.
pub(crate) async fn lists(dir: &Path, members: Vec<Member>) -> anyhow::Result<()> {
    let admin = admin(dir)?;
    if members.is_empty() {
        bail!("failed to ask for member lists: no --member is given");
    }
    let place = Place::take(dir, LISTS).context("failed to take the place of a former one")?;
    // A task of its own: it does not come back from a write while nothing reads.
    let printing = tokio::spawn(print_lists(admin, members));
    tokio::select! {
        printed = printing => printed.context("failed to ask for member lists")?,
        () = place.taken() => Ok(()),
    }
}

async fn print_lists(admin: Arc<Reach>, members: Vec<Member>) -> anyhow::Result<()> {
    let mut all: Vec<Arc<Held>> = members
        .iter()
        .map(|member| Arc::new(Held::new(Arc::clone(&admin), &member.address)))
        .collect();
    // A pod that is recreated has another address.
    let _fresh = fresh(&admin, &members);
    loop {
        if let Some((at, list)) = first_list(&all).await {
            print(&list)?;
            // Who has answered is asked first the next time.
            all.swap(0, at);
        }
        pause(EVERY).await;
    }
}

/// The first list, and which member gave it. The first is asked, and where it has not answered soon all the others are
/// too: one without a quorum answers after seconds, and one that is gone may never.
async fn first_list(all: &[Arc<Held>]) -> Option<(usize, Value)> {
    let mut asked = JoinSet::new();
    for (at, member) in all.iter().cloned().enumerate() {
        asked.spawn(async move {
            if at > 0 {
                pause(EVERY).await;
            }
            Some((at, list_of(&member).await?))
        });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some(list)) = answer {
            return Some(list);
        }
    }
    None
}

async fn list_of(member: &Held) -> Option<Value> {
    // A member that was restarted knows no token: the log-in takes its time.
    let (number, client) = member.get_logged_in().await.ok()?;
    if let Ok(Ok(list)) = timeout(ANSWER, members_of(&client)).await {
        return Some(list);
    }
    member.give_up(number).await;
    None
}

fn print(list: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{list}").and_then(|()| out.flush())
}

/// Asks for the addresses of these members until it is dropped.
fn fresh(reach: &Reach, members: &[Member]) -> JoinSet<()> {
    let keep = |member: &Member| {
        let (names, name) = (Arc::clone(&reach.names), member.address.clone());
        async move { names.keep(&name).await }
    };
    members.iter().map(keep).collect()
}

/// The CA and certificate that are mounted here now, and the certificate that each of these members shows, in
/// hexadecimal.
pub(crate) async fn certificates(dir: &Path, members: &[Member]) -> anyhow::Result<Value> {
    let folder = config(dir)?.access.tls;
    let folder = folder.context("failed to look at certificates: the cluster has no TLS")?;
    let [ca, certificate, _] = FILES;
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let tls = Tls::of(&folder);
    let mut served = BTreeMap::new();
    for member in members {
        let shown = timeout(ANSWER, shown(&tls, &member.address)).await;
        let shown = shown.with_context(|| format!("pod {}: no handshake in time", member.pod))?;
        let shown = shown.with_context(|| format!("pod {}: no handshake", member.pod))?;
        served.insert(&member.pod, shown);
    }
    Ok(json!({"ca": read(ca)?, "certificate": read(certificate)?, "served": served}))
}

async fn shown(tls: &Tls, address: &str) -> anyhow::Result<String> {
    let stream = tls
        .shake(address, TcpStream::connect(address).await?)
        .await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let first = chain.first().context("it shows none")?;
    Ok(first.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn config(dir: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(config_file(dir))
        .context("failed to read the configuration of the run: is `workload run` up?")?;
    Ok(Config::parse(&text)?)
}

fn admin(dir: &Path) -> anyhow::Result<Arc<Reach>> {
    let [_, admin] = Reach::both(&config(dir)?.access);
    Ok(admin)
}

async fn status(client: &Client) -> anyhow::Result<Value> {
    let status = client.maintenance_client().status().await?;
    let header = status.header().context("a status without a header")?;
    Ok(json!({
        "header": {
            "member_id": header.member_id().to_string(),
            "raft_term": header.raft_term().to_string(),
        },
        "leader": status.leader().to_string(),
        "version": status.version(),
    }))
}

async fn members_of(client: &Client) -> anyhow::Result<Value> {
    let answer = client.cluster_client().member_list().await?;
    let header = answer.header().context("a member list without a header")?;
    let member = |member: &etcd_client::Member| json!({"ID": member.id().to_string(), "name": member.name(), "isLearner": member.is_learner()});
    let members: Vec<Value> = answer.members().iter().map(member).collect();
    Ok(json!({"header": {"cluster_id": header.cluster_id().to_string()}, "members": members}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_that_was_recreated_is_asked_at_its_new_address() {
        let reach = Reach::with(None, None);
        let name = "localhost:2379";
        let before = "192.0.2.1:2379".parse().expect("an address");
        reach.names.believe(name, before);
        let member = Member {
            pod: "q-0".to_owned(),
            address: name.to_owned(),
        };
        let _fresh = fresh(&reach, &[member]);
        timeout(Duration::from_secs(30), async {
            while reach.names.address(name).await.expect("one is known") == before {
                pause(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the address of before is forgotten");
    }
}
