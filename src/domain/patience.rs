//! How long a plan waits for one of its steps before it takes the next.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::words::words;

words! {
    /// What a step waits for; it ends the plan.
    Until {
        /// It arrived.
        Delivered = "delivered",
        /// The recipient has read it: opened it in the portal, pressed a key, replied, or acted on our page.
        Answered = "answered",
    }
}

/// After `wait` without what is waited for, the next step is taken as well. Counted from when the provider took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    pub wait: SignedDuration,
    pub until: Until,
}

impl Patience {
    /// Waits for nothing but an answer that is there already: every way is taken, one after the other.
    pub const NONE: Self = Self { wait: SignedDuration::ZERO, until: Until::Answered };
}
