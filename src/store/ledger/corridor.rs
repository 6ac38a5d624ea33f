//! The corridor's own statements: decide, begin, settle.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Ledger, Numbered, unfit};
use crate::domain::failure::Failure;
use crate::domain::ids::{AttemptId, MessageId, SiteId, WorkerId};
use crate::domain::look_up::TextMark;
use crate::domain::page::PageHash;
use crate::domain::patience::Until;
use crate::domain::phi::Phi;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Priority, Reason};
use crate::faults::amid;
use crate::policy::health::sign;
use crate::store::columns::Columns;
use crate::store::emit::{Move, NewEvent, shard};
use crate::store::engine::{
    Args, Column, Data, Engine, RowType, args, bytes, flags, ids, ints, maybe_ids, maybe_texts, micros,
    texts, times, try_bytes,
};
use crate::store::rows::{
    Begin, Begun, Count, Counted, Decided, MessageFacts, PatientState, Settlement, Then,
};
use crate::store::sealed::Sealed;
use crate::store::{Corridor, Result};

#[async_trait]
impl<E: Engine> Corridor for Ledger<E> {
    /// Moves statuses, work state and events in one go, where the lease is still the one that was decided under. A
    /// move that is not legal leaves the status and moves the rest; it is not told.
    async fn decide(&self, decisions: &[Decided]) -> Result<()> {
        if decisions.is_empty() {
            return Ok(());
        }
        let event = |d: &Decided| {
            let to = Move {
                channel: d.channel,
                provider: d.provider.as_ref(),
                recipient: d.recipient,
                ..Move::bare(d.status, d.reason, d.at)
            };
            // Nothing is sent by a decision: what was told as sent or delivered and waits for its next step stays that,
            // until its plan is over; where a receipt is awaited that will be told.
            let is_told = match d.status {
                MessageStatus::Sent | MessageStatus::Delivered => d.over.is_some_and(|over| !over.awaits),
                _ => true,
            };
            is_told.then(|| self.emitter.message(&d.facts, &to)).flatten()
        };
        let events: Vec<_> = decisions.iter().map(event).collect();
        let explanations = decisions
            .iter()
            .map(|d| self.sealer.spell(Sealed::MessageExplanation.of(d.facts.id.0), &d.explanation))
            .collect::<Result<Vec<_>>>()?;
        let mut batch = vec![
            ids("id", decisions, |d| d.facts.id.0),
            ints("token", decisions, |d| d.token),
            texts("status", decisions, |d| d.status.as_str()),
            maybe_texts("reason", decisions, |d| d.reason.map(Reason::as_str)),
            times("due_at", decisions, |d| d.due_at),
            maybe_texts("channel", decisions, |d| d.channel.map(Channel::as_str)),
            maybe_ids("held_by", decisions, |d| d.held_by.map(|id| id.0)),
            maybe_texts("site", decisions, |d| site(&d.facts)),
            flags("plan_over", decisions, |d| d.over.is_some()),
            flags("awaits", decisions, |d| d.over.is_some_and(|over| over.awaits)),
            texts("explanation", &explanations, |e| e.as_ref()),
            ints("shard", decisions, |d| i64::from(shard(d.facts.id))),
        ];
        batch.extend(self.event_columns(&events));
        let args = Args::none().batch(batch);
        let failed: Vec<&Decided> = decisions.iter().filter(|d| is_for_people(d)).collect();
        if failed.is_empty() {
            self.engine.write(E::STATEMENTS.decide, args).await?;
        } else {
            let mut tx = self.engine.begin().await?;
            E::run(&mut tx, E::STATEMENTS.decide, args).await?;
            self.open_exhausted(&mut tx, &failed).await?;
            E::commit(tx).await?;
        }
        self.wake_in_time(decisions).await
    }

