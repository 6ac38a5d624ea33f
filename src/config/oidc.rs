//! `[console.oidc]`: people sign in through an identity provider (OpenID Connect Core 1.0, authorization code with PKCE).

use std::time::Duration;

use reqwest::Url;
use toml::Value;

use super::fault::Broken;
use super::kind::{Flag, Parsed, Span, one_of, text, word};
use super::read::Section;
use super::rules;
use super::secret::Secret;
use super::site::site_id;
use crate::domain::ids::SiteId;
use crate::domain::people::{GroupRule, Role};
use crate::domain::words::words;

words! {
    /// What becomes of somebody whom the provider vouches for and who has no account here yet.
    Newcomers {
        /// They get one, with the role that their groups give.
        Made = "made",
        /// They are refused: an administrator makes accounts.
        Refused = "refused",
    }
}

words! {
    /// How an ID token may be signed (RFC 7518, 3.1; RFC 8037): with keys of which only the provider has the half that
    /// signs. `none` and secrets that both sides share are none of these.
    Signing {
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

word!(Newcomers, Signing, Role);

/// An identity provider, and what it may decide.
#[derive(Clone, Debug)]
pub struct OidcSection {
    /// As the provider writes it into its tokens, to the letter.
    pub issuer: String,
    pub client_id: String,
    /// `None`: a public client; PKCE is used in either case.
    pub client_secret: Option<Secret>,
    /// What the button says.
    pub name: String,
    /// What is asked for; `openid` among it.
    pub scopes: Vec<String>,
    /// The claim that an account is named after, at its first sign-in.
    pub name_claim: String,
    /// The claim with the groups; dots lead into objects.
    pub groups_claim: String,
    pub newcomers: Newcomers,
    pub algorithms: Vec<Signing>,
    /// By so much the provider's clock and the ledger's may differ.
    pub skew: Duration,
    /// How long ago the provider may have asked for credentials.
    pub max_age: Option<Duration>,
    /// The classes of authentication that count; none: every one.
    pub acr: Vec<String>,
    /// Whether signing out here signs out there too.
    pub sign_out: bool,
    /// Which group opens what, the first that fits before others; none: accounts keep the roles that they were given here.
    pub groups: Vec<GroupRule>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl OidcSection {
    /// Where the browser comes back to, below the public address.
    pub const CALLBACK: &'static str = "/v1/session/oidc/callback";

    /// Whether the groups at this provider say what an account may do that is linked to `issuer`. Then nothing else opens it.
    #[must_use]
    pub fn decides(&self, issuer: Option<&str>) -> bool {
        !self.groups.is_empty() && issuer == Some(self.issuer.as_str())
    }

    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let issuer = s.required("issuer", text(issuer));
        let client_id = s.required("client_id", text(rules::line));
        let client_secret = s.secret("client_secret");
        let scopes = listed(s, "scopes", &["openid", "profile"], text(scope));
        if !scopes.iter().any(|scope| scope == "openid") {
            s.fault(
                "scopes",
                Broken::new("must hold openid", "add \"openid\": without it there is no token"),
            );
        }
        let groups = s.items("group", "name", rules::line, group).into_iter().flatten().collect::<Vec<_>>();
        let newcomers = s.or("newcomers", one_of(), Newcomers::Refused);
        if newcomers == Newcomers::Made && groups.is_empty() {
            let cure = "add a [[console.oidc.group]] with a role, or set newcomers = \"refused\"";
            s.fault("newcomers", Broken::new("needs groups: whoever is new has a role by them alone", cure));
        }
        let algorithms = listed(s, "algorithms", &[Signing::Rs256, Signing::Es256], one_of());
        let section = Self {
            issuer: issuer.unwrap_or_default(),
            client_id: client_id.unwrap_or_default(),
            client_secret,
            name: s.or("name", text(rules::line), "your organisation".to_owned()),
            scopes,
            name_claim: s.or("name_claim", text(rules::line), "preferred_username".to_owned()),
            groups_claim: s.or("groups_claim", text(rules::line), "groups".to_owned()),
            newcomers,
            algorithms,
            skew: s.or("skew", Span(Duration::ZERO..=MINUTE * 10), MINUTE),
            max_age: s.optional("max_age", Span(SECOND..=MINUTE * 60 * 24 * 30)),
            acr: s.list("acr", text(scope)).unwrap_or_default(),
            sign_out: s.or("sign_out", Flag, false),
            groups,
        };
        (!section.issuer.is_empty() && !section.client_id.is_empty()).then_some(section)
    }
}

/// A list that is never empty.
fn listed<T: Clone, D: Clone + Into<T>>(
    s: &mut Section<'_>,
    key: &str,
    default: &[D],
    kind: Parsed<T>,
) -> Vec<T> {
    let default: Vec<T> = default.iter().cloned().map(Into::into).collect();
    let shown = default.iter().map(|value| Value::String((kind.show)(value))).collect();
    match s.list(key, kind) {
        Some(values) if !values.is_empty() => values,
        Some(_) => {
            // What was wrong with its items is told already.
            if s.lists_nothing(key) {
                s.fault(key, Broken::new("must not be empty", "name one, or leave it out"));
            }
            default
        }
        None => {
            s.show(key, Value::Array(shown));
            default
        }
    }
}

fn group(name: String, s: &mut Section<'_>) -> Option<GroupRule> {
    let role = s.required("role", one_of())?;
    let sites: Vec<SiteId> =
        s.list("sites", Parsed { parse: site_id, show: SiteId::to_string }).unwrap_or_default();
    if role == Role::Admin && !sites.is_empty() {
        let rule = "must be left out for the role admin, which cannot be limited to sites";
        s.fault("sites", Broken::new(rule, "leave it out, or choose another role"));
    }
    Some(GroupRule { group: name, role, sites })
}

/// An issuer (OpenID Connect Core 1.0, 2): an https URL without query or fragment, kept to the letter.
fn issuer(text: &str) -> Result<String, Broken> {
    rules::web_url(text)?;
    if Url::parse(text).is_ok_and(|url| url.query().is_some()) {
        return Err(Broken::new(
            "must have no query",
            "write the issuer as the provider's own document does",
        ));
    }
    Ok(text.to_owned())
}

/// One word of a list that is parted by spaces (RFC 6749, 3.3).
fn scope(text: &str) -> Result<String, Broken> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if plain && (1..=128).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(Broken::new("must be one word", "give each word as an item of its own"))
}
