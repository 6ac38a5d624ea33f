//! What a hit log says, as pure functions: pace against a limit, and repeats.

use std::collections::BTreeMap;

use outreachd::simulator::{Hit, Marker};

/// One second in the unit of the hit log.
const SECOND_US: u64 = 1_000_000;

/// The most hits in any half-open second `[t, t + 1 s)`, wherever it starts. Times in microseconds, in any
/// order.
pub(crate) fn worst_sliding_second(times_us: &[u64]) -> usize {
    let mut times = times_us.to_vec();
    times.sort_unstable();
    let mut worst = 0;
    let mut first = 0;
    for (last, end) in times.iter().enumerate() {
        while times.get(first).is_some_and(|start| end - start >= SECOND_US) {
            first += 1;
        }
        worst = worst.max(last + 1 - first);
    }
    worst
}

/// How often each key reached the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeats {
    /// Hits that named a key.
    pub(crate) hits: u64,
    /// Different keys among them.
    pub(crate) keys: u64,
    /// Keys seen more than once, with how often.
    pub(crate) repeated: BTreeMap<String, u64>,
}

impl Repeats {
    /// Hits beyond the first of each key.
    pub(crate) fn extra(&self) -> u64 {
        self.hits - self.keys
    }
}

/// Counts hits by send key; hits without one are left out.
pub(crate) fn repeats_by_send_key(hits: &[Hit]) -> Repeats {
    repeats(hits.iter().filter_map(|hit| hit.send_key.as_ref()).map(Marker::as_str))
}

/// Counts hits by attempt; hits without one are left out.
pub(crate) fn repeats_by_attempt(hits: &[Hit]) -> Repeats {
    repeats(hits.iter().filter_map(|hit| hit.attempt.as_ref()).map(Marker::as_str))
}

/// Counts how often each key occurs.
fn repeats<'a>(keys: impl Iterator<Item = &'a str>) -> Repeats {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut hits = 0;
    for key in keys {
        hits += 1;
        *counts.entry(key).or_default() += 1;
    }
    let seen = counts.len() as u64;
    let repeated = counts.into_iter().filter(|(_, n)| *n > 1).map(|(key, n)| (key.to_owned(), n)).collect();
    Repeats { hits, keys: seen, repeated }
}

#[test]
fn the_worst_second_may_start_anywhere() {
    for (times, expect) in [
        (vec![], 0),
        (vec![5], 1),
        // Two in the tail of one calendar second and two in the head of the next are four in one second.
        (vec![900_000, 950_000, 1_100_000, 1_200_000], 4),
        // A second is half open: one exactly a second later is outside.
        (vec![0, 1_000_000], 1),
        (vec![0, 999_999], 2),
        // Order does not matter.
        (vec![2_500_000, 0, 2_400_000, 100], 2),
    ] {
        assert_eq!(worst_sliding_second(&times), expect, "{times:?}");
    }
}

#[test]
fn repeats_are_counted_and_named() {
    let found = repeats(["a", "b", "a", "c", "a"].into_iter());
    assert_eq!((found.hits, found.keys, found.extra()), (5, 3, 2));
    assert_eq!(found.repeated, BTreeMap::from([("a".to_owned(), 3)]));
}
