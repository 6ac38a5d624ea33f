//! What is wrong with an input is told by path, rule and cure: one row a fault.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use outreachd::domain::ids::SourceName;
use outreachd::domain::job::{Cancel, Job, MAX_JOB_BYTES};
use outreachd::domain::patient::Patient;
use outreachd::domain::phone::Region;
use outreachd::domain::problem::Problem;
use outreachd::domain::reader::{Expect, ParseDefaults, PatientMerge};
use outreachd::domain::words::Reason::{self, BadData, InvalidAddress, Malformed, UnknownSource};
use serde_json::{Value, json};

fn defaults() -> ParseDefaults {
    ParseDefaults::new(SourceName::parse("default"), Region::US)
}

/// A good job, with `field` set to `value`.
fn job(field: &str, value: Value) -> Vec<u8> {
    with(json!({"id": "j1", "template": "reminder", "patient_id": "P1"}), field, value)
}

/// A good patient, with `field` set to `value`.
fn patient(field: &str, value: Value) -> Vec<u8> {
    with(json!({"id": "P1", "updated_at": "2026-11-20T08:00:00Z"}), field, value)
}

fn with(mut body: Value, field: &str, value: Value) -> Vec<u8> {
    body[field] = value;
    body.to_string().into_bytes()
}

/// Exactly one fault: at this path, with this reason; rule and cure hold this text.
fn expect_one(name: &str, faults: &[Problem], (field, reason, text): (&str, Reason, &str)) {
    let [fault] = faults else {
        panic!("{name}: one fault was expected at {field}, these were found: {faults:?}");
    };
    assert_eq!((fault.field.as_str(), fault.reason), (field, reason), "{name}: {fault}");
    assert!(fault.to_string().contains(text), "{name}: {text:?} is not in: {fault}");
    assert!(!fault.cure.is_empty(), "{name}: every fault has a cure");
}

