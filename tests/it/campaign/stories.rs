//! What a coordinator goes through.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use outreachd::campaign::{Sheet, Wish};
use outreachd::domain::campaign::{CampaignState, FollowUp, Pace, PaceUnit, PauseReason};
use outreachd::domain::ids::PatientId;
use outreachd::domain::phi::Phi;
use outreachd::domain::reply::Intent;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Reason};
use outreachd::intake::again::Again;
use outreachd::simulator::{Hit, Outage};
use outreachd::store::rows::ReplyOutcome;
use serde_json::json;

use super::turns::{by_day, where_it_is};
use super::{BOTH, Town, bring, name, number, people, plan};

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
        assert!(
            town.wish("flu", "ann", Wish::Approve(510, None)).await.unwrap_err().contains("does not approve")
        );
        assert!(
            town.wish("flu", "bob", Wish::Approve(51, None))
                .await
                .unwrap_err()
                .contains("number of recipients")
        );
        let seen = Some(town.office.dry_run(&name("flu")).await.unwrap().hash);
        let approved = town.wish("flu", "bob", Wish::Approve(510, seen.clone())).await.unwrap();
        assert_eq!(approved.state, CampaignState::Approved);

        // Two more: what was approved is no longer what would be sent.
        let (tally, _) = bring(&town.office, &town.row("flu").await.plan, &people(1, 512), "cleo").await;
        assert_eq!((tally.added, tally.known), (2, 510));
        for hand in ["cleo", "cli:cleo"] {
            let refused = town.wish("flu", hand, Wish::Approve(512, None)).await.unwrap_err();
            assert!(refused.contains("changed its plan or audience"), "{refused}");
        }
        assert_eq!(
            town.wish("flu", "ann", Wish::Start).await.unwrap().state,
            CampaignState::AwaitingApproval
        );
        let refused = town.wish("flu", "bob", Wish::Approve(512, seen)).await.unwrap_err();
        assert!(refused.contains("no longer what that dry run showed"), "{refused}");
        let seen = Some(town.office.dry_run(&name("flu")).await.unwrap().hash);
        town.wish("flu", "bob", Wish::Approve(512, seen)).await.unwrap();
        assert_eq!(town.hits(), 0, "nobody was written to so far");
        assert_eq!(town.wish("flu", "ann", Wish::Start).await.unwrap().state, CampaignState::Running);

        let row = town.until("flu", CampaignState::CanaryHold).await;
        assert_eq!(row.expanded, 5);
        town.until_hits(5).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(town.hits(), 5, "the canary is alone");

        town.wish("flu", "bob", Wish::Approve(512, None)).await.unwrap();
        town.until_hits(60).await;
        town.wish("flu", "ann", Wish::Pause).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        let stopped = town.hits();
        // One of those who wait has booked meanwhile.
        let booked = PatientId::parse("P512").unwrap();
        assert_eq!(town.office.done(&name("flu"), &[booked]).await.unwrap(), 1, "left out, or taken back");
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

