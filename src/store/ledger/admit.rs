//! Jobs come in; what cannot become a message is parked.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Ledger, Numbered, unfit};
use crate::domain::ids::{MessageId, ParkedId};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Priority, Reason};
use crate::store::columns::Columns;
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{
    Column, Data, Engine, RowType, args, bytes, flags, ids, ints, maybe_ids, maybe_texts, micros, texts,
    times, try_bytes,
};
use crate::store::rows::{
    Admission, AdmitBatch, AdmitOutcome, AdmitReport, LeasedAdmission, MessageFacts, Reject, Work,
};
use crate::store::sealed::Sealed;
use crate::store::{Result, StoreError};

/// For so long the broker may bring a parked body again without its being parked again.
const SAME_BODY: SignedDuration = SignedDuration::from_hours(1);

/// A message as `admit` has written it.
struct Written {
    status: MessageStatus,
    taken_back: Option<Reason>,
    token: Option<i64>,
    accepted_at: Timestamp,
}

impl<E: Engine> Ledger<E> {
    pub(super) async fn try_admit(&self, batch: &AdmitBatch) -> Result<AdmitReport> {
        let mut tx = self.engine.begin().await?;
        let beyond = self.beyond_the_day(&mut tx, batch).await?;
        let again = Self::tried_again(&mut tx, batch).await?;
        let mut report = self.insert_admissions(&mut tx, batch, &beyond, &again).await?;
        self.supersede(&mut tx, batch, &mut report).await?;
        report.repeats = self.repeats(&mut tx, &batch.rejects).await?;
        let refused = refused(batch, &report.outcomes);
        let is_parked = |(place, r): &(usize, &Reject)| r.park && !report.repeats.contains_key(place);
        let parked = batch.rejects.iter().enumerate().filter(is_parked).map(|(_, r)| r);
        let rejects: Vec<&Reject> = parked.chain(&refused).collect();
        self.park(&mut tx, &rejects, report.now).await?;
        self.count_day(&mut tx, batch, &report).await?;
        self.count_emergencies(&mut tx, batch, &report).await?;
        self.count_arrivals(&mut tx, batch, &report).await?;
        self.bring_forward(&mut tx, batch, &report).await?;
        crate::faults::fault_point!("admitting", !report.outcomes.is_empty());
        E::commit(tx).await?;
        Ok(report)
    }

    /// The second tries of messages that have one already, by their places, with the one that there is. Whoever looks
    /// holds the first message until the end of the transaction, so that two who ask at once get one.
    async fn tried_again(tx: &mut E::Tx, batch: &AdmitBatch) -> Result<HashMap<usize, MessageId>> {
        let tries: Vec<(usize, MessageId)> = batch
            .admissions
            .iter()
            .enumerate()
            .filter_map(|(place, a)| Some((place, a.facts.retry_of?)))
            .collect();
        if tries.is_empty() {
            return Ok(HashMap::new());
        }
        let of: Vec<Uuid> = tries.iter().map(|(_, of)| of.0).collect();
        E::run(tx, "SELECT id FROM messages WHERE id = ANY($1) ORDER BY id {for update}", args![of.clone()])
            .await?;
        let rows = E::run(
            tx,
            "SELECT retry_of, id FROM messages WHERE retry_of IS NOT NULL AND retry_of = ANY($1) ORDER BY id DESC",
            args![of],
        )
        .await?;
        let mut known = HashMap::new();
        for row in &rows {
            known.insert(MessageId(row.id(0)?), MessageId(row.id(1)?));
        }
        let mut again = HashMap::new();
        for (place, of) in tries {
            if let Some(there) = known.get(&of) {
                again.insert(place, *there);
            } else if let Some(admission) = batch.admissions.get(place) {
                known.insert(of, admission.facts.id);
            }
        }
        Ok(again)
    }

