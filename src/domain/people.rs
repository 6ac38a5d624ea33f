//! Who works with this system, and what for.

use super::ids::SiteId;
use super::words::words;

words! {
    /// What somebody who signs in may do. Rights are those of tokens; what each role has stands in `http/rights.rs`.
    Role {
        /// Sees what is going on, patients by their ids.
        Viewer = "viewer",
        /// On call: stops, releases, retries, replays.
        Operator = "operator",
        /// Looks after patients: work items, answers, campaigns.
        Coordinator = "coordinator",
        /// Looks after patients, lets campaigns of others go out, and signs off texts.
        Approver = "approver",
        /// Everything, the audit log included.
        Admin = "admin",
    }
}

/// What a group of an identity provider opens here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRule {
    /// As the provider writes it.
    pub group: String,
    pub role: Role,
    /// None: every site.
    pub sites: Vec<SiteId>,
}

/// What somebody's groups come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub role: Role,
    /// None: every site.
    pub sites: Vec<SiteId>,
}

words! {
    /// Why somebody whom an identity provider sends back is not let in; the console's page has the words for it.
    Refused {
        /// The answer belongs to no attempt of this browser, or to one that is too old.
        Lost = "lost",
        /// The provider did not let them in, or they did not want to.
        Denied = "denied",
        /// The provider does not answer.
        Away = "away",
        /// The provider answers what it must not.
        Provider = "provider",
        /// Its token is not believed.
        Token = "token",
        /// None of their groups opens anything.
        Role = "role",
        /// There is no account.
        Unknown = "unknown",
        /// The provider names nobody that an account could be called after.
        Name = "name",
        /// The account of their name is another's.
        Taken = "taken",
        Disabled = "disabled",
        TooOften = "often",
        /// The ledger is away.
        Ledger = "ledger",
    }
}

/// Names that stand on record for somebody else than a person of that name: nobody's account is called so.
const RESERVED: [&str; 4] = ["cli", "local", "nobody", "outreachd"];

/// Whether a name on record would be taken for a part of this system, or for whoever sits at its machine.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Whether two names on record are one person's: by an account, and by the name that the system knows them by. However
/// they are spelt, in case and in spaces: whoever is asked for a second person is not two by a capital letter. An account
/// of an identity provider is often called by a whole address where the system has what stands before the `@`.
#[must_use]
pub fn is_same_person(one: &str, other: &str) -> bool {
    let name = |who: &str| {
        let spelt = who.to_lowercase();
        let words = spelt.split_whitespace().collect::<Vec<_>>().join(" ");
        words.strip_prefix("cli:").map_or(words.clone(), |name| name.trim_start().to_owned())
    };
    let (one, other) = (name(one), name(other));
    match (one.split_once('@'), other.split_once('@')) {
        (Some((before, _)), None) => before == other,
        (None, Some((before, _))) => one == before,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::is_same_person;

    #[test]
    fn somebody_at_the_command_line_is_who_they_are_in_the_console() {
        for (one, other, same) in [
            ("ana", "cli:ana", true),
            ("cli:ana", "cli:ana", true),
            ("ana", "cli:ben", false),
            ("a", "b", false),
            ("Ana Ruiz", " ana  ruiz ", true),
            ("CLI:Ana", "ana", true),
            ("anaruiz", "ana ruiz", false),
            ("cli:ana", "ana@example.org", true),
            ("Ana@Example.org", "ana", true),
            ("cli:ana@example.org", "ana@example.org", true),
            ("ana@example.org", "ana@example.com", false),
            ("cli:ben", "ana@example.org", false),
        ] {
            assert_eq!(is_same_person(one, other), same);
        }
    }
}
