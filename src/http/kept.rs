//! What is costly to find out: found now and then, however many ask, and shown with its age meanwhile.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// Nobody waits for longer: what takes more goes on, and is there for whoever asks next.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How often something is found out.
#[derive(Debug)]
pub(super) struct Pace {
    /// No more often than this ...
    pub(super) every: Duration,
    /// ... and taking at most this part of the ledger's time.
    pub(super) share: u32,
    /// After one that failed at most so long passes before the next: one that was given up late need not take as long again.
    pub(super) again: Duration,
}

/// What whoever asks waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// What is found out now, where that is due.
    ForNews,
    /// The first there ever is, for so long; later ones are for whoever asks next.
    ForFirst(Duration),
}

/// What was last found.
#[derive(Debug)]
pub(super) struct Kept<T> {
    /// It is good until then; held by whoever finds out.
    until: tokio::sync::Mutex<Option<Instant>>,
    /// The last that was to be had, and when; read without waiting for who is under way.
    latest: Mutex<Option<(T, Instant)>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { until: tokio::sync::Mutex::default(), latest: Mutex::default() }
    }
}

impl<T> Kept<T> {
    /// Until when it is good; `None`: it was never found out, or is being found out.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.try_lock().ok().and_then(|until| *until)
    }
}

impl<T: Clone> Kept<T> {
    /// The last that was to be had, and its age; `None`: there was none yet.
    pub(super) fn latest(&self) -> Option<(T, Duration)> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().map(|(found, at)| (found.clone(), at.elapsed()))
    }

    /// Finds it out anew, where it is no longer good. Answers why it could not be.
    async fn renew<E>(&self, pace: &Pace, find: impl Future<Output = Result<T, E>>) -> Result<(), E> {
        let mut until = self.until.lock().await;
        if until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let started = Instant::now();
        let found = find.await;
        let took = started.elapsed().saturating_mul(pace.share);
        let pause = if found.is_ok() { took } else { took.min(pace.again) };
        let done = found.map(|found| {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((found, Instant::now()))
        });
        *until = Some(Instant::now() + pause.max(pace.every));
        done
    }
}

impl<T: Clone + Send + 'static> Kept<T> {
    /// The last that is to be had in time, and its age; found out anew by `find` where that is due, however long it takes.
    pub(super) async fn get<E: Display + Send + 'static>(
        self: &Arc<Self>,
        pace: &'static Pace,
        wait: Wait,
        find: impl Future<Output = Result<T, E>> + Send + 'static,
        failed: &'static str,
    ) -> Option<(T, Duration)> {
        let finding = tokio::spawn({
            let kept = Arc::clone(self);
            async move {
                if let Err(error) = kept.renew(pace, find).await {
                    tracing::warn!(%error, "{failed}");
                }
            }
        });
        let patience = match wait {
            Wait::ForNews => Some(PATIENCE),
            Wait::ForFirst(patience) => self.latest().is_none().then_some(patience),
        };
        if let Some(patience) = patience {
            let _in_time = timeout(patience, finding).await;
        }
        self.latest()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    const PACE: Pace = Pace { every: Duration::from_millis(300), share: 0, again: Duration::ZERO };
    /// It is always due.
    const AT_ONCE: Pace = Pace { every: Duration::ZERO, ..PACE };
    /// It is good for longer than any test.
    const ONCE: Pace = Pace { every: Duration::from_secs(3_600), ..PACE };

    #[tokio::test]
    async fn it_is_found_once_in_a_while_and_a_failure_takes_nothing_away() {
        let kept = Kept::default();
        assert!(kept.latest().is_none());
        let find = async |found: Result<u8, &'static str>| kept.renew(&PACE, async move { found }).await;
        assert_eq!(find(Ok(1)).await, Ok(()));
        assert_eq!(find(Err("it is good for a while")).await, Ok(()), "nobody looked");
        tokio::time::sleep(PACE.every).await;
        assert_eq!(find(Err("away")).await, Err("away"));
        assert_eq!(kept.latest().map(|(found, _)| found), Some(1));
        tokio::time::sleep(PACE.every).await;
        assert_eq!(find(Ok(2)).await, Ok(()));
        assert_eq!(kept.latest().map(|(found, _)| found), Some(2));
    }

    async fn got(
        kept: &Arc<Kept<u8>>,
        pace: &'static Pace,
        wait: Wait,
        find: impl Future<Output = Result<u8, &'static str>> + Send + 'static,
    ) -> Option<u8> {
        kept.get(pace, wait, find, "of a test").await.map(|(found, _)| found)
    }

    #[tokio::test]
    async fn one_finds_out_at_a_time_and_one_that_fell_is_out_of_the_way() {
        let (kept, found) = (Arc::default(), Arc::new(AtomicU8::new(0)));
        let find = || {
            let found = Arc::clone(&found);
            async move {
                tokio::task::yield_now().await;
                Ok::<_, &'static str>(found.fetch_add(1, Ordering::Relaxed))
            }
        };
        let fell = async { Ok::<u8, &'static str>("none".parse().unwrap()) };
        assert_eq!(got(&kept, &ONCE, Wait::ForNews, fell).await, None);
        let got = || got(&kept, &ONCE, Wait::ForNews, find());
        assert_eq!(tokio::join!(got(), got(), got()), (Some(0), Some(0), Some(0)));
        assert_eq!(found.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn where_there_is_one_the_next_is_not_waited_for() {
        let kept = Arc::default();
        let first = Wait::ForFirst(Duration::from_secs(60));
        assert_eq!(got(&kept, &AT_ONCE, first, async { Ok(1) }).await, Some(1));
        let shown = timeout(Duration::from_secs(5), got(&kept, &AT_ONCE, first, pending())).await;
        assert_eq!(shown, Ok(Some(1)));
        let none = Arc::default();
        assert_eq!(got(&none, &AT_ONCE, Wait::ForFirst(Duration::ZERO), pending()).await, None);
    }
}
