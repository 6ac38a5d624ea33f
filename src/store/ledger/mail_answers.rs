//! Answers to mail: due with the reply that they answer, written down as begun before anything leaves, and sent once.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::{Ledger, unfit};
use crate::domain::ids::{ProviderName, ReplyId};
use crate::domain::phi::Phi;
use crate::store::columns::Columns;
use crate::store::engine::{Engine, args, micros};
use crate::store::rows::{ANSWER_USEFUL, MailAnswer, MailAnswerEnd};
use crate::store::sealed::Sealed;
use crate::store::{MailAnswers, Result, StoreError};

/// Whoever has one in hand begins it within this time, or others take it.
const IN_HAND: SignedDuration = SignedDuration::from_secs(60);
/// What was begun and not ended by then nobody knows of.
const BEGUN: SignedDuration = SignedDuration::from_mins(2);
/// Of each kind so many go to one address within [`DAY`]: a courtesy once; what is owed each time, and yet a machine at
/// the other end that says "stop" to every mail is not answered without end.
const MOST_OWED: i64 = 5;
const MOST_COURTESIES: i64 = 1;
const DAY: SignedDuration = SignedDuration::from_hours(24);

const DUE: &str = "SELECT id FROM replies WHERE answer_due <= now() ORDER BY answer_due LIMIT $1";

/// Of two workers one takes it. What had begun and was cut is not known, and not given out.
const TAKE: &str = "
UPDATE replies SET answer_due = CASE WHEN answer_state = 'begun' THEN NULL ELSE now() + $2 * {us} END,
    answer_state = CASE WHEN answer_state = 'begun' THEN 'unknown' ELSE answer_state END
WHERE id = ANY($1) AND answer_due <= now()
RETURNING id, answer_state, provider, address, told, received_at, answer_tries";

/// Everything to one address that may be begun at the same time.
const BESIDE: &str = "
SELECT o.id FROM replies o WHERE o.answer_state IS NOT NULL
  AND o.address_index = (SELECT r.address_index FROM replies r WHERE r.id = $1) ORDER BY o.id {for update}";

const BEGIN: &str = "
UPDATE replies SET answer_state = 'begun', answer_due = now() + $2 * {us}, answer_tries = answer_tries + 1, answered_at = now()
WHERE id = $1 AND answer_state = 'due' AND told IS NOT NULL AND received_at > now() - $3 * {us}
  AND (SELECT count(*) FROM replies o WHERE o.address_index = replies.address_index AND o.id <> replies.id
        AND o.answer_kind = replies.answer_kind AND o.answer_state IN ('begun', 'sent', 'unknown')
        AND o.answered_at > now() - $4 * {us}) < CASE answer_kind WHEN 'owed' THEN $5 ELSE $6 END
RETURNING id";

/// Of what others have begun nothing is known here.
const NONE: &str =
    "UPDATE replies SET answer_state = 'none', answer_due = NULL WHERE id = $1 AND answer_state = 'due'";

const END: &str = "
UPDATE replies SET answer_state = $2, answer_due = CASE WHEN $2 = 'due' THEN now() + $3 * {us} ELSE NULL END
WHERE id = $1 AND answer_state IN ('due', 'begun')";

#[async_trait]
impl<E: Engine> MailAnswers for Ledger<E> {
    async fn take_mail_answers(&self, limit: u32) -> Result<Vec<MailAnswer>> {
        let rows = self.engine.read(DUE, args![i64::from(limit)]).await?;
        let due = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.engine.write(TAKE, args![due, micros(IN_HAND)]).await?;
        let mut answers = Vec::with_capacity(rows.len());
        for row in &rows {
            match self.answer_of(row) {
                Ok(answer) => answers.extend(answer),
                Err(error) => self.leave_unread(ReplyId(row.id(0)?), row.time(5)?, &error).await?,
            }
        }
        Ok(answers)
    }

    async fn begin_mail_answer(&self, id: ReplyId) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        E::run(&mut tx, BESIDE, args![id.0]).await?;
        let limits =
            args![id.0, micros(BEGUN), micros(ANSWER_USEFUL), micros(DAY), MOST_OWED, MOST_COURTESIES];
        let begun = !E::run(&mut tx, BEGIN, limits).await?.is_empty();
        if !begun {
            E::run(&mut tx, NONE, args![id.0]).await?;
        }
        E::commit(tx).await?;
        Ok(begun)
    }

    async fn end_mail_answer(&self, id: ReplyId, end: MailAnswerEnd) -> Result<()> {
        let (state, pause) = match end {
            MailAnswerEnd::Again(pause) => ("due", pause),
            ended => (ended.as_str(), SignedDuration::ZERO),
        };
        self.engine.write(END, args![id.0, state, micros(pause)]).await?;
        Ok(())
    }
}

impl<E: Engine> Ledger<E> {
    /// One that cannot be read keeps no other from being sent. It comes up again while it is of use: the key that sealed it may
    /// be put back.
    async fn leave_unread(&self, id: ReplyId, received_at: Timestamp, error: &StoreError) -> Result<()> {
        tracing::error!(reply = %id, %error, "an answer to a mail cannot be read, and is not sent");
        if self.clock().await?.duration_since(received_at) > ANSWER_USEFUL {
            self.end_mail_answer(id, MailAnswerEnd::Failed).await?;
        }
        Ok(())
    }

    /// `None`: it is over, or its patient was erased since.
    fn answer_of(&self, row: &E::Row) -> Result<Option<MailAnswer>> {
        let id = row.id(0)?;
        let (Some(address), Some(told)) = (row.maybe_bytes(3)?, row.maybe_bytes(4)?) else { return Ok(None) };
        if row.text(1)? != "due" {
            return Ok(None);
        }
        let told = self.sealer.open_text(Sealed::ReplyTold.of(id), told)?;
        Ok(Some(MailAnswer {
            id: ReplyId(id),
            provider: row.word(2, ProviderName::parse)?,
            to: self.sealer.open_text(Sealed::ReplyAddress.of(id), address)?,
            facts: serde_json::from_str(told.expose()).map_err(|_| unfit("what an answer depends on"))?,
            received_at: row.time(5)?,
            tries: row.count(6)?,
        }))
    }

    /// What an answer depends on, as it lies in its row.
    pub(super) fn seal_told(&self, id: ReplyId, told: &impl Serialize) -> Result<Vec<u8>> {
        let text = serde_json::to_string(told).map_err(|_| unfit("what an answer depends on"))?;
        self.sealer.seal_text(Sealed::ReplyTold.of(id.0), &Phi::new(text))
    }
}
