//! A campaign's plan, as it comes in.

use serde_json::Value;

use super::contact::purpose;
use super::job::{channels, data, when};
use super::place::{Fault, Faults, Path};
use super::slot::{Fields, Slot};
use super::{ParseDefaults, decode, leaf};
use crate::domain::campaign::{AudienceQuery, AutoPause, Pace, PaceUnit, Plan, RecipientBody, Wave};
use crate::domain::hours::WeekHours;
use crate::domain::ids::{CampaignId, PatientId, SiteId, SourceName, TemplateName};
use crate::domain::job::{MAX_JOB_BYTES, When};
use crate::domain::problem::Problem;

/// Characters of a title.
const TITLE: usize = 120;
/// Waves of a campaign.
const WAVES: usize = 20;
/// Tags, postcodes or languages of one condition.
const CONDITIONS: usize = 200;
/// Years that somebody may have.
const YEARS: u32 = 130;

impl Plan {
    /// Reads a plan of at most [`MAX_JOB_BYTES`]. `source` is whose it is where it names none, `canary` how many go first
    /// where it does not say.
    ///
    /// # Errors
    /// All that is wrong with it, by JSON path.
    pub fn parse(bytes: &[u8], source: Option<&SourceName>, canary: u32) -> Result<Self, Vec<Problem>> {
        let mut faults = Faults::default();
        let mut fields = Fields::new(decode::object(bytes, MAX_JOB_BYTES)?, Path::ROOT, &mut faults);
        let plan = read(&mut fields, source, canary);
        fields.finish();
        faults.settle(plan)
    }
}

fn read(fields: &mut Fields<'_>, default: Option<&SourceName>, most_first: u32) -> Option<Plan> {
    let id = fields.need("id", |slot| slot.name(CampaignId::parse, CampaignId::RULE));
    let title = fields.read("title", |slot| slot.text(TITLE));
    if default.is_none() && !fields.gives("source") {
        fields.refuse("source", Fault::malformed("is required", "name the source that the campaign is for"));
    }
    let source = fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE));
    let template = fields.need("template", |slot| slot.name(TemplateName::parse, TemplateName::RULE));
    let purpose = fields.read("purpose", purpose);
    let site = fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE));
    let data = fields.read("data", data);
    let channels = fields.read("channels", channels);
    let audience = fields.read("audience", audience);
    let start = fields.read("start", when);
    let end = fields.read("end", when);
    if is_empty(start, end) {
        fields.refuse("end", Fault::malformed("must be later than start", "correct one of the two"));
    }
    let pace = fields.read("pace", pace);
    let waves = fields.read("waves", |slot| slot.list(WAVES, wave));
    let canary = fields.read("canary", |slot| slot.whole(0, 100_000));
    let auto_pause = fields.read("auto_pause", auto_pause);
    let id = id?;
    Some(Plan {
        title: title.unwrap_or_else(|| id.to_string()),
        id,
        source: source.or_else(|| default.cloned())?,
        template: template?,
        purpose,
        site,
        data: data.unwrap_or_default(),
        channels,
        audience,
        start,
        end,
        pace,
        waves: waves.unwrap_or_default(),
        canary: canary.unwrap_or(most_first),
        auto_pause: auto_pause.unwrap_or_default(),
        follows: None,
    })
}

fn is_empty(start: Option<When>, end: Option<When>) -> bool {
    match (start, end) {
        (Some(When::At(start)), Some(When::At(end))) => end <= start,
        (Some(When::Local(start)), Some(When::Local(end))) => end <= start,
        _ => false,
    }
}

fn audience(slot: Slot<'_>) -> Option<AudienceQuery> {
    slot.object(|fields| {
        let query = AudienceQuery {
            min_age: fields.read("min_age", |slot| slot.whole(0, YEARS)),
            max_age: fields.read("max_age", |slot| slot.whole(0, YEARS)),
            languages: fields.read("languages", conditions).unwrap_or_default(),
            postcodes: fields.read("postcodes", conditions).unwrap_or_default(),
            tags: fields.read("tags", conditions).unwrap_or_default(),
            site: fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE)),
            received: fields.read("received", |slot| slot.name(CampaignId::parse, CampaignId::RULE)),
            not_received: fields.read("not_received", |slot| slot.name(CampaignId::parse, CampaignId::RULE)),
        };
        if query.max_age.is_some_and(|most| query.min_age.is_some_and(|least| most < least)) {
            fields.refuse("max_age", Fault::malformed("must not be below min_age", "correct one of the two"));
        }
        Some(query)
    })
}

