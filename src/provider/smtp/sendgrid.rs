//! SendGrid's Event Webhook, for a relay that is SendGrid: one request holds many events, a JSON array.
//!
//! It is signed with ECDSA over P-256 and SHA-256: `X-Twilio-Email-Event-Webhook-Signature` is the base64 of the DER
//! signature over `X-Twilio-Email-Event-Webhook-Timestamp` and the body as it came. Which mail an event is about tells
//! `send_key`, which each mail takes along as a unique argument (`X-SMTPAPI`) and each event gives back; else its
//! `smtp-id`, which is the Message-ID that we gave it, and in that our mark. What people want may come without.
//!
//! | `event` | says |
//! |---|---|
//! | processed, deferred | on its way |
//! | delivered | it arrived |
//! | bounce | it did not, by the code in `status` or `reason`; of `type` "blocked" without one: kept back |
//! | dropped | SendGrid did not try: it knows the address as bad (`reason`), or that they want no more |
//! | spamreport | the recipient wants no more of that |
//! | unsubscribe, group_unsubscribe | the recipient wants no more |
//! | open, click, anything else | nothing: machines open mails, too |
//!
//! Source: SendGrid, "Getting Started with the Event Webhook Security Features", "Event Webhook Reference" and "Unique
//! Arguments".

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::reply::Reply as Refusal;
use super::token::Tokens;
use super::webhook::about;
use crate::config::provider::EventKey;
use crate::domain::failure::Failure;
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::phi::Phi;
use crate::domain::receipt::{Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::words::Channel;
use crate::provider::webhook::{Heard, News, Unheard, Webhook};

pub(super) const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";
/// SendGrid goes on trying for a day. A repeat changes nothing, so that this only ends the life of what was recorded.
const OLDEST: Duration = Duration::from_secs(26 * 3_600);
/// A clock may be off by so much.
const AHEAD: Duration = Duration::from_secs(300);
/// Events of one request that are read.
const MOST: usize = 5_000;

#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(rename = "smtp-id")]
    smtp_id: Option<String>,
    /// The unique argument.
    send_key: Option<String>,
    sg_event_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
    reason: Option<String>,
}

/// Verifies and reads one request.
pub(super) fn hear(
    provider: &ProviderName,
    key: &EventKey,
    tokens: Option<&Tokens>,
    call: &Webhook<'_>,
) -> Result<Heard, Unheard> {
    verified(key, call).ok_or(Unheard::Forged)?;
    let events: Vec<serde_json::Value> =
        serde_json::from_slice(call.body).map_err(|_| Unheard::Unreadable)?;
    // One that cannot be read, or is about none of ours, does not sink the others.
    let events =
        events.into_iter().take(MOST).filter_map(|event| serde_json::from_value::<Event>(event).ok());
    let (mut read, mut unmatched) = (Vec::new(), 0);
    for event in events {
        match about(event.send_key.as_deref(), event.smtp_id.as_deref(), tokens) {
            Some(key) => read.extend(news(provider, key, &event)),
            None => unmatched += 1,
        }
    }
    if unmatched > 0 {
        metrics::counter!("outreachd_events_unmatched_total", "provider" => provider.to_string())
            .increment(unmatched);
    }
    Ok(Heard::of(News::Several(read)))
}

fn verified(key: &EventKey, call: &Webhook<'_>) -> Option<()> {
    let header = |name: &str| call.headers.get(name)?.to_str().ok();
    let (signature, timestamp) = (header(SIGNATURE)?, header(TIMESTAMP)?);
    let signature = STANDARD.decode(signature).ok()?;
    let signed = [timestamp.as_bytes(), call.body].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point()).verify(&signed, &signature).ok()?;
    let sent = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(timestamp.parse().ok()?))?;
    let fresh = match SystemTime::now().duration_since(sent) {
        Ok(age) => age <= OLDEST,
        Err(ahead) => ahead.duration() <= AHEAD,
    };
    fresh.then_some(())
}

/// The table above.
fn news(provider: &ProviderName, key: SendKey, event: &Event) -> Option<News> {
    let said = match event.event.as_str() {
        "processed" | "deferred" => Said::Sent,
        "delivered" => Said::Delivered,
        "bounce" => Said::Undelivered(bounced(event)),
        "dropped" => Said::Undelivered(dropped(event.reason.as_deref().unwrap_or_default())),
        "spamreport" => return Some(wish(provider, key, event, Keyword::Complaint)),
        "unsubscribe" | "group_unsubscribe" => return Some(wish(provider, key, event, Keyword::Stop)),
        _ => return None,
    };
    let code = said.failure().and_then(|_| refusal(event)).map(Refusal::code_text);
    Some(News::Receipt(Receipt {
        provider: provider.clone(),
        key,
        reference: None,
        said,
        code,
        named: Vec::new(),
    }))
}

