//! Signing in through an identity provider: out to it, and back with a code.
//!
//! Both requests are ones that a browser makes by itself, so neither is answered with problem details: whoever is not let
//! in comes back to the console's own page, which says why in words ([`Refused`]).

use std::sync::Arc;

use axum::extract::Query;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::Shared;
use super::problem::{Answer, Fail, Kind};
use super::route::{Call, to_the_end};
use super::session::{self, COOKIE_NAME, Cookie, cookie, set_cookie};
use crate::config::oidc::Newcomers;
use crate::domain::credential::{PasswordHash, TotpSecret, same};
use crate::domain::people::{Granted, Refused};
use crate::domain::phi::Phi;
use crate::identity::{Attempt, IdentityProvider, Proved, Trouble};
use crate::policy::identity::granted;
use crate::store::audit::AuditEntry;
use crate::store::people::{Link, Recognised, SessionHash, User, Vouched};
use crate::store::{Store, StoreError};

/// The browser's secret between the two requests.
const ATTEMPT: &str = "outreachd-sign-in";
/// So long a provider may take to ask for credentials, in seconds.
const ATTEMPT_SECONDS: u32 = 600;
/// Of these two requests alone.
const PATH: &str = "/v1/session/oidc";
/// Before the provider's name for somebody who has no account here.
const SOMEBODY: &str = "oidc:";

/// Why somebody is not let in, and what the audit log says of it.
struct Refusal {
    refused: Refused,
    /// Who it was, which account they meant, and the particulars; `None`: the provider has vouched for nobody, so anybody may
    /// have asked, as often as they like.
    entry: Option<(String, String, &'static str)>,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self { refused, entry: None }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a sign-in failed for want of the ledger");
        Refused::Ledger.into()
    }
}

/// `GET /v1/session/oidc`: sends the browser to the provider.
pub(super) async fn begin(call: Call) -> Answer {
    let provider = provider(&call)?;
    let attempt = Attempt::of(rand::random());
    let sent = match call.shared.people.lets_ask(&call) {
        true => provider.door(&attempt).await.map_err(|trouble| told(&trouble)),
        false => Err(Refused::TooOften),
    };
    let config = &call.shared.parts.config;
    match sent {
        Ok(url) => {
            let mut response = lead(url.as_str())?;
            let value = Cookie {
                name: ATTEMPT,
                value: attempt.expose(),
                path: PATH,
                // The way back begins elsewhere.
                same_site: "Lax",
                max_age: Some(ATTEMPT_SECONDS),
            };
            set_cookie(&mut response, config, &value)?;
            Ok(response)
        }
        Err(refused) => lead(&format!("../../#/signin?failed={refused}")),
    }
}

/// `GET /v1/session/oidc/callback`: the browser comes back.
pub(super) async fn finish(call: Call) -> Answer {
    let provider = provider(&call)?;
    let config = &call.shared.parts.config;
    let store = Arc::clone(call.store());
    let entered = enter(&call, provider).await?;
    // Whoever came back from the provider is somebody else than whom this browser was signed in as, or themselves anew.
    let came_back = cookie(&call.headers, ATTEMPT).is_some();
    if let Some(before) = cookie(&call.headers, COOKIE_NAME).filter(|_| came_back)
        && let Err(error) = store.close_session(&SessionHash::of(before)).await
    {
        tracing::warn!(%error, "the session of whom a browser was signed in as goes on");
    }
    let mut response = match entered {
        Ok(token) => {
            let mut response = lead("../../../")?;
            set_cookie(&mut response, config, &Cookie::of_session(&token, None))?;
            response
        }
        Err(mut refusal) => {
            let reason = refusal.refused.as_str();
            metrics::counter!("outreachd_sign_ins_refused_total", "reason" => reason).increment(1);
            if let Some((who, subject, detail)) = refusal.entry {
                let detail = Phi::new(format!("oidc: {} ({detail})", refusal.refused));
                let entry = AuditEntry { who, act: "session.refused".to_owned(), subject, detail };
                if let Err(error) = store.record(&entry).await {
                    tracing::error!(%error, "a refused sign-in could not be written to the audit log");
                    refusal.refused = Refused::Ledger;
                }
            }
            let mut response = lead(&format!("../../../#/signin?failed={}", refusal.refused))?;
            if came_back {
                // A browser does not show it on the way back from another site, and forgets it all the same.
                set_cookie(&mut response, config, &Cookie::of_session("", Some(0)))?;
            }
            response
        }
    };
    let spent = Cookie { name: ATTEMPT, value: "", path: PATH, same_site: "Lax", max_age: Some(0) };
    set_cookie(&mut response, config, &spent)?;
    Ok(response)
}

