//! Chance that replays: the n-th request of a run meets the same fate whenever the seed is the same, however the
//! requests interleave on threads. A shared generator behind a lock would give neither the speed nor the replay.

/// What a number is drawn for, so that one decision never leans on another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Fate = 1,
    Jitter,
    Outcome,
    Code,
    Lie,
    Late,
    Repeat,
    Shuffle,
    Pace,
    Id,
    Answer,
    Words,
}

/// Draws numbers by position instead of by turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice {
    seed: u64,
}

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 well-mixed bits for the `n`-th draw of a stream.
    pub(super) const fn bits(self, stream: Stream, n: u64) -> u64 {
        let stream = mix(self.seed ^ (stream as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mix(stream.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn share(self, stream: Stream, n: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let top = (self.bits(stream, n) >> 11) as f64;
        top / (1_u64 << 53) as f64
    }

    /// True for the given share of draws.
    pub(super) fn chance(self, stream: Stream, n: u64, share: f64) -> bool {
        share > 0.0 && self.share(stream, n) < share
    }

    /// Uniform in `0..=max`.
    pub(super) const fn up_to(self, stream: Stream, n: u64, max: u64) -> u64 {
        match max.checked_add(1) {
            Some(span) => self.bits(stream, n) % span,
            None => self.bits(stream, n),
        }
    }

    /// One of the choices, `None` when there is none.
    pub(super) fn pick<T: Copy>(self, stream: Stream, n: u64, choices: &[T]) -> Option<T> {
        let last = u64::try_from(choices.len()).ok()?.checked_sub(1)?;
        choices.get(usize::try_from(self.up_to(stream, n, last)).ok()?).copied()
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so ids drawn by position never collide.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_replays_and_another_does_not() {
        let draw = |seed| (0..50).map(|n| Dice::new(seed).bits(Stream::Fate, n)).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn shares_come_out_as_asked_and_streams_are_apart() {
        let dice = Dice::new(1);
        let count = |stream, share| (0..100_000).filter(|n| dice.chance(stream, *n, share)).count();
        let five_percent = count(Stream::Fate, 0.05);
        assert!((4_700..=5_300).contains(&five_percent), "{five_percent}");
        assert_eq!(count(Stream::Fate, 0.0), 0);
        assert_eq!(count(Stream::Fate, 1.0), 100_000);
        let both = (0..100_000)
            .filter(|n| dice.chance(Stream::Fate, *n, 0.1) && dice.chance(Stream::Lie, *n, 0.1))
            .count();
        assert!((800..=1_200).contains(&both), "{both}");
    }
}
