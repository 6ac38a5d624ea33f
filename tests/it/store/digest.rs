//! Digests: what another message carries begins with it or not at all, and ends with it or goes its own way.

use jiff::SignedDuration;
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::{AttemptId, MessageId, SendKey, TemplateName, WorkerId};
use outreachd::domain::phi::Phi;
use outreachd::domain::receipt::{Receipt, Said};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason, WorkKind};
use outreachd::store::rows::{
    ASIDE, Admission, Begin, CancelOutcome, Claim, CopyFor, HoldScope, MessageFilter, NewCopy, Release,
    Rider, Seats, Settlement, Then, WorkFilter,
};

use super::ledger::{InHand, Ledger, subject, worker};
use super::make::{
    PHONE, Shape, at, cancel_job, decided, hold, job, patient, patient_id, provider, release, seconds, stop,
};

const MERGED: (MessageStatus, Option<Reason>) = (MessageStatus::Cancelled, Some(Reason::Merged));

impl Ledger {
    /// The message as one that is about to be carried.
    async fn rider(&self, hand: &InHand) -> Rider {
        let directory = self.directory(&[subject(hand)]).await.unwrap();
        Rider {
            message: hand.facts.id,
            site: None,
            token: hand.work.token,
            step: hand.work.step,
            state: directory.entries[0].state.clone(),
            valid_until: directory.now + SignedDuration::from_hours(1),
            explanation: "{\"verdict\":\"send\"}".to_owned(),
        }
    }

    /// What a planner would ask `begin` for: the first with all the others.
    async fn together(&self, carrier: &InHand, riders: &[&InHand]) -> Begin {
        let mut row = self.plan(carrier).await;
        for rider in riders {
            row.riders.push(self.rider(rider).await);
        }
        row
    }

    /// A carrier on the wire with one rider.
    async fn aboard(&self, name: &str) -> (InHand, AttemptId, InHand) {
        let carrier = self.lease(job(&format!("{name}-carrier"))).await;
        let rider = self.lease(job(&format!("{name}-rider"))).await;
        let row = self.together(&carrier, &[&rider]).await;
        let attempt = row.attempt;
        assert!(self.try_begin(row).await, "{name} begins");
        (carrier, attempt, rider)
    }

    async fn news(&self, carrier: &InHand, said: Said) {
        let receipt = Receipt {
            provider: provider("twilio-main"),
            key: SendKey { message: carrier.facts.id, step: 0 },
            reference: Some("SM1".to_owned()),
            said,
            code: None,
            named: Vec::new(),
        };
        self.receive(&[receipt]).await.unwrap();
    }

