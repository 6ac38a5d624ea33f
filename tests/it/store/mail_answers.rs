//! The answers that a machine gives to mail: on record with the reply, begun once, not again within a day.

use outreachd::domain::ids::{MessageId, ReplyId, SendKey};
use outreachd::domain::phi::Phi;
use outreachd::domain::reply::{Intent, Keyword, Reply, Thread};
use outreachd::domain::words::Channel;
use outreachd::policy::reply::{More, read_mail};
use outreachd::store::recover::RecoveryAsk;
use outreachd::store::rows::{MailAnswer, MailAnswerEnd, ReplyAsk, ReplyOutcome};

use super::ledger::Ledger;
use super::make::{PHONE, job, patient, patient_id, provider, seconds};

fn ask(message: MessageId, reference: &str, text: &str) -> ReplyAsk {
    let thread = Thread {
        message_id: Phi::new("<b@phone.example>"),
        references: Phi::new("<a@clinic.example> <b@phone.example>"),
    };
    let reply = Reply {
        provider: provider("twilio-main"),
        channel: Channel::Email,
        reference: reference.to_owned(),
        from: Phi::new("whoever@example.net"),
        about: Some(SendKey { message, step: 0 }),
        text: Phi::new(text),
        keyword: None,
        thread: Some(thread),
    };
    ReplyAsk {
        reply,
        meaning: read_mail(text, None, &More::default()),
        opt_in: Vec::new(),
        stops_all_from: None,
        said_at: None,
    }
}

async fn write(ledger: &Ledger, ask: &ReplyAsk) {
    ledger.pass(seconds(1)).await;
    assert!(matches!(ledger.reply(ask).await.unwrap(), ReplyOutcome::New { .. }));
}

async fn due(ledger: &Ledger) -> Vec<MailAnswer> {
    ledger.take_mail_answers(10).await.unwrap()
}

/// Sends what is due; answers what it answers.
async fn send(ledger: &Ledger) -> Vec<Intent> {
    let mut sent = Vec::new();
    for answer in due(ledger).await {
        if ledger.begin_mail_answer(answer.id).await.unwrap() {
            ledger.end_mail_answer(answer.id, MailAnswerEnd::Sent).await.unwrap();
            sent.push(answer.facts.intent);
        }
    }
    sent
}

async fn state(ledger: &Ledger, id: ReplyId, expected: &str) {
    let sql =
        format!("UPDATE replies SET intent = intent WHERE id = '{}' AND answer_state = '{expected}'", id.0);
    assert_eq!(ledger.execute(&sql).await.unwrap(), 1, "{expected}");
}

pub(super) async fn an_answer_to_a_mail_is_begun_once_and_goes_where_ours_went(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let message = ledger.sent(job("a")).await;
    // What nobody may be answered for: no thread, a complaint, somebody else, a mail that answers none of ours.
    let silent = ask(message, "m0", "hello");
    write(&ledger, &ReplyAsk { reply: Reply { thread: None, ..silent.reply.clone() }, ..silent }).await;
    write(&ledger, &ask(message, "m1", "wrong person")).await;
    let complaint = ask(message, "m2", "");
    let meaning = read_mail("", Some(Keyword::Complaint), &More::default());
    write(&ledger, &ReplyAsk { meaning, ..complaint }).await;
    write(&ledger, &ask(MessageId::generate(), "m3", "STOP")).await;
    assert!(due(&ledger).await.is_empty());

    write(&ledger, &ask(message, "m4", "Where do I park?")).await;
    let again = ledger.reply(&ask(message, "m4", "Where do I park?")).await.unwrap();
    assert_eq!(again, ReplyOutcome::Known { first: None });
    let (first, second) = tokio::join!(due(&ledger), due(&ledger));
    let [answer] = &[first, second].concat()[..] else { panic!("one, for one of two workers") };
    assert_eq!(answer.to.expose(), PHONE, "where ours went, not where theirs came from");
    assert_eq!(
        (answer.facts.intent, answer.facts.locale.as_deref(), answer.tries),
        (Intent::Text, Some("en"), 0)
    );
    assert_eq!(answer.facts.about, SendKey { message, step: 0 }.to_string());
    assert_eq!(answer.facts.thread.message_id.expose(), "<b@phone.example>");
    // Not sent: again after its pause, and never by two at once.
    assert!(ledger.begin_mail_answer(answer.id).await.unwrap());
    assert!(!ledger.begin_mail_answer(answer.id).await.unwrap(), "begun is begun");
    state(&ledger, answer.id, "begun").await;
    ledger.end_mail_answer(answer.id, MailAnswerEnd::Again(seconds(20))).await.unwrap();
    assert!(due(&ledger).await.is_empty(), "in its pause");
    ledger.pass(seconds(21)).await;
    let third = due(&ledger).await.pop().unwrap();
    assert_eq!((third.id, third.tries), (answer.id, 1));
    assert!(ledger.begin_mail_answer(third.id).await.unwrap());
    // The worker ends here. Nobody knows, and nobody sends it again.
    ledger.pass(seconds(121)).await;
    assert!(due(&ledger).await.is_empty());
    state(&ledger, third.id, "unknown").await;
    // Erased: there is nobody to be answered.
    write(&ledger, &ask(message, "m6", "STOP")).await;
    ledger.erase_patient(&patient_id("P1")).await.unwrap();
    assert!(due(&ledger).await.is_empty());
}