fn refusal(event: &Event) -> Option<Refusal> {
    let named = [event.status.as_deref(), event.reason.as_deref()];
    named.into_iter().flatten().find_map(Refusal::within)
}

fn bounced(event: &Event) -> Failure {
    let blocked = event.kind.as_deref() == Some("blocked");
    match refusal(event) {
        // 5.0.0 says nothing.
        Some(refusal) if refusal.code_text() != "5.0.0" => refusal.bounced(),
        _ if blocked => Failure::Blocked,
        _ => Failure::BadAddress,
    }
}

fn dropped(reason: &str) -> Failure {
    match reason {
        "Bounced Address" | "Invalid" => Failure::BadAddress,
        "Unsubscribed Address" | "Spam Reporting Address" => Failure::OptedOut,
        _ => Failure::Rejected,
    }
}

fn wish(provider: &ProviderName, key: SendKey, event: &Event, keyword: Keyword) -> News {
    let named = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let id = event.sg_event_id.as_deref().filter(named);
    News::Reply(Reply {
        provider: provider.clone(),
        channel: Channel::Email,
        reference: id
            .map_or_else(|| format!("sendgrid-{}-{key}", event.event), |id| format!("sendgrid-{id}")),
        from: Phi::new(""),
        about: Some(key),
        text: Phi::new(""),
        keyword: Some(keyword),
        thread: None,
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;
    use crate::domain::ids::MessageId;
    use crate::provider::webhook::Door;

    struct Relay(EcdsaKeyPair);

    impl Relay {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
        }

        fn key(&self) -> EventKey {
            let spki = [EventKey::P256, self.0.public_key().as_ref()].concat();
            EventKey::parse(&STANDARD.encode(spki)).unwrap()
        }

        fn headers(&self, age_s: i64, body: &[u8]) -> HeaderMap {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let timestamp = now.checked_add_signed(-age_s).unwrap().to_string();
            let signed = [timestamp.as_bytes(), body].concat();
            let signature = STANDARD.encode(self.0.sign(&SystemRandom::new(), &signed).unwrap());
            let of = |name, text: &str| (HeaderName::from_static(name), HeaderValue::from_str(text).unwrap());
            HeaderMap::from_iter([of(SIGNATURE, &signature), of(TIMESTAMP, &timestamp)])
        }
    }

    fn listen(
        key: &EventKey,
        tokens: &Tokens,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Vec<News>, Unheard> {
        let call = Webhook { door: Door::Status, query: "", headers, body };
        match hear(&ProviderName::parse("mail").unwrap(), key, Some(tokens), &call)?.news {
            News::Several(news) => Ok(news),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_event_says_what_the_table_says() {
        let provider = ProviderName::parse("mail").unwrap();
        let tokens = Tokens::new(&[7; 32], &provider);
        let about = SendKey { message: MessageId::generate(), step: 1 };
        let smtp_id = format!("<{}@lakeside.example>", tokens.mark(about));
        let relay = Relay::new();
        let undelivered = |failure| Some(Said::Undelivered(failure));
        let table = [
            (json!({"event": "processed"}), Some(Said::Sent), None),
            (json!({"event": "deferred", "response": "450 4.2.1 busy"}), Some(Said::Sent), None),
            (json!({"event": "delivered", "response": "250 OK"}), Some(Said::Delivered), None),
            (
                json!({"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no such user"}),
                undelivered(Failure::BadAddress),
                Some("5.1.1"),
            ),
            (
                json!({"event": "bounce", "type": "bounce", "status": "5.2.2", "reason": "552 5.2.2 full"}),
                undelivered(Failure::MailboxFull),
                Some("5.2.2"),
            ),
            (
                json!({"event": "bounce", "type": "blocked", "status": "5.0.0"}),
                undelivered(Failure::Blocked),
                Some("5.0.0"),
            ),
            (json!({"event": "bounce"}), undelivered(Failure::BadAddress), None),
            (
                json!({"event": "dropped", "reason": "Bounced Address"}),
                undelivered(Failure::BadAddress),
                None,
            ),
            (
                json!({"event": "dropped", "reason": "Unsubscribed Address"}),
                undelivered(Failure::OptedOut),
                None,
            ),
            (json!({"event": "dropped", "reason": "Spam Content"}), undelivered(Failure::Rejected), None),
        ];
        let events: Vec<_> = table
            .iter()
            .map(|(event, ..)| {
                let mut event = event.clone();
                event["smtp-id"] = json!(smtp_id);
                event
            })
            .collect();
        let body = serde_json::to_vec(&events).unwrap();
        let news = listen(&relay.key(), &tokens, &relay.headers(3, &body), &body).unwrap();
        assert_eq!(news.len(), table.len());
        for ((event, said, code), news) in table.iter().zip(news) {
            let News::Receipt(receipt) = news else { panic!("{event}") };
            assert_eq!(
                (receipt.key, Some(receipt.said), receipt.code.as_deref()),
                (about, *said, *code),
                "{event}"
            );
        }
        // What they want, and what moves nothing: opened by somebody, of another mail, no event at all.
        let body = serde_json::to_vec(&json!([
            {"event": "open", "smtp-id": smtp_id}, {"event": "delivered", "smtp-id": "<else@where>"}, 7,
            {"event": "spamreport", "smtp-id": smtp_id, "sg_event_id": "abc-1_X"},
            {"event": "unsubscribe", "smtp-id": smtp_id},
            {"event": "spamreport", "send_key": about.to_string()}, {"event": "spamreport"},
        ]))
        .unwrap();
        let news = listen(&relay.key(), &tokens, &relay.headers(0, &body), &body).unwrap();
        let wishes: Vec<_> = news
            .iter()
            .map(|news| match news {
                News::Reply(reply) => (reply.keyword.unwrap(), reply.about, reply.reference.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(wishes[0], (Keyword::Complaint, Some(about), "sendgrid-abc-1_X"));
        assert_eq!((wishes[1].0, wishes[1].1), (Keyword::Stop, Some(about)));
        assert_eq!(
            (wishes[2].0, wishes[2].1),
            (Keyword::Complaint, Some(about)),
            "by what the mail took along"
        );
        assert_eq!(wishes.len(), 3);
    }

    #[test]
    fn whatever_is_changed_is_a_forgery() {
        let tokens = Tokens::new(&[7; 32], &ProviderName::parse("mail").unwrap());
        let relay = Relay::new();
        let body = br#"[{"event":"delivered"}]"#;
        let heard = |key: &EventKey, headers: &HeaderMap, body: &[u8]| listen(key, &tokens, headers, body);
        let genuine = relay.headers(0, body);
        assert_eq!(heard(&relay.key(), &genuine, body), Ok(Vec::new()));
        for at in 0..body.len() {
            let mut forged = body.to_vec();
            forged[at] ^= 1;
            assert_eq!(heard(&relay.key(), &genuine, &forged), Err(Unheard::Forged), "{at}");
        }
        for (name, text) in
            [(SIGNATURE, "AAAA"), (SIGNATURE, "!"), (TIMESTAMP, "1588788367"), (TIMESTAMP, "")]
        {
            let mut headers = genuine.clone();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(text));
            assert_eq!(heard(&relay.key(), &headers, body), Err(Unheard::Forged), "{name} {text}");
        }
        for age_s in [27 * 3_600, -600] {
            let headers = relay.headers(age_s, body);
            assert_eq!(heard(&relay.key(), &headers, body), Err(Unheard::Forged), "{age_s} s old");
        }
        assert_eq!(heard(&Relay::new().key(), &genuine, body), Err(Unheard::Forged), "another's key");
        assert_eq!(heard(&relay.key(), &HeaderMap::new(), body), Err(Unheard::Forged));
        let odd = b"{}";
        assert_eq!(heard(&relay.key(), &relay.headers(0, odd), odd), Err(Unheard::Unreadable));
    }

    /// The key of SendGrid's own libraries' tests.
    #[test]
    fn a_key_is_read_as_sendgrid_shows_it() {
        let shown = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFceEu/1FwCM/QmGUhA==";
        assert_eq!(EventKey::parse(shown).unwrap().point().len(), 65);
        for bad in ["", "AAAA", &shown[4..], "not base64"] {
            assert!(EventKey::parse(bad).is_none(), "{bad}");
        }
    }
}
