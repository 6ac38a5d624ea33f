//! Digests: messages that another one carries.
//!
//! A message and those that it carries begin in one transaction: either its attempt stands and all of them ride on it,
//! or nothing of it was written. From then on a rider has nothing due by itself and belongs to nobody's hand; what
//! becomes of it is what becomes of that one attempt. Arrived: it is cancelled as merged. Failed, or undelivered after
//! all: it is free, is decided upon anew, and goes its own ways. Unknown: it waits as the attempt does, and comes before a
//! person at the same deadline; it is never sent by itself while its text may be with somebody. A crash at any place
//! leaves one of these three.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::corridor::{other_subjects, others};
use super::work::NewItem;
use super::{Ledger, Numbered};
use crate::domain::ids::{MessageId, SiteId, WorkerId};
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason, Recipient, WorkKind};
use crate::store::columns::{Columns, facts};
use crate::store::emit::{Move, NewEvent};
use crate::store::engine::{
    Args, Column, Data, Engine, args, bytes, flags, ids, ints, maybe_texts, micros, texts, times,
};
use crate::store::rows::{ASIDE, Begin, Company, Count, Counted, FRESH, MessageFacts, Rider, Seats};
use crate::store::sealed::Sealed;
use crate::store::{Digests, Result, words};

/// What waits for its hour, and is asked again with company: of one day, which is no longer than this where the clocks
/// are put back.
pub(super) const DAY: SignedDuration = SignedDuration::from_hours(25);
/// Messages in other hands in one go.
const ELSEWHERE_AT_ONCE: u32 = 2_000;

/// The seats' own patients, and whoever else stands behind their addresses.
macro_rules! who {
    () => {
        "WITH who AS (
             SELECT place, patient_id, template, whole_day FROM {input}
             UNION SELECT input.place, pa.patient_id, input.template, input.whole_day FROM {input}
             JOIN patient_addresses pa ON pa.address_index = input.address_index
         ) "
    };
}

/// Found without being held; whoever takes them asks again. What we hold back ourselves, and what is scheduled where a
/// template tells a day together, is asked anew: policy says whether it may go now.
const COMPANY: &str = concat!(
    who!(),
    "SELECT m.id, min(who.place) FROM who JOIN messages m ON m.patient_id = who.patient_id AND m.template = who.template
     WHERE ",
    words::may_join!(),
    " AND (m.due_at <= now() + $3 * {us} OR m.merged_into IS NOT NULL OR (m.due_at <= now() + $2 * {us}
           AND ((m.status = 'held' AND m.reason IN ('quiet_hours', 'frequency_cap', 'provider_unavailable'))
                OR (who.whole_day AND m.status = 'scheduled'))))
     GROUP BY m.id LIMIT $1"
);

/// What could have been company, had nobody taken it a moment ago.
const ELSEWHERE: &str = concat!(
    who!(),
    "SELECT DISTINCT m.id, who.place FROM who JOIN messages m ON m.patient_id = who.patient_id AND m.template = who.template
     WHERE EXISTS (SELECT 1 FROM leases l WHERE l.token = m.lease_token AND l.until > now() + $2 * {us}) AND m.due_at IS NOT NULL AND m.copy_of IS NULL AND m.priority > 0
       AND m.last_attempt IS NULL AND m.status IN ('accepted', 'scheduled', 'held', 'sending')
     LIMIT $1"
);

const RIDE: &str = "
UPDATE messages
SET status = 'sending', reason = 'merged', held_by = NULL, merged_into = input.carrier, last_attempt = input.attempt,
    channel = input.channel, site = COALESCE(messages.site, input.site), explanation = input.explanation, due_at = $1,
    lease_token = NULL
FROM {input}
WHERE messages.id = input.id AND messages.lease_token = input.token";

/// The persons of those who are carried are counted with the one who carries them.
const COUNT_OTHERS: &str = "UPDATE patient_state SET recent_sends = input.recent FROM {input} WHERE patient_state.subject = input.subject";

