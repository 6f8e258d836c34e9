//! Steps one after the other, but for creations of one kind: members begin at the same time, and so do their claims.

use futures::stream::{self, StreamExt};

use super::plan::Step;
use super::plan::refused::Refused;

/// Creations on their way at a time.
const AT_ONCE: usize = 8;

/// What became of steps.
#[derive(Debug, PartialEq)]
pub(super) struct Taken<'a, E> {
    /// Those that were taken.
    pub(super) done: Vec<&'a Step>,
    /// Why others failed, in their order.
    pub(super) failed: Vec<E>,
}

/// Takes steps in order. What is side by side with a step that fails is still taken. What comes later is not, but for
/// what does not need a step of which it is certain that nothing has happened: the failure `is_refusal`.
pub(super) async fn in_order<'a, E, F: Future<Output = Result<(), E>>>(
    steps: &'a [Step],
    take: impl Fn(&'a Step) -> F,
    is_refusal: impl Fn(&E) -> bool,
) -> Taken<'a, E> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let mut refused = Refused::default();
    for together in steps.chunk_by(side_by_side) {
        let together: Vec<&Step> = together
            .iter()
            .filter(|step| refused.allows(step))
            .collect();
        let begun: Vec<F> = together.iter().copied().map(&take).collect();
        let ended: Vec<Result<(), E>> = stream::iter(begun).buffered(AT_ONCE).collect().await;
        let mut goes_on = true;
        for (step, end) in together.into_iter().zip(ended) {
            match end {
                Ok(()) => done.push(step),
                Err(error) => {
                    goes_on &= is_refusal(&error);
                    refused.note(step);
                    failed.push(error);
                }
            }
        }
        if !goes_on {
            break;
        }
    }
    Taken { done, failed }
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

    use etcd_operator_api::labels;
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
    use kube::api::ObjectMeta;

    use super::*;
    use crate::instanceset::names as keys;
    use crate::instanceset::plan::steps::{Changes, Labelled};

    /// Claims of three members, pods of the last two, and a label.
    fn steps() -> Vec<Step> {
        let meta = |at: u32| ObjectMeta {
            name: Some(format!("a-{at}")),
            labels: Some([(labels::POD_NAME.to_owned(), format!("a-{at}"))].into()),
            annotations: Some([(keys::JOIN.to_owned(), "1".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let claim = |at| {
            let metadata = meta(at);
            let claim = PersistentVolumeClaim {
                metadata,
                ..Default::default()
            };
            Step::CreateClaim(Box::new(claim))
        };
        let pod = |at| {
            let metadata = meta(at);
            let pod = Pod {
                metadata,
                ..Default::default()
            };
            Step::CreatePod(Box::new(pod))
        };
        let label = Step::Relabel {
            kind: Labelled::Pod,
            name: "a-0".to_owned(),
            uid: String::new(),
            changes: Changes::default(),
        };
        vec![claim(0), claim(1), claim(2), pod(1), pod(2), label]
    }

    /// Takes the steps, of which the one with this number fails; what was begun, and how many steps were on their way
    /// when each ended.
    async fn taken(failing: usize, refused: bool) -> (Vec<usize>, usize, Vec<usize>) {
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
        let steps = steps();
        let taken = in_order(&steps, take, |_| refused).await;
        assert_eq!(taken.done.len() + taken.failed.len(), begun.get());
        (taken.failed, begun.get(), ended.take())
    }

    #[tokio::test(start_paused = true)]
    async fn creations_of_one_kind_are_side_by_side_and_kinds_in_order() {
        let (failed, begun, ended) = taken(usize::MAX, false).await;
        assert_eq!((failed, begun), (vec![], 6));
        assert_eq!(ended, [3, 2, 1, 2, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_row_when_what_is_under_way_has_ended() {
        let (failed, begun, ended) = taken(1, false).await;
        assert_eq!((failed, begun), (vec![1], 3));
        assert_eq!(ended.len(), 3, "no creation is given up on its way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_only_what_needs_the_step() {
        // Of the second member; its pod is not made.
        let (failed, begun, _) = taken(1, true).await;
        assert_eq!((failed, begun), (vec![1], 5));
        // Of the second member whose pod is made; nothing needs that.
        let (failed, begun, _) = taken(4, true).await;
        assert_eq!((failed, begun), (vec![4], 6));
    }
}
