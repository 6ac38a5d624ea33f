//! A mail server (RFC 5321, with PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES and AUTH) that
//! delivers to nobody. The address decides what happens: see [`SmtpServer`](super::SmtpServer).

mod login;
mod rules;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::session::{Next, Session};
use super::desk::Desk;
use super::wire::MAX_CONNECTIONS;

/// RFC 5321 4.5.3.1.4 asks for 512; extensions ask for more.
const MAX_COMMAND: usize = 2_048;
/// RFC 5321 4.5.3.2.7.
const IDLE: Duration = Duration::from_secs(300);
/// A message may run over SIZE by this factor before the connection is closed instead of drained.
const OVERRUN: usize = 4;

/// Serves until the simulator stops.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.ok();
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = desk.stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            // A broken connection is the client's to notice.
            let _ended = tokio::select! {
                ended = converse(stream, &desk) => ended,
                () = desk.stop.cancelled() => Ok(()),
            };
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, desk: &Desk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(16 * 1024, reader);
    let mut session = Session::new(desk);
    let mut out = b"220 simulator.local ESMTP outreachd simulator\r\n".to_vec();
    let mut line = Vec::new();
    loop {
        // With PIPELINING several commands come at once: their answers go together too.
        if reader.buffer().is_empty() {
            writer.write_all(&out).await?;
            out.clear();
        }
        if !read_line(&mut reader, &mut line, MAX_COMMAND).await? {
            return Ok(());
        }
        let next = match session.command(&String::from_utf8_lossy(&line), &mut out).await {
            Next::Data => {
                writer.write_all(&out).await?;
                out.clear();
                let Some(data) = read_data(&mut reader, desk.config.smtp.max_bytes).await? else {
                    return Ok(());
                };
                session.data(data, &mut out).await
            }
            next => next,
        };
        match next {
            Next::Continue | Next::Data => {}
            Next::Close => return writer.write_all(&out).await,
            Next::Silence => {
                desk.stop.cancelled().await;
                return cut(&writer);
            }
            Next::Cut => return cut(&writer),
        }
    }
}

/// The close that follows becomes a reset.
fn cut(writer: &OwnedWriteHalf) -> io::Result<()> {
    writer.as_ref().set_zero_linger()
}

/// One line with its end; false at the end of the connection. A line too long is an error.
async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<bool> {
    line.clear();
    let mut limited = reader.take(max as u64);
    let read =
        timeout(IDLE, limited.read_until(b'\n', line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if read == max && !line.ends_with(b"\n") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(line.ends_with(b"\n"))
}

/// What came between DATA and the final dot.
enum Data {
    Whole(Vec<u8>),
    TooLong,
}

/// Reads to the final dot (CRLF before and after it, nothing less: a looser reading would let a text smuggle a
/// second message in) and removes the dots that transparency added. `None` when the connection ends first: then
/// the message never arrived.
async fn read_data(reader: &mut (impl AsyncBufRead + Unpin), max: usize) -> io::Result<Option<Data>> {
    let (mut data, mut line, mut total) = (Vec::new(), Vec::new(), 0_usize);
    let mut fresh = true;
    loop {
        line.clear();
        let mut limited = reader.take(64 * 1024);
        let read = timeout(IDLE, limited.read_until(b'\n', &mut line))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        total = total.saturating_add(read);
        if read == 0 || total > max.saturating_mul(OVERRUN) {
            return Ok(None);
        }
        if fresh && line == b".\r\n" {
            return Ok(Some(if data.len() > max { Data::TooLong } else { Data::Whole(data) }));
        }
        let text = if fresh { line.strip_prefix(b".").unwrap_or(&line) } else { &line };
        if data.len() <= max {
            data.extend_from_slice(text);
        }
        fresh = line.ends_with(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8]) -> Option<String> {
        let mut reader = BufReader::new(text);
        match read_data(&mut reader, 1_000).await.unwrap()? {
            Data::Whole(data) => Some(String::from_utf8(data).unwrap()),
            Data::TooLong => Some("too long".to_owned()),
        }
    }

    #[tokio::test]
    async fn only_a_true_final_dot_ends_a_message() {
        for (text, expect) in [
            ("a\r\n..b\r\n.\r\n", Some("a\r\n.b\r\n")),
            ("a\n.\nMAIL FROM:<x>\r\n.\r\n", Some("a\n.\nMAIL FROM:<x>\r\n")),
            ("a\r\n.\nb\r\n.\r\n", Some("a\r\n\nb\r\n")),
            ("a\r\n", None),
        ] {
            assert_eq!(read(text.as_bytes()).await.as_deref(), expect, "{text:?}");
        }
        let long = format!("{}\r\n.\r\n", "x".repeat(1_500));
        assert_eq!(read(long.as_bytes()).await.as_deref(), Some("too long"));
    }
}
