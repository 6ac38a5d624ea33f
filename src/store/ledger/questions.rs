//! What waits for an answer: a row a digit. Two texts that ask at a number at the same moment are told apart by the key of
//! that table: one of them has the digit, the other takes another. What calls and mails ask has no number there.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use crate::domain::ids::{AnswerName, MessageId, ProviderName, SendKey};
use crate::domain::phi::Phi;
use crate::domain::reply::{Intent, Offer};
use crate::domain::status::AttemptStatus;
use crate::domain::words::{Channel, Purpose};
use crate::policy::reply::Meaning;
use crate::policy::reply::answers::{Asked, Found, RESTS, allot, answering_part, find, plain};
use crate::store::columns::{Columns, facts};
use crate::store::engine::{Args, Column, Engine, args, bytes, flags, ids, ints, micros, texts};
use crate::store::rows::{Choice, QuestionAsk, ReplyAsk};
use crate::store::{Questions, Result, StoreError, words};

/// An answer that comes later than this after its message has expired is read as any other text.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What was asked at a number and has gone out, oldest first; whether a text that asks nothing, and is no test, has followed
/// it there. What is later than the reply, where that was kept for a while, it does not answer; and of what was said between
/// a dump and its restore nobody knows what had followed.
const ASKED: &str = concat!(
    "SELECT ",
    words::answered!(),
    ", q.digit, q.answer, q.words, q.staff, q.asked_at, q.until, ",
    "q.answered_at IS NOT NULL, EXISTS (SELECT 1 FROM attempts o WHERE o.address_index = q.address_index ",
    "AND o.channel = 'sms' AND o.status <> 'failed' AND o.begun_at > a.begun_at AND o.begun_at <= COALESCE($1, o.begun_at) ",
    "AND NOT EXISTS (SELECT 1 FROM messages t WHERE t.id = o.message_id AND t.test) AND NOT EXISTS (SELECT 1 ",
    "FROM questions p WHERE p.message_id = o.message_id AND p.address_index = q.address_index)) OR EXISTS (SELECT 1 ",
    "FROM recoveries v WHERE q.asked_at <= v.restored_to AND $1 > v.restored_to AND $1 <= v.begun_at) FROM {input} ",
    "JOIN questions q ON q.address_index = input.address_index AND q.asked_at <= COALESCE($1, q.asked_at) ",
    "JOIN messages m ON m.id = q.message_id JOIN attempts a ON a.message_id = m.id AND a.channel = 'sms' ",
    "AND a.address_index = q.address_index AND a.status <> 'failed' AND NOT EXISTS (SELECT 1 FROM attempts l ",
    "WHERE l.message_id = a.message_id AND l.channel = 'sms' AND l.address_index = a.address_index ",
    "AND l.status <> 'failed' AND l.begun_at > a.begun_at) ORDER BY q.asked_at, q.message_id, q.digit"
);

/// What the message asks by call or mail, of which one step is answered; the same columns.
const OWN: &str = concat!(
    "SELECT ",
    words::answered!(),
    ", q.digit, q.answer, q.words, q.staff, q.asked_at, q.until, ",
    "q.answered_at IS NOT NULL, false FROM {input} JOIN questions q ON q.message_id = input.message AND q.address_index IS NULL ",
    "JOIN messages m ON m.id = q.message_id JOIN attempts a ON a.message_id = m.id AND a.step = input.step ",
    "AND a.provider = input.provider AND a.status <> 'failed' AND NOT EXISTS (SELECT 1 FROM attempts l ",
    "WHERE l.message_id = a.message_id AND l.step = a.step AND l.provider = a.provider AND l.status <> 'failed' ",
    "AND l.begun_at > a.begun_at) ORDER BY q.digit"
);

/// What a reply answers.
pub(super) struct Question<R> {
    /// The message that it answers, and its attempt; none where that is not known.
    pub(super) rows: Vec<R>,
    pub(super) meaning: Meaning,
    pub(super) answer: Option<AnswerName>,
    /// What it may answer, where that is not clear.
    pub(super) choices: Vec<Choice>,
}

