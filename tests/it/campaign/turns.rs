//! When people have their turns: by day where they live, at the place's own hours, and as the dry run has said.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use outreachd::campaign::Wish;
use outreachd::config::Config;
use outreachd::domain::campaign::CampaignState;
use outreachd::domain::words::Reason;
use serde_json::json;

use super::{BOTH, Town, name, number, people, plan, settings};

/// The quiet hours that hold where nothing is configured.
pub(super) fn by_day(config: &mut Config) {
    let settings = settings("sqlite://x", "live").replace("[policy.hours]\n        channels = []", "");
    config.policy.hours = Config::from_toml(&settings).unwrap().policy.hours;
}

/// A zone in which it is that hour of the day now.
pub(super) fn where_it_is(hour: i64) -> String {
    let now = jiff::Timestamp::now().as_second().div_euclid(3_600).rem_euclid(24);
    let east = (hour - now + 36).rem_euclid(24) - 12;
    // West is positive in these names.
    format!("Etc/GMT{}{}", if east > 0 { "-" } else { "+" }, east.abs())
}

/// Whoever sleeps whenever somebody answers the phone is written to all the same, and is held until their own hours; the
/// others do not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_hour_in_common_with_the_phones_keeps_nobody_waiting() {
    for postgres in BOTH {
        let (day, night) = (where_it_is(12), where_it_is(2));
        let town = Town::open_with(postgres, |config| {
            by_day(config);
            config.sites[0].timezone = TimeZone::get(&day).unwrap();
        })
        .await;
        let mut text = people(1, 2).replace("America/Chicago", &night);
        text += people(3, 4).split_once('\n').unwrap().1.replace("America/Chicago", &day).as_str();
        let more = json!({"canary": 0, "pace": {"per_minute": 1_200, "hours": "10:00-14:00"}});
        town.office.create(&plan("apart", more), "ann").await.unwrap();
        town.bring("apart", &text).await;
        let forecast = town.office.dry_run(&name("apart")).await.unwrap();
        assert_eq!((forecast.would_get, forecast.by_hour.len()), (4, 2), "{forecast:?}");

        town.wish("apart", "ann", Wish::Start).await.unwrap();
        town.until_written("apart", 4).await;
        town.until_hits(2).await;
        let end = Instant::now() + Duration::from_secs(20);
        let held = async || {
            let rows = town.office.store.recipients(&name("apart"), 0, 4).await.unwrap();
            rows.iter().filter(|row| row.reason == Some(Reason::QuietHours)).count()
        };
        while held().await < 2 {
            assert!(Instant::now() < end, "they are held until they wake");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(town.hits(), 2);
        town.close().await;
    }
}

/// Without a pace too those of a wave who sleep have theirs before anybody of the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_wave_that_sleeps_is_waited_for() {
    for postgres in BOTH {
        let town = Town::open_with(postgres, by_day).await;
        let (day, night) = (where_it_is(12), where_it_is(2));
        let rows = (1..=6).map(|n| {
            let (tags, zone) = if n <= 3 { ("risk-1", &night) } else { ("", &day) };
            format!("P{n},{},en,{zone},{tags}\n", number(n))
        });
        let text = format!("patient_id,sms,language,timezone,tags\n{}", rows.collect::<String>());
        let waves = json!({"canary": 0, "waves": [{"tags": ["risk-1"]}, {"gap_minutes": 60}]});
        town.office.create(&plan("waves", waves), "ann").await.unwrap();
        town.bring("waves", &text).await;
        let forecast = town.office.dry_run(&name("waves")).await.unwrap();
        let hours: Vec<_> = forecast.by_hour.keys().collect();
        assert_eq!(forecast.by_hour.values().copied().collect::<Vec<_>>(), [3, 3], "{hours:?}");

        town.wish("waves", "ann", Wish::Start).await.unwrap();
        let asleep = async || {
            let rows = town.office.store.recipients(&name("waves"), 0, 3).await.unwrap();
            rows.iter().filter(|row| row.ready_at > jiff::Timestamp::now()).count()
        };
        let end = Instant::now() + Duration::from_secs(20);
        while asleep().await < 3 {
            assert!(Instant::now() < end, "they are ready when they wake");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        let row = town.row("waves").await;
        assert_eq!((row.state, row.wave, row.expanded, town.hits()), (CampaignState::Running, 0, 0, 0));
        town.close().await;
    }
}

/// A message expires so long after it is written, and it is written when its turn comes: nobody is left out for having it
/// later than that.
#[tokio::test(flavor = "multi_thread")]
async fn whose_turn_is_far_away_is_written_to_all_the_same() {
    let town = Town::open(false).await;
    let more = json!({"canary": 0, "pace": {"per_hour": 1}, "template": "vaccine-invitation",
        "data": {"vaccine": "influenza", "free": true, "until": "2036-12-18"}});
    town.office.create(&plan("slow", more), "ann").await.unwrap();
    // More hours than the week after which an invitation expires.
    let text = people(1, 200);
    town.bring("slow", &text).await;
    let forecast = town.office.dry_run(&name("slow")).await.unwrap();
    assert_eq!((forecast.would_get, forecast.excluded.len()), (200, 0), "{forecast:?}");
    town.close().await;
}

/// Where the plan names no place, its source's writes, and where that has none, each patient's own: by its clock it is ten.
#[tokio::test(flavor = "multi_thread")]
async fn ten_in_the_morning_is_so_at_the_place_that_writes() {
    for of_source in [true, false] {
        let town = Town::open_with(false, |config| {
            config.sites[0].timezone = TimeZone::get("Pacific/Honolulu").unwrap();
            config.sources[0].site = of_source.then(|| config.sites[0].id.clone());
        })
        .await;
        let mut asked = plan("ten", json!({"canary": 0, "start": {"local": "2036-11-20T10:00"}}));
        asked.site = None;
        town.office.create(&asked, "ann").await.unwrap();
        let own = if of_source { "" } else { "lakeside-north" };
        town.bring("ten", &format!("patient_id,sms,site\nP1,{},{own}\n", number(1))).await;
        let first = town.office.dry_run(&name("ten")).await.unwrap().first_send_at;
        assert_eq!(first, Some("2036-11-20T20:00:00Z".parse().unwrap()), "of the source: {of_source}");
        town.wish("ten", "ann", Wish::Start).await.unwrap();
        town.until_written("ten", 1).await;
        let rows = town.office.store.recipients(&name("ten"), 0, 1).await.unwrap();
        assert_eq!(Some(rows[0].ready_at), first);
        town.close().await;
    }
}
