//! Our mail as others read it: Python's aiosmtpd takes it, its `email` package parses it, dkimpy verifies it.
//!
//! Run with `tests/proof a_foreign_server`, which installs what it needs.

use std::process::Stdio;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outreachd::config::provider::{DkimAlgorithm, DkimSettings, ProviderSettings, SmtpSettings};
use outreachd::config::secret::Secret;
use outreachd::domain::outbound::{Content, OutboundMessage};
use outreachd::domain::patient::Name;
use outreachd::domain::phi::Phi;
use outreachd::provider::registry;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::keys::rsa;
use super::smtp::relay;
use super::table::{message, section};

struct Foreign {
    /// Ends with its standard input.
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Foreign {
    async fn start(records: &[String]) -> Self {
        let python = std::env::var("OUTREACHD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/mail.py");
        let mut command = Command::new(python);
        command.arg(script).kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.args(records.iter().flat_map(|record| ["--key", record.as_str()]));
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let port = u16::try_from(first["port"].as_u64().unwrap()).unwrap();
        Self { _process: process, lines, port }
    }

    async fn mail(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }
}

fn record(selector: &str, kind: &str, public: &[u8]) -> String {
    format!("{selector}._domainkey.lakeside.example=v=DKIM1; k={kind}; p={}", STANDARD.encode(public))
}

fn letter(subject: &str, name: &str, text: &str, html: &str) -> OutboundMessage {
    let mut letter = message(
        "ana.canary@example.org",
        Content::Email {
            subject: Phi::new(subject),
            text: Phi::new(text),
            html: Phi::new(html),
            unsubscribe_url: Some(format!("https://o.example/u/{}", "t0ken".repeat(20))),
        },
    );
    letter.to_name = Some(Name { given: Some(Phi::new(name)), family: None });
    letter
}

#[tokio::test]
#[ignore = "needs Python with aiosmtpd and dkimpy"]
async fn a_foreign_server_parses_our_mail_and_a_foreign_verifier_trusts_it() {
    let seed = [7; 32];
    let edwards = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let mut foreign = Foreign::start(&[
        record("rsa", "rsa", &rsa().public_x509),
        record("ed", "ed25519", edwards.public_key().as_ref()),
        record("wrong", "ed25519", &[9; 32]),
    ])
    .await;
    let long = "word ".repeat(400);
    let letters = [
        letter("Reminder", "Ana", "Hello Ana,\nsee you.\n", "<p>Hello Ana</p>"),
        letter(
            "Su cita  mañana 📅",
            "José  \"Pepe\" Núñez",
            "Hola,\n.\n..\n \t\nAdiós  \n\n\n",
            "<p>¡Hola!</p>\n\n",
        ),
        letter("Напоминание о приёме ".repeat(12).as_str(), "Анна", &long, &format!("<p>{long}</p>")),
        letter(&"x".repeat(900), &"y".repeat(300), "", ""),
    ];
    for (selector, algorithm, key, valid) in [
        ("rsa", DkimAlgorithm::Rsa, rsa().pem.clone(), true),
        ("ed", DkimAlgorithm::Ed25519, STANDARD.encode(seed), true),
        ("wrong", DkimAlgorithm::Ed25519, STANDARD.encode(seed), false),
    ] {
        let dkim = DkimSettings {
            domain: "lakeside.example".to_owned(),
            selector: selector.to_owned(),
            private_key: Secret::new(key),
            algorithm,
        };
        let settings = SmtpSettings {
            dkim: Some(dkim),
            reply_to: Some("desk@lakeside.example".to_owned()),
            ..relay(foreign.port)
        };
        let provider = registry::build(&section(ProviderSettings::Smtp(settings))).unwrap();
        for letter in &letters {
            provider.send(letter).await.unwrap();
            let mail = foreign.mail().await;
            assert_eq!(mail["dkim"].as_array().map(Vec::len), Some(1));
            assert_eq!(mail["dkim"][0]["valid"], valid, "{selector}: {mail:#}");
            assert_eq!(mail["defects"], serde_json::json!([]));
            assert_eq!(mail["bare_line_ends"], 0);
            assert!(mail["longest_line"].as_u64().unwrap() <= 998);
            let Content::Email { subject, text, .. } = &letter.content else { unreachable!() };
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(mail["headers"]["subject"].as_str().unwrap()), words(subject.expose()));
            assert_eq!(words(mail["text"].as_str().unwrap()), words(text.expose()));
            if valid {
                let signed: Vec<&str> =
                    mail["dkim"][0]["signed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                for name in [
                    "from",
                    "to",
                    "subject",
                    "date",
                    "message-id",
                    "reply-to",
                    "mime-version",
                    "content-type",
                    "list-unsubscribe",
                    "list-unsubscribe-post",
                ] {
                    assert!(signed.contains(&name), "{name} in {signed:?}");
                }
            }
        }
    }
}
