//! The continuous archive: every change of the key space, in segments that are chained by their hashes.
//!
//! `segment`, `name`, `collect`, `history`, `search` and `standing` are pure. `store` keeps segments in a repository,
//! `watch` and `lease` ask etcd, `write` fills the archive and `serve` tells where it stands, `replay` puts it over a
//! backup.

pub mod collect;
pub mod history;
pub mod lease;
pub mod name;
pub mod replay;
pub mod search;
pub mod segment;
pub mod serve;
pub mod standing;
pub mod store;
pub mod watch;
pub mod write;
