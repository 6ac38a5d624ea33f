//! `[amqp]`: the RabbitMQ that brings jobs and carries events. Left out: no broker.

use std::time::Duration;

use reqwest::Url;
use toml::Value;

use super::fault::Broken;
use super::kind::{Flag, Int, Size, Span, text};
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
    /// Prefetch after a crash or reconnect; doubles with each committed batch.
    pub prefetch_restart: u16,
    /// Prefetch falls when the bodies held pass this many bytes: AMQP knows no limit in bytes.
    pub held_bytes: usize,
    /// Deliveries of one job before the broker sets it aside; guards only against a job that kills the process.
    pub delivery_limit: u32,
    /// Declares missing exchanges and queues at start; off where an administrator did.
    pub declare: bool,
    /// AMQP heartbeat; a dead peer is seen within two.
    pub heartbeat: Duration,
    pub connect_timeout: Duration,
    /// How long a publish may wait for its confirm.
    pub confirm_timeout: Duration,
    /// First and longest pause between two tries to connect.
    pub reconnect_min: Duration,
    pub reconnect_max: Duration,
}

impl AmqpSection {
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let given = s.is_given();
        let url = if given { s.required_secret("url") } else { s.secret("url") };
        let section = Self {
            prefix: s.or("prefix", text(prefix), "outreach".to_owned()),
            prefetch: s.or("prefetch", Int(1..=10_000), 1_000),
            prefetch_restart: s.or("prefetch_restart", Int(1..=1_000), 32),
            held_bytes: s.or("held_bytes", Size((1 << 20)..=(4 << 30)), 64 << 20),
            delivery_limit: s.or("delivery_limit", Int(20..=1_000_000), 1_000),
            declare: s.or("declare", Flag, true),
            heartbeat: s.or("heartbeat", SECONDS, Duration::from_secs(10)),
            connect_timeout: s.or("connect_timeout", SECONDS, Duration::from_secs(10)),
            confirm_timeout: s.or("confirm_timeout", SECONDS, Duration::from_secs(10)),
            reconnect_min: s.or("reconnect_min", PAUSE, Duration::from_millis(200)),
            reconnect_max: s.or("reconnect_max", PAUSE, Duration::from_secs(5)),
            url: url.clone().unwrap_or_else(|| Secret::new("")),
        };
        if let Some(url) = &url {
            section.check(s, url);
        } else {
            s.hide();
        }
        url.map(|_| section)
    }

    fn check(&self, s: &mut Section<'_>, url: &Secret) {
        let parsed = Url::parse(url.expose()).ok();
        if !parsed.is_some_and(|url| matches!(url.scheme(), "amqp" | "amqps") && url.has_host()) {
            s.fault(
                "url",
                Broken::new("must be the URL of a broker", "write amqp://USER:PASSWORD@HOST:PORT/VHOST"),
            );
        }
        s.show("url", Value::String(without_password(url)));
        if self.prefetch_restart > self.prefetch {
            let rule = "must be at most `prefetch`";
            s.fault("prefetch_restart", Broken::new(rule, "lower it, or raise `prefetch`"));
        }
        if self.reconnect_min > self.reconnect_max {
            let rule = "must be at most `reconnect_max`";
            s.fault("reconnect_min", Broken::new(rule, "lower it, or raise `reconnect_max`"));
        }
    }
}

const SECONDS: Span = Span(Duration::from_secs(1)..=Duration::from_secs(60));
const PAUSE: Span = Span(Duration::from_millis(10)..=Duration::from_secs(300));

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
