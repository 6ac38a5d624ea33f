//! What makes campaigns go. Every worker looks; one has a campaign in hand for a few seconds, and whoever finds it free
//! takes it over where it stands. What is written here may be written twice: the names of jobs make one of two. Whoever comes
//! late, with a row on which another worker has gone on meanwhile, is told so by the ledger and writes nothing.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AHEAD, Office, plain, takes_turns};
use crate::dispatch::{Foresight, sign_off};
use crate::domain::campaign::{CampaignState, PauseReason, Plan};
use crate::domain::ids::{CampaignId, MessageId, PatientId, WorkerId};
use crate::domain::words::Reason;
use crate::intake::gatekeeper::Arrival;
use crate::policy::campaign::{Line, alarm, interval, ready_at, turns, wakes, wave_of};
use crate::store::StoreError;
use crate::store::campaigns::{CampaignMove, CampaignRow, Expanded, InHand, Place, Recipient};
use crate::store::rows::{Admission, AdmitBatch, AdmitOutcome, Subject};

/// Who moves campaigns here, on record.
const ITSELF: &str = "itself";
/// How often campaigns are looked at while there is nothing to do.
const TICK: Duration = Duration::from_millis(250);
/// Messages are written no further ahead of their turn.
const WINDOW: SignedDuration = SignedDuration::from_mins(2);
/// Whose turn it is already is written down before those who come later: a long batch would make them late.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// Recipients in one go.
const BATCH: u32 = 500;
/// Those who are looked at, however few turns there are: at night none of them may have one.
const LOOKED_AT: u32 = 50;
/// The same while nobody waits for them: their time comes later.
const BATCH_AHEAD: u32 = 4_000;
/// Of these, so many are written in one transaction; the transactions go side by side.
const PART: usize = 1_000;
/// Without a step for so long, a campaign's turns have passed unused.
const STALLED: SignedDuration = SignedDuration::from_secs(3);
/// How often a campaign's figures are looked at; longer where that takes long.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// No campaign goes on longer without a look at its figures.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A campaign with which this worker cannot cope is not asked for so long: another one may have what it takes.
const LEFT_FOR: Duration = Duration::from_secs(10);

/// Drives every campaign that this worker gets hold of, until `stop`.
pub async fn run(office: Office, worker: WorkerId, stop: CancellationToken) {
    let mut driver = Driver::new(office, worker);
    while !stop.is_cancelled() {
        let busy = tokio::select! {
            busy = driver.round() => busy,
            // What is cut is rolled back, or found written by whoever is next.
            () = stop.cancelled() => return,
        };
        match busy {
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => tokio::time::sleep(TICK).await,
            Err(StoreError::Contention) => tokio::time::sleep(TICK / 10).await,
            Err(error) => {
                tracing::warn!(%error, "campaigns wait for the ledger");
                tokio::time::sleep(TICK * 4).await;
            }
        }
    }
}

/// A recipient's ordinal and message, or why they can have none.
type Written = (u64, Result<Admission, Reason>);

struct Driver {
    office: Office,
    worker: WorkerId,
    foresight: Foresight,
    /// When the figures of a campaign are looked at again.
    checks: HashMap<CampaignId, Instant>,
    /// When each campaign last made a step here.
    steps: HashMap<CampaignId, Timestamp>,
    /// How many more of a campaign may be written that are due at once, before what waits is counted again.
    rooms: HashMap<CampaignId, u64>,
    /// Campaigns with which this worker cannot cope, and until when others have them.
    left: HashMap<CampaignId, Instant>,
}

impl Driver {
    fn new(office: Office, worker: WorkerId) -> Self {
        let foresight = Foresight::new(office.config.clone(), office.catalogue.clone());
        let (checks, steps, rooms) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { office, worker, foresight, checks, steps, rooms, left: HashMap::new() }
    }

