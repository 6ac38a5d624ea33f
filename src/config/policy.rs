//! `[policy]`: how long to wait, how often to try, and what each purpose is allowed.

use std::time::Duration;

use toml::Value;

use super::fault::Broken;
use super::hours;
use super::kind::{Flag, Int, Span, one_of, word};
use super::read::Section;
use crate::domain::hours::HoursTable;
use crate::domain::words::{Channel, PhiClass, Purpose, words};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

words! {
    /// What holds where the patient has said nothing.
    ConsentDefault {
        /// May be sent until they object.
        Grant = "grant",
        /// May not be sent until they agree.
        None = "none",
    }
}

word!(ConsentDefault);

/// Waits, retries, purposes.
#[derive(Clone, Debug)]
pub struct PolicySection {
    /// How long a job waits for a patient that the directory does not know yet.
    pub patient_grace: Duration,
    /// How long a cancel that came before its job is remembered.
    pub cancel_memory: Duration,
    /// So long after an answer was lost it is looked up what became of the send, and as long after each look-up again.
    pub look_up_after: Duration,
    /// After this long without receipt or look-up an unknown outcome becomes a work item.
    pub unknown_deadline: Duration,
    /// How long a receipt is awaited before `sent` is final.
    pub receipt_deadline: Duration,
    pub retry: RetryPolicy,
    pub cap: CapPolicy,
    pub phi: PhiPolicy,
    pub majority: MajorityPolicy,
    /// When recipients may be disturbed.
    pub hours: HoursTable,
    pub surge: SurgePolicy,
    pub digest: DigestPolicy,
    /// Emergencies of a source for more recipients in an hour wait for a second person.
    pub second_person_above: u64,
    purposes: [PurposePolicy; 8],
}

/// How often a step is tried, and the pauses between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one plan step, the first included.
    pub max_attempts: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// The share of a pause that chance may take off, in percent.
    pub jitter_percent: u8,
    /// The longest pause that a provider's Retry-After may ask for.
    pub retry_after_max: Duration,
}

/// The guard against sources and templates that suddenly ask for far more than ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurgePolicy {
    pub enabled: bool,
    /// How many times the busiest hour is too much.
    pub factor: u32,
    /// So many jobs in an hour are never too many.
    pub floor: u64,
    /// How many days are looked back.
    pub days: u16,
    /// For how long a source or template must have been known before it is judged by its past.
    pub learning: Duration,
    /// How many times the floor is too much until then.
    pub learning_factor: u32,
}

/// What is put together for one reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestPolicy {
    /// Messages in one, the first included; 1: each goes alone.
    pub most: u32,
}

/// What one purpose is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurposePolicy {
    /// How long a message is worth sending where neither job nor template says.
    pub expires_after: Duration,
    pub consent_default: ConsentDefault,
    /// A machine may call.
    pub voice_allowed: bool,
    /// Another channel may be tried after one has failed.
    pub fallback_allowed: bool,
    /// Held back by the caps.
    pub capped: bool,
}

/// How often somebody may be disturbed, over all sources and campaigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapPolicy {
    /// In one calendar day where the recipient lives; 0 is no limit.
    pub per_day: u32,
    /// In any seven days; 0 is no limit.
    pub per_week: u32,
    /// What counts, all of them together.
    pub channels: Vec<Channel>,
    /// Each step of a message's plan counts, not the message once.
    pub each_step: bool,
}

/// The most that may be revealed over each channel, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhiPolicy {
    pub sms: PhiClass,
    pub email: PhiClass,
    pub voice: PhiClass,
    pub portal: PhiClass,
    /// From this class on a contact must be verified; a portal knows who reads.
    pub verified_from: PhiClass,
    /// Who may not have a text is told that the portal has it.
    pub pointer: bool,
}

/// When people decide for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MajorityPolicy {
    pub years: u8,
    /// Where it differs, by state.
    pub states: Vec<(String, u8)>,
}

impl PolicySection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            patient_grace: s.or("patient_grace", span(Duration::ZERO, HOUR), Duration::from_secs(120)),
            cancel_memory: s.or("cancel_memory", span(HOUR, 90 * DAY), 7 * DAY),
            look_up_after: s.or(
                "look_up_after",
                span(Duration::from_secs(1), HOUR),
                Duration::from_secs(120),
            ),
            unknown_deadline: s.or("unknown_deadline", span(Duration::from_secs(60), 7 * DAY), 4 * HOUR),
            receipt_deadline: s.or("receipt_deadline", span(Duration::from_secs(60), 14 * DAY), 72 * HOUR),
            retry: s.section("retry", RetryPolicy::read),
            cap: s.section("cap", CapPolicy::read),
            phi: s.section("phi", PhiPolicy::read),
            majority: s.section("majority", MajorityPolicy::read),
            hours: s.section("hours", hours::read),
            surge: s.section("surge", SurgePolicy::read),
            digest: s.section("digest", |s| DigestPolicy { most: s.or("most", Int(1..=20), 6) }),
            second_person_above: s.or("second_person_above", Int(0..=1_000_000_000), 50),
            purposes: s.section("purpose", |s| {
                let mut read = |purpose: Purpose| {
                    s.section(purpose.as_str(), |s| {
                        PurposePolicy::read(s, PurposePolicy::default_of(purpose))
                    })
                };
                [
                    read(Purpose::Appointment),
                    read(Purpose::Care),
                    read(Purpose::Results),
                    read(Purpose::Billing),
                    read(Purpose::Prevention),
                    read(Purpose::Survey),
                    read(Purpose::Marketing),
                    read(Purpose::Emergency),
                ]
            }),
        }
    }

    /// What `purpose` is allowed.
    #[must_use]
    pub const fn purpose(&self, purpose: Purpose) -> &PurposePolicy {
        let [appointment, care, results, billing, prevention, survey, marketing, emergency] = &self.purposes;
        match purpose {
            Purpose::Appointment => appointment,
            Purpose::Care => care,
            Purpose::Results => results,
            Purpose::Billing => billing,
            Purpose::Prevention => prevention,
            Purpose::Survey => survey,
            Purpose::Marketing => marketing,
            Purpose::Emergency => emergency,
        }
    }
}

