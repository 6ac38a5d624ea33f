//! How often one number is answered: two machines that answer each other by text do not stop. The answers to mails have
//! their limits in the ledger, which has them on record; those to texts each worker counts for itself.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Shared;
use super::replies::Told;
use crate::domain::reply::Intent;
use crate::domain::words::Channel;

/// So many answers to stops, and so many to words of danger, go to one number at once, and as many more over a day ...
const OWED: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// ... and of all others so many.
const OTHERS: NonZeroU32 = NonZeroU32::new(10).unwrap();
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// So often those are forgotten that have not written for a while.
const HOUR: Duration = Duration::from_secs(3_600);

/// What each number has been answered, by its blind index.
#[derive(Debug)]
pub(super) struct Enough {
    stops: DefaultKeyedRateLimiter<Vec<u8>>,
    danger: DefaultKeyedRateLimiter<Vec<u8>>,
    others: DefaultKeyedRateLimiter<Vec<u8>>,
}

impl Enough {
    pub(super) fn new() -> Self {
        let a_day = |most: NonZeroU32| {
            let quota = Quota::with_period(DAY / most.get()).unwrap_or(Quota::per_second(NonZeroU32::MIN));
            RateLimiter::keyed(quota.allow_burst(most))
        };
        Self { stops: a_day(OWED), danger: a_day(OWED), others: a_day(OTHERS) }
    }

    /// Whether the number may be told this, too. Whoever is on the telephone is told whatever they ask.
    pub(super) fn allows(&self, number: Vec<u8>, told: &Told) -> bool {
        let limit = match told.intent {
            Intent::Safety => &self.danger,
            _ if told.revokes || told.no_calls => &self.stops,
            _ => &self.others,
        };
        told.channel != Channel::Sms || limit.check_key(&number).is_ok()
    }
}

/// Keeps memory from growing with those who ever wrote.
pub(super) async fn upkeep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(HOUR).await;
        for limit in [&shared.enough.stops, &shared.enough.danger, &shared.enough.others] {
            limit.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reply::{More, read};

    fn told(channel: Channel, text: &str) -> Told {
        Told::of(channel, read(text, None, &More::default()), true)
    }

    #[test]
    fn a_number_that_writes_without_end_is_not_answered_without_end() {
        let enough = Enough::new();
        let answered = |number: u8, channel, text: &str| {
            (0..100).filter(|_| enough.allows(vec![number], &told(channel, text))).count()
        };
        assert_eq!(answered(1, Channel::Sms, "STOP"), 5);
        assert_eq!(
            answered(1, Channel::Sms, "I have chest pain"),
            5,
            "whoever is in danger is told where to turn"
        );
        assert_eq!(answered(1, Channel::Sms, "HELP"), 10);
        assert_eq!(answered(2, Channel::Sms, "stop calling me"), 5, "another number");
        assert_eq!(answered(1, Channel::Voice, "STOP"), 100);
    }
}
