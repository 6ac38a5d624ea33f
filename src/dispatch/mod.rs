//! The corridor: a leased message is planned, waits in its provider's lane, is rendered, gets a slot of the rate
//! gate, is written down as begun, is sent, and is settled. Each stage is a type, so that a wrong order does not
//! compile: [`InHand`] -> [`Planned`] -> `Rendered` -> `Written` -> `Settlement`.

mod again;
mod answers;
mod approved;
mod asking;
mod berths;
mod breaker;
mod budget;
mod call;
mod callbacks;
mod choice;
mod clock;
mod company;
mod copies;
mod demand;
mod due;
mod explain;
mod failover;
mod foresee;
mod gate;
mod keep;
mod lane;
mod life;
mod look_up;
mod outbox;
mod pace;
mod places;
mod plan;
mod questions;
mod queue;
mod receipts;
mod render;
mod retention;
mod rules;
mod send;
mod settle;
pub mod sign_off;
mod spool;
mod traces;
pub(crate) mod uphold;
mod wall;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::callback::Courier;
use crate::config::Config;
use crate::domain::ids::{PatientId, SendKey, WorkerId};
use crate::domain::outbound::Route;
use crate::domain::patience::Patience;
use crate::domain::patient::{Name, Patient, Proxy};
use crate::domain::phi::Phi;
use crate::domain::words::{Authority, Channel, PhiClass, Reason, Recipient};
use crate::policy::person::Addressee;
use crate::policy::question::Rules;
use crate::policy::retry::RetryRules;
use crate::store::rows::{
    Count, Decided, JobBody, LeasedMessage, MessageFacts, PatientState, Release, Settlement, Work,
};
use crate::store::{Store, StoreError, again_if_contended};
use crate::telemetry::Traces;
use crate::template::{RecipientContext, SharedCatalogue};
pub use again::{Texts, rendered_again};
pub use answers::AnswerLetter;
pub use call::{Spoken, Voicemail};
pub use explain::{
    Explained, ExplainedAttempt, ExplainedCopy, ExplainedHold, GateStep, Next, NextAction, explain,
};
pub use foresee::{Foreseen, ForeseenText, Foresight, Sent};
use lane::Lane;
pub use lane::{Carrier, Setting};
pub use places::Places;
use places::{IN_HAND, Place, Room};
pub use render::site_context;
pub(crate) use spool::whole_file;
use uphold::{Outliving, outliving, uphold};
use wire::Wire;

/// How long a batch that has just come in waits for room: as long as the lanes move there is some in a moment, and the
/// messages are leased as they are written down, which is cheaper than to claim them later.
const PATIENCE: Duration = Duration::from_millis(300);
/// It waits no longer than this while the room does not grow, and looks so often.
const STILL: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(10);
/// How long the ledger, and after it the spool, may take to note what was cut.
const LAST_CALL: Duration = Duration::from_millis(750);

/// What the corridor is made of.
#[derive(Debug)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub config: Arc<Config>,
    pub catalogue: Arc<SharedCatalogue>,
    pub carriers: Vec<Carrier>,
    /// Publishes events. Without a broker they stay on record and are marked as told.
    pub publisher: Option<Broker>,
    /// Posts results to the sources that have a callback.
    pub courier: Courier,
    /// Where what messages go through is traced.
    pub traces: Traces,
    pub worker: WorkerId,
    pub name: String,
}

/// The running corridor.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    corridor: Arc<Corridor>,
    tasks: TaskTracker,
}

/// Lets others run now and then within a long batch: whoever waits for a slot of the rate gate wakes on time.
pub(crate) async fn breathe(done: usize) {
    const BREATH: usize = 16;
    if done.is_multiple_of(BREATH) {
        tokio::task::yield_now().await;
    }
}

