//! How holds end: by a person's word or by their time, and what becomes of what they held.

use jiff::{SignedDuration, Timestamp};
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::{CampaignId, MessageId, SendKey};
use outreachd::domain::patience::{Patience, Until};
use outreachd::domain::receipt::{Receipt, Said};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason, WorkKind, WorkOutcome};
use outreachd::store::rows::{
    Begin, Decided, Hold, HoldScope, HoldState, HoldThen, OnRelease, Settlement, Then, WorkFilter,
};

use super::ledger::{InHand, Ledger};
use super::make::{Shape, decided, hold, job, provider, seconds};

/// A hold on everything that ends so.
fn ending(on_release: OnRelease) -> Hold {
    Hold { on_release, ..hold(HoldScope::All, "") }
}

/// Decides as a planner does that has seen the hold.
async fn held_by(ledger: &Ledger, hold: &Hold, hand: &InHand) {
    let now = ledger.now().await;
    let status =
        if hand.work.status == MessageStatus::Accepted { MessageStatus::Held } else { hand.work.status };
    let wait = Decided {
        due_at: Some(hold.asks_again().unwrap_or(Timestamp::MAX)),
        held_by: Some(hold.id),
        ..decided(hand, status, Some(hold.cause), now)
    };
    ledger.decide_one(wait).await;
}

/// Places the hold and holds one message.
async fn holding(ledger: &Ledger, hold: &Hold) -> MessageId {
    ledger.place_hold(hold).await.unwrap();
    let hand = ledger.lease(job("a")).await;
    held_by(ledger, hold, &hand).await;
    hand.facts.id
}

pub(super) async fn a_hold_that_expires_what_it_held_ends_it(ledger: Ledger) {
    let hold = ending(OnRelease::Expire);
    let id = holding(&ledger, &hold).await;
    let other = ledger.accept(job("b")).await;
    assert!(ledger.release_hold(hold.id, "u1", None).await.unwrap());
    assert_eq!(ledger.standing(id).await, (MessageStatus::Expired, Some(Reason::OperatorHold)));
    assert_eq!(ledger.told(id).await, ["message.expired.ehr"]);
    assert_eq!(ledger.standing(other).await.0, MessageStatus::Accepted, "what was not held goes on");
    assert!(ledger.holds().await.unwrap().is_empty());
}

/// So that its campaign writes no more than goes out at once when the hold ends. One place's hold does not stop the others.
pub(super) async fn what_a_hold_keeps_of_a_whole_campaign_counts_as_due(ledger: Ledger) {
    let flu = CampaignId::parse("flu").unwrap();
    for (scope, value, due) in
        [(HoldScope::Template, "reminder", 1), (HoldScope::Site, "north", 1), (HoldScope::Source, "ehr", 2)]
    {
        let hold = hold(scope, value);
        ledger.place_hold(&hold).await.unwrap();
        let hand = ledger.lease(job(&format!("campaign:flu:{value}")).campaign("flu")).await;
        held_by(&ledger, &hold, &hand).await;
        assert_eq!(ledger.due_of_campaign(&flu).await.unwrap(), due, "{scope}");
    }
}

pub(super) async fn a_hold_that_asks_for_review_keeps_what_it_held(ledger: Ledger) {
    let hold = ending(OnRelease::Review);
    let id = holding(&ledger, &hold).await;
    assert!(ledger.release_hold(hold.id, "u1", None).await.unwrap());
    assert_eq!(ledger.standing(id).await, (MessageStatus::Held, Some(Reason::OperatorHold)));
    assert!(ledger.claim_new(10).await.is_empty());
    let standing = ledger.holds().await.unwrap();
    assert_eq!((standing.len(), standing[0].state, standing[0].held), (1, HoldState::Review, 1));
    // It stops nothing any more.
    assert!(ledger.begun(job("b")).await.0.work.token > 0);
    let swept = ledger.sweep_work(10).await.unwrap();
    assert_eq!(
        swept.opened.iter().map(|i| (i.kind, i.hold_id)).collect::<Vec<_>>(),
        [(WorkKind::HoldReview, Some(hold.id))]
    );
    assert!(!ledger.release_hold(hold.id, "u1", None).await.unwrap(), "it needs a word");
    assert!(ledger.release_hold(hold.id, "u1", Some(HoldThen::Send)).await.unwrap());
    assert_eq!(ledger.claim_new(10).await[0].facts.id, id);
    assert!(ledger.holds().await.unwrap().is_empty());
    let item = ledger.work_item(swept.opened[0].id).await.unwrap().unwrap();
    assert_eq!((item.outcome, item.closed_by.as_deref()), (Some(WorkOutcome::Resolved), Some("u1")));
}

pub(super) async fn what_waits_for_review_can_be_dropped(ledger: Ledger) {
    let hold = ending(OnRelease::Review);
    let id = holding(&ledger, &hold).await;
    assert!(ledger.release_hold(hold.id, "u1", None).await.unwrap());
    assert!(ledger.release_hold(hold.id, "u1", Some(HoldThen::Drop)).await.unwrap());
    assert_eq!(ledger.standing(id).await, (MessageStatus::Expired, Some(Reason::OperatorHold)));
    assert!(!ledger.release_hold(hold.id, "u1", Some(HoldThen::Send)).await.unwrap(), "it is over");
}

