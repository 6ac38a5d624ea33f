//! Whether somebody answers for the texts of one locale of a template: only then real messages are made of them.

use crate::domain::sign_off::SignOff;

/// How the texts of one locale stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Somebody has signed off exactly these.
    SignedOff(&'a SignOff),
    /// The template's own file names the locale.
    InFile,
    /// Somebody had signed off these, and somebody has taken that back.
    TakenBack(&'a SignOff),
    /// Others were signed off; these have changed since.
    Changed(&'a SignOff),
    /// Nobody has said anything.
    Open,
}

impl<'a> Standing<'a> {
    /// Of texts with this hash. `in_file`: the template's file names the locale. `said`: what people said of it, the
    /// newest first.
    #[must_use]
    pub fn of(hash: &str, in_file: bool, said: &'a [SignOff]) -> Self {
        let these = said.iter().find(|word| word.hash == hash);
        match these {
            Some(word) if word.stands => Self::SignedOff(word),
            _ if in_file => Self::InFile,
            Some(word) => Self::TakenBack(word),
            None => said.iter().find(|word| word.stands).map_or(Self::Open, Self::Changed),
        }
    }

    /// Whether real messages may be made of them.
    #[must_use]
    pub const fn is_approved(&self) -> bool {
        matches!(self, Self::SignedOff(_) | Self::InFile)
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SignedOff(_) => "signed_off",
            Self::InFile => "in_file",
            Self::TakenBack(_) => "taken_back",
            Self::Changed(_) => "changed",
            Self::Open => "open",
        }
    }

    /// Who said what made it so.
    #[must_use]
    pub const fn word(&self) -> Option<&'a SignOff> {
        match self {
            Self::SignedOff(word) | Self::TakenBack(word) | Self::Changed(word) => Some(word),
            Self::InFile | Self::Open => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::Standing;
    use crate::domain::ids::TemplateName;
    use crate::domain::sign_off::{SignOff, SignOffs};

    #[test]
    fn exactly_the_texts_that_somebody_answers_for_are_approved() {
        // The hash and whether it stands, oldest first; the texts as they are have the hash `b`.
        type Row = (&'static [(&'static str, bool)], bool, &'static str, Option<&'static str>);
        let table: [Row; 12] = [
            (&[], false, "open", None),
            (&[], true, "in_file", None),
            (&[("b", true)], false, "signed_off", Some("b")),
            (&[("b", true)], true, "signed_off", Some("b")),
            (&[("b", false)], false, "taken_back", Some("b")),
            (&[("b", false)], true, "in_file", None),
            (&[("a", true)], false, "changed", Some("a")),
            (&[("a", true)], true, "in_file", None),
            (&[("a", false)], false, "open", None),
            (&[("0", true), ("a", true), ("c", false)], false, "changed", Some("a")),
            (&[("b", true), ("a", true)], false, "signed_off", Some("b")),
            (&[("b", false), ("a", true)], false, "taken_back", Some("b")),
        ];
        let template = TemplateName::parse("note").unwrap();
        for (words, in_file, want, by) in table {
            let said: SignOffs = (0..)
                .zip(words)
                .map(|(second, (hash, stands))| SignOff {
                    template: template.clone(),
                    locale: "es".to_owned(),
                    hash: (*hash).to_owned(),
                    stands: *stands,
                    by: (*hash).to_owned(),
                    at: Timestamp::from_second(second).unwrap(),
                    note: String::new(),
                })
                .collect();
            let standing = Standing::of("b", in_file, said.of(&template, "es"));
            assert_eq!(standing.as_str(), want, "{words:?}");
            assert_eq!(standing.word().map(|word| word.by.as_str()), by, "{words:?}");
            assert_eq!(standing.is_approved(), ["signed_off", "in_file"].contains(&want), "{words:?}");
            assert!(said.of(&template, "en").is_empty(), "of one locale alone");
        }
    }
}
