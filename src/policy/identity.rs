//! Whether an ID token whose signature is good may be believed (OpenID Connect Core 1.0, 3.1.3.7), and what the groups in
//! it open.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::domain::credential::same;
use crate::domain::ids::UserName;
use crate::domain::people::{Granted, GroupRule};
use crate::domain::words::words;

/// A token comes straight from the provider, so it was made a moment ago: an older one is somebody else's.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// Characters of a subject at most (OpenID Connect Core 1.0, 2).
const MAX_SUBJECT: usize = 255;
/// Groups that are looked at.
const MAX_GROUPS: usize = 2_000;

words! {
    /// Why a token is not believed. Stands in the log and in the audit log.
    Fault {
        Unreadable = "unreadable",
        /// Signed in a way that is not on the list.
        Algorithm = "algorithm",
        /// By no key that the provider has published.
        Key = "key",
        Signature = "signature",
        Issuer = "issuer",
        /// Meant for another program.
        Audience = "audience",
        /// Given to another program.
        Party = "authorized_party",
        Expired = "expired",
        NotYet = "not_yet_valid",
        /// Made too long ago, or in times to come.
        IssuedAt = "issued_at",
        /// Not the answer to what this browser asked.
        Nonce = "nonce",
        Subject = "subject",
        /// The provider asked for credentials too long ago, or does not say when.
        AuthTime = "auth_time",
        /// The class of authentication is none that counts.
        Acr = "acr",
    }
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    pub issuer: &'e str,
    pub client_id: &'e str,
    pub nonce: &'e str,
    pub skew: Duration,
    pub max_age: Option<Duration>,
    /// None: every class.
    pub acr: &'e [String],
}

/// The subject of claims that may be believed at `now`.
///
/// # Errors
/// The first rule that they break.
pub fn judge(claims: &Map<String, Value>, expected: &Expected<'_>, now: Timestamp) -> Result<String, Fault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(Fault::Issuer);
    }
    meant_for(claims, expected.client_id)?;
    in_time(claims, expected, now)?;
    if !text("nonce").is_some_and(|nonce| same(nonce.as_bytes(), expected.nonce.as_bytes())) {
        return Err(Fault::Nonce);
    }
    if !expected.acr.is_empty() && !text("acr").is_some_and(|acr| expected.acr.iter().any(|one| one == acr)) {
        return Err(Fault::Acr);
    }
    text("sub").filter(|sub| is_subject(sub)).map(str::to_owned).ok_or(Fault::Subject)
}

/// Whether a provider may know somebody by it (OpenID Connect Core 1.0, 2).
#[must_use]
pub fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// For us; and where it is for others too, given to us.
fn meant_for(claims: &Map<String, Value>, client_id: &str) -> Result<(), Fault> {
    let (ours, several) = match claims.get("aud") {
        Some(Value::String(one)) => (one == client_id, false),
        Some(Value::Array(all)) => (all.iter().any(|one| one.as_str() == Some(client_id)), all.len() > 1),
        _ => (false, false),
    };
    if !ours {
        return Err(Fault::Audience);
    }
    match claims.get("azp") {
        None if several => Err(Fault::Party),
        Some(party) if party.as_str() != Some(client_id) => Err(Fault::Party),
        _ => Ok(()),
    }
}

fn in_time(claims: &Map<String, Value>, expected: &Expected<'_>, now: Timestamp) -> Result<(), Fault> {
    let skew = length(expected.skew);
    let since = |at: Timestamp| now.duration_since(at);
    let expires = instant(claims, "exp").flatten().ok_or(Fault::Expired)?;
    if since(expires) >= skew {
        return Err(Fault::Expired);
    }
    match instant(claims, "nbf") {
        None => {}
        Some(Some(begins)) if since(begins) >= -skew => {}
        Some(_) => return Err(Fault::NotYet),
    }
    let issued = since(instant(claims, "iat").flatten().ok_or(Fault::IssuedAt)?);
    if issued < -skew || issued > FRESH + skew {
        return Err(Fault::IssuedAt);
    }
    let Some(max_age) = expected.max_age else { return Ok(()) };
    let shown = since(instant(claims, "auth_time").flatten().ok_or(Fault::AuthTime)?);
    if shown > length(max_age) + skew { Err(Fault::AuthTime) } else { Ok(()) }
}

/// Seconds since 1970 (RFC 7519, 2: NumericDate). `None`: it is not there; `Some(None)`: it is none.
fn instant(claims: &Map<String, Value>, name: &str) -> Option<Option<Timestamp>> {
    let value = claims.get(name)?;
    let seconds = value.as_i64().map(SignedDuration::from_secs);
    let seconds = seconds.or_else(|| SignedDuration::try_from_secs_f64(value.as_f64()?).ok());
    Some(seconds.and_then(|seconds| Timestamp::from_duration(seconds).ok()))
}

fn length(of: Duration) -> SignedDuration {
    SignedDuration::try_from(of).unwrap_or(SignedDuration::MAX)
}

