//! The one integration-test binary. Tests read as stories; the harness in `support` starts real things.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "clippy.toml allows them in test functions; in a test binary the helpers are tests too, and they print figures and read the clock"
)]

/// The same as the program's: the simulator runs in here, and must not be what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod support;

mod bad_input;
mod bench;
mod broker;
mod callbacks;
mod campaign;
mod cli;
mod config;
mod corridor;
mod decisions;
mod deploy;
mod doctor;
mod harness;
mod http;
mod import;
mod input;
mod intake;
mod proof;
mod provider;
mod receipt;
mod recover;
mod rooms;
mod sheets;
#[cfg(feature = "faults")]
mod simulation;
mod simulator;
mod store;
mod templates;
mod tour;
mod traces;
mod watch;
