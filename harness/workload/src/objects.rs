//! What a client asks that keeps objects as a kube-apiserver does: a write is guarded by the revision at which it saw
//! the object last, and lists come in pages of one revision. Pure, as the mix is.

use std::collections::BTreeMap;

use etcd_history::{
    Outcome, Request, Response,
    record::{Compare, OpId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::config::range_end;
use crate::mix::Step;

/// Objects that all these clients share: few, so that their writes meet.
const OBJECTS: u32 = 7;
/// Objects of a page: a list is some pages.
const PAGE: i64 = 2;

/// One client.
#[derive(Debug)]
pub(crate) struct Keeper {
    rng: StdRng,
    client: u32,
    prefix: String,
    /// Revision of the last write of each object that was seen; 0 for one that is not there.
    seen: BTreeMap<String, i64>,
    /// The next page of a list that is under way.
    page: Option<Page>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    /// Its first key.
    key: String,
    /// The revision of all of the list.
    revision: i64,
}

impl Keeper {
    /// A client's generator.
    pub(crate) fn new(seed: u64, client: u32, prefix: &str) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed ^ (u64::from(client) << 24)),
            client,
            prefix: prefix.to_owned(),
            seen: BTreeMap::new(),
            page: None,
        }
    }

    /// The next request; `op` makes its values unique.
    pub(crate) fn next(&mut self, op: OpId) -> Step {
        Step {
            request: self.request(op),
            at_member: false,
        }
    }

    fn request(&mut self, op: OpId) -> Request {
        if let Some(Page { key, revision }) = self.page.take() {
            return self.list(key, revision);
        }
        match self.rng.random_range(0..100u32) {
            0..15 => self.list(self.folder(), 0),
            15..30 => get(self.object()),
            _ => self.write(op),
        }
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, request: &Request, outcome: &Outcome) {
        let Outcome::Ok {
            revision, response, ..
        } = outcome
        else {
            self.forget(request);
            return;
        };
        self.page = next_page(request, response, *revision);
        for (request, response) in request.answered(response) {
            self.see(request, response, *revision);
        }
    }

    fn folder(&self) -> String {
        format!("{}o/", self.prefix)
    }

    fn object(&mut self) -> String {
        let number = self.rng.random_range(0..OBJECTS);
        format!("{}{number}", self.folder())
    }

    /// A page from this key on, of the newest revision where that is 0.
    fn list(&self, key: String, revision: i64) -> Request {
        Request::Range {
            key,
            range_end: Some(range_end(&self.folder())),
            limit: PAGE,
            serializable: false,
            revision,
        }
    }

    /// Creates, updates or deletes an object if it is as it was seen last; reads one that was not.
    fn write(&mut self, op: OpId) -> Request {
        let key = self.object();
        let Some(&revision) = self.seen.get(&key) else {
            return get(key);
        };
        let put = |key: String| Request::Put {
            key,
            value: format!("c{}-{op}", self.client),
            lease: 0,
        };
        let then = if revision > 0 && self.rng.random_bool(0.3) {
            // A delete has no value of its own to be recognised by.
            let delete = Request::Delete {
                key: key.clone(),
                range_end: None,
            };
            vec![delete, put(format!("{}op/{}", self.prefix, self.client))]
        } else {
            vec![put(key.clone())]
        };
        Request::Txn {
            compare: vec![Compare::ModRevision {
                key: key.clone(),
                revision,
            }],
            then,
            otherwise: vec![get(key)],
        }
    }

    fn see(&mut self, request: &Request, response: &Response, revision: i64) {
        match (request, response) {
            (Request::Put { key, .. }, _) => {
                self.seen.insert(key.clone(), revision);
            }
            (Request::Delete { key, .. }, _) => {
                self.seen.insert(key.clone(), 0);
            }
            (Request::Range { key, range_end, .. }, Response::Range { kvs, .. }) => {
                if range_end.is_none() && kvs.is_empty() {
                    self.seen.insert(key.clone(), 0);
                }
                let found = kvs.iter().map(|kv| (kv.key.clone(), kv.mod_revision));
                self.seen.extend(found);
            }
            _ => {}
        }
    }

    /// After an error nothing is known of the object that was to be written.
    fn forget(&mut self, request: &Request) {
        if let Request::Txn { compare, .. } = request {
            for compare in compare {
                if let Compare::ModRevision { key, .. } = compare {
                    self.seen.remove(key);
                }
            }
        }
    }
}

/// The page behind one that the limit has cut.
fn next_page(request: &Request, response: &Response, now: i64) -> Option<Page> {
    match (request, response) {
        (
            Request::Range { revision, .. },
            Response::Range {
                kvs, more: true, ..
            },
        ) => Some(Page {
            // The first key behind the last one.
            key: format!("{}\0", kvs.last()?.key),
            revision: if *revision == 0 { now } else { *revision },
        }),
        _ => None,
    }
}

fn get(key: String) -> Request {
    Request::Range {
        key,
        range_end: None,
        limit: 0,
        serializable: false,
        revision: 0,
    }
}

#[cfg(test)]
mod tests {
    use etcd_history::record::KeyValue;

