//! Why a component has no definition or version.

/// A component cannot be resolved. Every message names the field of the component to correct.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    /// No definition has such a name.
    #[error("componentDef {wanted:?} matches no ComponentDefinition, there are: {known}")]
    Definition {
        /// What was asked for.
        wanted: String,
        /// The names there are.
        known: String,
    },
    /// No matching definition offers the version.
    #[error(
        "serviceVersion {wanted:?} is not offered for componentDef {definition:?}, there are: {known}{nearest}"
    )]
    Version {
        /// What was asked for.
        wanted: String,
        /// The definition.
        definition: String,
        /// The versions there are.
        known: String,
        /// Which of them comes nearest, in words; empty when none does.
        nearest: String,
    },
}
