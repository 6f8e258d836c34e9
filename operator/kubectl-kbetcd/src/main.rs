//! `kubectl kbetcd`: looks at a cluster, operates it, and explains what it waits for.
//!
//! `look` reads, `model` (pure) says what there is to say, `view`, `top` and `explain` (pure) draw it. A verb that
//! changes something makes an OpsRequest (`request`, pure) or a Backup (`backup`, pure) and follows it: the operator
//! does the work, with its checks. What the API server is too busy for is asked again (`retry`).
//! Members are asked through the API server, so nothing of the cluster need be reachable.

mod backup;
mod cli;
mod complete;
mod events;
mod explain;
mod failed;
#[cfg(test)]
mod fake_api;
mod follow;
mod logs;
mod look;
mod model;
mod out;
mod reasons;
mod request;
mod retry;
mod table;
#[cfg(test)]
mod test_support;
mod top;
mod view;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use etcd_operator_api::{Backup, OpsRequest};
use kube::api::LogParams;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config, ResourceExt};
use serde::Serialize;

use crate::cli::{Change, Cli, ClusterArgs, Command, Look, Output};
use crate::follow::{End, Followed};
use crate::request::Verb;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    if words
        .next()
        .is_some_and(|program| complete::is_meant(&program))
    {
        let words: Vec<String> = words.collect();
        return ended(
            out::say(&complete::answer(&words))
                .map_err(Into::into)
                .map(|()| ExitCode::SUCCESS),
        );
    }
    let command = Cli::parse().command;
    // The one TLS provider of the workspace; another call would only have chosen the same.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("failed to start the runtime");
    ended(runtime.and_then(|runtime| runtime.block_on(run(command))))
}

