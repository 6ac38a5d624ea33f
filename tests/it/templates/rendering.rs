//! One message: the right language, the right escaping, within its limits, whatever the data.

use outreachd::domain::outbound::Content;
use outreachd::domain::words::{Authority, Channel, Recipient};
use outreachd::template::{Catalogue, RecipientContext, SiteContext};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{load, manifest, name, note, object, reason, request, sms, texts};
use crate::support::cases;

const TEXT: &str = "type = \"text\"\nmax_length = 300\nexamples = [\"a\"]";

/// A template with every channel, which shows `x` and the patient's name everywhere.
fn everywhere() -> Catalogue {
    let toml = manifest(TEXT)
        .replace("channels = [\"sms\"]", "channels = [\"sms\", \"email\", \"voice\", \"portal\"]")
        .replace("[variables.x]", "[channel.sms]\nmax_segments = 9\n[variables.x]");
    let text = "{{#if patient.name}}{{patient.name}}{{/if}}|{{data.x}}|{{site.name}}";
    load(&[
        ("note/template.toml", &toml),
        ("note/en/sms.hbs", text),
        ("note/en/email.subject.hbs", text),
        ("note/en/email.txt.hbs", text),
        (
            "note/en/email.html.hbs",
            "<p title=\"{{data.x}}\">{{#if patient.name}}{{patient.name}}{{/if}}|{{data.x}}</p>",
        ),
        ("note/en/voice.hbs", text),
        ("note/en/voicemail.hbs", text),
        ("note/en/portal.hbs", text),
    ])
}

#[test]
fn each_channel_escapes_what_would_hurt_it() {
    let catalogue = everywhere();
    let (template, data, patient) =
        (note(), object(json!({ "x": "<b>\"Fish\" & 'Chips'" })), name("O'Neil", "<i>"));
    let render = |channel| {
        let mut wanted = request(&template, &data);
        (wanted.channel, wanted.patient) = (channel, Some(&patient));
        catalogue.render(&wanted).unwrap().content
    };
    let plain = "O'Neil <i>|<b>\"Fish\" & 'Chips'|Lakeside Health";
    let spoken = "O&apos;Neil &lt;i&gt;|&lt;b&gt;&quot;Fish&quot; &amp; &apos;Chips&apos;|Lakeside Health";
    assert_eq!(texts(&render(Channel::Sms)), [plain]);
    assert_eq!(texts(&render(Channel::Portal)), [plain, plain]);
    assert_eq!(texts(&render(Channel::Voice)), [spoken, spoken]);
    let email = render(Channel::Email);
    assert_eq!(texts(&email)[..2], [plain, plain]);
    let html = texts(&email)[2];
    assert!(
        !html.contains("<b>") && !html.contains("<i>") && html.contains("&lt;b&gt;&quot;Fish&quot; &amp;"),
        "{html}"
    );
}

#[test]
fn what_looks_like_a_template_in_the_data_is_text() {
    let catalogue = everywhere();
    let template = note();
    for nasty in [
        "{{site.name}}",
        "{{{data.x}}}",
        "{{> @partial-block}}",
        "{{#each data}}",
        "{{log data.x}}",
        "\\{{x}}",
        "${x}",
        "<%= 1 %>",
    ] {
        let (data, patient) = (object(json!({ "x": nasty })), name(nasty, ""));
        let mut wanted = request(&template, &data);
        wanted.patient = Some(&patient);
        let want = format!("{nasty}|{nasty}|Lakeside Health");
        assert_eq!(sms(&catalogue.render(&wanted).unwrap()), want);
    }
}

