//! What a coordinator goes through.

use std::collections::BTreeSet;
use std::time::Duration;

use outreachd::campaign::Wish;
use outreachd::domain::campaign::{CampaignState, FollowUp, Pace, PaceUnit, PauseReason};
use outreachd::domain::ids::PatientId;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::Reason;
use serde_json::json;

use super::{BOTH, Town, bring, name, people, plan};

/// More than one person may write to alone: a colleague agrees, a change makes that void, the canary waits, a pause stops
/// everything, and in the end each has had one message.
#[tokio::test(flavor = "multi_thread")]
async fn a_blast_is_approved_tried_out_paused_and_done() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let pace = json!({"canary": 5, "pace": {"per_minute": 30_000}, "auto_pause": {"error_percent": 100, "after": 1_000}});
        town.office.create(&plan("flu", pace), "ann").await.unwrap();
        let (tally, refused) = town.bring("flu", &people(1, 510)).await;
        assert_eq!((tally.added, refused.len()), (510, 0));

        assert_eq!(
            town.wish("flu", "ann", Wish::Start).await.unwrap().state,
            CampaignState::AwaitingApproval
        );
        assert!(town.wish("flu", "ann", Wish::Approve(510)).await.unwrap_err().contains("does not approve"));
        assert!(
            town.wish("flu", "bob", Wish::Approve(51)).await.unwrap_err().contains("number of recipients")
        );
        assert_eq!(town.wish("flu", "bob", Wish::Approve(510)).await.unwrap().state, CampaignState::Approved);

        // Two more: what was approved is no longer what would be sent.
        let (tally, _) = bring(&town.office, &town.row("flu").await.plan, &people(1, 512), "cleo").await;
        assert_eq!((tally.added, tally.known), (2, 510));
        for hand in ["cleo", "cli:cleo"] {
            let refused = town.wish("flu", hand, Wish::Approve(512)).await.unwrap_err();
            assert!(refused.contains("changed its plan or audience"), "{refused}");
        }
        assert_eq!(
            town.wish("flu", "ann", Wish::Start).await.unwrap().state,
            CampaignState::AwaitingApproval
        );
        town.wish("flu", "bob", Wish::Approve(512)).await.unwrap();
        assert_eq!(town.hits(), 0, "nobody was written to so far");
        assert_eq!(town.wish("flu", "ann", Wish::Start).await.unwrap().state, CampaignState::Running);

        let row = town.until("flu", CampaignState::CanaryHold).await;
        assert_eq!(row.expanded, 5);
        town.until_hits(5).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(town.hits(), 5, "the canary is alone");

        town.wish("flu", "bob", Wish::Approve(512)).await.unwrap();
        town.until_hits(60).await;
        town.wish("flu", "ann", Wish::Pause).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        let stopped = town.hits();
        // One of those who wait has booked meanwhile.
        let booked = PatientId::parse("P512").unwrap();
        assert_eq!(
            town.office.done(&name("flu"), &[booked]).await.unwrap(),
            u64::from(town.row("flu").await.no_longer_needed > 0)
        );
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(town.hits(), stopped, "nothing is begun in a pause");
        assert!(stopped < 512, "it was still under way");

        town.wish("flu", "ann", Wish::Resume).await.unwrap();
        town.until("flu", CampaignState::Done).await;
        let hits = town.simulator.hits();
        let keys: BTreeSet<_> = hits.iter().map(|hit| serde_json::to_string(&hit.to).unwrap()).collect();
        assert_eq!((hits.len(), keys.len()), (511, 511), "each once, and not who has booked");
        town.close().await;
    }
}

/// The list is bad: the campaign stops by itself and says why. Those whom it did not reach are written to again, and those
/// whom it reached are told what was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_list_stops_by_itself_and_is_put_right() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let more = json!({"canary": 0, "pace": {"per_minute": 2_400}});
        town.office.create(&plan("bad", more), "ann").await.unwrap();
        town.bring("bad", &people(1, 150)).await;
        town.wish("bad", "ann", Wish::Start).await.unwrap();
        let row = town.until("bad", CampaignState::Paused).await;
        assert_eq!(row.reason, Some(PauseReason::ErrorRate));
        town.until_settled().await;
        let hits = town.hits();
        assert!((40..150).contains(&hits), "it stopped on its way: {hits}");
        let cancelled = town.wish("bad", "ann", Wish::Cancel).await.unwrap();
        assert_eq!(cancelled.state, CampaignState::Cancelled);

        let report = town.office.store.campaign_report(&name("bad")).await.unwrap();
        let count = |status| report.lines.iter().filter(|l| l.status == status).map(|l| l.count).sum::<u64>();
        let (failed, sent) = (count(MessageStatus::Failed), count(MessageStatus::Sent));
        let decided = usize::try_from(failed + sent).unwrap();
        assert!(
            decided <= hits && decided + 5 > hits,
            "but for those held before their next way: {decided} of {hits}"
        );
        assert!(report.lines.iter().any(|l| l.reason == Some(Reason::InvalidAddress) && l.hour.is_some()));

        let again = plan("bad-again", json!({"canary": 0}));
        let row = town.office.follow(&name("bad"), FollowUp::RetryFailed, again, "ann").await.unwrap();
        assert_eq!(row.recipients, failed, "exactly those who failed");
        let right = plan("bad-correct", json!({"canary": 0, "pace": {"per_minute": 60_000}}));
        let row = town.office.follow(&name("bad"), FollowUp::Correct, right, "ann").await.unwrap();
        assert_eq!(row.recipients, sent, "exactly those who received it");
        let started = town.wish("bad-correct", "ann", Wish::Start).await.unwrap();
        assert_eq!(started.state, CampaignState::AwaitingApproval, "few as they are: it passes the caps");
        town.wish("bad-correct", "bob", Wish::Approve(sent)).await.unwrap();
        town.wish("bad-correct", "ann", Wish::Start).await.unwrap();
        town.until("bad-correct", CampaignState::Done).await;
        // The cap of one a day would have held it back.
        assert_eq!(town.hits(), hits + usize::try_from(sent).unwrap());
        town.close().await;
    }
}

/// Nobody is written to faster than the phones can take, and a slower pace counts at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_pace_is_kept_and_changed_under_way() {
    let town = Town::open(false).await;
    let more = json!({"canary": 0, "pace": {"per_minute": 1_200}, "auto_pause": {"error_percent": 100, "after": 1_000}});
    town.office.create(&plan("slow", more), "ann").await.unwrap();
    town.bring("slow", &people(1, 400)).await;
    town.wish("slow", "ann", Wish::Start).await.unwrap();
    town.until_hits(61).await;
    let hits = town.simulator.hits();
    // Whoever is late on a busy machine, as the first ones may be, goes out at once, so that the whole keeps its time.
    let span = hits[60].at_us - hits[20].at_us;
    assert!(span >= 1_400_000, "20 a second: 41 took {span} us");
    let pace = Pace { count: 60, per: PaceUnit::Minute, hours: None };
    town.wish("slow", "ann", Wish::Pace(Some(pace))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = town.hits();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let after = town.hits();
    assert!(after - before <= 3, "one a second by now: {before}, {after}");
    town.wish("slow", "ann", Wish::Cancel).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = town.hits();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(town.hits(), ended, "nothing after a cancel");
    let report = town.office.store.campaign_report(&name("slow")).await.unwrap();
    assert!(report.lines.iter().any(|l| l.status == MessageStatus::Cancelled && l.count > 100), "{report:?}");
    town.close().await;
}