    /// One step of each campaign. Answers whether there is more to do at once.
    async fn round(&mut self) -> Result<bool, StoreError> {
        let began = Instant::now();
        self.left.retain(|_, until| began < *until);
        let left: Vec<CampaignId> = self.left.keys().cloned().collect();
        let InHand { rows: campaigns, unread, now } =
            self.office.store.lease_campaigns(self.worker, &left).await?;
        unread.into_iter().for_each(|id| self.leave(id));
        self.checks.retain(|id, _| campaigns.iter().any(|row| row.plan.id == *id));
        self.steps.retain(|id, _| campaigns.iter().any(|row| row.plan.id == *id));
        self.rooms.retain(|id, _| campaigns.iter().any(|row| row.plan.id == *id));
        let mut busy = false;
        for row in &campaigns {
            let stepped = match row.state {
                CampaignState::Cancelled => {
                    self.office.store.sweep_campaign(&row.plan.id, BATCH).await.map(|swept| swept > 0)
                }
                _ => self.step(row, now).await,
            };
            match stepped {
                Ok(more) => busy |= more,
                Err(StoreError::Contention) => {}
                // The others go on.
                Err(error) => {
                    tracing::warn!(%error, campaign = %row.plan.id, "a campaign waits for the ledger")
                }
            }
        }
        if busy {
            self.office.wake();
        }
        Ok(busy)
    }

    /// Another worker has it once the lease has ended.
    fn leave(&mut self, id: CampaignId) {
        self.left.insert(id, Instant::now() + LEFT_FOR);
    }

    async fn step(&mut self, row: &CampaignRow, now: Timestamp) -> Result<bool, StoreError> {
        sign_off::known(self.office.store.as_ref(), &self.office.catalogue).await?;
        let faults = self.office.gatekeeper.plan(&row.plan).err();
        let hash = self.office.hash(row, &row.plan_text);
        // Who does not have its texts cannot say that they are others.
        let may_judge = faults.is_none() && self.office.needs_approval(row);
        if may_judge && !self.office.approved(row, &hash, true, now) {
            return self.pause(row, PauseReason::ApprovalVoid).await;
        }
        if let Some(reason) = self.check(row, false).await? {
            return self.pause(row, reason).await;
        }
        if self.office.is_past(&row.plan, now) {
            return self.to(row, CampaignState::Done).await;
        }
        if row.state == CampaignState::CanaryHold {
            return Ok(false);
        }
        // Nobody is refused for what this worker lacks, as an old one does while a new program comes in.
        if let Some(faults) = faults {
            let fault = faults.first().map_or_else(String::new, ToString::to_string);
            tracing::warn!(campaign = %row.plan.id, %fault, "this worker cannot write for a campaign, and leaves it to others");
            self.leave(row.plan.id.clone());
            return Ok(false);
        }
        if self.sort(row, now).await? {
            return Ok(true);
        }
        let last = self.steps.insert(row.plan.id.clone(), now);
        if row.plan.pace.is_some() && last.is_none_or(|last| now.duration_since(last) > STALLED) {
            return self.spread(row, now).await;
        }
        self.expand(row, now).await
    }

    /// Nobody drove it for a while: those whose turn has passed would all go out now. They have turns again, by the pace.
    async fn spread(&self, row: &CampaignRow, now: Timestamp) -> Result<bool, StoreError> {
        let turns = self.office.turns_anew(row, &row.plan, now).await?;
        if !turns.of.is_empty() {
            // The wave as it stands: this is the campaign's own course, and its figures are counted on.
            let wave = Some((row.wave, row.wave_opens_at));
            let ask = CampaignMove { turns: Some(turns), wave, ..plain(row, ITSELF, row.state) };
            self.office.store.move_campaign(&ask).await?;
        }
        Ok(true)
    }

    /// What came of it since a person last had it go on, from time to time; where `last`, before it is over.
    async fn check(&mut self, row: &CampaignRow, last: bool) -> Result<Option<PauseReason>, StoreError> {
        let began = Instant::now();
        if !last && self.checks.get(&row.plan.id).is_some_and(|at| began < *at) {
            return Ok(None);
        }
        let health = self.office.store.campaign_health(&row.plan.id, row.changed_at).await?;
        // Looking must not become the work: of its time it takes a twentieth at most.
        let pause = (began.elapsed() * 20).clamp(CHECK_EVERY, LONGEST_PAUSE);
        self.checks.insert(row.plan.id.clone(), Instant::now() + pause);
        Ok(alarm(&row.plan.auto_pause, &health))
    }

