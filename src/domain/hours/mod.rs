//! Hours as rules state them: when a channel that disturbs may be used, by the recipient's own clock.
//!
//! These are the nouns that the configuration reads and the policy asks. What they mean at an instant in a zone is
//! decided in `policy::hours`.

mod holiday;
mod week;

use std::fmt;
use std::time::Duration;

pub use holiday::Holiday;
pub use week::{Open, WeekHours};

use super::words::{Channel, Purpose};

/// A country (ISO 3166-1 alpha-2, `US`) or one of its states or provinces (ISO 3166-2, `US-TX`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Area(String);

impl Area {
    /// Parses a code in either case; `None` where it has neither form.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let code = code.to_ascii_uppercase();
        let (country, part) = code.split_once('-').unwrap_or((code.as_str(), "0"));
        let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        let is_part = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        (is_country && is_part).then_some(Self(code))
    }

    /// The code, in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The country's code.
    #[must_use]
    pub fn country(&self) -> &str {
        self.0.get(..2).unwrap_or_default()
    }

    /// Whether `place` is this area or lies in it.
    #[must_use]
    pub fn covers(&self, place: &Self) -> bool {
        self == place || self.0 == place.country()
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One rule of the table: whom it protects, and when they may be disturbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursRule {
    /// Its name in the configuration and in explanations.
    pub id: String,
    /// Where it holds; empty is everywhere.
    pub areas: Vec<Area>,
    /// What it holds for; empty is every purpose but `emergency`.
    pub purposes: Vec<Purpose>,
    /// On which channels; empty is those that disturb.
    pub channels: Vec<Channel>,
    pub open: WeekHours,
    /// The law or the reason behind it.
    pub source: Option<String>,
}

/// The table of hours. All rules that apply hold together: what one closes, no other opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursTable {
    pub rules: Vec<HoursRule>,
    pub holidays: Vec<Holiday>,
    /// The channels that disturb: rules that name none, a site's quiet hours and the patient's own hold on these.
    pub disturbing: Vec<Channel>,
    /// What waits for the same opening is let go over this time.
    pub spread: Duration,
}

impl HoursTable {
    /// The rules for a message of `purpose` over `channel` to somebody in one of `areas`, in the table's order.
    pub fn applying(
        &self,
        areas: &[Area],
        purpose: Purpose,
        channel: Channel,
    ) -> impl Iterator<Item = &HoursRule> {
        let disturbs = self.disturbing.contains(&channel);
        self.rules.iter().filter(move |rule| {
            let on_channel =
                if rule.channels.is_empty() { disturbs } else { rule.channels.contains(&channel) };
            on_channel
                && purpose != Purpose::Emergency
                && (rule.purposes.is_empty() || rule.purposes.contains(&purpose))
                && (rule.areas.is_empty()
                    || rule.areas.iter().any(|area| areas.iter().any(|place| area.covers(place))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_covers_itself_and_what_lies_in_it() {
        let area = |code: &str| Area::parse(code).unwrap();
        assert!(area("us").covers(&area("US-TX")));
        assert!(area("US-TX").covers(&area("us-tx")));
        assert!(!area("US-TX").covers(&area("US")));
        assert!(!area("US").covers(&area("MX")));
        for bad in ["", "USA", "U1", "US-", "US-TEXAS", "-TX", "US_TX"] {
            assert_eq!(Area::parse(bad), None, "{bad}");
        }
    }
}
