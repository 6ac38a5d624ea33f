//! What a campaign may do, and when each of its recipients has their turn.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use sha2::{Digest, Sha256};

use super::zones::{Known, place};
use crate::domain::campaign::{
    Approval, AudienceQuery, AutoPause, CampaignState, Pace, PaceUnit, PauseReason, Wave,
};
use crate::domain::hours::{Holiday, WeekHours};
use crate::domain::job::When;
use crate::domain::patient::{Patient, PostalAddress};
use crate::domain::words::{Channel, words};

/// A booking line that has been closed for so many days does not open any more.
const CLOSED_DAYS: u32 = 400;
/// A night, with the days after it on which nobody is written to.
const LONGEST_NIGHT: SignedDuration = SignedDuration::from_hours(96);

words! {
    /// What a person asks of a campaign.
    Command {
        Approve = "approve", Start = "start", Pause = "pause", Resume = "resume", Cancel = "cancel",
        /// Change of plan or audience.
        Change = "change",
        /// Change of pace alone.
        Pace = "pace",
    }
}

/// Where a command leads; the cure, where it leads nowhere. `needs_approval`: more recipients than one person may
/// write to alone. `approved`: the approval stands.
///
/// # Errors
/// Why not, and what to do.
pub fn next(
    state: CampaignState,
    command: Command,
    needs_approval: bool,
    approved: bool,
) -> Result<CampaignState, (&'static str, &'static str)> {
    use CampaignState as S;
    match (command, state) {
        // All are written to; whoever cancels it now stops what would follow.
        (Command::Cancel, S::Done) => Ok(S::Cancelled),
        (_, S::Done | S::Cancelled) => Err(("it is over", "make a new campaign")),
        (Command::Change, S::Draft | S::AwaitingApproval | S::Approved) => Ok(S::Draft),
        (Command::Change, _) => Err(("it has begun", "cancel it, and make a new campaign")),
        (Command::Approve, S::Draft | S::AwaitingApproval) => Ok(S::Approved),
        (Command::Approve, S::CanaryHold) => Ok(S::Running),
        // A campaign whose approval has become void is approved again and then resumed.
        (Command::Approve, S::Paused) => Ok(S::Paused),
        (Command::Approve, _) => Err(("there is nothing to approve", "look at its state")),
        (Command::Start, S::Draft | S::AwaitingApproval | S::Approved) => {
            Ok(if needs_approval && !approved { S::AwaitingApproval } else { S::Running })
        }
        (Command::Start, _) => Err(("it has been started", "look at its state, or resume it")),
        // Whoever stops what is stopped makes sure that it stays so.
        (Command::Pause, S::Running | S::CanaryHold | S::Paused) => Ok(S::Paused),
        (Command::Pause, _) => Err(("it is not running", "look at its state")),
        (Command::Resume, S::Paused) if needs_approval && !approved => Err((
            "what was approved is no longer what would be sent",
            "have another person approve it, then resume it",
        )),
        (Command::Resume, S::Paused) => Ok(S::Running),
        (Command::Resume, S::CanaryHold) => {
            Err(("the canary waits for a person's word", "look at what came of it, then approve it"))
        }
        (Command::Resume, _) => Err(("it is not paused", "look at its state")),
        (Command::Cancel, _) => Ok(S::Cancelled),
        (Command::Pace, state) => Ok(state),
    }
}

/// What an approval is bound to: whatever of it changes makes it void. `plan` is the plan as JSON, `audience` stands
/// for who is in it, `bundle` for the texts.
#[must_use]
pub fn approval_hash(plan: &str, size: u64, audience: &str, bundle: &str) -> String {
    let mut hash = Sha256::new();
    for part in [plan, &size.to_string(), audience, bundle] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// Whether an approval counts: for what would be sent now, and not older than it `lasts`, unless it has been used.
#[must_use]
pub fn stands(
    approval: Option<&Approval>,
    hash: &str,
    lasts: SignedDuration,
    started: bool,
    now: Timestamp,
) -> bool {
    approval.is_some_and(|a| a.hash == hash && (started || now.duration_since(a.at) < lasts))
}

/// Whether another person has to agree that so many are written to. A correction passes the caps, so it always needs one.
#[must_use]
pub fn needs_approval(size: u64, above: u64, lifts_cap: bool) -> bool {
    size > above || lifts_cap
}

/// The part of a person's digest that stands for them in the audience: sums of it do not depend on an order.
#[must_use]
pub fn member(ordinal: u64, patient: &str, body: &[u8]) -> u128 {
    let mut hash = Sha256::new();
    hash.update(ordinal.to_be_bytes());
    hash.update(patient.len().to_be_bytes());
    hash.update(patient);
    hash.update(body);
    let digest = hash.finalize();
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(slot, byte)| *slot = byte);
    u128::from_be_bytes(half)
}

