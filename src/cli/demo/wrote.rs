//! What the demo's patients write back: their texts reach the worker as from a provider, signed, and its events tell what
//! they were taken for.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use jiff::Timestamp;
use serde_json::Value;

use super::clinic;
use crate::cli::Failure;
use crate::config::Config;
use crate::config::provider::ProviderSettings;
use crate::simulator::Answers;
use crate::store::Store;

/// Events that are read at once.
const AT_ONCE: u32 = 500;

/// How many of them write what.
pub(super) fn answers() -> Answers {
    Answers {
        after_ms: 400,
        yes: 0.2,
        no: 0.08,
        stop: 0.03,
        wrong_number: 0.02,
        help: 0.03,
        text: 0.1,
        ..Answers::default()
    }
}

/// Gives the worker a port by which they reach it, and has the texts name it.
pub(super) fn reachable(config: &mut Config) -> std::io::Result<()> {
    let free = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.local_addr()?;
    config.http.listen = free;
    for provider in &mut config.providers {
        if let ProviderSettings::TwilioSms(sms) = &mut provider.settings {
            sms.status_callback = Some(format!("http://{free}/webhooks/{}", provider.name));
        }
    }
    Ok(())
}

/// Reads on among what is told.
pub(super) struct Wrote {
    after: i64,
}

/// One reply: ids and words, never what was written.
pub(super) struct Line {
    pub(super) intent: String,
    text: String,
}

impl Wrote {
    /// From here on.
    pub(super) async fn from_now(store: &dyn Store) -> Result<Self, Failure> {
        Ok(Self { after: store.stream_end().await? })
    }

    /// What has come since.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        loop {
            let events = store.stream(self.after, &[], AT_ONCE).await?;
            let Some(last) = events.last() else { return Ok(lines) };
            self.after = last.ord;
            for event in &events {
                let template = event.template.as_ref().map_or("", |name| name.as_str());
                lines.extend(
                    serde_json::from_str(&event.body).ok().and_then(|body| Line::of(&body, template)),
                );
            }
        }
    }
}

impl Line {
    fn of(event: &Value, template: &str) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let intent = text("type").strip_prefix("reply.")?.to_owned();
        let at: Timestamp = text("at").parse().ok()?;
        let patient = text("patient_id");
        let language = clinic::number_of(patient).map_or("", clinic::language);
        let answer = text("answer");
        let answer = if answer.is_empty() { String::new() } else { format!(" ({answer})") };
        let line = format!(
            "{}  {:<10}  {:<6}  {template:<20}  {patient:<9}  {language:<7}  {intent}{answer}",
            at.strftime("%H:%M:%S"),
            "wrote back",
            text("channel"),
        );
        Some(Self { intent, text: line })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
