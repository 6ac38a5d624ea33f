//! Who did what, on record: whatever a person, or somebody at this machine, changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use serde_json::json;

use super::auth::Caller;
use super::problem::{Answer, Fail, Kind};
use super::query::{MAX_PAGE, limit, query};
use super::route::{Call, Route, json as answer};
use crate::domain::phi::Phi;
use crate::domain::reader::{Fault, Slot};
use crate::store::Store;
use crate::store::audit::{AuditEntry, AuditFilter};

/// Writing is tried so often.
const TRIES: u32 = 3;

/// What a route's requests are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing: they change nothing, or the ledger tells by itself what, as of jobs and of what patients do.
    None,
    /// The handler writes entries of its own.
    Own,
    /// This, whoever asks.
    Word(&'static str),
    /// This where a person asks: programs do it all day long, and the ledger tells of it.
    OfPeople(&'static str),
}

/// What a handler adds to the entry of its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Note(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    words: OnceLock<Option<String>>,
    begun: AtomicBool,
}

impl Note {
    /// With what, in words of ours.
    pub(super) fn say(&self, text: impl Into<String>) {
        let _first_word_counts = self.0.words.set(Some(text.into()));
    }

    /// From here on something may be done, even if the request fails later.
    pub(super) fn begun(&self) {
        self.0.begun.store(true, Ordering::Relaxed);
    }

    /// Nothing was changed, or the handler has written its own entry.
    pub(super) fn nothing(&self) {
        let _first_word_counts = self.0.words.set(None);
    }
}

/// The entry that a request makes, should it succeed, or fail after it has begun.
pub(super) struct Pending {
    who: String,
    act: &'static str,
    subject: String,
    note: Note,
}

impl Pending {
    /// `None`: the request makes none by itself.
    pub(super) fn of(
        route: &Route,
        caller: &Caller,
        params: &[(String, String)],
        note: &Note,
    ) -> Option<Self> {
        let act = match route.act {
            Act::Word(word) => word,
            Act::OfPeople(word) if caller.is_person() => word,
            Act::None | Act::Own | Act::OfPeople(_) => return None,
        };
        let subject = params.first().map(|(_, value)| value.clone()).unwrap_or_default();
        Some(Self { who: caller.name().to_owned(), act, subject, note: note.clone() })
    }

    /// Writes it, if the request did something, and hands the answer on.
    ///
    /// # Errors
    /// Those of the request; or it was done, and could not be written.
    pub(super) async fn settle(self, store: &dyn Store, answer: Answer) -> Answer {
        let begun = self.note.0.begun.load(Ordering::Relaxed);
        match answer {
            Ok(response) if response.status().is_success() => {
                self.write(store, None).await?;
                Ok(response)
            }
            Err(fail) if begun => {
                let ended = format!("broken off with {}", fail.kind().status().as_u16());
                // The caller hears what went wrong first.
                let _logged = self.write(store, Some(ended)).await;
                Err(fail)
            }
            answer => answer,
        }
    }

    async fn write(self, store: &dyn Store, ended: Option<String>) -> Result<(), Fail> {
        let said = match self.note.0.words.get() {
            Some(None) => return Ok(()),
            Some(Some(text)) => Some(text.clone()),
            None => None,
        };
        let detail = said.into_iter().chain(ended).collect::<Vec<_>>().join("; ");
        let (act, detail) = (self.act.to_owned(), Phi::new(detail));
        let entry = AuditEntry { who: self.who, act, subject: self.subject, detail };
        write(store, &entry).await.inspect_err(|_| {
            tracing::error!(act = entry.act, "something was done that could not be written to the audit log");
        })
    }
}

/// Writes an entry.
pub(super) async fn write(store: &dyn Store, entry: &AuditEntry) -> Result<(), Fail> {
    let mut tries = 0;
    loop {
        tries += 1;
        match store.record(entry).await {
            Ok(()) => return Ok(()),
            Err(_) if tries < TRIES => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            Err(error) => {
                tracing::warn!(%error, "the audit log could not be written");
                return Err(Fail::new(
                    Kind::Unavailable,
                    "the audit log could not be written; look at what was done before you repeat it",
                ));
            }
        }
    }
}

/// The filters of `GET /v1/audit`, for its description.
pub(super) const FILTERS: &[(&str, &str)] = &[
    ("who", "by this account or token"),
    ("before", "only entries with a lower number"),
    ("limit", "entries of a page, 1 to 1000 (100)"),
];

/// `GET /v1/audit`: newest first.
pub(super) async fn list(call: Call) -> Answer {
    let filter = query(&call.uri, |fields| {
        let number = |slot: Slot<'_>| {
            slot.parsed(|text| {
                let cure = "take the number of the last entry of the page before";
                text.parse::<i64>().map_err(|_| Fault::malformed("must be a whole number", cure))
            })
        };
        Some(AuditFilter {
            before: Some(fields.read("before", number).unwrap_or(i64::MAX)),
            who: fields.read("who", |slot| slot.text(64)),
            limit: limit(fields).min(MAX_PAGE),
            ..AuditFilter::default()
        })
    })?;
    let rows = call.store().audit(&filter).await?;
    answer(StatusCode::OK, &json!({"audit": rows}))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::route::{Door, Verb};
    use crate::http::table;

    /// What could change something and makes no entry: it does not after all, or the ledger tells what it did.
    const UNTOLD: &[(Verb, &str)] = &[
        (Verb::Post, "/u/{token}"),
        (Verb::Post, "/v1/campaigns/{id}/dry-run"),
        (Verb::Post, "/v1/jobs"),
        (Verb::Post, "/v1/jobs/cancel"),
        (Verb::Post, "/v1/messages/lookup"),
        (Verb::Post, "/v1/templates/{name}/preview"),
        (Verb::Post, "/webhooks/{provider}"),
        (Verb::Post, "/webhooks/{provider}/gather"),
    ];

    #[test]
    fn what_changes_something_goes_on_record_under_one_word() {
        let (mut words, mut untold) = (BTreeSet::new(), BTreeSet::new());
        for route in table::all() {
            let (method, path) = (route.method, route.path);
            match route.act {
                Act::Word(word) | Act::OfPeople(word) => {
                    assert_ne!(method, Verb::Get, "{path} shows, and says by itself who has looked");
                    assert!(matches!(route.door, Door::AnyOf(_)), "nobody knows who asks for {path}");
                    assert!(words.insert(word), "{word} says nothing of {path}: it is another route's");
                }
                Act::None if method != Verb::Get => assert!(untold.insert((method, path))),
                Act::None | Act::Own => {}
            }
        }
        assert_eq!(untold, BTreeSet::from_iter(UNTOLD.iter().copied()));
    }
}
