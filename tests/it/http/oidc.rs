//! Signing in through an identity provider, as a browser does it; and every answer of one that must not be believed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use outreachd::app;
use outreachd::domain::credential::{PasswordHash, TotpSecret};
use outreachd::domain::ids::UserName;
use outreachd::domain::people::Role;
use outreachd::store::people::{Link, User, UserChange};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};

use super::api::{Answer, Api, send};
use super::people::Someone;
use crate::support::identity_provider::{CLIENT, FakeProvider, Forge, SECRET, Signer};

/// Below a path of a proxy that nobody asks here.
const PUBLIC: &str = "http://127.0.0.1:9/outreach";

/// Somebody at a screen. It follows no redirect by itself.
struct Browser {
    client: reqwest::Client,
    cookie: String,
}

impl Browser {
    fn new() -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { client: client.build().unwrap(), cookie: String::new() }
    }

    async fn get(&self, url: &str) -> Answer {
        send(self.client.get(url).header("cookie", &self.cookie)).await
    }

    /// To the provider and back: the query that it sends the browser back with.
    async fn out(&mut self, api: &Api) -> String {
        let sent = self.get(&format!("http://{}/v1/session/oidc", api.worker.http)).await;
        sent.expect(303);
        let cookie = sent.headers["set-cookie"].to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Lax", "Path=/outreach/v1/session/oidc", "Max-Age=600"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        self.cookie = cookie.split(';').next().unwrap().to_owned();
        let there = sent.headers["location"].to_str().unwrap();
        let secret = self.cookie.split_once('=').unwrap().1;
        assert!(!there.contains(secret), "the browser's secret is told nobody");
        let back = self.get(there).await;
        assert_eq!(back.status, 302, "{}", back.text);
        let back = Url::parse(back.headers["location"].to_str().unwrap()).unwrap();
        assert_eq!(back.as_str().split('?').next().unwrap(), format!("{PUBLIC}/v1/session/oidc/callback"));
        back.query().unwrap().to_owned()
    }

    async fn back(&self, api: &Api, query: &str) -> Answer {
        self.get(&format!("http://{}/v1/session/oidc/callback?{query}", api.worker.http)).await
    }

    /// The whole way: the session's token, or the word for why there is none.
    async fn sign_in(&mut self, api: &Api) -> Result<Someone, String> {
        let query = self.out(api).await;
        entered(&self.back(api, &query).await)
    }
}

fn entered(answer: &Answer) -> Result<Someone, String> {
    answer.expect(303);
    let cookies: Vec<&str> =
        answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(
        cookies.iter().any(|c| c.starts_with("outreachd-sign-in=;") && c.contains("Max-Age=0")),
        "{cookies:?}"
    );
    let to = answer.headers["location"].to_str().unwrap();
    let session = cookies.iter().find_map(|cookie| cookie.strip_prefix("outreachd="));
    // Whoever is refused is not left as whom the browser was signed in as before.
    let session = session.filter(|session| !session.starts_with("; ") || !session.contains("Max-Age=0"));
    match to.strip_prefix("../../../#/signin?failed=") {
        Some(word) => {
            assert!(session.is_none(), "{cookies:?}");
            Err(word.to_owned())
        }
        None => {
            assert_eq!(to, "../../../");
            let session = session.unwrap();
            assert!(session.contains("SameSite=Strict") && session.contains("Path=/outreach;"), "{session}");
            Ok(Someone::of(session.split(';').next().unwrap()))
        }
    }
}

fn settings(provider: &FakeProvider, more: &str) -> String {
    format!(
        r#"
        [[site]]
        id = "lakeside-south"
        name = "Lakeside South"
        phone = "+13125550101"
        [console.oidc]
        issuer = "{}"
        client_id = "{CLIENT}"
        client_secret = "{SECRET}"
        name = "Lakeside"
        newcomers = "made"
        sign_out = true
        {more}
        [[console.oidc.group]]
        name = "oncall"
        role = "operator"
        [[console.oidc.group]]
        name = "north"
        role = "viewer"
        sites = ["lakeside-north"]
        [[console.oidc.group]]
        name = "south"
        role = "viewer"
        sites = ["lakeside-south"]
        [[console.oidc.group]]
        name = "audit"
        role = "admin"
        "#,
        provider.issuer
    )
}

