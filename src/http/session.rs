//! Signing in and out: a password and a code for a cookie that only this listener reads. The other way in is `oidc.rs`.
//!
//! The cookie goes with every request that the browser makes here, so what changes something must also show the
//! session's second token, which only a page of this listener can have read. While nobody has an account, whoever sits
//! at this machine needs none, as callers of the API on loopback need no token.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::Shared;
use super::auth::{Caller, Person};
use super::page::{caller, from_our_page, network};
use super::problem::{Answer, Fail, Kind};
use super::route::{Call, json as answer, to_the_end};
use crate::config::Config;
use crate::config::api::Scope;
use crate::domain::credential::{MAX_PASSWORD, PasswordHash, same};
use crate::domain::ids::UserName;
use crate::domain::phi::Phi;
use crate::store::audit::AuditEntry;
use crate::store::people::{SessionHash, SessionLimits, User};
use crate::store::{Store, StoreError};

pub(super) const COOKIE_NAME: &str = "outreachd";
/// What a page shows beside the cookie, in whatever changes something.
const CSRF_HEADER: &str = "x-csrf-token";
/// What a page asks without anybody touching it carries this, and does not keep the session open.
pub(super) const BY_ITSELF: &str = "x-by-itself";
/// Whether there is any account is asked so often, until there is one.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// ... and so long; without an answer nobody comes in without an account.
const PATIENCE: Duration = Duration::from_secs(5);
/// Passwords that are hashed at once: each takes 19 MiB.
const HASHED_AT_ONCE: usize = 2;

/// One network: a few who mistype, and then one try each 10 s.
const NETWORK_PAUSE: Duration = Duration::from_secs(10);
const NETWORK_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// One account from one network: guessing takes for ever, and nobody elsewhere keeps its owner out.
const ACCOUNT_PAUSE: Duration = Duration::from_secs(15);
const ACCOUNT_AT_ONCE: NonZeroU32 = NonZeroU32::new(8).unwrap();
/// One account from wherever: many networks together guess no faster than this.
const ANYWHERE_PAUSE: Duration = Duration::from_secs(5);
const ANYWHERE_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Ways to an identity provider and back, of one network: a whole clinic in the morning. Guessing is the provider's affair.
const DOOR_PAUSE: Duration = Duration::from_secs(1);
const DOOR_AT_ONCE: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// What somebody who tried too often is told to wait, in seconds.
const WAIT: i64 = 15;

/// What signing in needs beside the ledger.
#[derive(Debug)]
pub(super) struct Doorman {
    networks: DefaultKeyedRateLimiter<IpAddr>,
    accounts: DefaultKeyedRateLimiter<(UserName, Option<IpAddr>)>,
    anywhere: DefaultKeyedRateLimiter<UserName>,
    doors: DefaultKeyedRateLimiter<IpAddr>,
    hashing: Semaphore,
    /// Whether there is an account, as of when.
    known: Mutex<(bool, Option<Instant>)>,
}

impl Doorman {
    pub(super) fn new() -> Self {
        let quota = |pause, at_once| {
            let quota = Quota::with_period(pause).unwrap_or(Quota::per_second(NonZeroU32::MIN));
            quota.allow_burst(at_once)
        };
        Self {
            networks: RateLimiter::keyed(quota(NETWORK_PAUSE, NETWORK_AT_ONCE)),
            accounts: RateLimiter::keyed(quota(ACCOUNT_PAUSE, ACCOUNT_AT_ONCE)),
            anywhere: RateLimiter::keyed(quota(ANYWHERE_PAUSE, ANYWHERE_AT_ONCE)),
            doors: RateLimiter::keyed(quota(DOOR_PAUSE, DOOR_AT_ONCE)),
            hashing: Semaphore::new(HASHED_AT_ONCE),
            known: Mutex::default(),
        }
    }

    /// Forgets whoever has not come for a while.
    pub(super) fn upkeep(&self) {
        self.networks.retain_recent();
        self.accounts.retain_recent();
        self.anywhere.retain_recent();
        self.doors.retain_recent();
    }