    /// Writes the attempts of those messages for which every reason to send still stands: our lease with time left, a
    /// legal status, the revision that was planned with, an answer not yet due to change, no cancel, no hold, nothing more
    /// counted by the caps than was seen. Takes
    /// worker, the time a send may take, and the batch; answers `attempt, now` of what has begun.
    async fn begin(&self, worker: WorkerId, batch: &[Begin]) -> Result<Begun> {
        // What the caps count is counted one message after the other: of two for the same person or address the
        // second is decided upon again.
        let (mut seen, mut counted) = (HashSet::new(), HashSet::new());
        let batch: Vec<&Begin> = batch
            .iter()
            .filter(|b| seen.insert(b.facts.id))
            .filter(|b| b.count.iter().flat_map(Count::rows).all(|c| counted.insert(c.subject.as_str())))
            .collect();
        if batch.is_empty() {
            return Ok(Begun { attempts: Vec::new(), now: self.clock().await? });
        }
        let alone = batch.iter().all(|b| b.riders.is_empty());
        let rows = if alone && !self.emitter.tells(MessageStatus::Sending) {
            let (others, explanations) = (others(&batch)?, self.explanations(&batch)?);
            let args = self.beginning(worker, &batch, &others, &explanations)?;
            amid("beginning", self.engine.write(E::STATEMENTS.begin, args)).await?
        } else {
            let mut tx = self.engine.begin().await?;
            let rows = self.begin_with_riders(&mut tx, worker, batch.clone()).await?;
            self.tell_of_sending(&mut tx, &batch, &rows).await?;
            E::commit(tx).await?;
            rows
        };
        let now = match rows.first() {
            Some(row) => row.time(1)?,
            None => self.clock().await?,
        };
        let attempts = rows.iter().map(|row| Ok(AttemptId(row.id(0)?))).collect::<Result<Vec<_>>>()?;
        Ok(Begun { attempts, now })
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<()> {
        // One message twice in one statement would move once only: the later result waits for the next statement.
        let mut rest = batch;
        while !rest.is_empty() {
            let mut seen = HashSet::new();
            let many = rest.iter().position(|s| !seen.insert(s.facts.id)).unwrap_or(rest.len());
            let (now, later) = rest.split_at(many);
            self.settle_distinct(now).await?;
            rest = later;
        }
        Ok(())
    }

    async fn uncount(&self, count: &Count) -> Result<()> {
        let rows: Vec<&Counted> = count.rows().collect();
        let batch = vec![texts("subject", &rows, |c| &c.subject), texts("entry", &rows, |c| &c.entry)];
        self.engine
            .write(
                "UPDATE patient_state
                 SET recent_sends = NULLIF(trim(replace(' ' || recent_sends || ' ', ' ' || input.entry || ' ', ' ')), '')
                 FROM {input}
                 WHERE patient_state.subject = input.subject AND recent_sends IS NOT NULL",
                Args::none().batch(batch),
            )
            .await?;
        Ok(())
    }

    /// Only where the last try is known to have failed, or where it went out and its plan waits for an answer; and nobody
    /// has the message in hand.
    async fn next_route(&self, id: MessageId) -> Result<bool> {
        let moved = self
            .engine
            .write(
                "UPDATE messages SET step = step + 1, tries = 0, due_at = now()
                 WHERE id = $1 AND status = 'sending' AND due_at IS NOT NULL AND lease_token IS NULL AND EXISTS (
                     SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.step = messages.step
                         AND a.id = messages.last_attempt AND a.status = 'failed')
                 RETURNING id",
                args![id.0],
            )
            .await?;
        if !moved.is_empty() {
            return Ok(true);
        }
        // What went out is not waited for any longer: the next way is due now, and is decided upon as ever.
        let moved = self
            .engine
            .write(
                "UPDATE messages SET due_at = now()
                 WHERE id = $1 AND status IN ('sent', 'delivered', 'unknown') AND due_at > now() AND lease_token IS NULL
                     AND EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.id = messages.last_attempt
                         AND a.step < messages.step AND a.status IN ('sent', 'delivered', 'unknown'))
                 RETURNING id",
                args![id.0],
            )
            .await?;
        Ok(!moved.is_empty())
    }
}

