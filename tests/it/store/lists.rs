//! Look-ups for people and callers.

use outreachd::domain::ids::{CampaignId, MessageId, SiteId, TemplateName};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Reason};
use outreachd::store::rows::{MessageFilter, Then};

use super::ledger::{Ledger, rejects};
use super::make::{Shape, about, at, decided, job, job_id, patient_id, reject, seconds, source};

pub(super) async fn messages_are_found_by_every_filter(ledger: Ledger) {
    let mut wanted = job("a").about("visit").site("north").campaign("flu").patient("P7").asked_by("lab");
    wanted.facts.template = TemplateName::parse("result-available").unwrap();
    let hand = ledger.lease(wanted).await;
    let next = Then::NextStep(Reason::Unreachable);
    let row = ledger.plan(&hand).await;
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, next).await;
    ledger.accept(job("b").about("other").site("south").campaign("survey")).await;
    ledger.accept(job("a")).await;
    let id = hand.facts.id;
    let by = |filter: MessageFilter| MessageFilter { limit: 10, ..filter };
    let filters = [
        MessageFilter { source: Some(source("lab")), ..Default::default() },
        MessageFilter {
            source: Some(source("lab")),
            job_ids: vec![job_id("a"), job_id("x")],
            ..Default::default()
        },
        MessageFilter { about: Some(about("visit")), ..Default::default() },
        MessageFilter { status: Some(MessageStatus::Sending), ..Default::default() },
        MessageFilter { reason: Some(Reason::Unreachable), ..Default::default() },
        MessageFilter { channel: Some(Channel::Sms), ..Default::default() },
        MessageFilter { template: TemplateName::parse("result-available"), ..Default::default() },
        MessageFilter { site: SiteId::parse("north"), ..Default::default() },
        MessageFilter { campaign_id: CampaignId::parse("flu"), ..Default::default() },
        MessageFilter { patient_id: Some(patient_id("P7")), ..Default::default() },
    ];
    for filter in filters {
        let found = list(&ledger, by(filter.clone())).await;
        assert_eq!(found, [id], "{filter:?}");
    }
    assert_eq!(list(&ledger, by(MessageFilter::default())).await.len(), 3);
    let by_name = MessageFilter { job_ids: vec![job_id("a")], ..Default::default() };
    assert_eq!(list(&ledger, by(by_name)).await.len(), 2, "of both sources");
    let none =
        MessageFilter { source: Some(source("ehr")), about: Some(about("visit")), ..Default::default() };
    assert!(list(&ledger, by(none)).await.is_empty(), "filters narrow each other");
    // Without an index a page looks through so many and says how far it came; the next one goes on from there.
    let rare = by(MessageFilter { template: TemplateName::parse("result-available"), ..Default::default() });
    let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = ledger.messages_among(&MessageFilter { before, ..rare.clone() }, 1).await.unwrap();
        found.extend(page.rows.iter().map(|row| row.facts.id));
        pages += 1;
        assert!(page.looked_to.is_none_or(|to| before.is_none_or(|before| to < before)), "it goes on");
        before = page.looked_to;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((found.as_slice(), pages), ([id].as_slice(), 3));
    let whole = ledger.messages_among(&rare, 3).await.unwrap();
    assert_eq!((whole.rows.len(), whole.looked_to), (1, None), "all were looked through");
    let by_index = by(MessageFilter { patient_id: Some(patient_id("P7")), ..Default::default() });
    let found = ledger.messages_among(&by_index, 1).await.unwrap();
    assert_eq!((found.rows.len(), found.looked_to), (1, None), "an index answers at once");
}

pub(super) async fn messages_are_found_by_when_they_were_accepted(ledger: Ledger) {
    let first = at("2026-11-28T15:00:00Z");
    let mut ids = Vec::new();
    for (n, name) in (0_i64..).zip(["a", "b", "c"]) {
        let mut job = job(name);
        let millis = u128::try_from((first + seconds(n)).as_millisecond()).unwrap();
        job.facts.id = MessageId(uuid::Uuid::from_u128((millis << 80) | (7 << 76) | (2 << 62)));
        ids.push(ledger.accept(job).await);
    }
    let second = Some(first + seconds(1));
    for (since, until, found) in
        [(second, None, vec![ids[2], ids[1]]), (None, second, vec![ids[0]]), (second, second, Vec::new())]
    {
        let filter = MessageFilter { since, until, limit: 10, ..Default::default() };
        assert_eq!(list(&ledger, filter).await, found, "{since:?} {until:?}");
    }
}

