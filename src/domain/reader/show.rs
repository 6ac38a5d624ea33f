//! A patient in the shape in which one comes in: what `Patient::to_json` gives, `Patient::parse` reads back.

use jiff::civil::Time;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::patient::{Consent, Contact, Name, Patient, Proxy, ProxyPerson};

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
            let per_purpose = self.preferences.iter().map(|p| (p.purpose.to_string(), json!(p.channels)));
            out.0.insert("preferences".to_owned(), Value::Object(per_purpose.collect()));
        }
        if let Some(hours) = self.quiet_hours {
            out.0.insert(
                "quiet_hours".to_owned(),
                json!({"start": time(hours.start), "end": time(hours.end)}),
            );
        }
        out.list("contacts", &self.contacts.iter().map(contact).collect::<Vec<_>>());
        out.list("consents", &self.consents.iter().map(consent).collect::<Vec<_>>());
        out.list("proxies", &self.proxies.iter().map(proxy).collect::<Vec<_>>());
        Value::Object(out.0)
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
    match &proxy.purposes {
        None => out.put("purposes", &["*"]),
        Some(purposes) => out.put("purposes", purposes),
    }
    out.some("from", proxy.from.as_ref());
    out.some("until", proxy.until.as_ref());
    out.some("evidence", proxy.evidence.as_ref());
    Value::Object(out.0)
}
