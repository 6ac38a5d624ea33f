//! What has ended is erased when it is old enough: a little at a time, so that nothing else waits for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::Corridor;
use crate::config::retention::RetentionSection;
use crate::store::StoreError;
use crate::store::retention::{Class, Expiry};

/// How often it is looked for.
const TICK: Duration = Duration::from_secs(60);
/// Rows in one go.
const AT_ONCE: u32 = 500;
/// Messages in one go that go with all that hangs on them: several rows each.
const MESSAGES_AT_ONCE: u32 = 200;
/// The corridor has its way between two goes: for so long at least, and for so many times what the last one took.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSES: u32 = 4;
/// Nobody looks for a worker that was silent for so long.
const WORKERS: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = corridor.stopping.cancelled() => return,
        }
        for class in Class::ALL {
            let Some(age) = age(&corridor.config.retention, *class) else { continue };
            let erased = tokio::select! {
                erased = erase(&corridor, *class, age) => erased,
                // A go that is cut is rolled back, and made again by whoever is next.
                () = corridor.stopping.cancelled() => return,
            };
            if let Err(error) = erased {
                tracing::warn!(%error, class = class.as_str(), "what is old could not be erased");
            }
        }
    }
}

async fn erase(corridor: &Corridor, class: Class, age: SignedDuration) -> Result<(), StoreError> {
    let limit = if class == Class::Rows { MESSAGES_AT_ONCE } else { AT_ONCE };
    let ask = Expiry { worker: corridor.worker, class, age, limit };
    let since = Instant::now();
    loop {
        let begun = Instant::now();
        let erased = corridor.store.erase_old(&ask).await?;
        if erased.rows > 0 {
            metrics::counter!("outreachd_erased_total", "class" => class.as_str())
                .increment(u64::from(erased.rows));
        }
        // However much there is of one class: the others have their turn.
        if !erased.more || since.elapsed() > TICK {
            return Ok(());
        }
        tokio::time::sleep(PAUSE.max(begun.elapsed() * PAUSES)).await;
    }
}

fn age(kept: &RetentionSection, class: Class) -> Option<SignedDuration> {
    let age = match class {
        Class::Messages => kept.messages,
        Class::Attempts => kept.attempts,
        Class::Replies => kept.replies,
        Class::Rejected => kept.rejected,
        Class::Events => kept.events,
        Class::Rows | Class::ReplyRows | Class::RejectedRows => kept.rows,
        Class::Workers => Some(WORKERS),
    };
    age.and_then(|age| SignedDuration::try_from(age).ok())
}
