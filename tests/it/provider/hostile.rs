//! What comes in from outside, random or damaged: nobody's bytes end the process or take long, and what is not as it was
//! signed is refused, so that nothing follows from it. `PROPTEST_CASES` says how many cases.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outreachd::config::Config;
use outreachd::config::callback::SigningKey;
use outreachd::config::provider::{EventKey, ProviderSettings};
use outreachd::domain::ids::SendKey;
use outreachd::provider::mail::IncomingMail;
use outreachd::provider::webhook::{Door, Heard, News, Unheard, Webhook};
use outreachd::provider::{Provider, registry};
use outreachd::simulator::twilio_signature;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::mail_back::{mail, mark, provider, relay_section};
use super::table::KEY;
use crate::support::cases;

const PUBLIC: &str = "https://outreach.example.org";
const TOKEN: &str = "a-token-of-twilio";
/// Stands wherever a patient's number, address or text may stand.
const CANARY: &str = "Zyxwvu";
/// Nothing that comes in may keep a worker for longer.
const LONG: Duration = Duration::from_secs(5);

/// One who can be called, and how a request of theirs is signed.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Sms,
    Voice,
    SendGrid,
    Relay,
}

const CALLERS: [Caller; 4] = [Caller::Sms, Caller::Voice, Caller::SendGrid, Caller::Relay];

/// Everybody's keys and providers.
struct Outside {
    sms: Arc<dyn Provider>,
    voice: Arc<dyn Provider>,
    sendgrid: Arc<dyn Provider>,
    relay: Arc<dyn Provider>,
    events: EcdsaKeyPair,
    whsec: SigningKey,
}

static OUTSIDE: LazyLock<Outside> = LazyLock::new(|| {
    let config = Config::from_toml(&format!(
        r#"
        [http]
        listen = "0.0.0.0:8080"
        public_url = "{PUBLIC}"
        [[api.tokens]]
        name = "ehr"
        token = "canary-token-0123456789abcdef"
        scopes = ["jobs:write"]
        [[provider]]
        name = "sms"
        kind = "twilio_sms"
        account_sid = "AC0123456789abcdef0123456789abcdef"
        auth_token = "{TOKEN}"
        from = ["+13125550100"]
        [[provider]]
        name = "voice"
        kind = "twilio_voice"
        account_sid = "AC0123456789abcdef0123456789abcdef"
        auth_token = "{TOKEN}"
        from = ["+13125550100"]
        "#
    ));
    let config = config.unwrap();
    let events = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let whsec = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let mut section = relay_section(1, "mail", "5a1b2c3d");
    let relay = {
        let ProviderSettings::Smtp(smtp) = &mut section.settings else { panic!("a mail provider") };
        smtp.webhook_secret = Some(whsec.clone());
        registry::build(&section).unwrap()
    };
    let ProviderSettings::Smtp(smtp) = &mut section.settings else { panic!("a mail provider") };
    let shown = STANDARD.encode([EventKey::P256, events.public_key().as_ref()].concat());
    (smtp.webhook_secret, smtp.sendgrid_key) = (None, EventKey::parse(&shown).map(Box::new));
    Outside {
        sms: registry::build(&config.providers[0]).unwrap(),
        voice: registry::build(&config.providers[1]).unwrap(),
        sendgrid: registry::build(&section).unwrap(),
        relay,
        events,
        whsec,
    }
});

