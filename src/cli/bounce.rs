//! `outreachd bounce`: one mail that has come back, handed over by a mail server.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use mail_parser::MessageParser;

use super::{Desk as Cli, Failure};
use crate::config::Config;
use crate::config::provider::ProviderSettings;
use crate::provider::mail::{IncomingMail, MOST, READ};
use crate::provider::{Provider, registry};
use crate::receipt::{Desk, Refusal};

/// What mail servers know exit codes by (sysexits.h): it is no mail, nobody is there, try again.
const DATA: u8 = 65;
const NO_USER: u8 = 67;
const TRY_AGAIN: u8 = 75;
/// Where nothing else says whom the envelope named: what mail servers put there, the most certain first.
const TO_HEADERS: [&str; 3] = ["X-Original-To", "Delivered-To", "Envelope-To"];

/// Takes one mail that has come back: a bounce, a complaint, an answer to a mail of ours.
///
/// Exit codes are those that mail servers understand: 0, it is on record, or says nothing; 75, the ledger is away, try
/// again; 65, it is no mail; 67, nobody reads it, for it answers nothing that was sent from here.
#[derive(Debug, Args)]
#[command(after_help = "Example, in the master.cf of Postfix:\n  \
                        null_sender= argv=/usr/local/bin/outreachd bounce - --from=${sender} --to=${original_recipient}")]
pub(super) struct Options {
    /// The mail; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whom its envelope named [default: $ORIGINAL_RECIPIENT, $RECIPIENT, else its headers]
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// The envelope's sender, empty for a bounce [default: $SENDER, else its Return-Path]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// No machine answers it: it was answered before, as may be what came before a restore
    #[arg(long)]
    unanswered: bool,
}

pub(super) async fn run(cli: &mut Cli, options: Options) -> Result<(), Failure> {
    // Whatever is wrong with us, the mail is not to blame: the mail server shall keep it.
    let desk = open(cli).await.map_err(|failure| failure.with_code(TRY_AGAIN))?;
    let mail = read(&options).map_err(|failure| failure.with_code(TRY_AGAIN))?;
    let variable = |name: &str| std::env::var(name).ok();
    let from = options.from.or_else(|| variable("SENDER"));
    let mut to = options.to;
    if to.is_empty() {
        to.extend(variable("ORIGINAL_RECIPIENT").or_else(|| variable("RECIPIENT")));
    }
    if to.is_empty() {
        to = addressed(&mail);
    }
    let mut answer = Err(Refusal::NoWebhook);
    for to in &to {
        let mail = IncomingMail { to, from: from.as_deref(), bytes: &mail };
        let taken = desk.take_mail(&mail, options.unanswered).await;
        match taken {
            Err(Refusal::Later) => return Err(refused(Refusal::Later)),
            taken => answer = answer.or(taken),
        }
    }
    answer.map_err(refused)
}

async fn open(cli: &Cli) -> Result<Desk, Failure> {
    let config: Arc<Config> = cli.config()?;
    let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
    for section in &config.providers {
        if matches!(section.settings, ProviderSettings::Smtp(_)) {
            providers.push(registry::build(section).map_err(crate::app::AppError::Provider)?);
        }
    }
    let store = Cli::store(&config).await?;
    Ok(Desk::open(providers, store, None, config))
}

/// The mail, as much of it as is read. One that is too large is no mail of ours.
fn read(options: &Options) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::file(&options.file, &error);
    let mut from: Box<dyn std::io::Read> = if options.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(&options.file).map_err(failed)?)
    };
    let mut mail = Vec::new();
    let most = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    (&mut from).take(most(READ)).read_to_end(&mut mail).map_err(failed)?;
    // The rest is taken all the same: who writes to us must not meet a closed pipe.
    std::io::copy(&mut from.take(most(MOST)), &mut std::io::sink()).map_err(failed)?;
    Ok(mail)
}

fn addressed(mail: &[u8]) -> Vec<String> {
    let Some(mail) = MessageParser::default().parse_headers(mail) else { return Vec::new() };
    let certain =
        TO_HEADERS.into_iter().filter_map(|name| mail.header_raw(name).map(|to| to.trim().to_owned()));
    let to = mail.to().into_iter().flat_map(|to| to.iter()).filter_map(|to| to.address().map(str::to_owned));
    let all: Vec<String> = certain.chain(to).filter(|to| !to.is_empty()).collect();
    // A complaint names nobody of ours, and is known by what it sends back.
    if all.is_empty() { vec![String::new()] } else { all }
}

fn refused(refusal: Refusal) -> Failure {
    let (code, what, cure) = match refusal {
        Refusal::Later => {
            (TRY_AGAIN, "the ledger is away", "nothing: the mail server keeps the mail and comes again")
        }
        Refusal::Unreadable => (DATA, "this is no mail", "hand over the whole mail, head and body"),
        Refusal::Forged => (NO_USER, "there is no such address", "nothing: the mark in it is not ours"),
        Refusal::NoWebhook => {
            let cure = "see that it came to `bounce_address` or `reply_address` of a provider, and is an answer to its mail";
            (NO_USER, "nobody reads this: it answers no mail that was sent from here", cure)
        }
    };
    Failure::said(what, cure).with_code(code)
}

impl Failure {
    fn with_code(self, code: u8) -> Self {
        Self::Coded(ExitCode::from(code), Box::new(self))
    }
}
