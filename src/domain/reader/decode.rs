//! From bytes to a JSON tree, with all that is wrong about the bytes themselves.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::place::{Fault, Faults, Path};
use crate::domain::ids::{JobId, SourceName};
use crate::domain::problem::Problem;

/// Objects and lists within each other.
pub const MAX_DEPTH: usize = 32;

/// The object that `bytes` hold.
///
/// # Errors
/// Oversize, NUL bytes, not UTF-8, not JSON, not an object, nested too deep, names given twice.
pub(crate) fn object(bytes: &[u8], limit: usize) -> Result<Map<String, Value>, Vec<Problem>> {
    let text = text(bytes, limit).map_err(|fault| vec![fault.at("")])?;
    let mut state = State::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let tree = Node { state: &mut state, path: Path::ROOT, depth: 0 }
        .deserialize(&mut json)
        .and_then(|tree| json.end().map(|()| tree));
    let tree = match tree {
        Ok(tree) => tree,
        Err(_) if state.too_deep => return Err(vec![too_deep().at("")]),
        Err(error) => return Err(vec![syntax(&error).at("")]),
    };
    if text.contains("\\u0000") {
        refuse_nul(&tree, &Path::ROOT, &mut state.faults);
    }
    match tree {
        Value::Object(map) => state.faults.settle(Some(map)),
        _ => Err(vec![not_an_object().at("")]),
    }
}

/// The elements of a JSON array, each as its own bytes, so that one bad element does not sink the others: whoever reads one
/// finds what in it is no text.
///
/// # Errors
/// Not JSON around the elements, not an array, or more than `limit` elements.
pub fn items(bytes: &[u8], limit: usize) -> Result<Vec<&[u8]>, Vec<Problem>> {
    let bytes = without_bom(bytes);
    let legible = legible(bytes);
    let items: Vec<&RawValue> = serde_json::from_str(&legible).map_err(|error| {
        let fault = match (text(bytes, usize::MAX), error.classify()) {
            (Err(fault), _) => fault,
            (Ok(_), serde_json::error::Category::Data) => {
                Fault::malformed("must be a JSON array", "put the items between [ and ]")
            }
            (Ok(_), _) => syntax(&error),
        };
        vec![fault.at("")]
    })?;
    if items.len() > limit {
        return Err(vec![
            Fault::malformed(format!("at most {limit} items in one array"), "send them in several parts")
                .at(""),
        ]);
    }
    let place = |item: &RawValue| item.get().as_ptr().addr() - legible.as_ptr().addr();
    Ok(items.into_iter().filter_map(|item| bytes.get(place(item)..)?.get(..item.get().len())).collect())
}

/// `bytes` with a mark for each that is no text, so that every place stays where it is.
fn legible(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Cow::Borrowed(text),
        _ => {
            let mut text = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                text.extend(chunk.valid().chars().map(|c| if c == '\0' { '?' } else { c }));
                text.extend(chunk.invalid().iter().map(|_| '?'));
            }
            Cow::Owned(text)
        }
    }
}

/// Whose job it is and which, as far as that can still be read: for reports on bodies that cannot be accepted.
/// Reads the first level only, up to where the bytes make no sense any more.
#[must_use]
pub fn identify(bytes: &[u8]) -> (Option<SourceName>, Option<JobId>) {
    let mut source = None;
    let mut id = None;
    top_level_texts(bytes, |name, value| {
        match name {
            b"source" => source = std::str::from_utf8(value).ok().and_then(SourceName::parse),
            b"id" => id = std::str::from_utf8(value).ok().and_then(JobId::parse),
            _ => {}
        }
        true
    });
    (source, id)
}

/// The `action` of a body, if it has one.
pub(super) fn action(bytes: &[u8]) -> Option<String> {
    let mut action = None;
    top_level_texts(bytes, |name, value| {
        if name == b"action" {
            action = std::str::from_utf8(value).ok().map(str::to_owned);
        }
        action.is_none()
    });
    action
}

