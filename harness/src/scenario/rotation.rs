//! What opens a guarded cluster is replaced under load: the CA, or a user's password, by the edits of an owner.
//!
//! The owner says that applications read their Secrets within five minutes, the least that there is: the recording
//! client reads its files for every connection.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcd_operator_api::labels;
use etcd_operator_api::names::{CA_KEY, CERTIFICATE_KEY, ComponentName};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::client::{AUDITOR, TLS, folder};
use super::inside::Inside;
use super::subject::Subject;
use crate::scenario::RunError;
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// A Secret with the password of before, and the volume that it is mounted as.
pub(super) const STALE: &str = "stale";
/// Spacing of looks: each makes the operator look, and at the end costs a command in the client's pod.
const LOOK: Duration = Duration::from_secs(5);
/// Steps of another CA, as its Secret tells them: both are believed, members are restarted, certificates are reissued,
/// the one of before is dropped.
pub(super) const CA_STEPS: u32 = 4;
/// What is told when no CA is replaced.
const STEADY: &str = "steady";
/// Annotation by which the operator is made to look before its five minutes are over.
const NUDGE: &str = "etcd-harness/look";

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Ca,
    Password,
}

/// A replacement that was asked for.
pub(super) struct Rotation {
    subject: Subject,
    inside: Inside,
    what: What,
    secrets: Api<Secret>,
    name: ComponentName,
    /// The CA's certificate of before.
    before: Vec<u8>,
    /// The step that was seen last.
    step: String,
}

impl Rotation {
    /// Asks for it, as an owner does.
    pub(super) async fn ask(subject: &Subject, what: What) -> Result<Self, RunError> {
        let mut rotation = Self {
            subject: subject.clone(),
            inside: Inside::of(&subject.kube, &subject.namespace),
            what,
            secrets: Api::namespaced(subject.kube.clone(), &subject.namespace),
            name: ComponentName::existing(&Subject::leader_service()),
            before: Vec::new(),
            step: String::new(),
        };
        match what {
            What::Ca => {
                let name = rotation.name.ca_secret();
                rotation.before = value(&rotation.read(&name).await?, CERTIFICATE_KEY);
                let asked = Timestamp::now().to_string();
                let minutes = labels::CA_MINUTES_LEAST.to_string();
                let edit = json!({"metadata": {"annotations": {
                    labels::CA_ROTATE: asked, labels::CA_MINUTES: minutes }}});
                rotation.edit(&name, edit).await?;
            }
            What::Password => rotation.change_password().await?,
        }
        Ok(rotation)
    }

    /// Keeps the password of before, for who tries it later, and writes another one.
    async fn change_password(&self) -> Result<(), RunError> {
        let name = self.name.account_secret(AUDITOR);
        let before = self.read(&name).await?;
        let stale = Secret {
            metadata: kube::api::ObjectMeta {
                name: Some(STALE.to_owned()),
                ..Default::default()
            },
            data: before.data,
            ..Default::default()
        };
        let made = self.secrets.create(&PostParams::default(), &stale).await;
        made.map_err(|error| RunError::api(format!("create Secret {STALE}"), &error))?;
        let password = STANDARD.encode(format!("{:032x}", rand::random::<u128>()));
        self.edit(&name, json!({"data": {"password": password}}))
            .await
    }

    /// Waits until the operator has taken it up.
    pub(super) async fn begun(&mut self) -> Result<String, RunError> {
        let limit = timeouts::patient(timeouts::EFFECT_SLOW);
        let told = self.until("is begun", limit, async || match self.what {
            What::Ca => {
                let stage = self.stage().await.map_err(|error| error.to_string())?;
                (stage != STEADY)
                    .then_some(stage)
                    .ok_or_else(|| STEADY.to_owned())
            }
            What::Password => Ok("the Secret is changed".to_owned()),
        });
        let told = told.await?;
        self.step = step_of(&told);
        Ok(told)
    }

