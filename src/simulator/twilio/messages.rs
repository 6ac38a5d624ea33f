//! The Messages resource: create, fetch, list.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::numbers::{by_code, refuse_from, refuse_to};
use super::patients::writes;
use super::receipts::{Receipt, Script, script};
use super::segments::segments;
use super::{Keys, Lookup, Refusal, Twilio, answer_to_taken, json_of, read_body, respond_to_fate};
use crate::domain::phi::Phi;
use crate::simulator::clock::{Moment, rfc2822};
use crate::simulator::config::ProviderKind;
use crate::simulator::desk::{Desk, KeptMessage, RECEIVED, Truth, reply_of};
use crate::simulator::form::Form;
use crate::simulator::hits::Hit;
use crate::simulator::marker::TextDigest;
use crate::simulator::postman::{Fields, Letter};
use crate::simulator::wire::Peer;

const KIND: ProviderKind = ProviderKind::TwilioSms;

/// Twilio's limit, in characters.
const MAX_TEXT: usize = 1_600;

/// `POST .../Messages.json`.
pub(super) async fn create(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(sid): Path<String>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let desk = &twilio.desk;
    let now = desk.clock.now();
    let plan = desk.switches.plan(KIND, now.at_us);
    let form = Form::parse(&body);
    let order = Order::read(&form);
    let refusal = match plan.fate.is_served() {
        true => twilio.refuse_stranger(&sid, &parts.headers).or_else(|| order.refuse(desk)),
        false => None,
    };
    let taken = plan.fate.is_served() && refusal.is_none();
    let response = match refusal {
        Some(refusal) => refusal.respond(),
        None if taken => answer_to_taken(plan.fate, take(desk, &sid, &order, now)),
        None => respond_to_fate(plan.fate),
    };
    let keys = Keys::find(&parts.headers, order.callback);
    let hit = Hit {
        at_us: now.at_us,
        wall_us: now.wall_us,
        kind: KIND,
        send_key: keys.send_key,
        attempt: keys.attempt,
        to: TextDigest::of(order.to.as_bytes()),
        body: TextDigest::of(order.text.as_bytes()),
        status: response.status().as_u16(),
        taken,
        reply: reply_of(plan.fate),
    };
    desk.conclude(&peer, &hit, &plan, response).await
}

/// What the form asks for.
struct Order<'a> {
    to: &'a str,
    from: Option<&'a str>,
    service: Option<&'a str>,
    text: &'a str,
    callback: Option<&'a str>,
}

impl<'a> Order<'a> {
    fn read(form: &'a Form<'a>) -> Self {
        Self {
            to: form.get("To").unwrap_or_default(),
            from: form.get("From"),
            service: form.get("MessagingServiceSid"),
            text: form.get("Body").unwrap_or_default(),
            callback: form.get("StatusCallback"),
        }
    }

    /// In the order in which Twilio looks.
    fn refuse(&self, desk: &Desk) -> Option<Refusal> {
        if self.to.is_empty() {
            return Some(Refusal::bad_request(21604, "A 'To' phone number is required."));
        }
        if self.from.is_none() && self.service.is_none() {
            return Some(Refusal::bad_request(21603, "A 'From' phone number is required."));
        }
        if self.text.is_empty() {
            return Some(Refusal::bad_request(21602, "Message body is required."));
        }
        if self.text.len() > MAX_TEXT && self.text.chars().count() > MAX_TEXT {
            return Some(by_code(21617));
        }
        refuse_to(self.to, desk.rule(self.to)).or_else(|| self.from.and_then(refuse_from))
    }
}

/// Takes the message: keeps it, plans its receipts, and answers 201.
fn take(desk: &Desk, account: &str, order: &Order<'_>, now: Moment) -> Response {
    let (n, id) = desk.next_id();
    let sid = format!("SM{id}");
    let Script { truth, receipts } =
        script(&desk.config.receipts, desk.rule(order.to), desk.dice, n, now.at_us);
    if let Some(target) =
        order.callback.filter(|_| !receipts.is_empty()).and_then(|url| desk.postman.target(url))
    {
        let common = Arc::new(common_fields(account, &sid, order));
        for (step, receipt) in receipts.into_iter().enumerate() {
            let letter = Letter {
                target: Arc::clone(&target),
                common: Arc::clone(&common),
                own: own_fields(receipt),
                token: format!("{sid}-{step}"),
            };
            desk.postman.bring(letter, Duration::from_millis(receipt.after_ms));
        }
    }
    answer_back(desk, account, order, n, &truth);
    let first = if order.service.is_some() { "accepted" } else { "queued" };
    let date = desk.clock.date(now);
    let response = json_of(
        StatusCode::CREATED,
        &Resource {
            account_sid: account,
            sid: &sid,
            to: order.to,
            from: order.from,
            body: order.text,
            status: first,
            messaging_service_sid: order.service,
            date_created: &date,
            date_updated: &date,
            uri: uri(account, &sid),
            ..Resource::new(order.text)
        },
    );
    desk.kept.keep(KeptMessage {
        kind: KIND,
        reference: sid,
        to: Phi::new(order.to),
        from: order.from.or(order.service).unwrap_or_default().to_owned(),
        body: Phi::new(order.text),
        at_us: now.at_us,
        wall_us: now.wall_us,
        truth,
    });
    response
}