    async fn pause(&self, row: &CampaignRow, reason: PauseReason) -> Result<bool, StoreError> {
        let ask = CampaignMove { reason: Some(reason), ..plain(row, ITSELF, CampaignState::Paused) };
        if self.office.store.move_campaign(&ask).await? {
            tracing::warn!(campaign = %row.plan.id, %reason, "a campaign has been paused by itself");
        }
        Ok(true)
    }

    async fn to(&self, row: &CampaignRow, state: CampaignState) -> Result<bool, StoreError> {
        self.office.store.move_campaign(&plain(row, ITSELF, state)).await?;
        Ok(true)
    }

    /// Gives places to recipients that have none: by what the directory says of them now. All have theirs before the first
    /// is written to.
    async fn sort(&self, row: &CampaignRow, now: Timestamp) -> Result<bool, StoreError> {
        let (plan, store) = (&row.plan, &self.office.store);
        let batch = store.unsorted(&plan.id, BATCH * 2).await?;
        if batch.is_empty() {
            return Ok(false);
        }
        let subjects: Vec<Subject> = batch.iter().map(subject).collect();
        let directory = store.directory(&subjects).await?;
        let today = now.to_zoned(self.office.config.organisation.timezone.clone()).date();
        let places: Vec<Place> = batch
            .iter()
            .zip(&directory.entries)
            .map(|(recipient, entry)| {
                let known = entry.seen(recipient.body.patient.as_deref());
                let home = self.office.home(plan, known.as_deref());
                Place {
                    ordinal: recipient.ordinal,
                    wave: wave_of(&plan.waves, known.as_deref(), today),
                    ready_at: ready_at(plan.start, known.as_deref(), &home),
                }
            })
            .collect();
        store.sort_recipients(&plan.id, &places).await?;
        Ok(true)
    }

    async fn expand(&mut self, row: &CampaignRow, now: Timestamp) -> Result<bool, StoreError> {
        let (plan, store) = (&row.plan, self.office.store.clone());
        let canary = u64::from(plan.canary);
        let on_canary = canary > 0 && !row.canary_passed && row.size() > canary;
        let most =
            if on_canary { canary.saturating_sub(row.expanded + row.refused) } else { u64::from(BATCH) };
        if most == 0 {
            return self.to(row, CampaignState::CanaryHold).await;
        }
        if now < row.wave_opens_at {
            return Ok(false);
        }
        if !on_canary && goes_ahead(plan) {
            return self.expand_ahead(row, now).await;
        }
        let most = u32::try_from(most).unwrap_or(BATCH).min(BATCH);
        let window = plan.pace.as_ref().map_or(SignedDuration::ZERO, |pace| {
            interval(pace)
                .checked_mul(i32::try_from(AHEAD).unwrap_or(i32::MAX))
                .map_or(WINDOW, |all| all.min(WINDOW))
        });
        let window = if row.next_turn <= now { window.min(SOON) } else { window };
        let until = now.checked_add(window).unwrap_or(Timestamp::MAX);
        let booking = self.office.booking(plan);
        let from = row.next_turn.max(now);
        let room = usize::try_from(most).unwrap_or(0);
        let (at, _) = turns(plan.pace.as_ref(), &booking.line(), from, until, room);
        if at.is_empty() {
            return Ok(false);
        }
        let limit = u32::try_from(at.len()).unwrap_or(most);
        let limit = if plan.pace.is_some() { limit.max(LOOKED_AT) } else { limit };
        let Some(batch) = store.next_recipients(row, now, limit).await? else { return Ok(true) };
        if batch.is_empty() {
            return self.next_wave(row, now).await;
        }
        // So that no more can go out at once after a stall than had their turn within the window.
        let ahead = plan.pace.as_ref().map_or(AHEAD, |pace| most_ahead(interval(pace)));
        if !self.has_room(&plan.id, batch.len().min(at.len()), ahead).await? {
            return Ok(false);
        }
        let (batch, later) = self.in_turn(row, &batch, &at, &booking.line(), now).await?;
        // The turn after those that are used.
        let (_, next_turn) = turns(plan.pace.as_ref(), &booking.line(), from, until, batch.len());
        self.put(row, batch, later, next_turn).await
    }

