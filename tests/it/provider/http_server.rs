//! A plain HTTP/1.1 server that answers from a script and can misbehave as a framework would not let it:
//! stall, close or reset in the middle. Keeps every request that reached it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
    /// Which connection brought it, from 0.
    pub(super) connection: usize,
}

impl Request {
    pub(super) fn form(&self) -> Vec<(String, String)> {
        let url = reqwest::Url::parse(&format!("http://h/?{}", self.body)).unwrap();
        url.query_pairs().into_owned().collect()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Answers and then closes, without having said so.
    AnswerThenClose {
        status: u16,
        body: String,
    },
    /// Reads the request and says nothing, for ever.
    Stall,
    /// Reads the request and closes.
    Close,
    /// Reads the request and resets the connection.
    Reset,
    /// Answers with a status line and half a body, then closes.
    HalfAnswer {
        status: u16,
    },
}

pub(super) fn answer(status: u16, body: &str) -> Act {
    Act::Answer { status, headers: Vec::new(), body: body.to_owned() }
}

pub(super) fn answer_with(status: u16, header: (&'static str, &str), body: &str) -> Act {
    Act::Answer { status, headers: vec![(header.0, header.1.to_owned())], body: body.to_owned() }
}

/// A running server; it ends with the test's runtime.
pub(super) struct HttpServer {
    pub(super) url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Act>>,
    requests: Mutex<Vec<Request>>,
}

impl HttpServer {
    pub(super) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State { script: Mutex::new(script.into()), ..State::default() });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, connection, Arc::clone(&shared)));
                connection += 1;
            }
        });
        Self { url, state }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Answers that nobody came for.
    pub(super) fn unused(&self) -> usize {
        self.state.script.lock().unwrap().len()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, state: Arc<State>) {
    while let Some(request) = read(&mut stream, connection).await {
        state.requests.lock().unwrap().push(request);
        let act = state.script.lock().unwrap().pop_front();
        match act.unwrap_or_else(|| answer(599, "no answer was left in the script")) {
            Act::Answer { status, headers, body } => write(&mut stream, status, &headers, &body).await,
            Act::AnswerThenClose { status, body } => {
                write(&mut stream, status, &[], &body).await;
                return;
            }
            Act::Stall => std::future::pending().await,
            Act::Close => return,
            Act::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Act::HalfAnswer { status } => {
                let half = format!("HTTP/1.1 {status} X\r\ncontent-length: 100\r\n\r\n{{\"sid\":");
                stream.write_all(half.as_bytes()).await.unwrap();
                return;
            }
        }
    }
}

async fn write(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &str) {
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
}

async fn read(stream: &mut TcpStream, connection: usize) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[head_end + 4..].to_vec()).unwrap();
    Some(Request { method, target, headers, body, connection })
}
