//! What a watch of metadata holds of an object.

use kube::api::PartialObjectMeta;

/// The metadata of an object.
pub(crate) type Head<K> = PartialObjectMeta<K>;