/// The token of a new session, or why there is none.
async fn enter(call: &Call, provider: Arc<IdentityProvider>) -> Result<Result<String, Refusal>, Fail> {
    let (attempt, code) = match answered(call, &provider).await {
        Ok(answered) => answered,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let shared = Arc::clone(&call.shared);
    // A code counts once: whoever hangs up meanwhile would have spent it for nothing that is on record.
    to_the_end(async move { admit(&shared, &provider, &attempt, &code).await }).await
}

/// The attempt that the answer belongs to, and its code.
async fn answered(call: &Call, provider: &IdentityProvider) -> Result<(Attempt, String), Refusal> {
    if !call.shared.people.lets_ask(call) {
        return Err(Refused::TooOften.into());
    }
    // Parameters that nobody here knows are passed over (RFC 6749, 4.1.2); one that stands there twice is not.
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&call.uri).map_err(|_| Refused::Lost)?;
    let given = |name: &str| {
        let mut all = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        all.next().filter(|_| all.next().is_none())
    };
    let attempt = cookie(&call.headers, ATTEMPT).and_then(Attempt::shown).ok_or(Refused::Lost)?;
    if !given("state").is_some_and(|state| same(state.as_bytes(), attempt.state().as_bytes())) {
        return Err(Refused::Lost.into());
    }
    if !provider.answers_for(given("iss")).await.map_err(|trouble| told(&trouble))? {
        return Err(Refused::Lost.into());
    }
    match (given("error"), given("code")) {
        (Some("access_denied" | "login_required" | "interaction_required" | "consent_required"), _) => {
            Err(Refused::Denied.into())
        }
        (Some("temporarily_unavailable" | "server_error"), _) => Err(Refused::Away.into()),
        (None, Some(code)) if !code.is_empty() => Ok((attempt, code.to_owned())),
        _ => Err(Refused::Provider.into()),
    }
}

async fn admit(
    shared: &Shared,
    provider: &IdentityProvider,
    attempt: &Attempt,
    code: &str,
) -> Result<String, Refusal> {
    let store = shared.store().as_ref();
    let now = store.ping().await?;
    let proved = provider.prove(attempt, code, now).await.map_err(|trouble| {
        // A code is easily invented. A token is what somebody has whom the provider let in.
        let entry = match trouble {
            Trouble::Token(_) => Some((SOMEBODY.to_owned(), String::new(), trouble.code())),
            Trouble::Away(_) | Trouble::Unfit(_) | Trouble::Code => None,
        };
        Refusal { refused: told(&trouble), entry }
    })?;
    let user = recognise(shared, provider, &proved, now).await?;
    let token = session::open_for(shared, &user.name).await?;
    let sites: Vec<&str> = user.sites.iter().map(|site| site.as_str()).collect();
    let at = if sites.is_empty() { "every site".to_owned() } else { sites.join(", ") };
    let detail = format!("oidc, as {} at {at}", user.role);
    record(store, user.name.as_str(), "session.open", String::new(), detail).await?;
    Ok(token)
}