    /// Whether anybody has an account: from then on even this machine's own people sign in.
    ///
    /// # Errors
    /// The ledger has never said: then nobody is taken for somebody who needs no account. While it is away its last word
    /// counts: this machine's own people need the measures then, and nothing that lies in the ledger can be had.
    pub(super) async fn knows_anybody(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let (known, asked) = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known || asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return Ok(known);
        }
        let users = match tokio::time::timeout(PATIENCE, store.users()).await {
            Ok(users) => users,
            Err(_) => Err(StoreError::Unavailable("no answer in time".to_owned())),
        };
        let known = match users {
            Ok(users) => !users.is_empty(),
            Err(_) if asked.is_some() => return Ok(known),
            Err(error) => return Err(error),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (known, Some(Instant::now()));
        Ok(known)
    }

    /// Whether whoever asks may go to an identity provider, or come back from it, once more.
    pub(super) fn lets_ask(&self, call: &Call) -> bool {
        let from = caller(call.peer, &call.headers, &call.shared.parts.config.http);
        from.is_none_or(|from| self.doors.check_key(&network(from)).is_ok())
    }

    fn allows(&self, from: Option<IpAddr>, name: &UserName) -> bool {
        let from = from.map(network);
        from.is_none_or(|from| self.networks.check_key(&from).is_ok())
            && self.accounts.check_key(&(name.clone(), from)).is_ok()
            && self.anywhere.check_key(name).is_ok()
    }
}

/// Whose session the request's cookie opens. What changes something must show the session's second token.
///
/// # Errors
/// 403 without that token; the ledger is away.
pub(super) async fn person(
    shared: &Shared,
    headers: &HeaderMap,
    changes: bool,
) -> Result<Option<Person>, Fail> {
    let Some(token) = cookie(headers, COOKIE_NAME) else { return Ok(None) };
    let asked_by_itself = headers.contains_key(BY_ITSELF);
    let limits = SessionLimits { touches: !asked_by_itself, ..limits(&shared.parts.config) };
    let session = shared.store().session(&SessionHash::of(token), limits).await?;
    let Some(session) = session else { return Ok(None) };
    if changes {
        let shown = headers.get(CSRF_HEADER).map_or(&[] as &[u8], HeaderValue::as_bytes);
        if !same(shown, csrf(token).as_bytes()) {
            let detail = "the header X-CSRF-Token is missing or of another session: load the page again";
            return Err(Fail::new(Kind::Forbidden, detail));
        }
    }
    Ok(Some(Person { name: session.user, role: session.role, sites: session.sites }))
}

/// `GET /v1/session`: who asks, and what they may do here.
pub(super) async fn show(call: Call) -> Answer {
    let caller = super::auth::authenticate(&call.shared, &call.headers, &call.uri, false).await;
    let caller = match caller {
        Ok(caller) => caller,
        Err(fail) if fail.kind() == Kind::Unauthorized => Caller::Nobody,
        Err(fail) => return Err(fail),
    };
    let csrf = cookie(&call.headers, COOKIE_NAME).map(csrf);
    answer(StatusCode::OK, &told(&caller, csrf.as_deref(), &call.shared.parts.config))
}

fn told(caller: &Caller, csrf: Option<&str>, config: &Config) -> Value {
    let person = match caller {
        // What the door offers.
        Caller::Nobody => {
            let console = &config.console;
            let provider = console.oidc.as_ref().map(|oidc| &oidc.name);
            return json!({"signed_in": false, "password": console.password, "oidc": provider});
        }
        Caller::Person(person) => Some(person),
        Caller::Local | Caller::Token(_) => None,
    };
    let scopes: Vec<&str> =
        Scope::ALL.iter().filter(|scope| caller.allows(**scope)).map(|scope| scope.as_str()).collect();
    json!({
        "signed_in": true, "name": caller.name(), "role": person.map(|person| person.role),
        "sites": person.map(|person| &person.sites), "scopes": scopes, "csrf": person.and(csrf),
        "local": matches!(caller, Caller::Local), "mode": config.safety.mode,
        "organisation": config.organisation.name, "version": env!("CARGO_PKG_VERSION"),
        "idle_seconds": config.console.idle.as_secs(),
    })
}

