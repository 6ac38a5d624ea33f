//! A text once more, for whoever looks after a message: as the templates of today say it. Nothing is sent, and there is
//! no link in it that leads anywhere.

use crate::config::Config;
use crate::domain::outbound::Content;
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Recipient};
use crate::store::rows::{AttemptRow, MessageRow};
use crate::template::{Catalogue, RecipientContext, RenderRequest};

use super::render;

/// Channel, locale, and the texts by their part's name.
pub type Texts = (Channel, String, Vec<(&'static str, Phi)>);

/// Renders a message for its last attempt's channel and language, else for its own.
///
/// # Errors
/// Why there is no text. Holds no value of the job.
pub fn rendered_again(
    config: &Config,
    catalogue: &Catalogue,
    message: &MessageRow,
    last: Option<&AttemptRow>,
    patient: &Patient,
) -> Result<Texts, String> {
    if last.is_some_and(|attempt| attempt.recipient == Recipient::Proxy) {
        return Err("it was written to a proxy, whose name stands in the patient's record".to_owned());
    }
    let facts = &message.facts;
    let channel = last.map(|attempt| attempt.channel).or(message.channel);
    let channel = channel.ok_or("it has not been planned yet: there is no channel to render it for")?;
    let first = last.map(|attempt| attempt.locale.as_str()).or(patient.language.as_deref());
    let letterhead = render::letterhead(config, facts, patient, first);
    let site = letterhead.site.map_or_else(|| render::no_place(config), render::context);
    let request = RenderRequest {
        template: &facts.template,
        channel,
        languages: &letterhead.languages,
        data: &message.body.data,
        patient: patient.name.as_ref(),
        recipient: RecipientContext { timezone: patient.timezone.as_deref(), ..RecipientContext::PATIENT },
        site: Some(&site),
        organisation: &config.organisation.name,
        is_change: facts.is_change,
        test: facts.test,
        drafts: facts.test,
        keypad: false,
        mailbox: false,
        digits: &[],
        unsubscribe_url: None,
        region: Some(letterhead.region),
    };
    let pointer = last.is_some_and(|attempt| attempt.pointer);
    let rendered = catalogue.render_either(&request, pointer).map_err(|error| error.to_string())?;
    let texts = match rendered.content {
        Content::Sms { text, .. } => vec![("sms", text)],
        Content::Email { subject, text, .. } | Content::Portal { subject, text } => {
            vec![("subject", subject), ("text", text)]
        }
        Content::Voice { speech, voicemail, .. } => {
            std::iter::once(("voice", speech)).chain(voicemail.map(|text| ("voicemail", text))).collect()
        }
    };
    Ok((channel, rendered.locale, texts))
}
