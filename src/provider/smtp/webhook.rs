//! What a relay reports by HTTP. Relays differ; what each says is brought into this one form by whoever runs it:
//!
//! `{"send_key": "0196f3c0…-0", "status": "delivered"}`, or with `"message_id"` in the place of `send_key`, and a `code`
//! (`5.1.1`, `550`) where something failed. Other members are let be.
//!
//! | `status` | says |
//! |---|---|
//! | `sent`, `deferred` | on its way |
//! | `delivered` | it arrived |
//! | `undelivered`, `bounced`, `failed` | it did not, by the code as in a bounce |
//! | `complained` | the recipient wants no more of that |
//!
//! Signed as in Standard Webhooks: `webhook-id`, `webhook-timestamp` (seconds, five minutes off at most),
//! `webhook-signature`.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::reply::Reply as Refusal;
use super::token::Tokens;
use crate::config::callback::SigningKey;
use crate::domain::failure::Failure;
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::phi::Phi;
use crate::domain::receipt::{Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::words::Channel;
use crate::provider::webhook::{Heard, News, Unheard, Webhook};

/// A request that is older, or from so far ahead, is a repeat.
const TOLERANCE: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Report {
    send_key: Option<String>,
    message_id: Option<String>,
    status: String,
    code: Option<String>,
}

/// Verifies and reads one report.
pub(super) fn hear(
    provider: &ProviderName,
    key: &SigningKey,
    tokens: Option<&Tokens>,
    call: &Webhook<'_>,
) -> Result<Heard, Unheard> {
    verified(key, call).ok_or(Unheard::Forged)?;
    let report: Report = serde_json::from_slice(call.body).map_err(|_| Unheard::Unreadable)?;
    let key = about(report.send_key.as_deref(), report.message_id.as_deref(), tokens);
    let key = key.ok_or(Unheard::Unreadable)?;
    let refusal = report.code.as_deref().and_then(Refusal::within);
    let said = match report.status.as_str() {
        "sent" | "deferred" => Said::Sent,
        "delivered" => Said::Delivered,
        "undelivered" | "bounced" | "failed" => {
            Said::Undelivered(refusal.map_or(Failure::Unreachable, Refusal::bounced))
        }
        "complained" => return Ok(Heard::of(News::Reply(complaint(provider, key, call.body)))),
        _ => return Err(Unheard::Unreadable),
    };
    let code = refusal.filter(|_| said.failure().is_some()).map(Refusal::code_text);
    let provider = provider.clone();
    Ok(Heard::of(News::Receipt(Receipt { provider, key, reference: None, said, code, named: Vec::new() })))
}

fn verified(key: &SigningKey, call: &Webhook<'_>) -> Option<()> {
    let header = |name: &str| call.headers.get(name)?.to_str().ok();
    let (id, seconds) = (header("webhook-id")?, header("webhook-timestamp")?.parse::<i64>().ok()?);
    let sent = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))?;
    let now = SystemTime::now();
    let apart = now.duration_since(sent).or_else(|_| sent.duration_since(now)).ok()?;
    let mut signatures = header("webhook-signature")?.split(' ').take(8);
    let fits = signatures.any(|signature| key.fits(id, seconds, call.body, signature));
    (apart <= TOLERANCE && fits).then_some(())
}

/// The step that is named: by its key, or by the Message-ID that its mail was given.
pub(super) fn about(
    send_key: Option<&str>,
    message_id: Option<&str>,
    tokens: Option<&Tokens>,
) -> Option<SendKey> {
    if let Some(key) = send_key {
        return SendKey::parse(key);
    }
    let local = message_id?.trim_matches(['<', '>']).split('@').next()?;
    tokens.map_or_else(|| SendKey::parse(local), |tokens| tokens.read(local))
}

fn complaint(provider: &ProviderName, key: SendKey, body: &[u8]) -> Reply {
    let digest = hex::encode(Sha256::digest(body));
    Reply {
        provider: provider.clone(),
        channel: Channel::Email,
        reference: format!("webhook-{}", digest.get(..32).unwrap_or_default()),
        from: Phi::new(""),
        about: Some(key),
        text: Phi::new(""),
        keyword: Some(Keyword::Complaint),
        thread: None,
    }
}
