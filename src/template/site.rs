//! What a text may say about the place and the people, as plain values.

use std::collections::BTreeMap;

use crate::domain::patient::Name;
use crate::domain::words::{Authority, Recipient};

/// The place a message is about and comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteContext {
    /// Its name by language (BCP-47); the empty key is for every other language.
    pub names: BTreeMap<String, String>,
    /// Where patients call, E.164.
    pub phone: Option<String>,
    /// IANA zone in which its visits' times are shown; without one, at the offset that stands in each.
    pub timezone: Option<String>,
    /// One line, as marketing mail must show it.
    pub postal_address: Option<String>,
    /// Where the patient portal is, https.
    pub portal_url: Option<String>,
    /// Its own wording of the opt-out line by language, instead of the templates'.
    pub opt_out_texts: BTreeMap<String, String>,
}

/// Who reads the message.
#[derive(Clone, Copy, Debug)]
pub struct RecipientContext<'a> {
    pub kind: Recipient,
    /// A proxy's own name; for the patient themselves the patient's is used.
    pub name: Option<&'a Name>,
    /// What the proxy is to the patient, such as `mother`.
    pub relationship: Option<&'a str>,
    /// What the proxy may do.
    pub authority: Option<Authority>,
    /// IANA zone; shown times use it for remote visits only.
    pub timezone: Option<&'a str>,
}

impl RecipientContext<'_> {
    /// The patient themselves.
    pub const PATIENT: Self =
        Self { kind: Recipient::Patient, name: None, relationship: None, authority: None, timezone: None };

    /// Whether "your child" is the right word: a parent, or a guardian who is not said to be anything else.
    #[must_use]
    pub fn is_parent(&self) -> bool {
        const PARENTS: &[&str] =
            &["mother", "father", "parent", "stepmother", "stepfather", "mth", "fth", "prn"];
        const GUARDIANS: &[&str] = &["guardian", "legal guardian", "grd", "guard"];
        let relationship = self.relationship.map(|r| r.trim().to_ascii_lowercase());
        let is_guardian = self.authority == Some(Authority::Guardian);
        self.kind == Recipient::Proxy
            && match relationship.as_deref() {
                Some(word) if PARENTS.contains(&word) => true,
                None => is_guardian,
                Some(word) => is_guardian && (word.is_empty() || GUARDIANS.contains(&word)),
            }
    }
}

/// The text for a reader of `tags` (the most precise first), else the common one.
pub(super) fn by_language<'m>(texts: &'m BTreeMap<String, String>, tags: &[&str]) -> Option<&'m str> {
    let exact = tags.iter().find_map(|tag| texts.get(*tag));
    let base = || tags.iter().find_map(|tag| texts.get(tag.split('-').next().unwrap_or_default()));
    exact.or_else(base).or_else(|| texts.get("")).map(String::as_str)
}
