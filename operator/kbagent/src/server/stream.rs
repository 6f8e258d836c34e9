//! The stream of views: the newest at once, every change that matters, and a sign of life each second.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use futures::stream;
use tokio::sync::watch;

use crate::watch::Knowledge;

/// How often the newest view is sent again when nothing changes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

struct Feed {
    knowledge: watch::Receiver<Knowledge>,
    first: bool,
}

/// The body of one reader's stream.
pub(super) fn body(knowledge: watch::Receiver<Knowledge>) -> Body {
    let feed = Feed {
        knowledge,
        first: true,
    };
    Body::from_stream(stream::unfold(feed, |mut feed| async move {
        if !std::mem::take(&mut feed.first) {
            let changed = tokio::time::timeout(SIGN_OF_LIFE, feed.knowledge.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return None;
            }
        }
        let view = feed.knowledge.borrow_and_update().at(Instant::now());
        let mut line = serde_json::to_vec(&view).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), feed))
    }))
}
