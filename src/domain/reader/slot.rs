//! Typed reading: a [`Slot`] is one value in its place, [`Fields`] an object whose fields are asked for by name.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use super::leaf;
use super::place::{Fault, Faults, Path};
use crate::domain::problem::Problem;
use crate::domain::words::Reason;

/// One value in its place.
pub(crate) struct Slot<'a> {
    pub(super) value: Value,
    pub(super) path: Path<'a>,
    pub(super) faults: &'a mut Faults,
}

impl Slot<'_> {
    /// Notes what is wrong here. Gives `None`, so that a reader can end with it.
    pub(crate) fn refuse<T>(self, fault: Fault) -> Option<T> {
        self.faults.add(&self.path, fault);
        None
    }

    fn keep<T>(self, read: Result<T, Fault>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(fault) => self.refuse(fault),
        }
    }

    /// A text that `parse` accepts.
    pub(crate) fn parsed<T>(self, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let read = match &self.value {
            Value::String(text) => parse(text),
            _ => Err(Fault::malformed("must be text", "write it between double quotes")),
        };
        self.keep(read)
    }

    /// A text of 1 to `limit` characters without control characters.
    pub(crate) fn text(self, limit: usize) -> Option<String> {
        self.parsed(|text| leaf::text(text, limit))
    }

    /// A name of a restricted alphabet.
    pub(crate) fn name<T>(self, parse: impl FnOnce(&str) -> Option<T>, rule: &'static str) -> Option<T> {
        self.parsed(|text| {
            parse(text)
                .ok_or_else(|| Fault::malformed(format!("must be {rule}"), "use only these characters"))
        })
    }

    /// One of a closed set of words.
    pub(crate) fn word<T: Copy>(self, all: &[T], spelling: impl Fn(T) -> &'static str) -> Option<T> {
        self.parsed(|text| {
            all.iter().copied().find(|word| spelling(*word) == text).ok_or_else(|| {
                let words: Vec<_> = all.iter().map(|word| spelling(*word)).collect();
                Fault::malformed(
                    "must be one of the known words",
                    format!("use one of: {}", words.join(", ")),
                )
            })
        })
    }

    /// A whole number in `[least, most]`.
    pub(crate) fn whole(self, least: u32, most: u32) -> Option<u32> {
        let number = self.value.as_u64().and_then(|n| u32::try_from(n).ok());
        let read = number.filter(|n| (least..=most).contains(n)).ok_or_else(|| {
            Fault::malformed(
                format!("must be a whole number from {least} to {most}"),
                "write it without quotes",
            )
        });
        self.keep(read)
    }

    /// A list of at most `limit` elements, each read by `read`; `None` when any of it is wrong.
    pub(crate) fn list<T>(self, limit: usize, mut read: impl FnMut(Slot<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Self { value, path, faults } = self;
        let Value::Array(values) = value else {
            faults.add(&path, Fault::malformed("must be a list", "put the values between [ and ]"));
            return None;
        };
        if values.len() > limit {
            let fault = Fault::malformed(format!("at most {limit} in this list"), "send fewer");
            faults.add(&path, fault);
            return None;
        }
        let mut all = Vec::with_capacity(values.len());
        let mut whole = true;
        for (index, value) in values.into_iter().enumerate() {
            match read(Slot { value, path: path.index(index), faults: &mut *faults }) {
                Some(item) => all.push(item),
                None => whole = false,
            }
        }
        whole.then_some(all)
    }

    /// A list without repeats.
    pub(super) fn set<T: PartialEq>(
        self,
        limit: usize,
        mut read: impl FnMut(Slot<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Self { value, path, faults } = self;
        let list = Slot { value, path, faults: &mut *faults }.list(limit, &mut read)?;
        let repeat = list.iter().enumerate().find(|(i, item)| list.iter().take(*i).any(|seen| seen == *item));
        if let Some((index, _)) = repeat {
            faults.add(
                &path.index(index),
                Fault::malformed("must not be given twice", "leave out one of the two"),
            );
            return None;
        }
        Some(list)
    }

    /// An object, read by `read`; fields that it does not ask for are refused.
    pub(crate) fn object<T>(self, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Option<T> {
        let Self { value, path, faults } = self;
        let Value::Object(map) = value else {
            faults.add(&path, Fault::malformed("must be an object", "put the fields between { and }"));
            return None;
        };
        let mut fields = Fields::new(map, path, faults);
        let value = read(&mut fields);
        fields.finish();
        value
    }

    /// An object with names of the sender's choosing within what `read` accepts.
    pub(super) fn entries<T>(self, mut read: impl FnMut(&str, Slot<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Self { value, path, faults } = self;
        let Value::Object(map) = value else {
            faults.add(&path, Fault::malformed("must be an object", "put the fields between { and }"));
            return None;
        };
        let mut all = Vec::with_capacity(map.len());
        let mut whole = true;
        for (name, value) in map.into_iter().filter(|(_, value)| !value.is_null()) {
            match read(&name, Slot { value, path: path.field(&name), faults: &mut *faults }) {
                Some(item) => all.push(item),
                None => whole = false,
            }
        }
        whole.then_some(all)
    }
}

/// Reads an object that is no noun of the domain, such as a request, with the same faults as one that is.
///
/// # Errors
/// All that is wrong with it, by JSON path; fields that `read` does not ask for among it.
pub(crate) fn fields<T>(
    map: Map<String, Value>,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Vec<Problem>> {
    let mut faults = Faults::default();
    let mut fields = Fields::new(map, Path::ROOT, &mut faults);
    let value = read(&mut fields);
    fields.finish();
    faults.settle(value)
}

/// True or false.
pub(crate) fn flag(slot: Slot<'_>) -> Option<bool> {
    match slot.value {
        Value::Bool(flag) => Some(flag),
        _ => slot.refuse(Fault::malformed("must be true or false", "write it without quotes")),
    }
}

/// An instant with its offset (RFC 3339).
pub(crate) fn instant(slot: Slot<'_>) -> Option<Timestamp> {
    slot.parsed(leaf::timestamp)
}

/// A calendar day (RFC 3339 full-date).
pub(super) fn day(slot: Slot<'_>) -> Option<Date> {
    slot.parsed(leaf::date)
}

/// An object whose fields are asked for by name. What nobody asked for is refused at the end.
pub(crate) struct Fields<'a> {
    map: Map<String, Value>,
    path: Path<'a>,
    faults: &'a mut Faults,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: Map<String, Value>, path: Path<'a>, faults: &'a mut Faults) -> Self {
        Self { map, path, faults, known: Vec::new() }
    }

    /// Whether the field stands there at all, be it as null.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Whether the field holds an answer.
    pub(crate) fn gives(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Reads a field where it is given. Null is the same as absent.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Slot<'_>) -> Option<T>,
    ) -> Option<T> {
        read(self.take(name)?)
    }

    fn take(&mut self, name: &'static str) -> Option<Slot<'_>> {
        self.known.push(name);
        let value = self.map.remove(name).filter(|value| !value.is_null())?;
        Some(Slot { value, path: self.path.field(name), faults: &mut *self.faults })
    }

    /// Reads a field that must be given.
    pub(crate) fn need<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Slot<'_>) -> Option<T>,
    ) -> Option<T> {
        if !self.gives(name) {
            self.refuse(name, Fault::malformed("is required", format!("give {name}")));
        }
        self.read(name, read)
    }

    /// Notes what is wrong with a field.
    pub(crate) fn refuse(&mut self, name: &str, fault: Fault) {
        self.faults.add(&self.path.field(name), fault);
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) {
        if self.map.is_empty() {
            return;
        }
        let cure = format!("take it out or correct its name; known here: {}", self.known.join(", "));
        for name in self.map.keys() {
            let fault =
                Fault { reason: Reason::Malformed, rule: "unknown field".into(), cure: cure.clone().into() };
            self.faults.add(&self.path.field(name), fault);
        }
    }
}
