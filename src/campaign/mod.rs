//! Campaigns: one message to many people, which a coordinator can trust.
//!
//! ```text
//! create       the plan is on record                            a draft
//! add          the audience: a file, or a search of the directory; row by row, in batches, once each
//! dry run      who would get what, decided by the same policy, and nothing is written
//! approve      another person, for exactly this plan, audience and texts
//! start        drive.rs, on every worker: one of them has the campaign in hand for a few seconds and makes messages of its
//!              next recipients, no further ahead than the pace needs
//! pause ...    a hold of the campaign's own stops what is written and not begun, at the moment of `begin`
//! ```
//!
//! A recipient's job has the name of the campaign and of the recipient's row, so that nobody is written to twice however
//! often a worker dies between the message and the note of it. From there on it is a job like any other: it passes the
//! same gatekeeper, policy, caps, hours and rate gate, and bulk never goes before what others send.

mod audience;
mod drive;
mod forecast;
mod sheet;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::site::SiteSection;
use crate::config::{Config, span};
use crate::dispatch::{Dispatcher, sign_off};
use crate::domain::campaign::{Approval, CampaignState, FollowUp, Pace, PauseReason, Plan};
use crate::domain::hours::{Holiday, WeekHours};
use crate::domain::ids::{CampaignId, MessageId, PatientId, TemplateName};
use crate::domain::job::When;
use crate::domain::patient::Patient;
use crate::domain::people::is_same_person;
use crate::domain::problem::Problem;
use crate::domain::words::Reason;
use crate::intake::Gatekeeper;
use crate::policy::campaign::{Command, Home, Line, approval_hash, interval, next, stands, turns};
use crate::store::campaigns::{CampaignFilter, CampaignMove, CampaignRow, Turns};
use crate::store::{Store, StoreError};
use crate::template::SharedCatalogue;
pub use audience::{Brought, Refusal};
pub use drive::run;
pub use forecast::{Forecast, SampleText};
pub use sheet::{Sheet, SheetPage};

/// Messages that are written ahead of their turn, at most, where turns are given one by one.
const AHEAD: u32 = 20_000;
/// Messages that may wait for the time of a start.
const MOST_WAITING: u32 = 5_000_000;

/// Campaigns that are looked through for those that follow another, from the newest on.
const MOST_CAMPAIGNS: u32 = 1_000;

/// Turns that are counted through to tell when a campaign ends.
const LONGEST_WALK: usize = 50_000;

/// Where campaigns are looked after.
#[derive(Clone, Debug)]
pub struct Office {
    pub store: Arc<dyn Store>,
    pub config: Arc<Config>,
    pub catalogue: Arc<SharedCatalogue>,
    pub gatekeeper: Gatekeeper,
    /// Absent where no worker runs in this process.
    pub dispatcher: Option<Dispatcher>,
}

/// What a person wants of a campaign.
#[derive(Clone, Debug)]
pub enum Wish {
    /// With the number of recipients, as they have read it, and the hash of the dry run that they have seen.
    Approve(u64, Option<String>),
    Start,
    Pause,
    Resume,
    Cancel,
    Pace(Option<Pace>),
}

impl Wish {
    const fn command(&self) -> Command {
        match self {
            Self::Approve(..) => Command::Approve,
            Self::Start => Command::Start,
            Self::Pause => Command::Pause,
            Self::Resume => Command::Resume,
            Self::Cancel => Command::Cancel,
            Self::Pace(_) => Command::Pace,
        }
    }
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("there is no such campaign")]
    Unknown,
    /// As it stands it cannot be.
    #[error("{0}")]
    Not(Problem),
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

const FORGOTTEN: &str =
    "has been over for so long that who received it is not on record any more ([retention] rows)";

fn refuse(field: &str, reason: Reason, rule: impl Into<String>, cure: &'static str) -> Refused {
    Refused::Not(Problem::new(field, reason, rule, cure))
}

