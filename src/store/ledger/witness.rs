//! What others know of messages that a restored ledger has forgotten about: a log of what left, events that were told, and
//! receipts that find a message and no attempt. An attempt that must have been made is put on record, and then goes the
//! way of any other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::work::NewItem;
use super::{Ledger, Numbered};
use crate::domain::ids::{AttemptId, MessageId, ProviderName};
use crate::domain::phi::Phi;
use crate::domain::receipt::Receipt;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Priority, Reason, Recipient, WorkKind};
use crate::policy::cap::Recent;
use crate::store::Result;
use crate::store::columns::{Columns, facts};
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{
    Args, Column, Engine, args, bytes, ids, ints, maybe_texts, texts, times, try_bytes,
};
use crate::store::recover::{Testified, Witness, Word};
use crate::store::rows::{Charge, MessageFacts, Settlement, Then};
use crate::store::sealed::Sealed;
use crate::store::words;

/// Who carried what nobody names a provider for.
const NOBODY: &str = "unknown";
/// By so much the time that an event bears may lie behind that of the transaction which told it.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

const NAMED: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", input.place, m.status, m.step, m.channel, m.copy_of, m.changed_at, ",
    "(SELECT max(v.begun_at) FROM recoveries v), (SELECT v.restored_to FROM recoveries v ORDER BY v.begun_at DESC LIMIT 1) ",
    "FROM {input} JOIN messages m ON m.id = input.message ORDER BY m.id {for update}"
);

/// An attempt that must have been made: nobody knows where it went.
macro_rules! attempt_of_others {
    ($from:literal) => {
        concat!(
            "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, ",
            "segments, failure, template_hash, locale, recipient, worker, begun_at, looked_at) ",
            "SELECT input.attempt, m.id, input.step, 1 + (SELECT count(*) FROM attempts b WHERE b.message_id = m.id ",
            "AND b.step = input.step), 'unknown', input.provider, COALESCE(input.channel, NULLIF(m.channel, '')), input.address, ",
            "input.address_index, false, 1, 'ambiguous', '', '', CASE WHEN m.copy_of IS NULL THEN 'patient' ELSE 'proxy' END, ",
            "$1, COALESCE(input.at, now()), COALESCE(input.at, now()) ",
            $from
        )
    };
}

/// One message that a witness names.
struct Named {
    facts: Arc<MessageFacts>,
    status: MessageStatus,
    step: u16,
    channel: Option<Channel>,
    recipient: Recipient,
    /// Until when the dump has its story; where it was written to since the restore, at least until the dump was taken.
    dumped_at: Option<Timestamp>,
}

impl Named {
    /// Whether the dump has what the witness tells: the message had come as far, and was not moved since. An event names
    /// no step, and the one that the ledger knows of may be the next, which has not begun.
    fn had(&self, witness: &Witness) -> bool {
        let (Some(status), Some(dumped_at), Some(at)) = (witness.said.status(), self.dumped_at, witness.at)
        else {
            return false;
        };
        let until = dumped_at.checked_add(SLACK).unwrap_or(Timestamp::MAX);
        witness.step.is_none() && self.status.rank() >= status.rank() && at <= until
    }
}

/// One that the ledger has tried, as far as it remembers.
struct Tried {
    id: AttemptId,
    number: u16,
    status: AttemptStatus,
    provider: ProviderName,
    channel: Channel,
}

/// A witness and the attempt that it speaks of.
struct Spoken<'w> {
    witness: &'w Witness,
    attempt: Uuid,
    step: u16,
    provider: ProviderName,
    channel: Channel,
    is_new: bool,
    number: u16,
}

