//! Leases and fencing: three workers take three messages in hand, lose them, come back late, and are told of holds and cancels
//! at the worst moment. Nobody ever has what another one has, a lease that was lost changes nothing, and each attempt that
//! was begun comes to one end.
//!
//! Time goes in ticks, of which whole messages and leases last an odd number and pauses an even one: how long the machine takes
//! never matters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::{AttemptId, HoldId, MessageId, WorkerId};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::Store;
use outreachd::store::rows::{
    Begin, CancelOutcome, Claim, Decided, HoldScope, PatientState, Release, Settlement, TakenOver, Then,
    Timings,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};

use super::super::ledger::{InHand, Ledger, batch};
use super::super::make::{begin_of, cancel_job, decided, hold, job, seconds, settlement};
use super::{forget, tell};

/// Messages, and workers.
const MANY: usize = 3;
/// How long a lease is good, and what must be left of it for a send to begin.
const LEASE: i64 = 9;
const SEND: i64 = 4;
/// A worker silent for so long is dead.
const STALE: i64 = 3;
/// How long the decision about the first message holds; about the others for ever.
const VALID: i64 = 3;
/// A later try, or a message given back for a while.
const LATER: i64 = 3;
/// What waits under a hold is not due before it ends.
const FAR: i64 = 10_000;

fn ticks(many: i64) -> SignedDuration {
    seconds(many * 150)
}

fn timings() -> Timings {
    Timings { lease: ticks(LEASE), stale: ticks(STALE), send: ticks(SEND), ..Timings::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Claim {
        worker: usize,
        planned: bool,
        room: u32,
    },
    /// Whoever has, or once had, a message in hand begins it.
    Begin {
        hand: Index,
        dedupes: bool,
    },
    /// What became of an attempt, or of one that was told long ago.
    Answer {
        attempt: Index,
        answer: Answer,
    },
    GiveBack {
        hand: Index,
        later: bool,
    },
    /// The decision to wait for the hold in force.
    Park {
        hand: Index,
    },
    Suppress {
        hand: Index,
    },
    Hold,
    LetGo,
    Cancel {
        message: usize,
    },
    Beat {
        worker: usize,
    },
    TakeOver,
    /// Twice so many ticks.
    Pass(i64),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Sent,
    FailedForNow,
    FailedForLonger,
    Unknown,
    /// Where the provider recognises a repeat.
    UnknownAndAgain,
}

fn step() -> impl Strategy<Value = Step> {
    let one = || 0..MANY;
    let answers = vec![
        Answer::Sent,
        Answer::FailedForNow,
        Answer::FailedForNow,
        Answer::FailedForLonger,
        Answer::Unknown,
        Answer::UnknownAndAgain,
        Answer::UnknownAndAgain,
    ];
    prop_oneof![
        6 => (one(), any::<bool>(), 1..4_u32)
            .prop_map(|(worker, planned, room)| Step::Claim { worker, planned, room }),
        7 => (any::<Index>(), any::<bool>()).prop_map(|(hand, dedupes)| Step::Begin { hand, dedupes }),
        5 => (any::<Index>(), select(answers)).prop_map(|(attempt, answer)| Step::Answer { attempt, answer }),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(hand, later)| Step::GiveBack { hand, later }),
        2 => any::<Index>().prop_map(|hand| Step::Park { hand }),
        1 => any::<Index>().prop_map(|hand| Step::Suppress { hand }),
        1 => Just(Step::Hold),
        1 => Just(Step::LetGo),
        1 => one().prop_map(|message| Step::Cancel { message }),
        3 => one().prop_map(|worker| Step::Beat { worker }),
        2 => Just(Step::TakeOver),
        3 => (1..5_i64).prop_map(Step::Pass),
    ]
}

/// A message, as it has to stand.
struct Message {
    id: MessageId,
    status: MessageStatus,
    /// The token of the one hand that it is in.
    holder: Option<i64>,
    due: Option<i64>,
    /// It has a channel.
    planned: bool,
    /// Its last attempt.
    last: Option<usize>,
    held_by: Option<usize>,
    /// Its name was taken back when it was on its way already.
    buried: bool,
}

