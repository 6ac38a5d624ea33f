//! What comes in well: jobs, patients, cancels; whether two jobs are the same; that nothing makes a reader panic.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use outreachd::domain::ids::{JobId, PatientId, SiteId, SourceName};
use outreachd::domain::job::{Cancel, CancelTarget, Job, When};
use outreachd::domain::patient::{ConsentSource, DirectoryField, Patient, ProxyPerson};
use outreachd::domain::phone::Region;
use outreachd::domain::reader::{BodyKind, Expect, ParseDefaults, PatientMerge, identify, items};
use outreachd::domain::words::{Channel, Priority, Purpose};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::cases;

fn defaults() -> ParseDefaults {
    ParseDefaults::new(SourceName::parse("default"), Region::US)
}

fn job(body: &Value) -> Job {
    Job::parse(body.to_string().as_bytes(), &defaults()).unwrap()
}

fn patient(body: &Value) -> Patient {
    Patient::parse(body.to_string().as_bytes(), &defaults(), Expect::default()).unwrap()
}

/// The example of the contract.
fn ana() -> Value {
    json!({
        "id": "P0000042", "updated_at": "2026-11-20T08:00:00Z", "name": {"given": "Ana", "family": "López"},
        "birth_date": "1949-03-02", "language": "es-US", "timezone": "America/Chicago",
        "address": {"postal_code": "60601", "state": "IL", "country": "US"},
        "site": "lakeside-north", "tags": ["risk-1"], "identifiers": [{"system": "urn:mrn", "value": "77120"}],
        "active": true, "deceased": false, "do_not_contact": null, "pause_until": null,
        "preferred_channels": ["sms", "email"], "preferences": {"appointment": ["sms"], "marketing": []},
        "quiet_hours": {"start": "20:00", "end": "09:00"},
        "contacts": [
            {"channel": "sms", "address": "+13125550142", "rank": 1, "use": "mobile", "kind": "mobile", "status": "ok",
             "verified_at": null, "valid_until": null, "private": true, "only": false, "leave_message": "brief",
             "extension": null},
            {"channel": "email", "address": "ana@example.org", "rank": 2},
            {"channel": "voice", "address": "+13125550142"}, {"channel": "portal", "address": "Patient/42"}],
        "consents": [{"purpose": "marketing", "channel": "sms", "address": null, "granted": true,
                      "at": "2026-10-01T12:00:00Z", "source": "staff", "by": "u17", "evidence": "form 12",
                      "expires_at": null}],
        "proxies": [
            {"patient_id": "P0000077", "relationship": "mother", "authority": "guardian", "mode": "instead",
             "purposes": ["*"], "from": "2019-05-01", "until": "2027-05-01", "evidence": "chart"},
            {"person": {"name": {"given": "Luis"}, "language": "es", "timezone": "America/Chicago", "contacts": []},
             "authority": "caregiver", "mode": "also", "purposes": ["care"]}]
    })
}

/// The example of the contract, without its inline patient.
fn reminder() -> Value {
    json!({
        "id": "appt-2041-r1", "source": "lakeside-ehr", "patient_id": "P0000042", "template": "appointment-reminder",
        "about": "visit-2041", "replaces": "appt-2041-r0", "site": "lakeside-north", "purpose": "appointment",
        "priority": "normal", "data": {"starts_at": "2026-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"},
        "channels": ["sms", "email"], "not_before": "2026-11-28T09:00:00-06:00",
        "expires_at": "2026-12-01T15:30:00-06:00", "test": false, "campaign_id": null, "override_reason": null
    })
}

#[test]
fn the_job_of_the_contract() {
    let job = job(&reminder());
    assert_eq!((job.id.as_str(), job.source.as_str()), ("appt-2041-r1", "lakeside-ehr"));
    assert_eq!((job.purpose, job.priority), (Some(Purpose::Appointment), Some(Priority::Normal)));
    assert_eq!(job.not_before, Some(When::At("2026-11-28T15:00:00Z".parse().unwrap())));
    assert_eq!(job.channels, Some(vec![Channel::Sms, Channel::Email]));
    assert_eq!(job.data["practitioner"], "Dr. Chen");
    assert_eq!((job.campaign_id, job.patient, job.test), (None, None, false));
}

