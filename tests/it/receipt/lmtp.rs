//! A mail server's side of LMTP, as small as it can be.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Hands over one mail in one conversation; answers the reply for its recipient.
pub(super) async fn hand_over(address: SocketAddr, from: &str, to: &str, mail: &[u8]) -> String {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    assert!(answer(&mut stream).await.starts_with("220 "));
    for (line, expected) in [
        ("LHLO mx.example.net".to_owned(), "250 "),
        (format!("MAIL FROM:<{from}> SIZE={}", mail.len()), "250 "),
        (format!("RCPT TO:<{to}>"), "250 "),
        ("DATA".to_owned(), "354 "),
    ] {
        stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        let said = answer(&mut stream).await;
        assert!(said.starts_with(expected), "{line}: {said}");
    }
    for line in mail.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            stream.write_all(b".").await.unwrap();
        }
        stream.write_all(line).await.unwrap();
    }
    stream.write_all(b"\r\n.\r\n").await.unwrap();
    let said = answer(&mut stream).await;
    stream.write_all(b"QUIT\r\n").await.unwrap();
    assert!(answer(&mut stream).await.starts_with("221 "));
    said
}

/// One answer, its last line.
async fn answer(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).await.unwrap() > 0, "the conversation has ended");
        if line.as_bytes().get(3) != Some(&b'-') {
            return line;
        }
    }
}
