//! Who may come in: every route against every kind of caller, as the API's own description lists them.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Answer, Api, job, later, send};

/// One token for each scope, two that should not work, and two that are bound to sources.
const SCOPES: [&str; 13] = [
    "jobs:write",
    "jobs:emergency",
    "messages:read",
    "messages:write",
    "patients:read",
    "patients:write",
    "holds:write",
    "templates:read",
    "templates:approve",
    "work:write",
    "campaigns:write",
    "campaigns:approve",
    "admin",
];

fn token(scope: &str) -> String {
    format!("token-of-{}-0123456789abcdef", scope.replace(':', "-"))
}

fn tokens() -> String {
    let mut text = String::new();
    for scope in SCOPES {
        let (name, token) = (scope.replace(':', "-"), token(scope));
        text += &format!("[[api.tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\nscopes = [\"{scope}\"]\n");
    }
    let ended = token("ended");
    text += &format!(
        "[[api.tokens]]\nname = \"ended\"\ntoken = \"{ended}\"\nscopes = [\"admin\"]\nexpires_at = \"2020-01-01T00:00:00Z\"\n"
    );
    for (name, sources) in
        [("one", "\"lakeside-ehr\""), ("two", "\"lakeside-ehr\", \"other-ehr\""), ("other", "\"other-ehr\"")]
    {
        let token = token(name);
        text += &format!(
            "[[api.tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\nscopes = [\"admin\"]\nsources = [{sources}]\n"
        );
    }
    text
}

/// One route of the description.
struct Route {
    method: Method,
    path: String,
    /// Empty: open to all.
    scopes: Vec<String>,
    media: Option<String>,
}

async fn routes(api: &Api) -> Vec<Route> {
    let document = api.get("/openapi.json").await.expect(200);
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let scopes = operation["security"].as_array().map_or_else(Vec::new, |any| {
                any.iter().map(|one| one["token"][0].as_str().unwrap().to_owned()).collect()
            });
            let content = operation["requestBody"]["content"].as_object();
            routes.push(Route {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                path: asked(path),
                scopes,
                media: content.map(|types| types.keys().next().unwrap().clone()),
            });
        }
    }
    routes
}

/// A path with something in the place of its parts. What would be answered without an end is refused for its query.
pub(super) fn asked(path: &str) -> String {
    let path =
        path.replace("{id}", "x").replace("{name}", "x").replace("{token}", "x").replace("{file}", "app.js");
    if path == "/v1/stream" { format!("{path}?limit=0") } else { path }
}

