//! How long the console's pages and the lists of the API take over a large ledger (`pages.sql`).
#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::api::Api;

/// Every page of the console, by what it asks; then lists with filters that find much, little, and nothing.
const ROUTES: &[&str] = &[
    "/v1/now",
    "/v1/alerts",
    "/v1/holds",
    "/v1/work-items?limit=200",
    "/v1/work-items?state=open&limit=200",
    "/v1/work-items?state=closed&limit=200",
    "/v1/work-items?kind=safety&limit=200",
    "/v1/work-items?kind=safety&state=closed&limit=200",
    "/v1/work-items?site=site-07&limit=200",
    "/v1/work-items?site=closed&limit=200",
    "/v1/work-items?message_id={message}",
    "/v1/dead?limit=500",
    "/v1/dead?reason=bad_data&limit=500",
    "/v1/dead?source=rare-ehr&limit=500",
    "/v1/campaigns?limit=200",
    "/v1/campaigns?open=true&limit=200",
    "/v1/campaigns/campaign-11",
    "/v1/campaigns/campaign-11/report?soon=true",
    "/v1/campaigns/campaign-00/report?soon=true",
    "/v1/campaigns/campaign-11/recipients?limit=1000",
    "/v1/messages/{message}",
    "/v1/messages/{message}/explain",
    "/v1/patients/P0000007?masked=true",
    "/v1/templates",
    "/v1/providers",
    "/v1/callbacks",
    "/v1/audit?limit=100",
    "/v1/audit?who=axel&limit=100",
    "/v1/audit?who=nobody&limit=100",
    "/v1/audit?before=1000&limit=100",
    "/v1/messages",
    "/v1/messages?status=sent",
    "/v1/messages?status=delivered",
    "/v1/messages?status=failed",
    "/v1/messages?status=unknown",
    "/v1/messages?status=held",
    "/v1/messages?status=accepted",
    "/v1/messages?status=sending",
    "/v1/messages?status=suppressed&reason=opted_out",
    "/v1/messages?status=failed&reason=landline",
    "/v1/messages?status=failed&template=given-up",
    "/v1/messages?status=failed&channel=portal",
    "/v1/messages?reason=deceased",
    "/v1/messages?channel=sms",
    "/v1/messages?channel=portal",
    "/v1/messages?provider=sms-one",
    "/v1/messages?provider=sms-old",
    "/v1/messages?provider=nobody",
    "/v1/messages?template=appointment-reminder",
    "/v1/messages?template=given-up",
    "/v1/messages?template=result-available",
    "/v1/messages?template=none",
    "/v1/messages?source=lakeside-ehr",
    "/v1/messages?source=rare-ehr",
    "/v1/messages?source=none",
    "/v1/messages?site=site-07",
    "/v1/messages?site=closed",
    "/v1/messages?campaign_id=campaign-11",
    "/v1/messages?campaign_id=campaign-00",
    "/v1/messages?campaign_id=campaign-11&status=failed",
    "/v1/messages?campaign_id=campaign-00&status=delivered",
    "/v1/messages?campaign_id=campaign-11&status=failed&reason=landline",
    "/v1/messages?patient_id=P0000001&limit=50",
    "/v1/messages?patient_id=P0000007&limit=50",
    "/v1/messages?job_id=job-500",
    "/v1/messages?about=visit-300",
    "/v1/messages?about=visit-300&source=lakeside-ehr",
    "/v1/messages?since={since}&until={until}",
    "/v1/messages?since={since}&until={until}&template=given-up",
];

/// What programs ask, and no page: a whole count, and what has changed. Told beside the others, without a limit.
const FOR_PROGRAMS: &[&str] = &[
    "/v1/campaigns/campaign-11/report",
    "/v1/messages?changed_since={since}",
    "/v1/messages?changed_since={until}",
    "/metrics",
];

