//! What is kept of a decision with its message, so that it can be told later why it fell so.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decide::Gate;
use super::hours::HoursNote;
use crate::domain::patience::Patience;
use crate::domain::words::{Channel, Reason, Recipient};

/// The order of gates and what they ask; raised whenever either changes, so that an old explanation is read
/// by the rules that made it.
pub const RULES_VERSION: u32 = 5;

/// A decision in short. Gates before `gate` were passed. Ids, words, masked addresses and numbers only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub rules: u32,
    pub gate: Gate,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who is written to, where that is not the patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// How long it is waited for, once sent, before the next way is taken as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Patience>,
    /// The contacts that were weighed, first choice first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<WaySeen>,
}

/// One contact, and what spoke against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaySeen {
    pub channel: Channel,
    /// Masked: the last two digits, or the domain.
    pub address: String,
    /// The gate that it did not pass; none where it may be used now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When it may be used, where it may not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What that gate weighed, such as `1 of 1 today, 2 of 3 in seven days`; also why nothing but a pointer may go there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The clocks that were asked whether it may disturb now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<HoursNote>,
}
