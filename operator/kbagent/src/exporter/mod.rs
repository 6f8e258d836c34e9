//! The metrics exporter: etcd's own metrics passed through, and what kbagent and the volume add.
//!
//! [`exposition`] is pure text; `sources` asks the neighbours; `serve` answers scrapes, which `entrance` lets in. A
//! source that fails is a value (`kb_etcd_up 0`), never a failed scrape.

mod entrance;
mod exposition;
mod serve;
mod settings;
mod sources;

pub use exposition::{Sources, Volume, render};
pub use serve::serve;
pub use settings::Settings;
