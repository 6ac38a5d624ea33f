//! How fast the ledger is, step by step. Figures, no verdict.
#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::domain::ids::AttemptId;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::AttemptStatus;
use outreachd::domain::words::{Channel, Priority};
use outreachd::policy::surge::SurgeRules;
use outreachd::store::rows::{Begin, Claim, Settlement, Subject, Then};
use outreachd::store::rules::LedgerRules;

use super::ledger::{InHand, Ledger, batch, subject, worker};
use super::make::{Shape, begin_of, contact, job, patient, seconds, settlement};

const MESSAGES: usize = 20_000;
const AT_ONCE: usize = 500;
const ROOM: u32 = 500;
const PATIENTS: usize = 5_000;
const SOURCES: usize = 20;

pub(super) async fn throughput(ledger: Ledger) {
    let mut watch = Watch::default();
    for chunk in (0..PATIENTS).collect::<Vec<_>>().chunks(AT_ONCE) {
        let patients = chunk.iter().map(|n| {
            let mut person = patient(&format!("P{n}"), "2026-01-01T00:00:00Z");
            person.contacts = vec![contact(Channel::Sms, &format!("+1312555{n:04}"))];
            person.contacts.push(contact(Channel::Email, &format!("p{n}@example.org")));
            person
        });
        let patients = patients.collect();
        watch.time("upsert", AT_ONCE, ledger.upsert_patients(patients)).await.unwrap();
    }
    for chunk in (0..MESSAGES).collect::<Vec<_>>().chunks(AT_ONCE) {
        let jobs = chunk.iter().map(|n| {
            job(&format!("j{n}"))
                .patient(&format!("P{}", n % PATIENTS))
                .asked_by(&format!("s{}", n % SOURCES))
                .about(&format!("visit-{n}"))
        });
        let batch = batch(jobs.collect(), 0);
        watch.time("admit", AT_ONCE, ledger.admit(&batch)).await.unwrap();
    }
    let ask = Claim { worker: worker(), channel: None, priority: Priority::Normal, room: ROOM };
    let mut published = Vec::new();
    loop {
        let claimed = watch.time("claim", AT_ONCE, ledger.claim(&ask)).await.unwrap().messages;
        if claimed.is_empty() {
            break;
        }
        let hands: Vec<InHand> = claimed.into_iter().map(InHand::from).collect();
        let subjects: Vec<Subject> = hands.iter().map(subject).collect();
        let directory = watch.time("directory", AT_ONCE, ledger.directory(&subjects)).await.unwrap();
        let rows: Vec<Begin> = hands
            .iter()
            .zip(&directory.entries)
            .map(|(hand, entry)| begin_of(hand, entry.state.clone(), directory.now + seconds(600)))
            .collect();
        let begun = watch.time("begin", AT_ONCE, ledger.begin(worker(), &rows)).await.unwrap();
        assert_eq!(begun.attempts.len(), rows.len());
        let settled: Vec<Settlement> = hands
            .iter()
            .zip(&rows)
            .map(|(hand, row)| settlement(hand, row.attempt, AttemptStatus::Sent, Then::Sent, begun.now))
            .collect();
        watch.time("settle", AT_ONCE, ledger.settle(&settled)).await.unwrap();
        let events = watch.time("outbox", AT_ONCE, ledger.outbox(worker(), &published, ROOM)).await.unwrap();
        published = events.iter().map(|e| e.ord).collect();
    }
    ledger.outbox(worker(), &published, ROOM).await.unwrap();
    assert_eq!(ledger.counts().await.unwrap().outbox, 0);
    guarded(&ledger, &mut watch).await;
    println!("{}", watch.report());
    side_by_side(&ledger).await;
    deep_backlog(&ledger).await;
}

/// The same intake counted by the guard against surges, whose sources have a busy past.
async fn guarded(ledger: &Ledger, watch: &mut Watch) {
    let surge =
        SurgeRules { factor: 5, floor: 500, window_hours: 14 * 24, learning_hours: 24, learning_factor: 10 };
    let store = ledger.ruled(LedgerRules { surge: Some(surge), ..LedgerRules::default() });
    let hour = ledger.now().await.as_second() / 3600 - 30;
    for n in 0..SOURCES {
        let seed = format!(
            "INSERT INTO arrivals (hour, source, template, count) VALUES ({hour}, 's{n}', 'appointment-reminder', 100000)"
        );
        ledger.execute(&seed).await.unwrap();
    }
    for chunk in (0..MESSAGES).collect::<Vec<_>>().chunks(AT_ONCE) {
        let jobs = chunk.iter().map(|n| {
            job(&format!("g{n}"))
                .patient(&format!("P{}", n % PATIENTS))
                .asked_by(&format!("s{}", n % SOURCES))
                .about(&format!("visit-{n}"))
                .priority(Priority::Bulk)
        });
        let batch = batch(jobs.collect(), 0);
        watch.time("admit, guarded", AT_ONCE, store.admit(&batch)).await.unwrap();
    }
    assert!(ledger.holds().await.unwrap().is_empty());
    // Nothing of it may stand in the way of what is measured next.
    ledger.execute("UPDATE messages SET due_at = NULL WHERE job_id LIKE 'g%'").await.unwrap();
}

