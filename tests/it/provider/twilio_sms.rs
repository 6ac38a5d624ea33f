//! Twilio's Messages resource.

use std::time::Duration;

use jiff::SignedDuration;
use outreachd::config::provider::{On5xx, ProviderSettings, TwilioSettings};
use outreachd::config::secret::Secret;
use outreachd::domain::ids::ProviderName;
use outreachd::domain::outbound::{FailureKind, Sender};
use outreachd::provider::Provider as _;
use outreachd::provider::twilio::sms::TwilioSms;

use super::http_server::{Act, HttpServer, answer, answer_with};
use super::table::{Body, Case, Expect, KEY, check, sms};

pub(super) const SID: &str = "SM0123456789abcdef0123456789abcdef";
/// Basic auth of `AC123` and `canary-token`.
pub(super) const BASIC: &str = "Basic QUMxMjM6Y2FuYXJ5LXRva2Vu";

pub(super) fn account(url: &str) -> TwilioSettings {
    TwilioSettings {
        base_url: url.to_owned(),
        account_sid: "AC123".to_owned(),
        auth_token: Secret::new("canary-token"),
        auth_token_previous: None,
        webhook_shared_key: None,
        from: vec!["+13125550100".to_owned()],
        messaging_service_sid: None,
        status_callback: None,
        gather_action: None,
        on_5xx: On5xx::Unknown,
    }
}

fn plain(url: &str) -> ProviderSettings {
    ProviderSettings::TwilioSms(account(url))
}