/// `bytes` without the mark that some programs write before UTF-8.
#[must_use]
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn text(bytes: &[u8], limit: usize) -> Result<&str, Fault> {
    if bytes.len() > limit {
        return Err(Fault::malformed(
            format!("at most {} KiB", limit / 1024),
            "send ids and short values; leave documents where they are",
        ));
    }
    let bytes = without_bom(bytes);
    if bytes.contains(&0) {
        return Err(Fault::malformed(
            "must not hold NUL bytes",
            "send JSON as UTF-8, not as UTF-16 or binary",
        ));
    }
    std::str::from_utf8(bytes).map_err(|e| {
        Fault::malformed(
            format!("must be UTF-8 (byte {} is not)", e.valid_up_to()),
            "encode the text as UTF-8",
        )
    })
}

fn syntax(error: &serde_json::Error) -> Fault {
    let rule = if error.is_eof() { "ends before its JSON is complete" } else { "must be valid JSON" };
    Fault::malformed(
        format!("{rule} (line {}, column {})", error.line(), error.column()),
        "write it with a JSON library",
    )
}

fn too_deep() -> Fault {
    Fault::malformed(
        format!("at most {MAX_DEPTH} objects and lists within each other"),
        "flatten it: send single values",
    )
}

fn not_an_object() -> Fault {
    Fault::malformed("must be a JSON object", "put the fields between { and }")
}

/// NUL as an escape: legal JSON, but no database column or provider takes it.
fn refuse_nul(tree: &Value, path: &Path<'_>, faults: &mut Faults) {
    let fault = || Fault::malformed("must not hold the character NUL", "take \\u0000 out");
    match tree {
        Value::String(text) if text.contains('\0') => faults.add(path, fault()),
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                refuse_nul(item, &path.index(index), faults);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                if name.contains('\0') {
                    faults.add(&path.field(name), fault());
                }
                refuse_nul(value, &path.field(name), faults);
            }
        }
        _ => {}
    }
}

#[derive(Default)]
struct State {
    faults: Faults,
    too_deep: bool,
}

/// Builds one value, noting names that are given twice: JSON leaves open which of the two counts, so two
/// readers could disagree about what was asked.
struct Node<'s, 'p> {
    state: &'s mut State,
    path: Path<'p>,
    depth: usize,
}

/// Counts levels.
fn deeper<E: serde::de::Error>(state: &mut State, depth: usize) -> Result<usize, E> {
    if depth >= MAX_DEPTH {
        state.too_deep = true;
        return Err(E::custom("too deep"));
    }
    Ok(depth + 1)
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let depth = deeper(self.state, self.depth)?;
        let mut values = Vec::new();
        loop {
            let path = self.path.index(values.len());
            let node = Node { state: &mut *self.state, path, depth };
            match list.next_element_seed(node)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let depth = deeper(self.state, self.depth)?;
        let mut map = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let node = Node { state: &mut *self.state, path: self.path.field(&name), depth };
            let value = object.next_value_seed(node)?;
            if map.contains_key(&name) {
                let fault = Fault::malformed("a field may be given once only", "leave out one of the two");
                self.state.faults.add(&self.path.field(&name), fault);
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// Calls `found` with each name and text value of the outermost object, as raw bytes (escapes are not undone:
/// ids hold none). Stops when `found` says so or the bytes make no sense any more.
fn top_level_texts(bytes: &[u8], mut found: impl FnMut(&[u8], &[u8]) -> bool) {
    let mut depth = 0_usize;
    let mut name: Option<&[u8]> = None;
    let mut after_colon = false;
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => after_colon = true,
            b',' if depth == 1 => (name, after_colon) = (None, false),
            b'"' => {
                let Some(end) = string_end(rest) else { return };
                let (text, after) = rest.split_at(end);
                rest = after.get(1..).unwrap_or_default();
                match (depth, after_colon, name) {
                    (1, false, _) => name = Some(text),
                    (1, true, Some(field)) if !found(field, text) => return,
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// Where the string that begins here ends: the place of its closing quote.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    bytes.iter().position(|b| {
        let end = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        end
    })
}