/// That instant; never, where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Leases that are left to run out cost a minute: what another transaction was in the way of is tried again after these.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// What every stage sees.
#[derive(Debug)]
struct Corridor {
    approved: approved::Approved,
    store: Arc<dyn Store>,
    config: Arc<Config>,
    catalogue: Arc<SharedCatalogue>,
    traces: Traces,
    lanes: Vec<Arc<Lane>>,
    sites: render::Sites,
    rules: Rules,
    retry: RetryRules,
    worker: WorkerId,
    name: String,
    clock: clock::Clock,
    beats: life::Beats,
    room: Room,
    /// Where messages went lately.
    demand: demand::Demand,
    wire: Wire,
    to_plan: mpsc::Sender<Vec<InHand>>,
    to_plan_urgent: mpsc::Sender<Vec<InHand>>,
    to_settle: mpsc::Sender<(Settlement, Place)>,
    /// Something was committed that the outbox may have to tell.
    told: Notify,
    /// Something may be due.
    due: Notify,
    /// Something has left: others find room.
    freed: Notify,
    /// No new work is begun.
    stopping: CancellationToken,
    /// What is still on the wire is settled as unknown.
    cut: CancellationToken,
    /// Results that the ledger has not taken by now go to the spool.
    last: CancellationToken,
}

/// A message leased to this worker.
#[derive(Debug)]
struct InHand {
    facts: Arc<MessageFacts>,
    body: Arc<JobBody>,
    work: Work,
    /// Not begun after this instant: the lease may end.
    deadline: Instant,
    /// When it was taken in hand, by the database's clock: given back, it goes before what has become due since.
    taken: Option<Timestamp>,
    /// The channel whose lanes had room when it was claimed.
    line: Option<Channel>,
    /// Channels over which this message turned out not to fit.
    unfit: Vec<(Channel, Reason)>,
    /// It was not its turn: somebody to whom it might be company is about to be sent.
    along: bool,
    /// So often it has looked for company that another hand had.
    looks: u8,
    place: Place,
}

/// A message with a decision to send it.
#[derive(Debug)]
struct Planned {
    hand: InHand,
    route: Route,
    /// What the text for the route's channel reveals.
    class: PhiClass,
    /// Its text only points to the portal, which has what it is about.
    pointer: bool,
    patient: Arc<Patient>,
    reader: Reader,
    state: PatientState,
    valid_until: Timestamp,
    /// What the caps count it for.
    count: Option<Count>,
    /// How long it is waited for before the next step is taken as well.
    patience: Option<Patience>,
    explanation: String,
    /// Where it is to show whether its provider is back.
    probe: Option<failover::Ticket>,
    /// Messages that its text tells as well; they carry none themselves.
    riders: Vec<Planned>,
    /// Several patients are told together: nobody is named.
    unnamed: bool,
}

/// Who reads it: the patient, or a proxy in their place.
#[derive(Debug)]
struct Reader {
    recipient: Recipient,
    id: Option<PatientId>,
    name: Option<Name>,
    language: Option<String>,
    timezone: Option<String>,
    /// What a proxy is to the patient, and what they may do.
    relationship: Option<String>,
    authority: Option<Authority>,
    /// By which a proxy is known again.
    key: Option<Phi>,
}

impl Reader {
    /// As texts speak of them.
    fn context(&self) -> RecipientContext<'_> {
        RecipientContext {
            kind: self.recipient,
            name: self.name.as_ref(),
            relationship: self.relationship.as_deref(),
            authority: self.authority,
            timezone: self.timezone.as_deref(),
        }
    }

    fn of(addressee: &Addressee<'_>, proxy: Option<&Proxy>) -> Self {
        Self {
            recipient: addressee.recipient,
            id: addressee.id.cloned(),
            name: addressee.name.cloned(),
            language: addressee.language.map(str::to_owned),
            timezone: addressee.timezone.map(str::to_owned),
            relationship: proxy.and_then(|p| p.relationship.clone()),
            authority: proxy.map(|p| p.authority),
            key: proxy.map(Proxy::key),
        }
    }
}