fn posted(form: &[(&'static str, &str)]) -> Expect {
    Expect {
        method: "POST",
        target: "/2010-04-01/Accounts/AC123/Messages.json".to_owned(),
        headers: vec![("authorization", BASIC.to_owned())],
        body: Body::Form(form.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()),
    }
}

fn simple() -> Expect {
    posted(&[("To", "+13125550142"), ("From", "+13125550100"), ("Body", "Hello"), ("ValidityPeriod", "7200")])
}

fn created() -> Act {
    answer(201, &format!("{{\"sid\":\"{SID}\",\"status\":\"queued\",\"body\":\"canary-body\"}}"))
}

/// A page of Twilio's list.
fn page(messages: &[serde_json::Value], next: Option<&str>) -> Act {
    let body = serde_json::json!({ "messages": messages, "next_page_uri": next, "page": 0 });
    answer(200, &body.to_string())
}

#[tokio::test]
async fn what_patients_wrote_is_read_to_the_end_of_the_list_and_told_from_the_oldest_on() {
    let one = |sid: &str, direction: &str, from: &str, text: &str, second: u8| {
        serde_json::json!({
            "sid": sid, "direction": direction, "from": from, "to": "+13125550100", "body": text, "status": "received",
            "num_media": "0", "date_sent": format!("Tue, 01 Dec 2026 15:00:{second:02} +0000"), "price": null,
        })
    };
    let next = "/2010-04-01/Accounts/AC123/Messages.json?To=%2B13125550100&Page=1&PageToken=PA7";
    let server = HttpServer::start(vec![
        page(
            &[
                one("SM4", "inbound", "+13125550142", "START", 9),
                one("SM3", "outbound-reply", "+13125550100", "You are unsubscribed", 7),
            ],
            Some(next),
        ),
        page(
            &[one("SM2", "inbound", "72345", "Win!", 6), one("SM1", "inbound", "+13125550142", "STOP", 5)],
            None,
        ),
    ])
    .await;
    let name = ProviderName::parse("sms").unwrap();
    let timeout = Duration::from_secs(5);
    let sms = |settings| TwilioSms::new(name.clone(), &settings, timeout).unwrap();
    let since = "2026-12-01T14:55:00.7Z".parse().unwrap();
    let said = sms(account(&server.url)).said_since(since).await.unwrap().unwrap();
    let told: Vec<_> = said
        .iter()
        .map(|(reply, at)| (reply.reference.as_str(), reply.text.expose(), at.to_string()))
        .collect();
    assert_eq!(
        told,
        [
            ("SM1", "STOP", "2026-12-01T15:00:05Z".to_owned()),
            ("SM4", "START", "2026-12-01T15:00:09Z".to_owned())
        ]
    );
    let requests = server.requests();
    let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
    let first = "/2010-04-01/Accounts/AC123/Messages.json?To=%2B13125550100&DateSent%3E=2026-12-01T14%3A55%3A00Z&PageSize=100";
    assert_eq!(targets, [first, next]);
    assert!(requests.iter().all(|request| request.headers["authorization"] == BASIC));

    // What cannot be read whole is not read, and nobody else is asked for the rest.
    for act in [
        page(&[], Some("https://evil.example/2010-04-01/Accounts/AC123/Messages.json?Page=1")),
        answer(200, "{\"messages\":[{}]}"),
        answer(503, ""),
    ] {
        let server = HttpServer::start(vec![act]).await;
        assert!(sms(account(&server.url)).said_since(since).await.is_err());
        assert_eq!(server.requests().len(), 1);
    }
    let service = Some("MG0123456789abcdef0123456789abcdef".to_owned());
    let of_service = TwilioSettings { messaging_service_sid: service, ..account(&server.url) };
    assert_eq!(sms(of_service).said_since(since).await, Ok(None), "which numbers it has, it alone knows");
}

#[tokio::test]
async fn a_message_is_one_form_and_its_sid_the_reference() {
    let text = "Doctor’s at 3 & 4? 100% = yes+no ñ";
    let mut from_site = sms("Hello");
    from_site.from = Some(Sender { address: "+13125550199".to_owned(), name: Some("North".to_owned()) });
    let mut from_nobody = sms("Hello");
    from_nobody.from = None;
    let mut long = sms("Hello");
    long.valid_for = SignedDuration::from_hours(20);
    let mut over = sms("Hello");
    over.valid_for = SignedDuration::from_secs(-5);
    let rest = |from, validity| {
        posted(&[("To", "+13125550142"), ("From", from), ("Body", "Hello"), ("ValidityPeriod", validity)])
    };
    check(vec![
        Case::new("plain", plain).answered(simple(), created()).accepted(Some(SID)),
        Case::new("every character arrives", plain)
            .message(sms(text))
            .answered(
                posted(&[
                    ("To", "+13125550142"),
                    ("From", "+13125550100"),
                    ("Body", text),
                    ("ValidityPeriod", "7200"),
                ]),
                created(),
            )
            .accepted(Some(SID)),
        Case::new("a callback where one is configured", |url| {
            let callback = Some("https://o.example/webhooks/sms".to_owned());
            ProviderSettings::TwilioSms(TwilioSettings { status_callback: callback, ..account(url) })
        })
        .answered(
            posted(&[
                ("To", "+13125550142"),
                ("From", "+13125550100"),
                ("Body", "Hello"),
                ("ValidityPeriod", "7200"),
                ("StatusCallback", &format!("https://o.example/webhooks/sms?send_key={KEY}#rc=5&rp=all")),
            ]),
            created(),
        )
        .accepted(Some(SID)),
        Case::new("a messaging service chooses the sender", |url| {
            let service = Some("MG9".to_owned());
            ProviderSettings::TwilioSms(TwilioSettings { messaging_service_sid: service, ..account(url) })
        })
        .message(from_nobody)
        .answered(
            posted(&[
                ("To", "+13125550142"),
                ("MessagingServiceSid", "MG9"),
                ("Body", "Hello"),
                ("ValidityPeriod", "7200"),
            ]),
            created(),
        )
        .accepted(Some(SID)),
        Case::new("the site's own number goes before both", |url| {
            let service = Some("MG9".to_owned());
            ProviderSettings::TwilioSms(TwilioSettings { messaging_service_sid: service, ..account(url) })
        })
        .message(from_site)
        .answered(rest("+13125550199", "7200"), created())
        .accepted(Some(SID)),
        Case::new("no longer than Twilio keeps it", plain)
            .message(long)
            .answered(rest("+13125550100", "36000"), created())
            .accepted(Some(SID)),
        Case::new("never less than a second", plain)
            .message(over)
            .answered(rest("+13125550100", "1"), created())
            .accepted(Some(SID)),
    ])
    .await;
}

#[tokio::test]
async fn each_refusal_is_read_by_its_code() {
    let mut cases = Vec::new();
    for (status, code, kind) in [
        (400, 21211, FailureKind::BadAddress),
        (400, 21614, FailureKind::BadAddress),
        (400, 21635, FailureKind::BadAddress),
        (400, 21610, FailureKind::OptedOut),
        (400, 21612, FailureKind::Rejected),
        (400, 21617, FailureKind::Rejected),
        (400, 21408, FailureKind::Misconfigured),
        (400, 21606, FailureKind::Misconfigured),
        (400, 21608, FailureKind::Misconfigured),
        (400, 21659, FailureKind::Misconfigured),
        (400, 21213, FailureKind::Misconfigured),
        (400, 21607, FailureKind::Misconfigured),
        (400, 21609, FailureKind::Misconfigured),
        (400, 21616, FailureKind::Misconfigured),
        (400, 21626, FailureKind::Misconfigured),
        (400, 21701, FailureKind::Misconfigured),
        (400, 21702, FailureKind::Misconfigured),
        (400, 21703, FailureKind::Misconfigured),
        (400, 21704, FailureKind::Misconfigured),
        (400, 21705, FailureKind::Misconfigured),
        (401, 20003, FailureKind::Misconfigured),
        (400, 30002, FailureKind::Misconfigured),
        (400, 21611, FailureKind::Throttled { retry_after: None }),
        (400, 30001, FailureKind::Throttled { retry_after: None }),
        (429, 20429, FailureKind::Throttled { retry_after: None }),
        (400, 99999, FailureKind::Rejected),
    ] {
        let body = format!(
            "{{\"code\":{code},\"message\":\"The number +13125550142 canary-body\",\"status\":{status}}}"
        );
        cases.push(
            Case::new("a code", plain)
                .answered(simple(), answer(status, &body))
                .fails(kind, &code.to_string()),
        );
    }
    check(cases).await;
}

#[tokio::test]
async fn each_answer_without_a_code_is_read_by_its_status() {
    let throttled =
        |seconds| FailureKind::Throttled { retry_after: Some(SignedDuration::from_secs(seconds)) };
    let not_sent =
        |url: &str| ProviderSettings::TwilioSms(TwilioSettings { on_5xx: On5xx::NotSent, ..account(url) });
    let row = |name, act| Case::new(name, plain).answered(simple(), act);
    check(vec![
        row("a page of some box", answer(400, "<html>canary-body</html>"))
            .fails(FailureKind::Rejected, "http_400"),
        row("a redirect is not followed", answer_with(302, ("location", "/elsewhere"), ""))
            .fails(FailureKind::Misconfigured, "http_302"),
        row("no such account", answer(404, "")).fails(FailureKind::Misconfigured, "http_404"),
        row("throttled", answer_with(429, ("retry-after", "3"), "")).fails(throttled(3), "http_429"),
        row("throttled, with a code", answer_with(429, ("retry-after", "3"), "{\"code\":20429}"))
            .fails(throttled(3), "20429"),
        row("busy", answer(503, "")).fails(FailureKind::Transient, "http_503"),
        row("busy for a while", answer_with(503, ("retry-after", "20"), "")).fails(throttled(20), "http_503"),
        row("an error", answer(500, "{\"code\":20500}")).fails(FailureKind::Ambiguous, "http_500"),
        row("a bad gateway", answer(502, "")).fails(FailureKind::Ambiguous, "http_502"),
        row("a gateway's time-out", answer(504, "")).fails(FailureKind::Ambiguous, "http_504"),
        Case::new("an error of a provider known not to send", not_sent)
            .answered(simple(), answer(500, ""))
            .fails(FailureKind::Transient, "http_500"),
        row("success that is not Twilio's", answer(200, "ok")).fails(FailureKind::Ambiguous, "no_sid"),
        row("a sid that is none", answer(201, "{\"sid\":\"../x\"}")).fails(FailureKind::Ambiguous, "no_sid"),
    ])
    .await;
}

#[tokio::test]
async fn no_answer_is_unknown_once_the_request_was_on_its_way() {
    let row = |name, act| Case::new(name, plain).answered(simple(), act);
    check(vec![
        row("stalled", Act::Stall).fails(FailureKind::Ambiguous, "timeout"),
        row("closed", Act::Close).fails(FailureKind::Ambiguous, "connection_lost"),
        row("reset", Act::Reset).fails(FailureKind::Ambiguous, "connection_lost"),
        row("half an answer", Act::HalfAnswer { status: 201 }).fails(FailureKind::Ambiguous, "no_sid"),
        row("half a refusal", Act::HalfAnswer { status: 400 }).fails(FailureKind::Rejected, "http_400"),
    ])
    .await;
}

#[tokio::test]
async fn what_can_be_known_beforehand_is_not_asked() {
    check(vec![
        Case::new("too long", plain)
            .message(sms(&"é".repeat(1_601)))
            .fails(FailureKind::Rejected, "too_long"),
    ])
    .await;
}
