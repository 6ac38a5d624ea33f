//! What the shared HTTP client does when the network, not the provider, answers.

use std::time::{Duration, Instant};

use outreachd::config::provider::{ProviderSection, ProviderSettings};
use outreachd::domain::outbound::{FailureKind, SendError};
use outreachd::provider::registry;
use tokio::net::TcpListener;

use super::http_server::{Act, HttpServer, answer};
use super::table::{no_secret, section, sms};
use super::twilio_sms::account;

fn created() -> String {
    "{\"sid\":\"SM1\"}".to_owned()
}

async fn send_to(url: &str) -> SendError {
    let provider = registry::build(&section(ProviderSettings::TwilioSms(account(url)))).unwrap();
    let error = provider.send(&sms("Hello")).await.unwrap_err();
    no_secret(url, &format!("{error} {error:?}"));
    error
}

#[tokio::test]
async fn a_connection_that_never_was_sent_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(send_to(&format!("http://{closed}")).await, SendError::new(FailureKind::Transient, "connect"));

    let unknown = send_to("https://nowhere.invalid").await;
    assert_eq!(unknown.kind, FailureKind::Transient);

    let plain = HttpServer::start(vec![]).await;
    let error = send_to(&plain.url.replace("http:", "https:")).await;
    assert_eq!(error, SendError::new(FailureKind::Transient, "connect"), "no TLS at the other end");
    assert!(plain.requests().is_empty());
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_given_up_as_not_sent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let began = Instant::now();
    assert_eq!(send_to(&url).await, SendError::new(FailureKind::Transient, "connect"));
    assert!(began.elapsed() < Duration::from_millis(780), "before the time-out of the whole");
}

#[tokio::test]
async fn a_kept_connection_that_closed_while_idle_costs_nothing() {
    let close = Act::AnswerThenClose { status: 201, body: created() };
    let server = HttpServer::start(vec![close, answer(201, &created())]).await;
    let provider = registry::build(&section(ProviderSettings::TwilioSms(account(&server.url)))).unwrap();
    provider.send(&sms("one")).await.unwrap();
    // The client must have seen the close before it asks again.
    tokio::time::sleep(Duration::from_millis(100)).await;
    provider.send(&sms("two")).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "one hit a message");
    assert_ne!(requests[0].connection, requests[1].connection);
}

#[tokio::test]
async fn a_kept_connection_that_dies_with_a_request_is_unknown_and_never_asked_again() {
    for act in [Act::Close, Act::Reset] {
        let server = HttpServer::start(vec![answer(201, &created()), act, answer(201, &created())]).await;
        let provider = registry::build(&section(ProviderSettings::TwilioSms(account(&server.url)))).unwrap();
        provider.send(&sms("one")).await.unwrap();
        let error = provider.send(&sms("two")).await.unwrap_err();
        assert_eq!(error, SendError::new(FailureKind::Ambiguous, "connection_lost"));
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "no silent repeat");
        assert_eq!(requests[0].connection, requests[1].connection, "it was the kept one");
    }
}

#[tokio::test]
async fn a_check_reads_the_account_and_sends_nothing() {
    let server = HttpServer::start(vec![answer(200, "{}"), answer(401, "{\"code\":20003}")]).await;
    let voice = ProviderSettings::TwilioVoice(account(&server.url));
    for (settings, expected) in [
        (ProviderSettings::TwilioSms(account(&server.url)), Ok(())),
        (voice, Err(SendError::new(FailureKind::Misconfigured, "20003"))),
    ] {
        let provider = registry::build(&section(settings)).unwrap();
        assert_eq!(provider.check().await, expected);
    }
    for request in server.requests() {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("GET", "/2010-04-01/Accounts/AC123.json")
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let huge = format!("{{\"sid\":\"SM1\",\"pad\":\"{}\"}}", "x".repeat(1024 * 1024));
    let server = HttpServer::start(vec![answer(201, &huge)]).await;
    let long = Duration::from_secs(5);
    let section =
        ProviderSection { timeout: long, ..section(ProviderSettings::TwilioSms(account(&server.url))) };
    let provider = registry::build(&section).unwrap();
    let error = provider.send(&sms("Hello")).await.unwrap_err();
    assert_eq!(error, SendError::new(FailureKind::Ambiguous, "no_sid"));
}
