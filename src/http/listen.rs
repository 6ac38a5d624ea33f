//! Accepting connections: so many at once, each with a time-out for a request's head.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::route::Peer;

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;
/// From the connection, or the answer before, to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Of HTTP/1 heads and of HTTP/2 header lists.
const MAX_HEAD: usize = 32 * 1024;

/// Accepts until `stop`.
pub(super) async fn run(listener: TcpListener, router: Router, stop: CancellationToken, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let router = router.clone().layer(Extension(Peer(peer.ip())));
                tasks.spawn(converse(stream, router, stop.clone(), permit));
            }
            // Out of file descriptors, mostly: the next moment is better than this one.
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// One connection, to its end; once stopping, to the end of the request under way.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken, _room: OwnedSemaphorePermit) {
    // Without it, small answers wait for the peer's delayed acknowledgement.
    let _best_effort = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD * 2);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(64)
        .keep_alive_interval(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err() {
        tracing::trace!("a connection broke off");
    }
}
