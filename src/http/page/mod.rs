//! The patient's page behind the link in a message (`/u/{token}`).
//!
//! The link is the key: whoever has it may stop messages and choose among them, for one patient, and can learn little
//! by it. A GET shows and changes nothing, because mail scanners follow links; a POST changes. Mail programs
//! unsubscribe by a POST of their own (RFC 8058). The choices of a page are for 60 days, stopping is for ever.

mod form;
mod limits;
mod texts;
mod view;

use axum::body::Bytes;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;

use self::form::Posted;
use self::limits::Limits;
pub(super) use self::limits::{caller, network};
use self::view::{Notice, Sight, Views};
use super::problem::{Answer, Kind};
use super::route::{Call, to_the_end};
use crate::config::policy::ConsentDefault;
use crate::domain::page::PageHash;
use crate::domain::wish::{CHOSEN, Wish};
use crate::domain::words::Purpose;
use crate::store::rows::{PageRow, PageWish, WishOutcome};
use crate::store::{StoreError, again_if_contended, moments};

/// For so long after the message was sent more than stopping is possible (CAN-SPAM asks for 30 days).
const VALID: SignedDuration = SignedDuration::from_hours(60 * 24);
/// Bytes of a posted form: every box ticked takes less than two thousand.
const MAX_FORM: usize = 16 * 1024;
/// Transactions that met are tried again so often.
const TRIES: u32 = 2;

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// What the page needs beside the ledger.
#[derive(Debug)]
pub(super) struct Desk {
    views: Views,
    limits: Limits,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { views: Views::new(), limits: Limits::new() }
    }

    /// Forgets whoever has not come for a while.
    pub(super) fn upkeep(&self) {
        self.limits.upkeep();
    }
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sorry {
    /// No message has such a link, or none any more.
    NoLink,
    /// Too much at once, or the ledger is away.
    Later(StatusCode),
    /// What was sent is not what the page sends.
    Refused(StatusCode),
}

/// `GET /u/{token}`: shows, and changes nothing.
pub(super) async fn show(call: Call) -> Answer {
    let link = PageHash::of(call.param("token"));
    let shown = async {
        allowed(&call, &link)?;
        read(&call, &link).await
    };
    Ok(match shown.await {
        Ok(row) => page(&call, &row, None),
        Err(sorry) => apologise(&call, sorry),
    })
}

/// `POST /u/{token}`: a button of the page, or the one-click of a mail program.
pub(super) async fn act(mut call: Call) -> Answer {
    let link = PageHash::of(call.param("token"));
    Ok(match acted(&mut call, &link).await {
        Ok(response) => response,
        Err(sorry) => apologise(&call, sorry),
    })
}

async fn acted(call: &mut Call, link: &PageHash) -> Result<Response, Sorry> {
    allowed(call, link)?;
    let body = match call.bytes(MAX_FORM).await {
        Ok(body) => Bytes::from(body),
        Err(fail) => return Err(Sorry::Refused(fail.kind().status())),
    };
    let row = read(call, link).await?;
    let pairs = match form::read(&call.headers, call.media, body).await {
        Posted::OneClick => return one_click(call, link, &row).await,
        Posted::Form(pairs) if from_our_page(call) => pairs,
        Posted::Form(_) => return Err(Sorry::Refused(StatusCode::FORBIDDEN)),
        Posted::Unclear => return Ok(page(call, &row, Some(Notice::Unclear))),
    };
    let asked = match form::wish(&pairs, &row) {
        Ok(asked) => asked,
        Err(notice) => return Ok(page(call, &row, Some(notice))),
    };
    if is_expired(&row) && !matches!(asked.wish, Wish::Stop { .. }) {
        return Ok(page(call, &row, None));
    }
    let notice = match granted(call, link, asked.wish, asked.seen).await? {
        WishOutcome::Unknown => return Err(Sorry::NoLink),
        WishOutcome::Outdated => Notice::Outdated,
        WishOutcome::Unchanged => Notice::Unchanged,
        WishOutcome::Changed => Notice::Changed,
    };
    // As it stands now, in the language that was just chosen.
    let row = call.store().page(link).await.map_err(away)?.ok_or(Sorry::NoLink)?;
    Ok(page(call, &row, Some(notice)))
}

