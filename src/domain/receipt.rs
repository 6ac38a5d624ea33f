//! What a provider later says of an attempt. Ids, words and codes, and whom a report names: nothing else of what comes in
//! goes further.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::ids::{ProviderName, SendKey};
use super::phi::Phi;
use super::status::AttemptStatus;
use super::words::{Channel, words};

/// One receipt, verified and read. It says nothing about time: receipts come in any order, and more than once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    pub provider: ProviderName,
    /// Of the step that it is about; several attempts may share it.
    pub key: SendKey,
    /// The provider's own id of the attempt.
    pub reference: Option<String>,
    pub said: Said,
    /// The provider's own code, such as `30005`.
    pub code: Option<String>,
    /// Whom the report names as recipients, the original and the final one; empty: nobody.
    pub named: Vec<Named>,
}

/// Somebody whom a report names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    Address(Phi),
    /// As the ledger keeps an address by which nobody is to be known but those who have it.
    Index(Vec<u8>),
}

words! {
    /// What the report that settled an attempt says beside what became of it.
    Report {
        /// It names another recipient than the one that was written to: somebody whom that one hands on to. The mail did
        /// not arrive; the address that we have is not to blame.
        AnotherRecipient = "another_recipient",
    }
}

/// What became of the attempt. Whatever it is, the provider had taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It is on its way.
    Sent,
    /// It did not arrive, and will not.
    Undelivered(Failure),
    /// It arrived.
    Delivered,
    /// It was opened, or answered by a key.
    Read,
}

impl Said {
    /// The status that the attempt has at least.
    #[must_use]
    pub const fn status(self) -> AttemptStatus {
        match self {
            Self::Sent => AttemptStatus::Sent,
            Self::Undelivered(_) => AttemptStatus::Undelivered,
            Self::Delivered => AttemptStatus::Delivered,
            Self::Read => AttemptStatus::Read,
        }
    }

    /// Why it did not arrive.
    #[must_use]
    pub const fn failure(self) -> Option<Failure> {
        match self {
            Self::Undelivered(failure) => Some(failure),
            Self::Sent | Self::Delivered | Self::Read => None,
        }
    }

    /// The way back from the words in which it is kept; `None` where they are no receipt's.
    #[must_use]
    pub const fn of(status: AttemptStatus, failure: Option<Failure>) -> Option<Self> {
        match (status, failure) {
            (AttemptStatus::Sent, _) => Some(Self::Sent),
            (AttemptStatus::Undelivered, Some(failure)) => Some(Self::Undelivered(failure)),
            (AttemptStatus::Delivered, _) => Some(Self::Delivered),
            (AttemptStatus::Read, _) => Some(Self::Read),
            _ => None,
        }
    }
}

/// How much a result says of its attempt. The order is total: of any two results it does not matter which came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight<'c> {
    progress: u8,
    failure: u8,
    code: &'c str,
}

impl<'c> Weight<'c> {
    /// Of an attempt over this channel with this result. Why it did not arrive counts where it did not arrive.
    #[must_use]
    pub fn of(
        channel: Channel,
        status: AttemptStatus,
        failure: Option<Failure>,
        code: Option<&'c str>,
    ) -> Self {
        let progress = status.progress(channel);
        if status != AttemptStatus::Undelivered {
            return Self { progress, failure: 0, code: "" };
        }
        Self { progress, failure: failure.map_or(0, Failure::weight), code: code.unwrap_or_default() }
    }
}

impl Receipt {
    /// What it says of an attempt over this channel.
    #[must_use]
    pub fn weight(&self, channel: Channel) -> Weight<'_> {
        Weight::of(channel, self.said.status(), self.said.failure(), self.code.as_deref())
    }
}

/// The one of several receipts for one attempt that counts: the one that says most.
#[must_use]
pub fn furthest<'r>(
    channel: Channel,
    receipts: impl IntoIterator<Item = &'r Receipt>,
) -> Option<&'r Receipt> {
    receipts
        .into_iter()
        .reduce(|best, next| if next.weight(channel) > best.weight(channel) { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MessageId;

    fn receipt(said: Said, code: Option<&str>) -> Receipt {
        Receipt {
            provider: ProviderName::parse("sms").unwrap(),
            key: SendKey { message: MessageId(uuid::Uuid::nil()), step: 0 },
            reference: Some("SM1".to_owned()),
            said,
            code: code.map(str::to_owned),
            named: Vec::new(),
        }
    }

    /// Every order of `items` (Heap's algorithm).
    fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
        let mut all = Vec::new();
        let mut items = items.to_vec();
        fn go<T: Clone>(k: usize, items: &mut Vec<T>, all: &mut Vec<Vec<T>>) {
            if k <= 1 {
                return all.push(items.clone());
            }
            for i in 0..k {
                go(k - 1, items, all);
                items.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
            }
        }
        go(items.len(), &mut items, &mut all);
        all
    }

    #[test]
    fn all_orders_of_six_receipts_come_to_the_same() {
        use Said::{Delivered, Read, Sent};
        let failed = |failure, code| (Said::Undelivered(failure), Some(code));
        let (off, gone) = (failed(Failure::Unreachable, "30003"), failed(Failure::BadAddress, "30005"));
        let (other, sent) = (failed(Failure::Unreachable, "30008"), (Sent, None));
        let (delivered, read) = ((Delivered, None), (Read, None));
        for (channel, six, expected) in [
            (Channel::Sms, [sent; 6], sent),
            (Channel::Sms, [sent, sent, off, sent, off, sent], off),
            (Channel::Sms, [sent, off, gone, sent, other, off], gone),
            (Channel::Voice, [sent, off, other, sent, other, off], other),
            (Channel::Sms, [sent, off, delivered, sent, delivered, gone], delivered),
            (Channel::Sms, [sent, off, delivered, read, sent, delivered], read),
            // What another server took may come back.
            (Channel::Email, [sent, delivered, gone, sent, delivered, off], gone),
            (Channel::Email, [sent, delivered, gone, read, delivered, off], read),
        ] {
            let receipts: Vec<Receipt> = six.iter().map(|(said, code)| receipt(*said, *code)).collect();
            let orders = orders(&receipts);
            assert_eq!(orders.len(), 720);
            for order in &orders {
                // One after the other, and all at once.
                let walked = order.iter().reduce(|now, next| furthest(channel, [now, next]).unwrap());
                for found in [walked, furthest(channel, order)] {
                    let found = found.map(|receipt| (receipt.said, receipt.code.as_deref()));
                    assert_eq!(found, Some(expected), "{channel}");
                }
            }
        }
        assert_eq!(furthest(Channel::Sms, []), None);
    }

    #[test]
    fn what_is_kept_reads_back() {
        for said in [Said::Sent, Said::Undelivered(Failure::Blocked), Said::Delivered, Said::Read] {
            assert_eq!(Said::of(said.status(), said.failure()), Some(said));
        }
        assert_eq!(Said::of(AttemptStatus::Unknown, None), None);
        assert_eq!(Said::of(AttemptStatus::Undelivered, None), None);
    }
}
