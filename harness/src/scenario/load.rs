//! What the recording client of a trial does differently from its defaults.

use etcd_history::check::{Expectations, OperationKind, Traffic};
use serde::Serialize;

/// What the recording client does differently from its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// True when a held connection is also given up after a deadline. False leaves it to the process that cuts it.
    pub held_redials_on_deadline: bool,
    /// True when the history is on disk, so that it outlives the restart of the client's node.
    pub outlives_node: bool,
    /// True when leases are short and left to end by themselves.
    pub leases_expire: bool,
    /// Revisions from a client's compaction to its next one, which is at the revision of a delete and right behind it.
    /// Most of what clients send are puts and deletes that stand alone then, and the client that dials all members is
    /// silent. 0: none.
    pub lone_deletes: u32,
    /// True when clients compact the store, and read at old revisions.
    pub compacts: bool,
    /// True when clients compact what is a moment old, and send transactions that write beside a read of what is
    /// compacted.
    pub compacted_txns: bool,
    /// True when each client compacts to the revisions of its deletes, and a further watch on each member begins there.
    pub compacts_deletes: bool,
    /// How often each compare of a transaction is sent, up to 1000. More than once takes etcd longer to apply, and
    /// clients swap keys of their own then.
    pub compares: u32,
    /// True when a third of what clients send is a read of a key of their own, in a transaction whose compare holds.
    pub guarded_reads: bool,
    /// True when each mixed client asks one member only; for bare members.
    pub pinned: bool,
    /// Milliseconds between two questions for the progress of each watch under load, 5 to 10000; 0: only in silence.
    pub progress_ms: u32,
    /// So many revisions ahead of what is there a further watch begins on each member, again and again; 0: none.
    pub future: u32,
    /// So many other watches begin at revision 1 in the stream of a further watch on each member, up to 450. That one
    /// begins at the first event, or behind the compaction, again and again; 0: none.
    pub crowd: u32,
    /// True when two further watches begin on each member again and again: one at revision -1, and one in the past.
    pub negative: bool,
    /// Clients that take locks and stand in elections in turn, each write guarded by its lock: up to 100.
    pub holders: u32,
    /// Clients that keep objects as a kube-apiserver does (guarded writes, lists in pages of one revision): up to 100.
    pub keepers: u32,
    /// Operations a second of the mixed clients together, 1 to 5000; 0: the recording client's default, 48.
    pub operations_s: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            held_redials_on_deadline: true,
            outlives_node: false,
            leases_expire: false,
            lone_deletes: 0,
            compacts: false,
            compacted_txns: false,
            compacts_deletes: false,
            compares: 1,
            guarded_reads: false,
            pinned: false,
            progress_ms: 0,
            future: 0,
            crowd: 0,
            negative: false,
            holders: 0,
            keepers: 0,
            operations_s: 0,
        }
    }
}

impl Load {
    /// The same with what must be seen of this load: kinds of operation, locks, and traffic around each fault.
    pub fn expected(&self, mut expectations: Expectations) -> Expectations {
        expectations.operations.extend(self.kinds());
        expectations.contested_locks = self.contested();
        expectations.traffic = self.least();
        expectations
    }

    /// Fewest operations around every fault.
    fn least(&self) -> Traffic {
        let mut least = Traffic::default();
        if self.lone_deletes > 0 {
            // One client sends ten a second and waits for every answer, and the fault is over in half a second.
            least.during = 3;
        }
        if self.compacts_deletes {
            // No client but these few writes then, which wait for compactions that last a second.
            least.before = 5;
            least.after = 5;
        }
        least
    }

    /// What must be seen of it, besides what every load has.
    fn kinds(&self) -> Vec<OperationKind> {
        let expire = self.leases_expire.then_some(OperationKind::LeaseEnd);
        let compacts = self.compacts || self.compacted_txns || self.compacts_deletes;
        let compact = compacts.then_some(OperationKind::Compact);
        let guarded = [OperationKind::GuardedWrite, OperationKind::RefusedHolder];
        let locks = guarded.into_iter().filter(|_| self.holders > 0);
        let met = [OperationKind::FurtherPage, OperationKind::OutdatedWrite];
        let objects = met.into_iter().filter(|_| self.keepers > 0);
        let lone = (self.lone_deletes > 0).then_some(OperationKind::Compact);
        let expire = expire.into_iter().chain(lone);
        expire.chain(compact).chain(locks).chain(objects).collect()
    }

    /// Locks and elections that two clients at least compete for.
    pub fn contested(&self) -> u32 {
        let locks = self.holders.div_ceil(2);
        let elections = self.holders / 2;
        u32::from(locks > 1) + u32::from(elections > 1)
    }
}
