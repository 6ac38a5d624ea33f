//! The shared rate gate and the day budgets.

use std::collections::HashSet;

use jiff::SignedDuration;
use outreachd::store::rows::{GateKey, GateLimit, Reserve, Spend};

use super::ledger::Ledger;
use super::make::seconds;

pub(super) async fn slots_lie_an_interval_apart(ledger: Ledger) {
    let reserved = ledger.reserve(&ask(&[every("a", 20)], 5, 200)).await.unwrap();
    assert_eq!(reserved.slots.len(), 5);
    assert!(reserved.slots[0] >= reserved.now);
    for pair in reserved.slots.windows(2) {
        assert_eq!(pair[1].duration_since(pair[0]), SignedDuration::from_millis(20));
    }
    assert_eq!(reserved.closed_until, None);
    assert!(ledger.reserve(&ask(&[], 5, 200)).await.unwrap().slots.is_empty());
}

pub(super) async fn a_clock_that_is_set_back_closes_the_gate_for_seconds_only(ledger: Ledger) {
    let ask = ask(&[every("a", 20)], 5, 500);
    assert_eq!(ledger.reserve(&ask).await.unwrap().slots.len(), 5);
    ledger.pass(seconds(-3_600)).await;
    for n in 0..3 {
        let closed = ledger.reserve(&ask).await.unwrap();
        assert_eq!(closed.slots.len(), 0, "what was given out before may still leave");
        assert!(n > 0 || closed.recent == [5], "nothing is forgotten: {closed:?}");
        assert!(closed.next.duration_since(closed.now) <= seconds(3), "{closed:?}");
    }
    ledger.pass(seconds(3)).await;
    assert_eq!(ledger.reserve(&ask).await.unwrap().slots.len(), 5);
}

/// As somebody does who began to wait for the row before the second was over.
pub(super) async fn who_comes_a_second_late_forgets_nothing_that_others_took(ledger: Ledger) {
    let ask = ask(&[every("a", 1)], 5, 3_000);
    assert_eq!(ledger.reserve(&ask).await.unwrap().recent, [5]);
    ledger.pass(seconds(-1)).await;
    assert_eq!(ledger.reserve(&ask).await.unwrap().recent, [10]);
    // Which of them were not used nobody can tell: others were told of fewer.
    let unused = Reserve { unused: 5, ..ask };
    assert_eq!(ledger.reserve(&unused).await.unwrap().recent, [15]);
}

pub(super) async fn two_callers_share_one_rate(ledger: Ledger) {
    let other = ledger.another();
    let mut slots = Vec::new();
    for _ in 0..3 {
        slots.extend(ledger.reserve(&ask(&[every("a", 20)], 2, 1000)).await.unwrap().slots);
        slots.extend(other.reserve(&ask(&[every("a", 20)], 3, 1000)).await.unwrap().slots);
    }
    assert_eq!(slots.len(), 15);
    for pair in slots.windows(2) {
        assert!(pair[1].duration_since(pair[0]) >= SignedDuration::from_millis(20), "{slots:?}");
    }
}

pub(super) async fn the_slowest_key_sets_the_pace(ledger: Ledger) {
    let both = [every("fast", 10), every("slow", 100)];
    let reserved = ledger.reserve(&ask(&both, 50, 499)).await.unwrap();
    assert_eq!(reserved.slots.len(), 5, "one at once, four more within the horizon");
    for pair in reserved.slots.windows(2) {
        assert!(pair[1].duration_since(pair[0]) >= SignedDuration::from_millis(100));
    }
    assert_eq!(reserved.recent, [5, 5]);
    // What was granted counts for both.
    let fast = ledger.reserve(&ask(&[every("fast", 10)], 1, 1000)).await.unwrap();
    assert!(fast.slots[0].duration_since(reserved.slots[0]) >= SignedDuration::from_millis(50));
}

pub(super) async fn no_slot_lies_nearer_than_the_lead(ledger: Ledger) {
    let lead = SignedDuration::from_millis(500);
    let ask = Reserve { lead, ..ask(&[every("a", 20)], 3, 1000) };
    let first = ledger.reserve(&ask).await.unwrap();
    assert_eq!(first.slots[0].duration_since(first.now), lead);
    assert_eq!(first.recent, [3]);
    // Where others wait already the lead costs nothing.
    let next = ledger.reserve(&ask).await.unwrap();
    assert!(next.slots[0].duration_since(first.slots[2]) >= SignedDuration::from_millis(20));
    let none = Reserve { horizon: SignedDuration::from_millis(499), ..ask };
    assert!(ledger.reserve(&none).await.unwrap().slots.is_empty(), "the lead is beyond the horizon");
}

pub(super) async fn no_slot_lies_beyond_the_horizon(ledger: Ledger) {
    let mut granted = 0;
    for _ in 0..3 {
        let reserved = ledger.reserve(&ask(&[every("a", 1000)], 100, 3500)).await.unwrap();
        for slot in &reserved.slots {
            assert!(slot.duration_since(reserved.now) <= SignedDuration::from_millis(3500));
        }
        granted += reserved.slots.len();
    }
    assert!((4..=6).contains(&granted), "four at once, and what has passed meanwhile: {granted}");
    ledger.pass(seconds(2)).await;
    let later = ledger.reserve(&ask(&[every("a", 1000)], 100, 3500)).await.unwrap().slots.len();
    assert!((2..=4).contains(&later), "two more, and what has passed meanwhile: {later}");
}

