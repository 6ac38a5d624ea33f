//! Who signs in.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Result;
use crate::domain::credential::{PasswordHash, TotpSecret};
use crate::domain::ids::{SiteId, UserName};
use crate::domain::people::{Granted, Role};

/// Accounts and their sessions.
#[async_trait]
pub trait People {
    /// Makes an account. False: there is one of that name.
    async fn add_user(&self, user: &User) -> Result<bool>;

    /// Every account, by name.
    async fn users(&self) -> Result<Vec<User>>;

    /// One account.
    async fn user(&self, name: &UserName) -> Result<Option<User>>;

    /// Changes an account, and ends its sessions. False: there is none.
    async fn change_user(&self, name: &UserName, change: &UserChange) -> Result<bool>;

    /// Whose account it is that an identity provider vouches for: by its subject; or by name, where an account waits for
    /// that or is to be made.
    async fn recognise(&self, who: &Vouched) -> Result<Recognised>;

    /// Takes the code of a step. False: it, or one after it, was taken before.
    async fn use_code(&self, name: &UserName, step: i64) -> Result<bool>;

    /// Opens a session, and forgets those that have ended.
    async fn open_session(&self, token: &SessionHash, user: &UserName, limits: SessionLimits) -> Result<()>;

    /// Whose session it is, if it stands; that it was asked for keeps it open.
    async fn session(&self, token: &SessionHash, limits: SessionLimits) -> Result<Option<Session>>;

    /// Ends a session.
    async fn close_session(&self, token: &SessionHash) -> Result<()>;

    /// Ends every session of whom an identity provider knows so. False: none stood.
    async fn close_sessions_of(&self, issuer: &str, subject: &str) -> Result<bool>;
}

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
    /// `None`: signs in with a password alone.
    pub link: Option<Link>,
}

/// Who an account is at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    pub issuer: String,
    /// What the provider knows them by, for ever. `None`: whoever first signs in there by the account's name.
    pub subject: Option<String>,
}

/// Somebody whom an identity provider vouches for.
#[derive(Clone, Debug)]
pub struct Vouched {
    pub issuer: String,
    pub subject: String,
    /// What their account is called, where they have none yet.
    pub name: Option<UserName>,
    /// Whether an account that waits for whoever comes by that name is theirs.
    pub binds: bool,
    /// What they may do from now on; `None`: what their account says.
    pub granted: Option<Granted>,
    /// The account that is made where there is none; `None`: they are not let in then.
    pub newcomer: Option<User>,
}

/// Whom somebody turns out to be.
#[derive(Clone, Debug)]
pub enum Recognised {
    Known(User),
    /// Their account was just made.
    Made(User),
    Disabled(UserName),
    /// The account of that name is another's, or signs in with a password alone.
    Taken(UserName),
    /// There is no account, and none is made.
    Unknown,
}

/// A change of an account.
#[derive(Clone, Debug)]
pub enum UserChange {
    Disable,
    Enable,
    /// New credentials: both.
    Credentials(PasswordHash, TotpSecret),
    /// It is of whom a provider knows so; without a subject, of whoever next signs in there by its name.
    Link(Link),
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
