//! Events of the operator. Repeated ones are counted in one, as [`Recorder`] does it, but only where their texts are
//! the same: it looks at the reason alone, and what was done last would be shown with the text of what was done first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};

/// How long an event that is not repeated is remembered; as long as [`Recorder`] does.
const REMEMBERED: Duration = Duration::from_mins(6);
/// Most texts of one reason about one object in that time. More are counted in one, which has the first text of these:
/// a text that is another one each time must not fill the API server.
const MOST: usize = 10;

/// Publishes events; cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    reporter: Reporter,
    series: Arc<Mutex<Vec<Series<Recorder>>>>,
}

/// Events of one reason and text about one object.
struct Series<R> {
    about: (Option<String>, String),
    /// Absent for what is more than [`MOST`].
    text: Option<String>,
    last: Instant,
    recorder: R,
}

impl Events {
    /// Events of this reporter.
    pub(crate) fn new(client: Client, reporter: Reporter) -> Self {
        let series = Arc::default();
        Self {
            client,
            reporter,
            series,
        }
    }

    /// Publishes an event about an object.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub(crate) async fn publish(
        &self,
        event: &Event,
        about: &ObjectReference,
    ) -> Result<(), kube::Error> {
        let recorder = {
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Recorder::new(self.client.clone(), self.reporter.clone());
            let key = (about.uid.clone(), event.reason.clone());
            let text = event.note.as_deref().unwrap_or_default();
            belongs(&mut series, key, text, Instant::now(), new)
        };
        recorder.publish(event, about).await
    }
}

/// What publishes the event: the same as for the same text before.
fn belongs<R: Clone>(
    series: &mut Vec<Series<R>>,
    about: (Option<String>, String),
    text: &str,
    now: Instant,
    new: impl FnOnce() -> R,
) -> R {
    series.retain(|one| now.saturating_duration_since(one.last) < REMEMBERED);
    let of_object = |one: &&mut Series<R>| one.about == about;
    let known = series.iter().filter(|one| one.about == about).count();
    let mut same = series.iter_mut().filter(of_object);
    let same = same.find(|one| match &one.text {
        Some(known) => known == text,
        None => known > MOST,
    });
    if let Some(one) = same {
        one.last = now;
        return one.recorder.clone();
    }
    let recorder = new();
    series.push(Series {
        about,
        text: (known < MOST).then(|| text.to_owned()),
        last: now,
        recorder: recorder.clone(),
    });
    recorder
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the series to which events belong, told at these seconds: object, reason, text.
    fn series(told: &[(u64, &str, &str, &str)]) -> Vec<usize> {
        let begin = Instant::now();
        let (mut known, mut made) = (Vec::new(), 0);
        let number = |(at, uid, reason, text): &(u64, &str, &str, &str)| {
            let about = (Some((*uid).to_owned()), (*reason).to_owned());
            let now = begin + Duration::from_secs(*at);
            belongs(&mut known, about, text, now, || {
                made += 1;
                made
            })
        };
        told.iter().map(number).collect()
    }

    #[test]
    fn the_same_words_are_one_series_and_others_are_another() {
        let told = [
            (0, "a", "AddLearner", "add etcd-3 as a learner"),
            (1, "a", "AddLearner", "add etcd-4 as a learner"),
            (2, "a", "AddLearner", "add etcd-3 as a learner"),
            (3, "b", "AddLearner", "add etcd-3 as a learner"),
            (4, "a", "Promote", "add etcd-3 as a learner"),
        ];
        assert_eq!(series(&told), [1, 2, 1, 3, 4]);
    }

    #[test]
    fn what_was_not_told_for_a_while_begins_anew() {
        let told = [
            (0, "a", "r", "x"),
            (359, "a", "r", "x"),
            (719, "a", "r", "x"),
        ];
        assert_eq!(series(&told), [1, 1, 2]);
    }

    #[test]
    fn a_text_that_always_changes_fills_no_api_server() {
        let texts: Vec<String> = (0..50).map(|n| format!("failed at {n}")).collect();
        let told: Vec<_> = texts
            .iter()
            .map(|text| (1, "a", "r", text.as_str()))
            .collect();
        let series = series(&told);
        assert_eq!(series[..MOST], (1..=MOST).collect::<Vec<_>>());
        assert!(series[MOST..].iter().all(|number| *number == MOST + 1));
    }
}
