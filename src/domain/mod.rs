//! The nouns: parsed once and valid ever after.
//!
//! Nothing here knows a clock, a database or a wire. What is protected health information is masked in `Debug`.

pub mod alert;
pub mod campaign;
pub mod consent;
pub mod credential;
pub mod destination;
pub mod difference;
pub mod event;
pub mod failure;
pub mod hours;
pub mod ids;
pub mod job;
pub mod look_up;
pub mod merge;
pub mod outbound;
pub mod page;
pub mod patience;
pub mod patient;
pub mod people;
pub mod phi;
pub mod phone;
pub mod problem;
pub mod reader;
pub mod receipt;
pub mod reply;
pub mod sign_off;
pub mod status;
pub mod wish;
pub mod words;
