//! What patients send back: on record once, and with it all that follows.

use outreachd::domain::consent::{Answer, answer_of_both};
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::SendKey;
use outreachd::domain::patient::{Consent, ConsentSource, Patient, ProxyPerson};
use outreachd::domain::phi::Phi;
use outreachd::domain::reply::{Intent, Keyword, Reply};
use outreachd::domain::status::AttemptStatus;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{
    Channel, ContactStatus, Priority, Purpose, Reason, Recipient, WorkKind, WorkOutcome,
};
use outreachd::policy::reply::{More, read};
use outreachd::store::recover::{Witness, Word};
use outreachd::store::rows::{
    Begin, ReplyAsk, ReplyOutcome, Settlement, Subject, Then, WorkFilter, WorkItem, WorkMove,
};

use super::ledger::{Ledger, worker};
use super::make::{PHONE, Shape, at, contact, guardian, job, patient, patient_id, provider, seconds};

pub(crate) fn ask(reference: &str, text: &str) -> ReplyAsk {
    let reply = Reply {
        provider: provider("twilio"),
        channel: Channel::Sms,
        reference: reference.to_owned(),
        from: Phi::new(PHONE),
        about: None,
        text: Phi::new(text),
        keyword: None,
        thread: None,
    };
    let meaning = read(text, None, &More::default());
    ReplyAsk { reply, meaning, opt_in: vec![Purpose::Marketing], stops_all_from: None, said_at: None }
}

/// Takes a new reply; answers what it was taken for.
async fn reply(ledger: &Ledger, reference: &str, text: &str) -> Intent {
    ledger.pass(seconds(1)).await;
    match ledger.reply(&ask(reference, text)).await.unwrap() {
        ReplyOutcome::New { meaning, .. } => meaning.intent,
        other => panic!("{reference} is new: {other:?}"),
    }
}

async fn household(ledger: &Ledger) {
    let both = ["P1", "P2"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients(both.to_vec()).await.unwrap();
}

async fn items(ledger: &Ledger) -> Vec<WorkItem> {
    ledger.work_items(&WorkFilter { limit: 100, ..WorkFilter::default() }).await.unwrap()
}

async fn wrote(ledger: &Ledger, item: &WorkItem) -> Option<String> {
    let reply = ledger.reply_text(item.id).await.unwrap().expect("a reply");
    reply.text.map(|text| text.expose().to_owned())
}

/// What counts for this patient at the number, of this purpose: what they have on record, and what was said there.
async fn says(ledger: &Ledger, name: &str, purpose: Purpose) -> &'static str {
    says_over(ledger, name, purpose, Channel::Sms).await
}

async fn says_over(ledger: &Ledger, name: &str, purpose: Purpose, channel: Channel) -> &'static str {
    let subject = Subject {
        message: job("q").facts.id,
        patient: patient_id(name),
        inline_addresses: Vec::new(),
        step: 0,
        tried: false,
        yields: false,
    };
    let directory = ledger.directory(&[subject]).await.unwrap();
    let entry = &directory.entries[0];
    let own = entry.patient.as_ref().map_or(&[][..], |patient| &patient.consents);
    let asked = (purpose, channel, &Phi::new(PHONE));
    match answer_of_both(own, &entry.address_consents, asked, at("2098-01-01T00:00:00Z")) {
        Answer::Revoked(_) => "no",
        Answer::Granted(_) => "yes",
        Answer::Unsaid | Answer::Expired(_) => "nothing",
    }
}

async fn stored(ledger: &Ledger, name: &str) -> Patient {
    ledger.patient(&patient_id(name)).await.unwrap().expect("a patient")
}