#[test]
fn a_header_cannot_be_broken_out_of() {
    let catalogue = everywhere();
    let (template, data) = (note(), object(json!({ "x": "hello" })));
    for nasty in [
        "Ana\r\nBcc: all@example.org",
        "Ana\nBcc: all@example.org",
        "Ana\0Bcc: all@example.org",
        "Ana\u{2028}Bcc: all@example.org",
    ] {
        let patient = name(nasty, "López");
        let mut wanted = request(&template, &data);
        (wanted.channel, wanted.patient) = (Channel::Email, Some(&patient));
        let content = catalogue.render(&wanted).unwrap().content;
        assert_eq!(texts(&content)[0], "Ana Bcc: all@example.org López|hello|Lakeside Health");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(200)))]

    #[test]
    fn arbitrary_text_is_shown_or_refused_and_never_grows_without_end(
        x in any::<String>(), given in any::<String>(), family in "\\PC{0,80}", site in any::<String>(),
    ) {
        thread_local! { static CATALOGUE: Catalogue = everywhere(); }
        CATALOGUE.with(|catalogue| {
            let (template, data, patient) = (note(), object(json!({ "x": x })), name(&given, &family));
            for &channel in Channel::ALL {
                let mut wanted = request(&template, &data);
                (wanted.channel, wanted.patient, wanted.organisation) = (channel, Some(&patient), &site);
                let Ok(rendered) = catalogue.render(&wanted) else { continue };
                for text in texts(&rendered.content) {
                    prop_assert!(text.len() < 140_000);
                    let hostile = text.contains(['\0', '\r', '\u{202e}']);
                    prop_assert!(!hostile, "{}", channel);
                }
                if let Content::Email { subject, .. } = &rendered.content {
                    let ends_a_line = subject.expose().contains(['\n', '\u{2028}', '\u{85}']);
                    prop_assert!(!ends_a_line);
                }
                if let Content::Voice { speech, .. } = &rendered.content {
                    prop_assert!(!speech.expose().contains(['<', '>', '"']));
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_value_is_ever_evaluated(inside in "[a-z_.#/>@ ]{0,12}") {
        thread_local! { static CATALOGUE: Catalogue = everywhere(); }
        let x = format!("a{{{{{inside}}}}}b");
        let (template, data) = (note(), object(json!({ "x": x })));
        let rendered = CATALOGUE.with(|catalogue| catalogue.render(&request(&template, &data))).unwrap();
        let shown = x.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(sms(&rendered), format!("|{shown}|Lakeside Health"));
    }
}

#[test]
fn a_loop_ends_and_a_bomb_is_refused() {
    let toml = manifest("type = \"list\"\nmax_items = 100\nmax_length = 4000\nexamples = [[\"a\"]]");
    let body = "{{#each data.x}}{{this}}{{/each}}";
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", body)]);
    let template = note();
    let big = object(json!({ "x": vec!["y".repeat(4_000); 100] }));
    assert_eq!(reason(catalogue.render(&request(&template, &big))), "too_long");
    let small = object(json!({ "x": ["a", "b"] }));
    assert_eq!(sms(&catalogue.render(&request(&template, &small)).unwrap()), "ab");
}

#[test]
fn a_text_that_is_too_long_is_said_shorter_or_left_to_the_next_channel() {
    let toml = manifest(TEXT)
        .replace("[variables.x]", "[channel.sms]\nmax_segments = { default = 2, en = 1 }\n[variables.x]");
    let catalogue = load(&[
        ("note/template.toml", &toml),
        ("note/en/sms.hbs", "Long: {{data.x}} {{data.x}}"),
        ("note/en/sms.short.hbs", "Short: {{data.x}}"),
    ]);
    let template = note();
    for (length, want) in
        [(70, Ok((1, false))), (100, Ok((1, true))), (153, Ok((1, true))), (154, Err("too_long"))]
    {
        let data = object(json!({ "x": "y".repeat(length) }));
        let found = catalogue.render(&request(&template, &data));
        assert_eq!(found.map(|r| (r.segments, r.shortened)).map_err(|e| e.reason.as_str()), want, "{length}");
    }
    // One curly quote is written plainly, and so is an accent that would make it too long; one Chinese character cannot
    // be, and then 70 units are all there is.
    for (x, want) in [
        ("“quoted” it’s".repeat(5), Ok(true)),
        (format!("ó{}", "y".repeat(20)), Ok(false)),
        (format!("ó{}", "y".repeat(60)), Ok(true)),
        (format!("张{}", "y".repeat(70)), Err("too_long")),
    ] {
        let data = object(json!({ "x": x }));
        let found = catalogue.render(&request(&template, &data));
        assert_eq!(found.map(|r| sms(&r).is_ascii()).map_err(|e| e.reason.as_str()), want);
    }
}

#[test]
fn readers_get_the_nearest_language_that_somebody_approved() {
    let toml = manifest("type = \"integer\"\nexamples = [1]")
        .replace("approved = [\"en\"]", "approved = [\"en\", \"es\", \"zh-Hans\", \"pt-BR\", \"pt\"]");
    let text = |language: &str| format!("{language}{{{{#if data.x}}}}{{{{/if}}}}");
    let all = ["en", "es", "zh-Hans", "pt", "pt-BR", "vi"].map(|l| (format!("note/{l}/sms.hbs"), text(l)));
    let mut files = vec![("note/template.toml", toml.as_str())];
    files.extend(all.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let catalogue = load(&files);
    let strict = load(
        &files
            .iter()
            .map(|(path, text)| (*path, text.replace("purposes", "on_missing_locale = \"refuse\"\npurposes")))
            .collect::<Vec<_>>()
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect::<Vec<_>>(),
    );
    let (template, data) = (note(), object(json!({})));
    let table: [(&[&str], &str, &str); 14] = [
        (&["es-MX"], "es", "es"),
        (&["es"], "es", "es"),
        (&["en-GB"], "en", "en"),
        (&["zh-CN"], "zh-Hans", "zh-Hans"),
        (&["zh"], "zh-Hans", "zh-Hans"),
        (&["zh-Hans-SG"], "zh-Hans", "zh-Hans"),
        (&["zh-TW"], "en", "no_translation"),
        (&["zh-Hant"], "en", "no_translation"),
        (&["pt-BR"], "pt-BR", "pt-BR"),
        (&["pt-AO"], "pt", "pt"),
        (&["fr", "es-PR"], "es", "es"),
        (&["vi"], "en", "no_translation"),
        (&["no tag at all"], "en", "no_translation"),
        (&[], "en", "en"),
    ];
    for (languages, want, want_strict) in table {
        let mut wanted = request(&template, &data);
        wanted.languages = languages;
        let rendered = catalogue.render(&wanted).unwrap();
        assert_eq!((sms(&rendered), rendered.locale.as_str()), (want, want), "{languages:?}");
        let found = strict.render(&wanted).map_or_else(|e| e.reason.as_str().to_owned(), |r| r.locale);
        assert_eq!(found, want_strict, "{languages:?}");
    }
    for (test, drafts) in [(true, false), (false, true)] {
        let mut wanted = request(&template, &data);
        (wanted.languages, wanted.test, wanted.drafts) = (&["vi"], test, drafts);
        assert_eq!(catalogue.render(&wanted).unwrap().locale, "vi", "a draft may be tried out");
    }
}

#[test]
fn a_reader_who_is_not_the_patient_is_told_whom_it_is_about() {
    let toml = manifest("type = \"integer\"\nexamples = [1]");
    let text = "{{#if data.x}}{{/if}}{{#if recipient.given}}{{recipient.given}}{{else}}you{{/if}}:\
                {{#if recipient.is_parent}}your child{{else}}{{#if recipient.is_proxy}}{{patient.given}}{{else}}you{{/if}}{{/if}}";
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", text)]);
    let (template, data, patient, luis) =
        (note(), object(json!({})), name("Ana", "López"), name("Luis", "López"));
    let proxy = |relationship, authority| RecipientContext {
        kind: Recipient::Proxy,
        name: Some(&luis),
        relationship,
        authority: Some(authority),
        timezone: None,
    };
    for (recipient, want) in [
        (RecipientContext::PATIENT, "Ana:you"),
        (proxy(Some("mother"), Authority::Guardian), "Luis:your child"),
        (proxy(Some(" Father "), Authority::Caregiver), "Luis:your child"),
        (proxy(None, Authority::Guardian), "Luis:your child"),
        (proxy(Some("daughter"), Authority::Guardian), "Luis:Ana"),
        (proxy(None, Authority::HealthcareProxy), "Luis:Ana"),
        (RecipientContext { name: None, ..proxy(None, Authority::Caregiver) }, "you:Ana"),
    ] {
        let mut wanted = request(&template, &data);
        (wanted.patient, wanted.recipient) = (Some(&patient), recipient);
        assert_eq!(sms(&catalogue.render(&wanted).unwrap()), want);
    }
}

#[test]
fn the_site_signs_in_the_language_of_the_reader() {
    let toml = manifest("type = \"integer\"\nexamples = [1]")
        .replace("approved = [\"en\"]", "approved = [\"en\", \"es\"]");
    let text = "{{#if data.x}}{{/if}}{{site.name}}";
    let catalogue =
        load(&[("note/template.toml", &toml), ("note/en/sms.hbs", text), ("note/es/sms.hbs", text)]);
    let names = [("", "Lakeside North"), ("es", "Lakeside Norte"), ("es-MX", "Lakeside del Norte")];
    let site = SiteContext {
        names: names.map(|(language, name)| (language.to_owned(), name.to_owned())).into(),
        ..SiteContext::default()
    };
    let (template, data) = (note(), object(json!({})));
    for (language, site, want) in [
        ("en", Some(&site), "Lakeside North"),
        ("es-US", Some(&site), "Lakeside Norte"),
        ("es-MX", Some(&site), "Lakeside del Norte"),
        ("es-MX", None, "Lakeside Health"),
    ] {
        let languages = [language];
        let mut wanted = request(&template, &data);
        (wanted.languages, wanted.site) = (&languages, site);
        assert_eq!(sms(&catalogue.render(&wanted).unwrap()), want, "{language}");
    }
}

#[test]
fn no_message_is_rendered_from_a_template_nobody_has() {
    let catalogue = everywhere();
    let template = outreachd::domain::ids::TemplateName::parse("other").unwrap();
    let data = object(Value::Object(serde_json::Map::new()));
    assert_eq!(reason(catalogue.render(&request(&template, &data))), "unknown_template");
}

#[test]
fn a_text_that_comes_out_empty_is_not_sent() {
    let catalogue = load(&[
        ("note/template.toml", &manifest(TEXT)),
        ("note/en/sms.hbs", "{{#if data.x}}{{data.x}}{{/if}}"),
    ]);
    let (template, data) = (note(), object(json!({})));
    assert_eq!(reason(catalogue.render(&request(&template, &data))), "template_error");
}

#[test]
fn a_request_that_is_printed_shows_no_data() {
    let (template, data, patient) = (note(), object(json!({ "x": "canary" })), name("Canary", "Canary"));
    let mut wanted = request(&template, &data);
    wanted.patient = Some(&patient);
    assert!(!format!("{wanted:?}").to_lowercase().contains("canary"));
}

#[test]
fn a_locale_sees_the_partials_of_its_language() {
    let toml = manifest("type = \"integer\"\nexamples = [1]")
        .replace("approved = [\"en\"]", "approved = [\"en\", \"zh-Hans\", \"zh-Hans-SG\"]");
    let text = "{{#if data.x}}{{/if}}{{> a}}{{> b}}{{> c}}";
    let catalogue = load(&[
        ("note/template.toml", &toml),
        ("note/en/sms.hbs", text),
        ("note/zh-Hans/sms.hbs", text),
        ("note/zh-Hans-SG/sms.hbs", text),
        ("_partials/a.hbs", "a\n"),
        ("_partials/b.hbs", "b\n"),
        ("_partials/c.hbs", "c\n"),
        ("_partials/zh-Hans/b.hbs", "B\n"),
        ("_partials/zh-Hans/c.hbs", "C\n"),
        ("_partials/zh-Hans-SG/c.hbs", "S\n"),
    ]);
    let (template, data) = (note(), object(json!({})));
    for (language, want) in [("en", "abc"), ("zh-Hans", "aBC"), ("zh-Hans-SG", "aBS")] {
        let languages = [language];
        let mut wanted = request(&template, &data);
        wanted.languages = &languages;
        assert_eq!(sms(&catalogue.render(&wanted).unwrap()), want);
    }
}

#[test]
fn a_message_is_of_no_use_after_the_instant_its_data_names() {
    let toml = manifest("type = \"datetime\"\nexamples = [\"2026-12-01T15:30:00-06:00\"]")
        .replace("purposes", "expires_from = \"x\"\npurposes");
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", "{{time data.x}}")]);
    let manifest = &catalogue.get(&note()).unwrap().manifest;
    let at = manifest.expires_at(&object(json!({ "x": "2026-12-01T15:30:00-06:00" })));
    assert_eq!(at, Some("2026-12-01T21:30:00Z".parse().unwrap()));
    assert_eq!(manifest.expires_at(&object(json!({}))), None);
}
