//! The mailbox: an LMTP listener (RFC 2033), to which a mail server hands what comes back: bounces, complaints, answers.
//! Its reply to a mail stands for each recipient by itself, and says 2xx only once the ledger has what the mail says:
//! while it is away the mail server keeps the mail, and comes again.
//!
//! It asks for no password, so it listens where the mail server is and nobody else comes, and a mail moves nothing
//! without a mark of ours in it. Nothing of a mail is logged.

mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::receipt::Desk;

/// Conversations at once; more wait to be taken up.
const MOST: usize = 16;
/// A pause after the system would not give us a connection.
const BREATH: Duration = Duration::from_millis(100);

/// The listener. It ends when it is dropped.
#[derive(Debug)]
pub struct Mailbox {
    address: SocketAddr,
    listening: JoinHandle<()>,
}

impl Mailbox {
    /// Begins to listen.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn open(listener: TcpListener, desk: Desk) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { address, listening: tokio::spawn(listen(listener, desk)) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more conversations. One that is under way breaks off with the process: its mail comes again.
    pub fn close(&self) {
        self.listening.abort();
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

async fn listen(listener: TcpListener, desk: Desk) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            // Who breaks off comes again; there is nobody to be told.
            let _ = session::run(stream, &desk).await;
            drop(place);
        });
    }
}
