//! What is written before its time goes out in its time, by the pace, and with the texts that were approved.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outreachd::app::{self, Worker};
use outreachd::campaign::Wish;
use outreachd::dispatch::sign_off;
use outreachd::domain::campaign::{CampaignState, Pace, PaceUnit, PauseReason};
use outreachd::domain::ids::TemplateName;
use outreachd::domain::job::When;
use outreachd::domain::sign_off::Word;
use outreachd::domain::words::{Channel, PhiClass};
use serde_json::json;

use super::{BOTH, Town, name, number, people, plan};
use crate::support::copy_templates;

impl Town {
    /// Waits until so many messages are written.
    pub(super) async fn until_written(&self, id: &str, count: u64) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.row(id).await.expanded < count {
            assert!(Instant::now() < end, "waited in vain for {count} messages: {:?}", self.row(id).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Everybody's message is written before the start; a pause, a resume and a pace that come meanwhile send nobody's sooner,
/// and from the start on they go by the pace.
#[tokio::test(flavor = "multi_thread")]
async fn what_starts_later_is_written_at_once_and_sent_in_its_time() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let mut asked =
            plan("later", json!({"canary": 0, "auto_pause": {"error_percent": 100, "after": 1_000}}));
        let start = jiff::Timestamp::now() + Duration::from_millis(2_500);
        asked.start = Some(When::At(start));
        town.office.create(&asked, "ann").await.unwrap();
        town.bring("later", &people(1, 400)).await;
        town.wish("later", "ann", Wish::Start).await.unwrap();
        town.until_written("later", 400).await;
        assert_eq!(town.row("later").await.state, CampaignState::Running);
        town.wish("later", "ann", Wish::Pause).await.unwrap();
        town.wish("later", "ann", Wish::Resume).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(town.hits(), 0, "to go on is not to begin");
        let pace = Pace { count: 1_200, per: PaceUnit::Minute, hours: None };
        town.wish("later", "ann", Wish::Pace(Some(pace))).await.unwrap();
        town.until_hits(31).await;
        let hits = town.simulator.hits();
        assert!(hits[0].wall_us >= start.as_microsecond(), "nobody before the start");
        // Whoever is late on a busy machine goes out at once, so that the whole keeps its time.
        let span = hits[30].wall_us - start.as_microsecond();
        assert!(span >= 1_000_000, "20 a second: 31 took {span} us");
        town.close().await;
    }
}

/// Two workers, one of which has another text: what was approved is what everybody reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_other_templates_sends_none_of_it() {
    let town = Town::open_with(true, |config| config.campaigns.approval_above = 0).await;
    let folder = tempfile::tempdir().unwrap();
    copy_templates(folder.path());
    let mut config = (*town.office.config).clone();
    config.templates.dir = folder.path().to_owned();
    for text in ["sms.hbs", "sms.short.hbs"] {
        let text = config.templates.dir.join("appointment-reminder/en").join(text);
        let other = format!("Hi. {}", std::fs::read_to_string(&text).unwrap());
        std::fs::write(&text, other).unwrap();
    }

    let more = json!({"canary": 0, "pace": {"per_minute": 12_000}, "auto_pause": {"error_percent": 100, "after": 1_000}});
    town.office.create(&plan("said", more), "ann").await.unwrap();
    town.bring("said", &people(1, 300)).await;
    town.wish("said", "ann", Wish::Start).await.unwrap();
    town.wish("said", "bob", Wish::Approve(300, None)).await.unwrap();
    town.wish("said", "ann", Wish::Start).await.unwrap();
    town.until_hits(20).await;
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    assert_ne!(catalogue.current().bundle_hash(), town.office.catalogue.current().bundle_hash());
    let second = Worker::start(config.into(), town.office.store.clone(), catalogue).await.unwrap();
    town.until_hits(300).await;
    let mut texts: BTreeMap<String, usize> = BTreeMap::new();
    for hit in town.simulator.hits() {
        *texts.entry(serde_json::to_string(&hit.body).unwrap()).or_default() += 1;
    }
    assert_eq!(texts.len(), 1, "one text, which was approved: {texts:?}");
    second.stop().await;
    town.close().await;
}

