//! Who asks, and what they may do.

use axum::http::header::{AUTHORIZATION, FORWARDED, HOST};
use axum::http::{HeaderMap, Uri};
use jiff::Timestamp;

use super::Shared;
use super::problem::{Fail, Kind};
use crate::config::api::{ApiToken, Scope};
use crate::domain::ids::SourceName;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever: nobody was asked.
    Nobody,
    /// Somebody on this machine, where nobody else can come.
    Local,
    Token(Box<ApiToken>),
}

impl Caller {
    /// For the record of who did what.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Nobody => "nobody",
            Self::Local => "local",
            Self::Token(token) => &token.name,
        }
    }

    pub(super) fn allows(&self, scope: Scope) -> bool {
        match self {
            Self::Nobody => false,
            Self::Local => true,
            Self::Token(token) => token.allows(scope),
        }
    }

    /// The sources it is bound to; `None`: every one.
    pub(super) fn sources(&self) -> Option<&[SourceName]> {
        match self {
            Self::Nobody => Some(&[]),
            Self::Local => None,
            Self::Token(token) => token.sources.as_deref(),
        }
    }

    pub(super) fn speaks_for(&self, source: &SourceName) -> bool {
        self.sources().is_none_or(|sources| sources.contains(source))
    }
}

/// Who asks, by token; without one only where nobody but this machine can have asked.
pub(super) fn authenticate(shared: &Shared, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Fail> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = given.next() else {
        if shared.local_only && is_local(headers, uri) {
            return Ok(Caller::Local);
        }
        return Err(Fail::unauthorized("Bearer", "send a token: `Authorization: Bearer ...`"));
    };
    let invalid = || {
        let challenge = "Bearer error=\"invalid_token\"";
        Fail::unauthorized(challenge, "this token is unknown or has run out")
    };
    if given.next().is_some() {
        return Err(invalid());
    }
    let token = first.to_str().ok().and_then(bearer).ok_or_else(invalid)?;
    let known = shared.parts.config.api.find(token).ok_or_else(invalid)?;
    if known.is_valid_at(wall_clock()) { Ok(Caller::Token(Box::new(known.clone()))) } else { Err(invalid()) }
}

/// Refuses a caller with none of the scopes.
pub(super) fn authorize(caller: &Caller, any_of: &[Scope]) -> Result<(), Fail> {
    if any_of.iter().any(|scope| caller.allows(*scope)) {
        return Ok(());
    }
    let words: Vec<&str> = any_of.iter().map(|scope| scope.as_str()).collect();
    Err(Fail::new(Kind::Forbidden, format!("the token needs the scope {}", words.join(" or "))))
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Asked for by a local name, so no page that a browser shows from elsewhere has brought it here under a name of
/// its own; and not passed on by a proxy, behind which anybody may stand.
fn is_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let passed_on = headers.keys().any(|name| {
        *name == FORWARDED || name.as_str().starts_with("x-forwarded-") || name.as_str() == "x-real-ip"
    });
    if passed_on {
        return false;
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_local_host),
        // HTTP/2 carries it in the request's target.
        (None, None) => uri.authority().is_some_and(|authority| is_local_host(authority.as_str())),
        _ => false,
    }
}

fn is_local_host(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| {
        host.get(..local.len()).is_some_and(|start| start.eq_ignore_ascii_case(local))
            && host.get(local.len()..).is_some_and(is_port)
    })
}

/// Nothing, or a colon and digits.
fn is_port(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

/// Tokens run out by the clock of the machine that checks them: the ledger may be away.
#[expect(clippy::disallowed_methods, reason = "a token's end is judged at the edge, not in a decision")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for (host, local) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:1", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("localhost.example.org", false),
            ("localhost:80@example.org", false),
            ("127.0.0.1.example.org", false),
            ("127.0.0.11", false),
            ("example.org", false),
            ("", false),
        ] {
            assert_eq!(is_local_host(host), local, "{host}");
        }
    }
}
