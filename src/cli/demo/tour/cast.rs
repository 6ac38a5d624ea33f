//! The tour's cast: for each reason somebody whose message comes to it, and what is done to bring it about.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cli::demo::house::SOURCE;
use crate::domain::failure::Failure;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};

/// A carrier keeps texts to it back.
pub(super) const BLOCKED: &str = "+17735550111";
/// Its telephone is off.
pub(super) const NOBODY_THERE: &str = "+17735550112";
/// Texts to it come back because the sender is not registered.
pub(super) const UNREGISTERED: &str = "+17735550113";
/// There is no such number.
pub(super) const WRONG: &str = "+17735550114";
/// Nobody picks up.
pub(super) const NO_ANSWER: &str = "+17735550115";
/// Texts to it are taken, and nothing more is heard of them.
pub(super) const SILENT: &str = "+17735550117";
/// The number of a household.
const SHARED: &str = "+17735550116";

/// The campaign.
const AUTUMN: &str = "tour-autumn";

/// The job of the plan that waits for a step and takes the next.
pub(super) const PLAN: &str = "plan";

/// Reasons that the tour cannot come to, and why.
pub(super) const NOT_SHOWN: &[(Reason, &str)] = &[
    (
        Reason::Paced,
        "a message waits under it for midnight UTC where a provider's limit for the day is used up",
    ),
    (
        Reason::SafetyMode,
        "what the modes capture and allow_list keep from leaving bears it; the tour is in mode live",
    ),
    (Reason::DeliveryLimit, "RabbitMQ alone gives a message up; the tour runs without it"),
];

