//! Where nothing may be posted to, nothing is connected to: the table of hostile URLs, against a listener that counts.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use outreachd::callback::{Courier, Letter, Lookup, Unreachable};
use outreachd::config::Config;
use outreachd::config::callback::{Callback, SigningKey};
use outreachd::config::events::CallbacksSection;
use outreachd::domain::destination::Refusal;
use outreachd::domain::ids::EventId;
use outreachd::policy::callback::Answer;
use tokio::net::TcpListener;

use super::receiver::{Mode, Receiver, key};

/// Counts whoever connects.
struct Listener {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Listener {
    async fn open(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Self { port, connections }
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn rules(allow: &str) -> CallbacksSection {
    let text = format!("[events.callbacks]\nallow = [{allow}]\ntimeout = \"5s\"");
    Config::from_toml(&text).unwrap().events.callbacks
}

fn to(url: &str) -> Callback {
    Callback { url: url.to_owned(), keys: vec![SigningKey::parse(&key(1)).unwrap()] }
}

async fn post(courier: &Courier, url: &str) -> String {
    let letter =
        Letter { id: EventId::generate(), body: "{}", traceparent: None, now: jiff::Timestamp::UNIX_EPOCH };
    let posted = courier.post(&to(url), &letter).await;
    assert!(matches!(posted.answer, Answer::Failed { .. }), "{url}: {posted:?}");
    posted.code
}

/// Names lead to these addresses, one list after the other; the last for ever.
fn leading_to(answers: &[&[&str]]) -> Lookup {
    let answers: Vec<Vec<IpAddr>> =
        answers.iter().map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
    let asked = AtomicUsize::new(0);
    Arc::new(move |_| {
        let nth = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[nth].clone();
        async move { Ok(answer) }.boxed()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hostile_url_is_ever_connected_to() {
    let canary = Listener::open("127.0.0.1:0").await;
    let on_v6 = Listener::open("[::1]:0").await;
    let (p, p6) = (canary.port, on_v6.port);
    let urls = [
        (format!("https://127.0.0.1:{p}/"), "address_refused"),
        (format!("http://127.0.0.1:{p}/"), "address_refused"),
        (format!("https://127.1:{p}/"), "address_refused"),
        (format!("https://2130706433:{p}/"), "address_refused"),
        (format!("https://0x7f000001:{p}/"), "address_refused"),
        (format!("https://0177.0.0.1:{p}/"), "address_refused"),
        (format!("https://0x7f.0.0x0.1:{p}/"), "address_refused"),
        (format!("https://127.0.0.1.:{p}/"), "address_refused"),
        (format!("https://127。0。0。1:{p}/"), "address_refused"),
        (format!("https://%31%32%37.0.0.1:{p}/"), "address_refused"),
        (format!("https://0.0.0.0:{p}/"), "address_refused"),
        (format!("https://0:{p}/"), "address_refused"),
        (format!("https://[::1]:{p6}/"), "address_refused"),
        (format!("https://[0:0:0:0:0:0:0:1]:{p6}/"), "address_refused"),
        (format!("https://[::]:{p6}/"), "address_refused"),
        (format!("https://[::ffff:127.0.0.1]:{p}/"), "address_refused"),
        (format!("https://[::ffff:7f00:1]:{p}/"), "address_refused"),
        (format!("https://[::127.0.0.1]:{p}/"), "address_refused"),
        (format!("https://[64:ff9b::127.0.0.1]:{p}/"), "address_refused"),
        (format!("https://[2002:7f00:1::]:{p}/"), "address_refused"),
        (format!("https://[2001:0:7f00:1::]:{p}/"), "address_refused"),
        (format!("https://localhost:{p}/"), "address_refused"),
        (format!("https://LocalHost:{p}/"), "address_refused"),
        (format!("https://ehr.example.org@127.0.0.1:{p}/"), "url_userinfo"),
        (format!("https://u:w@ehr.example.org:{p}/"), "url_userinfo"),
        (format!("http://localhost:{p}/"), "url_plain_http"),
        ("https://10.0.0.1/".to_owned(), "address_refused"),
        ("https://172.16.0.1/".to_owned(), "address_refused"),
        ("https://192.168.0.1/".to_owned(), "address_refused"),
        ("https://100.64.0.1/".to_owned(), "address_refused"),
        ("https://169.254.169.254/latest/meta-data/".to_owned(), "address_refused"),
        ("https://[fd00:ec2::254]/latest/meta-data/".to_owned(), "address_refused"),
        ("https://[fe80::1]/".to_owned(), "address_refused"),
        ("https://224.0.0.1/".to_owned(), "address_refused"),
        ("https://255.255.255.255/".to_owned(), "address_refused"),
        ("https://ehr.example.org:25/".to_owned(), "url_port"),
        ("file:///etc/passwd".to_owned(), "url_scheme"),
        ("ftp://127.0.0.1/".to_owned(), "url_scheme"),
        ("gopher://127.0.0.1:6379/_FLUSHALL".to_owned(), "url_scheme"),
        ("unix:/var/run/docker.sock".to_owned(), "url_scheme"),
        ("".to_owned(), "url_scheme"),
    ];
    let courier = Courier::new(&rules("\"10.20.0.0/16\"")).unwrap();
    for (url, code) in &urls {
        assert_eq!(post(&courier, url).await, *code, "{url}");
        assert!(courier.check(&to(url)).await.is_err(), "{url}");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((canary.count(), on_v6.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_the_second_time_gains_nothing() {
    // 127.0.0.2 stands for the open internet: it is allowed here, and 127.0.0.1 is not.
    let open = Listener::open("127.0.0.2:0").await;
    let canary = TcpListener::bind(("127.0.0.1", open.port)).await.unwrap();
    let allow = rules("\"127.0.0.2\"");
    let url = format!("https://rebind.example.org:{}/", open.port);

    let courier = Courier::with_lookup(&allow, leading_to(&[&["127.0.0.2"], &["127.0.0.1"]])).unwrap();
    assert_ne!(post(&courier, &url).await, "address_refused", "the first is connected to; it speaks no TLS");
    let reached = open.count();
    assert!(reached > 0);
    assert_eq!(post(&courier, &url).await, "address_refused");

    // Nor does an address hidden among good ones, or in the spelling of another family.
    for answer in [&["127.0.0.2", "127.0.0.1"][..], &["::ffff:127.0.0.1"], &["169.254.169.254"], &["::1"]] {
        let courier = Courier::with_lookup(&allow, leading_to(&[answer])).unwrap();
        assert_eq!(post(&courier, &url).await, "address_refused", "{answer:?}");
        assert_eq!(courier.check(&to(&url)).await, Err(Unreachable::Refused(Refusal::Address)), "{answer:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(100), canary.accept()).await;
    assert!(nobody.is_err(), "127.0.0.1 was connected to");
    assert_eq!(open.count(), reached, "no other post got through");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let canary = Listener::open("127.0.0.1:0").await;
    let receiver = Receiver::open_at("127.0.0.2:0").await;
    let courier = Courier::new(&rules("\"127.0.0.2\"")).unwrap();
    for status in [301, 302, 307, 308] {
        let location = format!("http://127.0.0.1:{}/", canary.port);
        receiver.set(Mode::Answer(status, vec![("location", location)]));
        assert_eq!(post(&courier, &receiver.url()).await, format!("http_{status}"));
    }
    assert_eq!(canary.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_names_is_reached() {
    let receiver = Receiver::open().await;
    let courier = Courier::with_lookup(&rules("\"ehr.intranet\""), leading_to(&[&["127.0.0.1"]])).unwrap();
    let url = format!("http://ehr.intranet:{}/results", receiver.address.port());
    assert_eq!(courier.check(&to(&url)).await, Ok(()));
    receiver.set(Mode::Answer(500, Vec::new()));
    let letter =
        Letter { id: EventId::generate(), body: "{}", traceparent: None, now: jiff::Timestamp::UNIX_EPOCH };
    assert_eq!(courier.post(&to(&url), &letter).await.code, "http_500");
    assert_eq!(receiver.got().len(), 1);
    let other = url.replace("ehr.intranet", "other.intranet").replace("http:", "https:");
    assert_eq!(courier.post(&to(&other), &letter).await.code, "address_refused");
}
