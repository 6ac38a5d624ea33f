//! A password, token or key: a value, a `_file` beside it, or either of them from the environment. Masked
//! wherever it could be printed.

use std::path::Path;

use serde::Deserialize;
use toml::Value;

use super::fault::Broken;
use super::kind::Raw;
use super::read::{MASK, Section};

/// The largest secret that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A secret value; read from the file, a `_file` beside it, or the environment.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the wire only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Section<'_> {
    /// A secret, from `key` or `key_file`. The environment wins over the file; both at one place is a fault.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        self.note(&file_key);
        let given = self.raw(key).map(|raw| (key, raw));
        let value_in_env = matches!(given, Some((_, Raw::Env(_))));
        let path_in_env = self.in_env(&file_key).map(|path| (file_key.as_str(), Raw::Env(path)));
        let path_in_file = self.in_file(&file_key).map(|path| (file_key.as_str(), Raw::File(path)));
        let twice = if value_in_env {
            path_in_env.is_some()
        } else {
            path_in_env.is_none() && path_in_file.is_some()
        };
        if given.is_some() && twice {
            self.fault(key, Broken::new("is given twice", format!("keep either `{key}` or `{file_key}`")));
        }
        let (chosen, raw) = match (given, path_in_env) {
            (Some(value), None) => value,
            (Some(value), Some(_)) if value_in_env => value,
            (_, Some(path)) => path,
            (None, None) => path_in_file?,
        };
        let read = raw.text().and_then(|text| match chosen == key {
            true => Ok(text.to_owned()),
            false => secret_file(&self.context.cwd.join(text)),
        });
        match read.and_then(checked) {
            Ok(secret) => {
                self.show(key, Value::String(MASK.to_owned()));
                Some(secret)
            }
            Err(broken) => {
                self.fault(chosen, broken);
                None
            }
        }
    }

    /// Whether the secret is given in any way, good or bad.
    pub(super) fn has_secret(&mut self, key: &str) -> bool {
        let file_key = format!("{key}_file");
        self.raw(key).is_some() || self.in_env(&file_key).is_some() || self.in_file(&file_key).is_some()
    }

    /// A secret whose absence is a fault.
    pub(super) fn required_secret(&mut self, key: &str) -> Option<Secret> {
        let secret = self.secret(key);
        if secret.is_none() && !self.has_secret(key) {
            let cure = format!("set `{key}`, `{key}_file`, {0} or {0}_FILE", self.variable_of(key));
            self.fault(key, Broken::new("is required", cure));
        }
        secret
    }
}

fn checked(text: String) -> Result<Secret, Broken> {
    match text.trim().is_empty() || text.contains('\0') {
        true => Err(Broken::new("must not be empty or hold a NUL", "write the secret there")),
        false => Ok(Secret::new(text)),
    }
}

/// The file's text without the line break at its end.
fn secret_file(path: &Path) -> Result<String, Broken> {
    let cure = "name a readable file that holds the secret and nothing else";
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > MAX_SECRET_BYTES {
        return Err(Broken::new("must name a file of at most 64 KiB", cure));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| Broken::new("must name a file of UTF-8 text", cure))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub(super) fn unreadable(error: &std::io::Error) -> Broken {
    let cure = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file; relative paths count from the working directory"
        }
        std::io::ErrorKind::PermissionDenied => "let the user that runs outreachd read it",
        _ => "see that the file and its disk can be read",
    };
    Broken::new("must name a file that can be read", cure)
}
