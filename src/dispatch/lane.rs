//! One provider's lane: a bounded queue, a gate, and as many sends at once as the provider bears.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::failover::Guard;
use super::gate::{Gate, Wall};
use super::queue::{Queue, Whom};
use super::send::{self, Written};
use super::{Corridor, Planned, company, render};
use crate::config::Config;
use crate::config::provider::{BreakerSettings, Limit, Period};
use crate::domain::ids::AttemptId;
use crate::domain::outbound::Content;
use crate::domain::page::PageHash;
use crate::domain::phi::Phi;
use crate::domain::status::AttemptStatus;
use crate::domain::words::{Channel, Reason, SafetyMode};
use crate::policy::question::Served;
use crate::provider::Provider;
use crate::store::rows::{Begin, Failure, MessageFacts, Settlement, Spend, Then};
use crate::template::Rendered;

/// Chunks at once where nothing limits a lane: each waits for the disk once, and the disk takes several together.
const UNLIMITED_RUNNERS: usize = 4;
/// The share of the wire that is kept for urgent messages.
const URGENT_SHARE: usize = 8;

/// A text of several segments waits so long for the slots of all of them.
const NEAR: Duration = Duration::from_secs(5);
/// A ledger that is away is asked for slots so often.
const AWAY: Duration = Duration::from_millis(200);
/// Where there are no slots, messages whose leases end are looked for so often.
const STALE_EVERY: Duration = Duration::from_secs(1);

/// What a provider carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Real messages.
    Live,
    /// Jobs marked `test`.
    Test,
    /// What the safety mode keeps from leaving.
    Capture,
}

/// A provider with its place in the corridor.
#[derive(Debug)]
pub struct Carrier {
    pub provider: Arc<dyn Provider>,
    pub setting: Setting,
    pub limits: Vec<Limit>,
    pub weight: u32,
    pub max_in_flight: usize,
    /// Its owner has signed an agreement to keep health information.
    pub baa: bool,
    /// Numbers it sends from, where it has several.
    pub senders: Vec<String>,
    /// When it is left alone.
    pub breaker: BreakerSettings,
}

/// A message that is rendered and has its slot.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) planned: Planned,
    pub(super) rendered: Rendered,
    pub(super) at: Instant,
    /// When it got the slot.
    pub(super) taken: Instant,
    /// What was taken from budgets for it.
    pub(super) spend: Option<Spend>,
}

/// A lane. A provider has one, or one for each sender where a limit counts senders apart.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) channel: Channel,
    pub(super) sender: Option<String>,
    pub(super) queue: Queue<Planned>,
    /// Of its provider; the provider's other lanes have the same.
    pub(super) guard: Arc<Guard>,
    pub(super) setting: Setting,
    pub(super) senders: Vec<String>,
    pub(super) weight: u32,
    /// What every send passes last.
    pub(super) walls: Vec<Wall>,
    pub(super) gate: Gate,
    limited: bool,
    max_in_flight: usize,
    pub(super) baa: bool,
    wire: Arc<Semaphore>,
    urgent_wire: Arc<Semaphore>,
}

impl Lane {
    /// Whether it leaves by the slots of the rate gate.
    pub(super) fn is_limited(&self) -> bool {
        self.limited
    }

    /// Who takes chunks of the queue. While one is written down another is rendered; a lane with a limit has one for all,
    /// because its slots are given out in order.
    pub(super) fn runners(&self) -> impl Iterator<Item = Whom> {
        let many = if self.limited { 1 } else { UNLIMITED_RUNNERS };
        std::iter::repeat_n(Whom::All, many).chain([Whom::Urgent])
    }

    /// How many sends are under way.
    pub(super) fn in_flight(&self) -> usize {
        let free = self.wire.available_permits() + self.urgent_wire.available_permits();
        self.max_in_flight.saturating_sub(free)
    }

    /// The places on the wire that somebody may take. Where there are few, nobody has any of their own.
    fn wire(&self, whom: Whom) -> &Arc<Semaphore> {
        match whom {
            Whom::Urgent if self.max_in_flight >= URGENT_SHARE => &self.urgent_wire,
            _ => &self.wire,
        }
    }

