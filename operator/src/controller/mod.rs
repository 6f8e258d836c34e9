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
mod event_series;
mod finalizer;
mod head;
mod round;
mod status;
mod watched;

pub(crate) use announce::announce;
pub(crate) use apply::{
    ApplyError, Object, apply_if_different, cannot_rehearse, delete, is_refusal, own, patch,
    refuse_foreign, rehearse,
};
pub(crate) use backoff::{Backoff, STORM};
pub(crate) use calm::Calm;
pub(crate) use context::Context;
pub(crate) use current::{Blame, UNREADABLE, current, is_lasting, list, list_as, stuck};
pub(crate) use difference::{APPLIED, fingerprint, holds};
pub(crate) use driver::{Driver, Unread, all, key, ours};
pub(crate) use event_series::Events;
pub(crate) use finalizer::{finalize, is_orphaning, release};
pub(crate) use head::Head;
pub(crate) use round::Late;
pub(crate) use status::write_status;
pub(crate) use watched::{ROUNDS, events, heads, readable, specified, touched};
