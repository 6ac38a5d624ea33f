//! Named points at which the fault suite ends a process, as a power cut would: between two things that must hold together.
//!
//! Without the feature `faults` a point is nothing at all. With it, `OUTREACHD_TEST_FAULTS=admitted:3` ends the process, without
//! a word to anybody, when it comes to `admitted` for the third time. A release cannot be built with them.

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` is for tests: a release must have no point at which it can be ended");

/// The points, in the order in which a message meets them, and what lies behind each.
pub const POINTS: &[(&str, &str)] = &[
    ("taken", "jobs came from the broker; nothing is on record"),
    ("admitting", "jobs are written and nothing of it is committed"),
    ("admitted", "jobs are on record and not acknowledged"),
    ("claimed", "due messages are leased and not planned"),
    ("beginning", "attempts are being written and nobody has heard whether they are on record"),
    ("begun", "attempts are on record and no byte has left"),
    ("on_the_wire", "a request is under way and no answer has come"),
    ("answered", "the provider has answered and the ledger has not heard of it"),
    ("settling", "results are being written and nobody has heard whether they are on record"),
    ("settled", "results are on record and no event was told"),
    ("told", "events are confirmed and not marked"),
    ("taking_over", "leases of a dead worker are being taken over, and nothing of it is committed"),
];

/// Ends the process if this point is where it is to end. Says nothing and cleans up nothing, as a crash does.
#[cfg(feature = "faults")]
pub(crate) fn reach(point: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Where it is to end, and how often that is passed before.
    static END: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let wish = std::env::var("OUTREACHD_TEST_FAULTS").ok()?;
        let (point, times) = wish.split_once(':').unwrap_or((&wish, "1"));
        Some((point.to_owned(), AtomicU64::new(times.parse().unwrap_or(1))))
    });
    if let Some((end, times)) = &*END
        && end == point
        && times.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Does the work, and comes to the point in the midst of it, once it has to wait for others.
#[cfg(feature = "faults")]
pub(crate) async fn amid<F: Future>(point: &str, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        // What the work has handed to other tasks goes on meanwhile.
        () = tokio::task::yield_now() => reach(point),
    }
    work.await
}

/// The work, and nothing else.
#[cfg(not(feature = "faults"))]
pub(crate) fn amid<F: Future>(_: &str, work: F) -> F {
    work
}

/// A point at which the fault suite may end the process; nothing without the feature `faults`.
macro_rules! fault_point {
    ($point:literal) => {
        #[cfg(feature = "faults")]
        $crate::faults::reach($point);
    };
    ($point:literal, $when:expr) => {
        #[cfg(feature = "faults")]
        {
            if $when {
                $crate::faults::reach($point);
            }
        }
    };
}
pub(crate) use fault_point;
