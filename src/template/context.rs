//! The values that a text may name, put together for one message.

use handlebars::Context;
use serde_json::{Map, Value};

use crate::domain::ids::AnswerName;
use crate::domain::patient::Name;
use crate::domain::words::Recipient;
use crate::policy::reply::answers;

use super::catalogue::Template;
use super::part::one_line;
use super::render::RenderRequest;
use super::site::by_language;

/// Characters of a name that are shown. Longer ones are cut: records hold all sorts of things.
const MAX_NAME: usize = 60;

/// Builds the context for texts of `locale`, in which dates and numbers are written as in `format`; `also` is what the
/// message carries, a line each.
pub(super) fn context(
    request: &RenderRequest<'_>,
    also: &[String],
    template: &Template,
    locale: &str,
    format: &str,
) -> Context {
    let mut root = Map::new();
    let mut put = |key: &str, value: Value| {
        root.insert(key.to_owned(), value);
    };
    let patient = request.patient;
    let recipient = match request.recipient.kind {
        Recipient::Patient => request.recipient.name.or(patient),
        Recipient::Proxy => request.recipient.name,
    };
    put("patient", Value::Object(name(patient, locale)));
    let mut reader = name(recipient, locale);
    reader.insert("is_proxy".to_owned(), Value::Bool(request.recipient.kind == Recipient::Proxy));
    reader.insert("is_parent".to_owned(), Value::Bool(request.recipient.is_parent()));
    put("recipient", Value::Object(reader));
    put("site", Value::Object(site(request, &[format, locale])));
    put("organisation", Value::from(one_line(request.organisation)));
    put("data", Value::Object(request.data.clone()));
    put("is_change", Value::Bool(request.is_change));
    put("also", Value::from(also.to_vec()));
    put("test", Value::Bool(request.test));
    put("keypad", Value::Bool(request.keypad));
    put("mailbox", Value::Bool(request.mailbox));
    put("answer", Value::Object(digits(request, template)));
    put("lang", Value::from(locale));
    put("dir", Value::from(if template.is_right_to_left(locale) { "rtl" } else { "ltr" }));
    put("format", Value::from(format));
    for (key, value) in [
        ("unsubscribe_url", request.unsubscribe_url),
        ("region", request.region),
        ("zone", zone(request, template)),
    ] {
        if let Some(value) = value {
            put(key, Value::from(value));
        }
    }
    Context::from(Value::Object(root))
}

/// The digit of each answer. One that was given none is absent, and its text does not render.
fn digits(request: &RenderRequest<'_>, template: &Template) -> Map<String, Value> {
    let offers = template.manifest.answers.iter().zip(answers::plain());
    let given =
        |name: &AnswerName| request.digits.iter().find(|(known, _)| known == name).map(|(_, digit)| *digit);
    offers
        .filter_map(|(offer, plain)| {
            let digit = if request.digits.is_empty() { Some(plain) } else { given(&offer.name) };
            Some((offer.name.to_string(), Value::from(digit?.to_string())))
        })
        .collect()
}

/// The zone of the place. A remote visit happens where the recipient is.
fn zone<'a>(request: &RenderRequest<'a>, template: &Template) -> Option<&'a str> {
    let place = request.site.and_then(|site| site.timezone.as_deref());
    let remote = template.manifest.remote_from.as_ref().and_then(|name| request.data.get(name));
    if remote == Some(&Value::Bool(true)) { request.recipient.timezone.or(place) } else { place }
}

fn site(request: &RenderRequest<'_>, tags: &[&str]) -> Map<String, Value> {
    let mut out = Map::new();
    let named = request.site.and_then(|site| by_language(&site.names, tags));
    out.insert("name".to_owned(), Value::from(one_line(named.unwrap_or(request.organisation))));
    let Some(site) = request.site else { return out };
    for (key, value) in [
        ("phone", site.phone.as_deref()),
        ("postal_address", site.postal_address.as_deref()),
        ("portal_url", site.portal_url.as_deref()),
        ("opt_out", by_language(&site.opt_out_texts, tags)),
    ] {
        if let Some(value) = value {
            out.insert(key.to_owned(), Value::from(one_line(value)));
        }
    }
    out
}

/// `given`, `family` and both in the order of the language; what the record lacks is absent.
fn name(name: Option<&Name>, locale: &str) -> Map<String, Value> {
    let part = |phi: Option<&crate::domain::phi::Phi>| {
        phi.map(|phi| one_line(phi.expose()).chars().take(MAX_NAME).collect::<String>())
            .filter(|text| !text.is_empty())
    };
    let given = part(name.and_then(|name| name.given.as_ref()));
    let family = part(name.and_then(|name| name.family.as_ref()));
    let whole = match (&given, &family) {
        (Some(given), Some(family)) => Some(in_order(given, family, locale)),
        (given, family) => given.clone().or_else(|| family.clone()),
    };
    [("given", given), ("family", family), ("name", whole)]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
        .collect()
}

/// Chinese, Japanese, Korean and Hungarian put the family first; the first three write no space between their own
/// characters.
fn in_order(given: &str, family: &str, locale: &str) -> String {
    let language = locale.split('-').next().unwrap_or_default();
    let is_han = |text: &str| {
        text.chars().all(|c| matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'))
    };
    if matches!(language, "zh" | "ja" | "ko") && is_han(given) && is_han(family) {
        format!("{family}{given}")
    } else if language == "hu" {
        format!("{family} {given}")
    } else {
        format!("{given} {family}")
    }
}