pub(super) async fn a_stop_binds_everybody_behind_the_number_once(ledger: Ledger) {
    household(&ledger).await;
    let sent = ledger.sent(job("a")).await;
    let hand = ledger.lease(job("b").patient("P2")).await;
    let planned = ledger.plan(&hand).await;
    assert_eq!(reply(&ledger, "SM1", "Stop, please!").await, Intent::Stop);
    assert!(!ledger.try_begin(planned).await, "what was planned before it goes nowhere");
    for name in ["P1", "P2"] {
        assert_eq!(says(&ledger, name, Purpose::Appointment).await, "no", "{name}");
    }
    let kept = "UPDATE address_consents SET channel = channel WHERE NOT granted AND purpose IS NULL AND channel = 'sms'
        AND source = 'patient' AND evidence = 'reply twilio SM1: stop'";
    assert_eq!(ledger.execute(kept).await.unwrap(), 1, "with its evidence");
    assert_eq!(ledger.told(sent).await, ["message.sent.ehr", "message.read.ehr", "reply.stop.ehr"]);
    let plan = ledger.plan(&hand).await;
    // The webhook comes again: nothing has changed.
    let again = ledger.reply(&ask("SM1", "Stop, please!")).await.unwrap();
    let ReplyOutcome::Known { first: Some(first) } = again else { panic!("{again:?}") };
    assert_eq!(
        (first.intent, first.locale.as_deref()),
        (Intent::Stop, Some("en")),
        "it is answered as before"
    );
    assert_eq!(ledger.told(sent).await, ["message.sent.ehr", "message.read.ehr", "reply.stop.ehr"]);
    assert!(ledger.try_begin(plan).await, "nobody's revision was raised by the repeat");
    assert_eq!(items(&ledger).await, []);
}

pub(super) async fn a_start_gives_back_what_a_stop_took_and_no_more(ledger: Ledger) {
    household(&ledger).await;
    ledger.sent(job("a")).await;
    reply(&ledger, "SM1", "STOP").await;
    assert_eq!(reply(&ledger, "SM2", "start").await, Intent::Start);
    for name in ["P1", "P2"] {
        assert_eq!(says(&ledger, name, Purpose::Appointment).await, "yes", "{name}");
        assert_eq!(says(&ledger, name, Purpose::Emergency).await, "yes", "{name}");
        assert_eq!(
            says(&ledger, name, Purpose::Marketing).await,
            "no",
            "a word is no agreement to marketing"
        );
    }
    reply(&ledger, "SM3", "alto").await;
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no");
    // One of the two has chosen on their page: nobody else gives that back for them.
    let mut first = stored(&ledger, "P1").await;
    first.updated_at = Some(at("2026-01-02T00:00:00Z"));
    first.consents = vec![Consent {
        purpose: None,
        channel: None,
        address: None,
        granted: false,
        at: at("2026-01-02T00:00:00Z"),
        source: ConsentSource::Patient,
        by: None,
        evidence: Some("page".to_owned()),
        expires_at: None,
        shadow: None,
    }];
    ledger.upsert_patients(vec![first]).await.unwrap();
    reply(&ledger, "SM4", "START").await;
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no");
    assert_eq!(says(&ledger, "P2", Purpose::Appointment).await, "yes");
    // Calls are another matter, until the rule makes them one.
    let both = async |ledger: &Ledger| {
        let over = async |channel| says_over(ledger, "P2", Purpose::Appointment, channel).await;
        (over(Channel::Sms).await, over(Channel::Voice).await)
    };
    assert_eq!(both(&ledger).await, ("yes", "nothing"));
    reply(&ledger, "SM5", "Stop calling me").await;
    assert_eq!(both(&ledger).await, ("yes", "no"));
    ledger.execute("DELETE FROM address_consents WHERE channel = 'voice'").await.unwrap();
    let now = ledger.now().await;
    for (name, from, expected) in [
        ("SM6", now + seconds(60), ("no", "nothing")),
        ("SM7", now, ("no", "no")),
        ("SM8", now, ("yes", "no")),
    ] {
        ledger.pass(seconds(1)).await;
        let word = if name == "SM8" { "START" } else { "STOP" };
        ledger.reply(&ReplyAsk { stops_all_from: Some(from), ..ask(name, word) }).await.unwrap();
        assert_eq!(both(&ledger).await, expected, "{name}");
    }
}