/// One thing that is done.
pub(super) enum Step {
    /// Bodies come in, each under its AMQP key, all at once.
    Bring(Vec<(&'static str, String)>),
    /// The message of this job has left.
    Left(&'static str),
    /// A person stops everything for one site.
    HoldSite(&'static str),
    /// The mail of this job, which had left, comes back for this reason.
    CameBack(&'static str, Failure),
    /// The recipient of the mail of this job tells their mail provider that it is not wanted.
    Complained(&'static str),
    /// A campaign of these patients begins, by this plan.
    Campaign(Value, Vec<String>),
    /// The message of this job is on record.
    Written(&'static str),
    /// A person pauses this campaign.
    Pause(&'static str),
    /// A patient needs this campaign's message no more.
    Done(&'static str, String),
}

/// What shows that the reason was come to.
pub(super) enum Proof {
    /// The message of this job stands so.
    Message { job: &'static str, status: MessageStatus },
    /// The message of this job was sent once more, over this channel.
    Step { job: &'static str, channel: Channel },
    /// The message of this job has an event with this routing key.
    Told { job: &'static str, key: &'static str },
    /// The answer to what came in last.
    Answer,
}

/// One stop of the tour.
pub(super) struct Scene {
    /// `None`: a plan that takes its next step has none.
    pub(super) reason: Option<Reason>,
    /// What happens, in a sentence.
    pub(super) why: &'static str,
    pub(super) steps: Vec<Step>,
    pub(super) proof: Proof,
}

/// Makes scenes as of `now`, by the ledger's clock.
pub(super) struct Cast {
    pub(super) now: Timestamp,
}

/// The number of a scene's own, in the block that is reserved for fiction.
fn number(place: usize) -> String {
    format!("+1312555{:04}", 110 + place)
}

fn sms(address: &str) -> Value {
    json!([{ "channel": "sms", "address": address }])
}

fn one(key: &'static str, body: &Value) -> Step {
    Step::Bring(vec![(key, body.to_string())])
}

fn with(mut object: Value, more: &Value) -> Value {
    if let (Some(fields), Some(more)) = (object.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
    object
}

impl Cast {
    /// Somebody with these fields beside the usual ones.
    fn patient(&self, reason: Reason, more: &Value) -> Value {
        let usual = json!({
            "id": id(reason), "updated_at": self.now.to_string(), "language": "en", "timezone": "America/Chicago",
        });
        with(usual, more)
    }

    /// A reminder of a visit in five days.
    fn job(&self, reason: Reason, more: &Value) -> Value {
        let usual = json!({
            "id": reason.as_str(), "source": SOURCE, "patient_id": id(reason), "template": "appointment-reminder",
            "data": { "starts_at": self.after_hours(5 * 24), "practitioner": "Dr. Chen" },
        });
        with(usual, more)
    }

    fn after_hours(&self, hours: i64) -> String {
        self.now.checked_add(SignedDuration::from_hours(hours)).unwrap_or(self.now).to_string()
    }

    /// The time of day there, so many hours from now.
    fn clock(&self, hours: i64) -> String {
        let at = self.now.checked_add(SignedDuration::from_hours(hours)).unwrap_or(self.now);
        let zone = TimeZone::get("America/Chicago").unwrap_or(TimeZone::UTC);
        at.to_zoned(zone).strftime("%H:%M").to_string()
    }

    /// A patient and a job, and how its message stands in the end.
    fn message(
        &self,
        reason: Reason,
        status: MessageStatus,
        why: &'static str,
        patient: &Value,
        job: &Value,
    ) -> Scene {
        let bodies = vec![
            ("patient.upsert", self.patient(reason, patient).to_string()),
            ("job.normal", self.job(reason, job).to_string()),
        ];
        let proof = Proof::Message { job: reason.as_str(), status };
        Scene { reason: Some(reason), why, steps: vec![Step::Bring(bodies)], proof }
    }

    /// A job that is not accepted.
    fn refused(reason: Reason, why: &'static str, job: &Value) -> Scene {
        Scene { reason: Some(reason), why, steps: vec![one("job.normal", job)], proof: Proof::Answer }
    }

    /// Everything but what needs a provider that has gone bad.
    pub(super) fn first_act(&self) -> Vec<Scene> {
        let mut scenes = self.who_they_are();
        scenes.extend(self.what_they_said());
        scenes.extend(self.their_contacts());
        scenes.extend(self.when());
        scenes.extend(self.on_the_way());
        scenes.extend(self.texts());
        scenes.extend(self.at_the_door());
        scenes.extend(self.taken_back());
        scenes.push(self.complaint());
        scenes.extend(self.campaign());
        scenes.push(self.digest());
        scenes.push(self.plan());
        scenes
    }

    /// Whoever calls is answered with a fault, and cannot know whether it rang.
    pub(super) fn second_act(&self) -> Vec<Scene> {
        let voice = json!({ "contacts": [{ "channel": "voice", "address": number(60) }] });
        vec![self.message(
            Reason::OutcomeUnknown,
            MessageStatus::Unknown,
            "The provider failed while it had the call: it may have rung, so nobody calls again.",
            &voice,
            &json!({}),
        )]
    }

    fn who_they_are(&self) -> Vec<Scene> {
        let suppressed = |reason, why, patient: Value| {
            self.message(reason, MessageStatus::Suppressed, why, &patient, &json!({}))
        };
        let unknown = Scene {
            reason: Some(Reason::UnknownPatient),
            why: "Nobody of that id came within the time that a job waits for its patient.",
            steps: vec![one("job.normal", &self.job(Reason::UnknownPatient, &json!({})))],
            proof: Proof::Message { job: Reason::UnknownPatient.as_str(), status: MessageStatus::Suppressed },
        };
        vec![
            unknown,
            suppressed(Reason::Inactive, "They are no longer a patient here.", json!({ "active": false })),
            suppressed(Reason::Deceased, "They have died.", json!({ "deceased": true })),
            suppressed(
                Reason::DoNotContact,
                "Staff noted that they are not to be contacted.",
                json!({ "do_not_contact": "asked at the desk" }),
            ),
            suppressed(
                Reason::NoProxy,
                "A child's guardian is written to, and is nobody whom we can reach.",
                json!({ "birth_date": "2020-05-01", "contacts": sms(&number(0)), "proxies": [{
                    "patient_id": "TOUR-nobody", "authority": "guardian", "mode": "instead", "purposes": ["*"] }] }),
            ),
        ]
    }

    fn what_they_said(&self) -> Vec<Scene> {
        let stop =
            json!([{ "channel": "sms", "granted": false, "at": self.after_hours(-24), "source": "patient" }]);
        vec![
            self.message(
                Reason::Paused,
                MessageStatus::Held,
                "They asked for a pause; it goes out when that is over.",
                &json!({ "contacts": sms(&number(1)), "pause_until": self.after_hours(24) }),
                &json!({}),
            ),
            self.message(
                Reason::OptedOut,
                MessageStatus::Suppressed,
                "They wrote STOP, and have no other contact.",
                &json!({ "contacts": sms(&number(2)), "consents": stop }),
                &json!({}),
            ),
            self.message(
                Reason::NoConsent,
                MessageStatus::Suppressed,
                "An offer needs their word first, and they never gave it.",
                &json!({ "contacts": sms(&number(3)) }),
                &json!({ "template": "tour-offer", "data": {} }),
            ),
            self.message(
                Reason::ConfidentialContact,
                MessageStatus::Suppressed,
                "It may only go to a contact that is known to be theirs alone.",
                &json!({ "contacts": sms(&number(4)) }),
                &json!({ "template": "tour-private", "data": {} }),
            ),
        ]
    }

    fn their_contacts(&self) -> Vec<Scene> {
        let contact = |reason, why, contact: Value| {
            let patient = json!({ "contacts": [contact] });
            self.message(reason, MessageStatus::Suppressed, why, &patient, &json!({}))
        };
        let marked =
            |place, status: &str| json!({ "channel": "sms", "address": number(place), "status": status });
        let other =
            json!({ "id": "TOUR-other", "updated_at": self.now.to_string(), "contacts": sms(SHARED) });
        let mut shared = self.message(
            Reason::SharedContact,
            MessageStatus::Suppressed,
            "Another patient has the same number, and this text is for one of them.",
            &json!({ "contacts": sms(SHARED) }),
            &json!({ "template": "discharge-follow-up", "data": {} }),
        );
        shared.steps.insert(0, one("patient.upsert", &other));
        let finding = json!({ "template": "tour-finding", "data": {} });
        vec![
            shared,
            contact(Reason::InvalidAddress, "The number was found not to work.", marked(5, "bad")),
            contact(Reason::WrongNumber, "Whoever has the number said that it is not theirs.", marked(6, "wrong")),
            contact(Reason::Reassigned, "The number has a new owner.", marked(7, "reassigned")),
            contact(
                Reason::Landline,
                "A landline takes no texts.",
                json!({ "channel": "sms", "address": number(8), "kind": "landline" }),
            ),
            contact(
                Reason::CountryNotAllowed,
                "No texts go to that country, against fraud by costly numbers.",
                json!({ "channel": "sms", "address": "+34612345678" }),
            ),
            self.message(
                Reason::NoContact,
                MessageStatus::Suppressed,
                "There is no contact at all.",
                &json!({ "contacts": [] }),
                &json!({}),
            ),
            self.message(
                Reason::SensitiveContent,
                MessageStatus::Suppressed,
                "The text tells a result, which does not go by SMS.",
                &json!({ "contacts": sms(&number(9)) }),
                &finding,
            ),
            self.message(
                Reason::ContactUnverified,
                MessageStatus::Suppressed,
                "This clinic mails results, and nobody has verified that the address is theirs.",
                &json!({ "contacts": [{ "channel": "email", "address": "unverified@patients.example.org" }] }),
                &finding,
            ),
        ]
    }

    fn when(&self) -> Vec<Scene> {
        let held = |reason, why, patient: Value, job: Value| {
            self.message(reason, MessageStatus::Held, why, &patient, &job)
        };
        let quiet = json!({ "start": self.clock(-1), "end": self.clock(3) });
        let mut capped = held(
            Reason::FrequencyCap,
            "They had a message today; this one goes tomorrow.",
            json!({ "contacts": sms(&number(12)) }),
            json!({}),
        );
        let first = self.job(Reason::FrequencyCap, &json!({ "id": "frequency_cap-1", "about": "visit-1" }));
        let second = capped.steps.pop();
        let patient = self.patient(Reason::FrequencyCap, &json!({ "contacts": sms(&number(12)) }));
        capped.steps.push(one("patient.upsert", &patient));
        capped.steps.push(one("job.normal", &first));
        capped.steps.push(Step::Left("frequency_cap-1"));
        capped.steps.extend(second);
        let mut stopped = held(
            Reason::OperatorHold,
            "Somebody stopped everything from this site.",
            json!({ "contacts": sms(&number(13)) }),
            json!({ "site": "lakeside-south" }),
        );
        stopped.steps.insert(0, Step::HoldSite("lakeside-south"));
        vec![
            held(
                Reason::QuietHours,
                "They asked not to be disturbed at this hour.",
                json!({ "contacts": sms(&number(11)), "quiet_hours": quiet }),
                json!({}),
            ),
            capped,
            stopped,
            held(
                Reason::AwaitingApproval,
                "An emergency passes hours and caps; this source's wait for a second person.",
                json!({ "contacts": sms(&number(14)) }),
                json!({ "source": "demo-alarm", "template": "tour-alarm", "data": {}, "override_reason": "burst pipe" }),
            ),
            self.flood(),
        ]
    }

    /// A hundred jobs are allowed; one more is a surge.
    fn flood(&self) -> Scene {
        let reason = Reason::SurgeHold;
        let patient =
            json!({ "contacts": [{ "channel": "email", "address": "flood@patients.example.org" }] });
        let mut bodies = vec![("patient.upsert", self.patient(reason, &patient).to_string())];
        for n in 0..=100_u32 {
            let job = json!({ "source": "demo-flood", "template": "preferences-changed", "data": {} });
            let name = if n == 0 { reason.as_str().to_owned() } else { format!("flood-{n}") };
            bodies.push(("job.normal", with(self.job(reason, &job), &json!({ "id": name })).to_string()));
        }
        Scene {
            reason: Some(reason),
            why: "A source asks for far more than it ever did; a person looks first.",
            steps: vec![Step::Bring(bodies)],
            proof: Proof::Message { job: reason.as_str(), status: MessageStatus::Held },
        }
    }

    fn on_the_way(&self) -> Vec<Scene> {
        let failed = |reason, why, contacts: Value| {
            let patient = json!({ "contacts": contacts });
            self.message(reason, MessageStatus::Failed, why, &patient, &json!({}))
        };
        let mail = |address: &str| json!({ "channel": "email", "address": address });
        let mut full = failed(
            Reason::MailboxFull,
            "The mail left, and came back: their mailbox has no room.",
            json!([mail("full@patients.example.org")]),
        );
        full.steps.push(Step::CameBack(Reason::MailboxFull.as_str(), Failure::MailboxFull));
        vec![
            full,
            failed(Reason::CarrierBlocked, "The carrier kept the text back.", sms(BLOCKED)),
            failed(
                Reason::Unreachable,
                "The telephone could not be reached, and there is no other way.",
                sms(NOBODY_THERE),
            ),
            failed(
                Reason::ProviderMisconfigured,
                "Our own number is not registered with the carriers: somebody here has to act.",
                sms(UNREGISTERED),
            ),
            failed(
                Reason::NoAnswer,
                "Nobody picked up.",
                json!([{ "channel": "voice", "address": NO_ANSWER }]),
            ),
            failed(
                Reason::ProviderRejected,
                "Their mail server took offence at the mail.",
                json!([mail("reject-571@patients.example.org")]),
            ),
            failed(
                Reason::ProviderUnavailable,
                "The portal was down, and was still down at the last try.",
                json!([{ "channel": "portal", "address": "Patient/tour" }]),
            ),
            failed(
                Reason::PlanExhausted,
                "The text, then the mail, then the call: every way was tried.",
                json!([
                    { "channel": "sms", "address": WRONG },
                    mail("bounce-511@patients.example.org"),
                    { "channel": "voice", "address": WRONG },
                ]),
            ),
        ]
    }

    /// A mail that arrived, and was not welcome.
    fn complaint(&self) -> Scene {
        let reason = Reason::Complaint;
        let patient =
            json!({ "contacts": [{ "channel": "email", "address": "complains@patients.example.org" }] });
        let bodies = vec![
            ("patient.upsert", self.patient(reason, &patient).to_string()),
            ("job.normal", self.job(reason, &json!({})).to_string()),
        ];
        Scene {
            reason: Some(reason),
            why: "They told their mail provider that the mail was not wanted: no more reminders to that address.",
            steps: vec![Step::Bring(bodies), Step::Complained(reason.as_str())],
            proof: Proof::Told { job: reason.as_str(), key: "reply.complaint.demo" },
        }
    }

    /// A campaign of three: one has its message, one waits for their turn when it is paused, and one has come meanwhile.
    fn campaign(&self) -> Vec<Scene> {
        const FIRST: &str = "campaign:tour-autumn:1";
        const SECOND: &str = "campaign:tour-autumn:2";
        const THIRD: &str = "campaign:tour-autumn:3";
        let (paused, booked) = (Reason::CampaignPaused, Reason::NoLongerNeeded);
        let people = ["TOUR-campaign".to_owned(), id(paused), id(booked)];
        let known = people.iter().enumerate().map(|(n, person)| {
            let fields = json!({ "id": person, "contacts": sms(&number(50 + n)) });
            ("patient.upsert", self.patient(paused, &fields).to_string())
        });
        let plan = json!({
            "id": AUTUMN, "template": "appointment-reminder", "canary": 0, "pace": { "per_minute": 15 },
            "data": { "starts_at": self.after_hours(5 * 24), "practitioner": "Dr. Chen" },
        });
        let steps = vec![
            Step::Bring(known.collect()),
            Step::Campaign(plan, people.to_vec()),
            Step::Left(FIRST),
            Step::Written(THIRD),
            Step::Pause(AUTUMN),
        ];
        let held = Scene {
            reason: Some(paused),
            why: "Somebody paused the campaign before it was their turn.",
            steps,
            proof: Proof::Message { job: SECOND, status: MessageStatus::Held },
        };
        let taken_back = Scene {
            reason: Some(booked),
            why: "They have booked by themselves: the campaign's message was taken back before it was sent.",
            steps: vec![Step::Written(THIRD), Step::Done(AUTUMN, id(booked))],
            proof: Proof::Message { job: THIRD, status: MessageStatus::Cancelled },
        };
        vec![held, taken_back]
    }

    /// Two reminders for one patient, due in the same moment.
    fn digest(&self) -> Scene {
        let reason = Reason::Merged;
        let soon = self.now.checked_add(SignedDuration::from_secs(5)).unwrap_or(self.now).to_string();
        let visit = |id: &str, hours: i64| {
            let data = json!({ "starts_at": self.after_hours(hours), "practitioner": "Dr. Chen" });
            let job = json!({ "id": id, "not_before": soon, "data": data });
            ("job.normal", self.job(reason, &job).to_string())
        };
        let patient = self.patient(reason, &json!({ "contacts": sms(&number(70)) }));
        Scene {
            reason: Some(reason),
            why: "Another reminder for them went out in the same moment, and tells this visit too.",
            steps: vec![Step::Bring(vec![
                ("patient.upsert", patient.to_string()),
                visit("merged-1", 5 * 24),
                visit(reason.as_str(), 5 * 24 + 1),
            ])],
            proof: Proof::Message { job: reason.as_str(), status: MessageStatus::Cancelled },
        }
    }

    /// A text of which nothing is heard in time, and the mail that follows it.
    fn plan(&self) -> Scene {
        let patient = json!({
            "id": "TOUR-plan", "updated_at": self.now.to_string(), "language": "en", "timezone": "America/Chicago",
            "contacts": [
                { "channel": "sms", "address": SILENT },
                { "channel": "email", "address": "plan@patients.example.org" },
            ],
        });
        let job = json!({
            "id": PLAN, "source": SOURCE, "patient_id": "TOUR-plan", "template": "tour-steps", "data": {},
        });
        Scene {
            reason: None,
            why: "The text was not reported as delivered in time, so a mail follows; it waits for an answer to that.",
            steps: vec![Step::Bring(vec![
                ("patient.upsert", patient.to_string()),
                ("job.normal", job.to_string()),
            ])],
            proof: Proof::Step { job: PLAN, channel: Channel::Email },
        }
    }

    fn texts(&self) -> Vec<Scene> {
        let text = |reason, why, place, template: &str, data: Value| {
            let patient = json!({ "contacts": sms(&number(place)) });
            let job = json!({ "template": template, "data": data });
            self.message(reason, MessageStatus::Failed, why, &patient, &job)
        };
        vec![
            text(
                Reason::NoTranslation,
                "They read English, and this text exists in Spanish only.",
                20,
                "tour-aviso",
                json!({}),
            ),
            text(
                Reason::TooLong,
                "With this data the text takes more segments than the template allows.",
                21,
                "tour-note",
                json!({ "note": "Please bring your card. ".repeat(15) }),
            ),
            text(Reason::TemplateError, "With this data the text is empty.", 22, "tour-note", json!({})),
        ]
    }

    fn at_the_door(&self) -> Vec<Scene> {
        let job = |reason, more: Value| self.job(reason, &more);
        let twice = job(Reason::Duplicate, json!({}));
        let first = job(Reason::Conflict, json!({}));
        let other = with(first.clone(), &json!({ "site": "lakeside-north" }));
        let once = |id: &str| json!({ "id": id, "source": "demo-once" });
        let patient = |reason, place| {
            one("patient.upsert", &self.patient(reason, &json!({ "contacts": sms(&number(place)) })))
        };
        let answer = |reason, why, steps| Scene { reason: Some(reason), why, steps, proof: Proof::Answer };
        vec![
            answer(
                Reason::Duplicate,
                "The same job came twice; there is one message.",
                vec![patient(Reason::Duplicate, 30), one("job.normal", &twice), one("job.normal", &twice)],
            ),
            answer(
                Reason::Conflict,
                "Another job came under the same id.",
                vec![patient(Reason::Conflict, 31), one("job.normal", &first), one("job.normal", &other)],
            ),
            answer(
                Reason::OverBudget,
                "Its source may send one job a day, and this is the second.",
                vec![
                    patient(Reason::OverBudget, 32),
                    one("job.normal", &job(Reason::OverBudget, once("over_budget-1"))),
                    one("job.normal", &job(Reason::OverBudget, once("over_budget"))),
                ],
            ),
            answer(
                Reason::Malformed,
                "It is no JSON.",
                vec![Step::Bring(vec![("job.normal", "{\"id\": \"malformed\"".to_owned())])],
            ),
            Self::refused(
                Reason::UnknownTemplate,
                "There is no such template.",
                &job(Reason::UnknownTemplate, json!({ "template": "appointment-remindr" })),
            ),
            Self::refused(
                Reason::UnknownSource,
                "Nobody configured that source.",
                &job(Reason::UnknownSource, json!({ "source": "somebody" })),
            ),
            Self::refused(
                Reason::SourceNotAllowed,
                "That source may not use this template.",
                &job(Reason::SourceNotAllowed, json!({ "source": "demo-billing" })),
            ),
            Self::refused(
                Reason::BadData,
                "The reminder lacks the visit's time.",
                &job(Reason::BadData, json!({ "data": { "practitioner": "Dr. Chen" } })),
            ),
        ]
    }

    fn taken_back(&self) -> Vec<Scene> {
        let later = json!({ "not_before": self.after_hours(24) });
        let cancel = |id: &str| {
            one(
                "job.cancel",
                &json!({ "action": "cancel", "source": SOURCE, "id": id, "reason": "visit moved" }),
            )
        };
        let scheduled = |reason, why, place| {
            let patient = json!({ "contacts": sms(&number(place)) });
            self.message(reason, MessageStatus::Cancelled, why, &patient, &later)
        };
        let mut cancelled = scheduled(Reason::Cancelled, "Its caller took it back in time.", 40);
        cancelled.steps.push(cancel(Reason::Cancelled.as_str()));
        let mut superseded = scheduled(Reason::Superseded, "A newer job took its place.", 41);
        let newer = json!({ "id": "superseded-2", "replaces": Reason::Superseded.as_str() });
        superseded.steps.push(one("job.normal", &self.job(Reason::Superseded, &newer)));
        let mut late = self.message(
            Reason::TooLate,
            MessageStatus::Delivered,
            "Its caller took it back, and it had gone.",
            &json!({ "contacts": sms(&number(42)) }),
            &json!({}),
        );
        late.steps.push(Step::Left(Reason::TooLate.as_str()));
        late.steps.push(cancel(Reason::TooLate.as_str()));
        late.proof = Proof::Answer;
        let soon = self.now.checked_add(SignedDuration::from_millis(1_500)).unwrap_or(self.now);
        let mut expired = self.message(
            Reason::Expired,
            MessageStatus::Expired,
            "Its time passed while its site was stopped.",
            &json!({ "contacts": sms(&number(43)) }),
            &json!({ "site": "lakeside-south", "expires_at": soon.to_string() }),
        );
        expired.steps.insert(0, Step::HoldSite("lakeside-south"));
        vec![cancelled, superseded, late, expired]
    }
}

/// The patient of a reason.
fn id(reason: Reason) -> String {
    format!("TOUR-{reason}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_scene_or_says_why_it_has_none() {
        let cast = Cast { now: "2026-11-22T18:00:00Z".parse().unwrap() };
        let mut scenes = cast.first_act();
        scenes.extend(cast.second_act());
        let mut named: Vec<Reason> = scenes.iter().filter_map(|scene| scene.reason).collect();
        named.extend(NOT_SHOWN.iter().map(|(reason, _)| *reason));
        let once: BTreeSet<Reason> = named.iter().copied().collect();
        assert_eq!(once.len(), named.len(), "one scene each");
        assert_eq!(once, Reason::ALL.iter().copied().collect::<BTreeSet<_>>());
        let sentences: BTreeSet<&str> = scenes.iter().map(|scene| scene.why).collect();
        assert_eq!(sentences.len(), scenes.len());
    }

    #[test]
    fn quiet_hours_lie_around_now_by_the_clock_there() {
        let cast = Cast { now: "2026-11-22T05:30:00Z".parse().unwrap() };
        assert_eq!((cast.clock(-1), cast.clock(3)), ("22:30".to_owned(), "02:30".to_owned()));
    }
}
