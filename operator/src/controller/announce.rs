//! IO out: events for what changed in a status.

use std::fmt::Debug;

use etcd_operator_api::condition::{self, ConditionType, Truth};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::events::EventType;

use super::Context;

/// Publishes that the phase is another one, and each condition of these kinds that has become bad or says something
/// else. Pairs are before and after.
pub(crate) async fn announce<K, P>(
    context: &Context,
    about: &K,
    (before, next): (Option<P>, Option<P>),
    conditions: (&[Condition], &[Condition]),
    kinds: &[ConditionType],
) where
    K: Resource<DynamicType = ()>,
    P: Copy + Debug + PartialEq,
{
    if let (true, Some(phase)) = (before != next, next) {
        let from = before.map_or("nothing".to_owned(), |phase| format!("{phase:?}"));
        let note = format!("phase went from {from} to {phase:?}");
        context
            .event(about, EventType::Normal, &format!("{phase:?}"), note)
            .await;
    }
    for failing in failing(conditions, kinds) {
        let (reason, note) = (&failing.reason, failing.message.clone());
        context.event(about, EventType::Warning, reason, note).await;
    }
}

fn failing<'a>(
    (before, next): (&[Condition], &'a [Condition]),
    kinds: &[ConditionType],
) -> Vec<&'a Condition> {
    let is_news = |kind: &ConditionType| {
        let now = condition::find(next, *kind)?;
        let same = condition::find(before, *kind)
            .is_some_and(|old| old.status == now.status && old.message == now.message);
        (now.status == bad(*kind).as_str() && !same).then_some(now)
    };
    kinds.iter().filter_map(is_news).collect()
}

/// What is bad of a condition of this kind.
fn bad(kind: ConditionType) -> Truth {
    match kind {
        ConditionType::NodeTainted => Truth::True,
        _ => Truth::False,
    }
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::condition::{Observation, Reason, record};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_failure_is_news_once_and_again_when_its_message_changes() {
        let kinds = [ConditionType::ApplyResources, ConditionType::Terminating];
        let shown = |ok: bool, text: &str| {
            let (kind, reason) = (ConditionType::ApplyResources, Reason::PreCheckFailed);
            let seen = Observation::new(kind, ok, reason, text.to_owned());
            let mut conditions = Vec::new();
            record(&mut conditions, &[seen], None, &Time(Timestamp::UNIX_EPOCH));
            conditions
        };
        let (good, bad, worse) = (shown(true, ""), shown(false, "one"), shown(false, "two"));
        for (before, next, news) in [
            (&vec![], &bad, 1),
            (&good, &bad, 1),
            (&bad, &bad, 0),
            (&bad, &worse, 1),
            (&bad, &good, 0),
        ] {
            assert_eq!(failing((before, next), &kinds).len(), news, "{next:?}");
        }
        assert_eq!(failing((&good, &bad), &kinds[1..]).len(), 0);
    }

    #[test]
    fn a_node_that_is_tainted_is_news_while_it_is_so() {
        let kind = ConditionType::NodeTainted;
        let shown = |tainted: bool| {
            let seen = Observation::new(kind, tainted, Reason::TaintLeft, "n1");
            let mut conditions = Vec::new();
            record(&mut conditions, &[seen], None, &Time(Timestamp::UNIX_EPOCH));
            conditions
        };
        let (none, on, off) = (vec![], shown(true), shown(false));
        for (before, next, news) in [(&none, &on, 1), (&on, &on, 0), (&on, &off, 0)] {
            assert_eq!(failing((before, next), &[kind]).len(), news, "{next:?}");
        }
    }
}