pub(super) async fn a_cancel_after_a_visit_stops_and_calls_people(ledger: Ledger) {
    household(&ledger).await;
    let visit = ledger.sent(job("a").site("north")).await;
    assert_eq!(reply(&ledger, "SM1", "CANCEL").await, Intent::Cancel);
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no");
    let open = items(&ledger).await;
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].kind, open[0].message_id), (WorkKind::MaybeCancelVisit, Some(visit)));
    assert_eq!(open[0].site.as_ref().unwrap().as_str(), "north");
    assert_eq!(open[0].due_at.duration_since(open[0].opened_at), seconds(3_600));
    assert_eq!(wrote(&ledger, &open[0]).await.as_deref(), Some("CANCEL"));
    // After anything else it is a stop and nothing besides.
    ledger.pass(seconds(1)).await;
    let mut other = job("b");
    other.facts.purpose = Purpose::Care;
    ledger.sent(other).await;
    assert_eq!(reply(&ledger, "SM2", "cancel").await, Intent::Stop);
    assert_eq!(items(&ledger).await.len(), 1);
}

pub(super) async fn each_free_text_is_work_until_a_person_closes_it(ledger: Ledger) {
    household(&ledger).await;
    let message = ledger.sent(job("a")).await;
    assert_eq!(reply(&ledger, "SM1", "Can I bring my son?").await, Intent::Text);
    assert_eq!(reply(&ledger, "SM2", "He is 4").await, Intent::Text);
    let open = items(&ledger).await;
    let kinds: Vec<_> = open.iter().map(|item| (item.kind, item.message_id)).collect();
    assert_eq!(kinds, [(WorkKind::Reply, Some(message)); 2], "the second is not lost behind the first");
    let mut texts = Vec::new();
    for item in &open {
        texts.push(wrote(&ledger, item).await.unwrap());
        let shown = ledger.reply_text(item.id).await.unwrap();
        let told = format!("{item:?} {shown:?}");
        assert!(!told.contains("son") && !told.contains(PHONE), "{told}");
        assert_eq!(shown.unwrap().from, Some(Phi::new(PHONE)));
    }
    texts.sort();
    assert_eq!(texts, ["Can I bring my son?", "He is 4"]);
    assert_eq!(ledger.sweep_work(10).await.unwrap().opened.len(), 2);
    assert_eq!(ledger.standing(message).await.0, MessageStatus::Read);
    let swept = ledger.sweep_work(10).await.unwrap();
    assert!(swept.resolved.is_empty(), "that the message was read answers nobody: {swept:?}");
    ledger.move_work(open[0].id, "ana", WorkMove::Close(WorkOutcome::Reached)).await.unwrap();
    assert_eq!(items(&ledger).await.len(), 1);
    for event in ledger.outbox(worker(), &[], 100).await.unwrap() {
        assert!(!event.body.contains("son") && !event.body.contains("He is"), "{}", event.body);
    }
    // Erased, the patient has written nothing.
    ledger.erase_patient(&patient_id("P1")).await.unwrap();
    let erased = ledger.reply_text(open[1].id).await.unwrap().unwrap();
    assert_eq!((erased.text, erased.from), (None, None));
    // A number that is withheld is none.
    let mut withheld = ask("SM3", "Who are you?");
    withheld.reply.from = Phi::new("");
    ledger.reply(&withheld).await.unwrap();
    let of_nobody = items(&ledger).await.into_iter().find(|item| item.message_id.is_none()).unwrap();
    assert_eq!(wrote(&ledger, &of_nobody).await.as_deref(), Some("Who are you?"));
    assert_eq!(ledger.reply_text(of_nobody.id).await.unwrap().unwrap().from, None);
}

