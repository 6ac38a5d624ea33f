//! A second try of a message that did not get through: a new message that names the first one.

use super::submit::Intake;
use crate::domain::ids::MessageId;
use crate::domain::problem::Problem;
use crate::domain::status::MessageStatus;
use crate::domain::words::Reason;
use crate::store::rows::{Admission, AdmitBatch, AdmitOutcome, MessageFacts, MessageRow};
use crate::store::{StoreError, patiently};

/// What became of the wish to try again.
#[derive(Clone, Debug)]
pub enum Again {
    /// The new message.
    Accepted(MessageId),
    /// It was tried again before; that is the message to look at, or to try again in its turn.
    Already(MessageId),
    /// It cannot be tried again.
    Refused(Problem),
}

impl Intake {
    /// Tries `message` again as a new message, as `by` wants. Whoever asks twice gets one. One whose outcome is unknown may
    /// have arrived, so its repeat needs `accept_duplicate`.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn again(
        &self,
        message: &MessageRow,
        accept_duplicate: bool,
        by: &str,
    ) -> Result<Again, StoreError> {
        let now = self.store.ping().await?;
        if let Some(problem) = refusal(message, accept_duplicate) {
            return Ok(Again::Refused(problem));
        }
        if message.expires_at <= now {
            let cure = "enqueue a new job with a later `expires_at`";
            return Ok(Again::Refused(Problem::new("", Reason::Expired, "its time has passed", cure)));
        }
        let batch = AdmitBatch {
            worker: self.worker,
            admissions: vec![admission(message, by)],
            rejects: Vec::new(),
            // It waits in the ledger until it is claimed, at once where there is room.
            room: 0,
        };
        let report = patiently(|| self.store.admit(&batch)).await?;
        self.wake();
        match report.outcomes.first() {
            // Taken back in this very moment: it is there, and says so.
            Some(AdmitOutcome::Accepted(id) | AdmitOutcome::TakenBack(id, _)) => Ok(Again::Accepted(*id)),
            // The ledger decides, for two may ask at once.
            Some(AdmitOutcome::Duplicate(id)) => Ok(Again::Already(*id)),
            _ => Err(StoreError::Internal("a second try was not written".to_owned())),
        }
    }
}

fn refusal(message: &MessageRow, accept_duplicate: bool) -> Option<Problem> {
    use MessageStatus as Status;
    let refuse = |field: &str, reason, rule: &str, cure: &str| Some(Problem::new(field, reason, rule, cure));
    let anew = "enqueue a new job with its data";
    if message.unread {
        return refuse("", Reason::Malformed, "its text cannot be read", anew);
    }
    if message.body.is_erased() {
        return refuse("", Reason::TooLate, "its text was erased", anew);
    }
    match message.status {
        Status::Failed | Status::Suppressed | Status::Cancelled | Status::Expired => None,
        Status::Unknown if accept_duplicate => None,
        Status::Unknown => refuse(
            "accept_duplicate",
            Reason::OutcomeUnknown,
            "it may have arrived",
            "look it up at the provider, or repeat with `accept_duplicate: true`",
        ),
        Status::Accepted | Status::Scheduled | Status::Held | Status::Sending => {
            refuse("", Reason::Duplicate, "it is still under way", "wait for it, or cancel it first")
        }
        Status::Sent | Status::Delivered | Status::Read => refuse(
            "",
            Reason::TooLate,
            "it was sent",
            "to tell the patient once more, enqueue a new job that names this one in `replaces`",
        ),
    }
}

fn admission(message: &MessageRow, by: &str) -> Admission {
    Admission {
        facts: MessageFacts {
            id: MessageId::generate(),
            retry_of: Some(message.facts.id),
            ..message.facts.clone()
        },
        body: message.body.clone(),
        // A second try takes no job key, so nothing is compared with this.
        content_hash: [0; 32],
        replaces: None,
        due_at: None,
        expires_at: message.expires_at,
        // Whoever tries it again looks after it.
        ack_by: None,
        raw: None,
        origin: "retry".to_owned(),
        // Emergencies need a second person, whoever asked for them first.
        asked_by: Some(by.to_owned()),
        redelivered: false,
    }
}
