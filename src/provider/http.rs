//! What all HTTP providers share: the client, and what an answer, or none, says about the message.
//!
//! | what happened | class |
//! |---|---|
//! | DNS, connect or TLS failed, or took too long | `Transient`: not sent |
//! | time-out, reset or end of stream once a request was on its way | `Ambiguous` |
//! | 429 | `Throttled`: not sent |
//! | 503 | `Throttled` with a Retry-After, else `Transient`: not sent |
//! | other 5xx | `Ambiguous`, or what `on_5xx` says |
//! | 3xx, 401, 403, 404, 405 | `Misconfigured`: not sent |
//! | 408, 425 | `Transient`: not sent |
//! | other 4xx | `Rejected`: not sent, unless the provider's own code says more |
//!
//! **Nothing here sends a request twice.** reqwest's retry of protocol refusals is off. What stays is the
//! pool of hyper-util: where a kept connection turns out to be closed before one byte of a request was
//! handed to it, the request goes over another connection; nothing had been sent. A kept connection that
//! dies after that gives `Ambiguous`, and idle ones are given up well before servers close them.

use std::time::Duration;

use jiff::SignedDuration;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode, Url};

use crate::config::is_loopback;
use crate::config::provider::On5xx;
use crate::domain::ids::ProviderName;
use crate::domain::outbound::{FailureKind, SendError};
use crate::domain::problem::Problem;
use crate::domain::words::Reason;
use crate::policy::retry;

/// What is read of an answer; all that we look for is shorter.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a provider answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Cut short at the limit, or where it could not be read.
    pub(super) body: Vec<u8>,
}

/// A client with a total time-out; see [`crate::client`].
///
/// # Errors
/// Where TLS cannot be set up on this machine.
pub fn client(provider: &ProviderName, timeout: Duration) -> Result<reqwest::Client, Problem> {
    crate::client::builder(timeout)
        .build()
        .map_err(|_| fault(provider, "base_url", "no TLS on this machine", "install its root certificates"))
}

/// A fault in the settings of `provider`.
pub(super) fn fault(provider: &ProviderName, field: &str, rule: &str, cure: &str) -> Problem {
    Problem::new(format!("provider.{provider}.{field}"), Reason::ProviderMisconfigured, rule, cure)
}

/// Reads a URL.
pub(super) fn url(provider: &ProviderName, field: &str, text: &str) -> Result<Url, Problem> {
    Url::parse(text).map_err(|_| fault(provider, field, "must be a URL", "write it as https://host"))
}