pub(super) async fn danger_is_urgent_and_the_wish_in_it_counts(ledger: Ledger) {
    household(&ledger).await;
    ledger.sent(job("a").priority(Priority::Bulk)).await;
    assert_eq!(reply(&ledger, "SM1", "stop texting me, I have chest pain").await, Intent::Safety);
    let open = items(&ledger).await;
    assert_eq!((open[0].kind, open[0].priority), (WorkKind::Safety, Priority::Urgent));
    assert_eq!(open[0].due_at.duration_since(open[0].opened_at), seconds(300));
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no");
    // What has waited for the ledger is told with the time at which it was said.
    ledger.pass(seconds(120)).await;
    let said_at = ledger.now().await - seconds(60);
    ledger.reply(&ReplyAsk { said_at: Some(said_at), ..ask("SM2", "HELP") }).await.unwrap();
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let help = told.iter().find(|event| event.routing_key == "reply.help.ehr").unwrap();
    assert!(help.body.contains(&format!("\"occurred_at\":\"{said_at:.3}\"")), "{}", help.body);
}

pub(super) async fn a_wrong_number_is_marked_for_whom_it_was_written_to(ledger: Ledger) {
    let mut both = ["P1", "P2"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    both[0].contacts.push(contact(Channel::Voice, PHONE));
    both[0].contacts.push(contact(Channel::Email, "ana@example.org"));
    ledger.upsert_patients(both.to_vec()).await.unwrap();
    let message = ledger.sent(job("a")).await;
    let hand = ledger.lease(job("b")).await;
    let planned = ledger.plan(&hand).await;
    assert_eq!(reply(&ledger, "SM1", "Wrong number!").await, Intent::WrongNumber);
    assert!(!ledger.try_begin(planned).await);
    for contact in stored(&ledger, "P1").await.contacts {
        let expected =
            if contact.channel == Channel::Email { ContactStatus::Ok } else { ContactStatus::Wrong };
        assert_eq!(contact.status, expected, "{}", contact.channel);
    }
    assert_eq!(stored(&ledger, "P2").await.contacts[0].status, ContactStatus::Ok, "a word about the other");
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "nothing", "nobody has opted out");
    let open = items(&ledger).await;
    assert_eq!((open.len(), open[0].kind, open[0].message_id), (1, WorkKind::Reply, Some(message)));
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let keys: Vec<&str> = told.iter().map(|event| event.routing_key.as_str()).collect();
    assert_eq!(keys, ["message.sent.ehr", "reply.wrong_number.ehr", "contact.wrong.ehr"]);
    assert!(told[2].body.contains("\"patient_id\":\"P1\""));
    // The other one is asked there, too; then nobody is left whom it could be right for.
    ledger.sent(job("c").patient("P2")).await;
    assert_eq!(reply(&ledger, "SM2", "wrong number").await, Intent::WrongNumber);
    assert_eq!(stored(&ledger, "P2").await.contacts[0].status, ContactStatus::Wrong);
    assert_eq!(items(&ledger).await.len(), 1);
    // A later record that says nothing of it leaves it; one that calls it good is believed.
    for (updated_at, says_status, expected) in [
        ("2098-01-01T00:00:00Z", false, ContactStatus::Wrong),
        ("2098-01-02T00:00:00Z", true, ContactStatus::Ok),
    ] {
        let mut sent = patient("P2", updated_at);
        sent.contacts[0].says_status = says_status;
        ledger.upsert_patients(vec![sent]).await.unwrap();
        assert_eq!(stored(&ledger, "P2").await.contacts[0].status, expected);
    }
    // Their record has the number for calls; that it takes texts only their job has said.
    let mut called = patient("P3", "2026-01-01T00:00:00Z");
    called.contacts = vec![contact(Channel::Voice, PHONE)];
    ledger.upsert_patients(vec![called]).await.unwrap();
    ledger.sent(job("d").patient("P3")).await;
    assert_eq!(reply(&ledger, "SM3", "wrong number").await, Intent::WrongNumber);
    assert_eq!(stored(&ledger, "P3").await.contacts[0].status, ContactStatus::Wrong);
    let subject = Subject {
        message: job("q").facts.id,
        patient: patient_id("P3"),
        inline_addresses: vec![Phi::new(PHONE)],
        step: 0,
        tried: false,
        yields: false,
    };
    let entry = ledger.directory(&[subject]).await.unwrap().entries.remove(0);
    let brought = entry.narrowed(&patient("P3", "2026-01-01T00:00:00Z"));
    assert_eq!(brought.contacts[0].status, ContactStatus::Wrong);
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let theirs = told.iter().filter(|event| {
        event.routing_key == "contact.wrong.ehr" && event.body.contains("\"patient_id\":\"P3\"")
    });
    assert_eq!(theirs.count(), 1, "told once");
}

