//! How what is kept lies there, and for how long: sealed, sealed anew, erased in its time, or with its patient.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use outreachd::domain::campaign::{Plan, RecipientBody};
use outreachd::domain::credential::{PasswordHash, TotpSecret};
use outreachd::domain::ids::{MessageId, SendKey, SiteId, UserName, WorkerId};
use outreachd::domain::patient::{Consent, ConsentSource, Name, Patient, Person, Proxy, ProxyPerson};
use outreachd::domain::people::Role;
use outreachd::domain::phi::Phi;
use outreachd::domain::reply::{Reply, Thread};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Authority, Channel, ProxyMode, Purpose, Reason, WorkOutcome};
use outreachd::policy::reply::{More, read};
use outreachd::store::audit::{AuditEntry, AuditFilter, verify};
use outreachd::store::campaigns::NewRecipient;
use outreachd::store::people::User;
use outreachd::store::reseal::Walk;
use outreachd::store::retention::{Class, Erased, Expiry};
use outreachd::store::rows::{
    AddressConsent, Admission, AdmitOutcome, Begin, Decided, ParkedFilter, ReplyAsk, Subject, Then,
    WorkFilter, WorkMove,
};
use outreachd::store::rules::LedgerRules;
use outreachd::store::sealed::{OPEN, Sealed};
use outreachd::store::sealer::Form;
use outreachd::store::{Store, StoreError};
use serde_json::json;
use sqlx::Executor as _;

use super::ledger::{Ledger, rejects, worker};
use super::make::{
    PHONE, Shape, at, contact, decided, job, patient, patient_id, provider, reject, revocation, route, source,
};
use crate::proof::canary::{Canary, find};

const OLD: [u8; 32] = [21; 32];
const NEW: [u8; 32] = [22; 32];

/// Everything that is written about one patient.
struct Case {
    name: String,
    phone: String,
    email: String,
    given: String,
    family: String,
    proxy: String,
    /// What stands nowhere else: template data, a reply, evidence, a rejected body, a row of a list, a reason.
    words: Vec<String>,
}

impl Case {
    fn new(n: usize) -> Self {
        let words = [
            "data",
            "inline",
            "explained",
            "evidence",
            "imported",
            "wrote",
            "rejected",
            "row",
            "plan",
            "why",
        ];
        Self {
            name: format!("P{n}"),
            phone: format!("+1773{:07}", 5_390_000 + n),
            email: format!("zqvannaxk{n:03}@wrblewskiq.example.org"),
            given: format!("Zq\u{e9}vanna{n:03}Xk"),
            family: format!("O'Wr\u{f8}blewskiq{n:03}"),
            proxy: format!("Qu\u{e4}rzelbichler{n:03}"),
            words: words
                .iter()
                .map(|word| format!("{word}: t\u{fc}rkizgelb {n:03} \u{6c34}\u{6676}"))
                .collect(),
        }
    }

    fn canaries(&self) -> Vec<Canary> {
        let mut all: Vec<Canary> =
            [&self.given, &self.family, &self.proxy, &self.email].map(|token| Canary::new(token)).into();
        all.extend(self.words.iter().map(|word| Canary::new(word)));
        all.extend(Canary::phone(&self.phone));
        all
    }

    fn patient(&self) -> Patient {
        let mut patient = Patient::bare(patient_id(&self.name));
        let named =
            |given: &str| Some(Name { given: Some(Phi::new(given)), family: Some(Phi::new(&self.family)) });
        patient.updated_at = Some(at("2026-01-01T00:00:00Z"));
        patient.name = named(&self.given);
        patient.contacts = vec![contact(Channel::Sms, &self.phone), contact(Channel::Email, &self.email)];
        let mut no = revocation(Some(Purpose::Marketing), "2026-01-01T00:00:00Z");
        no.evidence = Some(self.words[3].clone());
        patient.consents = vec![no];
        let aunt = Person {
            name: Some(Name { given: Some(Phi::new(&self.proxy)), family: None }),
            language: None,
            timezone: None,
            contacts: Vec::new(),
        };
        patient.proxies = vec![Proxy {
            person: ProxyPerson::Person(Box::new(aunt)),
            relationship: Some("aunt".to_owned()),
            authority: Authority::Caregiver,
            mode: ProxyMode::Also,
            purposes: None,
            from: None,
            until: None,
            evidence: None,
        }];
        patient
    }

    fn job(&self, id: &str) -> Admission {
        let mut job = job(id).patient(&self.name);
        job.body.data = json!({ "practitioner": self.words[0] }).as_object().unwrap().clone();
        job.body.override_reason = Some(self.words[1].clone());
        job.body.patient = Some(Box::new(self.patient()));
        job
    }
}

