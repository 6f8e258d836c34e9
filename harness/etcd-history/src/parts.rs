//! The requests in a request: those of a transaction, and of others the request itself.

use crate::record::{Outcome, Record, Request, Response};

impl Record {
    /// What a transaction of this record has that no check models, in words: where it stands and what it is. etcd takes
    /// transactions within transactions too, and decides all their compares before anything is written.
    pub(crate) fn unmodelled(&self) -> Option<String> {
        match self {
            Self::Call(call) => call.request.unmodelled(),
            Self::Return(end) => match &end.outcome {
                Outcome::Ok { response, .. } => response.unmodelled(),
                Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
            },
            _ => None,
        }
    }
}

impl Request {
    /// The same of a request.
    pub(crate) fn unmodelled(&self) -> Option<String> {
        let Self::Txn {
            then, otherwise, ..
        } = self
        else {
            return None;
        };
        let branches = [("then", then), ("else", otherwise)];
        let mut parts = branches.into_iter().flat_map(|(name, branch)| {
            let parts = branch.iter().enumerate();
            parts.map(move |(at, part)| (name, at, part))
        });
        parts.find_map(|(branch, at, part)| {
            let kind = part.foreign()?;
            Some(format!("{branch}[{at}] of a transaction is a {kind}"))
        })
    }

    /// Its kind, where no transaction that is modelled has such a part.
    fn foreign(&self) -> Option<&'static str> {
        match self {
            Self::Put { .. } | Self::Range { .. } | Self::Delete { .. } => None,
            Self::Txn { .. } => Some("txn"),
            Self::LeaseGrant { .. } => Some("lease_grant"),
            Self::LeaseKeepAlive { .. } => Some("lease_keep_alive"),
            Self::LeaseRevoke { .. } => Some("lease_revoke"),
            Self::Compact { .. } => Some("compact"),
        }
    }
}

impl Response {
    /// The same of an answer.
    fn unmodelled(&self) -> Option<String> {
        let Self::Txn { responses, .. } = self else {
            return None;
        };
        let mut parts = responses.iter().enumerate();
        parts.find_map(|(at, part)| {
            let kind = part.foreign()?;
            Some(format!(
                "responses[{at}] of a transaction is one to a {kind}"
            ))
        })
    }

    fn foreign(&self) -> Option<&'static str> {
        match self {
            Self::Put {} | Self::Range { .. } | Self::Delete { .. } => None,
            Self::Txn { .. } => Some("txn"),
            Self::LeaseGrant { .. } => Some("lease_grant"),
            Self::LeaseKeepAlive { .. } => Some("lease_keep_alive"),
            Self::LeaseRevoke {} => Some("lease_revoke"),
            Self::Compact {} => Some("compact"),
        }
    }
}

impl Request {
    /// The requests that it consists of: those of both branches of a transaction, else itself.
    pub fn parts(&self) -> impl Iterator<Item = &Request> {
        let (own, then, otherwise): (_, &[Request], &[Request]) = match self {
            Request::Txn {
                then, otherwise, ..
            } => (None, then, otherwise),
            request => (Some(request), &[], &[]),
        };
        own.into_iter().chain(then).chain(otherwise)
    }

    /// The requests that were carried out, each with its answer: those of the branch that ran, else itself.
    pub fn answered<'a>(
        &'a self,
        response: &'a Response,
    ) -> Box<dyn Iterator<Item = (&'a Request, &'a Response)> + 'a> {
        match (self, response) {
            (
                Request::Txn {
                    then, otherwise, ..
                },
                Response::Txn {
                    succeeded,
                    responses,
                },
            ) => {
                let branch = if *succeeded { then } else { otherwise };
                let pairs = branch.iter().zip(responses);
                Box::new(pairs.flat_map(|(request, response)| request.answered(response)))
            }
            pair => Box::new(std::iter::once(pair)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_its_branches_and_its_answer_the_one_that_ran() {
        let put = |key: &str| Request::Put {
            key: key.to_owned(),
            value: String::new(),
            lease: 0,
        };
        let txn = Request::Txn {
            compare: Vec::new(),
            then: vec![put("a")],
            otherwise: vec![put("b"), put("c")],
        };
        assert!(txn.parts().eq(&[put("a"), put("b"), put("c")]));
        assert!(put("a").parts().eq(&[put("a")]));
        let answer = |succeeded, puts| Response::Txn {
            succeeded,
            responses: vec![Response::Put {}; puts],
        };
        for (answer, ran) in [
            (answer(true, 1), vec![put("a")]),
            (answer(false, 2), vec![put("b"), put("c")]),
            (answer(false, 1), vec![put("b")]),
        ] {
            let found = txn.answered(&answer).map(|(request, _)| request.clone());
            assert_eq!(found.collect::<Vec<_>>(), ran);
        }
    }
}
