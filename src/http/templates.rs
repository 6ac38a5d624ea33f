//! The templates in use, and what they say.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::jobs::one;
use super::problem::{Answer, Fail, Kind};
use super::route::{Call, json as answer};
use crate::dispatch::site_context;
use crate::domain::ids::{SiteId, TemplateName};
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::problem::Problem;
use crate::domain::words::{Channel, Reason};
use crate::template::{LintOptions, Preview, Sample, SiteContext, Template, lint, preview as render};

/// `GET /v1/templates`.
pub(super) async fn list(call: Call) -> Answer {
    let catalogue = call.shared.parts.catalogue.current();
    let templates: Vec<Value> = catalogue.templates().map(show).collect();
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
            let locale = fields.read("locale", |slot| slot.text(35));
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
        .map(shown)
        .collect();
    answer(StatusCode::OK, &json!({"template": template.name, "sample": sample, "previews": previews}))
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

fn show(template: &Template) -> Value {
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
    })
}

fn shown(preview: &Preview) -> Value {
    let texts: Map<String, Value> =
        preview.texts().into_iter().map(|(part, text)| (part.to_owned(), text.into())).collect();
    let mut out = json!({"channel": preview.channel, "locale": preview.locale, "short": preview.short});
    let more = match &preview.result {
        Ok(rendered) => json!({"segments": rendered.segments, "texts": texts}),
        Err(error) => json!({"reason": error.reason, "errors": error.problems}),
    };
    if let (Value::Object(out), Value::Object(more)) = (&mut out, more) {
        out.extend(more);
    }
    out
}