/// A language that somebody signs off after the approval would be said to people who were to read another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_off_after_an_approval_is_approved_anew() {
    for postgres in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let templates = folder.path().to_owned();
        let town = Town::open_with(postgres, |config| {
            config.campaigns.approval_above = 0;
            copy_templates(&templates);
            let file = templates.join("appointment-reminder/template.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace("\"en\", \"es\", \"zh-Hans\"", "\"en\"")).unwrap();
            config.templates.dir = templates;
        })
        .await;
        let more = json!({"canary": 0, "pace": {"per_minute": 600}});
        town.office.create(&plan("said", more), "ann").await.unwrap();
        town.bring("said", &people(1, 300)).await;
        town.wish("said", "ann", Wish::Start).await.unwrap();
        town.wish("said", "bob", Wish::Approve(300, None)).await.unwrap();
        town.wish("said", "ann", Wish::Start).await.unwrap();
        town.until_hits(3).await;
        let (store, catalogue) = (town.office.store.as_ref(), &town.office.catalogue);
        let sign = |template: &'static str| async move {
            let template = TemplateName::parse(template).unwrap();
            let word = Word { template: &template, locale: "es", by: "ben", note: "read" };
            sign_off::sign_off(store, catalogue, &word, None).await.unwrap();
        };
        // Another template's texts are not its own.
        sign("vaccine-invitation").await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(town.row("said").await.state, CampaignState::Running);
        sign("appointment-reminder").await;
        assert_eq!(town.until("said", CampaignState::Paused).await.reason, Some(PauseReason::ApprovalVoid));
        town.wish("said", "bob", Wish::Approve(300, None)).await.unwrap();
        let row = town.wish("said", "ann", Wish::Resume).await.unwrap();
        assert_eq!(row.state, CampaignState::Running);
        let before = town.hits();
        town.until_hits(before + 3).await;
        assert_eq!(town.row("said").await.state, CampaignState::Running);
        town.close().await;
    }
}

/// Where an SMS may not say it, the dry run counts what will be sent: the portal's text first, and an SMS that points to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_foresees_that_the_portal_has_it_and_an_sms_says_so() {
    let town = Town::open_with(true, |config| {
        config.policy.phi.sms = PhiClass::Minimal;
        for site in &mut config.sites {
            site.portal_url = Some("https://portal.example.org".to_owned());
        }
    })
    .await;
    town.office.create(&plan("pointed", json!({})), "ann").await.unwrap();
    let mut rows = "patient_id,sms,portal,language,timezone\n".to_owned();
    for n in 1..=3 {
        let portal = if n < 3 { format!("Patient/P{n}") } else { String::new() };
        rows += &format!("P{n},{},{portal},en,America/Chicago\n", number(n));
    }
    town.bring("pointed", &rows).await;
    let forecast = town.office.dry_run(&name("pointed")).await.unwrap();
    assert_eq!((forecast.would_get, forecast.by_channel.get("portal")), (2, Some(&2)), "{forecast:?}");
    assert_eq!(forecast.excluded.values().sum::<u64>(), 1, "who has no portal gets nothing: {forecast:?}");
    let said: Vec<_> = forecast.samples.iter().map(|s| (s.channel, s.pointer, s.segments)).collect();
    let (Some(&(Channel::Sms, true, each)), 2) = (said.first(), said.len()) else { panic!("{said:?}") };
    assert_eq!(said[1], (Channel::Portal, false, 0));
    assert_eq!(forecast.segments, u64::from(each) * 2);
    let text = forecast.samples[0].text.as_ref().unwrap().expose().to_owned();
    assert!(text.contains("portal.example.org") && !text.contains("Chen"), "{text}");
    town.close().await;
}

