//! Mail that comes back, in the shapes in which servers and people send it. Each mail stands in `fixtures/mail`, written
//! for this table after the RFCs and what the servers of that name send.

use std::sync::Arc;
use std::time::SystemTime;

use outreachd::config::Config;
use outreachd::config::callback::SigningKey;
use outreachd::config::provider::{ProviderSection, ProviderSettings};
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::SendKey;
use outreachd::domain::outbound::{Content, OutboundMessage};
use outreachd::domain::phi::Phi;
use outreachd::domain::receipt::Said;
use outreachd::domain::reply::{Intent, Keyword};
use outreachd::domain::words::Channel;
use outreachd::policy::reply::{More, read_mail};
use outreachd::provider::mail::IncomingMail;
use outreachd::provider::webhook::{Door, News, Unheard, Webhook};
use outreachd::provider::{Provider, registry};

use mail_parser::MessageParser;
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::smtp_server::SmtpServer;
use super::table::{KEY, message};

const BOUNCE: &str = "bounces+{MARK}@mail.clinic.example";
const REPLY: &str = "reply+{MARK}@mail.clinic.example";
const BARE: &str = "bounces@mail.clinic.example";
const ELSEWHERE: &str = "abuse@clinic.example";

pub(super) fn provider(port: u16, name: &str, key: &str) -> Arc<dyn Provider> {
    registry::build(&relay_section(port, name, key)).unwrap()
}

pub(super) fn relay_section(port: u16, name: &str, key: &str) -> ProviderSection {
    let key = key.repeat(8);
    let config = Config::from_toml(&format!(
        r#"
        [security]
        key = "{key}"
        [[provider]]
        name = "{name}"
        kind = "smtp"
        host = "127.0.0.1"
        port = {port}
        tls = "none"
        from = "Lakeside Health <clinic@clinic.example>"
        bounce_address = "bounces@mail.clinic.example"
        reply_address = "reply@mail.clinic.example"
        "#
    ));
    config.unwrap().providers.remove(0)
}

fn letter() -> OutboundMessage {
    let (subject, text, html) = (Phi::new("Your visit"), Phi::new("Hello"), Phi::new("<p>Hello</p>"));
    message("ana@example.net", Content::Email { subject, text, html, unsubscribe_url: None })
}

/// The mark of the mails of [`KEY`], as it stands in the envelope of one that was sent.
pub(super) async fn mark() -> String {
    let server = SmtpServer::start(&[]).await;
    let accepted = provider(server.port, "mail", "5a1b2c3d").send(&letter()).await.unwrap();
    let mail = server.mails().remove(0);
    let mark = mail.from.strip_prefix("<bounces+").unwrap().strip_suffix("@mail.clinic.example>").unwrap();
    assert!(mark.starts_with(&format!("{KEY}.")), "{mark}");
    assert_eq!(accepted.reference, Some(format!("{mark}@clinic.example")));
    let text = String::from_utf8(mail.text).unwrap();
    assert!(text.contains(&format!("Message-ID: <{mark}@clinic.example>")), "{text}");
    let answers = text.replace("\r\n ", " ");
    assert!(answers.contains(&format!("<reply+{mark}@mail.clinic.example>")), "{text}");
    mark.to_owned()
}