    /// Writes all of them but those at the places `beyond`, and those that are there `again`.
    async fn insert_admissions(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        beyond: &HashSet<usize>,
        again: &HashMap<usize, MessageId>,
    ) -> Result<AdmitReport> {
        if batch.admissions.is_empty() {
            return Ok(report_at(Self::now(tx).await?));
        }
        self.know_sources(tx, &batch.admissions).await?;
        // Keys are taken in one order everywhere, so that two batches cannot wait for each other in a ring.
        let within = |(place, _): &(usize, &Admission)| !beyond.contains(place) && !again.contains_key(place);
        let mut order: Vec<(usize, &Admission)> =
            batch.admissions.iter().enumerate().filter(within).collect();
        order.sort_by(|(_, a), (_, b)| {
            (&a.facts.source, &a.facts.job_id).cmp(&(&b.facts.source, &b.facts.job_id))
        });
        let mut written = self.write_admissions(tx, batch, &order).await?;
        let now = match written.values().next() {
            Some(row) => row.accepted_at,
            None => Self::now(tx).await?,
        };
        let taken: Vec<&Admission> =
            order.iter().map(|(_, a)| *a).filter(|a| !written.contains_key(&a.facts.id.0)).collect();
        let known = Self::known_keys(tx, &taken).await?;
        let is_known =
            |a: &&Admission| known.contains_key(&(a.facts.source.as_str(), a.facts.job_id.as_str()));
        if !taken.iter().all(is_known) {
            // The key was in the way, and went with its message meanwhile.
            return Err(StoreError::Contention);
        }
        let mut report = report_at(now);
        report.outcomes.reserve_exact(batch.admissions.len());
        let mut events = Vec::new();
        let mut tell = |facts: &MessageFacts, to: &Move<'_>| {
            let event = self.emitter.message(facts, to);
            events.extend(event.map(|event| Numbered { message: Some(facts.id), seq: 1, event }));
        };
        for (place, admission) in batch.admissions.iter().enumerate() {
            let facts = &admission.facts;
            let outcome = match written.remove(&facts.id.0) {
                Some(Written { taken_back: Some(reason), .. }) => {
                    tell(facts, &Move::bare(MessageStatus::Cancelled, Some(reason), now));
                    AdmitOutcome::TakenBack(facts.id, reason)
                }
                Some(Written { token, status, accepted_at, .. }) => {
                    let work = |token| Work {
                        token,
                        status,
                        step: 0,
                        tries: 0,
                        accepted_at,
                        cancelled: None,
                        bound_to: None,
                        reached: false,
                        awaits: false,
                    };
                    let leased =
                        token.map(|token| LeasedAdmission { place, is_change: false, work: work(token) });
                    report.leased.extend(leased);
                    tell(facts, &Move::bare(status, None, accepted_at));
                    AdmitOutcome::Accepted(facts.id)
                }
                None if beyond.contains(&place) => {
                    AdmitOutcome::OverLimit { parked: ParkedId::generate(), wait: self.left_of_day(now) }
                }
                None => match (again.get(&place), known.get(&(facts.source.as_str(), facts.job_id.as_str())))
                {
                    (Some(id), _) => AdmitOutcome::Duplicate(*id),
                    (None, Some((id, hash))) if self.is_same(hash, &admission.content_hash) => {
                        AdmitOutcome::Duplicate(*id)
                    }
                    _ => AdmitOutcome::Conflict(ParkedId::generate()),
                },
            };
            report.outcomes.push(outcome);
        }
        self.number_first(tx, &events).await?;
        Ok(report)
    }

    /// Claims walk the sources; each is written down once a process.
    async fn know_sources(&self, tx: &mut E::Tx, admissions: &[Admission]) -> Result<()> {
        let fresh = Self::unknown(&self.sources, admissions.iter().map(|a| a.facts.source.as_str()));
        for &name in &fresh {
            E::run(tx, "INSERT INTO sources (name) VALUES ($1) ON CONFLICT DO NOTHING", args![name]).await?;
        }
        Self::remember(&self.sources, &fresh);
        Ok(())
    }

    /// Takes the worker, the lease and the batch; answers `id, status, reason, lease_token, accepted_at` of what was
    /// written. A job whose key is taken is left out of the answer; a job that was taken back before it came is
    /// written as cancelled.
    async fn write_admissions(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        order: &[(usize, &Admission)],
    ) -> Result<HashMap<Uuid, Written>> {
        let bodies = order
            .iter()
            .map(|(_, a)| self.sealed_job(a.facts.id, &a.body))
            .collect::<Result<Vec<Vec<u8>>>>()?;
        let wanted = wanted(batch);
        let columns = vec![
            ids("id", order, |(_, a)| a.facts.id.0),
            texts("source", order, |(_, a)| a.facts.source.as_str()),
            texts("job_id", order, |(_, a)| a.facts.job_id.as_str()),
            bytes("content_hash", order, |(_, a)| self.sealer.fingerprint(&a.content_hash).to_vec()),
            texts("patient_id", order, |(_, a)| a.facts.patient_id.as_str()),
            texts("template", order, |(_, a)| a.facts.template.as_str()),
            texts("purpose", order, |(_, a)| a.facts.purpose.as_str()),
            ints("priority", order, |(_, a)| a.facts.priority as i64),
            maybe_texts("about", order, |(_, a)| a.facts.about.as_ref().map(|x| x.as_str())),
            maybe_texts("site", order, |(_, a)| a.facts.site.as_ref().map(|x| x.as_str())),
            maybe_texts("campaign_id", order, |(_, a)| a.facts.campaign_id.as_ref().map(|x| x.as_str())),
            maybe_texts("correlation_id", order, |(_, a)| a.facts.correlation_id.as_deref()),
            flags("test", order, |(_, a)| a.facts.test),
            maybe_ids("retry_of", order, |(_, a)| a.facts.retry_of.map(|x| x.0)),
            Column { name: "body", data: Data::Bytes(bodies) },
            times("expires_at", order, |(_, a)| Some(a.expires_at)),
            times("due_at", order, |(_, a)| a.due_at),
            times("ack_by", order, |(_, a)| a.ack_by),
            flags("wanted", order, |(place, _)| wanted.contains(place)),
        ];
        let args = args![batch.worker.0, micros(self.timings.lease)].rows(RowType::Admit, columns);
        let rows = E::run(tx, E::STATEMENTS.admit, args).await?;
        rows.iter()
            .map(|row| {
                let written = Written {
                    status: row.word(1, MessageStatus::from_word)?,
                    taken_back: row.maybe_word(2, Reason::from_word)?,
                    token: row.maybe_int(3)?,
                    accepted_at: row.time(4)?,
                };
                Ok((row.id(0)?, written))
            })
            .collect()
    }

    /// Who holds the names of these, with what content.
    pub(super) async fn known_keys<'a>(
        tx: &mut E::Tx,
        asked: &[&'a Admission],
    ) -> Result<HashMap<(&'a str, &'a str), (MessageId, Vec<u8>)>> {
        let names: Vec<(&'a str, &'a str)> =
            asked.iter().map(|&a| (a.facts.source.as_str(), a.facts.job_id.as_str())).collect();
        Self::known_names(tx, &names).await
    }

    /// Who holds these names, each of a source and a job, with what content.
    async fn known_names<'a>(
        tx: &mut E::Tx,
        asked: &[(&'a str, &'a str)],
    ) -> Result<HashMap<(&'a str, &'a str), (MessageId, Vec<u8>)>> {
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let sources: HashSet<&str> = asked.iter().map(|(source, _)| *source).collect();
        let job_ids: HashSet<&str> = asked.iter().map(|(_, job_id)| *job_id).collect();
        let rows = E::run(
            tx,
            "SELECT source, job_id, message_id, content_hash FROM job_keys WHERE source = ANY($1) AND job_id = ANY($2)",
            args![sources.into_iter().collect::<Vec<_>>(), job_ids.into_iter().collect::<Vec<_>>()],
        )
        .await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert((row.text(0)?, row.text(1)?), (MessageId(row.id(2)?), row.bytes(3)?.to_vec()));
        }
        Ok(asked.iter().filter_map(|&name| Some((name, found.get(&name)?.clone()))).collect())
    }

    /// The rejects that are there already with the same content, by their places: what was accepted once stays so,
    /// whatever has become of its time, its template or its source's rights. Those of this batch count too.
    async fn repeats(&self, tx: &mut E::Tx, rejects: &[Reject]) -> Result<HashMap<usize, MessageId>> {
        let mut asked = Vec::new();
        for (place, reject) in rejects.iter().enumerate() {
            if let (Some(source), Some(job_id), Some(content_hash)) =
                (&reject.source, &reject.job_id, &reject.content_hash)
            {
                asked.push((place, (source.as_str(), job_id.as_str()), content_hash));
            }
        }
        let names: Vec<(&str, &str)> = asked.iter().map(|(_, name, _)| *name).collect();
        let known = Self::known_names(tx, &names).await?;
        let mut repeats = HashMap::new();
        for (place, name, content_hash) in asked {
            if let Some((id, held)) = known.get(&name)
                && self.is_same(held, content_hash)
            {
                repeats.insert(place, *id);
            }
        }
        Ok(repeats)
    }

    /// The first events of messages that were written a moment ago.
    async fn number_first(&self, tx: &mut E::Tx, events: &[Numbered]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = events.iter().filter_map(|e| e.message.map(|id| id.0)).collect();
        E::run(tx, "UPDATE messages SET seq = 1 WHERE id = ANY($1)", args![ids]).await?;
        self.insert_events(tx, events).await
    }

    /// Whether a name was used for this content. What was written by earlier programs is the plain hash.
    fn is_same(&self, known: &[u8], content_hash: &[u8; 32]) -> bool {
        known == self.sealer.fingerprint(content_hash) || known == content_hash
    }

    async fn park(&self, tx: &mut E::Tx, rejects: &[&Reject], now: Timestamp) -> Result<()> {
        if rejects.is_empty() {
            return Ok(());
        }
        let problems = rejects
            .iter()
            .map(|r| serde_json::to_string(&r.problems).map_err(|_| unfit("problems")))
            .collect::<Result<Vec<_>>>()?;
        let columns = vec![
            ids("id", rejects, |r| r.id.0),
            texts("reason", rejects, |r| r.problems.first().map_or(Reason::Malformed, |p| p.reason).as_str()),
            texts("field", rejects, |r| r.problems.first().map_or("", |p| p.field.as_str())),
            texts("problems", &problems, |p| p),
            maybe_texts("source", rejects, |r| r.source.as_ref().map(|s| s.as_str())),
            maybe_texts("job_id", rejects, |r| r.job_id.as_ref().map(|s| s.as_str())),
            texts("origin", rejects, |r| &r.origin),
            maybe_texts("correlation_id", rejects, |r| r.correlation_id.as_deref()),
            try_bytes("body", rejects, |r| self.sealer.seal(Sealed::ParkedBody.of(r.id.0), &r.body))?,
            bytes("body_hash", rejects, |r| self.sealer.fingerprint(&r.body).to_vec()),
            maybe_texts("routing_key", rejects, |r| r.key),
            flags("redelivered", rejects, |r| r.redelivered),
        ];
        let since = now.checked_sub(SAME_BODY).unwrap_or(Timestamp::MIN);
        let rows = E::run(
            tx,
            "INSERT INTO parked (id, reason, field, problems, source, job_id, origin, correlation_id, body, body_hash, routing_key,
                 parked_at)
             SELECT id, reason, field, problems, source, job_id, origin, correlation_id, body, body_hash, routing_key, now()
             FROM {input}
             WHERE NOT (redelivered AND EXISTS (
                 SELECT 1 FROM parked p WHERE p.body_hash = input.body_hash AND p.parked_at > $1
                     AND p.source IS NOT DISTINCT FROM input.source
                     AND p.correlation_id IS NOT DISTINCT FROM input.correlation_id))
             RETURNING id",
            args![since].batch(columns),
        )
        .await?;
        let parked = rows.iter().map(|row| row.id(0)).collect::<Result<HashSet<Uuid>>>()?;
        let events: Vec<Numbered> = rejects
            .iter()
            .filter(|r| parked.contains(&r.id.0))
            .map(|r| Numbered { message: None, seq: 0, event: Emitter::rejected(r, now) })
            .collect();
        self.insert_events(tx, &events).await
    }
}

