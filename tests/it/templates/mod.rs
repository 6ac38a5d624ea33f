//! What a clinic writes, what a patient reads.

mod data;
mod digests;
mod hostile;
mod loading;
mod rendering;
mod shipped;
mod times;

use std::collections::BTreeMap;

use outreachd::domain::ids::TemplateName;
use outreachd::domain::outbound::Content;
use outreachd::domain::patient::Name;
use outreachd::domain::phi::Phi;
use outreachd::domain::words::Channel;
use outreachd::template::{Catalogue, RecipientContext, RenderError, RenderRequest, Rendered, SiteContext};
use serde_json::{Map, Value};

/// The manifest of a template `note` with one variable `x`, declared by `variable`.
fn manifest(variable: &str) -> String {
    format!(
        "title = \"Note\"\npurposes = [\"care\"]\nphi = \"minimal\"\nchannels = [\"sms\"]\n\
         default_locale = \"en\"\napproved = [\"en\"]\n[variables.x]\n{variable}\n"
    )
}

fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Catalogue {
    Catalogue::from_files(&files(pairs)).unwrap_or_else(|findings| {
        panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

fn note() -> TemplateName {
    TemplateName::parse("note").unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn name(given: &str, family: &str) -> Name {
    Name { given: Some(Phi::new(given)), family: Some(Phi::new(family)) }
}

/// A plain request for `note`, to be varied.
fn request<'a>(template: &'a TemplateName, data: &'a Map<String, Value>) -> RenderRequest<'a> {
    RenderRequest {
        template,
        channel: Channel::Sms,
        languages: &["en-US"],
        data,
        patient: None,
        recipient: RecipientContext::PATIENT,
        site: None,
        organisation: "Lakeside Health",
        is_change: false,
        test: false,
        drafts: false,
        keypad: false,
        mailbox: false,
        digits: &[],
        unsubscribe_url: None,
        region: Some("US"),
    }
}

fn chicago() -> SiteContext {
    SiteContext { timezone: Some("America/Chicago".to_owned()), ..SiteContext::default() }
}

fn sms(rendered: &Rendered) -> &str {
    match &rendered.content {
        Content::Sms { text, .. } => text.expose(),
        other => panic!("not a text message: {:?}", other.channel()),
    }
}

fn reason(result: Result<Rendered, RenderError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.reason.as_str(),
    }
}

/// All texts of one channel.
fn texts(content: &Content) -> Vec<&str> {
    match content {
        Content::Sms { text, .. } => vec![text.expose()],
        Content::Email { subject, text, html, .. } => vec![subject.expose(), text.expose(), html.expose()],
        Content::Voice { speech, voicemail, .. } => {
            vec![speech.expose(), voicemail.as_ref().unwrap().expose()]
        }
        Content::Portal { subject, text } => vec![subject.expose(), text.expose()],
    }
}