/// Reads a base URL, without its trailing slash.
pub(super) fn base_url(provider: &ProviderName, field: &str, text: &str) -> Result<String, Problem> {
    let url = trusted(provider, field, text)?;
    if url.query().is_some() {
        return Err(fault(provider, field, "must have no query", "keep scheme, host and path only"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Reads the URL of something that is asked at just that URL: kept to the letter, query and trailing slash too.
pub(super) fn end_point(provider: &ProviderName, field: &str, text: &str) -> Result<String, Problem> {
    trusted(provider, field, text).map(|_| text.trim().to_owned())
}

/// A URL that patient data and credentials may go to: plain HTTP is for this machine only.
fn trusted(provider: &ProviderName, field: &str, text: &str) -> Result<Url, Problem> {
    let wrong = |rule: &str, cure: &str| Err(fault(provider, field, rule, cure));
    let url = url(provider, field, text)?;
    if url.fragment().is_some() || !url.username().is_empty() {
        return wrong("must have no user or fragment", "keep scheme, host and path only");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if url.host_str().is_some_and(is_loopback) => Ok(url),
        _ => wrong("must be https, or http to this machine", "use https://"),
    }
}

/// Sends one request and reads the answer, whatever its status.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Answer, SendError> {
    exchange_up_to(request, MAX_ANSWER_BYTES).await
}

/// The same, for an answer of up to `limit` bytes.
pub(super) async fn exchange_up_to(request: RequestBuilder, limit: usize) -> Result<Answer, SendError> {
    let sent = crate::faults::amid("on_the_wire", request.send()).await;
    let mut response = sent.map_err(|error| not_answered(&error))?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    // The status is the answer. A body that breaks off takes the details with it, not the meaning.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = limit - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == limit {
            break;
        }
    }
    Ok(Answer { status, headers, body })
}

/// What it means that no answer came.
fn not_answered(error: &reqwest::Error) -> SendError {
    if error.is_builder() {
        SendError::new(FailureKind::Misconfigured, "request")
    } else if error.is_dns() {
        SendError::new(FailureKind::Transient, "dns")
    } else if error.is_connect() {
        SendError::new(FailureKind::Transient, "connect")
    } else if error.is_timeout() {
        SendError::new(FailureKind::Ambiguous, "timeout")
    } else {
        SendError::new(FailureKind::Ambiguous, "connection_lost")
    }
}

/// What an answer other than success means where the provider's own code says nothing.
pub(super) fn refusal(answer: &Answer, on_5xx: On5xx) -> SendError {
    let kind = match answer.status.as_u16() {
        429 => FailureKind::Throttled { retry_after: retry_after(&answer.headers) },
        503 => match retry_after(&answer.headers) {
            None => FailureKind::Transient,
            retry_after => FailureKind::Throttled { retry_after },
        },
        500..=599 => match on_5xx {
            On5xx::Unknown => FailureKind::Ambiguous,
            On5xx::NotSent => FailureKind::Transient,
        },
        300..=399 | 401 | 403 | 404 | 405 => FailureKind::Misconfigured,
        408 | 425 => FailureKind::Transient,
        400..=499 => FailureKind::Rejected,
        _ => FailureKind::Ambiguous,
    };
    SendError::new(kind, format!("http_{}", answer.status.as_u16()))
}

/// The pause that an answer asks for.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<SignedDuration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    retry::retry_after(text(RETRY_AFTER)?, text(DATE))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date() {
        for (pairs, expected) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", "4000000000")], Some(86_400)),
            (
                &[
                    ("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT"),
                    ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
                ],
                Some(90),
            ),
            (
                &[
                    ("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT"),
                    ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
                ],
                Some(0),
            ),
            (&[("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after(&headers(pairs)), expected.map(SignedDuration::from_secs), "{pairs:?}");
        }
    }

    #[test]
    fn every_status_has_a_class() {
        use FailureKind::{Ambiguous, Misconfigured, Rejected, Throttled, Transient};
        for (status, expected) in [
            (301, Misconfigured),
            (400, Rejected),
            (401, Misconfigured),
            (403, Misconfigured),
            (404, Misconfigured),
            (408, Transient),
            (413, Rejected),
            (429, Throttled { retry_after: None }),
            (500, Ambiguous),
            (502, Ambiguous),
            (503, Transient),
            (504, Ambiguous),
        ] {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Vec::new(),
            };
            assert_eq!(refusal(&answer, On5xx::Unknown).kind, expected, "{status}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        let name = ProviderName::parse("p").unwrap();
        for good in
            ["https://api.example.org/", "http://127.0.0.1:81", "http://[::1]:81/fhir/", "http://localhost"]
        {
            let url = base_url(&name, "base_url", good).unwrap();
            assert!(!url.ends_with('/'), "{url}");
        }
        for bad in ["http://api.example.org", "ftp://127.0.0.1", "api", "https://u@h", "https://h/?q"] {
            assert!(base_url(&name, "base_url", bad).is_err(), "{bad}");
        }
        for good in ["https://api.example.org/token/", "http://127.0.0.1:81/t?q=1", "https://api.example.org"]
        {
            assert_eq!(end_point(&name, "token_url", good).unwrap(), good);
        }
        for bad in ["http://api.example.org/t", "https://u@h/t", "https://h/t#f", "t"] {
            assert!(end_point(&name, "token_url", bad).is_err(), "{bad}");
        }
    }
}
