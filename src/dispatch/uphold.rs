//! Stages run as long as the corridor. One that falls is told of and begun anew: as nobody does its work in its place, all
//! would wait for it.

use std::panic::AssertUnwindSafe;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::IN_HAND;

/// Before a stage is begun anew.
const PAUSE: Duration = Duration::from_millis(500);
/// A stage that has run for so long stands.
const STANDS: Duration = Duration::from_secs(5);

/// Runs what `make` makes, and again whenever it panics; what returns has nothing more to do.
pub(super) fn uphold<F>(tasks: &TaskTracker, name: &'static str, make: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    // At once, and before the pause: what is handed to a stage needs somewhere to go.
    let mut stage = make();
    tasks.spawn(async move {
        while run(name, stage).await.is_err() {
            metrics::counter!("outreachd_tasks_fallen_total", "task" => name).increment(1);
            tracing::error!(task = name, "a task has fallen and is started anew");
            stage = make();
            sleep(PAUSE).await;
        }
    });
}

async fn run(name: &'static str, stage: impl Future<Output = ()>) -> thread::Result<()> {
    // Whatever it had in hand falls with it: the next one begins with nothing.
    let mut stage = std::pin::pin!(AssertUnwindSafe(stage).catch_unwind());
    if let Ok(ended) = timeout(STANDS, &mut stage).await {
        return ended;
    }
    // On record before it falls: what begins with one has not grown.
    metrics::counter!("outreachd_tasks_fallen_total", "task" => name).increment(0);
    stage.await
}

/// Where what a stage is to do waits for it. A stage that is begun anew has a queue of its own; of what stood in the one
/// before the leases run out, and others take it.
#[derive(Debug)]
pub(super) struct Inbox<T>(RwLock<mpsc::Sender<T>>);

impl<T> Inbox<T> {
    /// The queue of a stage that begins.
    pub(super) fn anew(&self) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::channel(IN_HAND);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = sender;
        receiver
    }

    pub(super) async fn hand(&self, one: T) {
        let queue = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Should the stage fall in this moment, it is as with all that it had.
        let _ = queue.send(one).await;
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self(RwLock::new(mpsc::channel(1).0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_stage_that_falls_is_begun_anew_and_goes_on_with_what_comes() {
        let tasks = TaskTracker::new();
        let (inbox, lives) = (Arc::new(Inbox::default()), Arc::new(AtomicU32::new(0)));
        uphold(&tasks, "one", {
            let (inbox, lives) = (inbox.clone(), lives.clone());
            move || {
                let mut queue = inbox.anew();
                lives.fetch_add(1, Ordering::Relaxed);
                async move {
                    while let Some(number) = queue.recv().await {
                        match number {
                            0 => panic!("of a test"),
                            1 => return,
                            _ => {}
                        }
                    }
                }
            }
        });
        for number in [7, 0] {
            inbox.hand(number).await;
        }
        while lives.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        // It is not running yet, and loses nothing that comes meanwhile.
        for number in [7, 1] {
            inbox.hand(number).await;
        }
        tasks.close();
        tasks.wait().await;
        assert_eq!(lives.load(Ordering::Relaxed), 2, "what ends by itself is over");
    }
}