    /// Gives the recipients their turns. Where there are such, nobody loses one to the night: whoever may not be written to at
    /// that hour is ready later, and has a turn then. Answers the messages, and who is ready when.
    async fn in_turn(
        &self,
        row: &CampaignRow,
        batch: &[Recipient],
        at: &[Timestamp],
        line: &Line<'_>,
        now: Timestamp,
    ) -> Result<(Vec<Written>, Vec<(u64, Timestamp)>), StoreError> {
        if !takes_turns(&row.plan) {
            let written = |(who, turn): (&Recipient, &Timestamp)| self.written(row, who, *turn, now);
            return Ok((batch.iter().zip(at).map(written).collect(), Vec::new()));
        }
        let subjects: Vec<Subject> = batch.iter().map(subject).collect();
        let directory = self.office.store.directory(&subjects).await?;
        let (mut messages, mut later) = (Vec::new(), Vec::new());
        for (recipient, entry) in batch.iter().zip(&directory.entries) {
            let Some(turn) = at.get(messages.len()) else { break };
            let opens = |written: Result<&Admission, &Reason>, turn: Timestamp| {
                written.map_or(turn, |admission| self.foresight.opens(admission, entry, turn))
            };
            let written = self.written(row, recipient, *turn, now);
            let then = |turn: Timestamp| opens(self.admission(row, recipient, turn, turn).as_ref(), turn);
            match wakes(*turn, opens(written.1.as_ref(), *turn), line, then) {
                Some(ready) => later.push((recipient.ordinal, ready)),
                None => messages.push(written),
            }
        }
        Ok((messages, later))
    }

    /// Where only the time of the start is waited for, all are written before it comes: then nothing is left to do but to
    /// send. Whoever is ready comes first, and no more of them than the lanes can take.
    async fn expand_ahead(&mut self, row: &CampaignRow, now: Timestamp) -> Result<bool, StoreError> {
        let id = &row.plan.id;
        let batch = self.office.store.next_recipients(row, Timestamp::MAX, BATCH_AHEAD).await?;
        let Some(mut batch) = batch else { return Ok(true) };
        let ready = batch.iter().take_while(|recipient| recipient.ready_at <= now).count();
        if batch.is_empty() {
            return self.next_wave(row, now).await;
        }
        if ready > 0 {
            batch.truncate(ready.min(usize::try_from(BATCH).unwrap_or(ready)));
            if !self.has_room(id, batch.len(), AHEAD).await? {
                return Ok(false);
            }
        }
        let from = row.next_turn.max(now);
        let written = |who: &Recipient| self.written(row, who, who.ready_at.max(from), now);
        self.put(row, batch.iter().map(written).collect(), Vec::new(), from).await
    }

    /// Whether so many more may be written that are due at once: where the lanes are slower than the pace, what is written
    /// is enough for them. What is due is counted anew once as many could have been written as there was room for.
    async fn has_room(&mut self, id: &CampaignId, some: usize, ahead: u32) -> Result<bool, StoreError> {
        let some = u64::try_from(some).unwrap_or(u64::MAX);
        let room = self.rooms.entry(id.clone()).or_default();
        if *room < some {
            *room = u64::from(ahead).saturating_sub(self.office.store.due_of_campaign(id).await?);
        }
        let has = *room > 0;
        *room = room.saturating_sub(some);
        Ok(has)
    }

    /// Writes them down, and notes that they have their messages, and who is ready `later`.
    async fn put(
        &self,
        row: &CampaignRow,
        batch: Vec<Written>,
        later: Vec<(u64, Timestamp)>,
        next_turn: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut batch = batch.into_iter();
        let parts = std::iter::from_fn(|| {
            let part: Vec<Written> = batch.by_ref().take(PART).collect();
            (!part.is_empty()).then(|| self.write(part))
        });
        let rows = futures_util::future::try_join_all(parts).await?.concat();
        let some = !rows.is_empty() || !later.is_empty();
        let (id, revision) = (row.plan.id.clone(), row.revision);
        self.office.store.expanded(&Expanded { id, revision, rows, later, next_turn }).await?;
        Ok(some)
    }

