//! From what comes in to the nouns: every fault of an input is found in one pass and told with its JSON path,
//! the rule and the cure; never with the value.
//!
//! [`decode`] makes a tree of the bytes, [`Fields`] and [`Slot`] read it field by field, [`leaf`] holds the rules of
//! single values, and one file a noun puts them together. Fields that nobody asked for are refused by name.

mod campaign;
mod contact;
mod content_hash;
mod decode;
mod job;
mod leaf;
mod patient;
mod people;
mod place;
mod show;
mod slot;

use std::collections::HashMap;
use std::sync::Arc;

pub use campaign::{is_ambiguous_day, mangled, recipient as campaign_recipient, start as campaign_start};
pub(crate) use decode::object;
pub use decode::{MAX_DEPTH, identify, items, without_bom};
pub use job::{CANCEL_REASON, DATA_FIELDS, OVERRIDE_REASON};
pub use leaf::{email, is_place, language, portal_reference, time_of_day, timestamp, zone};
pub use patient::{Expect, PatientMerge};
pub use place::Fault;
pub(crate) use slot::{Fields, Slot, fields, flag, instant};

use super::ids::{SiteId, SourceName};
use super::phone::Region;

/// What an input need not say because the place it came in by knows it.
#[derive(Clone, Debug)]
pub struct ParseDefaults {
    /// The source of a job that names none; `None` refuses such a job.
    pub source: Option<SourceName>,
    /// How telephone numbers without a country code are read.
    pub region: Region,
    /// The same for the sites that differ.
    pub site_regions: Arc<HashMap<SiteId, Region>>,
}

impl ParseDefaults {
    /// Defaults with one region for every site.
    #[must_use]
    pub fn new(source: Option<SourceName>, region: Region) -> Self {
        Self { source, region, site_regions: Arc::default() }
    }

    /// The region of a site, or the default.
    fn region_of(&self, site: Option<&SiteId>) -> Region {
        site.and_then(|site| self.site_regions.get(site)).copied().unwrap_or(self.region)
    }
}

/// What a body is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Job,
    Cancel,
    Patient,
    PatientMerge,
}

impl BodyKind {
    /// Tells by the AMQP routing key, and where that leaves it open by the body's own `action`. A key that the
    /// default exchange made of a queue's name (`outreach.patients`) is understood too; without a key a body is a
    /// job or a cancel.
    #[must_use]
    pub fn of(key: Option<&str>, body: &[u8]) -> Self {
        let key = key.unwrap_or("job");
        let patients = is_patients(key);
        match key {
            "job.cancel" => Self::Cancel,
            "patient.merge" => Self::PatientMerge,
            _ => match decode::action(body).as_deref() {
                Some("merge") if patients => Self::PatientMerge,
                Some("cancel") if !patients => Self::Cancel,
                _ if patients => Self::Patient,
                _ => Self::Job,
            },
        }
    }
}

/// The routing keys that say what a body is, or how urgent.
const KEYS: [&str; 7] =
    ["job", "job.urgent", "job.normal", "job.bulk", "job.cancel", "patient", "patient.merge"];

/// What is kept of a routing key: a word of ours, for a publisher may write anything.
#[must_use]
pub fn known_key(key: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|known| *known == key).or_else(|| is_patients(key).then_some("patient"))
}

fn is_patients(key: &str) -> bool {
    key == "patient" || key.starts_with("patient.") || key.ends_with(".patients")
}

#[cfg(test)]
mod tests {
    use super::{BodyKind, known_key};

    #[test]
    fn a_key_tells_what_a_body_is() {
        for (key, kind, kept) in [
            (None, BodyKind::Job, None),
            (Some("job.bulk"), BodyKind::Job, Some("job.bulk")),
            (Some("job.cancel"), BodyKind::Cancel, Some("job.cancel")),
            (Some("patient"), BodyKind::Patient, Some("patient")),
            (Some("patient.upsert"), BodyKind::Patient, Some("patient")),
            (Some("patient.merge"), BodyKind::PatientMerge, Some("patient.merge")),
            (Some("outreach.patients"), BodyKind::Patient, Some("patient")),
            (Some("patient-jobs"), BodyKind::Job, None),
            (Some("patients"), BodyKind::Job, None),
        ] {
            assert_eq!(BodyKind::of(key, b"{}"), kind, "{key:?}");
            assert_eq!(key.and_then(known_key), kept, "{key:?}");
        }
    }
}
