//! Accepts clients in front of the own etcd, passes them on to it, and leads them to the leader while it is dead: a
//! client that is refused backs off (gRPC: a second), long after there is a next leader.
//!
//! With the setting the launcher lets etcd listen at the address at which the agent asks it (loopback) instead of at
//! all of them, and the agent has the pod's address at the clients' port. So etcd's death closes no listener that a
//! client sees, and nothing has to be noticed in time.
//!
//! Bytes are passed on unread, TLS or not, and only to members of the own cluster: names from the own member's list,
//! addresses by their names. [`aim`], and what may be said twice in `pass`, are pure; `others` knows the members,
//! `agents` asks theirs, `scout` finds the leader by that, `front` accepts, as many
//! as `bounds` allows.

mod agents;
mod aim;
mod bounds;
mod front;
mod others;
mod pass;
mod scout;
mod sockets;

pub(crate) use front::start;
