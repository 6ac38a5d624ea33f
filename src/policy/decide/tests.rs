use std::sync::Arc;

use jiff::tz::TimeZone;

use super::*;
use crate::domain::hours::{HoursRule, HoursTable, WeekHours};
use crate::domain::ids::{MessageId, PatientId};
use crate::domain::patience::Until;
use crate::domain::patient::{Consent, ConsentSource, Preference};
use crate::domain::phone::Region;
use crate::domain::problem::Problem;
use crate::domain::reader::{Expect, ParseDefaults};
use crate::domain::words::{PhiClass, Purpose};
use crate::policy::cap::CapRules;
use crate::policy::person::MajorityAge;
use crate::policy::question::{
    AddressSeen, Behind, HoldView, MessageView, PhiRules, PurposeRule, Rules, Served, SiteView, TemplateView,
    Tried,
};

const ALL: &[Channel] = &[Channel::Sms, Channel::Email, Channel::Voice, Channel::Portal];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn ana(json: &str) -> Patient {
    let text = format!(r#"{{"id":"P1","updated_at":"2026-11-20T08:00:00Z"{json}}}"#);
    let defaults = ParseDefaults::new(None, Region::US);
    let parsed: Result<Patient, Vec<Problem>> =
        Patient::parse(text.as_bytes(), &defaults, Expect { id: None, updated_at: true });
    parsed.unwrap()
}

const SMS: &str = r#","contacts":[{"channel":"sms","address":"+13125550142"}]"#;
const BOTH: &str = r#","contacts":[{"channel":"sms","address":"+13125550142"},
    {"channel":"email","address":"ana@example.org"}]"#;

const SERVED: &[Served] = &[
    Served { channel: Channel::Sms, baa: true },
    Served { channel: Channel::Email, baa: true },
    Served { channel: Channel::Voice, baa: true },
    Served { channel: Channel::Portal, baa: true },
];

const REVEALS: &[(Channel, PhiClass)] = &[
    (Channel::Sms, PhiClass::Limited),
    (Channel::Email, PhiClass::Limited),
    (Channel::Voice, PhiClass::Limited),
    (Channel::Portal, PhiClass::Limited),
];

fn rules() -> Rules {
    let care = PurposeRule { needs_grant: false, voice_allowed: true, fallback_allowed: true, capped: true };
    let asked =
        PurposeRule { needs_grant: true, voice_allowed: false, fallback_allowed: false, capped: true };
    Rules {
        patient_grace: SignedDuration::from_mins(2),
        countries: vec!["US".to_owned()],
        purposes: vec![
            (Purpose::Appointment, care),
            (Purpose::Billing, PurposeRule { voice_allowed: false, ..care }),
            (Purpose::Marketing, asked),
            (Purpose::Emergency, PurposeRule { capped: false, ..care }),
        ],
        cap: CapRules {
            per_day: 1,
            per_week: 3,
            channels: vec![Channel::Sms, Channel::Voice],
            each_step: false,
        },
        phi: PhiRules {
            sms: PhiClass::Limited,
            email: PhiClass::Limited,
            voice: PhiClass::Limited,
            portal: PhiClass::Sensitive,
            verified_from: PhiClass::Sensitive,
        },
        majority: MajorityAge { years: 18, by_state: Vec::new() },
        hours: day_hours(),
        home: TimeZone::get("America/Chicago").unwrap(),
        country: "US".to_owned(),
    }
}

/// Eight to nine in the evening.
fn day_hours() -> HoursTable {
    let everywhere = HoursRule {
        id: "everywhere".to_owned(),
        areas: Vec::new(),
        purposes: Vec::new(),
        channels: Vec::new(),
        open: WeekHours::parse("08:00-21:00").unwrap(),
        source: None,
    };
    HoursTable {
        rules: vec![everywhere],
        holidays: Vec::new(),
        disturbing: vec![Channel::Sms, Channel::Voice],
        spread: std::time::Duration::from_secs(600),
    }
}

fn always() -> HoursTable {
    HoursTable { rules: Vec::new(), disturbing: Vec::new(), ..day_hours() }
}

/// The patient wants nothing any more.
fn refusal() -> Consent {
    Consent::bare(false, at("2026-10-01T12:00:00Z"), ConsentSource::Patient)
}

/// Asks about a reminder at noon that expires at six.
fn ask<'a>(patient: Option<&'a Patient>, change: impl FnOnce(&mut Question<'a>)) -> Decision {
    let rules: &'static Rules = Box::leak(Box::new(rules()));
    let zone: &'static TimeZone = Box::leak(Box::new(TimeZone::get("America/Chicago").unwrap()));
    let mut question = Question {
        message: MessageView {
            id: MessageId::generate(),
            purpose: Purpose::Appointment,
            priority: Priority::Normal,
            channels: None,
            accepted_at: at("2026-12-01T17:00:00Z"),
            not_before: None,
            expires_at: When::At(at("2026-12-02T00:00:00Z")),
            cancelled: None,
            step: 0,
            reached: false,
            disturbs: true,
            lifts_cap: false,
            copy_for: None,
            along: false,
        },
        patient,
        unread: false,
        proxies: &[],
        address_consents: &[],
        addresses: &[],
        recent: &[],
        reserved: 0,
        template: TemplateView {
            channels: ALL,
            classes: REVEALS,
            confidential: false,
            shared_address: true,
            waits: &[],
            pointers: &[],
        },
        served: SERVED,
        hold: None,
        tried: &[],
        rules,
        zone,
        site: SiteView::default(),
        jitter: 0.0,
        now: at("2026-12-01T18:00:00Z"),
    };
    change(&mut question);
    decide(&question)
}

fn verdict(json: &str) -> (Gate, Result<Channel, Option<Reason>>) {
    said_by(ask(Some(&ana(json)), |_| {}))
}

fn said_by(decision: Decision) -> (Gate, Result<Channel, Option<Reason>>) {
    let answer = match decision.verdict {
        Verdict::Send { route, .. } => Ok(route.channel),
        Verdict::Suppress(reason) | Verdict::GiveUp(reason) | Verdict::Cancel(reason) => Err(Some(reason)),
        Verdict::Hold { reason, .. } => Err(reason),
        Verdict::Expire => Err(Some(Reason::Expired)),
    };
    (decision.gate, answer)
}

#[test]
fn a_refusal_names_the_record_it_rests_on() {
    let sms = r#","contacts":[{"channel":"sms","address":"+13125550142"}]"#;
    let stop = r#","consents":[{"channel":"sms","address":"+13125550142","granted":false,"at":"2026-10-01T12:00:00Z","source":"patient","by":"u17","evidence":"call"}]"#;
    let wide = r#","consents":[{"granted":false,"at":"2026-10-02T12:00:00Z","source":"staff"}]"#;
    let lapsed = r#","consents":[{"purpose":"marketing","granted":true,"at":"2026-10-01T12:00:00Z","source":"staff","expires_at":"2026-11-01T12:00:00Z"}]"#;
    let none = r#","preferences":{"appointment":[]}"#;
    let table = [
        (
            stop,
            Purpose::Appointment,
            "revoked by patient for every purpose, sms, this address at 2026-10-01T12:00:00Z",
        ),
        (
            wide,
            Purpose::Appointment,
            "revoked by staff for every purpose, every channel, every address at 2026-10-02T12:00:00Z",
        ),
        (
            lapsed,
            Purpose::Marketing,
            "granted by staff for marketing, every channel, every address at 2026-10-01T12:00:00Z, until 2026-11-01T12:00:00Z",
        ),
        ("", Purpose::Marketing, "nothing was said of marketing by sms"),
        (
            none,
            Purpose::Appointment,
            "the record prefers nothing for appointment, stated 2026-11-20T08:00:00Z",
        ),
    ];
    for (said, purpose, because) in table {
        let patient = ana(&format!("{said}{sms}"));
        let explained =
            ask(Some(&patient), |q| q.message.purpose = purpose).explanation(at("2026-12-01T18:00:00Z"));
        let weighed: Vec<_> = explained.ways.iter().map(|way| way.because.as_deref()).collect();
        assert!(weighed.contains(&Some(because)), "{weighed:?} lacks {because}");
    }
}

