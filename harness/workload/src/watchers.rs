//! Watches of the run's keys on every member and through the service, from revision 1 to the end.
//!
//! What they see is the log against which everything else is judged, so they continue after the traffic has stopped. A
//! stream that ends, or says nothing although it was asked for its progress, is followed by a new one from the
//! revision after the last event. Watches of the future begin at a revision that is not there yet; what they are told
//! before it is wrong. Others begin again and again in the past, at the compacted revision, or at one that no etcd has.

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};
use etcd_history::{
    Record,
    record::{KeyEvent, WatchEvent, WatchRecord},
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    attempt::Shared,
    connection::dial,
    execute::{ANSWER_LIMIT, key_value},
    schedule::pause,
};

/// A stream is asked for its progress when it was quiet for this long.
const ASK: Duration = Duration::from_secs(1);
/// Questions without an answer after which a stream counts as dead.
const PATIENCE: u32 = 3;
/// Pause before a new stream.
const REDIAL: Duration = Duration::from_millis(200);

/// Responses with events after which a watch of the future ends, so that the next one begins.
const FUTURE_RESPONSES: u32 = 50;
/// The same of a watch of the past, and of one that begins before all revisions.
const PAST_RESPONSES: u32 = 1;
/// How many revisions before the newest one a watch of the past begins, in turn.
const NEAR: i64 = 10;
const FAR: i64 = 500;
/// The first revision of a store.
const BEGINNING: i64 = 1;
/// The first revision with an event. A watcher that begins at the one before has asked for everything.
const FIRST_EVENT: i64 = 2;

/// Ends of a watch that a new log-in mends.
const LOG_IN_AGAIN: [&str; 2] = [
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
];

/// Where the streams of a watcher begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At revision 1, then where the last one ended.
    Continued,
    /// So many revisions ahead of what is there.
    Ahead(i64),
    /// In the past, near and far in turn.
    Past,
    /// At revision -1, which no etcd has.
    Negative,
    /// At revision 1, and at the compacted one where etcd has told it instead. Where so many other watches begin in its
    /// stream, it is from the first event on, and behind the compacted revision: by another bug (18089) some versions
    /// lose a delete at that.
    Compacted(u32),
}

impl Begin {
    /// Where the stream with this number begins, of a member that is at this revision; `next` is where the one before
    /// it has ended.
    fn at(self, (stream, next): (u32, i64), revision: i64) -> i64 {
        match self {
            Self::Continued | Self::Compacted(_) => next,
            Self::Ahead(by) => revision.saturating_add(by),
            Self::Past => {
                let back = if stream.is_multiple_of(2) { NEAR } else { FAR };
                (revision - back).max(FIRST_EVENT)
            }
            Self::Negative => -1,
        }
    }

    /// Where the stream begins behind one that was told this compacted revision, or none.
    fn after(self, compacted: Option<i64>) -> i64 {
        match self {
            Self::Compacted(1..) => compacted.map_or(FIRST_EVENT, |revision| revision + 1),
            _ => compacted.unwrap_or(BEGINNING),
        }
    }

    /// True when it depends on the revision of the member.
    fn asks_first(self) -> bool {
        matches!(self, Self::Ahead(_) | Self::Past)
    }

    /// How many other watches begin with one at this revision, in its stream.
    fn others(self, start: i64) -> u32 {
        match self {
            Self::Compacted(others) if start == FIRST_EVENT => others,
            _ => 0,
        }
    }

    /// Responses with events after which a stream ends by itself.
    fn responses(self) -> Option<u32> {
        match self {
            Self::Continued => None,
            Self::Ahead(_) => Some(FUTURE_RESPONSES),
            Self::Past | Self::Negative | Self::Compacted(_) => Some(PAST_RESPONSES),
        }
    }
}

/// One watcher.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    /// Its number.
    pub(crate) number: u32,
    /// A pod's name, or `service`.
    pub(crate) target: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Where its streams begin.
    pub(crate) begin: Begin,
}

struct Streams<'a> {
    shared: &'a Shared,
    watcher: &'a Watcher,
    stream: u32,
    next: i64,
    /// The compacted revision, where the last stream was cancelled for it.
    compacted: Option<i64>,
}

/// When a stream is asked for its progress: after a second of silence, and under load where that is wanted.
#[derive(Debug)]
struct Questions {
    /// When it said something last.
    spoke: Instant,
    /// Seconds of silence since, each with a question.
    vain: u32,
    under_load: Option<Duration>,
    next: Option<Instant>,
}

impl Questions {
    fn new(now: Instant, progress_ms: u64) -> Self {
        let under_load = (progress_ms > 0).then(|| Duration::from_millis(progress_ms));
        Self {
            spoke: now,
            vain: 0,
            under_load,
            next: under_load.map(|every| now + every),
        }
    }