impl Route {
    async fn ask(&self, api: &Api, headers: &[(&str, &str)]) -> Answer {
        let mut request = api.request(&self.method, &self.path);
        if let Some(media) = &self.media {
            request = request.header("content-type", media).body("{}");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_opens_to_its_scopes_and_to_nobody_else() {
    let api = Api::open("", &tokens()).await;
    for route in routes(&api).await {
        let name = format!("{} {}", route.method, route.path);
        let passed = |answer: &Answer| !matches!(answer.status.as_u16(), 401 | 403);
        assert!(passed(&route.ask(&api, &[]).await), "{name}: this machine");
        if route.scopes.is_empty() {
            assert!(passed(&route.ask(&api, &[("x-forwarded-for", "192.0.2.1")]).await), "{name} is open");
            continue;
        }
        for header in [
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
            ("host", "outreach.example.org"),
            ("host", "127.0.0.1.example.org"),
            ("authorization", "Basic dTpw"),
            ("authorization", "Bearer nothing-that-is-known-here"),
            ("authorization", "Bearer"),
        ] {
            let refused = route.ask(&api, &[header]).await;
            refused.problem(401);
            assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{name}");
        }
        let ended = format!("Bearer {}", token("ended"));
        route.ask(&api, &[("authorization", &ended)]).await.problem(401);
        for scope in SCOPES {
            let bearer = format!("Bearer {}", token(scope));
            let answer =
                route.ask(&api, &[("authorization", &bearer), ("x-forwarded-for", "192.0.2.1")]).await;
            if scope == "admin" || route.scopes.iter().any(|known| known == scope) {
                assert!(passed(&answer), "{name} with {scope}: {answer:?}");
            } else {
                answer.problem(403);
            }
        }
    }
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_public_address_everybody_shows_a_token() {
    let api = Api::open("public_url = \"https://outreach.example.org\"", &tokens()).await;
    for route in routes(&api).await.iter().filter(|route| !route.scopes.is_empty()) {
        route.ask(&api, &[]).await.problem(401);
    }
    api.get("/readyz").await.expect(200);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_and_the_routes_are_the_same() {
    let api = Api::open("", "").await;
    let routes = routes(&api).await;
    for route in &routes {
        let answer = route.ask(&api, &[]).await;
        assert_ne!(answer.status.as_u16(), 405, "{} {}", route.method, route.path);
        assert!(!answer.text.contains("no such path"), "{} {}", route.method, route.path);
        let wrong = send(api.request(&Method::PATCH, &route.path)).await;
        wrong.problem(405);
        let mut listed: Vec<&str> =
            routes.iter().filter(|r| r.path == route.path).map(|r| r.method.as_str()).collect();
        if listed.contains(&"GET") {
            listed.push("HEAD");
        }
        listed.sort_unstable();
        assert_eq!(wrong.headers["allow"], listed.join(", "), "{}", route.path);
    }
    let document = api.get("/openapi.json").await.expect(200);
    for promised in [
        "/v1/jobs",
        "/v1/jobs/cancel",
        "/v1/messages",
        "/v1/messages/lookup",
        "/v1/messages/{id}",
        "/v1/messages/{id}/explain",
        "/v1/messages/{id}/cancel",
        "/v1/messages/{id}/retry",
        "/v1/patients/{id}",
        "/v1/patients/{id}/merge",
        "/v1/patients/import",
        "/v1/holds",
        "/v1/campaigns",
        "/v1/campaigns/{id}/approve",
        "/v1/work-items",
        "/v1/work-items/{id}",
        "/v1/work-items/{id}/claim",
        "/v1/work-items/{id}/release",
        "/v1/work-items/{id}/close",
        "/v1/templates/{name}/preview",
        "/v1/templates/{name}/sign-off",
        "/v1/templates/{name}/take-back",
        "/v1/messages/actions",
        "/v1/stream",
        "/u/{token}",
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"][promised].is_object(), "{promised}");
    }
    api.close().await;
}

/// Asks with the token of that name.
async fn as_token(api: &Api, name: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = api.request(&method, path).bearer_auth(token(name));
    send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_source_speaks_for_that_source_only() {
    let api = Api::open("", &tokens()).await;
    let mut unnamed = later("j1", "P1");
    unnamed.as_object_mut().unwrap().remove("source");
    let mut foreign = later("j2", "P1");
    foreign["source"] = json!("other-ehr");

    // Bound to one: its source need not be named, and no other can be.
    let told = as_token(&api, "one", Method::POST, "/v1/jobs", Some(&unnamed)).await.expect(202);
    let own = told["message_id"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&format!("/v1/messages/{own}")).await.expect(200)["source"], "lakeside-ehr");
    let refused = as_token(&api, "one", Method::POST, "/v1/jobs", Some(&foreign)).await.problem(403);
    assert_eq!(refused["errors"][0]["field"], "source");
    let cancel = json!({"source": "other-ehr", "id": "j2"});
    as_token(&api, "one", Method::POST, "/v1/jobs/cancel", Some(&cancel)).await.problem(403);

    // Bound to two: it says which.
    as_token(&api, "two", Method::POST, "/v1/jobs", Some(&unnamed)).await.problem(403);
    as_token(&api, "two", Method::POST, "/v1/jobs", Some(&foreign)).await.expect(202);
    as_token(&api, "two", Method::POST, "/v1/jobs", Some(&json!([]))).await.expect(200);
    let broken = api.request(&Method::POST, "/v1/jobs").bearer_auth(token("two"));
    let broken = broken.header("content-type", "application/json").body("{\"id\":");
    send(broken).await.problem(400);

    // What it sees.
    let seen = |answer: Answer| answer.expect(200)["messages"].as_array().unwrap().len();
    assert_eq!(seen(as_token(&api, "one", Method::GET, "/v1/messages", None).await), 1);
    assert_eq!(seen(as_token(&api, "two", Method::GET, "/v1/messages", None).await), 2);
    as_token(&api, "one", Method::GET, "/v1/messages?source=other-ehr", None).await.problem(403);
    for path in ["", "/explain"] {
        as_token(&api, "other", Method::GET, &format!("/v1/messages/{own}{path}"), None).await.problem(404);
    }
    let cancel = format!("/v1/messages/{own}/cancel");
    as_token(&api, "other", Method::POST, &cancel, Some(&json!({}))).await.problem(404);
    let ids = json!({"ids": ["j1"]});
    assert_eq!(seen(as_token(&api, "other", Method::POST, "/v1/messages/lookup", Some(&ids)).await), 0);

    // What it may stop.
    let all = json!({"scope": "all"});
    as_token(&api, "one", Method::POST, "/v1/holds", Some(&all)).await.problem(403);
    let own = json!({"scope": "source", "value": "lakeside-ehr"});
    let hold = as_token(&api, "one", Method::POST, "/v1/holds", Some(&own)).await.expect(201);
    assert_eq!(hold["placed_by"], "one");
    let path = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
    as_token(&api, "other", Method::DELETE, &path, None).await.problem(403);
    as_token(&api, "one", Method::DELETE, &path, None).await.expect(204);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_its_source_in_disguise_is_refused() {
    let api = Api::open("", &tokens()).await;
    // The escaped name is the same field to a JSON reader, and another text to one who only looks.
    let disguised =
        job("j1", "P1").to_string().replace("\"source\":\"lakeside-ehr\"", "\"sourc\\u0065\":\"other-ehr\"");
    assert!(disguised.contains("u0065"));
    for name in ["one", "two"] {
        let request = api.request(&Method::POST, "/v1/jobs").bearer_auth(token(name));
        let answer = send(request.header("content-type", "application/json").body(disguised.clone())).await;
        answer.problem(403);
    }
    api.close().await;
}