/// Those whose carrier's attempt has come to something. What was sent and is not reported on any more has arrived as far
/// as anybody will know. The attempt is held: whoever brings a later result of it finds how its riders have ended.
const ENDED: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", m.status, m.merged_into, a.status, a.channel, a.recipient, now() FROM messages m
     JOIN attempts a ON a.id = m.last_attempt LEFT JOIN messages c ON c.id = m.merged_into
     WHERE m.rides_on IS NOT NULL AND m.lease_token IS NULL
       AND (a.status IN ('failed', 'undelivered', 'delivered', 'read') OR (a.status = 'sent' AND c.receipt_by IS NULL)
           OR (a.status = 'unknown' AND m.status = 'sending'
               AND COALESCE(a.settled_at, a.begun_at) <= now() - $2 * {us}))
     ORDER BY m.id LIMIT $1 {skip locked, with its attempt}"
);

const FREE: &str = "
UPDATE messages SET merged_into = NULL, last_attempt = NULL, reason = NULL, due_at = now() WHERE id = ANY($1)";

/// What was called unknown can no longer be called cancelled.
const ARRIVED: &str = "
UPDATE messages
SET status = CASE status WHEN 'unknown' THEN 'sent' ELSE 'cancelled' END, reason = 'merged', due_at = NULL,
    changed_at = now(), seq = seq + $2
WHERE id = ANY($1) RETURNING id, seq";

const LOST: &str = "
UPDATE messages SET status = 'unknown', reason = 'outcome_unknown', due_at = NULL, changed_at = now(), seq = seq + $2
WHERE id = ANY($1) RETURNING id, seq";

#[async_trait]
impl<E: Engine> Digests for Ledger<E> {
    /// What is found and cannot be taken is in another hand at this moment.
    async fn company(&self, worker: WorkerId, seats: &[Seats], room: u32) -> Result<Company> {
        if seats.is_empty() || room == 0 {
            return Ok(Company::default());
        }
        let places: Vec<usize> = (0..seats.len()).collect();
        let batch = || {
            vec![
                ints("place", &places, |n| i64::try_from(*n).unwrap_or(i64::MAX)),
                texts("patient_id", seats, |s| s.patient.as_str()),
                texts("template", seats, |s| s.template.as_str()),
                bytes("address_index", seats, |s| self.sealer.index(&s.address)),
                flags("whole_day", seats, |s| s.day),
            ]
        };
        let found = args![i64::from(room), micros(DAY), micros(ASIDE)].batch(batch());
        let found = self.engine.read(COMPANY, found).await?;
        let mut found = found.iter().map(placed).collect::<Result<BTreeMap<Uuid, usize>>>()?;
        let mut company = Company::default();
        if !found.is_empty() {
            let args = args![found.keys().copied().collect::<Vec<_>>(), worker.0, micros(self.timings.lease)];
            let rows = self.engine.write(E::STATEMENTS.take_company, args).await?;
            for message in self.readable(&rows).await? {
                let place = found.get(&message.facts.id.0).copied().unwrap_or_default();
                company.joined.push((place, message));
            }
            for row in &rows {
                found.remove(&row.id(0)?);
            }
        }
        let since = self.timings.lease.saturating_sub(FRESH);
        let elsewhere = args![i64::from(ELSEWHERE_AT_ONCE), micros(since)].batch(batch());
        let elsewhere = self.engine.read(ELSEWHERE, elsewhere).await?;
        let elsewhere = elsewhere.iter().map(placed).collect::<Result<Vec<_>>>()?;
        company.elsewhere =
            found.into_iter().chain(elsewhere).map(|(id, place)| (place, MessageId(id))).collect();
        Ok(company)
    }

    async fn settle_riders(&self, limit: u32) -> Result<u32> {
        let mut tx = self.engine.begin().await?;
        let asked = args![i64::from(limit), micros(self.rules.unknown_deadline)];
        let rows = E::run(&mut tx, ENDED, asked).await?;
        let rides = rows.iter().map(ride).collect::<Result<Vec<Ride>>>()?;
        if rides.is_empty() {
            return Ok(0);
        }
        let of = |end: End| -> Vec<&Ride> { rides.iter().filter(|ride| ride.end == end).collect() };
        let free: Vec<Uuid> = of(End::Free).iter().map(|ride| ride.facts.id.0).collect();
        E::run(&mut tx, FREE, args![free]).await?;
        self.tell_ends(&mut tx, &of(End::Arrived), ARRIVED).await?;
        let lost = of(End::Lost);
        self.tell_ends(&mut tx, &lost, LOST).await?;
        let items: Vec<NewItem<'_>> = lost
            .iter()
            .filter(|ride| !ride.facts.test)
            .map(|ride| NewItem::about(WorkKind::OutcomeUnknown, &ride.facts))
            .collect();
        self.open_items(&mut tx, &items).await?;
        E::commit(tx).await?;
        Ok(u32::try_from(rides.len()).unwrap_or(u32::MAX))
    }
}

