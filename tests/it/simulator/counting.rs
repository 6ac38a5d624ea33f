//! The hit log: every hit, once each, at speed, and seen by the auditor before it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outreachd::simulator::{
    Auditor, Hit, ProviderKind, Simulator, SimulatorConfig, TextDigest, read_hit_log,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::{PATIENT, SENDER, send, start};
use crate::support::measure::{repeats_by_attempt, repeats_by_send_key};

/// A keep-alive client that costs next to nothing, so that the server is what is measured.
async fn pound(simulator: &Simulator, clients: usize, each: usize) -> Duration {
    use base64::Engine as _;
    let account = &simulator.config().twilio;
    let login = format!("{}:{}", account.account_sid, account.auth_token.expose());
    let authorization = base64::engine::general_purpose::STANDARD.encode(login);
    let body = "To=%2B13125550142&From=%2B13125550100&Body=Lakeside+Health%3A+your+visit+is+on+Tuesday+at+9%3A00.+Reply+C+to+confirm%2C+STOP+to+opt+out.";
    let head = format!(
        "POST /2010-04-01/Accounts/{}/Messages.json HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {authorization}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        account.account_sid,
        simulator.http_addr(),
        body.len()
    );
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (head, address) = (head.clone(), simulator.http_addr());
            tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut answer = vec![0; 8 * 1024];
                for n in 0..each {
                    let request = format!("{head}x-outreach-send-key: {client}-{n}\r\n\r\n{body}");
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let read = stream.read(&mut answer).await.unwrap();
                    assert!(answer[..read].starts_with(b"HTTP/1.1 201"));
                    assert!(answer[..read].ends_with(b"}"), "the answer comes in one piece");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_every_hit_and_keeps_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hits.ndjson");
    let config =
        SimulatorConfig { hit_log: Some(path.clone()), keep_hits: 100, ..SimulatorConfig::default() };
    let simulator = start(config).await;
    let (clients, each) = (16, if cfg!(debug_assertions) { 500 } else { 20_000 });
    let total = (clients * each) as u64;

    let took = pound(&simulator, clients, each).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let per_second = total as f64 / took.as_secs_f64();
    println!("{per_second:.0} messages/s with {clients} keep-alive clients, hit log on");

    assert_eq!(simulator.stats().of(ProviderKind::TwilioSms).hits, total);
    assert_eq!(simulator.hits().len(), 100);
    simulator.shutdown().await.unwrap();
    let hits = read_hit_log(&path).unwrap();
    let repeats = repeats_by_send_key(&hits);
    assert_eq!((repeats.hits, repeats.keys, repeats.extra()), (total, total, 0));
    assert!(hits.iter().all(|hit| hit.to == TextDigest::of(PATIENT.as_bytes()) && hit.taken));
    let raw = std::fs::read_to_string(&path).unwrap();
    assert!(!raw.contains("3125550142") && !raw.contains("Lakeside"));
    // A debug build on a busy machine does several thousand.
    assert!(per_second > 500.0, "{per_second:.0}/s");
}

#[tokio::test]
async fn the_same_message_twice_is_two_hits() {
    let simulator = start(SimulatorConfig::default()).await;
    let callback = "http://127.0.0.1:9/r?attempt=a-1&send_key=k-0";
    let fields = [("To", PATIENT), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", callback)];
    for _ in 0..3 {
        send(&simulator, &fields).await.unwrap();
    }
    simulator.wait_for_hits(3).await;
    assert_eq!(repeats_by_attempt(&simulator.hits()).repeated, [("a-1".to_owned(), 3)].into());
    assert_eq!(repeats_by_send_key(&simulator.hits()).extra(), 2);
}

/// Knows every message but one, and takes its time.
#[derive(Debug, Default)]
struct Ledger {
    may_look: Notify,
    looked: AtomicBool,
}

#[async_trait]
impl Auditor for Ledger {
    async fn is_on_record(&self, hit: &Hit) -> bool {
        self.may_look.notified().await;
        self.looked.store(true, Ordering::SeqCst);
        hit.body != TextDigest::of(b"never written down")
    }
}

#[tokio::test]
async fn the_auditor_sees_a_hit_before_it_is_answered() {
    let ledger = Arc::new(Ledger::default());
    let simulator =
        Simulator::start_audited(SimulatorConfig::default(), Arc::clone(&ledger) as _).await.unwrap();
    let fields = |body| [("To", PATIENT), ("From", SENDER), ("Body", body)];

    let known = fields("written down");
    let answer = send(&simulator, &known);
    tokio::pin!(answer);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut answer).await.is_err(),
        "answered too early"
    );
    assert!(!ledger.looked.load(Ordering::SeqCst));
    ledger.may_look.notify_one();
    assert_eq!(answer.await.unwrap().status(), 201);

    ledger.may_look.notify_one();
    send(&simulator, &fields("never written down")).await.unwrap();
    let audit = simulator.stats().audit;
    assert_eq!((audit.checked, audit.missing, audit.examples.len()), (2, 1, 1));
}
