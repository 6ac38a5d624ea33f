//! `[api]`: who may call, and for what. Tokens are kept as hashes only.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::fault::Broken;
use super::kind::{Parsed, one_of, word};
use super::read::{MASK, Section};
use super::source::SOURCE;
use crate::domain::ids::SourceName;
use crate::domain::words::words;

words! {
    /// What a token opens.
    Scope {
        /// Enqueue and cancel jobs.
        JobsWrite = "jobs:write",
        /// Enqueue emergencies too, where the source may.
        JobsEmergency = "jobs:emergency",
        /// See messages, their explanations and the stream.
        MessagesRead = "messages:read",
        /// Cancel, retry and move on messages.
        MessagesWrite = "messages:write",
        PatientsRead = "patients:read",
        PatientsWrite = "patients:write",
        /// Stop and release.
        HoldsWrite = "holds:write",
        /// Preview texts and send samples.
        TemplatesRead = "templates:read",
        /// Answer for the texts of a template.
        TemplatesApprove = "templates:approve",
        /// Take and close work items.
        WorkWrite = "work:write",
        /// Plan, start and end campaigns.
        CampaignsWrite = "campaigns:write",
        /// Agree to campaigns of others.
        CampaignsApprove = "campaigns:approve",
        /// Everything.
        Admin = "admin",
    }
}

word!(Scope);

/// The API's tokens.
#[derive(Clone, Debug, Default)]
pub struct ApiSection {
    pub tokens: Vec<ApiToken>,
}

/// One caller's token.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// For the audit trail.
    pub name: String,
    sha256: TokenHash,
    pub scopes: Vec<Scope>,
    /// The sources it may speak for; `None`: every one.
    pub sources: Option<Vec<SourceName>>,
    /// Refused from this instant on.
    pub expires_at: Option<Timestamp>,
}

/// The SHA-256 of a token. Masked: a weak token could be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl ApiSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let mut taken = BTreeSet::new();
        let tokens: Vec<ApiToken> =
            s.items("tokens", "name", token_name, ApiToken::read).into_iter().flatten().collect();
        for token in &tokens {
            if !taken.insert(token.sha256) {
                let rule = "must not hold the same token twice";
                s.fault("tokens", Broken::new(rule, "give each caller a token of its own"));
            }
        }
        Self { tokens }
    }

    /// Whose token this is; whether it still holds is [`ApiToken::is_valid_at`]'s answer. The comparison is of
    /// hashes, so its time tells nothing about the token.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<&ApiToken> {
        let hash = TokenHash::of(presented);
        self.tokens.iter().find(|token| token.sha256 == hash)
    }
}

impl ApiToken {
    fn read(name: String, s: &mut Section<'_>) -> Option<Self> {
        let plain = s.secret("token");
        let hash = s.optional("sha256", SHA256);
        let scopes = s.list("scopes", one_of());
        if s.lists_nothing("scopes") {
            s.fault(
                "scopes",
                Broken::new("must name at least one", "list what the caller does, such as \"jobs:write\""),
            );
        }
        let sources = s.list("sources", SOURCE);
        let expires_at = s.optional("expires_at", INSTANT);
        let sha256 = match (plain, hash) {
            (Some(plain), None) if plain.expose().len() >= 24 => TokenHash::of(plain.expose()),
            (Some(_), None) => {
                let cure = "make one: head -c 32 /dev/urandom | base64";
                s.fault("token", Broken::new("must have at least 24 characters", cure));
                return None;
            }
            (None, Some(hash)) => hash,
            (Some(_), Some(_)) => {
                s.fault("token", Broken::new("is given twice", "keep either `token` or `sha256`"));
                return None;
            }
            (None, None) => {
                if !s.has_secret("token") && s.raw("sha256").is_none() {
                    s.missing("token");
                }
                return None;
            }
        };
        Some(Self { name, sha256, scopes: scopes.unwrap_or_default(), sources, expires_at })
    }

    /// Whether it opens `scope`.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether it may speak for `source`.
    #[must_use]
    pub fn speaks_for(&self, source: &SourceName) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.contains(source))
    }

    /// Whether it has not run out.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

const SHA256: Parsed<TokenHash> = Parsed {
    parse: |text| {
        let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(TokenHash).ok_or_else(|| {
            Broken::new("must be a SHA-256 in 64 hexadecimal digits", "make it: printf %s TOKEN | sha256sum")
        })
    },
    show: |_| MASK.to_owned(),
};

const INSTANT: Parsed<Timestamp> = Parsed {
    parse: |text| {
        text.parse().map_err(|_| {
            Broken::new("must be an instant with its offset", "write it as \"2027-01-31T00:00:00Z\"")
        })
    },
    show: Timestamp::to_string,
};

fn token_name(text: &str) -> Result<String, Broken> {
    // The same alphabet as a source: the name stands in logs and in variables.
    SourceName::parse(text)
        .map(|name| name.as_str().to_owned())
        .ok_or_else(|| Broken::new(format!("must be {}", SourceName::RULE), "choose such a name"))
}
