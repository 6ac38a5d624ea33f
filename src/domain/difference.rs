//! What has changed between two versions of one patient's record, in words for its history. Pure.
//!
//! A wish that is replaced would be gone with its evidence; who must show later why something was sent, or was not, finds
//! it in the history. The words name no address and quote nobody: `stop marketing sms`, `contact sms added`.

use jiff::Timestamp;

use super::patient::{Consent, ConsentSource, Contact, Patient};
use super::wish::Wish;
use super::words::Channel;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    /// Who said it, where that is known.
    pub source: Option<ConsentSource>,
    /// When they said it.
    pub said_at: Option<Timestamp>,
    /// What it takes the place of.
    pub superseded: Option<Consent>,
    /// It is a wish, and not what is known of an address.
    pub is_wish: bool,
}

impl Difference {
    fn wish(what: String) -> Self {
        Self { what, source: None, said_at: None, superseded: None, is_wish: true }
    }

    fn contact(contact: &Contact, how: &str) -> Self {
        Self { is_wish: false, ..Self::wish(format!("contact {} {how}", contact.channel)) }
    }
}

/// Every change of wishes, consents and contacts from `before` to `after`, in a fixed order.
#[must_use]
pub fn differences(before: &Patient, after: &Patient) -> Vec<Difference> {
    let mut all = Vec::new();
    consents(before, after, &mut all);
    for wish in &after.preferences {
        let known = before.preferences.iter().find(|known| known.purpose == wish.purpose);
        if known.is_none_or(|known| known.channels != wish.channels) {
            let what = format!("choose {} {}", wish.purpose, order(&wish.channels));
            all.push(Difference { said_at: wish.updated_at, ..Difference::wish(what) });
        }
    }
    if before.preferred_channels != after.preferred_channels {
        all.push(Difference::wish(format!("first {}", order(&after.preferred_channels))));
    }
    if before.language != after.language {
        let tag = after.language.clone().unwrap_or_else(|| "none".to_owned());
        all.push(Difference::wish(Wish::Language(tag).words()));
    }
    if before.quiet_hours != after.quiet_hours {
        all.push(Difference::wish(Wish::QuietHours(after.quiet_hours).words()));
    }
    if before.do_not_contact.is_some() != after.do_not_contact.is_some() {
        let no = if after.do_not_contact.is_some() { "" } else { " lifted" };
        all.push(Difference::wish(format!("do_not_contact{no}")));
    }
    if before.pause_until != after.pause_until {
        let until = after.pause_until.map_or_else(|| "none".to_owned(), |until| until.to_string());
        all.push(Difference::wish(format!("pause_until {until}")));
    }
    contacts(before, after, &mut all);
    all
}

fn consents(before: &Patient, after: &Patient, all: &mut Vec<Difference>) {
    let same =
        |a: &Consent, b: &Consent| a.purpose == b.purpose && a.channel == b.channel && a.address == b.address;
    // A record that is not in force says nothing yet.
    let alone = |consent: &Consent| Consent { shadow: None, ..consent.clone() };
    for now in &after.consents {
        let known = before.consents.iter().find(|known| same(known, now)).map(alone);
        if known.as_ref() == Some(&alone(now)) {
            continue;
        }
        let over = now.channel.map_or("every channel", Channel::as_str);
        let what = if now.granted {
            let purpose = now.purpose.map_or("every purpose", |purpose| purpose.as_str());
            format!("grant {purpose} {over}")
        } else {
            Wish::Stop { purpose: now.purpose, channel: now.channel }.words()
        };
        all.push(Difference {
            source: Some(now.source),
            said_at: Some(now.at),
            superseded: known,
            ..Difference::wish(what)
        });
    }
}

fn contacts(before: &Patient, after: &Patient, all: &mut Vec<Difference>) {
    let gone = before.contacts.iter().filter(|known| !after.contacts.iter().any(|now| now.is_same(known)));
    all.extend(gone.map(|known| Difference::contact(known, "removed")));
    for now in &after.contacts {
        match before.contacts.iter().find(|known| known.is_same(now)) {
            None => all.push(Difference::contact(now, "added")),
            Some(known) => terms(known, now, all),
        }
    }
}

