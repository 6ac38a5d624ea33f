//! Accepting connections: so many at once, of one network and of all, each with a time-out for its first bytes and for a
//! request's head, and an end of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::page::network;
use super::route::Peer;
use crate::config::http::HttpSection;

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;
/// ... of them so many of one network, unless it is a proxy or this machine: sixteen of them fill the listener.
const OF_ONE_NETWORK: usize = 256;
/// From the connection, or the answer before, to the end of a request's head; and between two signs of life of HTTP/2.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After so long a connection takes no more requests, whether it is in use or is only kept open.
const AGE: Duration = Duration::from_secs(600);
/// ... and the request that is under way then ends within this: nobody reads so long who reads at all.
const LAST_REQUEST: Duration = Duration::from_secs(3_600);
/// So often the first bytes are looked at while they could still become HTTP/2.
const LOOK: Duration = Duration::from_millis(20);
/// What HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Of HTTP/1 heads and of HTTP/2 header lists.
const MAX_HEAD: usize = 32 * 1024;

/// Accepts until `stop`.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    http: HttpSection,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let crowd = Crowd::default();
    let patience = http.request_timeout.min(HEAD_TIMEOUT);
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let unlimited = peer.ip().to_canonical().is_loopback() || http.trusts(peer.ip());
                let Some(place) = crowd.enter(peer.ip(), unlimited) else {
                    metrics::counter!("outreachd_http_connections_refused_total").increment(1);
                    continue;
                };
                let router = router.clone().layer(Extension(Peer(peer.ip())));
                tasks.spawn(converse(stream, router, patience, stop.clone(), (permit, place)));
            }
            // Out of file descriptors, mostly: the next moment is better than this one.
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// How many connections come from each network.
#[derive(Clone, Debug, Default)]
struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection among those of its network.
#[derive(Debug)]
struct Place {
    crowd: Crowd,
    from: Option<IpAddr>,
}

impl Crowd {
    /// `None`: there are enough from there.
    fn enter(&self, from: IpAddr, unlimited: bool) -> Option<Place> {
        let from = (!unlimited).then(|| network(from));
        if let Some(from) = from {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(from).or_default();
            if *count >= OF_ONE_NETWORK {
                return None;
            }
            *count += 1;
        }
        Some(Place { crowd: self.clone(), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(from) = self.from else { return };
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&from);
            }
        }
    }
}

/// Waits for the bytes that tell the version of HTTP, for hyper waits for them for ever; false: they do not come.
async fn begins(stream: &TcpStream, patience: Duration) -> bool {
    let told = async {
        let mut start = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut start).await {
                Ok(0) | Err(_) => return false,
                Ok(length) if length < PREFACE.len() && PREFACE.get(..length) == start.get(..length) => {
                    tokio::time::sleep(LOOK).await;
                }
                Ok(_) => return true,
            }
        }
    };
    tokio::time::timeout(patience, told).await.unwrap_or(false)
}

/// One connection, to its end; once stopping, or old, to the end of the request under way.
async fn converse(
    stream: TcpStream,
    router: Router,
    patience: Duration,
    stop: CancellationToken,
    _room: (OwnedSemaphorePermit, Place),
) {
    let begun = tokio::select! {
        begun = begins(&stream, patience) => begun,
        () = stop.cancelled() => false,
    };
    if !begun {
        return;
    }
    // Without it, small answers wait for the peer's delayed acknowledgement.
    let _best_effort = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(MAX_HEAD * 2);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(64)
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { tokio::select! { () = stop.cancelled() => {} () = tokio::time::sleep(AGE) => {} } } => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_REQUEST, connection).await.unwrap_or(Ok(()))
        }
    };
    if ended.is_err() {
        tracing::trace!("a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_takes_a_part_of_the_room_only() {
        let crowd = Crowd::default();
        // Of one /64.
        let of = |n: usize| format!("2001:db8::{n:x}").parse::<IpAddr>().unwrap();
        let places: Vec<Place> = (0..OF_ONE_NETWORK).map(|n| crowd.enter(of(n), false).unwrap()).collect();
        assert!(crowd.enter(of(9_999), false).is_none());
        assert!(crowd.enter("192.0.2.1".parse().unwrap(), false).is_some());
        assert!(crowd.enter(of(9_999), true).is_some(), "a proxy");
        drop(places);
        assert!(crowd.0.lock().unwrap().is_empty(), "and nothing is kept of those who have gone");
        assert!(crowd.enter(of(9_999), false).is_some());
    }
}
