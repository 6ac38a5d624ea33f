//! Campaigns move on: created, moved by people, taken in hand by one worker at a time.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Ledger, Numbered, unfit};
use crate::domain::campaign::{Approval, CampaignState, PauseReason, Plan};
use crate::domain::ids::{CampaignId, HoldId, JobId, MessageId, SourceName, WorkerId};
use crate::domain::words::Reason;
use crate::store::campaigns::{CampaignFilter, CampaignMove, CampaignRow, InHand, Turns};
use crate::store::columns::Columns;
use crate::store::emit::Emitter;
use crate::store::engine::{Args, Engine, args, ids, micros, times};
use crate::store::rows::{Hold, HoldScope, OnRelease};
use crate::store::sealed::Sealed;
use crate::store::words::{buried, by_campaign, taken_back};
use crate::store::{Campaigns, Result, StoreError, words};

/// How long a campaign belongs to a worker that does not come back.
const LEASE: SignedDuration = SignedDuration::from_secs(2);

/// A command that was under way when a campaign was cancelled has been written by then.
const STRAGGLERS: SignedDuration = SignedDuration::from_secs(90);

/// Turns that one statement gives.
const TURNS: usize = 10_000;

/// The columns of a campaign, in the order in which [`Ledger::campaign_row`] reads them.
const ROW: &str = "plan, state, reason, created_by, created_at, changed_at, started_at, revision, recipients, audience,
    expanded, refused, no_longer, approved_by, approved_at, approved_hash, canary_passed, wave, wave_opens_at, next_turn,
    hold_id, now(), changed_by, id, approved_texts";

/// Campaigns for which there may be something to do, and that are not left to others.
const OPEN: &str = concat!(
    "(state IN ('running', 'canary_hold') OR (state = 'cancelled' AND hold_id IS NOT NULL)) AND NOT (id = ANY($2)) AND (",
    words::is_free!("lease_until"),
    " OR lease_owner = $1)"
);

/// Who has changed a campaign, with one more; a name a line.
pub(super) fn with_hand(known: &[String], by: &str) -> String {
    let mut hands: Vec<&str> = known.iter().map(String::as_str).collect();
    if !hands.contains(&by) {
        hands.push(by);
    }
    hands.join("\n")
}

