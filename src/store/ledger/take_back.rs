//! Cancels and replacements take jobs back, in whatever order things come.

use std::collections::HashSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Ledger, Numbered};
use crate::domain::ids::{JobId, MessageId, SourceName};
use crate::domain::status::MessageStatus;
use crate::domain::words::Reason;
use crate::store::columns::Columns;
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{Engine, args};
use crate::store::rows::{AdmitBatch, AdmitOutcome, AdmitReport, CancelOutcome};
use crate::store::{Result, words};

/// Cancels those no attempt of which may have reached anybody. The last attempt is asked for by the row's own
/// column: should it begin at this very moment, this statement's snapshot does not know it, and that is enough to
/// let it go.
const TAKE_BACK: &str = "
UPDATE messages
SET status = 'cancelled', reason = $2, due_at = NULL, lease_token = NULL,
    changed_at = now(), seq = seq + 1
WHERE id = ANY($1) AND status IN ('accepted', 'scheduled', 'held', 'sending')
  AND (last_attempt IS NULL
       OR EXISTS (SELECT 1 FROM attempts a WHERE a.id = messages.last_attempt AND a.status = 'failed'))
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.status <> 'failed')
RETURNING id";

/// Drops the steps of a plan that have not begun, of what was sent already; the status stays. What is on the wire right
/// now is left: a name that was taken back begins nothing more.
const DROP_STEPS: &str = "
UPDATE messages SET due_at = NULL, lease_token = NULL
WHERE id = ANY($1) AND due_at IS NOT NULL
  AND EXISTS (SELECT 1 FROM attempts a WHERE a.id = messages.last_attempt AND a.status <> 'sending')
  AND (status IN ('unknown', 'delivered') OR (status = 'sent' AND EXISTS (
      SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND (a.status IN ('sent', 'delivered', 'read')
          OR (a.status = 'unknown' AND a.awaits IS NOT NULL)))))
RETURNING id";

/// What a cancel or a replacement found.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    pub(super) cancelled: Vec<MessageId>,
    pub(super) too_late: Vec<MessageId>,
    /// Ended before, without reaching anybody.
    over: Vec<MessageId>,
    /// One of those that reach nobody was a change of something that had been sent.
    was_change: bool,
    /// When the last of what came too late expires: until then a later step of it may begin.
    may_begin_until: Option<Timestamp>,
}

impl TakenBack {
    fn is_about(&self, id: MessageId) -> bool {
        [&self.cancelled, &self.too_late, &self.over].into_iter().any(|found| found.contains(&id))
    }

    pub(super) fn outcome(self) -> CancelOutcome {
        if !self.cancelled.is_empty() {
            CancelOutcome::Cancelled(self.cancelled)
        } else if !self.too_late.is_empty() {
            CancelOutcome::TooLate(self.too_late)
        } else if !self.over.is_empty() {
            // They had ended before: nothing is left to take back.
            CancelOutcome::Cancelled(Vec::new())
        } else {
            CancelOutcome::Tombstone
        }
    }
}