impl InHand {
    /// Gives the lease back: due again, at its channel if it has one by now.
    fn release(&self, channel: Option<Channel>) -> Release {
        Release { message: self.facts.id, token: self.work.token, channel, due_at: None }
    }
}

impl Planned {
    fn release(&self) -> Release {
        Release { due_at: self.hand.taken, ..self.hand.release(Some(self.route.channel)) }
    }
}

/// Something to plan, as intake and claims hand it over.
#[derive(Debug)]
pub struct Handover {
    pub facts: MessageFacts,
    pub body: JobBody,
    pub work: Work,
    /// Before the lease was asked for.
    pub asked: Instant,
    /// The channel whose lanes had room when it was claimed.
    pub line: Option<Channel>,
}

impl Handover {
    fn claimed(message: LeasedMessage, asked: Instant, line: Option<Channel>) -> Self {
        Self { facts: message.facts, body: message.body, work: message.work, asked, line }
    }
}

impl Dispatcher {
    /// Starts every stage.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        // What is handed over together holds a place or more: nobody waits here.
        let (to_plan, normal) = mpsc::channel(IN_HAND);
        let (to_plan_urgent, urgent) = mpsc::channel(IN_HAND);
        let (to_settle, settled) = mpsc::channel(IN_HAND);
        let lanes = lane::build(parts.carriers, &parts.config);
        let corridor = Arc::new(Corridor {
            approved: approved::Approved::default(),
            sites: render::Sites::of(&parts.config),
            rules: rules::decisions(&parts.config),
            retry: rules::retries(&parts.config),
            store: parts.store,
            config: parts.config,
            catalogue: parts.catalogue,
            traces: parts.traces,
            lanes,
            worker: parts.worker,
            name: parts.name,
            clock: clock::Clock::default(),
            beats: life::Beats::new(),
            room: Room::new(),
            demand: demand::Demand::default(),
            wire: Wire::start(),
            to_plan,
            to_plan_urgent,
            to_settle,
            told: Notify::new(),
            due: Notify::new(),
            freed: Notify::new(),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
            last: CancellationToken::new(),
        });
        let dispatcher = Self { corridor, tasks: TaskTracker::new() };
        // What is urgent is decided upon by itself: it waits for no batch of others.
        let (urgent, normal, settled) = (outliving(urgent), outliving(normal), outliving(settled));
        dispatcher.uphold("plan_urgent", move |corridor| plan::run(corridor, urgent.clone()));
        dispatcher.uphold("plan", move |corridor| plan::run(corridor, normal.clone()));
        dispatcher.uphold("settle", move |corridor| settle::run(corridor, settled.clone()));
        dispatcher.uphold("replay", settle::replay);
        dispatcher.uphold("due", due::run);
        dispatcher.uphold("life", life::run);
        dispatcher.uphold("keep", keep::run);
        dispatcher.uphold("look_up", look_up::run);
        dispatcher.uphold("retention", retention::run);
        let publisher = parts.publisher;
        dispatcher.uphold("outbox", move |corridor| {
            outbox::run(corridor, publisher.as_ref().map(Broker::publisher))
        });
        for source in &dispatcher.corridor.config.sources {
            if let Some(callback) = source.callback.clone().map(Arc::new) {
                let (source, courier) = (source.name.clone(), parts.courier.clone());
                dispatcher.uphold("callbacks", move |corridor| {
                    let (source, callback, courier) = (source.clone(), callback.clone(), courier.clone());
                    callbacks::run(corridor, callbacks::Receiver { source, callback, courier })
                });
            }
        }
        for lane in &dispatcher.corridor.lanes {
            if !lane.gate.is_open() {
                let lane = lane.clone();
                dispatcher.uphold("slots", move |corridor| lane::keep_slots(corridor, lane.clone()));
            }
            for whom in [queue::Whom::All, queue::Whom::Urgent] {
                let (lane, tasks) = (lane.clone(), dispatcher.tasks.clone());
                let run = move |corridor| lane::run(corridor, lane.clone(), whom, tasks.clone());
                dispatcher.uphold("lane", run);
            }
        }
        dispatcher
    }

    /// Runs a stage as long as the corridor.
    fn uphold<F>(&self, name: &'static str, stage: impl Fn(Arc<Corridor>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let corridor = self.corridor.clone();
        uphold(&self.tasks, name, move || stage(corridor.clone()));
    }

    /// What the ledger's clock shows, once it has been read.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        self.corridor.clock.now()
    }

    /// Places for that many messages, as far as there are any and the lanes have room.
    #[must_use]
    pub fn reserve(&self, urgent: usize, others: usize) -> Places {
        if self.corridor.stopping.is_cancelled() {
            return self.corridor.room.reserve(0, 0);
        }
        self.corridor.room.reserve(urgent, self.corridor.of_use(others))
    }

    /// Waits a moment until the lanes have room for so many, as long as there is more and more of it. False: they have
    /// next to none. What comes in small numbers waits for nothing.
    pub async fn has_room(&self, many: usize) -> bool {
        let few = self.corridor.config.worker.batch() / 4;
        if many < few {
            return true;
        }
        let end = Instant::now() + PATIENCE;
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let found = self.corridor.of_use(many);
            if found > most {
                (most, since) = (found, Instant::now());
            }
            if found >= many || since.elapsed() > STILL || Instant::now() > end {
                return found >= few;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The channels of patients none of whose providers can be used now: their messages wait.
    #[must_use]
    pub fn channels_out(&self) -> Vec<Channel> {
        failover::channels_out(&self.corridor)
    }

    /// Whether the ledger has taken a sign of life of this worker lately: one that only answers, as where its database may
    /// be read alone, takes no job and no result.
    #[must_use]
    pub fn is_written(&self) -> bool {
        // Between two signs of life other work may stand, which a slow ledger draws out.
        self.corridor.beats.age() <= self.corridor.config.worker.heartbeat_stale * 3
    }

    /// Takes leased messages in hand. One that has no place is released at once.
    pub async fn take(&self, messages: Vec<Handover>, places: Places) {
        self.corridor.take(messages, places).await;
    }

    /// Something was committed: events may have to be told, messages may be due.
    pub fn nudge(&self) {
        self.corridor.told.notify_one();
        self.corridor.due.notify_one();
    }

    /// What a machine that took the call of `key` may be told.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub async fn voicemail(&self, key: SendKey) -> Result<Voicemail, StoreError> {
        call::voicemail(&self.corridor, key).await
    }

    /// What the call of `key` says to a person, once more; `None` where it cannot be had as it was.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub async fn said_again(&self, key: SendKey) -> Result<Option<Spoken>, StoreError> {
        call::again(&self.corridor, key).await
    }

    /// Stops taking work, lets what is on the wire finish within the grace, settles the rest as unknown, gives
    /// leases back, and tells the last events. What the ledger does not take goes to the spool.
    pub async fn stop(self) {
        self.corridor.stopping.cancel();
        self.tasks.close();
        let grace = self.corridor.config.worker.shutdown_grace;
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.corridor.cut.cancel();
            // Settling what was cut is one statement; a ledger that is away must not hold the exit up for long.
            if tokio::time::timeout(LAST_CALL, self.tasks.wait()).await.is_err() {
                self.corridor.last.cancel();
                let _ = tokio::time::timeout(LAST_CALL, self.tasks.wait()).await;
            }
        }
    }
}

