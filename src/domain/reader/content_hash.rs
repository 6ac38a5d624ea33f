//! The hash by which a job that comes twice is told from another job of the same name.

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::domain::ids::SourceName;

/// Hashes what a job says, however it was written: order of names, white space, `1` or `1.0`, null or absent make
/// no difference. Defaults are not part of it, so a new default does not turn a repeat into a conflict; `source`
/// is, as the sender's connection may stand for it.
pub(super) fn content_hash(job: &Map<String, Value>, source: Option<&SourceName>) -> [u8; 32] {
    let mut hash = Sha256::new();
    text(&mut hash, b's', source.map_or("", SourceName::as_str));
    object(&mut hash, job.iter().filter(|(name, _)| *name != "source"));
    hash.finalize().into()
}

fn value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(flag) => hash.update(if *flag { b"t" } else { b"f" }),
        Value::Number(n) => text(hash, b'#', &number(n)),
        Value::String(s) => text(hash, b's', s),
        Value::Array(list) => {
            hash.update(b"[");
            list.iter().for_each(|item| self::value(hash, item));
            hash.update(b"]");
        }
        Value::Object(map) => object(hash, map.iter()),
    }
}

/// `serde_json` keeps names sorted.
fn object<'m>(hash: &mut Sha256, entries: impl Iterator<Item = (&'m String, &'m Value)>) {
    hash.update(b"{");
    for (name, inner) in entries.filter(|(_, inner)| !inner.is_null()) {
        text(hash, b'k', name);
        value(hash, inner);
    }
    hash.update(b"}");
}

/// With its length, so that no two trees are written alike.
fn text(hash: &mut Sha256, tag: u8, text: &str) {
    hash.update([tag]);
    hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(text);
}

/// Whole numbers without point or exponent, whichever way they came.
fn number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 => {
            let whole = format!("{float:.0}");
            if whole == "-0" { "0".to_owned() } else { whole }
        }
        _ => number.to_string(),
    }
}