/// Writes everything that can be written of a patient; answers the message that was sent.
async fn write_all(ledger: &Ledger, case: &Case) -> MessageId {
    let word = |n: usize| case.words[n].clone();
    let mut earlier = case.patient();
    earlier.updated_at = Some(at("2025-12-01T00:00:00Z"));
    earlier.consents[0].at = at("2025-12-01T00:00:00Z");
    ledger.upsert_patients(vec![earlier, case.patient()]).await.unwrap();
    let imported = AddressConsent {
        channel: Channel::Sms,
        address: Phi::new(&case.phone),
        purpose: Some(Purpose::Survey),
        granted: false,
        at: at("2026-02-01T00:00:00Z"),
        source: ConsentSource::Patient,
        by: Some("import".to_owned()),
        evidence: Some(word(4)),
    };
    ledger.record_address_consents(&[imported]).await.unwrap();
    let hand = ledger.lease(case.job(&format!("j-{}", case.name))).await;
    let planned = ledger.plan(&hand).await;
    let mut route = route();
    route.address = Phi::new(&case.phone);
    let begin = Begin { explanation: json!({ "why": word(2) }).to_string(), route, ..planned };
    let attempt = begin.attempt;
    assert!(ledger.try_begin(begin).await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    let text = word(5);
    let reply = Reply {
        provider: provider("twilio"),
        channel: Channel::Sms,
        reference: format!("r-{}", case.name),
        from: Phi::new(&case.phone),
        about: None,
        text: Phi::new(&text),
        keyword: None,
        thread: None,
    };
    let meaning = read(&text, None, &More::default());
    ledger
        .reply(&ReplyAsk {
            reply: reply.clone(),
            meaning,
            opt_in: Vec::new(),
            stops_all_from: None,
            said_at: None,
        })
        .await
        .unwrap();
    let message = hand.facts.id;
    let mail = Reply {
        provider: ledger.attempts(message).await.unwrap()[0].provider.clone(),
        channel: Channel::Email,
        reference: format!("m-{}", case.name),
        about: Some(SendKey { message, step: 0 }),
        thread: Some(Thread { message_id: Phi::new(&text), references: Phi::new(&text) }),
        ..reply
    };
    let meaning = read(&text, None, &More::default());
    ledger
        .reply(&ReplyAsk { reply: mail, meaning, opt_in: Vec::new(), stops_all_from: None, said_at: None })
        .await
        .unwrap();
    let body = format!("{} {} {}", word(6), case.phone, case.family);
    ledger.admit(&rejects(vec![reject(body.as_bytes(), false)])).await.unwrap();
    add_to_campaign(ledger, case).await;
    let entry = AuditEntry {
        who: "ana".to_owned(),
        act: "patient.reveal".to_owned(),
        subject: case.name.clone(),
        detail: Phi::new(word(9)),
    };
    ledger.record(&entry).await.unwrap();
    let user = User {
        name: UserName::parse(&format!("ana{}", case.name.to_lowercase())).unwrap(),
        role: Role::Operator,
        sites: vec![SiteId::parse("north").unwrap()],
        password: PasswordHash::stored("$argon2id$one"),
        totp: TotpSecret::from_bits([7; 20]),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        disabled_at: None,
        link: None,
    };
    ledger.add_user(&user).await.unwrap();
    hand.facts.id
}

async fn add_to_campaign(ledger: &Ledger, case: &Case) {
    let id = format!("flu-{}", case.name.to_lowercase());
    let plan =
        json!({ "id": id, "template": "appointment-reminder", "data": { "practitioner": case.words[8] } });
    let plan = Plan::parse(plan.to_string().as_bytes(), Some(&source("ehr")), 50).unwrap();
    assert!(ledger.create_campaign(&plan, "ana").await.unwrap());
    let data = json!({ "practitioner": case.words[7] }).as_object().unwrap().clone();
    let body = RecipientBody { data, patient: Some(Box::new(case.patient())) };
    let row = NewRecipient { ordinal: 1, patient: patient_id(&case.name), body, place: None };
    ledger.add_recipients(&plan.id, &[row], "ana").await.unwrap().unwrap();
}

/// How the values of every sealed column lie, and how many were sealed anew on the way.
async fn walk(store: &dyn Store, limit: u32, reseal: bool) -> (BTreeMap<Form, u64>, u64, u64) {
    let (mut forms, mut resealed, mut unreadable) = (BTreeMap::new(), 0, 0);
    for column in Sealed::ALL {
        let mut after = None;
        loop {
            let ask = Walk { column: *column, after, limit, reseal };
            let step = loop {
                match store.look_through(&ask).await {
                    Err(StoreError::Contention) => tokio::task::yield_now().await,
                    other => break other.unwrap(),
                }
            };
            for (form, count) in step.forms {
                *forms.entry(form).or_default() += count;
            }
            resealed += step.resealed;
            unreadable += step.unreadable;
            after = step.next;
            if after.is_none() {
                break;
            }
        }
    }
    forms.remove(&Form::Empty);
    (forms, resealed, unreadable)
}

pub(super) async fn a_dump_names_nobody(mut ledger: Ledger) {
    let (hidden, planted) = (Case::new(1), Case::new(2));
    ledger.store = ledger.sealing(&[NEW]);
    let message = write_all(&ledger, &hidden).await;
    let unsent = ledger.lease(hidden.job("unsent")).await;
    let decision = decided(&unsent, MessageStatus::Suppressed, Some(Reason::NoContact), ledger.now().await);
    ledger
        .decide_one(Decided { explanation: json!({ "why": hidden.words[2] }).to_string(), ..decision })
        .await;
    let said = ledger.dump().await;
    let found = find(&hidden.canaries(), &said);
    assert!(found.is_empty(), "private data lies open: {found:#?}");
    let (forms, _, _) = walk(ledger.store.as_ref(), 100, false).await;
    assert_eq!(forms.keys().copied().collect::<Vec<_>>(), [ledger.sealing_form()]);
    for column in Sealed::ALL {
        let ask = Walk { column: *column, after: None, limit: 10, reseal: false };
        assert!(
            ledger.look_through(&ask).await.unwrap().forms.contains_key(&ledger.sealing_form()),
            "{column}"
        );
    }
    // Whoever has the key reads all of it.
    assert_eq!(ledger.row(message).await.body.data["practitioner"], hidden.words[0].as_str());
    assert_eq!(ledger.patient(&patient_id("P1")).await.unwrap(), Some(hidden.patient()));
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().unwrap().to_json().to_string();
    for word in [&hidden.phone, &hidden.email, &hidden.given, &hidden.family, &hidden.proxy] {
        assert!(record.contains(word.as_str()), "{word}");
    }
    // The same search finds each of the words where nothing is sealed.
    ledger.store = ledger.another();
    write_all(&ledger, &planted).await;
    let said = ledger.dump().await;
    let found = find(&planted.canaries(), &said);
    for canary in planted.canaries() {
        assert!(found.iter().any(|f| f.ends_with(canary.token())), "{} is not found", canary.token());
    }
    assert!(find(&hidden.canaries(), &said).is_empty());
    every_column_is_judged(&ledger).await;
}

/// Each column of text or bytes is sealed, or stands open with a reason. Told by the types of PostgreSQL: in SQLite ids
/// are texts too, and its tables are the same.
async fn every_column_is_judged(ledger: &Ledger) {
    let Some(columns) = ledger.text_columns().await else { return };
    let sealed: BTreeSet<String> = Sealed::ALL.iter().map(ToString::to_string).collect();
    let open: BTreeSet<&str> = OPEN.iter().map(|(name, _)| *name).collect();
    let is_judged = |(table, column): &&(String, String)| {
        let names = [format!("{table}.{column}"), format!("*.{column}")];
        sealed.contains(&names[0]) || names.iter().any(|name| open.contains(name.as_str()))
    };
    let missed: Vec<_> = columns.iter().filter(|column| !is_judged(column)).collect();
    assert!(columns.len() > 100, "the schema was read: {}", columns.len());
    assert!(missed.is_empty(), "say in src/store/sealed.rs whether these are sealed: {missed:?}");
    let there: BTreeSet<String> = columns.iter().map(|(table, column)| format!("{table}.{column}")).collect();
    assert!(sealed.is_subset(&there), "{:?}", sealed.difference(&there).collect::<Vec<_>>());
}

pub(super) async fn values_are_sealed_anew_beside_running_work(mut ledger: Ledger) {
    let cases: Vec<Case> = (1..=4).map(Case::new).collect();
    for case in &cases {
        write_all(&ledger, case).await;
    }
    let plain = walk(ledger.store.as_ref(), 3, false).await.0;
    assert_eq!(plain.keys().collect::<Vec<_>>(), [&Form::Plain]);

    // From plain to sealed, and then to another key, while work goes on.
    for (n, keys) in [vec![OLD], vec![NEW, OLD]].into_iter().enumerate() {
        ledger.store = ledger.sealing(&keys);
        let read = ledger.patient(&patient_id("P1")).await.unwrap();
        assert!(n > 0 || read == Some(cases[0].patient()), "readable before it is sealed anew");
        let work = async {
            for at in 0..10 {
                let id = format!("beside-{n}-{at}");
                ledger.sent(cases[at % 4].job(&id)).await;
                let case = Case { given: format!("Anew{n}{at}"), ..Case::new(at % 4 + 1) };
                let mut patient = case.patient();
                patient.updated_at = Some(at_second(n * 10 + at));
                ledger.upsert_patients(vec![patient]).await.unwrap();
            }
        };
        let (_, (_, resealed, unreadable)) = tokio::join!(work, walk(ledger.store.as_ref(), 3, true));
        assert!(resealed > 20 && unreadable == 0, "{resealed} {unreadable}");
        let (_, again, _) = walk(ledger.store.as_ref(), 3, true).await;
        let (forms, more, _) = walk(ledger.store.as_ref(), 1_000, true).await;
        assert!(again <= resealed && more == 0, "what is sealed stays so: {again} {more}");
        assert_eq!(forms.keys().copied().collect::<Vec<_>>(), [ledger.sealing_form()]);
        let name = ledger.patient(&patient_id("P1")).await.unwrap().unwrap().name.unwrap();
        assert_eq!(
            name.given,
            Some(Phi::new(format!("Anew{n}8"))),
            "nothing was put back to what it was before"
        );
        let log = verify(ledger.store.as_ref()).await.unwrap();
        assert_eq!((log.entries, log.broken_at), (4, None), "the audit log says what it said");
    }

    // The old key can go; who has it alone reads nothing.
    ledger.store = ledger.sealing(&[NEW]);
    assert!(ledger.patient_record(&patient_id("P2")).await.unwrap().is_some());
    let late = ledger.sealing(&[OLD]);
    let refused = late.patient(&patient_id("P1")).await.unwrap_err().to_string();
    assert!(refused.contains("seal_keys"), "{refused}");

    // A value that was moved to another row, or altered, does not open, and does not hold up the others.
    let ids: Vec<MessageId> =
        ledger.messages(&of("P1")).await.unwrap().iter().map(|row| row.facts.id).collect();
    let moved = format!(
        "UPDATE messages SET body = (SELECT o.body FROM messages o WHERE o.id = '{}') WHERE id = '{}'",
        ids[0], ids[1]
    );
    ledger.execute(&moved).await.unwrap();
    let is_open = async |id| !ledger.message(id).await.unwrap().unwrap().body.is_erased();
    assert!(!is_open(ids[1]).await, "nothing of the other row is shown for it");
    assert!(is_open(ids[0]).await);
    // The key that P1's messages are sealed with is known here, and one of them does not open.
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().unwrap().to_json();
    let told: std::collections::BTreeMap<&str, (&str, bool)> = record["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["id"].as_str().unwrap(), (m["text"].as_str().unwrap(), m["job"].is_object())))
        .collect();
    assert_eq!(told[ids[1].to_string().as_str()], ("cannot be read", false), "not erased");
    assert_eq!(told[ids[0].to_string().as_str()], ("kept", true));
    let third = ledger.sealing(&[[23; 32], NEW]);
    let (forms, resealed, unreadable) = walk(third.as_ref(), 50, true).await;
    assert_eq!((unreadable, forms.values().sum::<u64>() - resealed), (1, 1));
}

fn at_second(n: usize) -> jiff::Timestamp {
    at("2026-03-01T00:00:00Z") + SignedDuration::from_secs(n as i64)
}

fn of(name: &str) -> outreachd::store::rows::MessageFilter {
    outreachd::store::rows::MessageFilter {
        patient_id: Some(patient_id(name)),
        limit: 100,
        ..Default::default()
    }
}

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

async fn expire(ledger: &Ledger, class: Class, worker: WorkerId) -> Erased {
    let mut all = Erased::default();
    for _ in 0..50 {
        let turn = ledger.erase_old(&Expiry { worker, class, age: YEAR, limit: 2 }).await.unwrap();
        all.rows += turn.rows;
        if !turn.more {
            return all;
        }
    }
    panic!("{class:?} comes to no end");
}

async fn expire_all(ledger: &Ledger) -> Vec<u32> {
    let mut rows = Vec::new();
    for class in [Class::Messages, Class::Attempts, Class::Replies, Class::Rejected] {
        rows.push(expire(ledger, class, worker()).await.rows);
    }
    rows
}

/// Has everything published that is told.
async fn publish(ledger: &Ledger) {
    let mut done = Vec::new();
    loop {
        let events = ledger.outbox(worker(), &done, 100).await.unwrap();
        if events.is_empty() {
            return;
        }
        done = events.iter().map(|event| event.ord).collect();
    }
}

/// Closes what people have to do about a patient.
async fn close_work(ledger: &Ledger, patient: &str) {
    let items = ledger.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
    for item in items.iter().filter(|item| item.patient_id == Some(patient_id(patient))) {
        ledger.move_work(item.id, "ana", WorkMove::Close(WorkOutcome::NotNeeded)).await.unwrap();
    }
}

/// Nothing can be sent for these any more, whatever their status.
async fn let_expire(ledger: &Ledger, which: &[MessageId]) {
    for id in which {
        let sql = format!("UPDATE messages SET expires_at = accepted_at WHERE id = '{id}'");
        assert_eq!(ledger.execute(&sql).await.unwrap(), 1);
    }
}

async fn rows_in(ledger: &Ledger, table: &str, column: &str) -> u64 {
    ledger.execute(&format!("UPDATE {table} SET {column} = {column}")).await.unwrap()
}

async fn is_duplicate_of(ledger: &Ledger, again: Admission, first: MessageId) -> bool {
    let report = ledger.admit_all(vec![again], 0).await;
    matches!(report.outcomes[0], AdmitOutcome::Duplicate(id) if id == first)
}

/// Rows that belong to a message that is gone.
async fn left_alone(ledger: &Ledger) -> u64 {
    let mut rows = 0;
    for (table, column) in [("job_keys", "job_id"), ("attempts", "step"), ("events", "seq")] {
        let sql = format!(
            "UPDATE {table} SET {column} = {column} WHERE message_id NOT IN (SELECT m.id FROM messages m)"
        );
        rows += ledger.execute(&sql).await.unwrap();
    }
    rows
}

pub(super) async fn what_nothing_needs_any_more_goes_as_a_whole(ledger: Ledger) {
    let (one, two) = (Case::new(1), Case::new(2));
    let sent = write_all(&ledger, &one).await;
    let open = write_all(&ledger, &two).await;
    let waits = ledger.accept(one.job("waits").due(at("2090-01-01T00:00:00Z"))).await;
    let valid = ledger.sent(one.job("valid")).await;
    ledger.beat(WorkerId::generate()).await;
    close_work(&ledger, "P1").await;
    ledger.execute("UPDATE campaigns SET state = 'cancelled' WHERE id = 'flu-p1'").await.unwrap();
    publish(&ledger).await;
    let_expire(&ledger, &[sent, open, waits]).await;
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 0, "nothing is old");
    ledger.pass(YEAR + SignedDuration::from_hours(48)).await;
    ledger.beat(worker()).await;

    // Until then a job that comes again is known, and who has answered as well.
    assert!(is_duplicate_of(&ledger, one.job("j-P1"), sent).await);
    assert_eq!(expire(&ledger, Class::ReplyRows, worker()).await.rows, 0, "their messages are there");
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 3, "a message, a campaign, who was meant");
    assert_eq!(ledger.message(sent).await.unwrap().map(|row| row.status), None);
    assert!(ledger.attempts(sent).await.unwrap().is_empty() && ledger.events(sent).await.unwrap().is_empty());
    for kept in [open, waits, valid] {
        assert!(ledger.message(kept).await.unwrap().is_some(), "{kept}");
    }
    assert_eq!(ledger.attempts(open).await.unwrap().len(), 1);
    assert_eq!(left_alone(&ledger).await, 0);
    assert!(!is_duplicate_of(&ledger, one.job("j-P1"), sent).await, "a new job");
    assert!(is_duplicate_of(&ledger, one.job("valid"), valid).await);

    // What patients wrote goes after that, what was rejected once it waits for nobody.
    assert_eq!(expire(&ledger, Class::RejectedRows, worker()).await.rows, 0);
    assert_eq!(expire(&ledger, Class::Rejected, worker()).await.rows, 2);
    ledger.pass(SignedDuration::from_hours(8 * 24)).await;
    assert_eq!(expire(&ledger, Class::RejectedRows, worker()).await.rows, 2);
    assert_eq!(expire(&ledger, Class::ReplyRows, worker()).await.rows, 2);
    assert_eq!(rows_in(&ledger, "replies", "intent").await, 2, "those of whom somebody still looks after");
    assert_eq!(expire(&ledger, Class::Workers, worker()).await.rows, 1);
    assert_eq!(rows_in(&ledger, "workers", "name").await, 1);

    // The directory, what was refused, and who did what are of no class.
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().unwrap();
    assert_eq!((record.patient, record.word.said.len()), (Some(one.patient()), 1));
    assert_eq!((record.replies.len(), record.campaigns.len()), (0, 0));
    let log = verify(ledger.store.as_ref()).await.unwrap();
    assert_eq!((log.entries, log.broken_at), (2, None));

    // What was kept for somebody or something goes when that is over.
    close_work(&ledger, "P2").await;
    publish(&ledger).await;
    let_expire(&ledger, &[valid]).await;
    ledger.pass(SignedDuration::from_hours(8 * 24)).await;
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 2);
    assert!(ledger.message(open).await.unwrap().is_none() && ledger.message(valid).await.unwrap().is_none());
    assert!(ledger.message(waits).await.unwrap().is_some());
    assert_eq!((rows_in(&ledger, "messages", "id").await, left_alone(&ledger).await), (2, 0));
}