#[test]
fn a_local_time_waits_for_the_recipients_zone() {
    let mut body = reminder();
    body["not_before"] = json!({"local": "2026-11-28T09:00"});
    assert_eq!(job(&body).not_before, Some(When::Local("2026-11-28T09:00:00".parse().unwrap())));
}

#[test]
fn the_patient_of_the_contract() {
    let ana = patient(&ana());
    assert_eq!(ana.name.as_ref().unwrap().family.as_ref().unwrap().expose(), "López");
    assert_eq!(ana.contacts.len(), 4);
    assert_eq!((ana.contacts[0].kind.as_deref(), ana.contacts[2].kind.as_deref()), (Some("mobile"), None));
    let preferences: Vec<_> = ana.preferences.iter().map(|p| (p.purpose, p.channels.clone())).collect();
    assert_eq!(preferences, [(Purpose::Appointment, vec![Channel::Sms]), (Purpose::Marketing, vec![])]);
    assert!(ana.preferences.iter().all(|p| p.updated_at == ana.updated_at));
    assert_eq!(ana.consents[0].source, ConsentSource::Staff);
    assert_eq!(ana.proxies[0].purposes, None);
    assert!(
        matches!(&ana.proxies[1].person, ProxyPerson::Person(luis) if luis.language.as_deref() == Some("es"))
    );
    assert!(!ana.unsaid.has(DirectoryField::DoNotContact), "null is an answer");
}

#[test]
fn what_is_shown_of_a_patient_can_be_sent_back() {
    let ana = patient(&ana());
    assert_eq!(patient(&ana.to_json()).to_json(), ana.to_json());
    let bare = Patient::bare(PatientId::parse("P1").unwrap());
    assert_eq!(bare.to_json(), json!({"id": "P1", "active": true, "deceased": false}));
}

#[test]
fn spellings_are_made_one() {
    let body = json!({"id": "P1", "language": "SPA-us", "timezone": "america/chicago", "address": {"country": "us"},
        "contacts": [{"channel": "sms", "address": "(312) 555-0142"},
                     {"channel": "voice", "address": "020 7946 0018 x12", "kind": "landline"},
                     {"channel": "email", "address": "Ana.Lopez+clinic@Example.ORG"}],
        "consents": [{"channel": "sms", "address": "1-312-555-0142", "granted": false, "at": "2026-10-01T12:00:00Z",
                      "source": "patient"}]});
    let mut defaults = defaults();
    let one = patient_of(&json!({"id": "P1", "contacts": [body["contacts"][0].clone()]}), &defaults);
    assert_eq!(one.contacts[0].address.expose(), "+13125550142");
    defaults.region = Region::parse("GB").unwrap();
    let london = json!({"id": "P1", "contacts": [body["contacts"][1].clone()]});
    let contact = patient_of(&london, &defaults).contacts.remove(0);
    assert_eq!((contact.address.expose(), contact.extension.as_deref()), ("+442079460018", Some("12")));
    assert_eq!(contact.kind.as_deref(), Some("fixed_line"));
    let mut rest = body;
    rest["contacts"].as_array_mut().unwrap().remove(1);
    let ana = patient(&rest);
    assert_eq!((ana.language.as_deref(), ana.timezone.as_deref()), (Some("es-US"), Some("America/Chicago")));
    assert_eq!(ana.address.unwrap().country.as_deref(), Some("US"));
    assert_eq!(ana.contacts[1].address.expose(), "Ana.Lopez+clinic@example.org");
    assert_eq!(ana.consents[0].address.as_ref().unwrap().expose(), "+13125550142");
}

fn patient_of(body: &Value, defaults: &ParseDefaults) -> Patient {
    Patient::parse(body.to_string().as_bytes(), defaults, Expect::default()).unwrap()
}

