//! The role path: which pod is labelled leader. Runs in every replica of the operator, with no lease.
//!
//! A data path: the leader's service follows the label. Each pod's agent streams its view (`streams`), views are
//! folded into facts (`knowledge`), facts and labels into ordered writes (`decide`, pure), and those are carried
//! out under guards (`write`). Elections that agents began become events (`announce`), failovers
//! traces (`trace`, `export`). Must not reconcile anything
//! else, and no label may wait for the old leader's pod.

mod announce;
pub(crate) mod board;
pub(crate) mod decide;
mod departed;
mod endpoints;
mod export;
pub(crate) mod facts;
pub(crate) mod failover;
mod group;
pub(crate) mod knowledge;
mod metrics;
mod path;
pub(crate) mod store;
mod streams;
mod timing;
mod trace;
mod write;

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub(crate) use board::Board;
pub(crate) use export::Traces;
pub(crate) use metrics::RoleMetrics;
pub(crate) use path::{Context, run};
pub(crate) use store::MemberStore;
