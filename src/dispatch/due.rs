//! Due messages are claimed from the ledger, as much as finds room: urgent first, and at least a tenth for the others.

use std::sync::Arc;
use std::time::Instant;

use super::{Corridor, Handover};
use crate::domain::words::{Channel, Priority};
use crate::store::rows::Claim;

pub(super) async fn run(corridor: Arc<Corridor>) {
    loop {
        let busy = round(&corridor).await;
        if corridor.stopping.is_cancelled() {
            return;
        }
        if busy {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(corridor.config.worker.poll) => {}
            () = corridor.stopping.cancelled() => return,
        }
    }
}

/// One look at every queue of the ledger; whether anything was found.
async fn round(corridor: &Corridor) -> bool {
    let mut found = false;
    let channels = Channel::ALL.iter().copied().filter(|c| corridor.lanes.iter().any(|l| l.channel == *c));
    for channel in std::iter::once(None).chain(channels.map(Some)) {
        for priority in Priority::ALL {
            found |= claim(corridor, channel, *priority).await;
        }
    }
    found
}

async fn claim(corridor: &Corridor, channel: Option<Channel>, priority: Priority) -> bool {
    let room = room(corridor, channel, priority);
    if room == 0 || corridor.stopping.is_cancelled() {
        return false;
    }
    let ask = Claim {
        worker: corridor.worker,
        channel,
        priority,
        room: u32::try_from(room).unwrap_or(u32::MAX).min(corridor.config.worker.batch),
    };
    let asked = Instant::now();
    match corridor.store.claim(&ask).await {
        Ok(claimed) => {
            corridor.clock.read(asked, Instant::now(), claimed.now);
            let found = !claimed.messages.is_empty();
            let messages = claimed
                .messages
                .into_iter()
                .map(|m| Handover { facts: m.facts, body: m.body, work: m.work, asked })
                .collect();
            corridor.take(messages).await;
            found
        }
        Err(error) => {
            tracing::warn!(%error, "due messages could not be claimed");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            false
        }
    }
}

/// What this process and the lanes of the channel can take. Bulk leaves a tenth of the room to the normal class.
fn room(corridor: &Corridor, channel: Option<Channel>, priority: Priority) -> usize {
    let free = corridor.room.available_permits();
    let hands = match priority {
        Priority::Urgent => corridor.urgent_room.available_permits().max(free),
        Priority::Normal => free,
        Priority::Bulk => free.saturating_sub(super::IN_HAND / 10),
    };
    let lanes = match channel {
        None => hands,
        Some(channel) => corridor.lanes.iter().filter(|l| l.channel == channel).map(|l| l.queue.room()).sum(),
    };
    hands.min(lanes)
}