impl Message {
    fn rank(&self) -> Option<u8> {
        self.status.rank()
    }

    /// Something may still be sent of it.
    fn is_open(&self) -> bool {
        self.rank().is_some_and(|rank| rank < 3)
    }

    fn is_on_its_way(&self) -> bool {
        matches!(self.status, MessageStatus::Sending | MessageStatus::Unknown)
    }
}

/// A message in somebody's hand, now or once.
#[derive(Clone)]
struct Hand {
    worker: WorkerId,
    message: usize,
    hand: InHand,
    valid: i64,
}

/// An attempt.
struct Try {
    id: AttemptId,
    hand: Hand,
    status: AttemptStatus,
    dedupes: bool,
    /// What became of it for good: that is told again and again, and nothing else.
    told: Option<Settlement>,
}

struct World<'l> {
    ledger: &'l Ledger,
    store: Arc<dyn Store>,
    now: i64,
    workers: [WorkerId; MANY],
    beats: [Option<i64>; MANY],
    messages: Vec<Message>,
    /// Whose they are and until when, by token.
    leases: BTreeMap<i64, (usize, i64)>,
    hands: Vec<Hand>,
    tries: Vec<Try>,
    /// Whether they are in force.
    holds: Vec<(HoldId, bool)>,
    /// All that the ledger shows of each message.
    seen: Vec<String>,
}

impl<'l> World<'l> {
    async fn new(ledger: &'l Ledger, store: Arc<dyn Store>) -> Self {
        forget(ledger).await;
        let jobs: Vec<_> = (0..MANY).map(|n| job(&name(n))).collect();
        let message = |id| Message {
            id,
            status: MessageStatus::Accepted,
            holder: None,
            due: Some(0),
            planned: false,
            last: None,
            held_by: None,
            buried: false,
        };
        let messages = jobs.iter().map(|one| message(one.facts.id)).collect();
        store.admit(&batch(jobs, 0)).await.unwrap();
        Self {
            ledger,
            store,
            now: 0,
            workers: [WorkerId::generate(), WorkerId::generate(), WorkerId::generate()],
            beats: [None; MANY],
            messages,
            leases: BTreeMap::new(),
            hands: Vec::new(),
            tries: Vec::new(),
            holds: Vec::new(),
            seen: vec![String::new(); MANY],
        }
    }

    /// Takes one step, here and there, and answers which messages may look otherwise afterwards.
    async fn take(&mut self, step: &Step) -> BTreeSet<usize> {
        match step {
            Step::Claim { worker, planned, room } => {
                self.claim(*worker, *planned, *room).await;
                BTreeSet::new()
            }
            Step::Begin { hand, dedupes } => self.begin(*hand, *dedupes).await,
            Step::Answer { attempt, answer } => self.answer(*attempt, *answer).await,
            Step::GiveBack { hand, later } => self.give_back(*hand, *later).await,
            Step::Park { hand } => self.park(*hand).await,
            Step::Suppress { hand } => self.suppress(*hand).await,
            Step::Hold => self.place_hold().await,
            Step::LetGo => self.let_go().await,
            Step::Cancel { message } => self.cancel(*message).await,
            Step::Beat { worker } => {
                self.store.heartbeat(self.workers[*worker], "worker", "{}").await.unwrap();
                self.beats[*worker] = Some(self.now);
                BTreeSet::new()
            }
            Step::TakeOver => self.take_over().await,
            Step::Pass(twice) => {
                self.ledger.pass(ticks(2 * twice)).await;
                self.now += 2 * twice;
                (0..MANY).collect()
            }
        }
    }

