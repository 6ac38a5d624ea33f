//! `[limits]`: where messages may go and what they may cost.

use std::collections::BTreeMap;

use super::fault::Broken;
use super::kind::text;
use super::money::{Amount, Money};
use super::read::Section;
use super::rules;

/// Countries, costs and budgets.
#[derive(Clone, Debug)]
pub struct LimitsSection {
    /// ISO 3166-1 alpha-2 of the numbers that SMS and calls may go to; the organisation's own when not given.
    pub countries: Vec<String>,
    /// ISO 4217, of all amounts here.
    pub currency: String,
    /// What an SMS segment and a started call minute are reckoned at, unless [`Self::by_country`] says more.
    pub cost: Cost,
    pub by_country: BTreeMap<String, Cost>,
    pub budget_per_day: Budgets,
}

/// What one unit is reckoned at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub per_segment: Money,
    pub per_minute: Money,
}

/// What may be spent in one calendar day of the organisation's zone. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// By all together.
    pub total: Option<Money>,
    /// By each source that names no budget of its own.
    pub per_source: Option<Money>,
    /// By each site that names no budget of its own.
    pub per_site: Option<Money>,
}

impl LimitsSection {
    pub(super) fn read(s: &mut Section<'_>, default_region: &str) -> Self {
        let countries = s.list("countries", text(rules::region));
        if countries.is_some() && s.lists_nothing("countries") {
            let rule = "must name at least one country";
            s.fault("countries", Broken::new(rule, "leave it out to allow the organisation's own"));
        }
        let cost = Cost::read(s, Cost::default());
        let by_country = s.section("country", |s| {
            let countries = s.given_keys().into_iter();
            countries.map(|key| (checked_region(s, &key), s.section(&key, |s| Cost::read(s, cost)))).collect()
        });
        Self {
            countries: countries.unwrap_or_else(|| vec![default_region.to_owned()]),
            currency: s.or("currency", text(currency), "USD".to_owned()),
            cost,
            by_country,
            budget_per_day: s.section("budget_per_day", |s| Budgets {
                total: s.optional("total", Amount),
                per_source: s.optional("per_source", Amount),
                per_site: s.optional("per_site", Amount),
            }),
        }
    }

    /// What one unit to `country` (ISO 3166-1 alpha-2) is reckoned at.
    #[must_use]
    pub fn cost_to(&self, country: &str) -> Cost {
        self.by_country.get(country).copied().unwrap_or(self.cost)
    }
}

impl Cost {
    fn read(s: &mut Section<'_>, default: Self) -> Self {
        Self {
            per_segment: s.or("cost_per_segment", Amount, default.per_segment),
            per_minute: s.or("cost_per_minute", Amount, default.per_minute),
        }
    }
}

fn checked_region(s: &Section<'_>, key: &str) -> String {
    rules::region(key).unwrap_or_else(|broken| {
        s.fault(key, broken);
        key.to_owned()
    })
}

fn currency(text: &str) -> Result<String, Broken> {
    match text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(text.to_owned()),
        false => Err(Broken::new("must be an ISO 4217 currency", "write three capitals, such as \"USD\"")),
    }
}
