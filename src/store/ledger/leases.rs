//! Due messages are leased; what dead workers held is taken over.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Ledger, Numbered, unfit};
use crate::domain::ids::{MessageId, ProviderName, WorkerId};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason, Recipient};
use crate::policy::decide::{Decision, Gate, UNREAD, Verdict};
use crate::store::columns::{Columns, facts};
use crate::store::emit::Move;
use crate::store::engine::{Args, Engine, args, ids, ints, maybe_texts, micros, times};
use crate::store::rows::{
    Claim, Claimed, Decided, JobBody, LeasedMessage, MessageFacts, Release, Settlement, TakenOver, Work,
    WorkerRow,
};
use crate::store::sealed::Sealed;
use crate::store::{Corridor, Leases, Result, StoreError};

/// For so long a worker that is gone is still shown.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);

/// A word that nobody here knows was written by a newer program, which may take the message: it is due again after so long.
const FOR_NEWER: SignedDuration = SignedDuration::from_mins(1);

/// Nothing that is final or with a provider becomes due by being given back.
const RELEASE: &str = "
UPDATE messages
SET lease_token = NULL, channel = COALESCE(input.channel, messages.channel),
    due_at = CASE WHEN messages.status IN ('accepted', 'scheduled', 'held', 'sending', 'unknown')
        OR (messages.status IN ('sent', 'delivered') AND messages.due_at IS NOT NULL) THEN COALESCE(input.due_at, now()) END
FROM {input}
WHERE messages.id = input.id AND messages.lease_token = input.token";

/// What has a word that this program does not know stays as it is.
const LEAVE: &str = "
UPDATE messages SET lease_token = NULL, due_at = input.due_at FROM {input}
WHERE messages.id = input.id AND messages.lease_token = input.token";

#[async_trait]
impl<E: Engine> Leases for Ledger<E> {
    /// Takes channel, priority, room, worker and lease; answers the facts, `body, status, step, tries, accepted_at,
    /// lease_token, now`, the reason of a tombstone,
    /// the provider that may have it, whether an earlier step got through, whether a receipt is awaited, and when it
    /// expires.
    async fn claim(&self, ask: &Claim) -> Result<Claimed> {
        let args = args![
            ask.channel.map_or("", Channel::as_str),
            ask.priority as i64,
            i64::from(ask.room),
            ask.worker.0,
            micros(self.timings.lease),
        ];
        let rows = self.engine.write(E::STATEMENTS.claim, args).await?;
        let now = match rows.first() {
            Some(row) => row.time(20)?,
            None => self.clock().await?,
        };
        Ok(Claimed { messages: self.readable(&rows).await?, now })
    }

    async fn release(&self, leases: &[Release]) -> Result<()> {
        self.give_back(RELEASE, leases).await
    }

    /// The leases first: what has none can not be begun any more, so that what stands then is all there will be.
    async fn undo(&self, leases: &[Release], results: &[Settlement]) -> Result<()> {
        let mut results: Vec<&Settlement> = results.iter().collect();
        results.sort_unstable_by_key(|s| s.attempt);
        let mut tx = self.engine.begin().await?;
        E::run(&mut tx, RELEASE, given_back(leases)).await?;
        self.settle_in(&mut tx, &results).await?;
        E::commit(tx).await
    }

    async fn heartbeat(&self, worker: WorkerId, name: &str, state: &str) -> Result<Timestamp> {
        let rows = self
            .engine
            .write(
                "INSERT INTO workers (id, name, started_at, seen_at, state) VALUES ($1, $2, now(), now(), $3)
                 ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, state = excluded.state
                 RETURNING seen_at",
                args![worker.0, name, state],
            )
            .await?;
        super::only_time(&rows)
    }

    async fn living(&self) -> Result<usize> {
        let now = self.clock().await?;
        let (silent, early) = self.stale_at(now);
        let sql = "SELECT count(*) FROM workers WHERE seen_at >= $1 AND seen_at <= $2";
        let rows = self.engine.read(sql, args![silent, early]).await?;
        rows.first().map_or(Ok(0), |row| row.count(0)).map(|many| usize::try_from(many).unwrap_or(usize::MAX))
    }

