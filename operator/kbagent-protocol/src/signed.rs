//! Requests that only who knows the token can make, each good for one agent and one time.
//!
//! The token is not sent. A caller asks the agent for its clock ([`PATH_CLOCK`]), with a nonce of its own, and signs
//! what it asks for together with that time and that nonce. The agent compares the time with its own clock, so no
//! clock of a caller or a node counts; and it signs its answer, so that a caller is not led to sign for a later time or
//! another agent. HMAC-SHA256, keyed by the token; every part is preceded by its length.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

use crate::Id;

/// `GET ?nonce=`: the agent's own time as a [`Clock`], for who is about to sign a request.
pub const PATH_CLOCK: &str = "/v1.0/clock";
/// The scheme of the `Authorization` header of a signed request.
pub const SCHEME: &str = "Kbagent-HMAC-SHA256";
/// Bytes of a clock's answer that are read.
pub const LONGEST_CLOCK: usize = 4096;

/// What an agent takes and a caller sends. The agent's container says it in the variable [`Authorization::VARIABLE`],
/// so that a caller who reads the pod's specification knows it without asking the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// The token itself: agents of before know nothing else. Such an agent takes signed requests too.
    #[default]
    Bearer,
    /// Signed requests, and no token.
    Signed,
}

impl Authorization {
    /// Name of the variable.
    pub const VARIABLE: &str = "KB_AUTHORIZATION";

    /// Its value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Authorization::Bearer => "bearer",
            Authorization::Signed => "signed",
        }
    }
}

impl FromStr for Authorization {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Authorization::Bearer, Authorization::Signed];
        all.into_iter().find(|one| one.as_str() == text).ok_or(())
    }
}

/// Sixteen random bytes that a caller uses once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce(pub [u8; 16]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Nonce {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex(text).ok_or(()).map(Nonce)
    }
}

/// Which agent: the pod it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Name of the pod.
    pub pod: &'a str,
    /// UID of the pod.
    pub uid: &'a str,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Method, in capitals.
    pub method: &'a str,
    /// Path with the query, as it is sent.
    pub target: &'a str,
    /// Body.
    pub body: &'a [u8],
}

/// An agent's own time. Answer of [`PATH_CLOCK`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// Name of the agent's pod.
    pub pod: String,
    /// UID of that pod.
    pub pod_uid: String,
    /// Random number of this agent process: what was signed for one of before is void.
    pub epoch: Id,
    /// Milliseconds since it began.
    pub at_ms: u64,
    /// That the agent knows the token: one proof for each token that it takes.
    pub proofs: Vec<String>,
}

/// A clock's answer that nothing may be signed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// It is of another pod than was called.
    OtherPod,
    /// Who answered does not know the token, or answered another question.
    NoProof,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClockError::OtherPod => "the agent of another pod answers at this address",
            ClockError::NoProof => "who answers does not know the token of the component",
        })
    }
}

impl std::error::Error for ClockError {}

impl Clock {
    /// The agent's answer to who asked with `nonce`.
    #[must_use]
    pub fn new(of: Identity<'_>, (epoch, at_ms): (Id, u64), tokens: &[&str], nonce: Nonce) -> Self {
        let mut clock = Clock {
            pod: of.pod.to_owned(),
            pod_uid: of.uid.to_owned(),
            epoch,
            at_ms,
            proofs: vec![],
        };
        let said = clock.said(nonce);
        let proof = |token: &&str| hex(hmac::sign(&key(token), &said).as_ref());
        clock.proofs = tokens.iter().map(proof).collect();
        clock
    }

    /// Whether the agent of this pod answered this question. A caller that does not know the pod's UID gives none.
    ///
    /// # Errors
    /// When another one did: then nothing may be signed by it.
    pub fn check(
        &self,
        token: &str,
        nonce: Nonce,
        pod: &str,
        uid: Option<&str>,
    ) -> Result<(), ClockError> {
        if self.pod != pod || uid.is_some_and(|uid| uid != self.pod_uid) {
            return Err(ClockError::OtherPod);
        }
        let (key, said) = (key(token), self.said(nonce));
        // An agent takes two tokens at most.
        let mut proofs = self.proofs.iter().take(2).filter_map(|proof| mac(proof));
        let proven = proofs.any(|proof| hmac::verify(&key, &said, &proof).is_ok());
        proven.then_some(()).ok_or(ClockError::NoProof)
    }

    fn said(&self, nonce: Nonce) -> Vec<u8> {
        framed(&[
            b"kbagent clock 1",
            self.pod.as_bytes(),
            self.pod_uid.as_bytes(),
            &self.epoch.0.to_be_bytes(),
            &self.at_ms.to_be_bytes(),
            &nonce.0,
        ])
    }

