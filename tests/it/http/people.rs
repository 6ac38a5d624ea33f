//! People who sign in: who may do what, what they are shown, and what is on record of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outreachd::domain::credential::{PasswordHash, TotpSecret};
use outreachd::domain::ids::{SiteId, UserName};
use outreachd::domain::people::Role;
use outreachd::store::audit::verify;
use outreachd::store::people::{SessionHash, SessionLimits, User, UserChange};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::api::{Answer, Api, job, later, send};
use super::auth::asked;

const PASSWORD: &str = "correct horse battery staple";
const LIMITS: SessionLimits =
    SessionLimits { idle: Duration::from_secs(900), whole: Duration::from_secs(900), touches: true };

/// Somebody with an account and an open session.
pub(super) struct Someone {
    cookie: String,
    csrf: String,
}

impl Someone {
    /// Opens an account and a session of it, without the door.
    pub(super) async fn with(api: &Api, name: &str, role: Role, sites: &[&str]) -> Self {
        let user = User {
            name: UserName::parse(name).unwrap(),
            role,
            sites: sites.iter().map(|site| SiteId::parse(site).unwrap()).collect(),
            password: PasswordHash::stored("$none"),
            totp: TotpSecret::from_bits([1; 20]),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            disabled_at: None,
            link: None,
        };
        assert!(api.worker.store.add_user(&user).await.unwrap());
        let token = format!("token-of-{name}");
        api.worker.store.open_session(&SessionHash::of(&token), &user.name, LIMITS).await.unwrap();
        Self::of(&token)
    }

    pub(super) fn of(token: &str) -> Self {
        use base64::Engine as _;
        let digest = Sha256::digest(format!("csrf:{token}"));
        let csrf = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
        Self { cookie: format!("other=1; outreachd={token}"), csrf }
    }

    /// As a browser shows it.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Shows who asks.
    pub(super) fn sign(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header("cookie", &self.cookie).header("x-csrf-token", &self.csrf)
    }

