//! What schemas are made of.

use std::fmt::Display;

use serde_json::{Map, Value, json};

/// Schemas by their names.
pub(super) type Schemas = Vec<(&'static str, Value)>;

/// Fields of an object by their names; `?` behind one says that it may be left out.
pub(super) type Fields = Vec<(&'static str, Value)>;

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

pub(super) fn id() -> Value {
    json!({"type": "string", "format": "uuid"})
}

pub(super) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

pub(super) fn day() -> Value {
    json!({"type": "string", "format": "date"})
}

/// An instant, or wall-clock time where the recipient lives.
pub(super) fn when() -> Value {
    json!({"anyOf": [time(), strict(&[("local", text())])]})
}

pub(super) fn whole() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub(super) fn number() -> Value {
    json!({"type": "number"})
}

pub(super) fn percent() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 100})
}

pub(super) fn flag() -> Value {
    json!({"type": "boolean"})
}

/// By which one answer is told from another.
pub(super) fn yes() -> Value {
    json!({"type": "boolean", "enum": [true]})
}

pub(super) fn word<T: Display>(all: &[T]) -> Value {
    json!({"type": "string", "enum": all.iter().map(ToString::to_string).collect::<Vec<_>>()})
}

pub(super) fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// Two values in this order.
pub(super) fn pair(first: Value, second: Value) -> Value {
    json!({"type": "array", "prefixItems": [first, second], "minItems": 2, "maxItems": 2})
}

/// An object with names that are not ours, each with such a value.
pub(super) fn map(values: Value) -> Value {
    json!({"type": "object", "additionalProperties": values})
}

/// An object that may hold whatever it likes, such as a template's variables.
pub(super) fn anything() -> Value {
    map(true.into())
}

/// The same, or null.
pub(super) fn maybe(schema: Value) -> Value {
    match schema {
        Value::Object(mut fields) if fields.get("type").is_some_and(Value::is_string) => {
            if let Some(kind) = fields.get_mut("type") {
                *kind = json!([kind, "null"]);
            }
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.push(Value::Null);
            }
            Value::Object(fields)
        }
        other => json!({"anyOf": [other, {"type": "null"}]}),
    }
}

/// What is answered: all of these fields but those with a `?`, and others later.
pub(super) fn object(fields: &[(&'static str, Value)]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|n| !n.ends_with('?')).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// What a caller may send: nothing but these fields. Null is as left out.
pub(super) fn strict(fields: &[(&'static str, Value)]) -> Value {
    let or_null = |(name, schema): &(&'static str, Value)| {
        (*name, if name.ends_with('?') { maybe(schema.clone()) } else { schema.clone() })
    };
    let mut out = object(&fields.iter().map(or_null).collect::<Fields>());
    if let Value::Object(out) = &mut out {
        out.insert("additionalProperties".to_owned(), false.into());
    }
    out
}
