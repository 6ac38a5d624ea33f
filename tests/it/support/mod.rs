//! What the tests stand on: real servers, a database and a name prefix for each test, and a network that can be
//! made to fail.
//!
//! `tests/run` starts one PostgreSQL and one RabbitMQ for the whole run; a test that stops or breaks a server
//! starts one of its own.

pub(crate) mod house;
pub(crate) mod identity_provider;
pub(crate) mod measure;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod shared;

/// How many cases a property has: `usual` in every run of the tests, `PROPTEST_CASES` in a long one.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |asked| asked.parse().expect("PROPTEST_CASES is a number"))
}
