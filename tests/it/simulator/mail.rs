//! Mail: a real client's messages arrive whole, and the address decides what happens to them.

use std::time::Duration;

use lettre::message::MultiPart;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::response::Response;
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Message, Tokio1Executor};
use outreachd::config::secret::Secret;
use outreachd::simulator::{Faults, ProviderKind, Reply, Simulator, SimulatorConfig, SmtpServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::start;

fn mail(to: &str) -> Message {
    Message::builder()
        .from("Lakeside Health <care@example.org>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Su cita: martes a las 9")
        .message_id(Some("<key-0@example.org>".to_owned()))
        .multipart(MultiPart::alternative_plain_html(
            "Hola Ana.\r\n.\r\n..puntos\r\nñandú".to_owned(),
            "<p>Hola Ana</p>".to_owned(),
        ))
        .unwrap()
}

async fn deliver(simulator: &Simulator, message: Message) -> Result<Response, Error> {
    let address = simulator.smtp_addr();
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .timeout(Some(Duration::from_secs(5)))
        .build()
        .send(message)
        .await
}

fn smtp(faults: Faults) -> SimulatorConfig {
    SimulatorConfig { faults_for: [(ProviderKind::Smtp, faults)].into(), ..SimulatorConfig::default() }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_sent() {
    let simulator = start(SimulatorConfig::default()).await;
    let message = mail("ana@example.org");
    deliver(&simulator, message.clone()).await.unwrap();

    let kept = simulator.recent(1).remove(0);
    assert_eq!(kept.to.expose(), "ana@example.org");
    let parsed = mail_parser::MessageParser::default().parse(kept.body.expose()).unwrap();
    assert_eq!(parsed.subject(), Some("Su cita: martes a las 9"));
    assert_eq!(parsed.body_text(0).unwrap().trim_end(), "Hola Ana.\r\n.\r\n..puntos\r\nñandú");
    // The client ends the last line once more before the dot.
    let sent = String::from_utf8(message.formatted()).unwrap();
    assert_eq!(kept.body.expose().trim_end(), sent.trim_end());

    let hit = simulator.hits()[0];
    assert_eq!(hit.send_key.unwrap().as_str(), "key-0");
    assert_eq!((hit.status, hit.taken, hit.reply), (250, true, Reply::Sent));
}

#[tokio::test]
async fn the_address_decides_what_happens() {
    let simulator = start(SimulatorConfig::default()).await;
    for (to, code, permanent) in [
        ("bounce-511@example.org", "550", true),
        ("bounce-422@example.org", "452", false),
        ("reject-571@example.org", "554", true),
    ] {
        let error = deliver(&simulator, mail(to)).await.unwrap_err();
        assert_eq!(error.status().unwrap().to_string(), code, "{to}");
        assert_eq!(error.is_permanent(), permanent, "{to}");
    }
    let stats = simulator.stats().of(ProviderKind::Smtp);
    assert_eq!((stats.hits, stats.taken, stats.rejected), (3, 0, 3));
}

#[tokio::test]
async fn with_a_password_nobody_else_may_send() {
    let server = SmtpServer {
        username: Some("clinic".to_owned()),
        password: Some(Secret::new("right")),
        ..SmtpServer::default()
    };
    let simulator = start(SimulatorConfig { smtp: server, ..SimulatorConfig::default() }).await;
    let error = deliver(&simulator, mail("ana@example.org")).await.unwrap_err();
    assert_eq!(error.status().unwrap().to_string(), "530");
    for (password, works) in [("wrong", false), ("right", true)] {
        let address = simulator.smtp_addr();
        let sent = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
            .port(address.port())
            .credentials(Credentials::new("clinic".to_owned(), password.to_owned()))
            .build::<Tokio1Executor>()
            .send(mail("ana@example.org"))
            .await;
        assert_eq!(sent.is_ok(), works, "{password}");
    }
}

#[tokio::test]
async fn both_ways_to_log_in_are_understood() {
    let server = SmtpServer {
        username: Some("clinic".to_owned()),
        password: Some(Secret::new("right")),
        ..SmtpServer::default()
    };
    let simulator = start(SimulatorConfig { smtp: server, ..SimulatorConfig::default() }).await;
    for (dialogue, code) in [
        ("AUTH LOGIN\r\nY2xpbmlj\r\ncmlnaHQ=\r\n", "235 2.7.0"),
        ("AUTH PLAIN\r\nAGNsaW5pYwByaWdodA==\r\n", "235 2.7.0"),
        ("AUTH PLAIN AGNsaW5pYwByaWdodA==\r\n", "235 2.7.0"),
        ("AUTH LOGIN\r\nY2xpbmlj\r\nd3Jvbmc=\r\n", "535 5.7.8"),
        ("AUTH PLAIN ***\r\n", "535 5.7.8"),
        ("AUTH CRAM-MD5\r\n", "504 5.5.4"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(simulator.smtp_addr()).await.unwrap();
        stream.write_all(format!("EHLO me\r\n{dialogue}QUIT\r\n").as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert!(answers.contains("250-AUTH PLAIN LOGIN\r\n"), "{answers}");
        assert!(answers.contains(code), "{dialogue}: {answers}");
    }
}

#[tokio::test]
async fn faults_come_before_or_after_the_final_dot_as_they_should() {
    for (faults, taken, reply) in [
        (Faults { throttled: 1.0, ..Faults::default() }, false, Reply::Sent),
        (Faults { unavailable: 1.0, ..Faults::default() }, false, Reply::Sent),
        (Faults { error: 1.0, ..Faults::default() }, false, Reply::Sent),
        (Faults { lost: 1.0, ..Faults::default() }, true, Reply::Lost),
        (Faults { error_taken: 1.0, ..Faults::default() }, true, Reply::Lost),
    ] {
        let simulator = start(smtp(faults.clone())).await;
        let error = deliver(&simulator, mail("ana@example.org")).await.unwrap_err();
        assert_eq!(error.is_transient(), !taken, "{faults:?}: {error}");
        let hits = simulator.hits();
        assert_eq!(hits.len(), 1);
        assert_eq!((hits[0].taken, hits[0].reply), (taken, reply), "{faults:?}");
        assert_eq!(simulator.recent(9).len(), usize::from(taken));
    }
}

#[tokio::test]
async fn commands_may_be_pipelined_and_many_mails_share_a_connection() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut stream = tokio::net::TcpStream::connect(simulator.smtp_addr()).await.unwrap();
    let one = "MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nRCPT TO:<bounce-521@d.org>\r\nDATA\r\n";
    let text = "Subject: x\r\n\r\nhello\r\n.\r\n";
    let script = format!("EHLO me\r\n{one}{text}{one}{text}RSET\r\nQUIT\r\n");
    stream.write_all(script.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.contains("250-PIPELINING\r\n"), "{answers}");
    assert_eq!(answers.matches("250 2.0.0 ok: queued as ").count(), 2, "{answers}");
    assert_eq!(answers.matches("550 5.2.1 ").count(), 2, "{answers}");
    assert!(answers.ends_with("221 2.0.0 bye\r\n"), "{answers}");
}

#[tokio::test]
async fn a_mail_cut_before_its_dot_never_arrived() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut stream = tokio::net::TcpStream::connect(simulator.smtp_addr()).await.unwrap();
    let script = "EHLO me\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\nSubject: x\r\n\r\nhal";
    stream.write_all(script.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.contains("354 "), "{answers}");
    assert_eq!(simulator.stats().of(ProviderKind::Smtp).hits, 0);
    assert!(simulator.recent(1).is_empty());
}
