//! Harms the packets that a member and its peers send each other, in the member's network namespace: a rule of
//! nf_tables gives them to a queue (NFQUEUE), and this program loses, doubles, damages or holds back a part of them.
//!
//! It leaves nothing in any case: the rule belongs to a socket of this process and goes with it, and passes everything
//! while no process reads the queue, or it is full.

mod harm;
mod kernel;
mod netlink;
mod packet;
mod queue;
mod report;
mod rule;
mod run;

pub(crate) use run::Command;
