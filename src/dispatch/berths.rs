//! Places on the wire, and berths for what is written down meanwhile.
//!
//! A provider bears so many requests at once. Were its places given out before the ledger has written what goes, they would
//! stand empty for as long as that takes. So a message takes a berth first, is written down, and takes its place then. There
//! are more berths than places by as many as have left the wire a moment ago: so many places come free in the next moment.
//! One that left by itself does not count, for nothing says when the next one will. A provider that stalls frees none, and
//! soon nothing is begun beyond its places.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The berths of a lane, or of those in it who go first.
#[derive(Debug)]
pub(super) struct Berths {
    /// As many as the provider bears at once.
    places: usize,
    wire: Arc<Semaphore>,
    /// The berths that are free.
    free: Arc<Semaphore>,
    within: Duration,
    flow: Mutex<Flow>,
}

/// What has left the wire lately.
#[derive(Debug, Default)]
struct Flow {
    left: VecDeque<Instant>,
    /// Berths beyond the places.
    ahead: usize,
}

/// Berths of messages that are being written down, are about to leave, or are under way.
#[derive(Debug)]
pub(super) struct Berth {
    berths: Arc<Berths>,
    permit: OwnedSemaphorePermit,
}

impl Berths {
    /// What has left `within` that time makes room for as many, so that a place is waited for about as long.
    pub(super) fn new(places: usize, within: Duration) -> Arc<Self> {
        Arc::new(Self {
            places,
            wire: Arc::new(Semaphore::new(places)),
            free: Arc::new(Semaphore::new(places)),
            within,
            flow: Mutex::default(),
        })
    }

    /// So many berths, once they are free, and as many more as are free then, up to `most` of all.
    pub(super) async fn take(self: &Arc<Self>, least: usize, most: usize) -> Result<Berth, AcquireError> {
        self.trim();
        let many = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut permit = self.free.clone().acquire_many_owned(many(least.min(self.places))).await?;
        let more = most.saturating_sub(permit.num_permits()).min(self.available());
        if let Ok(more) = self.free.clone().try_acquire_many_owned(many(more)) {
            permit.merge(more);
        }
        Ok(Berth { berths: self.clone(), permit })
    }

    /// How many are free.
    pub(super) fn available(&self) -> usize {
        self.free.available_permits()
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        let ahead = self.flow().ahead;
        (self.places + ahead).saturating_sub(self.available())
    }

    /// How many are on the wire.
    pub(super) fn under_way(&self) -> usize {
        self.places.saturating_sub(self.wire.available_permits())
    }

    /// As many berths ahead as have left the wire lately; those that are taken beyond that go when they are given back.
    fn trim(&self) {
        let mut flow = self.flow();
        let want = self.wanted(&mut flow);
        if want > flow.ahead {
            self.free.add_permits(want - flow.ahead);
            flow.ahead = want;
        } else {
            flow.ahead -= self.free.forget_permits(flow.ahead - want);
        }
    }

    /// How many berths there should be ahead.
    fn wanted(&self, flow: &mut Flow) -> usize {
        while flow.left.front().is_some_and(|left| left.elapsed() > self.within) {
            flow.left.pop_front();
        }
        flow.left.len().saturating_sub(1).min(self.places)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Berth {
    /// How many messages it is for.
    pub(super) fn many(&self) -> usize {
        self.permit.num_permits()
    }

    /// So many of them.
    pub(super) fn split(&mut self, many: usize) -> Option<Self> {
        Some(Self { berths: self.berths.clone(), permit: self.permit.split(many)? })
    }

    /// A place on the wire for one message. `None`: none comes free by then.
    pub(super) async fn place(&self, latest: Instant) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout_at(latest, self.berths.wire.clone().acquire_owned()).await.ok()?.ok()
    }

    /// It has left the wire, and gives its place to the next one.
    pub(super) fn leave(self, place: OwnedSemaphorePermit) {
        drop(place);
        self.berths.flow().left.push_back(Instant::now());
        let berths = self.berths.clone();
        self.give_back();
        berths.trim();
    }

    /// It, for one message, found no place: whoever waits for its berth would find none either, where nothing leaves.
    pub(super) fn give_back(self) {
        let mut flow = self.berths.flow();
        if flow.ahead > self.berths.wanted(&mut flow) {
            flow.ahead -= 1;
            self.permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(500);
    const LATER: Duration = Duration::from_millis(700);

    async fn berths(berths: &Arc<Berths>, many: usize) -> Vec<Berth> {
        let mut all = berths.take(1, many).await.unwrap();
        let one = || all.split(1);
        std::iter::from_fn(one).collect()
    }

    #[tokio::test]
    async fn as_many_are_begun_ahead_as_have_left_a_moment_ago() {
        let all = Berths::new(4, WITHIN);
        let mut first = berths(&all, 9).await;
        assert_eq!((first.len(), all.available(), all.under_way()), (4, 0, 0), "nothing has left yet");
        let soon = Instant::now() + LATER;
        for _ in 0..3 {
            let berth = first.pop().unwrap();
            let place = berth.place(soon).await.unwrap();
            assert_eq!(all.under_way(), 1);
            berth.leave(place);
        }
        // Three are free again, and two more are expected to be.
        assert_eq!((all.available(), all.taken()), (5, 1));
        let ahead = berths(&all, 9).await;
        assert_eq!((ahead.len(), all.taken()), (5, 6));
        // None is taken away from who has it; what comes back beyond the places is gone once nothing has left for a while.
        tokio::time::sleep(LATER).await;
        drop(ahead);
        assert_eq!(berths(&all, 9).await.len(), 3);
    }

    #[tokio::test]
    async fn no_more_are_on_the_wire_than_there_are_places_and_nobody_waits_for_one_that_comes_too_late() {
        let all = Berths::new(1, WITHIN);
        for left in [0, 1] {
            assert_eq!(all.available(), 1, "{left} has left by itself: nobody is begun ahead of its place");
            let one = berths(&all, 1).await.pop().unwrap();
            let place = one.place(Instant::now()).await.unwrap();
            one.leave(place);
        }
        let mut two = berths(&all, 2).await;
        assert_eq!((two.len(), all.taken()), (2, 2));
        let (first, second) = (two.pop().unwrap(), two.pop().unwrap());
        let place = first.place(Instant::now()).await.unwrap();
        let asked = Instant::now();
        assert!(second.place(asked + LATER).await.is_none());
        assert!(asked.elapsed() >= LATER);
        // Nobody waits for its berth in vain: nothing has left for a while.
        let next = tokio::spawn({
            let all = all.clone();
            async move { all.take(1, 9).await.unwrap() }
        });
        tokio::task::yield_now().await;
        second.give_back();
        tokio::task::yield_now().await;
        assert!(!next.is_finished() && all.taken() == 1);
        first.leave(place);
        let next = next.await.unwrap();
        assert!(next.place(Instant::now() + LATER).await.is_some());
    }
}
