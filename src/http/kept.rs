//! What is costly to find out: found now and then, however many ask, and shown with its age meanwhile.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Shared;

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

/// What `of` keeps, found out anew by `find` where that is due: as far as it is there in time.
pub(super) async fn kept<T, E, F>(
    shared: &Arc<Shared>,
    of: fn(&Shared) -> &Kept<T>,
    pace: &'static Pace,
    find: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    failed: &'static str,
) -> Option<(T, Duration)>
where
    T: Clone + Send + Sync + 'static,
    E: Display + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let finding = tokio::spawn({
        let shared = Arc::clone(shared);
        async move {
            let found = of(&shared).renew(pace, find(Arc::clone(&shared))).await;
            if let Err(error) = found {
                tracing::warn!(%error, "{failed}");
            }
        }
    });
    let _in_time = timeout(PATIENCE, finding).await;
    of(shared).latest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { every: Duration::from_millis(300), share: 0, again: Duration::ZERO };

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
}