    /// How many messages find room here and may be sent, when nothing waits.
    pub(super) fn whole(&self) -> usize {
        self.guard.room(self.queue.capacity())
    }

    /// How many more messages find room here and may be sent.
    pub(super) fn room(&self) -> usize {
        self.guard.room(self.queue.room())
    }

    /// When an urgent message of one segment leaves that is ready to.
    pub(super) async fn slot(&self) -> Instant {
        self.gate.take(1, true).await.pop().unwrap_or_else(Instant::now)
    }

    /// Adds slots until there are so many for one text. Under a slow limit it would wait for its last one longer than it
    /// is in this hand: it leaves with those that are near, and the rest is owed.
    async fn fill(&self, corridor: &Arc<Corridor>, slots: &mut VecDeque<Instant>, weight: usize) {
        while slots.len() < weight {
            let missing = weight - slots.len();
            let each = self.gate.spacing();
            let far = each.saturating_mul(u32::try_from(missing).unwrap_or(u32::MAX)) > NEAR;
            if far && !slots.is_empty() {
                let owed = self.gate.owe(missing, corridor.store.as_ref(), &corridor.clock).await;
                if let Err(error) = owed {
                    tracing::warn!(%error, provider = %self.provider.name(), "a text leaves on fewer slots than it takes");
                }
                return;
            }
            slots.extend(self.gate.take(missing, true).await);
        }
    }

    /// How many more slots could be made use of, beside so many that are waited for.
    fn usable(&self, wanted: usize) -> usize {
        let free = self.wire.available_permits() + self.urgent_wire.available_permits();
        self.queue.len().saturating_sub(wanted).min(free)
    }

    /// Whether the two carry the same messages.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        self.channel == other.channel && self.setting == other.setting
    }
}

/// The lanes of these carriers.
pub(super) fn build(carriers: Vec<Carrier>, config: &Config) -> Vec<Arc<Lane>> {
    let mut lanes = Vec::new();
    let served: Vec<(Channel, Setting)> =
        carriers.iter().map(|carrier| (carrier.provider.channel(), carrier.setting)).collect();
    for carrier in carriers {
        let channel = carrier.provider.channel();
        let alone = served.iter().filter(|other| **other == (channel, carrier.setting)).count() == 1;
        let guard = Guard::new(carrier.provider.name(), channel, carrier.breaker, alone);
        let max_in_flight = carrier.max_in_flight.max(1);
        let apart = carrier.limits.iter().any(|l| l.per_sender);
        let senders = if apart { all_senders(&carrier, config) } else { Vec::new() };
        let each: Vec<Option<String>> =
            if senders.is_empty() { vec![None] } else { senders.into_iter().map(Some).collect() };
        for sender in each {
            let name = carrier.provider.name().as_str();
            let gate = Gate::new(name, sender.as_deref(), &carrier.limits, config.worker.first_byte);
            lanes.push(Arc::new(Lane {
                provider: carrier.provider.clone(),
                channel,
                sender,
                queue: Queue::new(capacity(&carrier.limits, config)),
                guard: guard.clone(),
                setting: carrier.setting,
                senders: carrier.senders.clone(),
                walls: Wall::all(&carrier.limits),
                gate,
                limited: !carrier.limits.is_empty(),
                weight: carrier.weight.max(1),
                max_in_flight,
                baa: carrier.baa,
                wire: Arc::new(Semaphore::new(max_in_flight - max_in_flight / URGENT_SHARE)),
                urgent_wire: Arc::new(Semaphore::new(max_in_flight / URGENT_SHARE)),
            }));
        }
    }
    lanes
}

fn all_senders(carrier: &Carrier, config: &Config) -> Vec<String> {
    let of_sites = config.sites.iter().flat_map(|site| match carrier.provider.channel() {
        Channel::Sms => site.senders.sms.as_slice(),
        Channel::Voice => site.senders.voice.as_slice(),
        Channel::Email | Channel::Portal => &[],
    });
    let mut senders: Vec<String> = carrier.senders.iter().chain(of_sites).cloned().collect();
    senders.sort();
    senders.dedup();
    senders
}

