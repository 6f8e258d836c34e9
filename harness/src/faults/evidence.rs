//! Evidence: what was measured, by name, as it goes into the history.

use std::collections::BTreeMap;
use std::fmt;

/// Figures and facts, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    facts: BTreeMap<String, String>,
    writes: Vec<i64>,
}

impl Evidence {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more fact.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.add(name, value);
        self
    }

    /// Adds a fact; a later one of the same name replaces it.
    pub fn add(&mut self, name: impl Into<String>, value: impl ToString) {
        self.facts.insert(name.into(), value.to_string());
    }

    /// Adds all facts of another.
    pub fn extend(&mut self, other: Evidence) {
        self.facts.extend(other.facts);
        self.writes.extend(other.writes);
    }

    /// Adds revisions that the fault itself made.
    pub fn add_writes(&mut self, revisions: impl IntoIterator<Item = i64>) {
        self.writes.extend(revisions);
    }

    /// Revisions that the fault itself made.
    pub fn writes(&self) -> &[i64] {
        &self.writes
    }

    /// One fact.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.writes.is_empty()
    }

    /// All facts, as a fault record of the history wants them.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.facts
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.facts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}: {value}")?;
        }
        Ok(())
    }
}
