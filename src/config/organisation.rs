//! `[organisation]`: whose patients these are, and what holds where a site or patient says nothing.

use jiff::tz::TimeZone;

use super::fault::Broken;
use super::kind::text;
use super::read::Section;
use super::rules;
use crate::domain::words::SafetyMode;

/// The organisation and its defaults.
#[derive(Clone, Debug)]
pub struct OrganisationSection {
    /// As patients know it.
    pub name: String,
    /// Of sites that name none.
    pub timezone: TimeZone,
    /// ISO 3166-1 alpha-2, for numbers written without a country.
    pub default_region: String,
    /// BCP-47, where neither patient nor site names one.
    pub language: String,
}

impl OrganisationSection {
    pub(super) fn read(s: &mut Section<'_>, mode: SafetyMode) -> Self {
        if mode == SafetyMode::Live {
            for key in ["name", "timezone"] {
                if s.raw(key).is_none() {
                    let rule = "is required in mode live: patients are told it, and hours are counted by it";
                    s.fault(key, Broken::new(rule, format!("set `{key}`, or {}", s.variable_of(key))));
                }
            }
        }
        Self {
            name: s.or("name", text(rules::line), "Our clinic".to_owned()),
            timezone: s.or("timezone", rules::HOME_ZONE, TimeZone::UTC),
            default_region: s.or("default_region", text(rules::region), "US".to_owned()),
            language: s.or("language", text(rules::language), "en".to_owned()),
        }
    }
}
