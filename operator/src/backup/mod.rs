//! Backups: BackupRepo, BackupPolicy, BackupSchedule and Backup -> Jobs that run `etcd-backup`, and what they report.
//!
//! `place`, `choose`, `period`, `calendar`, `job`, `keeper`, `part`, `proven`, `probe`, `stuck`, `decision`, `leave`,
//! `plan` and `continuous` (archives) are pure; `observe` reads, `others` all Backups of a namespace; `credential`
//! copies a Secret, `claim` makes a repository's claim, `beside` looks after pods that wait for a node, `readers`
//! finds restores under way; `reconcile` does what `plan` decides for Backups; `repo`, `policy` and `schedule` keep the
//! other kinds; `seed` fills the first disk of a Cluster that begins with a backup. No data of etcd passes through the
//! operator.

mod beside;
mod calendar;
mod choose;
mod claim;
mod context;
mod continuous;
mod credential;
mod decision;
mod job;
mod keeper;
mod leave;
mod observe;
mod observed;
mod others;
mod part;
mod period;
mod place;
mod plan;
mod policy;
mod probe;
mod proven;
mod readers;
mod reconcile;
mod repo;
mod run;
mod schedule;
mod seed;
mod stuck;

#[cfg(test)]
mod tests;

pub(crate) use context::Context;
pub(crate) use repo::run as repositories;
pub(crate) use run::run;
