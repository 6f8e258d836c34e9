//! A proxy between members that are plain containers: all that they send each other passes it, so that a link between
//! two can be delayed, slowed, closed, flapped and reset, each way by itself, on kernels that have no netem.
//!
//! It works on connections, not on packets: bytes keep their order and none is lost. What meets a closed link waits and
//! arrives when it opens. One way can be closed while the other passes, where a packet filter drops acknowledgements.

mod carry;
mod config;
mod control;
mod link;
mod net;
mod rule;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use control::ask;
pub(crate) use run::run;
