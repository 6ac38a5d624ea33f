//! Receipts: found their attempt, written as any other result, or kept until they find one. Whatever their order, an
//! attempt keeps what says most of it ([`Weight`]), and what follows from it happens once, when it is reached. What
//! follows for a message that was told as delivered already stands in `came_back.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::came_back::Later;
use super::work::NewItem;
use super::{Ledger, Numbered};
use crate::domain::failure::Failure;
use crate::domain::ids::{AttemptId, MessageId, ProviderName, SendKey};
use crate::domain::patience::{Patience, Until};
use crate::domain::phi::Phi;
use crate::domain::receipt::{Named, Receipt, Report, Said, Weight, furthest};
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason, Recipient, WorkKind};
use crate::store::columns::{Columns, facts};
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{Args, Engine, args, bytes, ids, ints, maybe_texts, micros, texts, times};
use crate::store::rows::{Charge, Heard, MessageFacts, Received, Settlement, Then};
use crate::store::{Receipts, Result, StoreError, words};

/// Receipts that find no attempt are kept for so long; an attempt is on record before anything is sent, so that what
/// is older has lost its message.
const KEPT: SignedDuration = SignedDuration::from_hours(48);
/// Of these at most; beyond, a receipt that finds nothing is let go.
const MOST_KEPT: i64 = 100_000;

/// The attempts of the steps that receipts are about, locked: from here on until the end of the transaction nobody
/// else moves them.
const ATTEMPTS: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", input.place, a.id, a.number, a.status, a.provider_ref, a.channel, a.recipient, ",
    "EXISTS (SELECT 1 FROM contact_faults f WHERE f.address_index = a.address_index AND f.channel = a.channel), now(), ",
    "a.awaits, a.wait_us, m.due_at IS NOT NULL, a.address_index, a.failure, a.code, m.status, ",
    "m.receipt_by, a.segments, a.cost FROM {input} JOIN attempts a ON a.message_id = input.message AND a.step = input.step ",
    "AND a.provider = input.provider JOIN messages m ON m.id = a.message_id ORDER BY a.id {for update}"
);

/// Those that have been awaited for longest, whether or not they still are. Never more than these are looked at in one go.
macro_rules! overdue {
    () => {
        "(SELECT until, message_id FROM awaited WHERE until <= now() ORDER BY until LIMIT $1)"
    };
}

/// Sent, and nothing more was heard in time.
const OVERDUE: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", m.status, m.channel, m.tries, a.provider, a.recipient, a.status, m.due_at IS NOT NULL, a.segments, a.cost FROM ",
    overdue!(),
    " w JOIN messages m ON m.id = w.message_id AND m.receipt_by = w.until JOIN attempts a ON a.id = m.last_attempt ",
    "WHERE m.lease_token IS NULL {skip locked}"
);

/// What nobody awaits any more.
macro_rules! not_awaited {
    () => {
        "NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = awaited.message_id AND m.receipt_by = awaited.until)"
    };
}

/// Of those that have come.
const FORGET: &str = concat!(
    "DELETE FROM awaited WHERE (until, message_id) IN (SELECT until, message_id FROM {input}) AND ",
    not_awaited!()
);

/// Of those that were looked at.
const FORGET_OVERDUE: &str = concat!(
    "DELETE FROM awaited WHERE (until, message_id) IN ",
    overdue!(),
    " AND ",
    not_awaited!(),
    " RETURNING message_id"
);

/// Bytes of a blind index.
const INDEX: usize = 16;

/// An attempt that a receipt may be about.
struct Found {
    facts: Arc<MessageFacts>,
    /// Of the key that was asked for.
    place: usize,
    attempt: AttemptId,
    number: u16,
    status: AttemptStatus,
    reference: Option<String>,
    channel: Channel,
    recipient: Recipient,
    /// Something sent to its address has failed before.
    blamed: bool,
    now: Timestamp,
    /// How long it is waited for, where its plan has not ended.
    patience: Option<Patience>,
    /// Of the address that it went to.
    address_index: Vec<u8>,
    failure: Option<Failure>,
    code: Option<String>,
    /// How its message was told.
    told: MessageStatus,
    /// Until when a receipt for its message is awaited.
    awaited: Option<Timestamp>,
    charge: Charge,
}

