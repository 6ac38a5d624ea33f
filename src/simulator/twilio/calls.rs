//! The Calls resource: create, fetch, list.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{Request, StatusCode};
use axum::response::Response;

use super::numbers::{by_code, refuse_to};
use super::story::{Call, Detection, Script, draw_end, draw_keys, is_over, listens_ms, truth};
use super::{Keys, Lookup, Refusal, Twilio, answer_to_taken, json_of, read_body, respond_to_fate};
use crate::domain::phi::Phi;
use crate::simulator::clock::{Moment, rfc2822};
use crate::simulator::config::ProviderKind;
use crate::simulator::desk::{KeptMessage, reply_of};
use crate::simulator::form::Form;
use crate::simulator::hits::Hit;
use crate::simulator::marker::TextDigest;
use crate::simulator::wire::Peer;

const KIND: ProviderKind = ProviderKind::TwilioVoice;

/// Twilio's limit for inline TwiML, in characters.
const MAX_TWIML: usize = 4_000;

/// `POST .../Calls.json`.
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
    let mut taken = false;
    let response = if plan.fate.is_served() {
        let refusal = twilio.refuse_stranger(&sid, &parts.headers).or_else(|| refuse(&twilio, &form));
        match refusal.map_or_else(|| place(&twilio, &form, now), Err) {
            Ok(call) => {
                taken = true;
                answer_to_taken(plan.fate, json_of(StatusCode::CREATED, &call))
            }
            Err(refusal) => refusal.respond(),
        }
    } else {
        respond_to_fate(plan.fate)
    };
    let keys = Keys::find(&parts.headers, form.get("StatusCallback"));
    let hit = Hit {
        at_us: now.at_us,
        wall_us: now.wall_us,
        kind: KIND,
        send_key: keys.send_key,
        attempt: keys.attempt,
        to: TextDigest::of(form.get("To").unwrap_or_default().as_bytes()),
        body: TextDigest::of(said(&form).as_bytes()),
        status: response.status().as_u16(),
        taken,
        reply: reply_of(plan.fate),
    };
    desk.conclude(&peer, &hit, &plan, response).await
}

/// The text of a call, or where it is to be had. A URL makes Twilio ignore the inline text.
fn said<'a>(form: &'a Form<'a>) -> &'a str {
    form.get("Url").or_else(|| form.get("Twiml")).unwrap_or_default()
}

/// In the order in which Twilio looks.
fn refuse(twilio: &Twilio, form: &Form<'_>) -> Option<Refusal> {
    let Some(to) = form.get("To") else {
        return Some(Refusal::bad_request(21201, "No 'To' number is specified"));
    };
    if form.get("From").is_none() {
        return Some(Refusal::bad_request(21213, "No 'From' number is specified"));
    }
    if said(form).is_empty() {
        return Some(Refusal::bad_request(21205, "Url parameter is required."));
    }
    if form.get("Url").is_none() && said(form).chars().count() > MAX_TWIML {
        return Some(Refusal::bad_request(21628, "The Twiml parameter is longer than 4000 characters"));
    }
    refuse_to(to, twilio.desk.rule(to))
}

/// Places the call: its story goes on by itself, and the answer is what Twilio shows of a queued call.
fn place(twilio: &Twilio, form: &Form<'_>, now: Moment) -> Result<serde_json::Value, Refusal> {
    let desk = &twilio.desk;
    let line = Arc::clone(&twilio.lines).try_acquire_owned().map_err(|_| by_code(20429))?;
    let (n, id) = desk.next_id();
    let to = form.get("To").unwrap_or_default();
    let (calls, rule) = (&desk.config.calls, desk.rule(to));
    let end = draw_end(calls, rule, desk.dice, n);
    let keys = draw_keys(calls, rule, end, desk.dice, n);
    let target =
        |name| form.get(name).filter(|_| desk.config.receipts.enabled).and_then(|u| desk.postman.target(u));
    let async_detection = target("AsyncAmdStatusCallback");
    let listens_ms = listens_ms(calls, end, async_detection.is_some());
    let message = KeptMessage {
        kind: KIND,
        reference: format!("CA{id}"),
        to: Phi::new(to),
        from: form.get("From").unwrap_or_default().to_owned(),
        body: Phi::new(said(form)),
        at_us: now.at_us,
        wall_us: now.wall_us,
        truth: truth(calls, end, &keys, listens_ms, now.at_us),
    };
    let shown = show(&desk.config.twilio.account_sid, &message, now);
    let call = Call {
        desk: Arc::clone(desk),
        n,
        sid: message.reference.clone(),
        to: to.to_owned(),
        from: message.from.clone(),
        end,
        keys,
        progress: target("StatusCallback"),
        events: events(form),
        async_detection,
        listens_ms,
        detection: match form.get("MachineDetection") {
            Some("Enable") => Detection::Enable,
            Some("DetectMessageEnd") => Detection::DetectMessageEnd,
            _ => Detection::Off,
        },
        script: match form.get("Url") {
            Some(url) => Script::Fetched(desk.postman.target(url)),
            None => Script::Inline(said(form).to_owned()),
        },
    };
    desk.kept.keep(message);
    tokio::spawn(async move {
        call.tell().await;
        drop(line);
    });
    Ok(shown)
}

