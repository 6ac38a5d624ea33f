//! Who did what, on record: whatever a person, or somebody at this machine, changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use serde_json::json;

use super::auth::Caller;
use super::problem::{Answer, Fail, Kind};
use super::query::{MAX_PAGE, limit, query};
use super::route::{Call, Route, Verb, json as answer};
use crate::domain::phi::Phi;
use crate::domain::reader::{Fault, Slot};
use crate::store::Store;
use crate::store::audit::{AuditEntry, AuditFilter};

/// Writing is tried so often.
const TRIES: u32 = 3;

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

/// The entry that a request makes, should it succeed, or fail after it has begun; `None`: it changes nothing, or what programs do all day long and
/// the ledger tells anyway.
pub(super) struct Pending {
    who: String,
    act: String,
    subject: String,
    note: Note,
}

impl Pending {
    pub(super) fn of(
        route: &Route,
        caller: &Caller,
        params: &[(String, String)],
        note: &Note,
    ) -> Option<Self> {
        let act = act(route.method, route.path)?;
        if matches!(caller, Caller::Nobody)
            || (route.path == "/v1/patients/{id}" && !caller.is_person() && route.method == Verb::Put)
        {
            return None;
        }
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
        let entry =
            AuditEntry { who: self.who, act: self.act, subject: self.subject, detail: Phi::new(detail) };
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

/// What a route's requests are called; what is not listed goes by its method and path, so that nothing is forgotten.
fn act(method: Verb, path: &str) -> Option<String> {
    let of_campaign =
        path.strip_prefix("/v1/campaigns/{id}/").filter(|what| !matches!(*what, "dry-run" | "reveal"));
    if let (Verb::Post, Some(what)) = (method, of_campaign) {
        return Some(format!("campaign.{}", what.replace('-', "_")));
    }
    let known = match (method, path) {
        (Verb::Get, _) => return None,
        // Jobs and what patients do are on record in the ledger themselves; the others change nothing.
        (
            _,
            "/v1/jobs"
            | "/v1/jobs/cancel"
            | "/v1/messages/lookup"
            | "/v1/templates/{name}/preview"
            | "/v1/campaigns/{id}/dry-run",
        ) => return None,
        // These write their own entries.
        (_, "/v1/session" | "/v1/patients/{id}/export") => return None,
        (Verb::Post, "/v1/messages/{id}/cancel") => "message.cancel",
        (Verb::Post, "/v1/messages/{id}/retry") => "message.retry",
        (Verb::Post, "/v1/messages/{id}/next-route") => "message.next_route",
        (Verb::Post, "/v1/messages/actions") => "message.bulk",
        (Verb::Post, "/v1/holds") => "hold.place",
        (Verb::Delete, "/v1/holds/{id}") => "hold.release",
        (Verb::Post, "/v1/alerts/{id}/acknowledge") => "alert.acknowledge",
        (Verb::Post, "/v1/alerts/{id}/snooze") => "alert.snooze",
        (Verb::Post, "/v1/work-items/{id}/claim") => "work.claim",
        (Verb::Post, "/v1/work-items/{id}/release") => "work.release",
        (Verb::Post, "/v1/work-items/{id}/close") => "work.close",
        (Verb::Post, "/v1/dead/replay") => "dead.replay",
        (Verb::Post, "/v1/dead/{id}/repair") => "dead.repair",
        (Verb::Post, "/v1/campaigns") => "campaign.create",
        (Verb::Post, "/v1/callbacks/retry") => "callback.retry",
        (Verb::Post, "/v1/templates/{name}/sign-off") => "template.sign_off",
        (Verb::Post, "/v1/templates/{name}/take-back") => "template.take_back",
        (Verb::Post, "/v1/patients/import") => "patient.import",
        (Verb::Put, "/v1/patients/{id}") => "patient.change",
        (Verb::Delete, "/v1/patients/{id}") => "patient.erase",
        (Verb::Post, "/v1/patients/{id}/merge") => "patient.merge",
        _ if path.ends_with("/reveal") => return None,
        _ => return Some(format!("{} {path}", method.word())),
    };
    Some(known.to_owned())
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
    let rows = call.shared.parts.intake.store.audit(&filter).await?;
    answer(StatusCode::OK, &json!({"audit": rows}))
}
