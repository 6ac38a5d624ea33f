//! `[amqp]`: the RabbitMQ that brings jobs and carries events. Left out: no broker.

use std::time::Duration;

use reqwest::Url;
use toml::Value;

use super::fault::Broken;
use super::kind::{Int, Size, Span, text};
use super::read::Section;
use super::secret::Secret;
use super::store::without_password;

/// The broker and how it is used.
#[derive(Clone, Debug)]
pub struct AmqpSection {
    /// `amqp://user:password@host:port/vhost` or `amqps://...`.
    pub url: Secret,
    /// Every exchange and queue is named after it.
    pub prefix: String,
    /// Deliveries held un-acked per channel.
    pub prefetch: u16,
    /// Prefetch falls when the bodies held pass this many bytes: AMQP knows no limit in bytes.
    pub held_bytes: usize,
    /// AMQP heartbeat; a dead peer is seen within two.
    pub heartbeat: Duration,
}

impl AmqpSection {
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let given = s.is_given();
        let url = if given { s.required_secret("url") } else { s.secret("url") };
        let section = Self {
            prefix: s.or("prefix", text(prefix), "outreach".to_owned()),
            prefetch: s.or("prefetch", Int(1..=10_000), 1_000),
            held_bytes: s.or("held_bytes", Size((1 << 20)..=(4 << 30)), 64 << 20),
            heartbeat: s.or("heartbeat", SECONDS, Duration::from_secs(10)),
            url: url.clone().unwrap_or_else(|| Secret::new("")),
        };
        if let Some(url) = &url {
            check(s, url);
        } else {
            s.hide();
        }
        url.map(|_| section)
    }
}

fn check(s: &mut Section<'_>, url: &Secret) {
    let parsed = Url::parse(url.expose()).ok();
    if !parsed.is_some_and(|url| matches!(url.scheme(), "amqp" | "amqps") && url.has_host()) {
        s.fault(
            "url",
            Broken::new("must be the URL of a broker", "write amqp://USER:PASSWORD@HOST:PORT/VHOST"),
        );
    }
    s.show("url", Value::String(without_password(url)));
}

const SECONDS: Span = Span(Duration::from_secs(1)..=Duration::from_secs(60));

fn prefix(text: &str) -> Result<String, Broken> {
    let plain =
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.'));
    match plain && (1..=64).contains(&text.len()) && !text.starts_with("amq.") {
        true => Ok(text.to_owned()),
        false => {
            Err(Broken::new("must be 1 to 64 of a-z 0-9 _ - . and not start with amq.", "choose such a name"))
        }
    }
}