impl Found {
    /// What is known of it so far.
    fn weight(&self) -> Weight<'_> {
        Weight::of(self.channel, self.status, self.failure, self.code.as_deref())
    }
}

#[async_trait]
impl<E: Engine> Receipts for Ledger<E> {
    async fn receive(&self, batch: &[Receipt]) -> Result<Received> {
        let mut total = Received::default();
        let mut rest: Vec<&Receipt> = batch.iter().collect();
        while !rest.is_empty() {
            let (now, later) = one_step_a_message(rest);
            let mut tx = self.engine.begin().await?;
            let pass = self.receive_in(&mut tx, &now).await?;
            let (adopted, lost) = self.adopt(&mut tx, pass.lost).await?;
            let kept = self.keep_lost(&mut tx, &lost).await?;
            E::commit(tx).await?;
            total.parked += kept.parked;
            total.let_go += kept.let_go;
            total.moved += pass.moved;
            rest = later;
            rest.extend(pass.second);
            rest.extend(adopted);
        }
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let told = total.moved.saturating_add(total.parked).saturating_add(total.let_go);
        total.known = count.saturating_sub(told);
        Ok(total)
    }

    /// Looks again at what found nothing, those first that were not looked at for longest. Answers how many found
    /// their attempt.
    async fn match_receipts(&self, limit: u32) -> Result<u32> {
        let rows = self
            .engine
            .read(
                "SELECT id, provider, message_id, step, provider_ref, status, failure, code, named FROM receipts
                 ORDER BY looked_at LIMIT $1",
                args![i64::from(limit)],
            )
            .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let looked = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        let readable = |row: &E::Row| {
            kept(row).inspect_err(|error| tracing::error!(%error, "a kept receipt cannot be read")).ok()
        };
        let kept: Vec<(Uuid, Receipt)> = rows.iter().filter_map(readable).collect();
        let mut tx = self.engine.begin().await?;
        let (now, _) = one_step_a_message(kept.iter().map(|(_, receipt)| receipt).collect());
        let pass = self.receive_in(&mut tx, &now).await?;
        let again: HashSet<&Receipt> = pass.lost.into_iter().chain(pass.second).collect();
        let done: Vec<Uuid> = kept
            .iter()
            .filter(|(_, receipt)| now.contains(&receipt) && !again.contains(receipt))
            .map(|(id, _)| *id)
            .collect();
        let found = u32::try_from(done.len()).unwrap_or(u32::MAX);
        let gone = "DELETE FROM receipts WHERE id = ANY($1) OR received_at < now() - $2 * {us}";
        E::run(&mut tx, gone, args![done, micros(KEPT)]).await?;
        E::run(&mut tx, "UPDATE receipts SET looked_at = now() WHERE id = ANY($1)", args![looked]).await?;
        E::commit(tx).await?;
        Ok(found)
    }

    async fn heard_of(&self, attempts: &[AttemptId]) -> Result<Vec<Heard>> {
        let asked: Vec<Uuid> = attempts.iter().map(|attempt| attempt.0).collect();
        let sql = "SELECT id, status, failure, code FROM attempts WHERE id = ANY($1)";
        let rows = self.engine.read(sql, args![asked]).await?;
        rows.iter()
            .map(|row| {
                Ok(Heard {
                    attempt: AttemptId(row.id(0)?),
                    status: row.word(1, AttemptStatus::from_word)?,
                    failure: row.maybe_word(2, Failure::from_word)?,
                    code: row.maybe_text(3)?.map(str::to_owned),
                })
            })
            .collect()
    }

    /// What was sent and of which nothing more came in time is final, and told as that; while its plan goes on it is only
    /// no longer awaited. Where a later route's outcome stayed unknown people are called. Answers of how many receipts
    /// nothing is left to be done.
    async fn end_receipt_waits(&self, limit: u32) -> Result<u32> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(&mut tx, OVERDUE, args![i64::from(limit)]).await?;
        let waits = rows.iter().map(waiting).collect::<Result<Vec<Waiting>>>()?;
        if !waits.is_empty() {
            self.end_those(&mut tx, waits).await?;
        }
        let gone = E::run(&mut tx, FORGET_OVERDUE, args![i64::from(limit)]).await?;
        if !gone.is_empty() {
            E::commit(tx).await?;
        }
        Ok(u32::try_from(gone.len()).unwrap_or(u32::MAX))
    }
}