/// The list is bad: at five in a hundred the campaign stops by itself and says why. Those whom it did not reach are written
/// to again, and nobody else; those whom it reached are told what was wrong. A list that is a little better goes through.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_list_stops_by_itself_and_is_put_right() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let more = json!({"canary": 0, "pace": {"per_minute": 2_400}});
        town.office.create(&plan("bad", more.clone()), "ann").await.unwrap();
        town.bring("bad", &one_bad_in(12, 1, 300)).await;
        town.wish("bad", "ann", Wish::Start).await.unwrap();
        let row = town.until("bad", CampaignState::Paused).await;
        assert_eq!(row.reason, Some(PauseReason::ErrorRate));
        town.until_settled().await;
        let hits = town.hits();
        assert!((40..300).contains(&hits), "it stopped on its way: {hits}");
        let cancelled = town.wish("bad", "ann", Wish::Cancel).await.unwrap();
        assert_eq!(cancelled.state, CampaignState::Cancelled);

        let report = town.office.store.campaign_report(&name("bad")).await.unwrap();
        let count = |status| report.lines.iter().filter(|l| l.status == status).map(|l| l.count).sum::<u64>();
        let (failed, sent) = (count(MessageStatus::Failed), count(MessageStatus::Sent));
        let decided = usize::try_from(failed + sent).unwrap();
        assert!(
            decided <= hits && decided * 100 >= hits * 95,
            "but for those held before their next way: {decided} of {hits}"
        );
        let tried: u64 = report.lines.iter().filter(|l| l.hour.is_some()).map(|l| l.count).sum();
        assert_eq!(usize::try_from(tried).unwrap(), hits, "each hit is somebody's, and stands in its hour");
        assert!(report.lines.iter().any(|l| l.reason == Some(Reason::InvalidAddress) && l.hour.is_some()));

        let again =
            plan("bad-again", json!({"canary": 0, "auto_pause": {"error_percent": 100, "after": 1_000}}));
        let row = town.office.follow(&name("bad"), FollowUp::RetryFailed, again, "ann").await.unwrap();
        assert_eq!(row.recipients, failed, "exactly those who failed");
        town.wish("bad-again", "ann", Wish::Start).await.unwrap();
        town.until("bad-again", CampaignState::Done).await;
        let all = town.simulator.hits();
        let (first, again) = all.split_at(hits);
        assert_eq!(u64::try_from(again.len()).unwrap(), failed, "each once more");
        let tried = |hit: &Hit| first.iter().any(|h| h.status == 400 && same(h, hit));
        assert!(again.iter().all(tried), "nobody but those whom the first one did not reach");
        let hits = all.len();

        let right = plan("bad-correct", json!({"canary": 0, "pace": {"per_minute": 60_000}}));
        let row = town.office.follow(&name("bad"), FollowUp::Correct, right, "ann").await.unwrap();
        assert_eq!(row.recipients, sent, "exactly those who received it");
        let started = town.wish("bad-correct", "ann", Wish::Start).await.unwrap();
        assert_eq!(started.state, CampaignState::AwaitingApproval, "few as they are: it passes the caps");
        town.wish("bad-correct", "bob", Wish::Approve(sent, None)).await.unwrap();
        town.wish("bad-correct", "ann", Wish::Start).await.unwrap();
        town.until("bad-correct", CampaignState::Done).await;
        // The cap of one a day would have held it back.
        assert_eq!(town.hits(), hits + usize::try_from(sent).unwrap());

        town.office.create(&plan("fair", more), "ann").await.unwrap();
        town.bring("fair", &one_bad_in(30, 200, 300)).await;
        town.wish("fair", "ann", Wish::Start).await.unwrap();
        town.until("fair", CampaignState::Done).await;
        town.close().await;
    }
}

/// People from `from` to `to`, of whom each `n`-th has a number that nothing can be sent to.
fn one_bad_in(n: u32, from: u32, to: u32) -> String {
    let all = people(from, to);
    let bad = |at: u32| number(at * 10 + 9);
    let (head, rows) = all.split_once('\n').unwrap();
    let rows = rows.lines().zip(from..).map(|(row, person)| {
        // Numbers of those who are reached end in 0: each has one of their own.
        let number_of = if person % n == 0 { bad(person / n) } else { format!("+1312556{person:04}") };
        row.replace(&number(person), &number_of)
    });
    std::iter::once(head.to_owned()).chain(rows).map(|row| row + "\n").collect()
}

/// Whether two were sent to the same number.
fn same(one: &Hit, other: &Hit) -> bool {
    serde_json::to_string(&one.to).unwrap() == serde_json::to_string(&other.to).unwrap()
}

