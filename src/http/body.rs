//! Request bodies: of the right type, within the limit, in time.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::problem::{Fail, Kind};

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Ndjson,
    Csv,
    /// What Excel saves.
    Workbook,
    /// What a page in a browser sends.
    Form,
    /// The same in parts.
    Multipart,
    /// JSON as SNS posts it.
    Plain,
}

impl Media {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Workbook => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Form => "application/x-www-form-urlencoded",
            Self::Multipart => "multipart/form-data",
            Self::Plain => "text/plain",
        }
    }

    /// Which of `accepted` the headers name. Only charset UTF-8 and no compression is understood.
    ///
    /// # Errors
    /// 415.
    pub(super) fn of(headers: &HeaderMap, accepted: &[Self]) -> Result<Self, Fail> {
        let names: Vec<&str> = accepted.iter().map(|media| media.name()).collect();
        let refuse = |what: &str| {
            Fail::new(
                Kind::MediaType,
                format!("{what}; send the header `Content-Type: {}`", names.join("` or `")),
            )
        };
        if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(Fail::new(Kind::MediaType, "send the body without Content-Encoding"));
        }
        let given = headers.get(CONTENT_TYPE).ok_or_else(|| refuse("the type is missing"))?;
        let given = given.to_str().unwrap_or_default();
        let (essence, parameters) = given.split_once(';').unwrap_or((given, ""));
        let utf8 = parameters.split(';').map(str::trim).all(|parameter| {
            let charset = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
            charset.is_none_or(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"))
        });
        let media = accepted.iter().find(|media| essence.trim().eq_ignore_ascii_case(media.name()));
        match media {
            Some(media) if utf8 => Ok(*media),
            Some(_) => Err(refuse("the text must be UTF-8")),
            None => Err(refuse("this type is not taken here")),
        }
    }
}

/// The length that the headers promise.
pub(super) fn promised(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body.
///
/// # Errors
/// It is larger than `limit` bytes, or was not here by `deadline`, or broke off.
pub(super) async fn read(
    body: Body,
    promised: Option<usize>,
    limit: usize,
    deadline: Instant,
) -> Result<Vec<u8>, Fail> {
    if promised.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::with_capacity(promised.unwrap_or(0).min(64 * 1024));
    loop {
        match timeout_at(deadline, chunks.next()).await {
            Err(_) => return Err(stalled()),
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(_))) => return Err(broken_off()),
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() > limit => return Err(too_large(limit)),
            Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
        }
    }
}

pub(super) fn too_large(limit: usize) -> Fail {
    Fail::new(Kind::TooLarge, format!("at most {} KiB; send it in parts", limit / 1024))
}

pub(super) fn stalled() -> Fail {
    Fail::new(Kind::Stalled, "the body did not come in time; send it again")
}

pub(super) fn broken_off() -> Fail {
    Fail::new(Kind::Malformed, "the body broke off; send it again")
}
