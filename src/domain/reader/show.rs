//! A patient in the shape in which one comes in: what `Patient::to_json` gives, `Patient::parse` reads back. And the same
//! masked, for everybody who need not know who they are.

use jiff::civil::Time;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::patient::{
    Consent, Contact, Identifier, Name, Patient, PostalAddress, Proxy, ProxyPerson, QuietHours,
};
use crate::domain::phi::Phi;

impl Patient {
    /// The wire shape of the contract. What is unknown is left out; consents that are not in force are not shown.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = Shape::default();
        out.put("id", &self.id);
        out.some("updated_at", self.updated_at.as_ref());
        out.some("name", self.name.as_ref().map(name).as_ref());
        out.some("birth_date", self.birth_date.as_ref());
        out.some("language", self.language.as_ref());
        out.some("timezone", self.timezone.as_ref());
        if let Some(address) = &self.address {
            let mut inner = Shape::default();
            inner.some("postal_code", address.postal_code.as_ref());
            inner.some("state", address.state.as_ref());
            inner.some("country", address.country.as_ref());
            out.put("address", &inner.0);
        }
        out.some("site", self.site.as_ref());
        out.list("tags", &self.tags);
        out.list("identifiers", &self.identifiers);
        out.put("active", &self.active);
        out.put("deceased", &self.deceased);
        out.some("do_not_contact", self.do_not_contact.as_ref());
        out.some("pause_until", self.pause_until.as_ref());
        out.list("preferred_channels", &self.preferred_channels);
        if !self.preferences.is_empty() {
            out.put("preferences", &preferences(self));
        }
        out.some("quiet_hours", self.quiet_hours.map(hours).as_ref());
        out.list("contacts", &self.contacts.iter().map(contact).collect::<Vec<_>>());
        out.list("consents", &self.consents.iter().map(consent).collect::<Vec<_>>());
        out.list("proxies", &self.proxies.iter().map(proxy).collect::<Vec<_>>());
        Value::Object(out.0)
    }

    /// Enough to see why a message went where it went; nobody is named, and no address is whole. Nothing is shown that is
    /// not named here, so that a field that comes later is hidden until somebody thinks of it. What is unknown is `null`.
    #[must_use]
    pub fn masked(&self) -> Map<String, Value> {
        let mut out = Shape::default();
        out.put("id", &self.id);
        out.put("masked", &true);
        out.put("updated_at", &self.updated_at);
        out.put("name", &self.name.as_ref().map(masked_name));
        out.put("birth_date", &hidden(self.birth_date.as_ref()));
        out.put("language", &self.language);
        out.put("timezone", &self.timezone);
        out.put("address", &self.address.as_ref().map(masked_place));
        out.put("site", &self.site);
        out.put("tags", &self.tags.iter().map(|_| HIDDEN).collect::<Vec<_>>());
        out.put("identifiers", &self.identifiers.iter().map(masked_identifier).collect::<Vec<_>>());
        out.put("active", &self.active);
        out.put("deceased", &self.deceased);
        out.put("do_not_contact", &hidden(self.do_not_contact.as_ref()));
        out.put("pause_until", &self.pause_until);
        out.put("preferred_channels", &self.preferred_channels);
        out.put("preferences", &preferences(self));
        out.put("quiet_hours", &self.quiet_hours.map(hours));
        out.put("contacts", &self.contacts.iter().map(masked_contact).collect::<Vec<_>>());
        out.put("consents", &self.consents.iter().map(masked_consent).collect::<Vec<_>>());
        out.put("proxies", &self.proxies.iter().map(masked_proxy).collect::<Vec<_>>());
        out.0
    }
}

/// An object under construction.
#[derive(Default)]
struct Shape(Map<String, Value>);

impl Shape {
    fn put(&mut self, name: &str, value: &impl Serialize) {
        self.0.insert(name.to_owned(), json!(value));
    }

    fn some(&mut self, name: &str, value: Option<&impl Serialize>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[impl Serialize]) {
        if !values.is_empty() {
            self.put(name, &values);
        }
    }
}

/// `20:00`, with seconds only where there are any.
fn time(time: Time) -> String {
    let text = time.to_string();
    text.strip_suffix(":00").filter(|short| short.len() == 5).map_or(text.clone(), str::to_owned)
}

fn hours(hours: QuietHours) -> Value {
    json!({"start": time(hours.start), "end": time(hours.end)})
}

/// Channels per purpose.
fn preferences(patient: &Patient) -> Map<String, Value> {
    patient.preferences.iter().map(|p| (p.purpose.to_string(), json!(p.channels))).collect()
}

fn name(name: &Name) -> Value {
    let mut out = Shape::default();
    out.some("given", name.given.as_ref());
    out.some("family", name.family.as_ref());
    Value::Object(out.0)
}