async fn open(provider: &FakeProvider, more: &str) -> Api {
    Api::open(&format!("public_url = \"{PUBLIC}\""), &settings(provider, more)).await
}

/// What the audit log says last, for somebody who may read it.
async fn last(api: &Api, root: &Someone) -> (String, String, String, String) {
    let log = root.get(api, "/v1/audit?limit=1").await.expect(200);
    let text = |name: &str| log["audit"][0][name].as_str().unwrap().to_owned();
    (text("who"), text("act"), text("subject"), text("detail"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_provider_vouches_for_has_the_role_of_their_groups() {
    let provider = FakeProvider::start().await;
    let api = open(&provider, "").await;
    let root = Someone::with(&api, "root", Role::Admin, &[]).await;
    let person = |name: &str, groups: &[&str]| json!({"sub": format!("sub of {name}"), "preferred_username": name, "groups": groups});
    let told = api.get("/v1/session").await.expect(200);
    assert_eq!(told, json!({"signed_in": false, "password": true, "oidc": "Lakeside"}));
    let examined = app::identity_provider(&api.worker.config).unwrap().unwrap().examine().await;
    assert!(examined.is_empty(), "{examined:?}");

    // Somebody new, who then changes their place, and their name.
    let mut ana = Browser::new();
    provider.person(person("Ana@Example.org", &["staff", "south", "north"]));
    let session = ana.sign_in(&api).await.unwrap();
    let told = session.get(&api, "/v1/session").await.expect(200);
    assert_eq!((&told["name"], &told["role"]), (&json!("ana@example.org"), &json!("viewer")));
    assert_eq!(told["sites"], json!(["lakeside-north", "lakeside-south"]));
    assert_eq!(told["idle_seconds"], 1800, "signed out as everybody is");
    let entry = last(&api, &root).await;
    assert_eq!((entry.0.as_str(), entry.1.as_str()), ("ana@example.org", "session.open"));
    assert_eq!(entry.3, "oidc, as viewer at lakeside-north, lakeside-south");
    let made = api
        .count("SELECT count(*) FROM audit WHERE act = 'user.add' AND who = 'oidc:sub of Ana@Example.org'")
        .await;
    assert_eq!(made, 1);
    let mut moved = person("Ana@Example.org", &["oncall", "north"]);
    moved["preferred_username"] = json!("ana.ruiz@example.org");
    provider.person(moved);
    let session = ana.sign_in(&api).await.unwrap();
    let told = session.get(&api, "/v1/session").await.expect(200);
    assert_eq!(told["name"], "ana@example.org", "known by the subject, whatever the name is");
    assert_eq!((&told["role"], &told["sites"]), (&json!("operator"), &json!([])));

    // Signing out leads to the provider's own.
    let out = session.ask(&api, Method::DELETE, "/v1/session", None).await.expect(200);
    let url = Url::parse(out["continue"].as_str().unwrap()).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert_eq!(url.path(), "/logout");
    assert!(pairs.contains(&("post_logout_redirect_uri".to_owned(), format!("{PUBLIC}/"))), "{pairs:?}");
    session.get(&api, "/v1/holds").await.problem(401);
    root.ask(&api, Method::DELETE, "/v1/session", None).await.expect(204);
    let root = Someone::with(&api, "root2", Role::Admin, &[]).await;

    // Who is refused, and what is on record of it.
    let store = &api.worker.store;
    let mut ben = Browser::new();
    let name = |text: &str| UserName::parse(text).unwrap();
    store.change_user(&name("ana@example.org"), &UserChange::Disable).await.unwrap();
    let password = User {
        name: name("ben"),
        role: Role::Viewer,
        sites: Vec::new(),
        password: PasswordHash::new("correct horse battery staple", [3; 16]).unwrap(),
        totp: TotpSecret::from_bits([1; 20]),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        disabled_at: None,
        link: None,
    };
    store.add_user(&password).await.unwrap();
    let by_password = async |ahead: i64| {
        let code = password.totp.code(TotpSecret::step(store.ping().await.unwrap()) + ahead);
        let body = json!({"name": "ben", "password": "correct horse battery staple", "code": code});
        api.post("/v1/session", &body).await
    };
    by_password(0).await.expect(200);
    for (person, word, who, subject) in [
        (person("Ana@Example.org", &["oncall"]), "disabled", "ana@example.org", "ana@example.org"),
        (person("ben", &["oncall"]), "taken", "oidc:sub of ben", "ben"),
        (person("cho", &["staff"]), "role", "oidc:sub of cho", "cho"),
        (json!({"sub": "x", "groups": "oncall"}), "name", "oidc:x", ""),
        (person("local", &["oncall"]), "name", "oidc:sub of local", "local"),
    ] {
        provider.person(person);
        assert_eq!(ben.sign_in(&api).await.err().as_deref(), Some(word));
        let entry = last(&api, &root).await;
        assert_eq!((entry.0.as_str(), entry.1.as_str(), entry.2.as_str()), (who, "session.refused", subject));
        assert!(entry.3.starts_with(&format!("oidc: {word}")), "{entry:?}");
    }
    // An administrator says whose it is.
    let link = Link { issuer: provider.issuer.clone(), subject: None };
    store.change_user(&name("ben"), &UserChange::Link(link)).await.unwrap();
    by_password(1).await.problem(403);
    provider.person(person("ben", &["audit"]));
    let session = ben.sign_in(&api).await.unwrap();
    assert_eq!(session.get(&api, "/v1/session").await.expect(200)["role"], "admin");
    // Who has lost their groups is signed out everywhere as soon as the provider says so; and whoever else comes back to a
    // browser in which somebody was signed in ends that, let in or not.
    provider.person(person("ben", &["staff"]));
    assert_eq!(ben.sign_in(&api).await.err().as_deref(), Some("role"));
    assert_eq!(last(&api, &root).await.3, "oidc: role (none of the groups; signed out everywhere)");
    session.get(&api, "/v1/holds").await.problem(401);
    provider.person(person("ben", &["audit"]));
    let session = ben.sign_in(&api).await.unwrap();
    session.get(&api, "/v1/holds").await.expect(200);
    let mut shared = Browser::new();
    provider.person(person("cho", &["staff"]));
    let query = shared.out(&api).await;
    shared.cookie = format!("{}; {}", shared.cookie, session.cookie());
    assert_eq!(entered(&shared.back(&api, &query).await).err().as_deref(), Some("role"));
    session.get(&api, "/v1/holds").await.problem(401);
    provider.person(json!({"sub": "another", "preferred_username": "ben", "groups": ["audit"]}));
    assert_eq!(ben.sign_in(&api).await.err().as_deref(), Some("taken"), "once, and not again");

    // Keys that the provider exchanges are fetched; names of keys that do not exist are not asked for again and again.
    provider.person(person("ben", &["audit"]));
    let asked = provider.asked_for_keys();
    provider.sign_with(&Signer::ec("second"), true);
    assert!(ben.sign_in(&api).await.is_ok());
    assert_eq!(provider.asked_for_keys(), asked + 1);
    provider.sign_with(&Signer::rsa(1, "never published"), false);
    for _ in 0..4 {
        assert_eq!(ben.sign_in(&api).await.err().as_deref(), Some("token"));
    }
    assert_eq!(provider.asked_for_keys(), asked + 1, "not for a minute");
    api.close().await;
}

type Lie = (&'static str, Forge, &'static str);

/// Claims with one of them changed, signed as they should be.
fn claim(name: &'static str, value: Value, fault: &'static str) -> Lie {
    let forge = move |mut claims: Map<String, Value>| {
        match &value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.to_owned(), value.clone())),
        }
        Signer::rsa(0, "first").sign(&claims)
    };
    (name, Arc::new(forge), fault)
}

