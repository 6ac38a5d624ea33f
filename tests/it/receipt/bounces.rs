//! Bounces of a real mail server, by both ways in: Postfix takes our mail, finds no such user, and hands its report to
//! the worker by LMTP, or to `outreachd bounce` in a pipe. While the ledger is away it keeps the reports.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use outreachd::domain::failure::Failure;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::Reason;
use outreachd::simulator::SimulatorConfig;
use serde_json::{Value, json};

use super::mail::{relay, toml_of};
use super::{free_address, message};
use crate::support::house::{House, job, of, patient};
use crate::support::servers::{Postfix, Postgres};
use crate::support::shared::TestDatabase;

const BY_LMTP: &str = "bounces@lmtp.clinic.example";
const BY_PIPE: &str = "bounces@pipe.clinic.example";

/// So many mails to boxes that are there, and as many to boxes that are not; as many again while the ledger is away.
pub(crate) async fn real_server(name: &str, each: usize) {
    let mut postgres = Postgres::start().await;
    let database = TestDatabase::create_on(&postgres.url()).await;
    let (listen, key) = (free_address(), "5a1b2c3d".repeat(8));
    let mut postfix = Postfix::set_up(listen.port());
    let store = format!("[store]\nurl = \"{}\"\n", database.url());
    let pipe = format!("{}{store}", toml_of("pipe", postfix.port(), BY_PIPE, &key));
    postfix.pipe_into(Path::new(env!("CARGO_BIN_EXE_outreachd")), &pipe);
    postfix.start().await;
    let house = House::open_on(SimulatorConfig::default(), database, |config| {
        config.bounces.listen = Some(listen);
        config.providers =
            vec![relay("lmtp", postfix.port(), BY_LMTP, &key), relay("pipe", postfix.port(), BY_PIPE, &key)];
    })
    .await;
    let started = Instant::now();
    let (there, gone) = (|n: usize| format!("T{n}"), |n: usize| format!("G{n}"));
    let people: Vec<Value> = (0..each)
        .flat_map(|n| {
            // The last boxes that are there are the server's one box, by its many names.
            let known = patient(&there(n), "email", &format!("known+{n}@example.net"));
            [known, patient(&gone(n), "email", &format!("nobody{n}@example.net"))]
        })
        .collect();
    house.publish("patient.upsert", &people).await;
    let jobs = |wave: usize| -> Vec<Value> {
        (0..each).flat_map(|n| [there(n), gone(n)]).map(|who| job(&format!("{who}-{wave}"), &who)).collect()
    };
    house.publish("job", &jobs(1)).await;
    house.until_status(MessageStatus::Failed, each as u64).await;
    let first = started.elapsed();

    // The reports of the second wave come while the ledger is away.
    postfix.hold_reports(true);
    house.publish("job", &jobs(2)).await;
    house.until("all with the server", |c| of(c, MessageStatus::Sent) == 3 * each as u64).await;
    postfix.until_queued(each).await;
    postgres.stop();
    postfix.hold_reports(false);
    postfix.until_put_off(each.min(10)).await;
    postgres.start_again().await;
    let back = Instant::now();
    let end = back + Duration::from_secs(120);
    while house.store.counts().await.map_or(0, |c| of(&c, MessageStatus::Failed)) < 2 * each as u64 {
        assert!(Instant::now() < end, "{:?}; {}", house.store.counts().await, postfix.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let second = back.elapsed();

    let mut by = [0; 2];
    for wave in 1..=2 {
        for n in 0..each {
            let (row, attempts) = message(&house, &format!("{}-{wave}", gone(n))).await;
            assert_eq!((row.status, row.reason), (MessageStatus::Failed, Some(Reason::InvalidAddress)));
            let [attempt] = &attempts[..] else { panic!("one attempt: {attempts:?}") };
            assert_eq!(attempt.status, AttemptStatus::Undelivered);
            assert_eq!(
                (attempt.failure, attempt.code.as_deref()),
                (Some(Failure::BadAddress), Some("5.1.1"))
            );
            by[usize::from(attempt.provider.as_str() == "pipe")] += 1;
            let (row, attempts) = message(&house, &format!("{}-{wave}", there(n))).await;
            assert_eq!((row.status, attempts.len()), (MessageStatus::Sent, 1));
        }
    }
    assert!(by[0] > 0 && by[1] > 0, "both ways in were used: {by:?}");
    assert_eq!(postfix.delivered(), 2 * each, "the others have their mail");
    postfix.until_queued(0).await;
    println!(
        "{}",
        json!({ "run": name, "bounced": 2 * each, "delivered": 2 * each, "by_lmtp": by[0], "by_pipe": by[1],
            "put_off_while_away": postfix.put_off(), "first_wave_s": first.as_secs_f64(),
            "second_wave_after_return_s": second.as_secs_f64(), "postfix": version() })
    );
    house.close().await;
}

fn version() -> String {
    let output = Command::new("postconf").args(["-hd", "mail_version"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
