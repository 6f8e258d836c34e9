//! The requests in a request: those of a transaction, and of others the request itself.

use crate::record::{Request, Response};

impl Request {
    /// What it may carry out, whichever branch runs.
    pub fn parts(&self) -> impl Iterator<Item = &Request> {
        let (own, then, otherwise): (_, &[Request], &[Request]) = match self {
            Request::Txn {
                then, otherwise, ..
            } => (None, then, otherwise),
            request => (Some(request), &[], &[]),
        };
        own.into_iter().chain(then).chain(otherwise)
    }

    /// What it carried out, each with its part of the answer.
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
