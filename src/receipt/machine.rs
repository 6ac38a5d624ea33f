//! A machine took a call: it is told what may be left on it, or hung up on. Only then is it known what became of the
//! call: something was left, or nobody answered. Where nobody knows whether it was told, the call has been made, and no more
//! is known of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Refusal, Shared};
use crate::dispatch::Voicemail;
use crate::domain::failure::Failure;
use crate::domain::ids::SendKey;
use crate::domain::outbound::{Content, FailureKind, SendError};
use crate::domain::phi::Phi;
use crate::domain::receipt::{Receipt, Said};
use crate::provider::Provider;

/// Between the tries to speak to one machine.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(750), Duration::from_millis(1_500)];
/// No other try begins after so long: the machine records all the while, and whoever called our webhook waits for it.
const WITHIN: Duration = Duration::from_secs(5);

/// Speaks to the machine; answers what that says of the attempt, `None` where it says nothing: it is not known whether the
/// machine was told, or there is no such call.
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
    let told = tell(provider.as_ref(), &reference, &content, &language, &PAUSES).await;
    if let Err(error) = &told {
        tracing::info!(%error, message = %key.message, provider = %provider.name(), "a machine could not be told");
    }
    Ok(became(&told, said).map(|said| Receipt {
        provider: provider.name().clone(),
        key,
        reference: Some(reference),
        said,
        code: None,
        named: Vec::new(),
    }))
}

/// What became of the call whose machine was to be told what makes it `said`; `None`: nobody knows. Where the call had ended
/// meanwhile, or nothing was to be left, nobody was reached.
fn became(told: &Result<(), SendError>, said: Said) -> Option<Said> {
    match told {
        Ok(()) => Some(said),
        Err(error) if error.kind == FailureKind::Ambiguous && said == Said::Delivered => None,
        Err(_) => Some(Said::Undelivered(Failure::NoAnswer)),
    }
}

/// Tells it; what did not get through, or was put off, is tried again after each of the pauses.
async fn tell(
    provider: &dyn Provider,
    reference: &str,
    content: &Content,
    language: &str,
    pauses: &[Duration],
) -> Result<(), SendError> {
    let began = Instant::now();
    let mut pauses = pauses.iter();
    loop {
        let told = provider.machine_answered(reference, content, language).await;
        let again = told
            .as_ref()
            .is_err_and(|error| matches!(error.kind, FailureKind::Transient | FailureKind::Throttled { .. }));
        match pauses.next().filter(|_| again && began.elapsed() < WITHIN) {
            Some(pause) => sleep(*pause).await,
            None => return told,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use jiff::SignedDuration;

    use super::*;
    use crate::domain::ids::ProviderName;
    use crate::domain::outbound::{Accepted, OutboundMessage};
    use crate::domain::words::Channel;

    /// Fails so, one after the other, and then does what it is asked.
    #[derive(Debug)]
    struct Line {
        name: ProviderName,
        failures: Mutex<Vec<FailureKind>>,
    }

    #[async_trait]
    impl Provider for Line {
        fn name(&self) -> &ProviderName {
            &self.name
        }

        fn channel(&self) -> Channel {
            Channel::Voice
        }

        fn dedupes(&self) -> bool {
            false
        }

        async fn send(&self, _message: &OutboundMessage) -> Result<Accepted, SendError> {
            Ok(Accepted::default())
        }

        async fn check(&self) -> Result<(), SendError> {
            Ok(())
        }

        async fn machine_answered(
            &self,
            _reference: &str,
            _content: &Content,
            _language: &str,
        ) -> Result<(), SendError> {
            match self.failures.lock().unwrap().pop() {
                Some(kind) => Err(SendError::new(kind, "x")),
                None => Ok(()),
            }
        }
    }

    #[tokio::test]
    async fn what_did_not_get_through_is_tried_again_for_a_while() {
        use FailureKind::{Ambiguous, Rejected, Transient};
        let throttled = FailureKind::Throttled { retry_after: Some(SignedDuration::from_mins(5)) };
        for (failures, left, expected) in [
            (vec![], 0, Ok(())),
            (vec![Transient], 0, Ok(())),
            (vec![Transient, throttled, Transient], 0, Ok(())),
            (vec![Transient; 6], 2, Err(Transient)),
            (vec![Ambiguous; 2], 1, Err(Ambiguous)),
            (vec![Rejected; 2], 1, Err(Rejected)),
        ] {
            let what = format!("{failures:?}");
            let line = Line { name: ProviderName::parse("voice").unwrap(), failures: Mutex::new(failures) };
            let content = Content::Voice { speech: Phi::new(""), voicemail: None, extension: None };
            let told = tell(&line, "CA1", &content, "en", &[Duration::from_millis(1); 3]).await;
            assert_eq!(told.map_err(|error| error.kind), expected, "{what}");
            assert_eq!(line.failures.lock().unwrap().len(), left, "{what}");
        }
        assert!(PAUSES.iter().sum::<Duration>() < WITHIN);
    }

    #[test]
    fn a_call_of_which_nobody_knows_whether_its_machine_was_told_was_made() {
        let nobody = Said::Undelivered(Failure::NoAnswer);
        let failed = |kind| Err(SendError::new(kind, "x"));
        for (told, said, expected) in [
            (Ok(()), Said::Delivered, Some(Said::Delivered)),
            (Ok(()), nobody, Some(nobody)),
            (failed(FailureKind::Ambiguous), Said::Delivered, None),
            (failed(FailureKind::Ambiguous), nobody, Some(nobody)),
            (failed(FailureKind::Transient), Said::Delivered, Some(nobody)),
            (failed(FailureKind::Rejected), Said::Delivered, Some(nobody)),
        ] {
            assert_eq!(became(&told, said), expected, "{told:?} {said:?}");
        }
    }
}
