//! Rows as the contract tests need them, with everything that does not matter filled in.

use jiff::{SignedDuration, Timestamp};
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::{
    About, AttemptId, CampaignId, HoldId, JobId, MessageId, ParkedId, PatientId, ProviderName, SiteId,
    SourceName, TemplateName,
};
use outreachd::domain::job::{Cancel, CancelTarget, When};
use outreachd::domain::outbound::Route;
use outreachd::domain::patient::{Consent, ConsentSource, Contact, Patient, Proxy, ProxyPerson};
use outreachd::domain::phi::Phi;
use outreachd::domain::problem::Problem;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{
    Authority, Channel, ContactStatus, Priority, ProxyMode, Purpose, Reason, Recipient,
};
use outreachd::store::rows::{
    AddressConsent, Admission, Begin, Charge, Decided, Hold, HoldScope, JobBody, MessageFacts, OnRelease,
    PatientState, Reject, Release, Settlement, Then,
};

use super::ledger::InHand;

pub(super) const SOURCE: &str = "ehr";
pub(super) const PHONE: &str = "+13125550142";

pub(super) fn source(name: &str) -> SourceName {
    SourceName::parse(name).expect("a source")
}

pub(super) fn job_id(name: &str) -> JobId {
    JobId::parse(name).expect("a job id")
}

pub(super) fn about(name: &str) -> About {
    About::parse(name).expect("a matter")
}

