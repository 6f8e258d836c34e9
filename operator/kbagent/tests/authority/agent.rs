//! One agent on a loopback address, and what a caller may try with it.

use std::time::Duration;

use hyper::{Method, StatusCode};
use kbagent::config::Config;
use kbagent::http::{Call, Opens};
use kbagent::server;
use kbagent_protocol::{
    Asked, Authorization, Clock, ErrorAnswer, Nonce, PATH_CLOCK, PATH_HANDOFF, PATH_HEALTHZ,
};

pub(crate) const TOKEN: &str = "the-token-of-the-component";
/// Only against hanging.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// A call that waits for its answer, however slow the machine is.
pub(crate) fn get<'a>(address: &'a str, path: &'a str) -> Call<'a> {
    Call {
        deadline: GUARD,
        ..Call::get(address, path)
    }
}

/// One agent; no etcd is beside it.
pub(crate) struct Agent {
    pub(crate) pod: String,
    pub(crate) address: String,
    pub(crate) dir: tempfile::TempDir,
}

impl Agent {
    pub(crate) async fn start(net: u8, n: u8, authorization: &str) -> Self {
        Self::start_with(net, n, authorization, &[]).await
    }

    /// With further variables.
    pub(crate) async fn start_with(
        net: u8,
        n: u8,
        authorization: &str,
        more: &[(&str, String)],
    ) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("token"), TOKEN).expect("write");
        let at = |path: &str| dir.path().join(path).display().to_string();
        let (pod, address) = (
            format!("c-etcd-{n}"),
            format!("127.78.{net}.{}:5001", n + 1),
        );
        let (token, run) = (at("token"), at("run"));
        let given = |name: &str| {
            let value = match name {
                "POD_NAME" => pod.clone(),
                "POD_UID" => format!("uid-{n}"),
                "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => "invalid".to_owned(),
                "KB_TOKEN_FILE" => token.clone(),
                "KB_RUN_DIR" => run.clone(),
                "KB_LISTEN" => address.clone(),
                // No process listens there.
                "KB_ETCD_ENDPOINT" => "http://127.0.0.1:9".to_owned(),
                Authorization::VARIABLE => authorization.to_owned(),
                _ => {
                    let given = more.iter().find(|(known, _)| *known == name);
                    return given.map(|(_, value)| value.clone());
                }
            };
            Some(value)
        };
        let config = Config::from_lookup(&given).expect("config");
        tokio::spawn(async { server::serve(config).await.expect("it serves") });
        let agent = Self { pod, address, dir };
        for _ in 0..1000 {
            if agent.get(PATH_HEALTHZ).await.is_some() {
                return agent;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the agent does not serve");
    }

    pub(crate) async fn get(&self, path: &str) -> Option<(StatusCode, String)> {
        let answer = get(&self.address, path).send(String::new()).await;
        let (status, body) = answer.ok()?;
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    pub(crate) fn opens<'a>(&'a self, token: &'a str, sends: Authorization) -> Opens<'a> {
        let pod = &self.pod;
        Opens { token, sends, pod }
    }

    /// Asks for a hand-over, which an agent without an etcd answers at once.
    pub(crate) async fn hand_over(&self, opens: Opens<'_>) -> Result<StatusCode, String> {
        let call = Call {
            method: Method::POST,
            opens: Some(opens),
            ..get(&self.address, PATH_HANDOFF)
        };
        let answer = call.send(String::new()).await;
        answer.map(|(status, _)| status).map_err(|e| e.to_string())
    }

    pub(crate) async fn clock(&self, nonce: Nonce) -> Clock {
        let (status, body) = self
            .get(&format!("{PATH_CLOCK}?nonce={nonce}"))
            .await
            .expect("an answer");
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).expect("a clock")
    }

    /// Sends a request with a header as it was recorded.
    pub(crate) async fn send(&self, path: &str, header: &str, body: &str) -> (StatusCode, String) {
        let call = Call {
            method: Method::POST,
            headers: &[("authorization", header)],
            ..get(&self.address, path)
        };
        let (status, answer) = call.send(body.to_owned()).await.expect("an answer");
        let answer: Option<ErrorAnswer> = serde_json::from_slice(&answer).ok();
        (status, answer.map(|e| e.message).unwrap_or_default())
    }

    pub(crate) async fn signed(&self, path: &str, body: &str) -> String {
        let nonce = Nonce(rand::random());
        let asked = Asked {
            method: "POST",
            target: path,
            body: body.as_bytes(),
        };
        self.clock(nonce).await.sign(TOKEN, nonce, &asked)
    }

    pub(crate) async fn hand_over_bearer(&self) -> Result<StatusCode, String> {
        self.hand_over(self.opens(TOKEN, Authorization::Bearer))
            .await
    }
}
