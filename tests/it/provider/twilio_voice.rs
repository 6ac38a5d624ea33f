//! Twilio's Calls resource.

use outreachd::config::provider::{ProviderSettings, TwilioSettings};
use outreachd::domain::outbound::{Content, FailureKind, OutboundMessage};
use outreachd::domain::phi::Phi;
use outreachd::provider::registry;

use super::http_server::{Act, HttpServer, answer};
use super::table::{Body, Case, Expect, KEY, by_phone, check, section};
use super::twilio_sms::{BASIC, account};

const SID: &str = "CA0123456789abcdef0123456789abcdef";
const PERSON: &str = "Your visit is at <say-as interpret-as=\"time\">3:30pm</say-as>.";
const MACHINE: &str = "Please call Lakeside Health &amp; Co.";

fn alone(url: &str) -> ProviderSettings {
    ProviderSettings::TwilioVoice(account(url))
}

fn with_webhook(url: &str) -> ProviderSettings {
    ProviderSettings::TwilioVoice(TwilioSettings {
        gather_action: Some("https://o.example/webhooks/voice".to_owned()),
        status_callback: Some("https://o.example/webhooks/voice-status".to_owned()),
        ..account(url)
    })
}

fn call(voicemail: Option<&str>, extension: Option<&str>) -> OutboundMessage {
    by_phone(Content::Voice {
        speech: Phi::new(PERSON),
        voicemail: voicemail.map(Phi::new),
        extension: extension.map(str::to_owned),
    })
}

