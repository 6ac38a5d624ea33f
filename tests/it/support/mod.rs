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

/// The product's templates, in that folder.
pub(crate) fn copy_templates(to: &std::path::Path) {
    let product = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/.");
    let copied = std::process::Command::new("cp").arg("-r").arg(product).arg(to).status();
    assert!(copied.unwrap().success());
}

/// How many cases a property has: `usual` in every run of the tests, `PROPTEST_CASES` in a long one.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |asked| asked.parse().expect("PROPTEST_CASES is a number"))
}
