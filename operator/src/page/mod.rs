//! One look at all clusters, for people: read-only, off by default, on loopback only.
//!
//! `gather` keeps few fields of each object and `serve` answers; `view` and `html` are pure: facts in, page out. Must
//! not decide or write anything, and no request of a reader costs a call of the API server.

mod gather;
mod html;
mod serve;
mod text;
mod view;

pub(crate) use serve::{Address, bind, run};