/// By a pace nobody's turn is lost to the night: who may be written to goes on, and whoever sleeps has a turn by day, instead
/// of a message that comes at once with all the others when the night is over.
#[tokio::test(flavor = "multi_thread")]
async fn at_night_nobody_has_a_turn() {
    for postgres in BOTH {
        let town = Town::open_with(postgres, by_day).await;
        let (day, night) = (where_it_is(12), where_it_is(2));
        let mut text = people(1, 20).replace("America/Chicago", &night);
        text += people(21, 28).split_once('\n').unwrap().1.replace("America/Chicago", &day).as_str();
        let more = json!({"canary": 0, "pace": {"per_minute": 240}, "auto_pause": {"error_percent": 100, "after": 1_000}});
        town.office.create(&plan("night", more), "ann").await.unwrap();
        town.bring("night", &text).await;
        let forecast = town.office.dry_run(&name("night")).await.unwrap();
        let hours: Vec<u64> = forecast.by_hour.values().copied().collect();
        // Those who are awake may have their turns in this hour and the next.
        assert_eq!((hours.last(), hours.iter().sum()), (Some(&20), 28_u64), "{forecast:?}");

        town.wish("night", "ann", Wish::Start).await.unwrap();
        town.until_hits(8).await;
        let hits = town.simulator.hits();
        let span = hits[7].at_us - hits[0].at_us;
        assert!(span < 6_000_000, "those who sleep take nobody's turn: {span} us");
        let row = town.row("night").await;
        assert_eq!((row.state, row.expanded), (CampaignState::Running, 8));
        let rows = town.office.store.recipients(&name("night"), 0, 30).await.unwrap();
        let zone = jiff::tz::TimeZone::get(&night).unwrap();
        for row in &rows[..20] {
            let opens = row.ready_at.to_zoned(zone.clone()).time();
            assert_eq!((row.message_id, opens), (None, jiff::civil::time(8, 0, 0, 0)), "{row:?}");
        }
        assert_eq!(town.hits(), 8);
        town.close().await;
    }
}

/// Whoever was not written to when it ended is told of.
#[tokio::test(flavor = "multi_thread")]
async fn those_whose_turn_never_came_are_counted() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.office.create(&plan("cut", json!({"canary": 3})), "ann").await.unwrap();
        town.bring("cut", &people(1, 8)).await;
        town.wish("cut", "ann", Wish::Start).await.unwrap();
        town.until("cut", CampaignState::CanaryHold).await;
        let correction = plan("right", json!({}));
        let refused = town.office.follow(&name("cut"), FollowUp::Correct, correction, "ann").await;
        assert!(refused.unwrap_err().to_string().contains("canary"), "the others would get what was wrong");
        assert_eq!(town.office.store.campaign_report(&name("cut")).await.unwrap().refused, []);
        town.wish("cut", "ann", Wish::Cancel).await.unwrap();
        let report = town.office.store.campaign_report(&name("cut")).await.unwrap();
        assert_eq!(report.refused, [(Reason::Cancelled, 5)]);
        let without = sheet(&town, "cut", true).await;
        assert_eq!((without.len(), without[0].as_str()), (5, "5,P4,,cancelled,,"), "{without:?}");
        town.close().await;
    }
}

/// The rows of a campaign's table, without its names of columns.
async fn sheet(town: &Town, id: &str, refused: bool) -> Vec<String> {
    let page = Sheet { office: town.office.clone(), id: name(id), refused }.page(0).await.unwrap();
    String::from_utf8(page.csv).unwrap().lines().skip(1).map(str::to_owned).collect()
}

