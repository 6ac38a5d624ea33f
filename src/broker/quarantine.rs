//! Gets messages out of the way that our AMQP library cannot read.
//!
//! RabbitMQ stores whatever a producer puts into a property; the library refuses text that is not UTF-8, and ends
//! the connection over it. The message then comes again, and again ends the connection, and the good jobs beside
//! it use up their deliveries. So after such an end, this looks at the heads of our queues with a client of its
//! own, which reads no properties, and moves what the library cannot read to the returned queue: the body as it
//! was, the properties gone, and headers that say why, from which queue, and with which routing key it was published.
//! Intake parks it from there. Whose it is goes with the properties: `user_id` is the broker's word, and no header that
//! anybody may write stands for it.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::protocol::basic;
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::uri::{AMQPUri, SASLMechanism};
use tokio::time::timeout;

use super::names::{Prefix, QueueRole};
use crate::domain::reader::known_key;

/// The header that says why a message stands in the returned queue; the broker's own dead letters have `x-death`.
pub const REASON_HEADER: &str = "x-outreach-reason";
/// Its value here: a reason of the contract.
pub const REASON: &str = "malformed";
/// The header that says from which queue it was moved: [`QueueRole::word`].
pub const QUEUE_HEADER: &str = "x-outreach-queue";
/// The header that says with which key it was published, where that is one that says something.
pub const KEY_HEADER: &str = "x-outreach-key";

/// How many messages of each queue are looked at: more than a consumer's first window, which is as far as the
/// library can have come.
const LOOK: usize = 64;

const QUEUES: [QueueRole; 4] = [QueueRole::Urgent, QueueRole::Jobs, QueueRole::Patients, QueueRole::Returned];

