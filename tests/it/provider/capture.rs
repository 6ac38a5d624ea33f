//! `capture`: nothing leaves.

use outreachd::config::provider::CaptureSettings;
use outreachd::domain::ids::ProviderName;
use outreachd::domain::outbound::{Content, FailureKind};
use outreachd::domain::phi::Phi;
use outreachd::domain::words::Channel;
use outreachd::provider::Provider as _;
use outreachd::provider::capture::Capture;

use super::table::{KEY, no_secret, sms};

fn capture() -> Capture {
    Capture::new(ProviderName::parse("kept").unwrap(), &CaptureSettings { channel: Channel::Sms })
}

#[tokio::test]
async fn what_would_have_been_sent_is_taken_and_printed_nowhere() {
    let capture = capture();
    let first = capture.send(&sms("canary-body")).await.unwrap();
    assert_eq!(first.reference, Some(format!("capture-{KEY}")));
    assert_eq!(capture.send(&sms("canary-body")).await.unwrap(), first, "a repeat is the same");
    no_secret("capture", &format!("{capture:?} {first:?}"));
}

#[tokio::test]
async fn another_channel_is_a_fault_of_ours() {
    let mut letter = sms("x");
    letter.content = Content::Portal { subject: Phi::new("s"), text: Phi::new("t") };
    assert_eq!(capture().send(&letter).await.unwrap_err().kind, FailureKind::Misconfigured);
}
