//! The stream of one agent's views: lines of JSON over one long response.
//!
//! Neither reconnects nor judges silence: the role path does both.

use std::net::SocketAddr;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use kbagent_protocol::MemberView;

use super::error::Error;

/// Longest line that is read, in bytes. A view is about 1 KiB.
const LONGEST_LINE: usize = 64 * 1024;

/// An open stream of views.
#[derive(Debug)]
pub(crate) struct Watch {
    address: SocketAddr,
    body: Incoming,
    pending: Vec<u8>,
}

impl Watch {
    /// Reads views from the body of an answer.
    pub(super) fn new(address: SocketAddr, body: Incoming) -> Self {
        Self {
            address,
            body,
            pending: Vec::new(),
        }
    }

    /// The next view. May be dropped and called again without losing one.
    ///
    /// # Errors
    /// When the stream has ended, is broken or says what is no view.
    pub(crate) async fn next(&mut self) -> Result<MemberView, Error> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return serde_json::from_slice(&line).map_err(|error| self.unreadable(&error));
            }
            if self.pending.len() > LONGEST_LINE {
                return Err(self.unreadable(&"a line has no end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.pending.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(self.ended(error.to_string())),
                None => return Err(self.ended("the agent closed the stream".to_owned())),
            }
        }
    }

    fn unreadable(&self, reason: &impl ToString) -> Error {
        Error::Answer {
            address: self.address,
            reason: reason.to_string(),
        }
    }

    fn ended(&self, reason: String) -> Error {
        Error::Exchange {
            address: self.address,
            reason,
        }
    }
}
