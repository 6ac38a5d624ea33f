//! Messages that were told as delivered, and of which something more is heard ([`crate::policy::came_back`]). Their status
//! stays: what is true now is told beside it, is looked after by people, and the plan goes on. So it is with messages whose
//! text another one carried, and that were told as merged with it.

use std::collections::HashMap;

use uuid::Uuid;

use super::work::NewItem;
use super::{Ledger, Numbered};
use crate::domain::failure::Failure;
use crate::domain::ids::AttemptId;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Priority, WorkKind};
use crate::policy::came_back::{Turn, turn};
use crate::store::columns::{Columns, facts};
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{Args, Engine, args, ids, maybe_texts};
use crate::store::rows::{MessageFacts, Settlement};
use crate::store::{Result, words};

/// Those whose text an attempt carried: of them it was told that they were read with it.
const CARRIED: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    " FROM messages m WHERE m.merged_into = ANY($1) AND m.last_attempt = ANY($2) AND m.status IN ('cancelled', 'sent') ORDER BY m.id"
);

/// A later result of an attempt, of a message that was told as delivered.
pub(super) struct Later<'s> {
    pub(super) was: AttemptStatus,
    pub(super) now: &'s Settlement,
}

impl<E: Engine> Ledger<E> {
    /// What follows from results that are on record, of messages that are held.
    pub(super) async fn follow_delivered(&self, tx: &mut E::Tx, results: &[Later<'_>]) -> Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        let attempts = Self::attempts_beside(tx, results).await?;
        let (mut told, mut back, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for result in results {
            let all = attempts.get(&result.now.facts.id.0).map_or(&[][..], Vec::as_slice);
            let others = all.iter().filter(|(id, _)| *id != result.now.attempt).map(|(_, status)| *status);
            match turn(result.was, result.now.status, &others.collect::<Vec<_>>()) {
                Turn::Nothing => {}
                Turn::Arrived => told.push(result.now),
                Turn::NextWay => next.push(result.now),
                Turn::CameBack { next_way } => {
                    told.push(result.now);
                    back.push(result.now);
                    next.extend(next_way.then_some(result.now));
                }
            }
        }
        Self::take_next_way(tx, &next).await?;
        self.tell_once_more(tx, &told).await?;
        self.call_people(tx, &back).await
    }

    async fn attempts_beside(
        tx: &mut E::Tx,
        results: &[Later<'_>],
    ) -> Result<HashMap<Uuid, Vec<(AttemptId, AttemptStatus)>>> {
        let asked: Vec<Uuid> = results.iter().map(|result| result.now.facts.id.0).collect();
        let sql = "SELECT message_id, id, status FROM attempts WHERE message_id = ANY($1)";
        let mut attempts: HashMap<Uuid, Vec<(AttemptId, AttemptStatus)>> = HashMap::new();
        for row in &E::run(tx, sql, args![asked]).await? {
            let one = (AttemptId(row.id(1)?), row.word(2, AttemptStatus::from_word)?);
            attempts.entry(row.id(0)?).or_default().push(one);
        }
        Ok(attempts)
    }

    /// The way after all that were tried is due, where nothing is due already.
    async fn take_next_way(tx: &mut E::Tx, failed: &[&Settlement]) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        E::run(
            tx,
            "UPDATE messages SET due_at = now(), tries = 0,
                 step = (SELECT max(a.step) + 1 FROM attempts a WHERE a.message_id = messages.id)
             FROM {input} WHERE messages.id = input.id AND due_at IS NULL AND lease_token IS NULL",
            Args::none().batch(vec![ids("id", failed, |s| s.facts.id.0)]),
        )
        .await?;
        Ok(())
    }

    /// The status as it stays, with the reason where it is not true any more.
    async fn tell_once_more(&self, tx: &mut E::Tx, results: &[&Settlement]) -> Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        let batch = vec![
            ids("id", results, |s| s.facts.id.0),
            maybe_texts("reason", results, |s| s.failure.map(|failure| failure.reason().as_str())),
        ];
        let rows = E::run(
            tx,
            "UPDATE messages SET reason = input.reason, seq = seq + 1, changed_at = now() FROM {input}
             WHERE messages.id = input.id RETURNING messages.id, messages.seq",
            Args::none().batch(batch),
        )
        .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = row.id(0)?;
            let Some(result) = results.iter().find(|s| s.facts.id.0 == id) else { continue };
            let event = match result.status {
                AttemptStatus::Undelivered => Emitter::came_back(&result.facts, &told(result)),
                _ => Emitter::always(&result.facts, &told(result)),
            };
            events.push(Numbered { message: Some(result.facts.id), seq: row.count(1)?, event });
        }
        self.insert_events(tx, &events).await
    }

    /// Somebody acts on what is not true any more: the patient is called, unless another way arrives first.
    async fn call_people(&self, tx: &mut E::Tx, back: &[&Settlement]) -> Result<()> {
        if back.is_empty() {
            return Ok(());
        }
        self.call_about(tx, back.iter().map(|s| s.facts.as_ref())).await
    }

    /// What these attempts carried came back with them, whatever was told of the carrier. Those that still ride are free by
    /// themselves.
    pub(super) async fn call_for_carried(&self, tx: &mut E::Tx, undelivered: &[&Settlement]) -> Result<()> {
        if undelivered.is_empty() {
            return Ok(());
        }
        let carriers: Vec<Uuid> = undelivered.iter().map(|s| s.facts.id.0).collect();
        let attempts: Vec<Uuid> = undelivered.iter().map(|s| s.attempt.0).collect();
        let rows = E::run(tx, CARRIED, args![carriers, attempts]).await?;
        let carried = rows.iter().map(facts).collect::<Result<Vec<MessageFacts>>>()?;
        self.call_about(tx, carried.iter()).await
    }

    async fn call_about<'f>(
        &self,
        tx: &mut E::Tx,
        messages: impl Iterator<Item = &'f MessageFacts>,
    ) -> Result<()> {
        let items: Vec<NewItem<'_>> = messages
            .filter(|facts| facts.priority != Priority::Bulk && !facts.test)
            .map(|facts| NewItem::about(WorkKind::CameBack, facts))
            .collect();
        self.open_items(tx, &items).await
    }
}

/// As ever it is final until more is heard: a way that takes it and reports nothing ends it without another word.
fn told(result: &Settlement) -> Move<'_> {
    Move {
        status: MessageStatus::Delivered,
        reason: result.failure.map(Failure::reason),
        channel: Some(result.channel),
        provider: Some(&result.provider),
        attempt: Some(result.number),
        recipient: result.recipient,
        charge: result.charge,
        awaits: false,
        at: result.at,
    }
}
