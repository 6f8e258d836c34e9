//! What a run leaves behind: one directory with the plan, the history, the verdicts and a page that shows them.
//!
//! Reads the history and the verdicts, draws and words them; judges nothing itself and touches no cluster.
//! [`run_dir`] is the directory, [`saved_verdict`] a verdict as it is stored, [`prose`] and [`junit`] are verdicts for people
//! and for machines, [`timeline`] is the history as columns and [`page`] the HTML page around it.

pub mod continuity;
pub mod junit;
pub mod page;
pub mod prose;
pub mod run_dir;
pub mod saved_verdict;
pub mod timeline;

pub use run_dir::{RunDir, RunDirError, RunHeader};
pub use saved_verdict::{Finding, SavedVerdict, worst};
