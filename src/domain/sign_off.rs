//! What people say of the texts of templates: whoever signs one off has read it, and answers for it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ids::TemplateName;

/// The last word of somebody about exactly these texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOff {
    pub template: TemplateName,
    pub locale: String,
    /// SHA-256 of all that is read in this locale of the template; other texts have another.
    pub hash: String,
    /// False: it was taken back.
    pub stands: bool,
    pub by: String,
    pub at: Timestamp,
    pub note: String,
}

/// What somebody says of the texts of one locale of a template.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    pub template: &'a TemplateName,
    pub locale: &'a str,
    pub by: &'a str,
    pub note: &'a str,
}

/// What was said of all templates, by template and locale, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignOffs(BTreeMap<TemplateName, BTreeMap<String, Vec<SignOff>>>);

impl SignOffs {
    /// What was said of one locale of a template.
    #[must_use]
    pub fn of(&self, template: &TemplateName, locale: &str) -> &[SignOff] {
        self.0.get(template).and_then(|locales| locales.get(locale)).map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<SignOff> for SignOffs {
    fn from_iter<T: IntoIterator<Item = SignOff>>(all: T) -> Self {
        let mut said = Self::default();
        for one in all {
            let locales = said.0.entry(one.template.clone()).or_default();
            locales.entry(one.locale.clone()).or_default().push(one);
        }
        for words in said.0.values_mut().flat_map(BTreeMap::values_mut) {
            words.sort_by_key(|word| std::cmp::Reverse(word.at));
        }
        said
    }
}
