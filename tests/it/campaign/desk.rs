//! By command and over HTTP, as the README has it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{people, settings};

fn outreachd(folder: &Path, words: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_outreachd"))
        .args(words)
        .current_dir(folder)
        // Who somebody is does not come from there.
        .env("USER", "somebody-else")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), text)
}

/// A colleague agrees: somebody else than the account that runs the tests.
fn colleague_approves(folder: &Path, recipients: u64) {
    use outreachd::campaign::{Office, Wish};
    use outreachd::{app, config::Config, domain::ids::CampaignId, intake::Gatekeeper};
    let url = format!("sqlite://{}", folder.join("ledger.db").display());
    let config = std::sync::Arc::new(Config::from_toml(&settings(&url, "capture")).unwrap());
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    let gatekeeper = Gatekeeper::new(config.clone(), catalogue.clone());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = app::open_store(&config).await.unwrap();
        let office = Office { store, config, catalogue, gatekeeper, dispatcher: None };
        let id = CampaignId::parse("visit").unwrap();
        office.wish(&id, "bob", &Wish::Approve(recipients, None)).await.unwrap();
    });
}

#[test]
fn a_coordinator_and_a_colleague_send_a_campaign_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("outreachd.toml"), settings("sqlite://ledger.db", "capture")).unwrap();
    std::fs::write(path.join("people.csv"), people(1, 600)).unwrap();
    std::fs::write(path.join("booked.txt"), "\u{feff}P1\nP2\n").unwrap();
    let run = |words: &str| outreachd(path, &words.split(' ').collect::<Vec<_>>());
    assert!(run("migrate").0);
    let create = "campaign create visit --template appointment-reminder --site lakeside-north --source lakeside-ehr \
                  --data starts_at=2036-12-01T15:30:00-06:00 --data practitioner=Chen --audience people.csv \
                  --exclude booked.txt --per-minute 600 --start 2036-11-28T10:00";
    let (good, text) = run(create);
    assert!(good && text.contains("600 added") && text.contains("598 people are meant"), "{text}");
    // Cut off and given again it adds nobody twice.
    assert!(run(create).1.contains("600 there before"));

    let (good, text) = run("campaign dry-run visit --json");
    let forecast: Value = serde_json::from_str(&text).unwrap();
    assert!(good);
    assert_eq!(
        (forecast["would_get"].as_u64(), forecast["by_language"]["en"].as_u64()),
        (Some(598), Some(598))
    );
    assert_eq!(forecast["first_send_at"], "2036-11-28T16:00:00Z", "ten o'clock in Chicago");
    assert!(forecast["samples"][0]["text"].as_str().unwrap().contains("Lakeside"), "{forecast}");
    let (good, text) = run("campaign start visit");
    assert!(!good && text.contains("--recipients 598"), "{text}");
    assert!(!run("campaign approve visit --recipients 598").0, "not one's own");
    colleague_approves(path, 598);
    assert!(run("campaign start visit").1.contains("running"));
    assert!(run("campaign pause visit").1.contains("paused (operator)"));
    assert!(run("campaign list").1.contains("visit"));
    let (good, _) = run("campaign report visit --csv result.csv");
    let csv = std::fs::read_to_string(path.join("result.csv")).unwrap();
    assert!(good && csv.starts_with("\u{feff}row,patient_id") && csv.lines().count() == 601, "{csv}");
    for (words, missing) in
        [("", "--none"), (" --hours always", "--per-minute"), (" --none --per-hour 9", "--none")]
    {
        let (good, text) = run(&format!("campaign pace visit{words}"));
        assert!(!good && text.contains(missing), "{words}: {text}");
    }
    assert!(run("campaign cancel visit").1.contains("cancelled"));
    assert!(!run("campaign resume visit").0);
    let log = run("audit list --json").1;
    for act in ["create", "audience", "start", "pause", "cancel"] {
        assert!(log.contains(&format!("\"campaign.{act}\"")), "{act}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_http() {
    use outreachd::app::{self, Worker};
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("ledger.db").display());
    let config =
        std::sync::Arc::new(outreachd::config::Config::from_toml(&settings(&url, "capture")).unwrap());
    let store = app::open_store(&config).await.unwrap();
    store.migrate().await.unwrap();
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    let worker = Worker::start(config, store, catalogue).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}/v1/campaigns", worker.http);
    let post = async |path: &str, body: Value| {
        let answer = client.post(format!("{base}{path}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let plan = json!({"id": "visit", "source": "lakeside-ehr", "template": "appointment-reminder", "site": "lakeside-north",
        "data": {"starts_at": "2036-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"}, "canary": 2});
    assert_eq!(post("", plan.clone()).await.0, 201);
    assert_eq!(post("", plan.clone()).await.0, 201, "who got no answer asks again");
    let mut other = plan;
    other["canary"] = json!(3);
    assert_eq!(post("", other).await.0, 409);
    let (status, problem) = post("", json!({"id": "x", "source": "lakeside-ehr", "template": "none"})).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("template")));
    let sent = client
        .post(format!("{base}/visit/audience"))
        .header("content-type", "text/csv")
        .body(people(1, 5))
        .send()
        .await
        .unwrap();
    let brought: Value = serde_json::from_str(&sent.text().await.unwrap()).unwrap();
    assert_eq!(brought["added"], 5, "{brought}");
    assert_eq!(post("/visit/dry-run", json!({})).await.1["would_get"], 5);
    assert_eq!(post("/visit/pace", json!({"per_minute": 60000})).await.0, 200);
    assert_eq!(post("/visit/start", json!({})).await.1["state"], "running");
    let get = async |path: &str| -> Value {
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    while get("/visit").await["state"] != "canary_hold" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(post("/visit/done", json!({"patient_ids": ["P5"]})).await.1["left_out"], 1);
    assert_eq!(post("/visit/approve", json!({"recipients": 4})).await.1["state"], "running");
    while get("/visit").await["state"] != "done" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let report = get("/visit/report").await;
    assert_eq!(report["report"]["lines"][0]["count"], 4, "{report}");
    let rows = get("/visit/recipients").await;
    assert_eq!(rows["recipients"][4]["reason"], "no_longer_needed");
    assert_eq!(post("/visit/resume", json!({})).await.0, 409);
    worker.stop().await;
}