impl Office {
    /// Puts a plan on record. The same plan once more is the same campaign while it is a draft: so that whoever was cut off
    /// while an audience came in can go on.
    ///
    /// # Errors
    /// The name is taken, the template, the source or the data do not fit, or the ledger is away.
    pub async fn create(&self, plan: &Plan, by: &str) -> Result<CampaignRow, Refused> {
        self.gatekeeper.plan(plan).map_err(Refused::Invalid)?;
        self.check_others(plan).await?;
        let new = self.store.create_campaign(plan, by).await?;
        let (row, _) = self.one(&plan.id).await?;
        if !new && (row.plan != *plan || row.state != CampaignState::Draft) {
            let rule = match row.state {
                CampaignState::Draft => "there is a campaign of that name with another plan",
                _ => "there is a campaign of that name, and it is no draft any more",
            };
            let cure = "take another id: the reports of campaigns stay on record under theirs";
            return Err(refuse("id", Reason::Duplicate, rule, cure));
        }
        Ok(row)
    }

    /// Who has not received what never was is everybody.
    async fn check_others(&self, plan: &Plan) -> Result<(), Refused> {
        let Some(query) = &plan.audience else { return Ok(()) };
        for (field, other) in
            [("audience.received", &query.received), ("audience.not_received", &query.not_received)]
        {
            let Some(other) = other else { continue };
            let rule = match self.store.campaign(other).await? {
                None => format!("there is no campaign {other}"),
                Some((row, now)) if self.is_forgotten(&row, now) => format!("{other} {FORGOTTEN}"),
                Some(_) => continue,
            };
            return Err(refuse(
                field,
                Reason::BadData,
                rule,
                "use the id of one that there is, and is not so old",
            ));
        }
        Ok(())
    }

    /// Whether its messages go by now ([`rows`](crate::config::retention::RetentionSection::rows)): who received it can not be
    /// told any more.
    fn is_forgotten(&self, row: &CampaignRow, now: Timestamp) -> bool {
        let is_over = matches!(row.state, CampaignState::Done | CampaignState::Cancelled);
        is_over
            && self.config.retention.rows.is_some_and(|age| now.duration_since(row.changed_at) >= span(age))
    }

    /// One campaign, and the ledger's clock.
    ///
    /// # Errors
    /// There is none, or the ledger is away.
    pub async fn one(&self, id: &CampaignId) -> Result<(CampaignRow, Timestamp), Refused> {
        self.store.campaign(id).await?.ok_or(Refused::Unknown)
    }

