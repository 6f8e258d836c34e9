//! What a run leaves behind: one directory with the plan, the history, the verdicts and a page that shows them.
//!
//! Reads the history and the verdicts, draws and words them; judges nothing itself and touches no cluster.
//! [`run_dir`] is the directory, [`run_header`] what it says of the plan, [`prose`] and [`junit`] are
//! verdicts for people and for machines, [`continuity`] is how long a route stood still, [`timeline`] the history as
//! columns and [`page`] the HTML page around it.

pub(crate) mod continuity;
pub(crate) mod junit;
mod markup;
pub(crate) mod page;
pub(crate) mod prose;
pub(crate) mod run_dir;
pub(crate) mod run_header;
pub(crate) mod timeline;

pub use etcd_history::check::{Finding, Severity, Verdict, worst};
pub use run_dir::{RunDir, RunDirError};