/// The mail of this name with its marks and its recipient filled in.
pub(super) fn mail(name: &str, to: &str, mark: &str) -> Vec<u8> {
    let path = format!("{}/tests/it/fixtures/mail/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.replace("{TO}", to).replace("{MARK}", mark).into_bytes()
}

fn said(heard: &Result<News, Unheard>) -> String {
    match heard {
        Ok(News::Receipt(receipt)) => {
            assert_eq!(receipt.key, SendKey::parse(KEY).unwrap());
            let code = receipt.code.as_deref().unwrap_or("no code");
            match receipt.said {
                Said::Undelivered(failure) => format!("{failure} {code}"),
                said => said.status().to_string(),
            }
        }
        Ok(News::Reply(reply)) => {
            assert_eq!((reply.about, reply.channel), (SendKey::parse(KEY), Channel::Email));
            match reply.keyword {
                Some(Keyword::Complaint) => "complaint".to_owned(),
                Some(Keyword::Stop) => "stop".to_owned(),
                _ => format!("reply: {}", reply.text.expose()),
            }
        }
        Ok(other) => format!("{other:?}"),
        Err(unheard) => format!("{unheard:?}"),
    }
}

#[tokio::test]
async fn whatever_comes_back_finds_its_mail_and_says_what_it_says() {
    let (ours, mark) = (provider(1, "mail", "5a1b2c3d"), mark().await);
    let gone = Failure::BadAddress;
    let table: &[(&str, &str, String)] = &[
        // Reports at the address that the mail was sent from.
        ("postfix", BOUNCE, format!("{gone} 5.1.1")),
        ("postfix-delayed", BOUNCE, "Nothing".to_owned()),
        ("postfix-given-up", BOUNCE, format!("{} 4.4.1", Failure::Unreachable)),
        ("exim", BOUNCE, format!("{} 5.2.2", Failure::MailboxFull)),
        ("exim-text", BOUNCE, format!("{gone} no code")),
        ("exim-warning", BOUNCE, "Nothing".to_owned()),
        ("exchange", BOUNCE, format!("{gone} 5.1.10")),
        ("gmail", BOUNCE, format!("{} 5.7.26", Failure::Misconfigured)),
        ("opensmtpd", BOUNCE, format!("{gone} 5.1.1")),
        ("qmail", BOUNCE, format!("{} 550", Failure::Blocked)),
        ("spam-5.7.1", BOUNCE, format!("{} 5.7.1", Failure::Blocked)),
        ("success", BOUNCE, "delivered".to_owned()),
        ("relayed", BOUNCE, "Nothing".to_owned()),
        // Found by what was sent back with them.
        ("postfix", BARE, format!("{gone} 5.1.1")),
        ("exim-text", BARE, format!("{gone} no code")),
        ("exchange", ELSEWHERE, format!("{gone} 5.1.10")),
        ("gmail", ELSEWHERE, format!("{} 5.7.26", Failure::Misconfigured)),
        ("opensmtpd", BARE, format!("{gone} 5.1.1")),
        ("qmail", ELSEWHERE, format!("{} 550", Failure::Blocked)),
        ("spam-5.7.1", BARE, "Nothing".to_owned()),
        ("spam-5.7.1", ELSEWHERE, "NoWebhook".to_owned()),
        // A report does not become an answer where it comes to the wrong address of ours.
        ("postfix", REPLY, format!("{gone} 5.1.1")),
        // Complaints.
        ("arf", BOUNCE, "complaint".to_owned()),
        ("arf", ELSEWHERE, "complaint".to_owned()),
        ("arf-headers", ELSEWHERE, "complaint".to_owned()),
        ("arf-not-spam", ELSEWHERE, "Nothing".to_owned()),
        // People, and machines in their absence.
        ("absent", REPLY, "Nothing".to_owned()),
        ("absent", ELSEWHERE, "NoWebhook".to_owned()),
        ("reply", REPLY, "reply: ¿Puedo ir más tarde?".to_owned()),
        ("reply", BOUNCE, "reply: ¿Puedo ir más tarde?".to_owned()),
        ("reply", ELSEWHERE, "reply: ¿Puedo ir más tarde?".to_owned()),
        ("unsubscribe", REPLY, "stop".to_owned()),
        ("unsubscribe", ELSEWHERE, "NoWebhook".to_owned()),
        ("fresh", REPLY, "reply: STOP\nstop".to_owned()),
        ("fresh", "reply@mail.clinic.example", "NoWebhook".to_owned()),
        ("fresh", ELSEWHERE, "NoWebhook".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (name, to, expected) in table {
        let to = to.replace("{MARK}", &mark);
        let bytes = mail(name, &to, &mark);
        let heard = ours.hear_mail(&IncomingMail { to: &to, from: None, bytes: &bytes });
        if said(&heard) != *expected {
            wrong.push(format!("{name} at {to}: {}, not {expected}", said(&heard)));
        }
        // Whatever the end, half a mail is nobody's panic.
        for end in (0..bytes.len()).step_by(7) {
            let _ = ours.hear_mail(&IncomingMail { to: &to, from: Some(""), bytes: &bytes[..end] });
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RFC 2369: what a mail program sends there is whatever the URL says, by a person's hand or by itself.
#[tokio::test]
async fn a_mail_can_be_unsubscribed_by_mail() {
    let server = SmtpServer::start(&[]).await;
    let provider = provider(server.port, "mail", "5a1b2c3d");
    let mut letter = letter();
    let Content::Email { unsubscribe_url, .. } = &mut letter.content else { panic!("a mail") };
    *unsubscribe_url = Some("https://o.example/u/t0ken".to_owned());
    provider.send(&letter).await.unwrap();
    let text = server.mails().remove(0).text;
    let mail = MessageParser::default().parse(&text).unwrap();
    let ways = mail.header_raw("List-Unsubscribe").unwrap().replace("\r\n", "");
    let (page, by_mail) = ways.trim().split_once(", ").unwrap();
    assert_eq!(page, "<https://o.example/u/t0ken>");
    let url = Url::parse(by_mail.strip_prefix('<').unwrap().strip_suffix('>').unwrap()).unwrap();
    let subject = url.query_pairs().find(|(name, _)| name == "subject").unwrap().1;
    assert_eq!((url.scheme(), url.path()), ("mailto", REPLY.replace("{MARK}", &mark().await).as_str()));

    let written = |head: &str| {
        let mail = format!("From: ana@example.net\r\nTo: {}\r\nSubject: {subject}\r\n{head}\r\n", url.path());
        let heard = provider.hear_mail(&IncomingMail { to: url.path(), from: None, bytes: mail.as_bytes() });
        let Ok(News::Reply(reply)) = heard else { panic!("{heard:?}") };
        let meaning = read_mail(reply.text.expose(), reply.keyword, &More::default());
        (meaning.intent, meaning.revokes, reply.thread.is_some())
    };
    assert_eq!(written(""), (Intent::Stop, true, true));
    assert_eq!(
        written("Auto-Submitted: auto-generated\r\n"),
        (Intent::Stop, true, false),
        "no answer to a machine"
    );
}

#[tokio::test]
async fn a_forged_bounce_is_refused_whatever_it_says() {
    let mark = mark().await;
    let hear = |provider: &Arc<dyn Provider>, mark: &str, to: &str| {
        let to = to.replace("{MARK}", mark);
        let bytes = mail("postfix", &to, mark);
        provider.hear_mail(&IncomingMail { to: &to, from: Some(""), bytes: &bytes })
    };
    let ours = provider(1, "mail", "5a1b2c3d");
    assert!(matches!(hear(&ours, &mark, BOUNCE), Ok(News::Receipt(_))));
    // Every digit of it counts; the point and the hyphen as well.
    for at in 0..mark.len() {
        let mut forged = mark.clone().into_bytes();
        forged[at] = if forged[at] == b'7' { b'8' } else { b'7' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(hear(&ours, &forged, BOUNCE), Err(Unheard::Forged), "{forged}");
        assert_eq!(hear(&ours, &forged, BARE), Ok(News::Nothing), "{forged}");
        assert_eq!(hear(&ours, &forged, ELSEWHERE), Err(Unheard::NoWebhook), "{forged}");
    }
    for stranger in [provider(1, "mail-2", "5a1b2c3d"), provider(1, "mail", "6a1b2c3d")] {
        assert_eq!(hear(&stranger, &mark, BOUNCE), Err(Unheard::Forged));
    }
    // The repeat of one mail is known, and no name is in what it is known by.
    let to = REPLY.replace("{MARK}", &mark);
    let bytes = mail("reply", &to, &mark);
    let reply = |bytes: &[u8]| match ours.hear_mail(&IncomingMail { to: &to, from: None, bytes }) {
        Ok(News::Reply(reply)) => reply.reference,
        other => panic!("{other:?}"),
    };
    let again = [b"Received: from x\r\n".as_slice(), &bytes].concat();
    assert_eq!(reply(&bytes), reply(&again));
    assert!(!reply(&bytes).contains("example"));
}

#[tokio::test]
async fn a_relay_reports_by_signed_webhook() {
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let mut section = relay_section(1, "mail", "5a1b2c3d");
    let silent = registry::build(&section).unwrap();
    let ProviderSettings::Smtp(smtp) = &mut section.settings else { panic!("a mail provider") };
    smtp.webhook_secret = Some(key.clone());
    let ours = registry::build(&section).unwrap();
    assert!(ours.reports() && !silent.reports());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let hear = async |provider: &Arc<dyn Provider>, seconds: i64, signed: &str, body: &str| {
        let mut headers = HeaderMap::new();
        let signature = key.sign("r1", seconds, signed.as_bytes()).unwrap();
        let at = seconds.to_string();
        for (name, value) in [
            ("webhook-id", "r1"),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature.as_str()),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let call = Webhook { door: Door::Status, query: "", headers: &headers, body: body.as_bytes() };
        provider.hear(&call).await.map(|heard| heard.news)
    };
    let report = |status: &str, code: &str| {
        format!(
            "{{\"send_key\":\"{KEY}\",\"status\":\"{status}\",\"code\":\"{code}\",\"at\":\"2026-12-01T15:00:00Z\"}}"
        )
    };
    for (status, code, expected) in [
        ("sent", "", "sent".to_owned()),
        ("deferred", "4.4.1", "sent".to_owned()),
        ("delivered", "250", "delivered".to_owned()),
        ("bounced", "5.1.1", format!("{} 5.1.1", Failure::BadAddress)),
        ("failed", "552 5.2.2", format!("{} 5.2.2", Failure::MailboxFull)),
        ("undelivered", "", format!("{} no code", Failure::Unreachable)),
        ("complained", "", "complaint".to_owned()),
        ("opened", "", "Unreadable".to_owned()),
    ] {
        let body = report(status, code);
        assert_eq!(said(&hear(&ours, now, &body, &body).await), expected, "{status}");
        assert_eq!(hear(&silent, now, &body, &body).await, Err(Unheard::NoWebhook));
        assert_eq!(hear(&ours, now - 301, &body, &body).await, Err(Unheard::Forged), "late");
        assert_eq!(hear(&ours, now + 310, &body, &body).await, Err(Unheard::Forged), "early");
        assert_eq!(hear(&ours, now, &report("delivered", "1"), &body).await, Err(Unheard::Forged), "altered");
    }
    let by_id = format!("{{\"message_id\":\"<{KEY}@clinic.example>\",\"status\":\"delivered\"}}");
    assert_eq!(
        hear(&ours, now, &by_id, &by_id).await,
        Err(Unheard::Unreadable),
        "without its mark it is none of ours"
    );
}
