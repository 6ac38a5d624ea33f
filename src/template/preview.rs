//! Shows what a template says, with its own examples, for every channel and locale.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::domain::ids::AnswerName;
use crate::domain::outbound::Content;
use crate::domain::patient::Name;
use crate::domain::phi::Phi;
use crate::domain::words::{Authority, Channel, Recipient, words};

use super::catalogue::{Catalogue, Template};
use super::manifest::Manifest;
use super::part::Part;
use super::render::{RenderError, RenderRequest, Rendered};
use super::site::{RecipientContext, SiteContext};

/// Samples are written as people of this region write.
pub(super) const SAMPLE_REGION: &str = "US";

words! {
    /// Which examples and which circumstances.
    Sample {
        /// The first example of every variable.
        Typical = "typical",
        /// The longest examples and names.
        Longest = "longest",
        /// Only what is required.
        Least = "least",
        /// A second message on the same matter.
        Change = "change",
        /// Read by a parent.
        Proxy = "proxy",
        /// Two more of the same day in one message; of templates with `digest = true`, and nowhere in a portal.
        Digest = "digest",
    }
}

/// One rendered sample.
#[derive(Clone, Debug)]
pub struct Preview {
    pub template: String,
    pub channel: Channel,
    pub locale: String,
    pub sample: Sample,
    /// It is `sms.short`, which stands in for `sms`.
    pub short: bool,
    pub result: Result<Rendered, RenderError>,
}

impl Preview {
    /// The texts by their part's name, for showing. They hold samples, so nothing of any patient.
    #[must_use]
    pub fn texts(&self) -> Vec<(&'static str, &str)> {
        let Ok(rendered) = &self.result else { return Vec::new() };
        match &rendered.content {
            Content::Sms { text, .. } if self.short => vec![("sms.short", text.expose())],
            Content::Sms { text, .. } => vec![("sms", text.expose())],
            Content::Email { subject, text, html, .. } => {
                vec![("subject", subject.expose()), ("text", text.expose()), ("html", html.expose())]
            }
            Content::Voice { speech, voicemail, .. } => {
                let mut texts = vec![("voice", speech.expose())];
                texts.extend(voicemail.as_ref().map(|text| ("voicemail", text.expose())));
                texts
            }
            Content::Portal { subject, text } => {
                vec![("subject", subject.expose()), ("text", text.expose())]
            }
        }
    }
}

impl Manifest {
    /// Data made of the variables' own examples.
    #[must_use]
    pub fn sample_data(&self, sample: Sample) -> Map<String, Value> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.required || sample != Sample::Least)
            .filter_map(|(name, variable)| {
                let example = match sample {
                    Sample::Longest => variable.longest_example(),
                    _ => variable.examples.first(),
                };
                Some((name.clone(), example?.clone()))
            })
            .collect()
    }
}

impl SiteContext {
    /// A clinic for previews; its numbers are reserved for fiction.
    #[must_use]
    pub fn sample() -> Self {
        let names = [("", "Lakeside Health North"), ("zh", "湖畔医疗北院"), ("ar", "مركز ليكسايد الصحي")];
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Self {
            names: owned(&names),
            phone: Some("+13125550100".to_owned()),
            timezone: Some("America/Chicago".to_owned()),
            postal_address: Some("100 Lake Street, Chicago, IL 60601".to_owned()),
            portal_url: Some("https://portal.example.org".to_owned()),
            opt_out_texts: BTreeMap::new(),
        }
    }
}

/// Renders `template` with `sample` for each channel and locale that has texts, drafts included.
#[must_use]
pub fn preview(
    catalogue: &Catalogue,
    template: &Template,
    sample: Sample,
    site: &SiteContext,
) -> Vec<Preview> {
    let mut previews = Vec::new();
    let shows = |locale: &str, channel: Channel| {
        let digest = template.manifest.digest
            && channel != Channel::Portal
            && template.text(locale, Part::Also).is_some();
        template.has(locale, channel) && (sample != Sample::Digest || digest)
    };
    for locale in template.locales() {
        for &channel in Channel::ALL.iter().filter(|&&channel| shows(locale, channel)) {
            let mut push = |short, parts: &[Part]| {
                let result = render_sample(catalogue, template, locale, channel, sample, site, parts);
                previews.push(Preview {
                    template: template.name.to_string(),
                    channel,
                    locale: locale.to_owned(),
                    sample,
                    short,
                    result,
                });
            };
            push(false, &[Part::Sms, Part::SmsShort]);
            if channel == Channel::Sms && template.text(locale, Part::SmsShort).is_some() {
                push(true, &[Part::SmsShort]);
            }
        }
    }
    previews
}

fn render_sample(
    catalogue: &Catalogue,
    template: &Template,
    locale: &str,
    channel: Channel,
    sample: Sample,
    site: &SiteContext,
    parts: &[Part],
) -> Result<Rendered, RenderError> {
    let data = template.manifest.sample_data(sample);
    let patient = sample_name(sample);
    let parent = Name { given: Some(Phi::new("Luis")), family: Some(Phi::new("Rivera")) };
    let recipient = if sample == Sample::Proxy {
        RecipientContext {
            kind: Recipient::Proxy,
            name: Some(&parent),
            relationship: Some("father"),
            authority: Some(Authority::Guardian),
            timezone: None,
        }
    } else {
        RecipientContext::PATIENT
    };
    let languages = [locale];
    // The longest are told apart from others that wait already.
    let first = if sample == Sample::Longest && channel == Channel::Sms { 10 } else { 1 };
    let digits: Vec<(AnswerName, u8)> =
        template.manifest.answers.iter().map(|offer| offer.name.clone()).zip(first..).collect();
    let request = RenderRequest {
        template: &template.name,
        channel,
        languages: &languages,
        data: &data,
        patient: patient.as_ref(),
        recipient,
        site: Some(site),
        organisation: "Lakeside Health",
        is_change: sample == Sample::Change,
        test: false,
        drafts: true,
        keypad: sample == Sample::Typical,
        mailbox: sample == Sample::Typical,
        digits: &digits,
        unsubscribe_url: Some("https://outreach.example.org/u/sample"),
        region: Some(SAMPLE_REGION),
    };
    let carried: &[Sample] = if sample == Sample::Digest { &[Sample::Typical, Sample::Longest] } else { &[] };
    let also = carried
        .iter()
        .map(|sample| {
            let data = template.manifest.sample_data(*sample);
            catalogue.also(&RenderRequest { data: &data, ..request })
        })
        .collect::<Result<Vec<String>, RenderError>>()?;
    catalogue.render_parts(&request, &also, parts)
}

/// Somebody who does not exist; without a name where the least is asked for.
fn sample_name(sample: Sample) -> Option<Name> {
    let (given, family) = match sample {
        Sample::Least => return None,
        Sample::Longest => ("Maximiliano", "Fernández-Castellanos"),
        _ => ("Ana", "Rivera"),
    };
    Some(Name { given: Some(Phi::new(given)), family: Some(Phi::new(family)) })
}
