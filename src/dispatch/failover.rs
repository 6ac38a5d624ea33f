//! What breakers mean for the lanes: who may be given a message, who is emptied, who hears of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Answer, Breaker, Call, Condition};
use super::choice::carriers;
use super::lane::{Lane, Setting};
use super::receipts::Receipts;
use super::{Corridor, Planned};
use crate::config::provider::BreakerSettings;
use crate::domain::ids::{AttemptId, ProviderName};
use crate::domain::outbound::{Accepted, SendError};
use crate::domain::words::Channel;
use crate::store::StoreError;
use crate::store::rows::{Heard, Hold, HoldScope};

/// While a channel runs on a backup, or not at all, it is said again so often.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// A provider's breaker, as all of its lanes share it.
#[derive(Debug)]
pub(super) struct Guard {
    provider: ProviderName,
    channel: Channel,
    breaker: Mutex<Breaker>,
    /// What became of what it took.
    receipts: Mutex<Receipts>,
    /// A person has taken it out of service.
    held: AtomicBool,
    /// Until then it has asked for time.
    aside_until: Mutex<Option<Instant>>,
}

/// A call that the guard allows. Dropped without a result, its place is free again.
#[derive(Debug)]
pub(super) struct Ticket {
    guard: Arc<Guard>,
    /// Taken once its result is recorded.
    call: Option<Call>,
}

impl Guard {
    /// `alone`: no other provider serves the channel, so that a slow one is better than none.
    pub(super) fn new(
        provider: &ProviderName,
        channel: Channel,
        settings: BreakerSettings,
        alone: bool,
    ) -> Arc<Self> {
        let breaker = Mutex::new(Breaker::new(settings, !alone, Instant::now()));
        // One that nobody could take over from is better than none.
        let within = if alone { Duration::ZERO } else { settings.receipt_within };
        let receipts = Mutex::new(Receipts::new(&BreakerSettings { receipt_within: within, ..settings }));
        Arc::new(Self {
            provider: provider.clone(),
            channel,
            breaker,
            receipts,
            held: AtomicBool::new(false),
            aside_until: Mutex::default(),
        })
    }

    pub(super) fn condition(&self) -> Condition {
        self.lock().condition(Instant::now())
    }

    /// How much of its weight counts now, in percent; 0 unless it is closed.
    pub(super) fn share(&self) -> u32 {
        self.lock().share(Instant::now())
    }

    /// Whether it may be given any message, not just probes.
    pub(super) fn is_in_use(&self) -> bool {
        !self.held.load(Ordering::Relaxed) && self.share() > 0
    }

    /// What it has not taken, for want of time, goes by others until then.
    pub(super) fn set_aside(&self, until: Instant) {
        let mut aside = self.aside();
        *aside = (*aside).max(Some(until));
    }

    pub(super) fn is_set_aside(&self) -> bool {
        self.aside().is_some_and(|until| until > Instant::now())
    }

    fn aside(&self) -> MutexGuard<'_, Option<Instant>> {
        self.aside_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How many messages it may be given now, where its lane has `room`.
    pub(super) fn room(&self, room: usize) -> usize {
        let (breaker, now) = (self.lock(), Instant::now());
        match breaker.condition(now) {
            Condition::Closed | Condition::Recovering => room,
            Condition::HalfOpen => room.min(usize::try_from(breaker.free_probes(now)).unwrap_or(room)),
            Condition::Open => 0,
        }
    }

    /// How long until it may be probed.
    pub(super) fn cool_down_left(&self) -> Duration {
        self.lock().cool_down_left(Instant::now())
    }

    /// A message that shows whether the provider is back, where it is time and not enough are under way.
    pub(super) fn probe(self: &Arc<Self>) -> Option<Ticket> {
        let call = self.watched(|breaker| breaker.take_probe(Instant::now()))?;
        Some(Ticket { guard: self.clone(), call: Some(call) })
    }

    /// Whether a message may go on, as a probe or, without `probe`, as any other.
    pub(super) fn admits(&self, probe: Option<&Ticket>) -> bool {
        let breaker = self.lock();
        probe.map_or_else(
            || breaker.call().is_some(),
            |ticket| ticket.call.is_some_and(|call| breaker.stands(call)),
        )
    }

    /// The last word before the wire.
    pub(super) fn start(self: &Arc<Self>, probe: Option<Ticket>) -> Option<Ticket> {
        if let Some(ticket) = probe {
            let stands = self.admits(Some(&ticket));
            return stands.then_some(ticket);
        }
        let call = self.lock().call()?;
        Some(Ticket { guard: self.clone(), call: Some(call) })
    }

    /// The provider has taken a message, and will say what became of it.
    pub(super) fn taken(&self, attempt: AttemptId) {
        self.followed().taken(attempt, Instant::now());
    }

    /// Looks at what was heard of what it took; whether too little of that arrives.
    fn hear(&self, heard: &[Heard]) -> bool {
        let mut receipts = self.followed();
        receipts.judge(heard, Instant::now());
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let percent = receipts.bad_percent() as f64;
        metrics::gauge!("outreachd_receipts_bad_percent", "provider" => self.provider.to_string())
            .set(percent);
        receipts.are_bad()
    }

