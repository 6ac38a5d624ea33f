//! The one integration-test binary. Tests read as stories; the harness in `support` starts real things.

mod bad_input;
mod import;
mod input;