pub(super) fn patient_id(name: &str) -> PatientId {
    PatientId::parse(name).expect("a patient id")
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// A job of source `ehr` for patient `P1` with its own name as content.
pub(super) fn job(id: &str) -> Admission {
    let expires_at = at("2099-01-01T00:00:00Z");
    let mut content_hash = [0; 32];
    content_hash.iter_mut().zip(id.bytes()).for_each(|(slot, byte)| *slot = byte);
    Admission {
        facts: MessageFacts {
            id: MessageId::generate(),
            source: source(SOURCE),
            job_id: job_id(id),
            patient_id: patient_id("P1"),
            template: TemplateName::parse("appointment-reminder").expect("a template"),
            purpose: Purpose::Appointment,
            priority: Priority::Normal,
            about: None,
            site: None,
            campaign_id: None,
            correlation_id: None,
            test: false,
            is_change: false,
            retry_of: None,
        },
        body: JobBody {
            data: serde_json::json!({ "practitioner": "Dr. Chen", "n": 1 })
                .as_object()
                .expect("a map")
                .clone(),
            channels: Some(vec![Channel::Sms]),
            not_before: None,
            expires_at: When::At(expires_at),
            override_reason: None,
            patient: None,
            lifts_cap: false,
            copy: None,
        },
        content_hash,
        replaces: None,
        due_at: None,
        expires_at,
        ack_by: None,
        raw: Some(format!("raw {id}").into_bytes()),
        origin: "outreach.jobs".to_owned(),
        asked_by: None,
        redelivered: false,
    }
}

/// Says what is special about a job.
pub(super) trait Shape: Sized {
    fn asked_by(self, name: &str) -> Self;
    fn about(self, name: &str) -> Self;
    fn replacing(self, name: &str) -> Self;
    fn patient(self, name: &str) -> Self;
    fn priority(self, priority: Priority) -> Self;
    fn due(self, at: Timestamp) -> Self;
    fn site(self, name: &str) -> Self;
    fn campaign(self, name: &str) -> Self;
    fn content(self, byte: u8) -> Self;
    fn retry_of(self, id: MessageId) -> Self;
}

impl Shape for Admission {
    fn asked_by(mut self, name: &str) -> Self {
        self.facts.source = source(name);
        self
    }
    fn about(mut self, name: &str) -> Self {
        self.facts.about = Some(about(name));
        self
    }
    fn replacing(mut self, name: &str) -> Self {
        self.replaces = Some(job_id(name));
        self
    }
    fn patient(mut self, name: &str) -> Self {
        self.facts.patient_id = patient_id(name);
        self
    }
    fn priority(mut self, priority: Priority) -> Self {
        self.facts.priority = priority;
        self
    }
    fn due(mut self, at: Timestamp) -> Self {
        self.due_at = Some(at);
        self
    }
    fn site(mut self, name: &str) -> Self {
        self.facts.site = SiteId::parse(name);
        self
    }
    fn campaign(mut self, name: &str) -> Self {
        self.facts.campaign_id = CampaignId::parse(name);
        self
    }
    fn content(mut self, byte: u8) -> Self {
        self.content_hash = [byte; 32];
        self
    }
    fn retry_of(mut self, id: MessageId) -> Self {
        self.facts.retry_of = Some(id);
        self
    }
}

pub(super) fn reject(body: &[u8], redelivered: bool) -> Reject {
    Reject {
        id: ParkedId::generate(),
        problems: vec![Problem::new("data.starts_at", Reason::BadData, "must be a time", "add an offset")],
        source: Some(source(SOURCE)),
        job_id: Some(job_id("bad-1")),
        origin: "outreach.jobs".to_owned(),
        correlation_id: Some("c-1".to_owned()),
        key: Some("job.bulk"),
        body: body.to_vec(),
        content_hash: None,
        park: true,
        redelivered,
    }
}

pub(super) fn cancel_job(id: &str) -> Cancel {
    Cancel { source: source(SOURCE), target: CancelTarget::Job(job_id(id)), reason: None }
}

pub(super) fn cancel_about(name: &str) -> Cancel {
    Cancel { source: source(SOURCE), target: CancelTarget::About(about(name)), reason: None }
}

pub(super) fn route() -> Route {
    Route { channel: Channel::Sms, address: Phi::new(PHONE), extension: None }
}

pub(super) fn provider(name: &str) -> ProviderName {
    ProviderName::parse(name).expect("a provider")
}

/// One step onward from what the worker has in hand.
pub(super) fn begin_of(hand: &InHand, state: PatientState, valid_until: Timestamp) -> Begin {
    Begin {
        facts: hand.facts.clone(),
        token: hand.work.token,
        attempt: AttemptId::generate(),
        step: hand.work.step,
        number: hand.work.tries + 1,
        provider: provider("twilio-main"),
        route: route(),
        dedupes: false,
        charge: Charge { segments: 1, micros: 7_900 },
        template_hash: "hash".to_owned(),
        locale: "en".to_owned(),
        pointer: false,
        page: None,
        state,
        valid_until,
        explanation: "{\"verdict\":\"send\"}".to_owned(),
        recipient: Recipient::Patient,
        count: None,
        patience: None,
        riders: Vec::new(),
        text: None,
    }
}

pub(super) fn settlement(
    hand: &InHand,
    attempt: AttemptId,
    status: AttemptStatus,
    then: Then,
    at: Timestamp,
) -> Settlement {
    let failure = match status {
        AttemptStatus::Unknown => Some(Failure::Ambiguous),
        AttemptStatus::Failed => Some(Failure::Transient),
        _ => None,
    };
    Settlement {
        facts: hand.facts.clone(),
        attempt,
        number: hand.work.tries + 1,
        channel: Channel::Sms,
        provider: provider("twilio-main"),
        status,
        provider_ref: (status == AttemptStatus::Sent).then(|| "SM1".to_owned()),
        failure,
        code: None,
        recipient: Recipient::Patient,
        charge: Charge { segments: 1, micros: 7_900 },
        then,
        patience: None,
        at,
    }
}

pub(super) fn decided(
    hand: &InHand,
    status: MessageStatus,
    reason: Option<Reason>,
    now: Timestamp,
) -> Decided {
    Decided {
        facts: (*hand.facts).clone(),
        token: hand.work.token,
        status,
        reason,
        due_at: None,
        channel: None,
        provider: None,
        recipient: Recipient::Patient,
        held_by: None,
        over: None,
        explanation: "{}".to_owned(),
        at: now,
    }
}

pub(super) fn release(hand: &InHand) -> Release {
    Release { message: hand.facts.id, token: hand.work.token, channel: None, due_at: None }
}

pub(super) fn contact(channel: Channel, address: &str) -> Contact {
    Contact {
        channel,
        address: Phi::new(address),
        rank: Some(1),
        usage: None,
        kind: None,
        status: ContactStatus::Ok,
        status_at: None,
        since: None,
        says_status: false,
        verified_at: None,
        valid_until: None,
        private: false,
        only: false,
        leave_message: None,
        extension: None,
    }
}

/// A patient who can be reached at [`PHONE`].
pub(super) fn patient(id: &str, updated_at: &str) -> Patient {
    Patient {
        updated_at: Some(at(updated_at)),
        contacts: vec![contact(Channel::Sms, PHONE)],
        ..Patient::bare(patient_id(id))
    }
}

/// A STOP, sent from [`PHONE`].
pub(super) fn stop(at_time: &str) -> AddressConsent {
    AddressConsent {
        channel: Channel::Sms,
        address: Phi::new(PHONE),
        purpose: None,
        granted: false,
        at: at(at_time),
        source: ConsentSource::Patient,
        by: Some("reply".to_owned()),
        evidence: Some("STOP".to_owned()),
    }
}

pub(super) fn revocation(purpose: Option<Purpose>, at_time: &str) -> Consent {
    Consent {
        purpose,
        channel: None,
        address: None,
        granted: false,
        at: at(at_time),
        source: ConsentSource::Patient,
        by: None,
        evidence: None,
        expires_at: None,
        shadow: None,
    }
}

/// A guardian in the patient's place.
pub(super) fn guardian(person: ProxyPerson) -> Proxy {
    Proxy {
        person,
        relationship: None,
        authority: Authority::Guardian,
        mode: ProxyMode::Instead,
        purposes: None,
        from: None,
        until: None,
        evidence: None,
    }
}

/// A hold by a person on one thing.
pub(crate) fn hold(scope: HoldScope, value: &str) -> Hold {
    Hold {
        id: HoldId::generate(),
        scope,
        value: value.to_owned(),
        cause: Reason::OperatorHold,
        reason: "drill".to_owned(),
        placed_by: "u17".to_owned(),
        placed_at: at("2026-01-01T00:00:00Z"),
        until: None,
        on_release: OnRelease::Send,
    }
}

pub(super) const fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}