#[async_trait]
impl<E: Engine> Questions for Ledger<E> {
    async fn allot(&self, ask: &QuestionAsk) -> Result<Option<Vec<(AnswerName, u8)>>> {
        let Some(number) = &ask.address else { return self.own_digits(ask).await.map(Some) };
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let index = self.sealer.index(number);
        let (mut given, taken) = Self::taken(&mut tx, ask, &index, now).await?;
        let open: Vec<&Offer> =
            ask.offers.iter().filter(|offer| !given.iter().any(|(name, _)| *name == offer.name)).collect();
        if open.is_empty() {
            return Ok(Some(given));
        }
        let Some(digits) = allot(&taken, open.len()) else { return Ok(None) };
        let rows: Vec<(&Offer, u8)> = open.into_iter().zip(digits).collect();
        let said = words_of(&rows);
        let mut batch = batch(ask, &rows, &said);
        batch.push(bytes("address_index", &rows, |_| index.clone()));
        let written = E::run(
            &mut tx,
            "INSERT INTO questions (address_index, digit, message_id, answer, words, staff, asked_at, until)
             SELECT input.address_index, input.digit, input.message_id, input.answer, input.words, input.staff, now(), m.expires_at
             FROM {input} JOIN messages m ON m.id = input.message_id WHERE true
             ON CONFLICT (address_index, digit) DO UPDATE SET message_id = excluded.message_id, answer = excluded.answer,
                 words = excluded.words, staff = excluded.staff, asked_at = excluded.asked_at, until = excluded.until,
                 answered_at = NULL
             WHERE questions.until <= now() - $1 * {us} RETURNING digit",
            args![micros(RESTS)].batch(batch),
        )
        .await?;
        if written.len() < rows.len() {
            // Another message has taken one of them since.
            return Err(StoreError::Contention);
        }
        E::commit(tx).await?;
        given.extend(rows.into_iter().map(|(offer, digit)| (offer.name.clone(), digit)));
        Ok(Some(given))
    }
}

impl<E: Engine> Ledger<E> {
    /// The digits of the template: nothing else is answered where these are. Another attempt asks as the templates of
    /// its day do.
    async fn own_digits(&self, ask: &QuestionAsk) -> Result<Vec<(AnswerName, u8)>> {
        let rows: Vec<(&Offer, u8)> = ask.offers.iter().zip(plain()).collect();
        let said = words_of(&rows);
        self.engine
            .write(
                "INSERT INTO questions (digit, message_id, answer, words, staff, asked_at, until)
                 SELECT input.digit, input.message_id, input.answer, input.words, input.staff, now(), m.expires_at
                 FROM {input} JOIN messages m ON m.id = input.message_id WHERE true
                 ON CONFLICT (message_id, answer) WHERE address_index IS NULL DO UPDATE SET digit = excluded.digit,
                     words = excluded.words, staff = excluded.staff",
                Args::none().batch(batch(ask, &rows, &said)),
            )
            .await?;
        Ok(rows.into_iter().map(|(offer, digit)| (offer.name.clone(), digit)).collect())
    }

    /// The digits that the message has, and all that are not free at its number.
    async fn taken(
        tx: &mut E::Tx,
        ask: &QuestionAsk,
        index: &[u8],
        now: Timestamp,
    ) -> Result<(Vec<(AnswerName, u8)>, Vec<u8>)> {
        let index = [index.to_vec()];
        let rows = E::run(
            tx,
            "SELECT q.digit, q.message_id, q.answer, q.until FROM {input}
             JOIN questions q ON q.address_index = input.address_index ORDER BY q.digit",
            Args::none().batch(vec![bytes("address_index", &index, Clone::clone)]),
        )
        .await?;
        let (mut own, mut taken) = (Vec::new(), Vec::new());
        for row in &rows {
            let digit: u8 = row.count(0)?;
            let is_own = row.id(1)? == ask.message.0;
            if is_own {
                own.push((row.word(2, AnswerName::parse)?, digit));
            }
            if is_own || row.time(3)?.checked_add(RESTS).is_ok_and(|free_at| free_at > now) {
                taken.push(digit);
            }
        }
        Ok((own, taken))
    }

