//! Every check against small histories written by hand, good ones and bad ones, and all checks against clean simulated
//! histories.

mod absurd;
mod alike;
mod anomalies;
mod clean;
mod cluster;
mod compaction;
mod elections;
mod holes;
mod leases;
mod locks;
mod numbers;
mod objects;
mod operator;
mod recording;
mod refused;
mod store;
mod streams;
mod terms;
mod time;
mod watches;
mod witnessing;