impl<E: Engine> Ledger<E> {
    pub(super) async fn hear_each(&self, witnesses: &[&Witness]) -> Result<Testified> {
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let named = Self::named(&mut tx, witnesses).await?;
        let tried = Self::tried_before(&mut tx, witnesses, &named).await?;
        let mut heard = Testified::default();
        let (mut spoken, mut ended, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        let mut accounted: Vec<Uuid> = Vec::with_capacity(witnesses.len());
        for (place, witness) in witnesses.iter().copied().enumerate() {
            let Some(message) = named.get(&place) else {
                heard.strange.push(witness.message);
                continue;
            };
            // It tells nothing of the time since.
            if message.had(witness) {
                heard.known += 1;
                continue;
            }
            accounted.push(witness.message.0);
            if let Some(end) = witness.said.end() {
                ended.push((witness, message, end));
            } else if witness.said == Word::Unknown {
                lost.push(message);
            } else {
                let before = tried.get(&place).map_or(&[][..], Vec::as_slice);
                match speak(witness, message, before) {
                    Some(one) => spoken.push((one, message)),
                    None => heard.known += 1,
                }
            }
        }
        heard.settled += self.settle_spoken(&mut tx, &spoken, now).await?;
        let over = self.end_named(&mut tx, &ended, now).await?;
        let doubted = self.doubt_named(&mut tx, &lost, now).await?;
        heard.settled += over + doubted;
        let counted = spoken.len() + ended.len() + lost.len();
        heard.known += u64::try_from(counted).unwrap_or_default().saturating_sub(heard.settled);
        // What something is due of all the same nobody has spoken for.
        E::run(
            &mut tx,
            "UPDATE restored SET open = false WHERE message_id = ANY($1)
                 AND EXISTS (SELECT 1 FROM messages m WHERE m.id = restored.message_id AND m.due_at IS NULL)",
            args![accounted],
        )
        .await?;
        E::commit(tx).await?;
        Ok(heard)
    }

    /// The messages that the ledger has, by the witness's place.
    async fn named(tx: &mut E::Tx, witnesses: &[&Witness]) -> Result<HashMap<usize, Named>> {
        let places: Vec<i64> = (0..).take(witnesses.len()).collect();
        let batch = vec![ids("message", witnesses, |w| w.message.0), ints("place", &places, |place| *place)];
        let rows = E::run(tx, NAMED, Args::none().batch(batch)).await?;
        rows.iter()
            .map(|row| {
                let (changed_at, begun_at) = (row.time(19)?, row.maybe_time(20)?);
                let named = Named {
                    facts: Arc::new(facts(row)?),
                    status: row.word(15, MessageStatus::from_word)?,
                    step: row.count(16)?,
                    channel: Channel::from_word(row.text(17)?),
                    recipient: row.maybe_id(18)?.map_or(Recipient::Patient, |_| Recipient::Proxy),
                    dumped_at: match begun_at.is_none_or(|begun| changed_at < begun) {
                        true => Some(changed_at),
                        false => row.maybe_time(21)?,
                    },
                };
                Ok((row.count(14)?, named))
            })
            .collect()
    }

    async fn tried_before(
        tx: &mut E::Tx,
        witnesses: &[&Witness],
        named: &HashMap<usize, Named>,
    ) -> Result<HashMap<usize, Vec<Tried>>> {
        let asked: Vec<(usize, MessageId, u16)> = named
            .iter()
            .filter_map(|(place, message)| {
                let witness = witnesses.get(*place)?;
                Some((*place, witness.message, witness.step.unwrap_or(message.step)))
            })
            .collect();
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let batch = vec![
            ids("message", &asked, |(_, message, _)| message.0),
            ints("step", &asked, |(.., step)| i64::from(*step)),
            ints("place", &asked, |(place, ..)| i64::try_from(*place).unwrap_or(i64::MAX)),
        ];
        let rows = E::run(
            tx,
            "SELECT input.place, a.id, a.number, a.status, a.provider, a.channel FROM {input}
             JOIN attempts a ON a.message_id = input.message AND a.step = input.step",
            Args::none().batch(batch),
        )
        .await?;
        let mut tried: HashMap<usize, Vec<Tried>> = HashMap::new();
        for row in &rows {
            tried.entry(row.count(0)?).or_default().push(Tried {
                id: AttemptId(row.id(1)?),
                number: row.count(2)?,
                status: row.word(3, AttemptStatus::from_word)?,
                provider: row.word(4, ProviderName::parse)?,
                channel: row.word(5, Channel::from_word)?,
            });
        }
        Ok(tried)
    }

    /// Puts on record what must have been tried, and settles it. Answers how many.
    async fn settle_spoken(
        &self,
        tx: &mut E::Tx,
        spoken: &[(Spoken<'_>, &Named)],
        now: Timestamp,
    ) -> Result<u64> {
        if spoken.is_empty() {
            return Ok(0);
        }
        let new: Vec<&Spoken<'_>> = spoken.iter().map(|(one, _)| one).filter(|one| one.is_new).collect();
        if !new.is_empty() {
            let mut batch = self.attempt_columns(&new, |one| {
                (one.attempt, one.witness.message, one.step, &one.provider, Some(one.channel))
            })?;
            batch.push(times("at", &new, |one| one.witness.at));
            let sql = attempt_of_others!("FROM {input} JOIN messages m ON m.id = input.message");
            E::run(tx, sql, args![Uuid::nil()].batch(batch)).await?;
        }
        let latest = vec![
            ids("id", spoken, |(one, _)| one.witness.message.0),
            ids("attempt", spoken, |(one, _)| one.attempt),
            texts("channel", spoken, |(one, _)| one.channel.as_str()),
        ];
        E::run(
            tx,
            "UPDATE messages SET last_attempt = input.attempt, channel = input.channel, held_by = NULL
             FROM {input} WHERE messages.id = input.id",
            Args::none().batch(latest),
        )
        .await?;
        let mut settled: Vec<Settlement> =
            spoken.iter().filter_map(|(one, message)| settlement(one, message, now)).collect();
        settled.sort_unstable_by_key(|s| s.attempt);
        self.settle_in(tx, &settled.iter().collect::<Vec<_>>()).await?;
        Self::count_spoken(tx, &new, now).await?;
        Ok(u64::try_from(settled.len()).unwrap_or_default())
    }

    /// Whoever was written to meanwhile was disturbed meanwhile: the caps count it by the person.
    async fn count_spoken(tx: &mut E::Tx, new: &[&Spoken<'_>], now: Timestamp) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let mut entries: BTreeMap<MessageId, String> = BTreeMap::new();
        for one in new {
            let entry = Recent::entry(one.witness.at.unwrap_or(now), one.witness.message);
            entries.insert(one.witness.message, entry);
        }
        let entries: Vec<(MessageId, String)> = entries.into_iter().collect();
        // One person may have been written to several times: their row is written once for each.
        for (message, entry) in &entries {
            E::run(
                tx,
                "UPDATE patient_state SET recent_sends = trim(COALESCE(recent_sends, '') || ' ' || $2)
                 WHERE subject = (SELECT patient_id FROM messages WHERE id = $1)
                   AND COALESCE(recent_sends, '') NOT LIKE '%' || $3 || '%'",
                args![message.0, entry.as_str(), message.0.simple().to_string().as_str()],
            )
            .await?;
        }
        Ok(())
    }

    /// What ended elsewhere ends here, unless something of it may have left; what has failed there has failed, whatever
    /// had left.
    async fn end_named(
        &self,
        tx: &mut E::Tx,
        ended: &[(&Witness, &Named, MessageStatus)],
        now: Timestamp,
    ) -> Result<u64> {
        if ended.is_empty() {
            return Ok(0);
        }
        let batch = vec![
            ids("id", ended, |(w, ..)| w.message.0),
            texts("status", ended, |(.., status)| status.as_str()),
            maybe_texts("reason", ended, |(w, ..)| w.reason.map(Reason::as_str)),
        ];
        let rows = E::run(
            tx,
            "UPDATE messages SET status = input.status, reason = input.reason, due_at = NULL, held_by = NULL,
                 receipt_by = NULL, lease_token = NULL, changed_at = now(), seq = seq + 1
             FROM {input}
             WHERE messages.id = input.id AND ((messages.status IN ('accepted', 'scheduled', 'held', 'sending')
                   AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.status <> 'failed'))
                   OR (input.status = 'failed' AND messages.status IN ('unknown', 'sent')))
             RETURNING messages.id, messages.seq",
            Args::none().batch(batch),
        )
        .await?;
        let seqs = rows.iter().map(|row| Ok((row.id(0)?, row.count(1)?)));
        let seqs = seqs.collect::<Result<HashMap<Uuid, u32>>>()?;
        let moved = || ended.iter().filter_map(|one| Some((one, *seqs.get(&one.0.message.0)?)));
        let events: Vec<Numbered> = moved()
            .map(|((witness, message, status), seq)| Numbered {
                message: Some(witness.message),
                seq,
                event: Emitter::always(&message.facts, &bare(*status, witness.reason, message, now)),
            })
            .collect();
        self.insert_events(tx, &events).await?;
        let exhausted: Vec<NewItem<'_>> = moved()
            .filter(|((_, message, status), _)| {
                let facts = &message.facts;
                *status == MessageStatus::Failed && facts.priority != Priority::Bulk && !facts.test
            })
            .map(|((_, message, _), _)| NewItem::about(WorkKind::PlanExhausted, &message.facts))
            .collect();
        self.open_items(tx, &exhausted).await?;
        Ok(u64::try_from(events.len()).unwrap_or_default())
    }

    /// A witness who does not know either: nothing of it is sent again by itself.
    async fn doubt_named(&self, tx: &mut E::Tx, lost: &[&Named], now: Timestamp) -> Result<u64> {
        let open = lost.iter().filter(|m| m.status.rank().is_some_and(|rank| rank <= 1));
        let ids: Vec<Uuid> = open.map(|m| m.facts.id.0).collect();
        let mut waiting = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(message) = self.message_in(tx, id).await? {
                waiting.push(super::recover::Doubted::of(message));
            }
        }
        self.make_unknown(tx, &waiting, now).await?;
        Ok(u64::try_from(waiting.len()).unwrap_or_default())
    }

    /// Receipts that are about messages of a restored ledger, whose attempts are on record from here on; and the others.
    pub(super) async fn adopt<'r>(
        &self,
        tx: &mut E::Tx,
        lost: Vec<&'r Receipt>,
    ) -> Result<(Vec<&'r Receipt>, Vec<&'r Receipt>)> {
        let mut seen = HashSet::new();
        let about: Vec<(Uuid, &Receipt)> = lost
            .iter()
            .filter(|r| seen.insert((r.key, &r.provider)))
            .map(|r| (AttemptId::generate().0, *r))
            .collect();
        if about.is_empty() {
            return Ok((Vec::new(), lost));
        }
        let mut batch = self.attempt_columns(&about, |(attempt, r)| {
            let channel = self.rules.channels.get(&r.provider).copied();
            (*attempt, r.key.message, r.key.step, &r.provider, channel)
        })?;
        batch.push(times("at", &about, |_| None));
        let sql = attempt_of_others!(
            "FROM {input} JOIN restored r ON r.message_id = input.message JOIN messages m ON m.id = r.message_id
             WHERE COALESCE(input.channel, NULLIF(m.channel, '')) IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM attempts a WHERE a.message_id = m.id AND a.step = input.step AND a.provider = input.provider)
             RETURNING id, message_id, step, provider"
        );
        let rows = E::run(tx, sql, args![Uuid::nil()].batch(batch)).await?;
        let mut adopted: HashSet<(Uuid, u16, String)> = HashSet::new();
        for row in &rows {
            let latest = "UPDATE messages SET last_attempt = $2, held_by = NULL WHERE id = $1 AND step <= $3";
            E::run(tx, latest, args![row.id(1)?, row.id(0)?, row.int(2)?]).await?;
            adopted.insert((row.id(1)?, row.count(2)?, row.text(3)?.to_owned()));
        }
        Ok(lost
            .into_iter()
            .partition(|r| adopted.contains(&(r.key.message.0, r.key.step, r.provider.as_str().to_owned()))))
    }

