//! Pointers over the wire: what may not be said there is in the portal first, and nothing of it goes anywhere else.

use std::path::Path;
use std::time::Duration;

use outreachd::config::provider::{Limit, Period};
use outreachd::dispatch::explain;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, PhiClass, Reason, SafetyMode};
use outreachd::simulator::{CallEnd, ProviderKind};
use serde_json::{Value, json};

use super::stories::{call, ruled};
use super::{calling_back, free_address, message, with_webhooks};
use crate::support::copy_templates;
use crate::support::house::{House, job, of};

const MACHINE: &str = "+13125550143";

/// The product's templates; the reminder leaves nothing on machines.
fn templates(dir: &Path) {
    copy_templates(&dir.join("templates"));
    for locale in ["en", "es", "zh-Hans"] {
        std::fs::remove_file(dir.join(format!("templates/appointment-reminder/{locale}/voicemail.hbs")))
            .unwrap();
    }
}

fn person(id: &str, language: &str, way: (&str, &str), portal: bool) -> Value {
    let mut contacts = vec![json!({"channel": way.0, "address": way.1})];
    if portal {
        contacts.push(json!({"channel": "portal", "address": format!("Patient/{id}")}));
    }
    json!({
        "id": id, "updated_at": "2026-11-20T08:00:00Z", "name": {"given": "Ana", "family": "López"},
        "language": language, "timezone": "America/Chicago", "site": "lakeside-north",
        "preferred_channels": [way.0], "contacts": contacts,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_said_there_is_in_the_portal_and_a_pointer_says_so() {
    let (dir, listen) = (tempfile::tempdir().unwrap(), free_address());
    templates(dir.path());
    let simulator = ruled(&[(MACHINE, call(CallEnd::Machine, ""))]);
    let house = House::open_with(calling_back(simulator, listen), |config| {
        with_webhooks(config, listen);
        config.templates.dir = dir.path().join("templates");
        config.policy.phi.email = PhiClass::Minimal;
        for site in &mut config.sites {
            site.portal_url = Some("https://portal.example.org".to_owned());
        }
        for provider in &mut config.providers {
            provider.baa = !matches!(provider.name.as_str(), "sim-sms" | "sim-voice");
        }
    })
    .await;
    let people = [
        person("P1", "en", ("sms", "+13125550141"), true),
        person("P2", "zh-Hans", ("sms", "+13125550142"), true),
        person("P3", "es", ("voice", MACHINE), true),
        person("P4", "en", ("email", "ana@example.org"), true),
        person("P5", "en", ("sms", "+13125550145"), false),
    ];
    house.publish("patient.upsert", &people).await;
    let jobs: Vec<Value> = (1..=5).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    house
        .until("three have it, one is mailed, one is left to people", |c| {
            of(c, MessageStatus::Delivered) == 3 && of(c, MessageStatus::Suppressed) == 1
        })
        .await;
    let mut mailed = message(&house, "j4").await;
    while mailed.1.last().is_none_or(|last| last.channel != Channel::Email || last.settled_at.is_none()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        mailed = message(&house, "j4").await;
    }
    assert_eq!(mailed.0.status, MessageStatus::Sent);

    use AttemptStatus::{Delivered, Sent};
    for (name, channel, status) in [
        ("j1", Channel::Sms, Delivered),
        ("j2", Channel::Sms, Delivered),
        ("j3", Channel::Voice, Delivered),
        ("j4", Channel::Email, Sent),
    ] {
        let (row, attempts) = message(&house, name).await;
        let seen: Vec<_> = attempts.iter().map(|a| (a.channel, a.status, a.pointer)).collect();
        assert_eq!(seen, [(Channel::Portal, Sent, false), (channel, status, true)], "{name}");
        assert!(attempts[0].settled_at.unwrap() <= attempts[1].begun_at, "{name}: the portal has it first");
        assert_eq!(row.due_at, None, "{name}");
    }
    let left = message(&house, "j5").await;
    assert_eq!((left.0.reason, left.1.len()), (Some(Reason::SensitiveContent), 0));

    let said = house.simulator.recent(100);
    let to = |address: &str| {
        let found = said.iter().find(|kept| kept.to.expose().contains(address)).unwrap();
        found.body.expose().to_owned()
    };
    assert_eq!(
        to("+13125550141"),
        "You have a new message from Lakeside North. Read it in the portal: https://portal.example.org \
         or call (312) 555-0100. Reply STOP to opt out."
    );
    assert_eq!(
        to("+13125550142"),
        "您有一条来自Lakeside North的新消息。请登录患者门户 https://portal.example.org 查看，或致电 (312) 555-0100。回复 STOP 退订。"
    );
    assert!(to(MACHINE).contains("mensaje nuevo"), "{}", to(MACHINE));
    for kept in &said {
        let told = kept.body.expose().contains("Chen");
        assert_eq!(
            told,
            kept.kind == ProviderKind::FhirPortal,
            "{}: {}",
            kept.kind.as_str(),
            kept.body.expose()
        );
    }

    let explained =
        explain(house.store.as_ref(), message(&house, "j1").await.0.facts.id).await.unwrap().unwrap();
    let text = explained.to_text();
    for line in [
        "way      sms to +***41: open, its text is limited, no provider of sms has a baa: a pointer to the portal",
        ": delivered, a pointer to the portal\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    house.close().await;
}

/// What is captured in a trial says no more than what is sent in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_with_listed_addresses_points_to_the_portal_too() {
    let listen = free_address();
    let house = House::open_with(calling_back(ruled(&[]), listen), |config| {
        with_webhooks(config, listen);
        config.safety.mode = SafetyMode::AllowList;
        config.safety.allow = vec![Phi::new("+13125550141"), Phi::new("Patient/P1")];
        for site in &mut config.sites {
            site.portal_url = Some("https://portal.example.org".to_owned());
        }
        for provider in &mut config.providers {
            provider.baa = provider.name.as_str() != "sim-sms";
        }
    })
    .await;
    let people = [
        person("P1", "en", ("sms", "+13125550141"), true),
        person("P2", "en", ("sms", "+13125550142"), true),
    ];
    house.publish("patient.upsert", &people).await;
    house.publish("job", &[job("listed", "P1"), job("captured", "P2")]).await;
    let out = |counts: &_| of(counts, MessageStatus::Sent) + of(counts, MessageStatus::Delivered);
    house.until("both are in the portal", |counts| out(counts) == 2).await;
    for (name, by) in [("listed", "sim-sms"), ("captured", "capture-sms")] {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let (row, attempts) = message(&house, name).await;
            let seen: Vec<_> = attempts.iter().map(|a| (a.channel, a.pointer)).collect();
            if attempts.len() == 2 && attempts.iter().all(|a| a.settled_at.is_some()) {
                assert_eq!(seen, [(Channel::Portal, false), (Channel::Sms, true)], "{name}");
                assert_eq!(attempts[1].provider.as_str(), by);
                break;
            }
            assert!(std::time::Instant::now() < end, "{name}: {row:?} {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let said = house.simulator.recent(100);
    assert!(said.iter().any(|kept| kept.to.expose() == "+13125550141"), "whoever is listed is told");
    assert!(said.iter().all(|kept| kept.to.expose() != "+13125550142"), "nobody else is");
    house.close().await;
}

/// What was planned when its text might be said there, and is not written yet, is planned anew when it may not any more.
#[tokio::test(flavor = "multi_thread")]
async fn templates_that_come_to_say_more_are_no_longer_said_there() {
    let dir = tempfile::tempdir().unwrap();
    templates(dir.path());
    let house = House::open_with(ruled(&[]), |config| {
        config.templates.dir = dir.path().join("templates");
        for site in &mut config.sites {
            site.portal_url = Some("https://portal.example.org".to_owned());
        }
        let sms = config.providers.iter_mut().find(|p| p.name.as_str() == "sim-sms").unwrap();
        sms.limits = vec![Limit { count: 4, per: Period::Second, per_sender: false }];
    })
    .await;
    let people: Vec<Value> =
        (10..30).map(|n| person(&format!("P{n}"), "en", ("sms", &format!("+131255501{n}")), true)).collect();
    house.publish("patient.upsert", &people).await;
    let jobs: Vec<Value> = (10..30).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    let hits = |kind: ProviderKind| house.simulator.hits().iter().filter(|hit| hit.kind == kind).count();
    while hits(ProviderKind::TwilioSms) < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(hits(ProviderKind::FhirPortal), 0, "it may be said there");
    let manifest = dir.path().join("templates/appointment-reminder/template.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("phi = \"limited\"", "phi = \"sensitive\"")).unwrap();
    assert!(house.catalogue().reload().unwrap());
    house.until("all are told", |counts| of(counts, MessageStatus::Sent) == 20).await;
    while hits(ProviderKind::TwilioSms) < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = house.simulator.recent(100);
    let sms = said.iter().filter(|kept| kept.kind == ProviderKind::TwilioSms);
    let before = sms.filter(|kept| kept.body.expose().contains("Chen")).count();
    assert!((3..12).contains(&before), "those that were written already, and no others: {before}");
    assert_eq!(hits(ProviderKind::FhirPortal), 20 - before, "the others have it in the portal");
    assert_eq!(hits(ProviderKind::TwilioSms), 20, "and each is told so");
    house.close().await;
}
