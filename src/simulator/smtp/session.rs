//! One SMTP conversation: which command is good when, and what it is answered.

use std::fmt::Display;
use std::io::Write as _;

use super::Data;
use super::login::Login;
use super::rules::{Bounce, header, message_key, path};
use crate::domain::phi::Phi;
use crate::simulator::clock::Moment;
use crate::simulator::config::ProviderKind;
use crate::simulator::desk::{Desk, KeptMessage, Truth, reply_of};
use crate::simulator::faults::{Fate, Plan};
use crate::simulator::hits::{Hit, Reply};
use crate::simulator::marker::{Marker, TextDigest};

const KIND: ProviderKind = ProviderKind::Smtp;
const MAX_RECIPIENTS: usize = 100;

/// What the connection does after a command.
pub(super) enum Next {
    Continue,
    /// Read the message.
    Data,
    /// Send the answer, then close.
    Close,
    /// Answer nothing more.
    Silence,
    /// Reset the connection.
    Cut,
}

/// The state of a conversation. No `Debug`: it holds addresses.
pub(super) struct Session<'a> {
    desk: &'a Desk,
    greeted: bool,
    login: Login,
    transaction: Option<Transaction>,
}

/// How a transaction ends, for the hit log.
struct Verdict {
    status: u16,
    taken: bool,
    reply: Reply,
}

const fn refusal(status: u16) -> Verdict {
    Verdict { status, taken: false, reply: Reply::Sent }
}

/// From MAIL to the final dot.
struct Transaction {
    plan: Plan,
    from: String,
    to: Vec<String>,
}

/// Writes one answer.
pub(super) fn reply(out: &mut Vec<u8>, code: u16, text: impl Display) -> Next {
    // Writing to memory cannot fail.
    let _infallible = write!(out, "{code} {text}\r\n");
    Next::Continue
}

impl<'a> Session<'a> {
    pub(super) fn new(desk: &'a Desk) -> Self {
        Self { desk, greeted: false, login: Login::new(&desk.config.smtp), transaction: None }
    }