/// `POST /v1/session`: a name, a password and a code for a cookie.
pub(super) async fn open(mut call: Call) -> Answer {
    if !from_our_page(&call) {
        return Err(Fail::new(Kind::Forbidden, "sign in on the console's own page"));
    }
    if !call.shared.parts.config.console.password {
        return Err(Fail::new(
            Kind::Forbidden,
            "passwords open nothing here: sign in through the identity provider",
        ));
    }
    let (name, password, code) = call
        .form(|fields| {
            let name = fields.need("name", |slot| slot.name(UserName::parse, UserName::RULE));
            let password = fields.need("password", |slot| slot.text(MAX_PASSWORD).map(Phi::new));
            let code = fields.need("code", |slot| slot.text(16));
            Some((name?, password?, code?))
        })
        .await?;
    let from = caller(call.peer, &call.headers, &call.shared.parts.config.http);
    if !call.shared.people.allows(from, &name) {
        let rule = "was tried too often";
        let cure = "wait a little; an administrator can give new credentials: outreachd users reset";
        let problem =
            crate::domain::problem::Problem::new("name", crate::domain::words::Reason::Paced, rule, cure);
        return Err(Fail::too_many(problem, jiff::SignedDuration::from_secs(WAIT)));
    }
    let shared = call.shared.clone();
    let user = to_the_end(async move { prove(&shared, &name, &password, &code).await }).await??;
    let token = open_for(&call.shared, &user.name).await?;
    let config = &call.shared.parts.config;
    let store = call.store();
    record(store.as_ref(), &user.name, "session.open").await?;
    let person = Caller::Person(Box::new(Person { name: user.name, role: user.role, sites: user.sites }));
    let mut response = answer(StatusCode::OK, &told(&person, Some(&csrf(&token)), config))?;
    set_cookie(&mut response, config, &Cookie::of_session(&token, None))?;
    Ok(response)
}

/// Opens a session, and gives the token of its cookie.
pub(super) async fn open_for(shared: &Shared, name: &UserName) -> Result<String, StoreError> {
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let limits = limits(&shared.parts.config);
    shared.store().open_session(&SessionHash::of(&token), name, limits).await?;
    Ok(token)
}

/// `DELETE /v1/session`: signs out, here and in the ledger; and says where the browser is signed out at its identity
/// provider, where that is asked for.
pub(super) async fn close(call: Call) -> Answer {
    let token = cookie(&call.headers, COOKIE_NAME);
    if let Some(token) = token {
        let store = call.store();
        store.close_session(&SessionHash::of(token)).await?;
        if let Caller::Person(person) = &call.caller {
            record(store.as_ref(), &person.name, "session.close").await?;
        }
    }
    let mut response = match super::oidc::way_out(&call).await {
        Some(url) => answer(StatusCode::OK, &json!({"continue": url}))?,
        None => StatusCode::NO_CONTENT.into_response(),
    };
    if token.is_some() {
        set_cookie(&mut response, &call.shared.parts.config, &Cookie::of_session("", Some(0)))?;
    }
    Ok(response)
}

/// The account, if password and code are right. An unknown name takes as long, and is answered as a wrong password is.
async fn prove(shared: &Shared, name: &UserName, password: &Phi, code: &str) -> Result<User, Fail> {
    let store = shared.store();
    let user = store.user(name).await?;
    let hash = user.as_ref().map_or_else(PasswordHash::of_nobody, |user| user.password.clone());
    let given = password.clone();
    // Never closed.
    let _room = shared.people.hashing.acquire().await.ok();
    let fits = tokio::task::spawn_blocking(move || hash.fits(given.expose())).await.unwrap_or(false);
    let now = store.ping().await?;
    if let Some(user) = user.filter(|user| fits && user.disabled_at.is_none())
        && let Some(step) = user.totp.step_of(code, now)
        && store.use_code(&user.name, step).await?
    {
        if !is_the_providers(&user, &shared.parts.config) {
            return Ok(user);
        }
        refuse(store.as_ref(), name).await?;
        let detail = "this account signs in through the identity provider, whose groups say what it may do";
        return Err(Fail::new(Kind::Forbidden, detail));
    }
    refuse(store.as_ref(), name).await?;
    Err(Fail::unauthorized("Bearer", "the name, the password or the code is wrong; each code counts once"))
}

