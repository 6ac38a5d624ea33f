//! Campaigns as people of the console have them: who plans, who agrees, who may only stop; and what each is shown.

use std::fmt::Write as _;

use outreachd::domain::people::Role;
use reqwest::Method;
use serde_json::json;

use super::api::{Answer, Api, send};
use super::people::Someone;

/// A list of 600 people, and of three rows that cannot be taken.
fn list() -> String {
    let mut text = "patient_id,starts_at,practitioner\n".to_owned();
    for n in 1..=600 {
        writeln!(text, "P{n},2036-12-01T15:30:00-06:00,Dr. Chen").unwrap();
    }
    text + "P601,03/04/2036,Dr. Chen\nP1,2036-12-01T15:30:00-06:00,again\n-2+3,03/04/2036,=HYPERLINK(1)\n"
}

async fn upload(someone: &Someone, api: &Api, path: &str, text: String) -> Answer {
    let request = api.request(&Method::POST, path).header("content-type", "text/csv").body(text);
    send(someone.sign(request)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_plans_another_agrees_and_neither_does_both() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let cora = Someone::with(&api, "cora", Role::Coordinator, &[]).await;
    let axel = Someone::with(&api, "axel", Role::Approver, &[]).await;
    let olga = Someone::with(&api, "olga", Role::Operator, &[]).await;
    let nora = Someone::with(&api, "nora", Role::Coordinator, &["lakeside-north"]).await;
    let plan = |id: &str| {
        json!({"id": id, "source": "lakeside-ehr", "template": "appointment-reminder", "canary": 0,
        "site": "lakeside-north", "start": {"local": "2036-11-20T10:00"}, "pace": {"per_hour": 300}})
    };
    axel.post(&api, "/v1/campaigns", &plan("visit")).await.problem(403);
    nora.post(&api, "/v1/campaigns", &plan("visit")).await.problem(403);
    cora.post(&api, "/v1/campaigns", &plan("visit")).await.expect(201);

    // The rows that are not taken come back as they came, to be mended: with what is wrong, and no formula.
    let path = "/v1/campaigns/visit/audience?refused_file=true";
    assert_eq!(upload(&axel, &api, path, list()).await.status, 403);
    let brought = upload(&cora, &api, path, list()).await.expect(200);
    assert_eq!((&brought["added"], &brought["refused"]), (&json!(600), &json!(3)), "{brought}");
    let file = brought["refused_file"].as_str().unwrap();
    assert!(
        file.starts_with("\u{feff}patient_id,starts_at,practitioner,") && file.contains("P601,03/04/2036"),
        "{file}"
    );
    assert!(file.contains("'-2+3,") && file.contains("'=HYPERLINK(1)"), "{file}");

    // People see counts; the texts, which say what stands in the list, with a reason.
    let foreseen = axel.post(&api, "/v1/campaigns/visit/dry-run", &json!({})).await.expect(200);
    assert_eq!((&foreseen["recipients"], &foreseen["would_get"]), (&json!(600), &json!(1)), "{foreseen}");
    assert_eq!(foreseen["excluded"]["unknown_patient"], 599);
    assert!(
        foreseen["samples"][0]["channel"] == "sms" && foreseen["samples"][0]["text"].is_null(),
        "{foreseen}"
    );
    let reveal = "/v1/campaigns/visit/reveal";
    axel.post(&api, reveal, &json!({})).await.problem(422);
    olga.post(&api, reveal, &json!({"reason": "just looking"})).await.problem(403);
    let shown = axel.post(&api, reveal, &json!({"reason": "approving it"})).await.expect(200);
    assert!(shown["samples"][0]["text"].as_str().unwrap().contains("Lakeside North"), "{shown}");

    // It needs somebody else, whose office it is, and who types the number.
    let approve = "/v1/campaigns/visit/approve";
    assert_eq!(
        cora.post(&api, "/v1/campaigns/visit/start", &json!({})).await.expect(200)["state"],
        "awaiting_approval"
    );
    cora.post(&api, approve, &json!({"recipients": 600})).await.problem(403);
    axel.post(&api, approve, &json!({"recipients": 599})).await.problem(409);
    axel.post(&api, approve, &json!({"recipients": 600})).await.expect(200);
    axel.post(&api, "/v1/campaigns/visit/start", &json!({})).await.problem(403);
    assert_eq!(
        cora.post(&api, "/v1/campaigns/visit/start", &json!({})).await.expect(200)["state"],
        "running"
    );
    let row = cora.get(&api, "/v1/campaigns/visit").await.expect(200);
    assert!(row["expected_end"].as_str().is_some_and(|at| at > row["changed_at"].as_str().unwrap()), "{row}");

    // Whoever is on call may stop it, and no more.
    olga.post(&api, "/v1/campaigns/visit/resume", &json!({})).await.problem(403);
    assert_eq!(olga.post(&api, "/v1/campaigns/visit/pause", &json!({})).await.expect(200)["state"], "paused");
    axel.post(&api, "/v1/campaigns/visit/resume", &json!({})).await.problem(403);
    cora.post(&api, "/v1/campaigns/visit/cancel", &json!({})).await.expect(200);

    // The report as a table, over more than one page of rows.
    let table = olga.get(&api, "/v1/campaigns/visit/export").await;
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    assert!(
        table.text.starts_with("\u{feff}row,patient_id,status") && table.text.lines().count() == 601,
        "{}",
        table.text
    );
    assert_eq!(olga.get(&api, "/v1/campaigns/visit/export?refused=true").await.text.lines().count(), 601);
    nora.get(&api, "/v1/campaigns/visit/export").await.problem(403);

    // A small one needs nobody; its canary may be looked at by its own people.
    cora.post(&api, "/v1/campaigns", &plan("small")).await.expect(201);
    upload(
        &cora,
        &api,
        "/v1/campaigns/small/audience",
        "patient_id,starts_at,practitioner\n=1,2036-12-01T15:30:00-06:00,C\nP1,2036-12-01T15:30:00-06:00,C\n"
            .to_owned(),
    )
    .await
    .expect(200);
    cora.post(&api, "/v1/campaigns/small/approve", &json!({"recipients": 1})).await.expect(200);

    let audit = Someone::with(&api, "root", Role::Admin, &[]).await.get(&api, "/v1/audit").await.expect(200);
    let acts: Vec<[&str; 3]> = audit["audit"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| ["who", "act", "detail"].map(|name| row[name].as_str().unwrap()))
        .filter(|[_, act, _]| act.starts_with("campaign."))
        .collect();
    assert_eq!(
        acts[..9],
        [
            ["cora", "campaign.create", "visit"],
            ["cora", "campaign.audience", "600 added, 3 refused"],
            ["axel", "campaign.reveal", "approving it"],
            ["cora", "campaign.start", ""],
            ["axel", "campaign.approve", "600 recipients"],
            ["cora", "campaign.start", ""],
            ["olga", "campaign.pause", ""],
            ["cora", "campaign.cancel", ""],
            ["cora", "campaign.create", "small"],
        ]
    );
    api.close().await;
}

/// What stands on the page of a draft.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_takes_its_refused_rows_back_and_no_other_list() {
    let api = Api::open("", "").await;
    let cora = Someone::with(&api, "cora", Role::Coordinator, &[]).await;
    let olga = Someone::with(&api, "olga", Role::Operator, &[]).await;
    let plan = json!({"id": "visit", "source": "lakeside-ehr", "template": "appointment-reminder", "canary": 0,
        "site": "lakeside-north", "start": {"local": "2036-11-20T10:00"}});
    cora.post(&api, "/v1/campaigns", &plan).await.expect(201);
    let path = "/v1/campaigns/visit/audience?refused_file=true";
    let day = "2036-12-01T15:30:00-06:00";
    let rows = |rows: &str| format!("patient_id,starts_at,practitioner\n{rows}");
    let list = rows(&format!("P1,{day},Dr. Chen\nP2,03/04/2036,Dr. Chen\n"));
    let brought = upload(&cora, &api, path, list).await.expect(200);
    assert_eq!((&brought["added"], &brought["refused"]), (&json!(1), &json!(1)), "{brought}");
    assert_eq!(brought["refusals"][0]["line"], 3);
    assert_eq!(brought["refusals"][0]["errors"][0]["field"], "starts_at", "{brought}");
    let mended = brought["refused_file"].as_str().unwrap().replace("03/04/2036", day);

    // By whoever plans campaigns, on the console's own page.
    let request = api.request(&Method::POST, path).header("content-type", "text/csv").body(mended.clone());
    let refused = send(request.header("cookie", cora.cookie())).await.problem(403);
    assert!(refused["detail"].as_str().unwrap().contains("X-CSRF-Token"), "{refused}");
    upload(&olga, &api, path, mended.clone()).await.problem(403);
    let other = rows(&format!("P7,{day},Dr. Chen\n"));
    let refused = upload(&cora, &api, path, other.clone()).await.problem(409);
    assert!(refused["errors"][0]["rule"].as_str().unwrap().contains("another list"), "{refused}");
    let row = cora.get(&api, "/v1/campaigns/visit").await.expect(200);
    assert_eq!((&row["size"], &row["state"]), (&json!(1), &json!("draft")), "{row}");

    let brought = upload(&cora, &api, path, mended.clone()).await.expect(200);
    assert_eq!((&brought["added"], &brought["refused"]), (&json!(1), &json!(0)), "{brought}");
    assert_eq!(brought["first_rows"]["rows"][0]["line"], 3, "told by the line that it had");
    let row = cora.get(&api, "/v1/campaigns/visit").await.expect(200);
    assert_eq!((&row["size"], &row["state"]), (&json!(2), &json!("draft")), "{row}");
    let shape = &row["plan"];
    assert!(shape["audience"].is_null() && shape["follows"].is_null(), "by this the page knows: {row}");
    assert_eq!(upload(&cora, &api, path, mended.clone()).await.expect(200)["known"], 1, "and once");

    cora.post(&api, "/v1/campaigns/visit/start", &json!({})).await.expect(200);
    upload(&cora, &api, path, mended).await.problem(409);
    api.close().await;
}
