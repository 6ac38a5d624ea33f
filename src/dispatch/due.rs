//! Due messages are claimed from the ledger, as much as finds room: urgent first, and at least a tenth for the others.
//! What can go nowhere, because no provider of its channel can be used, stays where it is: a backlog of any size costs
//! a look at one batch now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lane::{Lane, Setting};
use super::queue::SHARE;
use super::{Corridor, Handover, failover};
use crate::domain::words::{Channel, Priority, SafetyMode};
use crate::store::pulse::OldestDue;
use crate::store::rows::Claim;

/// A channel that is out is looked at so often, one batch of each class, for what has run out of time meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Of what was never planned some are looked at so often, though the lanes in demand are full: they may go by another
/// channel, or nowhere.
const SORT_EVERY: Duration = Duration::from_millis(500);

/// A queue of the ledger: a channel (`None`: never planned) and a class.
type Line = (Option<Channel>, Priority);

/// Where nothing was found it is not looked again at once.
#[derive(Default)]
struct Looks {
    /// Lines that were empty, and when they are looked at again.
    empty_until: HashMap<Line, Instant>,
    /// Channels that are out, and when they were looked at.
    out: HashMap<Channel, Instant>,
    /// When what was never planned was looked at, by class.
    sorted: HashMap<Priority, Instant>,
    /// How often something that can wait was found, by channel.
    found: HashMap<Option<Channel>, u32>,
}

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut looks = Looks::default();
    loop {
        let busy = round(&corridor, &mut looks).await;
        if corridor.stopping.is_cancelled() {
            return;
        }
        if busy {
            continue;
        }
        tokio::select! {
            // What has just come was never planned.
            () = corridor.due.notified() => looks.empty_until.retain(|(channel, _), _| channel.is_some()),
            () = corridor.freed.notified() => {}
            () = tokio::time::sleep(corridor.config.worker.poll) => {}
            () = corridor.stopping.cancelled() => return,
        }
    }
}

/// One look at every line that may hold something; whether anything was found.
async fn round(corridor: &Corridor, looks: &mut Looks) -> bool {
    look_again(corridor, &mut looks.empty_until).await;
    let mut found = false;
    let channels = Channel::ALL.iter().copied().filter(|c| corridor.lanes.iter().any(|l| l.channel == *c));
    for channel in std::iter::once(None).chain(channels.map(Some)) {
        let out = channel.is_some_and(|channel| is_looked_at(corridor, channel, &mut looks.out));
        for priority in order(looks.found.get(&channel).copied().unwrap_or_default()) {
            let line = (channel, priority);
            if looks.empty_until.get(&line).is_some_and(|until| *until > Instant::now()) {
                continue;
            }
            let least = least(corridor, channel, priority);
            let mut room = room(corridor, channel.filter(|_| !out), priority);
            let unplanned = channel.is_none() && priority != Priority::Urgent;
            if unplanned {
                let due = looks.sorted.get(&priority).is_none_or(|last| last.elapsed() >= SORT_EVERY);
                let sorts = if due { room.min(least) } else { 0 };
                room = corridor.of_use(room).max(sorts);
            }
            if room < least {
                continue;
            }
            if unplanned {
                looks.sorted.insert(priority, Instant::now());
            }
            if claim(corridor, line, room).await {
                found = true;
                if priority != Priority::Urgent {
                    let finds = looks.found.entry(channel).or_default();
                    *finds = finds.wrapping_add(1);
                }
            } else {
                looks.empty_until.insert(line, Instant::now() + corridor.config.worker.poll);
            }
        }
    }
    found
}

/// In which order the classes are looked at after so many finds: once in [`SHARE`] whoever can wait goes first, as a class
/// with more than there is room for would take all of it.
fn order(found: u32) -> [Priority; 3] {
    let mut order = [Priority::Urgent, Priority::Normal, Priority::Bulk];
    if found % SHARE == SHARE - 1 {
        order.reverse();
    }
    order
}

/// Lines that were empty are asked about together: one question in place of a claim for each of them.
async fn look_again(corridor: &Corridor, empty_until: &mut HashMap<Line, Instant>) {
    let now = Instant::now();
    let turn: Vec<Line> =
        empty_until.iter().filter(|(_, until)| **until <= now).map(|(line, _)| *line).collect();
    if turn.len() < 2 {
        return;
    }
    // Where nobody answers, the claims will tell.
    let Ok(due) = corridor.store.oldest_due().await else { return };
    for line in turn {
        let holds =
            |of: &OldestDue| of.channel == line.0.map_or("", Channel::as_str) && of.priority == line.1;
        if due.iter().any(holds) {
            empty_until.remove(&line);
        } else {
            empty_until.insert(line, Instant::now() + corridor.config.worker.poll);
        }
    }
}

