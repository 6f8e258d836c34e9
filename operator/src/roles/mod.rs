//! The role path: which pod is labelled leader. Runs in every replica of the operator, with no lease.
//!
//! A data path: the leader's service follows the label. Each pod's agent streams its view (`streams`), views are
//! folded into facts (`knowledge`), facts and labels into ordered writes (`decide`, pure), and those are carried
//! out under guards (`write`). Elections that agents began become events (`announce`), failovers
//! traces (`trace`, `export`). Must not reconcile anything
//! else, and no label may wait for the old leader's pod.

mod announce;
pub mod board;
pub mod decide;
mod departed;
mod endpoints;
mod export;
pub mod facts;
pub mod failover;
mod group;
pub mod knowledge;
mod metrics;
mod path;
pub mod store;
mod streams;
mod timing;
mod trace;
mod write;

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use board::Board;
pub use export::Traces;
pub use metrics::RoleMetrics;
pub use path::{Context, run};
pub use store::MemberStore;