#[async_trait]
impl<E: Engine> Campaigns for Ledger<E> {
    async fn create_campaign(&self, plan: &Plan, by: &str) -> Result<bool> {
        let plans = [self.sealed_plan(plan)?];
        let batch = vec![crate::store::engine::bytes("plan", &plans, Clone::clone)];
        let (id, source, template) = (plan.id.as_str(), plan.source.as_str(), plan.template.as_str());
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let rows = E::run(
            &mut tx,
            "INSERT INTO campaigns (id, source, template, plan, state, created_by, created_at, changed_at, wave_opens_at,
                 next_turn)
             SELECT $1, $2, $3, plan, 'draft', $4, now(), now(), now(), now() FROM {input} WHERE true
             ON CONFLICT DO NOTHING RETURNING id",
            args![id, source, template, by].batch(batch),
        )
        .await?;
        if rows.is_empty() {
            return Ok(false);
        }
        self.tell_campaign(&mut tx, &plan.id, &plan.source, CampaignState::Draft, now).await?;
        E::commit(tx).await?;
        Ok(true)
    }

    async fn campaign(&self, id: &CampaignId) -> Result<Option<(CampaignRow, Timestamp)>> {
        let sql = format!("SELECT {ROW} FROM campaigns WHERE id = $1");
        let rows = self.engine.read(sql, args![id.as_str()]).await?;
        rows.first().map(|row| Ok((self.campaign_row(row)?, row.time(21)?))).transpose()
    }

    async fn campaigns(&self, filter: &CampaignFilter) -> Result<Vec<CampaignRow>> {
        let sql = format!(
            "SELECT {ROW} FROM campaigns
             WHERE ($1 OR source = ANY($2)) AND (NOT $3 OR state NOT IN ('done', 'cancelled'))
             ORDER BY created_at DESC, id LIMIT $4"
        );
        let sources: Vec<&str> = filter.sources.iter().map(SourceName::as_str).collect();
        let args = args![sources.is_empty(), sources, filter.open, i64::from(filter.limit.min(1_000))];
        let rows = self.engine.read(sql, args).await?;
        rows.iter().map(|row| self.campaign_row(row)).collect()
    }

    /// One transaction: the state, the stop that goes with it, the turns, and the event.
    async fn move_campaign(&self, ask: &CampaignMove) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let sql = format!("SELECT {ROW} FROM campaigns WHERE id = $1 AND revision = $2 {{for update}}");
        let rows = E::run(&mut tx, sql, args![ask.id.as_str(), ask.revision]).await?;
        let Some(before) = rows.first().map(|row| self.campaign_row(row)).transpose()? else {
            return Ok(false);
        };
        let stops = matches!(ask.state, CampaignState::Paused | CampaignState::Cancelled);
        let hold = match before.hold {
            None if stops => Some(self.stop_campaign(&mut tx, ask, now).await?),
            Some(hold) if ask.turns.is_some() && !stops => {
                self.go_on(&mut tx, hold, ask).await?;
                None
            }
            hold => hold,
        };
        if let Some(turns) = &ask.turns {
            Self::set_turns(&mut tx, turns).await?;
        }
        self.write_move(&mut tx, ask, &before, hold).await?;
        if ask.state != before.state {
            self.tell_campaign(&mut tx, &ask.id, &before.plan.source, ask.state, now).await?;
        }
        E::commit(tx).await?;
        Ok(true)
    }

    async fn lease_campaigns(&self, worker: WorkerId, left: &[CampaignId]) -> Result<InHand> {
        let left: Vec<&str> = left.iter().map(CampaignId::as_str).collect();
        // Most of the time there is nothing to take: then nothing is written.
        let sql = format!("SELECT now(), EXISTS (SELECT 1 FROM campaigns WHERE {OPEN})");
        let rows = self.engine.read(sql, args![worker.0, left.clone()]).await?;
        let head = rows.first().ok_or_else(|| StoreError::Internal("no clock".to_owned()))?;
        let now = head.time(0)?;
        if !head.flag(1)? {
            return Ok(InHand { rows: Vec::new(), unread: Vec::new(), now });
        }
        let sql = format!(
            "UPDATE campaigns SET lease_owner = $1, lease_until = now() + $3 * {{us}} WHERE {OPEN} RETURNING {ROW}"
        );
        let rows = self.engine.write(sql, args![worker.0, left, micros(LEASE)]).await?;
        let now = rows.first().map_or(Ok(now), |row| row.time(21))?;
        let mut hand = InHand { rows: Vec::with_capacity(rows.len()), unread: Vec::new(), now };
        for row in &rows {
            match self.campaign_row(row) {
                Ok(row) => hand.rows.push(row),
                // The others go on.
                Err(error) => {
                    let id = row.word(23, CampaignId::parse)?;
                    tracing::error!(
                        campaign = %id, %error,
                        "a campaign cannot be read, and stands still before it can be: where no newer program has written it, \
                         put the key that sealed it back into [security] seal_keys, or restore its row from a dump"
                    );
                    hand.unread.push(id);
                }
            }
        }
        Ok(hand)
    }

    async fn waiting_turns(&self, id: &CampaignId, limit: u32) -> Result<Vec<(MessageId, Option<u64>)>> {
        let rows = self
            .engine
            .read(
                concat!(
                    "SELECT m.id, m.job_id FROM messages m
                     WHERE m.campaign_id = $1 AND m.campaign_status IN ('accepted', 'scheduled', 'held')
                         AND m.lease_token IS NULL AND m.due_at IS NOT NULL
                         AND (m.reason IS NULL OR m.reason = 'campaign_paused') AND ",
                    by_campaign!("m"),
                    " ORDER BY m.id LIMIT $2"
                ),
                args![id.as_str(), i64::from(limit)],
            )
            .await?;
        let turn = |row: &E::Row| Ok((MessageId(row.id(0)?), row.word(1, JobId::parse)?.ordinal(id)));
        rows.iter().map(turn).collect()
    }

    async fn sweep_campaign(&self, id: &CampaignId, limit: u32) -> Result<u32> {
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let rows = E::run(
            &mut tx,
            concat!(
                "SELECT m.id FROM messages m
                 WHERE m.campaign_id = $1 AND m.campaign_status IN ('accepted', 'scheduled', 'held', 'sending')
                     AND (m.last_attempt IS NULL OR EXISTS (
                         SELECT 1 FROM attempts a WHERE a.id = m.last_attempt AND a.status = 'failed'))
                     AND ",
                taken_back!("m", "m.accepted_at"),
                " IS NOT NULL LIMIT $2"
            ),
            args![id.as_str(), i64::from(limit)],
        )
        .await?;
        let found = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        self.take_back_messages(&mut tx, &found, Reason::Cancelled, now).await?;
        let ended = if found.is_empty() {
            E::run(
                &mut tx,
                "UPDATE campaigns SET hold_id = NULL WHERE id = $1 AND changed_at < now() - $2 * {us} RETURNING id",
                args![id.as_str(), micros(STRAGGLERS)],
            )
            .await?
        } else {
            Vec::new()
        };
        if !ended.is_empty() {
            E::run(
                &mut tx,
                "UPDATE holds SET released_at = now(), released_by = 'itself', ended_as = 'send'
                 WHERE scope = 'campaign' AND value = $1 AND released_at IS NULL",
                args![id.as_str()],
            )
            .await?;
        }
        E::commit(tx).await?;
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }
}

