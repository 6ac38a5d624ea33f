//! Decisions: who, by which channel, may we, may we now. Pure functions: `now` and jitter are arguments, and
//! nothing here knows a store, a clock or a source of chance.

pub mod callback;
pub mod came_back;
pub mod campaign;
pub mod cap;
pub mod decide;
pub mod digest;
pub mod explanation;
pub mod health;
pub mod hours;
pub mod identity;
pub mod person;
pub mod question;
pub mod reply;
pub mod retry;
pub mod routes;
pub mod sign_off;
pub mod surge;
pub mod watch;
mod ways;
pub mod zones;
