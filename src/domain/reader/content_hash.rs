//! The hash by which a job that comes twice is told from another job of the same name.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Number, Value};

use crate::domain::ids::SourceName;

/// Hashes what a job says, however it was written: order of names, white space, `1` or `1.0`, null or absent make
/// no difference. Defaults are not part of it, so a new default does not turn a repeat into a conflict; `source`
/// is, as the sender's connection may stand for it.
pub(super) fn content_hash(job: &Map<String, Value>, source: Option<&SourceName>) -> [u8; 32] {
    let mut said = Vec::with_capacity(1_024);
    text(&mut said, b's', source.map_or("", SourceName::as_str));
    object(&mut said, job.iter().filter(|(name, _)| *name != "source"));
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &said).as_ref());
    hash
}

fn value(said: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => said.push(b'n'),
        Value::Bool(flag) => said.push(if *flag { b't' } else { b'f' }),
        Value::Number(n) => text(said, b'#', &number(n)),
        Value::String(s) => text(said, b's', s),
        Value::Array(list) => {
            said.push(b'[');
            list.iter().for_each(|item| self::value(said, item));
            said.push(b']');
        }
        Value::Object(map) => object(said, map.iter()),
    }
}

/// `serde_json` keeps names sorted.
fn object<'m>(said: &mut Vec<u8>, entries: impl Iterator<Item = (&'m String, &'m Value)>) {
    said.push(b'{');
    for (name, inner) in entries.filter(|(_, inner)| !inner.is_null()) {
        text(said, b'k', name);
        value(said, inner);
    }
    said.push(b'}');
}

/// With its length, so that no two trees are written alike.
fn text(said: &mut Vec<u8>, tag: u8, text: &str) {
    said.push(tag);
    said.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
    said.extend_from_slice(text.as_bytes());
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
