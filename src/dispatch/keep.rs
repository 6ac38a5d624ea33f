//! Housekeeping: what ended holds held goes as they say, what others carried ends with them, people are called, receipts
//! that do not come are no longer awaited, contacts that do not work are given up, old counts are forgotten. Every worker
//! does it; the ledger gives each row to one of them.

use std::sync::Arc;
use std::time::Duration;

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

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0_u32;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = corridor.stopping.cancelled() => return,
        }
        tokio::select! {
            () = keep(&corridor, round) => {}
            // A round that is cut is rolled back, and made again by whoever is next.
            () = corridor.stopping.cancelled() => return,
        }
        round = round.wrapping_add(1);
    }
}

/// One round. A part of it that fails keeps none of the others from its work.
async fn keep(corridor: &Corridor, round: u32) {
    let parts = [
        holds(corridor).await,
        riders(corridor).await,
        people(corridor).await,
        receipts(corridor, round).await,
        counts(corridor, round).await,
    ];
    for error in parts.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "housekeeping waits for the ledger");
    }
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