impl<E: Engine> Ledger<E> {
    /// As `begin`, for a batch in which some may carry others: whoever cannot take all of theirs along does not begin.
    /// Answers the same.
    pub(super) async fn begin_with_riders(
        &self,
        tx: &mut E::Tx,
        worker: WorkerId,
        mut batch: Vec<&Begin>,
    ) -> Result<Vec<E::Row>> {
        let riders: Vec<(&Begin, &Rider)> =
            batch.iter().flat_map(|b| b.riders.iter().map(move |r| (*b, r))).collect();
        let ready = self.ready_to_ride(tx, worker, &riders).await?;
        batch.retain(|b| b.riders.iter().all(|rider| ready.contains(&rider.message.0)));
        let recent = Self::lock_counts(tx, &batch).await?;
        let stands = |c: &Counted| recent.get(&c.subject).is_some_and(|now| *now == c.before);
        batch.retain(|b| b.count.iter().flat_map(|count| &count.others).all(stands));
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (others, explanations) = (others(&batch)?, self.explanations(&batch)?);
        let args = self.beginning(worker, &batch, &others, &explanations)?;
        let rows = E::run(tx, E::STATEMENTS.begin, args).await?;
        let begun = rows.iter().map(|row| row.id(0)).collect::<Result<HashSet<Uuid>>>()?;
        let aboard: Vec<(&Begin, &Rider)> =
            riders.into_iter().filter(|(b, _)| begun.contains(&b.attempt.0)).collect();
        if !aboard.is_empty() {
            let explanations = aboard
                .iter()
                .map(|(_, r)| self.sealer.spell(Sealed::MessageExplanation.of(r.message.0), &r.explanation))
                .collect::<Result<Vec<_>>>()?;
            let columns = vec![
                ids("id", &aboard, |(_, r)| r.message.0),
                ints("token", &aboard, |(_, r)| r.token),
                ids("carrier", &aboard, |(b, _)| b.facts.id.0),
                ids("attempt", &aboard, |(b, _)| b.attempt.0),
                texts("channel", &aboard, |(b, _)| b.route.channel.as_str()),
                maybe_texts("site", &aboard, |(_, r)| r.site.as_ref().map(SiteId::as_str)),
                texts("explanation", &explanations, |e| e.as_ref()),
            ];
            E::run(tx, RIDE, args![Timestamp::MAX].batch(columns)).await?;
        }
        let begun = batch.iter().filter(|b| begun.contains(&b.attempt.0));
        let others: Vec<&Counted> = begun.flat_map(|b| &b.count).flat_map(|count| &count.others).collect();
        if !others.is_empty() {
            let columns =
                vec![texts("subject", &others, |c| &c.subject), texts("recent", &others, |c| &c.after)];
            E::run(tx, COUNT_OTHERS, Args::none().batch(columns)).await?;
        }
        Ok(rows)
    }

