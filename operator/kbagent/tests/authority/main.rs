//! Who opens an agent, and who does not. No etcd is needed.

#![expect(clippy::expect_used, reason = "what breaks has to stop the test")]

mod agent;
#[path = "../bench/ca.rs"]
mod ca;
mod signed;
mod tls;
