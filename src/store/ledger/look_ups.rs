//! Attempts of which nobody knows whether they were taken, for those who can ask the provider.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use uuid::Uuid;

use super::Ledger;
use crate::domain::ids::{AttemptId, ProviderName, SendKey};
use crate::domain::look_up::{Lost, TextMark};
use crate::domain::words::{Channel, Recipient};
use crate::store::columns::{Columns, facts};
use crate::store::engine::{Args, Engine, args, ids, micros};
use crate::store::rows::{LookUpAsk, LostAttempt};
use crate::store::sealed::Sealed;
use crate::store::{LookUps, Result, StoreError, words};

/// What is older has a work item, and whoever looks after that.
const OLDEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whoever takes one in hand has moved its time on: of two workers one does. What a person has sent again is theirs. Nothing was
/// looked for before it began: what is too old is not even walked. The longer ago it began, the longer the pause.
const TAKE: &str = "
UPDATE attempts SET looked_at = now()
WHERE id IN (SELECT a.id FROM attempts a WHERE a.status = 'unknown' AND NOT a.dedupes AND a.provider = ANY($1)
    AND a.looked_at <= now() - $2 * {us} AND a.looked_at > now() - $3 * {us} AND a.begun_at > now() - $3 * {us}
    AND a.looked_at <= now() - (now() - a.begun_at) / 10
    AND NOT EXISTS (SELECT 1 FROM messages r WHERE r.retry_of = a.message_id)
    ORDER BY a.looked_at LIMIT $4)
  AND status = 'unknown' AND looked_at <= now() - $2 * {us}
RETURNING id";

const LOST: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", a.id, a.step, a.number, a.provider, a.channel, a.address, a.begun_at, a.recipient, a.looks, a.text_mark ",
    "FROM attempts a JOIN messages m ON m.id = a.message_id WHERE a.id = ANY($1) ORDER BY a.begun_at"
);

/// What else went to the same address by the same provider at about that time, over a channel, which is written out
/// because the index has it so.
macro_rules! others_over {
    ($channel:literal) => {
        concat!(
            "SELECT a.id, b.provider_ref FROM {input} JOIN attempts a ON a.id = input.id ",
            "JOIN attempts b ON b.address_index = a.address_index AND b.provider = a.provider AND b.id <> a.id ",
            "WHERE b.channel = '",
            $channel,
            "' AND a.channel = '",
            $channel,
            "' AND b.status <> 'failed' AND b.begun_at > a.begun_at - 600000000 * {us} ",
            "AND b.begun_at < a.begun_at + 600000000 * {us}"
        )
    };
}
const OTHER_TEXTS: &str = others_over!("sms");
const OTHER_CALLS: &str = others_over!("voice");

#[async_trait]
impl<E: Engine> LookUps for Ledger<E> {
    async fn take_lost(&self, ask: &LookUpAsk) -> Result<Vec<LostAttempt>> {
        let providers: Vec<&str> = ask.providers.iter().map(ProviderName::as_str).collect();
        let args = args![providers, micros(ask.after), micros(OLDEST), i64::from(ask.limit)];
        let taken = self.engine.write(TAKE, args).await?;
        let taken = taken.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.engine.read(LOST, args![taken.clone()]).await?;
        let mut lost: Vec<LostAttempt> = rows.iter().filter_map(|row| self.lost_or_unread(row)).collect();
        for sql in [OTHER_TEXTS, OTHER_CALLS] {
            let batch = Args::none().batch(vec![ids("id", &taken, |id| *id)]);
            for row in self.engine.read(sql, batch).await? {
                let (of, reference) = (AttemptId(row.id(0)?), row.maybe_text(1)?);
                let Some(one) = lost.iter_mut().find(|one| one.lost.attempt == of) else { continue };
                match reference {
                    Some(reference) => one.lost.others.push(reference.to_owned()),
                    None => one.lost.rivals += 1,
                }
            }
        }
        Ok(lost)
    }

    /// These were in no list, though the list was to be had.
    async fn absent(&self, attempts: &[AttemptId]) -> Result<()> {
        let sql = "UPDATE attempts SET looks = looks + 1 WHERE id = ANY($1) AND status = 'unknown'";
        self.engine.write(sql, args![attempts.iter().map(|attempt| attempt.0).collect::<Vec<_>>()]).await?;
        Ok(())
    }
}

impl<E: Engine> Ledger<E> {
    /// One that cannot be read stays unknown, and keeps no other from being looked up.
    fn lost_or_unread(&self, row: &E::Row) -> Option<LostAttempt> {
        let unread =
            |error: &StoreError| tracing::error!(%error, "an attempt cannot be read, and is not looked up");
        self.lost(row).inspect_err(unread).ok()
    }

    fn lost(&self, row: &E::Row) -> Result<LostAttempt> {
        let facts = Arc::new(facts(row)?);
        let attempt = AttemptId(row.id(14)?);
        let lost = Lost {
            attempt,
            key: SendKey { message: facts.id, step: row.count(15)? },
            provider: row.word(17, ProviderName::parse)?,
            to: self.sealer.open_text(Sealed::AttemptAddress.of(attempt.0), row.bytes(19)?)?,
            begun_at: row.time(20)?,
            others: Vec::new(),
            rivals: 0,
            absent: row.count(22)?,
            text: row
                .maybe_bytes(23)?
                .map(|mark| TextMark { key: self.sealer.text_key(attempt), mark: mark.to_vec() }),
        };
        Ok(LostAttempt {
            facts,
            number: row.count(16)?,
            channel: row.word(18, Channel::from_word)?,
            recipient: row.word(21, Recipient::from_word)?,
            lost,
        })
    }
}
