use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const QUICK: Duration = Duration::from_millis(20);

fn settings() -> BreakerSettings {
    BreakerSettings::default()
}

/// A breaker and the time it is.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new(minds_slow: bool) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(settings(), minds_slow, now), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Makes a call as it may be made now; false: none may.
    fn make(&mut self, answer: Answer, took: Duration) -> bool {
        let Some(call) = self.breaker.call().or_else(|| self.breaker.take_probe(self.now)) else {
            return false;
        };
        self.pass(took);
        self.breaker.record(call, answer, took, self.now);
        true
    }

    fn condition(&self) -> Condition {
        self.breaker.condition(self.now)
    }

    /// Open, its cool-down over.
    fn half_open() -> Self {
        let mut bench = Self::new(false);
        while bench.make(Answer::Failed, QUICK) {}
        bench.pass(settings().cool_down);
        assert_eq!(bench.condition(), Condition::HalfOpen);
        bench
    }
}

#[test]
fn what_an_answer_says_of_the_provider() {
    use FailureKind::{Ambiguous, BadAddress, Misconfigured, OptedOut, Rejected, Throttled, Transient};
    for (kind, expected) in [
        (Transient, Answer::Failed),
        (Ambiguous, Answer::Failed),
        (Misconfigured, Answer::Refused),
        (Throttled { retry_after: None }, Answer::Throttled),
        (BadAddress, Answer::Mute),
        (OptedOut, Answer::Mute),
        (Rejected, Answer::Mute),
    ] {
        assert_eq!(Answer::of(&Err(SendError::new(kind, "x"))), expected, "{kind:?}");
    }
    assert_eq!(Answer::of(&Ok(Accepted::default())), Answer::Good);
}

#[test]
fn one_whose_receipts_do_not_come_is_left_alone_for_as_long_as_they_may_take() {
    let mut bench = Bench::new(true);
    let least = 10 * settings().cool_down_max;
    assert!(bench.breaker.leave_alone(least, bench.now));
    assert!(!bench.breaker.leave_alone(least, bench.now), "it is open already");
    bench.pass(least - MS);
    assert_eq!(bench.condition(), Condition::Open);
    bench.pass(MS);
    assert_eq!(bench.condition(), Condition::HalfOpen);
}

#[test]
fn what_opens_it() {
    use Answer::{Failed, Good, Mute, Refused, Throttled};
    let many = |answer, count| vec![(answer, QUICK); count];
    let slow = |count| vec![(Good, settings().slow_after); count];
    for (what, minds_slow, calls, opens) in [
        ("ten failures in a row", false, many(Failed, 10), true),
        ("nine", false, many(Failed, 9), false),
        ("nine, one good, nine", false, [many(Failed, 9), many(Good, 1), many(Failed, 9)].concat(), false),
        ("half of fifty", false, [many(Good, 1), many(Failed, 1)].concat().repeat(25), true),
        ("half of less: too few to tell", false, [many(Good, 1), many(Failed, 1)].concat().repeat(24), false),
        ("a third of many", false, [many(Good, 2), many(Failed, 1)].concat().repeat(300), false),
        ("refused from the start", false, many(Refused, 1), true),
        ("refused once where others get through", false, [many(Good, 5), many(Refused, 1)].concat(), false),
        ("refused and refused", false, [many(Good, 5), many(Refused, 10)].concat(), true),
        ("the messages' own faults", false, many(Mute, 1_000), false),
        (
            "failures among the messages' own faults",
            false,
            [many(Mute, 3), many(Failed, 1)].concat().repeat(10),
            true,
        ),
        ("asked to slow down for a while", false, vec![(Throttled, 200 * MS); 100], false),
        ("asked to slow down for long", false, vec![(Throttled, 200 * MS); 200], true),
        ("slow, and another could take over", true, slow(10), true),
        ("slow, and there is no other", false, slow(1_000), false),
    ] {
        let mut bench = Bench::new(minds_slow);
        let stopped = calls.into_iter().any(|(answer, took)| !bench.make(answer, took));
        let open = bench.condition() == Condition::Open;
        assert_eq!(open, opens, "{what}");
        assert!(open || !stopped, "{what}");
    }
}

#[test]
fn a_run_is_longer_where_there_are_more_calls() {
    let mut bench = Bench::new(false);
    for _ in 0..3_000 {
        assert!(bench.make(Answer::Good, MS));
    }
    for _ in 0..29 {
        assert!(bench.make(Answer::Failed, MS), "chance makes such runs");
    }
    assert_eq!(bench.condition(), Condition::Closed);
    for _ in 0..2 {
        bench.make(Answer::Failed, MS);
    }
    assert_eq!(bench.condition(), Condition::Open);
}

#[test]
fn it_cools_down_is_probed_and_comes_back_step_by_step() {
    let mut bench = Bench::new(false);
    while bench.make(Answer::Failed, QUICK) {}
    assert_eq!(bench.breaker.cool_down_left(bench.now), settings().cool_down);
    bench.pass(settings().cool_down - MS);
    assert_eq!((bench.condition(), bench.breaker.free_probes(bench.now)), (Condition::Open, 0));
    bench.pass(MS);
    for good in 0..settings().good_probes {
        assert_eq!(bench.condition(), Condition::HalfOpen, "after {good} good ones");
        assert_eq!(bench.breaker.share(bench.now), 0);
        assert!(bench.make(Answer::Good, QUICK));
    }
    let shares: Vec<u32> = (0..12)
        .map(|_| {
            let share = bench.breaker.share(bench.now);
            bench.pass(settings().recovery / 10);
            share
        })
        .collect();
    assert_eq!(shares, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100, 100]);
    assert_eq!(bench.condition(), Condition::Closed);
}

