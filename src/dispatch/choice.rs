//! Which provider carries a message.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lane::Lane;
use super::{Corridor, Planned, render};
use crate::domain::ids::ProviderName;
use crate::domain::words::PhiClass;
use crate::store::rows::Hold;

/// Who is to carry a plan.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    Lane(&'a Arc<Lane>),
    /// Every provider that could is left alone; one may be probed after so long.
    Later(Duration),
    /// The day's share of whoever could carry it is used up until then.
    Closed(Instant),
    /// Every provider that could is held; this is the hold of the one that it would go by.
    Held {
        by: &'a Hold,
        /// Another one could carry it, were it released.
        one_of_several: bool,
    },
    /// There is no such provider.
    Nobody,
}

/// The lane for a plan: a provider by weight, always the same for the same address as long as all are well, and the
/// lane of its sender. One that is held, left alone or closed for the day gets nothing, one that has just come back a part
/// of what is its own, and one that is being probed a few; one whose lane is full is passed over if another has room. What
/// has failed by the `last` one, or by one that asked for time, goes by another where there is one.
pub(super) fn choose<'a>(
    corridor: &'a Corridor,
    planned: &mut Planned,
    last: Option<&ProviderName>,
    holds: &'a [Hold],
) -> Choice<'a> {
    let mark = render::mark(&planned.route.address);
    let (mut lanes, mut held, mut used_up) = (Vec::new(), Vec::new(), Vec::new());
    for lane in by_weight(carriers(corridor, planned), mark) {
        match (stop(holds, planned, lane), lane.gate.closed_until()) {
            (Some(hold), _) => held.push(hold),
            (None, Some(until)) => used_up.push(until),
            (None, None) => lanes.push(lane),
        }
    }
    let last = last.filter(|_| planned.hand.work.tries > 0);
    let begun = planned.hand.work.status.rank() > Some(0);
    let failed = |lane: &Lane| last == Some(lane.provider.name()) || (begun && lane.guard.is_set_aside());
    lanes.sort_by_cached_key(|lane| failed(lane));
    let Some(own) = lanes.first() else {
        if let Some(until) = used_up.into_iter().min() {
            return Choice::Closed(until);
        }
        let one_of_several = held.len() > 1;
        return held.first().copied().map_or(Choice::Nobody, |by| Choice::Held { by, one_of_several });
    };
    let priority = planned.hand.facts.priority;
    let has_room = |lane: &Lane| lane.has_room(priority);
    if has_room(own)
        && let Some(probe) = own.guard.probe()
    {
        planned.probe = Some(probe);
        return Choice::Lane(own);
    }
    // The more of its share is back, the more of its own it gets.
    let ready = |lane: &Lane| !failed(lane) && u64::from(lane.guard.share()) > (mark >> 32) % 100;
    let closed = |lane: &Lane| lane.guard.share() > 0;
    let choices: [&dyn Fn(&Lane) -> bool; 4] =
        [&|lane| ready(lane) && has_room(lane), &|lane| closed(lane) && has_room(lane), &ready, &closed];
    let found = choices.iter().find_map(|fits| lanes.iter().find(|lane| fits(lane)));
    if let Some(lane) = found {
        return Choice::Lane(lane);
    }
    for lane in &lanes {
        if let Some(probe) = lane.guard.probe() {
            planned.probe = Some(probe);
            return Choice::Lane(lane);
        }
    }
    Choice::Later(lanes.iter().map(|lane| lane.guard.cool_down_left()).min().unwrap_or_default())
}

/// The lanes that may carry a plan: of each provider that of the plan's sender.
pub(super) fn carriers<'a>(corridor: &'a Corridor, planned: &Planned) -> Vec<&'a Arc<Lane>> {
    let setting = super::lane::setting(corridor, planned.hand.facts.test, Some(&planned.route.address));
    let bound = planned.hand.work.bound_to.as_ref();
    let fits = |lane: &&Arc<Lane>| {
        let same = lane.channel == planned.route.channel && lane.setting == setting;
        let may_see = lane.baa || planned.class == PhiClass::Minimal;
        same && may_see && bound.is_none_or(|provider| provider == lane.provider.name())
    };
    let mut firsts: Vec<&Arc<Lane>> = Vec::new();
    for lane in corridor.lanes.iter().filter(fits) {
        if !firsts.iter().any(|f| f.provider.name() == lane.provider.name()) {
            firsts.push(lane);
        }
    }
    firsts.into_iter().map(|first| of_sender(corridor, planned, first)).collect()
}

/// The hold that keeps the lane from carrying it.
fn stop<'a>(holds: &'a [Hold], planned: &Planned, lane: &Lane) -> Option<&'a Hold> {
    let provider = Some(lane.provider.name());
    holds.iter().find(|hold| hold.covers(&planned.hand.facts, Some(lane.channel), provider))
}

/// All of them, drawn by their weights; `mark` decides, so that the same one comes first every time.
fn by_weight(mut lanes: Vec<&Arc<Lane>>, mark: u64) -> Vec<&Arc<Lane>> {
    let mut drawn = Vec::with_capacity(lanes.len());
    while !lanes.is_empty() {
        let total: u64 = lanes.iter().map(|lane| u64::from(lane.weight)).sum();
        let mut ticket = mark.checked_rem(total).unwrap_or_default();
        let hit = lanes.iter().position(|lane| {
            let weight = u64::from(lane.weight);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        });
        drawn.push(lanes.remove(hit.unwrap_or_default()));
    }
    drawn
}

/// The provider's lane for the sender of this plan.
fn of_sender<'a>(corridor: &'a Corridor, planned: &Planned, first: &'a Arc<Lane>) -> &'a Arc<Lane> {
    if first.sender.is_none() {
        return first;
    }
    let sender = render::sender(corridor, planned, &first.senders).map(|s| s.address);
    let same = |lane: &&Arc<Lane>| lane.provider.name() == first.provider.name() && lane.sender == sender;
    corridor.lanes.iter().find(same).unwrap_or(first)
}