impl<E: Engine> Ledger<E> {
    /// Receipts for one step of each message at most. What rises is settled; what finds nothing is left to the caller.
    async fn receive_in<'r>(&self, tx: &mut E::Tx, batch: &[&'r Receipt]) -> Result<Pass<'r>> {
        let mut keys: Vec<(SendKey, &ProviderName)> = batch.iter().map(|r| (r.key, &r.provider)).collect();
        keys.sort_unstable_by_key(|(key, provider)| (key.message, key.step, *provider));
        keys.dedup();
        let found = Self::attempts_of(tx, &keys).await?;
        let mut pass = Pass::default();
        let mut settled: Vec<Settlement> = Vec::new();
        let mut arrived: Vec<Uuid> = Vec::new();
        let mut elsewhere: Vec<Uuid> = Vec::new();
        let mut outweighed: Vec<AttemptId> = Vec::new();
        let mut delivered: HashMap<AttemptId, AttemptStatus> = HashMap::new();
        let mut awaited: Vec<(Timestamp, Uuid)> = Vec::new();
        for (place, (key, provider)) in keys.iter().enumerate() {
            let about: Vec<&Found> = found.iter().filter(|f| f.place == place).collect();
            let mut told: Vec<(&Found, &'r Receipt)> = Vec::new();
            for receipt in batch.iter().filter(|r| r.key == *key && r.provider == **provider) {
                match choose(&about, receipt) {
                    Some(one) => told.push((one, receipt)),
                    None => pass.lost.push(receipt),
                }
            }
            // Two attempts of one message do not move it in one statement.
            let Some(one) = told.first().map(|(one, _)| *one) else { continue };
            let (first, second): (Vec<_>, Vec<_>) =
                told.into_iter().partition(|(f, _)| f.attempt == one.attempt);
            pass.second.extend(second.into_iter().map(|(_, receipt)| receipt));
            let first = first.into_iter().map(|(_, receipt)| receipt);
            let Some(receipt) = furthest(one.channel, first) else { continue };
            let is_elsewhere = self.names_another(one, receipt);
            let result = result(one, receipt, is_elsewhere);
            let says = Weight::of(one.channel, result.status, result.failure, result.code.as_deref());
            if says <= one.weight() {
                continue;
            }
            if one.blamed && matches!(receipt.said, Said::Delivered | Said::Read) {
                arrived.push(one.attempt.0);
            }
            if is_elsewhere {
                elsewhere.push(one.attempt.0);
            }
            if result.status <= one.status {
                outweighed.push(one.attempt);
            }
            if one.told == MessageStatus::Delivered {
                delivered.insert(one.attempt, one.status);
            }
            awaited.extend(one.awaited.map(|until| (until, one.facts.id.0)));
            settled.push(result);
        }
        settled.sort_unstable_by_key(|s| s.attempt);
        if !settled.is_empty() {
            self.settle_over(tx, &settled.iter().collect::<Vec<_>>(), &outweighed).await?;
            Self::forget_faults(tx, arrived).await?;
            Self::note_reports(tx, elsewhere).await?;
            let later =
                settled.iter().filter_map(|now| Some(Later { was: *delivered.get(&now.attempt)?, now }));
            self.follow_delivered(tx, &later.collect::<Vec<_>>()).await?;
            let undelivered = settled.iter().filter(|s| s.status == AttemptStatus::Undelivered);
            self.call_for_carried(tx, &undelivered.collect::<Vec<_>>()).await?;
            Self::forget_awaited(tx, &awaited).await?;
        }
        pass.moved = u32::try_from(settled.len()).unwrap_or(u32::MAX);
        Ok(pass)
    }

    /// Whether the report names somebody, and not whom the attempt was sent to. One whose address is not known is believed.
    fn names_another(&self, found: &Found, receipt: &Receipt) -> bool {
        let nowhere = || self.sealer.index(&Phi::new(String::new()));
        let ours = |named: &Named| self.index_of(named) == found.address_index;
        !receipt.named.is_empty() && !receipt.named.iter().any(ours) && found.address_index != nowhere()
    }

    fn index_of(&self, named: &Named) -> Vec<u8> {
        match named {
            Named::Address(address) => self.sealer.index(address),
            Named::Index(index) => index.clone(),
        }
    }

    /// Of these, those that have come.
    async fn forget_awaited(tx: &mut E::Tx, awaited: &[(Timestamp, Uuid)]) -> Result<()> {
        if awaited.is_empty() {
            return Ok(());
        }
        let columns =
            vec![times("until", awaited, |one| Some(one.0)), ids("message_id", awaited, |one| one.1)];
        E::run(tx, FORGET, Args::none().batch(columns)).await?;
        Ok(())
    }

    async fn note_reports(tx: &mut E::Tx, elsewhere: Vec<Uuid>) -> Result<()> {
        if !elsewhere.is_empty() {
            let sql = "UPDATE attempts SET report = $2 WHERE id = ANY($1)";
            E::run(tx, sql, args![elsewhere, Report::AnotherRecipient.as_str()]).await?;
        }
        Ok(())
    }

    async fn attempts_of(tx: &mut E::Tx, keys: &[(SendKey, &ProviderName)]) -> Result<Vec<Found>> {
        let places: Vec<usize> = (0..keys.len()).collect();
        let columns = vec![
            ids("message", keys, |(key, _)| key.message.0),
            ints("step", keys, |(key, _)| i64::from(key.step)),
            texts("provider", keys, |(_, provider)| provider.as_str()),
            ints("place", &places, |place| i64::try_from(*place).unwrap_or(i64::MAX)),
        ];
        let rows = E::run(tx, ATTEMPTS, Args::none().batch(columns)).await?;
        rows.iter()
            .map(|row| {
                Ok(Found {
                    facts: Arc::new(facts(row)?),
                    place: row.count(14)?,
                    attempt: AttemptId(row.id(15)?),
                    number: row.count(16)?,
                    status: row.word(17, AttemptStatus::from_word)?,
                    reference: row.maybe_text(18)?.map(str::to_owned),
                    channel: row.word(19, Channel::from_word)?,
                    recipient: row.word(20, Recipient::from_word)?,
                    blamed: row.flag(21)?,
                    now: row.time(22)?,
                    patience: patience(row)?,
                    address_index: row.bytes(26)?.to_vec(),
                    failure: row.maybe_word(27, Failure::from_word)?,
                    code: row.maybe_text(28)?.map(str::to_owned),
                    told: row.word(29, MessageStatus::from_word)?,
                    awaited: row.maybe_time(30)?,
                    charge: charge(row, 31)?,
                })
            })
            .collect()
    }

    /// Keeps receipts that found nothing, as far as there is room. A repeat is kept once.
    async fn keep_lost(&self, tx: &mut E::Tx, lost: &[&Receipt]) -> Result<Received> {
        if lost.is_empty() {
            return Ok(Received::default());
        }
        let columns = vec![
            ids("id", lost, |_| Uuid::now_v7()),
            texts("provider", lost, |r| r.provider.as_str()),
            ids("message_id", lost, |r| r.key.message.0),
            ints("step", lost, |r| i64::from(r.key.step)),
            texts("provider_ref", lost, |r| r.reference.as_deref().unwrap_or_default()),
            texts("status", lost, |r| r.said.status().as_str()),
            maybe_texts("failure", lost, |r| r.said.failure().map(Failure::as_str)),
            maybe_texts("code", lost, |r| r.code.as_deref()),
            bytes("named", lost, |r| r.named.iter().flat_map(|named| self.index_of(named)).collect()),
        ];
        let rows = E::run(
            tx,
            "INSERT INTO receipts (id, provider, message_id, step, provider_ref, status, failure, code, named, received_at, looked_at)
             SELECT id, provider, message_id, step, provider_ref, status, failure, code, named, now(), now() FROM {input}
             WHERE (SELECT count(*) FROM (SELECT 1 FROM receipts LIMIT $1) kept) < $1 ON CONFLICT DO NOTHING RETURNING id",
            args![MOST_KEPT].batch(columns),
        )
        .await?;
        let parked = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        // What was not written is kept already, but where nothing was for want of room.
        let mut let_go = 0;
        if rows.is_empty() {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM receipts LIMIT $1) AS kept";
            let kept = E::run(tx, sql, args![MOST_KEPT]).await?.first().map(|row| row.int(0)).transpose()?;
            if kept.is_some_and(|kept| kept >= MOST_KEPT) {
                let_go = u32::try_from(lost.len()).unwrap_or(u32::MAX);
            }
        }
        Ok(Received { parked, let_go, ..Received::default() })
    }

    async fn end_those(&self, tx: &mut E::Tx, mut waits: Vec<Waiting>) -> Result<()> {
        let now = Self::now(tx).await?;
        waits.sort_unstable_by_key(|w| w.facts.id);
        let columns = vec![
            ids("id", &waits, |w| w.facts.id.0),
            maybe_texts("reason", &waits, |w| w.reason().map(Reason::as_str)),
        ];
        let ended = E::run(
            tx,
            "UPDATE messages SET receipt_by = NULL, seq = seq + CASE WHEN status = 'sent' AND due_at IS NULL THEN 1 ELSE 0 END,
                 reason = CASE WHEN status = 'sent' AND due_at IS NULL THEN input.reason ELSE messages.reason END
             FROM {input} WHERE messages.id = input.id RETURNING messages.id, messages.seq",
            Args::none().batch(columns),
        )
        .await?;
        let mut events = Vec::with_capacity(ended.len());
        for row in &ended {
            let (id, seq) = (MessageId(row.id(0)?), row.count(1)?);
            let wait = waits.iter().find(|w| w.facts.id == id && w.ends());
            let event = wait.map(|w| Emitter::always(&w.facts, &w.told(now)));
            events.extend(event.map(|event| Numbered { message: Some(id), seq, event }));
        }
        self.insert_events(tx, &events).await?;
        let lost: Vec<NewItem<'_>> = waits
            .iter()
            .filter(|w| w.ends() && w.reason().is_some() && !w.facts.test)
            .map(|w| NewItem::about(WorkKind::OutcomeUnknown, &w.facts))
            .collect();
        self.open_items(tx, &lost).await
    }
}