/// Completed years.
#[must_use]
pub fn age(born: Date, today: Date) -> u32 {
    let years = i32::from(today.year()) - i32::from(born.year());
    let before = (today.month(), today.day()) < (born.month(), born.day());
    u32::try_from(years - i32::from(before)).unwrap_or(0)
}

/// Whether the query is for this patient. What it asks and nobody knows is not so.
#[must_use]
pub fn is_meant(query: &AudienceQuery, patient: &Patient, today: Date) -> bool {
    let years = patient.birth_date.map(|born| age(born, today));
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let language = patient.language.as_deref().map(primary);
    patient.active
        && !patient.deceased
        && query.min_age.is_none_or(|least| years.is_some_and(|n| n >= least))
        && query.max_age.is_none_or(|most| years.is_some_and(|n| n <= most))
        && (query.languages.is_empty() || query.languages.iter().any(|l| language == Some(primary(l))))
        && lies_in(&query.postcodes, patient)
        && has_one(&query.tags, patient)
        && query.site.as_ref().is_none_or(|site| patient.site.as_ref() == Some(site))
}

/// The wave that somebody belongs to, from 0: the first whose conditions they meet, else the one after the last.
#[must_use]
pub fn wave_of(waves: &[Wave], patient: Option<&Patient>, today: Date) -> u16 {
    let belongs = |wave: &Wave, patient: &Patient| {
        let years = patient.birth_date.map(|born| age(born, today));
        wave.min_age.is_none_or(|least| years.is_some_and(|n| n >= least))
            && lies_in(&wave.postcodes, patient)
            && has_one(&wave.tags, patient)
    };
    let found = patient.and_then(|patient| waves.iter().position(|wave| belongs(wave, patient)));
    u16::try_from(found.unwrap_or(waves.len())).unwrap_or(u16::MAX)
}

fn lies_in(postcodes: &[String], patient: &Patient) -> bool {
    let own = patient.address.as_ref().and_then(|a| a.postal_code.as_ref());
    postcodes.is_empty()
        || own.is_some_and(|code| postcodes.iter().any(|start| code.expose().starts_with(start.as_str())))
}

fn has_one(tags: &[String], patient: &Patient) -> bool {
    tags.is_empty() || tags.iter().any(|tag| patient.tags.contains(tag))
}

/// What is known of where somebody is, when their record says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    pub site: Option<&'a TimeZone>,
    pub organisation: &'a TimeZone,
    /// ISO 3166-1 alpha-2.
    pub country: &'a str,
}

/// When somebody may be written to, by the campaign's start. A wall-clock time is theirs where they live; where that may
/// be in several zones, it has come in all of them.
#[must_use]
pub fn ready_at(start: Option<When>, patient: Option<&Patient>, home: &Home<'_>) -> Timestamp {
    let local = match start {
        None => return Timestamp::UNIX_EPOCH,
        Some(When::At(at)) => return at,
        Some(When::Local(local)) => local,
    };
    let phone = patient.and_then(|p| {
        p.contacts.iter().find(|c| matches!(c.channel, Channel::Sms | Channel::Voice)).map(|c| &c.address)
    });
    let known = Known {
        timezone: patient.and_then(|p| p.timezone.as_deref()),
        address: patient.and_then(|p| p.address.as_ref()),
        phone: phone.map(|address| address.expose()),
        site: home.site,
        organisation: home.organisation,
        country: patient
            .and_then(|p| p.address.as_ref())
            .and_then(|a: &PostalAddress| a.country.as_deref())
            .unwrap_or(home.country),
    };
    let there = |zone: &TimeZone| zone.to_ambiguous_timestamp(local).later().unwrap_or(Timestamp::MAX);
    place(&known).zones.iter().map(there).max().unwrap_or(Timestamp::MAX)
}

