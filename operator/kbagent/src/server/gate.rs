//! Who may change something. Nothing here decides what is changed.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, header};
use kbagent_protocol::{Asked, Authorization, Clock, Id, Identity, Nonce, Seen, Signed, Unseen};

use super::sparing::Sparing;
use crate::actions::{NoToken, Token};
use crate::config::Config;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "failed to authorize: sign the request with the token of the Secret, see /v1.0/clock; it has no Authorization header \
         that can be read"
    )]
    Absent,
    #[error(
        "failed to authorize: this agent takes signed requests only (KB_AUTHORIZATION is signed), and no token"
    )]
    Bearer,
    #[error("failed to authorize: the token is not this pod's, or it signed another request")]
    Wrong,
    #[error("failed to authorize: {0}")]
    Unseen(Unseen),
    #[error(transparent)]
    Unknown(#[from] NoToken),
}

/// Judges requests.
pub(super) struct Gate {
    token: Token,
    takes: Authorization,
    pod: String,
    uid: String,
    epoch: Id,
    began: Instant,
    seen: Mutex<Seen>,
    sparing: Sparing,
}

impl Gate {
    /// Of the agent process with this random number.
    pub(super) fn new(config: &Config, epoch: u64) -> Self {
        Self {
            token: Token::new(config.token_file.clone()),
            takes: config.authorization,
            pod: config.pod_name.clone(),
            uid: config.pod_uid.clone(),
            epoch: Id(epoch),
            began: Instant::now(),
            seen: Mutex::new(Seen::new(Id(epoch))),
            sparing: Sparing::default(),
        }
    }

    fn identity(&self) -> Identity<'_> {
        Identity {
            pod: &self.pod,
            uid: &self.uid,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What a caller signs by.
    pub(super) fn clock(&self, nonce: Nonce) -> Result<Clock, NoToken> {
        let tokens = self.token.all()?;
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let now = (self.epoch, self.now_ms());
        Ok(Clock::new(self.identity(), now, &tokens, nonce))
    }

    /// Tells the log of a refused request.
    pub(super) fn tell(&self, path: &str, error: &Refusal) {
        self.sparing.tell(path, error);
    }

    /// Whether the request may change something.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn check(&self, headers: &HeaderMap, asked: &Asked<'_>) -> Result<(), Refusal> {
        let shown = headers.get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        let shown = shown.ok_or(Refusal::Absent)?;
        let tokens = self.token.all()?;
        if let Some(bearer) = shown.strip_prefix("Bearer ") {
            return match self.takes {
                Authorization::Signed => Err(Refusal::Bearer),
                Authorization::Bearer if any_is(&tokens, bearer.trim()) => Ok(()),
                Authorization::Bearer => Err(Refusal::Wrong),
            };
        }
        let signed: Signed = shown.parse().map_err(|()| Refusal::Absent)?;
        let is_by = |token: &String| signed.is_by(token, self.identity(), asked);
        if !tokens.iter().any(is_by) {
            return Err(Refusal::Wrong);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now_ms();
        seen.take(&signed, now).map_err(Refusal::Unseen)
    }
}

/// All are compared, each in a time that depends on the lengths only.
fn any_is(tokens: &[String], shown: &str) -> bool {
    let same = tokens
        .iter()
        .filter(|token| same(token.as_bytes(), shown.as_bytes()));
    same.count() > 0
}

fn same(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |sum, (l, r)| sum | (l ^ r));
    left.len() == right.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::HeaderValue;

    use super::*;

