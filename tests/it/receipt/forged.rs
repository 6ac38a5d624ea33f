//! Webhooks that are not the provider's: all refused, and nothing has changed.

use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{Receipts, SimulatorConfig, twilio_signature};
use serde_json::json;

use super::{PUBLIC, message, open};
use crate::support::house::{House, job, patient};

/// The auth token of the simulator's account.
fn token(house: &House) -> String {
    house.simulator.config().twilio.auth_token.expose().to_owned()
}

/// One request as it would be genuine, before somebody lays hands on it.
#[derive(Clone)]
struct Post {
    /// What is signed.
    url: String,
    fields: Vec<(String, String)>,
    token: String,
    signature: Option<String>,
    /// Of the request, where it differs from what was signed.
    query: Option<String>,
    host: Option<String>,
    /// What it says that it is signed by.
    settings: Option<String>,
    body: Option<String>,
    media: &'static str,
}

impl Post {
    fn new(key: &str, sid: &str, status: &str, token: &str) -> Self {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            url: format!("{PUBLIC}/webhooks/sim-sms?send_key={key}"),
            fields: vec![
                field("MessageSid", sid),
                field("MessageStatus", status),
                field("To", "+13125550142"),
                field("ApiVersion", "2010-04-01"),
            ],
            token: token.to_owned(),
            signature: None,
            query: None,
            host: None,
            settings: None,
            body: None,
            media: "application/x-www-form-urlencoded",
        }
    }

    fn sign(mut self) -> Self {
        let fields: Vec<(&str, &str)> = self.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        self.signature = Some(twilio_signature(&self.token, &self.url, &fields));
        self
    }

    async fn send(&self, client: &reqwest::Client, house: &House, path: &str) -> u16 {
        self.try_send(client, house, path).await.unwrap()
    }

    async fn try_send(&self, client: &reqwest::Client, house: &House, path: &str) -> reqwest::Result<u16> {
        let query = self.query.clone().unwrap_or_else(|| self.url.split_once('?').unwrap().1.to_owned());
        let mut request = client.post(format!("http://{}{path}?{query}", house.config.http.listen));
        if let Some(signature) = &self.signature {
            request = request.header("x-twilio-signature", signature);
        }
        if let Some(settings) = &self.settings {
            request = request.header("x-twilio-webhooks-signature-settings", settings);
        }
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        let request = match &self.body {
            Some(body) => request.header("content-type", self.media).body(body.clone()),
            None => request.form(&self.fields),
        };
        Ok(request.send().await?.status().as_u16())
    }
}

/// Kinds of forgery.
const WAYS: u64 = 15;

/// The `n`-th way to forge or alter `good`, which is signed.
fn altered(good: &Post, n: u64) -> Post {
    let mut post = good.clone();
    let pick = (n / WAYS) as usize;
    match n % WAYS {
        0 => post.signature = None,
        1 => post.signature = Some(String::new()),
        2 => {
            // Another key: one that was rotated away, a shorter one, nothing.
            let keys =
                ["", "wrong", &good.token[1..], &good.token.to_uppercase(), &format!("{}0", good.token)];
            post.token = keys[pick % keys.len()].to_owned();
            post = post.sign();
        }
        3 => {
            // One bit of the signature.
            let mut bytes = good.signature.clone().unwrap().into_bytes();
            let place = pick % (bytes.len() - 2);
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            post.signature = Some(String::from_utf8(bytes).unwrap());
        }
        4 => {
            // One character of one value.
            let field = pick % post.fields.len();
            let value = &mut post.fields[field].1;
            let place = (pick / 7) % value.len();
            let other = if &value[place..=place] == "x" { "y" } else { "x" };
            value.replace_range(place..=place, other);
        }
        5 => post.fields[1].1 = ["read", "undelivered", "failed", "sent"][pick % 4].to_owned(),
        6 => post.fields.push(("ErrorCode".to_owned(), format!("{}", 30_000 + pick))),
        7 => drop(post.fields.remove(pick % post.fields.len())),
        8 => {
            // Another message's key, or another step's.
            let key = good.url.rsplit_once('=').unwrap().1;
            let (message, _) = key.split_once('-').unwrap();
            let other = if pick.is_multiple_of(2) {
                format!("{message}-{}", pick + 1)
            } else {
                format!("{pick:032x}-0")
            };
            post.query = Some(format!("send_key={other}"));
        }
        9 => post.query = Some(format!("{}&x={pick}", good.url.split_once('?').unwrap().1)),
        10 => {
            // Signed for where the request seems to go: Host is anybody's to choose.
            let key = good.url.rsplit_once('=').unwrap().1;
            post.host = Some(format!("evil{pick}.example.org"));
            post.url = format!("http://evil{pick}.example.org/webhooks/sim-sms?send_key={key}");
            post = post.sign();
        }
        11 => {
            // JSON whose hash in the URL is that of another body.
            let key = good.url.rsplit_once('=').unwrap().1;
            post.url = format!("{}&bodySHA256={pick:064x}", good.url);
            post.query = Some(format!("send_key={key}&bodySHA256={pick:064x}"));
            post.fields.clear();
            post = post.sign();
            post.media = "application/json";
            post.body = Some(json!({"MessageSid": "SM1", "MessageStatus": "delivered"}).to_string());
        }
        12 => {
            // Signed by the token, and said to be by a shared key, which there is none of; or by nothing that is known.
            let algorithm = ["HMAC_SHA256", "HMAC_SHA1", "NONE", ""][pick % 4];
            post.settings = Some(format!("key=webhooks_sharedkey_{pick:026},algorithm={algorithm}"));
        }
        13 => {
            // Names and values that run together to the same text.
            let (name, value) = post.fields[1].clone();
            post.fields[1] = (format!("{name}{}", &value[..1]), value[1..].to_owned());
            post.fields.push(("MessageStatus".to_owned(), "delivered".to_owned()));
        }
        _ => {
            // Bytes that are no text.
            post.body = Some(format!("MessageSid=SM{pick}&MessageStatus=%ff%fe{pick}"));
        }
    }
    post
}