/// RFC 8058: no cookie, no redirect, no question; the purpose of the message, over the channel it came by.
async fn one_click(call: &Call, link: &PageHash, row: &PageRow) -> Result<Response, Sorry> {
    let wish = Wish::Stop { purpose: Some(row.facts.purpose), channel: Some(row.channel) };
    granted(call, link, wish, None).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], "Unsubscribed.\n").into_response())
}

/// Refuses who has asked too often, before anything of theirs is read.
fn allowed(call: &Call, link: &PageHash) -> Result<(), Sorry> {
    let from = caller(call.peer, &call.headers, &call.shared.parts.config.http);
    if call.shared.page.limits.allow(from, link) {
        return Ok(());
    }
    Err(Sorry::Later(StatusCode::TOO_MANY_REQUESTS))
}

/// The page's row.
async fn read(call: &Call, link: &PageHash) -> Result<PageRow, Sorry> {
    call.store().page(link).await.map_err(away)?.ok_or(Sorry::NoLink)
}

async fn granted(call: &Call, link: &PageHash, wish: Wish, seen: Option<i64>) -> Result<WishOutcome, Sorry> {
    let ask = PageWish { link: link.clone(), wish, opt_in: opt_in(call), seen };
    let intake = call.shared.parts.intake.clone();
    let written = to_the_end(async move {
        let outcome = again_if_contended(moments(TRIES), || intake.store.wish(&ask)).await;
        // Both what was changed and what it did to messages that wait.
        intake.wake();
        outcome
    });
    written.await.map_err(|fail| Sorry::Later(fail.kind().status()))?.map_err(away)
}

/// The purposes that need the patient's agreement first, by configuration.
fn opt_in(call: &Call) -> Vec<Purpose> {
    let policy = &call.shared.parts.config.policy;
    let needs = |purpose: &Purpose| policy.purpose(*purpose).consent_default == ConsentDefault::None;
    CHOSEN.iter().copied().filter(needs).collect()
}

fn is_expired(row: &PageRow) -> bool {
    row.now.duration_since(row.begun_at) > VALID
}

/// A form that some other site shows must not be sent off here. The token is what protects the patient; this only
/// keeps a link that was found elsewhere from being used behind somebody's back. Our pages send no Referer, so a
/// browser that knows no Sec-Fetch-Site says `Origin: null`.
pub(super) fn from_our_page(call: &Call) -> bool {
    let text = |name: &str| call.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match text("origin") {
        None | Some("null") => true,
        Some(origin) => {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let public = call.shared.parts.config.http.public_url.as_deref().unwrap_or_default();
            Some(host) == text("host")
                || public.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

fn away(error: StoreError) -> Sorry {
    tracing::warn!(%error, "a patient's page could not be served");
    Sorry::Later(StatusCode::SERVICE_UNAVAILABLE)
}

fn page(call: &Call, row: &PageRow, notice: Option<Notice>) -> Response {
    let expired = is_expired(row);
    let status = match notice {
        Some(Notice::Outdated) => StatusCode::CONFLICT,
        Some(Notice::Unclear | Notice::TwoTimes) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(_) => StatusCode::OK,
        None if expired => StatusCode::GONE,
        None => StatusCode::OK,
    };
    let opt_in = opt_in(call);
    let sight =
        Sight { config: &call.shared.parts.config, uri: &call.uri, row, expired, notice, opt_in: &opt_in };
    html(call, status, call.shared.page.views.page(&sight))
}

fn apologise(call: &Call, sorry: Sorry) -> Response {
    let status = match sorry {
        Sorry::NoLink => StatusCode::NOT_FOUND,
        Sorry::Later(status) | Sorry::Refused(status) => status,
    };
    let mut response = html(call, status, call.shared.page.views.sorry(&call.shared.parts.config, sorry));
    if let Sorry::Later(_) = sorry {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(limits::RETRY_SECONDS));
    }
    response
}

fn html(call: &Call, status: StatusCode, body: Option<String>) -> Response {
    let Some(body) = body else {
        return super::problem::Fail::new(Kind::Internal, "the log of this program says more")
            .into_response();
    };
    let mut response = (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response();
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(ROBOTS, HeaderValue::from_static("noindex, nofollow"));
    headers.insert(CONTENT_SECURITY_POLICY, call.shared.page.views.policy().clone());
    response
}
