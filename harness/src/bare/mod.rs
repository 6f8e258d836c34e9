//! The tier without Kubernetes: etcd members as plain containers on a Docker network of their own.
//!
//! The same scenario language, recording client, history, checks and run directory as in a cluster. What a cluster
//! adds is missing here and is not imitated: there are no pods, no labels and no leader service, so that clients dial
//! members, and what a run expects says so ([`plan`]).
//!
//! Everything that is made carries a label with the process that made it; what a killed process left is removed by one
//! that waits for its end ([`remover`]), else before the next run ([`leftovers`]).

mod archive;
mod beside;
pub mod bugs;
pub mod catalog;
mod client;
mod clock;
mod cluster;
mod crash;
mod damage;
mod defrag;
mod disk;
mod disturbed;
mod effect;
mod election;
mod error;
mod failing;
mod failpoint;
mod faults;
mod gofail;
mod health;
mod hunt;
mod lab;
mod ledger;
pub(crate) mod leftovers;
mod links;
mod member;
mod moment;
mod network;
mod origin;
mod packets;
mod plan;
mod power;
mod proxy;
mod release;
pub(crate) mod remover;
mod run;
pub mod shared;
mod since_start;
mod status;
mod storage;
mod supervisor;
mod turns;
mod users;
mod versions;
mod wal;

pub use error::BareError;
pub use hunt::{Sighting, hunt};
pub use lab::BareLab;
pub use ledger::{Series, recorded};
pub use plan::{BarePlan, VERSION};
pub use run::{run, run_apart};
