//! Who asks, and what they may do.

use axum::http::header::{AUTHORIZATION, FORWARDED, HOST};
use axum::http::{HeaderMap, Uri};
use jiff::Timestamp;

use super::Shared;
use super::problem::{Fail, Kind};
use super::{rights, session};
use crate::config::api::{ApiToken, Scope};
use crate::domain::ids::{SiteId, SourceName, UserName};
use crate::domain::people::Role;
use crate::domain::problem::Problem;
use crate::domain::words::Reason;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever: nobody was asked.
    Nobody,
    /// Somebody on this machine, where nobody else can come.
    Local,
    Token(Box<ApiToken>),
    /// Somebody who has signed in.
    Person(Box<Person>),
}

/// Somebody who has signed in.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) name: UserName,
    pub(super) role: Role,
    /// What they see is limited to these; none: to nothing.
    pub(super) sites: Vec<SiteId>,
}

impl Caller {
    /// For the record of who did what.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Nobody => "nobody",
            Self::Local => "local",
            Self::Token(token) => &token.name,
            Self::Person(person) => person.name.as_str(),
        }
    }

    pub(super) fn allows(&self, scope: Scope) -> bool {
        match self {
            Self::Nobody => false,
            Self::Local => true,
            Self::Token(token) => token.allows(scope),
            Self::Person(person) => rights::scopes(person.role).contains(&scope),
        }
    }

    /// The sources it is bound to; `None`: every one.
    pub(super) fn sources(&self) -> Option<&[SourceName]> {
        match self {
            Self::Nobody => Some(&[]),
            Self::Local | Self::Person(_) => None,
            Self::Token(token) => token.sources.as_deref(),
        }
    }

    pub(super) fn is_person(&self) -> bool {
        matches!(self, Self::Person(_))
    }

    /// The sites that it is limited to; `None`: every one, and what belongs to none.
    pub(super) fn sites(&self) -> Option<&[SiteId]> {
        match self {
            Self::Person(person) if !person.sites.is_empty() => Some(&person.sites),
            _ => None,
        }
    }

    /// Whether it may know of what belongs to this site, or to none.
    pub(super) fn sees(&self, site: Option<&SiteId>) -> bool {
        self.sites().is_none_or(|sites| site.is_some_and(|site| sites.contains(site)))
    }

    /// Refuses whoever is limited to sites where `what` belongs to none.
    pub(super) fn needs_every_site(&self, what: &str) -> Result<(), Fail> {
        match self.sites() {
            None => Ok(()),
            Some(_) => {
                Err(Fail::new(Kind::Forbidden, format!("{what}: for people who are not limited to sites")))
            }
        }
    }

    pub(super) fn speaks_for(&self, source: &SourceName) -> bool {
        self.sources().is_none_or(|sources| sources.contains(source))
    }

    /// Refuses whoever does not speak for `source`.
    pub(super) fn must_speak_for(&self, source: &SourceName) -> Result<(), Fail> {
        if self.speaks_for(source) {
            return Ok(());
        }
        let (rule, cure) = ("is none that these credentials stand for", "name one of them, or leave it out");
        Err(Fail::because(Kind::Forbidden, Problem::new("source", Reason::SourceNotAllowed, rule, cure)))
    }

    /// What a list is of: the sources that it names, else those that the caller is bound to; none: every one. `None`:
    /// there is nothing for this caller.
    pub(super) fn narrowed(&self, named: Vec<SourceName>) -> Result<Option<Vec<SourceName>>, Fail> {
        let Some(bound) = self.sources() else { return Ok(Some(named)) };
        named.iter().try_for_each(|source| self.must_speak_for(source))?;
        let sources = if named.is_empty() { bound.to_vec() } else { named };
        Ok(Some(sources).filter(|sources| !sources.is_empty()))
    }
}

/// Who asks, by token or by the cookie of a session; without either only where nobody but this machine can have asked,
/// and nobody has an account yet. `changes`: the request is one that changes something.
pub(super) async fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    uri: &Uri,
    changes: bool,
) -> Result<Caller, Fail> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = given.next() else {
        if let Some(person) = session::person(shared, headers, changes).await? {
            return Ok(Caller::Person(Box::new(person)));
        }
        let store = shared.store().as_ref();
        if shared.local_only && is_local(headers, uri) && !shared.people.knows_anybody(store).await? {
            return Ok(Caller::Local);
        }
        return Err(Fail::unauthorized(
            "Bearer",
            "send a token (`Authorization: Bearer ...`), or sign in at /",
        ));
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
    let words = words.join(" or ");
    let detail = match caller {
        Caller::Person(person) => {
            format!(
                "a {} may not do this; an administrator can give a role with the right {words}",
                person.role
            )
        }
        _ => format!("the token needs the scope {words}"),
    };
    Err(Fail::new(Kind::Forbidden, detail))
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