impl<E: Engine> Ledger<E> {
    /// What a message waits for may have come while the decision to wait was written: the patient, or the end of a hold.
    /// Whoever brings it wakes what waits by then; asked in a statement of its own, nothing slips between the two. What a
    /// hold held that was ended otherwise than to send it is still settled as that end says.
    async fn wake_in_time(&self, decisions: &[Decided]) -> Result<()> {
        let may_have_come = |d: &&Decided| {
            d.due_at.is_some() && (d.held_by.is_some() || d.reason == Some(Reason::UnknownPatient))
        };
        let waiting: Vec<_> = decisions.iter().filter(may_have_come).map(|d| d.facts.id.0).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE messages SET due_at = now()
             WHERE id = ANY($1) AND due_at > now() AND lease_token IS NULL AND (
                 reason = 'unknown_patient' AND EXISTS (SELECT 1 FROM patients p WHERE p.id = messages.patient_id)
                 OR held_by IS NOT NULL AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.id = messages.held_by
                     AND (COALESCE(h.ended_as, h.on_release) <> 'send'
                         OR (h.released_at IS NULL AND (h.until IS NULL OR h.until > now())))))";
        self.engine.write(sql, args![waiting]).await?;
        Ok(())
    }

    /// The events of messages whose first attempt has begun, for whoever wants to hear of it.
    async fn tell_of_sending(&self, tx: &mut E::Tx, batch: &[&Begin], rows: &[E::Row]) -> Result<()> {
        let Some(row) = rows.first() else { return Ok(()) };
        let at = row.time(1)?;
        let begun = rows.iter().map(|row| Ok(AttemptId(row.id(0)?))).collect::<Result<HashSet<_>>>()?;
        let first = |b: &&&Begin| b.step == 0 && b.number == 1 && begun.contains(&b.attempt);
        let event = |b: &&Begin| {
            let to = Move {
                channel: Some(b.route.channel),
                provider: Some(&b.provider),
                attempt: Some(b.number),
                recipient: b.recipient,
                ..Move::bare(MessageStatus::Sending, None, at)
            };
            Some((b.facts.id, self.emitter.message(&b.facts, &to)?))
        };
        let told: HashMap<MessageId, NewEvent> = batch.iter().filter(first).filter_map(event).collect();
        if told.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = told.keys().map(|id| id.0).collect();
        let sql = "UPDATE messages SET seq = seq + 1 WHERE id = ANY($1) RETURNING id, seq";
        let mut events = Vec::with_capacity(told.len());
        for row in &E::run(tx, sql, args![ids]).await? {
            let (id, seq) = (MessageId(row.id(0)?), row.count(1)?);
            let event = told.get(&id).cloned();
            events.extend(event.map(|event| Numbered { message: Some(id), seq, event }));
        }
        self.insert_events(tx, &events).await
    }

    /// What is kept of each decision, sealed.
    pub(super) fn explanations<'a>(&self, batch: &[&'a Begin]) -> Result<Vec<Cow<'a, str>>> {
        let sealed =
            |b: &&'a Begin| self.sealer.spell(Sealed::AttemptExplanation.of(b.attempt.0), &b.explanation);
        batch.iter().map(sealed).collect()
    }

    /// The parameters of `begin`.
    pub(super) fn beginning<'a>(
        &self,
        worker: WorkerId,
        batch: &'a [&'a Begin],
        others: &'a [Option<String>],
        explanations: &'a [Cow<'a, str>],
    ) -> Result<Args<'a>> {
        let columns = vec![
            ids("id", batch, |b| b.facts.id.0),
            ints("token", batch, |b| b.token),
            ids("attempt", batch, |b| b.attempt.0),
            ints("step", batch, |b| i64::from(b.step)),
            ints("number", batch, |b| i64::from(b.number)),
            texts("provider", batch, |b| b.provider.as_str()),
            texts("channel", batch, |b| b.route.channel.as_str()),
            maybe_texts("site", batch, |b| site(&b.facts)),
            try_bytes("address", batch, |b| {
                self.sealer.seal_text(Sealed::AttemptAddress.of(b.attempt.0), &b.route.address)
            })?,
            bytes("address_index", batch, |b| self.sealer.index(&b.route.address)),
            flags("dedupes", batch, |b| b.dedupes),
            ints("segments", batch, |b| i64::from(b.charge.segments)),
            ints("cost", batch, |b| i64::try_from(b.charge.micros).unwrap_or(i64::MAX)),
            texts("template_hash", batch, |b| &b.template_hash),
            texts("locale", batch, |b| &b.locale),
            flags("pointer", batch, |b| b.pointer),
            maybe_texts("page_hash", batch, |b| b.page.as_ref().map(PageHash::as_str)),
            maybe_texts("subject", batch, |b| b.state.subjects.first().map(String::as_str)),
            Column { name: "others", data: Data::Text(others.iter().map(Option::as_deref).collect()) },
            bytes("text_mark", batch, |b| self.mark_of(b)),
            ints("revision", batch, |b| b.state.revision),
            times("valid_until", batch, |b| Some(b.valid_until)),
            texts("explanation", explanations, |e| e.as_ref()),
            texts("recipient", batch, |b| b.recipient.as_str()),
            ints("wait_us", batch, |b| b.patience.map_or(0, |p| micros(p.wait))),
            maybe_texts("awaits", batch, |b| b.patience.map(|p| p.until.as_str())),
            maybe_texts("person", batch, |b| person(b).map(|c| c.subject.as_str())),
            maybe_texts("person_before", batch, |b| person(b).and_then(|c| c.before.as_deref())),
            maybe_texts("person_after", batch, |b| person(b).map(|c| c.after.as_str())),
            maybe_texts("addressed", batch, |b| addressed(b).map(|c| c.subject.as_str())),
            maybe_texts("addressed_before", batch, |b| addressed(b).and_then(|c| c.before.as_deref())),
            maybe_texts("addressed_after", batch, |b| addressed(b).map(|c| c.after.as_str())),
        ];
        Ok(args![worker.0, micros(self.timings.send)].rows(RowType::Begin, columns))
    }

    /// By which the text is known again; empty where it is not to be.
    fn mark_of(&self, begin: &Begin) -> Vec<u8> {
        let mark = |text: &Phi| TextMark::of(self.sealer.text_key(begin.attempt), text.expose()).mark;
        begin.text.as_ref().map(mark).unwrap_or_default()
    }

    /// Results by attempt. The message's status follows only upwards; its work state only where this attempt is still
    /// its latest and nobody has it yet.
    async fn settle_distinct(&self, batch: &[Settlement]) -> Result<()> {
        // Receipts lock attempts in this order too: two batches never wait for each other in a ring.
        let mut batch: Vec<&Settlement> = batch.iter().collect();
        batch.sort_unstable_by_key(|s| s.attempt);
        if !batch.iter().any(|s| blames_address(s) || tells_of_stop(s)) {
            let results = self.results(&batch);
            let args = self.settled(&batch, &results, &[]);
            amid("settling", self.engine.write(E::STATEMENTS.settle, args)).await?;
            return Ok(());
        }
        let mut tx = self.engine.begin().await?;
        self.settle_in(&mut tx, &batch).await?;
        E::commit(tx).await
    }

    /// Results, one a message at most, and what they say of addresses.
    pub(super) async fn settle_in(&self, tx: &mut E::Tx, batch: &[&Settlement]) -> Result<()> {
        self.settle_over(tx, batch, &[]).await
    }

    /// The same, where these attempts are locked and have a result already that says less: it gives way.
    pub(super) async fn settle_over(
        &self,
        tx: &mut E::Tx,
        batch: &[&Settlement],
        outweighed: &[AttemptId],
    ) -> Result<()> {
        let results = self.results(batch);
        E::run(tx, E::STATEMENTS.settle, self.settled(batch, &results, outweighed)).await?;
        if !outweighed.is_empty() {
            let before: Vec<_> = outweighed.iter().map(|attempt| attempt.0).collect();
            let sql = "DELETE FROM contact_faults WHERE attempt_id = ANY($1)";
            E::run(tx, sql, args![before]).await?;
        }
        let faults: Vec<&Settlement> = batch.iter().copied().filter(|s| blames_address(s)).collect();
        Self::keep_faults(tx, &faults).await?;
        let stops: Vec<&Settlement> = batch.iter().copied().filter(|s| tells_of_stop(s)).collect();
        self.keep_stops(tx, &stops).await
    }

    fn results(&self, batch: &[&Settlement]) -> Results {
        let follow: Vec<Follow> = batch.iter().map(|s| self.follow(s)).collect();
        let event = |(s, f): (&&Settlement, &Follow)| {
            let to = Move {
                status: f.status?,
                reason: f.reason,
                channel: Some(s.channel),
                provider: Some(&s.provider),
                attempt: Some(s.number),
                recipient: s.recipient,
                charge: s.charge.of(s.status),
                awaits: f.receipt_by.is_some() || f.next_step,
                at: s.at,
            };
            self.emitter.message(&s.facts, &to)
        };
        let events = batch.iter().zip(&follow).map(event).collect();
        Results { follow, events }
    }

    /// [`Then`] as columns.
    fn follow(&self, settlement: &Settlement) -> Follow {
        let follow =
            |status, reason, due_at| Follow { status, reason, due_at, receipt_by: None, next_step: false };
        let (sent, unknown) = (Some(MessageStatus::Sent), Some(MessageStatus::Unknown));
        let lost = Some(Reason::OutcomeUnknown);
        let receipt_by = settlement.at.checked_add(self.rules.receipt_deadline).ok();
        // When the next step of the plan is taken, unless what ends it comes first.
        let patience =
            settlement.patience.filter(|p| settlement.then != Then::Delivered || p.until == Until::Answered);
        let next_at = patience.and_then(|p| settlement.at.checked_add(p.wait).ok());
        let waits =
            |status, reason| Follow { next_step: next_at.is_some(), ..follow(status, reason, next_at) };
        match settlement.then {
            Then::Sent => waits(sent, None),
            Then::Captured => waits(sent, Some(Reason::SafetyMode)),
            Then::Awaits => Follow { receipt_by, ..waits(sent, None) },
            Then::Delivered => waits(Some(MessageStatus::Delivered), None),
            Then::Read => follow(Some(MessageStatus::Read), None, None),
            Then::Unknown => Follow { receipt_by, ..waits(unknown, lost) },
            Then::UnknownRetry(at) => follow(unknown, lost, Some(at)),
            Then::Retry(at) => follow(None, None, Some(at)),
            Then::NextStep(reason) => {
                // What came back as undelivered had been taken, whatever was known of it until now.
                let status = sent.filter(|_| settlement.status == AttemptStatus::Undelivered);
                Follow { next_step: true, ..follow(status, Some(reason), Some(settlement.at)) }
            }
        }
    }

    /// The parameters of the statement that writes results.
    fn settled<'a>(
        &'a self,
        batch: &'a [&'a Settlement],
        results: &'a Results,
        outweighed: &[AttemptId],
    ) -> Args<'a> {
        let follow = results.follow.as_slice();
        let mut columns = vec![
            ids("attempt", batch, |s| s.attempt.0),
            texts("attempt_status", batch, |s| s.status.as_str()),
            maybe_texts("provider_ref", batch, |s| s.provider_ref.as_deref()),
            maybe_texts("failure", batch, |s| s.failure.map(Failure::as_str)),
            maybe_texts("code", batch, |s| s.code.as_deref()),
            ids("message", batch, |s| s.facts.id.0),
            maybe_texts("status", follow, |f| f.status.map(MessageStatus::as_str)),
            maybe_texts("reason", follow, |f| f.reason.map(Reason::as_str)),
            times("due_at", follow, |f| f.due_at),
            times("receipt_by", follow, |f| f.receipt_by),
            flags("next_step", follow, |f| f.next_step),
            flags("outweighs", batch, |s| outweighed.contains(&s.attempt)),
            ints("shard", batch, |s| i64::from(shard(s.facts.id))),
        ];
        columns.extend(self.event_columns(&results.events));
        Args::none().rows(RowType::Settle, columns)
    }

    fn event_columns<'e>(&self, events: &'e [Option<NewEvent>]) -> [Column<'e>; 3] {
        [
            maybe_texts("event_key", events, |e| e.as_ref().map(|e| e.routing_key.as_str())),
            maybe_texts("event_body", events, |e| e.as_ref().map(|e| e.body.as_str())),
            maybe_texts("event_callback", events, |e| e.as_ref().and_then(|e| self.callback(e))),
        ]
    }
}

