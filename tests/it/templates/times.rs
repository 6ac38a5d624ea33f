//! Dates, times, numbers and lists, as each language writes them and where the visit is.

use outreachd::domain::words::Recipient;
use outreachd::template::{RecipientContext, SiteContext};
use serde_json::{Value, json};

use super::{load, manifest, note, object, request, sms};

/// Renders `text` with `x` for a reader of `language`.
fn say(text: &str, kind: &str, x: Value, language: &str, region: Option<&str>, zone: Option<&str>) -> String {
    let example = match kind {
        "datetime" => r#"["2026-12-01T15:30:00-06:00"]"#,
        "date" => r#"["2026-12-01"]"#,
        "integer" | "number" => "[1]",
        "list" => r#"[["a"]]"#,
        _ => r#"["+13125550100"]"#,
    };
    let toml = manifest(&format!("type = \"{kind}\"\nexamples = {example}"))
        .replace("approved = [\"en\"]", &format!("approved = [\"en\", \"{language}\"]"));
    let toml = toml.replace("[\"en\", \"en\"]", "[\"en\"]");
    let path = format!("note/{language}/sms.hbs");
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", text), (&path, text)]);
    let site = SiteContext { timezone: zone.map(str::to_owned), ..SiteContext::default() };
    let (template, data) = (note(), object(json!({ "x": x })));
    let mut wanted = request(&template, &data);
    let languages = [language];
    (wanted.languages, wanted.region, wanted.site) = (&languages, region, Some(&site));
    sms(&catalogue.render(&wanted).unwrap()).to_owned()
}

#[test]
fn a_visit_is_shown_on_the_clock_of_its_place() {
    let table = [
        ("2026-12-01T15:30:00-06:00", Some("America/Chicago"), "Tue, Dec 1, 3:30 PM"),
        ("2026-12-01T21:30:00Z", Some("America/Chicago"), "Tue, Dec 1, 3:30 PM"),
        ("2026-12-01T21:30:00Z", Some("Pacific/Auckland"), "Wed, Dec 2, 10:30 AM"),
        ("2026-12-01T21:30:00Z", Some("Asia/Kathmandu"), "Wed, Dec 2, 3:15 AM"),
        // The hour that does not exist, and the hour that comes twice.
        ("2026-03-08T07:59:00Z", Some("America/Chicago"), "Sun, Mar 8, 1:59 AM"),
        ("2026-03-08T08:00:00Z", Some("America/Chicago"), "Sun, Mar 8, 3:00 AM"),
        ("2026-11-01T06:30:00Z", Some("America/Chicago"), "Sun, Nov 1, 1:30 AM"),
        ("2026-11-01T07:30:00Z", Some("America/Chicago"), "Sun, Nov 1, 1:30 AM"),
        // Half an hour of daylight saving.
        ("2026-10-03T15:29:00Z", Some("Australia/Lord_Howe"), "Sun, Oct 4, 1:59 AM"),
        ("2026-10-03T15:30:00Z", Some("Australia/Lord_Howe"), "Sun, Oct 4, 2:30 AM"),
        // Arizona keeps its clocks, and midnight is a day's beginning.
        ("2026-07-01T07:00:00Z", Some("America/Phoenix"), "Wed, Jul 1, 12:00 AM"),
        // No place is known: the offset is what the caller meant.
        ("2026-12-01T15:30:00-06:00", None, "Tue, Dec 1, 3:30 PM"),
        ("2026-12-01T15:30:00+05:45", None, "Tue, Dec 1, 3:30 PM"),
    ];
    for (at, zone, want) in table {
        let text = "{{datetime data.x style=\"short\"}}";
        assert_eq!(say(text, "datetime", json!(at), "en", Some("US"), zone), want, "{at} {zone:?}");
    }
}

#[test]
fn one_oclock_is_one_in_spanish() {
    for (at, region, want) in [
        ("2026-12-01T13:30:00-06:00", "US", "martes, 1 de diciembre a la 1:30 p.m."),
        ("2026-12-01T11:30:00-06:00", "US", "martes, 1 de diciembre a las 11:30 a.m."),
        ("2026-12-01T01:30:00-06:00", "ES", "martes, 1 de diciembre a la 01:30"),
        ("2026-12-01T13:30:00-06:00", "ES", "martes, 1 de diciembre a las 13:30"),
    ] {
        assert_eq!(say("{{datetime data.x}}", "datetime", json!(at), "es", Some(region), None), want, "{at}");
    }
}

