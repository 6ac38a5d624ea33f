//! One conversation (RFC 2033, RFC 5321): greeting, LHLO, any number of mails, QUIT.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::provider::mail::{IncomingMail, MOST, READ};
use crate::receipt::{Desk, Refusal};

/// How long the other side may be silent (RFC 5321, 4.5.3.2.7).
const SILENCE: Duration = Duration::from_secs(300);
/// The longest command, and the longest line of a mail that is looked at whole, in bytes.
const LINE: usize = 4_096;
/// Recipients of one mail. Ours have one.
const RECIPIENTS: usize = 100;
/// Commands that are none, after which nobody is there that speaks with us.
const NONSENSE: u32 = 20;

/// The mail under way.
#[derive(Default)]
struct Envelope {
    /// `None`: no MAIL yet.
    from: Option<String>,
    to: Vec<String>,
}

pub(super) async fn run(stream: TcpStream, desk: &Desk) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 outreachd LMTP").await?;
    let (mut greeted, mut nonsense) = (false, 0);
    let mut envelope = Envelope::default();
    while let Some(line) = line(&mut stream, LINE).await? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (verb, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let verb = verb.to_ascii_uppercase();
        let answer = match verb.as_str() {
            "LHLO" => {
                (greeted, envelope) = (true, Envelope::default());
                let size =
                    format!("250-SIZE {MOST}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES");
                say(&mut stream, &format!("250-outreachd\r\n{size}")).await?;
                continue;
            }
            "HELO" | "EHLO" => "500 5.5.1 this is LMTP: say LHLO",
            "RSET" => {
                envelope = Envelope::default();
                "250 2.0.0 forgotten"
            }
            "NOOP" => "250 2.0.0 here",
            "VRFY" => "252 2.5.0 try it",
            "QUIT" => return say(&mut stream, "221 2.0.0 goodbye").await,
            "MAIL" if greeted => envelope.sender(argument),
            "RCPT" if greeted => envelope.recipient(argument),
            "DATA" if greeted && envelope.to.is_empty() => "503 5.5.1 nobody to give it to",
            "DATA" if greeted => {
                say(&mut stream, "354 go on").await?;
                let mail = content(&mut stream).await?;
                deliver(&mut stream, desk, &std::mem::take(&mut envelope), mail.as_deref()).await?;
                continue;
            }
            "MAIL" | "RCPT" | "DATA" => "503 5.5.1 say LHLO first",
            _ => {
                nonsense += 1;
                "500 5.5.2 this is no command here"
            }
        };
        say(&mut stream, answer).await?;
        if nonsense > NONSENSE {
            return Ok(());
        }
    }
    Ok(())
}

impl Envelope {
    fn sender(&mut self, argument: &str) -> &'static str {
        let Some((from, parameters)) = path(argument, "FROM:") else {
            return "501 5.5.4 write it as MAIL FROM:<address>";
        };
        let size =
            parameters.split(' ').find_map(|p| p.to_ascii_uppercase().strip_prefix("SIZE=")?.parse().ok());
        if size.is_some_and(|size: usize| size > MOST) {
            return "552 5.3.4 too large";
        }
        *self = Self { from: Some(from.to_owned()), to: Vec::new() };
        "250 2.1.0 go on"
    }

    fn recipient(&mut self, argument: &str) -> &'static str {
        if self.from.is_none() {
            return "503 5.5.1 say MAIL first";
        }
        match path(argument, "TO:") {
            None => "501 5.5.4 write it as RCPT TO:<address>",
            Some(_) if self.to.len() >= RECIPIENTS => "452 4.5.3 too many recipients",
            Some((to, _)) => {
                self.to.push(to.to_owned());
                "250 2.1.5 go on"
            }
        }
    }
}

/// One reply a recipient, in order (RFC 2033, 4.2).
async fn deliver(
    stream: &mut BufReader<TcpStream>,
    desk: &Desk,
    envelope: &Envelope,
    mail: Option<&[u8]>,
) -> io::Result<()> {
    for to in &envelope.to {
        let answer = match mail {
            None => "552 5.3.4 too large",
            Some(bytes) => {
                let mail = IncomingMail { to, from: envelope.from.as_deref(), bytes };
                match desk.take_mail(&mail, false).await {
                    Ok(()) => "250 2.0.0 on record",
                    Err(Refusal::Later) => "451 4.3.0 the ledger is away; send this again",
                    Err(Refusal::Forged) => "550 5.1.1 there is no such address",
                    Err(Refusal::NoWebhook) => {
                        "550 5.1.1 nobody reads this: it answers no mail that was sent from here"
                    }
                    Err(Refusal::Unreadable) => "554 5.6.0 this is no mail",
                }
            }
        };
        say(stream, answer).await?;
    }
    Ok(())
}

/// The mail up to the lone dot, dots unstuffed; what is read of it. `None`: it is too large.
async fn content(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let (mut mail, mut size, mut starts) = (Vec::new(), 0_usize, true);
    loop {
        let Some(piece) = line(stream, LINE).await? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if starts && matches!(piece.as_slice(), b".\r\n" | b".\n") {
            return Ok((size <= MOST).then_some(mail));
        }
        let text = piece.strip_prefix(b".").filter(|_| starts).unwrap_or(&piece);
        size = size.saturating_add(text.len());
        if mail.len() < READ {
            mail.extend_from_slice(text);
        }
        starts = piece.ends_with(b"\n");
    }
}

/// A line with its end, or the first `most` bytes of a longer one. `None`: the other side has gone.
async fn line(stream: &mut BufReader<TcpStream>, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let read = (&mut *stream).take(most);
    let mut read = read;
    let count = timeout(SILENCE, read.read_until(b'\n', &mut line)).await;
    let count = count.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((count > 0).then_some(line))
}

async fn say(stream: &mut BufReader<TcpStream>, answer: &str) -> io::Result<()> {
    let written = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await
    };
    timeout(SILENCE, written).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The address in `FROM:<...>` or `TO:<...>`, and the parameters after it.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let start = argument.get(..keyword.len())?;
    let rest = argument.get(keyword.len()..)?.trim_start();
    let (address, parameters) = rest.strip_prefix('<')?.split_once('>')?;
    let plain = address.len() <= 512 && !address.chars().any(char::is_control);
    (start.eq_ignore_ascii_case(keyword) && plain).then_some((address, parameters.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_in_every_case() {
        assert_eq!(path("FROM:<> SIZE=12", "FROM:"), Some(("", "SIZE=12")));
        assert_eq!(path("to: <bounces+x@example.org>", "TO:"), Some(("bounces+x@example.org", "")));
        for bad in ["", "FROM", "FROM:", "TO:a@b", "TO:<a@b", "TO:<a\0@b>", "é"] {
            assert_eq!(path(bad, "TO:"), None, "{bad}");
        }
    }
}