/// The corridor as it runs: intake and four workers at the same time, new jobs in hand at once.
async fn side_by_side(ledger: &Ledger) {
    let started = Instant::now();
    let mut workers = Vec::new();
    for lane in 0..4_usize {
        let store = Arc::clone(&ledger.store);
        workers.push(tokio::spawn(async move {
            for n in 0..(MESSAGES / AT_ONCE / 4) {
                let jobs: Vec<_> = (0..AT_ONCE)
                    .map(|i| {
                        job(&format!("k{lane}-{n}-{i}"))
                            .patient(&format!("P{}", (n * AT_ONCE + i) % PATIENTS))
                    })
                    .collect();
                let facts: Vec<_> = jobs.iter().map(|j| Arc::new(j.facts.clone())).collect();
                let report = store.admit(&batch(jobs, AT_ONCE)).await.unwrap();
                let hands: Vec<InHand> = report
                    .leased
                    .into_iter()
                    .map(|l| InHand { facts: Arc::clone(&facts[l.place]), work: l.work })
                    .collect();
                let subjects: Vec<Subject> = hands.iter().map(subject).collect();
                let directory = store.directory(&subjects).await.unwrap();
                let rows: Vec<Begin> = hands
                    .iter()
                    .zip(&directory.entries)
                    .map(|(hand, entry)| begin_of(hand, entry.state.clone(), directory.now + seconds(600)))
                    .collect();
                let begun = store.begin(worker(), &rows).await.unwrap();
                let settled: Vec<Settlement> = hands
                    .iter()
                    .zip(&rows)
                    .map(|(hand, row)| {
                        settlement(hand, row.attempt, AttemptStatus::Sent, Then::Sent, begun.now)
                    })
                    .collect();
                store.settle(&settled).await.unwrap();
            }
        }));
    }
    let store = Arc::clone(&ledger.store);
    let publisher = tokio::spawn(async move {
        let (mut total, mut done) = (0, Vec::new());
        while total < MESSAGES {
            let events = store.outbox(worker(), &done, 1000).await.unwrap();
            total += events.len();
            done = events.iter().map(|e| e.ord).collect();
            if done.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    for worker in workers {
        worker.await.unwrap();
    }
    publisher.await.unwrap();
    println!(
        "side by side: {:.0} messages/s to the last event",
        MESSAGES as f64 / started.elapsed().as_secs_f64()
    );
}

/// A hundred thousand due, of twenty sources, when somebody asks for five hundred.
async fn deep_backlog(ledger: &Ledger) {
    for n in 0..200_usize {
        let jobs = (0..AT_ONCE).map(|i| {
            job(&format!("d{n}-{i}")).asked_by(&format!("s{}", i % SOURCES)).priority(Priority::Bulk)
        });
        ledger.admit(&batch(jobs.collect(), 0)).await.unwrap();
    }
    let ask = Claim { worker: worker(), channel: None, priority: Priority::Bulk, room: ROOM };
    let mut watch = Watch::default();
    for _ in 0..20 {
        let claimed = watch.time("claim of 100,000", AT_ONCE, ledger.claim(&ask)).await.unwrap();
        assert_eq!(claimed.messages.len(), AT_ONCE);
    }
    let unknown = AttemptId::generate();
    let nobody = Subject {
        message: job("x").facts.id,
        patient: super::make::patient_id("nobody"),
        inline_addresses: vec![Phi::new(unknown.to_string())],
        step: 0,
        tried: false,
        yields: false,
    };
    watch.time("directory of one", 1, ledger.directory(&[nobody])).await.unwrap();
    watch.time("take over", 1, ledger.take_over(ROOM)).await.unwrap();
    watch.time("counts", 1, ledger.counts()).await.unwrap();
    println!("{}", watch.report());
}

/// How long each kind of call took.
#[derive(Default)]
struct Watch(Vec<(&'static str, usize, u32, Duration)>);

impl Watch {
    async fn time<T>(&mut self, name: &'static str, many: usize, call: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let answer = call.await;
        let took = started.elapsed();
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, calls, total)) => {
                *calls += 1;
                *total += took;
            }
            None => self.0.push((name, many, 1, took)),
        }
        answer
    }

    fn report(&self) -> String {
        let line = |(name, many, calls, total): &(&str, usize, u32, Duration)| {
            let each = *total / *calls;
            let rate = *many as f64 / each.as_secs_f64();
            format!("{name:<18} {:>8.2} ms a call {rate:>10.0} rows/s\n", each.as_secs_f64() * 1000.0)
        };
        self.0.iter().map(line).collect()
    }
}
