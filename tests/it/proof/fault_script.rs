//! What goes wrong in a run of the fault suite: how much of it, and in which order.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use super::fault_outage::{Outage, WAYS};

/// Points that are come to once for what a dead worker has left.
pub(super) const OF_THE_DEAD: [&str; 2] = ["claimed", "taking_over"];
/// So many outages in a row are lived through by one worker.
const IN_A_ROW: usize = 4;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Suite {
    /// The same number, the same faults in the same order with the same pauses.
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    /// kill -9 at random times.
    pub(crate) kills: usize,
    /// The end at each named point, so often.
    pub(crate) points: usize,
    /// A worker is stopped until others have its leases, and goes on.
    pub(crate) sleeps: usize,
    /// SIGTERM under load.
    pub(crate) stops: usize,
    /// The network to the ledger or to the broker fails, in each way in turn.
    pub(crate) networks: usize,
    /// The broker, and the database, ends and starts again, where they are the rig's own.
    pub(crate) restarts: usize,
    /// The database ends all connections; so does the broker, where it is the rig's own.
    pub(crate) cuts: usize,
    /// The database takes no writes; and it says that its disk is full.
    pub(crate) refusals: usize,
    /// The queue of jobs is deleted.
    pub(crate) queues: usize,
    /// How long a fault lasts that has a length, in seconds.
    pub(crate) hold: u64,
}

/// By `tests/faults`.
pub(crate) const FULL: Suite = Suite {
    seed: 1,
    jobs: 5_000,
    kills: 20,
    points: 5,
    sleeps: 3,
    stops: 5,
    networks: 2 * WAYS.len(),
    restarts: 2,
    cuts: 2,
    refusals: 2,
    queues: 2,
    hold: 5,
};

/// With every run of the tests.
pub(crate) const SMALL: Suite = Suite {
    seed: 20_261_126,
    jobs: 400,
    kills: 1,
    points: 1,
    sleeps: 1,
    stops: 1,
    networks: 2,
    restarts: 0,
    cuts: 1,
    refusals: 0,
    queues: 0,
    hold: 1,
};

impl Suite {
    /// What the command line, by way of the environment, wants otherwise.
    pub(crate) fn asked(self) -> Self {
        let asked =
            |name: &str| std::env::var(format!("OUTREACHD_TEST_FAULTS_{name}")).ok()?.parse::<u64>().ok();
        let count =
            |name: &str, otherwise: usize| asked(name).map_or(otherwise, |n| usize::try_from(n).unwrap());
        Self {
            seed: asked("SEED").unwrap_or(self.seed),
            jobs: count("JOBS", self.jobs),
            kills: count("KILLS", self.kills),
            points: count("POINTS", self.points),
            sleeps: count("SLEEPS", self.sleeps),
            stops: count("STOPS", self.stops),
            networks: count("NETWORKS", self.networks),
            restarts: count("RESTARTS", self.restarts),
            cuts: count("CUTS", self.cuts),
            refusals: count("REFUSALS", self.refusals),
            queues: count("QUEUES", self.queues),
            hold: asked("HOLD").unwrap_or(self.hold),
        }
    }

    /// All of it, in its order; `own`: the servers are the rig's own, and nobody else's.
    pub(super) fn steps(&self, own: bool) -> Vec<Step> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut turns = Vec::new();
        if cfg!(feature = "faults") {
            for (point, _) in outreachd::faults::POINTS {
                let often = if OF_THE_DEAD.contains(point) { 1 } else { 2 };
                turns.extend(
                    (0..self.points).map(|_| vec![Step::Point(point, random.random_range(1..=often))]),
                );
            }
        }
        turns.extend((0..self.kills).map(|_| vec![Step::Kill(random.random_range(200..1_200))]));
        turns.extend((0..self.sleeps).map(|_| vec![Step::Sleep(random.random_range(200..800))]));
        turns.extend((0..self.stops).map(|_| vec![Step::Stop(random.random_range(0..800))]));
        let mut outages = self.outages(&mut random, own);
        outages.shuffle(&mut random);
        turns.extend(
            outages.chunks(IN_A_ROW).map(|some| some.iter().copied().map(Step::Outage).collect::<Vec<_>>()),
        );
        turns.shuffle(&mut random);
        turns.concat()
    }

    fn outages(&self, random: &mut StdRng, own: bool) -> Vec<Outage> {
        let (first, side) = (random.random_range(0..WAYS.len()), random.random_bool(0.5));
        let mut outages = Vec::new();
        for n in 0..self.networks {
            // Twice as many as there are ways are each way on each link.
            let ledger = (n + n / WAYS.len()).is_multiple_of(2) == side;
            outages.push(Outage::Network { ledger, way: WAYS[(first + n) % WAYS.len()] });
        }
        for n in (0..self.restarts).filter(|_| own) {
            outages.push(Outage::Broker { crash: n % 2 == 0 });
            outages.push(Outage::Database { crash: n % 2 == 1 });
        }
        for _ in 0..self.cuts {
            outages.push(Outage::Terminated);
            outages.extend(own.then_some(Outage::Closed));
        }
        for n in 0..self.refusals {
            outages.push(Outage::ReadOnly { server: own && n % 2 == 0 });
            outages.push(Outage::DiskFull);
        }
        outages.extend((0..self.queues).map(|n| Outage::Deleted { declared: n % 2 == 1 }));
        outages
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// The process ends at this point, when it comes there for the n-th time.
    Point(&'static str, u8),
    /// SIGKILL after so many milliseconds.
    Kill(u64),
    /// SIGSTOP after so many milliseconds, SIGCONT once its leases are gone.
    Sleep(u64),
    /// SIGTERM so many milliseconds after it has taken work.
    Stop(u64),
    /// The worker lives through it.
    Outage(Outage),
}

#[test]
fn a_seed_gives_the_same_faults_in_the_same_order() {
    let suite = Suite { seed: 7, ..FULL };
    assert_eq!(suite.steps(true), suite.steps(true));
    let other = Suite { seed: 8, ..suite };
    assert_ne!(suite.steps(true), other.steps(true));
    let points = if cfg!(feature = "faults") { 5 * outreachd::faults::POINTS.len() } else { 0 };
    // Twenty kills, three sleeps, five stops; then networks, restarts, cuts and refusals of two kinds each, queues.
    assert_eq!(suite.steps(true).len(), points + 20 + 3 + 5 + 8 + 4 + 4 + 4 + 2);
}

#[test]
fn each_link_fails_in_each_way() {
    let steps = Suite { seed: 7, ..FULL }.steps(true);
    for way in WAYS {
        for ledger in [false, true] {
            assert!(steps.contains(&Step::Outage(Outage::Network { ledger, way })), "{way:?}, {ledger}");
        }
    }
}

#[test]
fn a_server_that_others_use_is_left_alone() {
    let alone = |step: &Step| {
        !matches!(
            step,
            Step::Outage(
                Outage::Broker { .. }
                    | Outage::Database { .. }
                    | Outage::Closed
                    | Outage::ReadOnly { server: true }
            )
        )
    };
    assert!(FULL.steps(false).iter().all(alone));
    assert!(!FULL.steps(true).iter().all(alone));
}