    /// Nobody of the waves so far waits: the next one opens, or it is over.
    async fn next_wave(&mut self, row: &CampaignRow, now: Timestamp) -> Result<bool, StoreError> {
        let left = self.office.store.outstanding(&row.plan.id).await?;
        match left.next_wave {
            Some(wave) if wave > row.wave => {
                let gap = row.plan.waves.get(usize::from(wave)).map_or(0, |w| w.gap_minutes);
                // Before the first there is nothing to keep a distance from.
                let gap = if row.expanded == 0 { 0 } else { i64::from(gap) };
                let opens = row.next_turn.max(now).checked_add(SignedDuration::from_mins(gap));
                let mut ask = plain(row, ITSELF, row.state);
                ask.wave = Some((wave, opens.unwrap_or(Timestamp::MAX)));
                self.office.store.move_campaign(&ask).await?;
                Ok(true)
            }
            None if !left.open && !left.unsorted => match self.check(row, true).await? {
                // It is told all the same: those who failed are to be looked after.
                Some(reason) => self.pause(row, reason).await,
                None => self.to(row, CampaignState::Done).await,
            },
            _ => Ok(false),
        }
    }

    /// Writes the messages. Answers what became of each recipient; those of whom nothing is said are asked for again.
    async fn write(&self, batch: Vec<Written>) -> Result<Vec<(u64, Result<MessageId, Reason>)>, StoreError> {
        let mut rows = Vec::with_capacity(batch.len());
        let (mut admissions, mut ordinals) = (Vec::new(), Vec::new());
        for (ordinal, written) in batch {
            match written {
                Ok(admission) => {
                    ordinals.push(ordinal);
                    admissions.push(admission);
                }
                Err(reason) => rows.push((ordinal, Err(reason))),
            }
        }
        let batch = AdmitBatch { worker: self.worker, admissions, rejects: Vec::new(), room: 0 };
        let report = self.office.store.admit(&batch).await?;
        for (ordinal, outcome) in ordinals.into_iter().zip(report.outcomes) {
            match outcome {
                AdmitOutcome::Accepted(id) | AdmitOutcome::Duplicate(id) | AdmitOutcome::TakenBack(id, _) => {
                    rows.push((ordinal, Ok(id)));
                }
                AdmitOutcome::Conflict(_) => rows.push((ordinal, Err(Reason::Conflict))),
                // The source has sent as many today as it may: they wait for tomorrow.
                AdmitOutcome::OverLimit { .. } => {}
            }
        }
        Ok(rows)
    }

    fn written(&self, row: &CampaignRow, recipient: &Recipient, turn: Timestamp, now: Timestamp) -> Written {
        (recipient.ordinal, self.admission(row, recipient, turn, now))
    }

    /// The message of a recipient, due at their turn.
    fn admission(
        &self,
        row: &CampaignRow,
        recipient: &Recipient,
        turn: Timestamp,
        now: Timestamp,
    ) -> Result<Admission, Reason> {
        let ready = (recipient.ready_at > now).then_some(recipient.ready_at);
        let job = row.plan.job(recipient.ordinal, &recipient.patient, &recipient.body, ready);
        let job = job.ok_or(Reason::Malformed)?;
        let arrival = Arrival { origin: "campaign".to_owned(), ..Arrival::default() };
        let mut admission = self
            .office
            .gatekeeper
            .admit(job, &arrival, now)
            .map_err(|problems| problems.first().map_or(Reason::Malformed, |p| p.reason))?;
        admission.due_at = Some(turn);
        admission.body.lifts_cap = row.plan.lifts_cap();
        Ok(admission)
    }
}

/// Turns of the window, of which one comes each so often.
fn most_ahead(each: SignedDuration) -> u32 {
    let turns = WINDOW.as_micros().checked_div(each.as_micros()).unwrap_or(i128::MAX);
    u32::try_from(turns).unwrap_or(u32::MAX).clamp(1, AHEAD)
}

