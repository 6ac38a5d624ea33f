//! Signing in through an identity provider: OpenID Connect Core 1.0, authorization code with PKCE (RFC 7636).
//!
//! The browser gets one secret, as a cookie; state, nonce and PKCE's verifier are derived from it, so that an answer
//! counts in that browser alone, and no worker need remember anything between the two requests. Whom the provider vouches
//! for is read from the ID token alone: its signature is verified here, its claims are judged by [`policy`], and nothing
//! else that a browser brings is believed.
//!
//! [`policy`]: crate::policy::identity

mod attempt;
mod document;
mod examine;
mod kept;
mod keys;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

pub use self::attempt::Attempt;
use self::document::{AuthMethod, Document};
pub use self::examine::Finding;
use self::kept::Kept;
use self::keys::Keys;
use crate::client::{self, NoTls};
use crate::config::oidc::OidcSection;
use crate::config::secret::Secret;
use crate::domain::ids::UserName;
use crate::policy::identity::{Expected, Fault, binds, groups, judge, name};

/// Shorter than the patience of whoever waits at the screen.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer. Tokens grow with the groups in them.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// An identity provider.
#[derive(Debug)]
pub struct IdentityProvider {
    client: reqwest::Client,
    settings: OidcSection,
    redirect_uri: String,
    document: Kept<Document>,
    keys: Kept<Keys>,
}

/// Somebody whom the provider vouches for.
#[derive(Clone, Debug)]
pub struct Proved {
    /// What the provider knows them by, for ever.
    pub subject: String,
    /// What an account of theirs would be called; `None`: the token holds nothing that can be a name.
    pub name: Option<UserName>,
    /// Whether an account that waits for that name is theirs.
    pub binds: bool,
    pub groups: Vec<String>,
}

/// Why somebody is not vouched for. Holds words of ours, nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No answer, or one that says to come later.
    #[error("the identity provider does not answer ({0})")]
    Away(&'static str),
    /// It answered what no such provider may answer, or does not know us.
    #[error("the identity provider cannot be used ({0})")]
    Unfit(&'static str),
    /// The code was used before, or is too old.
    #[error("the identity provider does not take the code")]
    Code,
    #[error("the identity provider's token is not believed ({0})")]
    Token(Fault),
}

impl Trouble {
    /// A word of a closed set, for the log and the audit log.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Away(code) | Self::Unfit(code) => code,
            Self::Code => "code",
            Self::Token(fault) => fault.as_str(),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Token(fault)
    }
}

/// What the token end point gives (RFC 6749, 5.1). The access token is of no use here.
#[derive(Deserialize)]
struct Given {
    id_token: Secret,
}

