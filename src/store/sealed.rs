//! What lies sealed in the ledger, and what lies open and why.
//!
//! Everything that can hold a patient's name, number, address or words is sealed: [`Sealed`] is the whole list. Columns
//! of text or bytes that are not sealed stand in [`OPEN`], each with its reason; a test holds both lists against the
//! schema of either database, so that no column comes in unjudged. Times, numbers, truths and row ids name nobody.
//!
//! Ids are not sealed: `patient_id` and `job_id` are the callers' own, are looked up and told in events, and are to be
//! opaque. Statuses, reasons and channels are words of closed sets.

use uuid::Uuid;

/// A column whose values are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sealed {
    /// The rest of a job: template data, an inline patient, when, why.
    MessageBody,
    /// How it was decided: masked addresses, whose clock, which proxies.
    MessageExplanation,
    /// The same of what was sent.
    AttemptExplanation,
    AttemptAddress,
    /// The whole record of a patient: names, contacts, wishes, consents with their evidence, proxies.
    PatientDocument,
    /// What supports a word said at an address: lines of imported lists, staff's notes.
    ConsentEvidence,
    /// A consent that another took the place of, with its evidence.
    Superseded,
    /// A body that could not be accepted, as it came.
    ParkedBody,
    ReplyAddress,
    /// What a patient wrote.
    ReplyBody,
    /// What the answer to a mail depends on, and the ids of the mails before it.
    ReplyTold,
    CampaignPlan,
    /// A row of an imported audience.
    RecipientBody,
    UserTotp,
    /// Why somebody did something, in their words. What it says is covered by the chain of hashes, sealed or not.
    AuditDetail,
    /// What providers brought while the ledger was away: no column, but a file of the spool, which is gone once the
    /// ledger has it.
    Spooled,
}

/// What tells the row of a value from all others of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKey<'a> {
    Id(Uuid),
    Name(&'a str),
    Number(i64),
    /// The place of a member in a list.
    Member(&'a str, i64),
}

/// A row that was met, to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowAt {
    Id(Uuid),
    Name(String),
    Number(i64),
    Member(String, i64),
}

impl RowAt {
    /// The key of that row.
    #[must_use]
    pub fn key(&self) -> RowKey<'_> {
        match self {
            Self::Id(id) => RowKey::Id(*id),
            Self::Name(name) => RowKey::Name(name),
            Self::Number(number) => RowKey::Number(*number),
            Self::Member(list, place) => RowKey::Member(list, *place),
        }
    }
}

/// Where a value lies: no other place opens it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    column: Sealed,
    row: RowKey<'a>,
}

impl Sealed {
    /// All that lie in the ledger.
    pub const ALL: &'static [Self] = &[
        Self::PatientDocument,
        Self::ConsentEvidence,
        Self::Superseded,
        Self::MessageBody,
        Self::MessageExplanation,
        Self::AttemptExplanation,
        Self::AttemptAddress,
        Self::ReplyAddress,
        Self::ReplyBody,
        Self::ReplyTold,
        Self::ParkedBody,
        Self::CampaignPlan,
        Self::RecipientBody,
        Self::UserTotp,
        Self::AuditDetail,
    ];

    /// Its table, its name there, and the key of its rows.
    #[must_use]
    pub const fn column(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::MessageBody => ("messages", "body", &["id"]),
            Self::MessageExplanation => ("messages", "explanation", &["id"]),
            Self::AttemptExplanation => ("attempts", "explanation", &["id"]),
            Self::AttemptAddress => ("attempts", "address", &["id"]),
            Self::PatientDocument => ("patients", "document", &["id"]),
            Self::ConsentEvidence => ("address_consents", "evidence", &["id"]),
            Self::Superseded => ("preference_changes", "superseded", &["id"]),
            Self::ParkedBody => ("parked", "body", &["id"]),
            Self::ReplyAddress => ("replies", "address", &["id"]),
            Self::ReplyBody => ("replies", "body", &["id"]),
            Self::ReplyTold => ("replies", "told", &["id"]),
            Self::CampaignPlan => ("campaigns", "plan", &["id"]),
            Self::RecipientBody => ("campaign_recipients", "body", &["campaign_id", "ordinal"]),
            Self::UserTotp => ("users", "totp", &["name"]),
            Self::AuditDetail => ("audit", "detail", &["ord"]),
            Self::Spooled => ("spool", "webhooks", &["id"]),
        }
    }

    /// Whether the column is one of text: a sealed value is spelt out there.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::MessageExplanation | Self::AttemptExplanation | Self::ConsentEvidence)
    }

    /// Whether the rows go by names of callers: these are text, ids of ours are UUIDs.
    #[must_use]
    pub const fn is_named(self) -> bool {
        matches!(self, Self::PatientDocument | Self::CampaignPlan | Self::UserTotp)
    }

    /// The place of a value of this column.
    pub fn of<'a>(self, row: impl Into<RowKey<'a>>) -> Place<'a> {
        Place { column: self, row: row.into() }
    }
}