/// The steps to tell: only the last unless asked otherwise. One parameter each, or all in one with spaces.
fn events(form: &Form<'_>) -> Vec<String> {
    let asked: Vec<String> =
        form.all("StatusCallbackEvent").flat_map(str::split_whitespace).map(str::to_owned).collect();
    if asked.is_empty() { vec!["completed".to_owned()] } else { asked }
}

/// A kept call as it stands now.
fn show(account: &str, call: &KeptMessage, now: Moment) -> serde_json::Value {
    let status = call.status_at(now.at_us);
    serde_json::json!({
        "sid": call.reference,
        "account_sid": account,
        "to": call.to.expose(),
        "from": call.from,
        "status": status,
        "direction": "outbound-api",
        "api_version": "2010-04-01",
        "date_created": rfc2822(call.wall_us),
        "date_updated": rfc2822(call.wall_us),
        "start_time": (status != "queued").then(|| rfc2822(call.wall_us)),
        "price": null,
        "price_unit": "USD",
        "queue_time": "0",
        "uri": format!("/2010-04-01/Accounts/{account}/Calls/{}.json", call.reference),
    })
}

/// `GET .../Calls/{CallSid}.json`.
pub(super) async fn fetch(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((sid, call)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    super::fetch(&twilio, &peer, KIND, (&sid, &call), request.headers(), show).await
}

/// `POST .../Calls/{CallSid}.json`: other words for a call under way, or its end. The call's story is decided when it
/// is taken, so that this only answers as Twilio would.
pub(super) async fn update(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((sid, call)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let plan = twilio.desk.switches.side_plan(KIND);
    let response = if plan.fate.is_served() {
        let refusal = twilio.refuse_stranger(&sid, &parts.headers);
        match refusal.map_or_else(|| change(&twilio, &call, &Form::parse(&body)), Err) {
            Ok(call) => json_of(StatusCode::OK, &call),
            Err(refusal) => refusal.respond(),
        }
    } else {
        respond_to_fate(plan.fate)
    };
    twilio.desk.conclude_side(&peer, &plan, response).await
}

/// The call as it stands, if it can be changed as `form` says.
fn change(twilio: &Twilio, call: &str, form: &Form<'_>) -> Result<serde_json::Value, Refusal> {
    let desk = &twilio.desk;
    let wanted = call.strip_suffix(".json").unwrap_or(call);
    let kept = desk.kept.newest(1, |m| m.kind == KIND && m.reference == wanted);
    let Some(call) = kept.first() else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, 20404, "The requested resource was not found"));
    };
    if said(form).is_empty() && form.get("Status").is_none() {
        return Err(Refusal::bad_request(21205, "Url parameter is required."));
    }
    let now = desk.clock.now();
    if is_over(call.status_at(now.at_us)) {
        return Err(Refusal::bad_request(21220, "Call is not in-progress. Cannot redirect."));
    }
    Ok(show(&desk.config.twilio.account_sid, call, now))
}

/// `GET .../Calls.json?To=&From=&StartTime>=`.
pub(super) async fn list(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(sid): Path<String>,
    request: Request<Body>,
) -> Response {
    let query = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    let lookup = Lookup::of(&query, "StartTime");
    super::list(&twilio, &peer, KIND, (&sid, "calls"), &lookup, request.headers(), show).await
}