/// Fewer than this are not worth a statement: more will find room in a moment. What is urgent waits for no company.
fn least(corridor: &Corridor, channel: Option<Channel>, priority: Priority) -> usize {
    let batch = corridor.config.worker.batch();
    let whole = channel.map_or(batch, |channel| lanes_sum(corridor, channel, Lane::whole));
    if priority == Priority::Urgent { 1 } else { (whole.min(batch) / 4).max(1) }
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

async fn claim(corridor: &Corridor, (channel, priority): Line, room: usize) -> bool {
    if room == 0 || corridor.stopping.is_cancelled() {
        return false;
    }
    let room = room.min(corridor.config.worker.batch());
    let places = match priority {
        Priority::Urgent => corridor.room.reserve(room, 0),
        Priority::Normal | Priority::Bulk => corridor.room.reserve(0, room),
    };
    let room = u32::try_from(places.count()).unwrap_or(u32::MAX);
    let ask = Claim { worker: corridor.worker, channel, priority, room };
    let asked = Instant::now();
    match corridor.store.claim(&ask).await {
        Ok(claimed) => {
            corridor.clock.read(asked, Instant::now(), claimed.now);
            let found = !claimed.messages.is_empty();
            crate::faults::fault_point!("claimed", found);
            let messages = claimed.messages.into_iter();
            let messages = messages.map(|message| Handover::claimed(message, asked, channel)).collect();
            corridor.take(messages, places).await;
            found
        }
        Err(error) => {
            tracing::warn!(%error, "due messages could not be claimed");
            tokio::time::sleep(Duration::from_millis(500)).await;
            false
        }
    }
}

/// What this process can take, and the lanes of the channel, where one is named. Bulk leaves a tenth of the room to the
/// normal class; what is urgent waits neither for the room of others nor for what is still to be decided.
fn room(corridor: &Corridor, lanes: Option<Channel>, priority: Priority) -> usize {
    let free = corridor.room.free();
    let hands = match priority {
        Priority::Urgent => corridor.room.free_for_urgent(),
        Priority::Normal => free,
        Priority::Bulk => free.saturating_sub(super::IN_HAND / 10),
    };
    let in_lanes = |channel| match priority {
        Priority::Urgent => lanes_sum(corridor, channel, Lane::room_for_urgent),
        Priority::Normal | Priority::Bulk => lane_room(corridor, channel),
    };
    lanes.map_or(hands, |channel| hands.min(in_lanes(channel)))
}

/// What finds room. The ledger does not tell test jobs from others: what is claimed and finds none is given back, and
/// looked at again a moment later.
fn lane_room(corridor: &Corridor, channel: Channel) -> usize {
    let coming = corridor.demand.of(corridor.undecided(), channel);
    lanes_sum(corridor, channel, Lane::room).saturating_sub(coming)
}

/// Over the lanes of a channel that carry what is no test: tests must not hold up what is meant for patients.
pub(super) fn lanes_sum(corridor: &Corridor, channel: Channel, of: impl Fn(&Lane) -> usize) -> usize {
    let setting = match corridor.config.safety.mode {
        SafetyMode::Live | SafetyMode::AllowList => Setting::Live,
        SafetyMode::Capture => Setting::Capture,
    };
    let lanes = |setting: Setting| {
        corridor.lanes.iter().filter(move |l| l.channel == channel && l.setting == setting).peekable()
    };
    let mut real = lanes(setting);
    // A channel that nothing real is set up for may have test jobs all the same.
    if real.peek().is_some() {
        real.map(|lane| of(lane)).sum()
    } else {
        lanes(Setting::Test).map(|lane| of(lane)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_find_in_ten_is_of_whoever_can_wait_longest() {
        let bulk_first = |found: &u32| order(*found)[0] == Priority::Bulk;
        assert_eq!((0..30).filter(bulk_first).collect::<Vec<_>>(), [9, 19, 29]);
        assert_eq!(order(0), [Priority::Urgent, Priority::Normal, Priority::Bulk]);
    }
}