/// What came of one round.
#[derive(Default)]
struct Pass<'r> {
    moved: u32,
    /// Found no attempt.
    lost: Vec<&'r Receipt>,
    /// About another attempt of a message that has just moved.
    second: Vec<&'r Receipt>,
}

/// Those for the first step that is named of each message, and the others.
fn one_step_a_message(batch: Vec<&Receipt>) -> (Vec<&Receipt>, Vec<&Receipt>) {
    let mut steps: HashMap<MessageId, (u16, &ProviderName)> = HashMap::new();
    batch.into_iter().partition(|receipt| {
        let own = (receipt.key.step, &receipt.provider);
        *steps.entry(receipt.key.message).or_insert(own) == own
    })
}

/// The attempt that the receipt is about: the one that has its reference; else the latest that is under way or
/// unknown, whose reference is not known yet; else the latest that was held to be not sent. Where all have other
/// references it is about none of them.
fn choose<'f>(about: &[&'f Found], receipt: &Receipt) -> Option<&'f Found> {
    let latest =
        |those: &dyn Fn(&Found) -> bool| about.iter().copied().filter(|f| those(f)).max_by_key(|f| f.number);
    let open = |f: &Found| matches!(f.status, AttemptStatus::Sending | AttemptStatus::Unknown);
    match &receipt.reference {
        Some(reference) => latest(&|f| f.reference.as_ref() == Some(reference))
            .or_else(|| latest(&|f| f.reference.is_none() && open(f)))
            .or_else(|| latest(&|f| f.reference.is_none())),
        None => latest(&|_| true),
    }
}

