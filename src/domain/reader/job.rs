//! A job, and the order to take jobs back, as they come in.

use serde_json::{Map, Value};

use super::contact::{channel, purpose};
use super::content_hash::content_hash;
use super::patient::{self, Expect};
use super::place::{Fault, Faults, Path};
use super::slot::{Fields, Slot, flag, instant};
use super::{ParseDefaults, decode, leaf};
use crate::domain::ids::{About, CampaignId, JobId, PatientId, SiteId, SourceName, TemplateName};
use crate::domain::job::{Cancel, CancelTarget, Job, MAX_JOB_BYTES, When};
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::domain::words::{Channel, Priority, Reason};

/// Variables in `data`.
pub const DATA_FIELDS: usize = 200;
/// Characters of `override_reason`.
pub const OVERRIDE_REASON: usize = 500;
/// Characters of a cancel's `reason`.
pub const CANCEL_REASON: usize = 500;

impl Job {
    /// Reads a job of at most [`MAX_JOB_BYTES`].
    ///
    /// # Errors
    /// All that is wrong with it, by JSON path.
    pub fn parse(bytes: &[u8], defaults: &ParseDefaults) -> Result<Self, Vec<Problem>> {
        let map = decode::object(bytes, MAX_JOB_BYTES)?;
        let mut faults = Faults::default();
        let named = map.get("source").and_then(Value::as_str).and_then(SourceName::parse);
        let content_hash = content_hash(&map, named.as_ref().or(defaults.source.as_ref()));
        let mut fields = Fields::new(map, Path::ROOT, &mut faults);
        let job = read(&mut fields, defaults, content_hash);
        fields.finish();
        faults.settle(job)
    }
}

impl Cancel {
    /// Reads `{"source", "id" or "about", "reason"}`, with or without `"action": "cancel"`.
    ///
    /// # Errors
    /// All that is wrong with it, by JSON path.
    pub fn parse(bytes: &[u8], defaults: &ParseDefaults) -> Result<Self, Vec<Problem>> {
        let mut faults = Faults::default();
        let mut fields = Fields::new(decode::object(bytes, MAX_JOB_BYTES)?, Path::ROOT, &mut faults);
        let _ = fields.read("action", |slot| slot.word(&["cancel"], |word| word));
        let source = source(&mut fields, defaults);
        let neither = !fields.gives("id") && !fields.gives("about");
        let id = fields.read("id", |slot| slot.name(JobId::parse, JobId::RULE));
        let about = fields.read("about", |slot| slot.name(About::parse, About::RULE));
        let reason = fields.read("reason", |slot| slot.text(CANCEL_REASON));
        let target = match (id, about) {
            (Some(_), Some(_)) => {
                let fault =
                    Fault::malformed("a cancel names a job or a matter, not both", "leave out id or about");
                fields.refuse("about", fault);
                None
            }
            (Some(id), None) => Some(CancelTarget::Job(id)),
            (None, Some(about)) => Some(CancelTarget::About(about)),
            (None, None) => {
                if neither {
                    fields.refuse("id", Fault::malformed("is required", "give id, or about"));
                }
                None
            }
        };
        fields.finish();
        let cancel = source.zip(target).map(|(source, target)| Self { source, target, reason });
        faults.settle(cancel)
    }
}

fn read(fields: &mut Fields<'_>, defaults: &ParseDefaults, content_hash: [u8; 32]) -> Option<Job> {
    let id = fields.need("id", |slot| slot.name(JobId::parse, JobId::RULE));
    let source = source(fields, defaults);
    let template = fields.need("template", |slot| slot.name(TemplateName::parse, TemplateName::RULE));
    let about = fields.read("about", |slot| slot.name(About::parse, About::RULE));
    let replaces = fields.read("replaces", |slot| slot.name(JobId::parse, JobId::RULE));
    if replaces.is_some() && replaces == id {
        let fault =
            Fault::malformed("a job cannot replace itself", "name the earlier job, or leave this out");
        fields.refuse("replaces", fault);
    }
    let site = fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE));
    let purpose = fields.read("purpose", purpose);
    let priority = fields.read("priority", |slot| slot.word(Priority::ALL, Priority::as_str));
    let data = fields.read("data", data);
    let channels = fields.read("channels", channels);
    let (not_before, expires_at) = span(fields);
    let test = fields.read("test", flag);
    let campaign_id = fields.read("campaign_id", |slot| slot.name(CampaignId::parse, CampaignId::RULE));
    let override_reason = fields.read("override_reason", |slot| slot.text(OVERRIDE_REASON));
    let (patient_id, patient) = recipient(fields, defaults, site.as_ref());
    Some(Job {
        id: id?,
        source: source?,
        patient_id: patient_id?,
        template: template?,
        about,
        replaces,
        site,
        purpose,
        priority,
        data: data.unwrap_or_default(),
        channels,
        not_before,
        expires_at,
        test: test.unwrap_or(false),
        campaign_id,
        override_reason,
        patient: patient.map(Box::new),
        content_hash,
    })
}

