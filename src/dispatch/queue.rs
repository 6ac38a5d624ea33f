//! What waits in front of one provider: bounded, the urgent first, and none starved.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::domain::words::Priority;

/// One in so many goes to a lower class, however much urgent work there is.
pub(super) const SHARE: u32 = 10;

/// Whom somebody takes from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Each class in its turn.
    All,
    /// What is urgent, and nothing else: it never waits until somebody has done with others.
    Urgent,
    /// What is not urgent.
    Others,
}

/// A bounded queue of three classes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Notify,
    filled_with_urgent: Notify,
    capacity: AtomicUsize,
}

#[derive(Debug)]
struct Inner<T> {
    classes: [VecDeque<T>; 3],
    taken: u32,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let classes = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        let inner = Inner { classes, taken: 0, closed: false };
        let capacity = AtomicUsize::new(capacity);
        Self { inner: Mutex::new(inner), filled: Notify::new(), filled_with_urgent: Notify::new(), capacity }
    }

    /// Adds one, or gives it back when the queue is full or closed. A tenth of the room is kept for urgent ones, and a
    /// quarter from them: others would find none while more is urgent than goes out.
    pub(super) fn offer(&self, priority: Priority, item: T) -> Result<(), T> {
        let mut inner = self.lock();
        if inner.closed || self.room_in(&inner, priority) == 0 {
            return Err(item);
        }
        if let Some(class) = inner.classes.get_mut(priority as usize) {
            class.push_back(item);
        }
        drop(inner);
        self.filled.notify_one();
        if priority == Priority::Urgent {
            self.filled_with_urgent.notify_one();
        }
        Ok(())
    }

    /// Waits until something is there for `whom`; answers how many are to be taken together, and of whom. What is urgent is
    /// left to somebody of its own, who takes it without company, but where that is `crowded`: then each class has its turn.
    pub(super) async fn wait(&self, whom: Whom, crowded: impl Fn() -> bool) -> (usize, Whom) {
        let filled = match whom {
            Whom::All | Whom::Others => &self.filled,
            Whom::Urgent => &self.filled_with_urgent,
        };
        loop {
            let filled = filled.notified();
            {
                let inner = self.lock();
                let urgent = inner.urgent();
                let others = inner.len() - urgent;
                match whom {
                    Whom::Urgent if urgent > 0 => return (urgent, whom),
                    Whom::All if urgent > 0 && crowded() => {
                        return (urgent + others.min(urgent / SHARE as usize + 1), whom);
                    }
                    Whom::All | Whom::Others if others > 0 => return (others, Whom::Others),
                    _ => {}
                }
            }
            filled.await;
        }
    }

    /// Whoever waits looks again: what is urgent has become crowded.
    pub(super) fn look_again(&self) {
        self.filled.notify_one();
    }

    /// The next one, by class and age.
    pub(super) fn take(&self, whom: Whom) -> Option<T> {
        let mut inner = self.lock();
        // Whoever takes nothing but urgent ones uses up nobody's turn.
        if whom != Whom::Urgent {
            inner.taken = inner.taken.wrapping_add(1);
        }
        let turn = (inner.taken.is_multiple_of(SHARE), inner.taken.is_multiple_of(2 * SHARE));
        let order: &[usize] = match (whom, turn) {
            (Whom::Urgent, _) => &[0],
            (Whom::Others, (true, _)) => &[2, 1],
            (Whom::Others, _) => &[1, 2],
            (Whom::All, (true, true)) => &[2, 1, 0],
            (Whom::All, (true, false)) => &[1, 2, 0],
            (Whom::All, (false, _)) => &[0, 1, 2],
        };
        order.iter().find_map(|class| inner.classes.get_mut(*class).and_then(VecDeque::pop_front))
    }

    /// Those of which `is` holds, for handing back.
    pub(super) fn take_all(&self, is: impl Fn(&T) -> bool) -> Vec<T> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        for class in &mut inner.classes {
            let (gone, stays): (VecDeque<T>, VecDeque<T>) = class.drain(..).partition(&is);
            *class = stays;
            taken.extend(gone);
        }
        taken
    }

    /// Everything, for handing back.
    pub(super) fn drain(&self) -> Vec<T> {
        self.take_all(|_| true)
    }

    /// The same; nothing is added any more.
    pub(super) fn close(&self) -> Vec<T> {
        self.lock().closed = true;
        self.drain()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many find room in all.
    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// From now on so many find room; who waits here already stays.
    pub(super) fn resize(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// How many more of a class find room.
    pub(super) fn room(&self, priority: Priority) -> usize {
        self.room_in(&self.lock(), priority)
    }

    /// The same for what has just come. A quarter of the room, and an eighth of the queue for urgent ones, is for what the
    /// ledger has kept: one source that sends more than goes out would fill it for as long as it sends.
    pub(super) fn room_for_fresh(&self, priority: Priority) -> usize {
        match priority {
            Priority::Urgent => self.room(priority).saturating_sub(self.capacity() / 8),
            _ => (self.capacity() * 3 / 4).max(1).saturating_sub(self.len()),
        }
    }

    fn room_in(&self, inner: &Inner<T>, priority: Priority) -> usize {
        let capacity = self.capacity();
        let free = |limit: usize| limit.saturating_sub(inner.len());
        if priority != Priority::Urgent {
            return free(capacity);
        }
        let most = (capacity - capacity.div_ceil(4)).max(1);
        free(capacity + capacity / 10 + 1).min(most.saturating_sub(inner.urgent()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }

    fn urgent(&self) -> usize {
        self.classes.first().map_or(0, VecDeque::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_first_and_a_tenth_for_the_others() {
        let queue = Queue::new(1000);
        for n in 0..100 {
            queue.offer(Priority::Urgent, (0, n)).unwrap();
            queue.offer(Priority::Bulk, (2, n)).unwrap();
        }
        let first: Vec<(i32, i32)> = (0..50).filter_map(|_| queue.take(Whom::All)).collect();
        assert_eq!(first.iter().filter(|(class, _)| *class == 2).count(), 5);
        assert_eq!(first[0], (0, 0));
    }

    #[test]
    fn what_has_just_come_leaves_room_in_each_class_to_what_was_kept() {
        for class in [Priority::Urgent, Priority::Normal, Priority::Bulk] {
            let queue = Queue::new(80);
            let mut fresh = 0;
            while queue.room_for_fresh(class) > 0 {
                queue.offer(class, fresh).unwrap();
                fresh += 1;
            }
            let kept = queue.room(class);
            assert_eq!(
                (fresh, kept),
                if class == Priority::Urgent { (50, 10) } else { (60, 20) },
                "{class:?}"
            );
        }
        assert_eq!(
            Queue::<()>::new(1).room_for_fresh(Priority::Urgent),
            1,
            "a lane of one is for whoever comes"
        );
    }

    #[tokio::test]
    async fn who_is_urgent_is_left_to_somebody_of_their_own_until_it_is_crowded() {
        let queue = Queue::new(1000);
        let patience = std::time::Duration::from_millis(20);
        let (free, crowded) = (|| false, || true);
        for n in 200..220 {
            queue.offer(Priority::Urgent, n).unwrap();
        }
        assert!(tokio::time::timeout(patience, queue.wait(Whom::All, free)).await.is_err());
        let looks_again = async {
            queue.look_again();
            queue.wait(Whom::All, crowded).await
        };
        assert_eq!(tokio::time::timeout(patience, looks_again).await.unwrap(), (20, Whom::All));
        for n in 0..100 {
            queue.offer(Priority::Bulk, n).unwrap();
        }
        assert_eq!(queue.wait(Whom::All, free).await, (100, Whom::Others));
        assert_eq!(queue.take(Whom::Others), Some(0), "a turn that began without them goes on without them");
        assert_eq!(queue.wait(Whom::All, crowded).await, (23, Whom::All));
        assert_eq!(queue.wait(Whom::Urgent, free).await, (20, Whom::Urgent));
        let all: Vec<i32> = std::iter::from_fn(|| queue.take(Whom::Urgent)).collect();
        assert_eq!(all, (200..220).collect::<Vec<_>>());
        assert_eq!(queue.take(Whom::Urgent), None);
        assert!(tokio::time::timeout(patience, queue.wait(Whom::Urgent, crowded)).await.is_err());
        assert_eq!(queue.wait(Whom::All, crowded).await, (99, Whom::Others));
    }

    #[test]
    fn of_those_who_can_wait_a_tenth_is_bulk() {
        let queue = Queue::new(1000);
        for n in 0..100 {
            queue.offer(Priority::Urgent, (0, n)).unwrap();
            queue.offer(Priority::Normal, (1, n)).unwrap();
            queue.offer(Priority::Bulk, (2, n)).unwrap();
        }
        let first: Vec<i32> =
            (0..50).filter_map(|_| queue.take(Whom::Others)).map(|(class, _)| class).collect();
        let of = |class| first.iter().filter(|one| **one == class).count();
        assert_eq!([of(0), of(1), of(2)], [0, 45, 5]);
    }

    #[test]
    fn a_full_queue_still_takes_an_urgent_one() {
        let queue = Queue::new(2);
        queue.offer(Priority::Normal, 1).unwrap();
        queue.offer(Priority::Normal, 2).unwrap();
        assert_eq!(queue.offer(Priority::Normal, 3), Err(3));
        assert_eq!((queue.room(Priority::Normal), queue.room(Priority::Urgent)), (0, 1));
        queue.offer(Priority::Urgent, 4).unwrap();
        assert_eq!(queue.take(Whom::All), Some(4));
        assert_eq!(queue.close(), [1, 2]);
        assert_eq!(queue.offer(Priority::Urgent, 5), Err(5));
    }

    #[test]
    fn who_waits_stays_where_there_is_less_room_than_before() {
        let queue = Queue::new(4);
        for n in 0..4 {
            queue.offer(Priority::Normal, n).unwrap();
        }
        queue.resize(2);
        assert_eq!((queue.room(Priority::Normal), queue.room(Priority::Urgent)), (0, 0));
        assert_eq!((queue.room_for_fresh(Priority::Normal), queue.offer(Priority::Normal, 4)), (0, Err(4)));
        assert_eq!(std::iter::from_fn(|| queue.take(Whom::All)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(queue.room(Priority::Normal), 2);
        queue.resize(4);
        assert_eq!(queue.room(Priority::Normal), 4);
    }

    #[test]
    fn however_much_is_urgent_others_find_room() {
        for (capacity, most) in [(1, 1), (2, 1), (4, 3), (1000, 750)] {
            let queue = Queue::new(capacity);
            let taken = (0..2 * capacity).filter(|n| queue.offer(Priority::Urgent, *n).is_ok()).count();
            assert_eq!(taken, most, "of {capacity}");
            assert_eq!((queue.room(Priority::Urgent), queue.room(Priority::Bulk)), (0, capacity - most));
        }
    }

    proptest::proptest! {
        /// However many urgent ones are taken in between, and whatever comes: whoever waits at the head of a class is served
        /// within two rounds, and each class in the order in which it came.
        #[test]
        fn nobody_waits_forever(
            crowded in proptest::bool::ANY,
            takes in proptest::collection::vec((0_usize..12, proptest::bool::ANY), 1..120),
        ) {
            let queue = Queue::new(10_000);
            let whom = if crowded { Whom::All } else { Whom::Others };
            let classes = [Priority::Urgent, Priority::Normal, Priority::Bulk];
            let (mut came, mut served, mut passed) = ([0; 3], [0; 3], [0; 3]);
            for (urgent, more) in takes {
                // There is always something of each.
                for class in classes {
                    let n = class as usize;
                    let many = if more || came[n] < served[n] + 14 { 14 } else { 0 };
                    for _ in 0..many {
                        queue.offer(class, (n, came[n])).unwrap();
                        came[n] += 1;
                    }
                }
                for _ in 0..urgent {
                    let (class, number) = queue.take(Whom::Urgent).unwrap();
                    proptest::prop_assert_eq!((class, number), (0, served[0]));
                    served[0] += 1;
                }
                let (class, number) = queue.take(whom).unwrap();
                proptest::prop_assert_eq!(number, served[class]);
                served[class] += 1;
                for (other, times) in passed.iter_mut().enumerate().skip(usize::from(!crowded)) {
                    *times = if other == class { 0 } else { *times + 1 };
                    proptest::prop_assert!(*times < 2 * SHARE, "class {} was passed over {} times", other, times);
                }
            }
        }
    }
}