    /// Waits until the next step has begun, and says which.
    pub(super) async fn next_step(&mut self) -> Result<String, RunError> {
        let what = format!("is beyond its step {:?}", self.step);
        let next = self.until(&what, timeouts::ROTATION, async || {
            let stage = self.stage().await.map_err(|error| error.to_string())?;
            let step = step_of(&stage);
            (step != self.step).then_some(step).ok_or(stage)
        });
        self.step = next.await?;
        if self.step == STEADY {
            let early = "the replacement of the CA ended with steps that were not seen";
            return Err(RunError::Wait(early.to_owned()));
        }
        Ok(self.step.clone())
    }

    /// Waits until it is complete, and proves it.
    pub(super) async fn ended(
        &mut self,
        subject: &Subject,
        limit: Duration,
    ) -> Result<String, RunError> {
        // An operation in the middle may have added members.
        self.subject = subject.clone();
        self.until("has ended", limit, async || match self.what {
            What::Ca => self.ca_is_new().await,
            What::Password => self.password_is_new().await,
        })
        .await
    }

    async fn until(
        &self,
        what: &str,
        limit: Duration,
        look: impl AsyncFn() -> Result<String, String>,
    ) -> Result<String, RunError> {
        let what = format!("the replacement of {:?} {what}", self.what);
        let seen = wait_every(LOOK, what, limit, async || {
            self.nudge().await;
            match look().await {
                Ok(told) => Poll::Ready(told),
                Err(text) => Poll::NotYet::<_, String>(text),
            }
        });
        seen.await
            .map_err(|error| RunError::Wait(error.to_string()))
    }

    async fn ca_is_new(&self) -> Result<String, String> {
        let stage = self.stage().await.map_err(|error| error.to_string())?;
        if stage == STEADY {
            let now = self.read(&self.name.ca_secret()).await;
            let now = now.map_err(|error| error.to_string())?;
            if value(&now, CERTIFICATE_KEY) == self.before {
                return Err("the CA is the one of before".to_owned());
            }
            self.has_reached_all().await?;
            return Ok("every member shows a certificate of another CA".to_owned());
        }
        Err(stage)
    }

    /// Whether the client's pod has what the Secrets hold, and every member shows it.
    async fn has_reached_all(&self) -> Result<(), String> {
        let read = async |name: String| self.read(&name).await.map_err(|e| e.to_string());
        let client = read(self.name.client_secret()).await?;
        let member = read(self.name.tls_secret()).await?;
        let members = self.subject.member_arguments(&self.subject.pod_names());
        let told = self.inside_json("certificates", &members).await?;
        reached(&told, &client, &member)
    }

    async fn password_is_new(&self) -> Result<String, String> {
        let tries = async |user: &str| {
            let (tls, user) = (folder(TLS), folder(user));
            let address = self.subject.service_address();
            let arguments = ["--address", &address, "--asks", "run/"];
            let shown = ["--trusts", &tls, "--shows", &tls, "--user", &user];
            let arguments = [&arguments[..], &shown[..]].concat();
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            self.inside_json("break-in", &arguments).await
        };
        let (stale, fresh) = (tries(STALE).await?, tries(AUDITOR).await?);
        let told = |tried: &Value| tried["told"].as_str().unwrap_or_default().to_owned();
        let refused = told(&stale).contains("authentication failed");
        if refused && fresh["let_in"] == true {
            return Ok("the new password is taken, the one of before is refused".to_owned());
        }
        let (stale, fresh) = (told(&stale), told(&fresh));
        Err(format!(
            "with that of before: {stale}; with the new one: {fresh}"
        ))
    }

    async fn inside_json(&self, command: &str, more: &[String]) -> Result<Value, String> {
        let arguments = std::iter::once(command).chain(more.iter().map(String::as_str));
        let arguments: Vec<&str> = arguments.collect();
        let text = self.inside.exec(&arguments, timeouts::NODE_COMMAND).await;
        let text = text.map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }

