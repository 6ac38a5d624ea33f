//! Results by HTTP: posts an event to a source's own receiver, signed, and says what the receiver made of it.
//!
//! Where a post may go is judged twice: the URL as it is written, before the request; and the address that is about to
//! be connected to, by a resolver of our own, so that a name which points elsewhere the second time (DNS rebinding)
//! gains nothing. No redirect is followed and no proxy is used: both would connect past that judgement.

mod resolver;
mod sign;

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{self, NoTls};
use crate::config::callback::Callback;
use crate::config::events::CallbacksSection;
use crate::domain::destination::{Exception, Refusal, judge_address, judge_url};
use crate::domain::ids::EventId;
use crate::policy::callback::Answer;
use crate::policy::retry::retry_after;
pub use resolver::{Lookup, Resolving, system_lookup};
pub use sign::signature;

/// What is read of an answer's body, so that the connection can be used again.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Posts results. One for all receivers; each has connections of its own.
#[derive(Clone)]
pub struct Courier {
    client: reqwest::Client,
    exceptions: Arc<[Exception]>,
    lookup: Lookup,
    timeout: Duration,
}

/// One event on its way.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'l> {
    pub id: EventId,
    /// JSON, whole.
    pub body: &'l str,
    /// The span that it comes from, as the header of that name has it (W3C Trace Context).
    pub traceparent: Option<&'l str>,
    /// The ledger's clock.
    pub now: Timestamp,
}

/// What became of one post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub answer: Answer,
    /// A word of a closed set, such as `http_500`, `connect`, `timeout`, `address_refused`.
    pub code: String,
}

/// Why a receiver cannot be reached; for people who check the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Refused(Refusal),
    /// Its name leads nowhere.
    Dns,
    /// Nobody takes connections there.
    Connect,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

impl Courier {
    /// A courier that looks names up as this machine does.
    ///
    /// # Errors
    /// TLS cannot be set up on this machine.
    pub fn new(rules: &CallbacksSection) -> Result<Self, NoTls> {
        Self::with_lookup(rules, system_lookup())
    }

    /// A courier that looks names up by `lookup`.
    ///
    /// # Errors
    /// TLS cannot be set up on this machine.
    pub fn with_lookup(rules: &CallbacksSection, lookup: Lookup) -> Result<Self, NoTls> {
        let exceptions: Arc<[Exception]> = rules.allow.clone().into();
        let resolver = resolver::Judging { exceptions: exceptions.clone(), lookup: lookup.clone() };
        let client = client::builder(rules.timeout).dns_resolver(Arc::new(resolver));
        let client = client.build().map_err(|_| NoTls)?;
        Ok(Self { client, exceptions, lookup, timeout: rules.timeout })
    }

    /// Posts one event, signed with every key of the source. The timestamp is that of this try.
    pub async fn post(&self, to: &Callback, letter: &Letter<'_>) -> Posted {
        let Ok(url) = Url::parse(&to.url) else { return failed(Refusal::Scheme.as_str()) };
        // A host that is written as an address is connected to without any look-up.
        if let Err(refusal) = judge_url(&url, &self.exceptions) {
            return failed(refusal.as_str());
        }
        let (id, seconds) = (letter.id.to_string(), letter.now.as_second());
        let mut request = self.client.post(url).header(CONTENT_TYPE, "application/json");
        if !to.keys.is_empty() {
            request = request.header("webhook-signature", signature(&to.keys, &id, seconds, letter.body));
        }
        if let Some(traceparent) = letter.traceparent {
            request = request.header("traceparent", traceparent);
        }
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .body(letter.body.to_owned());
        match request.send().await {
            Ok(mut response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                let mut read = 0;
                // The status is the answer; a body that breaks off changes nothing.
                while let Ok(Some(chunk)) = response.chunk().await {
                    read += chunk.len();
                    if read > MAX_ANSWER_BYTES {
                        break;
                    }
                }
                answered(status, &headers)
            }
            Err(error) => failed(not_answered(&error)),
        }
    }

    /// Looks the receiver up, judges where it leads, and connects once, without a request.
    ///
    /// # Errors
    /// Why nothing would arrive there.
    pub async fn check(&self, to: &Callback) -> Result<(), Unreachable> {
        let url = Url::parse(&to.url).map_err(|_| Unreachable::Refused(Refusal::Scheme))?;
        judge_url(&url, &self.exceptions).map_err(Unreachable::Refused)?;
        let host =
            url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => (self.lookup)(host.clone()).await.map_err(|_| Unreachable::Dns)?,
        };
        for address in &addresses {
            judge_address(&host, *address, &self.exceptions).map_err(Unreachable::Refused)?;
        }
        let mut last = Unreachable::Dns;
        for address in addresses {
            let connected = timeout(self.timeout, TcpStream::connect(SocketAddr::new(address, port))).await;
            if matches!(connected, Ok(Ok(_))) {
                return Ok(());
            }
            last = Unreachable::Connect;
        }
        Err(last)
    }
}

fn answered(status: StatusCode, headers: &HeaderMap) -> Posted {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let pause = || text(RETRY_AFTER).and_then(|value| retry_after(value, text(DATE)));
    let answer = match status.as_u16() {
        200..=299 => Answer::Taken,
        410 => Answer::Gone,
        _ => Answer::Failed { retry_after: pause() },
    };
    Posted { answer, code: format!("http_{}", status.as_u16()) }
}

fn failed(code: &str) -> Posted {
    Posted { answer: Answer::Failed { retry_after: None }, code: code.to_owned() }
}

/// What it means that no answer came.
fn not_answered(error: &reqwest::Error) -> &'static str {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return refusal.as_str();
        }
        cause = inner.source();
    }
    if error.is_dns() {
        "dns"
    } else if error.is_connect() {
        "connect"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "connection_lost"
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn every_status_says_what_becomes_of_the_event() {
        let failed = Answer::Failed { retry_after: None };
        for (status, expected) in [
            (200, Answer::Taken),
            (202, Answer::Taken),
            (204, Answer::Taken),
            (301, failed),
            (307, failed),
            (400, failed),
            (401, failed),
            (404, failed),
            (410, Answer::Gone),
            (500, failed),
            (503, failed),
        ] {
            let posted = answered(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            assert_eq!((posted.answer, posted.code), (expected, format!("http_{status}")));
        }
    }

    #[test]
    fn a_pause_that_a_receiver_asks_for_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "120".parse().unwrap());
        let posted = answered(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert_eq!(posted.answer, Answer::Failed { retry_after: Some(SignedDuration::from_secs(120)) });
    }
}
