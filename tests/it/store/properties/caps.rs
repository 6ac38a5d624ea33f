//! The caps as the ledger keeps them: several workers decide on what they have seen, begin later, in any order and together,
//! and take back what was not sent. Whatever was counted meanwhile, nobody is disturbed more often than they may be, in any
//! day and in any seven days; and whoever saw what still stands begins.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use outreachd::domain::phi::Phi;
use outreachd::domain::words::Channel;
use outreachd::policy::cap::{CapRules, Recent, next_allowed};
use outreachd::store::Store;
use outreachd::store::rows::{Begin, Count, Counted, Timings};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::Index;

use super::super::ledger::{InHand, Ledger, batch, subject, worker};
use super::super::make::{PHONE, Shape, begin_of, contact, job, patient};
use super::{forget, tell};

const OTHER_PHONE: &str = "+13125550143";
/// Two share a telephone, one has their own.
const PATIENTS: [(&str, &str); 3] = [("P1", PHONE), ("P2", PHONE), ("P3", OTHER_PHONE)];
/// How many decisions wait to be begun.
const SLOTS: usize = 3;
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Clone, Debug)]
enum Step {
    /// A new message for this patient is decided upon, and waits in this slot.
    Decide { slot: usize, patient: usize },
    /// Those in these slots are begun, in one batch.
    Begin([bool; SLOTS]),
    /// One of those that were begun was not sent.
    Fail(Index),
    /// So many hours.
    Pass(i64),
}

/// `hours`: how long a pause may be.
fn step(hours: i64) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SLOTS, 0..PATIENTS.len()).prop_map(|(slot, patient)| Step::Decide { slot, patient }),
        5 => any::<[bool; SLOTS]>().prop_map(Step::Begin),
        1 => any::<Index>().prop_map(Step::Fail),
        2 => (0..=hours).prop_map(Step::Pass),
    ]
}

/// What waits to be begun.
struct Decision {
    row: Begin,
    count: Count,
    at: Timestamp,
    patient: usize,
}

/// What was begun.
struct Sent {
    at: Timestamp,
    patient: usize,
    count: Count,
    stands: bool,
}

struct World<'l> {
    ledger: &'l Ledger,
    store: Arc<dyn Store>,
    rules: CapRules,
    slots: [Option<Decision>; SLOTS],
    sent: Vec<Sent>,
    /// What the ledger keeps of each patient, and of each telephone.
    kept: [Option<String>; 3],
    kept_at: [Option<String>; 2],
    jobs: usize,
}

/// The place of a patient's telephone.
fn phone(patient: usize) -> usize {
    usize::from(PATIENTS[patient].1 == OTHER_PHONE)
}

