//! What the operator decides: one section a file; defaults, then TOML, then the environment; every fault
//! reported at once.

pub mod provider;
pub mod secret;