impl<E: Engine> Ledger<E> {
    /// Jobs that replace an earlier one: not yet sent, that one is cancelled; sent, this one is a change.
    pub(super) async fn supersede(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        report: &mut AdmitReport,
    ) -> Result<()> {
        for (place, admission) in batch.admissions.iter().enumerate() {
            // A second try says what the first would have said, to whom it would have said it.
            if let Some(first) = admission.facts.retry_of {
                let sql = "UPDATE messages SET is_change = $2,
                     copy_of = (SELECT f.copy_of FROM messages f WHERE f.id = $3) WHERE id = $1";
                let args = args![admission.facts.id.0, admission.facts.is_change, first.0];
                E::run(tx, sql, args).await?;
                // Nobody knows what came of the first: a person has decided, and nothing more of it leaves by itself.
                let ends = "UPDATE messages SET due_at = NULL, lease_token = NULL WHERE id = $1 AND status = 'unknown'";
                E::run(tx, ends, args![first.0]).await?;
            }
            let (Some(replaced), Some(AdmitOutcome::Accepted(id) | AdmitOutcome::TakenBack(id, _))) =
                (&admission.replaces, report.outcomes.get(place))
            else {
                continue;
            };
            if *replaced == admission.facts.job_id {
                continue;
            }
            let taken =
                self.take_back(tx, &admission.facts.source, replaced, Reason::Superseded, report.now).await?;
            let is_change = !taken.too_late.is_empty() || taken.was_change;
            if is_change {
                E::run(tx, "UPDATE messages SET is_change = true WHERE id = $1", args![id.0]).await?;
            }
            for leased in report.leased.iter_mut().filter(|l| l.place == place) {
                leased.is_change = is_change;
            }
            let gone: HashSet<MessageId> = taken.cancelled.into_iter().collect();
            report
                .leased
                .retain(|l| batch.admissions.get(l.place).is_none_or(|a| !gone.contains(&a.facts.id)));
        }
        Ok(())
    }