fn conditions(slot: Slot<'_>) -> Option<Vec<String>> {
    slot.list(CONDITIONS, |slot| slot.text(64))
}

/// A pace, as `{"per_minute": 100}` or `{"per_hour": 300, "hours": "mon-fri 09:00-17:00, sat-sun closed"}`.
pub(super) fn pace(slot: Slot<'_>) -> Option<Pace> {
    slot.object(|fields| {
        let minute = fields.read("per_minute", |slot| slot.whole(1, 1_000_000));
        let hour = fields.read("per_hour", |slot| slot.whole(1, 1_000_000));
        let hours = fields.read("hours", |slot| {
            slot.parsed(|text| {
                let cure = "write mon-fri 09:00-17:00, sat-sun closed";
                WeekHours::parse(text)
                    .map(|hours| hours.to_string())
                    .map_err(|rule| Fault::malformed(rule, cure))
            })
        });
        let (count, per) = match (minute, hour) {
            (Some(count), None) => (count, PaceUnit::Minute),
            (None, Some(count)) => (count, PaceUnit::Hour),
            _ => {
                let rule = "a pace counts by the minute or by the hour";
                fields.refuse("per_minute", Fault::malformed(rule, "give one of per_minute and per_hour"));
                return None;
            }
        };
        Some(Pace { count, per, hours })
    })
}

impl Pace {
    /// Reads a pace that is given alone.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(value: Value) -> Result<Self, Vec<Problem>> {
        let mut faults = Faults::default();
        let read = pace(Slot { value, path: Path::ROOT, faults: &mut faults });
        faults.settle(read)
    }
}

fn wave(slot: Slot<'_>) -> Option<Wave> {
    slot.object(|fields| {
        Some(Wave {
            min_age: fields.read("min_age", |slot| slot.whole(0, YEARS)),
            tags: fields.read("tags", conditions).unwrap_or_default(),
            postcodes: fields.read("postcodes", conditions).unwrap_or_default(),
            gap_minutes: fields.read("gap_minutes", |slot| slot.whole(0, 60 * 24 * 30)).unwrap_or(0),
        })
    })
}

fn auto_pause(slot: Slot<'_>) -> Option<AutoPause> {
    slot.object(|fields| {
        let usual = AutoPause::default();
        Some(AutoPause {
            error_percent: fields.read("error_percent", percent).unwrap_or(usual.error_percent),
            opt_out_percent: fields.read("opt_out_percent", percent).unwrap_or(usual.opt_out_percent),
            complaint_percent: fields.read("complaint_percent", percent).unwrap_or(usual.complaint_percent),
            after: fields.read("after", |slot| slot.whole(1, 1_000_000)).unwrap_or(usual.after),
        })
    })
}

fn percent(slot: Slot<'_>) -> Option<f64> {
    match slot.value.as_f64().filter(|n| (0.0..=100.0).contains(n)) {
        Some(number) => Some(number),
        None => {
            slot.refuse(Fault::malformed("must be a number from 0 to 100", "write 5 for five of a hundred"))
        }
    }
}

/// An instant, or `{"local": "2026-11-28T10:00"}`; as text it is read as either.
///
/// # Errors
/// It is neither.
pub fn start(text: &str) -> Result<When, Fault> {
    leaf::timestamp(text).map(When::At).or_else(|fault| match leaf::local_time(text) {
        Ok(local) => Ok(When::Local(local)),
        Err(_) => Err(fault),
    })
}

/// Reads one of an audience: `{"patient_id" or "patient", "data"}`.
///
/// # Errors
/// All that is wrong with it, by JSON path.
pub fn recipient(bytes: &[u8], defaults: &ParseDefaults) -> Result<(PatientId, RecipientBody), Vec<Problem>> {
    let mut faults = Faults::default();
    let mut fields = Fields::new(decode::object(bytes, MAX_JOB_BYTES)?, Path::ROOT, &mut faults);
    let (id, patient) = super::job::recipient(&mut fields, defaults, None);
    let data = fields.read("data", data).unwrap_or_default();
    fields.finish();
    faults.settle(id.map(|id| (id, RecipientBody { data, patient: patient.map(Box::new) })))
}