impl<E: Engine> Ledger<E> {
    fn campaign_row(&self, row: &E::Row) -> Result<CampaignRow> {
        let text = self.sealer.open(Sealed::CampaignPlan.of(row.text(23)?), row.bytes(0)?)?;
        let plan: Plan = serde_json::from_slice(&text)
            .map_err(|_| StoreError::Internal("a stored plan does not fit".to_owned()))?;
        let approval = match (row.maybe_text(13)?, row.maybe_time(14)?, row.maybe_text(15)?) {
            (Some(by), Some(at), Some(hash)) => {
                let texts = row.maybe_text(24)?.map(str::to_owned);
                Some(Approval { by: by.to_owned(), at, hash: hash.to_owned(), texts })
            }
            _ => None,
        };
        Ok(CampaignRow {
            plan,
            plan_text: String::from_utf8_lossy(&text).into_owned(),
            state: row.word(1, CampaignState::from_word)?,
            reason: row.maybe_word(2, PauseReason::from_word)?,
            created_by: row.text(3)?.to_owned(),
            changed_by: row.text(22)?.lines().map(str::to_owned).collect(),
            created_at: row.time(4)?,
            changed_at: row.time(5)?,
            started_at: row.maybe_time(6)?,
            revision: row.int(7)?,
            recipients: row.count(8)?,
            audience: row.text(9)?.to_owned(),
            expanded: row.count(10)?,
            refused: row.count(11)?,
            no_longer_needed: row.count(12)?,
            approval,
            canary_passed: row.flag(16)?,
            wave: row.count(17)?,
            wave_opens_at: row.time(18)?,
            next_turn: row.time(19)?,
            hold: row.maybe_id(20)?.map(HoldId),
        })
    }