/// A campaign without a place: each text comes from its patient's own, and the dry run shows it so.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_from_the_patients_own_place_as_the_campaign_does() {
    for postgres in BOTH {
        let town = Town::open_with(postgres, |config| config.sites[0].language = "es".to_owned()).await;
        let mut asked = plan("homes", json!({"canary": 0}));
        asked.site = None;
        town.office.create(&asked, "ann").await.unwrap();
        let rows = format!("patient_id,sms,site\nP1,{},lakeside-north\n", number(1));
        town.bring("homes", &rows).await;
        let forecast = town.office.dry_run(&name("homes")).await.unwrap();
        assert_eq!(forecast.by_language, BTreeMap::from([("es".to_owned(), 1)]), "{forecast:?}");
        let text = forecast.samples[0].text.as_ref().unwrap().expose().to_owned();
        assert!(text.starts_with("Lakeside North: "), "{text}");
        town.wish("homes", "ann", Wish::Start).await.unwrap();
        town.until_hits(1).await;
        let store = town.office.store.as_ref();
        let row = store.recipients(&name("homes"), 0, 1).await.unwrap().remove(0);
        let attempts = store.attempts(row.message_id.unwrap()).await.unwrap();
        assert_eq!(attempts[0].locale, "es");
        town.close().await;
    }
}

/// Offsets from UTC in hours of the zones of the United States, by hand: in winter, and in summer.
const ZONES: &[(&str, i64, i64)] = &[
    ("America/New_York", -5, -4),
    ("America/Detroit", -5, -4),
    ("America/Indiana/Indianapolis", -5, -4),
    ("America/Kentucky/Louisville", -5, -4),
    ("America/Chicago", -6, -5),
    ("America/North_Dakota/Center", -6, -5),
    ("America/Denver", -7, -6),
    ("America/Boise", -7, -6),
    ("America/Phoenix", -7, -7),
    ("America/Los_Angeles", -8, -7),
    ("America/Anchorage", -9, -8),
    ("America/Juneau", -9, -8),
    ("America/Adak", -10, -9),
    ("Pacific/Honolulu", -10, -10),
    ("America/Puerto_Rico", -4, -4),
    ("America/St_Thomas", -4, -4),
    ("Pacific/Guam", 10, 10),
    ("Pacific/Pago_Pago", -11, -11),
];

/// In the weeks in which the clocks change, everybody's message is due at ten where they live: on the Saturday before, on
/// that Sunday, and on the Monday after it.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_clocks_change_everybody_is_written_to_at_ten() {
    const DAYS: [(&str, bool); 6] = [
        ("2036-03-08", false),
        ("2036-03-09", true),
        ("2036-03-10", true),
        ("2036-11-01", true),
        ("2036-11-02", false),
        ("2036-11-03", false),
    ];
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let mut text = "patient_id,sms,language,timezone\n".to_owned();
        for ((zone, ..), n) in ZONES.iter().zip(1..) {
            text += &format!("P{n},{},en,{zone}\n", number(n));
        }
        for (day, summer) in DAYS {
            let id = format!("ten-{day}");
            let more = json!({"canary": 0, "start": {"local": format!("{day}T10:00")},
                "data": {"starts_at": "2036-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"}});
            town.office.create(&plan(&id, more), "ann").await.unwrap();
            town.bring(&id, &text).await;
            town.wish(&id, "ann", Wish::Start).await.unwrap();
            town.until_written(&id, u64::try_from(ZONES.len()).unwrap()).await;
            let rows = town.office.store.recipients(&name(&id), 0, 100).await.unwrap();
            for ((zone, winter_offset, summer_offset), row) in ZONES.iter().zip(&rows) {
                let offset = if summer { summer_offset } else { winter_offset };
                let ten: jiff::Timestamp = format!("{day}T10:00:00Z").parse().unwrap();
                let due = town.office.store.message(row.message_id.unwrap()).await.unwrap().unwrap().due_at;
                assert_eq!(due, Some(ten - jiff::SignedDuration::from_hours(*offset)), "{zone} on {day}");
            }
        }
        town.close().await;
    }
}
