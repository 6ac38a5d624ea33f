//! Several messages in one: what each language says, what fits, and what a template must not leave out.

use outreachd::domain::ids::TemplateName;
use outreachd::domain::outbound::Content;
use outreachd::domain::words::Channel;
use outreachd::template::{LintOptions, SiteContext, lint};
use serde_json::json;

use super::shipped::shipped;
use super::{load, manifest, note, object, request, sms};

#[test]
fn a_reminder_tells_of_several_visits_in_every_language_and_channel() {
    let catalogue = shipped();
    let template = TemplateName::parse("appointment-reminder").unwrap();
    let first = object(json!({ "starts_at": "2026-12-01T15:30:00-06:00", "practitioner": "Dr. Chen" }));
    let second = object(json!({
        "starts_at": "2026-12-01T16:30:00-06:00", "practitioner": "Dr. Ng", "remote": true, "arrive_early": 15,
    }));
    let site = SiteContext::sample();
    let render = |language: &'static [&'static str], channel| {
        let mut wanted = request(&template, &first);
        (wanted.site, wanted.languages, wanted.channel) = (Some(&site), language, channel);
        let mut other = request(&template, &second);
        (other.site, other.languages, other.channel) = (Some(&site), language, channel);
        let line = catalogue.also(&other).unwrap();
        catalogue.render_together(&wanted, &[line]).unwrap()
    };
    let texts: [(&[&str], &str); 3] = [
        (
            &["en-US"],
            "Lakeside Health North: Reminder: your visit is Tue, Dec 1, 3:30 PM with Dr. Chen. \
             Also: Tue, Dec 1, 4:30 PM with Dr. Ng, by video or phone. \
             To change one, call (312) 555-0100. Reply STOP to opt out.",
        ),
        (
            &["es-US"],
            "Lakeside Health North: Recuerde su cita: mar, 1 de dic, 3:30 p.m., con Dr. Chen. \
             También: mar, 1 de dic, 4:30 p.m. con Dr. Ng, por video o por teléfono. \
             Para cambiar una, llame al (312) 555-0100. Responda STOP para darse de baja.",
        ),
        (
            &["zh-Hans"],
            "湖畔医疗北院：提醒您，您的预约时间为12月1日周二 15:30，接诊：Dr. Chen。\
             另有：12月1日周二 16:30，接诊：Dr. Ng，视频或电话。如需更改，请致电 (312) 555-0100。回复 STOP 退订。",
        ),
    ];
    for (language, expected) in texts {
        assert_eq!(sms(&render(language, Channel::Sms)), expected);
        let Content::Email { text, html, .. } = render(language, Channel::Email).content else { panic!() };
        for part in [text.expose(), html.expose()] {
            assert!(part.contains("Dr. Ng") && part.contains("15"), "with all that is to be known: {part}");
        }
        let Content::Voice { speech, .. } = render(language, Channel::Voice).content else { panic!() };
        let speech = speech.expose();
        assert!(speech.contains("Dr. Ng") && speech.contains("15"), "{speech}");
        let long =
            ["Tuesday, December 1 at ", "martes, 1 de diciembre a la"].map(|day| speech.matches(day).count());
        assert_eq!(long.iter().sum::<usize>(), if language[0] == "zh-Hans" { 0 } else { 2 }, "{speech}");
        assert!(!speech.contains("周二"), "nothing is abbreviated: {speech}");
    }
}

#[test]
fn a_call_says_the_long_line_where_that_is_not_too_long() {
    let toml = manifest("type = \"text\"\nmax_length = 300\nexamples = [\"a\"]")
        .replace("title", "digest = true\ntitle")
        .replace("sms", "voice");
    let (template, data) = (note(), object(json!({ "x": "tea" })));
    for (pad, said) in [(0, "Tuesday tea"), (288, "Tuesday tea"), (290, "Tue tea")] {
        let long = format!("{}Tuesday {{{{data.x}}}}", "z".repeat(pad));
        let catalogue = load(&[
            ("note/template.toml", &toml),
            ("note/en/voice.hbs", "{{data.x}}{{#each also}}, {{this}}{{/each}}"),
            ("note/en/also.hbs", "Tue {{data.x}}"),
            ("note/en/also.long.hbs", &long),
        ]);
        let mut wanted = request(&template, &data);
        wanted.channel = Channel::Voice;
        assert_eq!(catalogue.also(&wanted).unwrap().trim_start_matches('z'), said, "{pad}");
    }
}

#[test]
fn a_text_that_would_leave_something_out_carries_nothing() {
    let toml = manifest("type = \"text\"\nmax_length = 300\nexamples = [\"a\"]")
        .replace("title", "digest = true\ntitle")
        .replace("[variables.x]", "[channel.sms]\nmax_segments = 1\n[variables.x]");
    let also = ("note/en/also.hbs", "and {{data.x}}");
    let with = |text: &str| load(&[("note/template.toml", &toml), ("note/en/sms.hbs", text), also]);
    let (template, data) = (note(), object(json!({ "x": "<tea> & cake" })));
    let line = |n: usize| "z".repeat(n);
    let shown = with("{{data.x}}{{#each also}}, {{this}}{{/each}}");
    let wanted = request(&template, &data);
    let other = shown.also(&wanted).unwrap();
    assert_eq!(other, "and <tea> & cake");
    let both = shown.render_together(&wanted, &[other]).unwrap();
    assert_eq!(sms(&both), "<tea> & cake, and <tea> & cake");
    // As many segments as all of them together might take, and no more.
    assert_eq!(shown.render_together(&wanted, &[line(250)]).unwrap().segments, 2);
    assert_eq!(shown.render_together(&wanted, &[line(320)]).unwrap_err().reason.as_str(), "too_long");

    let silent = with("{{data.x}}");
    let error = silent.render_together(&wanted, &[line(3)]).unwrap_err();
    assert_eq!(error.reason.as_str(), "template_error");
    assert!(error.to_string().contains("does not show what the message carries"), "{error}");
    assert!(!error.to_string().contains("zzz"), "no value is repeated");
    let rules = |catalogue| -> Vec<String> {
        let findings = lint(catalogue, &LintOptions::default());
        findings.iter().map(|finding| format!("{} {}", finding.rule, finding.message)).collect()
    };
    assert!(rules(&silent).iter().any(|said| said.contains("does not show what the message carries")));
    let bare = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", "{{data.x}}")]);
    assert!(rules(&bare).iter().any(|said| said.starts_with("digest is missing")), "{:?}", rules(&bare));
    assert!(!bare.get(&template).unwrap().tells_together() && shown.get(&template).unwrap().tells_together());
    assert_eq!(bare.also(&wanted).unwrap_err().reason.as_str(), "template_error");
}
