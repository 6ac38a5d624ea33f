//! The HTTP client of all who ask somebody outside: providers, receivers of results, the identity provider, the collector.

use std::time::Duration;

use reqwest::ClientBuilder;

/// A connection that is not up by then is given up, so that its failure is known as "not sent".
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the 60 s and more after which servers close an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// No client can be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no TLS on this machine; install its root certificates")]
pub struct NoTls;

/// A client with a total time-out, which sends what it is given once and there alone: no redirects, no proxy from the
/// environment and no retries.
pub fn builder(timeout: Duration) -> ClientBuilder {
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout / 2))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("outreachd/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Refuses each stream of a connection as one that was not processed (RFC 9113, 8.7), and counts them.
    async fn refuse(mut stream: TcpStream, count: Arc<AtomicUsize>) -> std::io::Result<()> {
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        stream.read_exact(&mut [0; 24]).await?;
        stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let [high, middle, low, kind, flags, a, b, c, d] = head;
            let length = u32::from_be_bytes([0, high, middle, low]);
            stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await?;
            match kind {
                SETTINGS if flags == 0 => stream.write_all(&[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0]).await?,
                HEADERS => {
                    count.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(&[0, 0, 4, 3, 0, a, b, c, d, 0, 0, 0, 7]).await?;
                }
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn what_a_server_has_refused_is_not_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move { refuse(listener.accept().await.unwrap().0, counted).await });
        let client = builder(Duration::from_secs(5)).http2_prior_knowledge().build().unwrap();
        assert!(client.post(url).body("once").send().await.is_err());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