#[test]
fn a_site_says_how_its_numbers_are_read() {
    let mut defaults = defaults();
    let london = SiteId::parse("london").unwrap();
    defaults.site_regions = std::sync::Arc::new([(london, Region::parse("GB").unwrap())].into());
    let contacts = json!([{"channel": "sms", "address": "07911 123456"}]);
    let by_patient = json!({"id": "P1", "site": "london", "contacts": contacts});
    assert_eq!(patient_of(&by_patient, &defaults).contacts[0].address.expose(), "+447911123456");
    let by_job =
        json!({"id": "j", "template": "t", "site": "london", "patient": {"id": "P1", "contacts": contacts}});
    let job = Job::parse(by_job.to_string().as_bytes(), &defaults).unwrap();
    let contact = &job.patient.unwrap().contacts[0];
    assert_eq!((contact.address.expose(), contact.kind.as_deref()), ("+447911123456", Some("mobile")));
}

#[test]
fn an_inline_patient_and_a_patient_id_name_one_person() {
    let name = json!({"given": "Ana"});
    for body in [
        json!({"id": "j", "template": "t", "patient": {"id": "P1", "name": name}}),
        json!({"id": "j", "template": "t", "patient_id": "P1", "patient": {"name": name}}),
        json!({"id": "j", "template": "t", "patient_id": "P1", "patient": {"id": "P1", "name": name}}),
    ] {
        let job = job(&body);
        assert_eq!((job.patient_id.as_str(), job.patient.unwrap().id.as_str()), ("P1", "P1"));
    }
}

