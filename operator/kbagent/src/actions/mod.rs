//! Changes of membership and leadership, one at a time, each on a fresh list agreed by a quorum (M1, M4-M7, M13).
//!
//! [`candidate`] is pure. Must not decide that a change is wanted (that is the operator's), and must report success
//! only of what it has seen.

mod candidate;
mod cluster;
mod dispatch;
mod downgrade;
mod drain;
mod long;
mod membership;
mod outcome;
mod switchover;
mod token;
mod upkeep;

pub use candidate::{LeaderMark, NoCandidate, Standing, choose};
pub use cluster::Cluster;
pub use dispatch::{Actions, ROLE_AGE};
pub use outcome::Failure;
pub use switchover::{Moved, move_away, move_to};
pub use token::{NoToken, Token};
