//! The templates in use, and what they say.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::jobs::one;
use super::problem::{Answer, Fail, Kind};
use super::route::{Call, json as answer};
use crate::dispatch::sign_off::{self, Unsigned};
use crate::dispatch::site_context;
use crate::domain::ids::{SiteId, TemplateName};
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::problem::Problem;
use crate::domain::reader::{Fields, Slot};
use crate::domain::sign_off::Word;
use crate::domain::words::{Channel, Reason};
use crate::template::{
    Catalogue, LintOptions, Preview, Sample, SiteContext, Template, lint, preview as render,
};

/// Characters of a locale's name.
const LOCALE: usize = 35;
/// Characters of a note on a sign-off.
const NOTE: usize = 200;
/// Characters of a hash.
const HASH: usize = 64;

/// `GET /v1/templates`.
pub(super) async fn list(call: Call) -> Answer {
    let parts = &call.shared.parts;
    // Another worker may have taken a sign-off a moment ago.
    sign_off::refresh(call.store().as_ref(), &parts.catalogue).await?;
    let catalogue = parts.catalogue.current();
    let templates: Vec<Value> = catalogue.templates().map(|template| show(&catalogue, template)).collect();
    answer(StatusCode::OK, &json!({"bundle_hash": catalogue.bundle_hash(), "templates": templates}))
}

/// `POST /v1/templates/{name}/preview`: with the template's own examples, so nothing of any patient.
pub(super) async fn preview(mut call: Call) -> Answer {
    let catalogue = call.shared.parts.catalogue.current();
    let template = TemplateName::parse(call.param("name"))
        .and_then(|name| catalogue.get(&name))
        .ok_or_else(|| Fail::not_found("template"))?;
    let (sample, channel, locale, site) = call
        .form(|fields| {
            let sample = fields.read("sample", |slot| slot.word(Sample::ALL, Sample::as_str));
            let channel = fields.read("channel", |slot| slot.word(Channel::ALL, Channel::as_str));
            let locale = fields.read("locale", |slot| slot.text(LOCALE));
            let site = fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE));
            Some((sample.unwrap_or(Sample::Typical), channel, locale, site))
        })
        .await?;
    let site = match site {
        None => SiteContext::sample(),
        Some(id) => site_context(&call.shared.parts.config, &id).ok_or_else(|| {
            let problem =
                Problem::new("site", Reason::BadData, "is not configured", "use the id of a `[[site]]`");
            Fail::because(Kind::Invalid, problem)
        })?,
    };
    let previews: Vec<Value> = render(&catalogue, template, sample, &site)
        .iter()
        .filter(|preview| channel.is_none_or(|channel| preview.channel == channel))
        .filter(|preview| locale.as_ref().is_none_or(|locale| preview.locale == *locale))
        .map(|preview| shown(template, preview))
        .collect();
    answer(StatusCode::OK, &json!({"template": template.name, "sample": sample, "previews": previews}))
}

/// `POST /v1/templates/{name}/sign-off`: of the texts that somebody has read, by their hash.
pub(super) async fn sign_off(mut call: Call) -> Answer {
    let name = signed(&call)?;
    let (locale, hash, note) = call
        .form(|fields| {
            let hash = fields.need("hash", |slot| slot.text(HASH));
            let (locale, note) = said(fields)?;
            Some((locale, hash?, note))
        })
        .await?;
    let (store, catalogue) = (call.store().as_ref(), &call.shared.parts.catalogue);
    let word = Word { template: &name, locale: &locale, by: call.caller.name(), note: &note };
    sign_off::sign_off(store, catalogue, &word, Some(&hash)).await?;
    call.note.say(format!("{locale} {hash}: {note}"));
    now(&call, &name)
}

/// `POST /v1/templates/{name}/take-back`.
pub(super) async fn take_back(mut call: Call) -> Answer {
    let name = signed(&call)?;
    let (locale, note) = call.form(said).await?;
    let (store, catalogue) = (call.store().as_ref(), &call.shared.parts.catalogue);
    let word = Word { template: &name, locale: &locale, by: call.caller.name(), note: &note };
    sign_off::take_back(store, catalogue, &word).await?;
    call.note.say(format!("{locale}: {note}"));
    now(&call, &name)
}

/// The template in the path, for whom it may concern: a text is one for all sites and all sources.
fn signed(call: &Call) -> Result<TemplateName, Fail> {
    call.caller.needs_every_site("texts are the same for all sites")?;
    if call.caller.sources().is_some() {
        return Err(Fail::new(Kind::Forbidden, "texts are for all sources; this token stands for some"));
    }
    TemplateName::parse(call.param("name")).ok_or_else(|| Fail::not_found("template"))
}

