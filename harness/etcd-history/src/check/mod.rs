//! The checks, one file per property, each pure over the joined history.
//!
//! A check passes only when there was something to see: too little traffic, a fault without effect or a missing
//! sample is inconclusive, never green. The first violation in witness order is reported, naming at most six
//! operations.
//!
//! Modules: [`assumptions`] is the history fit to be judged at all (`objects`: what keepers of objects met);
//! [`linearizable`] with its parts `store` (what etcd must answer; `items`, `brief`: how keys are held), `log`
//! (revision by revision from the watches; `few`: keys of one revision), `placement` (where each operation belongs),
//! `refused` (what etcd never acknowledges), `used` (what was there before), `agree` (a revision beside its events),
//! `proof` (what proves that a revision existed), `witness` (order by revision; `rival`: what else may have deleted)
//! and `search` (for what has no revision); [`reads`] (with `compaction`, and `auto_compaction` for etcd's own),
//! [`leases`] (with the table `lives`), [`locks`], [`durability`], [`watch`] for the clients; [`agreement`] (with
//! `numbers`), [`raft`] (with `applied`), [`membership`], [`elections`] for the members; [`labels`], [`quorum`],
//! [`continuity`], [`planned`], [`in_time`] for the operator.
//!
//! Claims about time ([`continuity`], [`planned`], [`in_time`], the late end of [`leases`]) ask [`machine`] first:
//! where it was too busy they are not judged. All other claims are judged on every machine. [`shown`] asks all checks
//! whether and when a history shows a violation. [`stream`](mod@stream) judges linearizability record by record.
//! [`late`] says whether a run was late by its medians alone, so that another run of the same plan is made.

mod agree;
mod agreement;
mod all;
mod applied;
mod assumptions;
mod auto_compaction;
mod brief;
mod case;
mod compacted_alone;
mod compaction;
mod continuity;
mod dense;
mod durability;
mod elections;
mod expectations;
mod few;
mod gaps;
mod in_time;
mod items;
mod keyspace;
mod labels;
mod late;
mod leases;
mod linearizable;
mod lives;
mod load;
mod locks;
mod log;
mod machine;
mod membership;
mod numbers;
mod objects;
mod placement;
mod planned;
mod proof;
mod quorum;
mod raft;
mod reads;
mod refused;
mod rival;
mod rounds;
mod sample;
mod search;
mod shown;
mod store;
mod stream;
mod used;
mod verdict;
mod watch;
mod witness;
mod words;

#[cfg(test)]
mod mutate;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use all::{RENAMED, all, linearizable};
pub use auto_compaction::AutoCompaction;
pub(crate) use case::Case;
pub use continuity::{CHECK as CONTINUITY, GapSamples};
pub use expectations::{Expectations, GapBudget, InTime, OperationKind, Traffic};
pub use in_time::CHECK as IN_TIME;
pub use late::{Lateness, lateness};
pub use planned::HAND_OVER;
pub use shown::{first_shown, shows};
pub use stream::{Stream, stream};
pub use verdict::{Finding, Severity, Verdict, worst};