/// A closed pipe, as of `| head`, is no failure of what only reads. What changes something has its code whether it is
/// read or not.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS;
            }
            out::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(asked) => {
            let report = model::report(&seen(&asked.target).await?);
            show(&asked, &report, view::view)?;
        }
        Command::Explain(asked) => {
            let explanation = explain::explanation(&seen(&asked.target).await?);
            show(&asked, &explanation, explain::text)?;
        }
        Command::Top(asked) => {
            let rows = top::rows(&model::report(&seen(&asked.target).await?));
            show(&asked, &rows, |rows| top::text(rows))?;
        }
        Command::Switchover(asked) => {
            return Box::pin(change(&asked.change, &Verb::Switchover { to: asked.to })).await;
        }
        Command::Restart(asked) => return Box::pin(change(&asked.change, &Verb::Restart)).await,
        Command::Rebuild(asked) => {
            let (pods, force) = (asked.pods, asked.force);
            return Box::pin(change(&asked.change, &Verb::Rebuild { pods, force })).await;
        }
        Command::Defrag(asked) => {
            return Box::pin(change(&asked.change, &Verb::Defrag { pods: asked.pods })).await;
        }
        Command::Backup(asked) => return Box::pin(back_up(&asked)).await,
        Command::Logs(asked) => logs(asked).await?,
        Command::Events(asked) => events(&asked).await?,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kubectl-kbetcd", &mut script);
            out::say(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show<T: Serialize>(asked: &Look, data: &T, text: impl Fn(&T) -> String) -> anyhow::Result<()> {
    match asked.output {
        Output::Text => Ok(out::say(&text(data))?),
        Output::Json => out::object(asked.output, data),
    }
}

/// A client, and the namespace that is meant.
async fn client(target: &ClusterArgs) -> anyhow::Result<(Client, String)> {
    let options = KubeConfigOptions {
        context: target.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_kubeconfig(&options).await.map_err(|error| {
        let hint = "KUBECONFIG names the file; kubectl config get-contexts lists contexts";
        anyhow::anyhow!("failed to read the kubeconfig: {error}: {hint}")
    })?;
    let namespace = target
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = retry::client(config)
        .map_err(|error| failed::failed("make a client from the kubeconfig", &error))?;
    Ok((client, namespace))
}

async fn seen(target: &ClusterArgs) -> anyhow::Result<look::Seen> {
    let (client, namespace) = client(target).await?;
    look::look(&client, &namespace, &target.name).await
}

async fn change(change: &Change, verb: &Verb) -> anyhow::Result<ExitCode> {
    let target = &change.target;
    let (client, namespace) = client(target).await?;
    let seen = look::look(&client, &namespace, &target.name).await?;
    let request = request::request(&seen, change.component.as_deref(), verb)?;
    let api: Api<OpsRequest> = Api::namespaced(client, &namespace);
    made(&api, &request, change, &namespace).await
}

async fn back_up(asked: &cli::Backup) -> anyhow::Result<ExitCode> {
    let target = &asked.change.target;
    let (client, namespace) = client(target).await?;
    let cluster = look::cluster(&client, &namespace, &target.name).await?;
    let sets = look::sets(&client, &namespace, &target.name).await?;
    let stores = look::stores(&client, &namespace).await?;
    let seen = look::Seen {
        cluster,
        sets,
        ..look::Seen::default()
    };
    let planned = backup::planned(&seen, &stores, asked)?;
    for note in &planned.notes {
        out::note(note);
    }
    let api: Api<Backup> = Api::namespaced(client, &namespace);
    made(&api, &planned.backup, &asked.change, &namespace).await
}

/// Makes the object, and follows it unless that is not asked for.
async fn made<K: Followed>(
    api: &Api<K>,
    object: &K,
    change: &Change,
    namespace: &str,
) -> anyhow::Result<ExitCode> {
    let output = change.output;
    let object = follow::make(api, object).await?;
    let (kind, name) = (K::kind(&()), object.name_any());
    let describe = format!("kubectl describe {} {name} -n {namespace}", K::RESOURCE);
    if !change.wait {
        out::step(
            output,
            &format!("{kind} {name} made; it is not followed: {describe}"),
        );
        out::object(output, &object)?;
        return Ok(ExitCode::SUCCESS);
    }
    out::step(
        output,
        &format!("{kind} {name} made; it continues when this command is interrupted"),
    );
    let limit = Duration::from_secs(change.timeout.into());
    let (end, last) = follow::follow(api, object, limit, output).await;
    out::object(output, &last)?;
    match end {
        End::Succeeded => Ok(ExitCode::SUCCESS),
        End::Otherwise => {
            let cluster = &change.target.name;
            out::note(&format!(
                "why: {describe}; kubectl kbetcd explain {cluster} -n {namespace}"
            ));
            Ok(ExitCode::from(3))
        }
        End::Late => {
            let limit = change.timeout;
            out::note(&format!("still under way after {limit} s: {describe}"));
            Ok(ExitCode::from(4))
        }
        End::Unseen(why) => {
            out::note(&format!(
                "{why}; {kind} {name} is made and continues: {describe}"
            ));
            Ok(ExitCode::from(4))
        }
        End::Deleted => {
            out::note(&format!(
                "{kind} {name} was deleted: what it has begun is not taken back"
            ));
            Ok(ExitCode::from(3))
        }
    }
}

async fn logs(asked: cli::Logs) -> anyhow::Result<()> {
    let name = &asked.target.name;
    let (client, namespace) = client(&asked.target).await?;
    let pods = look::pods(&client, &namespace, name).await?;
    if pods.is_empty() {
        look::cluster(&client, &namespace, name).await?;
        anyhow::bail!("cluster {name} has no pods: kubectl kbetcd explain {name} -n {namespace}");
    }
    let params = LogParams {
        follow: asked.follow,
        previous: asked.previous,
        since_seconds: asked.since,
        tail_lines: Some(asked.tail),
        ..LogParams::default()
    };
    let (pod, container) = (asked.pod, asked.container);
    let asked = logs::Asked {
        pod,
        container,
        params,
    };
    logs::logs(&client, &namespace, &pods, &asked).await
}

async fn events(asked: &cli::Events) -> anyhow::Result<()> {
    let name = &asked.target.name;
    let (client, namespace) = client(&asked.target).await?;
    look::cluster(&client, &namespace, name).await?;
    let (sets, requests, mut events) = futures::try_join!(
        look::sets(&client, &namespace, name),
        look::requests(&client, &namespace, name),
        look::events(&client, &namespace),
    )?;
    let names = events::Names {
        cluster: name.clone(),
        sets: sets.iter().map(ResourceExt::name_any).collect(),
        claims: sets.iter().flat_map(events::claims).collect(),
        requests: requests.iter().map(ResourceExt::name_any).collect(),
    };
    events.retain(|event| events::concerns(event, &names));
    let newest = events::newest(events, asked.limit.into());
    if newest.is_empty() {
        out::note("no events: Kubernetes keeps them for an hour by default");
    }
    Ok(out::say(&events::text(&newest))?)
}
