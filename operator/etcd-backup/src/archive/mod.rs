//! The continuous archive: every change of the key space, in segments that are chained by their hashes.
//!
//! `segment`, `name`, `collect`, `ask`, `history`, `search` and `standing` are pure. `store` keeps segments in a
//! repository, `walk` reads them in order, `owner` notes who has written to them, `watch` and `lease` ask etcd,
//! which is a `source`. `write` fills the archive, `tidy` merges and deletes beside it, `serve` tells where it stands,
//! `replay` puts it over a backup, in `portions`.

pub mod ask;
pub mod clock;
pub mod collect;
pub mod history;
pub mod lease;
pub mod name;
pub mod owner;
pub mod planned;
mod portions;
pub mod replay;
pub mod search;
pub mod segment;
pub mod serve;
mod source;
pub mod standing;
pub mod store;
mod tidy;
pub mod walk;
pub mod watch;
pub mod write;