#[test]
fn an_id_in_the_path_need_not_be_repeated() {
    let id = PatientId::parse("P1").unwrap();
    let expect = Expect { id: Some(&id), updated_at: false };
    assert_eq!(Patient::parse(b"{}", &defaults(), expect).unwrap().id, id);
    assert_eq!(Patient::parse(br#"{"id":"P2"}"#, &defaults(), expect).unwrap_err()[0].field, "id");
    assert_eq!(PatientMerge::parse(br#"{"into":"P2"}"#, Some(&id)).unwrap().id, id);
}

#[test]
fn cancels_name_a_job_or_a_matter() {
    let cancel = |text: &str| Cancel::parse(text.as_bytes(), &defaults()).unwrap();
    let by_id = cancel(r#"{"action":"cancel","source":"lakeside-ehr","id":"j1","reason":"moved"}"#);
    assert_eq!(by_id.target, CancelTarget::Job(JobId::parse("j1").unwrap()));
    assert_eq!((by_id.source.as_str(), by_id.reason.as_deref()), ("lakeside-ehr", Some("moved")));
    assert!(matches!(cancel(r#"{"about":"visit-1"}"#).target, CancelTarget::About(_)));
}

#[test]
fn the_key_or_the_body_says_what_a_body_is() {
    for (key, body, kind) in [
        (Some("job"), r#"{"id":"j"}"#, BodyKind::Job),
        (Some("job.urgent"), r#"{"id":"j","data":{"action":"cancel"}}"#, BodyKind::Job),
        (Some("job.cancel"), r#"{"id":"j"}"#, BodyKind::Cancel),
        (Some("job"), r#"{"action":"cancel","id":"j"}"#, BodyKind::Cancel),
        (None, r#"{"id":"j", "action" : "cancel"}"#, BodyKind::Cancel),
        (None, r#"{"id":"j"}"#, BodyKind::Job),
        (Some("outreach.jobs"), "garbage", BodyKind::Job),
        (Some("patient"), r#"{"id":"P1"}"#, BodyKind::Patient),
        (Some("patient.upsert"), "", BodyKind::Patient),
        (Some("patient.merge"), r#"{"id":"P1","into":"P2"}"#, BodyKind::PatientMerge),
        (Some("outreach.patients"), r#"{"action":"merge","id":"P1"}"#, BodyKind::PatientMerge),
    ] {
        assert_eq!(BodyKind::of(key, body.as_bytes()), kind, "{key:?} {body}");
    }
}

#[test]
fn a_job_that_cannot_be_read_is_still_known_by_its_names() {
    let known = |bytes: &[u8]| {
        let (source, id) = identify(bytes);
        (source.map_or(String::new(), |s| s.to_string()), id.map_or(String::new(), |id| id.to_string()))
    };
    let both = ("ehr".to_owned(), "j1".to_owned());
    assert_eq!(known(br#"{"source":"ehr","id":"j1","data":{"a":"#), both);
    assert_eq!(known(b"{\"source\":\"ehr\",\"id\":\"j1\",\"x\":\"\xff\0\"}"), both);
    assert_eq!(
        known(br#"{"patient":{"id":"P9"},"x":"\"id\":\"j2\"","id":"j1","source":"ehr"} trailing"#),
        both
    );
    assert_eq!(known(br#"{"patient":{"id":"P9"}}"#), (String::new(), String::new()));
    assert_eq!(known(br#"{"id":"not a job id"}"#), (String::new(), String::new()));
    assert_eq!(known(b"garbage"), (String::new(), String::new()));
}

#[test]
fn one_bad_item_does_not_sink_an_array() {
    let good = r#"{"id":"j1","template":"t","patient_id":"P1","data":{"n":"ü"}}"#;
    let bad: [&[u8]; 4] = [b"{\"id\":1}", b"7", b"{\"id\":\"\xff\xc3\"}", b"{\"id\":\"\0\"}"];
    let sent = [bad.as_slice(), &[good.as_bytes()]].concat();
    let array = [b"\xef\xbb\xbf [".as_slice(), &sent.join(&b", "[..]), b" ]"].concat();
    let items = items(&array, 10).unwrap();
    // Each is what was sent, to the byte.
    assert_eq!(items, sent);
    let read: Vec<_> = items.iter().map(|item| Job::parse(item, &defaults()).is_ok()).collect();
    assert_eq!(read, [false, false, false, false, true]);
}

#[test]
fn an_array_that_is_none_is_told_by_what_is_wrong() {
    for (body, rule) in [
        (b"[1,2,3]".as_slice(), "at most 2 items in one array"),
        (b"{}", "must be a JSON array"),
        (b"[1,", "ends before its JSON is complete (line 1, column 3)"),
        (b"[1,\xff2]", "must be UTF-8 (byte 3 is not)"),
        (b"[\x001\0]\0", "must not hold NUL bytes"),
    ] {
        let problems = items(body, 2).unwrap_err();
        assert_eq!(problems[0].rule, rule);
    }
}

#[test]
fn the_same_content_has_the_same_hash_however_it_is_written() {
    let hash = |text: &str| Job::parse(text.as_bytes(), &defaults()).unwrap().content_hash;
    let first = hash(
        r#"{"id":"j1","source":"default","template":"t","patient_id":"P1","data":{"n":1,"b":[1.5,null]}}"#,
    );
    for same in [
        "{ \"data\" : {\"b\":[15e-1, null], \"n\": 1.0, \"x\": null},\n\"patient_id\":\"P1\",\"template\":\"t\",\"id\":\"j1\"}",
        r#"{"id":"\u006a1","template":"t","patient_id":"P1","about":null,"data":{"n":10e-1,"b":[1.50,null]}}"#,
    ] {
        assert_eq!(hash(same), first, "{same}");
    }
    for other in [
        r#"{"id":"j1","template":"t","patient_id":"P1","data":{"n":"1","b":[1.5,null]}}"#,
        r#"{"id":"j1","template":"t","patient_id":"P1","data":{"n":1,"b":[null,1.5]}}"#,
        r#"{"id":"j1","template":"t","patient_id":"P1","data":{"n":1,"b":[1.5]}}"#,
        r#"{"id":"j1","template":"t","patient_id":"P1","data":{"n":2,"b":[1.5,null]}}"#,
        r#"{"id":"j1","source":"other","template":"t","patient_id":"P1","data":{"n":1,"b":[1.5,null]}}"#,
        r#"{"id":"j1","template":"t","patient_id":"P1","test":true,"data":{"n":1,"b":[1.5,null]}}"#,
    ] {
        assert_ne!(hash(other), first, "{other}");
    }
    // Later versions must give the same answer: it stands in the ledger.
    assert_eq!(hex::encode(&first[..8]), "fd4376df1a2500d9");
}

#[test]
fn nothing_of_a_patient_is_in_what_debug_prints() {
    let mut body = reminder();
    body["patient"] = ana();
    let job = job(&body);
    let ana = job.patient.as_ref().unwrap();
    let said = format!("{job:?} {ana:?} {:?} {:?} {:?}", ana.proxies, ana.consents, ana.contacts);
    for word in [
        "López",
        "Ana",
        "1949",
        "3125550142",
        "example.org",
        "Chen",
        "60601",
        "77120",
        "Luis",
        "chart",
        "mother",
        "form 12",
        "u17",
    ] {
        assert!(!said.contains(word), "{word} in {said}");
    }
}

/// JSON that could be a job or a patient: real names at every level, values of every type.
fn plausible() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "id",
        "source",
        "template",
        "patient_id",
        "about",
        "data",
        "channels",
        "not_before",
        "expires_at",
        "patient",
        "local",
        "updated_at",
        "name",
        "given",
        "birth_date",
        "language",
        "timezone",
        "address",
        "contacts",
        "channel",
        "extension",
        "consents",
        "granted",
        "at",
        "proxies",
        "person",
        "purposes",
        "preferences",
        "appointment",
        "quiet_hours",
        "start",
        "end",
        "rank",
        "tags",
        "identifiers",
        "into",
        "reason",
        "action",
    ]);
    let text = prop_oneof![
        prop::sample::select(vec![
            "j1",
            "P1",
            "t",
            "sms",
            "email",
            "voice",
            "portal",
            "*",
            "care",
            "2026-11-28T09:00:00-06:00",
            "2026-11-28",
            "2026-11-28T09:00",
            "+13125550142",
            "a@b.example",
            "Patient/1",
            "es-US",
            "America/Chicago",
            "20:00",
            "patient",
            "guardian",
            "cancel",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
        "[0-9TZ:+.-]{0,30}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

/// Reads `bytes` as everything; what is refused says why.
fn read_as_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    let faults = [
        Job::parse(bytes, &defaults()).err(),
        Cancel::parse(bytes, &defaults()).err(),
        Patient::parse(bytes, &defaults(), Expect::default()).err(),
        PatientMerge::parse(bytes, None).err(),
    ];
    for told in faults.into_iter().flatten() {
        prop_assert!(!told.is_empty(), "refused without a word");
        prop_assert!(told.len() <= 50);
    }
    let _ = identify(bytes);
    let _ = BodyKind::of(Some("job"), bytes);
    if let Ok(patient) = Patient::parse(bytes, &defaults(), Expect::default()) {
        let shown = patient.to_json();
        let again = Patient::parse(shown.to_string().as_bytes(), &defaults(), Expect::default());
        prop_assert_eq!(again.map(|again| again.to_json()), Ok(shown));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(512)))]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes)?;
    }

    #[test]
    fn no_json_makes_a_reader_panic(tree in plausible()) {
        read_as_everything(tree.to_string().as_bytes())?;
    }

    #[test]
    fn no_damage_to_a_good_job_makes_a_reader_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut body = reminder();
        body["patient"] = ana();
        let mut bytes = body.to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        read_as_everything(&bytes)?;
    }

    #[test]
    fn the_hash_does_not_hang_on_how_a_job_is_written(data in plausible()) {
        let body = json!({"id": "j1", "template": "t", "patient_id": "P1", "data": {"x": data}});
        let plain = Job::parse(body.to_string().as_bytes(), &defaults());
        let pretty = Job::parse(serde_json::to_string_pretty(&body).unwrap().as_bytes(), &defaults());
        prop_assert_eq!(plain.map(|job| job.content_hash), pretty.map(|job| job.content_hash));
    }

    #[test]
    fn every_accepted_email_address_is_one_for_the_mail_library(text in "[a-z.+'_-]{1,8}@[a-z0-9.-]{1,12}(\\.[a-z]{2,3})?") {
        if let Ok(address) = outreachd::domain::reader::email(&text) {
            prop_assert!(address.parse::<lettre::Address>().is_ok(), "{}", address);
        }
    }
}
