//! What the reconcilers share: their context, the one way to write objects, events, errors to backoff.
//!
//! Only the reconcilers and the frame depend on this module; it takes no decision about a cluster.

mod announce;
mod apply;
mod backoff;
mod calm;
mod context;
mod current;
mod difference;
mod driver;
mod finalizer;
mod head;
mod round;
mod status;
mod watched;

pub use announce::announce;
pub use apply::{
    ApplyError, Object, apply, apply_if_different, cannot_rehearse, delete, is_refusal, own, patch,
    refuse_foreign, rehearse,
};
pub use backoff::{Backoff, STORM};
pub use calm::Calm;
pub use context::Context;
pub use current::{Blame, UNREADABLE, current, list};
pub use difference::{APPLIED, fingerprint, holds, with_fingerprint};
pub use driver::{Driver, Unread, all, key, ours};
pub use finalizer::{finalize, release};
pub use head::Head;
pub use round::Late;
pub use status::write_status;
pub use watched::{events, heads, readable, touched};
