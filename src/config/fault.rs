//! What is wrong with the configuration, said so that the operator can mend it. Never the value itself.

/// One fault of one setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {path}: {rule}; {cure}")]
pub struct ConfigFault {
    /// Where it was read: a file's path, `environment`, or `configuration` where several places play together.
    pub file: String,
    /// The setting, such as `provider[twilio-main].auth_token`, or the environment variable.
    pub path: String,
    /// The rule that was broken.
    pub rule: String,
    /// What to do about it.
    pub cure: String,
}

/// A rule that a value broke, before it is known where the value stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) rule: String,
    pub(super) cure: String,
}

impl Broken {
    pub(super) fn new(rule: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { rule: rule.into(), cure: cure.into() }
    }
}

/// The candidate that `text` was most likely meant to be: at most a third of its letters away.
pub(super) fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(away, candidate)| *away <= candidate.chars().count().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from one text to the other: the optimal string alignment
/// distance, row by row.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let (mut two_above, mut left_before): (Vec<usize>, Option<char>) = (Vec::new(), None);
    for (i, l) in left.chars().enumerate() {
        let mut row = vec![i + 1];
        let (mut last, mut right_before) = (i + 1, None);
        for (j, (r, (over, diagonal))) in right.iter().zip(above.iter().skip(1).zip(&above)).enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            let swapped = (left_before == Some(*r) && right_before == Some(l))
                .then(|| j.checked_sub(1).and_then(|j| two_above.get(j)).map_or(usize::MAX, |cell| cell + 1));
            last = replaced.min(over + 1).min(last + 1).min(swapped.unwrap_or(usize::MAX));
            right_before = Some(*r);
            row.push(last);
        }
        left_before = Some(l);
        two_above = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (left, right, expect) in [
            ("", "", 0),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("kitten", "sitting", 3),
            ("smpt", "smtp", 1),
            ("ca", "abc", 3),
            ("ab", "ba", 1),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(left, right), expect, "{left} {right}");
        }
    }

    #[test]
    fn only_a_near_word_is_proposed() {
        let known = ["listen", "public_url", "max_body"];
        assert_eq!(closest("lisen", known), Some("listen"));
        assert_eq!(closest("publicurl", known), Some("public_url"));
        assert_eq!(closest("colour", known), None);
    }
}
