//! What Twilio's messages and calls share: account, form posts, the meaning of its codes.
//!
//! Source: Twilio API 2010-04-01 (OpenAPI `twilio_api_v2010`) and its error dictionary. It has no
//! idempotency key: an unknown outcome must be looked up (`look_up.rs`), never sent again.

mod look_up;
mod said;
pub mod sms;
mod twiml;
pub mod voice;
mod webhook;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{IntoUrl, RequestBuilder, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{self, Answer};
use super::webhook::{Unheard, Webhook};
use crate::config::provider::{On5xx, TwilioSettings};
use crate::config::secret::Secret;
use crate::domain::failure::Failure;
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::outbound::{Accepted, FailureKind, SendError};
use crate::domain::problem::Problem;

/// By itself Twilio calls a webhook once more, and only where it could not connect; this asks for five more tries, after
/// whatever failure. All of them end within 15 s. Source: Twilio, "Webhooks (HTTP callbacks): Connection Overrides".
const COMES_AGAIN: &str = "rc=5&rp=all";

/// Fields of a form, in the order in which they are sent.
pub(super) type Form = Vec<(&'static str, String)>;

/// One Twilio account, as one provider uses it.
pub(super) struct Account {
    client: reqwest::Client,
    /// `{base_url}/2010-04-01/Accounts/{sid}`
    url: String,
    /// The credentials as each request shows them.
    shown: HeaderValue,
    token: Secret,
    /// What webhooks may be signed by beside the token.
    token_previous: Option<Secret>,
    shared_key: Option<Secret>,
    on_5xx: On5xx,
    status_callback: Option<Callback>,
    gather_action: Option<Callback>,
}

impl Account {
    /// Reads what both kinds have in common.
    pub(super) fn new(
        name: &ProviderName,
        settings: &TwilioSettings,
        timeout: Duration,
    ) -> Result<Self, Problem> {
        let base = http::base_url(name, "base_url", &settings.base_url)?;
        let sid = settings.account_sid.clone();
        // It stands in the path of every request.
        if sid.is_empty() || !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let cure = "copy the account SID (AC and 32 hex digits) from the Twilio console";
            return Err(http::fault(name, "account_sid", "must be letters and digits", cure));
        }
        let callback = |field, url: &Option<String>| {
            let fault = || http::fault(name, field, "must be a URL", "write it as https://host/path");
            url.as_ref().map(|url| Callback::new(url).ok_or_else(fault)).transpose()
        };
        let status_callback = callback("status_callback", &settings.status_callback)?;
        let gather_action = callback("gather_action", &settings.gather_action)?;
        let shown = STANDARD.encode(format!("{sid}:{}", settings.auth_token.expose()));
        let mut shown = HeaderValue::try_from(format!("Basic {shown}"))
            .map_err(|_| http::fault(name, "auth_token", "is too long", "copy it from the Twilio console"))?;
        shown.set_sensitive(true);
        Ok(Self {
            client: http::client(name, timeout)?,
            url: format!("{base}/2010-04-01/Accounts/{sid}"),
            shown,
            token: settings.auth_token.clone(),
            token_previous: settings.auth_token_previous.clone(),
            shared_key: settings.webhook_shared_key.clone(),
            on_5xx: settings.on_5xx,
            status_callback,
            gather_action,
        })
    }

    /// Where `resource` is, such as `Messages.json`.
    pub(super) fn place(&self, resource: &str) -> String {
        format!("{}/{resource}", self.url)
    }

    /// Posts `form` and reads the new thing's SID.
    pub(super) async fn post(&self, to: impl IntoUrl, form: &Form) -> Result<Accepted, SendError> {
        let request = self.client.post(to).header(AUTHORIZATION, self.shown.clone()).form(form);
        let answer = http::exchange(request).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer, self.on_5xx));
        }
        // A success without a SID is not Twilio's: some box between us answered, and may have passed it on.
        let sid = serde_json::from_slice::<Created>(&answer.body).ok().map(|created| created.sid);
        match sid.filter(|sid| is_sid(sid)) {
            Some(sid) => Ok(Accepted { reference: Some(sid) }),
            None => Err(SendError::new(FailureKind::Ambiguous, "no_sid")),
        }
    }

    /// Verifies what was posted to `callback`, and reads it.
    fn asked(&self, callback: Option<&Callback>, call: &Webhook<'_>) -> Result<webhook::Asked, Unheard> {
        let callback = callback.filter(|_| !self.token.expose().is_empty()).ok_or(Unheard::NoWebhook)?;
        // An empty key is everybody's.
        let set = |key: &Option<Secret>| key.clone().filter(|key| !key.expose().is_empty());
        let tokens = [Some(self.token.clone()), set(&self.token_previous)];
        let keys = webhook::Keys { tokens, shared: set(&self.shared_key) };
        webhook::read(&callback.given, &keys, call)
    }

    /// Reads a list, of which at most so many bytes are taken.
    async fn listed<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<T, SendError> {
        let shown = request.header(AUTHORIZATION, self.shown.clone());
        let answer = http::exchange_up_to(shown, limit).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer, self.on_5xx));
        }
        serde_json::from_slice(&answer.body).map_err(|_| unread())
    }

    /// Reads the account: reaches Twilio and proves the credentials.
    pub(super) async fn check(&self) -> Result<(), SendError> {
        let request = self.client.get(format!("{}.json", self.url)).header(AUTHORIZATION, self.shown.clone());
        let answer = http::exchange(request).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(&answer, self.on_5xx)) }
    }
}

