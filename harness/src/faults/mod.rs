//! Faults: each is injected, proves its effect, is healed and proves that nothing of it is left.
//!
//! [`Fault`] is data. [`inject`] resolves its selectors against the members as they are at that moment and returns an
//! [`Active`]; [`Active::effect`] looks for evidence (packets dropped, a process in state `T`, a new pod UID, ...) and
//! fails where there is none, because a fault without effect proves nothing; [`Active::heal`] takes it back;
//! [`Active::residue`] says what is left, which must be nothing.
//!
//! A dead man's switch is armed before a fault is injected, so that it ends even when the harness is killed:
//! - in a node: a timer in the node that runs the same script that heals ([`switch::deadman`]); packet rules expire in
//!   the kernel besides;
//! - on a node as a whole (paused, killed): a small container beside it that holds the timer and asks Docker
//!   ([`thaw`]);
//! - in the API (deleted pods and claims): nothing, the cluster itself puts them back.
//!
//! What needs a shell in a node is unavailable where nodes are no containers; [`availability`] says so beforehand.

mod availability;
mod capabilities;
mod context;
mod data;
mod display;
mod error;
mod evidence;
mod fault;
mod flood;
mod healing;
mod inject;
mod member;
mod members;
mod need;
mod network;
mod node;
mod pods;
mod process;
pub(crate) mod residue;
mod running;
mod seen;
mod selector;
pub(crate) mod switch;
mod target;
mod template;
mod together;

pub use availability::{Availability, availability, impossible, need};
pub use capabilities::Capabilities;
pub(crate) use capabilities::try_kernel;
pub use context::FaultContext;
pub use error::{FaultError, SelectError};
pub use evidence::Evidence;
pub use fault::{
    Absence, Container, ControlPlanePart, DataLoss, Declared, Deletion, Direction, Disturbance,
    EtcdClock, FailAction, Fault, LogDamage, NodeSelector, OperatorFault, PacketHarm, Replicas,
    Traffic, Unreadable, Unsynced,
};
pub use healing::Healing;
pub use inject::{Active, inject};
pub use member::Member;
pub use need::{Lack, Need};
pub(crate) use network::{Cut, parties};
pub(crate) use running::{AnyRunning, Injected, Running};
pub use selector::Selector;
pub use target::{Target, in_words};