    async fn company_of(&self, who: &str, address: &str) -> Vec<MessageId> {
        let found = self.company(worker(), &[seats(who, address, false)], 10).await.unwrap();
        let mut ids: Vec<MessageId> = found.joined.iter().map(|(_, m)| m.facts.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Who is found for a message of P1, and what of them is in other hands.
    async fn asked_by(&self, worker: WorkerId) -> (Vec<InHand>, Vec<MessageId>) {
        let company = self.company(worker, &[seats("P1", PHONE, false)], 10).await.unwrap();
        let mut elsewhere: Vec<MessageId> = company.elsewhere.iter().map(|(_, id)| *id).collect();
        elsewhere.sort_unstable();
        (company.joined.into_iter().map(|(_, message)| message.into()).collect(), elsewhere)
    }
}

fn seats(who: &str, address: &str, day: bool) -> Seats {
    Seats {
        patient: patient_id(who),
        template: TemplateName::parse("appointment-reminder").unwrap(),
        address: Phi::new(address),
        day,
    }
}

/// Something that comes between a decision and its begin.
async fn between(ledger: &Ledger, what: &str, rider: &InHand, row: &mut Begin) {
    match what {
        "nothing" => {}
        "a cancel" => {
            ledger.cancel(&[cancel_job(rider.facts.job_id.as_str())]).await.unwrap();
        }
        "a stop" => {
            ledger.record_address_consents(&[stop("2026-11-20T08:00:00Z")]).await.unwrap();
        }
        "a hold" => {
            let site = rider.facts.site.as_ref().unwrap().as_str();
            ledger.place_hold(&hold(HoldScope::Site, site)).await.unwrap();
        }
        "the end of its time" => row.riders[0].valid_until = at("2020-01-01T00:00:00Z"),
        "another hand" => row.riders[0].token += 1,
        "a carrier that may not" => row.valid_until = at("2020-01-01T00:00:00Z"),
        _ => panic!("{what}"),
    }
}

pub(super) async fn riders_begin_with_their_carrier_or_nothing_does(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P2", "2026-11-20T08:00:00Z")]).await.unwrap();
    for (n, (what, begins)) in [
        ("nothing", true),
        ("a cancel", false),
        ("the end of its time", false),
        ("another hand", false),
        ("a carrier that may not", false),
        ("a hold", false),
        ("a stop", false),
    ]
    .into_iter()
    .enumerate()
    {
        let carrier = ledger.lease(job(&format!("c{n}"))).await;
        let first = ledger.lease(job(&format!("r{n}")).patient("P2").site(&format!("site-{n}"))).await;
        let second = ledger.lease(job(&format!("s{n}")).patient("P3")).await;
        let mut row = ledger.together(&carrier, &[&first, &second]).await;
        between(&ledger, what, &first, &mut row).await;
        let attempt = row.attempt;
        assert_eq!(ledger.try_begin(row).await, begins, "{what}");
        let standing = [ledger.row(first.facts.id).await, ledger.row(second.facts.id).await];
        if begins {
            assert_eq!(ledger.row(carrier.facts.id).await.status, MessageStatus::Sending);
            for row in &standing {
                assert_eq!((row.status, row.reason), (MessageStatus::Sending, Some(Reason::Merged)));
                assert_eq!((row.merged_into, row.tries), (Some(carrier.facts.id), 0), "{what}");
                assert!(ledger.attempts(row.facts.id).await.unwrap().is_empty(), "it has none of its own");
            }
            let filter =
                MessageFilter { merged_into: Some(carrier.facts.id), limit: 10, ..MessageFilter::default() };
            assert_eq!(ledger.messages(&filter).await.unwrap().len(), 2);
            ledger.settle_one(&carrier, attempt, AttemptStatus::Sent, Then::Sent).await;
        } else {
            assert!(ledger.attempts(carrier.facts.id).await.unwrap().is_empty(), "{what}");
            assert!(standing.iter().all(|row| row.merged_into.is_none()), "{what}");
            // Given back, the one that may goes its own way.
            ledger.release(&[release(&second), release(&first), release(&carrier)]).await.unwrap();
            let claimed = ledger.claim_new(10).await;
            let again = claimed.into_iter().find(|m| m.facts.id == second.facts.id).expect("due again");
            assert!(ledger.try_begin(ledger.plan(&InHand::from(again)).await).await, "{what}");
        }
    }
}

/// A rider may be another patient's: why its carrier went is nothing that the rider's message may show.
pub(super) async fn an_erased_rider_does_not_show_why_its_carrier_went(ledger: Ledger) {
    let carrier = ledger.lease(job("c")).await;
    let rider = ledger.lease(job("r").patient("P2")).await;
    let row = ledger.together(&carrier, &[&rider]).await;
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.settle_one(&carrier, attempt, AttemptStatus::Sent, Then::Sent).await;
    ledger.settle_riders(10).await.unwrap();
    let shown = async |hand: &InHand| ledger.row(hand.facts.id).await.explanation;
    assert!(shown(&carrier).await.is_some() && shown(&rider).await.is_some());
    ledger.erase_patient(&patient_id("P2")).await.unwrap();
    assert!(shown(&carrier).await.is_some());
    assert_eq!(shown(&rider).await, None);
}

pub(super) async fn what_becomes_of_the_carrier_becomes_of_its_riders(ledger: Ledger) {
    use AttemptStatus::{Failed, Sent, Unknown};
    let free = (MessageStatus::Sending, None);
    let waits = (MessageStatus::Sending, Some(Reason::Merged));
    let gone = Said::Undelivered(Failure::BadAddress);
    let retry = Then::Retry(ledger.now().await);
    let table = [
        ("taken, and nothing more is heard", Sent, Then::Sent, None, MERGED),
        ("taken, and a receipt is awaited", Sent, Then::Awaits, None, waits),
        ("delivered", Sent, Then::Awaits, Some(Said::Delivered), MERGED),
        ("not delivered after all", Sent, Then::Awaits, Some(gone), free),
        ("not sent", Failed, retry, None, free),
        ("refused", Failed, Then::NextStep(Reason::InvalidAddress), None, free),
        ("nobody knows", Unknown, Then::Unknown, None, waits),
        ("nobody knew, and it was delivered", Unknown, Then::Unknown, Some(Said::Delivered), MERGED),
        ("nobody knew, and it was not", Unknown, Then::Unknown, Some(gone), free),
    ];
    for (n, (what, status, then, said, expected)) in table.into_iter().enumerate() {
        let (carrier, attempt, rider) = ledger.aboard(&format!("j{n}")).await;
        assert_eq!(ledger.settle_riders(10).await.unwrap(), 0, "{what}: on the wire");
        ledger.settle_one(&carrier, attempt, status, then).await;
        if let Some(said) = said {
            ledger.news(&carrier, said).await;
        }
        ledger.settle_riders(10).await.unwrap();
        assert_eq!(ledger.settle_riders(10).await.unwrap(), 0, "{what}: once");
        assert_eq!(ledger.standing(rider.facts.id).await, expected, "{what}");
        let told = ledger.told(rider.facts.id).await;
        let claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages;
        let again = claimed.into_iter().find(|m| m.facts.id == rider.facts.id);
        if expected == MERGED {
            assert_eq!(told, ["message.cancelled.ehr"], "{what}");
        } else {
            assert_eq!(told, [""; 0], "{what}");
        }
        assert_eq!(again.is_some(), expected == free, "{what}");
        if let Some(again) = again {
            let hand = InHand::from(again);
            assert_eq!((hand.work.step, hand.work.reached), (0, false), "{what}: its own plan begins");
            let row = ledger.plan(&hand).await;
            let attempt = row.attempt;
            assert!(ledger.try_begin(row).await, "{what}: it goes its own way");
            assert_eq!(ledger.row(rider.facts.id).await.merged_into, None);
            ledger.settle_one(&hand, attempt, Sent, Then::Sent).await;
            assert_eq!(ledger.standing(rider.facts.id).await.0, MessageStatus::Sent, "{what}");
        }
    }
    let events = ledger.outbox(worker(), &[], 10_000).await.unwrap();
    let merged = events.iter().filter(|e| e.body.contains("\"reason\":\"merged\"")).count();
    assert_eq!(merged, 3);
    assert!(events.iter().filter(|e| e.body.contains("\"reason\":\"merged\"")).all(|e| {
        let body: serde_json::Value = serde_json::from_str(&e.body).unwrap();
        body["merged_into"].is_string() && body["final"] == true && body["channel"] == "sms"
    }));
}

pub(super) async fn of_what_its_carrier_lost_after_all_people_know(ledger: Ledger) {
    // A relay takes it, and is not known to say anything more. Later it comes back.
    let (carrier, attempt, rider) = ledger.aboard("a").await;
    ledger.settle_one(&carrier, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(ledger.settle_riders(10).await.unwrap(), 1);
    assert_eq!(ledger.standing(rider.facts.id).await, MERGED);
    ledger.news(&carrier, Said::Undelivered(Failure::BadAddress)).await;
    let about = WorkFilter { message: Some(rider.facts.id), limit: 10, ..WorkFilter::default() };
    let kinds: Vec<_> = ledger.work_items(&about).await.unwrap().iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [WorkKind::CameBack]);
}

pub(super) async fn a_rider_whose_carrier_is_lost_comes_before_a_person(ledger: Ledger) {
    ledger.beat(worker()).await;
    let (carrier, _, rider) = ledger.aboard("a").await;
    // The worker dies before it hears anything.
    ledger.pass(seconds(61)).await;
    ledger.beat(WorkerId::generate()).await;
    assert_eq!(ledger.take_over(10).await.unwrap().unknown, 1);
    let id = rider.facts.id;
    assert_eq!(ledger.settle_riders(10).await.unwrap(), 0);
    assert_eq!(ledger.standing(id).await, (MessageStatus::Sending, Some(Reason::Merged)));
    assert!(ledger.company_of("P1", PHONE).await.is_empty(), "it is in no other text");
    let late = ledger.cancel(&[cancel_job("a-rider")]).await.unwrap();
    assert_eq!(late, [CancelOutcome::TooLate(vec![id])], "its text may be with them");
    assert_eq!(ledger.take_over(10).await.unwrap().released, 0, "it is in nobody's hand");
    ledger.pass(seconds(4 * 3_600)).await;
    assert_eq!(ledger.settle_riders(10).await.unwrap(), 1);
    assert_eq!(ledger.standing(id).await, (MessageStatus::Unknown, Some(Reason::OutcomeUnknown)));
    let items = ledger
        .work_items(&WorkFilter { message: Some(id), limit: 10, ..WorkFilter::default() })
        .await
        .unwrap();
    assert_eq!(items.iter().map(|i| i.kind).collect::<Vec<_>>(), [WorkKind::OutcomeUnknown]);
    // A receipt that comes after that still says what became of both.
    let receipt = Receipt {
        provider: provider("twilio-main"),
        key: SendKey { message: carrier.facts.id, step: 0 },
        reference: None,
        said: Said::Delivered,
        code: None,
        named: Vec::new(),
    };
    ledger.receive(&[receipt]).await.unwrap();
    assert_eq!(ledger.settle_riders(10).await.unwrap(), 1);
    assert_eq!(ledger.standing(id).await, (MessageStatus::Sent, Some(Reason::Merged)));

    // Before anything was begun both are simply due again.
    ledger.lease(job("b-carrier")).await;
    ledger.lease(job("b-rider")).await;
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap().released, 2);
    assert_eq!(ledger.claim_new(10).await.len(), 2);
}

/// A carrier that failed looks for company at once, and takes its rider before anybody has settled that.
pub(super) async fn a_rider_that_is_taken_along_again_outlives_its_worker(ledger: Ledger) {
    let (carrier, attempt, rider) = ledger.aboard("a").await;
    let now = ledger.now().await;
    ledger.settle_one(&carrier, attempt, AttemptStatus::Failed, Then::Retry(now)).await;
    assert_eq!(ledger.company_of("P1", PHONE).await, [rider.facts.id]);
    // Whoever took it dies.
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap().released, 1);
    let claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages;
    let again = claimed.into_iter().find(|m| m.facts.id == rider.facts.id).expect("due again");
    assert!(ledger.try_begin(ledger.plan(&InHand::from(again)).await).await, "it goes its own way");
}