/// A guardian who is a patient, too, and whose number the child's record has as well.
pub(super) async fn a_wrong_number_is_wrong_wherever_it_was_read_from(ledger: Ledger) {
    let mut child = patient("P1", "2026-01-01T00:00:00Z");
    child.proxies = vec![guardian(ProxyPerson::Patient(patient_id("P77")))];
    let others = ["P2", "P77"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients([vec![child], others.to_vec()].concat()).await.unwrap();
    let hand = ledger.lease(job("a")).await;
    let row = Begin { recipient: Recipient::Proxy, ..ledger.plan(&hand).await };
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(reply(&ledger, "SM1", "wrong number").await, Intent::WrongNumber);
    for (name, expected) in
        [("P1", ContactStatus::Wrong), ("P77", ContactStatus::Wrong), ("P2", ContactStatus::Ok)]
    {
        assert_eq!(stored(&ledger, name).await.contacts[0].status, expected, "{name}");
    }
    assert_eq!(items(&ledger).await.len(), 1, "of the other people are asked");
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let marked = told.iter().filter(|event| event.routing_key == "contact.wrong.ehr");
    let whose: Vec<bool> = marked.map(|event| event.body.contains("\"patient_id\":\"P77\"")).collect();
    assert_eq!(whose, [false, true], "each record's change is told");
    let reply = told.iter().find(|event| event.routing_key == "reply.wrong_number.ehr").unwrap();
    assert!(reply.body.contains("\"recipient\":\"proxy\""), "{}", reply.body);
}

pub(super) async fn who_answers_has_read_what_has_come(ledger: Ledger) {
    household(&ledger).await;
    let came = ledger.sent(job("a")).await;
    ledger.pass(seconds(1)).await;
    let (hand, attempt) = ledger.begun(job("b")).await;
    let lost = hand.facts.id;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    // Nobody knows whether the last one came: what is said may be about the one before.
    assert_eq!(reply(&ledger, "SM1", "ok, I will be there").await, Intent::Text);
    assert_eq!(ledger.standing(lost).await.0, MessageStatus::Unknown);
    assert_eq!(ledger.told(lost).await.last().unwrap(), "reply.text.ehr", "it stands with the last one");
    // It did not.
    ledger.execute("UPDATE attempts SET status = 'undelivered' WHERE status = 'unknown'").await.unwrap();
    assert_eq!(reply(&ledger, "SM2", "thank you so much for that").await, Intent::Text);
    assert_eq!(ledger.standing(lost).await.0, MessageStatus::Unknown);
    assert_eq!(ledger.standing(came).await.0, MessageStatus::Read);
}

pub(super) async fn a_language_is_theirs_whose_number_it_is(ledger: Ledger) {
    let mut both = ["P1", "P2"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    both[0].language = Some("en".to_owned());
    both[1].language = Some("es-US".to_owned());
    ledger.upsert_patients(both.to_vec()).await.unwrap();
    ledger.sent(job("a")).await;
    assert_eq!(reply(&ledger, "SM1", "Español por favor").await, Intent::Language);
    assert_eq!(stored(&ledger, "P1").await.language.as_deref(), Some("es"));
    assert_eq!(stored(&ledger, "P2").await.language.as_deref(), Some("es-US"), "it was Spanish already");
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let keys: Vec<&str> = told.iter().map(|event| event.routing_key.as_str()).collect();
    assert_eq!(keys, ["message.sent.ehr", "message.read.ehr", "reply.language.ehr", "preference.changed"]);
    // The sender's older word does not undo the patient's own.
    let mut again = patient("P1", "2026-01-02T00:00:00Z");
    again.language = Some("en".to_owned());
    ledger.upsert_patients(vec![again]).await.unwrap();
    assert_eq!(stored(&ledger, "P1").await.language.as_deref(), Some("es"));
}

pub(super) async fn a_number_that_nobody_knows_is_heard_all_the_same(ledger: Ledger) {
    assert_eq!(reply(&ledger, "SM1", "STOP").await, Intent::Stop);
    assert_eq!(reply(&ledger, "SM2", "Who are you?").await, Intent::Text);
    let open = items(&ledger).await;
    assert_eq!((open[0].message_id, &open[0].source, &open[0].patient_id), (None, &None, &None));
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let keys: Vec<&str> = told.iter().map(|event| event.routing_key.as_str()).collect();
    assert_eq!(keys, ["reply.stop.unknown", "reply.text.unknown"]);
    // Somebody whose contacts come with their jobs: what is found out there counts by the number alone.
    ledger.sent(job("a").patient("P7")).await;
    let snapshot = Subject {
        message: job("q").facts.id,
        patient: patient_id("P7"),
        inline_addresses: vec![Phi::new(PHONE)],
        step: 0,
        tried: false,
        yields: false,
    };
    let mut seen = Vec::new();
    for (reference, text) in [("SM3", "Wrong number"), ("SM4", "Wrong number!"), ("SM5", "START")] {
        reply(&ledger, reference, text).await;
        let entry = ledger.directory(std::slice::from_ref(&snapshot)).await.unwrap().entries.remove(0);
        let status = entry.narrowed(&patient("P7", "2026-01-01T00:00:00Z")).contacts[0].status;
        seen.push((status, entry.state.revision));
    }
    let statuses: Vec<ContactStatus> = seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [ContactStatus::Wrong, ContactStatus::Wrong, ContactStatus::Ok]);
    assert!(seen[0].1 > 0 && seen[2].1 > seen[1].1, "whoever is planned for is planned anew: {seen:?}");
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let wrong = told.iter().filter(|event| event.routing_key == "contact.wrong.ehr");
    assert_eq!(wrong.count(), 1, "told once");
    for (reference, text) in [("SM6", "CALL"), ("SM7", "Español por favor")] {
        let outcome = ledger.reply(&ask(reference, text)).await.unwrap();
        assert!(
            matches!(outcome, ReplyOutcome::New { changed: false, .. }),
            "{text}: nothing to be confirmed"
        );
    }
    household(&ledger).await;
    assert_eq!(reply(&ledger, "SM8", "STOP").await, Intent::Stop);
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no", "it binds those who come later");
}

pub(super) async fn of_one_webhook_many_times_at_once_one_counts(ledger: Ledger) {
    household(&ledger).await;
    let message = ledger.sent(job("a")).await;
    let mut callers = Vec::new();
    for _ in 0..8 {
        let store = ledger.another();
        callers.push(tokio::spawn(async move { store.reply(&ask("SM1", "hello there")).await }));
    }
    let mut new = 0;
    for caller in callers {
        new += usize::from(matches!(caller.await.unwrap().unwrap(), ReplyOutcome::New { .. }));
    }
    assert_eq!(new, 1);
    assert_eq!(items(&ledger).await.len(), 1);
    assert_eq!(ledger.told(message).await, ["message.sent.ehr", "message.read.ehr", "reply.text.ehr"]);
}

pub(super) async fn a_carriers_stop_is_on_record_once_until_it_is_lifted(ledger: Ledger) {
    household(&ledger).await;
    let refused = async |name: &str| {
        let (hand, attempt) = ledger.begun(job(name)).await;
        let then = Then::NextStep(Reason::OptedOut);
        let row = ledger.settlement(&hand, attempt, AttemptStatus::Failed, then).await;
        let row = Settlement { failure: Some(Failure::OptedOut), code: Some("21610".to_owned()), ..row };
        ledger.settle(&[row]).await.unwrap();
    };
    refused("a").await;
    for name in ["P1", "P2"] {
        assert_eq!(says(&ledger, name, Purpose::Appointment).await, "no", "{name}");
    }
    ledger.pass(seconds(1)).await;
    refused("b").await;
    let kept =
        "UPDATE address_consents SET evidence = evidence WHERE evidence LIKE 'refused by % with code 21610'";
    assert_eq!(ledger.execute(kept).await.unwrap(), 1, "once");
    reply(&ledger, "SM1", "START").await;
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "yes");
    ledger.pass(seconds(1)).await;
    refused("c").await;
    assert_eq!(
        says(&ledger, "P1", Purpose::Appointment).await,
        "no",
        "they have stopped again, and we did not hear it"
    );
    assert_eq!(ledger.execute(kept).await.unwrap(), 2);
}

