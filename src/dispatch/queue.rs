//! What waits in front of one provider: bounded, the urgent first, and none starved.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::domain::words::Priority;

/// One in so many goes to a lower class, however much urgent work there is.
const SHARE: u32 = 10;

/// Whom somebody takes from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Each class in its turn.
    All,
    /// What is urgent, and nothing else: it never waits until somebody has done with others.
    Urgent,
}

/// A bounded queue of three classes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Notify,
    filled_with_urgent: Notify,
    capacity: usize,
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
        Self { inner: Mutex::new(inner), filled: Notify::new(), filled_with_urgent: Notify::new(), capacity }
    }

    /// Adds one, or gives it back when the queue is full or closed. A tenth of the room is kept for urgent ones.
    pub(super) fn offer(&self, priority: Priority, item: T) -> Result<(), T> {
        let mut inner = self.lock();
        let limit =
            if priority == Priority::Urgent { self.capacity + self.capacity / 10 + 1 } else { self.capacity };
        if inner.closed || inner.len() >= limit {
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

    /// Waits until something is there for `whom`; answers how many are to be taken together, and whether any is urgent.
    /// Who is urgent waits for no company but the share of the lower classes.
    pub(super) async fn wait(&self, whom: Whom) -> (usize, bool) {
        let filled = match whom {
            Whom::All => &self.filled,
            Whom::Urgent => &self.filled_with_urgent,
        };
        loop {
            let filled = filled.notified();
            {
                let inner = self.lock();
                let urgent = inner.classes.first().map_or(0, VecDeque::len);
                match whom {
                    Whom::Urgent if urgent > 0 => return (urgent, true),
                    Whom::All if urgent > 0 => {
                        return (inner.len().min(urgent + urgent / SHARE as usize + 1), true);
                    }
                    Whom::All if inner.len() > 0 => return (inner.len(), false),
                    _ => {}
                }
            }
            filled.await;
        }
    }

    /// The next one, by class and age.
    pub(super) fn take(&self, whom: Whom) -> Option<T> {
        let mut inner = self.lock();
        if whom == Whom::Urgent {
            return inner.classes.first_mut().and_then(VecDeque::pop_front);
        }
        inner.taken = inner.taken.wrapping_add(1);
        let lower_first = inner.taken.is_multiple_of(SHARE);
        let order: [usize; 3] = match (lower_first, inner.taken.is_multiple_of(2 * SHARE)) {
            (true, true) => [2, 1, 0],
            (true, false) => [1, 2, 0],
            (false, _) => [0, 1, 2],
        };
        order.into_iter().find_map(|class| inner.classes.get_mut(class).and_then(VecDeque::pop_front))
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
        self.capacity
    }

    /// How many more find room.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.len())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
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

    #[tokio::test]
    async fn who_is_urgent_is_taken_with_little_company_and_by_somebody_of_their_own() {
        let queue = Queue::new(1000);
        for n in 0..100 {
            queue.offer(Priority::Bulk, n).unwrap();
        }
        assert_eq!(queue.wait(Whom::All).await, (100, false));
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), queue.wait(Whom::Urgent));
        assert!(waits.await.is_err(), "nobody is urgent");
        assert_eq!(queue.take(Whom::Urgent), None);
        for n in 200..220 {
            queue.offer(Priority::Urgent, n).unwrap();
        }
        assert_eq!(queue.wait(Whom::All).await, (23, true));
        assert_eq!(queue.wait(Whom::Urgent).await, (20, true));
        let all: Vec<i32> = std::iter::from_fn(|| queue.take(Whom::Urgent)).collect();
        assert_eq!(all, (200..220).collect::<Vec<_>>());
        assert_eq!(queue.wait(Whom::All).await, (100, false));
    }

    #[test]
    fn a_full_queue_still_takes_an_urgent_one() {
        let queue = Queue::new(2);
        queue.offer(Priority::Normal, 1).unwrap();
        queue.offer(Priority::Normal, 2).unwrap();
        assert_eq!(queue.offer(Priority::Normal, 3), Err(3));
        queue.offer(Priority::Urgent, 4).unwrap();
        assert_eq!(queue.take(Whom::All), Some(4));
        assert_eq!(queue.close(), [1, 2]);
        assert_eq!(queue.offer(Priority::Urgent, 5), Err(5));
    }
}