    /// Leaves the provider alone for its receipts; false: it is already.
    fn leave_alone(&self) -> bool {
        let least = self.followed().within();
        let left = self.watched(|breaker| breaker.leave_alone(least, Instant::now()));
        self.followed().forget();
        left
    }

    fn followed(&self) -> MutexGuard<'_, Receipts> {
        self.receipts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Does something with the breaker, and tells where its condition has changed.
    fn watched<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.lock();
        let before = breaker.condition(Instant::now());
        let result = act(&mut breaker);
        let now = Instant::now();
        let (after, pause) = (breaker.condition(now), breaker.cool_down_left(now));
        drop(breaker);
        if before != after {
            self.tell(after, pause);
        }
        result
    }

    fn tell(&self, condition: Condition, pause: Duration) {
        let (provider, channel) = (&self.provider, self.channel);
        metrics::counter!("outreachd_breaker_transitions_total", "provider" => provider.to_string(),
            "to" => condition.as_str())
        .increment(1);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match condition {
            Condition::Open => tracing::warn!(%provider, %channel, pause_ms, "provider left alone: it fails"),
            Condition::HalfOpen => tracing::info!(%provider, %channel, "provider is probed"),
            Condition::Recovering => tracing::info!(%provider, %channel, "provider is back: its share grows"),
            Condition::Closed => tracing::info!(%provider, %channel, "provider has its share again"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Ticket {
    /// Takes note of what the call came to; whether that has opened the breaker.
    pub(super) fn record(mut self, result: &Result<Accepted, SendError>, took: Duration) -> bool {
        let Some(call) = self.call.take() else { return false };
        self.guard.watched(|breaker| {
            let now = Instant::now();
            let before = breaker.condition(now);
            breaker.record(call, Answer::of(result), took, now);
            before != Condition::Open && breaker.condition(now) == Condition::Open
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.guard.lock().put_back(call);
        }
    }
}

/// Whether another provider than that of `lane` can carry the message at once. One that asked for time itself cannot, nor
/// one whose lane is full, unless `lane` is left alone: the message would come back here.
pub(super) fn another_carries(corridor: &Corridor, lane: &Lane, planned: &Planned) -> bool {
    let comes_back = lane.guard.share() > 0;
    let carries = |other: &Arc<Lane>| {
        other.provider.name() != lane.provider.name()
            && other.guard.is_in_use()
            && !other.guard.is_set_aside()
            && (!comes_back || other.has_room(planned.hand.facts.priority))
    };
    carriers(corridor, planned).into_iter().any(carries)
}

/// Looks up what became of what providers took. One whose messages do not arrive is left alone, unless it is the last
/// that can be used: where nobody's receipts come, the fault may be our own.
pub(super) async fn listen(corridor: &Corridor) -> Result<(), StoreError> {
    let mut seen: Vec<&ProviderName> = Vec::new();
    for lane in &corridor.lanes {
        let name = lane.provider.name();
        let waiting = lane.guard.followed().waiting();
        if seen.contains(&name) || waiting.is_empty() {
            continue;
        }
        seen.push(name);
        let heard = corridor.store.heard_of(&waiting).await?;
        if lane.guard.hear(&heard) && could_take_over(corridor, lane) && lane.guard.leave_alone() {
            tracing::warn!(provider = %name, channel = %lane.channel, "what this provider takes does not arrive");
            empty(corridor, name).await;
        }
    }
    Ok(())
}

/// Whether another provider is in use whose own messages arrive.
fn could_take_over(corridor: &Corridor, lane: &Lane) -> bool {
    corridor.lanes.iter().any(|other| {
        other.takes_over_from(lane)
            && other.provider.name() != lane.provider.name()
            && other.guard.is_in_use()
            && !other.guard.followed().are_bad()
    })
}

/// Gives what waits for a provider back to the ledger, so that another provider, or another worker, carries it.
pub(super) async fn empty(corridor: &Corridor, provider: &ProviderName) {
    for lane in corridor.lanes.iter().filter(|lane| lane.provider.name() == provider) {
        empty_lane(corridor, lane).await;
    }
}

/// The same of one of its lanes.
pub(super) async fn empty_lane(corridor: &Corridor, lane: &Lane) {
    let waiting = lane.queue.drain();
    let leases = waiting.iter().flat_map(Planned::releases).collect();
    corridor.release(leases).await;
}

/// Takes note of what people have taken out of service.
pub(super) async fn heed_holds(corridor: &Corridor) -> Result<(), StoreError> {
    let holds = corridor.store.directory(&[]).await?.holds;
    for lane in &corridor.lanes {
        let stops = |hold: &Hold| match hold.scope {
            HoldScope::Provider => hold.value == lane.provider.name().as_str(),
            _ => false,
        };
        lane.guard.held.store(holds.iter().any(stops), Ordering::Relaxed);
    }
    Ok(())
}

/// Whether no provider may be given a message of the channel, but for probes, because all of them fail, or have used up the
/// day's share.
pub(super) fn is_out(corridor: &Corridor, channel: Channel) -> bool {
    let mut lanes = live(corridor, channel).peekable();
    let is_out = |lane: &Arc<Lane>| lane.guard.share() == 0 || lane.gate.closed_until().is_some();
    lanes.peek().is_some() && lanes.all(is_out)
}

/// The channels of patients none of whose providers can be used: they fail, or were taken out of service.
pub(super) fn channels_out(corridor: &Corridor) -> Vec<Channel> {
    Channel::ALL.iter().copied().filter(|channel| is_unserved(corridor, *channel)).collect()
}

fn is_unserved(corridor: &Corridor, channel: Channel) -> bool {
    let mut lanes = live(corridor, channel).peekable();
    lanes.peek().is_some() && lanes.all(|lane| !lane.guard.is_in_use())
}

fn live(corridor: &Corridor, channel: Channel) -> impl Iterator<Item = &Arc<Lane>> {
    corridor.lanes.iter().filter(move |lane| lane.channel == channel && lane.setting == Setting::Live)
}

/// Says what runs on a backup or not at all: as a measure each time, in the log once a minute and when one becomes the other.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Of which channel, whether it was out, and when.
    said: Vec<(Channel, bool, Instant)>,
}

impl Alarm {
    pub(super) fn look(&mut self, corridor: &Corridor) {
        for lane in &corridor.lanes {
            let provider = lane.provider.name().to_string();
            let state = match lane.guard.condition() {
                Condition::Closed => 0.0,
                Condition::Recovering => 1.0,
                Condition::HalfOpen => 2.0,
                Condition::Open => 3.0,
            };
            metrics::gauge!("outreachd_provider_state", "provider" => provider).set(state);
        }
        for channel in Channel::ALL {
            self.look_at(corridor, *channel);
        }
    }

    fn look_at(&mut self, corridor: &Corridor, channel: Channel) {
        let mut bad: Vec<&str> = live(corridor, channel)
            .filter(|lane| !lane.guard.is_in_use())
            .map(|lane| lane.provider.name().as_str())
            .collect();
        bad.dedup();
        let out = is_unserved(corridor, channel);
        let flag = |on: bool| if on { 1.0 } else { 0.0 };
        let word = channel.as_str();
        metrics::gauge!("outreachd_channel_on_backup", "channel" => word).set(flag(!bad.is_empty() && !out));
        metrics::gauge!("outreachd_channel_out", "channel" => word).set(flag(out));
        if bad.is_empty() {
            self.said.retain(|(said, ..)| *said != channel);
            return;
        }
        let known = |(said, was_out, at): &(Channel, bool, Instant)| {
            (*said, *was_out) == (channel, out) && at.elapsed() < SAID_EVERY
        };
        if self.said.iter().any(known) {
            return;
        }
        self.said.retain(|(said, ..)| *said != channel);
        self.said.push((channel, out, Instant::now()));
        let providers = bad.join(", ");
        if out {
            tracing::warn!(%channel, providers, "no provider can be used: messages of this channel wait");
        } else {
            tracing::warn!(%channel, providers, "running on a backup: these providers fail, or are held");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outbound::FailureKind;

    /// Fails until it is left alone; probed at once.
    fn failing(probes: u32) -> Arc<Guard> {
        let name = ProviderName::parse("sms").unwrap();
        let settings = BreakerSettings { cool_down: Duration::ZERO, probes, ..BreakerSettings::default() };
        let guard = Guard::new(&name, Channel::Sms, settings, false);
        while let Some(ticket) = guard.start(None) {
            ticket.record(&Err(SendError::new(FailureKind::Transient, "x")), Duration::ZERO);
        }
        guard
    }

    #[test]
    fn a_probe_has_one_place_however_it_ends() {
        let guard = failing(3);
        let probes: Vec<Ticket> = std::iter::from_fn(|| guard.probe()).collect();
        assert_eq!((probes.len(), guard.room(100)), (3, 0));
        let mut probes = probes.into_iter().map(|probe| guard.start(Some(probe)).unwrap());
        probes.next().unwrap().record(&Ok(Accepted::default()), Duration::ZERO);
        assert_eq!(guard.room(100), 1, "one has its answer");
        drop(probes.next());
        assert_eq!(guard.room(100), 2, "one was not sent");
        drop(probes);
        assert_eq!(guard.room(100), 3);
    }

    #[test]
    fn a_probe_of_an_earlier_term_is_not_sent() {
        let guard = failing(2);
        let (one, two) = (guard.probe().unwrap(), guard.probe().unwrap());
        one.record(&Err(SendError::new(FailureKind::Ambiguous, "x")), Duration::ZERO);
        assert!(!guard.admits(Some(&two)));
        assert!(guard.start(Some(two)).is_none());
        assert_eq!(guard.room(100), 2, "it takes no place of the next ones");
    }
}
