//! Whatever goes wrong, as problem details (RFC 9457).

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use crate::domain::problem::Problem;
use crate::domain::words::Reason;
use crate::store::StoreError;

/// What a handler answers.
pub(super) type Answer = Result<Response, Fail>;

/// Seconds after which a caller may try again what failed for want of room or of the ledger.
const RETRY_SECONDS: u32 = 2;

/// A request that was not done. Holds rules and cures, never a value of the request.
#[derive(Clone, Debug)]
pub(super) struct Fail(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    kind: Kind,
    detail: String,
    errors: Vec<Problem>,
    more: Map<String, Value>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// The kinds of failure: each has one status, one type and one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Malformed,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Stalled,
    Conflict,
    TooLate,
    TooLarge,
    MediaType,
    Invalid,
    TooMany,
    Internal,
    Busy,
    Unavailable,
}

impl Kind {
    pub(super) const ALL: [Self; 15] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Stalled,
        Self::Conflict,
        Self::TooLate,
        Self::TooLarge,
        Self::MediaType,
        Self::Invalid,
        Self::TooMany,
        Self::Internal,
        Self::Busy,
        Self::Unavailable,
    ];

    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "Nobody is known by these credentials")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "These credentials may not do this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path has other methods")
            }
            Self::Stalled => (StatusCode::REQUEST_TIMEOUT, "stalled", "The request did not come in time"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "It is at odds with what is on record"),
            Self::TooLate => (StatusCode::CONFLICT, "too-late", "It is too late for this"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is of another type")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request breaks a rule"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "It was asked for too often"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of this program"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests at once"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Something that is needed is away")
            }
        }
    }

    /// The HTTP status.
    pub(super) const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The `type`: a name that stays, not an address to fetch.
    pub(super) fn uri(self) -> String {
        format!("urn:outreachd:problem:{}", self.parts().1)
    }
}

impl Fail {
    /// A failure of a kind, with what to do about it.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry = matches!(kind, Kind::Busy | Kind::Unavailable);
        Self(Box::new(Details {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            more: Map::new(),
            header: retry.then(|| (RETRY_AFTER, HeaderValue::from(RETRY_SECONDS))),
        }))
    }

    /// The request was read and breaks rules: all of them. Text that is no JSON at all is `malformed`.
    pub(super) fn invalid(errors: Vec<Problem>) -> Self {
        let unreadable = |p: &Problem| p.field.is_empty() && p.reason == Reason::Malformed;
        let kind = match errors.first() {
            Some(first) if unreadable(first) && errors.len() == 1 => Kind::Malformed,
            _ => Kind::Invalid,
        };
        let detail = errors.first().map_or_else(String::new, ToString::to_string);
        Self::new(kind, detail).about(errors)
    }

    /// One fault of one field, of a kind of its own.
    pub(super) fn because(kind: Kind, problem: Problem) -> Self {
        Self::new(kind, problem.to_string()).about(vec![problem])
    }

    /// One fault that time will cure: 429, with the seconds until then.
    pub(super) fn too_many(problem: Problem, wait: SignedDuration) -> Self {
        let seconds = wait.as_secs().saturating_add(1).max(1);
        let mut fail = Self::because(Kind::TooMany, problem).with("retry_after", seconds);
        fail.0.header = Some((RETRY_AFTER, HeaderValue::from(seconds)));
        fail
    }

    /// 401, with the challenge of RFC 6750.
    pub(super) fn unauthorized(challenge: &'static str, detail: &str) -> Self {
        let mut fail = Self::new(Kind::Unauthorized, detail);
        fail.0.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        fail
    }

    /// 405, with the methods that there are.
    pub(super) fn method(allowed: &str) -> Self {
        let mut fail = Self::new(Kind::MethodNotAllowed, format!("use one of: {allowed}"));
        fail.0.header = HeaderValue::from_str(allowed).ok().map(|value| (ALLOW, value));
        fail
    }

    /// There is no such thing, or it is none of the caller's business.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no such {what}"))
    }

    fn about(mut self, errors: Vec<Problem>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Adds a member of its own to the details.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The details as JSON.
    pub(super) fn to_json(&self) -> Value {
        let (status, _, title) = self.0.kind.parts();
        let mut out = self.0.more.clone();
        out.insert("type".to_owned(), self.0.kind.uri().into());
        out.insert("title".to_owned(), title.into());
        out.insert("status".to_owned(), status.as_u16().into());
        out.insert("detail".to_owned(), self.0.detail.clone().into());
        out.insert("errors".to_owned(), json!(self.0.errors));
        Value::Object(out)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Contention => {
                tracing::warn!(%error, "a request failed for want of the ledger");
                Self::new(
                    Kind::Unavailable,
                    "the ledger is away; nothing is lost: send the same request again",
                )
            }
            StoreError::Data(_) => {
                tracing::warn!(%error, "a request was more than the ledger takes");
                let rule = "the ledger will not take one of the values";
                let cure = "look for control characters and very long texts";
                Self::because(Kind::Invalid, Problem::new("", Reason::BadData, rule, cure))
            }
            StoreError::Schema(_) | StoreError::Key(_) | StoreError::Internal(_) => {
                tracing::error!(%error, "a request failed");
                Self::new(Kind::Internal, "the log of this program says more")
            }
        }
    }
}

impl From<Vec<Problem>> for Fail {
    fn from(errors: Vec<Problem>) -> Self {
        Self::invalid(errors)
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let body = self.to_json().to_string();
        let content_type = (CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (self.0.kind.status(), [content_type], body).into_response();
        if let Some((name, value)) = self.0.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
