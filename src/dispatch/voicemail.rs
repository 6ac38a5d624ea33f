//! What a machine that took a call may be told. Texts are not kept: it is rendered again from the job, the template
//! and the patient, as they stand now; of a call that only points to the portal, what points there.

use super::{Corridor, Reader, render};
use crate::domain::consent::narrow;
use crate::domain::ids::SendKey;
use crate::domain::outbound::Content;
use crate::domain::status::AttemptStatus;
use crate::domain::words::{Channel, Recipient};
use crate::policy::person::Addressee;
use crate::store::StoreError;

/// What is to be done with the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voicemail {
    /// There is no such call, or it is over.
    NoCall,
    /// Nothing may be left: hang up.
    HangUp,
    /// This may be left, in this language.
    Leave { content: Content, language: String },
}

/// The contact's own wish comes first, then the template's text for machines. To a proxy's machine nothing is said:
/// who else listens there is not known.
pub(super) async fn ask(corridor: &Corridor, key: SendKey) -> Result<Voicemail, StoreError> {
    let store = corridor.store.as_ref();
    let Some(message) = store.message(key.message).await? else { return Ok(Voicemail::NoCall) };
    let attempts = store.attempts(key.message).await?;
    let call = attempts.iter().rev().find(|a| a.step == key.step && a.channel == Channel::Voice);
    let Some(call) = call.filter(|call| call.status <= AttemptStatus::Sent) else {
        return Ok(Voicemail::NoCall);
    };
    let stored = store.patient(&message.facts.patient_id).await?;
    let patient = match (&message.body.patient, stored) {
        (Some(inline), stored) => narrow(stored.as_ref(), inline),
        (None, Some(stored)) => stored,
        (None, None) => return Ok(Voicemail::HangUp),
    };
    let contact = patient.contacts.iter().find(|c| c.channel == Channel::Voice && c.address == call.address);
    let unwanted = contact.is_none_or(|contact| contact.leave_message.as_deref() == Some("none"));
    if unwanted || call.recipient == Recipient::Proxy {
        return Ok(Voicemail::HangUp);
    }
    let reader = Reader::of(&Addressee::patient(&patient), None);
    let text = render::Text {
        digits: &[],
        facts: &message.facts,
        body: &message.body,
        patient: &patient,
        reader: &reader,
        channel: Channel::Voice,
        pointer: call.pointer,
    };
    Ok(match render::text(corridor, &text) {
        Ok(rendered) if matches!(rendered.content, Content::Voice { voicemail: Some(_), .. }) => {
            Voicemail::Leave { content: rendered.content, language: rendered.locale }
        }
        Ok(_) | Err(_) => Voicemail::HangUp,
    })
}