    pub(super) async fn take_back(
        &self,
        tx: &mut E::Tx,
        source: &SourceName,
        job_id: &JobId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<TakenBack> {
        let rows = E::run(
            tx,
            // Second tries carry the job's name without its key.
            "SELECT message_id FROM job_keys WHERE source = $1 AND job_id = $2
             UNION ALL
             SELECT id FROM messages WHERE source = $1 AND job_id = $2 AND retry_of IS NOT NULL",
            args![source.as_str(), job_id.as_str()],
        )
        .await?;
        let ids = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        let taken = self.take_back_messages(tx, &ids, reason, now).await?;
        if ids.is_empty() || !taken.too_late.is_empty() {
            let name = ("job", job_id.as_str());
            self.bury(tx, source, name, (reason, taken.may_begin_until), now).await?;
        }
        Ok(taken)
    }

    pub(super) async fn take_back_matter(
        &self,
        tx: &mut E::Tx,
        source: &SourceName,
        about: &str,
        now: Timestamp,
    ) -> Result<TakenBack> {
        let rows = E::run(
            tx,
            "SELECT id FROM messages WHERE source = $1 AND about = $2",
            args![source.as_str(), about],
        )
        .await?;
        let ids = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        let taken = self.take_back_messages(tx, &ids, Reason::Cancelled, now).await?;
        if ids.is_empty() {
            self.bury(tx, source, ("about", about), (Reason::Cancelled, None), now).await?;
        }
        // A new job about the matter stays welcome.
        self.bury_jobs_of(tx, &taken, now).await?;
        Ok(taken)
    }

    /// What is on its way loses its later steps by name. A copy goes by the job's name: where it alone was meant, its end
    /// is not the patient's.
    pub(super) async fn bury_jobs_of(&self, tx: &mut E::Tx, taken: &TakenBack, now: Timestamp) -> Result<()> {
        for id in &taken.too_late {
            if let Some(message) = self.message_in(tx, id.0).await?
                && message.copy_of.is_none_or(|first| taken.is_about(first))
            {
                let name = ("job", message.facts.job_id.as_str());
                let why = (Reason::Cancelled, Some(message.expires_at));
                self.bury(tx, &message.facts.source, name, why, now).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn take_back_messages(
        &self,
        tx: &mut E::Tx,
        ids: &[Uuid],
        reason: Reason,
        now: Timestamp,
    ) -> Result<TakenBack> {
        if ids.is_empty() {
            return Ok(TakenBack::default());
        }
        let mut rows = E::run(tx, TAKE_BACK, args![ids.to_vec(), reason.as_str()]).await?;
        // Asked for only now that the messages are ours: none of them is given a copy any more.
        let mut ids = ids.to_vec();
        let copies: Vec<Uuid> =
            Self::copies_of(tx, &ids).await?.into_iter().filter(|id| !ids.contains(id)).collect();
        if !copies.is_empty() {
            rows.extend(E::run(tx, TAKE_BACK, args![copies.clone(), reason.as_str()]).await?);
            ids.extend(copies);
        }
        let mut taken = TakenBack::default();
        for row in &rows {
            taken.cancelled.push(MessageId(row.id(0)?));
        }
        let mut events = Vec::new();
        for id in ids {
            let Some(message) = self.message_in(tx, id).await? else { continue };
            let facts = &message.facts;
            if taken.cancelled.contains(&facts.id) {
                taken.was_change |= facts.is_change;
                let to = Move {
                    recipient: message.recipient(),
                    ..Move::bare(MessageStatus::Cancelled, Some(reason), now)
                };
                let event = self.emitter.message(facts, &to);
                let seq = message.seq;
                events.extend(event.map(|event| Numbered { message: Some(facts.id), seq, event }));
            } else if message.status.rank().is_some() && message.status != MessageStatus::Failed {
                taken.too_late.push(facts.id);
                taken.may_begin_until = taken.may_begin_until.max(Some(message.expires_at));
            } else {
                taken.was_change |= facts.is_change;
                taken.over.push(facts.id);
            }
        }
        self.insert_events(tx, &events).await?;
        Ok(taken)
    }

    /// Ends these messages as far as they can be: what was not sent is cancelled, of what was the steps to come are dropped.
    pub(super) async fn end_messages(&self, tx: &mut E::Tx, ids: &[Uuid], now: Timestamp) -> Result<()> {
        let taken = self.take_back_messages(tx, ids, Reason::Cancelled, now).await?;
        self.bury_jobs_of(tx, &taken, now).await?;
        self.tell_too_late(tx, &taken.too_late, now).await
    }

    pub(super) async fn was_sent_again(tx: &mut E::Tx, id: MessageId) -> Result<bool> {
        let again = "SELECT 1 FROM messages WHERE retry_of = $1 LIMIT 1";
        Ok(!E::run(tx, again, args![id.0]).await?.is_empty())
    }

    /// Leaves a tombstone for a job or a matter of this name. Where something of that name may still begin, it lasts until
    /// then; written again it keeps its reason, and is not shortened.
    async fn bury(
        &self,
        tx: &mut E::Tx,
        source: &SourceName,
        (kind, name): (&str, &str),
        (reason, may_begin_until): (Reason, Option<Timestamp>),
        now: Timestamp,
    ) -> Result<()> {
        let memory = now.checked_add(self.timings.tombstone).unwrap_or(Timestamp::MAX);
        let until = may_begin_until.map_or(memory, |last| last.max(memory));
        E::run(
            tx,
            concat!(
                "INSERT INTO tombstones (source, kind, name, reason, until, buried_at) VALUES ($1, $2, $3, $4, $5, now())",
                words::buried_again!()
            ),
            args![source.as_str(), kind, name, reason.as_str(), until],
        )
        .await?;
        Ok(())
    }

    /// The caller learns that the cancel came too late; the status stays.
    pub(super) async fn tell_too_late(
        &self,
        tx: &mut E::Tx,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        E::run(tx, DROP_STEPS, args![ids.iter().map(|id| id.0).collect::<Vec<Uuid>>()]).await?;
        let mut events = Vec::new();
        for (id, seq) in ids.iter().zip(Self::next_seqs(tx, ids).await?) {
            let Some(message) = self.message_in(tx, id.0).await? else { continue };
            let awaits = message.due_at.is_some() || message.receipt_by.is_some();
            let bare = Move::bare(message.status, Some(Reason::TooLate), now);
            let to = Move { awaits, recipient: message.recipient(), ..bare };
            let event = Emitter::always(&message.facts, &to);
            events.push(Numbered { message: Some(*id), seq, event });
        }
        self.insert_events(tx, &events).await
    }
}
