//! Texts that people answer for: read, signed off by their hash, taken back, and on record.

use std::path::Path;
use std::time::{Duration, Instant};

use outreachd::domain::ids::{MessageId, TemplateName};
use outreachd::domain::people::Role;
use outreachd::domain::sign_off::Word;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, job, send};
use super::people::Someone;
use crate::support::copy_templates;

const PATH: &str = "/v1/templates/appointment-reminder";

/// The product's templates, of which one is approved in English alone.
fn templates(dir: &Path) {
    copy_templates(dir);
    let file = dir.join("appointment-reminder/template.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("approved = [\"en\", \"es\", \"zh-Hans\"]", "approved = [\"en\"]"))
        .unwrap();
}

/// How one language stands, of what `GET /v1/templates` tells.
fn stands(told: &Value, locale: &str) -> Value {
    let all = told["templates"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == "appointment-reminder").unwrap();
    one["texts"].as_array().unwrap().iter().find(|text| text["locale"] == locale).unwrap().clone()
}

/// Whoever looks at it from day to day.
struct Clinic {
    api: Api,
    admin: Someone,
}

impl Clinic {
    async fn stands(&self, locale: &str) -> Value {
        stands(&self.admin.get(&self.api, "/v1/templates").await.expect(200), locale)
    }

    /// In which language somebody who reads Spanish is written to.
    async fn written_in(&self, id: &str) -> String {
        let told = self.admin.post(&self.api, "/v1/jobs", &job(id, "P1")).await.expect(202);
        let id = MessageId(told["message_id"].as_str().unwrap().parse().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let attempts = self.api.worker.store.attempts(id).await.unwrap();
            if let Some(attempt) = attempts.first() {
                return attempt.locale.clone();
            }
            assert!(Instant::now() < end, "{id} was not sent");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn until_written_in(&self, id: &str, locale: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        for n in 0.. {
            if self.written_in(&format!("{id}-{n}")).await == locale {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for {locale}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_approver_has_read_and_signed_off_is_sent_until_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    templates(dir.path());
    let api = Api::open_templates("", "", dir.path()).await;
    let body = json!({"language": "es", "contacts": [{"channel": "sms", "address": "+13125550142"}]});
    assert!(api.put("/v1/patients/P1", &body).await.status.is_success());
    let admin = Someone::with(&api, "cleo", Role::Admin, &[]).await;
    let approver = Someone::with(&api, "ana", Role::Approver, &[]).await;
    let elsewhere = Someone::with(&api, "ben", Role::Approver, &["lakeside-north"]).await;
    let clinic = Clinic { api, admin };
    let api = &clinic.api;
    assert_eq!(clinic.stands("en").await["standing"], "in_file");
    assert_eq!(clinic.stands("es").await["standing"], "open");
    assert_eq!(clinic.written_in("before").await, "en");
    let ask = |path: &str| format!("{PATH}/{path}");

    // What is signed off is what was shown.
    let shown = approver.post(api, &ask("preview"), &json!({"locale": "es"})).await.expect(200);
    let hash = shown["previews"][0]["hash"].as_str().unwrap().to_owned();
    let of = |locale: &str, hash: &str, note: &str| json!({"locale": locale, "hash": hash, "note": note});
    for (body, status, field) in [
        (json!({"locale": "es", "note": "x"}), 422, "hash"),
        (json!({"locale": "es", "hash": hash}), 422, "note"),
        (of("es", &hash, ""), 422, "note"),
        (of("fr", &hash, "x"), 422, "locale"),
        (of("es", "0", "x"), 409, "hash"),
        (of("zh-Hans", &hash, "x"), 409, "hash"),
    ] {
        let problem = approver.post(api, &ask("sign-off"), &body).await.problem(status);
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    let good = of("es", &hash, "read with the interpreters");
    approver.post(api, "/v1/templates/nothing/sign-off", &good).await.problem(404);
    elsewhere.post(api, &ask("sign-off"), &good).await.problem(403);
    assert_eq!(clinic.stands("es").await["standing"], "open");

    let told = approver.post(api, &ask("sign-off"), &good).await.expect(200);
    assert_eq!(told["name"], "appointment-reminder");
    let now = clinic.stands("es").await;
    assert_eq!(
        (&now["standing"], &now["by"], &now["hash"]),
        (&json!("signed_off"), &json!("ana"), &json!(hash))
    );
    assert_eq!(now["note"], "read with the interpreters");
    assert_eq!(clinic.written_in("signed").await, "es", "at once, on this worker");
    let linted = approver.get(api, &ask("lint")).await.expect(200);
    let open: Vec<&str> = linted["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["rule"] == "not-approved")
        .map(|found| found["message"].as_str().unwrap())
        .collect();
    assert_eq!(open, ["zh-Hans is not approved and is sent in tests only"]);

    // Another worker takes it back: this one hears of it within a sign of life or two.
    let template = TemplateName::parse("appointment-reminder").unwrap();
    let word = Word { template: &template, locale: "es", by: "cli:cleo", note: "the hours are wrong" };
    assert!(api.worker.store.take_back_sign_off(&word).await.unwrap());
    clinic.until_written_in("taken", "en").await;
    assert_eq!(clinic.stands("es").await["standing"], "taken_back");
    api.worker.store.sign_off(&word, &hash).await.unwrap();
    clinic.until_written_in("again", "es").await;

    // And it is taken back here; what the file approves is not.
    let take = |locale: &str| json!({"locale": locale, "note": "wrong number"});
    approver.post(api, &ask("take-back"), &take("es")).await.expect(200);
    assert_eq!(clinic.written_in("back").await, "en");
    approver.post(api, &ask("take-back"), &take("es")).await.problem(409);
    let refused = approver.post(api, &ask("take-back"), &take("en")).await.problem(409);
    assert!(refused["errors"][0]["cure"].as_str().unwrap().contains("`approved`"));

    // Texts that change are nobody's: and those of before are somebody's again.
    approver.post(api, &ask("sign-off"), &good).await.expect(200);
    let text = dir.path().join("_partials/es/greeting.hbs");
    let before = std::fs::read_to_string(&text).unwrap();
    std::fs::write(&text, format!("Hola. {before}")).unwrap();
    assert!(api.worker.catalogue.reload().unwrap());
    assert_eq!(clinic.written_in("changed").await, "en");
    let now = clinic.stands("es").await;
    assert_eq!((&now["standing"], &now["by"]), (&json!("changed"), &json!("ana")));
    assert_ne!(now["hash"], json!(hash));
    std::fs::write(&text, before).unwrap();
    assert!(api.worker.catalogue.reload().unwrap());
    assert_eq!(clinic.written_in("as-before").await, "es");

    let acts = "SELECT count(*) FROM audit WHERE who = 'ana' AND subject = 'appointment-reminder' AND act = ";
    assert_eq!(api.count(&format!("{acts} 'template.sign_off'")).await, 2);
    assert_eq!(api.count(&format!("{acts} 'template.take_back'")).await, 1);
    clinic.api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_source_signs_nothing_off() {
    let token = "token-of-machine-0123456789abcdef";
    let more = format!(
        "[[api.tokens]]\nname = \"machine\"\ntoken = \"{token}\"\nscopes = [\"templates:approve\"]\nsources = [\"lakeside-ehr\"]\n"
    );
    let api = Api::open("", &more).await;
    let hash = stands(&api.get("/v1/templates").await.expect(200), "es")["hash"].clone();
    let body = json!({"locale": "es", "hash": hash, "note": "x"});
    let path = format!("{PATH}/sign-off");
    send(api.request(&Method::POST, &path).bearer_auth(token).json(&body)).await.problem(403);
    // What the file approves may be signed off as well: before it is taken out there.
    api.post(&path, &body).await.expect(200);
    assert_eq!(stands(&api.get("/v1/templates").await.expect(200), "es")["standing"], "signed_off");
    api.close().await;
}
