//! Steps one after the other, but for creations of one kind: members begin at the same time, and so do their claims.

use futures::stream::{self, StreamExt};

use super::plan::Step;

/// Creations on their way at a time.
const AT_ONCE: usize = 8;

/// Takes steps in order. What is side by side with a step that fails is still taken, what comes later is not.
///
/// # Errors
/// The first of those that failed.
pub(super) async fn in_order<'a, E, F: Future<Output = Result<(), E>>>(
    steps: &'a [Step],
    take: impl Fn(&'a Step) -> F,
) -> Result<(), E> {
    for together in steps.chunk_by(side_by_side) {
        let begun: Vec<F> = together.iter().map(&take).collect();
        let taken = stream::iter(begun).buffered(AT_ONCE);
        let taken: Vec<Result<(), E>> = taken.collect().await;
        taken.into_iter().collect::<Result<(), E>>()?;
    }
    Ok(())
}

/// Whether the second step need not wait for the first.
fn side_by_side(first: &Step, second: &Step) -> bool {
    matches!(
        (first, second),
        (Step::CreateClaim(_), Step::CreateClaim(_)) | (Step::CreatePod(_), Step::CreatePod(_))
    )
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use super::*;

    fn steps() -> Vec<Step> {
        let (claim, pod) = (Box::default(), Box::default());
        let claim = || Step::CreateClaim(Box::clone(&claim));
        let pod = || Step::CreatePod(Box::clone(&pod));
        vec![claim(), claim(), claim(), pod(), pod(), Step::AddFinalizer]
    }

    /// Takes the steps, of which the one with this number fails; what was begun, and how many steps were on their way
    /// when each ended.
    async fn taken(failing: usize) -> (Result<(), usize>, usize, Vec<usize>) {
        let (begun, under_way) = (Cell::new(0), Cell::new(0));
        let ended = RefCell::new(Vec::new());
        let (begun, under_way, ended) = (&begun, &under_way, &ended);
        let take = |_| async move {
            let number = begun.replace(begun.get() + 1);
            under_way.set(under_way.get() + 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
            ended.borrow_mut().push(under_way.get());
            under_way.set(under_way.get() - 1);
            if number == failing {
                Err(number)
            } else {
                Ok(())
            }
        };
        let outcome = in_order(&steps(), take).await;
        (outcome, begun.get(), ended.take())
    }

    #[tokio::test(start_paused = true)]
    async fn creations_of_one_kind_are_side_by_side_and_kinds_in_order() {
        let (outcome, begun, ended) = taken(usize::MAX).await;
        assert_eq!((outcome, begun), (Ok(()), 6));
        assert_eq!(ended, [3, 2, 1, 2, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_row_when_what_is_under_way_has_ended() {
        let (outcome, begun, ended) = taken(1).await;
        assert_eq!((outcome, begun), (Err(1), 3));
        assert_eq!(ended.len(), 3, "no creation is given up on its way");
    }
}