/// What is told already, or may have been taken, would fall in rank as a rider: it is no reason for others not to begin.
pub(super) async fn what_a_provider_may_have_taken_rides_on_nothing(ledger: Ledger) {
    for (name, status, then, standing) in [
        ("back", AttemptStatus::Sent, Then::Awaits, MessageStatus::Sent),
        ("not-there", AttemptStatus::Unknown, Then::Unknown, MessageStatus::Unknown),
    ] {
        let (first, attempt) = ledger.begun(job(&format!("{name}-taken"))).await;
        ledger.settle_one(&first, attempt, status, then).await;
        if status == AttemptStatus::Sent {
            ledger.news(&first, Said::Undelivered(Failure::Unreachable)).await;
        } else {
            let now = ledger.now().await;
            ledger.settle_one(&first, attempt, AttemptStatus::Failed, Then::Retry(now)).await;
        }
        let claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages;
        let again = claimed.into_iter().find(|m| m.facts.id == first.facts.id).expect("due again");
        let taken = InHand::from(again);
        assert_eq!(taken.work.status, standing, "{name}");

        let carrier = ledger.lease(job(&format!("{name}-carrier"))).await;
        let other = ledger.lease(job(&format!("{name}-other")).patient("P3")).await;
        let both = ledger.together(&carrier, &[&taken]).await;
        let alone = ledger.plan(&other).await;
        let expected = alone.attempt;
        let begun = ledger.begin(worker(), &[both, alone]).await.unwrap();
        assert_eq!(begun.attempts, [expected], "{name}: who has to do with neither");
        let row = ledger.row(taken.facts.id).await;
        assert_eq!((row.status, row.merged_into), (standing, None), "{name}");
        for hand in [&carrier, &taken] {
            assert!(ledger.try_begin(ledger.plan(hand).await).await, "{name}: each by itself");
        }
    }
}