    fn identity(&self) -> Identity<'_> {
        Identity {
            pod: &self.pod,
            uid: &self.pod_uid,
        }
    }

    /// The `Authorization` header of a request to the agent whose clock this is. The nonce may be the one of
    /// [`Clock::check`], and must not be used for a second request.
    #[must_use]
    pub fn sign(&self, token: &str, nonce: Nonce, asked: &Asked<'_>) -> String {
        let mut signed = Signed {
            epoch: self.epoch,
            at_ms: self.at_ms,
            nonce,
            mac: [0; 32],
        };
        let tag = hmac::sign(&key(token), &signed.said(self.identity(), asked));
        signed.mac.copy_from_slice(tag.as_ref());
        signed.to_string()
    }
}

/// What a signed request's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The agent process that it is for.
    pub epoch: Id,
    /// When the agent's clock was read.
    pub at_ms: u64,
    /// The caller's nonce.
    pub nonce: Nonce,
    mac: [u8; 32],
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signed {
            epoch,
            at_ms,
            nonce,
            mac,
        } = self;
        let mac = hex(mac);
        write!(
            f,
            "{SCHEME} epoch={epoch},at={at_ms},nonce={nonce},mac={mac}"
        )
    }
}

impl FromStr for Signed {
    type Err = ();

    fn from_str(header: &str) -> Result<Self, Self::Err> {
        let parts = header
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.strip_prefix(' '));
        let mut parts = parts.ok_or(())?.split(',');
        let mut next = |name: &str| {
            let value = parts.next()?.strip_prefix(name)?;
            value.strip_prefix('=')
        };
        let epoch = next("epoch").ok_or(())?.parse().map_err(drop)?;
        let at_ms = next("at").ok_or(())?.parse().map_err(drop)?;
        let nonce = next("nonce").ok_or(())?.parse()?;
        let mac = next("mac").and_then(mac).ok_or(())?;
        let signed = Signed {
            epoch,
            at_ms,
            nonce,
            mac,
        };
        // One way to write it, so that a part is never read in two ways.
        (signed.to_string() == header).then_some(signed).ok_or(())
    }
}

impl Signed {
    /// Whether who knows `token` signed exactly this request to exactly this agent. In constant time.
    #[must_use]
    pub fn is_by(&self, token: &str, to: Identity<'_>, asked: &Asked<'_>) -> bool {
        hmac::verify(&key(token), &self.said(to, asked), &self.mac).is_ok()
    }

    /// One that no token has signed.
    #[cfg(test)]
    pub(crate) fn unsigned(epoch: Id, at_ms: u64, nonce: Nonce) -> Self {
        Signed {
            epoch,
            at_ms,
            nonce,
            mac: [0; 32],
        }
    }

    fn said(&self, to: Identity<'_>, asked: &Asked<'_>) -> Vec<u8> {
        framed(&[
            b"kbagent request 1",
            asked.method.as_bytes(),
            asked.target.as_bytes(),
            to.pod.as_bytes(),
            to.uid.as_bytes(),
            &self.epoch.0.to_be_bytes(),
            &self.at_ms.to_be_bytes(),
            &self.nonce.0,
            digest::digest(&digest::SHA256, asked.body).as_ref(),
        ])
    }
}

