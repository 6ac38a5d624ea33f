//! An identity provider on loopback: real HTTP, really signed tokens, and whatever lies a test wants it to tell.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::extract::{Form, Query, State};
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub(crate) const CLIENT: &str = "outreachd";
/// Holds what must be encoded.
pub(crate) const SECRET: &str = "s3cret: +/%";

/// A key that signs, with its name.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) kid: String,
    pub(crate) alg: Algorithm,
    pub(crate) key: EncodingKey,
}

impl Signer {
    /// Making an RSA key takes a moment: three are made once.
    pub(crate) fn rsa(n: usize, kid: &str) -> Self {
        static KEYS: OnceLock<Vec<EncodingKey>> = OnceLock::new();
        let make = || {
            let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
            let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'static>>::as_der(&pair).unwrap();
            let pem = format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                STANDARD.encode(der.as_ref())
            );
            EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
        };
        let keys = KEYS.get_or_init(|| (0..3).map(|_| make()).collect());
        Self { kid: kid.to_owned(), alg: Algorithm::RS256, key: keys[n].clone() }
    }

    pub(crate) fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { kid: kid.to_owned(), alg: Algorithm::ES256, key }
    }

    /// As it is published.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.alg).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn header(&self) -> Header {
        Header { kid: Some(self.kid.clone()), ..Header::new(self.alg) }
    }

    pub(crate) fn sign(&self, claims: &Map<String, Value>) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }
}

/// Makes a token of the claims that would be right.
pub(crate) type Forge = Arc<dyn Fn(Map<String, Value>) -> String + Send + Sync>;

struct Asked {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

#[derive(Default)]
struct Desk {
    issuer: String,
    published: Vec<Value>,
    signer: Option<Signer>,
    /// Who signs in: `sub`, a name, groups.
    person: Value,
    forge: Option<Forge>,
    codes: BTreeMap<String, Asked>,
    /// What the token end point answers in the place of a token.
    refuses: Option<(u16, Value)>,
    /// What is answered by all of it, if not what should be.
    broken: Option<u16>,
    asked_for_keys: u32,
    made: u32,
}

/// It ends with the test.
pub(crate) struct FakeProvider {
    pub(crate) issuer: String,
    desk: Arc<Mutex<Desk>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = State<Arc<Mutex<Desk>>>;

impl FakeProvider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let issuer = format!("http://{address}/realms/clinic");
        let desk = Arc::new(Mutex::new(Desk { issuer: issuer.clone(), ..Desk::default() }));
        let router = Router::new()
            .route("/realms/clinic/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(Arc::clone(&desk));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let provider = Self { issuer, desk, task };
        provider.sign_with(&Signer::rsa(0, "first"), true);
        provider
    }

    /// Signs with this key from now on; `known`: it is published beside the others.
    pub(crate) fn sign_with(&self, signer: &Signer, known: bool) {
        let mut desk = self.desk.lock().unwrap();
        if known {
            desk.published.push(signer.public());
        }
        desk.signer = Some(signer.clone());
    }

    pub(crate) fn publish(&self, key: Value) {
        self.desk.lock().unwrap().published.push(key);
    }

    pub(crate) fn person(&self, person: Value) {
        self.desk.lock().unwrap().person = person;
    }

    pub(crate) fn forge(&self, forge: Option<Forge>) {
        self.desk.lock().unwrap().forge = forge;
    }

    pub(crate) fn refuse(&self, answer: Option<(u16, Value)>) {
        self.desk.lock().unwrap().refuses = answer;
    }

    pub(crate) fn break_down(&self, status: Option<u16>) {
        self.desk.lock().unwrap().broken = status;
    }