/// A request before it is sent.
#[derive(Clone, Debug)]
struct Post {
    door: Door,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Asked without a network: none of these waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Caller {
    fn hear(self, post: &Post) -> Result<Heard, Unheard> {
        let outside = &*OUTSIDE;
        let provider = match self {
            Self::Sms => &outside.sms,
            Self::Voice => &outside.voice,
            Self::SendGrid => &outside.sendgrid,
            Self::Relay => &outside.relay,
        };
        let call = Webhook { door: post.door, query: &post.query, headers: &post.headers, body: &post.body };
        let heard = now(provider.hear(&call));
        assert!(!format!("{heard:?} {call:?}").contains(CANARY), "{self:?} shows what patients write");
        heard
    }

    /// The genuine request that says this.
    fn signed(self, door: Door, query: &[(String, String)], said: &Said) -> Post {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, text: &str| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(text).unwrap());
        };
        let query = if query.is_empty() { String::new() } else { encoded(query) };
        let body = match (self, said) {
            (Self::Sms | Self::Voice, said) => {
                let path = match (self, door) {
                    (Self::Sms, _) => "sms",
                    (_, Door::Status) => "voice",
                    (_, Door::Gather) => "voice/gather",
                };
                let url = if query.is_empty() { String::new() } else { format!("?{query}") };
                let fields: Vec<(&str, &str)> =
                    said.form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                set(
                    "x-twilio-signature",
                    &twilio_signature(TOKEN, &format!("{PUBLIC}/webhooks/{path}{url}"), &fields),
                );
                set("content-type", "application/x-www-form-urlencoded");
                encoded(&said.form).into_bytes()
            }
            (Self::SendGrid, said) => {
                let body = said.json.to_string().into_bytes();
                let at = seconds.to_string();
                let signature =
                    OUTSIDE.events.sign(&SystemRandom::new(), &[at.as_bytes(), &body].concat()).unwrap();
                set("x-twilio-email-event-webhook-signature", &STANDARD.encode(signature));
                set("x-twilio-email-event-webhook-timestamp", &at);
                body
            }
            (Self::Relay, said) => {
                let one = said.json.get(0).unwrap_or(&said.json);
                let body = one.to_string().into_bytes();
                let at = i64::try_from(seconds).unwrap();
                set("webhook-id", "r1");
                set("webhook-timestamp", &at.to_string());
                set("webhook-signature", &OUTSIDE.whsec.sign("r1", at, &body).unwrap());
                body
            }
        };
        Post { door, query, headers, body }
    }
}

fn encoded(pairs: &[(String, String)]) -> String {
    let mut url = reqwest::Url::parse("http://x").unwrap();
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// What is said, as a form and as JSON.
#[derive(Clone, Debug)]
struct Said {
    form: Vec<(String, String)>,
    json: Value,
}

fn good() -> Said {
    let pairs = [
        ("MessageSid", "SM0123456789abcdef0123456789abcdef"),
        ("CallSid", "CA0123456789abcdef0123456789abcdef"),
        ("MessageStatus", "delivered"),
        ("CallStatus", "completed"),
        ("To", "+13125550142"),
        ("ErrorCode", "30003"),
    ];
    Said {
        form: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        json: json!([{
            "event": "bounce", "send_key": KEY, "status": "5.1.1", "reason": "550 5.1.1 no such user", "code": "5.1.1",
            "sg_event_id": "abc", "type": "bounce", "email": CANARY,
        }]),
    }
}

fn key() -> (String, String) {
    ("send_key".to_owned(), KEY.to_owned())
}

/// Words that callers know, and what nobody has ever sent them.
fn word() -> impl Strategy<Value = String> {
    let known = vec![
        "",
        "delivered",
        "undelivered",
        "failed",
        "sent",
        "queued",
        "read",
        "canceled",
        "received",
        "STOP",
        "START",
        "HELP",
        "completed",
        "busy",
        "no-answer",
        "in-progress",
        "machine_start",
        "human",
        "fax",
        "unknown",
        "1",
        "12",
        "*",
        "-1",
        "30003",
        "99999999999999",
        "+13125550142",
        "+1",
        "12345",
        "SM0123456789abcdef0123456789abcdef",
        "CA0123456789abcdef0123456789abcdef",
        "SM",
        KEY,
        "bounce",
        "dropped",
        "deferred",
        "bounced",
        "complained",
        "spamreport",
        "unsubscribe",
        "blocked",
        "5.1.1",
        "999.999.999",
        "550",
        "gather",
        "machine",
    ];
    prop_oneof![
        4 => select(known).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| format!("{CANARY}{text}")),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let names = vec![
        "MessageSid",
        "SmsSid",
        "MessageStatus",
        "SmsStatus",
        "ErrorCode",
        "From",
        "To",
        "Body",
        "OptOutType",
        "CallSid",
        "CallStatus",
        "AnsweredBy",
        "Digits",
        "AccountSid",
        "NumMedia",
        "Direction",
        "SipResponseCode",
        "CallDuration",
        "x",
    ];
    let members = vec![
        "event",
        "smtp-id",
        "send_key",
        "message_id",
        "sg_event_id",
        "type",
        "status",
        "reason",
        "code",
        "x",
    ];
    let value = prop_oneof![
        6 => word().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!([{"event": []}])),
    ];
    let event = prop::collection::vec((select(members), value), 0..8)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>());
    let json = prop_oneof![8 => prop::collection::vec(event.clone(), 0..4).prop_map(Value::from), 1 => event];
    let form = prop::collection::vec((select(names).prop_map(str::to_owned), word()), 0..14);
    (form, json).prop_map(|(form, json)| Said { form, json })
}