fn posted(target: &str, form: &[(&'static str, &str)]) -> Expect {
    Expect {
        method: "POST",
        target: format!("/2010-04-01/Accounts/AC123/{target}"),
        headers: vec![("authorization", BASIC.to_owned())],
        body: Body::Form(form.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()),
    }
}

fn created() -> Act {
    answer(201, &format!("{{\"sid\":\"{SID}\"}}"))
}

#[tokio::test]
async fn with_nobody_to_ask_everyone_hears_what_a_machine_may() {
    let twiml = |voice: &str, language: &str| {
        format!(
            "<Response><Say voice=\"{voice}\" language=\"{language}\" loop=\"1\">{MACHINE}</Say><Hangup/></Response>"
        )
    };
    let english = twiml("Polly.Joanna", "en-US");
    let spanish = twiml("Polly.Mia", "es-MX");
    let expected = |twiml: &str, digits: Option<&str>| {
        let mut form =
            vec![("To", "+13125550142"), ("From", "+13125550100"), ("Twiml", twiml), ("TimeLimit", "300")];
        form.extend(digits.map(|digits| ("SendDigits", digits)));
        form.push(("MachineDetection", "DetectMessageEnd"));
        posted("Calls.json", &form)
    };
    let mut in_spanish = call(Some(MACHINE), Some("42#"));
    in_spanish.language = "es-MX".to_owned();
    check(vec![
        Case::new("english", alone)
            .message(call(Some(MACHINE), None))
            .answered(expected(&english, None), created())
            .accepted(Some(SID)),
        Case::new("spanish, to an extension", alone)
            .message(in_spanish)
            .answered(expected(&spanish, Some("wwww42#")), created())
            .accepted(Some(SID)),
        Case::new("an extension behind a menu", alone)
            .message(call(Some(MACHINE), Some("2,,42#")))
            .answered(expected(&english, Some("wwww2ww42#")), created())
            .accepted(Some(SID)),
        Case::new("nothing may be left, and nobody could stop it", alone)
            .message(call(None, None))
            .fails(FailureKind::Rejected, "no_webhook"),
    ])
    .await;
}

#[tokio::test]
async fn with_a_webhook_a_person_hears_the_text_and_may_press_a_key() {
    let twiml = format!(
        "<Response><Gather input=\"dtmf\" numDigits=\"1\" finishOnKey=\"\" timeout=\"6\" method=\"POST\" \
         action=\"https://o.example/webhooks/voice?send_key={KEY}&amp;event=key#rc=5&amp;rp=all\">\
         <Say voice=\"Polly.Joanna\" language=\"en-US\" loop=\"2\">{PERSON}</Say></Gather><Hangup/></Response>"
    );
    let status = format!("https://o.example/webhooks/voice-status?send_key={KEY}#rc=5&rp=all");
    let machine = format!("https://o.example/webhooks/voice?send_key={KEY}&event=machine#rc=5&rp=all");
    let form = [
        ("To", "+13125550142"),
        ("From", "+13125550100"),
        ("Twiml", twiml.as_str()),
        ("TimeLimit", "300"),
        ("MachineDetection", "DetectMessageEnd"),
        ("AsyncAmd", "true"),
        ("AsyncAmdStatusCallback", machine.as_str()),
        ("AsyncAmdStatusCallbackMethod", "POST"),
        ("StatusCallback", status.as_str()),
        ("StatusCallbackEvent", "initiated"),
        ("StatusCallbackEvent", "ringing"),
        ("StatusCallbackEvent", "answered"),
        ("StatusCallbackEvent", "completed"),
    ];
    check(vec![
        Case::new("a machine may be told something", with_webhook)
            .message(call(Some(MACHINE), None))
            .answered(posted("Calls.json", &form), created())
            .accepted(Some(SID)),
        Case::new("a machine may be told nothing", with_webhook)
            .message(call(None, None))
            .answered(posted("Calls.json", &form), created())
            .accepted(Some(SID)),
    ])
    .await;
}

#[tokio::test]
async fn a_call_that_cannot_be_made_well_is_not_made() {
    let mut klingon = call(Some(MACHINE), None);
    klingon.language = "tlh".to_owned();
    let mut long = call(Some(MACHINE), None);
    long.content = Content::Voice {
        speech: Phi::new("x"),
        voicemail: Some(Phi::new("é".repeat(4_000))),
        extension: None,
    };
    let answer = |code| answer(400, &format!("{{\"code\":{code},\"message\":\"canary-body\"}}"));
    let any = || {
        let twiml = format!(
            "<Response><Say voice=\"Polly.Joanna\" language=\"en-US\" loop=\"1\">{MACHINE}</Say><Hangup/></Response>"
        );
        posted(
            "Calls.json",
            &[
                ("To", "+13125550142"),
                ("From", "+13125550100"),
                ("Twiml", &twiml),
                ("TimeLimit", "300"),
                ("MachineDetection", "DetectMessageEnd"),
            ],
        )
    };
    check(vec![
        Case::new("no voice speaks it", alone).message(klingon).fails(FailureKind::Rejected, "no_voice"),
        Case::new("too long", alone).message(long).fails(FailureKind::Rejected, "too_long"),
        Case::new("an extension that is none", alone)
            .message(call(Some(MACHINE), Some("4; DROP")))
            .fails(FailureKind::Rejected, "extension"),
        Case::new("an endless extension", alone)
            .message(call(Some(MACHINE), Some(&"1".repeat(29))))
            .fails(FailureKind::Rejected, "extension"),
        Case::new("not a number", alone)
            .message(call(Some(MACHINE), None))
            .answered(any(), answer(21217))
            .fails(FailureKind::BadAddress, "21217"),
        Case::new("a country we may not call", alone)
            .message(call(Some(MACHINE), None))
            .answered(any(), answer(21215))
            .fails(FailureKind::Misconfigured, "21215"),
        Case::new("stalled", alone)
            .message(call(Some(MACHINE), None))
            .answered(any(), Act::Stall)
            .fails(FailureKind::Ambiguous, "timeout"),
    ])
    .await;
}

#[tokio::test]
async fn a_machine_is_given_its_own_text_or_hung_up_on() {
    for (voicemail, field, expected) in [(Some(MACHINE), "Twiml", MACHINE), (None, "Status", "completed")] {
        let server = HttpServer::start(vec![created()]).await;
        let provider = registry::build(&section(with_webhook(&server.url))).unwrap();
        let message = call(voicemail, None);
        provider.machine_answered(SID, &message.content, "en-US").await.unwrap();
        let requests = server.requests();
        assert_eq!(requests[0].target, format!("/2010-04-01/Accounts/AC123/Calls/{SID}.json"));
        let form = requests[0].form();
        assert_eq!((form.len(), form[0].0.as_str()), (1, field));
        assert!(form[0].1.contains(expected) && !form[0].1.contains("Your visit"), "{form:?}");
    }
    let server = HttpServer::start(vec![]).await;
    let provider = registry::build(&section(with_webhook(&server.url))).unwrap();
    let error = provider.machine_answered("../Messages", &call(None, None).content, "en").await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Misconfigured);
    assert!(server.requests().is_empty());
}