/// Whether the failure says something of the address. Tests go to no real one.
fn blames_address(settlement: &Settlement) -> bool {
    let sign = settlement.failure.and_then(|failure| sign(failure, settlement.code.as_deref()));
    sign.is_some() && !settlement.facts.test
}

/// Whether a carrier knows of a stop at the address.
fn tells_of_stop(settlement: &Settlement) -> bool {
    settlement.failure == Some(Failure::OptedOut) && !settlement.facts.test
}

/// The place it belongs to: where no job said, its patient's since it was planned.
fn site(facts: &MessageFacts) -> Option<&str> {
    facts.site.as_ref().map(SiteId::as_str)
}

/// Of each message the rows of `patient_state` beside its patient's own, as JSON.
pub(super) fn others(batch: &[&Begin]) -> Result<Vec<Option<String>>> {
    batch.iter().map(|b| other_subjects(&b.state)).collect()
}

/// The rows of `patient_state` beside the patient's own, as JSON.
pub(super) fn other_subjects(state: &PatientState) -> Result<Option<String>> {
    match state.subjects.get(1..) {
        None | Some([]) => Ok(None),
        Some(others) => serde_json::to_string(others).map(Some).map_err(|_| unfit("subjects")),
    }
}

fn person<'b>(begin: &&'b Begin) -> Option<&'b Counted> {
    begin.count.as_ref()?.person.as_ref()
}

fn addressed<'b>(begin: &&'b Begin) -> Option<&'b Counted> {
    begin.count.as_ref()?.address.as_ref()
}

/// Nobody was reached, and somebody should have been; or nobody will be before somebody mends what cannot be read. Whoever
/// does not want to be written to is left in peace; where it was we who found no contact that may have it, people tell the
/// patient, or put the directory right.
fn is_for_people(decided: &Decided) -> bool {
    let facts = &decided.facts;
    let unreached = match decided.status {
        MessageStatus::Failed => true,
        MessageStatus::Suppressed => decided.reason.is_some_and(Reason::asks_for_people),
        _ => decided.reason == Some(Reason::Malformed),
    };
    unreached && facts.priority != Priority::Bulk && !facts.test
}

/// What follows from results, and is told of them.
struct Results {
    follow: Vec<Follow>,
    events: Vec<Option<NewEvent>>,
}

/// What follows for one message.
struct Follow {
    status: Option<MessageStatus>,
    reason: Option<Reason>,
    due_at: Option<Timestamp>,
    receipt_by: Option<Timestamp>,
    next_step: bool,
}