/// Has the patient write back, where they do, once the text has arrived.
fn answer_back(desk: &Desk, account: &str, order: &Order<'_>, n: u64, truth: &Truth) {
    let answers = &desk.config.answers;
    let (Some(arrived_us), Some(callback)) = (truth.arrived_us(), order.callback) else { return };
    let Some(said) = writes(answers, order.text, desk.dice, n) else { return };
    let given = callback.split(['?', '#']).next().unwrap_or_default();
    let Some(target) = desk.postman.target(given) else { return };
    let (_, id) = desk.next_id();
    let sid = format!("SM{id}");
    let own = |text: &str| Cow::Owned(text.to_owned());
    let common: Fields = vec![
        ("MessageSid", own(&sid)),
        ("SmsSid", own(&sid)),
        ("SmsStatus", Cow::Borrowed("received")),
        ("AccountSid", own(account)),
        ("From", own(order.to)),
        ("To", own(order.from.unwrap_or("+13125550100"))),
        ("NumMedia", Cow::Borrowed("0")),
        ("ApiVersion", Cow::Borrowed("2010-04-01")),
    ];
    let letter = Letter {
        target,
        common: Arc::new(common),
        own: vec![("Body", own(&said))],
        token: format!("{sid}-0"),
    };
    let now = desk.clock.now();
    let after =
        Duration::from_micros(arrived_us.saturating_sub(now.at_us)) + Duration::from_millis(answers.after_ms);
    let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
    let written = Moment {
        at_us: now.at_us.saturating_add(after_us),
        wall_us: now.wall_us.saturating_add_unsigned(after_us),
    };
    keep_inbound(desk, &sid, (order.to, order.from.unwrap_or("+13125550100"), &said), written);
    desk.postman.bring(letter, after);
}

/// Keeps what a patient has written, so that the list shows it from then on.
pub(super) fn keep_inbound(desk: &Desk, sid: &str, (from, to, text): (&str, &str, &str), at: Moment) {
    desk.kept.keep(KeptMessage {
        kind: KIND,
        reference: sid.to_owned(),
        to: Phi::new(to),
        from: from.to_owned(),
        body: Phi::new(text),
        at_us: at.at_us,
        wall_us: at.wall_us,
        truth: Truth::at_once(RECEIVED),
    });
}

fn common_fields(account: &str, sid: &str, order: &Order<'_>) -> Fields {
    let own = |text: &str| Cow::Owned(text.to_owned());
    let mut fields = vec![
        ("MessageSid", own(sid)),
        ("SmsSid", own(sid)),
        ("AccountSid", own(account)),
        ("From", own(order.from.unwrap_or_default())),
        ("To", own(order.to)),
        ("ApiVersion", Cow::Borrowed("2010-04-01")),
    ];
    fields.extend(order.service.map(|service| ("MessagingServiceSid", own(service))));
    fields
}

fn own_fields(receipt: Receipt) -> Fields {
    let status = Cow::Borrowed(receipt.status);
    let mut fields = vec![("MessageStatus", status.clone()), ("SmsStatus", status)];
    fields.extend(receipt.error_code.map(|code| ("ErrorCode", Cow::Owned(code.to_string()))));
    fields
}

/// A message as Twilio shows it.
#[derive(Debug, Serialize)]
struct Resource<'a> {
    account_sid: &'a str,
    api_version: &'static str,
    body: &'a str,
    date_created: &'a str,
    date_sent: Option<&'a str>,
    date_updated: &'a str,
    direction: &'static str,
    error_code: Option<u32>,
    error_message: Option<&'static str>,
    from: Option<&'a str>,
    messaging_service_sid: Option<&'a str>,
    num_media: &'static str,
    num_segments: String,
    price: Option<&'static str>,
    price_unit: &'static str,
    sid: &'a str,
    status: &'a str,
    to: &'a str,
    uri: String,
}

impl<'a> Resource<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            account_sid: "",
            api_version: "2010-04-01",
            body: text,
            date_created: "",
            date_sent: None,
            date_updated: "",
            direction: "outbound-api",
            error_code: None,
            error_message: None,
            from: None,
            messaging_service_sid: None,
            num_media: "0",
            num_segments: segments(text).to_string(),
            price: None,
            price_unit: "USD",
            sid: "",
            status: "",
            to: "",
            uri: String::new(),
        }
    }
}

fn uri(account: &str, sid: &str) -> String {
    format!("/2010-04-01/Accounts/{account}/Messages/{sid}.json")
}

/// A kept message as it stands now.
fn show(account: &str, message: &KeptMessage, now: Moment) -> serde_json::Value {
    let date = rfc2822(message.wall_us);
    let status = message.status_at(now.at_us);
    let service = message.from.starts_with("MG").then_some(message.from.as_str());
    let resource = Resource {
        account_sid: account,
        sid: &message.reference,
        to: message.to.expose(),
        from: service.is_none().then_some(message.from.as_str()),
        messaging_service_sid: service,
        status,
        date_created: &date,
        date_updated: &date,
        date_sent: (status != "queued").then_some(&*date),
        direction: if message.is_inbound() { "inbound" } else { "outbound-api" },
        error_code: message.error_code_at(now.at_us),
        uri: uri(account, &message.reference),
        ..Resource::new(message.body.expose())
    };
    serde_json::to_value(resource).unwrap_or_default()
}

/// `GET .../Messages/{MessageSid}.json`.
pub(super) async fn fetch(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((sid, message)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    super::fetch(&twilio, &peer, KIND, (&sid, &message), request.headers(), show).await
}

/// `GET .../Messages.json?To=&From=&DateSent>=`.
pub(super) async fn list(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(sid): Path<String>,
    request: Request<Body>,
) -> Response {
    let query = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    let lookup = Lookup::of(&query, "DateSent");
    super::list(&twilio, &peer, KIND, (&sid, "messages"), &lookup, request.headers(), show).await
}