impl Corridor {
    /// How many of so many that are not urgent could get on.
    fn of_use(&self, many: usize) -> usize {
        let fresh = |channel| due::lanes_sum(self, channel, Lane::room_for_fresh);
        self.demand.get_on(many.min(self.room.free()), self.undecided(), fresh)
    }

    /// How many are in hand and stand in no lane yet.
    fn undecided(&self) -> usize {
        let in_lanes: usize = self.lanes.iter().map(|lane| lane.queue.len() + lane.taken_out()).sum();
        self.room.unanswered().saturating_sub(in_lanes)
    }

    async fn take(&self, messages: Vec<Handover>, places: Places) {
        let (hands, back) = self.seated(messages, places);
        self.plan_later(hands).await;
        self.release(back).await;
    }

    /// Leased messages in the places that were reserved for them, and the leases of those that found none.
    fn seated(&self, messages: Vec<Handover>, mut places: Places) -> (Vec<InHand>, Vec<Release>) {
        let (mut hands, mut back) = (Vec::with_capacity(messages.len()), Vec::new());
        for message in messages {
            let Some(place) = places.give(message.facts.priority) else {
                back.push(Release {
                    message: message.facts.id,
                    token: message.work.token,
                    channel: None,
                    due_at: None,
                });
                continue;
            };
            hands.push(InHand {
                facts: Arc::new(message.facts),
                body: Arc::new(message.body),
                work: message.work,
                deadline: message.asked + self.config.worker.lease_local,
                taken: self.clock.now().map(|_| self.clock.timestamp(message.asked)),
                line: message.line,
                unfit: Vec::new(),
                along: false,
                looks: 0,
                place,
            });
        }
        (hands, back)
    }