pub(super) async fn a_cursor_walks_through_all(ledger: Ledger) {
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(ledger.accept(job(&format!("j{n}"))).await);
    }
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = list(&ledger, MessageFilter { before, limit: 3, ..Default::default() }).await;
        before = page.last().copied();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, ids, "newest first");
}

pub(super) async fn changes_are_listed_oldest_first(ledger: Ledger) {
    let first = ledger.lease(job("a")).await;
    let second = ledger.lease(job("b")).await;
    ledger.pass(seconds(60)).await;
    let since = ledger.now().await;
    for hand in [&second, &first] {
        let decision = decided(hand, MessageStatus::Suppressed, Some(Reason::NoContact), since);
        ledger.decide_one(decision).await;
    }
    let changed = MessageFilter { changed_since: Some(since), limit: 10, ..Default::default() };
    assert_eq!(list(&ledger, changed).await, [second.facts.id, first.facts.id]);
    let later = MessageFilter { changed_since: Some(since + seconds(60)), limit: 10, ..Default::default() };
    assert!(list(&ledger, later).await.is_empty());
}

pub(super) async fn an_unknown_message_is_none(ledger: Ledger) {
    let id = MessageId::generate();
    assert!(ledger.message(id).await.unwrap().is_none());
    assert!(ledger.attempts(id).await.unwrap().is_empty());
    assert!(ledger.events(id).await.unwrap().is_empty());
}

pub(super) async fn attempts_are_listed_as_they_were(ledger: Ledger) {
    let (hand, first) = ledger.begun(job("a")).await;
    let now = ledger.now().await;
    ledger.settle_one(&hand, first, AttemptStatus::Failed, Then::Retry(now)).await;
    let mut claimed = ledger.claim_as(Some(Channel::Sms), hand.facts.priority, 1).await.messages;
    let hand = claimed.remove(0).into();
    let row = ledger.plan(&hand).await;
    let second = row.attempt;
    assert!(ledger.try_begin(row).await);
    let attempts = ledger.attempts(hand.facts.id).await.unwrap();
    let listed: Vec<_> = attempts.iter().map(|a| (a.id, a.number, a.status)).collect();
    assert_eq!(listed, [(first, 1, AttemptStatus::Failed), (second, 2, AttemptStatus::Sending)]);
    assert_eq!((attempts[0].segments, attempts[0].locale.as_str()), (1, "en"));
    assert_eq!((attempts[0].template_hash.as_str(), attempts[0].provider.as_str()), ("hash", "twilio-main"));
    assert!(attempts[0].begun_at <= attempts[1].begun_at);
}

pub(super) async fn the_ledger_counts_itself(ledger: Ledger) {
    let empty = ledger.counts().await.unwrap();
    assert_eq!((empty.backlog, empty.parked, empty.outbox, empty.messages.len()), (0, 0, 0, 0));
    assert!(empty.oldest_due_seconds.abs() < f64::EPSILON);
    ledger.accept(job("a")).await;
    ledger.accept(job("b")).await;
    ledger.accept(job("c").due(ledger.now().await + seconds(3600))).await;
    ledger.sent(job("d")).await;
    ledger.admit(&rejects(vec![reject(b"bad", false)])).await.unwrap();
    ledger.pass(seconds(30)).await;
    let counts = ledger.counts().await.unwrap();
    assert_eq!((counts.backlog, counts.parked, counts.outbox), (2, 1, 2));
    assert!((30.0..60.0).contains(&counts.oldest_due_seconds), "{}", counts.oldest_due_seconds);
    let of = |channel: &str, status| {
        let found = counts.messages.iter().find(|c| c.channel == channel && c.status == status);
        found.map_or(0, |c| c.count)
    };
    assert_eq!(of("", MessageStatus::Accepted), 2);
    assert_eq!(of("", MessageStatus::Scheduled), 1);
    assert_eq!(of("sms", MessageStatus::Sent), 1);
}

async fn list(ledger: &Ledger, filter: MessageFilter) -> Vec<MessageId> {
    ledger.messages(&filter).await.unwrap().into_iter().map(|m| m.facts.id).collect()
}
