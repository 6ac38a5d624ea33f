//! How jobs and patients get in.

pub mod import;
