//! The HTTP face: every path of the protocol. Routes and wiring only; what is answered comes from the other rooms.

mod paths;
mod serve;
mod shared_read;
mod stream;

pub use serve::{ServeError, serve};