    /// What the CA's Secret says of how far it is.
    async fn stage(&self) -> Result<String, RunError> {
        let secret = self.read(&self.name.ca_secret()).await?;
        let annotations = secret.metadata.annotations.unwrap_or_default();
        let stage = annotations.get(labels::CA_STEP).cloned();
        Ok(stage.unwrap_or_else(|| STEADY.to_owned()))
    }

    async fn read(&self, name: &str) -> Result<Secret, RunError> {
        let read = self.secrets.get(name).await;
        read.map_err(|error| RunError::api(format!("read Secret {name}"), &error))
    }

    async fn edit(&self, name: &str, edit: Value) -> Result<(), RunError> {
        let (params, edit) = (PatchParams::default(), Patch::Merge(edit));
        let edited = self.secrets.patch(name, &params, &edit).await.map(drop);
        edited.map_err(|error| RunError::api(format!("edit Secret {name}"), &error))
    }

    /// Touches an object that the operator watches: it looks at Secrets every five minutes else.
    async fn nudge(&self) {
        let now = Timestamp::now().to_string();
        let edit = json!({"metadata": {"annotations": {NUDGE: now}}});
        let api: Api<PodDisruptionBudget> =
            Api::namespaced(self.subject.kube.clone(), &self.subject.namespace);
        let name = self.name.disruption_budget();
        // One that is lost is followed by another.
        let _ = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(edit))
            .await;
    }
}

/// The step of a stage, which may say since when.
fn step_of(stage: &str) -> String {
    stage.split(' ').next().unwrap_or_default().to_owned()
}

fn value(secret: &Secret, key: &str) -> Vec<u8> {
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    found.map(|value| value.0.clone()).unwrap_or_default()
}

/// Whether what is mounted and shown is what these Secrets hold.
fn reached(told: &Value, client: &Secret, member: &Secret) -> Result<(), String> {
    let is = |word: &str| told[word].as_str().unwrap_or_default().as_bytes().to_vec();
    if is("ca") != value(client, CA_KEY) {
        return Err("the client's pod has the CA of before".to_owned());
    }
    if is("certificate") != value(client, CERTIFICATE_KEY) {
        return Err("the client's pod has the certificate of before".to_owned());
    }
    let wanted = first_certificate(&value(member, CERTIFICATE_KEY));
    let served: BTreeMap<String, String> =
        serde_json::from_value(told["served"].clone()).unwrap_or_default();
    let other = served
        .iter()
        .find(|(_, shown)| Some(*shown) != wanted.as_ref());
    match (served.is_empty(), other) {
        (true, _) => Err("no member was asked".to_owned()),
        (_, Some((pod, _))) => Err(format!("{pod} shows the certificate of before")),
        (_, None) => Ok(()),
    }
}

/// The first certificate of a PEM text, in hexadecimal.
fn first_certificate(pem: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, body) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = body.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(values: &[(&str, &str)]) -> Secret {
        let data = values.iter().map(|(key, text)| {
            let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
            ((*key).to_owned(), bytes)
        });
        Secret {
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn another_ca_has_reached_all_when_pod_and_members_have_what_the_secrets_hold() {
        let pem = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n";
        let client = secret(&[(CA_KEY, "both"), (CERTIFICATE_KEY, "mine")]);
        let member = secret(&[(CERTIFICATE_KEY, pem)]);
        let told = |ca: &str, certificate: &str, served: Value| {
            let told = json!({"ca": ca, "certificate": certificate, "served": served});
            reached(&told, &client, &member)
        };
        assert_eq!(
            told("both", "mine", json!({"a": "300a", "b": "300a"})),
            Ok(())
        );
        for (ca, certificate, served, word) in [
            ("one", "mine", json!({"a": "300a"}), "the CA of before"),
            (
                "both",
                "old",
                json!({"a": "300a"}),
                "the certificate of before",
            ),
            ("both", "mine", json!({"a": "300a", "b": "30"}), "b shows"),
            ("both", "mine", json!({}), "no member"),
        ] {
            let error = told(ca, certificate, served).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
    }
}
