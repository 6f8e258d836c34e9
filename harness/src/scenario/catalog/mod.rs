//! All scenarios, a file a family. Each is a few lines: what happens, to which target, how long, and what must come of
//! it.
//!
//! Three members show what one failure does, five what two do; a scenario is run with both. Where five show what three
//! have shown, they are among what takes minutes (`make e2e-long`), for the suite is to take 25. What
//! every run promises besides - linearizable, nothing acknowledged lost, one leader a term, never two leader labels, no
//! quorum broken by the operator - is checked for all of them and said nowhere here.

mod agent;
mod all;
mod control_plane;
mod counts;
mod failover;
mod guarded;
mod hostile;
mod lossy;
mod node;
mod operation;
mod operator;
mod outside;
mod owner;
mod partition;
mod provision;
mod quorum;
mod restart;
mod storage;
mod store;
#[cfg(test)]
mod tests;

pub use all::all;