pub(super) async fn company_is_whoever_waits_for_the_same_reader(ledger: Ledger) {
    let now = ledger.now().await;
    ledger
        .upsert_patients(vec![patient("P1", "2026-11-20T08:00:00Z"), patient("P2", "2026-11-20T08:00:00Z")])
        .await
        .unwrap();
    let template = |mut admission: Admission, name: &str| {
        admission.facts.template = TemplateName::parse(name).unwrap();
        admission
    };
    let mut expected = vec![
        ledger.accept(job("hers")).await,
        ledger.accept(job("behind-the-number").patient("P2")).await,
        ledger.accept(job("bulk").priority(Priority::Bulk)).await,
    ];
    // What we hold back ourselves is asked again; what somebody wants to wait is not.
    for (name, reason, hours, found) in [
        ("asleep", Reason::QuietHours, 3, true),
        ("asleep-for-long", Reason::QuietHours, 30, false),
        ("capped", Reason::FrequencyCap, 3, true),
        ("without-provider", Reason::ProviderUnavailable, 3, true),
        ("paused", Reason::Paused, 3, false),
    ] {
        let hand = ledger.lease(job(name)).await;
        let mut row = decided(&hand, MessageStatus::Held, Some(reason), now);
        row.due_at = Some(now + SignedDuration::from_hours(hours));
        ledger.decide_one(row).await;
        expected.extend(found.then_some(hand.facts.id));
    }
    ledger.accept(job("urgent").priority(Priority::Urgent)).await;
    let later = ledger.accept(job("later").due(now + SignedDuration::from_hours(1))).await;
    ledger.accept(job("another-day").due(now + SignedDuration::from_hours(26))).await;
    ledger.accept(template(job("another-matter"), "result-available")).await;
    ledger.accept(job("elsewhere").patient("P3")).await;
    let held = ledger.lease(job("in-hand")).await;
    let mut body = ledger.row(held.facts.id).await.body;
    body.copy = Some(CopyFor { message: held.facts.id, proxy: Phi::new("patient:P7") });
    let copy = NewCopy { id: MessageId::generate(), of: held.facts.id, token: held.work.token, body };
    ledger.copy(&[copy]).await.unwrap();
    // Free again, because what carried it has failed.
    let (carrier, attempt, rider) = ledger.aboard("freed").await;
    ledger.settle_one(&carrier, attempt, AttemptStatus::Failed, Then::Retry(now + seconds(3_600))).await;
    expected.push(rider.facts.id);
    expected.sort_unstable();
    assert_eq!(ledger.company_of("P1", PHONE).await, expected);
    assert!(ledger.company_of("P1", PHONE).await.is_empty(), "they are in hand now");
    let day = ledger.company(worker(), &[seats("P1", PHONE, true)], 10).await.unwrap().joined;
    let day: Vec<MessageId> = day.iter().map(|(_, message)| message.facts.id).collect();
    assert_eq!(day, [later], "where a template tells a day together");
    assert_eq!(ledger.row(rider.facts.id).await.merged_into, None, "and in nobody else's text");
    assert_eq!(ledger.settle_riders(10).await.unwrap(), 0);
}