    /// Where it went is sealed as nothing.
    fn attempt_columns<'a, T>(
        &self,
        rows: &'a [T],
        of: impl Fn(&'a T) -> (Uuid, MessageId, u16, &'a ProviderName, Option<Channel>),
    ) -> Result<Vec<Column<'a>>> {
        let nowhere = Phi::new(String::new());
        Ok(vec![
            ids("attempt", rows, |row| of(row).0),
            ids("message", rows, |row| of(row).1.0),
            ints("step", rows, |row| i64::from(of(row).2)),
            texts("provider", rows, |row| of(row).3.as_str()),
            maybe_texts("channel", rows, |row| of(row).4.map(Channel::as_str)),
            try_bytes("address", rows, |row| {
                self.sealer.seal_text(Sealed::AttemptAddress.of(of(row).0), &nowhere)
            })?,
            bytes("address_index", rows, |_| self.sealer.index(&nowhere)),
        ])
    }
}

/// The attempt that the witness speaks of: the latest of its provider whose outcome is open or lower, else one that the
/// ledger has forgotten. `None`: it says nothing new, or nobody can tell over which channel.
fn speak<'w>(witness: &'w Witness, message: &Named, tried: &[Tried]) -> Option<Spoken<'w>> {
    let status = witness.said.attempt()?;
    let step = witness.step.unwrap_or(message.step);
    let same = |t: &&Tried| witness.provider.as_ref().is_none_or(|(name, _)| *name == t.provider);
    let latest =
        tried.iter().filter(same).filter(|t| t.status != AttemptStatus::Failed).max_by_key(|t| t.number);
    if let Some(known) = latest {
        return (known.status < status).then(|| Spoken {
            witness,
            attempt: known.id.0,
            step,
            provider: known.provider.clone(),
            channel: known.channel,
            is_new: false,
            number: known.number,
        });
    }
    let (provider, channel) = match (&witness.provider, message.channel) {
        (Some((provider, channel)), _) => (provider.clone(), *channel),
        (None, Some(channel)) => (ProviderName::parse(NOBODY)?, channel),
        // Never planned: a text is what most are. Nothing hangs on it but what the console shows.
        (None, None) => (ProviderName::parse(NOBODY)?, Channel::Sms),
    };
    let number = tried.iter().map(|t| t.number).max().unwrap_or_default().saturating_add(1);
    Some(Spoken { witness, attempt: AttemptId::generate().0, step, provider, channel, is_new: true, number })
}

/// As any other result: it is told, and a plan ends with it.
fn settlement(one: &Spoken<'_>, message: &Named, now: Timestamp) -> Option<Settlement> {
    let then = match one.witness.said {
        Word::Taken => Then::Awaits,
        Word::Sent => Then::Sent,
        Word::Delivered => Then::Delivered,
        Word::Read => Then::Read,
        Word::Unknown | Word::Ended(_) | Word::Failed => return None,
    };
    Some(Settlement {
        facts: message.facts.clone(),
        attempt: AttemptId(one.attempt),
        number: one.number,
        channel: one.channel,
        provider: one.provider.clone(),
        status: one.witness.said.attempt()?,
        provider_ref: None,
        failure: None,
        code: None,
        recipient: message.recipient,
        charge: Charge::default(),
        then,
        patience: None,
        at: now,
    })
}

fn bare(status: MessageStatus, reason: Option<Reason>, message: &Named, at: Timestamp) -> Move<'static> {
    Move { channel: message.channel, recipient: message.recipient, ..Move::bare(status, reason, at) }
}
