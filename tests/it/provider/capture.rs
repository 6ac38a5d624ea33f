//! What `capture` keeps.

use outreachd::config::provider::CaptureSettings;
use outreachd::domain::ids::{MessageId, ProviderName, SendKey};
use outreachd::domain::outbound::{Content, FailureKind};
use outreachd::domain::phi::Phi;
use outreachd::domain::words::Channel;
use outreachd::provider::Provider as _;
use outreachd::provider::capture::Capture;

use super::table::{no_secret, sms};

fn capture() -> Capture {
    Capture::new(ProviderName::parse("kept").unwrap(), &CaptureSettings { channel: Channel::Sms })
}

fn numbered(n: u128, text: &str) -> outreachd::domain::outbound::OutboundMessage {
    let mut message = sms(text);
    message.send_key = SendKey { message: MessageId(uuid::Uuid::from_u128(n)), step: 0 };
    message
}

#[tokio::test]
async fn what_would_have_been_sent_is_kept_once_and_printed_nowhere() {
    let capture = capture();
    let first = capture.send(&sms("canary-body")).await.unwrap();
    assert_eq!(capture.send(&sms("canary-body")).await.unwrap(), first, "a repeat is the same");
    let kept = capture.captured();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].content, Content::Sms { text: Phi::new("canary-body"), segments: 1 });
    no_secret("capture", &format!("{capture:?} {kept:?} {first:?}"));
}

#[tokio::test]
async fn the_ring_is_bounded_by_count_and_by_bytes() {
    let many = capture();
    for n in 0..1_005 {
        many.send(&numbered(n, "x")).await.unwrap();
    }
    let kept = many.captured();
    assert_eq!(kept.len(), 1_000);
    assert_eq!(kept[0].send_key.message.0.as_u128(), 5, "the oldest went first");

    let large = capture();
    for n in 0..5 {
        large.send(&numbered(n, &"x".repeat(6 * 1024 * 1024))).await.unwrap();
    }
    assert_eq!(large.captured().len(), 2);
}

#[tokio::test]
async fn another_channel_is_a_fault_of_ours() {
    let mut letter = sms("x");
    letter.content = Content::Portal { subject: Phi::new("s"), text: Phi::new("t") };
    assert_eq!(capture().send(&letter).await.unwrap_err().kind, FailureKind::Misconfigured);
}
