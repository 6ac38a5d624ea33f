//! A message with a hole in it is never sent: the field is named instead.

use outreachd::domain::words::Reason;
use serde_json::{Value, json};

use super::{load, manifest, note, object, request, sms};

/// The problem of `x`, as field and rule; `None` when it is taken.
fn problem(variable: &str, data: Value) -> Option<(String, String)> {
    let toml = manifest(variable);
    let text = "{{#if data.x}}x{{/if}}y";
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", text)]);
    let problems = catalogue.get(&note()).unwrap().manifest.check_data(&object(data)).err()?;
    let first = problems.into_iter().next()?;
    assert_eq!(first.reason, Reason::BadData);
    assert!(!first.cure.is_empty());
    Some((first.field, first.rule))
}

#[test]
fn every_type_takes_its_own_values_and_no_others() {
    let text = "type = \"text\"\nmax_length = 5\nrequired = true\nexamples = [\"a\"]";
    let lines = "type = \"text\"\nmultiline = true\nexamples = [\"a\"]";
    let choice = "type = \"text\"\nvalues = [\"flu\", \"mmr\"]\nexamples = [\"flu\"]";
    let datetime = "type = \"datetime\"\nexamples = [\"2026-12-01T15:30:00-06:00\"]";
    let date = "type = \"date\"\nexamples = [\"2026-12-01\"]";
    let integer = "type = \"integer\"\nexamples = [1]";
    let number = "type = \"number\"\nexamples = [1.5]";
    let boolean = "type = \"boolean\"\nexamples = [true]";
    let phone = "type = \"phone\"\nexamples = [\"+13125550100\"]";
    let url = "type = \"url\"\ndomains = [\"example.org\"]\nexamples = [\"https://example.org/a\"]";
    let list = "type = \"list\"\nmax_items = 2\nmax_length = 3\nexamples = [[\"a\"]]";
    let table = [
        (text, json!("abcde"), None),
        (text, json!("ñañaé"), None),
        (text, json!(null), Some("must not be null")),
        (text, json!({ "a": 1 }), Some("must be of type text")),
        (text, json!(["a"]), Some("must be of type text")),
        (text, json!(5), Some("must be of type text")),
        (text, json!(""), Some("must not be empty")),
        (text, json!(" \t"), Some("must not be empty")),
        (text, json!("abcdef"), Some("must be at most 5 characters")),
        (text, json!("a\nb"), Some("must be one line without control characters")),
        (text, json!("a\u{0}b"), Some("must be one line without control characters")),
        (text, json!("a\u{202e}b"), Some("must be one line without control characters")),
        (lines, json!("a\r\nb\tc"), None),
        (lines, json!("a\u{1b}[2Jb"), Some("must hold no control characters")),
        (choice, json!("mmr"), None),
        (choice, json!("MMR"), Some("must be one of the declared values")),
        (datetime, json!("2026-12-01T15:30:00Z"), None),
        (datetime, json!("2026-12-01T15:30:00.25+05:45"), None),
        (datetime, json!("2026-12-01T15:30:00"), Some("must be a date and time with an offset")),
        (datetime, json!("2026-12-01"), Some("must be a date and time with an offset")),
        (datetime, json!("2026-02-30T10:00:00Z"), Some("must be a date and time with an offset")),
        (
            datetime,
            json!("2026-12-01T15:30:00-06:00[America/New_York]"),
            Some("must be a date and time with an offset"),
        ),
        (datetime, json!(1_764_624_600), Some("must be of type datetime")),
        (date, json!("2028-02-29"), None),
        (date, json!("2026-02-29"), Some("must be a calendar date")),
        (date, json!("2026-12-01T00:00:00Z"), Some("must be a calendar date")),
        (integer, json!(-3), None),
        (integer, json!(1.5), Some("must be a whole number")),
        (integer, json!("3"), Some("must be of type integer")),
        (number, json!(0.5), None),
        (number, json!(1e15), Some("must be less than a thousand million million")),
        (number, json!(-1e300), Some("must be less than a thousand million million")),
        (integer, json!(u64::MAX), Some("must be less than a thousand million million")),
        (number, json!(1e-300), None),
        (number, json!(false), Some("must be of type number")),
        (boolean, json!(false), None),
        (boolean, json!("true"), Some("must be of type boolean")),
        (phone, json!("+442079460018"), None),
        (phone, json!("312-555-0100"), Some("must be a phone number in E.164")),
        (phone, json!("+0312555010"), Some("must be a phone number in E.164")),
        (url, json!("https://example.org"), None),
        (url, json!("https://a.b.example.org/c?d=e#f"), None),
        (url, json!("http://example.org/"), Some("must begin with https://")),
        (url, json!("javascript:alert(1)"), Some("must begin with https://")),
        (url, json!("https://example.org.evil.net/"), Some("must lead to an allowed domain")),
        (url, json!("https://evilexample.org/"), Some("must lead to an allowed domain")),
        (url, json!("https://evil.net/example.org"), Some("must lead to an allowed domain")),
        (url, json!("https://evil.net?.example.org"), Some("must lead to an allowed domain")),
        (url, json!("https://evil.net@example.org/"), Some("must lead to an allowed domain")),
        (url, json!("https://evil.net#@example.org"), Some("must lead to an allowed domain")),
        (
            url,
            json!("https://evil.net\\.example.org"),
            Some("must hold only characters that an address may hold"),
        ),
        (url, json!("https://example.org/ x"), Some("must hold only characters that an address may hold")),
        (list, json!(["a", "b"]), None),
        (list, json!([]), Some("must hold 1 to 2 items")),
        (list, json!(["a", "b", "c"]), Some("must hold 1 to 2 items")),
        (list, json!(["a", null]), Some("item 1 must be a text")),
        (list, json!(["abcd"]), Some("item 0 must be at most 3 characters")),
        (list, json!("a"), Some("must be of type list")),
    ];
    for (variable, x, want) in table {
        let found = problem(variable, json!({ "x": x }));
        let want = want.map(|rule| ("data.x".to_owned(), rule.to_owned()));
        assert_eq!(found, want, "{variable}: {x}");
    }
    assert_eq!(problem(text, json!({})), Some(("data.x".to_owned(), "is required".to_owned())));
    assert_eq!(problem(list, json!({})), None, "an optional variable may be absent");
}