/// When the phones are answered.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// `None`: always.
    pub hours: Option<&'a WeekHours>,
    pub zone: &'a TimeZone,
    /// Days for which the hours may say something of their own.
    pub holidays: &'a [Holiday],
    /// Days on which the place is closed unless they do.
    pub closed_days: &'a [Date],
}

impl Line<'_> {
    /// The first instant from `at` on at which somebody answers; `None`: nobody ever does.
    #[must_use]
    pub fn opens(&self, at: Timestamp) -> Option<Timestamp> {
        let Some(hours) = self.hours else { return Some(at) };
        let mut date = at.to_zoned(self.zone.clone()).date();
        for _ in 0..CLOSED_DAYS {
            let closed = self.closed_days.contains(&date);
            let open = hours.on(date.weekday(), closed || self.holidays.iter().any(|day| day.falls_on(date)));
            if open.start < open.end && (!closed || hours.knows_holidays()) {
                let clock = |second: u32| {
                    let midnight = date.to_datetime(Time::midnight());
                    let local = midnight.checked_add(i64::from(second).seconds()).ok()?;
                    self.zone.to_ambiguous_timestamp(local).later().ok()
                };
                let (start, end) = (clock(open.start)?, clock(open.end)?);
                if at < end {
                    return Some(at.max(start));
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}

/// The time between two recipients.
#[must_use]
pub fn interval(pace: &Pace) -> SignedDuration {
    let second = 1_000_000_i64;
    let span = match pace.per {
        PaceUnit::Minute => 60 * second,
        PaceUnit::Hour => 3_600 * second,
    };
    SignedDuration::from_micros((span / i64::from(pace.count.max(1))).max(1))
}

/// The turns of the next recipients: from `from` on, one interval apart, while the line is open, none later than
/// `until` and `most` at most; and the instant from which the turn after them is counted. Without a pace everybody's
/// turn is at once.
#[must_use]
pub fn turns(
    pace: Option<&Pace>,
    line: &Line<'_>,
    from: Timestamp,
    until: Timestamp,
    most: usize,
) -> (Vec<Timestamp>, Timestamp) {
    let each = pace.map_or(SignedDuration::ZERO, interval);
    let (mut turns, mut next) = (Vec::new(), from);
    while turns.len() < most {
        match line.opens(next) {
            Some(at) if at <= until => {
                turns.push(at);
                next = at.checked_add(each).unwrap_or(Timestamp::MAX);
            }
            Some(at) => return (turns, at.max(next)),
            None => return (turns, Timestamp::MAX),
        }
    }
    (turns, next)
}

/// When somebody who has their turn at night is ready for another: once it `opens` for them. `None`: that is not waited for.
/// It is no night, or one longer than any, or they sleep in the turn after it too, which `opens_then` tells: so they may
/// for ever, if their hours never meet those of the line.
#[must_use]
pub fn wakes(
    turn: Timestamp,
    opens: Timestamp,
    line: &Line<'_>,
    opens_then: impl FnOnce(Timestamp) -> Timestamp,
) -> Option<Timestamp> {
    let next = sleeps(turn, opens).then(|| line.opens(opens)).flatten()?;
    (!sleeps(next, opens_then(next))).then_some(opens)
}

fn sleeps(turn: Timestamp, opens: Timestamp) -> bool {
    opens > turn && opens.duration_since(turn) <= LONGEST_NIGHT
}

/// What has come of a campaign so far, as far as it can stop it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Messages of which an attempt was made.
    pub tried: u64,
    pub failed: u64,
    /// Recipients who said stop.
    pub opted_out: u64,
    pub complained: u64,
}

/// Why it has to stop; `None`: all is well, or too few were sent to tell.
#[must_use]
pub fn alarm(limits: &AutoPause, health: &Health) -> Option<PauseReason> {
    if health.tried < u64::from(limits.after) {
        return None;
    }
    let over = |count: u64, percent: f64| {
        #[expect(clippy::cast_precision_loss, reason = "counts of people are far below 2^52")]
        let share = count as f64 * 100.0 / health.tried as f64;
        count > 0 && share >= percent
    };
    [
        (PauseReason::ComplaintRate, over(health.complained, limits.complaint_percent)),
        (PauseReason::OptOutRate, over(health.opted_out, limits.opt_out_percent)),
        (PauseReason::ErrorRate, over(health.failed, limits.error_percent)),
    ]
    .into_iter()
    .find_map(|(reason, over)| over.then_some(reason))
}

#[cfg(test)]
mod tests;
