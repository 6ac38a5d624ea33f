//! Stages run as long as the corridor, or the desk of receipts. One that falls is told of and begun anew: as nobody does its work in its place, all
//! would wait for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

/// Before a stage is begun anew; twice as long each time that it falls at once, and no longer than the second one.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A stage that has run for so long stands.
const STANDS: Duration = Duration::from_secs(5);

/// Runs what `make` makes, and again whenever it panics; what returns has nothing more to do.
pub(crate) fn uphold<F>(tasks: &TaskTracker, name: &'static str, make: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        let mut pause = PAUSE;
        loop {
            let begun = Instant::now();
            if run(name, make()).await.is_ok() {
                return;
            }
            metrics::counter!("outreachd_tasks_fallen_total", "task" => name).increment(1);
            tracing::error!(task = name, "a task has fallen and is started anew");
            pause = if begun.elapsed() > STANDS { PAUSE } else { (pause * 2).min(LONGEST) };
            sleep(pause).await;
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

/// What waits for a stage outlives it.
pub(crate) type Outliving<T> = Arc<Mutex<mpsc::Receiver<T>>>;

pub(crate) fn outliving<T>(queue: mpsc::Receiver<T>) -> Outliving<T> {
    Arc::new(Mutex::new(queue))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_stage_that_falls_is_begun_anew_and_goes_on_with_what_comes() {
        let tasks = TaskTracker::new();
        let (sender, queue) = mpsc::channel(9);
        let (queue, lives) = (outliving(queue), Arc::new(AtomicU32::new(0)));
        uphold(&tasks, "one", {
            let lives = lives.clone();
            move || {
                lives.fetch_add(1, Ordering::Relaxed);
                let queue = queue.clone();
                async move {
                    let mut queue = queue.lock().await;
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
        // What stands behind that at which it falls is not lost.
        for number in [7, 0, 7, 1] {
            sender.send(number).await.unwrap();
        }
        tasks.close();
        tasks.wait().await;
        assert_eq!(lives.load(Ordering::Relaxed), 2, "what ends by itself is over");
    }
}
