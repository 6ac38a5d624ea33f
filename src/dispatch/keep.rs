//! Housekeeping: what ended holds held goes as they say, what others carried ends with them, people are called, receipts
//! that do not come are no longer awaited, contacts that do not work are given up, old counts are forgotten. Every worker
//! does it; the ledger gives each row to one of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Corridor;
use crate::store::StoreError;
use crate::store::rows::WorkItem;

/// A hold that ends by itself lets go within this time.
const TICK: Duration = Duration::from_secs(1);
/// Of a hold with a million messages no more is let go in one round: people have to be called meanwhile.
const ROUNDS: u32 = 20;
/// Rows of each kind in one go.
const AT_ONCE: u32 = 500;
/// Held messages in one go.
const HELD_AT_ONCE: u32 = 2_000;
/// Events that are counted into their minutes in one go.
const COUNTED_AT_ONCE: u32 = 2_000;
/// How often old counts are looked for.
const FORGET_EVERY: u32 = 600;
/// How often receipts that found nothing are looked at again.
const MATCH_EVERY: u32 = 10;
/// How often it is said again that the ledger is away.
const SAID_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0_u32;
    let mut absence = Absence::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = corridor.stopping.cancelled() => return,
        }
        tokio::select! {
            away = keep(&corridor, round) => absence.say(away.as_ref()),
            // A round that is cut is rolled back, and made again by whoever is next.
            () = corridor.stopping.cancelled() => return,
        }
        round = round.wrapping_add(1);
    }
}

/// When it was last said that the ledger is away; none while it answers.
#[derive(Default)]
struct Absence(Option<Instant>);

impl Absence {
    fn say(&mut self, away: Option<&StoreError>) {
        match (self.is_news(away.is_some(), Instant::now()), away) {
            (false, _) => {}
            (true, Some(error)) => tracing::warn!(%error, "housekeeping waits for the ledger"),
            (true, None) => tracing::info!("the ledger is back, and housekeeping goes on"),
        }
    }

    /// That it is away is news when that begins and then once a minute, that it is back once.
    fn is_news(&mut self, away: bool, now: Instant) -> bool {
        let is_due = |said: Instant| !away || now.duration_since(said) >= SAID_EVERY;
        let news = self.0.map_or(away, is_due);
        if news {
            self.0 = away.then_some(now);
        }
        news
    }
}

/// One round. A part of it that fails keeps none of the others from its work. Answers how the ledger is away, where it is.
async fn keep(corridor: &Corridor, round: u32) -> Option<StoreError> {
    let parts = [
        holds(corridor).await,
        riders(corridor).await,
        people(corridor).await,
        receipts(corridor, round).await,
        counts(corridor, round).await,
    ];
    let mut away = None;
    for error in parts.into_iter().filter_map(Result::err) {
        match error {
            StoreError::Unavailable(_) => away = Some(error),
            other => tracing::warn!(error = %other, "a part of the housekeeping has to be done again"),
        }
    }
    away
}

async fn holds(corridor: &Corridor) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        if corridor.store.settle_holds(HELD_AT_ONCE).await? == 0 {
            break;
        }
        corridor.told.notify_one();
        corridor.due.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn riders(corridor: &Corridor) -> Result<(), StoreError> {
    while corridor.store.settle_riders(AT_ONCE).await? > 0 {
        corridor.told.notify_one();
        corridor.due.notify_one();
    }
    Ok(())
}

async fn people(corridor: &Corridor) -> Result<(), StoreError> {
    loop {
        let swept = corridor.store.sweep_work(AT_ONCE).await?;
        if swept.is_empty() {
            return Ok(());
        }
        swept.opened.iter().for_each(opened);
        swept.overdue.iter().for_each(overdue);
        for item in &swept.resolved {
            count(item, "resolved");
        }
        corridor.told.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn receipts(corridor: &Corridor, round: u32) -> Result<(), StoreError> {
    while corridor.store.end_receipt_waits(AT_ONCE).await? > 0 {
        corridor.told.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let given_up = corridor.store.judge_contacts(AT_ONCE).await?;
    if given_up > 0 {
        tracing::info!(contacts = given_up, "contacts are given up: what is sent there does not arrive");
        metrics::counter!("outreachd_contacts_given_up_total").increment(u64::from(given_up));
        corridor.told.notify_one();
    }
    if round.is_multiple_of(MATCH_EVERY) && corridor.store.match_receipts(AT_ONCE).await? > 0 {
        corridor.told.notify_one();
        corridor.due.notify_one();
    }
    Ok(())
}

async fn counts(corridor: &Corridor, round: u32) -> Result<(), StoreError> {
    while corridor.store.count_pulse(COUNTED_AT_ONCE).await? == COUNTED_AT_ONCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if round.is_multiple_of(FORGET_EVERY) {
        corridor.store.prune_arrivals(AT_ONCE * 10).await?;
    }
    Ok(())
}

fn opened(item: &WorkItem) {
    count(item, "opened");
    let (id, kind, due_at) = (item.id, item.kind, item.due_at);
    match (item.message_id, item.hold_id) {
        (Some(message), _) => {
            tracing::warn!(work_item = %id, %kind, %message, %due_at, "a person has to look after a message");
        }
        (None, Some(hold)) => {
            tracing::warn!(work_item = %id, %kind, %hold, %due_at, "a person has to look after a hold");
        }
        (None, None) => tracing::warn!(work_item = %id, %kind, %due_at, "there is work for a person"),
    }
}

fn overdue(item: &WorkItem) {
    count(item, "overdue");
    tracing::error!(work_item = %item.id, kind = %item.kind, due_at = %item.due_at, "nobody has claimed a work item in time");
}

fn count(item: &WorkItem, what: &'static str) {
    metrics::counter!("outreachd_work_items_total", "kind" => item.kind.as_str(), "what" => what)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_told_when_it_begins_once_a_minute_and_when_it_is_over() {
        let (start, mut absence) = (Instant::now(), Absence::default());
        let told: Vec<bool> = [
            (0, false),
            (1, true),
            (2, true),
            (60, true),
            (61, true),
            (62, true),
            (121, true),
            (122, false),
            (123, false),
            (124, true),
        ]
        .map(|(second, away)| absence.is_news(away, start + Duration::from_secs(second)))
        .into();
        assert_eq!(told, [false, true, false, false, true, false, true, true, false, true]);
    }
}