fn source(fields: &mut Fields<'_>, defaults: &ParseDefaults) -> Option<SourceName> {
    let given = fields.gives("source");
    let named = fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE));
    if named.is_some() {
        return named;
    }
    if defaults.source.is_none() && !given {
        fields.refuse(
            "source",
            Fault {
                reason: Reason::UnknownSource,
                rule: "is required here".into(),
                cure: "give the name under which this system is configured as a source".into(),
            },
        );
    }
    defaults.source.clone()
}

/// Who the job is for: an id, an inline patient, or both in agreement.
pub(super) fn recipient(
    fields: &mut Fields<'_>,
    defaults: &ParseDefaults,
    site: Option<&SiteId>,
) -> (Option<PatientId>, Option<Patient>) {
    let neither = !fields.gives("patient_id") && !fields.gives("patient");
    let id = fields.read("patient_id", |slot| slot.name(PatientId::parse, PatientId::RULE));
    let expect = Expect { id: id.as_ref(), updated_at: false };
    let patient =
        fields.read("patient", |slot| slot.object(|fields| patient::read(fields, defaults, site, expect)));
    if neither {
        fields.refuse("patient_id", Fault::malformed("is required", "give patient_id, or patient"));
    }
    let id = id.or_else(|| patient.as_ref().map(|patient| patient.id.clone()));
    (id, patient)
}

/// The template's variables: anything, within limits. Their types are the template's affair.
pub(super) fn data(mut slot: Slot<'_>) -> Option<Map<String, Value>> {
    let fault = |rule: String, cure: &'static str| Fault {
        reason: Reason::BadData,
        rule: rule.into(),
        cure: cure.into(),
    };
    match slot.value.take() {
        Value::Object(map) if map.len() <= DATA_FIELDS => Some(map),
        Value::Object(_) => slot.refuse(fault(
            format!("at most {DATA_FIELDS} variables"),
            "send only what the template declares",
        )),
        _ => slot.refuse(fault("must be an object".to_owned(), "put the variables between { and }")),
    }
}

pub(super) fn channels(slot: Slot<'_>) -> Option<Vec<Channel>> {
    if slot.value.as_array().is_some_and(Vec::is_empty) {
        let fault = Fault::malformed("must name at least one channel", "leave it out to use any channel");
        return slot.refuse(fault);
    }
    slot.set(Channel::ALL.len(), channel)
}

/// Not sent earlier, not sent later.
fn span(fields: &mut Fields<'_>) -> (Option<When>, Option<When>) {
    let not_before = fields.read("not_before", when);
    let expires_at = fields.read("expires_at", when);
    let empty = match (not_before, expires_at) {
        (Some(When::At(start)), Some(When::At(end))) => end <= start,
        (Some(When::Local(start)), Some(When::Local(end))) => end <= start,
        _ => false,
    };
    if empty {
        fields.refuse(
            "expires_at",
            Fault::malformed("must be later than not_before", "correct one of the two"),
        );
    }
    (not_before, expires_at)
}

/// An instant, or a wall-clock time where the recipient lives: `{"local": "2026-11-28T09:00"}`.
pub(super) fn when(slot: Slot<'_>) -> Option<When> {
    if slot.value.is_object() {
        return slot
            .object(|fields| fields.need("local", |slot| slot.parsed(leaf::local_time)))
            .map(When::Local);
    }
    instant(slot).map(When::At)
}