#[test]
fn an_undeclared_variable_is_named_only_when_its_name_is_harmless() {
    let x = "type = \"integer\"\nexamples = [1]";
    assert_eq!(problem(x, json!({ "starts_at": 1 })).unwrap().0, "data.starts_at");
    for telling in ["Ana López", "+13125550142", "ana@example.org", "<script>", "", &"a".repeat(60)] {
        assert_eq!(problem(x, json!({ telling: 1 })).unwrap().0, "data.(unknown)", "{telling}");
    }
}

#[test]
fn all_problems_come_at_once_and_show_no_value() {
    let toml = manifest("type = \"text\"\nrequired = true\nexamples = [\"a\"]")
        + "[variables.y]\ntype = \"phone\"\nexamples = [\"+13125550100\"]\n";
    let catalogue = load(&[
        ("note/template.toml", &toml),
        ("note/en/sms.hbs", "{{data.x}}{{#if data.y}}{{phone data.y}}{{/if}}"),
    ]);
    let (template, data) = (note(), object(json!({ "x": null, "y": "canary-312-555", "z": "canary" })));
    let error = catalogue.render(&request(&template, &data)).unwrap_err();
    assert_eq!(error.reason, Reason::BadData);
    assert_eq!(error.problems.len(), 3);
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[test]
fn an_optional_variable_that_is_absent_is_a_fault_of_the_text_that_needs_it() {
    let toml = manifest("type = \"text\"\nexamples = [\"a\"]");
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", "Hello\n{{data.x}}")]);
    let (template, data) = (note(), object(json!({})));
    let error = catalogue.render(&request(&template, &data)).unwrap_err();
    assert_eq!(error.reason, Reason::TemplateError);
    assert_eq!(error.problems[0].field, "note/en/sms.hbs:2");
    assert!(error.problems[0].rule.contains("data.x"), "{error}");
    let data = object(json!({ "x": "there" }));
    assert_eq!(sms(&catalogue.render(&request(&template, &data)).unwrap()), "Hello there");
}