/// What limits the use of one contact.
fn terms(known: &Contact, now: &Contact, all: &mut Vec<Difference>) {
    if known.status != now.status {
        all.push(Difference::contact(now, now.status.as_str()));
    }
    for (word, before, after) in [("only", known.only, now.only), ("private", known.private, now.private)] {
        if before != after {
            let lifted = if after { "" } else { " lifted" };
            all.push(Difference::contact(now, &format!("{word}{lifted}")));
        }
    }
    if known.leave_message != now.leave_message {
        let how = now.leave_message.as_deref().unwrap_or("lifted");
        all.push(Difference::contact(now, &format!("leave_message {how}")));
    }
}

fn order(channels: &[Channel]) -> String {
    if channels.is_empty() {
        return "none".to_owned();
    }
    channels.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::phone::Region;
    use crate::domain::reader::{Expect, ParseDefaults};

    fn record(more: &str) -> Patient {
        let text = format!("{{\"id\": \"P1\", \"updated_at\": \"2026-11-20T08:00:00Z\"{more}}}");
        let defaults = ParseDefaults::new(None, Region::US);
        Patient::parse(text.as_bytes(), &defaults, Expect { id: None, updated_at: true }).unwrap()
    }

    #[test]
    fn each_change_has_its_words() {
        let grant = r#", "consents": [{"purpose": "marketing", "channel": "sms", "granted": true,
            "at": "2026-10-01T12:00:00Z", "source": "staff", "by": "u17", "evidence": "form 12"}]"#;
        let stop = r#", "consents": [{"purpose": "marketing", "channel": "sms", "granted": false,
            "at": "2026-11-01T12:00:00Z", "source": "patient"}]"#;
        let sms = r#", "contacts": [{"channel": "sms", "address": "+13125550142"}]"#;
        let bad = r#", "contacts": [{"channel": "sms", "address": "+13125550142", "status": "bad"}]"#;
        let mail = r#", "contacts": [{"channel": "email", "address": "Ana@example.org"}]"#;
        let spelt = r#", "contacts": [{"channel": "email", "address": "ana@example.org"}]"#;
        let voice = r#", "contacts": [{"channel": "voice", "address": "+13125550142"}]"#;
        let kept = r#", "contacts": [{"channel": "voice", "address": "+13125550142", "only": true, "private": true,
            "leave_message": "none"}]"#;
        for (before, after, expected) in [
            ("", "", &[][..]),
            (grant, grant, &[]),
            ("", grant, &["grant marketing sms"]),
            (grant, stop, &["stop marketing sms"]),
            (
                "",
                r#", "preferences": {"marketing": [], "care": ["sms", "email"]}"#,
                &["choose care sms email", "choose marketing none"],
            ),
            ("", r#", "preferred_channels": ["email"]"#, &["first email"]),
            (r#", "language": "en""#, r#", "language": "es""#, &["language es"]),
            ("", r#", "quiet_hours": {"start": "20:00", "end": "09:00"}"#, &["quiet_hours 20:00 09:00"]),
            (r#", "do_not_contact": "asked by letter""#, "", &["do_not_contact lifted"]),
            ("", sms, &["contact sms added"]),
            (sms, bad, &["contact sms bad"]),
            (bad, "", &["contact sms removed"]),
            (mail, spelt, &[]),
            (
                voice,
                kept,
                &["contact voice leave_message none", "contact voice only", "contact voice private"],
            ),
            (
                kept,
                voice,
                &[
                    "contact voice leave_message lifted",
                    "contact voice only lifted",
                    "contact voice private lifted",
                ],
            ),
        ] {
            let found = differences(&record(before), &record(after));
            let mut words: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
            words.sort_unstable();
            assert_eq!(words, expected, "{before} -> {after}");
        }
        let replaced = differences(&record(grant), &record(stop)).remove(0);
        assert_eq!(replaced.source, Some(ConsentSource::Patient));
        assert_eq!(replaced.superseded.and_then(|was| was.evidence).as_deref(), Some("form 12"));
    }
}