fn query() -> impl Strategy<Value = Vec<(String, String)>> {
    let pair = prop_oneof![4 => Just(key()), 1 => (select(vec!["send_key", "event", "attempt", "x"]).prop_map(str::to_owned), word())];
    prop::collection::vec(pair, 0..3)
}

fn door() -> impl Strategy<Value = Door> {
    select(vec![Door::Status, Door::Gather])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(128), ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_believed_whatever_they_post(
        caller in select(CALLERS.to_vec()), door in door(), query in "\\PC{0,60}|send_key=[0-9a-f%&=-]{0,60}", body in prop::collection::vec(any::<u8>(), 0..200),
        said in said(), given in "[ -~]{0,60}", json in any::<bool>(),
    ) {
        // With the headers of a genuine request, of which one holds anything.
        let mut post = caller.signed(door, &[key()], &said);
        (post.query, post.body) = (query, body);
        if json {
            post.headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        prop_assert!(caller.hear(&post).is_err());
        let names: Vec<HeaderName> = post.headers.keys().cloned().collect();
        for name in names {
            let mut post = post.clone();
            post.headers.insert(name, HeaderValue::from_str(&given).unwrap());
            prop_assert!(caller.hear(&post).is_err());
        }
    }

    #[test]
    fn one_byte_that_is_not_as_it_was_signed_and_nothing_else_is_heard(
        caller in select(CALLERS.to_vec()), part in 0..3, at in any::<Index>(), byte in any::<u8>(),
    ) {
        let said = match caller {
            Caller::Relay => Said { json: json!({"send_key": KEY, "status": "delivered"}), ..good() },
            Caller::Sms | Caller::Voice | Caller::SendGrid => good(),
        };
        let genuine = caller.signed(Door::Status, &[key()], &said);
        let heard = caller.hear(&genuine);
        prop_assert!(heard.is_ok(), "{heard:?}");
        let mut altered = genuine.clone();
        match part {
            0 => {
                let at = at.index(altered.body.len());
                altered.body[at] = byte;
            }
            1 => {
                let mut query = altered.query.into_bytes();
                let at = at.index(query.len());
                query[at] = byte & 0x7f;
                altered.query = String::from_utf8(query).unwrap();
            }
            _ => {
                let names: Vec<HeaderName> = altered.headers.keys().cloned().collect();
                let name = at.get(&names);
                let mut text = altered.headers[name].as_bytes().to_vec();
                let at = at.index(text.len());
                text[at] = byte & 0x7f;
                if let Ok(value) = HeaderValue::from_bytes(&text) {
                    altered.headers.insert(name.clone(), value);
                }
            }
        }
        // A form can be written in several ways; what it says is what was signed.
        let after = caller.hear(&altered);
        prop_assert!(after.is_err() || after == heard, "{caller:?}: {after:?}");
    }

    #[test]
    fn whatever_is_signed_is_heard_or_not_understood(
        caller in select(CALLERS.to_vec()), door in door(), query in query(), said in said(),
    ) {
        let started = Instant::now();
        let heard = caller.hear(&caller.signed(door, &query, &said));
        prop_assert!(heard != Err(Unheard::Forged), "{caller:?} {door:?}");
        prop_assert!(started.elapsed() < LONG);
    }
}

static MARK: LazyLock<String> = LazyLock::new(|| std::thread::spawn(|| now(mark())).join().unwrap());
static OURS: LazyLock<Arc<dyn Provider>> = LazyLock::new(|| provider(1, "mail", "5a1b2c3d"));

/// The names of all mails that stand as examples.
static EXAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/mail")).unwrap();
    let names = folder.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
});

const TO: &[&str] = &[
    "bounces+{MARK}@mail.clinic.example",
    "reply+{MARK}@mail.clinic.example",
    "bounces@mail.clinic.example",
    "abuse@clinic.example",
    "",
    "@",
    "<<+>>",
];

