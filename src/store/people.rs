//! Who signs in.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::credential::{PasswordHash, TotpSecret};
use crate::domain::ids::{SiteId, UserName};
use crate::domain::people::Role;

/// An account.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub name: UserName,
    pub role: Role,
    /// What they see is limited to these; none: to nothing.
    pub sites: Vec<SiteId>,
    #[serde(skip)]
    pub password: PasswordHash,
    #[serde(skip)]
    pub totp: TotpSecret,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

/// A change of an account.
#[derive(Clone, Debug)]
pub enum UserChange {
    Disable,
    Enable,
    /// New credentials: both.
    Credentials(PasswordHash, TotpSecret),
}

/// The hash of a session's token. Nobody gets in by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHash(String);

impl SessionHash {
    /// The hash of whatever a browser shows.
    #[must_use]
    pub fn of(shown: &str) -> Self {
        Self(hex::encode(Sha256::digest(shown.as_bytes())))
    }

    /// Hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// When a session ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// After so long without a request.
    pub idle: Duration,
    /// After so long in any case.
    pub whole: Duration,
    /// Whether this request keeps it open; what a page asks by itself does not.
    pub touches: bool,
}

/// A session that stands.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: UserName,
    pub role: Role,
    pub sites: Vec<SiteId>,
}