/// What the law asks an agreement for is not sent to a number that came after it.
#[test]
fn an_agreement_is_none_to_a_newer_number() {
    let mut patient = ana(r#","contacts":[{"channel":"sms","address":"+13125550142"}],
        "consents":[{"purpose":"marketing","granted":true,"at":"2026-10-01T12:00:00Z","source":"staff"}]"#);
    for (since, expected) in [
        (None, Ok(Channel::Sms)),
        (Some("2026-10-01T12:00:00Z"), Ok(Channel::Sms)),
        (Some("2026-10-02T12:00:00Z"), Err(Some(Reason::NoConsent))),
    ] {
        patient.contacts[0].since = since.map(at);
        let marketing = ask(Some(&patient), |q| q.message.purpose = Purpose::Marketing);
        let explained = marketing.explanation(at("2026-12-01T18:00:00Z"));
        assert_eq!(said_by(marketing).1, expected, "{since:?}");
        if expected.is_err() {
            let because = "granted by staff for marketing, every channel, every address at 2026-10-01T12:00:00Z, and not \
                of this address, which is newer";
            assert_eq!(explained.ways[0].because.as_deref(), Some(because));
        }
        let visit = ask(Some(&patient), |_| {});
        assert_eq!(said_by(visit).1, Ok(Channel::Sms), "what needs no agreement goes there");
    }
}

#[test]
fn what_is_known_of_the_patient_decides() {
    use Channel::{Email, Portal, Sms, Voice};
    let no = |reason| Err(Some(reason));
    let table = [
        ("a mobile number", SMS, (Gate::Route, Ok(Sms))),
        ("two contacts: the template's order", BOTH, (Gate::Route, Ok(Sms))),
        (
            "she prefers email",
            r#","preferred_channels":["email","sms"],"contacts":[{"channel":"sms","address":"+13125550142"},
                {"channel":"email","address":"ana@example.org"}]"#,
            (Gate::Route, Ok(Email)),
        ),
        (
            "for visits she prefers a call, whatever she prefers otherwise",
            r#","preferred_channels":["email"],"preferences":{"appointment":["voice"]},"contacts":[
                {"channel":"email","address":"ana@example.org"},{"channel":"voice","address":"+13125550142"}]"#,
            (Gate::Route, Ok(Voice)),
        ),
        (
            "a preference is an order, not a ban",
            r#","preferred_channels":["email"],"contacts":[{"channel":"portal","address":"Patient/42"}]"#,
            (Gate::Route, Ok(Portal)),
        ),
        (
            "rank decides where nothing else does",
            r#","contacts":[{"channel":"sms","address":"+13125550142","rank":2},
                {"channel":"email","address":"ana@example.org","rank":1}]"#,
            (Gate::Route, Ok(Email)),
        ),
        ("no way to reach her", "", (Gate::ValidContact, no(Reason::NoContact))),
        (
            "none but one of former days",
            r#","contacts":[{"channel":"sms","address":"+13125550142","use":"old"}]"#,
            (Gate::ValidContact, no(Reason::NoContact)),
        ),
        (
            "none, and she wants no messages about visits",
            r#","preferences":{"appointment":[]}"#,
            (Gate::OptOut, no(Reason::OptedOut)),
        ),
        (
            "she wants no messages about visits",
            r#","preferences":{"appointment":[]},"contacts":[{"channel":"sms","address":"+13125550142"}]"#,
            (Gate::OptOut, no(Reason::OptedOut)),
        ),
        (
            "she said STOP to texts, so the email goes",
            r#","consents":[{"channel":"sms","granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}],
                "contacts":[{"channel":"sms","address":"+13125550142"},{"channel":"email","address":"ana@example.org"}]"#,
            (Gate::Route, Ok(Email)),
        ),
        (
            "she said STOP to everything",
            r#","consents":[{"granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}],
                "contacts":[{"channel":"sms","address":"+13125550142"}]"#,
            (Gate::OptOut, no(Reason::OptedOut)),
        ),
        ("she has left", r#","active":false,"contacts":[]"#, (Gate::Active, no(Reason::Inactive))),
        ("she has died", r#","deceased":true"#, (Gate::Deceased, no(Reason::Deceased))),
        ("staff said no", r#","do_not_contact":"legal""#, (Gate::DoNotContact, no(Reason::DoNotContact))),
        (
            "the number belongs to somebody else",
            r#","contacts":[{"channel":"sms","address":"+13125550142","status":"wrong"}]"#,
            (Gate::ValidContact, no(Reason::WrongNumber)),
        ),
        (
            "a landline takes no texts",
            r#","contacts":[{"channel":"sms","address":"+13125550142","kind":"landline"}]"#,
            (Gate::ValidContact, no(Reason::Landline)),
        ),
        (
            "a number abroad",
            r#","contacts":[{"channel":"sms","address":"+34612345678"}]"#,
            (Gate::ValidContact, no(Reason::CountryNotAllowed)),
        ),
        (
            "confidential: only the portal, and it is the only one used",
            r#","contacts":[{"channel":"sms","address":"+13125550142"},
                {"channel":"portal","address":"Patient/42","only":true}]"#,
            (Gate::Route, Ok(Portal)),
        ),
        (
            "confidential, and that contact is bad: nothing leaves it all the same",
            r#","contacts":[{"channel":"sms","address":"+13125550142"},
                {"channel":"portal","address":"Patient/42","only":true,"status":"bad"}]"#,
            (Gate::ValidContact, no(Reason::InvalidAddress)),
        ),
    ];
    for (why, patient, expected) in table {
        assert_eq!(verdict(patient), expected, "{why}");
    }
}

#[test]
fn who_wants_to_be_left_in_peace_for_a_while_is() {
    let mut ana = ana(SMS);
    let goes = ask(Some(&ana), |_| {}).verdict;
    let waits = |until: &str| Verdict::Hold { until: Some(at(until)), reason: Some(Reason::Paused) };
    for (until, expected) in [
        ("2026-12-01T18:00:00Z", goes),
        ("2026-12-01T18:00:01Z", waits("2026-12-01T18:00:01Z")),
        ("2026-12-01T23:59:59Z", waits("2026-12-01T23:59:59Z")),
        ("2026-12-02T00:00:00Z", Verdict::Suppress(Reason::Paused)),
    ] {
        ana.pause_until = Some(at(until));
        assert_eq!(ask(Some(&ana), |_| {}).verdict, expected, "until {until}");
    }
}

/// Every gate in its order: each line adds one more thing that is wrong, in front of those before it.
#[test]
fn the_order_of_gates_decides_the_reason() {
    let mut wrong = ana(SMS);
    let mut rows: Vec<(Gate, Reason)> = Vec::new();
    let full = Recent::parse(Some(&Recent::entry(at("2026-12-01T16:00:00Z"), MessageId::generate())));
    let full = [full];
    let mut stop = |wrong: &Patient, change: &dyn Fn(&mut Question<'_>)| {
        let decision = ask(Some(wrong), |q| change(q));
        rows.push((decision.gate, decision.explanation(at("2026-12-01T18:00:00Z")).reason.unwrap()));
    };
    let capped = |q: &mut Question<'_>| q.recent = full.as_slice().to_vec().leak();
    stop(&wrong, &capped);
    let sensitive = |q: &mut Question<'_>| {
        capped(q);
        q.template.classes = &[(Channel::Sms, PhiClass::Sensitive)];
    };
    stop(&wrong, &sensitive);
    wrong.contacts[0].status = crate::domain::words::ContactStatus::Bad;
    stop(&wrong, &sensitive);
    let confidential = |q: &mut Question<'_>| {
        sensitive(q);
        q.template.confidential = true;
    };
    stop(&wrong, &confidential);
    let marketing = |q: &mut Question<'_>| {
        confidential(q);
        q.message.purpose = Purpose::Marketing;
    };
    stop(&wrong, &marketing);
    wrong.preferences =
        vec![Preference { purpose: Purpose::Marketing, channels: Vec::new(), updated_at: None }];
    stop(&wrong, &marketing);
    let held = |q: &mut Question<'_>| {
        marketing(q);
        q.hold = Some(HoldView { until: None, cause: Reason::OperatorHold });
    };
    stop(&wrong, &held);
    let late = |q: &mut Question<'_>| {
        held(q);
        q.now = at("2026-12-02T00:00:00Z");
    };
    stop(&wrong, &late);
    let cancelled = |q: &mut Question<'_>| {
        late(q);
        q.message.cancelled = Some(Reason::Superseded);
    };
    stop(&wrong, &cancelled);
    wrong.do_not_contact = Some("legal".to_owned());
    stop(&wrong, &cancelled);
    wrong.deceased = true;
    stop(&wrong, &cancelled);
    wrong.active = false;
    stop(&wrong, &cancelled);
    let gates: Vec<Gate> = rows.iter().map(|(gate, _)| *gate).collect();
    assert!(gates.is_sorted_by(|a, b| a > b), "{gates:?}");
    let reasons: Vec<Reason> = rows.iter().map(|(_, reason)| *reason).collect();
    use Reason::{
        ConfidentialContact, Deceased, DoNotContact, Expired, FrequencyCap, Inactive, InvalidAddress,
        NoConsent, OperatorHold, OptedOut, SensitiveContent, Superseded,
    };
    let expected = [
        FrequencyCap,
        SensitiveContent,
        InvalidAddress,
        ConfidentialContact,
        NoConsent,
        OptedOut,
        OperatorHold,
        Expired,
        Superseded,
        DoNotContact,
        Deceased,
        Inactive,
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn consent_is_asked_for_where_the_purpose_needs_it() {
    let granted = |purpose: &str, until: &str| {
        format!(
            r#"{SMS},"consents":[{{"purpose":"{purpose}","channel":"sms","granted":true,"at":"2026-10-01T12:00:00Z",
                "source":"staff","expires_at":{until}}}]"#
        )
    };
    let marketing = |json: &str| said_by(ask(Some(&ana(json)), |q| q.message.purpose = Purpose::Marketing));
    assert_eq!(marketing(SMS), (Gate::Consent, Err(Some(Reason::NoConsent))));
    assert_eq!(marketing(&granted("marketing", "null")), (Gate::Route, Ok(Channel::Sms)));
    assert_eq!(marketing(&granted("survey", "null")), (Gate::Consent, Err(Some(Reason::NoConsent))));
    let lapsed = granted("marketing", r#""2026-11-01T00:00:00Z""#);
    assert_eq!(marketing(&lapsed), (Gate::Consent, Err(Some(Reason::NoConsent))));
    let call = r#","contacts":[{"channel":"voice","address":"+13125550142"}]"#;
    let billing = |json: &str| said_by(ask(Some(&ana(json)), |q| q.message.purpose = Purpose::Billing));
    assert_eq!(
        billing(call),
        (Gate::Consent, Err(Some(Reason::NoConsent))),
        "a machine does not call about bills"
    );
    assert_eq!(billing(SMS), (Gate::Route, Ok(Channel::Sms)));
}

