//! Mail that comes back, handed over as a mail server does.

use std::net::SocketAddr;

use outreachd::config::Config;
use outreachd::config::provider::{ProviderSection, ProviderSettings};
use outreachd::dispatch::explain;
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::JobId;
use outreachd::domain::receipt::Report;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Reason, WorkKind, WorkState};
use outreachd::provider::mail::IncomingMail;
use outreachd::provider::registry;
use outreachd::receipt::Desk;
use outreachd::simulator::{ProviderKind, SimulatorConfig};
use outreachd::store::rows::{MessageFilter, WorkFilter};
use serde_json::{Value, json};

use super::lmtp::hand_over;
use super::{free_address, message};
use crate::support::house::{House, job, of};

/// The mail of this name, for the mark and the recipient.
fn mail(name: &str, to: &str, mark: &str) -> Vec<u8> {
    let path = format!("{}/tests/it/fixtures/mail/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().replace("{TO}", to).replace("{MARK}", mark).into_bytes()
}

/// Gives every mail provider the addresses by which its mails come back.
pub(super) fn with_addresses(config: &mut Config, bounce: &str, reply: &str) {
    let key = config.security.key.clone();
    for provider in &mut config.providers {
        if let ProviderSettings::Smtp(smtp) = &mut provider.settings {
            smtp.bounce_address = Some(bounce.to_owned());
            smtp.reply_address = Some(reply.to_owned());
            smtp.mark_key = key.clone();
        }
    }
}

/// A clinic to which its mail comes back, and where it takes that.
async fn open() -> (House, SocketAddr) {
    let listen = free_address();
    let house = House::open_with(SimulatorConfig::default(), |config| {
        config.bounces.listen = Some(listen);
        with_addresses(config, "bounces@mail.clinic.example", "reply@mail.clinic.example");
    })
    .await;
    (house, listen)
}

fn person(id: &str, contacts: &[(&str, &str)]) -> Value {
    let contacts: Vec<Value> =
        contacts.iter().map(|(channel, address)| json!({"channel": channel, "address": address})).collect();
    json!({
        "id": id, "updated_at": "2026-11-20T08:00:00Z", "language": "en", "preferred_channels": ["email", "sms"],
        "timezone": "America/Chicago", "contacts": contacts,
    })
}

/// What is care and no appointment.
fn care(id: &str, patient: &str) -> Value {
    json!({
        "id": id, "source": "lakeside-ehr", "patient_id": patient, "template": "preferences-changed", "data": {},
    })
}

async fn mark_of(house: &House, job: &str) -> String {
    let (_, attempts) = message(house, job).await;
    let reference = attempts[0].provider_ref.clone().expect("a mail's Message-ID");
    reference.split('@').next().unwrap().to_owned()
}

async fn keys(house: &House, job: &str) -> Vec<String> {
    let (row, _) = message(house, job).await;
    house.store.events(row.facts.id).await.unwrap().into_iter().map(|event| event.routing_key).collect()
}

async fn replies(house: &House, job: &str) -> Vec<String> {
    keys(house, job).await.into_iter().filter(|key| key.starts_with("reply.")).collect()
}

async fn status(house: &House, job: &str, expected: (MessageStatus, Option<Reason>)) {
    let job_ids = vec![JobId::parse(job).unwrap()];
    let filter = MessageFilter { job_ids, limit: 1, ..MessageFilter::default() };
    let mut stands = None;
    for _ in 0..200 {
        let row = house.store.messages(&filter).await.unwrap().pop();
        stands = row.map(|row| (row.status, row.reason));
        if stands == Some(expected) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{job} stands at {stands:?}, not at {expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounces_complaints_and_answers_end_where_they_belong() {
    let (house, listen) = open().await;
    let people = [
        person("P1", &[("email", "gone@example.net")]),
        person("P2", &[("email", "gone2@example.net"), ("sms", "+13125550142")]),
        person("P3", &[("email", "ana@example.net")]),
        person("P4", &[("email", "bob@example.net")]),
        person("P5", &[("email", "eva@example.net")]),
        person("P6", &[("email", "hands-on@example.net")]),
    ];
    house.publish("patient.upsert", &people).await;
    let jobs: Vec<Value> = (1..=6).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Sent, 6).await;
    let mut marks = vec![String::new()];
    for n in 1..=6 {
        marks.push(mark_of(&house, &format!("j{n}")).await);
    }
    let to = |kind: &str, n: usize| format!("{kind}+{}@mail.clinic.example", marks[n]);
    let give = async |from: &str, to: String, name: &str, n: usize| {
        // Reports name whom they are about; but for the last, to whom P6 hands on what comes.
        let about =
            ["", "gone@example.net", "gone2@example.net"].get(n).copied().unwrap_or("ana@example.net");
        let text = String::from_utf8(mail(name, &to, &marks[n])).unwrap().replace("ana@example.net", about);
        hand_over(listen, from, &to, text.as_bytes()).await
    };
    let ok = "250 2.0.0 on record\r\n";

    // A delay changes nothing, and neither does what is forged: it is refused.
    assert_eq!(give("", to("bounces", 1), "postfix-delayed", 1).await, ok);
    let forged = format!("bounces+{}@mail.clinic.example", marks[1].replace('.', ".0"));
    assert!(give("", forged, "postfix", 1).await.starts_with("550 5.1.1"));
    assert_eq!(message(&house, "j1").await.0.status, MessageStatus::Sent);

    // Bounced: no other way, and another way. Twice says no more than once.
    for _ in 0..2 {
        assert_eq!(give("", to("bounces", 1), "postfix", 1).await, ok);
    }
    status(&house, "j1", (MessageStatus::Failed, Some(Reason::InvalidAddress))).await;
    let (_, attempts) = message(&house, "j1").await;
    let [attempt] = &attempts[..] else { panic!("one attempt: {attempts:?}") };
    assert_eq!((attempt.status, attempt.failure), (AttemptStatus::Undelivered, Some(Failure::BadAddress)));
    assert_eq!(attempt.code.as_deref(), Some("5.1.1"));
    assert_eq!(keys(&house, "j1").await.iter().filter(|key| key.contains("failed")).count(), 1);
    assert_eq!(give("", to("bounces", 2), "exim", 2).await, ok);
    house.until("a text instead", |_| house.simulator.stats().of(ProviderKind::TwilioSms).taken == 1).await;

    // The mark tells which mail it was, and the report that somebody else is gone: the address that we have is not blamed.
    assert_eq!(give("", to("bounces", 6), "postfix", 6).await, ok);
    status(&house, "j6", (MessageStatus::Failed, Some(Reason::Unreachable))).await;
    let (row, attempts) = message(&house, "j6").await;
    let attempt = attempts.last().unwrap();
    assert_eq!((attempt.status, attempt.failure), (AttemptStatus::Undelivered, Some(Failure::Unreachable)));
    assert_eq!((attempt.code.as_deref(), attempt.report), (Some("5.1.1"), Some(Report::AnotherRecipient)));
    let explained = explain(house.store.as_ref(), row.facts.id).await.unwrap().unwrap().to_text();
    assert!(explained.contains("undelivered, unreachable (5.1.1), of another recipient"), "{explained}");

    // Somebody answers: people read it. Then they want no more mail.
    assert_eq!(give("ana@example.net", to("reply", 3), "reply", 3).await, ok);
    assert_eq!(give("ana@example.net", to("reply", 3), "fresh", 3).await, ok);
    assert_eq!(replies(&house, "j3").await, ["reply.text.lakeside-ehr", "reply.stop.lakeside-ehr"]);
    house.publish("job", &[care("k3", "P3")]).await;
    status(&house, "k3", (MessageStatus::Suppressed, Some(Reason::OptedOut))).await;
    // The stop is confirmed, once, in its thread, to where our mail had gone; nobody answers anything else at this hour.
    assert_eq!(give("ana@example.net", to("reply", 3), "fresh", 3).await, ok, "it comes again");
    let answers = || {
        let mails = house.simulator.recent(100);
        let texts = mails.iter().map(|mail| (mail.to.expose().to_owned(), mail.body.expose().to_owned()));
        texts.filter(|(_, body)| body.contains("Auto-Submitted: auto-replied")).collect::<Vec<_>>()
    };
    house.until("an answer", |_| !answers().is_empty()).await;
    let sent = answers();
    let [(mailbox, answer)] = &sent[..] else { panic!("one answer: {}", sent.len()) };
    assert_eq!(mailbox, "ana@example.net");
    for part in [
        "In-Reply-To: <fresh@example.net>".to_owned(),
        "References: <fresh@example.net>".to_owned(),
        format!("Reply-To: Clinic <reply+{}@mail.clinic.example>", marks[3]),
        "You will get no more mail from us at this address".to_owned(),
    ] {
        assert!(answer.replace("\r\n ", " ").contains(&part), "{part}\n{answer}");
    }
    assert!(!answer.contains(&format!("bounces+{}", marks[3])), "a bounce of it is none of the mail's");
    // Whoever writes without having been written to is told that nobody reads it.
    let stranger = give("eve@example.net", "reply@mail.clinic.example".to_owned(), "fresh", 4).await;
    assert!(stranger.starts_with("550 5.1.1"), "{stranger}");

    // A complaint is about what it is about.
    for _ in 0..2 {
        assert_eq!(give("", "abuse@clinic.example".to_owned(), "arf", 4).await, ok);
    }
    assert_eq!(replies(&house, "j4").await, ["reply.complaint.lakeside-ehr"]);
    house.publish("job", &[job("k4", "P4"), care("k4b", "P4"), job("k5", "P5")]).await;
    status(&house, "k4", (MessageStatus::Suppressed, Some(Reason::OptedOut))).await;
    status(&house, "k4b", (MessageStatus::Sent, None)).await;
    status(&house, "k5", (MessageStatus::Sent, None)).await;
    let counts = house.store.counts().await.unwrap();
    assert_eq!(of(&counts, MessageStatus::Failed), 2);
    house.close().await;
}

/// As after a restore, where the mailbox is handed over again.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_answered_before_is_on_record_and_not_answered_again() {
    let (house, _) = open().await;
    house.publish("patient.upsert", &[person("P1", &[("email", "ana@example.net")])]).await;
    house.publish("job", &[job("j1", "P1")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    let to = format!("reply+{}@mail.clinic.example", mark_of(&house, "j1").await);
    let providers = house.config.providers.iter().map(|section| registry::build(section).unwrap());
    let desk = Desk::open(providers, house.store.clone(), None, house.config.clone());
    let stop = mail("fresh", &to, "");
    let stop = IncomingMail { to: &to, from: Some("ana@example.net"), bytes: &stop };
    desk.take_mail(&stop, true).await.unwrap();
    assert_eq!(replies(&house, "j1").await, ["reply.stop.lakeside-ehr"]);
    house.publish("job", &[care("k1", "P1")]).await;
    status(&house, "k1", (MessageStatus::Suppressed, Some(Reason::OptedOut))).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(house.simulator.recent(10).len(), 1, "the mail itself, and no answer to the stop");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_asks_is_answered_by_the_first_line_of_what_comes_back() {
    let (house, listen) = open().await;
    let mut people =
        [person("P1", &[("email", "ana@example.net")]), person("P2", &[("email", "bob@example.net")])];
    for one in &mut people {
        one["consents"] = json!([{ "purpose": "prevention", "granted": true, "at": "2026-10-01T12:00:00Z",
            "source": "staff", "by": "u17", "evidence": "form 12" }]);
    }
    house.publish("patient.upsert", &people).await;
    let invitations = [1, 2].map(|n| {
        json!({
            "id": format!("v{n}"), "source": "lakeside-ehr", "patient_id": format!("P{n}"),
            "template": "vaccine-invitation", "site": "lakeside-north", "data": {}, "expires_at": "2036-12-01T00:00:00Z",
        })
    });
    house.publish("job", &invitations).await;
    house.until_status(MessageStatus::Sent, 2).await;
    let asked = house.simulator.recent(10);
    assert!(asked.iter().all(|mail| mail.body.expose().contains("answer this mail with 1")), "{asked:?}");
    for (n, said, open) in [(1, "Yes, please", 1), (2, "2\r\n\r\nI had it in May.\r\nBob", 2)] {
        let to = format!("reply+{}@mail.clinic.example", mark_of(&house, &format!("v{n}")).await);
        let mail = String::from_utf8(mail("fresh", &to, ""))
            .unwrap()
            .replace("Subject: STOP", "Subject: Re: a vaccine");
        let mail = mail.replace("\r\n", "\n").replace("stop", &said.replace("\r\n", "\n"));
        let mail = mail.replace("fresh@", &format!("fresh{n}@")).replace('\n', "\r\n");
        let taken = hand_over(listen, "someone@example.net", &to, mail.as_bytes()).await;
        assert_eq!(taken, "250 2.0.0 on record\r\n");
        assert_eq!(replies(&house, &format!("v{n}")).await, ["reply.answer.lakeside-ehr"]);
        status(&house, &format!("v{n}"), (MessageStatus::Read, None)).await;
        let work = house.store.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
        assert_eq!(work.len(), open, "somebody has to book, and what stands below an answer is read");
    }
    house.close().await;
}

/// A server has taken it, says so, and finds out later that nobody is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_told_as_delivered_comes_back_and_a_text_goes() {
    let (house, listen) = open().await;
    let people = [
        person("P1", &[("email", "gone@example.net"), ("sms", "+13125550142")]),
        person("P2", &[("email", "gone2@example.net")]),
    ];
    house.publish("patient.upsert", &people).await;
    house.publish("job", &[job("j1", "P1"), job("j2", "P2")]).await;
    house.until_status(MessageStatus::Sent, 2).await;
    for (name, expected) in [("success", None), ("postfix", Some(Reason::InvalidAddress))] {
        for (job, address) in [("j2", "gone2@example.net"), ("j1", "gone@example.net")] {
            let mark = mark_of(&house, job).await;
            let to = format!("bounces+{mark}@mail.clinic.example");
            let text = String::from_utf8(mail(name, &to, &mark)).unwrap().replace("ana@example.net", address);
            assert_eq!(hand_over(listen, "", &to, text.as_bytes()).await, "250 2.0.0 on record\r\n");
            if job == "j2" || expected.is_none() {
                status(&house, job, (MessageStatus::Delivered, expected)).await;
            }
        }
    }
    house.until("a text instead", |_| house.simulator.stats().of(ProviderKind::TwilioSms).taken == 1).await;
    for name in ["j1", "j2"] {
        let (row, attempts) = message(&house, name).await;
        assert_eq!((row.status, attempts[0].status), (MessageStatus::Delivered, AttemptStatus::Undelivered));
        let filter = WorkFilter { message: Some(row.facts.id), limit: 10, ..WorkFilter::default() };
        let closed = WorkFilter { state: Some(WorkState::Closed), ..filter.clone() };
        let mut items = house.store.work_items(&filter).await.unwrap();
        items.extend(house.store.work_items(&closed).await.unwrap());
        assert_eq!(items.iter().map(|item| item.kind).collect::<Vec<_>>(), [WorkKind::CameBack], "{name}");
    }
    // Nobody else is there for the one who has mail alone.
    let (mut row, attempts) = message(&house, "j2").await;
    for _ in 0..200 {
        if row.due_at.is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        row = message(&house, "j2").await.0;
    }
    assert_eq!((row.status, row.due_at, attempts.len()), (MessageStatus::Delivered, None, 1));
    let told = house.store.events(row.facts.id).await.unwrap();
    let told: Vec<String> = told.into_iter().map(|event| event.routing_key).collect();
    let delivered = "message.delivered.lakeside-ehr";
    assert_eq!(told[..3], ["message.sent.lakeside-ehr", delivered, delivered]);
    let explained = explain(house.store.as_ref(), row.facts.id).await.unwrap().unwrap();
    let text = explained.to_text();
    assert!(
        explained.came_back && text.contains("back     it was told as delivered and came back"),
        "{text}"
    );
    house.close().await;
}

/// A provider that hands its mail to a server on this machine.
pub(super) fn relay(name: &str, port: u16, bounce: &str, key: &str) -> ProviderSection {
    let config = Config::from_toml(&toml_of(name, port, bounce, key)).unwrap();
    config.providers[0].clone()
}

pub(super) fn toml_of(name: &str, port: u16, bounce: &str, key: &str) -> String {
    format!(
        r#"
        [security]
        key = "{key}"
        [[provider]]
        name = "{name}"
        kind = "smtp"
        baa = true
        host = "127.0.0.1"
        port = {port}
        tls = "none"
        from = "Lakeside Health <clinic@clinic.example>"
        bounce_address = "{bounce}"
        "#
    )
}

/// What a mail server learns from the exit code.
#[test]
fn a_mail_in_a_pipe_is_answered_by_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let key = "5a1b2c3d".repeat(8);
    let run = |store: &str, words: &[&str], input: &[u8]| {
        let file = folder.path().join("o.toml");
        let toml = format!(
            "{}[store]\nurl = \"{store}\"\n",
            toml_of("mail", 1, "bounces@mail.clinic.example", &key)
        );
        std::fs::write(&file, toml).unwrap();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_outreachd"))
            .args(words)
            .arg("--config")
            .arg(&file)
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input).unwrap();
        drop(stdin);
        child.wait().unwrap().code()
    };
    let ledger = format!("sqlite://{}", folder.path().join("ledger.db").display());
    let to = "bounces@mail.clinic.example";
    let bounce = ["bounce", "-", "--from=", "--to", to];
    let report = mail("postfix", to, "nothing");
    assert_eq!(run(&ledger, &bounce, &report), Some(75), "no schema yet: nobody may lose a mail for that");
    assert_eq!(run(&ledger, &["migrate"], b""), Some(0));
    assert_eq!(run(&ledger, &bounce, &report), Some(0));
    assert_eq!(run(&ledger, &["bounce", "-"], &report), Some(0), "its own To names whom it is for");
    assert_eq!(run(&ledger, &["bounce", "-", "--to", to], &mail("fresh", to, "nothing")), Some(67));
    assert_eq!(run(&ledger, &["bounce", "-", "--to", "bounces+x@mail.clinic.example"], &report), Some(67));
    assert_eq!(run(&ledger, &bounce, b""), Some(65));
    assert_eq!(run("postgres://o:o@127.0.0.1:1/o", &bounce, &report), Some(75));
}
