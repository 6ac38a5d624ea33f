//! The one integration-test binary. Tests read as stories; the harness in `support` starts real things.

#[cfg(test)]
mod simulator;
