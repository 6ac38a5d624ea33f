//! The simulator, met by real clients: it must behave as the providers do, fail as it is told to, and count every
//! hit.

mod counting;
mod faults;
mod mail;
mod portal;
mod sms;
mod voice;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use outreachd::simulator::{Simulator, SimulatorConfig, twilio_signature};
use serde_json::Value;
use tokio::sync::mpsc;

const PATIENT: &str = "+13125550142";
const SENDER: &str = "+13125550100";

async fn start(config: SimulatorConfig) -> Simulator {
    Simulator::start(config).await.unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().unwrap()
}

/// Sends an SMS with the right credentials.
async fn send(simulator: &Simulator, fields: &[(&str, &str)]) -> reqwest::Result<reqwest::Response> {
    post(simulator, "Messages", fields).await
}

async fn post(
    simulator: &Simulator,
    resource: &str,
    fields: &[(&str, &str)],
) -> reqwest::Result<reqwest::Response> {
    let account = &simulator.config().twilio;
    client()
        .post(format!(
            "{}/2010-04-01/Accounts/{}/{resource}.json",
            simulator.twilio_url(),
            account.account_sid
        ))
        .basic_auth(&account.account_sid, Some(account.auth_token.expose()))
        .form(fields)
        .send()
        .await
}

async fn look_up(simulator: &Simulator, path: &str) -> Value {
    let account = &simulator.config().twilio;
    let response = client()
        .get(format!("{}/2010-04-01/Accounts/{}{path}", simulator.twilio_url(), account.account_sid))
        .basic_auth(&account.account_sid, Some(account.auth_token.expose()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// One callback as it arrived.
#[derive(Debug)]
struct Callback {
    /// Path and query.
    target: String,
    fields: Vec<(String, String)>,
    signature: String,
    token: String,
}

impl Callback {
    fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    fn is_signed_for(&self, url: &str, key: &str) -> bool {
        let fields: Vec<(&str, &str)> = self.fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        self.signature == twilio_signature(key, url, &fields)
    }
}

/// A worker's webhooks: takes every callback and answers with the given TwiML.
struct Webhooks {
    url: String,
    arrived: mpsc::Receiver<Callback>,
}

impl Webhooks {
    async fn start(twiml: &'static str) -> Self {
        Self::start_refusing(0, twiml).await
    }

    /// Answers 500 to the first so many.
    async fn start_refusing(refusals: usize, twiml: &'static str) -> Self {
        let refusals = Arc::new(AtomicUsize::new(refusals));
        let (sender, arrived) = mpsc::channel(10_000);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state((sender, twiml, refusals));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, arrived }
    }

    async fn next(&mut self) -> Callback {
        tokio::time::timeout(Duration::from_secs(10), self.arrived.recv())
            .await
            .expect("no callback came within 10 s")
            .unwrap()
    }
}

type Desk = (mpsc::Sender<Callback>, &'static str, Arc<AtomicUsize>);

async fn take(
    State((sender, twiml, refusals)): State<Desk>,
    uri: Uri,
    headers: HeaderMap,
    axum::Form(fields): axum::Form<Vec<(String, String)>>,
) -> Result<&'static str, StatusCode> {
    let header = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    let callback = Callback {
        target: uri.to_string(),
        fields,
        signature: header("x-twilio-signature"),
        token: header("i-twilio-idempotency-token"),
    };
    sender.send(callback).await.unwrap();
    let refused = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if refused.is_ok() { Err(StatusCode::INTERNAL_SERVER_ERROR) } else { Ok(twiml) }
}
