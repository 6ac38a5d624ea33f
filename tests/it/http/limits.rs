//! Whatever comes, there is an end to it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::api::{Api, job};
use super::webhooks::RELAY;

/// A request whose body does not come.
async fn stalled(api: &Api, path: &str, media: &str) -> TcpStream {
    let mut stream = TcpStream::connect(api.worker.http).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\ncontent-length: 90\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut text = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut text)).await.unwrap().unwrap();
    String::from_utf8(text[..read].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_there_is_room_for_are_told_to_come_back() {
    let api = Api::open("max_in_flight = 2\nrequest_timeout = \"5s\"", "").await;
    let json = "application/json";
    let (mut one, _two) = (stalled(&api, "/v1/jobs", json).await, stalled(&api, "/v1/jobs", json).await);
    // Both have their place before anybody else asks for one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let end = Instant::now() + Duration::from_secs(2);
    let refused = loop {
        let asked = api.get("/v1/holds").await;
        if asked.status != 200 || Instant::now() > end {
            break asked;
        }
    };
    let problem = refused.problem(503);
    assert_eq!(problem["type"], "urn:outreachd:problem:busy");
    assert_eq!(refused.headers["retry-after"], "2");
    api.get("/healthz").await.expect(200);
    api.get("/readyz").await.expect(200);

    let late = answer(&mut one).await;
    assert!(late.starts_with("HTTP/1.1 408") && late.contains("urn:outreachd:problem:stalled"), "{late}");
    api.get("/v1/holds").await.expect(200);
    api.close().await;
}

/// What strangers send slowly ends soon, and keeps no provider out meanwhile; nor the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_have_room_of_their_own() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let api = Api::open("max_in_flight = 4", RELAY).await;
    let ask = async |path: &str| api.post_raw(path, FORM, "x=1").await.status.as_u16();
    let mut slow = stalled(&api, "/u/a", FORM).await;
    // It has its place before anybody else asks for one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((ask("/u/b").await, ask("/webhooks/nobody").await), (503, 404));
    let late = answer(&mut slow).await;
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
    let _slow = stalled(&api, "/webhooks/mail", FORM).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((ask("/webhooks/nobody").await, ask("/u/b").await), (503, 404));
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_says_nothing_is_let_go() {
    let api = Api::open("request_timeout = \"1s\"", "").await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for start in ["", "P", "PRI * HTTP/2.0", "GET /heal"] {
        let mut stream = TcpStream::connect(api.worker.http).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        silent.push((start, stream));
    }
    for (start, mut stream) in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{start:?} is kept");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    api.get("/healthz").await.expect(200);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_however_it_comes() {
    let api = Api::open("max_body = \"256KiB\"", "").await;
    let large = format!("[{}]", vec![job("j1", "P1").to_string(); 2_000].join(","));
    assert!(large.len() > 256 << 10);
    api.post_raw("/v1/jobs", "application/json", large.clone()).await.problem(413);
    api.post_chunked("/v1/jobs", "application/json", &large).await.problem(413);

    let many = format!("[{}]", vec!["1"; 1_001].join(","));
    api.post_raw("/v1/jobs", "application/json", many).await.problem(400);
    api.post_raw("/v1/jobs", "application/x-ndjson", "1\n".repeat(1_001)).await.problem(413);
    let most = api.post_raw("/v1/jobs", "application/x-ndjson", "1\n".repeat(1_000)).await.expect(200);
    assert_eq!(most.as_array().unwrap().len(), 1_000);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_keep_out_of_it() {
    let api = Api::open("", "").await;
    for answer in [
        api.get("/healthz").await,
        api.get("/v1/nothing").await,
        api.delete("/v1/jobs").await,
        api.post("/v1/jobs", &json!({})).await,
        api.get("/metrics").await,
    ] {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(
            answer.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
        );
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished_before_the_door_closes() {
    let api = Api::open("", "").await;
    let body = job("j1", "P1").to_string();
    let mut stream = TcpStream::connect(api.worker.http).await.unwrap();
    let (first, rest) = body.split_at(10);
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Under way: the API has the head once it has answered another request.
    api.get("/healthz").await.expect(200);
    let address = api.worker.http;
    let stopping = tokio::spawn(api.close());
    let closed = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < closed, "new callers are still let in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream.write_all(rest.as_bytes()).await.unwrap();
    let told = answer(&mut stream).await;
    assert!(told.starts_with("HTTP/1.1 202"), "{told}");
    stopping.await.unwrap();
}
