//! Tasks that run as long as the process does. One that ends before its time, by a panic or by itself, is started anew.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Before a task is started anew ...
const PAUSE: Duration = Duration::from_millis(500);
/// ... and, where it goes on falling, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A task that has run for so long stands again.
const STANDS: Duration = Duration::from_secs(5);

/// What is upheld, and what of it has fallen.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Mutex<BTreeSet<&'static str>>>);

impl Tasks {
    /// Those that have fallen and do not stand again yet, by name.
    #[must_use]
    pub fn fallen(&self) -> Vec<&'static str> {
        self.set().iter().copied().collect()
    }

    /// Runs what `make` makes until `stop`, and again whenever it ends before.
    pub fn uphold<F>(
        &self,
        name: &'static str,
        stop: CancellationToken,
        make: impl Fn() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        tokio::spawn(async move {
            let mut pause = PAUSE;
            loop {
                // Whatever it had in hand falls with it: the next one begins with nothing.
                let mut task = Box::pin(AssertUnwindSafe(make()).catch_unwind());
                let ended = match tokio::time::timeout(STANDS, &mut task).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        tasks.set().remove(name);
                        // On record before it falls: what begins with one has not grown.
                        metrics::counter!("outreachd_tasks_fallen_total", "task" => name).increment(0);
                        pause = PAUSE;
                        task.await
                    }
                };
                if stop.is_cancelled() {
                    return;
                }
                tasks.set().insert(name);
                metrics::counter!("outreachd_tasks_fallen_total", "task" => name).increment(1);
                tracing::error!(
                    task = name,
                    panicked = ended.is_err(),
                    "a task has fallen and is started anew"
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_falls_is_told_of_and_started_anew() {
        let (tasks, stop, started) =
            (Tasks::default(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (make, mut told) = tokio::sync::mpsc::unbounded_channel();
        let handle = tasks.uphold("one", stop.clone(), {
            let (stop, started) = (stop.clone(), started.clone());
            move || {
                let (stop, make, n) = (stop.clone(), make.clone(), started.fetch_add(1, Ordering::Relaxed));
                async move {
                    make.send(n).unwrap();
                    match n {
                        0 => panic!("of a test"),
                        1 => {}
                        _ => stop.cancelled().await,
                    }
                }
            }
        });
        let other = tasks.uphold("other", stop.clone(), {
            let stop = stop.clone();
            move || stop.clone().cancelled_owned()
        });
        for n in 0..3 {
            assert_eq!(told.recv().await, Some(n), "after a panic, and after an end before its time");
        }
        assert_eq!(tasks.fallen(), ["one"], "it does not stand yet");
        stop.cancel();
        handle.await.unwrap();
        other.await.unwrap();
        assert_eq!(started.load(Ordering::Relaxed), 3);
    }
}
