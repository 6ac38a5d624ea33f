//! Due messages are claimed from the ledger, as much as finds room: urgent first, and at least a tenth for the others.
//! What can go nowhere, because no provider of its channel can be used, stays where it is: a backlog of any size costs
//! a look at one batch now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::Setting;
use super::{Corridor, Handover, failover};
use crate::domain::words::{Channel, Priority};
use crate::store::rows::Claim;

/// A channel that is out is looked at so often, one batch of each class, for what has run out of time meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut looked = HashMap::new();
    loop {
        let busy = round(&corridor, &mut looked).await;
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
async fn round(corridor: &Corridor, looked: &mut HashMap<Channel, Instant>) -> bool {
    let mut found = false;
    let channels = Channel::ALL.iter().copied().filter(|c| corridor.lanes.iter().any(|l| l.channel == *c));
    for channel in std::iter::once(None).chain(channels.map(Some)) {
        let looks = channel.is_some_and(|channel| is_looked_at(corridor, channel, looked));
        for priority in Priority::ALL {
            let lanes = channel.filter(|_| !looks);
            let room = room(corridor, lanes, *priority);
            found |= claim(corridor, channel, *priority, room).await;
        }
    }
    found
}

fn is_looked_at(corridor: &Corridor, channel: Channel, looked: &mut HashMap<Channel, Instant>) -> bool {
    let now = Instant::now();
    let due = failover::is_out(corridor, channel)
        && looked.get(&channel).is_none_or(|last| now.saturating_duration_since(*last) >= LOOK_EVERY);
    if due {
        looked.insert(channel, now);
    }
    due
}

async fn claim(corridor: &Corridor, channel: Option<Channel>, priority: Priority, room: usize) -> bool {
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

/// What this process can take, and the lanes of the channel, where one is named. Bulk leaves a tenth of the room to the
/// normal class.
fn room(corridor: &Corridor, lanes: Option<Channel>, priority: Priority) -> usize {
    let free = corridor.room.available_permits();
    let hands = match priority {
        Priority::Urgent => corridor.urgent_room.available_permits().max(free),
        Priority::Normal => free,
        Priority::Bulk => free.saturating_sub(super::IN_HAND / 10),
    };
    lanes.map_or(hands, |channel| hands.min(lane_room(corridor, channel)))
}

/// What finds room whatever it is: the ledger does not tell test jobs from others, and what is claimed for a lane that
/// has no room would be given back at once, and claimed again.
fn lane_room(corridor: &Corridor, channel: Channel) -> usize {
    let of = |setting: Setting| {
        let mut lanes =
            corridor.lanes.iter().filter(|l| l.channel == channel && l.setting == setting).peekable();
        lanes.peek().is_some().then(|| lanes.map(|lane| lane.room()).sum::<usize>())
    };
    [Setting::Live, Setting::Test, Setting::Capture].into_iter().filter_map(of).min().unwrap_or_default()
}