    /// Exactly what is due and in nobody's hand is claimed, under a token that is newer than all before.
    async fn claim(&mut self, worker: usize, planned: bool, room: u32) {
        let is_free = |m: &Message| {
            m.holder.is_none() && m.planned == planned && m.due.is_some_and(|due| due <= self.now)
        };
        let free: BTreeSet<usize> = (0..MANY).filter(|n| is_free(&self.messages[*n])).collect();
        let ask = Claim {
            worker: self.workers[worker],
            channel: planned.then_some(Channel::Sms),
            priority: Priority::Normal,
            room,
        };
        let claimed = self.store.claim(&ask).await.unwrap().messages;
        assert_eq!(claimed.len(), free.len().min(room as usize), "of {free:?}");
        let newest = self.leases.last_key_value().map_or(0, |(token, _)| *token);
        for leased in claimed {
            let message = self.place(leased.facts.id);
            assert!(free.contains(&message), "{message} is held, in a hand, over, or not due: {free:?}");
            let m = &mut self.messages[message];
            assert_eq!((leased.work.status, leased.work.cancelled.is_some()), (m.status, m.buried));
            let token = leased.work.token;
            assert!(token > newest, "{token} after {newest}");
            m.holder = Some(token);
            self.leases.insert(token, (worker, self.now + LEASE));
            let valid = if message == 0 { self.now + VALID } else { self.now + FAR };
            self.hands.push(Hand { worker: ask.worker, message, hand: leased.into(), valid });
        }
    }

    async fn begin(&mut self, pick: Index, dedupes: bool) -> BTreeSet<usize> {
        let Some(hand) = self.idle(pick) else { return BTreeSet::new() };
        let valid_until = self.at(hand.valid).await;
        let row = Begin { dedupes, ..begin_of(&hand.hand, PatientState::default(), valid_until) };
        let id = row.attempt;
        let begun = self.store.begin(hand.worker, &[row]).await.unwrap().attempts;
        let may = self.may_begin(&hand);
        assert_eq!(begun, if may { vec![id] } else { Vec::new() }, "message {} begins", hand.message);
        if !may {
            return BTreeSet::new();
        }
        let message = hand.message;
        let m = &mut self.messages[message];
        if m.rank() == Some(0) {
            m.status = MessageStatus::Sending;
        }
        (m.last, m.planned, m.held_by) = (Some(self.tries.len()), true, None);
        self.tries.push(Try { id, hand, status: AttemptStatus::Sending, dedupes, told: None });
        BTreeSet::from([message])
    }

    /// Its lease is good for as long as a send takes, the decision stands, nobody has taken it back or holds it, and no other
    /// attempt has, or may have, got through.
    fn may_begin(&self, hand: &Hand) -> bool {
        let m = &self.messages[hand.message];
        let token = hand.hand.work.token;
        let (_, until) = self.leases[&token];
        let got_through = |one: &&Try| match one.status {
            AttemptStatus::Sending | AttemptStatus::Unknown => !one.dedupes,
            status => status == AttemptStatus::Sent,
        };
        let is_open = m.rank() == Some(0)
            || (m.is_on_its_way() && self.tries_of(hand.message).all(|one| !got_through(&one)));
        m.holder == Some(token)
            && until - SEND > self.now
            && hand.valid > self.now
            && self.holds.iter().all(|(_, in_force)| !in_force)
            && !m.buried
            && is_open
    }

    async fn answer(&mut self, pick: Index, answer: Answer) -> BTreeSet<usize> {
        if self.tries.is_empty() {
            return BTreeSet::new();
        }
        let place = pick.index(self.tries.len());
        let (now, later) = (self.at(self.now).await, self.at(self.now + LATER).await);
        let one = &mut self.tries[place];
        let (status, then, due) = match answer {
            Answer::Sent => (AttemptStatus::Sent, Then::Sent, None),
            Answer::FailedForNow => (AttemptStatus::Failed, Then::Retry(now), Some(self.now)),
            Answer::FailedForLonger => (AttemptStatus::Failed, Then::Retry(later), Some(self.now + LATER)),
            Answer::UnknownAndAgain if one.dedupes => {
                (AttemptStatus::Unknown, Then::UnknownRetry(now), Some(self.now))
            }
            Answer::Unknown | Answer::UnknownAndAgain => (AttemptStatus::Unknown, Then::Unknown, None),
        };
        let row = one.told.clone().unwrap_or_else(|| settlement(&one.hand.hand, one.id, status, then, now));
        if row.status != AttemptStatus::Unknown {
            one.told = Some(row.clone());
        }
        self.settle(place, row, due).await
    }