#[test]
fn cool_downs_double_until_it_was_wholly_back() {
    let mut bench = Bench::half_open();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        assert!(bench.make(Answer::Failed, QUICK));
        let pause = bench.breaker.cool_down_left(bench.now);
        pauses.push(pause.as_secs());
        bench.pass(pause);
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60, 60]);
    for _ in 0..settings().good_probes {
        bench.make(Answer::Good, QUICK);
    }
    bench.pass(settings().recovery);
    while bench.make(Answer::Failed, QUICK) {}
    assert_eq!(bench.breaker.cool_down_left(bench.now), settings().cool_down);
}

#[test]
fn a_call_of_an_earlier_term_says_nothing() {
    let mut bench = Bench::new(false);
    let late: Vec<Call> = (0..50).filter_map(|_| bench.breaker.call()).collect();
    while bench.make(Answer::Failed, QUICK) {}
    bench.pass(settings().cool_down);
    let probe = bench.breaker.take_probe(bench.now).unwrap();
    for call in &late {
        assert!(!bench.breaker.stands(*call));
        bench.breaker.record(*call, Answer::Failed, QUICK, bench.now);
    }
    assert_eq!((bench.condition(), bench.breaker.free_probes(bench.now)), (Condition::HalfOpen, 1));
    bench.breaker.record(probe, Answer::Failed, QUICK, bench.now);
    assert_eq!(bench.condition(), Condition::Open, "a probe counts");
}

#[test]
fn a_probe_that_was_not_sent_is_free_again() {
    let mut bench = Bench::half_open();
    let one = bench.breaker.take_probe(bench.now).unwrap();
    let two = bench.breaker.take_probe(bench.now).unwrap();
    assert_eq!(bench.breaker.take_probe(bench.now), None);
    bench.breaker.put_back(one);
    bench.breaker.record(two, Answer::Mute, QUICK, bench.now);
    assert_eq!(bench.breaker.free_probes(bench.now), 2, "the message's own fault is no answer");
}

/// What may happen to a breaker.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u16),
    Begin,
    /// The oldest call under way comes to this.
    End(Answer),
    /// The oldest call under way is given up.
    PutBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Answer::{Failed, Good, Mute, Refused, Throttled};
    let answer = prop_oneof![
        4 => Just(Good), 6 => Just(Failed), 1 => Just(Refused), 1 => Just(Throttled), 1 => Just(Mute)
    ];
    let step = prop_oneof![
        2 => (0_u16..3_000).prop_map(Step::Pass),
        6 => Just(Step::Begin),
        6 => answer.prop_map(Step::End),
        1 => Just(Step::PutBack),
    ];
    prop::collection::vec(step, 1..600)
}

proptest! {
    #[test]
    fn an_open_provider_gets_nothing_and_a_half_open_one_no_more_than_its_probes(steps in steps()) {
        let mut bench = Bench::new(false);
        let mut under_way: std::collections::VecDeque<Call> = std::collections::VecDeque::new();
        for step in steps {
            match step {
                Step::Pass(ms) => bench.pass(u32::from(ms) * MS),
                Step::Begin => {
                    let condition = bench.condition();
                    let call = bench.breaker.call().or_else(|| bench.breaker.take_probe(bench.now));
                    prop_assert!(condition != Condition::Open || call.is_none());
                    under_way.extend(call);
                }
                Step::End(answer) => {
                    if let Some(call) = under_way.pop_front() {
                        bench.breaker.record(call, answer, QUICK, bench.now);
                    }
                }
                Step::PutBack => {
                    if let Some(call) = under_way.pop_front() {
                        bench.breaker.put_back(call);
                    }
                }
            }
            let probes = under_way.iter().filter(|c| c.probe && bench.breaker.stands(**c)).count();
            prop_assert!(probes <= settings().probes as usize);
            if bench.condition() == Condition::HalfOpen {
                let free = bench.breaker.free_probes(bench.now) as usize;
                prop_assert_eq!(free + probes, settings().probes as usize, "no probe is lost or made up");
            }
        }
    }

    #[test]
    fn after_a_recovery_the_share_only_grows(times in prop::collection::vec(0_u64..20_000, 1..60)) {
        let mut bench = Bench::half_open();
        for _ in 0..settings().good_probes {
            bench.make(Answer::Good, QUICK);
        }
        let mut last = bench.breaker.share(bench.now);
        prop_assert_eq!(last, 10);
        for ms in times {
            bench.pass(Duration::from_millis(ms));
            bench.make(Answer::Good, QUICK);
            let share = bench.breaker.share(bench.now);
            prop_assert!(share >= last);
            last = share;
        }
        bench.pass(settings().recovery);
        prop_assert_eq!(bench.breaker.share(bench.now), 100);
    }
}

#[test]
fn a_steady_mix_below_the_threshold_does_not_flap() {
    for per_second in [1_u32, 5, 10, 50, 200, 2_000] {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bench = Bench::new(false);
        let calls = (per_second * 3_600).min(400_000);
        for n in 0..calls {
            // xorshift64: chance that is the same in every run.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let answer = if random % 100 < 25 { Answer::Failed } else { Answer::Good };
            assert!(bench.make(answer, Duration::from_secs(1) / per_second), "call {n} at {per_second}/s");
        }
        assert_eq!(bench.condition(), Condition::Closed, "{per_second}/s");
    }
}
