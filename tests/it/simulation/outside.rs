//! The provider, and the broker's side of the queue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use outreachd::domain::ids::ProviderName;
use outreachd::domain::outbound::{Accepted, FailureKind, OutboundMessage, SendError};
use outreachd::domain::words::Channel;
use outreachd::intake::gatekeeper::Arrival;
use outreachd::intake::{Incoming, Intake};
use outreachd::provider::Provider;
use outreachd::store::engine::{Args, Engine as _, Value};
use tokio::time::{Instant, sleep};

use super::ledger::Simulated;
use super::world::{Delivery, Hit, Life, World};

/// How the one that sends behaves; all but the first are faults that are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    Honest,
    /// One message in ten leaves twice.
    SendsTwice,
    /// What may have been taken is said not to have been.
    ForgetsWhatItLost,
}

/// An SMS provider, as one process reaches it. It knows no repeats.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) name: ProviderName,
    pub(super) world: Arc<World>,
    pub(super) life: Life,
    pub(super) habit: Habit,
    /// By which a hit is looked up before it is answered.
    pub(super) ledger: Simulated,
}

/// What becomes of a request.
enum Fate {
    Taken,
    /// 503 before anything was done.
    Unavailable,
    /// Taken, and the answer is lost.
    Lost,
    /// Taken, and the answer is a 500.
    Error,
}

#[async_trait]
impl Provider for Outside {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn dedupes(&self) -> bool {
        false
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        self.life.goes_on().await;
        let left = Instant::now();
        let (fate, there, back, twice) = {
            let mut state = self.world.state();
            let away = state.provider_away.is_some_and(|until| left < until);
            let fate = match () {
                () if away || state.strikes(20) => Fate::Unavailable,
                () if state.strikes(10) => Fate::Lost,
                () if state.strikes(10) => Fate::Error,
                () => Fate::Taken,
            };
            let twice = self.habit == Habit::SendsTwice && state.strikes(100);
            (fate, state.millis(1, 20), state.millis(1, 80), twice)
        };
        sleep(there).await;
        if !matches!(fate, Fate::Unavailable) {
            // What was on the wire arrives, whether its sender lives or not.
            for _ in 0..=u8::from(twice) {
                self.arrives(message, left).await;
            }
        }
        sleep(back).await;
        self.life.goes_on().await;
        let lost = match self.habit {
            Habit::ForgetsWhatItLost => FailureKind::Transient,
            _ => FailureKind::Ambiguous,
        };
        match fate {
            Fate::Taken => Ok(Accepted { reference: Some(message.attempt_id.to_string()) }),
            Fate::Unavailable => Err(SendError::new(FailureKind::Transient, "503")),
            Fate::Lost => {
                sleep(Duration::from_secs(15)).await;
                self.life.goes_on().await;
                Err(SendError { kind: lost, code: None })
            }
            Fate::Error => Err(SendError::new(lost, "500")),
        }
    }

    async fn check(&self) -> Result<(), SendError> {
        Ok(())
    }
}

impl Outside {
    async fn arrives(&self, message: &OutboundMessage, left: Instant) {
        let key = message.send_key;
        let asked = Args::of([Value::from(key.message.0), Value::from(i64::from(key.step))]);
        let found =
            self.ledger.read("SELECT 1 FROM attempts WHERE message_id = $1 AND step = $2", asked).await;
        let on_record = !found.unwrap().is_empty();
        self.world.state().hits.push(Hit { left, key, to: message.to.expose().to_owned(), on_record });
    }
}

/// How many a worker takes at once.
const BATCH: usize = 20;

/// A worker's consumer: what it has taken and not acknowledged goes back into the queue when it ends.
pub(super) async fn consume(world: Arc<World>, intake: Intake, life: Life, taken: Arc<Mutex<Vec<Delivery>>>) {
    loop {
        life.goes_on().await;
        let batch: Vec<Delivery> = {
            let queue = &mut world.state().queue;
            let many = queue.len().min(BATCH);
            queue.drain(..many).collect()
        };
        if batch.is_empty() {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        taken.lock().unwrap().clone_from(&batch);
        let mut again = false;
        loop {
            let items = batch.iter().map(|delivery| incoming(delivery, again)).collect();
            if intake.submit(items).await.is_ok() {
                break;
            }
            again = true;
            sleep(Duration::from_millis(100)).await;
        }
        world.state().submitted(&batch);
        life.goes_on().await;
        taken.lock().unwrap().clear();
        // An acknowledgement is lost with its connection.
        let mut state = world.state();
        if state.strikes(50) {
            state.queue.extend(batch.into_iter().map(|delivery| Delivery { redelivered: true, ..delivery }));
        }
    }
}

fn incoming(delivery: &Delivery, again: bool) -> Incoming {
    Incoming {
        body: delivery.body.clone(),
        arrival: Arrival { by_broker: true, origin: "jobs".to_owned(), ..Arrival::default() },
        key: Some("job".to_owned()),
        redelivered: delivery.redelivered || again,
        park: true,
    }
}
