//! Templates, what they say, and who answers for it.

use super::shape::{Schemas, flag, list, map, maybe, object, reference, strict, text, time, whole, word};
use crate::domain::words::{Channel, PhiClass, Priority, Purpose, Reason};
use crate::template::{Kind, Sample, Severity};

pub(super) fn schemas() -> Schemas {
    let variable = object(&[("type", word(Kind::ALL)), ("required", flag()), ("description", text())]);
    let template = object(&[
        ("name", text()),
        ("title", text()),
        ("description", text()),
        ("purposes", list(word(Purpose::ALL))),
        ("priority", word(Priority::ALL)),
        ("phi", word(PhiClass::ALL)),
        ("channels", list(word(Channel::ALL))),
        ("locales", list(text())),
        ("approved", list(text())),
        ("variables", map(variable)),
        ("texts", list(reference("SignedText"))),
    ]);
    let signed = object(&[
        ("template", text()),
        ("locale", text()),
        ("hash", maybe(text())),
        ("standing", word(&["signed_off", "in_file", "taken_back", "changed", "open"])),
        ("approved", flag()),
        ("by", maybe(text())),
        ("at", maybe(time())),
        ("note", maybe(text())),
    ]);
    let preview = strict(&[
        ("sample?", word(Sample::ALL)),
        ("channel?", word(Channel::ALL)),
        ("locale?", text()),
        ("site?", text()),
    ]);
    // With texts, or with what is wrong.
    let previewed = object(&[
        ("channel", word(Channel::ALL)),
        ("locale", text()),
        ("short", flag()),
        ("hash", maybe(text())),
        ("segments?", whole()),
        ("texts?", map(text())),
        ("reason?", word(Reason::ALL)),
        ("errors?", list(reference("Fault"))),
    ]);
    let finding = object(&[
        ("file", text()),
        ("line", maybe(whole())),
        ("severity", word(Severity::ALL)),
        ("rule", text()),
        ("message", text()),
        ("cure", text()),
    ]);
    vec![
        ("Templates", object(&[("bundle_hash", text()), ("templates", list(reference("Template")))])),
        ("Template", template),
        ("SignedText", signed),
        ("Preview", preview),
        (
            "Previews",
            object(&[("template", text()), ("sample", word(Sample::ALL)), ("previews", list(previewed))]),
        ),
        ("SignOff", strict(&[("locale", text()), ("hash", text()), ("note", text())])),
        ("TakeBack", strict(&[("locale", text()), ("note", text())])),
        ("Linted", object(&[("template", text()), ("findings", list(finding))])),
    ]
}