    use super::*;

    /// What etcd answers that has these objects, with the revision of each one's last write.
    fn answer(objects: &mut BTreeMap<String, i64>, now: &mut i64, request: &Request) -> Response {
        match request {
            Request::Put { key, .. } => {
                objects.insert(key.clone(), *now);
                Response::Put {}
            }
            Request::Delete { key, .. } => {
                let gone = objects.remove(key).is_some();
                Response::Delete {
                    deleted: i64::from(gone),
                }
            }
            Request::Txn {
                compare,
                then,
                otherwise,
            } => {
                let succeeded = compare.iter().all(|compare| match compare {
                    Compare::ModRevision { key, revision } => {
                        objects.get(key).copied().unwrap_or(0) == *revision
                    }
                    other => panic!("{other:?}"),
                });
                *now += i64::from(succeeded);
                let branch = if succeeded { then } else { otherwise };
                let responses = branch
                    .iter()
                    .map(|request| answer(objects, now, request))
                    .collect();
                Response::Txn {
                    succeeded,
                    responses,
                }
            }
            Request::Range {
                key,
                range_end,
                limit,
                ..
            } => {
                let end = range_end.clone().unwrap_or_else(|| format!("{key}\0"));
                let all = objects.range(key.clone()..end).map(kv);
                let all: Vec<KeyValue> = all.collect();
                let most = match usize::try_from(*limit).expect("a limit") {
                    0 => all.len(),
                    limit => limit.min(all.len()),
                };
                Response::Range {
                    count: i64::try_from(all.len()).expect("a count"),
                    more: most < all.len(),
                    kvs: all.into_iter().take(most).collect(),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn kv((key, revision): (&String, &i64)) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: "x".to_owned(),
            create_revision: *revision,
            mod_revision: *revision,
            version: 1,
            lease: 0,
        }
    }

    fn ok(revision: i64, response: Response) -> Outcome {
        Outcome::Ok {
            revision,
            term: 1,
            member: "1".to_owned(),
            response,
        }
    }

    #[test]
    fn a_client_alone_is_never_refused_and_lists_all_in_pages_of_one_revision() {
        let mut keeper = Keeper::new(3, 1, "t/");
        let (mut objects, mut now) = (BTreeMap::new(), 1);
        let (mut deleted, mut pages, mut listed) = (0, 0, 0);
        let mut under_way: Option<(i64, i64)> = None;
        for op in 1..3000 {
            let Step { request, at_member } = keeper.next(op);
            assert!(!at_member);
            let response = answer(&mut objects, &mut now, &request);
            match (&request, &response) {
                (Request::Txn { then, .. }, Response::Txn { succeeded, .. }) => {
                    assert!(*succeeded, "{request:?}");
                    deleted += i64::from(matches!(then[0], Request::Delete { .. }));
                }
                (
                    Request::Range {
                        range_end: Some(_),
                        revision,
                        ..
                    },
                    Response::Range { kvs, count, more },
                ) => {
                    let (all, at) = under_way.take().unwrap_or((*count, 0));
                    assert_eq!(*revision, at, "all pages are of the first one's revision");
                    let left = all - i64::try_from(kvs.len()).expect("a count");
                    pages += i64::from(at > 0);
                    listed += i64::from(left == 0 && at > 0);
                    under_way = more.then_some((left, now));
                    assert_eq!(left > 0, *more, "{request:?}");
                }
                _ => assert_eq!(under_way, None, "pages come one after the other"),
            }
            keeper.learn(&request, &ok(now, response));
        }
        assert!(deleted > 100 && pages > 100 && listed > 50);
    }

    #[test]
    fn what_became_of_an_object_is_read_after_an_error_and_a_page_is_not_asked_for_again() {
        let mut keeper = Keeper::new(3, 1, "t/");
        for number in 0..OBJECTS {
            keeper.seen.insert(format!("t/o/{number}"), 0);
        }
        let lost = Outcome::Unknown {
            class: "deadline".to_owned(),
            message: String::new(),
        };
        let write = keeper.write(1);
        let Request::Txn { otherwise, .. } = &write else {
            panic!("{write:?}");
        };
        keeper.learn(&write, &lost);
        assert_eq!(keeper.seen.len(), OBJECTS as usize - 1);
        let Some(Request::Range { key, .. }) = otherwise.first() else {
            panic!("{otherwise:?}");
        };
        assert!(!keeper.seen.contains_key(key));
        keeper.page = Some(Page {
            key: "t/o/3\0".to_owned(),
            revision: 9,
        });
        let page = keeper.next(2).request;
        assert!(matches!(page, Request::Range { revision: 9, .. }));
        keeper.learn(&page, &lost);
        assert_eq!(keeper.page, None);
    }

    #[test]
    fn a_seed_gives_the_same_requests_again() {
        let asked = |seed| {
            let mut keeper = Keeper::new(seed, 1, "t/");
            let steps = (1..100).map(|op| keeper.next(op).request);
            steps.collect::<Vec<_>>()
        };
        assert_eq!(asked(5), asked(5));
        assert_ne!(asked(5), asked(6));
    }
}
