//! An API server that has Secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::manager;
use crate::controller::Context;
use crate::fake_api::{Asked, failure, server};

/// Secrets by name.
pub(super) type Secrets = BTreeMap<String, Value>;

/// Serves these Secrets, takes every write without keeping it, and notes what it was asked.
pub(super) fn serving(secrets: &Secrets) -> (Context, Arc<Mutex<Vec<Asked>>>) {
    let there = secrets.clone();
    server(move |line| {
        let path = line.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        match (line.starts_with("GET"), there.get(name)) {
            (true, Some(secret)) => (200, secret.clone()),
            (true, None) => failure(404, "NotFound", "none"),
            (false, _) if path.contains("/certificates/") => (200, manager::live("False", "")),
            (false, _) => (200, json!({ "metadata": { "name": "x" } })),
        }
    })
}
