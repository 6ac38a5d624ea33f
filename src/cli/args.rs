//! How words, names and times are given on the command line.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::domain::ids::{
    About, CampaignId, EventId, HoldId, JobId, MessageId, ParkedId, PatientId, ProviderName, SiteId,
    SourceName, TemplateName, UserName, WorkItemId,
};
use crate::domain::people::Role;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason, WorkKind, WorkOutcome, WorkState};
use crate::policy::identity::is_subject;
use crate::store::rows::{CallbackState, HoldScope, OnRelease};
use crate::template::Sample;

macro_rules! words {
    ($($name:ident: $type:ty),+ $(,)?) => {
        $(pub(super) fn $name(text: &str) -> Result<$type, String> {
            <$type>::from_word(text).ok_or_else(|| {
                let all: Vec<&str> = <$type>::ALL.iter().map(|word| word.as_str()).collect();
                format!("must be one of: {}", all.join(" "))
            })
        })+
    };
}

words! {
    status: MessageStatus, reason: Reason, channel: Channel, scope: HoldScope, on_release: OnRelease,
    sample: Sample, role: Role, callback_state: CallbackState, work_kind: WorkKind, work_state: WorkState, work_outcome: WorkOutcome,
}

macro_rules! names {
    ($($name:ident: $type:ty),+ $(,)?) => {
        $(pub(super) fn $name(text: &str) -> Result<$type, String> {
            <$type>::parse(text).ok_or_else(|| format!("must be {}", <$type>::RULE))
        })+
    };
}

names! {
    source: SourceName, site: SiteId, user: UserName, provider: ProviderName, campaign: CampaignId, template: TemplateName, job: JobId, patient: PatientId, about: About,
}

/// What an identity provider knows somebody by.
pub(super) fn subject(text: &str) -> Result<String, String> {
    let fits = is_subject(text).then(|| text.to_owned());
    fits.ok_or_else(|| "must be 1 to 255 printable ASCII characters, as the provider's `sub` is".to_owned())
}

macro_rules! row_ids {
    ($($name:ident: $type:ident),+ $(,)?) => {
        $(pub(super) fn $name(text: &str) -> Result<$type, String> {
            Uuid::parse_str(text).map($type).map_err(|_| "must be an id as the lists show it".to_owned())
        })+
    };
}

row_ids! { message: MessageId, parked: ParkedId, hold: HoldId, work: WorkItemId, event: EventId }

/// An instant, or a time from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    At(Timestamp),
    In(SignedDuration),
}

impl Until {
    /// The instant, seen from the ledger's `now`.
    pub(super) fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(span) => now.checked_add(span).unwrap_or(Timestamp::MAX),
        }
    }

    /// The instant that lies so far back, seen from the ledger's `now`.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(span) => now.checked_sub(span).unwrap_or(Timestamp::MIN),
        }
    }
}

/// `2026-11-28T09:00:00-06:00`, or a span such as `2h` or `30m`.
pub(super) fn until(text: &str) -> Result<Until, String> {
    if let Ok(at) = crate::domain::reader::timestamp(text) {
        return Ok(Until::At(at));
    }
    match text.parse::<SignedDuration>() {
        Ok(span) if span.is_positive() => Ok(Until::In(span)),
        _ => {
            Err("write an instant with its offset (2026-11-28T09:00:00-06:00) or a span (2h, 30m)".to_owned())
        }
    }
}

/// A message by its id, or a job by the caller's own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Message(MessageId),
    Job(SourceName, JobId),
}

/// A message id, or `source:job_id`.
pub(super) fn which(text: &str) -> Result<Which, String> {
    if let Ok(id) = message(text) {
        return Ok(Which::Message(id));
    }
    text.split_once(':')
        .and_then(|(source, job)| Some(Which::Job(SourceName::parse(source)?, JobId::parse(job)?)))
        .ok_or_else(|| "write a message id, or SOURCE:JOB_ID such as lakeside-ehr:appt-2041-r1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_a_span() {
        let now: Timestamp = "2026-11-28T15:00:00Z".parse().unwrap();
        let after = |text: &str| until(text).unwrap().after(now).to_string();
        assert_eq!(after("2h"), "2026-11-28T17:00:00Z");
        assert_eq!(after("2026-11-28T09:30:00-06:00"), "2026-11-28T15:30:00Z");
        assert_eq!(until("90s").unwrap().before(now).to_string(), "2026-11-28T14:58:30Z");
        for bad in ["", "soon", "2026-11-28T09:00", "-2h"] {
            assert!(until(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_job_id_may_hold_colons() {
        let job = |text: &str| match which(text) {
            Ok(Which::Job(source, job)) => (source.to_string(), job.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(job("ehr:visit:7"), ("ehr".to_owned(), "visit:7".to_owned()));
        assert!(matches!(which("0196f3c0-0000-7000-8000-000000000001"), Ok(Which::Message(_))));
        assert!(which("appt-7").is_err());
    }
}