/// Of which locale, and what somebody says.
fn said(fields: &mut Fields<'_>) -> Option<(String, String)> {
    let text = |most: usize| move |slot: Slot<'_>| slot.text(most);
    let (locale, note) = (fields.need("locale", text(LOCALE)), fields.need("note", text(NOTE)));
    Some((locale?, note?))
}

/// The template as it stands now.
fn now(call: &Call, name: &TemplateName) -> Answer {
    let catalogue = call.shared.parts.catalogue.current();
    let template = catalogue.get(name).ok_or_else(|| Fail::not_found("template"))?;
    answer(StatusCode::OK, &show(&catalogue, template))
}

impl From<Unsigned> for Fail {
    fn from(refused: Unsigned) -> Self {
        match refused {
            Unsigned::Unknown => Self::not_found("template"),
            Unsigned::Not(problem) if problem.reason == Reason::Conflict => {
                Self::because(Kind::Conflict, problem)
            }
            Unsigned::Not(problem) => Self::invalid(vec![problem]),
            Unsigned::Store(error) => error.into(),
        }
    }
}

/// `POST /v1/templates/{name}/send`: a job that need not name its template.
pub(super) async fn send(mut call: Call) -> Answer {
    let catalogue = call.shared.parts.catalogue.current();
    let name = TemplateName::parse(call.param("name"))
        .filter(|name| catalogue.get(name).is_some())
        .ok_or_else(|| Fail::not_found("template"))?;
    let body = call.bytes(MAX_JOB_BYTES).await?;
    one(&call, call.shared.parts.intake.clone(), named(body, &name)).await
}

/// The body as it came, with the template in front. One that names a template all the same names it twice, and is
/// refused for that; what is no object is refused as it is.
fn named(body: Vec<u8>, name: &TemplateName) -> Vec<u8> {
    let text = body.trim_ascii_start();
    let Some(rest) = text.strip_prefix(b"{") else { return body };
    let comma = if rest.trim_ascii_start().first() == Some(&b'}') { "" } else { "," };
    let mut whole = format!("{{\"template\":\"{name}\"{comma}").into_bytes();
    whole.extend_from_slice(rest);
    whole
}

/// `GET /v1/templates/{name}/lint`.
pub(super) async fn linted(call: Call) -> Answer {
    let catalogue = call.shared.parts.catalogue.current();
    let template = TemplateName::parse(call.param("name"))
        .and_then(|name| catalogue.get(&name).map(|template| template.name.clone()))
        .ok_or_else(|| Fail::not_found("template"))?;
    // Every text is rendered for it, which takes a while.
    let found = tokio::task::spawn_blocking(move || lint(&catalogue, &LintOptions::default())).await;
    let found = found.map_err(|_| Fail::new(Kind::Internal, "the log of this program says more"))?;
    let folder = format!("{template}/");
    let findings: Vec<Value> = found
        .iter()
        .filter(|finding| finding.file.starts_with(&folder))
        .map(|finding| {
            json!({
                "file": finding.file, "line": finding.line, "severity": finding.severity.as_str(), "rule": finding.rule,
                "message": finding.message, "cure": finding.cure,
            })
        })
        .collect();
    answer(StatusCode::OK, &json!({"template": template, "findings": findings}))
}

fn show(catalogue: &Catalogue, template: &Template) -> Value {
    let manifest = &template.manifest;
    let variables: Map<String, Value> = manifest
        .variables
        .iter()
        .map(|(name, variable)| {
            let told = json!({
                "type": variable.kind.as_str(), "required": variable.required,
                "description": variable.description,
            });
            (name.clone(), told)
        })
        .collect();
    json!({
        "name": template.name, "title": manifest.title, "description": manifest.description,
        "purposes": manifest.purposes, "priority": manifest.priority, "phi": manifest.phi,
        "channels": manifest.channels, "locales": template.locales().collect::<Vec<_>>(),
        "approved": manifest.approved, "variables": variables,
        "texts": template.locales().map(|locale| sign_off::shown(catalogue, template, locale)).collect::<Vec<_>>(),
    })
}

fn shown(template: &Template, preview: &Preview) -> Value {
    let texts: Map<String, Value> =
        preview.texts().into_iter().map(|(part, text)| (part.to_owned(), text.into())).collect();
    let mut out = json!({
        "channel": preview.channel, "locale": preview.locale, "short": preview.short,
        "hash": template.hash(&preview.locale),
    });
    let more = match &preview.result {
        Ok(rendered) => json!({"segments": rendered.segments, "texts": texts}),
        Err(error) => json!({"reason": error.reason, "errors": error.problems}),
    };
    if let (Value::Object(out), Value::Object(more)) = (&mut out, more) {
        out.extend(more);
    }
    out
}
