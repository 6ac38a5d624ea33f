//! What is said in a call beside its text: what a machine that took it may be told, and the text once more. Texts are not
//! kept: they are rendered again from the job, the template and the patient, as they stand now.

use super::{Corridor, Reader, render, sign_off};
use crate::domain::consent::narrow;
use crate::domain::ids::SendKey;
use crate::domain::outbound::Content;
use crate::domain::patient::{Patient, ProxyPerson};
use crate::domain::phi::Phi;
use crate::domain::status::AttemptStatus;
use crate::domain::words::{Channel, Recipient};
use crate::policy::person::Addressee;
use crate::store::StoreError;
use crate::store::rows::{AttemptRow, MessageFilter, MessageRow};

/// What is to be done with a call that a machine took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voicemail {
    /// There is no such call, or it is over.
    NoCall,
    /// Nothing may be left: hang up.
    HangUp,
    /// This may be left, in this language.
    Leave { content: Content, language: String },
}

/// What was said to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    pub speech: Phi,
    /// BCP-47.
    pub language: String,
}

/// A call, and what its texts are made of.
struct Called {
    message: MessageRow,
    call: AttemptRow,
    /// `None`: erased since.
    patient: Option<Patient>,
}

/// The contact's own wish comes first, then the template's text for machines. To a proxy's machine nothing is said:
/// who else listens there is not known.
pub(super) async fn voicemail(corridor: &Corridor, key: SendKey) -> Result<Voicemail, StoreError> {
    let called = called(corridor, key).await?;
    let Some(called) = called.filter(|called| called.call.status <= AttemptStatus::Sent) else {
        return Ok(Voicemail::NoCall);
    };
    let Some(patient) = &called.patient else { return Ok(Voicemail::HangUp) };
    let call = &called.call;
    if !render::may_be_left(patient, &call.address, call.recipient) {
        return Ok(Voicemail::HangUp);
    }
    let reader = Reader::of(&Addressee::patient(patient), None);
    // Several patients may stand behind what was told together.
    let named = !carries(corridor, key).await?;
    Ok(match render::text(corridor, &text(&called.message, call, patient, &reader), named) {
        Ok(rendered) if matches!(rendered.content, Content::Voice { voicemail: Some(_), .. }) => {
            Voicemail::Leave { content: rendered.content, language: rendered.locale }
        }
        Ok(_) | Err(_) => Voicemail::HangUp,
    })
}

/// The text of a call once more, for whoever listens; `None` where it cannot be had as it was.
pub(super) async fn again(corridor: &Corridor, key: SendKey) -> Result<Option<Spoken>, StoreError> {
    let Some(Called { message, call, patient: Some(patient) }) = called(corridor, key).await? else {
        return Ok(None);
    };
    if carries(corridor, key).await? {
        return Ok(None);
    }
    let Some(reader) = reader(corridor, &patient, &call).await? else { return Ok(None) };
    let rendered = render::text(corridor, &text(&message, &call, &patient, &reader), true).ok();
    Ok(rendered.and_then(|rendered| match rendered.content {
        Content::Voice { speech, .. } => Some(Spoken { speech, language: rendered.locale }),
        _ => None,
    }))
}

async fn called(corridor: &Corridor, key: SendKey) -> Result<Option<Called>, StoreError> {
    let store = corridor.store.as_ref();
    let Some(message) = store.message(key.message).await? else { return Ok(None) };
    let attempts = store.attempts(key.message).await?;
    let call = attempts.into_iter().rev().find(|a| a.step == key.step && a.channel == Channel::Voice);
    let Some(call) = call.filter(|call| call.status != AttemptStatus::Failed) else { return Ok(None) };
    let stored = store.patient(&message.facts.patient_id).await?;
    let patient = match (&message.body.patient, stored) {
        (Some(inline), stored) => Some(narrow(stored.as_ref(), inline)),
        (None, stored) => stored,
    };
    sign_off::known(store, &corridor.catalogue).await?;
    Ok(Some(Called { message, call, patient }))
}

/// Whether the call tells of other messages as well.
async fn carries(corridor: &Corridor, key: SendKey) -> Result<bool, StoreError> {
    let carried = MessageFilter { merged_into: Some(key.message), limit: 1, ..MessageFilter::default() };
    Ok(!corridor.store.messages(&carried).await?.is_empty())
}

/// Who was called: the patient, or whoever stands in for them and has that number.
async fn reader(
    corridor: &Corridor,
    patient: &Patient,
    call: &AttemptRow,
) -> Result<Option<Reader>, StoreError> {
    if call.recipient == Recipient::Patient {
        return Ok(Some(Reader::of(&Addressee::patient(patient), None)));
    }
    let Some(now) = corridor.clock.now() else { return Ok(None) };
    for proxy in &patient.proxies {
        let known = match &proxy.person {
            ProxyPerson::Patient(id) => corridor.store.patient(id).await?,
            ProxyPerson::Person(_) => None,
        };
        let addressee = Addressee::proxy(proxy, known.as_ref(), now);
        let has_number = |one: &Addressee<'_>| one.contacts.iter().any(|c| c.address == call.address);
        if let Some(addressee) = addressee.filter(has_number) {
            return Ok(Some(Reader::of(&addressee, Some(proxy))));
        }
    }
    Ok(None)
}

fn text<'a>(
    message: &'a MessageRow,
    call: &AttemptRow,
    patient: &'a Patient,
    reader: &'a Reader,
) -> render::Text<'a> {
    render::Text {
        // A call's are the template's own.
        digits: &[],
        facts: &message.facts,
        body: &message.body,
        patient,
        reader,
        channel: Channel::Voice,
        pointer: call.pointer,
    }
}
