//! Ways to reach a person, and consents, which may hang on one of them.

use super::leaf;
use super::place::Fault;
use super::slot::{Fields, Slot, flag, instant};
use crate::domain::patient::{Consent, ConsentSource, Contact, LEAVE_MESSAGE};
use crate::domain::phi::Phi;
use crate::domain::phone::{self, Phone, PhoneKind, Region};
use crate::domain::words::{Channel, ContactStatus, Purpose};

/// Contacts of one person.
pub(super) const CONTACTS: usize = 20;
/// Consents in one input.
pub(super) const CONSENTS: usize = 200;
/// Characters of a consent's `evidence`.
const EVIDENCE: usize = 500;
/// Characters of a consent's `by`.
const BY: usize = 128;
/// The lowest rank; 1 is the highest.
const LOWEST_RANK: u32 = 100;
/// FHIR ContactPoint.use.
const USES: [&str; 5] = ["home", "work", "temp", "old", "mobile"];

/// The contacts of one person: each channel and address once.
pub(super) fn contacts(slot: Slot<'_>, region: Region) -> Option<Vec<Contact>> {
    let Slot { value, path, faults } = slot;
    let slot = Slot { value, path, faults: &mut *faults };
    let contacts = slot.list(CONTACTS, |slot| slot.object(|fields| contact(fields, region)))?;
    let same = |a: &Contact, b: &Contact| a.channel == b.channel && a.address.is_same_address(&b.address);
    let repeat =
        contacts.iter().enumerate().find(|(i, c)| contacts.iter().take(*i).any(|seen| same(seen, c)));
    if let Some((index, _)) = repeat {
        let fault =
            Fault::address("the same channel and address stand there twice", "leave out one of the two");
        faults.add(&path.index(index), fault);
        return None;
    }
    Some(contacts)
}

fn contact(fields: &mut Fields<'_>, region: Region) -> Option<Contact> {
    let channel = fields.need("channel", channel);
    let address = fields.need("address", |slot| slot.parsed(|text| address(text, channel, region)));
    let rank = fields.read("rank", |slot| slot.whole(1, LOWEST_RANK));
    let usage = fields.read("use", |slot| slot.word(&USES, |word| word)).map(str::to_owned);
    let kind = fields.read("kind", phone_kind);
    let status = fields.read("status", |slot| slot.word(ContactStatus::ALL, ContactStatus::as_str));
    let verified_at = fields.read("verified_at", instant);
    let valid_until = fields.read("valid_until", instant);
    let private = fields.read("private", flag);
    let only = fields.read("only", flag);
    let leave_message = fields.read("leave_message", |slot| slot.word(&LEAVE_MESSAGE, |word| word));
    let extension = fields.read("extension", |slot| slot.parsed(keys));
    if extension.is_some() && channel.is_some_and(|channel| channel != Channel::Voice) {
        fields.refuse("extension", Fault::address("only a voice contact has an extension", "take it out"));
    }
    let channel = channel?;
    let Address { text, kind: known_kind, extension: written } = address?;
    if extension.is_some() && written.is_some() && extension != written {
        fields.refuse("extension", Fault::address("two extensions are given", "leave out one of the two"));
    }
    if channel == Channel::Sms && written.is_some() {
        let fault = Fault::address("a number with an extension takes no SMS", "make it a voice contact");
        fields.refuse("address", fault);
    }
    Some(Contact {
        channel,
        address: Phi::new(text),
        rank,
        usage,
        kind: kind.or(known_kind).map(|kind| kind.as_str().to_owned()),
        status: status.unwrap_or(ContactStatus::Ok),
        status_at: None,
        since: None,
        says_status: status.is_some(),
        verified_at,
        valid_until,
        private: private.unwrap_or(false),
        only: only.unwrap_or(false),
        leave_message: leave_message.map(str::to_owned),
        extension: extension.or(written),
    })
}

/// A channel's word.
pub(super) fn channel(slot: Slot<'_>) -> Option<Channel> {
    slot.word(Channel::ALL, Channel::as_str)
}

/// A purpose's word.
pub(super) fn purpose(slot: Slot<'_>) -> Option<Purpose> {
    slot.word(Purpose::ALL, Purpose::as_str)
}

/// An address in the one spelling by which it is compared.
struct Address {
    text: String,
    kind: Option<PhoneKind>,
    extension: Option<String>,
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self { text, kind: None, extension: None }
    }
}

/// Reads an address by its channel's rules; without a channel its form tells.
fn address(text: &str, channel: Option<Channel>, region: Region) -> Result<Address, Fault> {
    let channel = channel.unwrap_or(if text.contains('@') {
        Channel::Email
    } else if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Channel::Portal
    } else {
        Channel::Sms
    });
    match channel {
        Channel::Email => leaf::email(text).map(Address::from),
        Channel::Portal => leaf::portal_reference(text).map(Address::from),
        Channel::Sms | Channel::Voice => {
            let Phone { e164, kind, extension } = phone::parse(text, region)
                .map_err(|fault| Fault::address(fault.to_string(), fault.cure(region)))?;
            // Where the plan cannot tell mobile from fixed, nothing is known.
            let kind = Some(kind).filter(|kind| *kind != PhoneKind::FixedLineOrMobile);
            Ok(Address { text: e164, kind, extension })
        }
    }
}

/// The kinds of the numbering plans; `landline` is another word for `fixed_line`.
fn phone_kind(slot: Slot<'_>) -> Option<PhoneKind> {
    if slot.value == "landline" {
        return Some(PhoneKind::FixedLine);
    }
    slot.word(PhoneKind::ALL, PhoneKind::as_str)
}

/// Keys to press once answered; `w` and a comma wait.
fn keys(text: &str) -> Result<String, Fault> {
    let fits = (1..=20).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#' | b',' | b'w'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Fault::malformed("must be 1 to 20 telephone keys", "use 0-9 * # and , or w for a pause"))
    }
}

/// One consent.
pub(super) fn consent(slot: Slot<'_>, region: Region) -> Option<Consent> {
    slot.object(|fields| {
        let purpose = fields.read("purpose", |slot| any_or(slot, purpose));
        let channel = fields.read("channel", |slot| any_or(slot, channel));
        let narrowed = channel.flatten();
        let address = fields.read("address", |slot| slot.parsed(|text| address(text, narrowed, region)));
        let granted = fields.need("granted", flag);
        let at = fields.need("at", instant);
        let source = fields.need("source", |slot| slot.word(ConsentSource::ALL, ConsentSource::as_str));
        let by = fields.read("by", |slot| slot.text(BY));
        let evidence = fields.read("evidence", |slot| slot.text(EVIDENCE));
        let expires_at = fields.read("expires_at", instant);
        if let (Some(at), Some(end)) = (at, expires_at)
            && end <= at
        {
            fields.refuse("expires_at", Fault::malformed("must be later than at", "correct one of the two"));
        }
        Some(Consent {
            purpose: purpose.flatten(),
            channel: narrowed,
            address: address.map(|address| Phi::new(address.text)),
            granted: granted?,
            at: at?,
            source: source?,
            by,
            evidence,
            expires_at,
            shadow: None,
        })
    })
}

/// `*` is every one, as is leaving the field out.
#[expect(clippy::option_option, reason = "not readable, every one, and this one are three answers")]
fn any_or<T>(slot: Slot<'_>, read: impl FnOnce(Slot<'_>) -> Option<T>) -> Option<Option<T>> {
    if slot.value == "*" { Some(None) } else { read(slot).map(Some) }
}
