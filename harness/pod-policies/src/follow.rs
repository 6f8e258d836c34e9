//! Follows the API server and keeps the node's table like the plan.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, timeout_at};

use crate::nft;
use crate::plan::ruleset;
use crate::state::{Change, ReadPod, State};

/// Changes that come so soon after each other make one table: three pods begin at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// When a table that the kernel refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);

type Changes = BoxStream<'static, Result<Change, Error>>;

/// Until the watches end, which they do not: they are begun again.
pub(crate) async fn run(client: &Client, node: &str) -> anyhow::Result<()> {
    let mut changes = changes(client);
    let mut state = State::default();
    let mut loaded = None;
    let mut retry = None;
    loop {
        let first = match retry.take() {
            Some(at) => timeout_at(at, changes.next()).await.ok(),
            None => Some(changes.next().await),
        };
        let end = Instant::now() + TOGETHER;
        let mut next = first;
        while let Some(change) = next {
            match change {
                Some(Ok(change)) => state.take(change),
                Some(Err(error)) => eprintln!("pod-policies: watch: {error}"),
                None => anyhow::bail!("the watches have ended"),
            }
            next = timeout_at(end, changes.next()).await.ok();
        }
        if !state.is_complete() {
            continue;
        }
        let rules = ruleset(&state, node);
        if loaded.as_ref() == Some(&rules) {
            continue;
        }
        match nft::load(&rules).await {
            Ok(()) => loaded = Some(rules),
            Err(error) => {
                eprintln!("pod-policies: {error:#}");
                retry = Some(Instant::now() + AGAIN);
            }
        }
    }
}

fn changes(client: &Client) -> Changes {
    let all = Config::default;
    let pods: Api<ReadPod> = Api::all_with(client.clone(), &ApiResource::erase::<Pod>(&()));
    let pods = watcher(pods, all()).default_backoff();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = watcher(namespaces, all()).default_backoff();
    let policies: Api<NetworkPolicy> = Api::all(client.clone());
    let policies = watcher(policies, all()).default_backoff();
    stream::select_all([
        pods.map(|event| event.map(Change::Pod)).boxed(),
        namespaces.map(|event| event.map(Change::Namespace)).boxed(),
        policies.map(|event| event.map(Change::Policy)).boxed(),
    ])
    .boxed()
}
