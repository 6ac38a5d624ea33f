//! Names and numbers by which callers, the ledger and providers know things.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Declares a name made of a restricted alphabet: once built, it is valid.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $valid:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// The rule, as shown to whoever broke it.
            pub const RULE: &'static str = $rule;

            /// Parses a name; `None` when it breaks [`Self::RULE`].
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                $valid(text).then(|| Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom($rule))
            }
        }
    };
}

fn is_slug(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn is_account(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'@' | b'-'))
}

fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_reference(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

name!(
    /// The system that asks for outreach. Stands in routing keys.
    SourceName, is_slug, "1 to 64 of a-z 0-9 _ -"
);
name!(
    /// A clinic, ward or practice: where the visit is and who signs. Stands in routing keys.
    SiteId, is_slug, "1 to 64 of a-z 0-9 _ -"
);
name!(
    /// A campaign. Stands in routing keys.
    CampaignId, is_slug, "1 to 64 of a-z 0-9 _ -"
);
name!(
    /// A template, which is also its folder's name.
    TemplateName, is_slug, "1 to 64 of a-z 0-9 _ -"
);
name!(
    /// An answer that a template offers. Stands in texts and events.
    AnswerName, is_word, "1 to 32 of a-z 0-9 _, a letter first"
);
name!(
    /// A configured provider.
    ProviderName, is_slug, "1 to 64 of a-z 0-9 _ -"
);
name!(
    /// Somebody who signs in. Stands in the audit log.
    UserName, is_account, "1 to 64 of a-z 0-9 . _ @ -"
);
name!(
    /// The caller's own name for a job; with the source it is the idempotency key.
    JobId, is_reference, "1 to 128 of A-Z a-z 0-9 . _ : -"
);
name!(
    /// The caller's name for a patient.
    PatientId, is_reference, "1 to 128 of A-Z a-z 0-9 . _ : -"
);
name!(
    /// The visit or matter that several jobs are about.
    About, is_reference, "1 to 128 of A-Z a-z 0-9 . _ : -"
);

impl JobId {
    /// The job of a campaign's recipient: the same however often it is asked for, so that each gets one message. `None`:
    /// longer than names may be.
    #[must_use]
    pub fn of_campaign(campaign: &CampaignId, ordinal: u64) -> Option<Self> {
        Self::parse(&format!("{OF_CAMPAIGN}{campaign}:{ordinal}"))
    }

    /// Whether a campaign made it.
    #[must_use]
    pub fn is_of_campaign(&self) -> bool {
        self.as_str().starts_with(OF_CAMPAIGN)
    }

    /// Which recipient of the campaign it is for.
    #[must_use]
    pub fn ordinal(&self, campaign: &CampaignId) -> Option<u64> {
        let rest = self.as_str().strip_prefix(OF_CAMPAIGN)?;
        rest.strip_prefix(campaign.as_str())?.strip_prefix(':')?.parse().ok()
    }
}

const OF_CAMPAIGN: &str = "campaign:";

/// Declares an id of the ledger's own: a UUID version 7, so that rows sort by age.
macro_rules! row_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub Uuid);

        impl $type {
            /// A new id, later than all before it.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// One outreach to one recipient.
    MessageId
);
row_id!(
    /// One try to send a message over one route.
    AttemptId
);
row_id!(
    /// A body that could not be accepted and waits for repair.
    ParkedId
);
row_id!(
    /// A stop that a person or the guard against surges put in place.
    HoldId
);
row_id!(
    /// Something that a person has to do.
    WorkItemId
);
row_id!(
    /// Something that a patient sent back.
    ReplyId
);
row_id!(
    /// An event; a repeat of it is known by this.
    EventId
);
row_id!(
    /// One run of one process.
    WorkerId
);

/// What a provider can recognise a repeat by: the message and its plan step, the same for every attempt of
/// that step. Message-ID, `If-None-Exist` and idempotency headers derive from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SendKey {
    /// The message.
    pub message: MessageId,
    /// The step of its plan, from 0.
    pub step: u16,
}

impl SendKey {
    /// The way back from text; `None` where it is no send key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (message, step) = text.split_once('-')?;
        let is_plain = message.len() == 32 && step.bytes().all(|b| b.is_ascii_digit());
        let message = MessageId(is_plain.then(|| Uuid::try_parse(message).ok())??);
        // The ledger keeps steps in 16 bits with a sign.
        let step = step.parse::<u16>().ok().filter(|step| i16::try_from(*step).is_ok())?;
        Some(Self { message, step })
    }
}

impl std::fmt::Display for SendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.message.0.simple(), self.step)
    }
}

impl MessageId {
    /// When it was given out, to the millisecond (RFC 9562, 5.7).
    #[must_use]
    pub fn given_at(self) -> Option<jiff::Timestamp> {
        let millis = i64::try_from(self.0.as_u128() >> 80).ok()?;
        jiff::Timestamp::from_millisecond(millis).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_key_reads_back() {
        let key = SendKey { message: MessageId::generate(), step: 12 };
        assert_eq!(SendKey::parse(&key.to_string()), Some(key));
        let message = key.message.0.simple();
        for bad in [
            String::new(),
            message.to_string(),
            format!("{message}-"),
            format!("{message}-x"),
            format!("{message}-+1"),
            format!("{message}-40000"),
            format!("{}-1", key.message),
            format!("{message}-1-1"),
        ] {
            assert_eq!(SendKey::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn names_keep_to_their_alphabet() {
        assert!(SourceName::parse("lakeside-ehr").is_some());
        for bad in ["", "Lakeside", "a.b", "a b", "ä", &"x".repeat(65)] {
            assert!(SourceName::parse(bad).is_none(), "{bad}");
        }
        assert!(JobId::parse("appt-2041:r1").is_some());
        assert!(JobId::parse("appt 2041").is_none());
    }
}
