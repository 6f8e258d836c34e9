//! What writer and reader of the binary form must agree on.

/// First byte of a frame whose record is JSON.
pub(super) const JSON: u8 = 0;
/// Of a call.
pub(super) const CALL: u8 = 1;
/// Of a return.
pub(super) const RETURN: u8 = 2;
/// Of what a watch stream said.
pub(super) const WATCH: u8 = 3;
/// Of a member's status, or its silence.
pub(super) const MEMBER: u8 = 4;
/// Deepest transaction in a transaction that has the short form; etcd's own clients send none.
pub(super) const DEPTH_MAX: u32 = 4;