    /// Which question a reply answers, where it can be an answer at all: of those that wait at its number, or of the one
    /// message that it is known to be about. What comes over another way than it was asked by is for people.
    pub(super) async fn question(&self, tx: &mut E::Tx, ask: &ReplyAsk) -> Result<Question<E::Row>> {
        let nothing = |meaning| Question { rows: Vec::new(), meaning, answer: None, choices: Vec::new() };
        let reply = &ask.reply;
        if !ask.meaning.may_answer() || (reply.about.is_none() && reply.channel != Channel::Sms) {
            return Ok(nothing(ask.meaning));
        }
        let mut rows = match &reply.about {
            Some(key) => E::run(tx, OWN, step(key, &reply.provider)).await?,
            None => {
                let index = [self.sealer.index(&reply.from)];
                let there = args![ask.said_at].batch(vec![bytes("address_index", &index, Clone::clone)]);
                E::run(tx, ASKED, there).await?
            }
        };
        let asked = rows.iter().map(asked).collect::<Result<Vec<Asked>>>()?;
        let clarified_at = self.last_from(tx, &reply.from, &[Intent::Unclear]).await?;
        let now = Self::now(tx).await?;
        let now = ask.said_at.map_or(now, |at| at.min(now));
        let (said, more) = answering_part(reply.channel, reply.text.expose());
        Ok(match find(said, &asked, clarified_at, now) {
            Found::Nothing => nothing(ask.meaning),
            Found::Several(places) => {
                let choices = places.iter().filter_map(|at| rows.get(*at)).map(choice);
                let choices = choices.collect::<Result<Vec<Choice>>>()?;
                Question { choices, ..nothing(ask.meaning.answering(Intent::Unclear, false)) }
            }
            found @ (Found::One(at) | Found::Late(at)) => {
                let intent = if found == Found::One(at) { Intent::Answer } else { Intent::Late };
                let staff = rows.get(at).map(|row| row.flag(23)).transpose()?.unwrap_or(false) || more;
                let answer = asked.into_iter().nth(at).map(|one| one.answer);
                let answered = rows.swap_remove(at);
                Question { rows: vec![answered], answer, ..nothing(ask.meaning.answering(intent, staff)) }
            }
        })
    }

    /// When something that people read last came from there.
    pub(super) async fn wrote_before(&self, tx: &mut E::Tx, from: &Phi) -> Result<Option<Timestamp>> {
        self.last_from(tx, from, &[Intent::Text, Intent::Cancel]).await
    }

    /// When one of these last came from there.
    async fn last_from(&self, tx: &mut E::Tx, from: &Phi, intents: &[Intent]) -> Result<Option<Timestamp>> {
        let index = [self.sealer.index(from)];
        let intents: Vec<&str> = intents.iter().map(|intent| intent.as_str()).collect();
        let rows = E::run(
            tx,
            "SELECT r.received_at FROM {input} JOIN replies r ON r.address_index = input.address_index
             WHERE r.intent = ANY($1) ORDER BY r.received_at DESC LIMIT 1",
            args![intents].batch(vec![bytes("address_index", &index, Clone::clone)]),
        )
        .await?;
        rows.first().map(|row| row.time(0)).transpose()
    }

    /// The message has its answer; a word that others offer as well is meant for those that have none.
    pub(super) async fn has_answer(tx: &mut E::Tx, message: MessageId) -> Result<()> {
        let sql = "UPDATE questions SET answered_at = now() WHERE message_id = $1";
        E::run(tx, sql, args![message.0]).await?;
        Ok(())
    }

    /// Forgets what nobody answers any more.
    pub(super) async fn forget_questions(&self, now: Timestamp) -> Result<()> {
        let before = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        self.engine.write("DELETE FROM questions WHERE until < $1", args![before]).await?;
        Ok(())
    }
}

/// One step of a message over one provider, as `{input}`.
pub(super) fn step<'a>(key: &'a SendKey, provider: &'a ProviderName) -> Args<'a> {
    let key = std::slice::from_ref(key);
    Args::none().batch(vec![
        ids("message", key, |key| key.message.0),
        ints("step", key, |key| i64::from(key.step)),
        texts("provider", std::slice::from_ref(provider), ProviderName::as_str),
    ])
}

fn words_of(rows: &[(&Offer, u8)]) -> Vec<String> {
    rows.iter().map(|(offer, _)| offer.words.join("\n")).collect()
}

fn batch<'a>(ask: &QuestionAsk, rows: &'a [(&'a Offer, u8)], said: &'a [String]) -> Vec<Column<'a>> {
    vec![
        ints("digit", rows, |(_, digit)| i64::from(*digit)),
        ids("message_id", rows, |_| ask.message.0),
        texts("answer", rows, |(offer, _)| offer.name.as_str()),
        texts("words", said, String::as_str),
        flags("staff", rows, |(offer, _)| offer.staff),
    ]
}

fn asked<R: Columns>(row: &R) -> Result<Asked> {
    // A word may be said to the text that has followed; a digit is this one's alone.
    let words = if row.flag(27)? { Vec::new() } else { row.text(22)?.lines().map(str::to_owned).collect() };
    Ok(Asked {
        message: MessageId(row.id(0)?),
        has_come: row.word(16, AttemptStatus::from_word)?.has_come(),
        digit: row.count(20)?,
        answer: row.word(21, AnswerName::parse)?,
        words,
        asked_at: row.time(24)?,
        until: row.time(25)?,
        answered: row.flag(26)?,
    })
}

fn choice<R: Columns>(row: &R) -> Result<Choice> {
    let facts = facts(row)?;
    let purpose: Purpose = facts.purpose;
    Ok(Choice { digit: row.count(20)?, site: facts.site, purpose })
}
