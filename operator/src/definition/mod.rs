//! ComponentDefinitions and ComponentVersions: which one a component means, and whether they are sound.
//!
//! `matching`, `metadata`, `release` and `upgrade` are pure; `checks` says what is wrong with a definition; `reconcile`
//! writes that into the objects' status. Nothing here touches a cluster.

mod checks;
mod matching;
mod metadata;
mod pattern;
mod reconcile;
mod release;
mod unresolved;
mod upgrade;

pub use checks::{check_definition, check_version};
pub use matching::{Wanted, resolve};
pub use metadata::{BadMetadata, Metadata, check_metadata};
pub use pattern::matches;
pub use reconcile::run;
pub use release::{Release, newest_first, offered, release_for};
pub use unresolved::Unresolved;
pub use upgrade::{NoRoad, check_upgrade, minor_of};
