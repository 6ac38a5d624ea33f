//! The table that every HTTP adapter is tested by: answers from a server, the requests that must have come,
//! the result. An answer that nobody came for fails the case, and so does a secret in anything printable.

use std::time::Duration;

use jiff::SignedDuration;
use outreachd::config::provider::{
    BreakerSettings, Limit, OptOutReply, Period, ProviderSection, ProviderSettings,
};
use outreachd::domain::ids::{AttemptId, MessageId, ProviderName, SendKey};
use outreachd::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError, Sender};
use outreachd::domain::patient::Name;
use outreachd::domain::phi::Phi;
use outreachd::domain::words::Purpose;
use outreachd::provider::registry;
use serde_json::Value;

use super::http_server::{Act, HttpServer, Request};

/// Must never be seen in a result, an error or a provider's `Debug`.
pub(super) const SECRETS: &[&str] = &[
    "3125550142",
    "canary-body",
    "Canaria",
    "canary-token",
    "canary-password",
    "ana.canary",
    "Patient/canary",
];

/// The send key of every message in these tables, as text.
pub(super) const KEY: &str = "0192f0c1d2e3740580010203040506ff-1";

/// One row of a table.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The settings, given the server's URL.
    pub(super) settings: Box<dyn Fn(&str) -> ProviderSettings>,
    pub(super) message: OutboundMessage,
    /// Sends as often as this; the last result counts, the others must be well.
    pub(super) times: usize,
    pub(super) exchange: Vec<(Expect, Act)>,
    pub(super) result: Result<Accepted, SendError>,
}

/// What a request must be. Headers are those named and may be more; the rest is exact.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Empty,
    Form(Vec<(&'static str, String)>),
    /// Without its field `sent`, which must be an instant.
    Communication(Value),
    /// A token request with an assertion for this audience; its signature is checked elsewhere.
    TokenRequest,
}

impl Case {
    pub(super) fn new(name: &'static str, settings: impl Fn(&str) -> ProviderSettings + 'static) -> Self {
        Self {
            name,
            settings: Box::new(settings),
            message: sms("Hello"),
            times: 1,
            exchange: Vec::new(),
            result: Ok(Accepted::default()),
        }
    }

    pub(super) fn message(self, message: OutboundMessage) -> Self {
        Self { message, ..self }
    }

    pub(super) fn sent_times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    pub(super) fn answered(mut self, expect: Expect, act: Act) -> Self {
        self.exchange.push((expect, act));
        self
    }

    pub(super) fn accepted(self, reference: Option<&str>) -> Self {
        Self { result: Ok(Accepted { reference: reference.map(str::to_owned) }), ..self }
    }

    pub(super) fn fails(self, kind: FailureKind, code: &str) -> Self {
        Self { result: Err(SendError::new(kind, code)), ..self }
    }
}

/// Runs every case against a server of its own.
pub(super) async fn check(cases: Vec<Case>) {
    assert!(!cases.is_empty());
    for case in cases {
        let (expected, acts): (Vec<_>, Vec<_>) = case.exchange.into_iter().unzip();
        let server = HttpServer::start(acts).await;
        let provider = registry::build(&section((case.settings)(&server.url))).expect(case.name);
        let mut result = provider.send(&case.message).await;
        for _ in 1..case.times {
            result.expect(case.name);
            result = provider.send(&case.message).await;
        }
        assert_eq!(result, case.result, "{}", case.name);
        let requests = server.requests();
        assert_eq!(requests.len(), expected.len(), "{}: requests {requests:#?}", case.name);
        assert_eq!(server.unused(), 0, "{}: an answer was left", case.name);
        for (request, expect) in requests.iter().zip(&expected) {
            compare(case.name, request, expect);
        }
        no_secret(case.name, &format!("{result:?} {provider:?}"));
        if let Err(error) = result {
            no_secret(case.name, &error.to_string());
        }
    }
}

/// Fails where `text` holds one of [`SECRETS`] or an address of a server.
pub(super) fn no_secret(case: &str, text: &str) {
    for secret in SECRETS.iter().chain(&["127.0.0.1", "http:"]) {
        assert!(!text.contains(secret), "{case}: {secret} in {text}");
    }
}

fn compare(case: &str, request: &Request, expect: &Expect) {
    assert_eq!((request.method.as_str(), &request.target), (expect.method, &expect.target), "{case}");
    for (name, value) in &expect.headers {
        assert_eq!(request.headers.get(*name), Some(value), "{case}: header {name}");
    }
    match &expect.body {
        Body::Empty => assert_eq!(request.body, "", "{case}"),
        Body::Form(fields) => {
            assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded", "{case}");
            let got = request.form();
            let got: Vec<_> = got.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            assert_eq!(&got, fields, "{case}");
        }
        Body::Communication(expected) => {
            let mut got: Value = serde_json::from_str(&request.body).unwrap();
            let sent = got.as_object_mut().unwrap().remove("sent").expect("an instant");
            assert!(sent.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{case}: {sent}");
            assert_eq!(&got, expected, "{case}");
        }
        Body::TokenRequest => {
            let form = request.form();
            let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["grant_type", "scope", "client_assertion_type", "client_assertion"], "{case}");
        }
    }
}

/// A section with a short time-out, so that a stall does not hold up the tests.
pub(super) fn section(settings: ProviderSettings) -> ProviderSection {
    ProviderSection {
        name: ProviderName::parse("under-test").unwrap(),
        settings,
        limits: vec![Limit { count: 10, per: Period::Second, per_sender: false }],
        weight: 100,
        baa: true,
        max_in_flight: 10,
        timeout: Duration::from_millis(800),
        opt_out_reply: OptOutReply::Provider,
        breaker: BreakerSettings::default(),
    }
}

/// A message to `to` with this content.
pub(super) fn message(to: &str, content: Content) -> OutboundMessage {
    let id = uuid::Uuid::from_u128(0x0192_f0c1_d2e3_7405_8001_0203_0405_06ff);
    OutboundMessage {
        attempt_id: AttemptId(uuid::Uuid::from_u128(7)),
        send_key: SendKey { message: MessageId(id), step: 1 },
        to: Phi::new(to),
        to_name: Some(Name { given: Some(Phi::new("Ana")), family: Some(Phi::new("Canaria")) }),
        from: None,
        language: "en-US".to_owned(),
        purpose: Purpose::Appointment,
        valid_for: SignedDuration::from_hours(2),
        content,
        answers: None,
    }
}

/// A text or a call, from the number that was chosen for it.
pub(super) fn by_phone(content: Content) -> OutboundMessage {
    let from = Some(Sender { address: "+13125550100".to_owned(), name: None });
    OutboundMessage { from, ..message("+13125550142", content) }
}

pub(super) fn sms(text: &str) -> OutboundMessage {
    by_phone(Content::Sms { text: Phi::new(text), segments: 1 })
}
