//! One provider's lane: a bounded queue, a gate, and as many sends at once as the provider bears.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::berths::{Berth, Berths};
use super::failover::{self, Guard};
use super::gate::{self, Gate, Permit, Slot};
use super::queue::{Queue, SHARE, Whom};
use super::send::{self, Written};
use super::wall::Wall;
use super::{Corridor, PAUSES, Planned, budget, company, render};
use crate::config::Config;
use crate::config::limits::LimitsSection;
use crate::config::provider::{BreakerSettings, Limit};
use crate::domain::failure::Failure;
use crate::domain::ids::AttemptId;
use crate::domain::outbound::Content;
use crate::domain::page::PageHash;
use crate::domain::phi::Phi;
use crate::domain::status::AttemptStatus;
use crate::domain::words::{Channel, Priority, Reason, SafetyMode};
use crate::policy::decide::UNREAD;
use crate::policy::question::Served;
use crate::provider::Provider;
use crate::store::rows::{Begin, Charge, MessageFacts, Settlement, Spend, Then};
use crate::store::{StoreError, again_if_contended};
use crate::template::Rendered;

/// Chunks that are written down at once: each waits for the disk once, and the disk takes several together.
const BEGINS: usize = 4;
/// Where messages are under way already, a few wait so long for more: they are written down together.
const GATHER: Duration = Duration::from_millis(10);
/// No lane holds fewer: each class has its share of them, and so has what the ledger has kept.
const EACH: usize = 4;
/// The share of the wire that is kept for urgent messages.
const URGENT_SHARE: usize = 8;

/// Of the time in which what is written down has to leave, a place on the wire is waited for this part: what is on it may
/// slow down meanwhile.
const AHEAD: u32 = 10;

/// What another transaction was in the way of is written once more, soon: slots are held for it.
const AT_ONCE: [Duration; 1] = [Duration::from_millis(20)];
/// The ledger is asked for the time so often before the first slot is taken.
const FIRST_LOOKS: usize = 5;
/// A ledger that is away is asked for slots so often.
const AWAY: Duration = Duration::from_millis(200);

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
    /// Numbers it sends from; none where it chooses them itself.
    pub senders: Vec<String>,
    /// When it is left alone.
    pub breaker: BreakerSettings,
}

/// A message that is rendered, and may be begun once it has its permit.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) planned: Planned,
    pub(super) rendered: Rendered,
    /// The templates that it was rendered with.
    hash: Arc<str>,
    /// What it is reckoned at.
    pub(super) charge: Charge,
    /// What was taken from budgets for it.
    pub(super) spend: Option<Spend>,
}

impl Ready {
    /// An SMS takes a slot for each segment.
    fn weight(&self) -> usize {
        usize::try_from(self.rendered.segments).unwrap_or(1).max(1)
    }
}

/// Somebody's turn to take a chunk of the queue.
struct Turn {
    whom: Whom,
    /// One for each message.
    berth: Berth,
    /// Held until all of it stands in the ledger; an urgent message waits for no such place.
    begins: Option<OwnedSemaphorePermit>,
}

/// A lane. A provider has one, or one for each sender where a limit counts senders apart.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) channel: Channel,
    pub(super) sender: Option<String>,
    pub(super) queue: Queue<Planned>,
    capacity: Capacity,
    /// Of its provider; the provider's other lanes have the same.
    pub(super) guard: Arc<Guard>,
    pub(super) setting: Setting,
    pub(super) senders: Vec<String>,
    pub(super) weight: u32,
    /// What every send passes last. What is no limit of a sender, the provider's lanes share.
    pub(super) walls: Vec<Arc<Wall>>,
    /// It is the first of its provider's lanes: it tells how full the walls are that they share.
    pub(super) leads: bool,
    pub(super) gate: Arc<Gate>,
    max_in_flight: usize,
    pub(super) baa: bool,
    berths: Arc<Berths>,
    urgent_berths: Arc<Berths>,
    begins: Arc<Semaphore>,
    /// Seconds that a send takes; had once there is somebody to tell them to.
    took: OnceLock<metrics::Histogram>,
    /// Counts what was sent, as most of it is; had at the first of them.
    pub(super) sent: OnceLock<metrics::Counter>,
}