    /// When a question is due.
    fn due(&self) -> Instant {
        let silent = self.silent();
        self.next.map_or(silent, |next| next.min(silent))
    }

    fn silent(&self) -> Instant {
        self.spoke + ASK * (self.vain + 1)
    }

    fn answered(&mut self, now: Instant) {
        self.spoke = now;
        self.vain = 0;
    }

    /// True when nothing came although it was asked often enough.
    fn in_vain(&self, now: Instant) -> bool {
        self.vain == PATIENCE && now >= self.silent()
    }

    fn asked(&mut self, now: Instant) {
        if now >= self.silent() {
            self.vain += 1;
        }
        self.next = self.under_load.map(|every| now + every);
    }
}

impl Watcher {
    /// Watches for ever.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let mut streams = Streams {
            shared: &shared,
            watcher: &self,
            stream: 0,
            next: BEGINNING,
            compacted: None,
        };
        loop {
            let until = Instant::now() + shared.config.deadline();
            if let Ok(client) = dial(&shared.reach, &self.address, until).await
                && streams.aim(&client).await
            {
                let reason = streams.watch(client).await;
                streams.record(WatchEvent::Broken { message: reason });
                streams.stream += 1;
            }
            pause(REDIAL).await;
        }
    }
}

impl Streams<'_> {
    /// Chooses where the next stream begins; false when the member does not say which revision it has.
    async fn aim(&mut self, client: &Client) -> bool {
        let begin = self.watcher.begin;
        let compacted = self.compacted.take();
        if matches!(begin, Begin::Compacted(_)) {
            self.next = begin.after(compacted);
        }
        if !begin.asks_first() {
            self.next = begin.at((self.stream, self.next), 0);
            return true;
        }
        let mut maintenance = client.maintenance_client();
        let asked = timeout(self.shared.config.deadline(), maintenance.status()).await;
        let Ok(Ok(status)) = asked else {
            return false;
        };
        let Some(header) = status.header() else {
            return false;
        };
        self.next = begin.at((self.stream, self.next), header.revision());
        true
    }

    /// One stream to its end; says why it ended.
    async fn watch(&mut self, client: Client) -> String {
        let config = &self.shared.config;
        let (key, range_end) = (config.prefix.clone(), config.range_end());
        let options = WatchOptions::new()
            .with_range(range_end.as_str())
            .with_start_revision(self.next)
            .with_prev_key()
            .with_progress_notify();
        let start_revision = self.next;
        self.record(WatchEvent::Opened {
            key: key.clone(),
            range_end,
            start_revision,
        });
        let mut watches = client
            .watch_client()
            .max_decoding_message_size(ANSWER_LIMIT);
        match timeout(config.deadline(), watches.watch(key, Some(options))).await {
            Ok(Ok(mut stream)) => {
                let others = self.watcher.begin.others(start_revision);
                match crowd(&mut stream, &self.shared.config.prefix, others).await {
                    Ok(()) => self.follow(stream).await,
                    Err(why) => why,
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer to the watch request".to_owned(),
        }
    }

    async fn follow(&mut self, mut stream: WatchStream) -> String {
        let mut responses = 0;
        let mut own = None;
        let mut questions = Questions::new(Instant::now(), self.shared.config.rates.progress_ms);
        loop {
            match timeout_at(questions.due(), stream.message()).await {
                Ok(Ok(Some(response))) => {
                    // etcd answers the requests of a stream one after the other, and the first is that of this watch.
                    if is_of_another(&mut own, response.watch_id()) {
                        continue;
                    }
                    questions.answered(Instant::now());
                    if response.canceled() && not_known(response.cancel_reason()) {
                        self.shared.reach.forget_token();
                        return format!("refused: {}", response.cancel_reason());
                    }
                    if self.said(&response) {
                        return "cancelled".to_owned();
                    }
                    responses += u32::from(!response.events().is_empty());
                    let enough = self.watcher.begin.responses();
                    if enough.is_some_and(|enough| responses >= enough) {
                        return "its client has seen it begin".to_owned();
                    }
                }
                Ok(Ok(None)) => return "the stream ended".to_owned(),
                Ok(Err(error)) => return error.to_string(),
                Err(_) => {}
            }
            let now = Instant::now();
            if now < questions.due() {
                continue;
            }
            if questions.in_vain(now) {
                return format!("silent for {} s", (PATIENCE + 1) * ASK.as_secs() as u32);
            }
            questions.asked(now);
            if let Err(error) = stream.request_progress().await {
                return error.to_string();
            }
        }
    }

    /// Records a response; true when it ends the watch.
    fn said(&mut self, response: &WatchResponse) -> bool {
        if response.canceled() {
            let compact_revision = response.compact_revision();
            let reason = response.cancel_reason().to_owned();
            self.next = self.next.max(compact_revision);
            self.compacted = (compact_revision > 0).then_some(compact_revision);
            self.record(WatchEvent::Cancelled {
                compact_revision,
                reason,
            });
            return true;
        }
        let revision = response
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision);
        let events: Vec<KeyEvent> = response.events().iter().filter_map(key_event).collect();
        if let Some(last) = events.iter().map(mod_revision).max() {
            self.next = last + 1;
            self.record(WatchEvent::Events {
                revision,
                events,
                fragment: false,
            });
        } else if !response.created() {
            self.record(WatchEvent::Progress { revision });
        }
        false
    }

    fn record(&self, event: WatchEvent) {
        let recorder = &self.shared.recorder;
        recorder.record(&Record::Watch(WatchRecord {
            t: recorder.clock.now(),
            watcher: recorder.client(self.watcher.number),
            stream: self.stream,
            target: self.watcher.target.clone(),
            event,
        }));
    }
}