pub(super) async fn another_way_is_theirs_whose_number_it_is(ledger: Ledger) {
    household(&ledger).await;
    ledger.sent(job("a")).await;
    assert_eq!(reply(&ledger, "SM1", "Email please").await, Intent::Channel);
    for name in ["P1", "P2"] {
        assert_eq!(stored(&ledger, name).await.preferred_channels.first(), Some(&Channel::Email), "{name}");
    }
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "nothing", "texts may still go");
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let changed = told.iter().filter(|event| event.routing_key == "preference.changed").count();
    assert_eq!(changed, 2);
}

pub(super) async fn an_answer_counts_where_the_mail_went(ledger: Ledger) {
    household(&ledger).await;
    let message = ledger.sent(job("a")).await;
    let key = SendKey { message, step: 0 };
    let provider = ledger.attempts(message).await.unwrap()[0].provider.clone();
    let mut asked = ask("mail-1", "STOP");
    asked.reply.provider = provider;
    asked.reply.about = Some(key);
    asked.reply.from = Phi::new("+13125550999");
    assert!(matches!(ledger.reply(&asked).await.unwrap(), ReplyOutcome::New { .. }));
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no", "whatever it came from");
    // A complaint is about the purpose.
    ledger.pass(seconds(1)).await;
    reply(&ledger, "SM2", "START").await;
    ledger.pass(seconds(1)).await;
    asked.reply.reference = "mail-2".to_owned();
    asked.meaning = read("", Some(Keyword::Complaint), &More::default());
    assert!(matches!(ledger.reply(&asked).await.unwrap(), ReplyOutcome::New { .. }));
    assert_eq!(says(&ledger, "P1", Purpose::Appointment).await, "no");
    assert_eq!(says(&ledger, "P1", Purpose::Care).await, "yes");
    let told = ledger.told(message).await;
    let replies: Vec<&String> = told.iter().filter(|key| key.starts_with("reply.")).collect();
    assert_eq!(replies, ["reply.stop.ehr", "reply.start.ehr", "reply.complaint.ehr"]);

    // Erased, only its index tells where it went; restored, nothing does: then a stop is believed, and nothing else.
    ledger.erase_patient(&patient_id("P1")).await.unwrap();
    let restored = ledger.accept(job("b").patient("P2")).await;
    let witness = Witness {
        message: restored,
        step: None,
        said: Word::Taken,
        reason: None,
        provider: Some((asked.reply.provider.clone(), Channel::Sms)),
        at: None,
    };
    assert_eq!(ledger.testify(&[witness]).await.unwrap().settled, 1);
    let kept = "UPDATE address_consents SET channel = channel";
    let mut before = ledger.execute(kept).await.unwrap();
    for (reference, message, from, text, more) in [
        ("mail-3", message, "+13125550999", "STOP", 0),
        ("mail-4", message, "+13125550999", "START", 0),
        ("mail-5", message, PHONE, "STOP", 1),
        ("mail-6", restored, PHONE, "START", 0),
        ("mail-7", restored, "", "STOP", 0),
        ("mail-8", restored, PHONE, "STOP", 1),
    ] {
        ledger.pass(seconds(1)).await;
        let said = Reply {
            provider: asked.reply.provider.clone(),
            about: Some(SendKey { message, step: 0 }),
            from: Phi::new(from),
            ..ask(reference, text).reply
        };
        let outcome = ledger.reply(&ReplyAsk { reply: said, ..ask(reference, text) }).await.unwrap();
        assert!(matches!(outcome, ReplyOutcome::New { .. }), "{reference}");
        let after = ledger.execute(kept).await.unwrap();
        assert_eq!(after - before, more, "{reference}");
        before = after;
    }
    // Nor is a caller whose number is withheld the one to whom nobody knows where it went.
    let mut call = ask("CA1", "");
    (call.reply.channel, call.reply.from) = (Channel::Voice, Phi::new(""));
    call.meaning = read("", Some(Keyword::Call), &More::default());
    let ReplyOutcome::New { facts, .. } = ledger.reply(&call).await.unwrap() else { panic!("it is new") };
    assert_eq!(facts.locale, None);
}

