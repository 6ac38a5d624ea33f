//! The second person: emergencies pass quiet hours, caps and preferences, so above a number of recipients in an hour
//! somebody else than whoever asked says that they may go.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use super::work::NewItem;
use crate::domain::ids::{HoldId, SourceName};
use crate::domain::people::is_same_person;
use crate::domain::words::{Priority, Purpose, Reason, WorkKind};
use crate::store::Result;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, ids, maybe_texts, texts};
use crate::store::rows::{Admission, AdmitBatch, AdmitOutcome, AdmitReport, Hold, HoldScope, OnRelease};

/// Who places the holds of this file.
const GUARD: &str = "emergency guard";

/// Recipients of so long are counted together.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// Who asked for what is remembered for so long: a hold may stand for days.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

impl<E: Engine> Ledger<E> {
    /// Counts emergencies by recipient, and puts those of a source under a hold once they are too many without a second
    /// person. Whoever counts holds the source's row until the end of the transaction: the count is exact whatever the
    /// number of workers, and what crosses the line is held in the transaction that brings it.
    pub(super) async fn count_emergencies(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        report: &AdmitReport,
    ) -> Result<()> {
        let new: Vec<&Admission> = batch
            .admissions
            .iter()
            .zip(&report.outcomes)
            .filter(|(_, outcome)| matches!(outcome, AdmitOutcome::Accepted(_)))
            .map(|(admission, _)| admission)
            .filter(|a| a.facts.purpose == Purpose::Emergency && !a.facts.test)
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let columns = vec![
            ids("message_id", &new, |a| a.facts.id.0),
            texts("source", &new, |a| a.facts.source.as_str()),
            texts("patient_id", &new, |a| a.facts.patient_id.as_str()),
            maybe_texts("asked_by", &new, |a| a.asked_by.as_deref()),
        ];
        let sources: BTreeSet<&SourceName> = new.iter().map(|a| &a.facts.source).collect();
        let names: Vec<&str> = sources.iter().map(|source| source.as_str()).collect();
        E::run(tx, "SELECT name FROM sources WHERE name = ANY($1) ORDER BY name {for update}", args![names])
            .await?;
        E::run(
            tx,
            "INSERT INTO emergencies (message_id, source, patient_id, asked_by, accepted_at)
             SELECT message_id, source, patient_id, asked_by, now() FROM {input} WHERE true ON CONFLICT DO NOTHING",
            Args::none().batch(columns),
        )
        .await?;
        for source in sources {
            self.judge_emergencies(tx, source, report.now).await?;
        }
        Ok(())
    }

    /// What a second person has let go counts no more: the next ones are counted from there. Whoever asked may drop what
    /// waits, and is no freer by that.
    async fn judge_emergencies(&self, tx: &mut E::Tx, source: &SourceName, now: Timestamp) -> Result<()> {
        let limit = self.rules.emergencies.of(source);
        let since = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
        let rows = E::run(
            tx,
            "SELECT count(DISTINCT patient_id) FROM emergencies WHERE source = $1 AND accepted_at > $2
                 AND accepted_at > COALESCE((SELECT max(released_at) FROM holds
                     WHERE cause = 'awaiting_approval' AND value = $1 AND ended_as = 'send'), $2)",
            args![source.as_str(), since],
        )
        .await?;
        let count: u64 = rows.first().map(|row| row.count(0)).transpose()?.unwrap_or_default();
        if count <= limit || Self::is_held(tx, source).await? {
            return Ok(());
        }
        let hold = Hold {
            id: HoldId::generate(),
            scope: HoldScope::Source,
            value: source.as_str().to_owned(),
            cause: Reason::AwaitingApproval,
            reason: format!(
                "emergencies for more than {limit} recipients in an hour: a second person must release it"
            ),
            placed_by: GUARD.to_owned(),
            placed_at: now,
            until: None,
            on_release: OnRelease::Send,
        };
        Self::write_hold(tx, &hold).await?;
        let item = NewItem {
            source: Some(source.as_str()),
            hold: Some(hold.id.0),
            ..NewItem::bare(WorkKind::SurgeHold, Priority::Urgent)
        };
        self.open_items(tx, &[item]).await
    }

    async fn is_held(tx: &mut E::Tx, source: &SourceName) -> Result<bool> {
        let rows = E::run(
            tx,
            "SELECT id FROM holds WHERE cause = 'awaiting_approval' AND value = $1 AND released_at IS NULL",
            args![source.as_str()],
        )
        .await?;
        Ok(!rows.is_empty())
    }

    /// Who asked for what a hold of emergencies holds: none of them may let it go.
    pub(super) async fn askers(&self, hold: &Hold) -> Result<Vec<String>> {
        if hold.cause != Reason::AwaitingApproval {
            return Ok(Vec::new());
        }
        let rows = self.engine.read(ASKERS, args![hold.id.0]).await?;
        let named = rows.iter().map(|row| Ok(row.text(0)?.to_owned()));
        std::iter::once(Ok(hold.value.clone())).chain(named).collect()
    }

    /// Whether `by` asked for the emergencies that a hold holds: somebody else lets them go, and anybody may drop them.
    pub(super) async fn asked_for_it(tx: &mut E::Tx, hold: HoldId, by: &str) -> Result<bool> {
        let guarded = "SELECT value FROM holds WHERE id = $1 AND cause = 'awaiting_approval'";
        let guarded = E::run(tx, guarded, args![hold.0]).await?;
        if guarded.is_empty() {
            return Ok(false);
        }
        let askers = E::run(tx, ASKERS, args![hold.0]).await?;
        for row in guarded.iter().chain(&askers) {
            if is_same_person(row.text(0)?, by) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn forget_emergencies(&self, now: Timestamp) -> Result<()> {
        let before = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        self.engine.write("DELETE FROM emergencies WHERE accepted_at < $1", args![before]).await?;
        Ok(())
    }
}

/// From the hour before the hold on: what was let pass before is part of the same matter.
const ASKERS: &str = "
SELECT DISTINCT e.asked_by FROM holds h JOIN emergencies e ON e.source = h.value
WHERE h.id = $1 AND e.asked_by IS NOT NULL AND e.accepted_at > h.placed_at - 3600000000 * {us} ORDER BY 1";