#[test]
fn each_language_has_its_own_way() {
    let table = [
        ("en", "US", "Tuesday, December 1 at 3:30 PM", "3:30 PM"),
        ("en", "GB", "Tuesday 1 December at 15:30", "15:30"),
        ("es", "US", "martes, 1 de diciembre a las 3:30 p.m.", "3:30 p.m."),
        ("es", "ES", "martes, 1 de diciembre a las 15:30", "15:30"),
        ("zh-Hans", "US", "12月1日星期二 15:30", "15:30"),
        ("fr", "CA", "mardi 1 décembre à 15 h 30", "15 h 30"),
        ("de", "DE", "Dienstag, 1. Dezember um 15:30", "15:30"),
        ("vi", "US", "lúc 15:30 Thứ Ba, 1 tháng 12", "15:30"),
        ("ja", "JP", "12月1日火曜日 15:30", "15:30"),
        ("ar", "EG", "الثلاثاء، ١ ديسمبر في ٣:٣٠ م", "٣:٣٠ م"),
    ];
    for (language, region, long, time) in table {
        let text = "{{datetime data.x}}|{{time data.x}}";
        let said = say(text, "datetime", json!("2026-12-01T15:30:00-06:00"), language, Some(region), None);
        assert_eq!(said, format!("{long}|{time}"), "{language}-{region}");
    }
}

#[test]
fn dates_numbers_lists_and_phones_are_written_out() {
    let date = "{{date data.x}}|{{date data.x style=\"short\"}}|{{date data.x style=\"full\"}}";
    let visits = "{{plural data.x one=\"# visit\" other=\"# visits\"}}";
    let wizyty = "{{plural data.x one=\"# wizyta\" few=\"# wizyty\" many=\"# wizyt\" other=\"# wizyty\"}}";
    let list = "{{list data.x}}|{{list data.x style=\"or\"}}";
    let us = Some("US");
    let table = [
        (
            date,
            "date",
            json!("2028-02-29"),
            "en",
            us,
            "Tuesday, February 29|Tue, Feb 29|Tuesday, February 29, 2028",
        ),
        ("{{number data.x}}", "number", json!(1234.5), "en", us, "1,234.5"),
        ("{{number data.x}}", "number", json!(-1234.5), "de", Some("DE"), "-1.234,5"),
        ("{{number data.x}}", "integer", json!(0), "en", us, "0"),
        ("{{number data.x}}", "number", json!(2.0), "en", us, "2"),
        ("{{number data.x}}", "number", json!(0.1 + 0.2), "en", us, "0.3"),
        ("{{number data.x}}", "number", json!(1e-300), "en", us, "0"),
        ("{{number data.x}}", "number", json!(999_999_999_999_999_i64), "en", us, "999,999,999,999,999"),
        (visits, "integer", json!(1), "en", us, "1 visit"),
        (visits, "integer", json!(0), "en", us, "0 visits"),
        (visits, "integer", json!(1_000), "en", us, "1,000 visits"),
        (wizyty, "integer", json!(1), "pl", us, "1 wizyta"),
        (wizyty, "integer", json!(3), "pl", us, "3 wizyty"),
        (wizyty, "integer", json!(12), "pl", us, "12 wizyt"),
        (list, "list", json!(["a"]), "en", us, "a|a"),
        (list, "list", json!(["a", "b"]), "en", us, "a and b|a or b"),
        (list, "list", json!(["a", "b", "c"]), "en", us, "a, b, and c|a, b, or c"),
        (list, "list", json!(["a", "b", "c"]), "es", us, "a, b y c|a, b o c"),
        (list, "list", json!(["agua", "infusión"]), "es", us, "agua e infusión|agua o infusión"),
        ("{{phone data.x}}", "phone", json!("+13125550100"), "en", us, "(312) 555-0100"),
        ("{{phone data.x}}", "phone", json!("+13125550100"), "en", Some("GB"), "+1 312-555-0100"),
        ("{{phone data.x}}", "phone", json!("+442079460018"), "en", Some("GB"), "020 7946 0018"),
    ];
    for (text, kind, x, language, region, want) in table {
        assert_eq!(say(text, kind, x.clone(), language, region, None), want, "{text} {x} {language}");
    }
}

#[test]
fn a_remote_visit_is_where_the_recipient_is() {
    let toml = manifest("type = \"datetime\"\nexamples = [\"2026-12-01T15:30:00-06:00\"]").replace(
        "[variables.x]",
        "remote_from = \"remote\"\n[variables.remote]\ntype = \"boolean\"\nexamples = [true]\n[variables.x]",
    );
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", "{{time data.x}}")]);
    let template = note();
    let site = super::chicago();
    for (data, zone, want) in [
        (json!({ "x": "2026-12-01T15:30:00-06:00" }), Some("America/New_York"), "3:30 PM"),
        (json!({ "x": "2026-12-01T15:30:00-06:00", "remote": false }), Some("America/New_York"), "3:30 PM"),
        (json!({ "x": "2026-12-01T15:30:00-06:00", "remote": true }), Some("America/New_York"), "4:30 PM"),
        (json!({ "x": "2026-12-01T15:30:00-06:00", "remote": true }), None, "3:30 PM"),
    ] {
        let data = object(data);
        let mut wanted = request(&template, &data);
        wanted.site = Some(&site);
        wanted.recipient =
            RecipientContext { kind: Recipient::Patient, timezone: zone, ..RecipientContext::PATIENT };
        assert_eq!(sms(&catalogue.render(&wanted).unwrap()), want);
    }
}
