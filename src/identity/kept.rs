//! What is fetched from the provider once and kept for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Trouble;

/// Fetched anew after so long: what the provider has withdrawn counts no longer than that.
const AGE: Duration = Duration::from_secs(3_600);
/// What lacks something is fetched anew at most so often: whoever names what does not exist must not make us ask for ever.
const PAUSE: Duration = Duration::from_secs(60);
/// ... and after a failure not at once: the provider may be changing its keys, and nobody comes in meanwhile.
const REST: Duration = Duration::from_secs(3);

/// One document of the provider's.
#[derive(Debug)]
pub(super) struct Kept<T>(Mutex<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    value: Option<(Arc<T>, Instant)>,
    /// When it was last fetched for want of something.
    wanted: Option<Instant>,
    failed: Option<(Trouble, Instant)>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(Slot { value: None, wanted: None, failed: None }))
    }
}

impl<T> Kept<T> {
    /// It, as young as it must be. Where it does not `suffice`, it is fetched anew if that is not too soon; it is for the
    /// caller to see whether it suffices then.
    ///
    /// # Errors
    /// It cannot be had. All that waited while it failed have failed with it.
    pub(super) async fn get(
        &self,
        suffices: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<Arc<T>, Trouble> {
        let asked = Instant::now();
        let mut slot = self.0.lock().await;
        if let Some((trouble, at)) = slot.failed
            && asked < at
        {
            return Err(trouble);
        }
        let mut lacking = false;
        if let Some((value, at)) = &slot.value
            && at.elapsed() < AGE
        {
            let too_soon = slot.wanted.is_some_and(|at| at.elapsed() < PAUSE);
            if suffices(value) || too_soon {
                return Ok(Arc::clone(value));
            }
            if let Some((trouble, at)) = slot.failed
                && at.elapsed() < REST
            {
                return Err(trouble);
            }
            lacking = true;
        }
        let value = Arc::new(fetch.await.inspect_err(|trouble| {
            slot.failed = Some((*trouble, Instant::now()));
        })?);
        let now = Instant::now();
        slot.value = Some((Arc::clone(&value), now));
        slot.failed = None;
        // What could not be fetched is not fetched: only an answer makes the next one wait.
        if lacking {
            slot.wanted = Some(now);
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_is_lacking_is_looked_for_once_and_not_for_ever() {
        let (kept, fetched) = (Kept::default(), AtomicU32::new(0));
        let fetch = || async { Ok(fetched.fetch_add(1, Ordering::Relaxed)) };
        assert_eq!(*kept.get(|_| true, fetch()).await.unwrap(), 0);
        assert_eq!(*kept.get(|_| true, fetch()).await.unwrap(), 0);
        assert_eq!(*kept.get(|n| *n == 1, fetch()).await.unwrap(), 1, "lacking: fetched at once");
        for _ in 0..10 {
            assert_eq!(*kept.get(|_| false, fetch()).await.unwrap(), 1, "and then not for a minute");
        }
        let failing: Kept<u32> = Kept::default();
        assert_eq!(
            failing.get(|_| true, async { Err(Trouble::Away("dns")) }).await,
            Err(Trouble::Away("dns"))
        );
        assert_eq!(
            *failing.get(|_| true, async { Ok(7) }).await.unwrap(),
            7,
            "tried again by whoever comes later"
        );
        // The provider changes its keys and is away for a moment: that costs a moment, and no minute.
        let away = || async { Err(Trouble::Away("dns")) };
        for _ in 0..3 {
            assert_eq!(failing.get(|n| *n == 8, away()).await, Err(Trouble::Away("dns")));
        }
        assert_eq!(*failing.get(|n| *n == 7, away()).await.unwrap(), 7, "what is known serves meanwhile");
        let well = || async { Ok(8) };
        assert_eq!(failing.get(|n| *n == 8, well()).await, Err(Trouble::Away("dns")), "not at once");
        failing.0.lock().await.failed =
            Some((Trouble::Away("dns"), Instant::now().checked_sub(REST).unwrap()));
        assert_eq!(*failing.get(|n| *n == 8, well()).await.unwrap(), 8);
    }
}