    const ASKED: Asked<'_> = Asked {
        method: "POST",
        target: "/v1.0/handoff",
        body: b"",
    };

    fn gate(dir: &Path, authorization: &str) -> Gate {
        let token = dir.join("token").display().to_string();
        let given = |name: &str| {
            let value = match name {
                "POD_NAME" => "c-etcd-0",
                "POD_UID" => "u0",
                "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => "x",
                "KB_TOKEN_FILE" => token.as_str(),
                Authorization::VARIABLE => authorization,
                _ => return None,
            };
            Some(value.to_owned())
        };
        Gate::new(&Config::from_lookup(&given).expect("config"), 7)
    }

    fn shows(value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a value");
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    fn signed(gate: &Gate, token: &str, nonce: u8, asked: &Asked<'_>) -> HeaderMap {
        let nonce = Nonce([nonce; 16]);
        let clock = gate.clock(nonce).expect("a clock");
        shows(&clock.sign(token, nonce, asked))
    }

    #[test]
    fn a_bearer_opens_only_an_agent_that_takes_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (old, new) = (gate(dir.path(), "bearer"), gate(dir.path(), "signed"));
        let bearer = |text: &str| shows(&format!("Bearer {text}"));
        let none = old.check(&bearer("x"), &ASKED);
        assert_eq!(none, Err(Refusal::Unknown(NoToken)), "no file, no entry");
        std::fs::write(dir.path().join("token"), "s3cret\n").expect("write");
        assert_eq!(old.check(&HeaderMap::new(), &ASKED), Err(Refusal::Absent));
        assert_eq!(
            old.check(&shows("Basic s3cret"), &ASKED),
            Err(Refusal::Absent)
        );
        for wrong in ["s3cre", "s3cretx", "S3cret", ""] {
            assert_eq!(
                old.check(&bearer(wrong), &ASKED),
                Err(Refusal::Wrong),
                "{wrong}"
            );
        }
        assert_eq!(old.check(&bearer("s3cret"), &ASKED), Ok(()));
        assert_eq!(new.check(&bearer("s3cret"), &ASKED), Err(Refusal::Bearer));
        for gate in [&old, &new] {
            let signed = signed(gate, "s3cret", 1, &ASKED);
            assert_eq!(gate.check(&signed, &ASKED), Ok(()));
            let again = gate.check(&signed, &ASKED);
            assert_eq!(again, Err(Refusal::Unseen(Unseen::Replayed)));
        }
        let elsewhere = Asked {
            body: b"x",
            ..ASKED
        };
        let other = signed(&new, "s3cret", 2, &elsewhere);
        assert_eq!(new.check(&other, &ASKED), Err(Refusal::Wrong));
        assert_eq!(
            new.check(&signed(&new, "x", 3, &ASKED), &ASKED),
            Err(Refusal::Wrong)
        );
    }

    #[test]
    fn while_the_token_is_replaced_both_sign() {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |file: &str, text: &str| {
            std::fs::write(dir.path().join(file), text).expect("write");
        };
        let gate = gate(dir.path(), "signed");
        write("token", "new");
        write("also", "old");
        for (nonce, token) in [(1, "old"), (2, "new")] {
            let nonce_of = Nonce([nonce; 16]);
            let clock = gate.clock(nonce_of).expect("a clock");
            let believed = clock.check(token, nonce_of, "c-etcd-0", Some("u0"));
            assert_eq!(believed, Ok(()), "{token}");
            assert_eq!(
                gate.check(&signed(&gate, token, nonce, &ASKED), &ASKED),
                Ok(())
            );
        }
        std::fs::remove_file(dir.path().join("also")).expect("remove");
        let retired = gate.check(&signed(&gate, "old", 3, &ASKED), &ASKED);
        assert_eq!(retired, Err(Refusal::Wrong));
    }

    #[test]
    fn refused_requests_cost_no_memory() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("token"), "s3cret").expect("write");
        let gate = gate(dir.path(), "signed");
        for nonce in 0..=255 {
            let headers = signed(&gate, "guessed", nonce, &ASKED);
            assert_eq!(gate.check(&headers, &ASKED), Err(Refusal::Wrong));
        }
        let seen = gate.seen.lock().expect("not poisoned");
        assert_eq!(seen.remembered(), 0);
    }
}