/// Has slots reserved ahead, as many as can be used, until nothing is in hand any more.
pub(super) async fn keep_slots(corridor: Arc<Corridor>, lane: Arc<Lane>) {
    let drained = super::life::drained(&corridor);
    tokio::pin!(drained);
    loop {
        let refill = lane.gate.refill(|wanted| lane.usable(wanted), corridor.store.as_ref(), &corridor.clock);
        let look = tokio::select! {
            look = refill => look,
            () = &mut drained => return,
        };
        let again = look.unwrap_or_else(|error| {
            tracing::warn!(%error, provider = %lane.provider.name(), "no slots from the rate gate");
            Some(AWAY)
        });
        let pause = async {
            match again {
                Some(pause) => tokio::time::sleep(pause).await,
                None => lane.gate.asked().await,
            }
        };
        tokio::select! {
            () = pause => {}
            () = &mut drained => return,
        }
    }
}

/// As much as goes out within an eighth of a lease, so that as many workers can share a limit and none holds what runs
/// out of time in its memory.
fn capacity(limits: &[Limit], config: &Config) -> usize {
    let per_second = |limit: &Limit| match limit.per {
        Period::Second => f64::from(limit.count),
        Period::Minute => f64::from(limit.count) / 60.0,
        Period::Hour => f64::from(limit.count) / 3600.0,
        Period::Day => f64::INFINITY,
    };
    let rate = limits.iter().map(per_second).fold(f64::INFINITY, f64::min);
    let least = usize::try_from(config.worker.lane).unwrap_or(1000);
    if rate.is_infinite() {
        return least.max(2 * usize::try_from(config.worker.batch).unwrap_or(500));
    }
    let within = |seconds: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive count, far below 2^53"
        )]
        let count = (rate * seconds) as usize;
        count
    };
    least.max(within(1.0)).min(within(config.worker.lease_local.as_secs_f64() / 8.0)).max(1)
}

/// What carries a test, or what is none, to this address.
pub(super) fn setting(corridor: &Corridor, is_test: bool, address: Option<&Phi>) -> Setting {
    let safety = &corridor.config.safety;
    match safety.mode {
        _ if is_test => Setting::Test,
        SafetyMode::Live => Setting::Live,
        SafetyMode::AllowList if address.is_some_and(|a| safety.allows(a)) => Setting::Live,
        SafetyMode::AllowList | SafetyMode::Capture => Setting::Capture,
    }
}

/// What this message could be carried over.
pub(super) fn served(corridor: &Corridor, facts: &MessageFacts) -> Vec<Served> {
    let setting = setting(corridor, facts.test, None);
    let mut served: Vec<Served> = Vec::new();
    for lane in corridor.lanes.iter().filter(|l| l.setting == setting) {
        match served.iter_mut().find(|s| s.channel == lane.channel) {
            Some(known) => known.baa |= lane.baa,
            None => served.push(Served { channel: lane.channel, baa: lane.baa }),
        }
    }
    served
}

pub(super) async fn run(corridor: Arc<Corridor>, lane: Arc<Lane>, whom: Whom, tasks: TaskTracker) {
    let most = usize::try_from(corridor.config.worker.batch).unwrap_or(500).min(lane.gate.round());
    let free = lane.wire(whom);
    loop {
        let (waiting, urgent) = tokio::select! {
            waiting = lane.queue.wait(whom) => waiting,
            () = corridor.stopping.cancelled() => break,
        };
        // Enough room on the wire for a batch that is worth a statement; an urgent message waits for no company.
        let worth = if urgent { 1 } else { waiting.min(lane.max_in_flight / 4).min(most).max(1) };
        let Ok(permits) = u32::try_from(worth) else { continue };
        let Ok(mut wire) = free.clone().acquire_many_owned(permits).await else { break };
        let more = waiting.min(most).saturating_sub(worth).min(free.available_permits());
        if let Ok(more) = u32::try_from(more)
            && let Ok(more) = free.clone().try_acquire_many_owned(more)
        {
            wire.merge(more);
        }
        // No more is begun than has its place on the wire: its first byte leaves soon after.
        let many = wire.num_permits();
        let slots = tokio::select! {
            slots = lane.gate.take(many, urgent) => slots,
            // Slots of a slow limit lie further apart than a message is in this hand: whoever cannot be begun any more is
            // claimed anew, and is here when the slot comes.
            () = tokio::time::sleep(STALE_EVERY) => {
                let stale = lane.queue.take_all(|planned| planned.hand.deadline <= Instant::now());
                corridor.release(stale.iter().flat_map(Planned::releases).collect()).await;
                continue;
            }
            () = corridor.stopping.cancelled() => break,
        };
        if !slots.is_empty() {
            chunk(&corridor, &lane, whom, slots, wire, &tasks).await;
            corridor.freed.notify_one();
        }
    }
    corridor.release(lane.queue.drain().iter().flat_map(Planned::releases).collect()).await;
}

