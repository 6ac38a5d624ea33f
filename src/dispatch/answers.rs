//! Answers to mail, by a machine: one mail for one that came, in its thread. It belongs to no message and no plan, and
//! yet goes the way of everything that leaves: a slot of the gate, on record as begun before the first byte, once. The
//! row of the reply is what an attempt is to a message. What could not be sent is tried again while it is of use; what
//! may have been sent never is.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::lane::{self, Lane};
use super::{Corridor, Dispatcher};
use crate::domain::ids::{AttemptId, MessageId, SendKey};
use crate::domain::outbound::{
    Accepted, Content, FailureKind, InAnswer, OutboundMessage, SendError, in_html,
};
use crate::domain::phi::Phi;
use crate::domain::words::Channel;
use crate::store::StoreError;
use crate::store::rows::{ANSWER_USEFUL, MailAnswer, MailAnswerEnd};

const TICK: Duration = Duration::from_secs(1);
/// Taken in hand at once.
const AT_ONCE: u32 = 16;
/// Not begun later than this: after a minute others may have it in hand.
const IN_HAND: Duration = Duration::from_secs(50);
/// Pauses before it is tried again; after the last it has failed.
const PAUSES: [SignedDuration; 4] = [
    SignedDuration::from_secs(20),
    SignedDuration::from_mins(2),
    SignedDuration::from_mins(10),
    SignedDuration::from_hours(1),
];
/// Nobody can carry it now.
const LATER: SignedDuration = SignedDuration::from_secs(15);

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerLetter {
    pub subject: String,
    pub text: String,
    /// BCP-47.
    pub language: &'static str,
}

impl Dispatcher {
    /// Sends answers to mail from now on; `compose` says what, or that there is nothing to be said.
    pub fn answer_mail(&self, compose: impl Fn(&MailAnswer) -> Option<AnswerLetter> + Send + Sync + 'static) {
        let compose = Arc::new(compose);
        self.uphold("mail_answers", move |corridor| run(corridor, compose.clone()));
    }
}

async fn run(
    corridor: Arc<Corridor>,
    compose: Arc<impl Fn(&MailAnswer) -> Option<AnswerLetter> + Send + Sync>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = corridor.stopping.cancelled() => return,
        }
        if let Err(error) = answer_all(&corridor, &*compose).await {
            tracing::warn!(%error, "answers to mail wait for the ledger");
        }
    }
}

async fn answer_all(
    corridor: &Arc<Corridor>,
    compose: &(impl Fn(&MailAnswer) -> Option<AnswerLetter> + Send + Sync),
) -> Result<(), StoreError> {
    loop {
        let until = Instant::now() + IN_HAND;
        let due = corridor.store.take_mail_answers(AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        for answer in due {
            if corridor.stopping.is_cancelled() || Instant::now() > until {
                return Ok(());
            }
            let end = match compose(&answer) {
                Some(letter) => carry(corridor, &answer, letter, until).await?,
                None => Some(MailAnswerEnd::None),
            };
            // One that another worker has, or that is one too many, has ended.
            let Some(end) = end else { continue };
            corridor.store.end_mail_answer(answer.id, end).await?;
            count(&answer, end);
        }
    }
}

/// The way to the wire, begun before `until`; `None`: it may not be begun.
async fn carry(
    corridor: &Arc<Corridor>,
    answer: &MailAnswer,
    letter: AnswerLetter,
    until: Instant,
) -> Result<Option<MailAnswerEnd>, StoreError> {
    let Some(lane) = lane_for(corridor, answer) else { return Ok(Some(MailAnswerEnd::Again(LATER))) };
    let Some(message) = outbound(corridor, answer, letter) else { return Ok(Some(MailAnswerEnd::None)) };
    let Some(ticket) = lane.guard.start(lane.guard.probe()) else {
        return Ok(Some(MailAnswerEnd::Again(LATER)));
    };
    let permit = tokio::select! {
        permit = lane.gate.permit(1, true) => permit,
        () = tokio::time::sleep_until(until) => return Ok(Some(MailAnswerEnd::Again(LATER))),
        () = corridor.stopping.cancelled() => return Ok(Some(MailAnswerEnd::Again(LATER))),
    };
    if !corridor.store.begin_mail_answer(answer.id).await? {
        return Ok(None);
    }
    let latest = Instant::now() + corridor.config.worker.first_byte;
    let Some(slot) = lane.leave(permit, 1, latest).await else {
        return Ok(Some(MailAnswerEnd::Again(LATER)));
    };
    slot.use_up();
    let started = Instant::now();
    let sent = tokio::select! {
        sent = lane.provider.send(&message) => sent,
        () = corridor.cut.cancelled() => return Ok(Some(MailAnswerEnd::Unknown)),
    };
    ticket.record(&sent, started.elapsed());
    Ok(Some(end(&sent, answer.tries)))
}

/// A lane for mail that is in use, where there is one: rather that of the provider that it came back to.
fn lane_for<'c>(corridor: &'c Corridor, answer: &MailAnswer) -> Option<&'c Arc<Lane>> {
    let setting = lane::setting(corridor, answer.facts.test, Some(&answer.to));
    let fits = |lane: &&Arc<Lane>| lane.channel == Channel::Email && lane.setting == setting;
    let carries = |lane: &Lane| lane.guard.is_in_use() && lane.gate.closed_until().is_none();
    let last = |lane: &&Arc<Lane>| (!carries(lane), *lane.provider.name() != answer.provider);
    corridor.lanes.iter().filter(fits).min_by_key(last)
}

