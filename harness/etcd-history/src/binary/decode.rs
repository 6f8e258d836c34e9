//! Bytes into records. Nothing is believed: every length is held against what is left, every number against its type.

use super::form::{CALL, DEPTH_MAX, MEMBER, RETURN, WATCH};
use super::words::Read;
use crate::record::{
    Call, Compare, KeyEvent, KeyValue, MemberSample, Nanos, Outcome, RaftStatus, Record, Request,
    Response, Return, Route, WatchEvent, WatchRecord,
};

/// Entries of a list for which there is space before they came: most lists have one, and keep no more than it needs.
const SURE: usize = 4;

/// What is left of the body of a frame. Every method gives nothing when it does not fit.
pub(super) struct Body<'b> {
    pub(super) rest: &'b [u8],
    pub(super) words: &'b mut Read,
}

impl Body<'_> {
    /// The record, which takes up the whole body.
    #[inline]
    pub(super) fn record(&mut self, kind: u8, last: &mut Nanos) -> Option<Record> {
        let t = last.wrapping_add(self.signed()?);
        *last = t;
        let record = match kind {
            CALL => Record::Call(self.call(t)?),
            RETURN => Record::Return(Return {
                t,
                op: self.number()?,
                outcome: self.outcome()?,
            }),
            WATCH => Record::Watch(WatchRecord {
                t,
                watcher: self.small()?,
                stream: self.small()?,
                target: self.word()?,
                event: self.watch_event()?,
            }),
            MEMBER => Record::Member(MemberSample {
                t,
                pod: self.word()?,
                status: self.status()?,
            }),
            _ => return None,
        };
        self.rest.is_empty().then_some(record)
    }

    fn call(&mut self, t: Nanos) -> Option<Call> {
        Some(Call {
            t,
            op: self.number()?,
            client: self.small()?,
            route: match self.byte()? {
                0 => Route::ServiceHeld,
                1 => Route::ServiceFresh,
                2 => Route::DialAll,
                3 => Route::Member,
                _ => return None,
            },
            scheduled: t.wrapping_add(self.signed()?),
            request: self.request(0)?,
        })
    }

    fn outcome(&mut self) -> Option<Outcome> {
        Some(match self.byte()? {
            0 => Outcome::Ok {
                revision: self.signed()?,
                term: self.number()?,
                member: self.word()?,
                response: self.response(0)?,
            },
            1 => Outcome::Failed {
                class: self.word()?,
                message: self.word()?,
            },
            2 => Outcome::Unknown {
                class: self.word()?,
                message: self.word()?,
            },
            _ => return None,
        })
    }

    #[expect(
        clippy::option_option,
        reason = "a member that is silent, and bytes that do not fit"
    )]
    fn status(&mut self) -> Option<Option<RaftStatus>> {
        let kind = self.byte()?;
        if kind == 0 {
            return Some(None);
        }
        if kind & 1 == 0 || kind > 7 {
            return None;
        }
        Some(Some(RaftStatus {
            cluster: self.word()?,
            member: self.word()?,
            leader: if kind & 2 == 0 {
                None
            } else {
                Some(self.word()?)
            },
            term: self.number()?,
            raft_index: self.number()?,
            applied_index: self.number()?,
            revision: self.signed()?,
            learner: kind & 4 != 0,
        }))
    }

    fn watch_event(&mut self) -> Option<WatchEvent> {
        Some(match self.byte()? {
            0 => WatchEvent::Opened {
                key: self.word()?,
                range_end: self.word()?,
                start_revision: self.signed()?,
            },
            kind @ (1 | 2) => WatchEvent::Events {
                revision: self.signed()?,
                events: self.list(Self::key_event)?,
                fragment: kind == 2,
            },
            3 => WatchEvent::Progress {
                revision: self.signed()?,
            },
            4 => WatchEvent::Cancelled {
                compact_revision: self.signed()?,
                reason: self.word()?,
            },
            5 => WatchEvent::Broken {
                message: self.word()?,
            },
            _ => return None,
        })
    }

    fn key_event(&mut self) -> Option<KeyEvent> {
        let kind = self.byte()?;
        Some(match kind {
            0 | 1 => KeyEvent::Put {
                kv: self.key_value()?,
                prev: self.some(kind == 1)?,
            },
            2 | 3 => KeyEvent::Delete {
                key: self.word()?,
                mod_revision: self.signed()?,
                prev: self.some(kind == 3)?,
            },
            _ => return None,
        })
    }

    #[expect(
        clippy::option_option,
        reason = "a key that is not there, and bytes that do not fit"
    )]
    fn some(&mut self, there: bool) -> Option<Option<KeyValue>> {
        if there {
            self.key_value().map(Some)
        } else {
            Some(None)
        }
    }

    fn request(&mut self, depth: u32) -> Option<Request> {
        Some(match self.byte()? {
            0 => Request::Put {
                key: self.word()?,
                value: self.word()?,
                lease: self.signed()?,
            },
            kind @ (1 | 2) => Request::Range {
                key: self.word()?,
                range_end: self.end()?,
                limit: self.signed()?,
                serializable: kind == 2,
                revision: self.signed()?,
            },
            3 => Request::Delete {
                key: self.word()?,
                range_end: self.end()?,
            },
            4 if depth < DEPTH_MAX => Request::Txn {
                compare: self.list(Self::compare)?,
                then: self.list(|body| body.request(depth + 1))?,
                otherwise: self.list(|body| body.request(depth + 1))?,
            },
            5 => Request::LeaseGrant {
                id: self.signed()?,
                ttl: self.signed()?,
            },
            6 => Request::LeaseKeepAlive { id: self.signed()? },
            7 => Request::LeaseRevoke { id: self.signed()? },
            8 => Request::Compact {
                revision: self.signed()?,
            },
            _ => return None,
        })
    }

    fn compare(&mut self) -> Option<Compare> {
        Some(match self.byte()? {
            0 => Compare::ModRevision {
                key: self.word()?,
                revision: self.signed()?,
            },
            1 => Compare::Value {
                key: self.word()?,
                value: self.word()?,
            },
            2 => Compare::Version {
                key: self.word()?,
                version: self.signed()?,
            },
            _ => return None,
        })
    }

    fn response(&mut self, depth: u32) -> Option<Response> {
        Some(match self.byte()? {
            0 => Response::Put {},
            kind @ (1 | 2) => Response::Range {
                kvs: self.list(Self::key_value)?,
                count: self.signed()?,
                more: kind == 2,
            },
            3 => Response::Delete {
                deleted: self.signed()?,
            },
            kind @ (4 | 5) if depth < DEPTH_MAX => Response::Txn {
                succeeded: kind == 5,
                responses: self.list(|body| body.response(depth + 1))?,
            },
            6 => Response::LeaseGrant {
                id: self.signed()?,
                ttl: self.signed()?,
            },
            7 => Response::LeaseKeepAlive {
                ttl: self.signed()?,
            },
            8 => Response::LeaseRevoke {},
            9 => Response::Compact {},
            _ => return None,
        })
    }

    fn key_value(&mut self) -> Option<KeyValue> {
        let (key, value) = (self.word()?, self.word()?);
        let mod_revision = self.signed()?;
        Some(KeyValue {
            key,
            value,
            mod_revision,
            create_revision: mod_revision.wrapping_sub(self.signed()?),
            version: self.signed()?,
            lease: self.signed()?,
        })
    }

    #[expect(clippy::option_option, reason = "no end, and bytes that do not fit")]
    fn end(&mut self) -> Option<Option<String>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.word().map(Some),
            _ => None,
        }
    }

    /// Each entry has a byte at least, so that a list that is not there takes no memory.
    fn list<T>(&mut self, mut entry: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        if count > self.rest.len() {
            return None;
        }
        let mut list = Vec::with_capacity(count.min(SURE));
        for _ in 0..count {
            list.push(entry(self)?);
        }
        Some(list)
    }

    fn word(&mut self) -> Option<String> {
        let kind = self.number()?;
        if kind > 1 {
            return self.words.at(kind - 1).map(str::to_owned);
        }
        let length = usize::try_from(self.number()?).ok()?;
        let (word, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let word = std::str::from_utf8(word).ok()?;
        if kind == 0 {
            self.words.remember(word);
        }
        Some(word.to_owned())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }
}
