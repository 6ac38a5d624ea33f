//! Which deliveries of one channel may be acknowledged: the contiguous prefix that the ledger holds, no more.
//!
//! Batches commit in any order, and one acknowledgement covers every tag up to its own. So an acknowledgement may
//! only go as far as everything before it is committed. Tags belong to a channel: when it is lost, the broker
//! hands its deliveries out again under new tags, and commits for the old ones mean nothing here.

use std::collections::VecDeque;

/// Names one delivery of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    generation: u64,
    tag: u64,
}

impl Token {
    /// The number of its channel.
    #[must_use]
    pub fn generation(self) -> u64 {
        self.generation
    }
}

/// An acknowledgement that is due: every tag up to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAck {
    /// The last tag it covers.
    pub tag: u64,
    /// How many deliveries it covers.
    pub deliveries: usize,
    /// How many body bytes it lets go of.
    pub bytes: usize,
}

/// A tag that is not the next one of its channel: tags count up by one, and everything rests on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker skipped or repeated a delivery tag")]
pub struct TagOutOfOrder;

/// The deliveries of one channel that are not acknowledged yet.
#[derive(Clone, Debug, Default)]
pub struct AckPrefix {
    generation: u64,
    /// The last acknowledged tag.
    acked: u64,
    /// The deliveries after it, in the order of their tags.
    open: VecDeque<Slot>,
    held_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    bytes: usize,
    committed: bool,
}

impl AckPrefix {
    /// A new channel was opened: tags start at 1, and tokens of the one before are void. No two channels of a
    /// process may have the same number, so that a token that went astray acknowledges nothing.
    pub fn reopen(&mut self, generation: u64) {
        *self = Self { generation, ..Self::default() };
    }

    /// The present channel's number; tokens carry it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A delivery arrived on the present channel.
    ///
    /// # Errors
    /// When the tag is not the next one.
    pub fn delivered(&mut self, tag: u64, bytes: usize) -> Result<Token, TagOutOfOrder> {
        if tag != self.last_tag() + 1 {
            return Err(TagOutOfOrder);
        }
        self.open.push_back(Slot { bytes, committed: false });
        self.held_bytes += bytes;
        Ok(Token { generation: self.generation, tag })
    }

    /// The ledger holds this delivery. Tokens of other channels and repeats are ignored.
    pub fn committed(&mut self, token: Token) {
        if token.generation != self.generation || token.tag <= self.acked {
            return;
        }
        let slot =
            usize::try_from(token.tag - self.acked - 1).ok().and_then(|index| self.open.get_mut(index));
        if let Some(slot) = slot {
            slot.committed = true;
        }
    }

    /// Takes the acknowledgement that is due, if any. The caller sends it, with `multiple`, on the present channel.
    pub fn take_due(&mut self) -> Option<DueAck> {
        let (mut deliveries, mut bytes) = (0, 0);
        while let Some(slot) = self.open.pop_front_if(|slot| slot.committed) {
            deliveries += 1;
            bytes += slot.bytes;
        }
        if deliveries == 0 {
            return None;
        }
        self.acked += deliveries as u64;
        self.held_bytes -= bytes;
        Some(DueAck { tag: self.acked, deliveries, bytes })
    }

    /// The tag of the last delivery; 0 before the first.
    fn last_tag(&self) -> u64 {
        self.acked + self.open.len() as u64
    }

    /// How many deliveries are not acknowledged.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.open.len()
    }

    /// The body bytes of the deliveries that are not acknowledged.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hole_stops_the_acknowledgement() {
        let mut acks = AckPrefix::default();
        acks.reopen(1);
        let tokens: Vec<_> = (1..=3).map(|tag| acks.delivered(tag, 10).unwrap()).collect();
        acks.committed(tokens[1]);
        acks.committed(tokens[2]);
        assert_eq!(acks.take_due(), None);
        assert_eq!(acks.held_bytes(), 30);
        acks.committed(tokens[0]);
        assert_eq!((acks.last_tag(), acks.outstanding()), (3, 3));
        assert_eq!(acks.take_due(), Some(DueAck { tag: 3, deliveries: 3, bytes: 30 }));
        assert_eq!(acks.take_due(), None);
        assert_eq!((acks.last_tag(), acks.outstanding(), acks.held_bytes()), (3, 0, 0));
    }

    #[test]
    fn tokens_of_a_lost_channel_are_void() {
        let mut acks = AckPrefix::default();
        acks.reopen(1);
        let old = acks.delivered(1, 1).unwrap();
        acks.reopen(2);
        let new = acks.delivered(1, 1).unwrap();
        acks.committed(old);
        assert_eq!(acks.take_due(), None);
        acks.committed(new);
        assert!(acks.take_due().is_some());
    }

    #[test]
    fn tags_must_count_up() {
        let mut acks = AckPrefix::default();
        acks.reopen(1);
        assert_eq!(acks.delivered(2, 1), Err(TagOutOfOrder));
        assert!(acks.delivered(1, 1).is_ok());
        assert_eq!(acks.delivered(1, 1), Err(TagOutOfOrder));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Deliver this many.
        Deliver(usize),
        /// Commit a batch: some outstanding tokens, old or new, picked by these numbers.
        Commit(Vec<prop::sample::Index>),
        /// Send what is due.
        Flush,
        /// Lose the channel.
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..20_usize).prop_map(Step::Deliver),
            6 => prop::collection::vec(any::<prop::sample::Index>(), 1..12).prop_map(Step::Commit),
            4 => Just(Step::Flush),
            1 => Just(Step::Reopen),
        ]
    }

    proptest! {
        /// Against a model that knows, for every tag of every channel, whether the ledger holds it.
        #[test]
        fn never_acks_what_is_not_committed_and_acks_all_in_the_end(
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let mut acks = AckPrefix::default();
            acks.reopen(1);
            let mut tokens: Vec<Token> = Vec::new();
            let mut committed: BTreeSet<u64> = BTreeSet::new();
            let (mut delivered, mut acked) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Deliver(count) => for _ in 0..count {
                        delivered += 1;
                        tokens.push(acks.delivered(delivered, 7).unwrap());
                    },
                    Step::Commit(picks) => for pick in picks {
                        if tokens.is_empty() { continue }
                        // Repeats and tokens of lost channels stay in the pool on purpose.
                        let token = *pick.get(&tokens);
                        acks.committed(token);
                        if token.generation() == acks.generation() { committed.insert(token.tag); }
                    },
                    Step::Flush => if let Some(due) = acks.take_due() {
                        prop_assert!(due.tag > acked && due.tag <= delivered);
                        prop_assert!((acked + 1..=due.tag).all(|tag| committed.contains(&tag)));
                        prop_assert!(!committed.contains(&(due.tag + 1)), "it goes as far as it may");
                        prop_assert_eq!(due.deliveries as u64, due.tag - acked);
                        acked = due.tag;
                    },
                    Step::Reopen => {
                        acks.reopen(acks.generation() + 1);
                        committed.clear();
                        (delivered, acked) = (0, 0);
                    }
                }
                prop_assert!(acks.outstanding() as u64 == delivered - acked);
                prop_assert_eq!(acks.held_bytes() as u64, 7 * (delivered - acked));
            }
            for token in tokens { acks.committed(token) }
            let due = acks.take_due();
            prop_assert_eq!(due.map_or(acked, |due| due.tag), delivered);
            prop_assert_eq!((acks.outstanding(), acks.held_bytes()), (0, 0));
        }
    }
}
