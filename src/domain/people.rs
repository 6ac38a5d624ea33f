//! Who works with this system, and what for.

use super::words::words;

words! {
    /// What somebody who signs in may do. Rights are those of tokens; what each role has stands in `http/rights.rs`.
    Role {
        /// Sees what is going on, patients by their ids.
        Viewer = "viewer",
        /// On call: stops, releases, retries, replays.
        Operator = "operator",
        /// Looks after patients: work items, answers, campaigns.
        Coordinator = "coordinator",
        /// Looks after patients, and lets campaigns of others go out.
        Approver = "approver",
        /// Everything, the audit log included.
        Admin = "admin",
    }
}
