//! Who opens an agent, and who does not. No etcd is needed.

#![expect(clippy::expect_used, reason = "what breaks has to stop the test")]

mod agent;
mod signed;
mod tls;