/// Moves unreadable messages from the heads of our queues to the returned queue; says how many. A message is
/// acknowledged only after its copy is confirmed, so a failure repeats a message and never loses one.
///
/// # Errors
/// When the broker cannot be reached, does not answer in time or does not allow it.
pub(super) async fn sweep(uri: &AMQPUri, prefix: &Prefix, limit: Duration) -> Result<usize> {
    timeout(limit, async {
        let runtime = lapin::runtime::default_runtime().map_err(Error::other)?;
        let stream = uri.connect_with_config_async(TLSConfig::default(), &runtime).await?;
        let mut wire = Wire::open(stream, uri).await?;
        let mut moved = 0;
        for queue in QUEUES {
            moved += wire.sweep(queue, prefix).await?;
        }
        wire.close().await?;
        Ok(moved)
    })
    .await
    .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// A message as it came, with the verdict of the library's own parser.
struct Message {
    tag: u64,
    key: Option<&'static str>,
    body: Vec<u8>,
    readable: bool,
}

/// The few methods of AMQP 0-9-1 that this takes, one request at a time on channel 1
/// (<https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>, sections 2.3 and 4.2).
struct Wire<S> {
    stream: S,
    frame_max: usize,
}

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xCE;

const GET_OK: [u16; 2] = [60, 71];
const GET_EMPTY: [u16; 2] = [60, 72];
const BASIC_ACK: [u16; 2] = [60, 80];

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    async fn open(stream: S, uri: &AMQPUri) -> Result<Self> {
        if uri.query.auth_mechanism.unwrap_or_default() != SASLMechanism::Plain {
            return Err(ErrorKind::Unsupported.into());
        }
        let mut wire = Self { stream, frame_max: 128 << 10 };
        wire.stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        wire.receive(METHOD).await?;
        let user = &uri.authority.userinfo;
        let login = format!("\0{}\0{}", user.username, user.password);
        let start_ok = Payload::method(10, 11).long("").short("PLAIN")?.long(&login).short("en_US")?;
        let tune = wire.call(0, start_ok).await?;
        let frame_max =
            tune.get(6..10).and_then(|bytes| bytes.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b));
        if frame_max > 0 {
            wire.frame_max = usize::try_from(frame_max).unwrap_or(wire.frame_max);
        }
        // The limits as proposed, and no heartbeat: this is over in a moment.
        let limits = tune.get(4..10).unwrap_or_default();
        wire.send(METHOD, 0, &Payload::method(10, 31).bytes(limits).bytes(&[0, 0]).0).await?;
        wire.call(0, Payload::method(10, 40).short(&uri.vhost)?.short("")?.bytes(&[0])).await?;
        wire.call(1, Payload::method(20, 10).short("")?).await?;
        wire.call(1, Payload::method(85, 10).bytes(&[0])).await?;
        Ok(wire)
    }

    async fn close(mut self) -> Result<()> {
        let close = Payload::method(10, 50).bytes(&200_u16.to_be_bytes()).short("done")?.bytes(&[0; 4]);
        self.call(0, close).await.map(drop)
    }

    async fn sweep(&mut self, queue: QueueRole, prefix: &Prefix) -> Result<usize> {
        let mut moved = 0;
        // What is readable stays un-acknowledged and goes back to its place when this connection closes.
        for _ in 0..LOOK {
            let Some(message) = self.get(&queue.name(prefix)).await? else { break };
            if !message.readable {
                self.publish(&QueueRole::Returned.name(prefix), queue, &message).await?;
                let ack = Payload::method(60, 80).bytes(&message.tag.to_be_bytes()).bytes(&[0]);
                self.send(METHOD, 1, &ack.0).await?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    async fn get(&mut self, queue: &str) -> Result<Option<Message>> {
        let get = Payload::method(60, 70).bytes(&[0, 0]).short(queue)?.bytes(&[0]);
        let method = self.call(1, get).await?;
        match id(&method) {
            Some(GET_OK) => {}
            Some(GET_EMPTY) => return Ok(None),
            _ => return Err(ErrorKind::PermissionDenied.into()),
        }
        let tag = number_at(&method, 4)?;
        let header = self.receive(HEADER).await?;
        let size = number_at(&header, 4)?;
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            body.extend(self.receive(BODY).await?);
        }
        let properties = header.get(12..).unwrap_or_default();
        let arguments = method.get(4..).unwrap_or_default();
        let readable = basic::parse_get_ok(arguments).is_ok() && basic::parse_properties(properties).is_ok();
        Ok(Some(Message { tag, key: routing_key(arguments), body, readable }))
    }

    /// Publishes, persistent and mandatory, and waits for the confirm.
    async fn publish(&mut self, queue: &str, from: QueueRole, message: &Message) -> Result<()> {
        const MANDATORY: u8 = 1;
        const HEADERS_AND_DELIVERY_MODE: u16 = 0x3000;
        let publish = Payload::method(60, 40).bytes(&[0, 0]).short("")?.short(queue)?.bytes(&[MANDATORY]);
        self.send(METHOD, 1, &publish.0).await?;
        let mut headers =
            Payload::default().header(REASON_HEADER, REASON)?.header(QUEUE_HEADER, from.word())?;
        if let Some(key) = message.key {
            headers = headers.header(KEY_HEADER, key)?;
        }
        let header = Payload::method(60, 0)
            .bytes(&(message.body.len() as u64).to_be_bytes())
            .bytes(&HEADERS_AND_DELIVERY_MODE.to_be_bytes())
            .long(&headers.0)
            .bytes(&[2]);
        self.send(HEADER, 1, &header.0).await?;
        for part in message.body.chunks(self.frame_max.saturating_sub(8).max(1)) {
            self.send(BODY, 1, part).await?;
        }
        let answer = self.receive(METHOD).await?;
        if id(&answer) == Some(BASIC_ACK) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    /// Sends a method and returns the one that answers it.
    async fn call(&mut self, channel: u16, method: Payload) -> Result<Vec<u8>> {
        self.send(METHOD, channel, &method.0).await?;
        self.receive(METHOD).await
    }

    async fn send(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Result<()> {
        let frame = Payload(vec![kind]).bytes(&channel.to_be_bytes()).long(payload).bytes(&[FRAME_END]);
        self.stream.write_all(&frame.0).await?;
        self.stream.flush().await
    }

    /// The next frame's payload; it must be of this kind.
    async fn receive(&mut self, expected: u8) -> Result<Vec<u8>> {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).await?;
            let [kind, _, _, size @ ..] = head;
            let size = usize::try_from(u32::from_be_bytes(size)).map_err(Error::other)?;
            if size > self.frame_max {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut payload = vec![0; size + 1];
            self.stream.read_exact(&mut payload).await?;
            let end = payload.pop();
            if kind == HEARTBEAT {
                continue;
            }
            if kind != expected || end != Some(FRAME_END) {
                return Err(ErrorKind::InvalidData.into());
            }
            return Ok(payload);
        }
    }
}

/// Bytes of AMQP, put together left to right.
#[derive(Default)]
struct Payload(Vec<u8>);

impl Payload {
    fn method(class: u16, method: u16) -> Self {
        Self::default().bytes(&class.to_be_bytes()).bytes(&method.to_be_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A short string: at most 255 bytes.
    fn short(self, text: &str) -> Result<Self> {
        let length = u8::try_from(text.len()).map_err(Error::other)?;
        Ok(self.bytes(&[length]).bytes(text.as_bytes()))
    }

    /// A header whose value is text.
    fn header(self, name: &str, text: &str) -> Result<Self> {
        Ok(self.short(name)?.bytes(b"S").long(text))
    }

    /// A long string or a table, both with their length before them.
    fn long(self, bytes: impl AsRef<[u8]>) -> Self {
        let length = u32::try_from(bytes.as_ref().len()).unwrap_or(u32::MAX);
        self.bytes(&length.to_be_bytes()).bytes(bytes.as_ref())
    }
}

/// Class and method of a method's payload.
fn id(payload: &[u8]) -> Option<[u16; 2]> {
    let [a, b, c, d] = *payload.first_chunk()?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

/// What is kept of the routing key of a `get-ok`: it stands behind the tag, a bit and the exchange's name.
fn routing_key(arguments: &[u8]) -> Option<&'static str> {
    let (length, rest) = arguments.get(9..)?.split_first()?;
    let (length, rest) = rest.get(usize::from(*length)..)?.split_first()?;
    known_key(std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?)
}

fn number_at(payload: &[u8], offset: usize) -> Result<u64> {
    let bytes = payload.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::routing_key;

    #[test]
    fn of_a_routing_key_only_what_we_know_is_kept() {
        let arguments = |exchange: &str, key: &[u8]| {
            let mut bytes = vec![0; 9];
            bytes.push(u8::try_from(exchange.len()).unwrap());
            bytes.extend(exchange.bytes());
            bytes.push(u8::try_from(key.len()).unwrap());
            bytes.extend(key);
            bytes.extend([0; 4]);
            bytes
        };
        for (exchange, key, kept) in [
            ("outreach", &b"job.bulk"[..], Some("job.bulk")),
            ("", b"outreach.patients", Some("patient")),
            ("outreach", b"patient.merge", Some("patient.merge")),
            ("outreach", b"ana.ruiz", None),
            ("outreach", b"job.\xff", None),
            ("outreach", b"", None),
        ] {
            assert_eq!(routing_key(&arguments(exchange, key)), kept, "{key:?}");
        }
        assert_eq!(routing_key(&[0; 9]), None);
        assert_eq!(routing_key(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1]), None);
    }
}