    /// What is handed over together is decided upon together, as far as it goes into one batch.
    async fn plan_later(&self, hands: Vec<InHand>) {
        let is_urgent = |hand: &InHand| hand.facts.priority == crate::domain::words::Priority::Urgent;
        let (urgent, others): (Vec<_>, Vec<_>) = hands.into_iter().partition(is_urgent);
        for (planner, hands) in [(&self.to_plan_urgent, urgent), (&self.to_plan, others)] {
            if !hands.is_empty() {
                // The planners outlive whoever hands over.
                let _ = planner.send(hands).await;
            }
        }
    }

    /// Gives leases back; should the ledger be away they run out by themselves.
    async fn release(&self, leases: Vec<Release>) {
        if leases.is_empty() {
            return;
        }
        if let Err(error) = again_if_contended(PAUSES, || self.store.release(&leases)).await {
            tracing::warn!(%error, leases = leases.len(), "leases are left to run out");
        }
    }

    /// Writes decisions down; should the ledger be away they are made again when the leases have run out.
    async fn decide(&self, decided: &[Decided]) {
        if decided.is_empty() {
            return;
        }
        if let Err(error) = again_if_contended(PAUSES, || self.store.decide(decided)).await {
            tracing::warn!(%error, messages = decided.len(), "decisions could not be written; they are made again");
        }
    }
}

/// Of a message that nobody has sent.
#[cfg(test)]
fn facts_of_a_test() -> MessageFacts {
    use crate::domain::ids::{JobId, MessageId, SourceName, TemplateName};
    use crate::domain::words::{Priority, Purpose};

    MessageFacts {
        id: MessageId::generate(),
        source: SourceName::parse("ehr").unwrap(),
        job_id: JobId::parse("j1").unwrap(),
        patient_id: PatientId::parse("P1").unwrap(),
        template: TemplateName::parse("note").unwrap(),
        purpose: Purpose::Care,
        priority: Priority::Normal,
        about: None,
        site: None,
        campaign_id: None,
        correlation_id: None,
        test: false,
        is_change: false,
        retry_of: None,
    }
}

/// Of an attempt that was sent.
#[cfg(test)]
fn result_of_a_test() -> Settlement {
    use crate::domain::ids::{AttemptId, ProviderName};
    use crate::domain::status::AttemptStatus;
    use crate::store::rows::{Charge, Then};

    Settlement {
        facts: Arc::new(facts_of_a_test()),
        attempt: AttemptId::generate(),
        number: 1,
        channel: Channel::Sms,
        provider: ProviderName::parse("sms").unwrap(),
        status: AttemptStatus::Sent,
        provider_ref: None,
        failure: None,
        code: None,
        recipient: Recipient::Patient,
        charge: Charge::default(),
        then: Then::Sent,
        patience: None,
        at: Timestamp::UNIX_EPOCH,
    }
}
