//! Faults with several targets: all of them or none.

/// What was done to each target, when it was done to all. Else what succeeded is undone at once, and the first error is
/// given: the run that comes next must not meet half a fault.
pub(crate) async fn all_or_none<T, E>(
    attempts: impl IntoIterator<Item = Result<T, E>>,
    undo: impl AsyncFn(T),
) -> Result<Vec<T>, E> {
    let (mut done, mut failed) = (Vec::new(), None);
    for attempt in attempts {
        match attempt {
            Ok(one) => done.push(one),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    let Some(error) = failed else {
        return Ok(done);
    };
    for one in done {
        undo(one).await;
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn what_succeeded_beside_a_failure_is_undone() {
        let undone = RefCell::new(Vec::new());
        let attempts = [Ok(1), Err("second"), Ok(3), Err("fourth")];
        let all = all_or_none(attempts, async |one| undone.borrow_mut().push(one)).await;
        assert_eq!(all, Err("second"));
        assert_eq!(*undone.borrow(), [1, 3]);
    }

    #[tokio::test]
    async fn nothing_is_undone_when_all_succeeded() {
        let attempts = [Ok::<_, &str>(1), Ok(2)];
        let all = all_or_none(attempts, async |_| panic!("undone")).await;
        assert_eq!(all, Ok(vec![1, 2]));
    }
}