/// Fills a ledger with so many messages and asks every route so often: none may take longer than `limit`, but for one in
/// twenty.
pub(crate) async fn over(title: &str, messages: u32, times: usize, limit: Duration) {
    let api = Api::open("", "").await;
    fill(&api, messages).await;
    let first = api.get("/v1/messages?limit=1").await.expect(200);
    let message = first["messages"][0]["id"].as_str().unwrap().to_owned();
    let now = jiff::Timestamp::now();
    let back = |hours| (now - jiff::SignedDuration::from_hours(hours)).to_string();
    let (since, until) = (back(47 * 24), back(47 * 24 - 6));
    let spelt = |route: &str| {
        route.replace("{message}", &message).replace("{since}", &since).replace("{until}", &until)
    };
    let mut routes: Vec<String> = ROUTES.iter().map(|route| spelt(route)).collect();
    // Far back in every list of messages, by the cursor of a page there.
    let far = api.get(&spelt("/v1/messages?until={since}&limit=1")).await.expect(200);
    let cursor = far["next"].as_str().unwrap().to_owned();
    let lists = ROUTES.iter().filter(|route| route.starts_with("/v1/messages?") && !route.contains("since"));
    routes.extend(lists.map(|route| format!("{route}&cursor={cursor}")));

    let (mut told, mut slow) = (Vec::new(), Vec::new());
    for route in &routes {
        let times = ask(&api, route, times).await;
        if times.p95 > limit {
            slow.push(format!("{route}: {:?}", times.p95));
        }
        told.push(times.told(route));
    }
    let mut programs = Vec::new();
    for route in FOR_PROGRAMS {
        programs.push(ask(&api, &spelt(route), 3.min(times)).await.told(route));
    }
    let walked = walk(&api, "template=given-up").await;
    println!(
        "{}",
        json!({"proof": title, "messages": messages, "limit_ms": limit.as_millis() as u64, "routes": told,
            "for_programs": programs, "pages_to_what_is_far_back": walked})
    );
    api.close().await;
    assert!(slow.is_empty(), "{slow:#?}");
}

/// How long a route took.
struct Times {
    p50: Duration,
    p95: Duration,
    max: Duration,
}

impl Times {
    fn told(&self, route: &str) -> Value {
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        json!({"route": route, "p50_ms": ms(self.p50), "p95_ms": ms(self.p95), "max_ms": ms(self.max)})
    }
}

async fn ask(api: &Api, route: &str, times: usize) -> Times {
    let mut took = Vec::new();
    for _ in 0..times.max(1) {
        let began = Instant::now();
        let answer = api.get(route).await;
        took.push(began.elapsed());
        assert!(answer.status.is_success(), "{route}: {}", answer.text);
    }
    took.sort();
    let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    Times { p50: at(50), p95: at(95), max: at(100) }
}

/// Goes through all pages of a list and finds exactly what is there, each once; answers how many pages that were.
async fn walk(api: &Api, filter: &str) -> usize {
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = api.get(&format!("/v1/messages?{filter}&limit=1000{cursor}")).await.expect(200);
        let ids =
            page["messages"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let there = api.count("SELECT count(*) FROM messages WHERE template = 'given-up'").await;
    assert_eq!(i64::try_from(seen.len()).unwrap(), there);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first, each once");
    pages
}

async fn fill(api: &Api, messages: u32) {
    api.patient("SAMPLE").await;
    for n in 0..12 {
        let plan = json!({"id": format!("campaign-{n:02}"), "source": "lakeside-ehr", "template": "vaccine-invitation",
            "data": {"vaccine": "influenza"}, "audience": {"min_age": 65}});
        assert_eq!(api.post("/v1/campaigns", &plan).await.status, 201);
    }
    let mut ledger = PgConnection::connect(&api.url()).await.unwrap();
    let text = include_str!("pages.sql").replace(":messages", &messages.to_string());
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut ledger).await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut ledger).await.unwrap();
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn every_page_is_there_over_a_ledger_of_all_kinds() {
    over("pages, short", 4_000, 1, Duration::from_secs(30)).await;
}