impl World<'_> {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Decide { slot, patient } => self.decide(*slot, *patient).await,
            Step::Begin(slots) => self.begin(slots).await,
            Step::Fail(pick) => self.fail(*pick).await,
            Step::Pass(hours) if *hours > 0 => {
                self.ledger.pass(SignedDuration::from_hours(*hours)).await;
                // A decision holds for an hour.
                self.slots = Default::default();
            }
            Step::Pass(_) => {}
        }
    }

    /// It is allowed exactly where no day and no week of the patient, nor of the telephone, is full.
    async fn decide(&mut self, slot: usize, patient: usize) {
        let (name, number) = PATIENTS[patient];
        self.jobs += 1;
        let admission = job(&format!("j{}", self.jobs)).patient(name);
        let facts = Arc::new(admission.facts.clone());
        let mut report = self.store.admit(&batch(vec![admission], 1)).await.unwrap();
        let hand = InHand { facts, work: report.leased.pop().unwrap().work };
        let directory = self.store.directory(&[subject(&hand)]).await.unwrap();
        let (entry, now) = (&directory.entries[0], directory.now);
        let address = entry.addresses.iter().find(|one| one.address == Phi::new(number)).unwrap();
        assert_eq!((&entry.recent[0], &address.recent), (&self.kept[patient], &self.kept_at[phone(patient)]));

        let id = hand.facts.id;
        let seen = [&entry.recent[0], &address.recent].map(|text| Recent::parse(text.as_deref()));
        let may = |one: &Recent| next_allowed(&self.rules, one, id, 0, &TimeZone::UTC, now) == now;
        let is_free =
            self.is_free(now, |one| one == patient) && self.is_free(now, |one| phone(one) == phone(patient));
        assert_eq!(seen.iter().all(may), is_free, "at {now}");
        self.slots[slot] = None;
        if is_free {
            let counted = |subject: &str, seen: &Recent| Counted {
                subject: subject.to_owned(),
                before: seen.kept().map(str::to_owned),
                after: seen.with(id, now),
                entry: Recent::entry(now, id),
            };
            let count = Count {
                person: Some(counted(name, &seen[0])),
                address: Some(counted(&address.subject, &seen[1])),
                others: Vec::new(),
            };
            let valid_until = now + SignedDuration::from_hours(1);
            let row =
                Begin { count: Some(count.clone()), ..begin_of(&hand, entry.state.clone(), valid_until) };
            self.slots[slot] = Some(Decision { row, count, at: now, patient });
        }
    }

    /// Whether one more is within the caps for those of whom `is` holds, together.
    fn is_free(&self, now: Timestamp, is: impl Fn(usize) -> bool) -> bool {
        let (today, week) = self.used(now, is);
        let below = |used: usize, most: u32| most == 0 || used < most as usize;
        below(today, self.rules.per_day) && below(week, self.rules.per_week)
    }

    /// How many went out on the day of `now`, and in the seven days before it.
    fn used(&self, now: Timestamp, is: impl Fn(usize) -> bool) -> (usize, usize) {
        let date = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
        let theirs = self.sent.iter().filter(|one| one.stands && is(one.patient)).map(|one| one.at);
        theirs.fold((0, 0), |(today, week), at| {
            (today + usize::from(date(at) == date(now)), week + usize::from(at > now - WEEK))
        })
    }

    /// Of each person and each telephone only the first one of the batch; and that only if nobody was counted since.
    async fn begin(&mut self, slots: &[bool; SLOTS]) {
        let taken = self.slots.iter_mut().zip(slots).filter(|(_, wanted)| **wanted);
        let batch: Vec<Decision> = taken.filter_map(|(slot, _)| slot.take()).collect();
        let rows: Vec<Begin> = batch.iter().map(|one| one.row.clone()).collect();
        let begun = self.store.begin(worker(), &rows).await.unwrap().attempts;
        let begun: HashSet<_> = begun.into_iter().collect();
        let (mut people, mut phones) = (HashSet::new(), HashSet::new());
        for Decision { row, count, at, patient } in batch {
            let is_first = people.insert(patient) & phones.insert(phone(patient));
            let before = |one: &Option<Counted>| one.as_ref().unwrap().before.clone();
            let stands = before(&count.person) == self.kept[patient]
                && before(&count.address) == self.kept_at[phone(patient)];
            assert_eq!(begun.contains(&row.attempt), is_first && stands, "one for patient {patient}");
            if is_first && stands {
                self.kept[patient] = count.person.as_ref().map(|one| one.after.clone());
                self.kept_at[phone(patient)] = count.address.as_ref().map(|one| one.after.clone());
                self.sent.push(Sent { at, patient, count, stands: true });
                self.assert_within_caps(at, patient);
            }
        }
    }

    fn assert_within_caps(&self, now: Timestamp, patient: usize) {
        let theirs =
            [self.used(now, |one| one == patient), self.used(now, |one| phone(one) == phone(patient))];
        for (today, week) in theirs {
            let CapRules { per_day, per_week, .. } = self.rules;
            assert!(per_day == 0 || today <= per_day as usize, "{today} in a day of {per_day}");
            assert!(per_week == 0 || week <= per_week as usize, "{week} in a week of {per_week}");
        }
    }

    /// The ledger forgets it; told twice, it does no more.
    async fn fail(&mut self, pick: Index) {
        if self.sent.is_empty() {
            return;
        }
        let place = pick.index(self.sent.len());
        let one = &mut self.sent[place];
        one.stands = false;
        self.store.uncount(&one.count).await.unwrap();
        let entry = &one.count.person.as_ref().unwrap().entry;
        let kept = [&mut self.kept[one.patient], &mut self.kept_at[phone(one.patient)]];
        for text in kept {
            let left = text.as_deref().unwrap_or_default().split(' ').filter(|other| *other != entry);
            let left = left.collect::<Vec<_>>().join(" ");
            *text = Some(left).filter(|left| !left.is_empty());
        }
    }
}

async fn play(ledger: &Ledger, store: Arc<dyn Store>, (per_day, per_week): (u32, u32), steps: Vec<Step>) {
    forget(ledger).await;
    let rules = CapRules { per_day, per_week, channels: vec![Channel::Sms], each_step: false };
    let mut world = World {
        ledger,
        store,
        rules,
        slots: Default::default(),
        sent: Vec::new(),
        kept: Default::default(),
        kept_at: Default::default(),
        jobs: 0,
    };
    for step in &steps {
        world.take(step).await;
    }
}

/// `hours`: how long a pause may be.
async fn never_more_often_than_they_may_be(ledger: Ledger, cases: u32, hours: i64) {
    let people = PATIENTS.map(|(name, number)| {
        let known = patient(name, "2026-01-01T00:00:00Z");
        outreachd::domain::patient::Patient { contacts: vec![contact(Channel::Sms, number)], ..known }
    });
    ledger.upsert_patients(people.to_vec()).await.unwrap();
    // A lease that outlasts every story: here the caps alone decide.
    let long = SignedDuration::from_hours(100_000);
    let store = ledger.timed(Timings { lease: long, ..Timings::default() });
    let stories = ((0..4_u32, 0..7_u32), vec(step(hours), 4..28));
    tell(cases, &stories, async |(caps, steps)| play(&ledger, store.clone(), caps, steps).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_disturbed_more_often_than_they_may_be_on_sqlite() {
    never_more_often_than_they_may_be(super::super::ledger::sqlite().await, 16, 60).await;
}

/// Its clock is not moved here: what is counted bears its own time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_disturbed_more_often_than_they_may_be_on_postgres() {
    never_more_often_than_they_may_be(super::super::ledger::postgres().await, 6, 0).await;
}