/// Who has booked is left out whenever that is told: before they stand in the audience, and of all that follows. Whoever was
/// tried once more is judged by that.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_booked_is_left_out_before_and_after() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let id = |n: u32| PatientId::parse(&format!("P{n}")).unwrap();
        let done = async |n: u32| town.office.done(&name("shots"), &[id(n)]).await.unwrap();
        town.office.create(&plan("shots", json!({"canary": 0})), "ann").await.unwrap();
        assert_eq!(done(3).await, 0, "nobody is meant yet");
        town.bring("shots", &people(1, 20)).await;
        let row = town.row("shots").await;
        assert_eq!((row.recipients, row.no_longer_needed), (20, 1));
        town.wish("shots", "ann", Wish::Start).await.unwrap();
        town.until("shots", CampaignState::Done).await;
        town.until_settled().await;
        let follow = async |kind: FollowUp, id: &str| {
            let plan = plan(id, json!({"canary": 0}));
            town.office.follow(&name("shots"), kind, plan, "ann").await.unwrap().recipients
        };
        // Nobody has read anything of that.
        let machine = says(&town, "shots", 1, "I'm driving right now - I'll get back to you later").await;
        assert_eq!(machine, Intent::Machine);
        // 9 and 19 could not be reached.
        assert_eq!(follow(FollowUp::RetryUnanswered, "reminder").await, 17);
        assert_eq!(follow(FollowUp::RetryFailed, "again").await, 2);
        assert_eq!((done(5).await, done(9).await), (0, 0), "they were written to");
        for drafted in ["reminder", "again"] {
            let left_out = town.row(drafted).await.no_longer_needed;
            assert_eq!(left_out, 1, "{drafted} writes to nobody who has booked");
        }
        assert_eq!(sheet(&town, "shots", true).await, [""; 0], "who has booked needs none");
        assert_eq!(follow(FollowUp::RetryUnanswered, "reminder-2").await, 16);
        assert_eq!(follow(FollowUp::RetryFailed, "again-2").await, 1);
        assert_eq!(
            follow(FollowUp::Correct, "right").await,
            17,
            "who has booked was told what was wrong too"
        );

        town.simulator.set_outage(None, Outage::Unavailable);
        let recipients = town.office.store.recipients(&name("shots"), 0, 20).await.unwrap();
        let last = recipients[18].message_id.unwrap();
        let message = town.office.store.message(last).await.unwrap().unwrap();
        let again = town.worker.intake.again(&message, false, "ann").await.unwrap();
        assert!(matches!(again, Again::Accepted(_)), "{again:?}");
        assert_eq!(follow(FollowUp::RetryFailed, "again-3").await, 0, "a second try is under way");
        let report = town.office.store.campaign_report(&name("shots")).await.unwrap();
        assert_eq!(report.lines.iter().map(|line| line.count).sum::<u64>(), 19, "each once, by the last try");

        // Everybody was written to; whoever cancels it now stops what would follow.
        let Again::Accepted(second) = again else { panic!("{again:?}") };
        let told = town.office.store.recipients(&name("shots"), 18, 2).await.unwrap().remove(1);
        let told = (told.ordinal, told.message_id);
        assert_eq!(told, (20, Some(second)), "the table says what the report says");
        let cancelled = town.wish("shots", "ann", Wish::Cancel).await.unwrap();
        assert_eq!(cancelled.state, CampaignState::Cancelled);
        let end = Instant::now() + Duration::from_secs(20);
        while town.office.store.message(second).await.unwrap().unwrap().status != MessageStatus::Cancelled {
            assert!(Instant::now() < end, "the second try is taken back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(town.wish("shots", "ann", Wish::Resume).await.is_err(), "once and for all");
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
    // Whoever is late on a busy machine goes out at once, so that the whole keeps its time; nobody goes before their turn.
    let started = town.row("slow").await.started_at.unwrap().as_microsecond();
    for (n, hit) in (0..).zip(&hits) {
        let early = started + n * 50_000 - hit.wall_us;
        assert!(early <= 0, "20 a second: number {n} left {early} us before its turn");
    }
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
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let report = town.office.store.campaign_report(&name("slow")).await.unwrap();
        if report.lines.iter().any(|l| l.status == MessageStatus::Cancelled && l.count > 100) {
            break;
        }
        assert!(Instant::now() < end, "what was not begun is taken back: {report:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    town.close().await;
}

/// Those of a wave have theirs before anybody of the next one, who waits for its gap; the dry run says so.
#[tokio::test(flavor = "multi_thread")]
async fn waves_come_one_after_the_other() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let rows = (1..=30).map(|n| {
            // The last come first, and the middle after them.
            let (tags, born) = (if n > 20 { "risk-1" } else { "" }, if n > 10 { 1940 } else { 1990 });
            format!("P{n},{},en,America/Chicago,{tags},{born}-01-01\n", number(n * 10))
        });
        let text = format!("patient_id,sms,language,timezone,tags,birth_date\n{}", rows.collect::<String>());
        let waves = |gap: u32| {
            json!({"canary": 0, "pace": {"per_minute": 1_200},
                "waves": [{"tags": ["risk-1"]}, {"min_age": 65}, {"gap_minutes": gap}]})
        };
        town.office.create(&plan("at-once", waves(0)), "ann").await.unwrap();
        town.bring("at-once", &text).await;
        town.wish("at-once", "ann", Wish::Start).await.unwrap();
        town.until("at-once", CampaignState::Done).await;
        let mut rows = town.office.store.recipients(&name("at-once"), 0, 30).await.unwrap();
        // Ids tell the time at which a message was written.
        rows.sort_unstable_by_key(|row| row.message_id);
        let order: Vec<u16> = rows.iter().filter_map(|row| row.wave).collect();
        assert_eq!(order, [[0_u16; 10], [1; 10], [2; 10]].concat(), "{rows:?}");

        town.office.create(&plan("apart", waves(60)), "ann").await.unwrap();
        town.bring("apart", &text.replace("P", "Q").replace("+1312555", "+1312556")).await;
        let forecast = town.office.dry_run(&name("apart")).await.unwrap();
        let hours: Vec<u64> = forecast.by_hour.values().copied().collect();
        assert_eq!(hours.iter().sum::<u64>(), 30, "{forecast:?}");
        assert_eq!(hours.last(), Some(&10), "the last wave is an hour later: {forecast:?}");
        let before = town.hits();
        town.wish("apart", "ann", Wish::Start).await.unwrap();
        town.until_hits(before + 20).await;
        let end = Instant::now() + Duration::from_secs(10);
        while town.row("apart").await.wave < 2 {
            assert!(Instant::now() < end, "{:?}", town.row("apart").await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let row = town.row("apart").await;
        let wait = row.wave_opens_at.duration_since(jiff::Timestamp::now());
        assert!(wait > jiff::SignedDuration::from_mins(58), "{wait}");
        assert_eq!((row.expanded, row.state, town.hits()), (20, CampaignState::Running, before + 20));
        town.close().await;
    }
}

/// Where too many say stop, it stops by itself, and the report says what they said.
#[tokio::test(flavor = "multi_thread")]
async fn people_who_say_stop_stop_it() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let more = json!({"canary": 0, "pace": {"per_minute": 1_800}, "auto_pause": {"error_percent": 100, "after": 40}});
        town.office.create(&plan("unwelcome", more), "ann").await.unwrap();
        town.bring("unwelcome", &people(1, 400)).await;
        town.wish("unwelcome", "ann", Wish::Start).await.unwrap();
        town.until_hits(45).await;
        // Nine could not be reached.
        for n in (1..=12).filter(|n| *n != 9) {
            assert_eq!(says(&town, "unwelcome", n, "STOP").await, Intent::Stop);
        }
        let row = town.until("unwelcome", CampaignState::Paused).await;
        assert_eq!(row.reason, Some(PauseReason::OptOutRate));
        assert!(town.hits() < 400, "it stopped on its way");
        let report = town.office.store.campaign_report(&name("unwelcome")).await.unwrap();
        let [line] = report.replies.as_slice() else { panic!("{report:?}") };
        assert_eq!(
            (line.intent, line.channel, line.locale.as_str()),
            (Intent::Stop, Some(Channel::Sms), "en")
        );
        assert!(line.count == 11 && line.hour.is_some(), "{line:?}");
        town.close().await;
    }
}

