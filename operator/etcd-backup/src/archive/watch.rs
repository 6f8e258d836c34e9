//! Watches all keys of a member.

use etcd_client::{WatchOptions, WatchStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::segment::Event;
use crate::error::Error;
use crate::member::{Member, SHORT, answer};

/// Largest message that is taken, in bytes: etcd divides larger ones, down to one event.
const MESSAGE: usize = 64 * 1024 * 1024;

/// What a watch says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Changes, in order.
    Events(Vec<Event>),
    /// All up to this revision was delivered.
    Delivered(i64),
    /// Revisions up to this one are compacted; the watch has ended.
    Compacted(i64),
    /// The watch has ended.
    Ended(String),
    /// Nothing of interest.
    Other,
}

/// A watch of all keys.
pub struct Watch {
    stream: WatchStream,
    endpoint: String,
    after: i64,
    before: Vec<Event>,
}

impl Watch {
    /// Begins after a revision. etcd is asked for that one, too: were it compacted, the first new one might be.
    ///
    /// # Errors
    /// When the member does not answer.
    pub async fn begin(member: &Member, after: i64) -> Result<Self, Error> {
        let options = WatchOptions::new()
            .with_all_keys()
            .with_start_revision(after.max(1))
            .with_fragment();
        let mut client = member
            .client()
            .watch_client()
            .max_decoding_message_size(MESSAGE);
        let stream = timeout(SHORT, client.watch("", Some(options))).await;
        Ok(Watch {
            stream: answer("watch all keys", member.endpoint(), stream)?,
            endpoint: member.endpoint().to_owned(),
            after,
            before: Vec::new(),
        })
    }

    /// Asks for [`Message::Delivered`].
    ///
    /// # Errors
    /// When the watch has ended.
    pub async fn ask(&mut self) -> Result<(), Error> {
        let asked = timeout(SHORT, self.stream.request_progress()).await;
        answer("ask for progress", &self.endpoint, asked)
    }

    /// What the last message had of the revision that the watch begins after, once.
    pub fn before(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.before)
    }

    /// The next message.
    ///
    /// # Errors
    /// When the stream breaks or stays silent until then.
    pub async fn next(&mut self, until: Instant) -> Result<Message, Error> {
        let message = timeout_at(until, self.stream.message()).await;
        let Some(message) = answer("watch all keys", &self.endpoint, message)? else {
            return Ok(Message::Ended("the stream has ended".to_owned()));
        };
        if message.canceled() {
            return Ok(match message.compact_revision() {
                0 => Message::Ended(message.cancel_reason().to_owned()),
                revision => Message::Compacted(revision),
            });
        }
        if !message.events().is_empty() {
            let events = message.events().iter().filter_map(event);
            let (new, before) = events.partition(|event| event.revision > self.after);
            self.before = before;
            return Ok(Message::Events(new));
        }
        let revision = message.header().map(etcd_client::ResponseHeader::revision);
        Ok(match revision {
            Some(revision) if !message.created() => Message::Delivered(revision),
            _ => Message::Other,
        })
    }
}

/// One change; a deleted key has version 0.
fn event(event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    Some(Event {
        delete: kv.version() == 0,
        key: kv.key().to_vec(),
        value: kv.value().to_vec(),
        lease: kv.lease(),
        create_revision: kv.create_revision(),
        revision: kv.mod_revision(),
        version: kv.version(),
        at: 0,
        lease_seconds: 0,
    })
}