impl Lane {
    /// A send has taken so long.
    pub(super) fn took(&self, time: Duration) {
        let name = || self.provider.name().to_string();
        let took =
            self.took.get_or_init(|| metrics::histogram!("outreachd_send_seconds", "provider" => name()));
        took.record(time.as_secs_f64());
    }

    /// How many sends are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.berths.under_way() + self.urgent_berths.under_way()
    }

    /// How many have left the queue and have no answer yet.
    pub(super) fn taken_out(&self) -> usize {
        self.berths.taken() + self.urgent_berths.taken()
    }

    /// Those that somebody may take. Where there are few places, nobody has any of their own.
    fn berths(&self, whom: Whom) -> &Arc<Berths> {
        match whom {
            Whom::Urgent if self.max_in_flight >= URGENT_SHARE => &self.urgent_berths,
            _ => &self.berths,
        }
    }

    /// Whether there is more that is urgent than its share of the wire carries.
    fn is_crowded(&self) -> bool {
        self.berths(Whom::Urgent).available() == 0
    }

    /// How many messages find room here and may be sent, when nothing waits.
    pub(super) fn whole(&self) -> usize {
        self.sendable(self.queue.capacity())
    }

    /// So many workers have the same limits.
    pub(super) fn share(&self, workers: usize) {
        self.queue.resize(self.capacity.among(workers));
    }

    /// Whether one more message finds room here.
    pub(super) fn has_room(&self, priority: Priority) -> bool {
        self.queue.room(priority) > 0 && self.gate.closed_until().is_none()
    }

    /// How many more messages find room here and may be sent.
    pub(super) fn room(&self) -> usize {
        self.sendable(self.queue.room(Priority::Normal))
    }

    /// The same for what is urgent.
    pub(super) fn room_for_urgent(&self) -> usize {
        self.sendable(self.queue.room(Priority::Urgent))
    }

    /// The same for what has just come.
    pub(super) fn room_for_fresh(&self) -> usize {
        self.sendable(self.queue.room_for_fresh(Priority::Normal))
    }

    /// How many of so many that find room may be sent, while the day's share lasts.
    fn sendable(&self, room: usize) -> usize {
        if self.gate.closed_until().is_some() { 0 } else { self.guard.room(room) }
    }

    /// Whether what has just come leaves the rest of the room to what has waited longer.
    pub(super) fn is_for_others(&self, priority: Priority) -> bool {
        self.queue.room_for_fresh(priority) == 0
    }

    /// Waits for the slots, for others should they be missed on a busy machine, and for the walls. `None`: that is later
    /// than `latest`.
    pub(super) async fn leave(&self, mut permit: Permit, segments: u32, latest: Instant) -> Option<Slot> {
        let mut slot = permit.slot(latest).await?;
        while slot.is_missed() {
            slot = permit.slot(latest).await?;
        }
        let slot = slot.with_paid(&mut permit);
        tokio::time::timeout_at(latest, Wall::pass(&self.walls, segments)).await.ok()?;
        Some(slot).filter(|_| Instant::now() <= latest)
    }

    /// The part of a permit with which a text of such a weight leaves: each of its segments takes a slot. `None`: they do not
    /// come in time.
    async fn part(
        &self,
        corridor: &Corridor,
        permit: &mut Permit,
        weight: usize,
        deadline: Instant,
    ) -> Option<Permit> {
        let mut part = permit.split(weight);
        if weight == 1 || self.gate.is_open() {
            return Some(part);
        }
        if part.many() == weight && !self.gate.spreads(weight) {
            return Some(part);
        }
        // Who waits for the last of them has none before; who does not leaves with the first.
        let waits = self.gate.is_waited_for(weight);
        drop(part.split(part.many().saturating_sub(usize::from(!waits))));
        let paid = async {
            // Of a slow limit there may be slots enough, and no room in its last span.
            if self.gate.is_far(weight) && self.opens(weight).now_or_never().is_none() {
                // Others have its slot meanwhile.
                drop(part.split(1));
                self.opens(weight).await;
                part.renew().await;
            }
            let mut paid = part.pay(weight, corridor.store.as_ref(), &corridor.clock).await?;
            while !paid.is_all {
                let soon = Instant::now() + self.gate.time_of(1).max(GATHER);
                tokio::time::sleep_until(paid.last.map_or(soon, |last| last.max(soon))).await;
                paid = part.pay(weight, corridor.store.as_ref(), &corridor.clock).await?;
            }
            if waits {
                tokio::time::sleep_until(paid.last.unwrap_or_else(Instant::now)).await;
                self.opens(weight).await;
                part.renew().await;
            }
            Ok::<_, StoreError>(part)
        };
        tokio::select! {
            paid = paid => paid
                .inspect_err(|error| {
                    tracing::warn!(%error, provider = %self.provider.name(), "no slots from the rate gate for a long text");
                })
                .ok(),
            () = tokio::time::sleep_until(deadline) => None,
            () = corridor.stopping.cancelled() => None,
        }
    }

    /// Waits until such a text might pass all walls.
    async fn opens(&self, weight: usize) {
        for wall in &self.walls {
            wall.opens(weight).await;
        }
    }

    /// How many more slots could be made use of, beside those that are waited for.
    fn usable(&self) -> usize {
        self.queue.len().min(self.berths.available() + self.urgent_berths.available())
    }

    /// Whether it may have whatever the other one carries.
    pub(super) fn takes_over_from(&self, other: &Self) -> bool {
        let serves = |lane: &Self| (lane.channel, lane.setting, lane.baa);
        may_take_over(serves(self), serves(other))
    }
}