/// The receipt as the result of its attempt. Where the report is of somebody whom ours hands on to, it did not arrive
/// either, and the address that we have is not gone. What the provider never sent has a next step too, which may go the same
/// way: `directory.rs` says so.
fn result(found: &Found, receipt: &Receipt, is_elsewhere: bool) -> Settlement {
    let said = match receipt.said {
        Said::Undelivered(Failure::BadAddress) if is_elsewhere => Said::Undelivered(Failure::Unreachable),
        said => said,
    };
    Settlement {
        facts: found.facts.clone(),
        attempt: found.attempt,
        number: found.number,
        channel: found.channel,
        provider: receipt.provider.clone(),
        status: said.status(),
        provider_ref: receipt.reference.clone(),
        failure: said.failure(),
        code: receipt.code.clone(),
        recipient: found.recipient,
        charge: found.charge,
        then: match said {
            Said::Sent => Then::Awaits,
            Said::Undelivered(failure) => Then::NextStep(failure.reason()),
            Said::Delivered => Then::Delivered,
            Said::Read => Then::Read,
        },
        patience: found.patience,
        at: found.now,
    }
}

/// From `segments, cost`.
fn charge(row: &impl Columns, at: usize) -> Result<Charge> {
    Ok(Charge { segments: row.count(at)?, micros: row.count(at + 1)? })
}

