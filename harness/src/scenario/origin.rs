//! How the members of a bare run come to be.

use serde::Serialize;

/// How the members of a bare run come to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// All at once, with nothing.
    #[default]
    Together,
    /// One alone. Each of the others joins as a learner and is promoted.
    Joined,
    /// A member of the next version had a store without keys, in a later term. The others are restored from its
    /// snapshot, as an etcd is that goes back to the version before.
    RolledBack,
}
