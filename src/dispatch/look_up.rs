//! Sends whose answer was lost are looked up at their provider, where it has a list of what it took: what is found is a
//! receipt like any other, what is not there was never sent and is due again. Until one or the other is known nothing
//! is sent again. Every worker looks; the ledger gives each attempt to one of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Corridor;
use crate::config::span;
use crate::domain::failure::Failure;
use crate::domain::ids::{AttemptId, ProviderName};
use crate::domain::look_up::Looked;
use crate::domain::receipt::Receipt;
use crate::domain::status::AttemptStatus;
use crate::provider::Provider;
use crate::store::StoreError;
use crate::store::rows::{Charge, LookUpAsk, LostAttempt, Settlement, Then};

const TICK: Duration = Duration::from_secs(1);
/// Looked up at once.
const AT_ONCE: u32 = 8;
/// What is not in the list may come to be: it is believed to be nowhere once the list was without it so often. A look-up
/// that failed, or tells nothing, is none of these.
const BELIEVED: u32 = 3;

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut providers: HashMap<ProviderName, Arc<dyn Provider>> = HashMap::new();
    for lane in corridor.lanes.iter().filter(|lane| lane.provider.looks_up()) {
        providers.insert(lane.provider.name().clone(), lane.provider.clone());
    }
    let after = span(corridor.config.policy.look_up_after);
    let ask = LookUpAsk { providers: providers.keys().cloned().collect(), after, limit: AT_ONCE };
    while !providers.is_empty() {
        tokio::select! {
            () = tokio::time::sleep(TICK.min(corridor.config.policy.look_up_after)) => {}
            () = corridor.stopping.cancelled() => return,
        }
        let looked = tokio::select! {
            looked = look(&corridor, &providers, &ask) => looked,
            // What was asked for comes up again.
            () = corridor.stopping.cancelled() => return,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "look-ups wait for the ledger");
        }
    }
}

/// Looks up what is due to be, until nothing is.
async fn look(
    corridor: &Corridor,
    providers: &HashMap<ProviderName, Arc<dyn Provider>>,
    ask: &LookUpAsk,
) -> Result<(), StoreError> {
    loop {
        let lost = corridor.store.take_lost(ask).await?;
        if lost.is_empty() {
            return Ok(());
        }
        let asked = lost.iter().filter_map(|one| Some((one, providers.get(&one.lost.provider)?)));
        let answers =
            join_all(asked.map(async |(one, provider)| (one, provider.look_up(&one.lost).await))).await;
        let mut receipts: Vec<Receipt> = Vec::new();
        let mut gone: Vec<Settlement> = Vec::new();
        let mut absent: Vec<AttemptId> = Vec::new();
        for (one, answer) in answers {
            let result = match answer {
                Ok(Looked::Taken(receipt)) => {
                    receipts.push(receipt);
                    "taken"
                }
                Ok(Looked::NotThere) if one.lost.absent + 1 >= BELIEVED => {
                    gone.push(never_sent(corridor, one));
                    "not_there"
                }
                Ok(Looked::NotThere) => {
                    absent.push(one.lost.attempt);
                    "not_there_yet"
                }
                Ok(Looked::Unclear) => "unclear",
                Err(error) => {
                    tracing::info!(%error, provider = %one.lost.provider, attempt = %one.lost.attempt, "a look-up failed");
                    "failed"
                }
            };
            metrics::counter!("outreachd_look_ups_total", "provider" => one.lost.provider.to_string(), "result" => result)
                .increment(1);
        }
        if !receipts.is_empty() {
            let from = Instant::now();
            corridor.store.receive(&receipts).await?;
            super::traces::heard(corridor, &receipts, from);
        }
        if !absent.is_empty() {
            corridor.store.absent(&absent).await?;
        }
        if !gone.is_empty() {
            corridor.store.settle(&gone).await?;
        }
        corridor.told.notify_one();
        corridor.due.notify_one();
    }
}

/// The request never got there: the message is due again, as after any failure before the first byte.
fn never_sent(corridor: &Corridor, one: &LostAttempt) -> Settlement {
    let at = corridor.clock.timestamp(Instant::now());
    Settlement {
        facts: one.facts.clone(),
        attempt: one.lost.attempt,
        number: one.number,
        channel: one.channel,
        provider: one.lost.provider.clone(),
        status: AttemptStatus::Failed,
        provider_ref: None,
        failure: Some(Failure::NotSent),
        code: None,
        recipient: one.recipient,
        charge: Charge::default(),
        then: Then::Retry(at),
        patience: None,
        at,
    }
}
