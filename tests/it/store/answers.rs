//! Answers that messages offer: which digits they get, and which message a reply answers.

use jiff::SignedDuration;
use outreachd::domain::ids::{AnswerName, MessageId, SendKey};
use outreachd::domain::phi::Phi;
use outreachd::domain::reply::{Intent, Keyword, Offer};
use outreachd::domain::words::{Channel, WorkKind};
use outreachd::policy::reply::answers::RESTS;
use outreachd::policy::reply::{More, read, read_mail};
use outreachd::store::StoreError;
use outreachd::store::rows::{Choice, QuestionAsk, ReplyAsk, ReplyOutcome, WorkFilter};

use super::ledger::Ledger;
use super::make::{PHONE, Shape, job, seconds};
use super::replies::ask;

fn offer(name: &str, word: &str, staff: bool) -> Offer {
    Offer { name: AnswerName::parse(name).unwrap(), words: vec![word.to_owned()], staff }
}

/// Has the message ask "book or not?" at the number.
async fn digits(ledger: &Ledger, message: MessageId, address: &str) -> Vec<u8> {
    asked(ledger, message, Some(Phi::new(address))).await
}

async fn asked(ledger: &Ledger, message: MessageId, address: Option<Phi>) -> Vec<u8> {
    let offers = vec![offer("book", "yes", true), offer("no", "no", false)];
    let ask = QuestionAsk { message, address, offers };
    loop {
        match ledger.allot(&ask).await {
            Ok(given) => return given.expect("digits").into_iter().map(|(_, digit)| digit).collect(),
            Err(StoreError::Contention) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) async fn every_question_at_a_number_has_digits_of_its_own(ledger: Ledger) {
    let mut sent = Vec::new();
    for n in 0..8 {
        sent.push(ledger.sent(job(&format!("j{n}"))).await);
    }
    assert_eq!(digits(&ledger, sent[0], PHONE).await, [1, 2]);
    assert_eq!(digits(&ledger, sent[0], PHONE).await, [1, 2], "another attempt has the same");
    assert_eq!(digits(&ledger, sent[1], "+13125550199").await, [1, 2], "another number is another number");
    // Several workers at once.
    let at_once = sent[2..].iter().map(|message| digits(&ledger, *message, PHONE));
    let mut all: Vec<u8> = futures_util::future::join_all(at_once).await.concat();
    all.sort_unstable();
    assert_eq!(all, [3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15], "9 ends calls, and no digit is given twice");
    // What has expired keeps its digits for those who answer late, and then they are free.
    let short = "UPDATE questions SET until = asked_at WHERE digit <= 2";
    assert_eq!(ledger.execute(short).await.unwrap(), 4);
    let (late, later) = (ledger.sent(job("late")).await, ledger.sent(job("later")).await);
    assert_eq!(digits(&ledger, late, PHONE).await, [16, 17]);
    ledger.pass(RESTS + SignedDuration::from_secs(60)).await;
    assert_eq!(digits(&ledger, later, PHONE).await, [1, 2]);
}

/// Takes a reply; answers what it was taken for, and the choices.
async fn write(ledger: &Ledger, reference: &str, text: &str) -> (Intent, Vec<Choice>) {
    ledger.pass(seconds(1)).await;
    match ledger.reply(&ask(reference, text)).await.unwrap() {
        ReplyOutcome::New { meaning, facts, .. } => (meaning.intent, facts.choices),
        other => panic!("{reference} is new: {other:?}"),
    }
}

/// Takes what is said to one step of a message; what it was taken for, `None` for a key that says nothing.
async fn say(
    ledger: &Ledger,
    reference: &str,
    to: MessageId,
    (channel, text): (Channel, &str),
) -> Option<Intent> {
    let mut ask = ask(reference, text);
    ask.reply.provider = ledger.attempts(to).await.unwrap()[0].provider.clone();
    ask.reply.channel = channel;
    ask.reply.about = Some(SendKey { message: to, step: 0 });
    ask.reply.keyword = (channel == Channel::Voice).then_some(Keyword::Key);
    let read = if channel == Channel::Email { read_mail } else { read };
    ask.meaning = read(text, ask.reply.keyword, &More::default());
    match ledger.reply(&ask).await.unwrap() {
        ReplyOutcome::New { meaning, .. } => Some(meaning.intent),
        ReplyOutcome::Known { first } => first.map(|first| first.intent),
        ReplyOutcome::OtherKey => None,
    }
}

pub(super) async fn a_call_and_a_mail_are_answered_for_themselves(ledger: Ledger) {
    let (text, call, mail) =
        (ledger.sent(job("t")).await, ledger.sent(job("c")).await, ledger.sent(job("m")).await);
    let quiet = ledger.sent(job("q")).await;
    assert_eq!(digits(&ledger, text, PHONE).await, [1, 2]);
    for message in [call, mail, call] {
        assert_eq!(
            asked(&ledger, message, None).await,
            [1, 2],
            "which message is meant is known: a template's own"
        );
    }
    let key = |key| (Channel::Voice, key);
    assert_eq!(say(&ledger, "CA1-7", call, key("7")).await, None, "no such answer");
    assert_eq!(say(&ledger, "CA2-1", quiet, key("1")).await, None, "it asked nothing");
    assert_eq!(
        (kinds(&ledger).await, ledger.told(quiet).await.len()),
        (Vec::new(), 1),
        "and nothing is on record"
    );
    for _ in 0..2 {
        assert_eq!(say(&ledger, "CA1-1", call, key("1")).await, Some(Intent::Answer));
        assert_eq!(kinds(&ledger).await, [(WorkKind::Reply, Some(call))], "somebody has to book, once");
    }
    assert_eq!(ledger.told(call).await.last().unwrap(), "reply.answer.ehr");
    assert_eq!(say(&ledger, "CA1-2", call, key("2")).await, Some(Intent::Answer), "they change their mind");

    let written = |text| (Channel::Email, text);
    assert_eq!(say(&ledger, "m1", mail, written("No")).await, Some(Intent::Answer));
    assert_eq!(kinds(&ledger).await.len(), 1, "that one is understood, and nobody need act on it");
    assert_eq!(
        say(&ledger, "m2", mail, written("2\n\nCan my son come along?\nAna")).await,
        Some(Intent::Answer)
    );
    assert_eq!(kinds(&ledger).await.len(), 2, "what stands below people read");
    assert_eq!(say(&ledger, "m3", mail, written("Is it free?")).await, Some(Intent::Text));
    assert_eq!(say(&ledger, "m4", mail, written("3")).await, Some(Intent::Text), "it offers no third");
    assert_eq!(say(&ledger, "m5", quiet, written("yes")).await, Some(Intent::Text), "it asked nothing");
    assert_eq!(write(&ledger, "SM1", "1").await.0, Intent::Answer, "and the text is answered at its number");
    ledger.execute("UPDATE questions SET until = asked_at").await.unwrap();
    assert_eq!(say(&ledger, "m6", mail, written("yes")).await, Some(Intent::Late));
}

async fn kinds(ledger: &Ledger) -> Vec<(WorkKind, Option<MessageId>)> {
    let filter = WorkFilter { limit: 100, ..WorkFilter::default() };
    ledger.work_items(&filter).await.unwrap().iter().map(|item| (item.kind, item.message_id)).collect()
}

pub(super) async fn an_answer_that_was_kept_is_one_to_what_had_been_asked(ledger: Ledger) {
    let first = ledger.sent(job("a")).await;
    assert_eq!(digits(&ledger, first, PHONE).await, [1, 2]);
    ledger.pass(seconds(60)).await;
    // Whoever tries a text there asks the patient nothing.
    let mut trial = job("t");
    trial.facts.test = true;
    ledger.sent(trial).await;
    ledger.pass(seconds(60)).await;
    let kept = async |reference: &str, said_at| {
        let kept = ReplyAsk { said_at: Some(said_at), ..ask(reference, "yes") };
        match ledger.reply(&kept).await.unwrap() {
            ReplyOutcome::New { meaning, .. } => meaning.intent,
            other => panic!("{reference} is new: {other:?}"),
        }
    };
    let said_at = ledger.now().await;
    ledger.pass(seconds(60)).await;
    for name in ["b", "c"] {
        let later = ledger.sent(job(name)).await;
        digits(&ledger, later, PHONE).await;
    }
    ledger.sent(job("d")).await;
    assert_eq!(kept("SM1", said_at).await, Intent::Answer);
    assert_eq!(ledger.told(first).await.last().unwrap(), "reply.answer.ehr");
    assert_eq!(kinds(&ledger).await, [(WorkKind::Reply, Some(first))]);

    // Nobody can be asked back any more which of several they meant.
    ledger.execute("DELETE FROM questions").await.unwrap();
    for name in ["e", "f"] {
        let asking = ledger.sent(job(name)).await;
        digits(&ledger, asking, PHONE).await;
    }
    ledger.pass(seconds(60)).await;
    let said_at = ledger.now().await;
    assert_eq!(kept("SM2", said_at).await, Intent::Unclear);
    assert_eq!(kinds(&ledger).await.len(), 2, "a person does it");
}

pub(super) async fn an_answer_finds_its_message_or_is_asked_back_once(ledger: Ledger) {
    let (first, second) =
        (ledger.sent(job("a").site("north")).await, ledger.sent(job("b").site("south")).await);
    assert_eq!(digits(&ledger, first, PHONE).await, [1, 2]);
    assert_eq!(digits(&ledger, second, PHONE).await, [3, 4]);
    // Written down and never sent: nobody answers it.
    let unsent = ledger.lease(job("c")).await.facts.id;
    assert_eq!(digits(&ledger, unsent, PHONE).await, [5, 6]);
    ledger.pass(seconds(1)).await;

    let (intent, choices) = write(&ledger, "SM1", "Yes").await;
    let asked: Vec<_> =
        choices.iter().map(|c| (c.digit, c.site.as_ref().map(|site| site.as_str()))).collect();
    assert_eq!((intent, asked), (Intent::Unclear, vec![(1, Some("north")), (3, Some("south"))]));
    let again = ledger.reply(&ask("SM1", "Yes")).await.unwrap();
    let ReplyOutcome::Known { first: Some(asked) } = again else { panic!("asked back once: {again:?}") };
    assert_eq!((asked.intent, asked.choices), (Intent::Unclear, choices), "and in the same words");
    assert_eq!(kinds(&ledger).await, []);
    assert_eq!(write(&ledger, "SM2", "yes!").await.0, Intent::Text, "then people read it");
    assert_eq!(kinds(&ledger).await.len(), 1);

    // The digit names the older one, though the other was sent last.
    assert_eq!(write(&ledger, "SM3", "1 please").await.0, Intent::Answer);
    assert_eq!(ledger.told(first).await.last().unwrap(), "reply.answer.ehr");
    assert_eq!(ledger.told(first).await[1], "message.read.ehr");
    assert_eq!(kinds(&ledger).await[1], (WorkKind::Reply, Some(first)), "somebody has to book");
    let kept = "UPDATE replies SET intent = intent WHERE answer = 'book' AND intent = 'answer'";
    assert_eq!(ledger.execute(kept).await.unwrap(), 1);
    // One is left that has no answer: now the word is enough.
    assert_eq!(write(&ledger, "SM4", "no thanks").await.0, Intent::Answer);
    assert_eq!(ledger.told(second).await.last().unwrap(), "reply.answer.ehr");
    assert_eq!(kinds(&ledger).await.len(), 2, "that one is understood, and nobody need act on it");

    ledger.execute("UPDATE questions SET until = asked_at").await.unwrap();
    assert_eq!(write(&ledger, "SM5", "3").await.0, Intent::Late);
    assert_eq!(kinds(&ledger).await[2], (WorkKind::Reply, Some(second)), "staff reads what comes late");
    assert_eq!(ledger.told(second).await.last().unwrap(), "reply.late.ehr");

    // Since then a text has come that asks nothing: a word may be said to that one.
    let third = ledger.sent(job("d")).await;
    assert_eq!(digits(&ledger, third, PHONE).await, [7, 8]);
    ledger.pass(seconds(1)).await;
    ledger.sent(job("e")).await;
    assert_eq!(write(&ledger, "SM6", "yes").await.0, Intent::Text);
    assert_eq!(write(&ledger, "SM7", "7").await.0, Intent::Answer);
    assert_eq!(write(&ledger, "SM8", "STOP").await.0, Intent::Stop);
}