    /// When the last of those who wait has their turn, by the pace; `None`: it stands still, has no pace, or would take
    /// long to work out.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn expected_end(&self, row: &CampaignRow) -> Result<Option<Timestamp>, Refused> {
        let left =
            usize::try_from(row.size().saturating_sub(row.expanded + row.refused)).unwrap_or(usize::MAX);
        if row.state != CampaignState::Running || row.plan.pace.is_none() || left > LONGEST_WALK {
            return Ok(None);
        }
        let now = self.store.ping().await?;
        let booking = self.booking(&row.plan);
        let from = row.next_turn.max(now);
        let (_, end) = turns(row.plan.pace.as_ref(), &booking.line(), from, Timestamp::MAX, left);
        Ok(Some(end))
    }

    /// Does what `by` wants. Who is late to a change of somebody else is judged by what stands there then.
    ///
    /// # Errors
    /// It cannot be as the campaign stands, or the ledger is away.
    pub async fn wish(&self, id: &CampaignId, by: &str, wish: &Wish) -> Result<CampaignRow, Refused> {
        // The revision that our own pause made, until somebody else makes another.
        let mut stopped = None;
        for _ in 0..10 {
            let (row, now) = self.one(id).await?;
            let mut ask = self.judge(&row, by, wish, now).await?;
            let many = ask
                .turns
                .as_ref()
                .is_some_and(|turns| u32::try_from(turns.of.len()).unwrap_or(u32::MAX) > AHEAD);
            if many && row.state == CampaignState::Running && stopped.is_none() {
                // To deal out so many turns takes its time, and until then nothing leaves by the old ones.
                let pause = plain(&row, by, CampaignState::Paused);
                let pause = CampaignMove { reason: Some(PauseReason::Operator), ..pause };
                let paused = matches!(self.store.move_campaign(&pause).await, Ok(true));
                stopped = paused.then_some(row.revision + 1);
                continue;
            }
            if stopped == Some(row.revision) && ask.state == CampaignState::Paused {
                ask.turns = Some(self.turns_anew(&row, ask.plan.as_ref().unwrap_or(&row.plan), now).await?);
                ask.state = CampaignState::Running;
                ask.reason = None;
            }
            let moved = match self.store.move_campaign(&ask).await {
                // Somebody else has the row for a moment.
                Err(StoreError::Contention) => false,
                moved => moved?,
            };
            if moved {
                self.wake();
                return Ok(self.one(id).await?.0);
            }
        }
        Err(Refused::Store(StoreError::Contention))
    }

    async fn judge(
        &self,
        row: &CampaignRow,
        by: &str,
        wish: &Wish,
        now: Timestamp,
    ) -> Result<CampaignMove, Refused> {
        let needed = self.needs_approval(row);
        sign_off::refresh(self.store.as_ref(), &self.catalogue).await?;
        let hash = self.hash(row, &row.plan_text);
        let approved = self.approved(row, &hash, row.started_at.is_some(), now);
        let state = next(row.state, wish.command(), needed, approved)
            .map_err(|(rule, cure)| refuse("state", Reason::Conflict, rule, cure))?;
        let mut ask = plain(row, by, state);
        match wish {
            Wish::Approve(count, seen) => {
                check_approver(row, by, *count, needed)?;
                if seen.as_ref().is_some_and(|seen| *seen != hash) {
                    let rule = "what would be sent is no longer what that dry run showed";
                    return Err(refuse("hash", Reason::Conflict, rule, "look at the dry run again"));
                }
                ask.canary_passed = row.state == CampaignState::CanaryHold;
                ask.reason = row.reason.filter(|_| state == CampaignState::Paused);
                let texts = Some(self.texts(&row.plan.template));
                ask.approval = Some(Approval { by: by.to_owned(), at: now, hash, texts });
            }
            Wish::Start if state == CampaignState::Running => {
                if row.size() == 0 {
                    let cure = "add an audience first";
                    return Err(refuse("audience", Reason::Conflict, "nobody is meant", cure));
                }
                if self.is_past(&row.plan, now) {
                    let cure = "make a new campaign with a later end";
                    return Err(refuse("end", Reason::Expired, "has passed", cure));
                }
                ask.turns = Some(Turns { of: Vec::new(), next: now });
            }
            Wish::Pause => {
                let stands = row.reason.filter(|_| row.state == CampaignState::Paused);
                ask.reason = stands.or(Some(PauseReason::Operator));
            }
            Wish::Resume => ask.turns = Some(self.turns_anew(row, &row.plan, now).await?),
            Wish::Pace(pace) => self.judge_pace(row, pace.as_ref(), needed, &mut ask, now).await?,
            Wish::Start | Wish::Cancel => {}
        }
        Ok(ask)
    }

    /// A slower pace needs nobody's word; a faster one is another plan than the one that was approved.
    async fn judge_pace(
        &self,
        row: &CampaignRow,
        pace: Option<&Pace>,
        needed: bool,
        ask: &mut CampaignMove,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let plan = Plan { pace: pace.cloned(), ..row.plan.clone() };
        let each = |pace: Option<&Pace>| pace.map_or(jiff::SignedDuration::ZERO, interval);
        let slower = each(pace) >= each(row.plan.pace.as_ref())
            && (pace.and_then(|p| p.hours.as_ref()) == row.plan.pace.as_ref().and_then(|p| p.hours.as_ref()));
        let text = serde_json::to_string(&plan).unwrap_or_default();
        ask.reason = row.reason;
        match &row.approval {
            Some(approval) if slower && approval.hash == self.hash(row, &row.plan_text) => {
                ask.approval = Some(Approval { hash: self.hash(row, &text), ..approval.clone() });
            }
            _ if needed && matches!(row.state, CampaignState::Running | CampaignState::CanaryHold) => {
                ask.state = CampaignState::Paused;
                ask.reason = Some(PauseReason::ApprovalVoid);
            }
            _ if needed && row.state == CampaignState::Approved => {
                ask.state = CampaignState::AwaitingApproval
            }
            _ => {}
        }
        if ask.state == CampaignState::Running {
            ask.turns = Some(self.turns_anew(row, &plan, now).await?);
        }
        ask.plan = Some(plan);
        Ok(())
    }

    /// What was written and not begun, one after the other from now on by the pace, and nobody before their time.
    async fn turns_anew(&self, row: &CampaignRow, plan: &Plan, now: Timestamp) -> Result<Turns, StoreError> {
        let waiting = self.store.waiting_turns(&row.plan.id, MOST_WAITING).await?;
        let own = match plan.start {
            Some(When::Local(_)) => {
                let ordinals: Vec<u64> = waiting.iter().filter_map(|(_, ordinal)| *ordinal).collect();
                self.store.ready_at(&row.plan.id, &ordinals).await?
            }
            Some(When::At(_)) | None => HashMap::new(),
        };
        let common = if let Some(When::At(at)) = plan.start { at.max(now) } else { now };
        let ready =
            |ordinal: Option<u64>| ordinal.and_then(|n| own.get(&n)).map_or(common, |at| now.max(*at));
        let mut waiting: Vec<(MessageId, Timestamp)> =
            waiting.into_iter().map(|(id, ordinal)| (id, ready(ordinal))).collect();
        waiting.sort_by_key(|(_, ready)| *ready);
        let booking = self.booking(plan);
        let (mut of, mut next) = (Vec::with_capacity(waiting.len()), now);
        for (id, ready) in waiting {
            let (at, then) = turns(plan.pace.as_ref(), &booking.line(), next.max(ready), Timestamp::MAX, 1);
            // Where the phones are never answered, it expires.
            of.push((id, at.first().copied().unwrap_or(Timestamp::MAX)));
            next = then;
        }
        Ok(Turns { of, next: if plan.pace.is_some() { next } else { now } })
    }

    /// Those need nothing (any more), of this campaign and of those that write to its people once more. Answers how many of
    /// them this one was still to write to.
    ///
    /// # Errors
    /// There is no such campaign, or the ledger is away.
    pub async fn done(&self, id: &CampaignId, patients: &[PatientId]) -> Result<u64, Refused> {
        self.one(id).await?;
        let mut left_out = 0;
        for part in patients.chunks(500) {
            left_out += self.store.no_longer_needed(id, part).await?;
        }
        // Now that the word stands there, whatever is drafted from here on heeds it.
        for again in self.retries_of(id).await? {
            for part in patients.chunks(500) {
                self.store.no_longer_needed(&again, part).await?;
            }
        }
        self.wake();
        Ok(left_out)
    }

    /// The campaigns that write once more to people of this one, and those that do so to people of theirs.
    async fn retries_of(&self, id: &CampaignId) -> Result<Vec<CampaignId>, StoreError> {
        let all = CampaignFilter { limit: MOST_CAMPAIGNS, ..CampaignFilter::default() };
        let mut found = vec![id.clone()];
        // From the oldest on: each comes after the one that it follows.
        for row in self.store.campaigns(&all).await?.into_iter().rev() {
            if let Some((FollowUp::RetryFailed | FollowUp::RetryUnanswered, parent)) = &row.plan.follows
                && found.contains(parent)
            {
                found.push(row.plan.id);
            }
        }
        Ok(found.split_off(1))
    }

    /// A new campaign to those of `parent` whom `kind` names. Done again, it goes on where it was cut off.
    ///
    /// # Errors
    /// There is no such campaign, it still goes out and cannot be corrected yet, the name is taken, or the ledger is away.
    pub async fn follow(
        &self,
        parent: &CampaignId,
        kind: FollowUp,
        mut plan: Plan,
        by: &str,
    ) -> Result<CampaignRow, Refused> {
        let (row, now) = self.one(parent).await?;
        if self.is_forgotten(&row, now) {
            return Err(refuse("", Reason::TooLate, FORGOTTEN, "make a campaign with a list of its own"));
        }
        let goes_on = match row.state {
            CampaignState::Running => Some("it is still being sent"),
            // Whoever says that its canary is well has it go on with what was wrong.
            CampaignState::CanaryHold => Some("its canary has gone out, and the others wait for a word"),
            _ => None,
        };
        if let Some(rule) = goes_on.filter(|_| kind == FollowUp::Correct) {
            let cure = "pause it first, so that all who receive it are known";
            return Err(refuse("state", Reason::Conflict, rule, cure));
        }
        plan.follows = Some((kind, parent.clone()));
        plan.audience = None;
        let id = plan.id.clone();
        self.create(&plan, by).await?;
        self.fill_from(&plan, parent, kind, by).await?;
        Ok(self.one(&id).await?.0)
    }

    /// Whether another person has to agree.
    #[must_use]
    pub fn needs_approval(&self, row: &CampaignRow) -> bool {
        row.needs_approval(self.config.campaigns.approval_above)
    }

    /// Whether what was approved is what `hash` stands for, and the approval is still good.
    fn approved(&self, row: &CampaignRow, hash: &str, started: bool, now: Timestamp) -> bool {
        stands(row.approval.as_ref(), hash, span(self.config.campaigns.approval_valid), started, now)
    }

    /// The templates of this process, and what people have signed off of this one.
    fn texts(&self, template: &TemplateName) -> String {
        self.catalogue.current().said_by(template)
    }

    /// What an approval of `row` with this plan is bound to.
    fn hash(&self, row: &CampaignRow, plan: &str) -> String {
        approval_hash(plan, row.recipients, &row.audience, &self.texts(&row.plan.template))
    }

    /// The place that writes: the plan's, else its source's.
    fn site(&self, plan: &Plan) -> Option<&SiteSection> {
        let of_source = || self.config.source(&plan.source).and_then(|source| source.site.as_ref());
        self.config.site(plan.site.as_ref().or_else(of_source)?)
    }

    fn booking(&self, plan: &Plan) -> Booking {
        let site = self.site(plan);
        Booking {
            hours: plan.pace.as_ref().and_then(|p| WeekHours::parse(p.hours.as_deref()?).ok()),
            zone: site.map_or_else(|| self.config.organisation.timezone.clone(), |s| s.timezone.clone()),
            holidays: self.config.policy.hours.holidays.clone(),
            closed_days: site.map_or_else(Vec::new, |s| s.holidays.clone()),
        }
    }

    /// Where no place writes, it is the patient's own that does.
    fn home(&self, plan: &Plan, patient: Option<&Patient>) -> Home<'_> {
        let own = || patient.and_then(|patient| self.config.site(patient.site.as_ref()?));
        Home {
            site: self.site(plan).or_else(own).and_then(SiteSection::zone),
            organisation: &self.config.organisation.timezone,
            country: &self.config.organisation.default_region,
        }
    }

    /// Whether the end has come for everybody.
    fn is_past(&self, plan: &Plan, now: Timestamp) -> bool {
        plan.end.is_some_and(|end| crate::intake::gatekeeper::latest(end) <= now)
    }

    /// Messages may be due.
    fn wake(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.nudge();
        }
    }
}