#[test]
fn bytes_that_are_no_job() {
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(MAX_JOB_BYTES)).into_bytes();
    let deep = format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(40), "]".repeat(40)).into_bytes();
    let abyss = "[".repeat(200_000).into_bytes();
    for (name, bytes, expected) in [
        ("nothing", &b""[..], ("", Malformed, "ends before its JSON is complete")),
        ("cut off", br#"{"id": "j1", "templ"#, ("", Malformed, "ends before its JSON is complete")),
        ("no JSON", b"hello", ("", Malformed, "must be valid JSON (line 1, column 1)")),
        ("a trailing comma", br#"{"id": "j1",}"#, ("", Malformed, "write it with a JSON library")),
        ("two bodies", br#"{"id":"j1"} {"id":"j2"}"#, ("", Malformed, "must be valid JSON")),
        ("a list", b"[1, 2]", ("", Malformed, "put the fields between { and }")),
        ("a text", br#""j1""#, ("", Malformed, "must be a JSON object")),
        ("null", b"null", ("", Malformed, "must be a JSON object")),
        ("NUL", b"{\"id\": \"j\x001\"}", ("", Malformed, "NUL bytes")),
        ("UTF-16", b"{\0\"\0i\0d\0\"\0:\x001\0}\0", ("", Malformed, "as UTF-8, not as UTF-16")),
        (
            "Latin-1",
            b"{\"id\": \"Mu\xf1oz\"}",
            ("", Malformed, "must be UTF-8 (byte 10 is not); encode the text"),
        ),
        ("half a surrogate", br#"{"id": "\ud800"}"#, ("", Malformed, "must be valid JSON")),
        (
            "a bare line break",
            b"{\"id\": \"a\nb\"}",
            ("", Malformed, "must be valid JSON (line 2, column 0)"),
        ),
        ("a huge number", br#"{"data": {"n": 1e999}}"#, ("", Malformed, "must be valid JSON")),
        ("oversize", &long, ("", Malformed, "at most 256 KiB; send ids")),
        ("deep", &deep, ("", Malformed, "at most 32 objects and lists within each other; flatten")),
        ("an abyss", &abyss, ("", Malformed, "at most 32 objects and lists")),
    ] {
        expect_one(name, &Job::parse(bytes, &defaults()).unwrap_err(), expected);
        expect_one(name, &Patient::parse(bytes, &defaults(), Expect::default()).unwrap_err(), expected);
    }
}

#[test]
fn names_given_twice_and_nul_characters() {
    for (name, bytes, expected) in [
        (
            "a field twice",
            &br#"{"id":"j1","template":"t","patient_id":"P1","patient_id":"P2"}"#[..],
            ("patient_id", Malformed, "a field may be given once only; leave out one"),
        ),
        (
            "a variable twice",
            br#"{"id":"j1","template":"t","patient_id":"P1","data":{"a":[{"b":1,"b":2}]}}"#,
            ("data.a[0].b", Malformed, "once only"),
        ),
        (
            "NUL as an escape",
            br#"{"id":"j1","template":"t","patient_id":"P1","data":{"a":["x\u0000y"]}}"#,
            ("data.a[0]", Malformed, "must not hold the character NUL; take \\u0000 out"),
        ),
        (
            "NUL in a name",
            br#"{"id":"j1","template":"t","patient_id":"P1","data":{"a\u0000":1}}"#,
            ("data.(an unknown field)", Malformed, "NUL"),
        ),
    ] {
        expect_one(name, &Job::parse(bytes, &defaults()).unwrap_err(), expected);
    }
}

#[test]
fn jobs() {
    let many: serde_json::Map<_, _> = (0..201).map(|n| (format!("v{n}"), json!(1))).collect();
    for (field, value, expected) in [
        ("id", json!(null), ("id", Malformed, "is required; give id")),
        ("id", json!(7), ("id", Malformed, "must be text; write it between double quotes")),
        ("id", json!("a b"), ("id", Malformed, "1 to 128 of A-Z a-z 0-9 . _ : -")),
        ("template", json!(null), ("template", Malformed, "is required")),
        ("template", json!("../etc"), ("template", Malformed, "1 to 64 of a-z 0-9 _ -")),
        ("patient_id", json!(null), ("patient_id", Malformed, "is required; give patient_id, or patient")),
        ("patient_id", json!("José"), ("patient_id", Malformed, "use only these characters")),
        ("source", json!("Lakeside EHR"), ("source", Malformed, "1 to 64 of a-z 0-9 _ -")),
        ("about", json!(""), ("about", Malformed, "1 to 128")),
        (
            "replaces",
            json!("j1"),
            ("replaces", Malformed, "a job cannot replace itself; name the earlier job"),
        ),
        ("site", json!("Lakeside.North"), ("site", Malformed, "1 to 64 of a-z")),
        ("campaign_id", json!("a.b"), ("campaign_id", Malformed, "1 to 64 of a-z")),
        ("purpose", json!("spam"), ("purpose", Malformed, "use one of: appointment, care, results")),
        ("priority", json!("high"), ("priority", Malformed, "use one of: urgent, normal, bulk")),
        ("channels", json!("sms"), ("channels", Malformed, "must be a list; put the values between [ and ]")),
        ("channels", json!([]), ("channels", Malformed, "at least one channel; leave it out")),
        ("channels", json!(["fax"]), ("channels[0]", Malformed, "use one of: sms, email, portal, voice")),
        ("channels", json!(["sms", "email", "sms"]), ("channels[2]", Malformed, "must not be given twice")),
        (
            "channels",
            json!(["sms", "sms", "sms", "sms", "sms"]),
            ("channels", Malformed, "at most 4 in this list"),
        ),
        (
            "not_before",
            json!("2026-11-28T09:00:00"),
            ("not_before", Malformed, "needs its offset from UTC; write it as"),
        ),
        (
            "not_before",
            json!("2026-11-28"),
            ("not_before", Malformed, "must be an RFC 3339 time; write it as 2026-"),
        ),
        ("not_before", json!("tomorrow at nine"), ("not_before", Malformed, "must be an RFC 3339 time")),
        (
            "not_before",
            json!("2026-02-30T09:00:00Z"),
            ("not_before", Malformed, "there is no such day or time"),
        ),
        ("not_before", json!("2026-11-28T09:00:00 America/Chicago"), ("not_before", Malformed, "RFC 3339")),
        ("not_before", json!(1_796_000_000), ("not_before", Malformed, "must be text")),
        (
            "not_before",
            json!({"local": "2026-11-28T09:00Z"}),
            ("not_before.local", Malformed, "without an offset"),
        ),
        (
            "not_before",
            json!({"local": "2026-11-31T09:00"}),
            ("not_before.local", Malformed, "no such day or time"),
        ),
        ("not_before", json!({}), ("not_before.local", Malformed, "is required")),
        ("expires_at", json!("12/01/2026 3:30 PM"), ("expires_at", Malformed, "must be an RFC 3339 time")),
        (
            "expires_at",
            json!({"local": "2026-11-28T09:00", "zone": "x"}),
            ("expires_at.zone", Malformed, "unknown field"),
        ),
        ("test", json!("yes"), ("test", Malformed, "must be true or false; write it without quotes")),
        (
            "override_reason",
            json!("x".repeat(501)),
            ("override_reason", Malformed, "at most 500 characters; shorten"),
        ),
        ("override_reason", json!("a\nb"), ("override_reason", Malformed, "take out line breaks")),
        ("data", json!([1]), ("data", BadData, "put the variables between { and }")),
        (
            "data",
            Value::Object(many),
            ("data", BadData, "at most 200 variables; send only what the template declares"),
        ),
        ("patient", json!("P1"), ("patient", Malformed, "must be an object")),
        ("patient", json!({"id": "P2"}), ("patient.id", Malformed, "another patient is named beside it")),
        (
            "patient",
            json!({"phone": 1}),
            ("patient.phone", Malformed, "unknown field; take it out or correct its name"),
        ),
        ("prioritty", json!("bulk"), ("prioritty", Malformed, "known here: id, source, template")),
        ("Ana López", json!(1), ("(an unknown field)", Malformed, "unknown field")),
    ] {
        let name = format!("{field} = {value}");
        expect_one(&name, &Job::parse(&job(field, value), &defaults()).unwrap_err(), expected);
    }
}

#[test]
fn a_job_must_end_after_it_begins() {
    let span = |start: Value, end: Value| {
        let body =
            json!({"id": "j1", "template": "t", "patient_id": "P1", "not_before": start, "expires_at": end});
        Job::parse(body.to_string().as_bytes(), &defaults())
    };
    let expected = ("expires_at", Malformed, "must be later than not_before");
    let at = json!("2026-11-28T09:00:00-06:00");
    expect_one("the same instant", &span(at.clone(), json!("2026-11-28T15:00:00Z")).unwrap_err(), expected);
    let local = |time: &str| json!({"local": format!("2026-11-28T{time}")});
    expect_one("local times", &span(local("09:00"), local("08:00")).unwrap_err(), expected);
    // Which of the two comes first depends on the recipient's zone.
    assert!(span(at, local("08:00")).is_ok());
}

#[test]
fn a_job_needs_a_source_where_none_is_known() {
    let nobody = ParseDefaults::new(None, Region::US);
    let faults = Job::parse(&job("test", json!(true)), &nobody).unwrap_err();
    expect_one("no source", &faults, ("source", UnknownSource, "is required here; give the name"));
}

#[test]
fn patients() {
    let tags: Vec<_> = (0..51).map(|n| format!("t{n}")).collect();
    for (field, value, expected) in [
        ("id", json!(null), ("id", Malformed, "is required")),
        ("updated_at", json!(null), ("updated_at", Malformed, "is required; give updated_at")),
        ("updated_at", json!("2026-11-20T08:00:00"), ("updated_at", Malformed, "needs its offset")),
        ("name", json!("Ana"), ("name", Malformed, "must be an object")),
        ("name", json!({"first": "Ana"}), ("name.first", Malformed, "known here: given, family")),
        ("name", json!({"given": ""}), ("name.given", Malformed, "must not be empty; leave the field out")),
        (
            "name",
            json!({"family": "a\r\nBcc: x"}),
            ("name.family", Malformed, "must not hold control characters"),
        ),
        ("name", json!({"family": "x".repeat(201)}), ("name.family", Malformed, "at most 200 characters")),
        (
            "birth_date",
            json!("3/2/1949"),
            ("birth_date", Malformed, "write it as year-month-day, such as 1949-03-02"),
        ),
        ("birth_date", json!("1949-13-02"), ("birth_date", Malformed, "there is no such day")),
        ("birth_date", json!("1949"), ("birth_date", Malformed, "must be a calendar day")),
        (
            "language",
            json!("Spanish"),
            ("language", Malformed, "must be a BCP-47 language tag; write a code"),
        ),
        ("language", json!("es_US"), ("language", Malformed, "with hyphens")),
        ("language", json!("e"), ("language", Malformed, "BCP-47")),
        (
            "timezone",
            json!("CST-6"),
            ("timezone", Malformed, "IANA time zone database; write it as America/Chicago"),
        ),
        ("timezone", json!("-06:00"), ("timezone", Malformed, "do not know daylight saving")),
        ("timezone", json!("America/Chicagoo"), ("timezone", Malformed, "IANA")),
        ("timezone", json!("Etc/Unknown"), ("timezone", Malformed, "IANA")),
        ("timezone", json!("EST"), ("timezone", Malformed, "zone of a place; write it as America/New_York")),
        ("timezone", json!("hst"), ("timezone", Malformed, "do not know daylight saving")),
        ("timezone", json!("MST"), ("timezone", Malformed, "zone of a place")),
        ("timezone", json!("UTC"), ("timezone", Malformed, "nobody lives by UTC")),
        ("timezone", json!("etc/utc"), ("timezone", Malformed, "nobody lives by UTC")),
        ("timezone", json!("Etc/Greenwich"), ("timezone", Malformed, "zone of a place")),
        ("address", json!({"country": "USA"}), ("address.country", Malformed, "two-letter country code")),
        (
            "address",
            json!({"street": "1 Main"}),
            ("address.street", Malformed, "known here: postal_code, state, country"),
        ),
        ("tags", json!("risk-1"), ("tags", Malformed, "must be a list")),
        ("tags", json!(["a", "a"]), ("tags[1]", Malformed, "must not be given twice")),
        ("tags", json!(tags), ("tags", Malformed, "at most 50 in this list; send fewer")),
        ("identifiers", json!([{"system": "urn:mrn"}]), ("identifiers[0].value", Malformed, "is required")),
        ("active", json!(1), ("active", Malformed, "must be true or false")),
        ("deceased", json!("2026-01-01"), ("deceased", Malformed, "must be true or false")),
        ("do_not_contact", json!(true), ("do_not_contact", Malformed, "must be text")),
        ("pause_until", json!("2026-12-01"), ("pause_until", Malformed, "RFC 3339")),
        (
            "preferred_channels",
            json!(["sms", "pigeon"]),
            ("preferred_channels[1]", Malformed, "use one of: sms"),
        ),
        ("preferences", json!(["sms"]), ("preferences", Malformed, "must be an object")),
        (
            "preferences",
            json!({"visits": ["sms"]}),
            ("preferences.visits", Malformed, "unknown purpose; use one of"),
        ),
        ("preferences", json!({"care": "sms"}), ("preferences.care", Malformed, "must be a list")),
        ("quiet_hours", json!({"start": "20:00"}), ("quiet_hours.end", Malformed, "is required")),
        (
            "quiet_hours",
            json!({"start": "8 PM", "end": "09:00"}),
            ("quiet_hours.start", Malformed, "write it as 20:00"),
        ),
        (
            "quiet_hours",
            json!({"start": "24:00", "end": "09:00"}),
            ("quiet_hours.start", Malformed, "no such time of day"),
        ),
        (
            "quiet_hours",
            json!({"start": "09:00", "end": "09:00"}),
            ("quiet_hours.end", Malformed, "the same as start"),
        ),
        ("contacts", json!({}), ("contacts", Malformed, "must be a list")),
        ("consents", json!([{"granted": true}]), ("consents[0].at", Malformed, "is required")),
        ("ssn", json!("1"), ("ssn", Malformed, "unknown field")),
    ] {
        let name = format!("{field} = {value}");
        let faults =
            Patient::parse(&patient(field, value), &defaults(), Expect { id: None, updated_at: true });
        let faults = faults.unwrap_err();
        // A consent without `at` lacks its source too; the first fault is the one under test.
        expect_one(&name, &faults[..1], expected);
        assert!(faults.len() == 1 || field == "consents", "{name}: {faults:?}");
    }
}

#[test]
fn contacts() {
    let sms = |address: &str| json!({"channel": "sms", "address": address});
    let email = |address: &str| json!({"channel": "email", "address": address});
    let portal = |address: &str| json!({"channel": "portal", "address": address});
    let address = "contacts[0].address";
    let mut cases = vec![
        (sms("5550142"), (address, InvalidAddress, "too few digits; write it with + and the country code")),
        (sms("525512345678"), (address, InvalidAddress, "without one it is read as a number of US")),
        (
            sms("1.31E+10"),
            (address, InvalidAddress, "a spreadsheet has rounded this number; format the column as text"),
        ),
        (sms("+999 1234567"), (address, InvalidAddress, "no such country calling code")),
        (sms("+1 112 555 0142"), (address, InvalidAddress, "no such number is given out")),
        (sms("312-555-0142 x12"), (address, InvalidAddress, "takes no SMS; make it a voice contact")),
        (sms("ana@example.org"), (address, InvalidAddress, "digits and ordinary punctuation only")),
        (sms("+13125550142\r\n"), (address, InvalidAddress, "digits and ordinary punctuation only")),
        (email("ana"), (address, InvalidAddress, "must be an email address; write it as name@example.org")),
        (email("Ana <ana@example.org>"), (address, InvalidAddress, "nothing around it")),
        (email("ana@example.org\r\nBcc: x@y.z"), (address, InvalidAddress, "must be an email address")),
        (email("ana@@example.org"), (address, InvalidAddress, "must be an email address")),
        (email(".ana@example.org"), (address, InvalidAddress, "must be an email address")),
        (email("ana@localhost"), (address, InvalidAddress, "must be an email address")),
        (email("ana@[127.0.0.1]"), (address, InvalidAddress, "must be an email address")),
        (
            email("ana@bücher.example"),
            (address, InvalidAddress, "ASCII characters only; write an international domain"),
        ),
        (portal("42"), (address, InvalidAddress, "write it as Patient/42")),
        (portal("Patient/42/../43"), (address, InvalidAddress, "must be a portal reference")),
    ];
    let voice = |field: &str, value: Value| {
        let mut contact = json!({"channel": "voice", "address": "+13125550142"});
        contact[field] = value;
        contact
    };
    cases.extend([
        (voice("channel", json!("fax")), ("contacts[0].channel", Malformed, "use one of: sms, email")),
        (voice("rank", json!(0)), ("contacts[0].rank", Malformed, "a whole number from 1 to 100")),
        (voice("rank", json!("1")), ("contacts[0].rank", Malformed, "write it without quotes")),
        (
            voice("use", json!("office")),
            ("contacts[0].use", Malformed, "use one of: home, work, temp, old, mobile"),
        ),
        (
            voice("kind", json!("satellite")),
            ("contacts[0].kind", Malformed, "use one of: fixed_line, mobile"),
        ),
        (
            voice("status", json!("good")),
            ("contacts[0].status", Malformed, "use one of: ok, bad, wrong, reassigned"),
        ),
        (
            voice("leave_message", json!("long")),
            ("contacts[0].leave_message", Malformed, "use one of: none, brief"),
        ),
        (
            voice("extension", json!("12;34")),
            ("contacts[0].extension", Malformed, "must be 1 to 20 telephone keys"),
        ),
        (voice("verified_at", json!("yes")), ("contacts[0].verified_at", Malformed, "RFC 3339")),
        (voice("label", json!("x")), ("contacts[0].label", Malformed, "unknown field")),
    ]);
    for (contact, expected) in cases {
        let faults = Patient::parse(&patient("contacts", json!([contact])), &defaults(), Expect::default());
        expect_one(&contact.to_string(), &faults.unwrap_err(), expected);
    }
    for (list, expected) in [
        (
            json!([sms("+13125550142"), email("a@b.example"), sms("(312) 555-0142")]),
            ("contacts[2]", InvalidAddress, "the same channel and address stand there twice"),
        ),
        (
            json!([{"channel": "sms", "address": "+13125550142", "extension": "1"}]),
            ("contacts[0].extension", InvalidAddress, "only a voice contact has an extension"),
        ),
        (json!(vec![sms("+13125550142"); 21]), ("contacts", Malformed, "at most 20 in this list")),
    ] {
        let faults = Patient::parse(&patient("contacts", list), &defaults(), Expect::default()).unwrap_err();
        expect_one(expected.2, &faults, expected);
    }
}

#[test]
fn consents_and_proxies() {
    let consent = |field: &str, value: Value| {
        let good = json!({"granted": true, "at": "2026-10-01T12:00:00Z", "source": "staff"});
        ("consents", json!([serde_json::from_slice::<Value>(&with(good, field, value)).unwrap()]))
    };
    let proxy = |field: &str, value: Value| {
        let good = json!({"patient_id": "P7", "authority": "guardian", "mode": "instead", "purposes": ["*"]});
        ("proxies", json!([serde_json::from_slice::<Value>(&with(good, field, value)).unwrap()]))
    };
    for ((field, value), expected) in [
        (consent("granted", json!("no")), ("consents[0].granted", Malformed, "must be true or false")),
        (
            consent("source", json!("fax")),
            ("consents[0].source", Malformed, "use one of: patient, staff, ehr, import"),
        ),
        (consent("purpose", json!("all")), ("consents[0].purpose", Malformed, "use one of: appointment")),
        (consent("address", json!("12")), ("consents[0].address", InvalidAddress, "too few digits")),
        (
            consent("expires_at", json!("2026-10-01T12:00:00Z")),
            ("consents[0].expires_at", Malformed, "must be later than at"),
        ),
        (proxy("patient_id", json!("P1")), ("proxies[0].patient_id", Malformed, "nobody is their own proxy")),
        (
            proxy("patient_id", json!(null)),
            ("proxies[0].patient_id", Malformed, "give patient_id, or person"),
        ),
        (proxy("person", json!({})), ("proxies[0].person", Malformed, "a patient or a person, not both")),
        (
            proxy("authority", json!("aunt")),
            ("proxies[0].authority", Malformed, "use one of: guardian, caregiver"),
        ),
        (proxy("mode", json!(null)), ("proxies[0].mode", Malformed, "is required")),
        (proxy("purposes", json!(null)), ("proxies[0].purposes", Malformed, "is required")),
        (
            proxy("purposes", json!(["*", "care"])),
            ("proxies[0].purposes[0]", Malformed, "use one of: appointment"),
        ),
        (proxy("from", json!("2019-5-1")), ("proxies[0].from", Malformed, "write it as year-month-day")),
    ] {
        let faults = Patient::parse(&patient(field, value.clone()), &defaults(), Expect::default());
        expect_one(&value.to_string(), &faults.unwrap_err(), expected);
    }
    let span = json!([{"person": {"timezone": "EST", "contacts": [{"channel": "sms", "address": "1"}]}, "authority": "caregiver",
                       "mode": "also", "purposes": ["care"], "from": "2027-01-01", "until": "2026-01-01"}]);
    let faults = Patient::parse(&patient("proxies", span), &defaults(), Expect::default()).unwrap_err();
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        ["proxies[0].person.timezone", "proxies[0].person.contacts[0].address", "proxies[0].until"]
    );
}

#[test]
fn cancels_and_merges() {
    for (body, expected) in [
        (json!({"reason": "moved"}), ("id", Malformed, "is required; give id, or about")),
        (json!({"id": "j1", "about": "v1"}), ("about", Malformed, "a job or a matter, not both")),
        (json!({"id": "j1", "action": "stop"}), ("action", Malformed, "use one of: cancel")),
        (json!({"id": "j 1"}), ("id", Malformed, "1 to 128")),
        (
            json!({"id": "j1", "because": "x"}),
            ("because", Malformed, "known here: action, source, id, about, reason"),
        ),
    ] {
        let faults = Cancel::parse(body.to_string().as_bytes(), &defaults()).unwrap_err();
        expect_one(&body.to_string(), &faults, expected);
    }
    for (body, expected) in [
        (json!({"id": "P1"}), ("into", Malformed, "is required")),
        (json!({"into": "P1"}), ("id", Malformed, "is required")),
        (json!({"id": "P1", "into": "P1"}), ("into", Malformed, "must be another patient")),
    ] {
        let faults = PatientMerge::parse(body.to_string().as_bytes(), None).unwrap_err();
        expect_one(&body.to_string(), &faults, expected);
    }
}

#[test]
fn all_faults_of_an_input_are_told_at_once() {
    let body = json!({"id": "j 1", "template": "T", "priority": "now", "not_before": "soon", "colour": "red",
                      "patient": {"language": "Spanish", "contacts": [{"channel": "sms", "address": "1"}]}});
    let faults = Job::parse(body.to_string().as_bytes(), &defaults()).unwrap_err();
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "id",
            "template",
            "priority",
            "not_before",
            "patient.id",
            "patient.language",
            "patient.contacts[0].address",
            "colour"
        ]
    );
}

/// Values of every field of every noun, each holding the canary where a text can stand.
#[test]
fn no_fault_repeats_a_value() {
    const CANARY: &str = "Zyxwvu-Qanary 3125550142 @";
    let text = json!(CANARY);
    let keyed = json!({CANARY: CANARY});
    let fields = [
        "id",
        "source",
        "template",
        "patient_id",
        "about",
        "replaces",
        "site",
        "purpose",
        "priority",
        "data",
        "channels",
        "not_before",
        "expires_at",
        "test",
        "campaign_id",
        "override_reason",
        "patient",
        "updated_at",
        "name",
        "birth_date",
        "language",
        "timezone",
        "address",
        "tags",
        "identifiers",
        "active",
        "deceased",
        "do_not_contact",
        "pause_until",
        "preferred_channels",
        "preferences",
        "quiet_hours",
        "contacts",
        "consents",
        "proxies",
        CANARY,
    ];
    let inner = json!({"channel": "email", "address": text, "given": [text], "local": text, "person": keyed, "kind": text,
                       "system": [text], "value": keyed, "start": text, "at": text, "source": text, "evidence": keyed});
    let mut told = 0;
    for field in fields {
        for value in
            [text.clone(), keyed.clone(), json!([text]), json!([keyed]), inner.clone(), json!([inner])]
        {
            let mut faults = Vec::new();
            for bytes in [job(field, value.clone()), patient(field, value.clone())] {
                faults.extend(Job::parse(&bytes, &defaults()).err().unwrap_or_default());
                faults
                    .extend(Patient::parse(&bytes, &defaults(), Expect::default()).err().unwrap_or_default());
                faults.extend(Cancel::parse(&bytes, &defaults()).err().unwrap_or_default());
                faults.extend(PatientMerge::parse(&bytes, None).err().unwrap_or_default());
            }
            told += faults.len();
            let said = serde_json::to_string(&faults).unwrap();
            for part in ["Zyxwvu", "Qanary", "3125550142"] {
                assert!(!said.contains(part), "{field}: {said}");
            }
        }
    }
    assert!(told > 1_000, "the canary must have met many rules: {told}");
}
