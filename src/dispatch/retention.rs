//! What has ended is erased when it is old enough: a little at a time, so that nothing else waits for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::Corridor;
use crate::config::retention::RetentionSection;
use crate::store::StoreError;
use crate::store::keeping::{Class, Expiry};

/// How often it is looked for.
const TICK: Duration = Duration::from_secs(60);
/// Rows in one go.
const AT_ONCE: u32 = 500;
/// The corridor has its way between two goes.
const PAUSE: Duration = Duration::from_millis(100);

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
    let ask = Expiry { worker: corridor.worker, class, age, limit: AT_ONCE };
    loop {
        let erased = corridor.store.erase_old(&ask).await?;
        if erased.rows > 0 {
            metrics::counter!("outreachd_erased_total", "class" => class.as_str())
                .increment(u64::from(erased.rows));
        }
        if !erased.more {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn age(kept: &RetentionSection, class: Class) -> Option<SignedDuration> {
    let age = match class {
        Class::Messages => kept.messages,
        Class::Attempts => kept.attempts,
        Class::Replies => kept.replies,
        Class::Rejected => kept.rejected,
    };
    age.and_then(|age| SignedDuration::try_from(age).ok())
}
