//! Patients, as they come in, and as they are shown: masked, or whole.

use serde_json::{Value, json};

use super::shape::{
    Fields, Schemas, anything, day, flag, id, list, map, maybe, object, reference, strict, text, time, whole,
    word, yes,
};
use crate::domain::patient::{ConsentSource, LEAVE_MESSAGE};
use crate::domain::phone::PhoneKind;
use crate::domain::reply::Intent;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Authority, Channel, ContactStatus, ProxyMode, Purpose, Reason, Recipient};

pub(super) fn schemas() -> Schemas {
    let mut revealed = patient();
    revealed.extend(beside_the_record());
    let refusal = object(&[("line", whole()), ("errors", list(reference("Fault")))]);
    let imported = object(&[
        ("read", whole()),
        ("created", whole()),
        ("updated", whole()),
        ("unchanged", whole()),
        ("stale", whole()),
        ("refused", whole()),
        ("refusals", list(refusal)),
        ("refusals_not_listed", whole()),
    ]);
    let became = word(&["created", "updated", "unchanged", "stale", "merged"]);
    vec![
        ("Patient", strict(&patient())),
        ("Contact", contact()),
        ("Consent", consent()),
        ("Proxy", proxy()),
        ("MaskedPatient", masked()),
        ("MaskedContact", masked_contact()),
        ("ShownPatient", json!({"oneOf": [reference("MaskedPatient"), reference("Patient")]})),
        ("RevealedPatient", strict(&revealed)),
        ("PatientRecord", record()),
        ("Said", said()),
        ("Change", change()),
        ("PatientResult", object(&[("id", text()), ("into?", text()), ("result", became)])),
        ("Merge", strict(&[("action?", word(&["merge"])), ("id?", text()), ("into", text())])),
        ("Imported", imported),
    ]
}

fn patient() -> Fields {
    vec![
        ("id?", text()),
        ("updated_at?", time()),
        ("name?", name()),
        ("birth_date?", day()),
        ("language?", text()),
        ("timezone?", text()),
        ("address?", strict(&[("postal_code?", text()), ("state?", text()), ("country?", text())])),
        ("site?", text()),
        ("tags?", list(text())),
        ("identifiers?", list(strict(&[("system", text()), ("value", text())]))),
        ("active?", flag()),
        ("deceased?", flag()),
        ("do_not_contact?", text()),
        ("pause_until?", time()),
        ("preferred_channels?", list(word(Channel::ALL))),
        ("preferences?", map(maybe(list(word(Channel::ALL))))),
        ("quiet_hours?", strict(&[("start", text()), ("end", text())])),
        ("contacts?", list(reference("Contact"))),
        ("consents?", list(reference("Consent"))),
        ("proxies?", list(reference("Proxy"))),
    ]
}

fn name() -> Value {
    strict(&[("given?", text()), ("family?", text())])
}

fn contact() -> Value {
    let kinds: Vec<&str> = PhoneKind::ALL.iter().map(|kind| kind.as_str()).chain(["landline"]).collect();
    strict(&[
        ("channel", word(Channel::ALL)),
        ("address", text()),
        ("rank?", whole()),
        ("use?", text()),
        ("kind?", word(&kinds)),
        ("status?", word(ContactStatus::ALL)),
        ("verified_at?", time()),
        ("valid_until?", time()),
        ("private?", flag()),
        ("only?", flag()),
        ("leave_message?", word(&LEAVE_MESSAGE)),
        ("extension?", text()),
    ])
}

fn consent() -> Value {
    strict(&[
        ("purpose?", text()),
        ("channel?", text()),
        ("address?", text()),
        ("granted", flag()),
        ("at", time()),
        ("source", word(ConsentSource::ALL)),
        ("by?", text()),
        ("evidence?", text()),
        ("expires_at?", time()),
    ])
}

fn proxy() -> Value {
    let person = strict(&[
        ("name?", name()),
        ("language?", text()),
        ("timezone?", text()),
        ("contacts?", list(reference("Contact"))),
    ]);
    strict(&[
        ("patient_id?", text()),
        ("person?", person),
        ("relationship?", text()),
        ("authority", word(Authority::ALL)),
        ("mode", word(ProxyMode::ALL)),
        ("purposes", list(text())),
        ("from?", day()),
        ("until?", day()),
        ("evidence?", text()),
    ])
}

/// Something that is there and is not shown.
fn mask() -> Value {
    word(&["***"])
}

/// Of a patient whom the caller need not know: what is not known is null, what is hidden `***`.
fn masked() -> Value {
    let place = [("postal_code", maybe(mask())), ("state", maybe(mask())), ("country", maybe(mask()))];
    let mut fields = vec![
        ("id", text()),
        ("masked", yes()),
        ("updated_at", maybe(time())),
        ("name", maybe(masked_name())),
        ("birth_date", maybe(mask())),
        ("language", maybe(text())),
        ("timezone", maybe(text())),
        ("address", maybe(object(&place))),
        ("site", maybe(text())),
        ("tags", list(mask())),
        ("identifiers", list(object(&[("system", text()), ("value", mask())]))),
        ("active", flag()),
        ("deceased", flag()),
        ("do_not_contact", maybe(mask())),
        ("pause_until", maybe(time())),
        ("preferred_channels", list(word(Channel::ALL))),
        ("preferences", map(list(word(Channel::ALL)))),
        ("quiet_hours", maybe(object(&[("start", text()), ("end", text())]))),
        ("contacts", list(reference("MaskedContact"))),
        ("consents", list(masked_consent())),
        ("proxies", list(masked_proxy())),
    ];
    fields.extend(beside_the_record());
    object(&fields)
}

