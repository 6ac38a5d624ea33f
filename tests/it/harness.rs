//! The harness itself keeps its promises: a test on sand proves nothing.

use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::proxy::{Link, TcpProxy};
use crate::support::shared::TestDatabase;

#[tokio::test]
async fn every_test_has_a_database_to_itself_and_leaves_none_behind() {
    let first = TestDatabase::create().await;
    let second = TestDatabase::create().await;
    let mut in_first = PgConnection::connect(&first.url()).await.unwrap();
    in_first.execute("CREATE TABLE only_here (id int)").await.unwrap();
    let mut in_second = PgConnection::connect(&second.url()).await.unwrap();
    assert!(in_second.execute("SELECT id FROM only_here").await.is_err());

    let url = first.url();
    drop(first);
    assert!(PgConnection::connect(&url).await.is_err(), "the dropped database is gone");
}

#[tokio::test]
async fn the_proxy_forwards_pauses_slows_and_swallows() {
    let (proxy, mut client) = through_proxy_to_echo().await;
    assert_eq!(round_trip(&mut client).await, Some(()));

    proxy.set(Link::Pause);
    assert_eq!(round_trip(&mut client).await, None, "a paused link answers nothing");
    proxy.set(Link::Forward);
    let mut held = [0; 4];
    client.read_exact(&mut held).await.unwrap();
    assert_eq!(&held, b"ping", "and lets go what it held");

    proxy.set(Link::Latency(Duration::from_millis(100)));
    let started = Instant::now();
    assert_eq!(round_trip(&mut client).await, Some(()));
    assert!(started.elapsed() >= Duration::from_millis(200), "once each way");

    proxy.set(Link::Trickle);
    client.write_all(b"ab").await.unwrap();
    let started = Instant::now();
    let mut slow = [0; 2];
    client.read_exact(&mut slow).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(900), "the second byte comes a second later");

    proxy.set(Link::HalfOpen);
    assert_eq!(round_trip(&mut client).await, None, "what goes into a dead link vanishes");
    proxy.set(Link::Forward);
    assert!(!matches!(client.read(&mut [0; 1]).await, Ok(1..)), "a stream that lost bytes never goes on");
    let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(round_trip(&mut fresh).await, Some(()));
}

#[tokio::test]
async fn the_proxy_resets_and_refuses() {
    let (proxy, mut client) = through_proxy_to_echo().await;
    assert_eq!(round_trip(&mut client).await, Some(()));
    proxy.reset();
    let error = client.read(&mut [0; 1]).await.expect_err("the connection is reset, not closed");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(round_trip(&mut client).await, Some(()), "later connections are not touched");
    proxy.set(Link::Refuse);
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(!matches!(refused.read(&mut [0; 1]).await, Ok(1..)));
    assert_eq!(round_trip(&mut client).await, Some(()), "open ones pass");
}

async fn through_proxy_to_echo() -> (TcpProxy, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let proxy = TcpProxy::start(target).await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

/// `None` when no answer comes within 300 ms.
async fn round_trip(client: &mut TcpStream) -> Option<()> {
    client.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    timeout(Duration::from_millis(300), client.read_exact(&mut answer)).await.ok()?.unwrap();
    assert_eq!(&answer, b"ping");
    Some(())
}