pub(super) async fn a_message_goes_after_all_that_points_at_it(ledger: Ledger) {
    let case = Case::new(1);
    let first = ledger.sent(job("a")).await;
    let again = ledger.sent(job("a").retry_of(first)).await;
    let unpublished = ledger.sent(job("told")).await;
    add_to_campaign(&ledger, &case).await;
    let member = ledger.sent(job("campaign:flu-p1:1").campaign("flu-p1")).await;
    ledger.execute("UPDATE campaigns SET state = 'paused'").await.unwrap();
    publish(&ledger).await;
    let tell = "INSERT INTO outbox (ord, shard) SELECT ord, shard FROM events WHERE message_id = ";
    ledger.execute(&format!("{tell}'{unpublished}'")).await.unwrap();
    let_expire(&ledger, &[first, again, unpublished, member]).await;
    ledger.pass(YEAR + SignedDuration::from_hours(48)).await;

    let later = SignedDuration::from_hours(8 * 24);
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 1, "the second try");
    assert!(ledger.message(again).await.unwrap().is_none());
    assert!(is_duplicate_of(&ledger, job("a"), first).await, "the key is the first one's");
    publish(&ledger).await;
    ledger.pass(later).await;
    assert_eq!(
        expire(&ledger, Class::Rows, worker()).await.rows,
        2,
        "the first one, and what is told by now"
    );
    assert!(!is_duplicate_of(&ledger, job("a"), first).await);

    // What a campaign has sent is counted for as long as it lasts, and for some time after.
    let campaign = outreachd::domain::ids::CampaignId::parse("flu-p1").unwrap();
    let counted = async || {
        let report = ledger.campaign_report(&campaign).await.unwrap();
        report.lines.iter().map(|line| line.count).sum::<u64>()
    };
    ledger.execute("UPDATE campaigns SET state = 'done'").await.unwrap();
    let sql = "UPDATE campaigns SET changed_at = (SELECT max(m.accepted_at) FROM messages m)";
    ledger.execute(sql).await.unwrap();
    ledger.pass(later).await;
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 0);
    assert_eq!(counted().await, 1);
    ledger.pass(YEAR).await;
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 3, "all of it together");
    assert!(ledger.campaign(&campaign).await.unwrap().is_none());
    assert_eq!(counted().await, 0);
}