/// Whether one that serves so may have whatever the other one carries: what only a trusted one may see takes another such.
fn may_take_over(own: (Channel, Setting, bool), other: (Channel, Setting, bool)) -> bool {
    (own.0, own.1) == (other.0, other.1) && (own.2 || !other.2)
}

/// The lanes of these carriers.
pub(super) fn build(carriers: Vec<Carrier>, config: &Config) -> Vec<Arc<Lane>> {
    let mut lanes = Vec::new();
    let serves = |carrier: &Carrier| (carrier.provider.channel(), carrier.setting, carrier.baa);
    let served: Vec<_> = carriers.iter().map(serves).collect();
    for carrier in carriers {
        let channel = carrier.provider.channel();
        // It would take over from itself.
        let alone = served.iter().filter(|other| may_take_over(**other, serves(&carrier))).count() == 1;
        let guard = Guard::new(carrier.provider.name(), channel, carrier.breaker, alone);
        let max_in_flight = carrier.max_in_flight.max(1);
        let apart = carrier.limits.iter().any(|l| l.per_sender);
        let senders = if apart { all_senders(&carrier, config) } else { Vec::new() };
        let mut each: Vec<Option<String>> = senders.into_iter().map(Some).collect();
        // Beside the numbers of sites it chooses among its own.
        if each.is_empty() || carrier.senders.is_empty() {
            each.push(None);
        }
        let walls = Wall::all(&carrier.limits);
        for (place, sender) in each.into_iter().enumerate() {
            let name = carrier.provider.name().as_str();
            let gate = Gate::new(name, sender.as_deref(), &carrier.limits, config.worker.first_byte);
            let ahead = config.worker.first_byte / AHEAD;
            let capacity = Capacity::of(&carrier.limits, config);
            lanes.push(Arc::new(Lane {
                provider: carrier.provider.clone(),
                channel,
                sender,
                queue: Queue::new(capacity.alone),
                capacity,
                guard: guard.clone(),
                setting: carrier.setting,
                senders: carrier.senders.clone(),
                walls: Wall::of_sender(&walls),
                leads: place == 0,
                gate,
                weight: carrier.weight.max(1),
                max_in_flight,
                baa: carrier.baa,
                berths: Berths::new(max_in_flight - max_in_flight / URGENT_SHARE, ahead),
                urgent_berths: Berths::new(max_in_flight / URGENT_SHARE, ahead),
                begins: Arc::new(Semaphore::new(BEGINS)),
                took: OnceLock::new(),
                sent: OnceLock::new(),
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
    let store = corridor.store.as_ref();
    // The first answers of a process are slow, and a slow one tells the time badly: its slots would lie beside those of
    // others.
    for _ in 0..FIRST_LOOKS {
        let asked = Instant::now();
        if let Ok(now) = store.ping().await {
            corridor.clock.read(asked, Instant::now(), now);
        }
    }
    let no_slots = |error: &StoreError| {
        tracing::warn!(%error, provider = %lane.provider.name(), "no slots from the rate gate");
    };
    let keep = async {
        loop {
            let look = lane.gate.refill(lane.usable(), store, &corridor.clock).await;
            if lane.gate.closed_until().is_some() {
                failover::empty_lane(&corridor, &lane).await;
            }
            match look.inspect_err(no_slots).unwrap_or(Some(AWAY)) {
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = lane.gate.late() => {}
                },
                None => tokio::select! {
                    () = lane.gate.asked() => {}
                    () = lane.gate.late() => {}
                },
            }
        }
    };
    // Each leaves at its moment, however busy the stages before are.
    let gate = lane.gate.clone();
    let hands = corridor.wire.handle().spawn(async move { gate.hand_out().await });
    let mut hands = AbortOnDropHandle::new(hands);
    tokio::select! {
        () = keep => {}
        () = super::life::drained(&corridor) => {}
        // It falls with what it hands out for, and both are begun anew.
        Err(fallen) = &mut hands => {
            if let Ok(panic) = fallen.try_into_panic() {
                resume_unwind(panic);
            }
        }
    }
    drop(hands);
    if let Err(error) = lane.gate.close(store).await {
        no_slots(&error);
    }
}

/// How many wait in a lane.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    /// Where no other worker has the same limits: as much as goes out within an eighth of a lease, so that nobody holds what
    /// runs out of time in its memory.
    alone: usize,
    /// However many there are: enough for a second, in which more is fetched, and for each class.
    least: usize,
}

impl Capacity {
    fn of(limits: &[Limit], config: &Config) -> Self {
        let per_second =
            |limit: &Limit| gate::rate(*limit).map_or(f64::INFINITY, |rate| rate.count / rate.seconds);
        let rate = limits.iter().map(per_second).fold(f64::INFINITY, f64::min);
        let usual = usize::try_from(config.worker.lane).unwrap_or(1000);
        if rate.is_infinite() {
            let usual = usual.max(2 * config.worker.batch());
            return Self { alone: usual, least: usual };
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
        let second = within(1.0);
        let alone = usual.max(second).min(within(config.worker.lease_local.as_secs_f64() / 8.0)).max(EACH);
        Self { alone, least: second.clamp(EACH, alone) }
    }

    /// The part of one among so many workers: what waits in the lanes of all of them goes before whoever comes.
    fn among(self, workers: usize) -> usize {
        (self.alone / workers.max(1)).max(self.least)
    }
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

/// What this message could be carried over. Where only listed addresses are written to, a captured message too says no
/// more than its real provider may see: a trial shows what would be, and whoever is listed gets what is meant for them.
pub(super) fn served(corridor: &Corridor, facts: &MessageFacts) -> Vec<Served> {
    let setting = setting(corridor, facts.test, None);
    let trusted = |channel: Channel, setting: Setting| {
        let mut lanes =
            corridor.lanes.iter().filter(|l| l.channel == channel && l.setting == setting).peekable();
        lanes.peek().is_some().then(|| lanes.any(|lane| lane.baa))
    };
    let is_trial = setting == Setting::Capture && corridor.config.safety.mode == SafetyMode::AllowList;
    let served = |channel: &Channel| {
        let own = trusted(*channel, setting)?;
        let real = is_trial.then(|| trusted(*channel, Setting::Live)).flatten();
        Some(Served { channel: *channel, baa: real.unwrap_or(own) })
    };
    Channel::ALL.iter().filter_map(served).collect()
}

pub(super) async fn run(corridor: Arc<Corridor>, lane: Arc<Lane>, whom: Whom, tasks: TaskTracker) {
    loop {
        let turn = tokio::select! {
            biased;
            () = corridor.stopping.cancelled() => break,
            turn = turn(&corridor, &lane, whom) => turn,
        };
        let Some(turn) = turn else { break };
        let ready = chunk(&corridor, &lane, turn.whom, turn.berth.many()).await;
        pass_on(&corridor, &lane, ready, turn, &tasks).await;
        corridor.freed.notify_one();
    }
    corridor.release(lane.queue.close().iter().flat_map(Planned::releases).collect()).await;
}

/// Waits for something to do and for room to do it. `None`: never again.
async fn turn(corridor: &Corridor, lane: &Lane, whom: Whom) -> Option<Turn> {
    let most = corridor.config.worker.batch().min(lane.gate.round());
    let begins = match whom {
        Whom::All | Whom::Others => Some(lane.begins.clone().acquire_owned().await.ok()?),
        Whom::Urgent => None,
    };
    let wait = || lane.queue.wait(whom, || lane.is_crowded());
    let (mut waiting, mut of) = wait().await;
    if of == Whom::Others && waiting < lane.max_in_flight / 2 && lane.taken_out() > 0 {
        tokio::time::sleep(GATHER).await;
        (waiting, of) = wait().await;
    }
    if whom == Whom::Urgent && lane.is_crowded() {
        lane.queue.look_again();
    }
    // Enough of them for a batch that is worth a statement; an urgent message waits for no company.
    let worth = match of {
        Whom::Others => waiting.min(lane.max_in_flight / 4).min(most).max(1),
        Whom::All | Whom::Urgent => 1,
    };
    let berth = lane.berths(whom).take(worth, waiting.min(most)).await.ok()?;
    Some(Turn { whom: of, berth, begins })
}

/// Renders as many as there are places for on the wire, and slots that lie near one another.
async fn chunk(corridor: &Arc<Corridor>, lane: &Lane, whom: Whom, places: usize) -> VecDeque<Ready> {
    let most = lane.gate.round();
    // The same from the look at what it reveals to the text, though others may come meanwhile.
    let catalogue = corridor.catalogue.current();
    let hash: Arc<str> = catalogue.bundle_hash().into();
    let mut ready: Vec<Ready> = Vec::new();
    let mut back = Vec::new();
    let mut weight = 0;
    while ready.len() < places && weight < most {
        super::breathe(ready.len() + back.len()).await;
        let Some(mut planned) = lane.queue.take(whom) else { break };
        if planned.hand.deadline <= Instant::now() || !lane.guard.admits(planned.probe.as_ref()) {
            back.extend(planned.releases());
            continue;
        }
        let digits = match super::questions::digits(corridor, &catalogue, &planned).await {
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
            corridor.approved.is_other(&one.hand.facts, &catalogue) || !render::is_within(&catalogue, one)
        };
        if others(&planned) || planned.riders.iter().any(others) {
            back.extend(planned.releases());
            continue;
        }
        let text = AssertUnwindSafe(company::rendered(corridor, &catalogue, &mut planned, &digits));
        let Ok(text) = text.catch_unwind().await else {
            // One text with which this program cannot cope must not take the others of its lane with it each time.
            tracing::error!(message = %planned.hand.facts.id, "a text could not be written, by a fault of this program; it waits");
            back.extend(planned.releases_for(UNREAD, corridor.clock.timestamp(Instant::now())));
            continue;
        };
        match text {
            Ok(rendered) => {
                let charge = charge(&corridor.config.limits, &planned, &rendered);
                let one = Ready { planned, rendered, hash: hash.clone(), charge, spend: None };
                weight += one.weight();
                ready.push(one);
            }
            Err(error) => unfit(corridor, planned, error.reason).await,
        }
    }
    corridor.release(back).await;
    budget::afford(corridor, ready).await.into()
}

/// Gives each its permit, in their order, and has them written down.
async fn pass_on(
    corridor: &Arc<Corridor>,
    lane: &Arc<Lane>,
    mut ready: VecDeque<Ready>,
    mut turn: Turn,
    tasks: &TaskTracker,
) {
    let begins = Arc::new(turn.begins.take());
    let came = Instant::now();
    while let Some(stale) = ready.iter().map(|one| one.planned.hand.deadline).min() {
        let want: usize = ready.iter().map(Ready::weight).sum();
        // However much is urgent: once so many of it have gone, whoever waits goes with it.
        let patience =
            lane.gate.time_of(want * SHARE as usize).min(stale.saturating_duration_since(came) / 2);
        let is_over = came.elapsed() >= patience;
        let goes_first = turn.whom != Whom::Others || (is_over && lane.gate.is_pressed());
        let look = if is_over { Instant::now() + lane.gate.time_of(1).max(GATHER) } else { came + patience };
        let permit = tokio::select! {
            biased;
            () = corridor.stopping.cancelled() => break,
            permit = lane.gate.permit(want, goes_first) => permit,
            () = tokio::time::sleep_until(look), if !goes_first => continue,
            // Another provider may have it today.
            () = lane.gate.closes() => break,
            // Slots of a slow limit lie further apart than a message is in this hand: whoever cannot be begun any more is
            // claimed anew, and is here when the slot comes.
            () = tokio::time::sleep_until(stale) => {
                let (late, fresh) = ready.into_iter().partition(|one| one.planned.hand.deadline <= Instant::now());
                ready = fresh;
                let_go(corridor, late).await;
                continue;
            }
        };
        let going = allot(corridor, lane, &mut ready, permit).await;
        let since = Instant::now();
        if let Some(berth) = turn.berth.split(going.len()).filter(|_| !going.is_empty()) {
            let (corridor, lane, begins) = (corridor.clone(), lane.clone(), begins.clone());
            let tracker = tasks.clone();
            tasks.spawn(async move {
                begin(&corridor, &lane, going, berth, since, &tracker).await;
                drop(begins);
            });
        }
    }
    let_go(corridor, ready).await;
}

/// Those for which the permit is good, each with its part of it.
async fn allot(
    corridor: &Corridor,
    lane: &Lane,
    ready: &mut VecDeque<Ready>,
    mut permit: Permit,
) -> Vec<(Ready, Permit)> {
    let mut going = Vec::new();
    while permit.many() > 0
        && let Some(weight) = ready.front().map(Ready::weight)
    {
        // What the first one takes is waited for; others are not held up by what the next one takes.
        if (permit.many() < weight || lane.gate.spreads(weight)) && !going.is_empty() {
            break;
        }
        let Some(one) = ready.pop_front() else { break };
        match lane.part(corridor, &mut permit, weight, one.planned.hand.deadline).await {
            Some(part) => going.push((one, part)),
            None => let_go(corridor, [one]).await,
        }
    }
    going
}

/// Not now: their leases and what was taken from budgets go back.
async fn let_go(corridor: &Corridor, ready: impl IntoIterator<Item = Ready>) {
    let (mut back, mut spent) = (Vec::new(), Vec::new());
    for one in ready {
        back.extend(one.planned.releases());
        spent.extend(one.spend);
    }
    corridor.release(back).await;
    budget::give_back(corridor, spent).await;
}

/// A channel that cannot carry the message is passed over: the next one may fit. What it was to tell as well is free.
async fn unfit(corridor: &Corridor, mut planned: Planned, reason: Reason) {
    corridor.release(planned.part()).await;
    let mut hand = planned.hand;
    metrics::counter!("outreachd_unfit_total", "channel" => planned.route.channel.as_str(), "reason" => reason.as_str())
        .increment(1);
    hand.unfit.push((planned.route.channel, reason));
    corridor.plan_later(vec![hand]).await;
}

/// Writes down what has its permit since then, and sends what the ledger lets go.
async fn begin(
    corridor: &Arc<Corridor>,
    lane: &Arc<Lane>,
    going: Vec<(Ready, Permit)>,
    mut berth: Berth,
    since: Instant,
    tasks: &TaskTracker,
) {
    // The provider may have begun to fail while slots were waited for.
    let stopping = corridor.stopping.is_cancelled();
    let (mut going, stopped): (Vec<_>, Vec<_>) =
        going.into_iter().partition(|(one, _)| !stopping && lane.guard.admits(one.planned.probe.as_ref()));
    let_go(corridor, stopped.into_iter().map(|(one, _)| one)).await;
    if going.is_empty() {
        return;
    }
    let rows: Vec<Begin> = going.iter_mut().map(|(one, _)| row(lane, one)).collect();
    let written = again_if_contended(AT_ONCE, || async {
        let asked = Instant::now();
        corridor.store.begin(corridor.worker, &rows).await.map(|begun| (asked, begun))
    });
    let (asked, begun) = match written.await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%error, messages = rows.len(), "attempts could not be written");
            let ready = going.into_iter().map(|(one, _)| one).collect();
            tasks.spawn(undo(corridor.clone(), rows, ready));
            return;
        }
    };
    let committed = Instant::now();
    crate::faults::fault_point!("begun");
    lane.gate.begun(since);
    corridor.clock.read(asked, committed, begun.now);
    // What was committed after the ledger had been asked may be unknown to it: a stop, an opt-out.
    let first_byte = corridor.config.worker.first_byte;
    let latest = (committed + first_byte).min(asked + first_byte * 2);
    let mut allowed: std::collections::HashSet<AttemptId> = begun.attempts.into_iter().collect();
    super::traces::begun(corridor, &rows, &allowed, asked, committed);
    let mut refused = Vec::new();
    for (begin, (one, permit)) in rows.into_iter().zip(going) {
        if !allowed.remove(&begin.attempt) {
            refused.push(one);
            continue;
        }
        let Ready { mut planned, rendered, spend, .. } = one;
        // They stand in the ledger as carried, and are in no hand any more.
        planned.riders.clear();
        let Some(berth) = berth.split(1) else { break };
        let written = Written {
            message: send::outbound(corridor, lane, begin.attempt, &planned, rendered),
            number: begin.number,
            charge: begin.charge,
            spend,
            // It was allowed until then.
            latest: latest.min(corridor.clock.instant(planned.valid_until)),
            planned,
        };
        let carried = send::carry(corridor.clone(), lane.clone(), written, permit, berth);
        tasks.spawn_on(carried, corridor.wire.handle());
    }
    let_go(corridor, refused).await;
}

/// Nobody knows whether a `begin` that failed was committed, but nothing was sent: what stands in the ledger is settled
/// as such, and the leases are given back with it. Where the ledger does not answer, the results wait for it, and the
/// leases run out.
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
            charge: begin.charge,
            then: Then::Retry(at),
            patience: None,
            at,
        })
        .collect();
    let leases: Vec<_> = ready.iter().flat_map(|one| one.planned.releases()).collect();
    if let Err(error) = again_if_contended(PAUSES, || corridor.store.undo(&leases, &settlements)).await {
        tracing::warn!(%error, leases = leases.len(), "leases are left to run out");
        super::settle::write(&corridor, &settlements).await;
    }
    for one in &ready {
        send::uncount(&corridor, &one.planned).await;
    }
    budget::give_back(&corridor, ready.into_iter().filter_map(|one| one.spend)).await;
}