/// Whether what is due later is written at once. Not where turns are given one by one, and not where it has to be seen
/// first how those before fare.
fn goes_ahead(plan: &Plan) -> bool {
    !takes_turns(plan) && plan.start.is_some()
}

/// A recipient as the directory is asked for them.
pub(super) fn subject(recipient: &Recipient) -> Subject {
    let inline = recipient.body.patient.iter().flat_map(|p| p.addresses().cloned());
    Subject {
        message: MessageId::generate(),
        patient: PatientId::clone(&recipient.patient),
        inline_addresses: inline.collect(),
        step: 0,
        tried: false,
        yields: true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::campaign::Wish;
    use crate::config::Config;
    use crate::domain::campaign::RecipientBody;
    use crate::domain::ids::SourceName;
    use crate::intake::Gatekeeper;
    use crate::store::Store as _;
    use crate::store::campaigns::NewRecipient;
    use crate::store::sqlite::ledger_of_a_test;
    use crate::template::SharedCatalogue;

    /// A campaign to thirty people that has begun, on a ledger of its own.
    async fn begun(more: &Value) -> (Office, CampaignId, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.db");
        let noon: Timestamp = "2026-12-01T18:00:00Z".parse().unwrap();
        let store = Arc::new(ledger_of_a_test(&ledger, noon));
        store.migrate().await.unwrap();
        let settings = "[policy.hours]\nchannels = []\n[[source]]\nname = \"ehr\"";
        let config = Arc::new(Config::from_toml(settings).unwrap());
        let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        let catalogue = Arc::new(SharedCatalogue::load(templates).unwrap());
        let gatekeeper = Gatekeeper::new(config.clone(), catalogue.clone());
        let office = Office { store, config, catalogue, gatekeeper, dispatcher: None };
        let mut plan = json!({
            "id": "flu", "template": "appointment-reminder",
            "data": {"starts_at": "2036-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"},
        });
        for (name, value) in more.as_object().unwrap() {
            plan[name] = value.clone();
        }
        let source = SourceName::parse("ehr");
        let plan = Plan::parse(plan.to_string().as_bytes(), source.as_ref(), 50).unwrap();
        office.create(&plan, "ann").await.unwrap();
        let rows: Vec<NewRecipient> = (1..=30)
            .map(|ordinal| NewRecipient {
                ordinal,
                patient: PatientId::parse(&format!("P{ordinal}")).unwrap(),
                body: RecipientBody::default(),
                place: Some((0, Timestamp::UNIX_EPOCH)),
            })
            .collect();
        office.store.add_recipients(&plan.id, &rows, "ann").await.unwrap().unwrap();
        office.wish(&plan.id, "ann", &Wish::Start).await.unwrap();
        (office, plan.id, folder)
    }

    /// Its lease has ended while it was busy with other campaigns, and another worker has gone on.
    #[tokio::test]
    async fn who_comes_late_with_an_old_row_writes_to_nobody() {
        for more in [json!({"canary": 5}), json!({"canary": 0, "pace": {"per_minute": 600}})] {
            let (office, id, _folder) = begun(&more).await;
            let driver = || Driver::new(office.clone(), WorkerId::generate());
            let (mut late, mut other) = (driver(), driver());
            let hand = office.store.lease_campaigns(late.worker, &[]).await.unwrap();
            let (row, now) = (&hand.rows[0], hand.now);
            // It has not just begun to drive it.
            for one in [&mut late, &mut other] {
                one.steps.insert(id.clone(), now);
            }
            assert!(other.step(row, now).await.unwrap());
            let (after, _) = office.one(&id).await.unwrap();
            assert!((5..=20).contains(&after.expanded), "{more}: {after:?}");
            assert!(late.step(row, now).await.unwrap(), "it looks anew");
            let (then, _) = office.one(&id).await.unwrap();
            assert_eq!((then.expanded, then.next_turn), (after.expanded, after.next_turn), "{more}");
        }
    }
}
