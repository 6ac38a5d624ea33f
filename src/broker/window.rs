//! How many deliveries the broker may push ahead: few after a connect, more with every committed batch, fewer
//! when bodies are large. AMQP can limit the count only, so the bytes are our own affair.

/// Where the window starts after a connect. A job that kills the process then takes few others with it.
pub(super) const FIRST_WINDOW: u16 = 32;

/// The prefetch of one consumer, worked out from what it has seen.
#[derive(Clone, Debug)]
pub(super) struct Window {
    max: u16,
    wanted: u16,
    held_limit: usize,
    /// A running mean of body sizes, so that one large body does not count for ever.
    mean_bytes: usize,
}

impl Window {
    /// At most `max` deliveries and `held_limit` body bytes.
    #[must_use]
    pub(super) fn new(max: u16, held_limit: usize) -> Self {
        let max = max.max(1);
        Self { max, wanted: FIRST_WINDOW.min(max), held_limit, mean_bytes: 0 }
    }

    /// Back to the start: the channel is new.
    pub(super) fn restart(&mut self) {
        self.wanted = FIRST_WINDOW.min(self.max);
    }

    /// A body of this size arrived.
    pub(super) fn saw(&mut self, bytes: usize) {
        self.mean_bytes = self.mean_bytes - self.mean_bytes / 16 + bytes / 16;
    }

    /// A batch was committed and acknowledged.
    pub(super) fn batch_committed(&mut self) {
        self.wanted = self.wanted.saturating_mul(2).min(self.max);
    }

    /// The limit was passed: half of what there was.
    pub(super) fn overran(&mut self) {
        self.wanted = (self.prefetch() / 2).max(1);
    }

    /// Whether a consumer with this prefetch should be replaced by one with [`Self::prefetch`]: not for a little.
    #[must_use]
    pub(super) fn outgrows(&self, prefetch: u16) -> bool {
        let (wanted, now) = (u32::from(self.prefetch()), u32::from(prefetch));
        wanted >= 2 * now || 2 * wanted <= now || (wanted > now && wanted == u32::from(self.max))
    }

    /// The prefetch to consume with: never 0, which would mean no limit.
    #[must_use]
    pub(super) fn prefetch(&self) -> u16 {
        let by_bytes = self.held_limit / self.mean_bytes.max(1);
        self.wanted.min(u16::try_from(by_bytes).unwrap_or(u16::MAX)).max(1)
    }

    /// Whether no more may be taken while `held` bytes are not committed.
    #[must_use]
    pub(super) fn is_passed(&self, held: usize) -> bool {
        held > self.held_limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_small_and_doubles_up_to_the_maximum() {
        let mut window = Window::new(500, 1 << 20);
        let mut seen = vec![window.prefetch()];
        for _ in 0..5 {
            window.batch_committed();
            seen.push(window.prefetch());
        }
        assert_eq!(seen, [32, 64, 128, 256, 500, 500]);
        window.restart();
        assert_eq!(window.prefetch(), 32);
        assert_eq!(Window::new(8, 1 << 20).prefetch(), 8);
    }

    #[test]
    fn a_consumer_is_replaced_for_a_doubled_halved_or_full_window_only() {
        let mut window = Window::new(500, 1 << 20);
        assert!(!window.outgrows(32));
        assert!(window.outgrows(64), "it was halved");
        assert!(!window.outgrows(40) && !window.outgrows(24), "a little more or less is not worth it");
        for _ in 0..9 {
            window.batch_committed();
        }
        assert!(window.outgrows(256) && window.outgrows(499));
        assert!(!window.outgrows(500));
    }

    #[test]
    fn large_bodies_narrow_it_and_small_ones_widen_it_again() {
        let mut window = Window::new(1000, 1 << 20);
        for _ in 0..10 {
            window.batch_committed();
        }
        for _ in 0..200 {
            window.saw(64 << 10);
        }
        assert!((14..=18).contains(&window.prefetch()), "{}", window.prefetch());
        for _ in 0..400 {
            window.saw(1 << 10);
        }
        assert!(window.prefetch() > 500, "{}", window.prefetch());
    }

    #[test]
    fn it_is_never_zero_and_halves_when_overrun() {
        let mut window = Window::new(500, 10);
        window.saw(1 << 30);
        assert_eq!(window.prefetch(), 1);
        let mut window = Window::new(500, 1 << 20);
        window.overran();
        assert_eq!(window.prefetch(), 16);
    }

    #[test]
    fn it_is_full_beyond_its_bytes() {
        let window = Window::new(500, 100);
        assert!(!window.is_passed(100) && window.is_passed(101));
    }
}