    /// What the caps have counted of all whom these messages count for, by row. The rows are held until the end, and taken
    /// in one order.
    async fn lock_counts(tx: &mut E::Tx, batch: &[&Begin]) -> Result<HashMap<String, Option<String>>> {
        let counted = || batch.iter().flat_map(|b| &b.count);
        if counted().all(|count| count.others.is_empty()) {
            return Ok(HashMap::new());
        }
        let subjects: Vec<&str> = counted().flat_map(Count::rows).map(|c| c.subject.as_str()).collect();
        let rows = E::run(
            tx,
            "SELECT subject, recent_sends FROM patient_state WHERE subject = ANY($1) ORDER BY subject {for update}",
            args![subjects],
        )
        .await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.maybe_text(1)?.map(str::to_owned)))).collect()
    }

    /// Those for whom every reason to send still stands, as it must for whoever carries them. Their rows are held.
    async fn ready_to_ride(
        &self,
        tx: &mut E::Tx,
        worker: WorkerId,
        riders: &[(&Begin, &Rider)],
    ) -> Result<HashSet<Uuid>> {
        if riders.is_empty() {
            return Ok(HashSet::new());
        }
        let others =
            riders.iter().map(|(_, r)| other_subjects(&r.state)).collect::<Result<Vec<Option<String>>>>()?;
        let columns = vec![
            ids("id", riders, |(_, r)| r.message.0),
            ints("token", riders, |(_, r)| r.token),
            ints("step", riders, |(_, r)| i64::from(r.step)),
            texts("provider", riders, |(b, _)| b.provider.as_str()),
            texts("channel", riders, |(b, _)| b.route.channel.as_str()),
            maybe_texts("site", riders, |(_, r)| r.site.as_ref().map(SiteId::as_str)),
            maybe_texts("subject", riders, |(_, r)| r.state.subjects.first().map(String::as_str)),
            Column { name: "others", data: Data::Text(others.iter().map(Option::as_deref).collect()) },
            ints("revision", riders, |(_, r)| r.state.revision),
            times("valid_until", riders, |(_, r)| Some(r.valid_until)),
        ];
        let args = args![worker.0, micros(self.timings.send)].batch(columns);
        E::run(tx, E::STATEMENTS.board, args).await?.iter().map(|row| row.id(0)).collect()
    }

    /// Moves rides that ended alike, and tells it.
    async fn tell_ends(&self, tx: &mut E::Tx, rides: &[&Ride], move_on: &'static str) -> Result<()> {
        if rides.is_empty() {
            return Ok(());
        }
        let told: Vec<Option<NewEvent>> =
            rides.iter().map(|ride| self.emitter.carried(&ride.facts, ride.by, &ride.told())).collect();
        let all: Vec<Uuid> = rides.iter().map(|ride| ride.facts.id.0).collect();
        let rows = E::run(tx, move_on, args![all, i64::from(told.iter().any(Option::is_some))]).await?;
        let mut events = Vec::with_capacity(rows.len());
        for (ride, event) in rides.iter().zip(told) {
            let row = rows.iter().find(|row| row.id(0).is_ok_and(|id| id == ride.facts.id.0));
            if let (Some(row), Some(event)) = (row, event) {
                events.push(Numbered { message: Some(ride.facts.id), seq: row.count(1)?, event });
            }
        }
        self.insert_events(tx, &events).await
    }
}

/// How a message that another one carries comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was told.
    Arrived,
    /// It was not: it goes on by itself.
    Free,
    /// Nobody knows.
    Lost,
}

/// A message that another one carries.
struct Ride {
    facts: MessageFacts,
    status: MessageStatus,
    by: MessageId,
    end: End,
    channel: Channel,
    recipient: Recipient,
    now: Timestamp,
}

impl Ride {
    fn told(&self) -> Move<'static> {
        let (status, reason) = match (self.end, self.status) {
            (End::Lost, _) => (MessageStatus::Unknown, Reason::OutcomeUnknown),
            (_, MessageStatus::Unknown) => (MessageStatus::Sent, Reason::Merged),
            _ => (MessageStatus::Cancelled, Reason::Merged),
        };
        Move {
            channel: Some(self.channel),
            recipient: self.recipient,
            ..Move::bare(status, Some(reason), self.now)
        }
    }
}

/// A message, and the place of the seats that it was found for.
fn placed(row: &impl Columns) -> Result<(Uuid, usize)> {
    Ok((row.id(0)?, row.count(1)?))
}

/// The facts, then `status, merged_into`, the attempt's `status, channel, recipient`, and the clock.
fn ride(row: &impl Columns) -> Result<Ride> {
    Ok(Ride {
        facts: facts(row)?,
        status: row.word(14, MessageStatus::from_word)?,
        by: MessageId(row.id(15)?),
        end: match row.word(16, AttemptStatus::from_word)? {
            AttemptStatus::Failed | AttemptStatus::Undelivered => End::Free,
            AttemptStatus::Sending | AttemptStatus::Unknown => End::Lost,
            AttemptStatus::Sent | AttemptStatus::Delivered | AttemptStatus::Read => End::Arrived,
        },
        channel: row.word(17, Channel::from_word)?,
        recipient: row.word(18, Recipient::from_word)?,
        now: row.time(19)?,
    })
}