pub(super) async fn courtesies_are_one_a_day_and_what_is_owed_is_not_endless(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let message = ledger.sent(job("a")).await;
    for (number, (text, expected)) in [
        ("Where do I park?", &[Intent::Text][..]),
        ("And my son?", &[]),
        ("STOP", &[Intent::Stop]),
        ("I have chest pain", &[Intent::Safety]),
        ("START", &[]),
        ("stop", &[Intent::Stop]),
        ("stop", &[Intent::Stop]),
        ("stop", &[Intent::Stop]),
        // A machine at the other end.
        ("stop", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        write(&ledger, &ask(message, &format!("m{number}"), text)).await;
        assert_eq!(send(&ledger).await, expected, "{number} {text}");
    }
    ledger.pass(seconds(86_401)).await;
    write(&ledger, &ask(message, "m20", "HELP")).await;
    assert_eq!(send(&ledger).await, [Intent::Help]);
    // What waited too long is of no use any more.
    write(&ledger, &ask(message, "m21", "stop")).await;
    ledger.pass(seconds(4 * 3_600 + 1)).await;
    assert_eq!(send(&ledger).await, []);
}

pub(super) async fn an_answer_that_cannot_be_read_keeps_no_other_back(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let message = ledger.sent(job("a")).await;
    for reference in ["bad", "good"] {
        write(&ledger, &ask(message, reference, "STOP")).await;
    }
    let cut = "UPDATE replies SET told = substr(told, 1, 2) WHERE provider_ref = 'bad'";
    assert_eq!(ledger.execute(cut).await.unwrap(), 1);
    assert_eq!(send(&ledger).await, [Intent::Stop]);
    let ended = "UPDATE replies SET intent = intent WHERE provider_ref = 'bad' AND answer_due IS NULL AND answer_state = 'failed'";
    assert_eq!(ledger.execute(ended).await.unwrap(), 0, "the key that it lies under may be put back");
    ledger.pass(seconds(5 * 3_600)).await;
    assert!(send(&ledger).await.is_empty());
    assert_eq!(ledger.execute(ended).await.unwrap(), 1, "it does not come up again");
}

pub(super) async fn what_was_due_in_a_dump_is_not_sent_after_it(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let message = ledger.sent(job("a")).await;
    write(&ledger, &ask(message, "m1", "STOP")).await;
    write(&ledger, &ask(message, "m2", "Where do I park?")).await;
    let begun = due(&ledger).await.remove(0).id;
    assert!(ledger.begin_mail_answer(begun).await.unwrap());
    let now = ledger.now().await;
    let ask_of_ana = RecoveryAsk {
        restored_to: now,
        down_since: now,
        by: "cli:ana".to_owned(),
        reason: "restored".to_owned(),
    };
    ledger.begin_recovery(&ask_of_ana).await.unwrap();
    ledger.pass(seconds(121)).await;
    assert_eq!(send(&ledger).await, [], "they may have left since the dump");
    state(&ledger, begun, "unknown").await;
    write(&ledger, &ask(message, "m3", "And my son?")).await;
    assert_eq!(send(&ledger).await, [], "today's courtesy may have left");
    write(&ledger, &ask(message, "m4", "STOP")).await;
    assert_eq!(send(&ledger).await, [Intent::Stop], "who writes now is answered");
}