/// What an account is named after: the claim in lower case, if it can be a name. An address of mail that the provider
/// has not verified names nobody: whoever may write their own could take somebody else's.
#[must_use]
pub fn name(claims: &Map<String, Value>, claim: &str) -> Option<UserName> {
    let verified = claims.get("email_verified").and_then(Value::as_bool).unwrap_or(false);
    if claim == "email" && !verified {
        return None;
    }
    UserName::parse(&claims.get(claim)?.as_str()?.to_lowercase())
}

/// Whether an account that waits for whoever comes by this name is theirs by it. A name that is an address of mail must be
/// the one that the provider has verified: in many places people may write their own names.
#[must_use]
pub fn binds(claims: &Map<String, Value>, name: &UserName) -> bool {
    let verified = claims.get("email_verified").and_then(Value::as_bool).unwrap_or(false);
    let mail = claims.get("email").and_then(Value::as_str).unwrap_or_default();
    !name.as_str().contains('@') || verified && mail.to_lowercase() == name.as_str()
}

/// The groups in a claim: a list or one alone. A name with dots that is no claim itself leads into objects.
#[must_use]
pub fn groups(claims: &Map<String, Value>, claim: &str) -> Vec<String> {
    let inside = || {
        let mut parts = claim.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    };
    match claims.get(claim).or_else(inside) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => {
            all.iter().take(MAX_GROUPS).filter_map(|one| one.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

/// What groups open: the role of the first rule that fits, at the sites of all rules of that role that fit. `None`:
/// nothing.
#[must_use]
pub fn granted(rules: &[GroupRule], groups: &[String]) -> Option<Granted> {
    let mut fitting = rules.iter().filter(|rule| groups.contains(&rule.group));
    let first = fitting.next()?;
    let mut granted = Granted { role: first.role, sites: first.sites.clone() };
    for rule in fitting.filter(|rule| rule.role == first.role) {
        if granted.sites.is_empty() || rule.sites.is_empty() {
            granted.sites.clear();
            break;
        }
        let more =
            rule.sites.iter().filter(|site| !granted.sites.contains(site)).cloned().collect::<Vec<_>>();
        granted.sites.extend(more);
    }
    Some(granted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::SiteId;
    use crate::domain::people::Role;

    const NOW: i64 = 1_800_000_000;

    fn good() -> Map<String, Value> {
        let claims = json!({
            "iss": "https://login.example.org", "aud": "outreachd", "sub": "u-17", "nonce": "n",
            "iat": NOW - 5, "exp": NOW + 300,
        });
        claims.as_object().unwrap().clone()
    }

    fn judged(change: Value, max_age: Option<Duration>, acr: &[String]) -> Result<String, Fault> {
        let mut claims = good();
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        let expected = Expected {
            issuer: "https://login.example.org",
            client_id: "outreachd",
            nonce: "n",
            skew: Duration::from_secs(60),
            max_age,
            acr,
        };
        judge(&claims, &expected, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn a_token_is_believed_only_where_every_rule_is_kept() {
        for (change, expected) in [
            (json!({}), None),
            (json!({"iss": "https://login.example.org/"}), Some(Fault::Issuer)),
            (json!({"iss": null}), Some(Fault::Issuer)),
            (json!({"aud": "other"}), Some(Fault::Audience)),
            (json!({"aud": null}), Some(Fault::Audience)),
            (json!({"aud": []}), Some(Fault::Audience)),
            (json!({"aud": {"outreachd": true}}), Some(Fault::Audience)),
            (json!({"aud": ["outreachd"]}), None),
            (json!({"aud": ["outreachd", "other"]}), Some(Fault::Party)),
            (json!({"aud": ["outreachd", "other"], "azp": "outreachd"}), None),
            (json!({"azp": "other"}), Some(Fault::Party)),
            (json!({"azp": 7}), Some(Fault::Party)),
            (json!({"exp": null}), Some(Fault::Expired)),
            (json!({"exp": "soon"}), Some(Fault::Expired)),
            (json!({"exp": 1e300}), Some(Fault::Expired)),
            (json!({"exp": NOW - 59}), None),
            (json!({"exp": NOW - 60}), Some(Fault::Expired)),
            (json!({"exp": 1_800_000_000.5}), None),
            (json!({"nbf": NOW + 60}), None),
            (json!({"nbf": NOW + 61}), Some(Fault::NotYet)),
            (json!({"nbf": "x"}), Some(Fault::NotYet)),
            (json!({"iat": null}), Some(Fault::IssuedAt)),
            (json!({"iat": NOW + 60}), None),
            (json!({"iat": NOW + 61}), Some(Fault::IssuedAt)),
            (json!({"iat": NOW - 661}), Some(Fault::IssuedAt)),
            (json!({"iat": NOW - 660}), None),
            (json!({"nonce": "m"}), Some(Fault::Nonce)),
            (json!({"nonce": null}), Some(Fault::Nonce)),
            (json!({"sub": null}), Some(Fault::Subject)),
            (json!({"sub": ""}), Some(Fault::Subject)),
            (json!({"sub": 17}), Some(Fault::Subject)),
            (json!({"sub": "a b"}), None),
            (json!({"sub": "x".repeat(255)}), None),
            (json!({"sub": "x".repeat(256)}), Some(Fault::Subject)),
            (json!({"sub": "a\u{e9}"}), Some(Fault::Subject)),
        ] {
            assert_eq!(judged(change.clone(), None, &[]).err(), expected, "{change}");
        }
        let hour = Some(Duration::from_secs(3_600));
        for (change, expected) in [
            (json!({}), Some(Fault::AuthTime)),
            (json!({"auth_time": NOW - 3_660}), None),
            (json!({"auth_time": NOW - 3_661}), Some(Fault::AuthTime)),
        ] {
            assert_eq!(judged(change.clone(), hour, &[]).err(), expected, "{change}");
        }
        let strong = ["mfa".to_owned()];
        assert_eq!(judged(json!({}), None, &strong).err(), Some(Fault::Acr));
        assert_eq!(judged(json!({"acr": "pwd"}), None, &strong).err(), Some(Fault::Acr));
        assert_eq!(judged(json!({"acr": "mfa"}), None, &strong), Ok("u-17".to_owned()));
    }

    #[test]
    fn a_name_is_one_that_the_provider_vouches_for() {
        let claims = |value: Value| value.as_object().unwrap().clone();
        for (from, claim, expected) in [
            (
                json!({"preferred_username": "Ana.Ruiz@Example.org"}),
                "preferred_username",
                Some("ana.ruiz@example.org"),
            ),
            (json!({"preferred_username": "Ana Ruiz"}), "preferred_username", None),
            (json!({"preferred_username": 7}), "preferred_username", None),
            (json!({"email": "ana@example.org"}), "email", None),
            (json!({"email": "ana@example.org", "email_verified": false}), "email", None),
            (json!({"email": "ana@example.org", "email_verified": "true"}), "email", None),
            (json!({"email": "ana@example.org", "email_verified": true}), "email", Some("ana@example.org")),
        ] {
            let name = name(&claims(from.clone()), claim);
            assert_eq!(name.as_ref().map(UserName::as_str), expected, "{from}");
        }
        let cho = UserName::parse("cho@example.org").unwrap();
        for (from, expected) in [
            (json!({}), false),
            (json!({"email": "cho@example.org"}), false),
            (json!({"email": "cho@example.org", "email_verified": false}), false),
            (json!({"email": "eve@example.org", "email_verified": true}), false),
            (json!({"email_verified": true}), false),
            (json!({"email": "Cho@Example.org", "email_verified": true}), true),
        ] {
            assert_eq!(binds(&claims(from.clone()), &cho), expected, "{from}");
        }
        assert!(binds(&claims(json!({})), &UserName::parse("cho").unwrap()), "no address");
    }

    #[test]
    fn groups_are_found_where_providers_write_them() {
        let claims = json!({
            "groups": ["a", 7, "b"], "role": "one", "realm_access": {"roles": ["x"]},
            "https://example.org/groups": ["y"],
        });
        let claims = claims.as_object().unwrap();
        for (claim, expected) in [
            ("groups", vec!["a", "b"]),
            ("role", vec!["one"]),
            ("realm_access.roles", vec!["x"]),
            ("https://example.org/groups", vec!["y"]),
            ("realm_access", vec![]),
            ("nothing.there", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(groups(claims, claim), expected, "{claim}");
        }
    }

    #[test]
    fn the_first_rule_gives_the_role_and_its_like_add_their_sites() {
        let site = |id: &str| SiteId::parse(id).unwrap();
        let rule = |group: &str, role, sites: &[&str]| GroupRule {
            group: group.to_owned(),
            role,
            sites: sites.iter().map(|id| site(id)).collect(),
        };
        let rules = [
            rule("admins", Role::Admin, &[]),
            rule("north", Role::Operator, &["n"]),
            rule("south", Role::Operator, &["s", "n"]),
            rule("everywhere", Role::Operator, &[]),
            rule("all", Role::Viewer, &[]),
        ];
        for (of, expected) in [
            (&["nobody"][..], None),
            (&[], None),
            (&["NORTH"], None),
            (&["all"], Some((Role::Viewer, vec![]))),
            (&["all", "north"], Some((Role::Operator, vec!["n"]))),
            (&["south", "north"], Some((Role::Operator, vec!["n", "s"]))),
            (&["north", "everywhere"], Some((Role::Operator, vec![]))),
            (&["north", "admins"], Some((Role::Admin, vec![]))),
        ] {
            let of: Vec<String> = of.iter().map(|group| (*group).to_owned()).collect();
            let expected =
                expected.map(|(role, sites)| Granted { role, sites: sites.into_iter().map(site).collect() });
            assert_eq!(granted(&rules, &of), expected, "{of:?}");
        }
    }
}