    /// A lease that has ended, or whose worker was silent for too long, is anybody's. Whether an attempt had begun
    /// decides: not begun is safe to send, begun is unknown. Who was seen later than now has said nothing since the clock
    /// was set back.
    async fn take_over(&self, limit: u32) -> Result<TakenOver> {
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let (silent, early) = self.stale_at(now);
        let rows = E::run(&mut tx, E::STATEMENTS.left_behind, args![i64::from(limit), silent, early]).await?;
        let all = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        // Asked only now that the messages are ours: an attempt that began a moment ago is seen too.
        let rows = E::run(
            &mut tx,
            "SELECT m.id, a.id, a.dedupes, a.recipient, a.awaits IS NOT NULL, a.wait_us FROM messages m JOIN attempts a ON a.id = m.last_attempt
             WHERE m.id = ANY($1) AND a.status = 'sending'",
            args![all.clone()],
        )
        .await?;
        let begun = rows
            .iter()
            .map(|row| {
                Ok(Left {
                    message: row.id(0)?,
                    attempt: row.id(1)?,
                    dedupes: row.flag(2)?,
                    recipient: row.word(3, Recipient::from_word)?,
                    waits: row.flag(4)?,
                    wait_us: row.int(5)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let idle: Vec<Uuid> =
            all.into_iter().filter(|id| begun.iter().all(|left| left.message != *id)).collect();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let taken = TakenOver { released: count(idle.len()), unknown: count(begun.len()) };
        E::run(
            &mut tx,
            "UPDATE messages SET lease_token = NULL,
                 due_at = CASE WHEN status IN ('accepted', 'scheduled', 'held', 'sending', 'unknown')
                     THEN COALESCE(due_at, now()) WHEN status IN ('sent', 'delivered') THEN due_at END
             WHERE id = ANY($1)",
            args![idle],
        )
        .await?;
        self.leave_unknown(&mut tx, &begun, now).await?;
        crate::faults::fault_point!("taking_over", taken.released + taken.unknown > 0);
        E::commit(tx).await?;
        Ok(taken)
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>> {
        let since = self.clock().await?.checked_sub(SHOWN).unwrap_or(Timestamp::MIN);
        let rows = self
            .engine
            .read(
                "SELECT id, name, started_at, seen_at, state FROM workers WHERE seen_at > $1 ORDER BY seen_at DESC",
                args![since],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(WorkerRow {
                    id: WorkerId(row.id(0)?),
                    name: row.text(1)?.to_owned(),
                    started_at: row.time(2)?,
                    seen_at: row.time(3)?,
                    state: serde_json::from_str(row.text(4)?).unwrap_or_default(),
                })
            })
            .collect()
    }
}

impl<E: Engine> Ledger<E> {
    /// Who was last seen before the first of them, or after the second, is taken for dead.
    fn stale_at(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let stale = self.timings.stale;
        (now.checked_sub(stale).unwrap_or(Timestamp::MIN), now.checked_add(stale).unwrap_or(Timestamp::MAX))
    }

    /// What was leased, as far as it can be read. The rest waits for a person, or for a program that knows its words, and keeps
    /// nobody else waiting.
    pub(super) async fn readable(&self, rows: &[E::Row]) -> Result<Vec<LeasedMessage>> {
        let mut messages = Vec::with_capacity(rows.len());
        let (mut unread, mut back) = (Vec::new(), Vec::new());
        for row in rows {
            let (facts, work) = match facts(row).and_then(|facts| Ok((facts, work(row)?))) {
                Ok(known) => known,
                Err(error) => {
                    let release = for_newer(row)?;
                    tracing::error!(
                        message = %release.message, %error,
                        "a message has a word that this program does not know, and is left to a newer one: where there is \
                         none, restore its row from a dump"
                    );
                    back.push(release);
                    continue;
                }
            };
            match self.job_body(row, 14) {
                Ok(body) => messages.push(LeasedMessage { facts, body, work }),
                Err(error) => {
                    tracing::error!(
                        message = %facts.id, %error,
                        "a message cannot be read, and is not sent before it can be: put the key that sealed it back into \
                         [security] seal_keys, or restore its row from a dump"
                    );
                    unread.push(put_aside(facts, &work, row.time(25)?, row.time(20)?));
                }
            }
        }
        if let Err(error) = self.decide(&unread).await {
            tracing::warn!(%error, messages = unread.len(), "what cannot be read could not be put aside");
        }
        if let Err(error) = self.give_back(LEAVE, &back).await {
            tracing::warn!(%error, messages = back.len(), "what a newer program wrote could not be given back");
        }
        Ok(messages)
    }

    /// The job of the message whose id stands first. Of one that was erased nothing is left but its name.
    pub(super) fn job_body(&self, row: &E::Row, column: usize) -> Result<JobBody> {
        let stored = row.bytes(column)?;
        if stored.is_empty() {
            return Ok(JobBody::erased());
        }
        serde_json::from_slice(&self.sealer.open(Sealed::MessageBody.of(row.id(0)?), stored)?)
            .map_err(|_| StoreError::Internal("a stored job does not fit".to_owned()))
    }

    pub(super) fn sealed_job(&self, id: MessageId, body: &JobBody) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(body).map_err(|_| unfit("body"))?;
        self.sealer.seal(Sealed::MessageBody.of(id.0), &body)
    }

    async fn give_back(&self, sql: &'static str, leases: &[Release]) -> Result<()> {
        if !leases.is_empty() {
            self.engine.write(sql, given_back(leases)).await?;
        }
        Ok(())
    }

    async fn leave_unknown(&self, tx: &mut E::Tx, begun: &[Left], now: Timestamp) -> Result<()> {
        if begun.is_empty() {
            return Ok(());
        }
        E::run(
            tx,
            "UPDATE attempts SET status = 'unknown', failure = 'ambiguous', looked_at = begun_at
             WHERE id = ANY($1) AND status = 'sending'",
            args![begun.iter().map(|l| l.attempt).collect::<Vec<_>>()],
        )
        .await?;
        let mut events = Vec::new();
        for left in begun {
            let Some(message) = self.message_in(tx, left.message).await? else { continue };
            let to = Move {
                channel: message.channel,
                attempt: Some(message.tries),
                recipient: left.recipient,
                ..Move::bare(MessageStatus::Unknown, Some(Reason::OutcomeUnknown), now)
            };
            let event = (message.status == MessageStatus::Sending)
                .then(|| self.emitter.message(&message.facts, &to))
                .flatten();
            // Where the provider recognises a repeat by our key the same step is simply sent again; else a plan waits
            // for its next step as if it had been sent.
            let next = left.waits && !left.dedupes;
            E::run(
                tx,
                "UPDATE messages SET lease_token = NULL, seq = seq + $3,
                     status = CASE WHEN status = 'sending' THEN 'unknown' ELSE status END,
                     changed_at = CASE WHEN status = 'sending' THEN now() ELSE changed_at END,
                     reason = CASE WHEN status IN ('sending', 'unknown') THEN 'outcome_unknown' ELSE reason END,
                     due_at = CASE WHEN (status IN ('sending', 'unknown') OR (status IN ('sent', 'delivered') AND due_at IS NOT NULL))
                         AND ($2 OR $5) THEN now() + $6 * {us} END,
                     step = step + CASE WHEN $5 THEN 1 ELSE 0 END, tries = CASE WHEN $5 THEN 0 ELSE tries END,
                     receipt_by = CASE WHEN status = 'sent' AND due_at IS NOT NULL AND NOT $2 THEN now() + $4 * {us}
                         ELSE receipt_by END
                 WHERE id = $1",
                args![
                    left.message,
                    left.dedupes,
                    i64::from(event.is_some()),
                    micros(self.rules.receipt_deadline),
                    next,
                    if next { left.wait_us } else { 0 }
                ],
            )
            .await?;
            let awaits = "INSERT INTO awaited (until, message_id)
                 SELECT receipt_by, id FROM messages WHERE id = $1 AND receipt_by IS NOT NULL";
            E::run(tx, awaits, args![left.message]).await?;
            let seq = message.seq.saturating_add(1);
            events.extend(event.map(|event| Numbered { message: Some(message.facts.id), seq, event }));
        }
        self.insert_events(tx, &events).await
    }
}

fn given_back(leases: &[Release]) -> Args<'_> {
    Args::none().batch(vec![
        ids("id", leases, |r| r.message.0),
        ints("token", leases, |r| r.token),
        maybe_texts("channel", leases, |r| r.channel.map(Channel::as_str)),
        times("due_at", leases, |r| r.due_at),
    ])
}

fn work(row: &impl Columns) -> Result<Work> {
    Ok(Work {
        token: row.int(19)?,
        status: row.word(15, MessageStatus::from_word)?,
        step: row.count(16)?,
        tries: row.count(17)?,
        accepted_at: row.time(18)?,
        cancelled: row.maybe_word(21, Reason::from_word)?,
        bound_to: row.maybe_word(22, ProviderName::parse)?,
        reached: row.flag(23)?,
        awaits: row.flag(24)?,
    })
}

/// It goes back as it is.
fn for_newer(row: &impl Columns) -> Result<Release> {
    Ok(Release {
        message: MessageId(row.id(0)?),
        token: row.int(19)?,
        channel: None,
        due_at: row.time(20)?.checked_add(FOR_NEWER).ok(),
    })
}

/// What becomes of a message that cannot be read: it is looked at again, until it was taken back or its time has passed.
fn put_aside(facts: MessageFacts, work: &Work, expires_at: Timestamp, now: Timestamp) -> Decided {
    let again = now.checked_add(UNREAD).unwrap_or(Timestamp::MAX);
    let held = Verdict::Hold { until: Some(again), reason: Some(Reason::Malformed) };
    // Of what is on its way neither a cancel nor the time can change the status any more.
    let under_way = work.status.rank().is_some_and(|rank| rank > 0);
    let (gate, verdict, status) = match work.cancelled {
        _ if under_way => (Gate::Due, held, work.status),
        Some(reason) => (Gate::Cancelled, Verdict::Cancel(reason), MessageStatus::Cancelled),
        None if now >= expires_at => (Gate::Expired, Verdict::Expire, MessageStatus::Expired),
        None => (Gate::Due, held, MessageStatus::Held),
    };
    let explanation = Decision::plain(gate, verdict).explanation(now);
    Decided {
        token: work.token,
        status,
        reason: explanation.reason,
        due_at: explanation.until,
        channel: None,
        provider: None,
        recipient: Recipient::Patient,
        held_by: None,
        over: None,
        explanation: serde_json::to_string(&explanation).unwrap_or_default(),
        at: now,
        facts,
    }
}

/// An attempt that somebody began and did not settle.
struct Left {
    message: Uuid,
    attempt: Uuid,
    dedupes: bool,
    recipient: Recipient,
    /// Its plan takes the next step after a while.
    waits: bool,
    wait_us: i64,
}