/// Begins so many other watches in a stream, of a key that no client writes.
async fn crowd(stream: &mut WatchStream, prefix: &str, others: u32) -> Result<(), String> {
    for _ in 0..others {
        let options = WatchOptions::new().with_start_revision(BEGINNING);
        let asked = stream.watch(format!("{prefix}crowd"), Some(options)).await;
        asked.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// True for a response to another watch of a stream than the first one that it names. One with a number below 0 is for
/// all, and names none.
fn is_of_another(own: &mut Option<i64>, watch: i64) -> bool {
    watch >= 0 && *own.get_or_insert(watch) != watch
}

/// True when etcd does not know the token of a watch, which it says in the stream.
fn not_known(reason: &str) -> bool {
    LOG_IN_AGAIN.iter().any(|text| reason.contains(text))
}

fn key_event(event: &etcd_client::Event) -> Option<KeyEvent> {
    let kv = event.kv()?;
    let prev = event.prev_kv().map(key_value);
    Some(match event.event_type() {
        EventType::Put => KeyEvent::Put {
            kv: key_value(kv),
            prev,
        },
        EventType::Delete => KeyEvent::Delete {
            key: String::from_utf8_lossy(kv.key()).into_owned(),
            mod_revision: kv.mod_revision(),
            prev,
        },
    })
}

fn mod_revision(event: &KeyEvent) -> i64 {
    match event {
        KeyEvent::Put { kv, .. } => kv.mod_revision,
        KeyEvent::Delete { mod_revision, .. } => *mod_revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_stream_that_is_asked_often_is_given_up_as_soon_as_any_other() {
        for progress_ms in [0, 10] {
            let begin = Instant::now();
            let mut questions = Questions::new(begin, progress_ms);
            while !questions.in_vain(questions.due()) {
                questions.asked(questions.due());
            }
            assert_eq!(questions.due(), begin + ASK * 4, "{progress_ms}");
        }
    }

    #[test]
    fn watches_of_the_past_begin_near_and_far_and_never_at_the_beginning() {
        let at = |begin: Begin, stream, revision| begin.at((stream, 7), revision);
        let past = [0, 1, 2].map(|stream| at(Begin::Past, stream, 1_000));
        assert_eq!(past, [990, 500, 990]);
        assert_eq!([0, 1].map(|stream| at(Begin::Past, stream, 1)), [2, 2]);
        assert_eq!(at(Begin::Ahead(50), 1, 1_000), 1_050);
        let unasked = [Begin::Continued, Begin::Compacted(0), Begin::Negative];
        assert_eq!(unasked.map(|begin| at(begin, 1, 0)), [7, 7, -1]);
        assert!(!unasked.iter().any(|begin| begin.asks_first()));
    }

    #[test]
    fn a_crowd_begins_with_a_watch_of_all_and_its_responses_are_told_apart() {
        let crowded = Begin::Compacted(400);
        let starts = [None, Some(40)].map(|told| crowded.after(told));
        // One that begins at the beginning has to continue where it ended.
        assert_eq!(starts, [FIRST_EVENT, 41]);
        assert_eq!(starts.map(|start| crowded.others(start)), [400, 0]);
        assert_eq!(Begin::Continued.others(FIRST_EVENT), 0);
        let alone = Begin::Compacted(0);
        assert_eq!([None, Some(40)].map(|told| alone.after(told)), [1, 40]);
        let mut own = None;
        for (watch, other) in [(-1, false), (0, false), (7, true), (-1, false), (0, false)] {
            assert_eq!(is_of_another(&mut own, watch), other, "{watch}");
        }
    }

    #[test]
    fn under_load_it_is_asked_although_it_speaks() {
        let begin = Instant::now();
        let (mut quiet, mut often) = (Questions::new(begin, 0), Questions::new(begin, 10));
        for ms in 1..=9 {
            quiet.answered(begin + MS * ms);
            often.answered(begin + MS * ms);
        }
        assert_eq!(often.due(), begin + MS * 10);
        assert_eq!(quiet.due(), begin + MS * 9 + ASK);
    }
}
