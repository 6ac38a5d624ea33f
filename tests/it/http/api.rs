//! A running API and a client for it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app::{self, Worker};
use outreachd::config::Config;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::described::{self, Asked};
use crate::support::shared::TestDatabase;

/// Stop it with [`Api::close`].
pub(super) struct Api {
    pub(super) worker: Worker,
    pub(super) client: reqwest::Client,
    database: TestDatabase,
}

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    asked: Asked,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The answer as JSON, if it has this status and is as the description of the API says.
    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() {
            return Value::Null;
        }
        let told = self.json();
        described::hold(&self.asked, status, &self.headers, &told);
        told
    }

    /// The problem details, if they are whole and of this status.
    #[track_caller]
    pub(super) fn problem(&self, status: u16) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status);
        for name in ["type", "title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {problem}");
        }
        for error in problem["errors"].as_array().unwrap() {
            for name in ["field", "reason", "rule", "cure"] {
                assert!(error[name].is_string(), "{name}: {problem}");
            }
        }
        problem
    }
}

impl Api {
    /// Opens with two sources, more lines for `[http]`, and more sections.
    pub(super) async fn open(http: &str, more: &str) -> Self {
        let database = TestDatabase::migrated().await;
        let url = database.url();
        Self::open_at(database, &url, http, more).await
    }

    /// The same, reaching the database by another address.
    pub(super) async fn open_at(database: TestDatabase, url: &str, http: &str, more: &str) -> Self {
        let templates = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/templates"));
        Self::with(database, url, http, more, templates).await
    }

    /// The same with templates of its own.
    pub(super) async fn open_templates(http: &str, more: &str, templates: &Path) -> Self {
        let database = TestDatabase::migrated().await;
        let url = database.url();
        Self::with(database, &url, http, more, templates).await
    }

    async fn with(database: TestDatabase, url: &str, http: &str, more: &str, templates: &Path) -> Self {
        let templates = templates.display();
        let text = format!(
            r#"
            [store]
            url = "{url}"
            [http]
            listen = "127.0.0.1:0"
            {http}
            [organisation]
            name = "Lakeside Health"
            timezone = "America/Chicago"
            # One patient gets many here, at whatever hour.
            [policy.hours]
            channels = []
            [policy.cap]
            per_day = 0
            per_week = 0
            [policy.digest]
            most = 1
            [templates]
            dir = "{templates}"
            [[source]]
            name = "lakeside-ehr"
            purposes = ["appointment", "care", "results", "billing", "prevention", "survey", "marketing", "emergency"]
            [[source]]
            name = "other-ehr"
            [[site]]
            id = "lakeside-north"
            name = "Lakeside North"
            phone = "+13125550100"
            {more}
            "#
        );
        let config = Arc::new(Config::from_toml(&text).unwrap());
        let store = app::open_store(&config).await.unwrap();
        store.migrate().await.unwrap();
        let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
        let worker = Worker::start(config, store, catalogue).await.unwrap();
        described::learn(worker.http).await;
        Self { worker, client: reqwest::Client::builder().no_proxy().build().unwrap(), database }
    }

    pub(super) fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        self.client.request(method.clone(), format!("http://{}{path}", self.worker.http))
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        send(self.request(&Method::GET, path)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        send(self.request(&Method::DELETE, path)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(&Method::POST, path).json(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.request(&Method::PUT, path).json(body)).await
    }

    /// A POST of bytes as they are.
    pub(super) async fn post_raw(&self, path: &str, media: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(&Method::POST, path).header("content-type", media).body(body)).await
    }

    /// The same in chunks, without a length told beforehand.
    pub(super) async fn post_chunked(&self, path: &str, media: &str, text: &str) -> Answer {
        let stream = TcpStream::connect(self.worker.http).await.unwrap();
        let (mut from, mut to) = stream.into_split();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            // The server may close before it has read all of it; what it said until then counts.
            let _ = from.read_to_end(&mut all).await;
            String::from_utf8(all).unwrap()
        });
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        to.write_all(head.as_bytes()).await.unwrap();
        for piece in text.as_bytes().chunks(16 << 10) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let _ = to.write_all(b"0\r\n\r\n").await;
        let told = reading.await.unwrap();
        let (head, text) = told.split_once("\r\n\r\n").unwrap();
        let status = StatusCode::from_bytes(&head.as_bytes()[9..12]).unwrap();
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let asked = Asked::nothing_of(Method::POST, path);
        Answer { status, headers, text: text.to_owned(), asked }
    }

    /// Where the database is.
    pub(super) fn url(&self) -> String {
        self.database.url()
    }

    /// A statement straight to the database.
    pub(super) async fn sql(&self, statement: String) {
        let mut connection = PgConnection::connect(&self.database.url()).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A number straight from the database.
    pub(super) async fn count(&self, query: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.database.url()).await.unwrap();
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()));
        let count = query.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Tells a patient with a mobile number.
    pub(super) async fn patient(&self, id: &str) {
        let body = json!({"language": "en", "contacts": [{"channel": "sms", "address": "+13125550142"}]});
        assert!(self.put(&format!("/v1/patients/{id}"), &body).await.status.is_success());
    }

    /// Enqueues a job and gives the id of its message.
    pub(super) async fn enqueue(&self, job: &Value) -> String {
        let told = self.post("/v1/jobs", job).await.expect(202);
        told["message_id"].as_str().unwrap().to_owned()
    }

    /// Waits until the message has this status, and gives it.
    pub(super) async fn until(&self, id: &str, status: &str) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let message = self.get(&format!("/v1/messages/{id}")).await.expect(200);
            if message["status"] == status {
                return message;
            }
            assert!(Instant::now() < end, "waited in vain for {status}: {message}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(super) async fn close(self) {
        self.worker.stop().await;
    }
}

pub(super) async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let asked = Asked::of(&request);
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap(), asked }
}

/// A reminder of a visit far ahead.
pub(super) fn job(id: &str, patient: &str) -> Value {
    json!({
        "id": id, "source": "lakeside-ehr", "patient_id": patient, "template": "appointment-reminder",
        "data": {"starts_at": "2036-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"},
    })
}

/// The same, not sent before a time that does not come.
pub(super) fn later(id: &str, patient: &str) -> Value {
    let mut job = job(id, patient);
    job["not_before"] = json!("2036-11-30T09:00:00-06:00");
    job
}
