//! Opt-outs: what was said at addresses, and what stands in records.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::{Lateness, Moment, SOON_US, Sending};
use crate::proof::auditor::Report;

/// For what a word holds; `None` is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    purpose: Option<String>,
    channel: Option<String>,
}

impl Scope {
    fn of(purpose: &str, channel: &str) -> Self {
        let named = |word: &str| Some(word.to_owned()).filter(|word| word != "*");
        Self { purpose: named(purpose), channel: named(channel) }
    }

    fn covers(&self, send: &Sending) -> bool {
        self.purpose.as_ref().is_none_or(|purpose| *purpose == send.purpose)
            && self.channel.as_ref().is_none_or(|channel| *channel == send.channel)
    }

    fn lies_in(&self, other: &Self) -> bool {
        (other.purpose.is_none() || self.purpose == other.purpose)
            && (other.channel.is_none() || self.channel == other.channel)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Stop,
    /// A stop that does not bind emergencies.
    LeaveMe,
    /// Lifts stops of its scope or a wider one that were said before it.
    Grant,
    /// Lifts whatever was said of what it covers.
    Again,
}

/// What somebody said about being written to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    says: Says,
    scope: Scope,
    said_us: i64,
    written_us: i64,
}

impl Word {
    fn stops(&self, send: &Sending) -> bool {
        let binds = match self.says {
            Says::Stop => true,
            Says::LeaveMe => send.purpose != "emergency",
            Says::Grant | Says::Again => false,
        };
        binds && self.scope.covers(send)
    }

    fn lifts(&self, stop: &Self, send: &Sending) -> bool {
        let reaches = match self.says {
            Says::Grant => self.scope.lies_in(&stop.scope),
            Says::Again => true,
            Says::Stop | Says::LeaveMe => false,
        };
        reaches && self.said_us >= stop.said_us && self.scope.covers(send)
    }
}

/// How long a stop had been in force when the send came; nothing where none was.
fn stopped_for(words: &[Word], moment: &Moment<'_>) -> Option<i64> {
    let at_us = moment.at_us;
    let heard = || words.iter().filter(move |word| word.written_us < at_us);
    let in_force = heard()
        .filter(|word| word.stops(moment.send) && !heard().any(|other| other.lifts(word, moment.send)));
    in_force.map(|word| at_us - word.written_us).max()
}

/// What was said at addresses binds whoever is behind them; what stands in a record binds what its patient reads.
pub(super) async fn check(sql: &PgPool, moments: &[Moment<'_>], report: &mut Report) {
    let (at_addresses, of_patients) = (at_addresses(sql).await, of_patients(sql).await);
    let stops = |words: &Vec<Word>| {
        words.iter().filter(|word| matches!(word.says, Says::Stop | Says::LeaveMe)).count()
    };
    let said =
        at_addresses.values().map(stops).sum::<usize>() + of_patients.values().map(stops).sum::<usize>();
    let mut lateness = Lateness::default();
    for moment in moments {
        let send = moment.send;
        let at_address = at_addresses.get(&send.address).and_then(|words| stopped_for(words, moment));
        let own = of_patients.get(&send.patient).filter(|_| send.recipient == "patient");
        let own = own.and_then(|words| stopped_for(words, moment));
        if let Some(after) = at_address.max(own) {
            lateness.note(moment, after, SOON_US);
        }
    }
    lateness.close("opt_outs", "an opt-out", said, report);
}

async fn at_addresses(sql: &PgPool) -> HashMap<Vec<u8>, Vec<Word>> {
    let rows = sqlx::query(
        "SELECT address_index, channel, COALESCE(purpose, '*'), granted, source,
             (extract(epoch FROM at) * 1000000)::bigint, (extract(epoch FROM recorded_at) * 1000000)::bigint
         FROM address_consents",
    );
    let mut words: HashMap<Vec<u8>, Vec<Word>> = HashMap::new();
    for row in rows.fetch_all(sql).await.unwrap() {
        let says = match (row.get::<bool, _>(3), row.get::<&str, _>(4)) {
            (false, _) => Says::Stop,
            (true, "patient" | "staff") => Says::Grant,
            // Nobody else's word lifts a patient's.
            (true, _) => continue,
        };
        let scope = Scope::of(row.get(2), row.get(1));
        let word = Word { says, scope, said_us: row.get(5), written_us: row.get(6) };
        words.entry(row.get(0)).or_default().push(word);
    }
    words
}

/// The history says what has come into force, in words, so that a grant in it is one that counts.
async fn of_patients(sql: &PgPool) -> HashMap<String, Vec<Word>> {
    let rows = sqlx::query(
        "SELECT patient_id, what, (extract(epoch FROM changed_at) * 1000000)::bigint FROM preference_changes",
    );
    let mut words: HashMap<String, Vec<Word>> = HashMap::new();
    for row in rows.fetch_all(sql).await.unwrap() {
        if let Some(word) = in_words(row.get(1), row.get(2)) {
            words.entry(row.get(0)).or_default().push(word);
        }
    }
    words
}

/// Reads a line of the history, such as `stop every purpose sms`; nothing where it is about something else. A stop of one
/// number among several reads like one of its channel.
fn in_words(what: &str, at_us: i64) -> Option<Word> {
    let short = what.replace("every purpose", "*").replace("every channel", "*");
    let (says, scope) = match short.split_whitespace().collect::<Vec<_>>()[..] {
        ["stop", purpose, channel] => (Says::Stop, Scope::of(purpose, channel)),
        ["grant", purpose, channel] => (Says::Grant, Scope::of(purpose, channel)),
        ["start", channel] => (Says::Grant, Scope::of("*", channel)),
        ["choose", purpose, "none"] => (Says::LeaveMe, Scope::of(purpose, "*")),
        ["choose", purpose, _, ..] => (Says::Again, Scope::of(purpose, "*")),
        ["do_not_contact"] => (Says::LeaveMe, Scope::of("*", "*")),
        ["do_not_contact", "lifted"] => (Says::Again, Scope::of("*", "*")),
        _ => return None,
    };
    Some(Word { says, scope, said_us: at_us, written_us: at_us })
}

#[test]
fn a_line_of_the_history_is_read() {
    let word = |says, purpose, channel| {
        Some(Word { says, scope: Scope::of(purpose, channel), said_us: 7, written_us: 7 })
    };
    for (what, read) in [
        ("stop appointment sms", word(Says::Stop, "appointment", "sms")),
        ("stop every purpose every channel", word(Says::Stop, "*", "*")),
        ("grant every purpose voice", word(Says::Grant, "*", "voice")),
        ("start every channel", word(Says::Grant, "*", "*")),
        ("choose marketing none", word(Says::LeaveMe, "marketing", "*")),
        ("choose marketing sms email", word(Says::Again, "marketing", "*")),
        ("do_not_contact", word(Says::LeaveMe, "*", "*")),
        ("do_not_contact lifted", word(Says::Again, "*", "*")),
        ("contact sms added", None),
        ("first any", None),
    ] {
        assert_eq!(in_words(what, 7), read, "{what}");
    }
}