pub(super) async fn events_go_once_they_are_published_and_posted(mut ledger: Ledger) {
    let told = ledger.sent(job("told")).await;
    ledger.pass(YEAR + SignedDuration::from_hours(1)).await;
    assert_eq!(expire(&ledger, Class::Events, worker()).await.rows, 0, "the broker has none of it");
    publish(&ledger).await;
    let seq = ledger.row(told).await.seq;
    assert_eq!(expire(&ledger, Class::Events, worker()).await.rows, seq);
    assert!(ledger.events(told).await.unwrap().is_empty());
    assert_eq!(ledger.row(told).await.seq, seq, "numbers go on");

    let rules = LedgerRules { callbacks: BTreeSet::from([source("ehr")]), ..LedgerRules::default() };
    ledger.store = ledger.ruled(rules);
    let owed = ledger.sent(job("owed")).await;
    ledger.store = ledger.another();
    let after = ledger.sent(job("after")).await;
    publish(&ledger).await;
    assert_eq!(expire(&ledger, Class::Events, worker()).await.rows, 0, "nothing is old");
    ledger.pass(YEAR + SignedDuration::from_hours(48)).await;
    assert_eq!(expire(&ledger, Class::Events, worker()).await.rows, seq);
    assert!(ledger.events(after).await.unwrap().is_empty());
    assert_eq!(ledger.events(owed).await.unwrap().len(), 1, "its receiver has not taken it");
    assert_eq!(ledger.counts().await.unwrap().callbacks.len(), 1);
    let_expire(&ledger, &[told, owed, after]).await;
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 3);
    assert!(ledger.counts().await.unwrap().callbacks.is_empty());
    assert_eq!(left_alone(&ledger).await, 0);
}

