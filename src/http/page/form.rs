//! What was posted, and what is meant by it.

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::FromRequest;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Request};
use jiff::civil::Time;

use super::texts::LANGUAGES;
use super::view::Notice;
use crate::domain::patient::QuietHours;
use crate::domain::wish::{CHOSEN, Wish};
use crate::domain::words::Channel;
use crate::http::body::Media;
use crate::store::rows::PageRow;
use crate::template::reads;

/// The one field of RFC 8058, section 3.1.
const ONE_CLICK: (&str, &str) = ("List-Unsubscribe", "One-Click");

/// What a body holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// A mail program unsubscribes.
    OneClick,
    /// The fields of one of our forms.
    Form(Vec<(String, String)>),
    Unclear,
}

/// A wish, and what its asker saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) seen: Option<i64>,
}

/// Reads a body of either type. Browsers send our forms one way; mail programs may send their field both ways.
pub(super) async fn read(headers: &HeaderMap, media: Media, body: Bytes) -> Posted {
    if media == Media::Multipart {
        let boundary = headers.get(CONTENT_TYPE).and_then(|value| boundary(value.to_str().ok()?));
        let found = boundary.is_some_and(|boundary| has_one_click_part(&body, boundary));
        return if found { Posted::OneClick } else { Posted::Unclear };
    }
    let request = Request::builder()
        .method(Method::POST)
        .header(CONTENT_TYPE, Media::Form.name())
        .body(Body::from(body));
    let Ok(request) = request else { return Posted::Unclear };
    match Form::<Vec<(String, String)>>::from_request(request, &()).await {
        Ok(Form(pairs)) if pairs.iter().any(|(name, value)| (name.as_str(), value.as_str()) == ONE_CLICK) => {
            Posted::OneClick
        }
        Ok(Form(pairs)) => Posted::Form(pairs),
        Err(_) => Posted::Unclear,
    }
}

/// RFC 2046: a token, or in quotes.
fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1).map(str::trim);
    let value = parameters
        .filter_map(|p| p.split_once('='))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("boundary").then_some(value))?;
    let value = value.trim_matches('"');
    (1..=70).contains(&value.len()).then_some(value)
}

/// Whether one of the parts is the field of RFC 8058. Nothing else is ever read from such a body.
fn has_one_click_part(body: &[u8], boundary: &str) -> bool {
    let Ok(body) = std::str::from_utf8(body) else { return false };
    let named = format!("name=\"{}\"", ONE_CLICK.0);
    body.split(&format!("--{boundary}")).any(|part| {
        let (head, value) =
            part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n")).unwrap_or_default();
        head.contains(&named) && value.trim() == ONE_CLICK.1
    })
}

/// What a form of the page asks for.
///
/// # Errors
/// What to say instead: the form was tampered with, or two times are the same.
pub(super) fn wish(pairs: &[(String, String)], row: &PageRow) -> Result<Asked, Notice> {
    let field = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let act = field("act").ok_or(Notice::Unclear)?;
    let plain = |wish| Ok(Asked { wish, seen: None });
    match act.split_once('-').unwrap_or((act, "")) {
        ("stop", "this") => {
            plain(Wish::Stop { purpose: Some(row.facts.purpose), channel: Some(row.channel) })
        }
        ("stop", "all") => plain(Wish::Stop { purpose: None, channel: None }),
        ("start", "all") => plain(Wish::Start { channel: None }),
        ("stop", word) => plain(Wish::Stop { purpose: None, channel: Some(channel(word)?) }),
        ("start", word) => plain(Wish::Start { channel: Some(channel(word)?) }),
        ("choose", "") => {
            let seen = field("seen").and_then(|seen| seen.parse().ok()).ok_or(Notice::Unclear)?;
            Ok(Asked { wish: Wish::Choose(choices(pairs)?), seen: Some(seen) })
        }
        ("first", "") => match field("first") {
            Some("any") => plain(Wish::First(None)),
            word => plain(Wish::First(Some(channel(word.unwrap_or_default())?))),
        },
        ("language", "") => plain(Wish::Language(language(field("language"), row)?)),
        ("quiet", "") => plain(Wish::QuietHours(quiet_hours(field("from"), field("to"))?)),
        _ => Err(Notice::Unclear),
    }
}

fn channel(word: &str) -> Result<Channel, Notice> {
    Channel::from_word(word).ok_or(Notice::Unclear)
}