fn signed(
    what: &'static str,
    fault: &'static str,
    forge: impl Fn(Map<String, Value>) -> String + Send + Sync + 'static,
) -> Lie {
    (what, Arc::new(forge), fault)
}

fn parts(header: &Value, claims: &Map<String, Value>) -> String {
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(header.to_string()), encode(json!(claims).to_string()))
}

/// Tokens that nobody may come in by.
fn lies() -> Vec<Lie> {
    let now = jiff::Timestamp::now().as_second();
    let good = || Signer::rsa(0, "first");
    let with = |header: Header, key: EncodingKey| {
        move |claims: Map<String, Value>| jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };
    let modulus = good().public()["n"].as_str().unwrap().to_owned();
    let hs256 = |secret: Vec<u8>| {
        with(
            Header { kid: Some("first".to_owned()), ..Header::new(Algorithm::HS256) },
            EncodingKey::from_secret(&secret),
        )
    };
    let stranger = Signer::rsa(1, "first");
    let crit = Header { crit: Some(vec!["exp".to_owned()]), ..good().header() };
    let own: jsonwebtoken::jwk::Jwk = serde_json::from_value(Signer::rsa(1, "own").public()).unwrap();
    let own = Header { jwk: Some(own), kid: Some("own".to_owned()), ..good().header() };
    let rs384 = Header { alg: Algorithm::RS384, ..good().header() };
    let ec = Signer::ec("first");
    vec![
        signed("alg none", "unreadable", |claims| {
            parts(&json!({"alg": "none", "kid": "first"}), &claims) + "."
        }),
        signed("alg None, with the signature of another token", "unreadable", move |claims| {
            let token = Signer::rsa(0, "first").sign(&claims);
            format!("{}.{}", parts(&json!({"alg": "None"}), &claims), token.rsplit('.').next().unwrap())
        }),
        signed(
            "HS256 with the public key as the secret",
            "algorithm",
            hs256(URL_SAFE_NO_PAD.decode(&modulus).unwrap()),
        ),
        signed("... as it is written", "algorithm", hs256(modulus.clone().into_bytes())),
        signed("HS256 with the client's secret", "algorithm", hs256(SECRET.as_bytes().to_vec())),
        signed("another key under a known name", "signature", move |claims| stranger.sign(&claims)),
        signed("a key that it brings along", "key", with(own, Signer::rsa(1, "own").key)),
        signed("a key for encryption", "key", |claims| Signer::rsa(2, "encrypts").sign(&claims)),
        signed(
            "no name of a key, where there are several",
            "key",
            with(Header { kid: None, ..good().header() }, good().key),
        ),
        signed("an algorithm that is not on the list", "algorithm", with(rs384, good().key)),
        signed("a key of another kind under a known name", "key", move |claims| ec.sign(&claims)),
        signed("what must be understood is not", "unreadable", with(crit, good().key)),
        signed("changed after it was signed", "signature", move |mut claims| {
            let token = Signer::rsa(0, "first").sign(&claims);
            claims.insert("groups".to_owned(), json!(["audit"]));
            let (head, signature) = (token.split('.').next().unwrap(), token.rsplit('.').next().unwrap());
            format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(json!(claims).to_string()))
        }),
        signed("without its signature", "signature", move |claims| {
            let token = Signer::rsa(0, "first").sign(&claims);
            token[..=token.rfind('.').unwrap()].to_owned()
        }),
        signed("of five parts", "unreadable", |_| "e30.e30.e30.e30.e30".to_owned()),
        signed("no token", "unreadable", |_| String::new()),
        claim("iss", json!("https://evil.example"), "issuer"),
        claim("aud", json!("another-client"), "audience"),
        claim("aud", Value::Null, "audience"),
        claim("azp", json!("another-client"), "authorized_party"),
        claim("exp", json!(now - 120), "expired"),
        claim("exp", Value::Null, "expired"),
        claim("nbf", json!(now + 300), "not_yet_valid"),
        claim("iat", json!(now + 300), "issued_at"),
        claim("iat", json!(now - 3_600), "issued_at"),
        claim("nonce", json!("of another browser"), "nonce"),
        claim("nonce", Value::Null, "nonce"),
        claim("sub", Value::Null, "subject"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_by_what_the_provider_did_not_say() {
    let provider = FakeProvider::start().await;
    let api = open(&provider, "[console]\npassword = false").await;
    let root = Someone::with(&api, "root", Role::Admin, &[]).await;
    let encrypts = Signer::rsa(2, "encrypts");
    let mut key = encrypts.public();
    key["use"] = json!("enc");
    provider.publish(key);
    provider.publish(Signer::rsa(1, "another").public());
    provider.person(json!({"sub": "u-17", "preferred_username": "ana", "groups": ["oncall"]}));
    let mut browser = Browser::new();
    for (what, forge, fault) in lies() {
        provider.forge(Some(forge));
        assert_eq!(browser.sign_in(&api).await.err().as_deref(), Some("token"), "{what}");
        assert_eq!(last(&api, &root).await.3, format!("oidc: token ({fault})"), "{what}");
    }
    provider.forge(None);

    // Answers that belong to no attempt of this browser, or to another provider.
    let query = browser.out(&api).await;
    let mut other = Browser::new();
    let others = other.out(&api).await;
    let changed = |name: &str, value: &str| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((known, _)) if known == name => format!("{name}={value}"),
            _ => pair.to_owned(),
        });
        pairs.filter(|pair| !pair.ends_with("=-")).collect::<Vec<_>>().join("&")
    };
    for (lie, word) in [
        (others.clone(), "lost"),
        (changed("state", "x"), "lost"),
        (changed("state", "-"), "lost"),
        (format!("{query}&state=x"), "lost"),
        (changed("iss", "https%3A%2F%2Fevil.example"), "lost"),
        (changed("iss", "-"), "lost"),
        (changed("code", "-"), "provider"),
        (changed("code", "guessed"), "lost"),
        (format!("{}&error=access_denied", changed("code", "-")), "denied"),
        (format!("{query}&error=server_error"), "away"),
    ] {
        assert_eq!(entered(&browser.back(&api, &lie).await).err().as_deref(), Some(word), "{lie}");
    }
    assert_eq!(entered(&Browser::new().back(&api, &query).await).err().as_deref(), Some("lost"), "no cookie");
    // The code of another browser's way does not fit this one's, whatever state is told with it.
    let code = others.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap();
    assert_eq!(
        entered(&browser.back(&api, &changed("code", code)).await).err().as_deref(),
        Some("lost"),
        "PKCE"
    );
    assert!(entered(&browser.back(&api, &query).await).is_ok(), "and this one still counts");
    assert_eq!(entered(&browser.back(&api, &query).await).err().as_deref(), Some("lost"), "once");

    // A provider that is not well, or does not know us.
    let entries = api.count("SELECT count(*) FROM audit").await;
    for (answer, word) in [
        ((401, json!({"error": "invalid_client"})), "provider"),
        ((400, json!({"error": "invalid_grant", "error_description": "Ana"})), "lost"),
        ((503, json!({})), "away"),
        ((200, json!({"access_token": "a"})), "provider"),
        ((200, json!([])), "provider"),
    ] {
        provider.refuse(Some(answer.clone()));
        assert_eq!(browser.sign_in(&api).await.err().as_deref(), Some(word), "{answer:?}");
    }
    provider.refuse(None);
    assert_eq!(
        api.count("SELECT count(*) FROM audit").await,
        entries,
        "what a stranger could send leaves no entry"
    );
    let accounts = api.count("SELECT count(*) FROM users").await;
    assert_eq!(accounts, 2, "of all these only the good one made an account");

    // Passwords open nothing here, and what is not there is said.
    let told = api.get("/v1/session").await.expect(200);
    assert_eq!(told, json!({"signed_in": false, "password": false, "oidc": "Lakeside"}));
    let password = json!({"name": "root", "password": "correct horse battery staple", "code": "000000"});
    api.post("/v1/session", &password).await.problem(403);
    provider.break_down(Some(404));
    let findings = app::identity_provider(&api.worker.config).unwrap().unwrap().examine().await;
    assert!(findings.len() == 1 && findings[0].fatal, "{findings:?}");
    assert!(findings[0].cure.contains("/.well-known/openid-configuration"), "{findings:?}");
    assert!(root.get(&api, "/metrics").await.text.contains("outreachd_sign_ins_refused_total"));
    api.close().await;
}
