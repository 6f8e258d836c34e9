//! The HTTP face: every path of the protocol. Routes and wiring only; the answers come from the other modules.

mod entrance;
mod gate;
mod paths;
mod serve;
mod shared_read;
mod sparing;
mod stream;

pub use serve::{ServeError, serve};
