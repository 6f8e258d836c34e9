//! ComponentDefinitions and ComponentVersions: which one a component means, and whether they are sound.
//!
//! `matching`, `metadata`, `release` and `upgrade` are pure; `checks` says what is wrong with a definition; `reconcile`
//! writes that into the objects' status. Nothing here touches a cluster.

mod checks;
mod matching;
mod metadata;
mod minor;
mod pattern;
mod reconcile;
mod release;
mod unresolved;
mod upgrade;

pub(crate) use checks::check_definition;
pub(crate) use matching::{Wanted, resolve};
pub(crate) use metadata::{BadMetadata, Metadata, check_metadata, is_ours, is_own_label};
pub(crate) use minor::Minor;
pub(crate) use pattern::matches;
pub(crate) use reconcile::run;
pub(crate) use release::{Release, release_for};
pub(crate) use unresolved::Unresolved;
pub(crate) use upgrade::{
    NoRoad, READS_OLD, check_upgrade, leads_down, leads_past_old_requests, minor_of,
};
