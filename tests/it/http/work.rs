//! What people have to do, over the wire; the guard against surges; a source's day.

use std::time::{Duration, Instant};

use outreachd::domain::people::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Answer, Api, job, send};
use super::people::Someone;
use crate::store::replies::ask;

/// Waits for a work item of this kind, and gives it.
async fn until_work(api: &Api, kind: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let listed = api.get(&format!("/v1/work-items?kind={kind}")).await.expect(200);
        if let Some(item) = listed["work_items"].as_array().unwrap().first()
            && item["alerts"] != 0
        {
            return item.clone();
        }
        assert!(Instant::now() < end, "waited in vain for {kind}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn act(api: &Api, item: &Value, what: &str, body: Value) -> Answer {
    api.post(&format!("/v1/work-items/{}/{what}", item["id"].as_str().unwrap()), &body).await
}

/// A message of a source that was sent, and that nobody has acknowledged in time.
async fn unanswered(api: &Api, id: &str, source: &str) -> String {
    let mut body = job(id, "P1");
    body["source"] = json!(source);
    let message = api.enqueue(&body).await;
    api.until(&message, "sent").await;
    api.sql(format!("UPDATE messages SET ack_by = now() WHERE id = '{message}'")).await;
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_found_claimed_and_closed_by_whom_it_concerns() {
    let tokens = "[[api.tokens]]\nname = \"desk\"\ntoken = \"token-of-the-desk-0123456789\"\n\
        scopes = [\"work:write\"]\nsources = [\"other-ehr\"]\n";
    let api = Api::open("", tokens).await;
    api.patient("P1").await;
    let message = unanswered(&api, "j1", "lakeside-ehr").await;
    let item = until_work(&api, "unacknowledged").await;
    assert_eq!((&item["message_id"], &item["patient_id"]), (&json!(message), &json!("P1")));
    assert_eq!((&item["state"], &item["source"]), (&json!("open"), &json!("lakeside-ehr")));
    let measures = api.get("/metrics").await.text;
    assert!(
        measures.contains("outreachd_work_items_total{kind=\"unacknowledged\",what=\"opened\"}"),
        "{measures}"
    );
    let events = api.get(&format!("/v1/messages/{message}/explain")).await.expect(200)["events"].clone();
    let keys: Vec<&str> =
        events.as_array().unwrap().iter().map(|e| e["routing_key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["message.sent.lakeside-ehr", "work.opened.lakeside-ehr"]);

    act(&api, &item, "release", json!({})).await.problem(409);
    assert_eq!(act(&api, &item, "claim", json!({})).await.expect(200)["claimed_by"], "local");
    assert_eq!(act(&api, &item, "release", json!({})).await.expect(200)["state"], "open");
    act(&api, &item, "close", json!({})).await.problem(422);
    act(&api, &item, "close", json!({"outcome": "lost his phone, Mr. Canarissima"})).await.problem(422);
    act(&api, &item, "close", json!({"outcome": "reached", "note": "x"})).await.problem(422);
    let closed = act(&api, &item, "close", json!({"outcome": "reached"})).await.expect(200);
    assert_eq!((&closed["state"], &closed["outcome"]), (&json!("closed"), &json!("reached")));
    act(&api, &item, "claim", json!({})).await.problem(409);
    assert_eq!(api.get("/v1/work-items").await.expect(200)["work_items"], json!([]));
    let all = api.get("/v1/work-items?state=closed").await.expect(200);
    assert_eq!(all["work_items"][0]["id"], item["id"]);
    for bad in ["state=lost", "kind=x", "message_id=x", "cursor=x", "limit=0", "colour=red"] {
        api.get(&format!("/v1/work-items?{bad}")).await.problem(422);
    }
    api.get("/v1/work-items/x").await.problem(404);

    // A desk that is bound to one source sees that source's work only.
    let own = unanswered(&api, "j2", "other-ehr").await;
    until_work(&api, "unacknowledged").await;
    let ask =
        |path: String| api.request(&reqwest::Method::GET, &path).bearer_auth("token-of-the-desk-0123456789");
    let seen = super::api::send(ask("/v1/work-items".to_owned())).await.expect(200);
    assert_eq!(seen["work_items"].as_array().unwrap().len(), 1);
    assert_eq!(seen["work_items"][0]["message_id"], own);
    super::api::send(ask("/v1/work-items?source=lakeside-ehr".to_owned())).await.problem(403);
    super::api::send(ask(format!("/v1/work-items/{}", item["id"].as_str().unwrap()))).await.problem(404);
    api.close().await;
}

/// Whoever answers a patient has to reach them: one look shows both, and is on record as what it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_wrote_is_shown_with_the_number_to_call_back_in_one_look() {
    let tokens = "[[api.tokens]]\nname = \"desk\"\ntoken = \"token-of-the-desk-0123456789\"\n\
        scopes = [\"work:write\"]\n\
        [[api.tokens]]\nname = \"ward\"\ntoken = \"token-of-the-ward-0123456789\"\n\
        scopes = [\"work:write\", \"patients:read\"]\n";
    let api = Api::open("", tokens).await;
    api.patient("P1").await;
    let message = api.enqueue(&job("j1", "P1")).await;
    api.until(&message, "sent").await;
    api.worker.store.reply(&ask("SM1", "Can I bring my son?")).await.unwrap();
    let item = until_work(&api, "reply").await;
    let (path, text) = (format!("/v1/work-items/{}", item["id"].as_str().unwrap()), "Can I bring my son?");

    // A program has to say why, and to have the scope that opens patients.
    for (token, why, from) in [
        ("token-of-the-desk-0123456789", Some("calls back"), Value::Null),
        ("token-of-the-ward-0123456789", None, Value::Null),
        ("token-of-the-ward-0123456789", Some("calls back"), json!("+13125550142")),
    ] {
        let request = api.request(&Method::GET, &path).bearer_auth(token);
        let request = match why {
            Some(why) => request.header("x-outreach-reason", why),
            None => request,
        };
        let reply = send(request).await.expect(200)["reply"].clone();
        assert_eq!((&reply["text"], &reply["from"]), (&json!(text), &from), "{token} {why:?}");
    }
    let masked = api.request(&Method::GET, &format!("{path}?masked=true"));
    let masked = masked.bearer_auth("token-of-the-ward-0123456789").header("x-outreach-reason", "calls back");
    assert!(send(masked).await.expect(200)["reply"].is_null());

    let nora = Someone::with(&api, "nora", Role::Operator, &[]).await;
    let vera = Someone::with(&api, "vera", Role::Viewer, &[]).await;
    let (reveal, reason) = (format!("{path}/reveal"), json!({"reason": "patient called back"}));
    assert!(nora.get(&api, &path).await.expect(200)["reply"].is_null(), "before anybody has said why");
    nora.post(&api, &reveal, &json!({})).await.problem(422);
    vera.post(&api, &reveal, &reason).await.problem(403);
    let reply = nora.post(&api, &reveal, &reason).await.expect(200)["reply"].clone();
    assert_eq!((&reply["text"], &reply["from"]), (&json!(text), &json!("+13125550142")));
    assert!(!nora.get(&api, "/v1/work-items").await.text.contains("3125550142"));

    let root = Someone::with(&api, "root", Role::Admin, &[]).await;
    let audit = root.get(&api, "/v1/audit").await.expect(200);
    let looks: Vec<[&str; 2]> = audit["audit"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .filter(|row| row["act"] == "work.reveal" && row["subject"] == item["id"])
        .map(|row| ["who", "detail"].map(|name| row[name].as_str().unwrap()))
        .collect();
    assert_eq!(
        looks,
        [
            ["desk", "text: calls back"],
            ["ward", "text"],
            ["ward", "text and address: calls back"],
            ["nora", "text and address: patient called back"],
        ]
    );
    api.close().await;
}

/// A folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_has_its_templates_deadline() {
    let templates = tempfile::tempdir().unwrap();
    copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"), templates.path());
    let to = templates.path().join("appointment-reminder");
    let manifest = to.join("template.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text.lines().filter(|line| !line.starts_with("priority")).collect::<Vec<_>>().join("\n");
    std::fs::write(&manifest, format!("priority = \"urgent\"\nurgent_deadline = \"1s\"\n{text}")).unwrap();
    let more = "[work]\nunacknowledged = \"1s\"\n[[source]]\nname = \"ward\"\nmax_priority = \"urgent\"\n";
    let api = Api::open_templates("", more, templates.path()).await;
    api.patient("P1").await;
    api.patient("P2").await;
    let mut urgent = job("j1", "P1");
    urgent["source"] = json!("ward");
    urgent["priority"] = json!("urgent");
    let mut normal = job("j2", "P2");
    normal["priority"] = json!("normal");
    let message = api.enqueue(&urgent).await;
    api.enqueue(&normal).await;
    let item = until_work(&api, "unacknowledged").await;
    assert_eq!(item["message_id"], message);
    // Nobody comes, and people are called again.
    let end = Instant::now() + Duration::from_secs(30);
    while until_work(&api, "unacknowledged").await["alerts"] != 2 {
        assert!(Instant::now() < end, "nobody was called a second time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(api.get("/v1/work-items").await.expect(200)["work_items"].as_array().unwrap().len(), 1);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_its_time_as_it_says() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3)).to_string();
    let ask = json!({"scope": "all", "until": until, "on_release": "expire", "reason": "drill"});
    let hold = api.post("/v1/holds", &ask).await.expect(201);
    assert_eq!(
        (&hold["state"], &hold["held"], &hold["cause"]),
        (&json!("in_force"), &json!(0), &json!("operator_hold"))
    );
    let id = api.enqueue(&job("j1", "P1")).await;
    api.until(&id, "held").await;
    assert_eq!(api.get("/v1/holds").await.expect(200)["holds"][0]["held"], 1);
    assert_eq!(api.until(&id, "expired").await["reason"], "operator_hold");
    let late = jiff::Timestamp::now().duration_since(until.parse().unwrap());
    assert!(late < jiff::SignedDuration::from_secs(5), "{late:?}");

    let mut ask = json!({"scope": "all", "minutes": 90, "on_release": "review", "reason": "drill"});
    let hold = api.post("/v1/holds", &ask).await.expect(201);
    let instant = |name: &str| hold[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(instant("until"), instant("placed_at") + jiff::SignedDuration::from_mins(90));
    ask["until"] = json!("2100-01-01T00:00:00Z");
    assert_eq!(api.post("/v1/holds", &ask).await.problem(422)["errors"][0]["field"], "minutes");
    let path = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
    let id = api.enqueue(&job("j2", "P1")).await;
    api.until(&id, "held").await;
    api.delete(&path).await.expect(204);
    assert_eq!(api.get("/v1/holds").await.expect(200)["holds"][0]["state"], "review");
    let item = until_work(&api, "hold_review").await;
    assert_eq!(item["hold_id"], hold["id"]);
    api.delete(&path).await.problem(422);
    api.delete(&format!("{path}?then=burn")).await.problem(422);
    api.delete(&format!("{path}?then=send")).await.expect(204);
    api.until(&id, "sent").await;
    api.delete(&format!("{path}?then=send")).await.problem(404);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_is_held_and_goes_when_a_person_says() {
    let api = Api::open("", "[policy.surge]\nfactor = 2\nfloor = 10\n").await;
    api.patient("P1").await;
    for (source, count) in [("lakeside-ehr", 5), ("other-ehr", 5)] {
        api.sql(format!(
            "INSERT INTO arrivals (hour, source, template, count)
             VALUES (floor(extract(epoch FROM now()) / 3600)::bigint - 30, '{source}', 'appointment-reminder', {count})"
        ))
        .await;
    }
    let many: Vec<Value> = (0..30).map(|n| job(&format!("j{n}"), "P1")).collect();
    let told = api.post("/v1/jobs", &json!(many)).await.expect(200);
    let first = told[0]["message_id"].as_str().unwrap();
    assert_eq!(api.until(first, "held").await["reason"], "surge_hold");
    let holds = api.get("/v1/holds").await.expect(200);
    assert_eq!(holds["holds"].as_array().unwrap().len(), 1, "{holds}");
    let hold = &holds["holds"][0];
    assert_eq!(
        (&hold["scope"], &hold["value"], &hold["cause"]),
        (&json!("source"), &json!("lakeside-ehr"), &json!("surge_hold"))
    );
    let item = until_work(&api, "surge_hold").await;
    assert_eq!((&item["hold_id"], &item["source"]), (&hold["id"], &json!("lakeside-ehr")));
    let mut other = job("o1", "P1");
    other["source"] = json!("other-ehr");
    let other = api.enqueue(&other).await;
    api.until(&other, "sent").await;

    api.delete(&format!("/v1/holds/{}", hold["id"].as_str().unwrap())).await.expect(204);
    api.until(first, "sent").await;
    let more: Vec<Value> = (0..30).map(|n| job(&format!("k{n}"), "P1")).collect();
    let told = api.post("/v1/jobs", &json!(more)).await.expect(200);
    api.until(told[29]["message_id"].as_str().unwrap(), "sent").await;
    assert_eq!(api.get("/v1/holds").await.expect(200), json!({"holds": []}));
    let item = api.get(&format!("/v1/work-items/{}", item["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(
        (&item["state"], &item["outcome"], &item["closed_by"]),
        (&json!("closed"), &json!("resolved"), &json!("local"))
    );
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_sent_enough_today_is_told_when_to_come_back() {
    let api = Api::open("", "[[source]]\nname = \"small\"\nper_day = 2\n").await;
    api.patient("P1").await;
    let of_small = |id: &str| {
        let mut job = job(id, "P1");
        job["source"] = json!("small");
        job
    };
    api.enqueue(&of_small("a")).await;
    let told = api.post("/v1/jobs", &json!([of_small("a"), of_small("b"), of_small("c")])).await.expect(200);
    let results: Vec<&str> = told.as_array().unwrap().iter().map(|r| r["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["duplicate", "accepted", "refused"]);
    assert_eq!(told[2]["problem"]["errors"][0]["reason"], "over_budget");
    let answer = api.post("/v1/jobs", &of_small("d")).await;
    let problem = answer.problem(429);
    assert_eq!(problem["errors"][0]["field"], "source");
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=90_001).contains(&wait), "{wait}");
    api.enqueue(&job("a", "P1")).await;
    api.close().await;
}