#[derive(Deserialize)]
struct Created {
    sid: String,
}

#[derive(Deserialize)]
struct Refused {
    code: u32,
}

/// Whether `text` has the form of a SID: two letters and up to 62 letters and digits.
pub(super) fn is_sid(text: &str) -> bool {
    (3..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A number in E.164.
pub(super) fn is_number(text: &str) -> bool {
    text.strip_prefix('+')
        .is_some_and(|digits| (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A URL that Twilio is to call, taken apart once: what stands before and after that which each message adds to its query.
struct Callback {
    /// As it was configured.
    given: String,
    before: String,
    after: String,
}

impl Callback {
    /// `None` where it is no URL.
    fn new(given: &str) -> Option<Self> {
        let mut url = Url::parse(given).ok()?;
        let after = format!("#{}", url.fragment().unwrap_or(COMES_AGAIN));
        url.set_fragment(None);
        let joint = match url.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        Some(Self { given: given.to_owned(), before: format!("{url}{joint}"), after })
    }

    /// With the send key, so that the webhook knows what it is about. Hex digits, a hyphen and a number stand in a URL as
    /// they are, and so do our words for events.
    fn with_key(&self, key: SendKey, event: Option<&'static str>) -> String {
        let (before, after) = (&self.before, &self.after);
        match event {
            Some(event) => format!("{before}send_key={key}&event={event}{after}"),
            None => format!("{before}send_key={key}{after}"),
        }
    }

    /// With an event that is about no message of ours.
    fn with_event(&self, event: &'static str) -> String {
        format!("{}event={event}{}", self.before, self.after)
    }
}

/// A list that is not as Twilio writes it, or was cut.
fn unread() -> SendError {
    SendError::new(FailureKind::Transient, "list")
}

/// What a refusal means. Twilio's code counts where the status says that the request was read and refused.
fn refused(answer: &Answer, on_5xx: On5xx) -> SendError {
    let general = http::refusal(answer, on_5xx);
    if !answer.status.is_client_error() {
        return general;
    }
    let Ok(Refused { code }) = serde_json::from_slice(&answer.body) else { return general };
    let kind = meaning(code).unwrap_or(general.kind);
    let kind = match kind {
        FailureKind::Throttled { .. } => {
            FailureKind::Throttled { retry_after: http::retry_after(&answer.headers) }
        }
        kind => kind,
    };
    SendError::new(kind, code.to_string())
}

/// The class of an error code; `None` where only the HTTP status speaks.
fn meaning(code: u32) -> Option<FailureKind> {
    Some(match code {
        // 20429 too many requests ("never processed"), 21611 and 30001 queue full; of a registered sender 30022 its rate,
        // 30023 its day's number and 30027 T-Mobile's
        20429 | 21611 | 30001 | 30022 | 30023 | 30027 => FailureKind::Throttled { retry_after: None },
        // provider time-out and error inside Twilio, unreachable handset, unknown
        30003 | 30008 | 30410 | 30500 => FailureKind::Transient,
        // no valid or no mobile number, unknown or disused handset, landline
        13223 | 13224 | 21211 | 21214 | 21217 | 21401 | 21614 | 21635 | 30005 | 30006 => {
            FailureKind::BadAddress
        }
        // said STOP
        21610 => FailureKind::OptedOut,
        // account, authentication, region, trial, sender, callback, messaging service, missing registration or verification
        20003 | 20005 | 20404 | 21210 | 21212 | 21213 | 21215 | 21219 | 21408 | 21603 | 21606 | 21607
        | 21608 | 21609 | 21616 | 21626 | 21659 | 21701 | 21702 | 21703 | 21704 | 21705 | 30002 | 30032
        | 30034 => FailureKind::Misconfigured,
        // no text, too long, blocked, filtered; no route from this sender to a number that may be a good one
        21216 | 21602 | 21605 | 21612 | 21617 | 21619 | 30004 | 30007 => FailureKind::Rejected,
        _ => return None,
    })
}

/// Why something that was taken did not arrive, by the code of its receipt. Unlike [`meaning`] this is the end of it:
/// nothing here is worth another try over the same route, but for what never left Twilio within its `ValidityPeriod`.
fn undelivered(code: Option<u32>) -> Failure {
    match code {
        // landline or unreachable carrier; landline
        Some(30006 | 21635) => Failure::Landline,
        // blocked; filtered by a carrier
        Some(30004 | 30007) => Failure::Blocked,
        // unreachable handset; unknown error
        Some(30003 | 30008) | None => Failure::Unreachable,
        // its time ran out in Twilio's own queue
        Some(30036) => Failure::NotSent,
        Some(code) => meaning(code).map_or(Failure::Unreachable, Failure::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_delivered_has_its_reason() {
        use crate::domain::words::Reason::{
            CarrierBlocked, InvalidAddress, Landline, OptedOut, ProviderMisconfigured, ProviderRejected,
            ProviderUnavailable, Unreachable,
        };
        for (code, reason) in [
            (Some(30003), Unreachable),
            (Some(30004), CarrierBlocked),
            (Some(30005), InvalidAddress),
            (Some(30006), Landline),
            (Some(30007), CarrierBlocked),
            (Some(30008), Unreachable),
            (Some(21610), OptedOut),
            (Some(21614), InvalidAddress),
            (Some(30001), ProviderUnavailable),
            (Some(30022), ProviderUnavailable),
            (Some(30023), ProviderUnavailable),
            (Some(30027), ProviderUnavailable),
            (Some(30032), ProviderMisconfigured),
            (Some(30034), ProviderMisconfigured),
            (Some(30036), ProviderUnavailable),
            (Some(21612), ProviderRejected),
            (Some(99999), Unreachable),
            (None, Unreachable),
        ] {
            assert_eq!(undelivered(code).reason(), reason, "{code:?}");
        }
        assert_eq!(undelivered(Some(30036)), Failure::NotSent, "nobody is to blame");
    }

    #[test]
    fn a_callback_carries_the_send_key() {
        let key = SendKey { message: crate::domain::ids::MessageId(uuid::Uuid::nil()), step: 2 };
        let callback = |given| Callback::new(given).unwrap();
        assert_eq!(
            callback("https://o.example/webhooks/v?x=1").with_key(key, Some("machine")),
            "https://o.example/webhooks/v?x=1&send_key=00000000000000000000000000000000-2&event=machine#rc=5&rp=all"
        );
        assert_eq!(
            callback("https://o.example/webhooks/v#rc=2").with_key(key, None),
            "https://o.example/webhooks/v?send_key=00000000000000000000000000000000-2#rc=2",
            "what is configured counts"
        );
    }

    /// The library's own way, which costs a message more.
    #[test]
    fn a_callback_is_spelled_as_a_url() {
        let message = crate::domain::ids::MessageId(uuid::Uuid::from_u128(0x0196_f3c0_abcd_7eef << 64));
        let key = SendKey { message, step: u16::MAX };
        for given in [
            "https://o.example",
            "HTTPS://Ö.example:443/a b/../c?",
            "https://o.example/v?x=1&y=%20é",
            "https://o.example/v?x=1#",
            "http://user@o.example:8080/v?#rc=2&ct=\"1\"",
        ] {
            let spelled = |pairs: &[(&str, &str)]| {
                let mut url = Url::parse(given).unwrap();
                url.query_pairs_mut().extend_pairs(pairs);
                if url.fragment().is_none() {
                    url.set_fragment(Some(COMES_AGAIN));
                }
                String::from(url)
            };
            let (callback, shown) = (Callback::new(given).unwrap(), key.to_string());
            assert_eq!(callback.with_key(key, None), spelled(&[("send_key", &shown)]));
            let keyed = callback.with_key(key, Some("key"));
            assert_eq!(keyed, spelled(&[("send_key", &shown), ("event", "key")]));
            assert_eq!(callback.with_event("stop"), spelled(&[("event", "stop")]));
        }
        assert!(Callback::new("/webhooks/v").is_none());
    }
}