fn masked_name() -> Value {
    object(&[("given", maybe(mask())), ("family", maybe(mask()))])
}

fn masked_contact() -> Value {
    object(&[
        ("channel", word(Channel::ALL)),
        // The last two digits, or the domain.
        ("address", text()),
        ("rank", maybe(whole())),
        ("use", maybe(text())),
        ("kind", maybe(word(PhoneKind::ALL))),
        ("status", word(ContactStatus::ALL)),
        ("verified_at", maybe(time())),
        ("valid_until", maybe(time())),
        ("private", flag()),
        ("only", flag()),
        ("leave_message", maybe(word(&LEAVE_MESSAGE))),
        ("extension", maybe(mask())),
    ])
}

/// What was said, and of what.
fn words_said() -> Fields {
    vec![
        ("purpose", maybe(word(Purpose::ALL))),
        ("channel", maybe(word(Channel::ALL))),
        ("address", maybe(text())),
        ("granted", flag()),
        ("at", time()),
        ("source", word(ConsentSource::ALL)),
    ]
}

fn masked_consent() -> Value {
    let mut fields = words_said();
    fields.extend([("by", maybe(mask())), ("evidence", maybe(mask())), ("expires_at", maybe(time()))]);
    object(&fields)
}

fn masked_proxy() -> Value {
    let person = object(&[
        ("name", maybe(masked_name())),
        ("language", maybe(text())),
        ("timezone", maybe(text())),
        ("contacts", list(reference("MaskedContact"))),
    ]);
    object(&[
        ("patient_id", maybe(text())),
        ("person", maybe(person)),
        ("relationship", maybe(mask())),
        ("authority", word(Authority::ALL)),
        ("mode", word(ProxyMode::ALL)),
        ("purposes", list(text())),
        ("from", maybe(mask())),
        ("until", maybe(mask())),
        ("evidence", maybe(mask())),
    ])
}

/// What was said at their addresses, and how the record has changed.
fn beside_the_record() -> Fields {
    vec![("said_at_addresses", list(reference("Said"))), ("changes", list(reference("Change")))]
}

/// Who said it and where it stands is left out where the rest is masked.
fn said() -> Value {
    let mut fields = words_said();
    fields.extend([("by?", maybe(text())), ("evidence?", maybe(text()))]);
    object(&fields)
}

fn change() -> Value {
    object(&[
        ("at", time()),
        ("by", text()),
        ("what", text()),
        ("evidence?", text()),
        ("superseded?", maybe(reference("Said"))),
    ])
}

/// All that is known of one patient.
fn record() -> Value {
    let attempt = object(&[
        ("id", id()),
        ("step", whole()),
        ("number", whole()),
        ("status", word(AttemptStatus::ALL)),
        ("provider", text()),
        ("channel", word(Channel::ALL)),
        ("address", text()),
        ("locale", text()),
        ("pointer", flag()),
        ("recipient", word(Recipient::ALL)),
        ("provider_ref", maybe(text())),
        ("code", maybe(text())),
        ("begun_at", time()),
        ("settled_at", maybe(time())),
    ]);
    let message = object(&[
        ("id", id()),
        ("source", text()),
        ("job_id", text()),
        ("template", text()),
        ("purpose", word(Purpose::ALL)),
        ("about", maybe(text())),
        ("site", maybe(text())),
        ("campaign_id", maybe(text())),
        ("status", word(MessageStatus::ALL)),
        ("reason", maybe(word(Reason::ALL))),
        ("accepted_at", time()),
        ("changed_at", time()),
        ("expires_at", time()),
        ("copy_of", maybe(id())),
        ("text", word(&["kept", "erased", "cannot be read"])),
        ("job", maybe(anything())),
        ("explanation", maybe(reference("Decision"))),
        ("attempts", list(attempt)),
    ]);
    let reply = object(&[
        ("id", id()),
        ("provider", text()),
        ("intent", word(Intent::ALL)),
        ("received_at", time()),
        ("message_id", maybe(id())),
        ("from", maybe(text())),
        ("text", maybe(text())),
    ]);
    let place = object(&[("campaign_id", text()), ("message_id", maybe(id())), ("row", anything())]);
    let mut fields = vec![
        ("ids", list(text())),
        ("patient", maybe(reference("Patient"))),
        ("messages", list(message)),
        ("replies", list(reply)),
        ("campaigns", list(place)),
    ];
    fields.extend(beside_the_record());
    object(&fields)
}