    fn sealed_plan(&self, plan: &Plan) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(plan).map_err(|_| unfit("plan"))?;
        self.sealer.seal(Sealed::CampaignPlan.of(plan.id.as_str()), &text)
    }

    async fn tell_campaign(
        &self,
        tx: &mut E::Tx,
        id: &CampaignId,
        source: &SourceName,
        state: CampaignState,
        at: Timestamp,
    ) -> Result<()> {
        let event = Emitter::campaign(id, source, state, at);
        self.insert_events(tx, &[Numbered { message: None, seq: 0, event }]).await
    }

    async fn write_move(
        &self,
        tx: &mut E::Tx,
        ask: &CampaignMove,
        before: &CampaignRow,
        hold: Option<HoldId>,
    ) -> Result<()> {
        let plans = [match &ask.plan {
            Some(plan) => self.sealed_plan(plan)?,
            None => {
                self.sealer.seal(Sealed::CampaignPlan.of(ask.id.as_str()), before.plan_text.as_bytes())?
            }
        }];
        let approval = ask.approval.as_ref().or(before.approval.as_ref());
        let changed_by = match &ask.plan {
            Some(_) => with_hand(&before.changed_by, &ask.by),
            None => before.changed_by.join("\n"),
        };
        let (wave, opens_at) = ask.wave.unwrap_or((before.wave, before.wave_opens_at));
        let args = args![
            ask.id.as_str(),
            ask.state.as_str(),
            ask.reason.map(PauseReason::as_str),
            hold.map(|hold| hold.0),
            approval.map(|a| a.by.as_str()),
            approval.map(|a| a.at),
            approval.map(|a| a.hash.as_str()),
            ask.canary_passed || before.canary_passed,
            ask.turns.as_ref().map_or(before.next_turn, |turns| turns.next),
            i64::from(wave),
            opens_at,
            // A wave that opens is the campaign's own course: its figures are counted on from where they began.
            ask.state == CampaignState::Running,
            changed_by.as_str(),
            ask.wave.is_none(),
            approval.and_then(|a| a.texts.as_deref()),
        ]
        .batch(vec![crate::store::engine::bytes("plan", &plans, Clone::clone)]);
        E::run(
            tx,
            "UPDATE campaigns SET state = $2, reason = $3, hold_id = $4, approved_by = $5, approved_at = $6,
                 approved_hash = $7, approved_texts = $15, canary_passed = $8, next_turn = $9, wave = $10, wave_opens_at = $11,
                 started_at = CASE WHEN $12 THEN COALESCE(started_at, now()) ELSE started_at END,
                 plan = input.plan, changed_by = $13, revision = revision + 1,
                 changed_at = CASE WHEN $14 THEN now() ELSE changed_at END, lease_owner = NULL, lease_until = NULL
             FROM {input} WHERE id = $1",
            args,
        )
        .await?;
        Ok(())
    }

    /// From the commit on, nothing of it is begun.
    async fn stop_campaign(&self, tx: &mut E::Tx, ask: &CampaignMove, now: Timestamp) -> Result<HoldId> {
        let hold = Hold {
            id: HoldId::generate(),
            scope: HoldScope::Campaign,
            value: ask.id.to_string(),
            cause: Reason::CampaignPaused,
            reason: ask.reason.map_or_else(|| ask.state.to_string(), |reason| reason.to_string()),
            placed_by: ask.by.clone(),
            placed_at: now,
            until: None,
            on_release: OnRelease::Send,
        };
        Self::write_hold(tx, &hold).await?;
        Ok(hold.id)
    }

    /// What it held has its turn as the caller has set it; what is decided upon at this very moment comes at once.
    async fn go_on(&self, tx: &mut E::Tx, hold: HoldId, ask: &CampaignMove) -> Result<()> {
        E::run(
            tx,
            "UPDATE holds SET released_at = now(), released_by = $2, ended_as = 'send' WHERE id = $1 AND released_at IS NULL",
            args![hold.0, ask.by.as_str()],
        )
        .await?;
        Ok(())
    }

    async fn set_turns(tx: &mut E::Tx, turns: &Turns) -> Result<()> {
        for some in turns.of.chunks(TURNS) {
            let batch = vec![ids("id", some, |(id, _)| id.0), times("due_at", some, |(_, at)| Some(*at))];
            E::run(
                tx,
                "UPDATE messages SET due_at = input.due_at, held_by = NULL FROM {input}
                 WHERE messages.id = input.id AND messages.status IN ('accepted', 'scheduled', 'held')
                     AND messages.lease_token IS NULL",
                Args::none().batch(batch),
            )
            .await?;
        }
        Ok(())
    }
}