/// Hears it in time; whatever is heard is about the mail whose mark it bears.
fn heard(to: &str, from: Option<&str>, bytes: &[u8]) -> Result<Result<News, Unheard>, TestCaseError> {
    let started = Instant::now();
    let heard = OURS.hear_mail(&IncomingMail { to, from, bytes });
    prop_assert!(started.elapsed() < LONG, "{:?} for {} bytes", started.elapsed(), bytes.len());
    let about = match &heard {
        Ok(News::Receipt(receipt)) => Some(receipt.key),
        Ok(News::Reply(reply)) => reply.about,
        Ok(News::Nothing) | Err(_) => return Ok(heard),
        Ok(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
    };
    prop_assert_eq!(about, SendKey::parse(KEY));
    Ok(heard)
}

/// What breaks or bends a mail where it is put.
fn strange() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec![
        "\r\n\r\n",
        "\n",
        "\r",
        "\0",
        "--",
        "--=_b\r\n",
        "Content-Type: multipart/report; boundary=\"=_b\"\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: message/delivery-status\r\n\r\n",
        "Content-Type: text/html; charset=utf-7\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "=",
        "=3D=0A",
        "=?utf-8?B?",
        "?=",
        "Status: 5.1.1\r\n",
        "Status: 99999999.9.9\r\n",
        "Final-Recipient: rfc822;",
        "Diagnostic-Code: smtp; 550-",
        "Action: failed\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Feedback-Type: abuse\r\n",
        "In-Reply-To: <",
        "References: ",
        ">",
        "<html><table><tr><td>",
        "&#9999999999;",
        "<!--",
        "On Mon, x wrote:\r\n> ",
        "From: ",
        "To: <",
        "@",
    ];
    prop_oneof![
        4 => prop::collection::vec(select(pieces), 1..6).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(128), ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_are_a_mail_of_ours(to in select(TO.to_vec()), head in strange(), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let to = to.replace("{MARK}", "0192f0c1d2e3740580010203040506ff-1.0011223344556677");
        for bytes in [bytes.clone(), [head, bytes].concat()] {
            let heard = heard(&to, Some(""), &bytes)?;
            prop_assert!(!matches!(heard, Ok(News::Receipt(_) | News::Reply(_))), "{heard:?}");
        }
    }

    #[test]
    fn no_damage_to_a_mail_does_more_than_make_it_unclear(
        (one, other) in (select(EXAMPLES.clone()), select(EXAMPLES.clone())), to in select(TO.to_vec()), marked in any::<bool>(),
        changes in prop::collection::vec((any::<Index>(), strange()), 0..4), spliced in any::<Option<(Index, Index)>>(), cut in any::<Option<Index>>(),
    ) {
        let mark = if marked { MARK.as_str() } else { "0192f0c1d2e3740580010203040506ff-1.0011223344556677" };
        let to = to.replace("{MARK}", mark);
        let mut bytes = mail(&one, &to, mark);
        if let Some((here, there)) = spliced {
            let other = mail(&other, &to, mark);
            bytes.truncate(here.index(bytes.len()));
            bytes.extend_from_slice(&other[there.index(other.len())..]);
        }
        for (at, strange) in changes {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, strange);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let heard = heard(&to, None, &bytes)?;
        prop_assert!(marked || !matches!(heard, Ok(News::Receipt(_) | News::Reply(_))), "without a mark: {heard:?}");
    }
}

/// As much of everything as may be read of a mail.
#[test]
fn no_size_and_no_depth_ends_the_process() {
    let most = outreachd::provider::mail::READ;
    let full = |piece: &str| piece.repeat(most / piece.len());
    let nested = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    for (name, bytes) in [
        ("messages in messages", full("Content-Type:message/rfc822\n\n")),
        ("parts in parts", (0..most / 60).map(nested).collect()),
        (
            "one boundary",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned() + &full("--b\r\n\r\n"),
        ),
        ("headers", full("X: y\r\n")),
        ("one header", "Subject: ".to_owned() + &full("=?utf-8?q?a?= ")),
        ("one line", full("a")),
        ("folds", "References: ".to_owned() + &full("<a@b>\r\n ")),
        ("addresses", "From: ".to_owned() + &full("a <a@b>, ")),
        ("groups", "From: ".to_owned() + &full("g: (((")),
        ("comments", "From: ".to_owned() + &full("(")),
        ("marks", full("0192f0c1d2e3740580010203040506ff-1.0011223344556677 ")),
        ("dots", full(".")),
        ("tags", "Content-Type: text/html\r\n\r\n".to_owned() + &full("<div>")),
        ("open tags", "Content-Type: text/html\r\n\r\n".to_owned() + &full("<")),
        ("quotes", "\r\n".to_owned() + &full("> > > >\r\n")),
        (
            "recipients",
            "Content-Type: message/delivery-status\r\n\r\n".to_owned()
                + &full("Final-Recipient: rfc822;a@b\r\nStatus: 5.1.1\r\n\r\n"),
        ),
        ("parameters", "Content-Type: text/plain".to_owned() + &full("; a*0*=x")),
    ] {
        for to in TO {
            let to = to.replace("{MARK}", &MARK);
            let heard = heard(&to, None, bytes.as_bytes());
            assert!(heard.is_ok(), "{name} at {to}: {heard:?}");
        }
    }
}
