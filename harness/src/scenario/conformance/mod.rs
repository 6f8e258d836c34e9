//! What a cluster must look like, without load and without faults: objects and their names, answers of every pod, what
//! the API server refuses, KubeBlocks' own manifests, the commands of the documents.
//!
//! Everything is looked at before anything is judged: one run names all that is wrong.

mod admission;
mod backups;
mod break_ins;
mod bring_up;
mod checklist;
mod conform;
mod documents;
mod first_template;
mod forged;
mod manifests;
mod objects;
mod outcome;
mod peers;
mod policies;
mod probes;
mod requests;
mod seats;
mod strangers;
mod termination;

pub(super) use admission::admission;
pub(super) use backups::backups;
pub(super) use break_ins::break_ins;
pub(super) use conform::conform;
pub(super) use documents::documents;
pub(super) use manifests::manifests;
pub(super) use policies::network_policies;
