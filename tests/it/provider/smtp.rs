//! Mail by a relay: what arrives, and what each way of not arriving means.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mail_parser::{HeaderValue, MessageParser};
use outreachd::config::provider::{ProviderSettings, SmtpSettings, SmtpTls};
use outreachd::config::secret::Secret;
use outreachd::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError, Sender};
use outreachd::domain::patient::Name;
use outreachd::domain::phi::Phi;
use outreachd::provider::{Provider, registry};

use super::smtp_server::{Act, Security, SmtpServer};
use super::table::{KEY, message, no_secret, section};

/// Base64 of `\0user\0canary-password`.
const LOGIN: &str = "AHVzZXIAY2FuYXJ5LXBhc3N3b3Jk";

pub(super) fn relay(port: u16) -> SmtpSettings {
    SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: SmtpTls::None,
        username: None,
        password: None,
        from: "Lakeside Health <clinic@lakeside.example>".to_owned(),
        return_path: Some("bounce@bounces.lakeside.example".to_owned()),
        reply_to: None,
        bounce_address: None,
        reply_address: None,
        mark_key: None,
        webhook_secret: None,
        sendgrid_key: None,
        ses_topic: None,
        dkim: None,
        pool_size: 2,
        ca_file: None,
    }
}

fn provider(settings: SmtpSettings) -> Arc<dyn Provider> {
    registry::build(&section(ProviderSettings::Smtp(settings))).unwrap()
}

fn letter() -> OutboundMessage {
    message(
        "ana.canary@example.org",
        Content::Email {
            subject: Phi::new("Su cita mañana"),
            text: Phi::new("Hola Ana,\n.one dot\n..two dots\n.\ncanary-body\n"),
            html: Phi::new("<p>Hola Ana, canary-body</p>"),
            unsubscribe_url: Some("https://o.example/u/t0ken".to_owned()),
        },
    )
}

fn failed(kind: FailureKind, code: &str) -> Result<Accepted, SendError> {
    Err(SendError::new(kind, code))
}

