//! A TCP proxy that fails on demand, in the ways networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What happens to the bytes. A change reaches open connections too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// They pass.
    Forward,
    /// They wait, and pass when the link forwards again.
    Pause,
    /// They vanish: both ends believe in the connection, and nothing answers any more. A connection that has lost bytes
    /// is reset when the link changes: no network goes on in the middle of a stream.
    HalfOpen,
    /// Every piece waits this long before it passes.
    Latency(Duration),
    /// One byte a second passes.
    Trickle,
    /// They pass, but [`CORRUPTED`] becomes something that is not UTF-8.
    Corrupt,
    /// New connections are reset as soon as they are accepted; open ones pass.
    Refuse,
}

/// What [`Link::Corrupt`] spoils.
pub(crate) const CORRUPTED: &str = "#corrupted#";

/// Stands between a client and `target` until dropped.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    resets: watch::Sender<u64>,
    /// Held once by this value, once by the listener, once by each connection.
    standing: Arc<()>,
    _tasks: JoinSet<()>,
}

impl TcpProxy {
    /// Listens on a free port and forwards to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (link, link_seen) = watch::channel(Link::Forward);
        let (resets, resets_seen) = watch::channel(0);
        let standing = Arc::new(());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, link_seen, resets_seen, Arc::clone(&standing)));
        Self { address, link, resets, standing, _tasks: tasks }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to the bytes.
    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// How many connections stand at this moment.
    pub(crate) fn connections(&self) -> usize {
        Arc::strong_count(&self.standing).saturating_sub(2)
    }

    /// Resets every open connection, towards both ends, wherever in a frame it stands.
    pub(crate) fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    link: watch::Receiver<Link>,
    resets: watch::Receiver<u64>,
    standing: Arc<()>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *link.borrow() == Link::Refuse {
            let _ = client.set_zero_linger();
            continue;
        }
        let (link, resets, stands) = (link.clone(), resets.clone(), Arc::clone(&standing));
        connections.spawn(async move {
            relay(client, target, link, resets).await;
            drop(stands);
        });
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    link: watch::Receiver<Link>,
    mut resets: watch::Receiver<u64>,
) {
    resets.mark_unchanged();
    let Ok(server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut pumps = JoinSet::new();
    pumps.spawn(pump(client_read, server_write, link.clone(), resets.clone()));
    pumps.spawn(pump(server_read, client_write, link, resets));
    while let Some(ended) = pumps.join_next().await {
        // The other direction goes down with the one that lost bytes.
        if matches!(ended, Ok(End::Lost)) {
            break;
        }
    }
}

/// How one direction of a connection ended.
enum End {
    Closed,
    Lost,
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
    mut resets: watch::Receiver<u64>,
) -> End {
    let lost = tokio::select! {
        biased;
        _ = resets.changed() => true,
        lost = copy(&mut from, &mut to, &mut link) => lost,
    };
    if !lost {
        return End::Closed;
    }
    let _ = to.as_ref().set_zero_linger();
    let _ = from.as_ref().set_zero_linger();
    to.forget();
    End::Lost
}

/// Until one end is gone, or (true) what has lost bytes must not go on.
async fn copy(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, link: &mut watch::Receiver<Link>) -> bool {
    let mut buffer = vec![0; 16 * 1024];
    let mut lost = false;
    loop {
        let length = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            changed = link.wait_for(|link| *link != Link::HalfOpen), if lost => return changed.is_ok(),
        };
        if length == 0 {
            return false;
        }
        lost |= *link.borrow() == Link::HalfOpen;
        if pass(&buffer[..length], to, link).await.is_none() {
            return false;
        }
    }
}

/// Carries one piece as the link allows; `None` when the other end is gone.
async fn pass(mut piece: &[u8], to: &mut OwnedWriteHalf, link: &mut watch::Receiver<Link>) -> Option<()> {
    while !piece.is_empty() {
        let now = *link.borrow_and_update();
        match now {
            Link::Forward | Link::Refuse => {
                to.write_all(piece).await.ok()?;
                return Some(());
            }
            Link::Corrupt => {
                to.write_all(&corrupted(piece)).await.ok()?;
                return Some(());
            }
            Link::Pause => link.changed().await.ok()?,
            Link::HalfOpen => return Some(()),
            Link::Latency(delay) => {
                tokio::select! {
                    () = sleep(delay) => {
                        to.write_all(piece).await.ok()?;
                        return Some(());
                    }
                    changed = link.changed() => changed.ok()?,
                }
            }
            Link::Trickle => {
                to.write_all(&piece[..1]).await.ok()?;
                piece = &piece[1..];
                tokio::select! {
                    () = sleep(Duration::from_secs(1)) => {}
                    changed = link.changed() => changed.ok()?,
                }
            }
        }
    }
    Some(())
}

fn corrupted(piece: &[u8]) -> Vec<u8> {
    let mut bytes = piece.to_vec();
    let length = CORRUPTED.len();
    for start in 0..bytes.len().saturating_sub(length - 1) {
        if &bytes[start..start + length] == CORRUPTED.as_bytes() {
            bytes[start..start + length].fill(0xFF);
        }
    }
    bytes
}
