//! What faults and floods may and may not do: each story runs worker processes against real servers, and ends with
//! the auditor. The short ones run with every test; the heavy ones by `tests/proof`, in release.

mod auditor;
mod bad;
pub(crate) mod canary;
pub(crate) mod drain;
mod failover;
mod faults;
mod foreign;
mod heavy;
mod hours;
mod limits;
mod orders;
mod recover;
mod restarts;
pub(crate) mod rig;
pub(crate) mod safety;
mod scale;
mod short;
mod side_by_side;
mod spool;
mod surge;
pub(crate) mod tap;
pub(crate) mod worker;
