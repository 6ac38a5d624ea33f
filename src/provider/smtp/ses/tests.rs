//! Envelopes that OpenSSL has signed (`signed.json`; the keys are thrown away), and the table of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode as Status;
use axum::routing::get;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::domain::ids::MessageId;
use crate::provider::webhook::Door;

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:ses-events";
const NOW: &str = "2026-12-01T15:02:00Z";

fn signed() -> Value {
    serde_json::from_str(include_str!("signed.json")).unwrap()
}

/// A certificate of the file.
pub(super) fn fixture(name: &str) -> String {
    signed()[name].as_str().unwrap().to_owned()
}

fn envelope(name: &str) -> Value {
    signed()["messages"][name].clone()
}

/// The host of the topic, on loopback: how often its certificate was fetched, and what was confirmed.
#[derive(Default)]
struct Host {
    status: AtomicUsize,
    fetched: AtomicUsize,
    confirmed: std::sync::Mutex<Vec<String>>,
}

impl Host {
    fn status(&self) -> Status {
        Status::from_u16(u16::try_from(self.status.load(Ordering::SeqCst)).unwrap()).unwrap()
    }
}

async fn open(provider: &ProviderName) -> (Arc<Host>, Ses) {
    let host = Arc::new(Host::default());
    host.status.store(200, Ordering::SeqCst);
    let certificate = |State(host): State<Arc<Host>>| async move {
        host.fetched.fetch_add(1, Ordering::SeqCst);
        (host.status(), fixture("certificate"))
    };
    let confirm = |State(host): State<Arc<Host>>, RawQuery(query): RawQuery| async move {
        host.confirmed.lock().unwrap().push(query.unwrap_or_default());
        host.status()
    };
    let router = axum::Router::new()
        .route("/{file}", get(certificate))
        .route("/", get(confirm))
        .with_state(host.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let sns = Sns::on_loopback(provider, EventTopic::parse(TOPIC).unwrap(), port);
    (host, Ses { sns })
}

async fn hear(ses: &Ses, envelope: &Value, now: &str) -> Result<News, Unheard> {
    let (provider, headers) = (ProviderName::parse("mail").unwrap(), HeaderMap::new());
    let body = serde_json::to_vec(envelope).unwrap();
    let call = Webhook { door: Door::Status, query: "", headers: &headers, body: &body };
    ses.hear(&provider, None, &call, now.parse().unwrap()).await.map(|heard| heard.news)
}

#[tokio::test]
async fn what_the_topic_signed_is_heard_and_nothing_else() {
    let provider = ProviderName::parse("mail").unwrap();
    let (host, ses) = open(&provider).await;
    // What cannot be the topic's is not worth a question.
    let foreign = [
        "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.us-east-1.amazonaws.com@evil.example/SimpleNotificationService-0.pem",
        "https://sns.us-east-1.amazonaws.com:8443/SimpleNotificationService-0.pem",
        "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.us-east-1.amazonaws.com/../SimpleNotificationService-0.pem",
        "https://sns.us-east-1.amazonaws.com/a/b.pem",
        "https://sns.us-east-1.amazonaws.com/?Action=x&y=.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.txt",
        "",
    ];
    for url in foreign {
        let mut forged = envelope("plain_2");
        forged["SigningCertURL"] = json!(url);
        assert_eq!(hear(&ses, &forged, NOW).await, Err(Unheard::Forged), "{url}");
    }
    for name in ["another_topic_2", "md5_3", "strange_2"] {
        assert_eq!(hear(&ses, &envelope(name), NOW).await, Err(Unheard::Forged), "{name}");
    }
    // Recorded, and played back later; or from a clock that is far ahead.
    for now in ["2026-12-01T16:10:00Z", "2027-12-01T15:02:00Z", "2026-12-01T14:54:00Z"] {
        assert_eq!(hear(&ses, &envelope("plain_2"), now).await, Err(Unheard::Forged), "{now}");
    }
    assert_eq!(hear(&ses, &json!({"eventType": "Delivery"}), NOW).await, Err(Unheard::Forged), "raw");
    assert_eq!(host.fetched.load(Ordering::SeqCst), 0);

    for name in ["subject_1", "plain_2", "ended_2"] {
        // SNS posts at least once: what it posts again is genuine.
        for _ in 0..2 {
            assert_eq!(hear(&ses, &envelope(name), NOW).await, Ok(News::Nothing), "{name}");
        }
    }
    assert_eq!(hear(&ses, &envelope("another_key_2"), NOW).await, Err(Unheard::Forged));
    for name in ["subject_1", "plain_2", "confirm_1"] {
        for field in
            ["Message", "MessageId", "Subject", "Timestamp", "Type", "Token", "SubscribeURL", "Signature"]
        {
            let mut altered = envelope(name);
            let Some(text) = altered.get(field).and_then(Value::as_str).map(str::to_owned) else { continue };
            let changed = match field {
                "Timestamp" => text.replace(".655", ".656"),
                "Type" if text == "Notification" => "UnsubscribeConfirmation".to_owned(),
                "Type" => "UnsubscribeConfirmation".to_owned(),
                "Signature" => text.replacen(['a', 'b', 'c'], "d", 1),
                _ => format!("{text}x"),
            };
            altered[field] = json!(changed);
            assert_eq!(hear(&ses, &altered, NOW).await, Err(Unheard::Forged), "{name} {field}");
        }
        let mut other = envelope(name);
        other["SignatureVersion"] = json!(if name == "plain_2" { "1" } else { "2" });
        assert_eq!(hear(&ses, &other, NOW).await, Err(Unheard::Forged), "{name} by the other hash");
    }
    assert_eq!(host.fetched.load(Ordering::SeqCst), 1, "fetched once and kept");
    assert!(host.confirmed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_our_topic_is_confirmed_and_never_by_the_url_that_was_posted() {
    let provider = ProviderName::parse("mail").unwrap();
    let (host, ses) = open(&provider).await;
    let mut forged = envelope("confirm_2");
    forged["Token"] = json!("another");
    assert_eq!(hear(&ses, &forged, NOW).await, Err(Unheard::Forged));
    assert!(host.confirmed.lock().unwrap().is_empty());
    for name in ["confirm_1", "confirm_2"] {
        assert_eq!(hear(&ses, &envelope(name), NOW).await, Ok(News::Nothing), "{name}");
    }
    let expected = "Action=ConfirmSubscription&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A123456789012%3Ases-events&\
        Token=2336412f37";
    assert_eq!(*host.confirmed.lock().unwrap(), [expected, expected]);
    host.status.store(503, Ordering::SeqCst);
    assert_eq!(hear(&ses, &envelope("confirm_2"), NOW).await, Err(Unheard::Later), "it comes again");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_had_now_is_waited_for_and_not_asked_for_without_end() {
    let provider = ProviderName::parse("mail").unwrap();
    let (host, ses) = open(&provider).await;
    for (status, expected) in [(503, Unheard::Later), (429, Unheard::Later), (404, Unheard::Forged)] {
        host.status.store(status, Ordering::SeqCst);
        assert_eq!(hear(&ses, &envelope("plain_2"), NOW).await, Err(expected), "{status}");
    }
    for n in 0..20 {
        let mut forged = envelope("plain_2");
        forged["SigningCertURL"] = json!(format!("https://sns.us-east-1.amazonaws.com/{n}.pem"));
        assert!(hear(&ses, &forged, NOW).await.is_err());
    }
    assert_eq!(host.fetched.load(Ordering::SeqCst), 10);
}

#[test]
fn every_event_says_what_the_table_says() {
    let provider = ProviderName::parse("mail").unwrap();
    let tokens = Tokens::new(&[7; 32], &provider);
    let about = SendKey { message: MessageId::generate(), step: 1 };
    let mark = tokens.mark(about);
    let by_source = json!({"source": format!("bounces+{mark}@lakeside.example"), "messageId": "0100"});
    let by_id = json!({"source": "x@y.example", "commonHeaders": {"messageId": format!("<{mark}@lakeside.example>")}});
    let by_header = json!({"headers": [{"name": "To", "value": "a@b.example"},
        {"name": "Message-Id", "value": format!("<{mark}@lakeside.example>")}]});
    let bounce = |kind: &str, sub: &str, recipient: Value| {
        json!({"eventType": "Bounce", "bounce": {"bounceType": kind, "bounceSubType": sub,
            "feedbackId": "0", "bouncedRecipients": [recipient]}})
    };
    let dsn = |status: &str, code: &str| json!({"emailAddress": "a@b.example", "action": "failed", "status": status, "diagnosticCode": code});
    let bare = json!({"emailAddress": "a@b.example"});
    let lost = |failure| Some(Said::Undelivered(failure));
    for (event, said, code) in [
        (json!({"eventType": "Send", "send": {}}), Some(Said::Sent), None),
        (
            json!({"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": "MailboxFull"}}),
            Some(Said::Sent),
            None,
        ),
        (json!({"eventType": "Delivery"}), Some(Said::Delivered), None),
        (json!({"notificationType": "Delivery"}), Some(Said::Delivered), None),
        (
            bounce("Permanent", "General", dsn("5.1.1", "smtp; 550 5.1.1 no such user")),
            lost(Failure::BadAddress),
            Some("5.1.1"),
        ),
        (bounce("Permanent", "NoEmail", bare.clone()), lost(Failure::BadAddress), None),
        (
            bounce("Permanent", "General", dsn("5.0.0", "smtp; 550 5.7.1 spam")),
            lost(Failure::Blocked),
            Some("5.7.1"),
        ),
        (
            bounce("Permanent", "General", dsn("5.0.0", "smtp; 550 no")),
            lost(Failure::BadAddress),
            Some("5.0.0"),
        ),
        (bounce("Permanent", "Suppressed", bare.clone()), lost(Failure::BadAddress), None),
        (bounce("Permanent", "OnAccountSuppressionList", bare.clone()), lost(Failure::BadAddress), None),
        (bounce("Transient", "MailboxFull", dsn("5.2.2", "")), lost(Failure::MailboxFull), Some("5.2.2")),
        (bounce("Transient", "MailboxFull", bare.clone()), lost(Failure::MailboxFull), None),
        (bounce("Transient", "ContentRejected", bare.clone()), lost(Failure::Rejected), None),
        (bounce("Transient", "MessageTooLarge", bare.clone()), lost(Failure::Rejected), None),
        (
            bounce("Transient", "General", dsn("4.4.1", "smtp; 421 4.4.1 away")),
            lost(Failure::Unreachable),
            Some("4.4.1"),
        ),
        (bounce("Transient", "General", bare.clone()), Some(Said::Sent), None),
        (bounce("Undetermined", "Undetermined", bare), lost(Failure::Unreachable), None),
        (json!({"eventType": "Reject", "reject": {"reason": "Bad content"}}), lost(Failure::Rejected), None),
        (json!({"eventType": "Rendering Failure"}), lost(Failure::Rejected), None),
        (
            json!({"eventType": "Complaint", "complaint": {"complaintSubType": "OnAccountSuppressionList"}}),
            lost(Failure::OptedOut),
            None,
        ),
        (json!({"eventType": "Complaint", "complaint": {"complaintFeedbackType": "not-spam"}}), None, None),
        (json!({"eventType": "Open"}), None, None),
        (json!({"eventType": "Bounce"}), None, None),
    ] {
        for mail in [&by_source, &by_id, &by_header] {
            let mut event = event.clone();
            event["mail"] = mail.clone();
            let news = read(&provider, Some(&tokens), &event.to_string());
            let found = news.map(|news| match news {
                News::Receipt(receipt) => (receipt.key, receipt.said, receipt.code),
                other => panic!("{other:?}"),
            });
            assert_eq!(found, said.map(|said| (about, said, code.map(str::to_owned))), "{event}");
        }
    }
    let complaint = json!({"eventType": "Complaint", "mail": by_source,
        "complaint": {"feedbackId": "0100-ab", "complaintFeedbackType": "abuse", "complaintSubType": null}});
    match read(&provider, Some(&tokens), &complaint.to_string()) {
        Some(News::Reply(reply)) => assert_eq!(
            (reply.keyword, reply.about, reply.reference.as_str()),
            (Some(Keyword::Complaint), Some(about), "ses-0100-ab")
        ),
        other => panic!("{other:?}"),
    }
    for none_of_ours in [
        "Successfully validated SNS topic for Amazon SES event publishing.".to_owned(),
        json!({"eventType": "Delivery", "mail": {"source": "a@b.example"}}).to_string(),
        json!({"eventType": "Delivery"}).to_string(),
    ] {
        assert_eq!(read(&provider, Some(&tokens), &none_of_ours), None, "{none_of_ours}");
    }
}

mod hostile {
    //! `PROPTEST_CASES` says how many cases.

    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use tokio::runtime::Runtime;

    use super::*;

    struct Topic {
        runtime: Runtime,
        host: Arc<Host>,
        ses: Ses,
    }

    static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
        let runtime = Runtime::new().unwrap();
        let (host, ses) = runtime.block_on(open(&ProviderName::parse("mail").unwrap()));
        Topic { runtime, host, ses }
    });

    fn heard(body: &[u8]) -> Result<News, Unheard> {
        let (provider, headers) = (ProviderName::parse("mail").unwrap(), HeaderMap::new());
        let call = Webhook { door: Door::Status, query: "", headers: &headers, body };
        let heard = TOPIC.ses.hear(&provider, None, &call, NOW.parse().unwrap());
        TOPIC.runtime.block_on(heard).map(|heard| heard.news)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_envelope_is_heard_as_it_was_signed_or_not_at_all(
            name in select(vec!["subject_1", "plain_2", "ended_2"]), changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..3),
            cut in any::<Option<Index>>(),
        ) {
            let good = serde_json::to_vec(&envelope(name)).unwrap();
            let genuine = heard(&good);
            prop_assert!(genuine.is_ok());
            let mut altered = good;
            for (at, byte) in changes {
                let at = at.index(altered.len());
                altered[at] = byte;
            }
            if let Some(cut) = cut {
                altered.truncate(cut.index(altered.len()));
            }
            let after = heard(&altered);
            prop_assert!(after.is_err() || after == genuine, "{:?}", after);
            prop_assert!(TOPIC.host.confirmed.lock().unwrap().is_empty());
        }

        #[test]
        fn no_bytes_are_an_envelope(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}", field in select(vec![
            "Message", "MessageId", "Subject", "Timestamp", "Type", "Token", "SubscribeURL", "Signature", "SigningCertURL", "TopicArn", "SignatureVersion",
        ])) {
            prop_assert_eq!(heard(&bytes), Err(Unheard::Forged));
            let mut altered = envelope("subject_1");
            altered[field] = json!(text);
            prop_assert!(heard(&serde_json::to_vec(&altered).unwrap()).is_err() || altered == envelope("subject_1") || field == "Token" || field == "SubscribeURL");
        }
    }
}