/// The account of whom the provider vouches for.
async fn recognise(
    shared: &Shared,
    provider: &IdentityProvider,
    proved: &Proved,
    now: Timestamp,
) -> Result<User, Refusal> {
    let store = shared.store().as_ref();
    let Some(settings) = &shared.parts.config.console.oidc else { return Err(Refused::Provider.into()) };
    let somebody = format!("{SOMEBODY}{}", proved.subject);
    let named = proved.name.as_ref().map_or("", |name| name.as_str());
    let refuse = |refused: Refused, who: &str, detail| Refusal {
        refused,
        entry: Some((who.to_owned(), named.to_owned(), detail)),
    };
    let granted = granted(&settings.groups, &proved.groups);
    if granted.is_none() && !settings.groups.is_empty() {
        let detail = match store.close_sessions_of(provider.issuer(), &proved.subject).await? {
            true => "none of the groups; signed out everywhere",
            false => "none of the groups",
        };
        return Err(refuse(Refused::Role, &somebody, detail));
    }
    let reserved = proved.name.as_ref().is_some_and(|name| shared.parts.config.is_spoken_for(name));
    let link = Link { issuer: provider.issuer().to_owned(), subject: Some(proved.subject.clone()) };
    let newcomer = match (&granted, &proved.name, settings.newcomers) {
        (Some(Granted { role, sites }), Some(name), Newcomers::Made) if !reserved => Some(User {
            name: name.clone(),
            role: *role,
            sites: sites.clone(),
            password: PasswordHash::of_nobody(),
            totp: TotpSecret::from_bits(rand::random()),
            created_at: now,
            disabled_at: None,
            link: Some(link.clone()),
        }),
        _ => None,
    };
    let vouched = Vouched {
        issuer: link.issuer,
        subject: proved.subject.clone(),
        name: proved.name.clone(),
        binds: proved.binds,
        granted,
        newcomer,
    };
    match store.recognise(&vouched).await? {
        Recognised::Known(user) => Ok(user),
        Recognised::Made(user) => {
            record(store, &somebody, "user.add", user.name.to_string(), user.role.to_string()).await?;
            Ok(user)
        }
        Recognised::Disabled(name) => Err(refuse(Refused::Disabled, name.as_str(), "disabled here")),
        Recognised::Taken(_) => Err(refuse(Refused::Taken, &somebody, "the account is another's")),
        Recognised::Unknown if named.is_empty() => Err(refuse(Refused::Name, &somebody, "no name")),
        Recognised::Unknown if reserved => Err(refuse(Refused::Name, &somebody, "a reserved name")),
        Recognised::Unknown => Err(refuse(Refused::Unknown, &somebody, "no account")),
    }
}

async fn record(
    store: &dyn Store,
    who: &str,
    act: &str,
    subject: String,
    detail: String,
) -> Result<(), StoreError> {
    let (who, act) = (who.to_owned(), act.to_owned());
    store.record(&AuditEntry { who, act, subject, detail: Phi::new(detail) }).await
}

/// What the screen says of it; the log says more.
fn told(trouble: &Trouble) -> Refused {
    tracing::warn!(code = trouble.code(), "somebody could not sign in: {trouble}");
    match trouble {
        Trouble::Away(_) => Refused::Away,
        Trouble::Unfit(_) => Refused::Provider,
        Trouble::Code => Refused::Lost,
        Trouble::Token(_) => Refused::Token,
    }
}

fn provider(call: &Call) -> Result<Arc<IdentityProvider>, Fail> {
    call.shared.parts.identity.clone().ok_or_else(|| {
        Fail::new(
            Kind::NotFound,
            "people sign in with a password here; see [console.oidc] in the configuration",
        )
    })
}

/// Sends the browser on. A place of this listener is told from here on, for it may lie below a path.
fn lead(to: &str) -> Result<Response, Fail> {
    let value =
        HeaderValue::from_str(to).map_err(|_| Fail::new(Kind::Internal, "the provider's address is none"))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, value)]).into_response())
}

/// Where a browser goes to be signed out at the provider too, if that is asked for and it was signed in there.
pub(super) async fn way_out(call: &Call) -> Option<String> {
    let provider = call.shared.parts.identity.as_ref()?;
    let super::auth::Caller::Person(person) = &call.caller else { return None };
    let user = call.store().user(&person.name).await.ok()??;
    user.link?.subject?;
    provider.way_out().await.map(String::from)
}
