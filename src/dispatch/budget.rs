//! What a message costs, and the budgets that pay for it.

use tokio::time::Instant;

use super::lane::Ready;
use super::{Corridor, PAUSES, Planned};
use crate::config::limits::LimitsSection;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::policy::cap::midnight_after;
use crate::policy::zones::country_of;
use crate::store::again_if_contended;
use crate::store::rows::{Decided, Spend};

/// Takes each message's cost from its budgets; those that would cross one are held until the next day.
pub(super) async fn afford(corridor: &Corridor, mut ready: Vec<Ready>) -> Vec<Ready> {
    for one in &mut ready {
        one.spend = spend(corridor, one);
    }
    let spends: Vec<Spend> = ready.iter().filter_map(|one| one.spend.clone()).collect();
    if spends.is_empty() {
        return ready;
    }
    let answers = match corridor.store.spend(&spends).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::warn!(%error, messages = ready.len(), "budgets could not be read; the messages wait");
            let back = ready.iter().flat_map(|r| r.planned.releases()).collect();
            corridor.release(back).await;
            return Vec::new();
        }
    };
    let mut answers = answers.into_iter();
    let (mut allowed, mut over, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for one in ready {
        if one.spend.is_none() || answers.next() == Some(true) {
            allowed.push(one);
        } else {
            over.push(over_budget(corridor, &one.planned));
            back.extend(one.planned.riders.iter().map(Planned::release));
        }
    }
    corridor.decide(&over).await;
    corridor.release(back).await;
    allowed
}

/// What the message costs, and the budgets that pay. Nothing where no budget is set, or it costs nothing.
fn spend(corridor: &Corridor, one: &Ready) -> Option<Spend> {
    let (facts, limits) = (&one.planned.hand.facts, &corridor.config.limits);
    if facts.test || one.charge.micros == 0 {
        return None;
    }
    let whole = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    let day = corridor
        .clock
        .timestamp(Instant::now())
        .to_zoned(corridor.config.organisation.timezone.clone())
        .date();
    let of_source = corridor.config.source(&facts.source).and_then(|s| s.budget_per_day);
    let of_site = facts.site.as_ref().and_then(|id| corridor.config.site(id)).and_then(|s| s.budget_per_day);
    let all = limits.budget_per_day;
    let mut budgets = Vec::new();
    if let Some(limit) = all.total {
        budgets.push((format!("budget/{day}/total"), whole(limit.micros)));
    }
    if let Some(limit) = of_source.or(all.per_source) {
        budgets.push((format!("budget/{day}/source/{}", facts.source), whole(limit.micros)));
    }
    if let (Some(site), Some(limit)) = (&facts.site, of_site.or(all.per_site)) {
        budgets.push((format!("budget/{day}/site/{site}"), whole(limit.micros)));
    }
    (!budgets.is_empty()).then(|| Spend { budgets, amount: whole(one.charge.micros) })
}

/// What a message is reckoned at, in millionths of the currency: its segments, or the minute that a call begins with.
pub(super) fn cost(limits: &LimitsSection, channel: Channel, address: &str, segments: u32) -> u64 {
    // Reading a number's country costs more than all the rest.
    let of_country = || country_of(address).map(|country| limits.cost_to(&country));
    let known = if limits.by_country.is_empty() { None } else { of_country() };
    let cost = known.unwrap_or(limits.cost);
    match channel {
        Channel::Sms => cost.per_segment.micros.saturating_mul(segments.max(1).into()),
        Channel::Voice => cost.per_minute.micros,
        Channel::Email | Channel::Portal => 0,
    }
}

/// A message that did not go out costs nothing: what was taken goes back to the budgets it came from.
pub(super) async fn give_back(corridor: &Corridor, taken: impl IntoIterator<Item = Spend>) {
    let back: Vec<Spend> = taken.into_iter().map(|taken| Spend { amount: -taken.amount, ..taken }).collect();
    if !back.is_empty()
        && let Err(error) = again_if_contended(PAUSES, || corridor.store.spend(&back)).await
    {
        tracing::warn!(%error, "a budget keeps what was not spent");
    }
}

fn over_budget(corridor: &Corridor, planned: &Planned) -> Decided {
    let now = corridor.clock.timestamp(Instant::now());
    let tomorrow = midnight_after(now, &corridor.config.organisation.timezone);
    let hand = &planned.hand;
    let under_way = hand.work.status.rank().is_some_and(|rank| rank > 0);
    Decided {
        facts: (*hand.facts).clone(),
        token: hand.work.token,
        status: if under_way { hand.work.status } else { MessageStatus::Held },
        reason: Some(Reason::OverBudget),
        due_at: Some(tomorrow.min(planned.valid_until)),
        channel: Some(planned.route.channel),
        provider: None,
        held_by: None,
        over: None,
        recipient: planned.reader.recipient,
        explanation: planned.explanation.clone(),
        at: now,
    }
}