/// From `awaits, wait_us` and whether something is due.
fn patience(row: &impl Columns) -> Result<Option<Patience>> {
    let until = row.maybe_word(23, Until::from_word)?.filter(|_| row.flag(25).unwrap_or(false));
    let wait = SignedDuration::from_micros(row.int(24)?);
    Ok(until.map(|until| Patience { wait, until }))
}

/// `id, provider, message_id, step, provider_ref, status, failure, code, named`.
fn kept(row: &impl Columns) -> Result<(Uuid, Receipt)> {
    let failure = row.maybe_word(6, Failure::from_word)?;
    let said = Said::of(row.word(5, AttemptStatus::from_word)?, failure);
    let receipt = Receipt {
        provider: row.word(1, ProviderName::parse)?,
        key: SendKey { message: MessageId(row.id(2)?), step: row.count(3)? },
        reference: row.maybe_text(4)?.filter(|text| !text.is_empty()).map(str::to_owned),
        said: said.ok_or_else(|| StoreError::Internal("a kept receipt".to_owned()))?,
        code: row.maybe_text(7)?.map(str::to_owned),
        named: row
            .maybe_bytes(8)?
            .unwrap_or_default()
            .chunks(INDEX)
            .map(|one| Named::Index(one.to_vec()))
            .collect(),
    };
    Ok((row.id(0)?, receipt))
}

/// A message whose receipt did not come.
struct Waiting {
    facts: MessageFacts,
    status: MessageStatus,
    channel: Option<Channel>,
    tries: u16,
    provider: ProviderName,
    recipient: Recipient,
    attempt: AttemptStatus,
    /// Its plan goes on.
    pending: bool,
    charge: Charge,
}

fn waiting(row: &impl Columns) -> Result<Waiting> {
    Ok(Waiting {
        facts: facts(row)?,
        status: row.word(14, MessageStatus::from_word)?,
        channel: row.maybe_word(15, Channel::from_word)?,
        tries: row.count(16)?,
        provider: row.word(17, ProviderName::parse)?,
        recipient: row.word(18, Recipient::from_word)?,
        attempt: row.word(19, AttemptStatus::from_word)?,
        pending: row.flag(20)?,
        charge: charge(row, 21)?,
    })
}

impl Waiting {
    /// Whether nothing more comes of it by itself.
    fn ends(&self) -> bool {
        self.status == MessageStatus::Sent && !self.pending
    }

    /// Whether its last route has it nobody knows.
    fn reason(&self) -> Option<Reason> {
        (self.attempt == AttemptStatus::Unknown).then_some(Reason::OutcomeUnknown)
    }

    fn told(&self, at: Timestamp) -> Move<'_> {
        Move {
            status: MessageStatus::Sent,
            reason: self.reason(),
            channel: self.channel,
            provider: Some(&self.provider),
            attempt: Some(self.tries),
            recipient: self.recipient,
            charge: self.charge.of(self.attempt),
            awaits: false,
            at,
        }
    }
}
