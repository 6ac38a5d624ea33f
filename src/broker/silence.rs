//! Notices a consumer that gets nothing although messages wait.

use super::consume::ChannelLost;

/// Notices a consumer that gets nothing although messages wait.
#[derive(Debug, Default)]
pub(super) struct Silence {
    looks: u8,
    confirmed: bool,
}

impl Silence {
    pub(super) fn heard(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing came since the look before while nothing was outstanding.
    pub(super) fn is_suspicious(&mut self, idle: bool) -> bool {
        if !idle {
            self.heard();
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks > 1
    }

    /// Messages wait: the second time in a row it is no accident.
    pub(super) fn confirm(&mut self) -> Result<(), ChannelLost> {
        if self.confirmed {
            tracing::warn!("a consumer got nothing although messages wait; opening its channel again");
            return Err(ChannelLost);
        }
        self.confirmed = true;
        Ok(())
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_given_up_when_messages_wait_at_two_looks_in_silence() {
        let mut silence = Silence::default();
        assert!(!silence.is_suspicious(true), "the first look only starts the watch");
        assert!(silence.is_suspicious(true));
        assert!(silence.confirm().is_ok());
        assert!(silence.is_suspicious(true));
        assert!(silence.confirm().is_err());
    }

    #[test]
    fn a_delivery_or_one_that_is_not_committed_ends_the_suspicion() {
        let mut silence = Silence::default();
        for end in [
            |silence: &mut Silence| silence.heard(),
            |silence: &mut Silence| assert!(!silence.is_suspicious(false)),
        ] {
            silence.is_suspicious(true);
            assert!(silence.is_suspicious(true) && silence.confirm().is_ok());
            end(&mut silence);
            assert!(!silence.is_suspicious(true));
        }
    }
}