pub(super) async fn unused_time_is_not_saved_up(ledger: Ledger) {
    ledger.reserve(&ask(&[every("a", 100)], 1, 1000)).await.unwrap();
    ledger.pass(seconds(60)).await;
    let reserved = ledger.reserve(&ask(&[every("a", 100)], 100, 1000)).await.unwrap();
    assert!(reserved.slots[0] >= reserved.now);
    assert_eq!(reserved.slots.len(), 11);
}

pub(super) async fn a_day_has_its_share(ledger: Ledger) {
    let day = GateKey { key: "day".to_owned(), limit: GateLimit::Day(7) };
    let keys = [day.clone(), every("a", 1)];
    assert_eq!(ledger.reserve(&ask(&keys, 5, 1000)).await.unwrap().slots.len(), 5);
    assert_eq!(ledger.reserve(&ask(&keys, 5, 1000)).await.unwrap().slots.len(), 2);
    let closed = ledger.reserve(&ask(&keys, 5, 1000)).await.unwrap();
    assert!(closed.slots.is_empty());
    // What nobody could use does not count.
    let given_back = Reserve { unused: 3, ..ask(&keys, 5, 1000) };
    assert_eq!(ledger.reserve(&given_back).await.unwrap().slots.len(), 3);
    let closed = ledger.reserve(&ask(&keys, 5, 1000)).await.unwrap();
    assert!(closed.slots.is_empty());
    let until = closed.closed_until.expect("a time when it opens again");
    let midnight = until.to_zoned(jiff::tz::TimeZone::UTC);
    assert_eq!((midnight.hour(), midnight.minute(), midnight.second()), (0, 0, 0));
    assert!(until > closed.now && until.duration_since(closed.now) <= SignedDuration::from_hours(24));
    // Not closed for those who do not share it.
    assert_eq!(ledger.reserve(&ask(&[every("b", 1)], 5, 1000)).await.unwrap().slots.len(), 5);
    ledger.pass(SignedDuration::from_hours(24)).await;
    assert_eq!(ledger.reserve(&ask(&keys, 5, 1000)).await.unwrap().slots.len(), 5, "a new day");
}

pub(super) async fn a_spent_budget_is_never_crossed(ledger: Ledger) {
    let entry = |amount| Spend { budgets: vec![("source".to_owned(), 10)], amount };
    let answers = ledger.spend(&[entry(4), entry(4), entry(4), entry(2)]).await.unwrap();
    assert_eq!(answers, [true, true, false, true]);
    assert_eq!(ledger.spend(&[entry(1)]).await.unwrap(), [false]);
    assert_eq!(ledger.spend(&[entry(-3), entry(3), entry(1)]).await.unwrap(), [true, true, false]);
    ledger.pass(SignedDuration::from_hours(24)).await;
    assert_eq!(
        ledger.spend(&[entry(1)]).await.unwrap(),
        [false],
        "whose day it is says the key, not the ledger"
    );
    let tomorrow = |amount| Spend { budgets: vec![("source/tomorrow".to_owned(), 10)], amount };
    assert_eq!(ledger.spend(&[tomorrow(10), tomorrow(1)]).await.unwrap(), [true, false]);
    assert!(ledger.spend(&[]).await.unwrap().is_empty());
}

pub(super) async fn a_budget_is_spent_whole_or_not_at_all(ledger: Ledger) {
    let of = |keys: &[(&str, i64)], amount| Spend {
        budgets: keys.iter().map(|(k, limit)| ((*k).to_owned(), *limit)).collect(),
        amount,
    };
    let answers =
        ledger.spend(&[of(&[("total", 10), ("site", 3)], 4), of(&[("total", 10)], 10)]).await.unwrap();
    assert_eq!(answers, [false, true], "the refused entry took nothing from the total");
}

pub(super) async fn many_callers_never_cross_a_limit(ledger: Ledger) {
    let mut callers = Vec::new();
    for _ in 0..6 {
        let store = ledger.another();
        callers.push(tokio::spawn(async move {
            let day = GateKey { key: "day".to_owned(), limit: GateLimit::Day(100) };
            let keys = [every("a", 1), every("b", 2), day];
            let (mut slots, mut spent) = (Vec::new(), 0);
            for _ in 0..15 {
                slots.extend(store.reserve(&ask(&keys, 3, 60_000)).await.unwrap().slots);
                let budgets = vec![("x".to_owned(), 50), ("y".to_owned(), 100)];
                let taken = store.spend(&[Spend { budgets, amount: 1 }]).await.unwrap();
                spent += i32::from(taken[0]);
            }
            (slots, spent)
        }));
    }
    let (mut slots, mut spent) = (HashSet::new(), 0);
    for caller in callers {
        let (mine, taken) = caller.await.unwrap();
        for slot in mine {
            assert!(slots.insert(slot), "one slot for two");
        }
        spent += taken;
    }
    assert_eq!((slots.len(), spent), (100, 50));
    let mut slots: Vec<_> = slots.into_iter().collect();
    slots.sort();
    for pair in slots.windows(2) {
        assert!(pair[1].duration_since(pair[0]) >= SignedDuration::from_millis(2));
    }
}

fn every(key: &str, millis: i64) -> GateKey {
    GateKey { key: key.to_owned(), limit: GateLimit::Interval(SignedDuration::from_millis(millis)) }
}

fn ask(keys: &[GateKey], want: u32, horizon_ms: i64) -> Reserve {
    Reserve {
        keys: keys.to_vec(),
        want,
        lead: SignedDuration::ZERO,
        horizon: SignedDuration::from_millis(horizon_ms),
        unused: 0,
    }
}