/// A report of which nothing is known but its time.
fn report_at(now: Timestamp) -> AdmitReport {
    AdmitReport { outcomes: Vec::new(), repeats: HashMap::new(), leased: Vec::new(), now }
}

/// The places of the batch for which there is room: what is urgent first, so that it waits for nothing else.
fn wanted(batch: &AdmitBatch) -> HashSet<usize> {
    let mut places: Vec<usize> = (0..batch.admissions.len()).collect();
    places.sort_by_key(|place| batch.admissions.get(*place).map(|a| a.facts.priority as i64));
    places.truncate(batch.room);
    places.into_iter().collect()
}

/// What only the ledger could refuse, as far as nobody waits for the answer.
fn refused(batch: &AdmitBatch, outcomes: &[AdmitOutcome]) -> Vec<Reject> {
    let reject = |(admission, outcome): (&Admission, &AdmitOutcome)| {
        let (id, problem) = match outcome {
            AdmitOutcome::Conflict(id) => (*id, crate::store::conflict()),
            AdmitOutcome::OverLimit { parked, .. } => (*parked, crate::store::over_limit()),
            _ => return None,
        };
        Some(Reject {
            id,
            problems: vec![problem],
            source: Some(admission.facts.source.clone()),
            job_id: Some(admission.facts.job_id.clone()),
            origin: admission.origin.clone(),
            correlation_id: admission.facts.correlation_id.clone(),
            key: Some(key_of(admission.facts.priority)),
            body: admission.raw.clone()?,
            content_hash: None,
            park: true,
            redelivered: admission.redelivered,
        })
    };
    batch.admissions.iter().zip(outcomes).filter_map(reject).collect()
}

/// The routing key that says how urgent it was.
const fn key_of(priority: Priority) -> &'static str {
    match priority {
        Priority::Urgent => "job.urgent",
        Priority::Normal => "job.normal",
        Priority::Bulk => "job.bulk",
    }
}