/// Whether turns are given one by one, and whoever sleeps has theirs later: by a pace, and where each wave waits for the
/// one before it.
fn takes_turns(plan: &Plan) -> bool {
    plan.pace.is_some() || !plan.waves.is_empty()
}

/// A move that changes the state alone.
fn plain(row: &CampaignRow, by: &str, state: CampaignState) -> CampaignMove {
    CampaignMove {
        id: row.plan.id.clone(),
        revision: row.revision,
        state,
        reason: None,
        by: by.to_owned(),
        plan: None,
        approval: None,
        canary_passed: false,
        turns: None,
        wave: None,
    }
}

fn check_approver(row: &CampaignRow, by: &str, count: u64, needed: bool) -> Result<(), Refused> {
    let mut hands = std::iter::once(&row.created_by).chain(&row.changed_by);
    if needed && hands.any(|who| is_same_person(who, by)) {
        let rule = "whoever made a campaign, or changed its plan or audience, does not approve it";
        return Err(refuse("", Reason::SourceNotAllowed, rule, "ask a colleague"));
    }
    if count != row.size() {
        let rule = "is not the number of recipients";
        return Err(refuse(
            "recipients",
            Reason::Conflict,
            rule,
            "look at the dry run, and type the number that it shows",
        ));
    }
    Ok(())
}

/// When somebody answers the phone for a campaign.
struct Booking {
    hours: Option<WeekHours>,
    zone: jiff::tz::TimeZone,
    holidays: Vec<Holiday>,
    /// On which the place is closed.
    closed_days: Vec<jiff::civil::Date>,
}

impl Booking {
    fn line(&self) -> Line<'_> {
        let Self { hours, zone, holidays, closed_days } = self;
        Line { hours: hours.as_ref(), zone, holidays, closed_days }
    }
}