/// `None`: the key of the mail that it answers cannot be read.
fn outbound(corridor: &Corridor, answer: &MailAnswer, letter: AnswerLetter) -> Option<OutboundMessage> {
    let facts = &answer.facts;
    let html = in_html(&letter.text);
    let site = facts.site.as_ref().and_then(|id| corridor.config.site(id));
    Some(OutboundMessage {
        attempt_id: AttemptId(answer.id.0),
        // Of its own: a bounce of the answer is none of the mail that was answered.
        send_key: SendKey { message: MessageId(answer.id.0), step: 0 },
        to: answer.to.clone(),
        to_name: None,
        from: site.and_then(|site| site.senders.email.clone()),
        language: letter.language.to_owned(),
        purpose: facts.purpose,
        valid_for: ANSWER_USEFUL,
        content: Content::Email {
            subject: Phi::new(letter.subject),
            text: Phi::new(format!("{}\n", letter.text)),
            html: Phi::new(format!(
                "<!doctype html><html lang=\"{}\"><body><p>{html}</p></body></html>",
                letter.language
            )),
            unsubscribe_url: None,
        },
        answers: Some(InAnswer { about: SendKey::parse(&facts.about)?, thread: facts.thread.clone() }),
    })
}

/// What was not sent is tried again a few times; an answer has no other way.
fn end(sent: &Result<Accepted, SendError>, tries: u16) -> MailAnswerEnd {
    match sent {
        Ok(_) => MailAnswerEnd::Sent,
        Err(error) => match error.kind {
            FailureKind::Ambiguous => MailAnswerEnd::Unknown,
            FailureKind::Transient | FailureKind::Throttled { .. } | FailureKind::Misconfigured => {
                PAUSES.get(usize::from(tries)).copied().map_or(MailAnswerEnd::Failed, MailAnswerEnd::Again)
            }
            FailureKind::BadAddress | FailureKind::OptedOut | FailureKind::Rejected => MailAnswerEnd::Failed,
        },
    }
}

fn count(answer: &MailAnswer, end: MailAnswerEnd) {
    let result = end.as_str();
    metrics::counter!("outreachd_mail_answers_total", "result" => result).increment(1);
    if matches!(end, MailAnswerEnd::Failed | MailAnswerEnd::Unknown) {
        tracing::warn!(reply = %answer.id, provider = %answer.provider, result, "an answer to a mail did not get through");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_sent_is_never_sent_again() {
        let failed = |kind| Err(SendError::new(kind, "x"));
        assert_eq!(end(&Ok(Accepted::default()), 0), MailAnswerEnd::Sent);
        for tries in [0, 9] {
            assert_eq!(end(&failed(FailureKind::Ambiguous), tries), MailAnswerEnd::Unknown);
            assert_eq!(end(&failed(FailureKind::BadAddress), tries), MailAnswerEnd::Failed);
        }
        assert_eq!(end(&failed(FailureKind::Transient), 0), MailAnswerEnd::Again(PAUSES[0]));
        assert_eq!(end(&failed(FailureKind::Transient), 3), MailAnswerEnd::Again(PAUSES[3]));
        assert_eq!(end(&failed(FailureKind::Transient), 4), MailAnswerEnd::Failed);
    }
}