fn text_of(header: &HeaderValue<'_>) -> String {
    header.as_text().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_mail_arrives_whole_with_the_headers_it_should_have() {
    let server = SmtpServer::start(&[]).await;
    let accepted = provider(relay(server.port)).send(&letter()).await.unwrap();
    assert_eq!(accepted.reference.as_deref(), Some(format!("{KEY}@lakeside.example").as_str()));

    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].from, "<bounce@bounces.lakeside.example>");
    assert_eq!(mails[0].to, "<ana.canary@example.org>");
    let mail = MessageParser::default().parse(&mails[0].text).unwrap();
    assert_eq!(mail.message_id(), Some(format!("{KEY}@lakeside.example").as_str()));
    assert_eq!(mail.subject(), Some("Su cita mañana"));
    let from = mail.from().unwrap().first().unwrap();
    assert_eq!((from.name(), from.address()), (Some("Lakeside Health"), Some("clinic@lakeside.example")));
    let to = mail.to().unwrap().first().unwrap();
    assert_eq!((to.name(), to.address()), (Some("Ana Canaria"), Some("ana.canary@example.org")));
    assert!(mail.date().is_some());
    let raw = |name: &str| mail.header_raw(name).unwrap_or_default().trim().to_owned();
    assert_eq!(raw("Auto-Submitted"), "auto-generated");
    assert_eq!(raw("List-Unsubscribe"), "<https://o.example/u/t0ken>");
    assert_eq!(raw("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(raw("MIME-Version"), "1.0");
    assert_eq!(text_of(mail.header("Content-Language").unwrap()), "en-US");
    let body = mail.body_text(0).unwrap().replace("\r\n", "\n");
    assert_eq!(body.trim_end(), "Hola Ana,\n.one dot\n..two dots\n.\ncanary-body");
    assert_eq!(mail.body_html(0).unwrap().trim_end(), "<p>Hola Ana, canary-body</p>");
    assert!(raw("Content-Type").starts_with("multipart/alternative"));
}

#[tokio::test]
async fn the_site_signs_where_it_has_an_address_of_its_own() {
    let server = SmtpServer::start(&[]).await;
    let settings = SmtpSettings {
        return_path: None,
        reply_to: Some("desk@lakeside.example".to_owned()),
        ..relay(server.port)
    };
    let mut letter = letter();
    letter.from =
        Some(Sender { address: "north@north.example".to_owned(), name: Some("Norte Ñ".to_owned()) });
    letter.to_name = None;
    letter.content = Content::Email {
        subject: Phi::new("s"),
        text: Phi::new("t"),
        html: Phi::new("h"),
        unsubscribe_url: None,
    };
    let accepted = provider(settings).send(&letter).await.unwrap();
    assert_eq!(accepted.reference, Some(format!("{KEY}@north.example")));
    let mails = server.mails();
    assert_eq!(mails[0].from, "<north@north.example>");
    let mail = MessageParser::default().parse(&mails[0].text).unwrap();
    assert_eq!(mail.from().unwrap().first().unwrap().name(), Some("Norte Ñ"));
    assert_eq!(mail.reply_to().unwrap().first().unwrap().address(), Some("desk@lakeside.example"));
    assert!(mail.header_raw("List-Unsubscribe").is_none());
}

#[tokio::test]
async fn nothing_in_a_name_or_a_subject_begins_a_header() {
    let hostile = [
        "x\r\nBcc: eve@evil.example",
        "x\nX-Evil: 1",
        "x\rX-Evil: 1",
        "x\0y\r\n\r\n<body>",
        "\"x\" <eve@evil.example>, y",
        "x\u{2028}X-Evil: 1\u{85}z",
        "=?utf-8?q?x=0D=0AX-Evil:_1?=",
        "ñ\r\n X-Evil: 1",
    ];
    let server = SmtpServer::start(&[]).await;
    let provider = provider(relay(server.port));
    for text in hostile {
        let mut letter = letter();
        letter.to_name = Some(Name { given: Some(Phi::new(text)), family: Some(Phi::new(text)) });
        letter.from =
            Some(Sender { address: "clinic@lakeside.example".to_owned(), name: Some(text.to_owned()) });
        letter.content = Content::Email {
            subject: Phi::new(text),
            text: Phi::new("t"),
            html: Phi::new("h"),
            unsubscribe_url: Some("https://o.example/u/1\r\nX-Evil: 1".to_owned()),
        };
        letter.language = text.to_owned();
        provider.send(&letter).await.unwrap();
    }
    let mails = server.mails();
    assert_eq!(mails.len(), hostile.len(), "one mail each");
    let expected = [
        "From",
        "To",
        "Subject",
        "Message-ID",
        "Date",
        "Auto-Submitted",
        "Content-Language",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "MIME-Version",
        "Content-Type",
    ];
    for mail in mails {
        assert_eq!(mail.to, "<ana.canary@example.org>");
        let parsed = MessageParser::default().parse(&mail.text).unwrap();
        let mut names: Vec<&str> = parsed.headers().iter().map(|header| header.name.as_str()).collect();
        names.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(names, expected, "{}", String::from_utf8_lossy(&mail.text));
        assert_eq!(parsed.to().unwrap().iter().count(), 1);
        assert_eq!(parsed.from().unwrap().iter().count(), 1);
    }
}

#[tokio::test]
async fn nothing_in_a_text_ends_the_mail_or_the_conversation() {
    let hostile = [
        "x\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n",
        "x\n.\nQUIT\n",
        "x\r.\rQUIT\r",
        "\0x\0\r\n.\0\r\n",
        ".\r\n.\r\n.",
        ".",
        "\r\n\r\n--boundary\r\n",
    ];
    let server = SmtpServer::start(&[]).await;
    let provider = provider(relay(server.port));
    for text in hostile {
        let mut letter = letter();
        letter.content = Content::Email {
            subject: Phi::new("s"),
            text: Phi::new(text),
            html: Phi::new(text),
            unsubscribe_url: None,
        };
        provider.send(&letter).await.unwrap();
    }
    let mails = server.mails();
    assert_eq!(mails.len(), hostile.len());
    assert!(!server.commands().contains(&"QUIT".to_owned()));
    for (mail, text) in mails.iter().zip(hostile) {
        let raw = String::from_utf8(mail.text.clone()).unwrap();
        let bare = raw.replace("\r\n", "");
        assert!(!bare.contains(['\r', '\n', '\0']), "{raw:?}");
        let parsed = MessageParser::default().parse(&mail.text).unwrap();
        let words = |text: &str| text.replace(['\r', '\n', '\0', ' '], "");
        assert_eq!(words(&parsed.body_text(0).unwrap()), words(text), "{raw:?}");
    }
}

#[tokio::test]
async fn every_refusal_before_and_after_the_dot_means_not_sent() {
    let throttled = FailureKind::Throttled { retry_after: None };
    for (stage, reply, kind, code) in [
        ("CONNECT", "421 4.7.0 too many", throttled, "4.7.0"),
        ("CONNECT", "554 go away", FailureKind::Misconfigured, "554"),
        ("EHLO", "421 busy", FailureKind::Transient, "421"),
        ("MAIL", "553 5.7.1 clinic@lakeside.example is not yours", FailureKind::Misconfigured, "5.7.1"),
        ("MAIL", "451 4.3.2 later", FailureKind::Transient, "4.3.2"),
        ("RCPT", "550 5.1.1 <ana.canary@example.org> unknown", FailureKind::BadAddress, "5.1.1"),
        ("RCPT", "550 ana.canary unknown", FailureKind::BadAddress, "550"),
        ("RCPT", "452-4.2.2 ana.canary\r\n452 4.2.2 is full", FailureKind::Transient, "4.2.2"),
        ("RCPT", "552 5.2.2 full", FailureKind::Transient, "5.2.2"),
        ("RCPT", "421 4.7.28 slow down", throttled, "4.7.28"),
        ("DATA", "550 5.7.1 no", FailureKind::Rejected, "5.7.1"),
        ("DATA", "250 what", FailureKind::Transient, "protocol"),
        ("END", "550 5.7.515 not authenticated", FailureKind::Misconfigured, "5.7.515"),
        ("END", "554 5.7.1 canary-body looks like spam", FailureKind::Rejected, "5.7.1"),
        ("END", "451 4.3.0 disk full", FailureKind::Transient, "4.3.0"),
        ("END", "454 Throttling failure: Maximum sending rate exceeded", throttled, "454"),
    ] {
        let server = SmtpServer::start(&[(stage, Act::Reply(reply))]).await;
        let result = provider(relay(server.port)).send(&letter()).await;
        assert_eq!(result, failed(kind, code), "{stage} {reply}");
        let error = result.unwrap_err();
        no_secret(reply, &format!("{error:?} {error}"));
        assert_eq!((server.mails().len(), server.unused()), (0, 0), "{stage} {reply}");
    }
}

#[tokio::test]
async fn loss_and_silence_are_unknown_only_after_the_dot() {
    for (stage, act, kind, code) in [
        ("CONNECT", Act::Close, FailureKind::Transient, "connect"),
        ("CONNECT", Act::Stall, FailureKind::Transient, "timeout"),
        ("EHLO", Act::Close, FailureKind::Transient, "connect"),
        ("MAIL", Act::Close, FailureKind::Transient, "connection_lost"),
        ("MAIL", Act::Stall, FailureKind::Transient, "timeout"),
        ("RCPT", Act::Close, FailureKind::Transient, "connection_lost"),
        ("DATA", Act::Close, FailureKind::Transient, "connection_lost"),
        ("DATA", Act::Stall, FailureKind::Transient, "timeout"),
        ("END", Act::Close, FailureKind::Ambiguous, "connection_lost"),
        ("END", Act::Stall, FailureKind::Ambiguous, "timeout"),
        ("END", Act::Reply("what"), FailureKind::Ambiguous, "connection_lost"),
        ("END", Act::Reply("354 more"), FailureKind::Ambiguous, "protocol"),
    ] {
        let name = format!("{stage} {act:?}");
        let server = SmtpServer::start(&[(stage, act)]).await;
        let result = provider(relay(server.port)).send(&letter()).await;
        assert_eq!(result, failed(kind, code), "{name}");
        assert_eq!(server.unused(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_loss_in_the_middle_of_the_text_is_not_sent() {
    let server = SmtpServer::start(&[("DATA", Act::GoOnThenReset)]).await;
    let mut long = letter();
    // More than the socket buffers hold: it cannot all have been written when the reset comes.
    let text = "a line of some length, again and again\n".repeat(120_000);
    long.content = Content::Email {
        subject: Phi::new("s"),
        text: Phi::new(text),
        html: Phi::new("h"),
        unsubscribe_url: None,
    };
    let mut section = section(ProviderSettings::Smtp(relay(server.port)));
    section.timeout = Duration::from_secs(20);
    let result = registry::build(&section).unwrap().send(&long).await;
    assert_eq!(result, failed(FailureKind::Transient, "connection_lost"));
}

#[tokio::test]
async fn nobody_there_is_not_sent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let provider = provider(relay(port));
    assert_eq!(provider.send(&letter()).await, failed(FailureKind::Transient, "connect"));
    assert_eq!(provider.check().await, Err(SendError::new(FailureKind::Transient, "connect")));
}

#[tokio::test]
async fn a_connection_serves_many_mails_and_is_set_back_after_a_refusal() {
    let server = SmtpServer::start(&[("RCPT", Act::Reply("550 5.1.1 no"))]).await;
    let provider = provider(relay(server.port));
    assert_eq!(provider.send(&letter()).await, failed(FailureKind::BadAddress, "5.1.1"));
    for _ in 0..3 {
        provider.send(&letter()).await.unwrap();
    }
    assert!(server.mails().iter().all(|mail| mail.connection == 0));
    let commands = server.commands().join(" ");
    assert_eq!(commands, "EHLO MAIL RCPT RSET MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA");
}

#[tokio::test]
async fn a_kept_connection_that_went_stale_costs_one_new_one() {
    for stale in [Act::Close, Act::Reply("421 4.4.2 idle too long")] {
        let server =
            SmtpServer::start(&[("MAIL", Act::Reply("250 2.1.0 ok")), ("MAIL", stale.clone())]).await;
        let provider = provider(relay(server.port));
        provider.send(&letter()).await.unwrap();
        provider.send(&letter()).await.unwrap();
        let connections: Vec<usize> = server.mails().iter().map(|mail| mail.connection).collect();
        assert_eq!(connections, [0, 1], "{stale:?}");
    }
}

/// A dot that is written by itself waits for a receiver that puts its acknowledgement off, each time.
#[tokio::test]
async fn one_mail_after_the_other_waits_for_no_acknowledgement() {
    let server = SmtpServer::start(&[]).await;
    let provider = provider(relay(server.port));
    let started = std::time::Instant::now();
    for _ in 0..100 {
        provider.send(&letter()).await.unwrap();
    }
    let took = started.elapsed();
    assert!(took < Duration::from_millis(100 * 30), "{took:?} for a hundred mails");
    assert!(server.mails().iter().all(|mail| mail.connection == 0), "over one connection");
}

#[tokio::test]
async fn a_kept_connection_lost_after_the_dot_is_not_sent_again() {
    let server = SmtpServer::start(&[("END", Act::Reply("250 2.0.0 ok")), ("END", Act::Close)]).await;
    let provider = provider(relay(server.port));
    provider.send(&letter()).await.unwrap();
    assert_eq!(provider.send(&letter()).await, failed(FailureKind::Ambiguous, "connection_lost"));
    let datas = server.commands().iter().filter(|verb| *verb == "DATA").count();
    assert_eq!(datas, 2, "no silent repeat");
}

#[tokio::test]
async fn a_send_that_was_given_up_never_lends_its_answer_to_the_next() {
    for (act, code) in [(Act::Stall, "timeout"), (Act::Reply("354 more"), "protocol")] {
        let server = SmtpServer::start(&[("END", act)]).await;
        let provider = provider(relay(server.port));
        assert_eq!(provider.send(&letter()).await, failed(FailureKind::Ambiguous, code));
        provider.send(&letter()).await.unwrap();
        let mails = server.mails();
        let last = mails.last().unwrap();
        assert_eq!(last.connection, 1, "{code}: the first connection was closed, not kept");
    }
}

#[tokio::test]
async fn no_more_connections_than_the_pool_has() {
    let server = SmtpServer::start(&[]).await;
    let provider = provider(relay(server.port));
    let letter = letter();
    let sends = (0..12).map(|_| provider.send(&letter));
    assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
    assert!(server.mails().iter().all(|mail| mail.connection < 2), "two at most");
}

fn with_login(port: u16, tls: SmtpTls, ca: bool) -> SmtpSettings {
    let ca_file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/test-only-ca.pem"));
    SmtpSettings {
        tls,
        username: Some("user".to_owned()),
        password: Some(Secret::new("canary-password")),
        ca_file: ca.then_some(ca_file),
        ..relay(port)
    }
}

#[tokio::test]
async fn tls_and_login_work_and_never_fall_back() {
    for (offered, wanted) in [(Security::StartTls, SmtpTls::StartTls), (Security::Tls, SmtpTls::Tls)] {
        let server = SmtpServer::secured(offered, Some(LOGIN), &[]).await;
        let provider = provider(with_login(server.port, wanted, true));
        provider.check().await.unwrap();
        provider.send(&letter()).await.unwrap();
        assert!(server.mails()[0].encrypted, "{wanted:?}");
    }

    let plain = SmtpServer::secured(Security::None, Some(LOGIN), &[]).await;
    let refused = provider(with_login(plain.port, SmtpTls::StartTls, true)).send(&letter()).await;
    assert_eq!(refused, failed(FailureKind::Misconfigured, "no_starttls"));
    assert_eq!(plain.commands(), ["EHLO"], "no password and no mail went out in the clear");

    let stranger = SmtpServer::secured(Security::StartTls, Some(LOGIN), &[]).await;
    let distrusted = provider(with_login(stranger.port, SmtpTls::StartTls, false)).send(&letter()).await;
    assert_eq!(distrusted, failed(FailureKind::Transient, "connect"), "its certificate is nobody's we know");
    assert!(!stranger.commands().contains(&"AUTH".to_owned()));
}

#[tokio::test]
async fn a_wrong_password_is_ours_to_mend() {
    let server = SmtpServer::secured(Security::StartTls, Some("c29tZXRoaW5nIGVsc2U="), &[]).await;
    let provider = provider(with_login(server.port, SmtpTls::StartTls, true));
    let expected = SendError::new(FailureKind::Misconfigured, "5.7.8");
    assert_eq!(provider.check().await, Err(expected.clone()));
    let error = provider.send(&letter()).await.unwrap_err();
    assert_eq!(error, expected);
    no_secret("login", &format!("{error:?} {error} {provider:?}"));

    let open = SmtpServer::secured(Security::StartTls, None, &[]).await;
    let error = self::provider(with_login(open.port, SmtpTls::StartTls, true)).check().await.unwrap_err();
    assert_eq!(error, SendError::new(FailureKind::Misconfigured, "no_auth_mechanism"));
}

#[tokio::test]
async fn an_address_that_cannot_be_written_is_not_tried() {
    let server = SmtpServer::start(&[]).await;
    let provider = provider(relay(server.port));
    for to in ["", "ana", "a@b.org>\r\nRCPT TO:<eve@evil.example", "ána@example.org"] {
        let mut letter = letter();
        letter.to = Phi::new(to);
        assert_eq!(provider.send(&letter).await, failed(FailureKind::BadAddress, "address"), "{to:?}");
    }
    assert!(server.commands().is_empty());
}