impl RetryPolicy {
    fn read(s: &mut Section<'_>) -> Self {
        let pause = || span(Duration::from_millis(100), DAY);
        let retry = Self {
            max_attempts: s.or("max_attempts", Int(1..=50), 6),
            first_delay: s.or("first_delay", pause(), Duration::from_secs(5)),
            max_delay: s.or("max_delay", pause(), Duration::from_secs(600)),
            jitter_percent: s.or("jitter_percent", Int(0..=100), 50),
            retry_after_max: s.or("retry_after_max", pause(), HOUR),
        };
        if retry.first_delay > retry.max_delay {
            let rule = "must be at most `max_delay`";
            s.fault("first_delay", Broken::new(rule, "lower it, or raise `max_delay`"));
        }
        retry
    }
}

impl SurgePolicy {
    fn read(s: &mut Section<'_>) -> Self {
        Self {
            enabled: s.or("enabled", Flag, true),
            factor: s.or("factor", Int(1..=1_000), 5),
            floor: s.or("floor", Int(1..=1_000_000_000), 500),
            days: s.or("days", Int(1..=90), 14),
            learning: s.or("learning", span(Duration::ZERO, 14 * DAY), DAY),
            learning_factor: s.or("learning_factor", Int(1..=1_000_000), 10),
        }
    }
}

impl PurposePolicy {
    fn read(s: &mut Section<'_>, default: Self) -> Self {
        Self {
            expires_after: s.or(
                "expires_after",
                span(Duration::from_secs(60), 365 * DAY),
                default.expires_after,
            ),
            consent_default: s.or("consent_default", one_of(), default.consent_default),
            voice_allowed: s.or("voice_allowed", Flag, default.voice_allowed),
            fallback_allowed: s.or("fallback_allowed", Flag, default.fallback_allowed),
            capped: s.or("capped", Flag, default.capped),
        }
    }

    /// The defaults: care that the patient's own clinic gives may be spoken of until they object; what is not
    /// care needs their word first, and a machine does not call about it (47 CFR 64.1200(a)(9)(iv) leaves
    /// billing and marketing out).
    const fn default_of(purpose: Purpose) -> Self {
        let (expires_after, consent_default, voice_allowed, fallback_allowed) = match purpose {
            Purpose::Appointment => (DAY, ConsentDefault::Grant, true, true),
            Purpose::Care | Purpose::Results => {
                (Duration::from_secs(72 * 3_600), ConsentDefault::Grant, true, true)
            }
            Purpose::Billing => (WEEK, ConsentDefault::Grant, false, true),
            Purpose::Prevention => (WEEK, ConsentDefault::Grant, true, true),
            Purpose::Survey | Purpose::Marketing => (WEEK, ConsentDefault::None, false, false),
            Purpose::Emergency => (Duration::from_secs(6 * 3_600), ConsentDefault::Grant, true, true),
        };
        let capped = !matches!(purpose, Purpose::Emergency);
        Self { expires_after, consent_default, voice_allowed, fallback_allowed, capped }
    }
}

impl CapPolicy {
    /// One message a day and three a week, calls and texts together: the terms on which health care may call and text
    /// without asking first (47 CFR 64.1200(a)(9)(iv)).
    fn read(s: &mut Section<'_>) -> Self {
        let channels = s.list("channels", one_of());
        let channels: Vec<Channel> = channels.unwrap_or_else(|| vec![Channel::Sms, Channel::Voice]);
        s.show("channels", Value::Array(channels.iter().map(|c| Value::from(c.as_str())).collect()));
        Self {
            per_day: s.or("per_day", Int(0..=100), 1),
            per_week: s.or("per_week", Int(0..=700), 3),
            channels,
            each_step: s.or("each_step", Flag, false),
        }
    }
}

impl PhiPolicy {
    fn read(s: &mut Section<'_>) -> Self {
        Self {
            sms: s.or("sms", one_of(), PhiClass::Limited),
            email: s.or("email", one_of(), PhiClass::Limited),
            voice: s.or("voice", one_of(), PhiClass::Limited),
            portal: s.or("portal", one_of(), PhiClass::Sensitive),
            verified_from: s.or("verified_from", one_of(), PhiClass::Sensitive),
            pointer: s.or("pointer", Flag, true),
        }
    }
}

impl MajorityPolicy {
    /// Eighteen; Alabama and Nebraska 19, Mississippi 21 (Ala. Code 26-1-1, Neb. Rev. Stat. 43-2101,
    /// Miss. Code 1-3-27).
    fn read(s: &mut Section<'_>) -> Self {
        let years = || Int(1..=30);
        Self {
            years: s.or("years", years(), 18),
            states: s.section("states", |s| {
                let mut states: Vec<(String, u8)> = [("AL", 19), ("MS", 21), ("NE", 19)]
                    .map(|(state, age)| (state.to_owned(), s.or(state, years(), age)))
                    .into();
                for state in s.given_keys() {
                    if !states.iter().any(|(known, _)| *known == state)
                        && let Some(age) = s.required(&state, years())
                    {
                        states.push((state, age));
                    }
                }
                states
            }),
        }
    }
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn span(low: Duration, high: Duration) -> Span {
    Span(low..=high)
}
