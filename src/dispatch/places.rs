//! How much this process holds at once. A place is reserved before the ledger is asked to lease a message, so that
//! nothing is leased that would have to be given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::words::Priority;

/// Messages that one process holds at once, over all stages. What does not fit waits in the ledger.
pub(super) const IN_HAND: usize = 6_000;
/// Of these, kept free for urgent ones.
const URGENT: usize = 500;

/// The place of one message; free again when dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// All places.
#[derive(Debug)]
pub(super) struct Room {
    normal: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    /// Those that have been sent, and wait until that stands in the ledger.
    answered: AtomicUsize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            normal: Arc::new(Semaphore::new(IN_HAND - URGENT)),
            urgent: Arc::new(Semaphore::new(URGENT)),
            answered: AtomicUsize::new(0),
        }
    }

    /// One has been sent.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// So many of those stand in the ledger.
    pub(super) fn settled(&self, many: usize) {
        self.answered.fetch_sub(many, Ordering::Relaxed);
    }

    /// How many places are free for messages that are not urgent.
    pub(super) fn free(&self) -> usize {
        self.normal.available_permits()
    }

    /// How many of those are taken by what has not been sent.
    pub(super) fn unanswered(&self) -> usize {
        (IN_HAND - URGENT).saturating_sub(self.free()).saturating_sub(self.answered.load(Ordering::Relaxed))
    }

    /// How many are free for urgent ones.
    pub(super) fn free_for_urgent(&self) -> usize {
        self.urgent.available_permits().saturating_add(self.free())
    }

    /// Waits until nothing is in hand.
    pub(super) async fn all_free(&self) {
        let all = |places: usize| u32::try_from(places).unwrap_or(u32::MAX);
        let (normal, urgent) = (all(IN_HAND - URGENT), all(URGENT));
        // They are never closed. One after the other: of two who wait none has what the other waits for.
        let _normal = self.normal.acquire_many(normal).await;
        let _urgent = self.urgent.acquire_many(urgent).await;
    }

    /// Up to so many places, as far as they are free now.
    pub(super) fn reserve(&self, urgent: usize, others: usize) -> Places {
        let kept = at_most(&self.urgent, urgent);
        let missing = urgent.saturating_sub(held(kept.as_ref()));
        Places { urgent: kept, normal: at_most(&self.normal, missing.saturating_add(others)) }
    }
}

/// Places that were reserved and are given out one by one.
#[derive(Debug)]
pub struct Places {
    urgent: Option<Place>,
    normal: Option<Place>,
}

impl Places {
    /// How many messages find a place here.
    #[must_use]
    pub fn count(&self) -> usize {
        held(self.urgent.as_ref()) + held(self.normal.as_ref())
    }

    /// A place for one message.
    pub(super) fn give(&mut self, priority: Priority) -> Option<Place> {
        let one = |from: &mut Option<Place>| from.as_mut().and_then(|places| places.split(1));
        let kept = if priority == Priority::Urgent { one(&mut self.urgent) } else { None };
        kept.or_else(|| one(&mut self.normal))
    }
}

fn held(places: Option<&Place>) -> usize {
    places.map_or(0, Place::num_permits)
}

/// Whatever is free, up to so many.
fn at_most(places: &Arc<Semaphore>, want: usize) -> Option<Place> {
    let mut want = want.min(places.available_permits());
    while want > 0 {
        let many = u32::try_from(want).unwrap_or(u32::MAX);
        if let Ok(taken) = places.clone().try_acquire_many_owned(many) {
            return Some(taken);
        }
        want = want.saturating_sub(1).min(places.available_permits());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_messages_have_places_of_their_own_and_may_take_the_others_too() {
        let room = Room::new();
        let mut places = room.reserve(URGENT + 1, 2);
        assert_eq!(places.count(), URGENT + 3);
        assert_eq!(room.free(), IN_HAND - URGENT - 3);
        let kept: Vec<Place> = (0..=URGENT).map_while(|_| places.give(Priority::Urgent)).collect();
        assert_eq!(kept.len(), URGENT + 1);
        assert!(places.give(Priority::Bulk).is_some() && places.give(Priority::Normal).is_some());
        assert!(places.give(Priority::Urgent).is_none());
        drop((kept, places));
        assert_eq!(room.free_for_urgent(), IN_HAND);
    }

    #[test]
    fn others_never_take_what_is_kept_for_urgent_ones() {
        let room = Room::new();
        let all = room.reserve(0, 2 * IN_HAND);
        assert_eq!((all.count(), room.free(), room.free_for_urgent()), (IN_HAND - URGENT, 0, URGENT));
    }

    #[test]
    fn what_has_been_sent_keeps_its_place_and_is_no_more_to_be_decided_upon() {
        let room = Room::new();
        let all = room.reserve(0, 10);
        (0..4).for_each(|_| room.answered());
        assert_eq!((room.free(), room.unanswered()), (IN_HAND - URGENT - 10, 6));
        drop(all);
        room.settled(4);
        assert_eq!((room.free(), room.unanswered()), (IN_HAND - URGENT, 0));
    }
}