fn charge(limits: &LimitsSection, planned: &Planned, rendered: &Rendered) -> Charge {
    let route = &planned.route;
    Charge {
        segments: u16::try_from(rendered.segments).unwrap_or(u16::MAX),
        micros: budget::cost(limits, route.channel, route.address.expose(), rendered.segments),
    }
}

/// What is written down of it; its explanation is of no use afterwards.
fn row(lane: &Lane, ready: &mut Ready) -> Begin {
    let Ready { planned, rendered, hash, .. } = ready;
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
        charge: ready.charge,
        template_hash: hash.to_string(),
        locale: rendered.locale.clone(),
        pointer: planned.pointer,
        page: rendered.unsubscribe_url.as_deref().map(PageHash::in_link),
        state: planned.state.clone(),
        valid_until: planned.valid_until,
        explanation: std::mem::take(&mut planned.explanation),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::provider::{CaptureSettings, Period};
    use crate::domain::ids::ProviderName;
    use crate::provider::capture::Capture;

    #[test]
    fn a_service_has_a_lane_of_its_own_beside_the_numbers_of_sites() {
        let site = "[[site]]\nid = \"north\"\nname = \"North\"\n[site.senders]\nsms = [\"+13125550100\"]";
        let config = Config::from_toml(site).unwrap();
        let name = ProviderName::parse("sms").unwrap();
        for (own, expected) in [
            (None, [Some("+13125550100"), None]),
            (Some("+13125550101"), [Some("+13125550100"), Some("+13125550101")]),
        ] {
            let carrier = Carrier {
                provider: Arc::new(Capture::new(name.clone(), &CaptureSettings { channel: Channel::Sms })),
                setting: Setting::Live,
                limits: vec![Limit { count: 1, per: Period::Second, per_sender: true }],
                weight: 100,
                max_in_flight: 8,
                baa: true,
                senders: own.map(str::to_owned).into_iter().collect(),
                breaker: BreakerSettings::default(),
            };
            let lanes = build(vec![carrier], &config);
            assert_eq!(lanes.iter().map(|lane| lane.sender.as_deref()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_waits_in_the_lanes_of_all_workers_takes_no_longer_than_in_one() {
        let lanes = |toml: &str| Config::from_toml(&format!("[worker]\n{toml}")).unwrap();
        for (limit, lane, among) in [
            // Workers and what waits in each: five seconds of it, shared, and no less than one.
            (Some(50), 1000, [(1, 250), (2, 125), (3, 83), (8, 50)]),
            (Some(500), 1000, [(1, 1000), (2, 500), (3, 500), (8, 500)]),
            (Some(2), 1000, [(1, 10), (2, 5), (3, 4), (8, 4)]),
            (Some(5_000), 1000, [(1, 5_000), (2, 5_000), (3, 5_000), (8, 5_000)]),
            (None, 2_000, [(1, 2_000), (2, 2_000), (3, 2_000), (8, 2_000)]),
        ] {
            let limits: Vec<Limit> = limit
                .map(|count| Limit { count, per: Period::Second, per_sender: false })
                .into_iter()
                .collect();
            let capacity = Capacity::of(&limits, &lanes(&format!("lane = {lane}")));
            for (workers, expected) in among {
                assert_eq!(capacity.among(workers), expected, "{limit:?} a second, {workers} workers");
            }
            assert_eq!(capacity.among(0), capacity.alone, "before anybody was counted");
        }
        let slow = [Limit { count: 10, per: Period::Minute, per_sender: false }];
        assert_eq!(Capacity::of(&slow, &lanes("")).among(3), 4);
    }

    #[test]
    fn only_a_trusted_one_takes_over_from_a_trusted_one() {
        let live = |baa| (Channel::Sms, Setting::Live, baa);
        for (own, other, may) in [
            (live(true), live(true), true),
            (live(true), live(false), true),
            (live(false), live(false), true),
            (live(false), live(true), false),
            (live(true), (Channel::Voice, Setting::Live, true), false),
            (live(true), (Channel::Sms, Setting::Test, true), false),
        ] {
            assert_eq!(may_take_over(own, other), may, "{own:?} from {other:?}");
        }
    }
}