fn choices(pairs: &[(String, String)]) -> Result<Vec<(crate::domain::words::Purpose, Vec<Channel>)>, Notice> {
    CHOSEN
        .iter()
        .map(|purpose| {
            let ticked = pairs.iter().filter(|(name, _)| name == purpose.as_str());
            let mut channels =
                ticked.map(|(_, value)| channel(value)).collect::<Result<Vec<Channel>, Notice>>()?;
            channels.sort_unstable();
            channels.dedup();
            Ok((*purpose, channels))
        })
        .collect()
}

/// One of the page's languages. A patient on record as reading it, of whichever country, stays as they are.
fn language(asked: Option<&str>, row: &PageRow) -> Result<String, Notice> {
    let known = LANGUAGES.iter().find(|texts| Some(texts.lang) == asked).ok_or(Notice::Unclear)?;
    let own = row.patient.as_ref().and_then(|p| p.language.as_deref());
    Ok(own.filter(|own| reads(own, known.lang)).unwrap_or(known.lang).to_owned())
}

fn quiet_hours(from: Option<&str>, to: Option<&str>) -> Result<Option<QuietHours>, Notice> {
    let time = |text: &str| -> Result<Time, Notice> {
        let well_formed = text.len() == 5 && text.bytes().filter(|b| *b == b':').count() == 1;
        text.parse().ok().filter(|_| well_formed).ok_or(Notice::Unclear)
    };
    match (from.ok_or(Notice::Unclear)?, to.ok_or(Notice::Unclear)?) {
        ("", "") => Ok(None),
        ("", _) | (_, "") => Err(Notice::TwoTimes),
        (from, to) => {
            let hours = QuietHours { start: time(from)?, end: time(to)? };
            if hours.start == hours.end { Err(Notice::TwoTimes) } else { Ok(Some(hours)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        headers
    }

    async fn urlencoded(body: &'static str) -> Posted {
        read(&headers("application/x-www-form-urlencoded"), Media::Form, Bytes::from_static(body.as_bytes()))
            .await
    }

    async fn multipart(content_type: &str, body: &str) -> Posted {
        read(&headers(content_type), Media::Multipart, Bytes::from(body.to_owned())).await
    }

    #[tokio::test]
    async fn one_click_comes_in_either_form_and_nothing_else_is_taken_for_it() {
        assert_eq!(urlencoded("List-Unsubscribe=One-Click").await, Posted::OneClick);
        assert_eq!(urlencoded("a=b&List-Unsubscribe=One%2DClick").await, Posted::OneClick);
        for other in ["List-Unsubscribe=Two", "list-unsubscribe=One-Click", "x=List-Unsubscribe%3DOne-Click"]
        {
            assert!(matches!(urlencoded(other).await, Posted::Form(_)), "{other}");
        }
        let part = |head: &str, value: &str| format!("--xyz\r\n{head}\r\n\r\n{value}\r\n--xyz--\r\n");
        let field = "Content-Disposition: form-data; name=\"List-Unsubscribe\"";
        for kind in
            ["multipart/form-data; boundary=xyz", "multipart/form-data; charset=utf-8; boundary=\"xyz\""]
        {
            assert_eq!(multipart(kind, &part(field, "One-Click")).await, Posted::OneClick, "{kind}");
        }
        let kind = "multipart/form-data; boundary=xyz";
        for (head, value) in [(field, "Two"), ("Content-Disposition: form-data; name=\"x\"", "One-Click")] {
            assert_eq!(multipart(kind, &part(head, value)).await, Posted::Unclear, "{head} {value}");
        }
        for kind in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=abc"]
        {
            assert_eq!(multipart(kind, &part(field, "One-Click")).await, Posted::Unclear, "{kind}");
        }
    }

    #[test]
    fn hours_are_two_different_times_or_none() {
        let time = |hour| jiff::civil::time(hour, 0, 0, 0);
        let hours = |start, end| Ok(Some(QuietHours { start: time(start), end: time(end) }));
        for (from, to, expected) in [
            ("", "", Ok(None)),
            ("21:00", "08:00", hours(21, 8)),
            ("21:00", "", Err(Notice::TwoTimes)),
            ("", "08:00", Err(Notice::TwoTimes)),
            ("08:00", "08:00", Err(Notice::TwoTimes)),
            ("8", "21:00", Err(Notice::Unclear)),
            ("24:00", "08:00", Err(Notice::Unclear)),
            ("<b>:1", "08:00", Err(Notice::Unclear)),
        ] {
            assert_eq!(quiet_hours(Some(from), Some(to)), expected, "{from} {to}");
        }
        assert_eq!(quiet_hours(None, Some("08:00")), Err(Notice::Unclear));
    }
}
