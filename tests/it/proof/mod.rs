//! What faults and floods may and may not do: each story runs worker processes against real servers, and ends with
//! the auditor. The short ones run with every test; the heavy ones by `tests/proof`, in release.

pub(crate) mod auditor;
mod bad;
pub(crate) mod canary;
pub(crate) mod drain;
mod failover;
mod fault_channels;
mod fault_outage;
mod fault_recovery;
mod fault_script;
mod fault_stops;
mod faults;
mod flood;
mod foreign;
mod futures;
mod hang;
mod heavy;
mod hours;
mod late;
mod limits;
mod night;
mod orders;
mod planted;
mod pressure;
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