/// Two workers take a message each in the same instant. Both see the other's in another hand: the one that was accepted
/// later is given back for a second, and the other finds it.
pub(super) async fn two_hands_that_hold_one_each_find_each_other(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-11-20T08:00:00Z")]).await.unwrap();
    let (one, two) = (WorkerId::generate(), WorkerId::generate());
    for id in ["a", "b"] {
        ledger.accept(job(id)).await;
    }
    let claim = async |worker: WorkerId| -> InHand {
        let ask = Claim { worker, channel: None, priority: Priority::Normal, room: 1 };
        ledger.claim(&ask).await.unwrap().messages.remove(0).into()
    };
    let (first, second) = (claim(one).await, claim(two).await);
    let mut both = [first.facts.id, second.facts.id];
    both.sort_unstable();
    for worker in [one, two] {
        let (joined, elsewhere) = ledger.asked_by(worker).await;
        assert!(joined.is_empty());
        assert_eq!(elsewhere, both, "each sees what is in hand, and knows which of them is its own");
    }
    let due_at = Some(ledger.now().await + ASIDE);
    ledger.release(&[Release { due_at, ..release(&second) }]).await.unwrap();
    let (joined, elsewhere) = ledger.asked_by(one).await;
    assert_eq!(joined.iter().map(|hand| hand.facts.id).collect::<Vec<_>>(), [second.facts.id]);
    assert!(elsewhere.iter().all(|id| both.contains(id)), "nothing but its own");
    let row = ledger.together(&first, &[&joined[0]]).await;
    assert_eq!(ledger.begin(one, &[row]).await.unwrap().attempts.len(), 1);
    assert_eq!(ledger.row(second.facts.id).await.merged_into, Some(first.facts.id));

    // What was taken longer ago is on its way: nobody waits for it.
    ledger.lease(job("c")).await;
    ledger.pass(seconds(4)).await;
    assert_eq!(ledger.asked_by(one).await.1, []);
}