    /// The result lands whoever has the message; only where it is of the last attempt it says when the message goes on.
    async fn settle(&mut self, place: usize, row: Settlement, due: Option<i64>) -> BTreeSet<usize> {
        self.store.settle(std::slice::from_ref(&row)).await.unwrap();
        let one = &mut self.tries[place];
        if row.status <= one.status {
            return BTreeSet::new();
        }
        one.status = row.status;
        let message = one.hand.message;
        let m = &mut self.messages[message];
        let becomes = match row.status {
            AttemptStatus::Sent => Some(MessageStatus::Sent),
            AttemptStatus::Unknown => Some(MessageStatus::Unknown),
            _ => None,
        };
        let is_last = m.last == Some(place);
        if !m.is_open() || becomes == Some(MessageStatus::Sent) {
            m.due = None;
        } else if is_last {
            m.due = due;
        }
        if let (Some(next), Some(rank)) = (becomes, m.rank())
            && next.rank() > Some(rank)
        {
            m.status = next;
        }
        if is_last {
            m.holder = None;
        }
        BTreeSet::from([message])
    }

    /// Whoever gives back what it has begun, as the answer to that was lost, says as well that it was not sent.
    async fn give_back(&mut self, pick: Index, later: bool) -> BTreeSet<usize> {
        if self.hands.is_empty() {
            return BTreeSet::new();
        }
        let hand = pick.get(&self.hands).clone();
        let token = hand.hand.work.token;
        let begun = self.under_way(&hand);
        let (now, at) = (self.at(self.now).await, self.at(self.now + LATER).await);
        let id = self.messages[hand.message].id;
        let row = Release { message: id, token, channel: None, due_at: later.then_some(at) };
        self.store.release(&[row]).await.unwrap();
        let m = &mut self.messages[hand.message];
        if m.holder != Some(token) {
            return BTreeSet::new();
        }
        let due = if later { self.now + LATER } else { self.now };
        m.holder = None;
        m.due = match m.status {
            MessageStatus::Sent => m.due.map(|_| due),
            _ => m.is_open().then_some(due),
        };
        if let Some(place) = begun {
            let one = &mut self.tries[place];
            let failed = settlement(&one.hand.hand, one.id, AttemptStatus::Failed, Then::Retry(now), now);
            let row = Settlement { failure: Some(Failure::NotSent), ..failed };
            one.told = Some(row.clone());
            self.settle(place, row, Some(self.now)).await;
        }
        BTreeSet::from([hand.message])
    }

    async fn park(&mut self, pick: Index) -> BTreeSet<usize> {
        let in_force = self.holds.iter().position(|(_, in_force)| *in_force);
        let (Some(held_by), Some(hand)) = (in_force, self.idle(pick)) else { return BTreeSet::new() };
        let (now, far) = (self.at(self.now).await, self.at(self.now + FAR).await);
        let was = hand.hand.work.status;
        let status = if was.rank() == Some(0) { MessageStatus::Held } else { was };
        let row = Decided {
            due_at: Some(far),
            channel: Some(Channel::Sms),
            held_by: Some(self.holds[held_by].0),
            ..decided(&hand.hand, status, Some(Reason::OperatorHold), now)
        };
        self.store.decide(&[row]).await.unwrap();
        let mut touched = BTreeSet::new();
        let m = &mut self.messages[hand.message];
        if m.holder == Some(hand.hand.work.token) {
            if m.rank() == Some(0) {
                m.status = MessageStatus::Held;
            }
            (m.holder, m.planned) = (None, true);
            (m.due, m.held_by) = (Some(self.now + FAR), Some(held_by));
            touched.insert(hand.message);
        }
        // Whatever is named and waits for a hold that has ended is due.
        let waits_for_nothing = m.held_by.is_some_and(|by| !self.holds[by].1);
        if m.holder.is_none() && m.due.is_some_and(|due| due > self.now) && waits_for_nothing {
            m.due = Some(self.now);
            touched.insert(hand.message);
        }
        touched
    }

