//! Backups of etcd that are proven: a snapshot streamed into a repository, restored from there, and compared.
//!
//! `manifest`, `digest`, `pace`, `report`, `path` are pure, and `archive` says which of its modules are. `seal`
//! encrypts, `progress` tells how far a backup is, `repository` reads and writes objects, `pages` looks for some,
//! `member` asks etcd, `utility` runs etcdutl and a private etcd, to which `private` gives certificates and which
//! `alter` has change a snapshot; `apart` keeps backups out of each other's folders, `lost` looks for earlier ones;
//! `save`, `verify`, `restore`, `remove` are what a Job does with them.

mod alter;
pub mod apart;
pub mod archive;
pub mod digest;
pub mod error;
pub mod lost;
pub mod manifest;
pub mod member;
pub mod pace;
mod pages;
pub mod path;
mod private;
pub mod progress;
pub mod remove;
pub mod report;
pub mod repository;
pub mod restore;
pub mod s3;
pub mod save;
pub mod seal;
pub mod utility;
pub mod verify;

pub use error::Error;
pub use manifest::Manifest;
pub use repository::Repository;
