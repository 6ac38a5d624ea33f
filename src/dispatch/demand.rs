//! Where messages go: what has not been planned yet goes the ways of what was planned lately. No more of it is leased
//! than finds room there; the rest would be planned and given back for nothing.

use std::sync::Mutex;

use crate::domain::words::Channel;

/// About so many messages are remembered; older ones count less and less.
const REMEMBERED: f64 = 500.0;

/// How much of what was planned lately each channel got, in parts of a whole. The rest needed no room: it waits in the
/// ledger, or has ended.
#[derive(Debug, Default)]
pub(super) struct Demand {
    parts: Mutex<[f64; Channel::ALL.len()]>,
}

impl Demand {
    /// A message was planned; it wants room in this channel, or nowhere.
    pub(super) fn went(&self, to: Option<Channel>) {
        for (channel, part) in Channel::ALL.iter().zip(self.lock().iter_mut()) {
            let all = if to == Some(*channel) { 1.0 } else { 0.0 };
            *part += (all - *part) / REMEMBERED;
        }
    }

    /// How many of so many that go to this channel.
    pub(super) fn of(&self, many: usize, channel: Channel) -> usize {
        let part =
            Channel::ALL.iter().zip(*self.lock()).find(|(c, _)| **c == channel).map_or(0.0, |(_, part)| part);
        share(many, part)
    }

    /// How many of `many` get on, where so many others were here first and each channel has this room.
    pub(super) fn get_on(&self, many: usize, first: usize, room: impl Fn(Channel) -> usize) -> usize {
        let parts = *self.lock();
        let lacks = |(channel, part): (&Channel, f64)| {
            let (wanted, taken) = (share(many, part), share(first, part));
            wanted.saturating_sub(room(*channel).saturating_sub(taken))
        };
        let lacking: usize = Channel::ALL.iter().zip(parts).map(lacks).sum();
        many.saturating_sub(lacking)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [f64; Channel::ALL.len()]> {
        self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// So large a part of so many.
fn share(many: usize, part: f64) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand messages")]
    let share = many as f64 * part;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `many`")]
    let share = share.round() as usize;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ways: &[(Option<Channel>, usize)]) -> Demand {
        let demand = Demand::default();
        for _ in 0..400 {
            for (to, times) in ways {
                (0..*times).for_each(|_| demand.went(*to));
            }
        }
        demand
    }

    #[test]
    fn no_more_is_taken_than_finds_room_where_it_goes() {
        let texts = Some(Channel::Sms);
        let only_texts = |room: usize| move |channel| if channel == Channel::Sms { room } else { 10_000 };
        for (what, ways, many, first, room, expected) in [
            ("nothing is known yet", &[][..], 500, 0, 0, 500),
            ("room for all", &[(texts, 100)], 500, 0, 1_000, 500),
            ("room for some", &[(texts, 100)], 500, 0, 200, 200),
            ("others are first", &[(texts, 100)], 500, 700, 1_000, 300),
            ("no room", &[(texts, 100)], 500, 1_000, 1_000, 0),
            ("half goes by mail", &[(texts, 5), (Some(Channel::Email), 5)], 500, 0, 0, 250),
            ("nine in ten end at once", &[(texts, 1), (None, 9)], 500, 0, 0, 450),
        ] {
            let found = seen(ways).get_on(many, first, only_texts(room));
            assert!(found.abs_diff(expected) <= 8, "{what}: {found}, not {expected}");
        }
        assert!(seen(&[(texts, 1), (None, 4)]).of(100, Channel::Sms).abs_diff(20) <= 1);
    }
}