/// ... and how it refuses (RFC 6749, 5.2).
#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl IdentityProvider {
    /// The provider of these settings, whose browsers come back to `public_url`. Connects on first use.
    ///
    /// # Errors
    /// TLS cannot be set up on this machine.
    pub fn new(settings: &OidcSection, public_url: &str) -> Result<Self, NoTls> {
        Ok(Self {
            client: client::builder(TIMEOUT).build().map_err(|_| NoTls)?,
            settings: settings.clone(),
            redirect_uri: format!("{}{}", public_url.trim_end_matches('/'), OidcSection::CALLBACK),
            document: Kept::default(),
            keys: Kept::default(),
        })
    }

    /// Where browsers come back to; registered at the provider.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Who signs, as it stands in tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Where a browser is sent to sign in.
    ///
    /// # Errors
    /// The provider's document cannot be had.
    pub async fn door(&self, attempt: &Attempt) -> Result<Url, Trouble> {
        let document = self.document().await?;
        let mut url = document.authorization_endpoint.clone();
        let settings = &self.settings;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &settings.scopes.join(" "))
            .append_pair("state", &attempt.state())
            .append_pair("nonce", &attempt.nonce())
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        if let Some(max_age) = settings.max_age {
            url.query_pairs_mut().append_pair("max_age", &max_age.as_secs().to_string());
        }
        if !settings.acr.is_empty() {
            url.query_pairs_mut().append_pair("acr_values", &settings.acr.join(" "));
        }
        Ok(url)
    }

    /// Whether `issuer`, as an answer names it, fits (RFC 9207): an answer of another provider is none of this one.
    ///
    /// # Errors
    /// The provider's document cannot be had.
    pub async fn answers_for(&self, issuer: Option<&str>) -> Result<bool, Trouble> {
        match issuer {
            Some(issuer) => Ok(issuer == self.settings.issuer),
            None => Ok(!self.document().await?.names_issuer),
        }
    }

    /// Whom the provider vouches for by this code. `now` is the ledger's clock.
    ///
    /// # Errors
    /// It cannot be reached, refuses the code, or its token is not believed.
    pub async fn prove(&self, attempt: &Attempt, code: &str, now: Timestamp) -> Result<Proved, Trouble> {
        let token = self.exchange(attempt, code).await?;
        let claims = self.verified(token.expose()).await?;
        let settings = &self.settings;
        let expected = Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            nonce: &attempt.nonce(),
            skew: settings.skew,
            max_age: settings.max_age,
            acr: &settings.acr,
        };
        let subject = judge(&claims, &expected, now)?;
        let groups = groups(&claims, &settings.groups_claim);
        let name = name(&claims, &settings.name_claim);
        let binds = name.as_ref().is_some_and(|name| binds(&claims, name));
        Ok(Proved { subject, name, binds, groups })
    }

    /// Where a browser is sent to be signed out at the provider too (OpenID Connect RP-Initiated Logout 1.0). `None`: that
    /// is not asked for, or the provider has no such place.
    pub async fn way_out(&self) -> Option<Url> {
        if !self.settings.sign_out {
            return None;
        }
        let mut url = self.document().await.ok()?.end_session_endpoint.clone()?;
        let home = self.redirect_uri.strip_suffix(OidcSection::CALLBACK).unwrap_or_default();
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", &format!("{home}/"));
        Some(url)
    }

    async fn document(&self) -> Result<std::sync::Arc<Document>, Trouble> {
        self.document.get(|_| true, Document::fetch(&self.client, &self.settings.issuer)).await
    }

    async fn exchange(&self, attempt: &Attempt, code: &str) -> Result<Secret, Trouble> {
        let document = self.document().await?;
        let verifier = attempt.verifier();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &verifier),
        ];
        let mut request = self.client.post(document.token_endpoint.clone());
        let client_id = self.settings.client_id.as_str();
        match (&self.settings.client_secret, document.auth_method) {
            (Some(secret), AuthMethod::Basic) => {
                // RFC 6749, 2.3.1: both are encoded as in a form first.
                request = request.basic_auth(encoded(client_id), Some(encoded(secret.expose())));
            }
            (Some(secret), AuthMethod::Post) => {
                form.extend([("client_id", client_id), ("client_secret", secret.expose())]);
            }
            (None, _) => form.push(("client_id", client_id)),
        }
        let (status, body) = exchange(request.form(&form)).await?;
        if status.is_success() {
            let given: Given = serde_json::from_slice(&body).map_err(|_| Trouble::Unfit("token_answer"))?;
            return Ok(given.id_token);
        }
        let refused = serde_json::from_slice::<Refused>(&body).map(|refused| refused.error);
        Err(match refused.as_deref() {
            Ok("invalid_grant") => Trouble::Code,
            Ok("invalid_client" | "unauthorized_client") => Trouble::Unfit("client_refused"),
            _ => unwell(status, "token_refused"),
        })
    }
}

/// As a value of a form.
fn encoded(text: &str) -> String {
    let url = Url::parse_with_params("http://localhost/", [("", text)]).ok();
    url.and_then(|url| url.query()?.strip_prefix('=').map(str::to_owned)).unwrap_or_default()
}

/// Sends one request and reads the answer, whatever its status.
async fn exchange(request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), Trouble> {
    let mut response = request.send().await.map_err(|error| no_answer(&error))?;
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Trouble::Unfit("answer_too_long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

fn no_answer(error: &reqwest::Error) -> Trouble {
    Trouble::Away(if error.is_dns() {
        "dns"
    } else if error.is_connect() {
        "connect"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "connection_lost"
    })
}

/// What a refusal without a name of its own means.
fn unwell(status: StatusCode, refused: &'static str) -> Trouble {
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => Trouble::Away("unwell"),
        _ => Trouble::Unfit(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_encoded_as_in_a_form() {
        assert_eq!(encoded("a b&c=d:e/%\u{e9}"), "a+b%26c%3Dd%3Ae%2F%25%C3%A9");
        assert_eq!(encoded("plain-1_2.3"), "plain-1_2.3");
    }
}