/// Texts of a row that only a spreadsheet writes so, with what to do; `None`: nothing is wrong.
#[must_use]
pub fn mangled(text: &str) -> Option<(&'static str, &'static str)> {
    let exponent = text.split_once(['E', 'e']).is_some_and(|(digits, power)| {
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        let power = power.strip_prefix('+');
        digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',')
            && power.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    });
    if exponent {
        return Some((
            "the spreadsheet has rounded a long number, and its last digits are gone",
            "format the column as text, enter the numbers again, and export again",
        ));
    }
    let errors = ["#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!"];
    errors.contains(&text).then_some((
        "the spreadsheet could not compute it",
        "mend the formula, or enter the value itself, and export again",
    ))
}

/// Whether a text is a day that can be read in two ways, such as `03/04/2026`.
#[must_use]
pub fn is_ambiguous_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['/', '.', '-']).collect();
    let digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    match parts.as_slice() {
        [a, b, year] => digits(a, 1..=2) && digits(b, 1..=2) && digits(year, 2..=4),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Vec<Problem>> {
        Plan::parse(text.as_bytes(), SourceName::parse("ehr").as_ref(), 50)
    }

    #[test]
    fn a_plan_needs_little_and_says_what_is_wrong() {
        let least = plan(r#"{"id": "flu", "template": "vaccine-invitation"}"#).unwrap();
        assert_eq!((least.canary, least.title.as_str(), least.source.as_str()), (50, "flu", "ehr"));
        let local =
            plan(r#"{"id": "flu", "template": "t", "start": {"local": "2026-11-28T10:00"}}"#).unwrap();
        assert!(matches!(local.start, Some(When::Local(_))));
        for (text, field) in [
            (r#"{"template": "t"}"#, "id"),
            (r#"{"id": "Flu", "template": "t"}"#, "id"),
            (r#"{"id": "flu", "template": "t", "pace": {}}"#, "pace.per_minute"),
            (
                r#"{"id": "flu", "template": "t", "pace": {"per_hour": 3, "per_minute": 1}}"#,
                "pace.per_minute",
            ),
            (r#"{"id": "flu", "template": "t", "pace": {"per_hour": 3, "hours": "9 to 5"}}"#, "pace.hours"),
            (r#"{"id": "flu", "template": "t", "canary": -1}"#, "canary"),
            (r#"{"id": "flu", "template": "t", "waves": [{"min_age": 900}]}"#, "waves[0].min_age"),
            (
                r#"{"id": "flu", "template": "t", "auto_pause": {"error_percent": 101}}"#,
                "auto_pause.error_percent",
            ),
            (
                r#"{"id": "flu", "template": "t", "audience": {"min_age": 65, "max_age": 60}}"#,
                "audience.max_age",
            ),
            (
                r#"{"id": "flu", "template": "t", "start": "2026-11-28T10:00:00Z", "end": "2026-11-27T10:00:00Z"}"#,
                "end",
            ),
            (r#"{"id": "flu", "template": "t", "speed": 3}"#, "speed"),
        ] {
            let problems = plan(text).unwrap_err();
            assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field], "{text}");
        }
    }

    #[test]
    fn what_a_spreadsheet_has_spoilt_is_known() {
        for text in ["1.31E+10", "1E+9", "1,31e+10"] {
            assert!(mangled(text).is_some(), "{text}");
        }
        for text in ["P0000042", "E+10", "13125550142", "1.31", "CASE+1", ""] {
            assert!(mangled(text).is_none(), "{text}");
        }
        for (text, ambiguous) in [
            ("03/04/2026", true),
            ("3.4.26", true),
            ("2026-04-03", false),
            ("1-2-3-4", false),
            ("noon", false),
        ] {
            assert_eq!(is_ambiguous_day(text), ambiguous, "{text}");
        }
    }
}