/// Renders what the slots allow, writes it down, and sends what the ledger lets go.
async fn chunk(
    corridor: &Arc<Corridor>,
    lane: &Arc<Lane>,
    whom: Whom,
    slots: Vec<Instant>,
    wire: OwnedSemaphorePermit,
    tasks: &TaskTracker,
) {
    let taken = Instant::now();
    let mut slots = slots.into_iter().collect::<VecDeque<_>>();
    let mut ready: Vec<Ready> = Vec::new();
    let mut back = Vec::new();
    while !slots.is_empty() {
        super::breathe(ready.len() + back.len()).await;
        let Some(mut planned) = lane.queue.take(whom) else { break };
        if planned.hand.deadline <= Instant::now() || !lane.guard.admits(planned.probe.as_ref()) {
            back.extend(planned.releases());
            continue;
        }
        let digits = match super::questions::digits(corridor, &planned).await {
            Ok(Some(digits)) => digits,
            // Whoever they belong to could not answer.
            Ok(None) => {
                unfit(corridor, planned, Reason::SharedContact).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, message = %planned.hand.facts.id, "what it asks could not be written down");
                back.extend(planned.releases());
                continue;
            }
        };
        // The templates may have been exchanged since it was planned.
        let others = |one: &Planned| {
            corridor.approved.is_other(&one.hand.facts, corridor.catalogue.current().bundle_hash())
        };
        if others(&planned) || planned.riders.iter().any(others) {
            back.extend(planned.releases());
            continue;
        }
        let rendered = match company::rendered(corridor, &mut planned, &digits).await {
            Ok(rendered) => rendered,
            Err(error) => {
                unfit(corridor, planned, error.reason).await;
                continue;
            }
        };
        // An SMS takes a slot for each segment and leaves with the last one that is near.
        let weight = weight(rendered.segments);
        lane.fill(corridor, &mut slots, weight).await;
        if let Some(at) = slots.drain(..weight.min(slots.len())).next_back() {
            ready.push(Ready { planned, rendered, at, taken, spend: None });
        }
    }
    lane.gate.put_back(slots.into_iter());
    // The provider may have begun to fail while slots were waited for.
    let (ready, stopped): (Vec<_>, Vec<_>) =
        ready.into_iter().partition(|one| lane.guard.admits(one.planned.probe.as_ref()));
    back.extend(stopped.iter().flat_map(|one| one.planned.releases()));
    corridor.release(back).await;
    let allowed = super::budget::afford(corridor, ready).await;
    begin(corridor, lane, allowed, wire, tasks).await;
}

fn weight(segments: u32) -> usize {
    usize::try_from(segments).unwrap_or(1).max(1)
}

/// A channel that cannot carry the message is passed over: the next one may fit.
async fn unfit(corridor: &Corridor, planned: Planned, reason: Reason) {
    let mut hand = planned.hand;
    metrics::counter!("outreachd_unfit_total", "channel" => planned.route.channel.as_str(), "reason" => reason.as_str())
        .increment(1);
    hand.unfit.push((planned.route.channel, reason));
    corridor.plan_later(hand).await;
}