fn contact(contact: &Contact) -> Value {
    let mut out = Shape::default();
    out.put("channel", &contact.channel);
    out.put("address", &contact.address);
    out.some("rank", contact.rank.as_ref());
    out.some("use", contact.usage.as_ref());
    out.some("kind", contact.kind.as_ref());
    out.put("status", &contact.status);
    out.some("verified_at", contact.verified_at.as_ref());
    out.some("valid_until", contact.valid_until.as_ref());
    out.put("private", &contact.private);
    out.put("only", &contact.only);
    out.some("leave_message", contact.leave_message.as_ref());
    out.some("extension", contact.extension.as_ref());
    Value::Object(out.0)
}

fn consent(consent: &Consent) -> Value {
    let mut out = Shape::default();
    out.some("purpose", consent.purpose.as_ref());
    out.some("channel", consent.channel.as_ref());
    out.some("address", consent.address.as_ref());
    out.put("granted", &consent.granted);
    out.put("at", &consent.at);
    out.put("source", &consent.source);
    out.some("by", consent.by.as_ref());
    out.some("evidence", consent.evidence.as_ref());
    out.some("expires_at", consent.expires_at.as_ref());
    Value::Object(out.0)
}

fn proxy(proxy: &Proxy) -> Value {
    let mut out = Shape::default();
    match &proxy.person {
        ProxyPerson::Patient(id) => out.put("patient_id", id),
        ProxyPerson::Person(person) => {
            let mut inner = Shape::default();
            inner.some("name", person.name.as_ref().map(name).as_ref());
            inner.some("language", person.language.as_ref());
            inner.some("timezone", person.timezone.as_ref());
            inner.list("contacts", &person.contacts.iter().map(contact).collect::<Vec<_>>());
            out.put("person", &inner.0);
        }
    }
    out.some("relationship", proxy.relationship.as_ref());
    out.put("authority", &proxy.authority);
    out.put("mode", &proxy.mode);
    out.put("purposes", &purposes(proxy));
    out.some("from", proxy.from.as_ref());
    out.some("until", proxy.until.as_ref());
    out.some("evidence", proxy.evidence.as_ref());
    Value::Object(out.0)
}

/// Which ones, or every one.
fn purposes(proxy: &Proxy) -> Value {
    proxy.purposes.as_ref().map_or_else(|| json!(["*"]), |purposes| json!(purposes))
}

/// What stands in the place of what is hidden.
const HIDDEN: &str = "***";

/// Whether there is something, and nothing of it.
fn hidden<T>(value: Option<&T>) -> Option<&'static str> {
    value.map(|_| HIDDEN)
}

fn masked_name(name: &Name) -> Value {
    json!({"given": hidden(name.given.as_ref()), "family": hidden(name.family.as_ref())})
}

fn masked_place(place: &PostalAddress) -> Value {
    json!({
        "postal_code": hidden(place.postal_code.as_ref()), "state": hidden(place.state.as_ref()),
        "country": hidden(place.country.as_ref()),
    })
}

fn masked_identifier(identifier: &Identifier) -> Value {
    json!({"system": identifier.system, "value": HIDDEN})
}

fn masked_contact(contact: &Contact) -> Value {
    json!({
        "channel": contact.channel, "address": contact.address.masked(), "rank": contact.rank,
        "use": contact.usage, "kind": contact.kind, "status": contact.status,
        "verified_at": contact.verified_at, "valid_until": contact.valid_until, "private": contact.private,
        "only": contact.only, "leave_message": contact.leave_message,
        "extension": hidden(contact.extension.as_ref()),
    })
}

fn masked_consent(consent: &Consent) -> Value {
    json!({
        "purpose": consent.purpose, "channel": consent.channel,
        "address": consent.address.as_ref().map(Phi::masked), "granted": consent.granted, "at": consent.at,
        "source": consent.source, "by": hidden(consent.by.as_ref()),
        "evidence": hidden(consent.evidence.as_ref()), "expires_at": consent.expires_at,
    })
}

