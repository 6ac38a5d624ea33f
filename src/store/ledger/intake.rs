//! What comes in, call by call: jobs, words that take them back, the repair of parked bodies, and an end to what is only
//! counted of all that.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Ledger;
use super::arrivals::hour_of;
use super::query::Query;
use crate::domain::ids::{JobId, ParkedId, SourceName};
use crate::domain::job::{Cancel, CancelTarget};
use crate::domain::problem::Problem;
use crate::domain::words::Reason;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args};
use crate::store::rows::{AdmitBatch, AdmitReport, CancelOutcome, ParkedFilter, ParkedRow};
use crate::store::sealed::Sealed;
use crate::store::{Intake, Result};

/// Days are kept for so long.
const DAYS_KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Old hours, but for the last one of each source and template: it tells since when they are known.
const FORGET: &str = "
DELETE FROM arrivals WHERE (hour, source, template) IN (
    SELECT a.hour, a.source, a.template FROM arrivals a
    WHERE a.hour < $1
      AND EXISTS (SELECT 1 FROM arrivals b WHERE b.source = a.source AND b.hour > a.hour)
      AND EXISTS (SELECT 1 FROM arrivals b WHERE b.template = a.template AND b.hour > a.hour)
    LIMIT $2)
RETURNING hour";

#[async_trait]
impl<E: Engine> Intake for Ledger<E> {
    async fn admit(&self, batch: &AdmitBatch) -> Result<AdmitReport> {
        let report = self.try_admit(batch).await;
        if report.is_err() {
            // What was rolled back must be written down again.
            Self::forget(&self.sources);
        }
        report
    }

    async fn cancel(&self, cancels: &[Cancel]) -> Result<Vec<CancelOutcome>> {
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let mut outcomes = Vec::with_capacity(cancels.len());
        for cancel in cancels {
            let taken = match &cancel.target {
                CancelTarget::Job(job_id) => {
                    self.take_back(&mut tx, &cancel.source, job_id, Reason::Cancelled, now).await?
                }
                CancelTarget::About(about) => {
                    self.take_back_matter(&mut tx, &cancel.source, about.as_str(), now).await?
                }
                CancelTarget::Message(id) => {
                    let taken = self.take_back_messages(&mut tx, &[id.0], Reason::Cancelled, now).await?;
                    // What was sent once more has its own name: this word is not about it.
                    if !Self::was_sent_again(&mut tx, *id).await? {
                        self.bury_jobs_of(&mut tx, &taken, now).await?;
                    }
                    taken
                }
            };
            self.tell_too_late(&mut tx, &taken.too_late, now).await?;
            outcomes.push(taken.outcome());
        }
        E::commit(tx).await?;
        Ok(outcomes)
    }

    async fn parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>> {
        let mut q = Query::new(
            "SELECT id, problems, source, job_id, origin, correlation_id, parked_at, body, routing_key FROM parked
             WHERE replayed_at IS NULL",
        );
        let ids: Vec<Uuid> = filter.ids.iter().map(|id| id.0).collect();
        if !ids.is_empty() {
            q.and("id = ANY(?)", ids);
        }
        q.and_if("reason = ?", filter.reason.map(Reason::as_str));
        q.and_if("source = ?", filter.source.as_ref().map(|s| s.as_str()));
        q.and_if("id > ?", filter.after.map(|id| id.0));
        q.limit("ORDER BY id", filter.limit);
        let (sql, args) = q.parts();
        let rows = self.engine.read(sql, args).await?;
        rows.iter()
            .map(|row| {
                // One that cannot be opened or read keeps nobody from the others.
                let mut problems: Vec<Problem> =
                    serde_json::from_str(row.text(1)?).unwrap_or_else(|_| vec![untold()]);
                let body = self.sealer.open(Sealed::ParkedBody.of(row.id(0)?), row.bytes(7)?);
                if body.is_err() {
                    problems.push(ParkedRow::closed());
                }
                Ok(ParkedRow {
                    id: ParkedId(row.id(0)?),
                    problems,
                    source: row.maybe_word(2, SourceName::parse)?,
                    job_id: row.maybe_word(3, JobId::parse)?,
                    origin: row.text(4)?.to_owned(),
                    correlation_id: row.maybe_text(5)?.map(str::to_owned),
                    parked_at: row.time(6)?,
                    unread: body.is_err(),
                    body: body.map(std::borrow::Cow::into_owned).unwrap_or_default(),
                    key: row.maybe_text(8)?.map(str::to_owned),
                })
            })
            .collect()
    }

    async fn mark_replayed(&self, ids: &[ParkedId]) -> Result<()> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.engine.write("UPDATE parked SET replayed_at = now() WHERE id = ANY($1)", args![ids]).await?;
        Ok(())
    }

    async fn prune_arrivals(&self, limit: u32) -> Result<u32> {
        let now = self.clock().await?;
        let window = self.rules.surge.map_or(0, |rules| rules.window_hours);
        let before = hour_of(now).saturating_sub(window);
        let gone = self.engine.write(FORGET, args![before, i64::from(limit)]).await?.len();
        let day = self.day(now.checked_sub(DAYS_KEPT).unwrap_or(Timestamp::MIN));
        self.engine.write("DELETE FROM source_days WHERE day < $1", args![day.as_str()]).await?;
        self.forget_emergencies(now).await?;
        self.forget_questions(now).await?;
        self.engine.write("DELETE FROM tombstones WHERE until < now()", Args::none()).await?;
        let budgets = "DELETE FROM rate_gate WHERE key LIKE 'budget/%' AND day < {today} - 7";
        self.engine.write(budgets, Args::none()).await?;
        Ok(u32::try_from(gone).unwrap_or(u32::MAX))
    }
}

/// What stands in the place of faults that cannot be read.
fn untold() -> Problem {
    let cure = "look at the body, and replay it: what is wrong with it is told anew";
    Problem::new("", Reason::Malformed, "what was wrong with it cannot be read", cure)
}