    async fn suppress(&mut self, pick: Index) -> BTreeSet<usize> {
        let Some(hand) = self.idle(pick) else { return BTreeSet::new() };
        let now = self.at(self.now).await;
        let row = decided(&hand.hand, MessageStatus::Suppressed, Some(Reason::OptedOut), now);
        self.store.decide(&[row]).await.unwrap();
        let m = &mut self.messages[hand.message];
        if m.holder != Some(hand.hand.work.token) {
            return BTreeSet::new();
        }
        if m.rank().is_some_and(|rank| rank <= 1) {
            m.status = MessageStatus::Suppressed;
        }
        (m.holder, m.due, m.held_by) = (None, None, None);
        BTreeSet::from([hand.message])
    }

    async fn place_hold(&mut self) -> BTreeSet<usize> {
        if self.holds.iter().all(|(_, in_force)| !in_force) {
            let placed = hold(HoldScope::All, "");
            self.store.place_hold(&placed).await.unwrap();
            self.holds.push((placed.id, true));
        }
        BTreeSet::new()
    }

    async fn let_go(&mut self) -> BTreeSet<usize> {
        let Some(place) = self.holds.iter().position(|(_, in_force)| *in_force) else {
            return BTreeSet::new();
        };
        self.holds[place].1 = false;
        assert!(self.store.release_hold(self.holds[place].0, "u1", None).await.unwrap());
        let mut woken = BTreeSet::new();
        for (n, m) in self.messages.iter_mut().enumerate() {
            if m.held_by == Some(place) && m.holder.is_none() && m.due.is_some() {
                (m.due, m.held_by) = (Some(self.now), None);
                woken.insert(n);
            }
        }
        woken
    }

    async fn cancel(&mut self, message: usize) -> BTreeSet<usize> {
        let outcome = self.store.cancel(&[cancel_job(&name(message))]).await.unwrap().remove(0);
        let not_sent = self.tries_of(message).all(|one| one.status == AttemptStatus::Failed);
        let got_through = self.tries_of(message).any(|one| one.status == AttemptStatus::Sent);
        let m = &self.messages[message];
        let is_under_way = m.last.is_none_or(|last| self.tries[last].status == AttemptStatus::Sending);
        let m = &mut self.messages[message];
        let expected = if m.rank().is_some_and(|rank| rank <= 1) && not_sent {
            m.status = MessageStatus::Cancelled;
            (m.holder, m.due) = (None, None);
            CancelOutcome::Cancelled(vec![m.id])
        } else if m.rank().is_some() {
            m.buried = true;
            let stops =
                m.status == MessageStatus::Unknown || (m.status == MessageStatus::Sent && got_through);
            if stops && !is_under_way && m.due.is_some() {
                (m.holder, m.due) = (None, None);
            }
            CancelOutcome::TooLate(vec![m.id])
        } else {
            CancelOutcome::Cancelled(Vec::new())
        };
        assert_eq!(outcome, expected);
        BTreeSet::from([message])
    }

    /// What had not begun is due again, what had is unknown, and what the living hold they keep.
    async fn take_over(&mut self) -> BTreeSet<usize> {
        let taken = self.store.take_over(100).await.unwrap();
        let mut expected = TakenOver::default();
        let mut touched = BTreeSet::new();
        for (n, m) in self.messages.iter_mut().enumerate() {
            let Some(token) = m.holder else { continue };
            let (owner, until) = self.leases[&token];
            let lives = self.beats[owner].is_some_and(|beat| self.now - beat < STALE);
            if until > self.now && lives {
                continue;
            }
            touched.insert(n);
            m.holder = None;
            let goes_on = m.is_open() || (m.status == MessageStatus::Sent && m.due.is_some());
            let begun = m.last.filter(|last| self.tries[*last].status == AttemptStatus::Sending);
            if let Some(begun) = begun {
                let begun = &mut self.tries[begun];
                expected.unknown += 1;
                begun.status = AttemptStatus::Unknown;
                if m.status == MessageStatus::Sending {
                    m.status = MessageStatus::Unknown;
                }
                m.due = (goes_on && begun.dedupes).then_some(self.now);
            } else {
                expected.released += 1;
                m.due = if m.is_open() { m.due.or(Some(self.now)) } else { m.due.filter(|_| goes_on) };
            }
        }
        assert_eq!(taken, expected);
        touched
    }

