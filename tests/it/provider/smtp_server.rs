//! A small SMTP server that follows a script: any reply at any stage, or none, or the end of the connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the server does at one stage, instead of what it would.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Reply(&'static str),
    Close,
    Stall,
    /// At DATA: says go on, then resets the connection while the text is coming.
    GoOnThenReset,
}

/// One mail, as it was taken.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) from: String,
    pub(super) to: String,
    /// Dots unstuffed, without the final one.
    pub(super) text: Vec<u8>,
    pub(super) connection: usize,
    pub(super) encrypted: bool,
}

/// How the server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    None,
    StartTls,
    Tls,
}

/// A running server; it ends with the test's runtime.
pub(super) struct SmtpServer {
    pub(super) port: u16,
    state: Arc<State>,
}

struct State {
    script: Mutex<HashMap<&'static str, VecDeque<Act>>>,
    mails: Mutex<Vec<Received>>,
    commands: Mutex<Vec<String>>,
    security: Security,
    /// Offers AUTH and takes this line of PLAIN only.
    login: Option<&'static str>,
    tls: TlsAcceptor,
}

impl SmtpServer {
    /// Takes everything, but where `script` has something for a stage: CONNECT, EHLO, STARTTLS, AUTH, MAIL,
    /// RCPT, DATA, END (the final dot), RSET, NOOP, QUIT. Each act serves once.
    pub(super) async fn start(script: &[(&'static str, Act)]) -> Self {
        Self::secured(Security::None, None, script).await
    }

    pub(super) async fn secured(
        security: Security,
        login: Option<&'static str>,
        script: &[(&'static str, Act)],
    ) -> Self {
        let mut acts: HashMap<&'static str, VecDeque<Act>> = HashMap::new();
        for (stage, act) in script {
            acts.entry(stage).or_default().push_back(act.clone());
        }
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a long text is still being written when the server goes away.
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            script: Mutex::new(acts),
            mails: Mutex::default(),
            commands: Mutex::default(),
            security,
            login,
            tls: acceptor(),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(open(stream, number, Arc::clone(&shared)));
                number += 1;
            }
        });
        Self { port, state }
    }

    pub(super) fn mails(&self) -> Vec<Received> {
        self.state.mails.lock().unwrap().clone()
    }

    /// The verbs in the order in which they came, over all connections.
    pub(super) fn commands(&self) -> Vec<String> {
        self.state.commands.lock().unwrap().clone()
    }

    /// Acts that no stage was reached for.
    pub(super) fn unused(&self) -> usize {
        self.state.script.lock().unwrap().values().map(VecDeque::len).sum()
    }
}

async fn open(stream: TcpStream, number: usize, state: Arc<State>) {
    if state.security == Security::Tls {
        if let Ok(stream) = state.tls.accept(stream).await {
            talk(stream, number, true, true, &state).await;
        }
        return;
    }
    if let Some(stream) = talk(stream, number, true, false, &state).await
        && let Ok(stream) = state.tls.accept(stream).await
    {
        talk(stream, number, false, true, &state).await;
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn reset_on_close(&self) {}
}

impl Wire for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {}

/// One conversation; gives the stream back where TLS is to begin.
async fn talk<S: Wire>(stream: S, number: usize, greet: bool, encrypted: bool, state: &State) -> Option<S> {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to) = (String::new(), String::new());
    if greet {
        answer(&mut stream, state, "CONNECT", "220 test.example ESMTP").await?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        state.commands.lock().unwrap().push(verb.clone());
        let argument = line.split_once(':').map_or("", |(_, rest)| rest).trim().to_owned();
        match verb.as_str() {
            "EHLO" => ok(answer(&mut stream, state, "EHLO", &offer(state, encrypted)).await?),
            "STARTTLS" => {
                answer(&mut stream, state, "STARTTLS", "220 go ahead").await?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                let known = state.login.is_some_and(|login| line.trim().ends_with(login));
                let usual = if known { "235 2.7.0 welcome" } else { "535 5.7.8 no: canary-password" };
                answer(&mut stream, state, "AUTH", usual).await?;
            }
            "MAIL" => {
                from = argument;
                answer(&mut stream, state, "MAIL", "250 2.1.0 ok").await?;
            }
            "RCPT" => {
                to = argument;
                answer(&mut stream, state, "RCPT", "250 2.1.5 ok").await?;
            }
            "DATA" => {
                if !answer(&mut stream, state, "DATA", "354 go on").await? {
                    continue;
                }
                let text = text(&mut stream).await?;
                if answer(&mut stream, state, "END", "250 2.0.0 queued as 7").await? {
                    let mail =
                        Received { from: from.clone(), to: to.clone(), text, connection: number, encrypted };
                    state.mails.lock().unwrap().push(mail);
                }
            }
            "RSET" => ok(answer(&mut stream, state, "RSET", "250 2.0.0 ok").await?),
            "NOOP" => ok(answer(&mut stream, state, "NOOP", "250 2.0.0 ok").await?),
            _ => {
                answer(&mut stream, state, "QUIT", "221 2.0.0 bye").await?;
                return None;
            }
        }
    }
}

/// A stage whose reply changes nothing of what comes next.
fn ok(_refused_or_not: bool) {}

fn offer(state: &State, encrypted: bool) -> String {
    let mut lines = vec!["test.example"];
    if state.security == Security::StartTls && !encrypted {
        lines.push("STARTTLS");
    }
    if state.login.is_some() {
        lines.push("AUTH PLAIN");
    }
    let last = lines.pop().unwrap();
    let more: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
    format!("{more}250 {last}")
}

/// Acts as the script says, else replies `usual`. `None` ends the connection; `false` means a refusal.
async fn answer<S: Wire>(
    stream: &mut BufReader<S>,
    state: &State,
    stage: &'static str,
    usual: &str,
) -> Option<bool> {
    let act = state.script.lock().unwrap().get_mut(stage).and_then(VecDeque::pop_front);
    let reply = match &act {
        None => usual,
        Some(Act::Reply(reply)) => reply,
        Some(Act::Close) => return None,
        Some(Act::Stall) => std::future::pending().await,
        Some(Act::GoOnThenReset) => {
            stream.write_all(b"354 go on\r\n").await.ok()?;
            let mut some = [0; 1024];
            stream.read_exact(&mut some).await.ok()?;
            stream.get_ref().reset_on_close();
            return None;
        }
    };
    stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    Some(reply.starts_with(['2', '3']))
}

async fn text<S: Wire>(stream: &mut BufReader<S>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(text);
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn acceptor() -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("../fixtures/test-only-server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../fixtures/test-only-server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
