//! From the table of routes to a router: every request passes the same door.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::audit::{Act, Note, Pending};
use super::auth::{Caller, authenticate, authorize};
use super::body::{self, Media};
use super::problem::{Answer, Fail, Kind};
use super::table;
use super::{Shared, observe};
use crate::config::api::Scope;
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::reader::{Fields, fields, object};
use crate::store::Store;

/// One method of one path.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Verb,
    pub(super) path: &'static str,
    pub(super) door: Door,
    /// What the audit log calls it.
    pub(super) act: Act,
    /// The body's types; none: it has no body.
    pub(super) takes: &'static [Media],
    /// The body comes in pieces over a longer time; the handler watches it.
    pub(super) streams: bool,
    pub(super) run: fn(Call) -> BoxFuture<'static, Answer>,
    pub(super) doc: Doc,
}

/// What `/openapi.json` says of it.
#[derive(Debug)]
pub(super) struct Doc {
    pub(super) summary: &'static str,
    /// Name and meaning.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// Name of the schema of the body.
    pub(super) body: &'static str,
    /// Status, meaning, name of the schema (empty: no body).
    pub(super) answers: &'static [(u16, &'static str, &'static str)],
}

/// The methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door {
    /// Everybody: probes and the description of the API.
    Open,
    /// Everybody, as far as there is room: patients, who show their link, and people who sign in. The handler judges both.
    Public,
    /// Providers, who sign, which the handler verifies. Their room is their own, so that no other stranger silences them.
    Providers,
    /// Callers with one of these scopes.
    AnyOf(&'static [Scope]),
}

/// Whoever is not known sends a small body, and holds a place meanwhile: it is here by then.
const STRANGERS_BODY: Duration = Duration::from_secs(5);

/// The address that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// One request on its way to its handler.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Caller,
    /// The other end of the connection, which may be a proxy.
    pub(super) peer: Option<IpAddr>,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// What the audit log says of it.
    pub(super) note: Note,
    /// Of the types that the route takes; JSON where it takes none.
    pub(super) media: Media,
    /// Never locked: a body alone may not be looked at from two threads, and a handler may change threads.
    body: Mutex<Body>,
    params: Vec<(String, String)>,
    /// When the body must be here.
    deadline: Instant,
}

impl Call {
    /// The ledger.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.shared.store()
    }

    /// A part of the path, percent-decoded.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body, once.
    pub(super) fn take_body(&mut self) -> Body {
        std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) async fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, Fail> {
        let body = self.take_body();
        body::read(body, body::promised(&self.headers), limit, self.deadline).await
    }

    /// The body as a JSON object; an empty one stands for an object without fields.
    pub(super) async fn object(&mut self) -> Result<Map<String, Value>, Fail> {
        let bytes = self.bytes(MAX_JOB_BYTES).await?;
        Ok(if bytes.is_empty() { Map::new() } else { object(&bytes, MAX_JOB_BYTES)? })
    }

    /// What stands in that object.
    pub(super) async fn form<T>(
        &mut self,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Result<T, Fail> {
        Ok(fields(self.object().await?, read)?)
    }
}

/// Does `work` even if the caller hangs up meanwhile: what was leased to this worker must reach its hands.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Fail> {
    // Boxed, so that it is compiled for each kind of answer and not for each route.
    let work: BoxFuture<'static, T> = Box::pin(work);
    tokio::spawn(work).await.map_err(|_| {
        tracing::error!("a request ended in a fault of this program");
        Fail::new(Kind::Internal, "the log of this program says more")
    })
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    let body =
        serde_json::to_vec(body).map_err(|_| Fail::new(Kind::Internal, "the answer has no JSON form"))?;
    Ok((status, [(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The router of all routes.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in table::all() {
        let shared = Arc::clone(shared);
        let handler = move |params: RawPathParams, request: Request| enter(shared, route, params, request);
        router = router.route(route.path, on(route.method.filter(), handler));
    }
    let methods = methods();
    router
        .method_not_allowed_fallback(move |path: axum::extract::MatchedPath| {
            let allowed = methods.get(path.as_str()).cloned().unwrap_or_default();
            async move { Fail::method(&allowed) }
        })
        .fallback(|| async { Fail::not_found("path; see /openapi.json") })
        .layer(axum::middleware::from_fn(observe::observe))
}

/// The methods of each path, as `Allow` lists them.
fn methods() -> BTreeMap<&'static str, String> {
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for route in table::all() {
        let words = by_path.entry(route.path).or_default();
        words.insert(route.method.word());
        if route.method == Verb::Get {
            words.insert("HEAD");
        }
    }
    by_path
        .into_iter()
        .map(|(path, words)| (path, words.into_iter().collect::<Vec<_>>().join(", ")))
        .collect()
}

async fn enter(
    shared: Arc<Shared>,
    route: &'static Route,
    params: RawPathParams,
    request: Request,
) -> Response {
    admit(shared, route, params, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// Who are you, may you, what do you bring, is there room: in this order.
async fn admit(
    shared: Arc<Shared>,
    route: &'static Route,
    params: RawPathParams,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let (caller, room) = match route.door {
        Door::Open => (Caller::Nobody, None),
        Door::Public => (Caller::Nobody, Some(room(&shared.strangers)?)),
        Door::Providers => (Caller::Nobody, Some(room(&shared.providers)?)),
        Door::AnyOf(scopes) => {
            let changes = route.method != Verb::Get;
            let caller = authenticate(&shared, &parts.headers, &parts.uri, changes).await?;
            authorize(&caller, scopes)?;
            (caller, Some(room(&shared.in_flight)?))
        }
    };
    let media = match route.takes {
        [] => Media::Json,
        accepted => Media::of(&parts.headers, accepted)?,
    };
    let whole = shared.parts.config.http.request_timeout;
    // Something of the time is left to answer in.
    let for_body = match route.door {
        Door::AnyOf(_) => whole.mul_f32(0.8),
        Door::Open | Door::Public | Door::Providers => whole.mul_f32(0.8).min(STRANGERS_BODY),
    };
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let note = Note::default();
    let pending = Pending::of(route, &caller, &params, &note);
    let store = Arc::clone(shared.store());
    let call = Call {
        shared,
        caller,
        note,
        peer: parts.extensions.get::<Peer>().map(|peer| peer.0),
        uri: parts.uri,
        headers: parts.headers,
        media,
        body: Mutex::new(body),
        params,
        deadline: Instant::now() + for_body,
    };
    let work = (route.run)(call);
    let limit = (!route.streams).then_some(whole);
    let Some(pending) = pending else {
        let answer = in_time(limit, work).await;
        drop(room);
        return answer;
    };
    // Whoever hangs up does not keep what they do out of the audit log.
    let recorded = to_the_end(async move {
        let answer = pending.settle(store.as_ref(), work.await).await;
        drop(room);
        answer
    });
    in_time(limit, async { recorded.await? }).await
}

fn room(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fail> {
    Arc::clone(of).try_acquire_owned().map_err(|_| {
        Fail::new(Kind::Busy, "too many requests are under way; send this one again in a moment")
    })
}

async fn in_time(limit: Option<Duration>, work: impl Future<Output = Answer>) -> Answer {
    let Some(limit) = limit else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Fail::new(
            Kind::Unavailable,
            "it took too long; what was begun may still be done: ask before repeating",
        ))
    })
}
