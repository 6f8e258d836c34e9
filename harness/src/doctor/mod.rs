//! What this machine can do, tried and not assumed: Docker, kind, images, each primitive that a fault rests on. Every
//! line says `available`, `fallback` or `unavailable`, and in the last two cases what to do. Changes nothing: whatever
//! is tried is undone, nothing is installed or built.

mod docker;
mod examine;
mod host;
mod report;
mod scenarios;

pub(crate) use examine::examine;
pub(crate) use report::{Standing, Symptom};