pub(super) async fn a_turn_that_is_cut_loses_nothing(mut ledger: Ledger) {
    let mut all = Vec::new();
    for n in 0..6 {
        all.push(ledger.sent(job(&format!("j{n}"))).await);
    }
    publish(&ledger).await;
    let_expire(&ledger, &all).await;
    ledger.pass(YEAR + SignedDuration::from_hours(48)).await;
    let ask = Expiry { worker: WorkerId::generate(), class: Class::Rows, age: YEAR, limit: 2 };
    tokio::select! {
        biased;
        _ = ledger.erase_old(&ask) => panic!("it needs more than one look"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(ledger.erase_old(&ask).await.unwrap(), Erased { rows: 2, more: true });
    assert_eq!((rows_in(&ledger, "messages", "id").await, left_alone(&ledger).await), (4, 0));
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 0, "another one has it in hand");
    // Which does not come back.
    ledger.store = ledger.another();
    ledger.pass(SignedDuration::from_secs(61)).await;
    assert_eq!(expire(&ledger, Class::Rows, worker()).await.rows, 4);
    assert_eq!((rows_in(&ledger, "messages", "id").await, left_alone(&ledger).await), (0, 0));
}

pub(super) async fn what_comes_at_the_last_moment_keeps_a_message(ledger: Ledger) {
    let kept = ledger.sent(job("a")).await;
    publish(&ledger).await;
    let_expire(&ledger, &[kept]).await;
    ledger.pass(YEAR + SignedDuration::from_hours(48)).await;
    // Where there is one writer nothing comes in between.
    let Some(mut late) = ledger.locking(kept).await else { return };
    let store = ledger.another();
    let ask = Expiry { worker: worker(), class: Class::Rows, age: YEAR, limit: 2 };
    let turn = tokio::spawn(async move { store.erase_old(&ask).await });
    let waits =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while ledger.execute(waits).await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    late.execute("UPDATE messages SET due_at = now()").await.unwrap();
    late.execute("COMMIT").await.unwrap();
    assert_eq!(turn.await.unwrap().unwrap(), Erased::default());
    assert!(is_duplicate_of(&ledger, job("a"), kept).await);
    assert_eq!(left_alone(&ledger).await, 0);
}

pub(super) async fn what_has_ended_is_erased_in_its_time(ledger: Ledger) {
    let (one, two, young) = (Case::new(1), Case::new(2), Case::new(3));
    let sent = write_all(&ledger, &one).await;
    write_all(&ledger, &two).await;
    let waits = ledger.accept(one.job("waits").due(at("2090-01-01T00:00:00Z"))).await;
    // Nobody will ever know: it has ended as well.
    let (hand, attempt) = ledger.begun(one.job("lost")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    let lost = hand.facts.id;
    // What one of the two answered waits for a person still.
    let items = ledger.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
    let open = items.iter().find(|item| item.patient_id == Some(patient_id("P2"))).unwrap().id;
    let closed = items.iter().find(|item| item.patient_id == Some(patient_id("P1"))).unwrap().id;
    let close = WorkMove::Close(WorkOutcome::NotNeeded);
    for item in items.iter().filter(|item| item.patient_id == Some(patient_id("P1"))) {
        ledger.move_work(item.id, "ana", close).await.unwrap();
    }
    assert_eq!(expire_all(&ledger).await, [0, 0, 0, 0], "nothing is old");
    ledger.execute("UPDATE campaigns SET state = 'cancelled' WHERE id = 'flu-p1'").await.unwrap();
    let before = ledger.row(sent).await;
    ledger.pass(YEAR + SignedDuration::from_hours(1)).await;
    let fresh = write_all(&ledger, &young).await;

    // One worker at a time.
    let ask = Expiry { worker: WorkerId::generate(), class: Class::Messages, age: YEAR, limit: 1 };
    assert_eq!(ledger.erase_old(&ask).await.unwrap(), Erased { rows: 1, more: true });
    assert_eq!(expire(&ledger, Class::Messages, worker()).await.rows, 0, "another one has it in hand");
    ledger.pass(SignedDuration::from_secs(61)).await;
    assert_eq!(
        expire_all(&ledger).await,
        [2, 2, 2, 2],
        "what nobody knows of and a campaign's row, and so on"
    );
    assert_eq!(expire_all(&ledger).await, [0, 0, 0, 0]);

    let after = ledger.row(sent).await;
    assert!(before.explanation.is_some_and(|why| why.contains(&one.words[2])));
    assert!(after.body.is_erased() && after.explanation.is_none());
    assert_eq!((after.status, after.seq, &after.facts), (before.status, before.seq, &before.facts));
    assert_eq!(ledger.attempts(sent).await.unwrap()[0].address, Phi::default());
    assert!(ledger.row(lost).await.body.is_erased());
    for kept in [waits, fresh] {
        assert!(!ledger.row(kept).await.body.is_erased());
    }
    let erased = ledger.reply_text(closed).await.unwrap().unwrap();
    assert_eq!((erased.text, erased.from), (None, None));
    assert!(ledger.reply_text(open).await.unwrap().unwrap().text.is_some());
    assert_eq!(ledger.parked(&ParkedFilter { limit: 10, ..Default::default() }).await.unwrap().len(), 1);
    assert_eq!(ledger.counts().await.unwrap().parked, 1);
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().unwrap();
    assert!(record.campaigns[0].body.is_empty(), "of the campaign that is over");
    assert!(!ledger.patient_record(&patient_id("P2")).await.unwrap().unwrap().campaigns[0].body.is_empty());
    // The directory, what was refused and the audit log are of no class.
    assert_eq!(record.patient, Some(one.patient()));
    assert_eq!(record.word.said.len(), 1);
    let log = AuditFilter { limit: 10, ..AuditFilter::default() };
    assert_eq!(ledger.audit(&log).await.unwrap()[0].detail, Phi::new(&one.words[9]));

    // What had not ended is looked at again.
    for item in items.iter().filter(|item| item.patient_id == Some(patient_id("P2"))) {
        ledger.move_work(item.id, "ana", close).await.unwrap();
    }
    ledger.cancel(&[super::make::cancel_job("waits")]).await.unwrap();
    ledger.pass(SignedDuration::from_hours(25)).await;
    assert_eq!(expire_all(&ledger).await, [1, 1, 2, 0], "the job was cancelled yesterday");
    ledger.pass(YEAR).await;
    assert_eq!(expire_all(&ledger).await, [1, 0, 0, 1], "what was young a year ago waits for somebody");
    assert!(ledger.row(waits).await.body.is_erased());
}

pub(super) async fn a_patient_is_erased_and_their_no_stays(mut ledger: Ledger) {
    let (gone, stays) = (Case::new(1), Case::new(2));
    ledger.store = ledger.sealing(&[NEW]);
    let sent = write_all(&ledger, &gone).await;
    let other = write_all(&ledger, &stays).await;
    let waits = ledger.accept(gone.job("waits").due(at("2090-01-01T00:00:00Z"))).await;
    let mut old = gone.patient();
    (old.id, old.consents) = (patient_id("P1-old"), Vec::new());
    ledger.upsert_patients(vec![old]).await.unwrap();
    let by_old = ledger.sent(gone.job("by-old").patient("P1-old")).await;
    assert!(ledger.merge_patients(&patient_id("P1-old"), &patient_id("P1")).await.unwrap());

    // All of it is in the record, under either name.
    for name in ["P1", "P1-old"] {
        let record = ledger.patient_record(&patient_id(name)).await.unwrap().unwrap();
        assert_eq!(record.ids, [patient_id("P1"), patient_id("P1-old")]);
        assert_eq!((record.messages.len(), record.replies.len(), record.campaigns.len()), (3, 2, 1));
        let text = record.to_json();
        let all = |n: usize| serde_json::to_string(&gone.words[n]).unwrap();
        for n in [0, 1, 2, 3, 4, 5, 7] {
            assert!(text.to_string().contains(all(n).trim_matches('"')), "{}", gone.words[n]);
        }
        assert!(!find(&gone.canaries(), &[("record".to_owned(), text.to_string().into_bytes())]).is_empty());
    }
    assert!(ledger.patient_record(&patient_id("nobody")).await.unwrap().is_none());

    assert!(ledger.erase_patient(&patient_id("P1-old")).await.unwrap());
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().unwrap();
    let text = vec![("record".to_owned(), record.to_json().to_string().into_bytes())];
    assert_eq!(find(&gone.canaries(), &text), Vec::<String>::new());
    assert!(record.patient.is_none() && ledger.patient(&patient_id("P1-old")).await.unwrap().is_none());
    for id in [sent, by_old, waits] {
        assert!(ledger.row(id).await.body.is_erased());
    }
    assert_eq!(ledger.standing(sent).await.0, MessageStatus::Read);
    assert_eq!(ledger.standing(waits).await, (MessageStatus::Cancelled, Some(Reason::Cancelled)));
    assert_eq!(ledger.told(waits).await.last().unwrap(), "message.cancelled.ehr");
    // Nobody else lost anything.
    assert_eq!(ledger.row(other).await.body.data["practitioner"], stays.words[0].as_str());
    assert_eq!(ledger.patient(&patient_id("P2")).await.unwrap(), Some(stays.patient()));
    // Whoever brings them again finds what they refused: in their record, and at their number.
    let back = Patient { consents: Vec::new(), ..gone.patient() };
    ledger.upsert_patients(vec![back]).await.unwrap();
    let asked = Subject {
        message: job("q").facts.id,
        patient: patient_id("P1"),
        inline_addresses: Vec::new(),
        step: 0,
        tried: false,
        yields: false,
    };
    let said = ledger.directory(&[asked]).await.unwrap().entries[0].address_consents.clone();
    for purpose in [Purpose::Marketing, Purpose::Survey] {
        assert!(said.iter().any(|c| c.purpose == Some(purpose) && !c.granted), "{purpose}");
    }
    assert!(!ledger.erase_patient(&patient_id("nobody")).await.unwrap());
}

pub(super) async fn what_was_refused_at_a_former_number_outlives_the_record(ledger: Ledger) {
    let former = "+13125550188";
    let mut gone = patient("P1", "2026-01-01T00:00:00Z");
    let no = revocation(None, "2026-01-01T00:00:00Z");
    gone.consents = vec![Consent { address: Some(Phi::new(former)), ..no }];
    ledger.upsert_patients(vec![gone.clone()]).await.unwrap();
    assert!(ledger.erase_patient(&gone.id).await.unwrap());
    // A copy from elsewhere brings them back, with the number they had given up.
    let mut back = patient("P1", "2026-01-02T00:00:00Z");
    back.contacts =
        vec![contact(Channel::Sms, former), contact(Channel::Voice, former), contact(Channel::Sms, PHONE)];
    ledger.upsert_patients(vec![back]).await.unwrap();
    let asked = Subject {
        message: job("q").facts.id,
        patient: patient_id("P1"),
        inline_addresses: Vec::new(),
        step: 0,
        tried: false,
        yields: false,
    };
    let said = ledger.directory(&[asked]).await.unwrap().entries[0].address_consents.clone();
    let mut refused: Vec<(Channel, &str)> =
        said.iter().filter_map(|c| Some((c.channel?, c.address.as_ref()?.expose()))).collect();
    refused.sort();
    assert_eq!(refused, [(Channel::Sms, former), (Channel::Voice, former)]);
    assert!(said.iter().all(|c| !c.granted && c.purpose.is_none()));
}

pub(super) async fn who_is_merged_while_they_are_erased_is_erased_too(ledger: Ledger) {
    let of = |id: &str| patient(id, "2026-01-01T00:00:00Z");
    ledger.upsert_patients(vec![of("P1"), of("P2")]).await.unwrap();
    // Where there is one writer nothing comes in between.
    let Some(mut merge) = ledger.locking_patient("P1").await else { return };
    let store = ledger.another();
    let erased = tokio::spawn(async move { store.erase_patient(&patient_id("P1")).await });
    let waits =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while ledger.execute(waits).await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    merge.execute("UPDATE patients SET alias_of = 'P1' WHERE id = 'P2'").await.unwrap();
    merge.execute("COMMIT").await.unwrap();
    assert!(erased.await.unwrap().unwrap());
    assert_eq!(ledger.execute("UPDATE patients SET id = id").await.unwrap(), 0, "nothing is left of either");
}