fn masked_proxy(proxy: &Proxy) -> Value {
    let (id, person) = match &proxy.person {
        ProxyPerson::Patient(id) => (Some(id), None),
        ProxyPerson::Person(person) => {
            let contacts: Vec<Value> = person.contacts.iter().map(masked_contact).collect();
            let shown = json!({
                "name": person.name.as_ref().map(masked_name), "language": person.language,
                "timezone": person.timezone, "contacts": contacts,
            });
            (None, Some(shown))
        }
    };
    json!({
        "patient_id": id, "person": person, "relationship": hidden(proxy.relationship.as_ref()),
        "authority": proxy.authority, "mode": proxy.mode, "purposes": purposes(proxy), "from": hidden(proxy.from.as_ref()),
        "until": hidden(proxy.until.as_ref()), "evidence": hidden(proxy.evidence.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::phone::Region;
    use crate::domain::reader::{Expect, ParseDefaults};

    /// A patient of whom everything is known.
    fn full() -> Patient {
        let record = json!({
            "id": "P0000042", "updated_at": "2026-11-20T08:00:00Z",
            "name": { "given": "Ana", "family": "López" }, "birth_date": "1949-03-02",
            "language": "es-US", "timezone": "America/Chicago",
            "address": { "postal_code": "60601", "state": "Illinois", "country": "MX" },
            "site": "lakeside-north", "tags": ["oncology"],
            "identifiers": [{ "system": "urn:mrn", "value": "77120" }],
            "active": true, "deceased": false, "do_not_contact": "asked by luis@elsewhere.test",
            "pause_until": "2026-12-01T00:00:00Z", "preferred_channels": ["sms", "email"],
            "preferences": { "appointment": ["sms"], "marketing": [] },
            "quiet_hours": { "start": "20:00", "end": "09:00" },
            "contacts": [
                { "channel": "voice", "address": "+13125550142", "rank": 1, "use": "mobile", "kind": "landline",
                  "status": "ok", "verified_at": "2026-10-01T12:00:00Z", "valid_until": "2027-10-01T12:00:00Z",
                  "private": true, "only": false, "leave_message": "brief", "extension": "8841#" },
                { "channel": "email", "address": "ana.lopez@example.org" },
                { "channel": "portal", "address": "Patient/4711" }],
            "consents": [{ "purpose": "marketing", "channel": "sms", "address": "+13125550163", "granted": true,
                "at": "2026-10-01T12:00:00Z", "source": "staff", "by": "nurse.kim", "evidence": "form 12",
                "expires_at": "2027-10-02T12:00:00Z" }],
            "proxies": [
                { "patient_id": "P0000077", "relationship": "mother", "authority": "guardian", "mode": "instead",
                  "purposes": ["*"], "from": "2019-05-01", "until": "2037-05-01", "evidence": "chart" },
                { "person": { "name": { "given": "Luis", "family": "Ortega" }, "language": "es",
                    "timezone": "America/Denver",
                    "contacts": [{ "channel": "sms", "address": "+13125550184" }] },
                  "relationship": "nephew", "authority": "caregiver", "mode": "also", "purposes": ["care"],
                  "evidence": "letter of 3 May" }],
        });
        let defaults = ParseDefaults::new(None, Region::US);
        Patient::parse(record.to_string().as_bytes(), &defaults, Expect::default()).unwrap()
    }

    /// The paths of all fields; elements of a list share theirs.
    fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(inner) => {
                for (name, value) in inner {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    fields(value, &path, found);
                    found.insert(path);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| fields(item, path, found)),
            _ => {}
        }
    }

    fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Object(inner) => inner.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }

    #[test]
    fn a_masked_patient_has_these_fields_and_no_others() {
        const CONTACT: &str = "channel address rank use kind status verified_at valid_until private only \
            leave_message extension";
        let parts = [
            ("", "id masked updated_at name birth_date language timezone address site tags identifiers"),
            ("", "active deceased do_not_contact pause_until preferred_channels preferences quiet_hours"),
            ("", "contacts consents proxies"),
            ("name.", "given family"),
            ("address.", "postal_code state country"),
            ("identifiers.", "system value"),
            ("preferences.", "appointment marketing"),
            ("quiet_hours.", "start end"),
            ("contacts.", CONTACT),
            ("consents.", "purpose channel address granted at source by evidence expires_at"),
            ("proxies.", "patient_id person relationship authority mode purposes from until evidence"),
            ("proxies.person.", "name language timezone contacts"),
            ("proxies.person.name.", "given family"),
            ("proxies.person.contacts.", CONTACT),
        ];
        let named: BTreeSet<String> = parts
            .iter()
            .flat_map(|(part, names)| names.split(' ').map(move |name| format!("{part}{name}")))
            .collect();
        let mut found = BTreeSet::new();
        fields(&Value::Object(full().masked()), "", &mut found);
        assert_eq!(found, named);
    }

    #[test]
    fn a_masked_patient_cannot_be_recognised() {
        let (patient, shown) = (full(), Value::Object(full().masked()).to_string());
        // All that may be read as it is; whatever else the record says is nobody's business.
        let open = "P0000042 P0000077 lakeside-north 2026-11-20T08:00:00Z 2026-12-01T00:00:00Z es-US es \
            America/Chicago America/Denver urn:mrn sms email voice portal mobile fixed_line ok brief staff 20:00 \
            09:00 2026-10-01T12:00:00Z 2027-10-01T12:00:00Z 2027-10-02T12:00:00Z marketing care guardian \
            caregiver instead also *";
        let open: Vec<&str> = open.split(' ').collect();
        let whole = patient.to_json();
        let mut secrets = Vec::new();
        texts(&whole, &mut secrets);
        secrets.retain(|text| !open.contains(text));
        assert_eq!(secrets.len(), 25, "{secrets:?}");
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        for part in ["Ana", "ana.lopez", "López", "1949", "555", "elsewhere"] {
            assert!(!shown.contains(part), "{part}: {shown}");
        }
        for plain in ["+***42", "+***63", "+***84", "***@example.org"] {
            assert!(shown.contains(plain), "{plain}: {shown}");
        }
    }

    #[test]
    fn of_a_patient_who_is_not_known_nothing_is_said() {
        let bare = Patient::bare(crate::domain::ids::PatientId::parse("P1").unwrap()).masked();
        assert_eq!(bare.get("name"), Some(&Value::Null));
        assert_eq!(bare.get("birth_date"), Some(&Value::Null));
        assert_eq!(bare.get("contacts"), Some(&json!([])));
    }
}
