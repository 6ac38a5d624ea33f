//! The one integration-test binary. Tests read as stories; the harness in `support` starts real things.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions; in a test binary the helpers are tests too"
)]

mod support;

mod bad_input;
mod broker;
mod cli;
mod config;
mod corridor;
mod harness;
mod http;
mod import;
mod input;
mod proof;
mod provider;
mod rooms;
mod simulator;
mod store;
mod templates;
