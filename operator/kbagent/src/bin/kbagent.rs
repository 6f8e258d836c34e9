//! kbagent's command line: `serve` (default), `install DEST`, `launch -- etcd ARGS...`, `handoff`,
//! `v2store ETCDUTL [open]` (the launcher starts it). Wiring only.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use kbagent::actions::Token;
use kbagent::config::Config;
use kbagent::http::Call;
use kbagent::{install, launch, server, telemetry};
use kbagent_protocol::{PATH_HANDOFF, PORT};

/// Longest hand-over: the pod's grace period must be longer.
const HANDOFF: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<ExitCode> {
    telemetry::install();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["serve"] => runtime()?.block_on(server::serve(Config::from_env()?))?,
        ["install", destination] => install::install(Path::new(destination))
            .with_context(|| format!("failed to install to {destination}"))?,
        ["launch", "--", ..] => {
            let status = runtime()?.block_on(launch::run(&Config::from_env()?, &arguments[2..]))?;
            return Ok(ExitCode::from(status));
        }
        ["v2store", tool, open @ ..] if open.is_empty() || open == ["open"] => {
            let (config, open) = (Config::from_env()?, open == ["open"]);
            runtime()?.block_on(launch::check_v2(&config, Path::new(tool), open))?;
        }
        ["handoff"] => runtime()?.block_on(handoff())?,
        _ => bail!("usage: kbagent [serve | install DEST | launch -- ETCD ARGS... | handoff]"),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(3)
        .build()
}

async fn handoff() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let token = Token::new(config.token_file.clone()).read()?;
    let ip = config.listen.ip();
    let ip = if ip.is_unspecified() {
        "127.0.0.1".into()
    } else {
        ip.to_string()
    };
    let address = format!("{ip}:{}", config.listen.port());
    let call = Call {
        method: Method::POST,
        opens: Some(config.opens(&token, &config.pod_name)),
        deadline: HANDOFF,
        ..Call::get(&address, PATH_HANDOFF)
    };
    let (status, body) = call.send(String::new()).await?;
    println!("{}", String::from_utf8_lossy(&body));
    if !status.is_success() {
        bail!("failed to transfer leadership: the agent on port {PORT} answered {status}");
    }
    Ok(())
}
