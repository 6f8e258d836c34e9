//! Stands between a program and its disk, without privileges: the program's writes and syncs are announced by the
//! kernel (seccomp's user notification) before they happen. What was in the way of each write is kept until the next
//! sync of that file, so that a power loss can be made: the program is killed, and what it did not sync is undone.
//! Syncs, writes and reads can be refused, too, as a failing disk does; as a full one does, writes that need a block.
//!
//! Not covered, and taken as durable at once: what directories hold (made, renamed, removed files). A writable shared
//! mapping of a file would pass unseen and is refused (bbolt maps its file read-only: `mmap` in its `bolt_unix.go` asks
//! for `PROT_READ` alone). One that is mapped read-only and made writable later, by `mprotect`, passes unseen: the call
//! does not say what is mapped there, and Go makes its own memory writable by it. What is read by a mapping is not seen
//! either. It knows nothing of etcd.

mod chance;
mod message;
mod undo;

#[cfg(target_os = "linux")]
mod call;
#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod enter;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod orders;
#[cfg(target_os = "linux")]
mod space;
#[cfg(target_os = "linux")]
mod supervise;
#[cfg(target_os = "linux")]
mod target;

#[cfg(target_os = "linux")]
pub use cli::Command;
pub use message::{Kept, Loss, MARK, Order, Report};