pub(super) async fn a_word_given_on_release_counts_for_any_hold(ledger: Ledger) {
    let hold = ending(OnRelease::Send);
    let id = holding(&ledger, &hold).await;
    assert!(ledger.release_hold(hold.id, "u1", Some(HoldThen::Drop)).await.unwrap());
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Expired);
}

pub(super) async fn a_hold_whose_time_passes_ends_as_it_says(ledger: Ledger) {
    let until = Some(ledger.now().await + seconds(60));
    let mut ids = Vec::new();
    for (name, on_release) in [("a", OnRelease::Send), ("b", OnRelease::Expire), ("c", OnRelease::Review)] {
        let hold = Hold { until, ..ending(on_release) };
        ledger.place_hold(&hold).await.unwrap();
        let hand = ledger.lease(job(name)).await;
        held_by(&ledger, &hold, &hand).await;
        ids.push(hand.facts.id);
    }
    assert_eq!(ledger.settle_holds(100).await.unwrap(), 0, "they are in force");
    ledger.pass(seconds(61)).await;
    ledger.settle_holds(100).await.unwrap();
    let due: Vec<MessageId> = ledger.claim_new(10).await.iter().map(|m| m.facts.id).collect();
    assert_eq!(due, ids[..1]);
    assert_eq!(ledger.standing(ids[1]).await, (MessageStatus::Expired, Some(Reason::OperatorHold)));
    assert_eq!(ledger.standing(ids[2]).await, (MessageStatus::Held, Some(Reason::OperatorHold)));
    assert_eq!(ledger.holds().await.unwrap().len(), 1, "one waits for review");
    ledger.pass(seconds(120)).await;
    assert_eq!(ledger.settle_holds(100).await.unwrap(), 0);
    assert_eq!(ledger.holds().await.unwrap().len(), 1);
}

pub(super) async fn a_decision_that_comes_after_the_end_holds_nothing(ledger: Ledger) {
    let hold = ending(OnRelease::Send);
    ledger.place_hold(&hold).await.unwrap();
    let hand = ledger.lease(job("a")).await;
    assert!(ledger.release_hold(hold.id, "u1", None).await.unwrap());
    held_by(&ledger, &hold, &hand).await;
    assert_eq!(ledger.claim_new(10).await[0].facts.id, hand.facts.id, "it is asked about again at once");
}

pub(super) async fn a_decision_that_comes_after_the_end_ends_as_the_others(ledger: Ledger) {
    for (name, on_release, then, status) in [
        ("a", OnRelease::Send, Some(HoldThen::Drop), MessageStatus::Expired),
        ("b", OnRelease::Expire, None, MessageStatus::Expired),
        ("c", OnRelease::Review, None, MessageStatus::Held),
    ] {
        let hold = ending(on_release);
        ledger.place_hold(&hold).await.unwrap();
        let hand = ledger.lease(job(name)).await;
        assert!(ledger.release_hold(hold.id, "u1", then).await.unwrap());
        held_by(&ledger, &hold, &hand).await;
        assert!(
            ledger.claim_new(10).await.is_empty(),
            "{name}: nobody sends what was dropped, or is looked at"
        );
        ledger.settle_holds(100).await.unwrap();
        assert_eq!(ledger.standing(hand.facts.id).await, (status, Some(Reason::OperatorHold)), "{name}");
    }
    assert_eq!(ledger.holds().await.unwrap()[0].held, 1, "one waits for a word");
}