pub(super) async fn a_reply_that_was_kept_follows_what_had_been_sent_when_it_was_said(ledger: Ledger) {
    household(&ledger).await;
    let first = ledger.sent(job("a")).await;
    ledger.pass(seconds(60)).await;
    let said_at = ledger.now().await;
    ledger.pass(seconds(60)).await;
    let second = ledger.sent(job("b").patient("P2")).await;
    let kept = ReplyAsk { said_at: Some(said_at), ..ask("SM1", "Can I bring my son?") };
    assert!(matches!(ledger.reply(&kept).await.unwrap(), ReplyOutcome::New { .. }));
    assert_eq!(ledger.told(first).await.last().unwrap(), "reply.text.ehr");
    assert_eq!(ledger.told(second).await, ["message.sent.ehr"]);
    assert_eq!(reply(&ledger, "SM2", "And my daughter?").await, Intent::Text);
    let count = async |id| ledger.told(id).await.iter().filter(|told| *told == "reply.text.ehr").count();
    assert_eq!((count(first).await, count(second).await), (1, 1));

    // Somebody tries a text at the same number: what patients write is about theirs.
    let mut trial = job("t");
    trial.facts.test = true;
    let trial = ledger.sent(trial).await;
    assert_eq!(reply(&ledger, "SM3", "Where do I park?").await, Intent::Text);
    assert_eq!((count(second).await, count(trial).await), (2, 0));
}

pub(super) async fn what_followed_no_message_belongs_to_whose_contact_it_came_from(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    assert_eq!(reply(&ledger, "SM1", "Who are you?").await, Intent::Text);
    let mut stranger = ask("SM2", "Nor do I know");
    stranger.reply.from = Phi::new("+13125550199");
    ledger.reply(&stranger).await.unwrap();
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().expect("a record");
    let texts: Vec<&str> = record.replies.iter().filter_map(|r| Some(r.text.as_ref()?.expose())).collect();
    assert_eq!(texts, ["Who are you?"]);

    assert!(ledger.erase_patient(&patient_id("P1")).await.unwrap());
    let mut left = Vec::new();
    for item in items(&ledger).await {
        left.push(wrote(&ledger, &item).await);
    }
    left.sort();
    assert_eq!(left, [None, Some("Nor do I know".to_owned())]);
}