    pub(super) async fn ask(&self, api: &Api, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.sign(api.request(&method, path));
        send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    pub(super) async fn get(&self, api: &Api, path: &str) -> Answer {
        self.ask(api, Method::GET, path, None).await
    }

    pub(super) async fn post(&self, api: &Api, path: &str, body: &Value) -> Answer {
        self.ask(api, Method::POST, path, Some(body)).await
    }
}

/// Who may use which route: viewer, operator, coordinator, approver, admin, by their first letters. What stands here is
/// what was meant; a route that is missing, or one too many, fails the test.
const MATRIX: &[(&str, &str)] = &[
    ("POST /v1/jobs", "....A"),
    ("POST /v1/jobs/cancel", "....A"),
    ("GET /v1/messages", "vocaA"),
    ("POST /v1/messages/lookup", "vocaA"),
    ("GET /v1/messages/export", "vocaA"),
    ("POST /v1/messages/actions", ".o..A"),
    ("GET /v1/messages/{id}", "vocaA"),
    ("GET /v1/messages/{id}/explain", "vocaA"),
    ("POST /v1/messages/{id}/cancel", ".o..A"),
    ("POST /v1/messages/{id}/retry", ".o..A"),
    ("POST /v1/messages/{id}/next-route", ".o..A"),
    ("POST /v1/messages/{id}/reveal", ".ocaA"),
    ("GET /v1/stream", "vocaA"),
    ("GET /v1/now", "vocaA"),
    ("GET /v1/alerts", "vocaA"),
    ("POST /v1/alerts/{id}/acknowledge", ".o..A"),
    ("POST /v1/alerts/{id}/snooze", ".o..A"),
    ("POST /v1/patients/import", "....A"),
    ("GET /v1/patients/{id}", "vocaA"),
    ("PUT /v1/patients/{id}", "....A"),
    ("DELETE /v1/patients/{id}", "....A"),
    ("POST /v1/patients/{id}/merge", "....A"),
    ("POST /v1/patients/{id}/reveal", ".ocaA"),
    ("POST /v1/patients/{id}/export", "....A"),
    ("POST /v1/campaigns", "..c.A"),
    ("GET /v1/campaigns", "vocaA"),
    ("GET /v1/campaigns/{id}", "vocaA"),
    ("POST /v1/campaigns/{id}/audience", "..c.A"),
    ("POST /v1/campaigns/{id}/dry-run", "..caA"),
    ("POST /v1/campaigns/{id}/approve", "..caA"),
    ("POST /v1/campaigns/{id}/start", "..c.A"),
    ("POST /v1/campaigns/{id}/pause", ".ocaA"),
    ("POST /v1/campaigns/{id}/resume", "..c.A"),
    ("POST /v1/campaigns/{id}/cancel", "..c.A"),
    ("POST /v1/campaigns/{id}/pace", "..c.A"),
    ("POST /v1/campaigns/{id}/done", "..c.A"),
    ("POST /v1/campaigns/{id}/retry-failed", "..c.A"),
    ("POST /v1/campaigns/{id}/retry-unanswered", "..c.A"),
    ("POST /v1/campaigns/{id}/correct", "..c.A"),
    ("GET /v1/campaigns/{id}/report", "vocaA"),
    ("GET /v1/campaigns/{id}/recipients", "vocaA"),
    ("GET /v1/campaigns/{id}/export", "vocaA"),
    ("POST /v1/campaigns/{id}/reveal", "..caA"),
    ("GET /v1/holds", "vocaA"),
    ("POST /v1/holds", ".ocaA"),
    ("DELETE /v1/holds/{id}", ".ocaA"),
    ("GET /v1/work-items", "vocaA"),
    ("GET /v1/work-items/{id}", "vocaA"),
    ("POST /v1/work-items/{id}/claim", ".ocaA"),
    ("POST /v1/work-items/{id}/release", ".ocaA"),
    ("POST /v1/work-items/{id}/close", ".ocaA"),
    ("POST /v1/work-items/{id}/reveal", ".ocaA"),
    ("GET /v1/dead", "vocaA"),
    ("POST /v1/dead/replay", ".o..A"),
    ("POST /v1/dead/{id}/reveal", ".ocaA"),
    ("POST /v1/dead/{id}/repair", ".o..A"),
    ("GET /v1/callbacks", "vocaA"),
    ("POST /v1/callbacks/retry", ".o..A"),
    ("GET /v1/templates", "vocaA"),
    ("POST /v1/templates/{name}/preview", "vocaA"),
    ("POST /v1/templates/{name}/send", "....A"),
    ("GET /v1/templates/{name}/lint", "vocaA"),
    ("POST /v1/templates/{name}/sign-off", "...aA"),
    ("POST /v1/templates/{name}/take-back", "...aA"),
    ("GET /v1/providers", "vocaA"),
    ("GET /v1/audit", "....A"),
    ("GET /metrics", "vocaA"),
    ("DELETE /v1/session", "vocaA"),
    // These open to whoever has what they ask for: nothing, a link, a signature, a password.
    ("GET /", "open"),
    ("GET /console/{file}", "open"),
    ("GET /v1/session", "open"),
    ("POST /v1/session", "open"),
    ("GET /v1/session/oidc", "open"),
    ("GET /v1/session/oidc/callback", "open"),
    ("GET /u/{token}", "open"),
    ("POST /u/{token}", "open"),
    ("POST /webhooks/{provider}", "open"),
    ("POST /webhooks/{provider}/gather", "open"),
    ("GET /healthz", "open"),
    ("GET /readyz", "open"),
    ("GET /openapi.json", "open"),
];

/// From now on this machine's own people sign in too; that somebody has an account is noticed within two seconds.
async fn until_accounts_count(api: &Api) {
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while api.get("/v1/holds").await.status != 401 {
        assert!(std::time::Instant::now() < until, "whoever sits at this machine still needs no account");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_opens_to_its_roles_and_to_nobody_else() {
    let api = Api::open("", "").await;
    let document = api.get("/openapi.json").await.expect(200);
    let mut known = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            known.insert(format!("{} {path}", method.to_uppercase()), operation.clone());
        }
    }
    let meant: BTreeSet<&str> = MATRIX.iter().map(|(route, _)| *route).collect();
    let there: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    assert_eq!(there, meant, "every route stands in the matrix, and nothing else");

    let mut people = Vec::new();
    for (letter, role) in
        "vocaA".chars().zip([Role::Viewer, Role::Operator, Role::Coordinator, Role::Approver, Role::Admin])
    {
        people.push((letter, role, Someone::with(&api, role.as_str(), role, &[]).await));
    }
    until_accounts_count(&api).await;
    for (route, letters) in MATRIX.iter().filter(|(_, letters)| *letters != "open") {
        let (method, path) = route.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let media =
            known[*route]["requestBody"]["content"].as_object().map(|c| c.keys().next().unwrap().clone());
        let request = |someone: Option<&Someone>, csrf: bool| {
            let mut request = api.request(&method, &asked(path));
            if let Some(media) = &media {
                request = request.header("content-type", media).body("{}");
            }
            if let Some(someone) = someone {
                request = request.header("cookie", &someone.cookie);
                if csrf {
                    request = request.header("x-csrf-token", &someone.csrf);
                }
            }
            request
        };
        send(request(None, false)).await.problem(401);
        send(request(Some(&Someone::of("made-up")), true)).await.problem(401);
        for (letter, role, someone) in &people {
            if *route == "DELETE /v1/session" {
                continue;
            }
            if method != Method::GET {
                let refused = send(request(Some(someone), false)).await.problem(403);
                assert!(refused["detail"].as_str().unwrap().contains("X-CSRF-Token"), "{route}: {refused}");
            }
            let answer = send(request(Some(someone), true)).await;
            let passed = !matches!(answer.status.as_u16(), 401 | 403);
            assert_eq!(passed, letters.contains(*letter), "{route} for {role}: {answer:?}");
        }
    }
    for (_, _, someone) in &people {
        someone.ask(&api, Method::DELETE, "/v1/session", None).await.expect(204);
        someone.get(&api, "/v1/holds").await.problem(401);
    }
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_has_a_password_and_a_code_and_comes_from_our_page() {
    let api = Api::open("", "").await;
    let secret = TotpSecret::from_bits([9; 20]);
    let user = User {
        name: UserName::parse("ana").unwrap(),
        role: Role::Operator,
        sites: Vec::new(),
        password: PasswordHash::new(PASSWORD, [3; 16]).unwrap(),
        totp: secret.clone(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        disabled_at: None,
        link: None,
    };
    assert_eq!(api.get("/v1/session").await.expect(200)["local"], true, "nobody has an account yet");
    api.worker.store.add_user(&user).await.unwrap();
    let step = TotpSecret::step(api.worker.store.ping().await.unwrap());
    let with =
        |name: &str, password: &str, code: &str| json!({"name": name, "password": password, "code": code});
    let good = with("ana", PASSWORD, &secret.code(step));
    for bad in [
        with("ana", "correct horse battery stable", &secret.code(step)),
        with("ana", PASSWORD, &secret.code(step - 9)),
        with("eve", PASSWORD, &secret.code(step)),
    ] {
        let refused = api.post("/v1/session", &bad).await.problem(401);
        assert!(!refused.to_string().contains("staple"));
    }
    for elsewhere in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let request = api.request(&Method::POST, "/v1/session").json(&good).header(elsewhere.0, elsewhere.1);
        send(request).await.problem(403);
    }
    let form = api.request(&Method::POST, "/v1/session").form(&[("name", "ana")]);
    send(form).await.problem(415);

    let entered = api.post("/v1/session", &good).await;
    let told = entered.expect(200);
    let cookie = entered.headers["set-cookie"].to_str().unwrap();
    for flag in ["outreachd=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "without https there is nothing secure about it");
    assert_eq!((&told["role"], &told["signed_in"]), (&json!("operator"), &json!(true)));
    let token = cookie.split(['=', ';']).nth(1).unwrap();
    let ana = Someone::of(token);
    assert_eq!(told["csrf"], ana.csrf);
    assert_eq!(ana.get(&api, "/v1/session").await.expect(200)["name"], "ana");
    until_accounts_count(&api).await;
    let told = api.get("/v1/session").await.expect(200);
    assert_eq!(told, json!({"signed_in": false, "password": true, "oidc": null}));
    api.post("/v1/session", &good).await.problem(401);

    // An account that is closed is signed out at once.
    api.worker.store.change_user(&user.name, &UserChange::Disable).await.unwrap();
    ana.get(&api, "/v1/holds").await.problem(401);
    let next = with("ana", PASSWORD, &secret.code(step + 1));
    api.post("/v1/session", &next).await.problem(401);
    let mut waits = None;
    for _ in 0..10 {
        let answer = api.post("/v1/session", &with("ana", "guess guess guess", "000000")).await;
        if answer.status == 429 {
            waits = Some(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap());
            break;
        }
        answer.problem(401);
    }
    assert!(waits.is_some_and(|seconds| seconds > 0), "whoever guesses is stopped");
    let acts = api.count("SELECT count(*) FROM audit WHERE who = 'ana' AND act = 'session.refused'").await;
    assert!(acts >= 4, "{acts}");
    api.close().await;
}

/// What nobody may be shown who has not asked for it with a reason.
const NAME: &str = "Zebulonia";
const NUMBER: &str = "+13125550177";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_patient_is_shown_without_a_reason_and_of_other_sites_nothing_at_all() {
    let more = "[[site]]\nid = \"lakeside-south\"\nname = \"Lakeside South\"\nphone = \"+13125550101\"";
    let api = Api::open("", more).await;
    for (id, site) in [("P1", "lakeside-north"), ("P2", "lakeside-south")] {
        let patient = json!({
            "language": "en", "site": site, "name": {"given": NAME, "family": "Quxley"},
            "contacts": [{"channel": "sms", "address": NUMBER}],
        });
        assert!(api.put(&format!("/v1/patients/{id}"), &patient).await.status.is_success());
    }
    let at = |id: &str, patient: &str, site: &str| {
        let mut job = job(id, patient);
        job["site"] = json!(site);
        job
    };
    let north = api.enqueue(&at("j1", "P1", "lakeside-north")).await;
    let south = api.enqueue(&at("j2", "P2", "lakeside-south")).await;
    api.until(&north, "sent").await;
    api.until(&south, "sent").await;
    api.post_raw("/v1/jobs", "application/json", format!("{{\"template\":\"{NAME}\"}}")).await.problem(422);

    let everywhere = Someone::with(&api, "olga", Role::Operator, &[]).await;
    let ana = Someone::with(&api, "ana", Role::Operator, &["lakeside-north"]).await;
    let quiet = |text: &str| {
        for secret in [NAME, "Quxley", NUMBER, &NUMBER[1..], "Dr. Chen"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    };
    for path in [
        "/v1/messages",
        "/v1/messages/export",
        "/v1/now",
        "/v1/patients/P1",
        "/v1/holds",
        "/v1/work-items",
        "/v1/callbacks",
        "/v1/providers",
        "/metrics",
        "/v1/session",
        &format!("/v1/messages/{north}"),
        &format!("/v1/messages/{north}/explain"),
    ] {
        let answer = everywhere.get(&api, path).await;
        assert_eq!(answer.status, 200, "{path}");
        quiet(&answer.text);
    }
    let reveal = format!("/v1/messages/{north}/reveal");
    for bad in [json!({}), json!({"reason": "  x "}), json!({"reason": "x".repeat(201)})] {
        quiet(&ana.post(&api, &reveal, &bad).await.problem(422).to_string());
    }
    let reason = json!({"reason": "patient called back"});
    let shown = ana.post(&api, &reveal, &reason).await.expect(200);
    assert_eq!(shown["patient"]["name"]["given"], NAME);
    assert_eq!(shown["attempts"][0]["address"], NUMBER);
    assert!(
        shown["content"]["texts"]["sms"].as_str().is_some_and(|text| text.contains("Lakeside North")),
        "{shown}"
    );
    assert_eq!(ana.post(&api, "/v1/patients/P1/reveal", &reason).await.expect(200)["name"]["given"], NAME);

    // Of the other site nothing is there.
    let list = ana.get(&api, "/v1/messages").await.expect(200);
    assert_eq!(list["messages"].as_array().unwrap().len(), 1);
    assert_eq!(list["messages"][0]["id"], north);
    assert_eq!(ana.get(&api, "/v1/messages?site=lakeside-south").await.expect(200)["messages"], json!([]));
    assert!(!ana.get(&api, "/v1/messages/export").await.text.contains(&south));
    for path in [
        format!("/v1/messages/{south}"),
        format!("/v1/messages/{south}/explain"),
        "/v1/patients/P2".to_owned(),
    ] {
        ana.get(&api, &path).await.problem(404);
    }
    for path in [
        format!("/v1/messages/{south}/reveal"),
        format!("/v1/messages/{south}/retry"),
        "/v1/patients/P2/reveal".to_owned(),
    ] {
        ana.post(&api, &path, &reason).await.problem(404);
    }
    for path in ["/v1/dead", "/v1/callbacks"] {
        ana.get(&api, path).await.problem(403);
    }
    ana.post(&api, "/v1/holds", &json!({"scope": "all", "reason": "x"})).await.problem(403);
    let own = json!({"scope": "site", "value": "lakeside-north", "reason": "wrong text"});
    let hold = ana.post(&api, "/v1/holds", &own).await.expect(201);
    assert_eq!(hold["placed_by"], "ana");
    ana.ask(&api, Method::DELETE, &format!("/v1/holds/{}", hold["id"].as_str().unwrap()), None)
        .await
        .expect(204);

    // Whoever plans campaigns, or agrees to them, stops their own site, and takes back their own stop only.
    let theirs = ana.post(&api, "/v1/holds", &own).await.expect(201);
    for (name, role) in [("carl", Role::Coordinator), ("axel", Role::Approver)] {
        let one = Someone::with(&api, name, role, &["lakeside-north"]).await;
        one.post(&api, "/v1/holds", &json!({"scope": "all", "reason": "wrong text"})).await.problem(403);
        let south = json!({"scope": "site", "value": "lakeside-south", "reason": "wrong text"});
        one.post(&api, "/v1/holds", &south).await.problem(403);
        let hold = one.post(&api, "/v1/holds", &own).await.expect(201);
        for (hold, status) in [(&hold, 204), (&theirs, 403)] {
            let path = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
            assert_eq!(one.ask(&api, Method::DELETE, &path, None).await.status, status, "{name}");
        }
    }

    // All that is known of somebody is for an admin, with a reason.
    let root = Someone::with(&api, "root", Role::Admin, &[]).await;
    root.post(&api, "/v1/patients/P1/export", &json!({})).await.problem(422);
    root.post(&api, "/v1/patients/nobody/export", &reason).await.problem(404);
    let whole = root.post(&api, "/v1/patients/P1/export", &reason).await.expect(200);
    assert_eq!(whole["patient"]["name"]["given"], NAME);
    assert_eq!(whole["messages"][0]["attempts"][0]["address"], NUMBER);
    let asked = root.get(&api, "/v1/audit?who=root&limit=1").await.expect(200);
    assert_eq!(
        (&asked["audit"][0]["act"], &asked["audit"][0]["subject"]),
        (&json!("patient.export"), &json!("P1"))
    );

    // Who did what is on record, with the reason, and the chain holds.
    let audit = root.get(&api, "/v1/audit?who=ana").await.expect(200);
    let acts: Vec<(&str, &str)> = audit["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["act"].as_str().unwrap(), row["detail"].as_str().unwrap()))
        .collect();
    let placed = |hold: &Value| format!("site lakeside-north ({}): wrong text", hold["id"].as_str().unwrap());
    let (first, second) = (placed(&hold), placed(&theirs));
    assert_eq!(
        acts,
        [
            ("hold.place", second.as_str()),
            ("hold.release", ""),
            ("hold.place", first.as_str()),
            ("message.export", ""),
            ("patient.reveal", "patient called back"),
            ("message.reveal", "patient called back"),
        ]
    );
    let verified = verify(api.worker.store.as_ref()).await.unwrap();
    assert!(verified.broken_at.is_none() && verified.entries >= 4, "{verified:?}");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_counted_before_they_are_acted_upon_and_what_happens_is_seen_at_once() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let page = api.get("/").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text.contains("src=\"console/app.js\"") && !page.text.contains("src=\"/"), "below any path");
    assert_eq!(api.get("/console/app.js").await.headers["content-type"], "text/javascript; charset=utf-8");
    api.get("/console/nothing.js").await.problem(404);

    let mut stream = api.request(&Method::GET, "/v1/stream?status=cancelled").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    // The loop begins where the events end, a moment after somebody has joined.
    assert!(String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()).contains("listening"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    for n in 0..3 {
        api.enqueue(&later(&format!("-2+3;j{n}").replace(['+', ';'], "."), "P1")).await;
    }
    let act = json!({"action": "cancel", "filter": {"status": "scheduled", "patient_id": "P1"}});
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let mut dry = act.clone();
    dry["dry_run"] = json!(true);
    while api.post("/v1/messages/actions", &dry).await.expect(200)["matching"] != 3 {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let done = api.post("/v1/messages/actions", &act).await.expect(200);
    assert_eq!((&done["done"], &done["refused"], &done["more"]), (&json!(3), &json!(0), &json!(false)));
    assert_eq!(api.post("/v1/messages/actions", &dry).await.expect(200)["matching"], 0);
    let unnamed = json!({"action": "retry", "filter": {"patient_id": "P1"}});
    assert_eq!(
        api.post("/v1/messages/actions", &unnamed).await.problem(422)["errors"][0]["field"],
        "filter.status"
    );

    let mut seen = String::new();
    while seen.matches("\"status\":\"cancelled\"").count() < 3 {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.chunk())
            .await
            .expect("told")
            .unwrap()
            .unwrap();
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        seen.contains("event: lines\ndata: [{") && seen.contains("\"template\":\"appointment-reminder\""),
        "{seen}"
    );
    let table = api.get("/v1/messages/export?status=cancelled").await;
    assert_eq!(table.text.lines().count(), 4);
    assert!(table.text.contains(",'-2.3.j0,"), "no cell is a formula: {}", table.text);
    let acts = api.count("SELECT count(*) FROM audit WHERE act = 'message.bulk'").await;
    assert_eq!(acts, 1, "a dry run is none");

    // By the time of acceptance, which stands in the id.
    let found = async |query: &str| {
        api.get(&format!("/v1/messages?{query}")).await.expect(200)["messages"].as_array().unwrap().len()
    };
    assert_eq!(found("since=2020-01-01T00:00:00Z").await, 3);
    assert_eq!(found("until=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(found("provider=nobody").await, 0);
    let now = api.get("/v1/now").await.expect(200);
    assert_eq!(now["healthy"], true, "{now}");
    assert!(now["counts"]["messages"].is_array() && now["pulse"]["rows"].is_array(), "{now}");
    api.close().await;
}