pub(super) async fn what_is_under_way_is_ended_and_never_called_expired_if_it_may_have_arrived(
    ledger: Ledger,
) {
    let hold = ending(OnRelease::Send);
    // One that was refused once and is to be tried again, one that may have arrived.
    let mut hands = Vec::new();
    for (name, status) in [("a", AttemptStatus::Failed), ("b", AttemptStatus::Unknown)] {
        let (hand, attempt) = ledger.begun(job(name)).await;
        let now = ledger.now().await;
        let then = if status == AttemptStatus::Failed { Then::Retry(now) } else { Then::UnknownRetry(now) };
        ledger.settle_one(&hand, attempt, status, then).await;
        hands.push(hand.facts.id);
    }
    ledger.place_hold(&hold).await.unwrap();
    let claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await;
    assert_eq!(claimed.messages.len(), 2);
    for message in claimed.messages {
        held_by(&ledger, &hold, &InHand::from(message)).await;
    }
    assert_eq!(ledger.holds().await.unwrap()[0].held, 2);
    assert!(ledger.release_hold(hold.id, "u1", Some(HoldThen::Drop)).await.unwrap());
    assert_eq!(ledger.standing(hands[0]).await.0, MessageStatus::Expired, "nothing of it had left");
    assert_eq!(ledger.standing(hands[1]).await, (MessageStatus::Unknown, Some(Reason::OutcomeUnknown)));
    assert_eq!(ledger.row(hands[1]).await.due_at, None, "and is not sent again");

    // The next steps of plans, of something that got through and of something that did not after all.
    let hold = ending(OnRelease::Send);
    let gone = Said::Undelivered(Failure::BadAddress);
    let mut hands = Vec::new();
    for (name, then, said) in
        [("c", Then::Sent, None), ("d", Then::Awaits, None), ("e", Then::Awaits, Some(gone))]
    {
        let hand = ledger.lease(job(name)).await;
        let patience = Some(Patience { wait: SignedDuration::ZERO, until: Until::Answered });
        let row = Begin { patience, ..ledger.plan(&hand).await };
        let attempt = row.attempt;
        assert!(ledger.try_begin(row).await);
        let settled = ledger.settlement(&hand, attempt, AttemptStatus::Sent, then).await;
        ledger.settle(&[Settlement { patience, ..settled }]).await.unwrap();
        if let Some(said) = said {
            let receipt = Receipt {
                provider: provider("twilio-main"),
                key: SendKey { message: hand.facts.id, step: 0 },
                reference: Some("SM1".to_owned()),
                said,
                code: None,
                named: Vec::new(),
            };
            ledger.receive(&[receipt]).await.unwrap();
        }
        hands.push(hand.facts.id);
    }
    ledger.place_hold(&hold).await.unwrap();
    let claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages;
    assert_eq!(claimed.len(), 3, "their next steps are due");
    for message in claimed {
        held_by(&ledger, &hold, &InHand::from(message)).await;
    }
    assert!(ledger.release_hold(hold.id, "u1", Some(HoldThen::Drop)).await.unwrap());
    for (id, status) in hands.iter().zip([MessageStatus::Sent, MessageStatus::Sent, MessageStatus::Failed]) {
        let row = ledger.row(*id).await;
        assert_eq!((row.status, row.due_at), (status, None), "nothing more is sent");
    }
    assert_eq!(ledger.told(hands[0]).await, ["message.sent.ehr"; 2], "that it is over");
    assert_eq!(ledger.told(hands[1]).await, ["message.sent.ehr"], "its receipt will be told");
    assert_eq!(ledger.told(hands[2]).await, ["message.sent.ehr", "message.failed.ehr"]);
}

pub(super) async fn many_held_messages_go_in_batches(ledger: Ledger) {
    let hold = ending(OnRelease::Expire);
    ledger.place_hold(&hold).await.unwrap();
    for n in 0..25 {
        let hand = ledger.lease(job(&format!("j{n}"))).await;
        held_by(&ledger, &hold, &hand).await;
    }
    // As if whoever ended it had died at once.
    ledger.execute("UPDATE holds SET released_at = placed_at, ended_as = 'expire'").await.unwrap();
    let mut batches = Vec::new();
    loop {
        match ledger.settle_holds(10).await.unwrap() {
            0 => break,
            moved => batches.push(moved),
        }
    }
    assert_eq!(batches, [10, 10, 5]);
    let filter = WorkFilter { limit: 10, ..WorkFilter::default() };
    assert!(ledger.work_items(&filter).await.unwrap().is_empty());
    let counts = ledger.counts().await.unwrap();
    assert_eq!(
        counts.messages.iter().map(|m| (m.status, m.count)).collect::<Vec<_>>(),
        [(MessageStatus::Expired, 25)]
    );
}

/// As while two versions run side by side.
pub(super) async fn a_hold_that_cannot_be_read_stops_all_that_it_may_be_meant_to_stop(ledger: Ledger) {
    let (newer, known) = (hold(HoldScope::Site, "north"), hold(HoldScope::Site, "south"));
    for hold in [&newer, &known] {
        ledger.place_hold(hold).await.unwrap();
    }
    let stopped = async || {
        let holds = ledger.directory(&[]).await.unwrap().holds;
        let stops = |site: &str| {
            let facts = job("a").site(site).priority(Priority::Urgent).facts;
            holds.iter().filter(|hold| hold.covers(&facts, None, None)).count()
        };
        ["north", "south", "west"].map(stops)
    };
    ledger.execute_newer("UPDATE holds SET cause = 'tomorrow' WHERE value = 'north'").await;
    assert_eq!(stopped().await, [1, 1, 0], "within its scope");
    ledger.execute_newer("UPDATE holds SET scope = 'department' WHERE value = 'north'").await;
    assert_eq!(stopped().await, [1, 2, 1], "whatever that is");
    // Whoever knows it may let go soon what it is not meant for.
    let soon = ledger.directory(&[]).await.unwrap().holds.iter().find_map(Hold::asks_again);
    assert!(soon.unwrap() <= ledger.now().await + seconds(60));
    let listed: Vec<HoldScope> = ledger.holds().await.unwrap().iter().map(|row| row.hold.scope).collect();
    assert_eq!(listed, [HoldScope::All, HoldScope::Site]);
    assert!(ledger.release_hold(newer.id, "u1", None).await.unwrap(), "it can be ended here");
    assert_eq!(stopped().await, [0, 1, 0]);
}
