//! Faults: each is injected, proves its effect, is healed and proves that nothing of it is left.
//!
//! [`Fault`] is data. [`inject`] resolves its selectors against the members as they are at that moment and gives an
//! [`Active`]; [`Active::effect`] looks for evidence (packets dropped, a process in state `T`, a new pod UID, ...) and
//! fails where there is none, because a fault without effect proves nothing; [`Active::heal`] takes it back;
//! [`Active::residue`] says what is left, which must be nothing.
//!
//! A dead man's switch is armed before a fault is injected, so that it ends even when the harness is killed:
//! - in a node: a timer in the node that runs the same script that heals ([`deadman`]); packet rules expire in the
//!   kernel besides ([`rules`]);
//! - on a node as a whole (paused, killed): a small container beside it that holds the timer and asks Docker
//!   ([`thaw`]);
//! - in the API (deleted pods and claims): nothing, the cluster itself puts them back.
//!
//! What needs a shell in a node is unavailable where nodes are no containers; [`availability`] says so beforehand.

mod active;
mod availability;
mod context;
mod control_plane;
mod cutoff;
mod database;
mod deadman;
mod disk;
mod dns;
mod error;
mod evidence;
mod fault;
mod healing;
mod iptables;
mod look;
mod members;
pub mod mend;
mod network;
mod nodes;
mod objects;
mod operator;
mod plan;
mod pods;
mod power;
mod probe;
mod process;
mod processes;
mod repoint;
pub mod residue;
mod rules;
mod selector;
mod storage;
mod target;
pub(crate) mod thaw;
mod together;
mod words;

pub use active::{Active, inject};
pub use availability::{Availability, Capabilities, Need, availability, impossible, need};
pub use context::FaultContext;
pub use error::FaultError;
pub use evidence::Evidence;
pub use fault::{
    Absence, Container, ControlPlanePart, DataLoss, Deletion, Direction, Fault, NodeSelector,
    OperatorFault, Replicas, Traffic,
};
pub use healing::Healing;
pub use members::Member;
pub use selector::{SelectError, Selector};
pub use target::{Target, in_words};
