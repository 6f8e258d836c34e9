//! InstanceSet -> pods, claims, membership.
