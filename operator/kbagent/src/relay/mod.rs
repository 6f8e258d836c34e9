//! Accepts clients in the place of the own etcd while that is dead, and leads them to the leader: a client that is
//! refused backs off (gRPC: a second), long after there is a next leader.
//!
//! The agent listens at all times, on the address at which the clients of a service come, and the kernel gives it
//! none of them while etcd listens there: of two sockets that share a port (`SO_REUSEPORT`) one of IPv4 goes before
//! one of IPv6 that is bound to the same address, whichever came first. So etcd's death leads clients here, and its
//! start leads them back, without anyone having to notice, and no listener is ever closed with connections in its
//! queue. The launcher has etcd listen on that address beside the one that the definition names
//! ([`crate::launch::SHARED_FILE`]); at that other address only etcd answers, so that the agent never takes another
//! member for its own.
//!
//! A process that dies closes its sockets one by one, those of clients before the one that listens. A client that dials
//! again at once would be taken by a listener that is about to die, and reset. But before it closes any of them, the
//! kernel gives up the process's record locks: etcd holds one of the mark, `dying` waits for it, and listens beside
//! etcd's socket, as IPv4, and before it, until the next etcd listens.
//!
//! Bytes are passed on unread, TLS or not, and only to members of the own cluster: names from the own member's list,
//! addresses by their names. [`aim`] is pure; `others` knows the members, `listen` stands by, `dying` waits, `task`
//! does.

mod aim;
mod dying;
mod listen;
mod others;
mod task;

pub(crate) use task::start;