    pub(crate) fn asked_for_keys(&self) -> u32 {
        self.desk.lock().unwrap().asked_for_keys
    }
}

fn broken(desk: &Desk) -> Result<(), StatusCode> {
    match desk.broken {
        Some(status) => Err(StatusCode::from_u16(status).unwrap()),
        None => Ok(()),
    }
}

async fn discovery(State(desk): Shared) -> Result<Json<Value>, StatusCode> {
    let desk = desk.lock().unwrap();
    broken(&desk)?;
    let root = desk.issuer.trim_end_matches("/realms/clinic");
    Ok(Json(json!({
        "issuer": desk.issuer, "authorization_endpoint": format!("{root}/authorize?realm=clinic"),
        "token_endpoint": format!("{root}/token"), "jwks_uri": format!("{root}/keys"),
        "end_session_endpoint": format!("{root}/logout"), "response_types_supported": ["code", "id_token"],
        "code_challenge_methods_supported": ["S256"], "scopes_supported": ["openid", "profile"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256"],
        "authorization_response_iss_parameter_supported": true,
    })))
}

async fn keys(State(desk): Shared) -> Result<Json<Value>, StatusCode> {
    let mut desk = desk.lock().unwrap();
    broken(&desk)?;
    desk.asked_for_keys += 1;
    Ok(Json(json!({"keys": desk.published})))
}

/// Whoever comes is signed in at once, and sent back.
async fn authorize(State(desk): Shared, Query(given): Query<BTreeMap<String, String>>) -> Response {
    let mut desk = desk.lock().unwrap();
    let fits = |name: &str, value: &str| assert_eq!(given[name], value, "{name}");
    fits("response_type", "code");
    fits("client_id", CLIENT);
    fits("code_challenge_method", "S256");
    fits("realm", "clinic");
    assert!(given["scope"].split(' ').any(|scope| scope == "openid"));
    desk.made += 1;
    let code = format!("code-{}", desk.made);
    let asked = Asked {
        nonce: given["nonce"].clone(),
        challenge: given["code_challenge"].clone(),
        redirect_uri: given["redirect_uri"].clone(),
    };
    let pairs = [
        ("code", code.as_str()),
        ("state", &given["state"]),
        ("iss", &desk.issuer),
        ("session_state", "x y"),
    ];
    let back = reqwest::Url::parse_with_params(&asked.redirect_uri, pairs).unwrap();
    desk.codes.insert(code, asked);
    (StatusCode::FOUND, [(LOCATION, back.to_string())]).into_response()
}

async fn token(
    State(desk): Shared,
    headers: HeaderMap,
    Form(given): Form<BTreeMap<String, String>>,
) -> Response {
    let mut desk = desk.lock().unwrap();
    if let Err(status) = broken(&desk) {
        return status.into_response();
    }
    if let Some((status, body)) = &desk.refuses {
        return (StatusCode::from_u16(*status).unwrap(), Json(body.clone())).into_response();
    }
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    let encoded = |text: &str| {
        let url = reqwest::Url::parse_with_params("http://x/", [("", text)]).unwrap();
        url.query().unwrap()[1..].to_owned()
    };
    let basic = STANDARD.encode(format!("{CLIENT}:{}", encoded(SECRET)));
    if headers.get(AUTHORIZATION).is_none_or(|shown| shown != format!("Basic {basic}").as_str()) {
        return refused("invalid_client");
    }
    let Some(asked) = given.get("code").and_then(|code| desk.codes.remove(code)) else {
        return refused("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&given["code_verifier"]));
    if challenge != asked.challenge || given["redirect_uri"] != asked.redirect_uri {
        return refused("invalid_grant");
    }
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": desk.issuer, "aud": CLIENT, "nonce": asked.nonce, "iat": now, "exp": now + 300, "azp": CLIENT,
    });
    let claims = claims.as_object_mut().unwrap();
    claims.extend(desk.person.as_object().unwrap().clone());
    let token = match &desk.forge {
        Some(forge) => forge(claims.clone()),
        None => desk.signer.as_ref().unwrap().sign(claims),
    };
    Json(json!({"access_token": "a", "token_type": "Bearer", "id_token": token})).into_response()
}