#[test]
fn what_is_confidential_goes_to_the_patients_own_contact_alone() {
    let kept = |json: &str| said_by(ask(Some(&ana(json)), |q| q.template.confidential = true));
    let own = r#","contacts":[{"channel":"sms","address":"+13125550142","private":true}]"#;
    assert_eq!(kept(SMS), (Gate::Confidential, Err(Some(Reason::ConfidentialContact))));
    assert_eq!(kept(own), (Gate::Route, Ok(Channel::Sms)));
    let shared = [AddressSeen {
        address: Phi::new("+13125550142"),
        shared: true,
        of_several: true,
        behind: Vec::new(),
        recent: Recent::default(),
    }];
    let ana = ana(own);
    let at_home = ask(Some(&ana), |q| {
        q.template.confidential = true;
        q.addresses = &shared;
    });
    assert_eq!(said_by(at_home), (Gate::Confidential, Err(Some(Reason::ConfidentialContact))));
    let named = ask(Some(&ana), |q| {
        q.template.shared_address = false;
        q.addresses = &shared;
    });
    assert_eq!(said_by(named), (Gate::Confidential, Err(Some(Reason::SharedContact))));
}

#[test]
fn a_provider_without_an_agreement_sees_nothing_of_health() {
    let ana = ana(SMS);
    let without = &[Served { channel: Channel::Sms, baa: false }];
    let limited = ask(Some(&ana), |q| q.served = without);
    assert_eq!(said_by(limited), (Gate::Content, Err(Some(Reason::SensitiveContent))));
    let minimal = ask(Some(&ana), |q| {
        q.served = without;
        q.template.classes = &[(Channel::Sms, PhiClass::Minimal)];
    });
    assert_eq!(said_by(minimal), (Gate::Route, Ok(Channel::Sms)));
}

/// Texts carried by somebody without an agreement.
const LOOSE_SMS: &[Served] = &[
    Served { channel: Channel::Sms, baa: false },
    Served { channel: Channel::Email, baa: true },
    Served { channel: Channel::Portal, baa: true },
];

const WITH_PORTAL: &str = r#","preferred_channels":["sms","email","portal"],"contacts":[
    {"channel":"sms","address":"+13125550142"},{"channel":"portal","address":"Patient/42"}]"#;

/// What went before: a channel, and what became of it.
fn went(steps: &[(Channel, Reason)]) -> Vec<Tried> {
    let address = |channel| match channel {
        Channel::Portal => "Patient/42",
        Channel::Email => "ana@example.org",
        Channel::Sms | Channel::Voice => "+13125550142",
    };
    let route = |channel| Route { channel, address: Phi::new(address(channel)), extension: None };
    steps.iter().map(|(channel, reason)| Tried { route: route(*channel), reason: *reason }).collect()
}

