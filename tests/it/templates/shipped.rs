//! The sets that come with the product.

use std::path::Path;
use std::time::Instant;

use outreachd::domain::ids::TemplateName;
use outreachd::domain::outbound::Content;
use outreachd::domain::words::{Channel, PhiClass, Recipient};
use outreachd::template::{
    Catalogue, LintOptions, Preview, RecipientContext, Sample, Severity, SiteContext, lint, preview,
};
use serde_json::json;

use super::{name, object, request, sms, texts};

pub(super) fn shipped() -> Catalogue {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    Catalogue::load(&dir).unwrap_or_else(|findings| {
        panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

fn previews(catalogue: &Catalogue, template: &str) -> Vec<Preview> {
    let template = catalogue.get(&TemplateName::parse(template).unwrap()).unwrap();
    let site = SiteContext::sample();
    Sample::ALL.iter().flat_map(|&sample| preview(catalogue, template, sample, &site)).collect()
}

#[test]
fn they_lint_clean() {
    let findings = lint(&shipped(), &LintOptions::default());
    let loud: Vec<_> =
        findings.iter().filter(|f| f.severity != Severity::Info).map(ToString::to_string).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert_eq!(findings.len(), 27, "each sms and sms.short of each language has figures of its own");
}

#[test]
fn every_template_speaks_every_channel_in_every_language() {
    let catalogue = shipped();
    let names: Vec<_> = catalogue.templates().map(|template| template.name.to_string()).collect();
    let want = [
        "appointment-reminder",
        "discharge-follow-up",
        "portal-pointer",
        "preferences-changed",
        "result-available",
        "vaccine-invitation",
    ];
    assert_eq!(names, want);
    for name in names {
        let previews = previews(&catalogue, &name);
        let full = previews.iter().filter(|preview| !preview.short).count();
        // A portal keeps messages apart.
        let together = if name == "appointment-reminder" { Channel::ALL.len() - 1 } else { 0 };
        // What points to the portal stands everywhere else.
        let channels = if name == "portal-pointer" { Channel::ALL.len() - 1 } else { Channel::ALL.len() };
        assert_eq!(full, 3 * (channels * (Sample::ALL.len() - 1) + together), "{name}");
        for p in previews {
            let what = format!("{name} {} {} {}", p.channel, p.locale, p.sample);
            assert!(p.result.is_ok(), "{what}: {:?}", p.result);
            for (part, text) in p.texts() {
                assert!(
                    !text.contains("{{") && !text.contains("  ") && !text.contains(" ,"),
                    "{what} {part}: {text}"
                );
                assert!(!text.contains(" .") && !text.contains(".."), "{what} {part}: {text}");
            }
        }
    }
}

#[test]
fn the_job_of_the_contract_fits_one_text_message() {
    let catalogue = shipped();
    let template = TemplateName::parse("appointment-reminder").unwrap();
    let data = object(json!({ "starts_at": "2026-12-01T15:30:00-06:00", "practitioner": "Dr. Chen" }));
    let site = SiteContext::sample();
    let patient = name("Ana", "López");
    let mut wanted = request(&template, &data);
    (wanted.site, wanted.patient) = (Some(&site), Some(&patient));
    let said = |wanted| {
        let rendered = catalogue.render(&wanted).unwrap();
        assert_eq!(rendered.segments, 1);
        sms(&rendered).to_owned()
    };
    assert_eq!(
        said(wanted),
        "Lakeside Health North: Reminder: your visit is Tue, Dec 1, 3:30 PM with Dr. Chen. \
         To change it, call (312) 555-0100. Reply STOP to opt out."
    );
    wanted.is_change = true;
    assert!(said(wanted).contains("Update: your visit is now Tue, Dec 1, 3:30 PM"));
    wanted.recipient = RecipientContext {
        kind: Recipient::Proxy,
        relationship: Some("mother"),
        ..RecipientContext::PATIENT
    };
    assert!(said(wanted).contains("your child Ana's visit is now"));
    wanted.languages = &["es-US"];
    wanted.recipient = RecipientContext::PATIENT;
    wanted.is_change = false;
    assert_eq!(
        said(wanted),
        "Lakeside Health North: Recuerde su cita: mar, 1 de dic, 3:30 p.m., con Dr. Chen. \
         Para cambiarla, llame al (312) 555-0100. Responda STOP para darse de baja."
    );
    // A site may have its own words for opting out.
    let own = SiteContext {
        opt_out_texts: [("en".to_owned(), "Text STOP to end.".to_owned())].into(),
        ..site.clone()
    };
    (wanted.languages, wanted.site) = (&["en-US"], Some(&own));
    assert!(said(wanted).ends_with("call (312) 555-0100. Text STOP to end."));
    // Without a site the organisation signs, and a reply is the way back.
    (wanted.languages, wanted.site) = (&["en"], None);
    assert_eq!(
        said(wanted),
        "Lakeside Health: Reminder: your visit is Tue, Dec 1, 3:30 PM with Dr. Chen. \
         To change it, reply to this message. Reply STOP to opt out."
    );
}

#[test]
fn only_the_portal_says_what_the_result_is() {
    let catalogue = shipped();
    let template = catalogue.get(&TemplateName::parse("result-available").unwrap()).unwrap();
    assert_eq!(template.manifest.phi(Channel::Portal), PhiClass::Sensitive);
    assert_eq!(template.manifest.phi(Channel::Sms), PhiClass::Minimal);
    for p in previews(&catalogue, "result-available") {
        for (part, text) in p.texts() {
            let telling =
                ["Lipid", "metabolic", "expected range", "Dr. "].iter().any(|word| text.contains(word));
            let may = p.channel == Channel::Portal && p.sample != Sample::Least;
            assert!(!telling || may, "{} {} {part}: {text}", p.channel, p.locale);
        }
    }
}

/// Whatever the message is about, and whatever is known of the place.
#[test]
fn what_points_to_the_portal_tells_nothing_and_shows_no_empty_link() {
    let catalogue = shipped();
    let template = TemplateName::parse("appointment-reminder").unwrap();
    let data = object(json!({ "starts_at": "2026-12-01T15:30:00-06:00", "practitioner": "Dr. Chen" }));
    let (site, patient) = (SiteContext::sample(), name("Ana", "López"));
    let bare = SiteContext { portal_url: None, phone: None, postal_address: None, ..site.clone() };
    assert_eq!(catalogue.pointers(), [Channel::Sms, Channel::Email, Channel::Voice]);
    for (language, sms_with, sms_without) in [
        (
            "en-US",
            "You have a new message from Lakeside Health North. Read it in the portal: https://portal.example.org or call \
             (312) 555-0100. Reply STOP to opt out.",
            "You have a new message from Lakeside Health North. Read it in the portal or reply to this message. Reply STOP \
             to opt out.",
        ),
        (
            "es-US",
            "Tiene un mensaje de Lakeside Health North. Léalo en el portal: https://portal.example.org o llame al \
             (312) 555-0100. Responda STOP para darse de baja.",
            "Tiene un mensaje de Lakeside Health North. Léalo en el portal o responda a este mensaje. Responda STOP para \
             darse de baja.",
        ),
        (
            "zh-CN",
            "您有一条来自湖畔医疗北院的新消息。请登录患者门户 https://portal.example.org 查看，或致电 (312) 555-0100。回复 STOP 退订。",
            "您有一条来自湖畔医疗北院的新消息。请登录患者门户查看，或回复本消息。回复 STOP 退订。",
        ),
    ] {
        for (place, expected) in [(&site, sms_with), (&bare, sms_without)] {
            let mut wanted = request(&template, &data);
            (wanted.patient, wanted.site, wanted.is_change) = (Some(&patient), Some(place), true);
            let languages = [language];
            wanted.languages = &languages;
            for channel in [Channel::Sms, Channel::Email, Channel::Voice] {
                wanted.channel = channel;
                let rendered = catalogue.render_either(&wanted, true).unwrap();
                let said = format!("{:?}", texts(&rendered.content));
                for word in
                    ["Chen", "Dec", "15:30", "3:30", "Ana", "López", "visit", "cita", "预约", "href=\\\"\\\""]
                {
                    assert!(!said.contains(word), "{language} {channel} says {word}: {said}");
                }
                assert!(place.portal_url.is_some() || !said.contains("portal.example"), "{said}");
                if channel == Channel::Sms {
                    assert_eq!(sms(&rendered), expected);
                    assert!(rendered.segments <= if language == "zh-CN" { 2 } else { 1 }, "{expected}");
                }
            }
        }
    }
}

#[test]
fn a_remote_visit_is_called_one_in_texts_and_calls() {
    let catalogue = shipped();
    let template = TemplateName::parse("appointment-reminder").unwrap();
    let site = SiteContext::sample();
    for (language, phrase) in
        [("en-US", "by video or phone"), ("es-US", "por video o por teléfono"), ("zh-CN", "视频或电话")]
    {
        let languages = [language];
        for (remote, practitioner) in [(true, 6), (true, 60), (false, 6)] {
            let data = object(json!({
                "starts_at": "2026-12-05T15:30:00-06:00", "remote": remote, "practitioner": "y".repeat(practitioner),
            }));
            let mut wanted = request(&template, &data);
            (wanted.site, wanted.languages) = (Some(&site), &languages);
            for channel in [Channel::Sms, Channel::Voice] {
                wanted.channel = channel;
                let rendered = catalogue.render(&wanted).unwrap();
                let said = texts(&rendered.content)[0];
                assert_eq!(said.contains(phrase), remote, "{said}");
                assert!(!rendered.shortened || practitioner == 60, "{said}");
            }
        }
    }
}

#[test]
fn every_voicemail_says_how_to_end_the_calls() {
    let catalogue = shipped();
    for template in catalogue.templates() {
        for p in previews(&catalogue, template.name.as_str()) {
            for (_, text) in p.texts().into_iter().filter(|(part, _)| *part == "voicemail") {
                let ways = ["to stop these calls", "dejar de recibir estas llamadas", "不想再接收此类来电"];
                assert!(ways.iter().any(|way| text.contains(way)), "{} {}: {text}", p.template, p.locale);
            }
        }
    }
    let template = TemplateName::parse("discharge-follow-up").unwrap();
    let data = object(json!({}));
    let mut wanted = request(&template, &data);
    wanted.channel = Channel::Voice;
    let rendered = catalogue.render(&wanted).unwrap();
    assert!(!texts(&rendered.content)[1].contains("<say-as"), "{rendered:?}");
}

#[test]
fn a_proxy_is_not_told_of_a_record_or_a_stay_of_their_own() {
    let catalogue = shipped();
    for name in ["result-available", "discharge-follow-up"] {
        for p in previews(&catalogue, name).iter().filter(|p| p.sample == Sample::Proxy) {
            for (part, text) in p.texts() {
                for own in [
                    "your record",
                    "you were given",
                    "su expediente",
                    "que le dimos",
                    "您的病历",
                    "我们给您的",
                ] {
                    assert!(!text.contains(own), "{name} {} {} {part}: {text}", p.channel, p.locale);
                }
            }
        }
    }
}

#[test]
fn text_messages_and_calls_name_no_vaccine_and_no_discharge() {
    let catalogue = shipped();
    for name in ["vaccine-invitation", "discharge-follow-up"] {
        let template = catalogue.get(&TemplateName::parse(name).unwrap()).unwrap();
        assert_eq!(template.manifest.phi(Channel::Sms), PhiClass::Limited);
        let short = |p: &Preview| matches!(p.channel, Channel::Sms | Channel::Voice);
        for p in previews(&catalogue, name).iter().filter(|p| short(p)) {
            for (part, text) in p.texts() {
                let lower = text.to_lowercase();
                for word in [
                    "flu ",
                    "pneumo",
                    "gripe",
                    "流感",
                    "肺炎",
                    "discharge",
                    "hospital",
                    "出院",
                    "november 20",
                    "11月20日",
                ] {
                    assert!(!lower.contains(word), "{name} {} {part} says {word}: {text}", p.locale);
                }
            }
        }
    }
}

#[test]
fn emails_can_be_read_by_everybody() {
    let catalogue = shipped();
    for template in catalogue.templates() {
        for p in previews(&catalogue, template.name.as_str()).iter().filter(|p| p.channel == Channel::Email) {
            let texts = p.texts();
            let html = texts.iter().find(|(part, _)| *part == "html").unwrap().1;
            let plain = texts.iter().find(|(part, _)| *part == "text").unwrap().1;
            assert!(html.contains(&format!("<html lang=\"{}\" dir=\"ltr\">", p.locale)), "{html}");
            assert!(
                html.contains("<title>") && html.contains("name=\"viewport\"") && html.ends_with("</html>")
            );
            assert_eq!(html.matches("<p").count(), html.matches("</p>").count(), "{html}");
            assert!(
                html.contains("https://outreach.example.org/u/sample")
                    && plain.contains("https://outreach.example.org/u/sample")
            );
        }
    }
}

#[test]
fn a_greeting_stands_by_itself() {
    let catalogue = shipped();
    let mut greeted = 0;
    for template in catalogue.templates() {
        for shown in previews(&catalogue, template.name.as_str()) {
            let (Content::Email { text, .. } | Content::Portal { text, .. }) = shown.result.unwrap().content
            else {
                continue;
            };
            let mut lines = text.expose().lines();
            if lines.next().unwrap().ends_with([',', ':', '：']) {
                greeted += 1;
                assert_eq!(lines.next(), Some(""), "{}", text.expose());
            }
        }
    }
    assert!(greeted > 50, "{greeted} begin with a greeting");
}

/// A guard against an accident, not a benchmark: a release build takes 5 to 10 microseconds, a debug build on a
/// busy machine some twenty times that.
#[test]
fn a_text_message_is_rendered_in_no_time() {
    let catalogue = shipped();
    let template = TemplateName::parse("appointment-reminder").unwrap();
    let data = object(json!({ "starts_at": "2026-12-01T15:30:00-06:00", "practitioner": "Dr. Chen" }));
    let (site, patient) = (SiteContext::sample(), name("Ana", "López"));
    let mut wanted = request(&template, &data);
    (wanted.site, wanted.patient) = (Some(&site), Some(&patient));
    catalogue.render(&wanted).unwrap();
    let began = Instant::now();
    let rounds = 500;
    for _ in 0..rounds {
        catalogue.render(&wanted).unwrap();
    }
    let each = began.elapsed() / rounds;
    println!("{each:?} a text message");
    assert!(each.as_millis() < 5, "{each:?}");
}