    /// Answers one line.
    pub(super) async fn command(&mut self, line: &str, out: &mut Vec<u8>) -> Next {
        let line = line.trim_end_matches(['\r', '\n']);
        if self.login.awaits_line() {
            return self.login.go_on(&self.desk.config.smtp, line, out);
        }
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.greet(out, true),
            "HELO" => self.greet(out, false),
            "AUTH" => self.login.start(&self.desk.config.smtp, argument, out),
            "MAIL" => self.mail(argument, out).await,
            "RCPT" => self.recipient(argument, out).await,
            "DATA" => match &self.transaction {
                Some(transaction) if !transaction.to.is_empty() => {
                    reply(out, 354, "end with <CRLF>.<CRLF>");
                    Next::Data
                }
                _ => reply(out, 503, "5.5.1 MAIL and RCPT first"),
            },
            "RSET" => {
                self.transaction = None;
                reply(out, 250, "2.0.0 ok")
            }
            "NOOP" => reply(out, 250, "2.0.0 ok"),
            "VRFY" => reply(out, 252, "2.5.0 send and see"),
            "QUIT" => {
                reply(out, 221, "2.0.0 bye");
                Next::Close
            }
            _ => reply(out, 502, "5.5.2 command not known"),
        }
    }

    fn greet(&mut self, out: &mut Vec<u8>, extended: bool) -> Next {
        self.greeted = true;
        self.transaction = None;
        if !extended {
            return reply(out, 250, "simulator.local");
        }
        let auth = if self.desk.config.smtp.username.is_some() { "250-AUTH PLAIN LOGIN\r\n" } else { "" };
        // Writing to memory cannot fail.
        let _infallible = write!(
            out,
            "250-simulator.local\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n{auth}250 ENHANCEDSTATUSCODES\r\n",
            self.desk.config.smtp.max_bytes
        );
        Next::Continue
    }

    async fn mail(&mut self, argument: &str, out: &mut Vec<u8>) -> Next {
        let Some((from, parameters)) = keyword(argument, "FROM:").and_then(path) else {
            return reply(out, 501, "5.5.4 MAIL FROM:<address>");
        };
        if !self.greeted || self.transaction.is_some() {
            return reply(out, 503, "5.5.1 EHLO first, and one message at a time");
        }
        if !self.login.is_done() {
            return reply(out, 530, "5.7.0 authentication required");
        }
        let announced =
            parameters.split(' ').find_map(|p| keyword(p, "SIZE=")).and_then(|n| n.parse::<usize>().ok());
        if announced.is_some_and(|size| size > self.desk.config.smtp.max_bytes) {
            return reply(out, 552, "5.3.4 message too big");
        }
        let now = self.desk.clock.now();
        let plan = self.desk.switches.plan(KIND, now.at_us);
        let transaction = Transaction { plan, from: from.to_owned(), to: Vec::new() };
        match plan.fate {
            Fate::Throttled { .. } => {
                self.record(&transaction, "", b"", refusal(454), now).await;
                reply(out, 454, "4.7.0 throttling failure, slow down")
            }
            Fate::Unavailable => {
                self.record(&transaction, "", b"", refusal(421), now).await;
                reply(out, 421, "4.3.2 service not available");
                Next::Close
            }
            Fate::Stalled { taken: false } | Fate::Lost { taken: false } => {
                let verdict = Verdict { reply: reply_of(plan.fate), ..refusal(421) };
                self.record(&transaction, "", b"", verdict, now).await;
                end_of(plan.fate)
            }
            _ => {
                self.transaction = Some(transaction);
                reply(out, 250, "2.1.0 sender ok")
            }
        }
    }

    async fn recipient(&mut self, argument: &str, out: &mut Vec<u8>) -> Next {
        let Some((address, _)) = keyword(argument, "TO:").and_then(path) else {
            return reply(out, 501, "5.5.4 RCPT TO:<address>");
        };
        let Some(transaction) = &mut self.transaction else {
            return reply(out, 503, "5.5.1 MAIL first");
        };
        if transaction.to.len() >= MAX_RECIPIENTS {
            return reply(out, 452, "4.5.3 too many recipients");
        }
        if let Some(bounce) = Bounce::at_recipient(address) {
            let now = self.desk.clock.now();
            if let Some(transaction) = &self.transaction {
                self.record(transaction, address, b"", refusal(bounce.code), now).await;
            }
            return refuse(out, bounce);
        }
        transaction.to.push(address.to_owned());
        reply(out, 250, "2.1.5 recipient ok")
    }

    /// Takes a whole message, or refuses it.
    pub(super) async fn data(&mut self, data: Data, out: &mut Vec<u8>) -> Next {
        let Some(transaction) = self.transaction.take() else {
            return reply(out, 503, "5.5.1 MAIL first");
        };
        let now = self.desk.clock.now();
        let first = transaction.to.first().map_or("", String::as_str);
        let Data::Whole(mail) = data else {
            self.record(&transaction, first, b"", refusal(552), now).await;
            return reply(out, 552, "5.3.4 message too big");
        };
        if let Some(bounce) = transaction.to.iter().find_map(|to| Bounce::at_message(to)) {
            self.record(&transaction, first, &mail, refusal(bounce.code), now).await;
            return refuse(out, bounce);
        }
        // A mail server that answers an error has not taken the message, so «500, but taken» is a lost reply here.
        match transaction.plan.fate {
            Fate::Error { taken: false } => {
                self.record(&transaction, first, &mail, refusal(451), now).await;
                reply(out, 451, "4.3.0 local error")
            }
            fate => {
                let id = self.take(&transaction, &mail, now);
                let reply = if matches!(fate, Fate::Error { .. }) { Reply::Lost } else { reply_of(fate) };
                let verdict = Verdict { status: 250, taken: true, reply };
                self.record(&transaction, first, &mail, verdict, now).await;
                match fate {
                    Fate::Serve => self::reply(out, 250, format_args!("2.0.0 ok: queued as {id}")),
                    fate => end_of(fate),
                }
            }
        }
    }

    fn take(&self, transaction: &Transaction, mail: &[u8], now: Moment) -> String {
        let (_, id) = self.desk.next_id();
        self.desk.kept.keep(KeptMessage {
            kind: KIND,
            reference: id.clone(),
            to: Phi::new(transaction.to.join(", ")),
            from: transaction.from.clone(),
            body: Phi::new(String::from_utf8_lossy(mail)),
            at_us: now.at_us,
            wall_us: now.wall_us,
            truth: Truth::at_once("delivered"),
        });
        id
    }

    /// Writes the hit down, shows it to the auditor, and waits as long as the plan says.
    async fn record(&self, transaction: &Transaction, to: &str, mail: &[u8], verdict: Verdict, now: Moment) {
        let key = header(mail, "X-Outreach-Send-Key").or_else(|| header(mail, "Message-ID"));
        let hit = Hit {
            at_us: now.at_us,
            wall_us: now.wall_us,
            kind: KIND,
            send_key: key.map(|key| Marker::new(message_key(&key))),
            attempt: header(mail, "X-Outreach-Attempt").map(|attempt| Marker::new(&attempt)),
            to: TextDigest::of(to.as_bytes()),
            body: TextDigest::of(mail),
            status: verdict.status,
            taken: verdict.taken,
            reply: verdict.reply,
        };
        self.desk.hits.record(&hit);
        self.desk.sampler.look(&hit).await;
        self.desk.pause(&transaction.plan).await;
    }
}

/// The rest of an argument after a keyword in any case.
fn keyword<'a>(argument: &'a str, word: &str) -> Option<&'a str> {
    let head = argument.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| argument.get(word.len()..))?
}

fn refuse(out: &mut Vec<u8>, bounce: Bounce) -> Next {
    let (class, subject, detail) = bounce.enhanced;
    reply(out, bounce.code, format_args!("{class}.{subject}.{detail} {}", bounce.text()))
}

const fn end_of(fate: Fate) -> Next {
    match fate {
        Fate::Stalled { .. } => Next::Silence,
        _ => Next::Cut,
    }
}