impl std::fmt::Display for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (table, column, _) = self.column();
        f.pad(&format!("{table}.{column}"))
    }
}

impl Place<'_> {
    /// Appends the place in bytes, no two places alike: table, column and row, each part closed by a NUL, which no name
    /// holds.
    pub(super) fn spell(&self, out: &mut Vec<u8>) {
        let (table, column, _) = self.column.column();
        for part in [table, column] {
            out.extend_from_slice(part.as_bytes());
            out.push(0);
        }
        match self.row {
            RowKey::Id(id) => out.extend_from_slice(id.as_bytes()),
            RowKey::Name(name) => out.extend_from_slice(name.as_bytes()),
            RowKey::Number(number) => out.extend_from_slice(&number.to_be_bytes()),
            RowKey::Member(list, place) => {
                out.extend_from_slice(list.as_bytes());
                out.push(0);
                out.extend_from_slice(&place.to_be_bytes());
            }
        }
    }
}

impl From<Uuid> for RowKey<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a str> for RowKey<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<i64> for RowKey<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<(&'a str, i64)> for RowKey<'a> {
    fn from((list, place): (&'a str, i64)) -> Self {
        Self::Member(list, place)
    }
}

/// Columns of text or bytes that lie open: the column, and why that reveals nobody. `*` stands for every table.
pub const OPEN: &[(&str, &str)] = &[
    // Names of things, wherever they stand.
    ("*.source", "a caller's name"),
    ("*.site", "a place of ours"),
    ("*.template", "a template's name"),
    ("*.provider", "a provider's name"),
    ("*.channel", "a word of a closed set"),
    ("*.purpose", "a word of a closed set"),
    ("*.status", "a word of a closed set"),
    ("*.state", "a word of a closed set; of workers: figures of their lanes"),
    ("*.kind", "a word of a closed set"),
    ("*.scope", "a word of a closed set"),
    ("*.cause", "a word of a closed set"),
    ("*.reason", "a word of a closed set; of holds: staff's words about a scope, shown on every page"),
    ("*.failure", "a word of a closed set"),
    ("*.code", "a provider's or receiver's code, bounded to such"),
    ("*.provider_ref", "a provider's id"),
    ("*.patient_id", "the caller's id, opaque"),
    ("*.job_id", "the caller's id, opaque"),
    ("*.campaign_id", "a campaign's name"),
    ("*.about", "the caller's id, opaque"),
    ("*.correlation_id", "the caller's id, given back in events"),
    ("*.address_index", "HMAC-SHA-256 of the address under the index key"),
    ("*.copy_for", "HMAC-SHA-256 of a proxy's key under the index key"),
    ("*.name", "the name of an account, a worker, a source, or a caller's id"),
    ("*.id", "an id of ours, or a name that a row goes by: a patient's id is the caller's"),
    ("*.token_hash", "SHA-256 of a random token"),
    ("*.page_hash", "SHA-256 of a random token"),
    ("*.shard", "a number"),
    ("*.key", "a provider's or sender's limit; of alerts: the trouble and what it is about"),
    ("*.what", "words of ours, such as 'stop appointment sms', or a status"),
    ("*.hash", "SHA-256: of an entry of the audit log and all before it, of texts of a template"),
    ("*.who", "an account, a token's name, a user of the system"),
    ("*.act", "a word of a closed set"),
    ("*.callback", "a source's name"),
    // Those of one table.
    ("schema_info.key_mark", "HMAC-SHA-256 of words of ours under the index key"),
    ("job_keys.content_hash", "HMAC-SHA-256 of the job's content under the index key"),
    ("parked.body_hash", "HMAC-SHA-256 of the body under the index key"),
    ("parked.field", "a path in the job, unknown names left out"),
    ("parked.problems", "field, rule and cure; never a value"),
    ("parked.origin", "a queue, http or file"),
    ("messages.held_by", "a hold's id"),
    ("messages.claim_channel", "a word of a closed set"),
    ("messages.trouble", "a word of a closed set"),
    ("messages.campaign_status", "a word of a closed set"),
    ("campaign_stops.campaign_id", "a campaign's name"),
    ("messages.waits_under", "a hold's id"),
    ("messages.rides_on", "an attempt's id"),
    ("leases.owner", "a worker's id"),
    ("attempts.template_hash", "SHA-256 of the templates"),
    ("attempts.locale", "a language"),
    ("attempts.recipient", "patient or proxy"),
    ("attempts.awaits", "a word of a closed set"),
    ("events.routing_key", "words and a source's name"),
    ("events.body", "ids, words and codes"),
    ("patients.alias_of", "the caller's id, opaque"),
    ("address_consents.recorded_by", "an account, or `reply`"),
    ("patient_state.subject", "the caller's id, or a blind index"),
    ("patient_state.recent_sends", "times"),
    ("preference_changes.changed_by", "patient, staff, ehr, import, directory, outreachd"),
    (
        "preference_changes.evidence",
        "a place and an id or a time, or a word of our tables: never a text of the patient's",
    ),
    ("address_statuses.evidence", "a provider's and our ids, and a word of our tables or a code"),
    ("holds.value", "a name of what is held"),
    ("holds.placed_by", "an account"),
    ("holds.released_by", "an account"),
    ("holds.on_release", "a word of a closed set"),
    ("holds.ended_as", "a word of a closed set"),
    ("source_days.day", "a day"),
    ("work_items.claimed_by", "an account"),
    ("work_items.closed_by", "an account"),
    ("work_items.outcome", "a word of a closed set"),
    ("replies.intent", "a word of a closed set"),
    ("emergencies.asked_by", "an account"),
    ("campaigns.created_by", "an account"),
    (
        "campaigns.audience",
        "the sum of the digests of all who are meant: of more than a few it tells nothing",
    ),
    ("campaigns.approved_by", "an account"),
    ("campaigns.approved_texts", "SHA-256 of a bundle of templates, and languages"),
    ("campaigns.approved_hash", "SHA-256 of plan, audience and texts together"),
    ("users.role", "a word of a closed set"),
    ("users.sites", "places of ours"),
    ("users.password", "Argon2id"),
    ("users.issuer", "an address of ours"),
    ("users.subject", "an account's name at the identity provider"),
    ("sessions.user_name", "an account"),
    ("audit.subject", "ids only"),
    ("audit_head.hash", "SHA-256"),
    ("retention.class", "a word of a closed set"),
    ("retention_later.class", "a word of a closed set"),
    ("questions.answer", "its name in the template"),
    ("questions.words", "words of the template"),
    ("replies.answer", "an answer's name in the template"),
    ("replies.answer_state", "a word of a closed set"),
    ("replies.answer_kind", "a word of a closed set"),
    ("receipts.named", "HMAC-SHA-256 of addresses under the index key"),
    ("attempts.report", "a word of a closed set"),
    ("attempts.text_mark", "HMAC-SHA-256 of the text under a key of the attempt's own"),
    ("recoveries.begun_by", "an account"),
    ("alerts.trouble", "a word of a closed set"),
    ("alerts.subject", "a name of what is in trouble: a provider, a source, a campaign, a work item's id"),
    ("alerts.level", "a word of a closed set"),
    ("alerts.owed", "a word of a closed set"),
    ("alerts.owed_ways", "words of a closed set"),
    ("alerts.owed_mailboxes", "places in a list of ours"),
    ("alerts.acknowledged_by", "an account"),
    ("alerts.snoozed_by", "an account"),
    ("parked.routing_key", "a word of a closed set"),
    ("campaigns.changed_by", "accounts"),
    ("template_sign_offs.locale", "a language"),
    ("template_sign_offs.note", "staff's words about a text, shown beside it"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_places_are_spelt_alike() {
        let id = Uuid::from_bytes(*b"0123456789abcdef");
        let keys = [
            RowKey::Id(id),
            RowKey::Name("P1"),
            RowKey::Name("P1\u{1}"),
            RowKey::Number(1),
            RowKey::Number(256),
            RowKey::Member("P1", 1),
            RowKey::Member("P", 1),
        ];
        let mut seen = HashSet::new();
        for column in Sealed::ALL {
            for key in keys {
                let mut spelt = Vec::new();
                column.of(key).spell(&mut spelt);
                assert!(seen.insert(spelt), "{column} {key:?}");
            }
        }
    }

    #[test]
    fn a_column_is_sealed_or_open() {
        let sealed: HashSet<String> = Sealed::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sealed.len(), Sealed::ALL.len());
        assert!(OPEN.iter().all(|(name, why)| !sealed.contains(*name) && !why.is_empty()));
    }
}