async fn begin(
    corridor: &Arc<Corridor>,
    lane: &Arc<Lane>,
    ready: Vec<Ready>,
    mut wire: OwnedSemaphorePermit,
    tasks: &TaskTracker,
) {
    if ready.is_empty() {
        return;
    }
    let hash = corridor.catalogue.current().bundle_hash().to_owned();
    let rows: Vec<Begin> = ready.iter().map(|one| row(lane, &one.planned, &one.rendered, &hash)).collect();
    let asked = Instant::now();
    let begun = match corridor.store.begin(corridor.worker, &rows).await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%error, messages = rows.len(), "attempts could not be written");
            tasks.spawn(undo(corridor.clone(), rows, ready));
            return;
        }
    };
    let committed = Instant::now();
    crate::faults::fault_point!("begun");
    corridor.clock.read(asked, committed, begun.now);
    // What was committed after the ledger had been asked may be unknown to it: a stop, an opt-out.
    let first_byte = corridor.config.worker.first_byte;
    let latest = (committed + first_byte).min(asked + first_byte * 2);
    let mut allowed: std::collections::HashSet<AttemptId> = begun.attempts.into_iter().collect();
    super::traces::begun(corridor, &rows, &allowed, asked, committed);
    let mut refused = Vec::new();
    for (begin, one) in rows.into_iter().zip(ready) {
        if !allowed.remove(&begin.attempt) {
            refused.extend(one.planned.releases());
            lane.gate.unused.note(one.rendered.segments.max(1));
            super::budget::give_back(corridor, one.spend).await;
            continue;
        }
        let Ready { mut planned, rendered, at, taken, spend } = one;
        // They stand in the ledger as carried, and are in no hand any more.
        planned.riders.clear();
        let Some(wire) = wire.split(1) else { break };
        let sender = render::sender(corridor, &planned, &lane.senders);
        let written = Written {
            attempt: begin.attempt,
            number: begin.number,
            content: render::addressed(rendered.content, &planned),
            locale: rendered.locale,
            segments: rendered.segments,
            spend,
            planned,
            sender,
            at,
            taken,
            latest,
        };
        tasks.spawn(send::carry(corridor.clone(), lane.clone(), written, wire));
    }
    corridor.release(refused).await;
}

/// Nobody knows whether a `begin` that failed was committed, but nothing was sent: what stands in the ledger is settled
/// as such, and the leases are given back, as soon as the ledger answers again.
async fn undo(corridor: Arc<Corridor>, rows: Vec<Begin>, ready: Vec<Ready>) {
    let at = corridor.clock.timestamp(Instant::now());
    let settlements: Vec<Settlement> = rows
        .into_iter()
        .map(|begin| Settlement {
            facts: begin.facts,
            attempt: begin.attempt,
            number: begin.number,
            channel: begin.route.channel,
            provider: begin.provider,
            status: AttemptStatus::Failed,
            provider_ref: None,
            failure: Some(Failure::NotSent),
            code: None,
            recipient: begin.recipient,
            then: Then::Retry(at),
            patience: None,
            at,
        })
        .collect();
    // Without their leases they cannot be begun any more: what stands then is all there will be.
    corridor.release(ready.iter().flat_map(|one| one.planned.releases()).collect()).await;
    super::settle::write(&corridor, &settlements).await;
    for one in ready {
        super::send::uncount(&corridor, &one.planned).await;
        super::budget::give_back(&corridor, one.spend).await;
    }
}

fn row(lane: &Lane, planned: &Planned, rendered: &Rendered, hash: &str) -> Begin {
    let work = &planned.hand.work;
    Begin {
        facts: planned.hand.facts.clone(),
        token: work.token,
        attempt: AttemptId::generate(),
        step: work.step,
        number: work.tries + 1,
        provider: lane.provider.name().clone(),
        route: planned.route.clone(),
        dedupes: lane.provider.dedupes(),
        segments: u16::try_from(rendered.segments).unwrap_or(u16::MAX),
        template_hash: hash.to_owned(),
        locale: rendered.locale.clone(),
        page: rendered.unsubscribe_url.as_deref().map(PageHash::in_link),
        state: planned.state.clone(),
        valid_until: planned.valid_until,
        explanation: planned.explanation.clone(),
        recipient: planned.reader.recipient,
        count: planned.count.clone(),
        patience: planned.patience,
        riders: planned.riders.iter().map(Planned::riding).collect(),
        text: match &rendered.content {
            Content::Sms { text, .. } if lane.provider.looks_up() => Some(text.clone()),
            _ => None,
        },
    }
}
