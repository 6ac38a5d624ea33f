//! How jobs and patients get in: from the queue, over HTTP, from a file. All of them take the same path: parse,
//! ask the gatekeeper, write to the ledger, and only then answer.

pub mod again;
pub mod gatekeeper;
pub mod holdable;
pub mod import;
pub mod people;
pub mod queue;
pub mod replay;
pub mod submit;
mod traces;

pub use gatekeeper::Gatekeeper;
pub use submit::{Incoming, Intake, Outcome};