/// Refuses `count` of them while one message waits for its receipt; then takes the genuine one.
pub(crate) async fn forgeries(name: &str, count: u64) {
    let receipts = Receipts { enabled: false, ..Receipts::default() };
    let house = open(SimulatorConfig { receipts, ..SimulatorConfig::default() }).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    house.publish("job", &[job("j", "P1")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    let (before, attempts) = message(&house, "j").await;
    assert!(before.receipt_by.is_some(), "a receipt is awaited");
    let key = format!("{}-0", before.facts.id.0.simple());
    let sid = attempts[0].provider_ref.clone().expect("a reference");
    let good = Post::new(&key, &sid, "delivered", &token(&house)).sign();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let started = std::time::Instant::now();
    let mut refused = 0;
    for n in 0..count {
        let status = altered(&good, n).send(&client, &house, "/webhooks/sim-sms").await;
        assert_eq!(status, 403, "the {n}-th, way {}", n % WAYS);
        refused += 1;
    }
    let (after, now) = message(&house, "j").await;
    assert_eq!((after.status, after.seq, after.receipt_by), (before.status, before.seq, before.receipt_by));
    assert_eq!(
        (now.len(), now[0].status, now[0].settled_at),
        (1, attempts[0].status, attempts[0].settled_at)
    );
    println!(
        "{}",
        json!({ "run": name, "refused": refused, "of": count, "seconds": started.elapsed().as_secs_f64() })
    );

    // What has no webhook is not there, whatever is signed.
    for path in ["/webhooks/sim-email", "/webhooks/sim-portal", "/webhooks/test-sms", "/webhooks/nobody"] {
        assert_eq!(good.send(&client, &house, path).await, 404, "{path}");
    }
    assert_eq!(good.send(&client, &house, "/webhooks/sim-sms/gather").await, 404, "a text presses no keys");
    let huge = Post { body: Some("x".repeat(house.config.http.max_webhook + 1)), ..good.clone() };
    // Whoever is refused in the middle of a long body may not hear why, and their connection is of no more use.
    let other = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = huge.try_send(&other, &house, "/webhooks/sim-sms").await;
    assert!(answer.as_ref().map_or(true, |status| *status == 413), "{answer:?}");

    assert_eq!(good.send(&client, &house, "/webhooks/sim-sms").await, 204);
    assert_eq!(good.send(&client, &house, "/webhooks/sim-sms").await, 204, "again, as providers do");
    assert_eq!(message(&house, "j").await.0.status, MessageStatus::Delivered);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_forged_or_altered_is_refused_and_changes_nothing() {
    forgeries("forgeries, short", 700).await;
}