/// Whether the groups at the identity provider say what an account may do: whoever lost them there must not come in by a
/// password.
fn is_the_providers(user: &User, config: &Config) -> bool {
    let issuer = user.link.as_ref().map(|link| link.issuer.as_str());
    config.console.oidc.as_ref().is_some_and(|oidc| oidc.decides(issuer))
}

async fn refuse(store: &dyn Store, name: &UserName) -> Result<(), Fail> {
    metrics::counter!("outreachd_sign_ins_refused_total", "reason" => "credentials").increment(1);
    record(store, name, "session.refused").await
}

async fn record(store: &dyn Store, who: &UserName, act: &str) -> Result<(), Fail> {
    let entry = AuditEntry {
        who: who.to_string(),
        act: act.to_owned(),
        subject: String::new(),
        detail: Phi::default(),
    };
    Ok(store.record(&entry).await?)
}

fn limits(config: &Config) -> SessionLimits {
    SessionLimits { idle: config.console.idle, whole: config.console.session, touches: true }
}

/// Of the cookies, the one of ours.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, ours: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == ours && !value.is_empty())
        .map(|(_, value)| value)
}

/// The token that a session's pages show beside its cookie: derived from it, so that nobody need keep it.
fn csrf(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("csrf:{token}")))
}

/// A cookie that only this listener reads.
pub(super) struct Cookie<'c> {
    pub(super) name: &'static str,
    pub(super) value: &'c str,
    /// Below the public address.
    pub(super) path: &'static str,
    pub(super) same_site: &'static str,
    /// In seconds; `None`: until the browser is closed.
    pub(super) max_age: Option<u32>,
}

impl<'c> Cookie<'c> {
    pub(super) const fn of_session(value: &'c str, max_age: Option<u32>) -> Self {
        Self { name: COOKIE_NAME, value, path: "/", same_site: "Strict", max_age }
    }
}

pub(super) fn set_cookie(
    response: &mut axum::response::Response,
    config: &Config,
    cookie: &Cookie<'_>,
) -> Result<(), Fail> {
    let public = config.http.public_url.as_deref().unwrap_or_default();
    let secure = if public.starts_with("https://") { "; Secure" } else { "" };
    // Below the public address's path, where there is one: another program may live beside it.
    let below = public.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    let path = match (below, cookie.path) {
        (Some((_, below)), "/") => format!("/{below}"),
        (Some((_, below)), path) => format!("/{below}{path}"),
        (None, path) => path.to_owned(),
    };
    let Cookie { name, value, same_site, max_age, .. } = cookie;
    let age = max_age.map(|age| format!("; Max-Age={age}")).unwrap_or_default();
    let text = format!("{name}={value}; Path={path}; HttpOnly; SameSite={same_site}{secure}{age}");
    let value = HeaderValue::from_str(&text)
        .map_err(|_| Fail::new(Kind::Internal, "the public address cannot stand in a cookie"))?;
    response.headers_mut().append(SET_COOKIE, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_cookies_ours_is_found() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers, COOKIE_NAME), None);
        headers.append(COOKIE, "a=b; outreachdx=1; outreachd=".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE_NAME), None);
        headers.append(COOKIE, "x=y; outreachd=tok_en-1".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE_NAME), Some("tok_en-1"));
        assert_ne!(csrf("one"), csrf("other"));
    }

    #[test]
    fn a_stranger_does_not_keep_somebody_out_of_their_account() {
        let doorman = Doorman::new();
        let (ana, from) = (UserName::parse("ana").unwrap(), |text: &str| text.parse::<IpAddr>().ok());
        let tries = (0..100).filter(|_| doorman.allows(from("192.0.2.1"), &ana)).count();
        assert!(tries <= usize::try_from(ACCOUNT_AT_ONCE.get()).unwrap() + 1, "{tries}");
        assert!(doorman.allows(from("198.51.100.2"), &ana), "who comes from elsewhere");
        let networks = (0..250_u8).map(|n| IpAddr::from([203, 0, 113, n]));
        let tries = networks.filter(|from| doorman.allows(Some(*from), &ana)).count();
        assert!(tries <= usize::try_from(ANYWHERE_AT_ONCE.get()).unwrap() + 1, "{tries}");
        doorman.upkeep();
    }
}
