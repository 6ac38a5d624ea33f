//! Several workers drive campaigns: with an old row nobody is read, nothing counts twice, and a campaign that cannot be read
//! stops no other.

use jiff::Timestamp;
use outreachd::domain::campaign::{CampaignState, Plan, RecipientBody};
use outreachd::domain::ids::{CampaignId, MessageId, WorkerId};
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::Reason;
use outreachd::store::campaigns::{CampaignMove, CampaignRow, Expanded, NewRecipient};
use outreachd::store::rows::Decided;
use serde_json::json;

use super::ledger::{Ledger, worker};
use super::make::{Shape, decided, job, patient_id, seconds, source};

/// A campaign to nine people that is running.
async fn running(ledger: &Ledger, id: &str) -> CampaignId {
    let plan =
        json!({ "id": id, "template": "appointment-reminder", "data": { "practitioner": "Dr. Chen" } });
    let plan = Plan::parse(plan.to_string().as_bytes(), Some(&source("ehr")), 50).unwrap();
    assert!(ledger.create_campaign(&plan, "ann").await.unwrap());
    let rows: Vec<NewRecipient> = (1..=9)
        .map(|ordinal| NewRecipient {
            ordinal,
            patient: patient_id(&format!("P{ordinal}")),
            body: RecipientBody::default(),
            place: Some((0, Timestamp::UNIX_EPOCH)),
        })
        .collect();
    ledger.add_recipients(&plan.id, &rows, "ann").await.unwrap().unwrap();
    ledger.execute(&format!("UPDATE campaigns SET state = 'running' WHERE id = '{id}'")).await.unwrap();
    plan.id
}

async fn stands(ledger: &Ledger, id: &CampaignId) -> CampaignRow {
    ledger.campaign(id).await.unwrap().unwrap().0
}

/// The places of the next three; `None`: the row is old.
async fn next(ledger: &Ledger, row: &CampaignRow) -> Option<Vec<u64>> {
    let next = ledger.next_recipients(row, ledger.now().await, 3).await.unwrap();
    next.map(|next| next.iter().map(|recipient| recipient.ordinal).collect())
}

type Became = Vec<(u64, Result<MessageId, Reason>)>;

async fn became(ledger: &Ledger, row: &CampaignRow, rows: Became, next_turn: Timestamp) {
    let (id, revision) = (row.plan.id.clone(), row.revision);
    ledger.expanded(&Expanded { id, revision, rows, later: Vec::new(), next_turn }).await.unwrap();
}

fn written(places: std::ops::RangeInclusive<u64>) -> Became {
    places.map(|place| (place, Ok(MessageId::generate()))).collect()
}

pub(super) async fn with_an_old_row_nobody_is_read(ledger: Ledger) {
    let id = running(&ledger, "flu").await;
    let mut row = stands(&ledger, &id).await;
    assert_eq!(next(&ledger, &row).await, Some(vec![1, 2, 3]));
    let (turn, later) = (row.next_turn, row.next_turn + seconds(1));
    let changes = [(written(1..=1), turn), (vec![(2, Err(Reason::BadData))], turn), (Became::new(), later)];
    for (rows, next_turn) in changes {
        became(&ledger, &row, rows, next_turn).await;
        assert_eq!(next(&ledger, &row).await, None);
        row = stands(&ledger, &id).await;
    }
    assert_eq!(next(&ledger, &row).await, Some(vec![3, 4, 5]));
    let ask = CampaignMove {
        id: id.clone(),
        revision: row.revision,
        state: CampaignState::Running,
        reason: None,
        by: "ann".to_owned(),
        plan: None,
        approval: None,
        canary_passed: true,
        turns: None,
        wave: None,
    };
    assert!(ledger.move_campaign(&ask).await.unwrap());
    assert_eq!(next(&ledger, &row).await, None);

    let row = stands(&ledger, &id).await;
    became(&ledger, &row, written(3..=9), later).await;
    let row = stands(&ledger, &id).await;
    assert_eq!(next(&ledger, &row).await, Some(Vec::new()), "nobody is left, and the row is good");
}

pub(super) async fn what_two_have_written_counts_once_and_no_turn_goes_back(ledger: Ledger) {
    let id = running(&ledger, "flu").await;
    let row = stands(&ledger, &id).await;
    let (rows, further) = (written(1..=3), row.next_turn + seconds(60));
    became(&ledger, &row, rows.clone(), further).await;
    became(&ledger, &row, rows, row.next_turn + seconds(1)).await;
    let after = stands(&ledger, &id).await;
    assert_eq!((after.expanded, after.refused, after.next_turn), (3, 0, further));
}

/// So that its campaign writes no more than goes out at once when a day begins. Who sleeps has their own hour.
pub(super) async fn what_waits_for_a_limit_or_a_budget_counts_as_due(ledger: Ledger) {
    let flu = CampaignId::parse("flu").unwrap();
    for (reason, due) in [
        (Reason::QuietHours, 0),
        (Reason::ProviderUnavailable, 1),
        (Reason::Paced, 2),
        (Reason::OverBudget, 3),
    ] {
        let hand = ledger.lease(job(&format!("campaign:flu:{}", reason.as_str())).campaign("flu")).await;
        let now = ledger.now().await;
        let until = Some(now + seconds(3_600));
        let held = Decided { due_at: until, ..decided(&hand, MessageStatus::Held, Some(reason), now) };
        ledger.decide_one(held).await;
        assert_eq!(ledger.due_of_campaign(&flu).await.unwrap(), due, "{}", reason.as_str());
    }
}

/// Its key is gone, or a newer program has written it while two versions run side by side.
pub(super) async fn a_campaign_that_cannot_be_read_stops_no_other(ledger: Ledger) {
    let (bad, good) = (running(&ledger, "bad").await, running(&ledger, "good").await);
    let newer = running(&ledger, "newer").await;
    ledger.execute("UPDATE campaigns SET plan = substr(plan, 1, 2) WHERE id = 'bad'").await.unwrap();
    ledger.execute("UPDATE campaigns SET reason = 'tomorrow' WHERE id = 'newer'").await.unwrap();
    let ids = |rows: &[CampaignRow]| rows.iter().map(|row| row.plan.id.clone()).collect::<Vec<_>>();
    let hand = ledger.lease_campaigns(worker(), &[]).await.unwrap();
    let mut unread = hand.unread;
    unread.sort_unstable();
    assert_eq!((ids(&hand.rows), &unread), (vec![good.clone()], &vec![bad, newer.clone()]));
    let hand = ledger.lease_campaigns(worker(), &unread).await.unwrap();
    assert_eq!((ids(&hand.rows), hand.unread), (vec![good], Vec::new()), "they are left to others");

    let ended = "UPDATE campaigns SET reason = NULL, lease_until = NULL WHERE id = 'newer'";
    ledger.execute(ended).await.unwrap();
    let hand = ledger.lease_campaigns(WorkerId::generate(), &[]).await.unwrap();
    assert!(ids(&hand.rows).contains(&newer), "whoever can read it takes it");
}
