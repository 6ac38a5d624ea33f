//! Who did what: an append-only log whose entries are chained, so that one altered, lost or slipped-in row is found.
//!
//! An entry's hash is SHA-256 over the hash before it and all that the entry says, each field with its length in front.
//! Who can write to the whole database can make a new chain; who kept the last hash elsewhere sees that too
//! (`outreachd audit verify` prints it).

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Result, Store};
use crate::domain::phi::Phi;

/// The log of who did what.
#[async_trait]
pub trait AuditLog {
    /// Writes who did what at the end of the audit log.
    async fn record(&self, entry: &AuditEntry) -> Result<()>;

    /// The audit log, oldest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>>;

    /// Where the audit log ends: the number of its last entry, and its hash.
    async fn audit_end(&self) -> Result<(i64, String)>;
}

/// Entries that are read at once.
const PAGE: u32 = 1_000;

/// Something that somebody did.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// An account, a token's name, `local`, `cli:` and a name of the system, `oidc:` and an identity provider's name for
    /// somebody, or `source:` and the source that takes its jobs back and says why.
    pub who: String,
    /// Such as `message.reveal`.
    pub act: String,
    /// Ids only.
    pub subject: String,
    /// Why, and with what. Sealed in the ledger: people write it.
    pub detail: Phi,
}

/// An entry as it is on record.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRow {
    /// From 1, without a gap.
    pub ord: i64,
    /// To the microsecond.
    pub at: Timestamp,
    pub who: String,
    pub act: String,
    pub subject: String,
    pub detail: Phi,
    pub hash: String,
}

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Those after this one.
    pub after: i64,
    /// Those before this one, newest first; given, `after` does not count.
    pub before: Option<i64>,
    pub who: Option<String>,
    /// At most 1,000.
    pub limit: u32,
}

/// The hash of an entry that follows one with the hash `before`.
#[must_use]
pub fn chained(before: &str, ord: i64, at: Timestamp, entry: &AuditEntry) -> String {
    let (ord, at) = (ord.to_string(), at.as_microsecond().to_string());
    let mut hash = Sha256::new();
    for field in [before, &ord, &at, &entry.who, &entry.act, &entry.subject, entry.detail.expose()] {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// What a look through the whole log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries that were looked at.
    pub entries: i64,
    /// The hash of the last one: whoever notes it elsewhere sees later whether the log was made anew.
    pub hash: String,
    /// The first entry that does not fit; `None`: all do.
    pub broken_at: Option<i64>,
}

/// Looks through the whole log.
///
/// # Errors
/// The ledger could not be read.
pub async fn verify(store: &dyn Store) -> Result<Verified> {
    let mut found = Verified { entries: 0, hash: String::new(), broken_at: None };
    let end = store.audit_end().await?;
    loop {
        let filter = AuditFilter { after: found.entries, limit: PAGE, ..AuditFilter::default() };
        let rows = store.audit(&filter).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let ord = found.entries + 1;
            let entry = AuditEntry { who: row.who, act: row.act, subject: row.subject, detail: row.detail };
            if row.ord != ord || row.hash != chained(&found.hash, ord, row.at, &entry) {
                found.broken_at = Some(ord);
                return Ok(found);
            }
            found.entries = ord;
            found.hash = row.hash;
        }
    }
    // What was written meanwhile lies behind the end that was read first.
    if end.0 > found.entries || (end.0 == found.entries && end.1 != found.hash) {
        found.broken_at = Some(found.entries + 1);
    }
    Ok(found)
}
