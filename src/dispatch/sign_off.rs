//! What people have signed off, as the ledger has it: every worker asks at each sign of life, and before it decides upon
//! its first message. A text that nobody answers for any more is not rendered from then on.

use serde_json::{Value, json};

use crate::domain::problem::Problem;
use crate::domain::sign_off::Word;
use crate::domain::words::Reason;
use crate::store::{Store, StoreError};
use crate::template::{Catalogue, SharedCatalogue, Template};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    #[error("there is no such template")]
    Unknown,
    #[error("{0}")]
    Not(Problem),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn not(field: &str, reason: Reason, rule: &str, cure: impl Into<String>) -> Unsigned {
    Unsigned::Not(Problem::new(field, reason, rule, cure))
}

/// Asks the ledger anew.
///
/// # Errors
/// It is away; what was known stays known.
pub async fn refresh(store: &dyn Store, catalogue: &SharedCatalogue) -> Result<(), StoreError> {
    catalogue.heed(&store.sign_offs().await?);
    Ok(())
}

/// Asks the ledger, where it was not asked yet.
///
/// # Errors
/// It is away.
pub async fn known(store: &dyn Store, catalogue: &SharedCatalogue) -> Result<(), StoreError> {
    if catalogue.current().knows_sign_offs() { Ok(()) } else { refresh(store, catalogue).await }
}

/// Signs off the texts that have the hash `read`; without one, those of now. Answers their hash.
///
/// # Errors
/// There are no such texts here (any more), or the ledger is away.
pub async fn sign_off(
    store: &dyn Store,
    catalogue: &SharedCatalogue,
    word: &Word<'_>,
    read: Option<&str>,
) -> Result<String, Unsigned> {
    let now = catalogue.current();
    let template = now.get(word.template).ok_or(Unsigned::Unknown)?;
    let Some(hash) = template.hash(word.locale) else {
        let cure = format!("use one of: {}", template.locales().collect::<Vec<_>>().join(", "));
        return Err(not("locale", Reason::BadData, "is no locale of the template", cure));
    };
    if read.is_some_and(|read| read != hash) {
        let cure = "they have changed, or this worker has others: read the previews again";
        return Err(not("hash", Reason::Conflict, "is not that of the texts as they are here", cure));
    }
    store.sign_off(word, hash).await?;
    soon(refresh(store, catalogue).await);
    Ok(hash.to_owned())
}

/// Takes back what was signed off of the locale, in whichever version: other workers may have an older one.
///
/// # Errors
/// Nothing is signed off, or the ledger is away.
pub async fn take_back(
    store: &dyn Store,
    catalogue: &SharedCatalogue,
    word: &Word<'_>,
) -> Result<(), Unsigned> {
    if !store.take_back_sign_off(word).await? {
        let cure = "where the template's file approves the locale, take it out of `approved` there";
        return Err(not("locale", Reason::Conflict, "is not signed off", cure));
    }
    soon(refresh(store, catalogue).await);
    Ok(())
}

/// How one locale of a template stands, and who made it so, as JSON.
#[must_use]
pub fn shown(catalogue: &Catalogue, template: &Template, locale: &str) -> Value {
    let standing = catalogue.standing(template, locale);
    let word = standing.word();
    json!({
        "template": template.name, "locale": locale, "hash": template.hash(locale), "standing": standing.as_str(),
        "approved": standing.is_approved(), "by": word.map(|word| &word.by), "at": word.map(|word| word.at),
        "note": word.map(|word| &word.note),
    })
}

/// It is done by now; this worker sees it with its next sign of life.
fn soon(asked: Result<(), StoreError>) {
    if let Err(error) = asked {
        tracing::warn!(%error, "sign-offs could not be read");
    }
}