#[test]
fn what_is_too_much_goes_to_the_portal_and_a_pointer_follows() {
    use Channel::{Email, Portal, Sms};
    type Change<'c> = &'c dyn Fn(&mut Question<'_>);
    type Answer = Result<(Channel, bool, Option<Patience>), Verdict>;
    let with_mail = WITH_PORTAL
        .replace(r#""contacts":["#, r#""contacts":[{"channel":"email","address":"ana@example.org"},"#);
    let own = |json: &str| json.replace(r#""channel""#, r#""private":true,"channel""#);
    let order = |json: &str, order: &str| json.replace(r#"["sms","email","portal"]"#, order);
    let stopped = |channel: &str| {
        let stop = format!(
            r#","consents":[{{"channel":"{channel}","granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}}]"#
        );
        format!("{WITH_PORTAL}{stop}")
    };
    let granted = format!(
        r#"{WITH_PORTAL},"consents":[{{"purpose":"marketing","granted":true,"at":"2026-10-01T12:00:00Z","source":"patient"}}]"#
    );
    let at_home = AddressSeen {
        address: Phi::new("+13125550142"),
        shared: true,
        of_several: true,
        behind: Vec::new(),
        recent: Recent::default(),
    };
    let today = Recent::parse(Some(&Recent::entry(at("2026-12-01T16:00:00Z"), MessageId::generate())));
    let through = Reason::PlanExhausted;
    let (before, pointer) = (Ok((Portal, false, Some(Patience::NONE))), Ok((Sms, true, None)));
    let (alone, over) = (Ok((Portal, false, None)), Err(Verdict::GiveUp(Reason::PlanExhausted)));
    let refused = Err(Verdict::Suppress(Reason::SensitiveContent));
    let waits = |until: &str, reason| Err(Verdict::Hold { until: Some(at(until)), reason: Some(reason) });
    let patience = Patience { wait: SignedDuration::from_hours(4), until: Until::Delivered };
    let plan: &'static [(Channel, Patience)] = vec![(Sms, patience), (Portal, patience)].leak();
    let in_portal = &[(Portal, through)][..];
    let rules_with = |change: &dyn Fn(&mut Rules)| -> &'static Rules {
        let mut rules = rules();
        change(&mut rules);
        Box::leak(Box::new(rules))
    };
    let few = rules_with(&|rules| rules.phi.sms = PhiClass::Minimal);
    let checked = rules_with(&|rules| rules.phi.verified_from = PhiClass::Limited);
    let all_checked = rules_with(&|rules| rules.phi.verified_from = PhiClass::Minimal);
    let late = When::At(at("2026-12-03T00:00:00Z"));
    let unchanged: Change<'_> = &|_| {};
    let case =
        |what: &str, json: &str, steps: &[(Channel, Reason)], change: Change<'_>, expected: &Answer| {
            let patient = ana(json);
            let decision = ask(Some(&patient), |q| {
                q.served = LOOSE_SMS;
                q.template.pointers = &[Sms, Email, Channel::Voice];
                q.tried = went(steps).leak();
                q.message.step = u16::try_from(steps.len()).unwrap();
                q.message.reached = !steps.is_empty();
                change(q);
            });
            let answer = match decision.verdict {
                Verdict::Send { route, patience, pointer, .. } => Ok((route.channel, pointer, patience)),
                other => Err(other),
            };
            assert_eq!(answer, *expected, "{what}");
        };
    case("the portal comes first", WITH_PORTAL, &[], unchanged, &before);
    case("the pointer follows", WITH_PORTAL, in_portal, unchanged, &pointer);
    case("and that is all", WITH_PORTAL, &[(Portal, through), (Sms, through)], unchanged, &over);
    case("the channel may not have it", WITH_PORTAL, &[], &|q| (q.rules, q.served) = (few, SERVED), &before);
    case(
        "nobody knows whose number it is",
        WITH_PORTAL,
        &[],
        &|q| (q.rules, q.served) = (checked, SERVED),
        &before,
    );
    case(
        "an unverified number is told nothing at all",
        WITH_PORTAL,
        &[],
        &|q| (q.rules, q.served) = (all_checked, SERVED),
        &alone,
    );
    case(
        "who looks into the portal first",
        &order(WITH_PORTAL, r#"["portal","sms"]"#),
        &[],
        unchanged,
        &alone,
    );
    case(
        "who may have all of it by mail",
        &order(&with_mail, r#"["email","sms"]"#),
        &[],
        unchanged,
        &Ok((Email, false, None)),
    );
    case("who would rather have a text", &with_mail, &[], unchanged, &before);
    case(
        "a pointer that failed is followed by the next way",
        &with_mail,
        &[(Portal, through), (Sms, Reason::InvalidAddress)],
        unchanged,
        &Ok((Email, false, None)),
    );
    case(
        "nothing points to a portal that failed",
        WITH_PORTAL,
        &[(Portal, Reason::ProviderUnavailable)],
        &|q| q.message.reached = false,
        &Err(Verdict::GiveUp(Reason::ProviderUnavailable)),
    );
    case(
        "nor to one that may not have it",
        WITH_PORTAL,
        &[(Portal, Reason::OutcomeUnknown)],
        unchanged,
        &over,
    );
    case("there is no portal", SMS, &[], unchanged, &refused);
    case("they want nothing in the portal", &stopped("portal"), &[], unchanged, &refused);
    case("they want no texts", &stopped("sms"), &[], unchanged, &alone);
    case("they have said so since", &stopped("sms"), in_portal, unchanged, &over);
    case("the job narrows", WITH_PORTAL, &[], &|q| q.message.channels = Some(&[Sms]), &refused);
    case("there is no such text", WITH_PORTAL, &[], &|q| q.template.pointers = &[Email], &alone);
    case(
        "one way is all that is allowed",
        &granted,
        &[],
        &|q| q.message.purpose = Purpose::Marketing,
        &alone,
    );
    case(
        "what is confidential, to their own number",
        &own(WITH_PORTAL),
        in_portal,
        &|q| q.template.confidential = true,
        &pointer,
    );
    case(
        "what is confidential, to a number of several",
        &own(WITH_PORTAL),
        &[],
        &|q| {
            q.template.confidential = true;
            q.addresses = vec![at_home.clone()].leak();
        },
        &alone,
    );
    case(
        "by night it waits, and the portal has it",
        WITH_PORTAL,
        in_portal,
        &|q| (q.now, q.message.expires_at) = (at("2026-12-02T05:00:00Z"), late),
        &waits("2026-12-02T14:00:00Z", Reason::QuietHours),
    );
    case(
        "so it does where they were disturbed today",
        WITH_PORTAL,
        in_portal,
        &|q| (q.recent, q.message.expires_at) = (vec![today.clone()].leak(), late),
        &waits("2026-12-02T14:00:00Z", Reason::FrequencyCap),
    );
    case("with a plan", WITH_PORTAL, &[], &|q| q.template.waits = plan, &before);
    case(
        "with a plan it is waited for",
        WITH_PORTAL,
        in_portal,
        &|q| q.template.waits = plan,
        &Ok((Sms, true, Some(patience))),
    );
    case(
        "a plan that begins in the portal",
        &order(WITH_PORTAL, r#"["portal","sms"]"#),
        &[],
        &|q| q.template.waits = plan,
        &Ok((Portal, false, Some(patience))),
    );
}

#[test]
fn it_is_told_why_a_way_has_a_pointer_or_nothing() {
    let because = |json: &str| {
        let patient = ana(json);
        let decision = ask(Some(&patient), |q| {
            q.served = LOOSE_SMS;
            q.template.pointers = &[Channel::Sms];
        });
        let ways = decision.explanation(at("2026-12-01T18:00:00Z")).ways;
        let sms = ways.into_iter().find(|way| way.channel == Channel::Sms).unwrap();
        (sms.gate, sms.because.unwrap())
    };
    let why = "its text is limited, no provider of sms has a baa";
    assert_eq!(because(WITH_PORTAL), (None, format!("{why}: a pointer to the portal")));
    assert_eq!(because(SMS), (Some(Gate::Content), why.to_owned()));
}

#[test]
fn person_and_address_are_counted_apart_and_the_fuller_of_them_counts() {
    let recent = |days: &[&str]| {
        let one = |day: &&str| Recent::entry(at(&format!("2026-{day}T16:00:00Z")), MessageId::generate());
        Recent::parse(Some(&days.iter().map(one).collect::<Vec<_>>().join(" ")))
    };
    let (nobody, today) = (recent(&[]), recent(&["12-01"]));
    let (household, some) = (recent(&["11-27", "11-28", "11-29"]), recent(&["11-28"]));
    let ana = ana(SMS);
    // What was sent to her, to whom the number is, and so many places that are kept for others.
    let told = |own: &Recent, number: &str, theirs: &Recent, reserved: u32, day: u32| {
        let mut rules = rules();
        rules.cap.per_day = day;
        let own = [own.clone()];
        let seen = [AddressSeen {
            address: Phi::new(number),
            shared: true,
            of_several: true,
            behind: Vec::new(),
            recent: theirs.clone(),
        }];
        let rules: &'static Rules = Box::leak(Box::new(rules));
        let (own, seen) = (own.to_vec().leak(), seen.to_vec().leak());
        let decision = ask(Some(&ana), |q| {
            (q.rules, q.recent, q.addresses, q.reserved) = (rules, own, seen, reserved);
            q.message.expires_at = When::At(at("2026-12-09T00:00:00Z"));
        });
        let because = decision.explanation(at("2026-12-01T18:00:00Z")).ways[0].because.clone();
        match decision.verdict {
            Verdict::Hold { until: Some(until), .. } => (until.to_string(), because.unwrap_or_default()),
            other => (format!("{other:?}").split(' ').next().unwrap().to_owned(), String::new()),
        }
    };
    let (hers, other) = ("+13125550142", "+13125550143");
    let waits = |until: &str, because: &str| (until.to_owned(), because.to_owned());
    let tomorrow = "2026-12-02T14:00:00Z";
    for (own, number, theirs, reserved, day, expected) in [
        (&today, hers, &some, 0, 1, waits(tomorrow, "1 of 1 today, 1 of 3 in seven days")),
        (
            &nobody,
            hers,
            &household,
            0,
            1,
            waits("2026-12-04T16:00:00Z", "0 of 1 today, 3 of 3 in seven days"),
        ),
        (
            &today,
            hers,
            &household,
            0,
            0,
            waits("2026-12-04T16:00:00Z", "0 of any today, 3 of 3 in seven days"),
        ),
        (
            &household,
            other,
            &today,
            0,
            1,
            waits("2026-12-04T16:00:00Z", "0 of 1 today, 3 of 3 in seven days"),
        ),
        (&nobody, other, &today, 0, 1, waits("Send", "")),
        (&nobody, hers, &nobody, 1, 1, waits(tomorrow, "0 of 1 today, 0 of 3 in seven days")),
    ] {
        assert_eq!(told(own, number, theirs, reserved, day), expected, "{own:?} {number} {theirs:?}");
    }
}

#[test]
fn an_address_is_used_until_the_day_it_ends() {
    let until = |ends: &str| {
        let sms =
            format!(r#","contacts":[{{"channel":"sms","address":"+13125550142","valid_until":"{ends}"}}]"#);
        verdict(&sms).1
    };
    assert_eq!(until("2026-12-01T18:00:01Z"), Ok(Channel::Sms));
    assert_eq!(until("2026-12-01T18:00:00Z"), Err(Some(Reason::InvalidAddress)));
}

#[test]
fn who_was_disturbed_today_waits_or_gets_what_does_not_disturb() {
    let recent = [Recent::parse(Some(&Recent::entry(at("2026-12-01T16:00:00Z"), MessageId::generate())))];
    let (sms, both) = (ana(SMS), ana(BOTH));
    let asked = |patient: &'static Patient, expires: &str, change: &dyn Fn(&mut Question<'_>)| {
        let expires = at(expires);
        let recent: &'static [Recent] = recent.to_vec().leak();
        ask(Some(patient), |q| {
            q.recent = recent;
            q.message.expires_at = When::At(expires);
            change(q);
        })
    };
    let (sms, both): (&'static Patient, &'static Patient) =
        (Box::leak(Box::new(sms)), Box::leak(Box::new(both)));
    let tomorrow = Some(at("2026-12-02T14:00:00Z"));
    let hold = Verdict::Hold { until: tomorrow, reason: Some(Reason::FrequencyCap) };
    assert_eq!(asked(sms, "2026-12-03T00:00:00Z", &|_| {}).verdict, hold);
    assert_eq!(
        asked(both, "2026-12-03T00:00:00Z", &|_| {}).verdict,
        hold,
        "she prefers texts, and it can wait"
    );
    let today = "2026-12-01T20:00:00Z";
    assert_eq!(asked(sms, today, &|_| {}).verdict, Verdict::Suppress(Reason::FrequencyCap));
    assert_eq!(said_by(asked(both, today, &|_| {})).1, Ok(Channel::Email));
    let urgent = asked(both, "2026-12-03T00:00:00Z", &|q| q.message.priority = Priority::Urgent);
    assert_eq!(said_by(urgent).1, Ok(Channel::Email), "what is urgent takes the way that is open");
    let emergency = asked(sms, today, &|q| q.message.purpose = Purpose::Emergency);
    assert_eq!(said_by(emergency).1, Ok(Channel::Sms));
    let test = asked(sms, today, &|q| q.message.disturbs = false);
    assert_eq!(said_by(test).1, Ok(Channel::Sms));
}

#[test]
fn nobody_is_disturbed_at_night() {
    let (sms, both) = (ana(SMS), ana(BOTH));
    let night = at("2026-12-02T05:00:00Z");
    let asked = |patient: &Patient, expires: &str, priority, jitter| {
        let patient: &'static Patient = Box::leak(Box::new(patient.clone()));
        let expires = at(expires);
        ask(Some(patient), |q| {
            q.now = night;
            q.jitter = jitter;
            q.message.expires_at = When::At(expires);
            q.message.priority = priority;
        })
    };
    let (normal, later) = (Priority::Normal, "2026-12-03T00:00:00Z");
    let morning = |minutes: i64| {
        let until = at("2026-12-02T14:00:00Z") + SignedDuration::from_mins(minutes);
        Verdict::Hold { until: Some(until), reason: Some(Reason::QuietHours) }
    };
    assert_eq!(asked(&sms, later, normal, 0.0).verdict, morning(0));
    assert_eq!(asked(&sms, later, normal, 0.5).verdict, morning(5), "not all of them on the stroke of eight");
    assert_eq!(asked(&both, later, normal, 0.0).verdict, morning(0), "she prefers texts, and it can wait");
    let early = "2026-12-02T13:00:00Z";
    for expires in [early, "2026-12-02T14:00:00Z"] {
        let late = asked(&sms, expires, normal, 0.0).verdict;
        assert_eq!(late, Verdict::Suppress(Reason::QuietHours), "no use after {expires}");
    }
    assert_eq!(said_by(asked(&both, early, normal, 0.0)).1, Ok(Channel::Email), "a mail wakes nobody");
    assert_eq!(said_by(asked(&both, later, Priority::Urgent, 0.0)).1, Ok(Channel::Email));
    let own = ana(&format!(r#"{SMS},"quiet_hours":{{"start":"21:00","end":"10:00"}}"#));
    assert_eq!(asked(&own, later, normal, 0.0).verdict, morning(120), "her own hours come on top");
    let sent = asked(&sms, later, normal, 0.0);
    let note = sent.explanation(night).ways[0].hours.clone().unwrap();
    assert_eq!(note.by.unwrap().rule, "everywhere");
}

#[test]
fn an_answer_holds_no_longer_than_the_hours() {
    let ana = ana(SMS);
    let late = ask(Some(&ana), |q| q.message.expires_at = When::At(at("2026-12-03T00:00:00Z")));
    let Verdict::Send { valid_until, .. } = late.verdict else { panic!() };
    assert_eq!(valid_until, at("2026-12-02T03:00:00Z"), "nine in the evening");
}

#[test]
fn a_guardian_reads_in_the_childs_place() {
    let child = ana(&format!(
        r#"{SMS},"birth_date":"2016-05-01","proxies":[{{"patient_id":"P2","authority":"guardian","mode":"instead","purposes":["*"]}}]"#
    ));
    let mother = ana(r#","contacts":[{"channel":"email","address":"mother@example.org"}]"#);
    let known = [Some(&mother)];
    let decision = ask(Some(&child), |q| q.proxies = &known);
    assert_eq!((decision.proxy, said_by(decision.clone()).1), (Some(0), Ok(Channel::Email)));
    let unknown = ask(Some(&child), |q| q.proxies = &[None]);
    assert_eq!(unknown.verdict, Verdict::Suppress(Reason::NoProxy));
    let private = ask(Some(&child), |q| {
        q.proxies = &known;
        q.template.confidential = true;
    });
    assert_eq!(private.proxy, None, "what is confidential goes to nobody else");
    for (back, expected) in [
        (
            "2026-12-01T20:00:00Z",
            Verdict::Hold { until: Some(at("2026-12-01T20:00:00Z")), reason: Some(Reason::Paused) },
        ),
        ("2026-12-02T00:00:00Z", Verdict::Suppress(Reason::NoProxy)),
        ("2026-12-09T20:00:00Z", Verdict::Suppress(Reason::NoProxy)),
    ] {
        let away = Patient { pause_until: Some(at(back)), ..mother.clone() };
        let known = [Some(&away)];
        assert_eq!(ask(Some(&child), |q| q.proxies = &known).verdict, expected, "away until {back}");
    }
    let mut stopped = mother.clone();
    stopped.consents = vec![refusal()];
    let known = [Some(&stopped)];
    assert_eq!(ask(Some(&child), |q| q.proxies = &known).verdict, Verdict::Suppress(Reason::OptedOut));
}

#[test]
fn who_reads_in_the_patients_place_has_a_cap_of_their_own() {
    let child = ana(&format!(
        r#"{SMS},"birth_date":"2016-05-01","proxies":[{{"patient_id":"P2","authority":"guardian","mode":"instead","purposes":["*"]}}]"#
    ));
    let mother = ana(r#","contacts":[{"channel":"sms","address":"+13125550177"}]"#);
    let known = [Some(&mother)];
    let today = Recent::parse(Some(&Recent::entry(at("2026-12-01T16:00:00Z"), MessageId::generate())));
    for (recent, expected) in [
        ([today.clone(), Recent::default()], Ok(Channel::Sms)),
        ([Recent::default(), today], Err(Some(Reason::FrequencyCap))),
    ] {
        let decision = ask(Some(&child), |q| {
            q.proxies = &known;
            q.recent = &recent;
        });
        assert_eq!(decision.proxy, Some(0));
        assert_eq!(said_by(decision).1, expected);
    }
}

/// A patient with a caregiver who is written to as well, under these terms, and with these other fields.
fn cared_for(terms: &str, more: &str) -> Patient {
    ana(&format!(
        r#"{SMS},"birth_date":"1949-03-02","proxies":[{{"person":{{"name":{{"given":"Luis"}},"contacts":[
            {{"channel":"sms","address":"+13125550177"}}]}},"authority":"caregiver","mode":"also"{terms}}}]{more}"#
    ))
}

#[test]
fn who_is_written_to_as_well_gets_a_copy() {
    let all = r#","purposes":["*"]"#;
    type Change = fn(&mut Question<'_>);
    let plain: Change = |_| {};
    let no = r#","do_not_contact":"asked""#;
    let stopped = r#","consents":[{"granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}]"#;
    let instead = r#","proxies":[{"patient_id":"P2","authority":"healthcare_proxy","mode":"instead","purposes":["*"]}]"#;
    let mut led = cared_for(all, "");
    led.proxies.extend(ana(instead).proxies);
    for (why, patient, change, expected) in [
        ("as the record says", cared_for(all, ""), plain, 1),
        ("for this purpose", cared_for(r#","purposes":["appointment"]"#, ""), plain, 1),
        ("not for others", cared_for(r#","purposes":["care"]"#, ""), plain, 0),
        ("not yet", cared_for(&format!(r#"{all},"from":"2027-01-01""#), ""), plain, 0),
        ("no longer", cared_for(&format!(r#"{all},"until":"2026-12-01""#), ""), plain, 0),
        ("nothing that is confidential", cared_for(all, ""), |q| q.template.confidential = true, 0),
        ("not before its time", cared_for(all, ""), |q| q.message.not_before = Some(q.message.expires_at), 0),
        (
            "not of what was taken back",
            cared_for(all, ""),
            |q| q.message.cancelled = Some(Reason::Cancelled),
            0,
        ),
        (
            "not of what is held",
            cared_for(all, ""),
            |q| q.hold = Some(HoldView { until: None, cause: Reason::OperatorHold }),
            0,
        ),
        ("not about whom nobody may write of", cared_for(all, no), plain, 0),
        ("also where the patient said stop", cared_for(all, stopped), plain, 1),
        ("also where whoever reads in their place cannot be reached", led, plain, 1),
    ] {
        let mut wanted = Vec::new();
        let decision = ask(Some(&patient), change);
        ask(Some(&patient), |q| {
            change(q);
            wanted = copies(q, &decision);
        });
        assert_eq!(wanted.len(), expected, "{why}");
    }
}

#[test]
fn a_copy_goes_to_its_proxy_as_the_record_stands() {
    let all = r#","purposes":["*"]"#;
    let key = cared_for(all, "").proxies[0].key();
    let copy = |patient: &Patient, change: fn(&mut Question<'_>)| {
        ask(Some(patient), |q| {
            q.message.copy_for = Some(&key);
            change(q);
        })
    };
    let sent = copy(&cared_for(all, ""), |_| {});
    assert_eq!(sent.proxy, Some(0));
    let Verdict::Send { route, .. } = sent.verdict else { panic!() };
    assert_eq!(route.address, Phi::new("+13125550177"), "their own contact");
    let nobody = Verdict::Suppress(Reason::NoProxy);
    assert_eq!(copy(&ana(SMS), |_| {}).verdict, nobody, "they are no proxy any more");
    let until = format!(r#"{all},"until":"2026-12-01""#);
    assert_eq!(copy(&cared_for(&until, ""), |_| {}).verdict, nobody);
    let private = copy(&cared_for(all, ""), |q| q.template.confidential = true);
    assert_eq!(private.verdict, Verdict::Suppress(Reason::ConfidentialContact));
    let gone = copy(&cared_for(all, ""), |q| q.message.cancelled = Some(Reason::Superseded));
    assert_eq!(gone.verdict, Verdict::Cancel(Reason::Superseded));
}

#[test]
fn the_proxy_of_two_patients_is_written_to_about_each() {
    let seen = |of_several| {
        [AddressSeen {
            address: Phi::new("+13125550177"),
            shared: true,
            of_several,
            behind: Vec::new(),
            recent: Recent::default(),
        }]
    };
    let patient = cared_for(r#","purposes":["*"]"#, "");
    let key = patient.proxies[0].key();
    for (of_several, expected) in [(false, Ok(Channel::Sms)), (true, Err(Some(Reason::SharedContact)))] {
        let addresses = seen(of_several);
        let decision = ask(Some(&patient), |q| {
            q.message.copy_for = Some(&key);
            q.template.shared_address = false;
            q.addresses = &addresses;
        });
        assert_eq!(said_by(decision).1, expected);
    }
}

#[test]
fn the_second_guardian_reads_where_nothing_reaches_the_first() {
    let guardian = |id: &str| {
        format!(r#"{{"patient_id":"{id}","authority":"guardian","mode":"instead","purposes":["*"]}}"#)
    };
    let both = [guardian("P2"), guardian("P3")].join(",");
    let child = ana(&format!(r#"{SMS},"birth_date":"2016-05-01","proxies":[{both}]"#));
    let mail = r#","contacts":[{"channel":"email","address":"mother@example.org"}]"#;
    let wrong = r#","contacts":[{"channel":"sms","address":"+13125550143","status":"wrong"}]"#;
    let (well, none, lost) = (ana(mail), ana(""), ana(wrong));
    let refused = Patient { consents: vec![refusal()], ..well.clone() };
    let tried = Tried {
        route: Route { channel: Channel::Email, address: Phi::new("mother@example.org"), extension: None },
        reason: Reason::InvalidAddress,
    };
    let father = ana(SMS);
    for (why, first, in_vain, second, reads) in [
        ("she can be reached", &well, false, &father, Some(0)),
        ("she has no contact", &none, false, &father, Some(1)),
        ("hers is somebody else's", &lost, false, &father, Some(1)),
        ("hers was tried in vain", &well, true, &father, Some(1)),
        ("she wants none of it", &refused, false, &father, Some(0)),
        ("neither can be reached", &lost, false, &none, Some(0)),
        ("he wants none of it", &lost, false, &refused, Some(0)),
    ] {
        let known = [Some(first), Some(second)];
        let decision = ask(Some(&child), |q| {
            q.proxies = &known;
            q.tried = if in_vain { std::slice::from_ref(&tried) } else { &[] };
        });
        assert_eq!(decision.proxy, reads, "{why}: {decision:?}");
    }
}

#[test]
fn what_children_list_as_their_own_is_their_guardians_telephone() {
    let phone = r#","contacts":[{"channel":"sms","address":"+13125550142","private":true}]"#;
    let person = |id: &str, more: &str| Patient { id: PatientId::parse(id).unwrap(), ..ana(more) };
    let child = |id: &str, born: &str, guardian: &str| {
        person(
            id,
            &format!(
                r#"{phone},"birth_date":"{born}","proxies":[{{{guardian},"authority":"guardian","mode":"instead","purposes":["*"]}}]"#
            ),
        )
    };
    let hers = r#""patient_id":"P6""#;
    let (mother, neighbour) = (person("P6", phone), person("P9", phone));
    let (young, other) = (child("P4", "2016-05-01", hers), child("P5", "2018-05-01", hers));
    let (grown, fathers) =
        (child("P7", "2001-05-01", hers), child("P8", "2018-05-01", r#""patient_id":"P3""#));
    let no_record =
        r#""person":{"name":{"given":"Rosa"},"contacts":[{"channel":"sms","address":"+13125550142"}]}"#;
    let (rosas, rosas_too) = (child("P10", "2016-05-01", no_record), child("P11", "2018-05-01", no_record));
    type Row<'a> = (&'a str, &'a Patient, &'a [&'a Patient], bool);
    let table: &[Row<'_>] = &[
        ("about a child, whom she reads for", &young, &[&mother, &young, &other], true),
        ("about herself", &mother, &[&mother, &young, &other], true),
        ("she has no contact there herself", &young, &[&young, &other], true),
        ("whose guardian is no patient", &rosas, &[&rosas, &rosas_too], true),
        ("a neighbour has the number, too", &young, &[&mother, &young, &neighbour], false),
        ("a child that has come of age", &mother, &[&mother, &young, &grown], false),
        ("a child whose father reads for it", &young, &[&mother, &young, &fathers], false),
        ("two who read for themselves", &mother, &[&mother, &neighbour], false),
    ];
    for (why, patient, behind, goes) in table {
        let behind = behind.iter().map(|p| Behind { patient: Arc::new((*p).clone()), own: true });
        let (address, recent) = (Phi::new("+13125550142"), Recent::default());
        let seen = AddressSeen { address, shared: true, of_several: true, behind: behind.collect(), recent };
        let (known, seen) = ([Some(&mother)], [seen]);
        let decision = ask(Some(*patient), |q| {
            q.template.shared_address = false;
            q.proxies = &known;
            q.addresses = &seen;
        });
        let expected = if *goes { Ok(Channel::Sms) } else { Err(Some(Reason::SharedContact)) };
        assert_eq!(said_by(decision).1, expected, "{why}");
        let kept = ask(Some(*patient), |q| {
            q.template.confidential = true;
            q.addresses = &seen;
        });
        let her_own = *goes && patient.id == mother.id;
        assert_eq!(said_by(kept).1.is_ok(), her_own, "{why}, in confidence");
    }
}

#[test]
fn an_answer_holds_no_longer_than_what_it_rests_on() {
    let until = |patient: &Patient, purpose| {
        let mother = ana(SMS);
        let known = [Some(&mother)];
        let asked = ask(Some(patient), |q| {
            q.message.purpose = purpose;
            q.message.expires_at = When::At(at("2026-12-09T00:00:00Z"));
            q.rules = Box::leak(Box::new(Rules { hours: always(), ..rules() }));
            q.proxies = &known;
        });
        let Verdict::Send { valid_until, .. } = asked.verdict else { panic!("{asked:?}") };
        valid_until
    };
    let grants = |ends: &[&str]| {
        let one = |end: &&str| {
            format!(
                r#"{{"purpose":"marketing","channel":"sms","address":null,"granted":true,"at":"2026-10-01T12:00:00Z","source":"patient","expires_at":"{end}"}}"#
            )
        };
        ana(&format!(r#"{SMS},"consents":[{}]"#, ends.iter().map(one).collect::<Vec<_>>().join(",")))
    };
    let child = |born: &str, more: &str| {
        ana(&format!(
            r#"{SMS},"birth_date":"{born}","proxies":[{{"patient_id":"P2","authority":"guardian","mode":"instead","purposes":["*"]{more}}}]"#
        ))
    };
    let (visit, offer) = (Purpose::Appointment, Purpose::Marketing);
    let granted = grants(&["2026-12-05T12:00:00Z"]);
    for (why, patient, purpose, expected) in [
        ("nothing of it ends", ana(SMS), visit, "2026-12-09T00:00:00Z"),
        ("the grant", granted.clone(), offer, "2026-12-05T12:00:00Z"),
        ("a grant for something else", granted, visit, "2026-12-09T00:00:00Z"),
        (
            "midnight in Chicago, when the guardian's time is over",
            child("2016-05-01", r#","until":"2026-12-04""#),
            visit,
            "2026-12-04T06:00:00Z",
        ),
        ("the child comes of age", child("2008-12-03", ""), visit, "2026-12-03T06:00:00Z"),
        (
            "the patient reads alone until then",
            child("2016-05-01", r#","from":"2026-12-06""#),
            visit,
            "2026-12-06T06:00:00Z",
        ),
        ("of age since", child("2001-12-03", ""), visit, "2026-12-09T00:00:00Z"),
    ] {
        assert_eq!(until(&patient, purpose), at(expected), "{why}");
    }
}

#[test]
fn what_goes_along_goes_before_its_hour_and_never_before_its_day() {
    let ana = ana(SMS);
    let morning = |start: &str, along| {
        let start = When::Local(start.parse().unwrap());
        let mut alone = true;
        let decision = ask(Some(&ana), |q| {
            q.message.not_before = Some(start);
            q.message.expires_at = When::At(at("2026-12-09T00:00:00Z"));
            q.message.along = along;
            alone = !only_along(q);
        });
        (said_by(decision).1, alone)
    };
    for (why, start, along, expected) in [
        ("its hour has come", "2026-12-01T11:00", true, (Ok(Channel::Sms), true)),
        ("on the stroke of it, alone", "2026-12-01T12:00", false, (Ok(Channel::Sms), true)),
        ("later that day, with another", "2026-12-01T23:30", true, (Ok(Channel::Sms), false)),
        ("later that day, alone", "2026-12-01T15:00", false, (Err(None), true)),
        ("the next day", "2026-12-02T00:00", true, (Err(None), false)),
    ] {
        assert_eq!(morning(start, along), expected, "{why}");
    }
}

#[test]
fn where_the_purpose_allows_no_second_way_the_first_one_was_the_last() {
    let ana = ana(&format!(
        r#"{BOTH},"consents":[{{"purpose":"marketing","granted":true,"at":"2026-10-01T12:00:00Z","source":"patient"}}]"#
    ));
    let sms = Route { channel: Channel::Sms, address: Phi::new("+13125550142"), extension: None };
    let tried = [Tried { route: sms, reason: Reason::InvalidAddress }];
    let decision = ask(Some(&ana), |q| {
        q.message.purpose = Purpose::Marketing;
        q.tried = &tried;
    });
    assert_eq!(decision.verdict, Verdict::GiveUp(Reason::InvalidAddress));
    let email = Route { channel: Channel::Email, address: Phi::new("ana@example.org"), extension: None };
    let both = [tried[0].clone(), Tried { route: email, reason: Reason::ProviderUnavailable }];
    let decision = ask(Some(&ana), |q| {
        q.message.purpose = Purpose::Marketing;
        q.tried = &both;
    });
    assert_eq!(decision.verdict, Verdict::GiveUp(Reason::ProviderUnavailable), "the last one says why");
}

#[test]
fn a_plan_waits_by_channel_in_the_patients_own_order() {
    let wait = |hours, until| Patience { wait: SignedDuration::from_hours(hours), until };
    let waits = [
        (Channel::Sms, wait(4, Until::Delivered)),
        (Channel::Email, wait(24, Until::Answered)),
        (Channel::Voice, wait(24, Until::Answered)),
    ];
    let patient = ana(&format!(r#"{BOTH},"preferred_channels":["email","sms"]"#));
    let email = Route { channel: Channel::Email, address: Phi::new("ana@example.org"), extension: None };
    let sms = Route { channel: Channel::Sms, address: Phi::new("+13125550142"), extension: None };
    let sent = |route: &Route| Tried { route: route.clone(), reason: Reason::PlanExhausted };
    let (first, both) = ([sent(&email)], [sent(&email), sent(&sms)]);
    let next = |tried: &[Tried], change: &dyn Fn(&mut Question<'_>)| {
        let decision = ask(Some(&patient), |q| {
            q.template.waits = waits.to_vec().leak();
            q.tried = tried.to_vec().leak();
            q.message.step = u16::try_from(tried.len()).unwrap();
            q.message.reached = !tried.is_empty();
            change(q);
        });
        match decision.verdict {
            Verdict::Send { route, patience, .. } => Ok((route.channel, patience)),
            other => Err(other),
        }
    };
    assert_eq!(next(&[], &|_| {}), Ok((Channel::Email, Some(waits[1].1))));
    assert_eq!(next(&first, &|_| {}), Ok((Channel::Sms, Some(waits[0].1))));
    let over = Err(Verdict::GiveUp(Reason::PlanExhausted));
    assert_eq!(next(&both, &|_| {}), over);
    assert_eq!(next(&first, &|q| q.message.channels = Some(&[Channel::Email])), over, "the job narrows");
    assert_eq!(next(&first, &|q| q.template.waits = &[]), over, "the template has no plan any more");
    let stopped = next(&first, &|q| q.message.cancelled = Some(Reason::Cancelled));
    assert_eq!(stopped, Err(Verdict::Cancel(Reason::Cancelled)), "every gate is asked again");
    let night = next(&first, &|q| {
        q.now = at("2026-12-02T05:00:00Z");
        q.message.expires_at = When::At(at("2026-12-03T00:00:00Z"));
    });
    assert!(matches!(night, Err(Verdict::Hold { .. })), "{night:?}");
    let granted = r#","consents":[{"purpose":"marketing","granted":true,"at":"2026-10-01T12:00:00Z","source":"patient"}]"#;
    let asked = ana(&format!("{BOTH}{granted}"));
    let decision = ask(Some(&asked), |q| {
        q.template.waits = waits.to_vec().leak();
        q.message.purpose = Purpose::Marketing;
    });
    let Verdict::Send { patience, .. } = decision.verdict else { panic!() };
    assert_eq!(patience, None, "the purpose allows one way only");
    let begun = ask(Some(&patient), |q| q.template.waits = waits.to_vec().leak());
    assert_eq!(begun.explanation(at("2026-12-01T18:00:00Z")).patience, Some(waits[1].1));
}

#[test]
fn an_unknown_patient_is_waited_for_and_then_given_up() {
    let early = ask(None, |q| q.now = at("2026-12-01T17:01:00Z"));
    let until = Some(at("2026-12-01T17:02:00Z"));
    assert_eq!(early.verdict, Verdict::Hold { until, reason: Some(Reason::UnknownPatient) });
    for now in ["2026-12-01T17:02:00Z", "2026-12-01T18:00:00Z"] {
        let late = ask(None, |q| q.now = at(now));
        assert_eq!(late.verdict, Verdict::Suppress(Reason::UnknownPatient), "{now}");
    }
}

#[test]
fn nobody_is_written_to_on_a_record_that_cannot_be_read() {
    let ana = ana(SMS);
    // Also not where a snapshot, which knows of no refusal, stands in for the record.
    for patient in [None, Some(&ana)] {
        for (jitter, until) in [(0.0, "2026-12-01T18:15:00Z"), (0.5, "2026-12-01T18:22:30Z")] {
            let held = ask(patient, |q| (q.unread, q.jitter) = (true, jitter));
            let until = Some(at(until));
            assert_eq!(held.verdict, Verdict::Hold { until, reason: Some(Reason::Malformed) });
        }
        let gate = |change: fn(&mut Question<'_>)| {
            let decision = ask(patient, |q| {
                q.unread = true;
                change(q);
            });
            (decision.gate, decision.verdict)
        };
        assert_eq!(
            gate(|q| q.message.cancelled = Some(Reason::Cancelled)),
            (Gate::Cancelled, Verdict::Cancel(Reason::Cancelled))
        );
        assert_eq!(gate(|q| q.now = at("2026-12-02T00:00:00Z")), (Gate::Expired, Verdict::Expire));
    }
}

#[test]
fn a_local_time_is_meant_where_the_recipient_lives_and_never_read_early() {
    let ana = ana(SMS);
    let three = When::Local("2026-12-01T15:00".parse().unwrap());
    let early = ask(Some(&ana), |q| q.message.not_before = Some(three));
    let until = Some(at("2026-12-01T21:00:00Z"));
    assert_eq!(early.verdict, Verdict::Hold { until, reason: None });
    // 02:30 does not exist on this night in Chicago; what is meant is half an hour after two o'clock had come.
    let gap = When::Local("2026-03-08T02:30".parse().unwrap());
    assert_eq!(instant(gap, &TimeZone::get("America/Chicago").unwrap()), at("2026-03-08T08:30:00Z"));
}

/// Whoever drops a flood drops what of it was meant for later, too.
#[test]
fn a_flood_is_held_whatever_its_hour() {
    let ana = ana(SMS);
    let gate = |purpose, cause| {
        let decision = ask(Some(&ana), |q| {
            q.message.purpose = purpose;
            q.message.not_before = Some(When::Local("2026-12-01T15:00".parse().unwrap()));
            q.hold = Some(HoldView { until: None, cause });
        });
        decision.gate
    };
    for (purpose, cause, expected) in [
        (Purpose::Appointment, Reason::SurgeHold, Gate::Hold),
        (Purpose::Emergency, Reason::AwaitingApproval, Gate::Hold),
        // Texts that nobody has approved here are looked for again at their hour.
        (Purpose::Appointment, Reason::AwaitingApproval, Gate::Due),
        (Purpose::Appointment, Reason::OperatorHold, Gate::Due),
    ] {
        assert_eq!(gate(purpose, cause), expected, "{purpose} {cause}");
    }
}

#[test]
fn a_stop_at_an_address_binds_whoever_stands_behind_it() {
    let stop = Consent { channel: Some(Channel::Sms), address: Some(Phi::new("+13125550142")), ..refusal() };
    let start = Consent {
        purpose: Some(Purpose::Appointment),
        granted: true,
        at: at("2026-10-02T12:00:00Z"),
        ..stop.clone()
    };
    let (said_stop, said_both) = ([stop.clone()], [stop, start]);
    let verdict = |patient: &Patient, said: &[Consent]| {
        let opted_out = Verdict::Suppress(Reason::OptedOut);
        ask(Some(patient), |q| q.address_consents = said).verdict == opted_out
    };
    let mut ana = ana(SMS);
    assert!(verdict(&ana, &said_stop) && !verdict(&ana, &said_both), "START restores what STOP took");
    // On the page, or told the desk: whoever else has the telephone gives nothing of that back.
    let own = |source, address| Consent { source, address, channel: None, ..said_stop[0].clone() };
    for source in [ConsentSource::Patient, ConsentSource::Staff] {
        for address in [None, said_stop[0].address.clone()] {
            ana.consents = vec![own(source, address)];
            assert!(verdict(&ana, &said_both) && verdict(&ana, &[]), "{source}");
        }
    }
    // They themselves may: their own later word lifts the stop at the number, for them.
    ana.consents = vec![Consent { granted: true, at: at("2026-10-03T12:00:00Z"), ..said_stop[0].clone() }];
    assert!(!verdict(&ana, &said_stop));
}

#[test]
fn a_route_that_was_given_up_is_not_taken_again() {
    let one_number = ana(r#","contacts":[{"channel":"sms","address":"+13125550142"},
        {"channel":"voice","address":"+13125550142"}]"#);
    let ana = ana(BOTH);
    let sms = Route { channel: Channel::Sms, address: Phi::new("+13125550142"), extension: None };
    let email = Route { channel: Channel::Email, address: Phi::new("ana@example.org"), extension: None };
    let tried = [Tried { route: sms, reason: Reason::InvalidAddress }];
    let called = ask(Some(&one_number), |q| q.tried = &tried);
    assert_eq!(said_by(called).1, Ok(Channel::Voice), "a call to the same number is another way");
    let Verdict::Send { route, .. } = ask(Some(&ana), |q| q.tried = &tried).verdict else { panic!() };
    assert_eq!(route.channel, Channel::Email);
    let both = [tried[0].clone(), Tried { route: email, reason: Reason::InvalidAddress }];
    assert_eq!(ask(Some(&ana), |q| q.tried = &both).verdict, Verdict::GiveUp(Reason::PlanExhausted));
}

/// How many ways are open to a patient with an address on each channel who has said this; 0: nothing is sent.
fn routes(consents: Vec<Consent>, purpose: Purpose) -> usize {
    let mut patient = ana(EVERYWHERE);
    patient.consents = consents;
    let rules: &'static Rules = Box::leak(Box::new(Rules { hours: always(), ..rules() }));
    let asked = ask(Some(&patient), |q| {
        q.message.purpose = purpose;
        q.rules = rules;
    });
    let open = asked.ways.iter().filter(|way| way.gate.is_none() || way.until.is_some());
    if matches!(asked.verdict, Verdict::Send { .. }) { open.count() } else { 0 }
}

const EVERYWHERE: &str = r#","contacts":[{"channel":"sms","address":"+13125550142"},
    {"channel":"email","address":"ana@example.org"},{"channel":"voice","address":"+13125550142"},
    {"channel":"portal","address":"Patient/42"}]"#;

/// What somebody may say: for a purpose or all, over a channel or all, at one address or all, on a day.
fn word() -> impl proptest::strategy::Strategy<Value = Consent> {
    use proptest::strategy::Strategy as _;
    let purposes = proptest::option::of(proptest::sample::select(PURPOSES.to_vec()));
    let channels = proptest::option::of(proptest::sample::select(ALL.to_vec()));
    let whose = proptest::sample::select(vec![ConsentSource::Patient, ConsentSource::Staff]);
    (purposes, channels, proptest::bool::ANY, proptest::bool::ANY, 1_i64..29, whose).prop_map(
        |(purpose, channel, bound, granted, day, source)| Consent {
            purpose,
            channel,
            address: channel.filter(|_| bound).map(|channel| {
                Phi::new(match channel {
                    Channel::Sms | Channel::Voice => "+13125550142",
                    Channel::Email => "ana@example.org",
                    Channel::Portal => "Patient/42",
                })
            }),
            granted,
            at: at("2026-10-01T12:00:00Z") + SignedDuration::from_hours(24 * day),
            source,
            by: None,
            evidence: None,
            expires_at: None,
            shadow: None,
        },
    )
}

const PURPOSES: &[Purpose] = &[Purpose::Appointment, Purpose::Marketing, Purpose::Billing];

proptest::proptest! {
    #[test]
    fn more_consent_never_means_fewer_routes(
        said in proptest::collection::vec(word(), 0..6),
        more in word(),
        purpose in proptest::sample::select(PURPOSES.to_vec()),
    ) {
        let before = routes(said.clone(), purpose);
        let granted = said.iter().cloned().chain([Consent { granted: true, ..more }]).collect();
        proptest::prop_assert!(routes(granted, purpose) >= before);
    }

    #[test]
    fn an_opted_out_channel_is_never_routed(stopped in 0_usize..4, preferred in proptest::sample::subsequence(ALL.to_vec(), 0..4)) {
        let stopped = ALL[stopped];
        let mut patient = ana(r#","contacts":[{"channel":"sms","address":"+13125550142"},
            {"channel":"email","address":"ana@example.org"},{"channel":"voice","address":"+13125550142"},
            {"channel":"portal","address":"Patient/42"}]"#);
        patient.preferences = vec![Preference { purpose: Purpose::Appointment, channels: preferred.clone(), updated_at: None }];
        patient.consents = vec![Consent { channel: Some(stopped), ..refusal() }];
        patient.id = PatientId::parse("P2").unwrap();
        match ask(Some(&patient), |_| {}).verdict {
            Verdict::Send { route, .. } => proptest::prop_assert_ne!(route.channel, stopped),
            other => proptest::prop_assert_eq!((preferred.is_empty(), other), (true, Verdict::Suppress(Reason::OptedOut))),
        }
    }
}
