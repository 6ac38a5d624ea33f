//! A machine took a call: it is told what may be left on it, or hung up on. Only then is it known what became of the
//! call: something was left, or nobody answered.

use std::sync::Arc;

use super::{Refusal, Shared};
use crate::dispatch::Voicemail;
use crate::domain::failure::Failure;
use crate::domain::ids::SendKey;
use crate::domain::outbound::Content;
use crate::domain::phi::Phi;
use crate::domain::receipt::{Receipt, Said};
use crate::provider::Provider;

/// Speaks to the machine; answers what that says of the attempt, `None` where the call is over.
pub(super) async fn answered(
    shared: &Shared,
    provider: &Arc<dyn Provider>,
    key: SendKey,
    reference: String,
) -> Result<Option<Receipt>, Refusal> {
    let dispatcher = shared.dispatcher.as_ref().ok_or(Refusal::Later)?;
    let voicemail = dispatcher.voicemail(key).await.unwrap_or_else(|error| {
        // Nobody knows what may be left there, and until it is hung up on the machine records what a person was to hear.
        tracing::warn!(%error, message = %key.message, "a machine is hung up on: what may be left on it is not known");
        Voicemail::HangUp
    });
    let nothing = || Content::Voice { speech: Phi::new(""), voicemail: None, extension: None };
    let (content, language, said) = match voicemail {
        Voicemail::NoCall => return Ok(None),
        Voicemail::HangUp => (nothing(), String::new(), Said::Undelivered(Failure::NoAnswer)),
        Voicemail::Leave { content, language } => (content, language, Said::Delivered),
    };
    let spoken = provider.machine_answered(&reference, &content, &language).await;
    let said = match spoken {
        Ok(()) => said,
        Err(error) => {
            // The call may have ended meanwhile; nothing was left, as far as anybody knows.
            tracing::info!(%error, message = %key.message, provider = %provider.name(), "a machine could not be told");
            Said::Undelivered(Failure::NoAnswer)
        }
    };
    Ok(Some(Receipt {
        provider: provider.name().clone(),
        key,
        reference: Some(reference),
        said,
        code: None,
        named: Vec::new(),
    }))
}