fn key(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::with_capacity(256);
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn mac(text: &str) -> Option<[u8; 32]> {
    unhex(text)
}

/// Lower-case digits only, as [`hex`] writes them.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";
    const POD: Identity<'_> = Identity {
        pod: "c-etcd-0",
        uid: "u0",
    };
    const ASKED: Asked<'_> = Asked {
        method: "POST",
        target: "/v1.0/action",
        body: b"{}",
    };

    fn clock(token: &str) -> Clock {
        Clock::new(POD, (Id(7), 12), &[token], Nonce([1; 16]))
    }

    fn header(token: &str) -> Signed {
        let header = clock(token).sign(token, Nonce([1; 16]), &ASKED);
        header.parse().expect("what is written can be read")
    }

    #[test]
    fn only_the_request_that_was_signed_is_taken_and_by_its_agent_only() {
        let signed = header(TOKEN);
        assert!(signed.is_by(TOKEN, POD, &ASKED));
        assert!(!signed.is_by("another", POD, &ASKED));
        let pods = [
            Identity {
                pod: "c-etcd-1",
                ..POD
            },
            Identity { uid: "u1", ..POD },
        ];
        for other in pods {
            assert!(!signed.is_by(TOKEN, other, &ASKED), "{other:?}");
        }
        let asked = [
            Asked {
                method: "GET",
                ..ASKED
            },
            Asked {
                target: "/v1.0/action?x=1",
                ..ASKED
            },
            Asked {
                target: "/v1.0/handoff",
                ..ASKED
            },
            Asked {
                body: b"{ }",
                ..ASKED
            },
            Asked { body: b"", ..ASKED },
        ];
        for other in asked {
            assert!(!signed.is_by(TOKEN, POD, &other), "{other:?}");
        }
        let times = [
            Signed {
                epoch: Id(8),
                ..signed
            },
            Signed {
                at_ms: 13,
                ..signed
            },
            Signed {
                nonce: Nonce([2; 16]),
                ..signed
            },
        ];
        for other in times {
            assert!(!other.is_by(TOKEN, POD, &ASKED), "{other:?}");
        }
    }

    #[test]
    fn a_clock_is_believed_of_the_pod_that_was_called_and_for_the_question_that_was_asked() {
        let nonce = Nonce([1; 16]);
        let check = |clock: &Clock, nonce, pod, uid| clock.check(TOKEN, nonce, pod, uid);
        let good = clock(TOKEN);
        assert_eq!(check(&good, nonce, "c-etcd-0", Some("u0")), Ok(()));
        assert_eq!(check(&good, nonce, "c-etcd-0", None), Ok(()));
        let other = Err(ClockError::OtherPod);
        assert_eq!(check(&good, nonce, "c-etcd-1", Some("u0")), other);
        assert_eq!(check(&good, nonce, "c-etcd-0", Some("u1")), other);
        let unproven = Err(ClockError::NoProof);
        assert_eq!(check(&good, Nonce([2; 16]), "c-etcd-0", None), unproven);
        assert_eq!(check(&clock("another"), nonce, "c-etcd-0", None), unproven);
        let later = Clock {
            at_ms: 99_000,
            ..good.clone()
        };
        let earlier = Clock {
            epoch: Id(6),
            ..good.clone()
        };
        let mute = Clock {
            proofs: vec![],
            ..good
        };
        for forged in [later, earlier, mute] {
            assert_eq!(
                check(&forged, nonce, "c-etcd-0", None),
                unproven,
                "{forged:?}"
            );
        }
    }

    #[test]
    fn a_clock_s_proof_signs_no_request() {
        // The same bytes under one key must not mean two things.
        let clock = clock(TOKEN);
        let mut signed = header(TOKEN);
        signed.mac = mac(&clock.proofs[0]).expect("a proof");
        assert!(!signed.is_by(TOKEN, POD, &ASKED));
    }

    #[test]
    fn while_the_token_is_replaced_a_proof_of_either_is_enough() {
        let clock = Clock::new(POD, (Id(7), 12), &["old", "new"], Nonce([1; 16]));
        for token in ["old", "new"] {
            assert_eq!(clock.check(token, Nonce([1; 16]), "c-etcd-0", None), Ok(()));
        }
        let third = clock.check("third", Nonce([1; 16]), "c-etcd-0", None);
        assert_eq!(third, Err(ClockError::NoProof));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused_and_never_read_in_two_ways(text in "(Kbagent-HMAC-SHA256 )?[ -~]{0,160}") {
            if let Ok(signed) = text.parse::<Signed>() {
                prop_assert_eq!(signed.to_string(), text);
            }
        }

        #[test]
        fn what_is_signed_is_read_back(
            (epoch, at_ms, bytes) in any::<(u64, u64, [u8; 16])>(),
            target in "/[!-~]{0,40}",
            body in proptest::collection::vec(any::<u8>(), 0..200),
            (token, pod, uid) in ("[!-~]{1,64}", "[a-z0-9-]{1,63}", "[a-z0-9-]{1,36}"),
        ) {
            let of = Identity { pod: &pod, uid: &uid };
            let nonce = Nonce(bytes);
            let clock = Clock::new(of, (Id(epoch), at_ms), &[&token], nonce);
            let text = serde_json::to_string(&clock).expect("serialize");
            prop_assert!(text.len() < LONGEST_CLOCK);
            let clock: Clock = serde_json::from_str(&text).expect("parse");
            prop_assert_eq!(clock.check(&token, nonce, &pod, Some(&uid)), Ok(()));
            let asked = Asked { method: "GET", target: &target, body: &body };
            let signed: Signed = clock.sign(&token, nonce, &asked).parse().expect("a header");
            prop_assert!(signed.is_by(&token, of, &asked));
            let (first, rest) = target.split_at(1);
            let moved = [rest.as_bytes(), &body].concat();
            let shifted = Asked { method: "GET", target: first, body: &moved };
            prop_assert!(rest.is_empty() || !signed.is_by(&token, of, &shifted));
        }

        #[test]
        fn one_bit_of_the_header_decides(bit in 0..256usize) {
            let mut signed = header(TOKEN);
            signed.mac[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!signed.is_by(TOKEN, POD, &ASKED));
        }
    }
}