    /// Every message and every attempt stands as it has to, no status has fallen, and what was not touched is as it was.
    async fn look(&mut self, touched: &BTreeSet<usize>) {
        let now = self.store.ping().await.unwrap();
        for n in 0..MANY {
            let m = &self.messages[n];
            let row = self.store.message(m.id).await.unwrap().unwrap();
            let attempts = self.store.attempts(m.id).await.unwrap();
            assert_eq!(row.status, m.status, "message {n}");
            let is_due = (row.due_at.map(|at| at <= now), m.due.map(|due| due <= self.now));
            assert_eq!(is_due.0, is_due.1, "message {n} is due");
            let found: BTreeMap<AttemptId, AttemptStatus> =
                attempts.iter().map(|one| (one.id, one.status)).collect();
            let expected: BTreeMap<AttemptId, AttemptStatus> =
                self.tries_of(n).map(|one| (one.id, one.status)).collect();
            assert_eq!(found, expected, "the attempts of message {n}");
            let seen = format!("{row:?} {attempts:?}");
            let before = std::mem::replace(&mut self.seen[n], seen);
            assert!(touched.contains(&n) || before.is_empty() || before == self.seen[n], "{n}: {before}");
        }
    }

    /// One that nobody is waiting for an answer of: who has begun a message does nothing else with it.
    fn idle(&self, pick: Index) -> Option<Hand> {
        let hand = (!self.hands.is_empty()).then(|| pick.get(&self.hands))?;
        self.under_way(hand).is_none().then(|| hand.clone())
    }

    /// The attempt that was begun by this hand and has no result.
    fn under_way(&self, hand: &Hand) -> Option<usize> {
        let is_it = |one: &Try| {
            one.hand.message == hand.message
                && one.hand.hand.work.token == hand.hand.work.token
                && one.status == AttemptStatus::Sending
        };
        self.tries.iter().position(is_it)
    }

    fn tries_of(&self, message: usize) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(move |one| one.hand.message == message)
    }

    fn place(&self, id: MessageId) -> usize {
        self.messages.iter().position(|m| m.id == id).expect("one of ours")
    }

    /// What the ledger's clock shows at that tick.
    async fn at(&self, tick: i64) -> Timestamp {
        self.store.ping().await.unwrap() + ticks(tick - self.now)
    }
}

fn name(message: usize) -> String {
    format!("m{message}")
}

async fn play(ledger: &Ledger, store: Arc<dyn Store>, steps: Vec<Step>) {
    let mut world = World::new(ledger, store).await;
    world.look(&BTreeSet::new()).await;
    let mut ranks: Vec<Option<u8>> = world.messages.iter().map(Message::rank).collect();
    // In the end everybody dies, and somebody comes and looks for what is left.
    let claim = |planned| Step::Claim { worker: 0, planned, room: 10 };
    let end = [claim(false), claim(true), Step::Pass(6), Step::TakeOver, claim(false), claim(true)];
    for step in steps.iter().chain(&end) {
        let touched = world.take(step).await;
        world.look(&touched).await;
        for (rank, m) in ranks.iter_mut().zip(&world.messages) {
            let legal = match (*rank, m.rank()) {
                (Some(then), Some(now)) => then <= now,
                (Some(then), None) => then <= 1,
                (None, now) => now.is_none(),
            };
            assert!(legal, "{rank:?} became {:?}", m.status);
            *rank = m.rank();
        }
    }
    for one in &world.tries {
        assert_ne!(one.status, AttemptStatus::Sending, "an attempt has come to nothing");
        assert!(one.told.as_ref().is_none_or(|row| row.status == one.status), "what was told stands");
    }
    for m in &world.messages {
        ledger.told(m.id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_loses_a_lease_changes_nothing_on_sqlite() {
    let ledger = super::super::ledger::sqlite().await;
    let store = ledger.timed(timings());
    tell(20, &vec(step(), 4..32), async |steps| play(&ledger, store.clone(), steps).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_loses_a_lease_changes_nothing_on_postgres() {
    let ledger = super::super::ledger::postgres().await;
    let store = ledger.timed(timings());
    tell(4, &vec(step(), 4..24), async |steps| play(&ledger, store.clone(), steps).await);
}
