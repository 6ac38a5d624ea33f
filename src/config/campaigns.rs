//! `[campaigns]`: when another person has to agree, how long their word is good, and how many go first.

use std::time::Duration;

use super::kind::{Int, Span};
use super::read::Section;

/// What a coordinator may do alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CampaignsSection {
    /// Recipients above which another person has to agree; 0: always.
    pub approval_above: u64,
    /// For so long an approval that was not used is good.
    pub approval_valid: Duration,
    /// How many go first where the plan says nothing else.
    pub canary: u32,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl CampaignsSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            approval_above: s.or("approval_above", Int(0..=1_000_000_000), 500),
            approval_valid: s.or("approval_valid", Span(HOUR / 60..=HOUR * 24 * 30), HOUR * 24),
            canary: s.or("canary", Int(0..=100_000), 50),
        }
    }
}