/// What the `n`-th person answers to a campaign, and what it is taken for.
async fn says(town: &Town, id: &str, n: u32, text: &str) -> Intent {
    let store = &town.office.store;
    let first = store.recipients(&name(id), 0, 1).await.unwrap().remove(0);
    let attempt = store.attempts(first.message_id.unwrap()).await.unwrap().remove(0);
    let mut asked = crate::store::replies::ask(&format!("SM{n}"), text);
    asked.reply.provider = attempt.provider;
    asked.reply.from = Phi::new(number(n));
    match store.reply(&asked).await.unwrap() {
        ReplyOutcome::New { meaning, .. } => meaning.intent,
        known => panic!("{known:?}"),
    }
}

/// What is said after a change of pace of what went before it is no share of the few that were tried since.
#[tokio::test(flavor = "multi_thread")]
async fn stops_are_a_share_of_the_messages_that_they_are_about() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let more = json!({"canary": 0, "pace": {"per_minute": 1_200}});
        town.office.create(&plan("judged", more), "ann").await.unwrap();
        town.bring("judged", &people(1, 400)).await;
        let started = town.wish("judged", "ann", Wish::Start).await.unwrap();
        town.until_hits(4).await;
        let pace = Pace { count: 1, per: PaceUnit::Hour, hours: None };
        let slower = town.wish("judged", "ann", Wish::Pace(Some(pace))).await.unwrap();
        town.until_settled().await;
        for n in 1..=3 {
            assert_eq!(says(&town, "judged", n, "STOP").await, Intent::Stop);
        }
        let since = async |at| town.office.store.campaign_health(&name("judged"), at).await.unwrap();
        let health = since(started.changed_at).await;
        assert!(health.opted_out == 3 && health.tried >= 4, "{health:?}");
        let health = since(slower.changed_at).await;
        assert_eq!(health.opted_out, 0, "{health:?}");
        town.close().await;
    }
}