/// A source of chance that can be repeated.
struct Dice(u64);

impl Dice {
    fn upto(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Whatever happens in whatever order: in the end every message has ended or is before a person, and nobody was told
/// anything twice.
pub(super) async fn no_rider_is_lost_or_told_twice(ledger: Ledger) {
    for seed in 1..=8_u64 {
        let mut dice = Dice(seed);
        let mut told: std::collections::HashMap<MessageId, u32> = std::collections::HashMap::new();
        let mut all = Vec::new();
        for n in 0..6 {
            all.push(ledger.accept(job(&format!("s{seed}-{n}"))).await);
        }
        for _ in 0..30 {
            let mut hands: Vec<InHand> = Vec::new();
            for channel in [None, Some(Channel::Sms)] {
                let claimed = ledger.claim_as(channel, Priority::Normal, 1 + dice.upto(4) as u32).await;
                hands.extend(claimed.messages.into_iter().map(InHand::from));
            }
            if hands.is_empty() && ledger.settle_riders(10).await.unwrap() == 0 {
                let open = all.iter().map(|id| ledger.row(*id));
                let open = futures_util::future::join_all(open).await;
                if open.iter().all(|row| row.status.is_final() || row.status == MessageStatus::Sent) {
                    break;
                }
                continue;
            }
            let Some((carrier, riders)) = hands.split_first() else { continue };
            let riders: Vec<&InHand> = riders.iter().filter(|_| dice.upto(4) > 0).collect();
            let row = ledger.together(carrier, &riders).await;
            let attempt = row.attempt;
            match dice.upto(6) {
                0 => {
                    let leases: Vec<_> = hands.iter().map(release).collect();
                    ledger.release(&leases).await.unwrap();
                    continue;
                }
                1 => {
                    ledger.cancel(&[cancel_job(hands[hands.len() - 1].facts.job_id.as_str())]).await.unwrap();
                }
                _ => {}
            }
            let begun = ledger.try_begin(row).await;
            let left: Vec<_> = hands
                .iter()
                .filter(|h| {
                    !begun
                        || !(h.facts.id == carrier.facts.id
                            || riders.iter().any(|r| r.facts.id == h.facts.id))
                })
                .map(release)
                .collect();
            ledger.release(&left).await.unwrap();
            if !begun {
                continue;
            }
            let now = ledger.now().await;
            let (status, then) = match dice.upto(4) {
                0 => (AttemptStatus::Failed, Then::Retry(now)),
                1 => (AttemptStatus::Failed, Then::NextStep(Reason::InvalidAddress)),
                _ => (AttemptStatus::Sent, Then::Sent),
            };
            let settlement: Settlement = ledger.settlement(carrier, attempt, status, then).await;
            ledger.settle(&[settlement]).await.unwrap();
            if status == AttemptStatus::Sent {
                for hand in std::iter::once(carrier).chain(riders.iter().copied()) {
                    *told.entry(hand.facts.id).or_default() += 1;
                }
            }
            if dice.upto(2) == 0 {
                ledger.settle_riders(10).await.unwrap();
            }
        }
        ledger.settle_riders(100).await.unwrap();
        for id in all {
            let row = ledger.row(id).await;
            let ended = row.status.is_final() || row.status == MessageStatus::Sent;
            let waits = row.due_at.is_some() && row.merged_into.is_none();
            assert!(ended || waits, "seed {seed}: {row:?}");
            let times = told.get(&id).copied().unwrap_or_default();
            assert!(times <= 1, "seed {seed}: told {times} times: {row:?}");
            let reached = row.status == MessageStatus::Sent || row.reason == Some(Reason::Merged);
            assert_eq!(times == 1, reached, "seed {seed}: {row:?}");
        }
    }
}
