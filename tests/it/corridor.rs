//! One message's walk through the whole house: RabbitMQ in, PostgreSQL, a provider on the wire, and an event out.

use std::collections::HashSet;
use std::time::Duration;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use outreachd::broker::{ExchangeRole, Prefix};
use outreachd::config::Config;
use outreachd::config::limits::Cost;
use outreachd::config::money::Money;
use outreachd::config::secret::Secret;
use outreachd::domain::ids::SiteId;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Reason, WorkKind};
use outreachd::simulator::{Faults, NumberRule, ProviderKind, Simulator, SimulatorConfig};
use outreachd::store::StoreError;
use outreachd::store::rows::{Counts, HoldScope, MessageFilter};
use reqwest::Url;
use serde_json::json;
use sqlx::PgPool;

use crate::broker::foreign_channel;
use crate::proof::drain::phone;
use crate::store::make::hold;
use crate::support::house::{House, job, of, patient};
use crate::support::measure;
use crate::support::proxy::{Link, TcpProxy};
use crate::support::shared::{TestDatabase, amqp_url};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_becomes_a_message_on_the_preferred_channel() {
    let house = House::open(SimulatorConfig::default(), "").await;
    let both = json!({
        "id": "P1", "updated_at": "2026-11-20T08:00:00Z", "language": "es", "preferred_channels": ["email", "sms"],
        "contacts": [{"channel": "sms", "address": "+13125550142"}, {"channel": "email", "address": "ana@example.org"}],
    });
    house.publish("patient.upsert", &[both, patient("P2", "voice", "+13125550143")]).await;
    house
        .publish(
            "patient.upsert",
            &[patient("P3", "portal", "Patient/42"), patient("P4", "sms", "+13125550144")],
        )
        .await;
    let jobs: Vec<_> = (1..=4).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;

    let counts = house.until_status(MessageStatus::Sent, 4).await;
    assert_eq!(of(&counts, MessageStatus::Sent), 4);
    let stats = house.simulator.stats();
    for kind in ProviderKind::ALL {
        assert_eq!(stats.of(kind).hits, 1, "{kind:?}");
    }
    house.until("an empty outbox", |c| c.outbox == 0).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_unknown_at_first_is_waited_for() {
    let house = House::open(SimulatorConfig::default(), "").await;
    house.publish("job", &[job("early", "P1")]).await;
    house.until_status(MessageStatus::Held, 1).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    house.close().await;
}

/// What they have said may forbid every message: while it cannot be read, nothing is sent to them, and others get theirs.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_on_a_record_that_cannot_be_read() {
    let database = TestDatabase::migrated().await;
    let sql = PgPool::connect(&database.url()).await.unwrap();
    let house = House::open_on(SimulatorConfig::default(), database, |_| ()).await;
    let mut refused = patient("P1", "sms", "+13125550142");
    refused["consents"] = json!([{ "granted": false, "at": "2026-11-20T08:00:00Z", "source": "patient" }]);
    house.publish("patient.upsert", &[refused, patient("P2", "sms", "+13125550143")]).await;
    house.publish("job", &[job("before", "P2")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    let known = async || sqlx::query("SELECT 1 FROM patients WHERE id = 'P1'").fetch_optional(&sql).await;
    while known().await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let keep = "CREATE TABLE kept AS SELECT document FROM patients WHERE id = 'P1'";
    let cut = "UPDATE patients SET document = substr(document, 1, 40) WHERE id = 'P1'";
    for statement in [keep, cut] {
        sqlx::query(statement).execute(&sql).await.unwrap();
    }
    let mut brought = job("brought", "P1");
    brought.as_object_mut().unwrap().remove("patient_id");
    brought["patient"] = json!({"id": "P1", "contacts": [{"channel": "sms", "address": "+13125550144"}]});
    house.publish("job", &[job("known", "P1"), brought]).await;
    house.publish("job", &(0..20).map(|n| job(&format!("j{n}"), "P2")).collect::<Vec<_>>()).await;
    house.until_status(MessageStatus::Sent, 21).await;
    house
        .until("two held", |c| of(c, MessageStatus::Held) == 2 && c.work == [(WorkKind::PlanExhausted, 2)])
        .await;
    for statement in [
        "UPDATE patients SET document = (SELECT document FROM kept) WHERE id = 'P1'",
        "UPDATE messages SET due_at = now() WHERE reason = 'malformed'",
    ] {
        sqlx::query(statement).execute(&sql).await.unwrap();
    }
    house.until_status(MessageStatus::Suppressed, 2).await;
    assert_eq!(house.simulator.hits().len(), 21);
    sql.close().await;
    house.close().await;
}

/// The results of a moment are written together: one that the ledger will not take holds up no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_ledger_refuses_holds_up_no_other() {
    let database = TestDatabase::migrated().await;
    let sql = PgPool::connect(&database.url()).await.unwrap();
    let house = House::open_on(SimulatorConfig::default(), database, |_| ()).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    for statement in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT 1 FROM messages WHERE id = NEW.message_id AND job_id = 'j7') THEN
                RAISE check_violation; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER refuse BEFORE UPDATE ON attempts FOR EACH ROW WHEN (NEW.status = 'sent') EXECUTE FUNCTION refuse()",
    ] {
        sqlx::query(statement).execute(&sql).await.unwrap();
    }
    house.publish("job", &(0..20).map(|n| job(&format!("j{n}"), "P1")).collect::<Vec<_>>()).await;
    house.until_status(MessageStatus::Sent, 19).await;
    // Nobody has written what became of it: once its lease has ended, it is unknown.
    let over = "UPDATE leases SET until = now() WHERE token = (SELECT lease_token FROM messages WHERE job_id = 'j7')";
    sqlx::query(over).execute(&sql).await.unwrap();
    house.until_status(MessageStatus::Unknown, 1).await;
    house.publish("job", &[job("after", "P1")]).await;
    house.until_status(MessageStatus::Sent, 20).await;
    assert_eq!(house.simulator.hits().len(), 21);
    sql.close().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_at_the_wire() {
    let house = House::open_with(SimulatorConfig::default(), |config| {
        for provider in &mut config.providers {
            provider.limits = vec![outreachd::config::provider::Limit {
                count: 50,
                per: outreachd::config::provider::Period::Second,
                per_sender: false,
            }];
        }
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..250).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Sent, 250).await;
    let times: Vec<u64> = house.simulator.hits().iter().map(|h| h.at_us).collect();
    let worst = measure::worst_sliding_second(&times);
    // The sink shares this machine with the rest of the tests: what it sees may be a timer late. The exact figure is
    // taken on a quiet machine, by tests/proof.
    assert!(worst <= 52, "{worst} in one second");
    let took = (times.iter().max().unwrap() - times.iter().min().unwrap()) as f64 / 1e6;
    assert!(took < 250.0 / 50.0 * 1.5, "used too little of the limit: {took} s");
    house.close().await;
}

/// One subscriber's queue is full and says so: the broker confirms nothing that goes there, and all others get it each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_takes_no_more_costs_the_others_few_repeats() {
    let house = House::open(SimulatorConfig::default(), "").await;
    let (_connection, channel) = foreign_channel(&amqp_url()).await;
    let prefix = Prefix::parse(&house.config.amqp.as_ref().unwrap().prefix).unwrap();
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let queue = |word: &str| format!("{}.{word}", prefix.as_str());
    for (word, arguments) in [("full", full), ("well", FieldTable::default())] {
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        channel.queue_declare(queue(word).into(), options, arguments).await.unwrap();
        let (exchange, key) = (ExchangeRole::Events.name(&prefix), "#".into());
        let options = QueueBindOptions::default();
        channel
            .queue_bind(queue(word).into(), exchange.into(), key, options, FieldTable::default())
            .await
            .unwrap();
    }
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..100).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Sent, 100).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let passive = QueueDeclareOptions { passive: true, exclusive: true, ..Default::default() };
    let well = channel.queue_declare(queue("well").into(), passive, FieldTable::default()).await.unwrap();
    let (came, told) = (well.message_count(), house.store.counts().await.unwrap().outbox);
    assert!(told >= 90, "{told} events wait for the one that is full");
    assert!((100..1_000).contains(&came), "the other one got {came}");
    house.close().await;
}

/// Texts of two segments, behind one another, while the limit is used up: each leaves at its first try, as soon as the limit
/// has room for it.
#[tokio::test(flavor = "multi_thread")]
async fn long_texts_leave_under_a_limit_at_their_first_try() {
    for (count, texts, seconds) in [(1, 2, 9.0), (4, 5, 6.5), (10, 10, 5.5), (50, 40, 5.0)] {
        let house = House::open_with(SimulatorConfig::default(), |config| {
            for provider in &mut config.providers {
                let per = outreachd::config::provider::Period::Second;
                provider.limits = vec![outreachd::config::provider::Limit { count, per, per_sender: false }];
            }
        })
        .await;
        let mut person = patient("P1", "sms", "+13125550142");
        person["language"] = json!("es");
        house.publish("patient.upsert", &[person, patient("P2", "sms", "+13125550143")]).await;
        let started = tokio::time::Instant::now();
        let long = |n: u32| {
            let mut long = job(&format!("long-{n}"), "P1");
            long["data"]["practitioner"] =
                json!("Dr. ".to_owned() + &"Fernandez Castellanos ".repeat(2) + "de la Rosa");
            long
        };
        // Short ones between them use what is left.
        let jobs: Vec<_> = (0..texts).flat_map(|n| [long(n), job(&format!("short-{n}"), "P2")]).collect();
        house.publish("job", &jobs).await;
        house.until_status(MessageStatus::Sent, u64::from(texts) * 2).await;
        let took = started.elapsed().as_secs_f64();
        assert!(took < seconds, "{count} a second: {took} s");
        let filter = MessageFilter { limit: 200, ..MessageFilter::default() };
        for row in house.store.messages(&filter).await.unwrap() {
            let tries = house.store.attempts(row.facts.id).await.unwrap();
            if row.facts.job_id.as_str().starts_with("long") {
                assert_eq!((tries.len(), tries[0].segments), (1, 2), "{count} a second: {tries:?}");
            }
        }
        assert_eq!(house.simulator.hits().len(), usize::try_from(texts).unwrap() * 2);
        house.close().await;
    }
}

/// A text takes more of the limit than there is in a minute. It leaves with the first slot, and the next minutes are paid
/// for: nothing else leaves in them.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_two_segments_leaves_under_a_limit_of_one_a_minute() {
    let house = House::open_with(SimulatorConfig::default(), |config| {
        for provider in &mut config.providers {
            let (count, per) = (1, outreachd::config::provider::Period::Minute);
            provider.limits = vec![outreachd::config::provider::Limit { count, per, per_sender: false }];
        }
    })
    .await;
    let mut person = patient("P1", "sms", "+13125550142");
    person["language"] = json!("es");
    house.publish("patient.upsert", &[person]).await;
    let mut long = job("long", "P1");
    long["data"]["practitioner"] =
        json!("Dr. ".to_owned() + &"Fernandez Castellanos ".repeat(2) + "de la Rosa");
    house.publish("job", &[long]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    house.publish("job", &[job("next", "P1")]).await;
    house.until("the next one in hand", |c| of(c, MessageStatus::Accepted) == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let hits = house.simulator.hits();
    assert_eq!(hits.len(), 1, "{hits:?}");
    let filter = MessageFilter { limit: 2, ..MessageFilter::default() };
    let rows = house.store.messages(&filter).await.unwrap();
    let first = rows.iter().find(|row| row.facts.job_id.as_str() == "long").unwrap();
    assert_eq!(house.store.attempts(first.facts.id).await.unwrap()[0].segments, 2);
    house.close().await;
}

/// A database with a network in between, and its URL on this side and beyond.
async fn behind_a_proxy() -> (TestDatabase, TcpProxy, Secret, Url) {
    let database = TestDatabase::migrated().await;
    let url = Url::parse(&database.url()).unwrap();
    let proxy = TcpProxy::start(([127, 0, 0, 1], url.port().unwrap()).into()).await;
    let mut through = url.clone();
    through.set_port(Some(proxy.address().port())).unwrap();
    (database, proxy, Secret::new(through.as_str()), url)
}

/// The network forgets the connections to the ledger and tells nobody: neither end would ever notice by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_falls_silent_is_given_up_and_reached_again() {
    let (database, proxy, through, _) = behind_a_proxy().await;
    let house = House::open_on(SimulatorConfig::default(), database, |config| {
        config.store.url = through;
        config.store.statement_timeout = Duration::from_secs(1);
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    house.publish("job", &[job("before", "P1")]).await;
    house.until_status(MessageStatus::Sent, 1).await;

    proxy.set(Link::HalfOpen);
    house.publish("job", &[job("meanwhile", "P1")]).await;
    let limit = Duration::from_secs(15);
    let hold = hold(HoldScope::Provider, "sim-voice");
    let asked = async { tokio::join!(house.store.ping(), house.store.place_hold(&hold)) };
    let (read, written) = tokio::time::timeout(limit, asked).await.expect("no answer is an answer");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    proxy.set(Link::Forward);
    house.until_status(MessageStatus::Sent, 2).await;
    assert_eq!(house.simulator.hits().len(), 2);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_ledger_costs_no_message_its_slot() {
    let (database, proxy, through, url) = behind_a_proxy().await;
    let house = House::open_on(SimulatorConfig::default(), database, |config| {
        config.store.url = through;
        for provider in &mut config.providers {
            provider.limits = vec![outreachd::config::provider::Limit {
                count: 50_000,
                per: outreachd::config::provider::Period::Second,
                per_sender: false,
            }];
        }
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    house.publish("job", &[job("first", "P1")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    // An answer takes longer than a slot is good for.
    proxy.set(Link::Latency(Duration::from_millis(8)));
    let jobs: Vec<_> = (0..400).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Sent, 401).await;
    proxy.set(Link::Forward);
    let sql = PgPool::connect(url.as_str()).await.unwrap();
    let attempts: i64 = sqlx::query_scalar("SELECT count(*) FROM attempts").fetch_one(&sql).await.unwrap();
    assert_eq!(attempts, 401, "some were written down and did not leave in time");
    sql.close().await;
    house.close().await;
}

/// A house with two providers for each channel, each with an outside of its own.
async fn with_backups(settings: SimulatorConfig) -> (House, Simulator) {
    with_changed_backups(settings, |_| ()).await
}

async fn with_changed_backups(
    settings: SimulatorConfig,
    change: impl FnOnce(&mut Config),
) -> (House, Simulator) {
    let backup = Simulator::start(settings.clone()).await.unwrap();
    let more = backup.providers("backup").unwrap();
    let house = House::open_with(settings, |config| {
        config.providers.extend(more);
        config.policy.retry.first_delay = Duration::from_millis(200);
        for provider in &mut config.providers {
            provider.breaker.cool_down = Duration::from_millis(500);
            provider.breaker.cool_down_max = Duration::from_secs(1);
        }
        change(config);
    })
    .await;
    (house, backup)
}

/// Texts that came to this outside.
fn texts(simulator: &Simulator) -> u64 {
    simulator.stats().of(ProviderKind::TwilioSms).hits
}

/// So many people, and a text for each of them.
async fn publish_texts(house: &House, many: usize) {
    // Neighbours among the numbers mostly have the same provider.
    let people = (0..many).map(|n| patient(&format!("P{n}"), "sms", &phone(n * 137)));
    house.publish("patient.upsert", &people.collect::<Vec<_>>()).await;
    let jobs: Vec<_> = (0..many).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
}

/// Numbers of a dear country, asked for by whoever earns by them: two workers, and a provider that turns some away.
#[tokio::test(flavor = "multi_thread")]
async fn a_days_budget_is_never_crossed_and_what_costs_nothing_flows() {
    let (price, budget) = (100_000, 1_000_000);
    let mut house = House::open_with(SimulatorConfig::default(), |config| {
        config.limits.countries = vec!["US".to_owned(), "CA".to_owned()];
        let dear = Cost { per_segment: Money { micros: price }, ..Cost::default() };
        config.limits.by_country.insert("CA".to_owned(), dear);
        config.limits.budget_per_day.total = Some(Money { micros: budget });
    })
    .await;
    house.start().await;
    let some = Faults { unavailable: 0.2, ..Faults::default() };
    house.simulator.set_faults(Some(ProviderKind::TwilioSms), &some).unwrap();
    let dear = (0..40).map(|n| patient(&format!("P{n}"), "sms", &format!("+1416555{:04}", 100 + n)));
    house.publish("patient.upsert", &dear.collect::<Vec<_>>()).await;
    let free = [patient("P40", "email", "ana@example.org"), patient("P41", "sms", "+13125550142")];
    house.publish("patient.upsert", &free).await;
    let jobs: Vec<_> = (0..42).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;

    // What was turned away once, and finds the budget spent when it is tried again, stands where it stood.
    let over = |counts: &Counts| {
        let over = counts.messages.iter().filter(|m| m.reason == Some(Reason::OverBudget));
        over.map(|m| m.count).sum::<u64>()
    };
    let at_rest = |counts: &Counts| of(counts, MessageStatus::Sent) + over(counts) == 42;
    let counts = house.until("all to be sent or over the budget", at_rest).await;
    let sent = house.store.messages(&MessageFilter { limit: 50, ..MessageFilter::default() }).await.unwrap();
    let (mut spent, mut one) = (0, 0);
    for row in &sent {
        let free = ["P40", "P41"].contains(&row.facts.patient_id.as_str());
        match row.status {
            MessageStatus::Sent if !free => {
                let attempts = house.store.attempts(row.facts.id).await.unwrap();
                one = u64::from(attempts.last().unwrap().segments) * price;
                spent += one;
            }
            MessageStatus::Sent => {}
            _ => assert_eq!((free, row.reason), (false, Some(Reason::OverBudget)), "{row:?}"),
        }
    }
    assert!(spent <= budget && spent + one > budget, "{spent} of {budget} by {one}: {counts:?}");
    let taken = house.simulator.hits().iter().filter(|hit| hit.taken).count();
    assert_eq!(
        taken,
        usize::try_from(of(&counts, MessageStatus::Sent)).unwrap(),
        "nothing left that nobody pays"
    );
    house.close().await;
}

/// Far fewer than open a breaker: the pause is for the provider, not for the patient. Where the other one takes nothing
/// either, it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_does_not_take_goes_by_the_other_at_once() {
    let down = Faults { unavailable: 1.0, ..Faults::default() };
    let slow_down = Faults { throttled: 1.0, retry_after_s: Some(3_600), ..Faults::default() };
    for faults in [down, slow_down] {
        let patience = |config: &mut Config| config.policy.retry.first_delay = Duration::from_secs(600);
        let (house, backup) = with_changed_backups(SimulatorConfig::default(), patience).await;
        house.simulator.set_faults(Some(ProviderKind::TwilioSms), &faults).unwrap();
        publish_texts(&house, 8).await;
        house.until_status(MessageStatus::Sent, 8).await;
        let failed = texts(&house.simulator);
        assert!((1..=8).contains(&failed), "{failed} failed, of {faults:?}");
        assert_eq!(texts(&backup), 8);
        house.close().await;

        let (house, backup) = with_changed_backups(SimulatorConfig::default(), patience).await;
        for simulator in [&house.simulator, &backup] {
            simulator.set_faults(Some(ProviderKind::TwilioSms), &faults).unwrap();
        }
        publish_texts(&house, 4).await;
        house.until("all of them tried", |counts| of(counts, MessageStatus::Sending) == 4).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let tried = texts(&house.simulator) + texts(&backup);
        assert!((5..=8).contains(&tried), "{tried} tries, of {faults:?}");
        house.close().await;
    }
}

/// Whoever has used up the day's share gets nothing more; what nobody else carries waits for the next day.
#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_day_is_no_reason_to_wait_where_another_provider_serves() {
    let per_day = || {
        let (count, per) = (3, outreachd::config::provider::Period::Day);
        vec![outreachd::config::provider::Limit { count, per, per_sender: false }]
    };
    let (house, backup) = with_changed_backups(SimulatorConfig::default(), |config| {
        let own = config.providers.iter_mut().filter(|provider| provider.name.as_str() == "sim-sms");
        own.for_each(|provider| provider.limits = per_day());
    })
    .await;
    publish_texts(&house, 20).await;
    house.until_status(MessageStatus::Sent, 20).await;
    assert!((1..=3).contains(&texts(&house.simulator)), "{} within the limit", texts(&house.simulator));
    assert_eq!(texts(&house.simulator) + texts(&backup), 20);
    house.close().await;

    let house = House::open_with(SimulatorConfig::default(), |config| {
        config.providers.iter_mut().for_each(|provider| provider.limits = per_day());
    })
    .await;
    publish_texts(&house, 8).await;
    let paced = |counts: &Counts| {
        counts.messages.iter().filter(|m| m.reason == Some(Reason::Paced)).map(|m| m.count).sum::<u64>()
    };
    let counts = house.until("the rest to wait", |c| paced(c) + of(c, MessageStatus::Sent) == 8).await;
    assert!((1..=3).contains(&of(&counts, MessageStatus::Sent)), "{counts:?}");
    house.close().await;
}

/// What is given back goes before what has become due since.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_keeps_its_place() {
    let mut house = House::open_with(SimulatorConfig::default(), |config| {
        for provider in &mut config.providers {
            let (count, per) = (1, outreachd::config::provider::Period::Minute);
            provider.limits = vec![outreachd::config::provider::Limit { count, per, per_sender: false }];
        }
    })
    .await;
    publish_texts(&house, 4).await;
    house.until_status(MessageStatus::Sent, 1).await;
    // The next ones are in hand by then, and wait for their slots.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stopped = house.store.ping().await.unwrap();
    house.stop().await;
    let filter = MessageFilter { limit: 9, ..MessageFilter::default() };
    let mut rows = house.store.messages(&filter).await.unwrap();
    rows.retain(|row| row.status != MessageStatus::Sent);
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert!(row.due_at.is_some_and(|due| due < stopped), "{:?} is due at {:?}", row.facts.id, row.due_at);
    }
    house.close().await;
}

/// A backup that may not have what the other one carries could not take over from it: slow is better than never.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_provider_is_used_where_its_backup_may_not_have_what_it_carries() {
    let (house, backup) = with_changed_backups(SimulatorConfig::default(), |config| {
        for provider in &mut config.providers {
            provider.breaker.slow_after = Duration::from_millis(100);
            provider.baa = provider.name.as_str() != "backup-sms";
        }
    })
    .await;
    let slow = Faults { latency_ms: 250, ..Faults::default() };
    house.simulator.set_faults(Some(ProviderKind::TwilioSms), &slow).unwrap();
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..600).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    // Probes alone would take minutes.
    house.until_status(MessageStatus::Sent, 600).await;
    assert_eq!((texts(&house.simulator), texts(&backup)), (600, 0));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_recipient_is_tried_over_no_other_provider() {
    let refuse = |code| NumberRule { refuse: Some(code), ..NumberRule::default() };
    // Said STOP; a landline.
    let numbers = [(Phi::new("+13125550142"), refuse(21610)), (Phi::new("+13125550143"), refuse(21614))];
    let (house, backup) =
        with_backups(SimulatorConfig { numbers: numbers.into(), ..SimulatorConfig::default() }).await;
    let landline = json!({
        "id": "P2", "updated_at": "2026-11-20T08:00:00Z", "language": "en", "preferred_channels": ["sms", "email"],
        "contacts": [{"channel": "sms", "address": "+13125550143"}, {"channel": "email", "address": "ana@example.org"}],
    });
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142"), landline]).await;
    let jobs: Vec<_> = (0..40).map(|n| job(&format!("j{n}"), if n < 20 { "P1" } else { "P2" })).collect();
    house.publish("job", &jobs).await;
    // Once the carrier has said that they said STOP, it is on record, and what still waits is not tried any more.
    let done = |counts: &outreachd::store::rows::Counts| {
        of(counts, MessageStatus::Failed) + of(counts, MessageStatus::Suppressed) == 20
            && of(counts, MessageStatus::Sent) == 20
    };
    let counts = house.until("20 failed or suppressed, 20 sent by mail", done).await;
    let stopped = of(&counts, MessageStatus::Failed);
    let failed = counts.messages.iter().find(|m| m.status == MessageStatus::Failed).unwrap();
    assert_eq!(failed.reason, Some(Reason::OptedOut));
    let hits = |kind| house.simulator.stats().of(kind).hits + backup.stats().of(kind).hits;
    assert_eq!(
        (hits(ProviderKind::TwilioSms), hits(ProviderKind::Smtp)),
        (stopped + 20, 20),
        "each tried once"
    );
    for worker in house.store.workers().await.unwrap() {
        for lane in worker.state["lanes"].as_array().unwrap() {
            assert_eq!(lane["breaker"], "closed", "no fault of the provider: {lane}");
        }
    }
    house.close().await;
}

/// A provider that is taken out of service is no reason to wait while another one serves; a place that is stopped is
/// stopped for its patients, whether the job names it or not.
#[tokio::test(flavor = "multi_thread")]
async fn what_people_stop_is_what_stops() {
    let (house, backup) = with_backups(SimulatorConfig::default()).await;
    let people = (0..20).map(|n| patient(&format!("P{n}"), "sms", &format!("+131255501{n:02}")));
    let mut north = patient("north", "sms", "+13125550199");
    north["site"] = json!("lakeside-north");
    house.publish("patient.upsert", &people.chain([north]).collect::<Vec<_>>()).await;
    let (first, second) = (hold(HoldScope::Provider, "sim-sms"), hold(HoldScope::Provider, "backup-sms"));
    house.store.place_hold(&first).await.unwrap();
    let jobs =
        |name: &str| (0..20).map(|n| job(&format!("{name}-{n}"), &format!("P{n}"))).collect::<Vec<_>>();
    house.publish("job", &jobs("a")).await;
    house.until_status(MessageStatus::Sent, 20).await;
    let hits = |simulator: &Simulator| simulator.stats().of(ProviderKind::TwilioSms).hits;
    assert_eq!((hits(&house.simulator), hits(&backup)), (0, 20), "all of them by the other provider");

    house.store.place_hold(&second).await.unwrap();
    house.publish("job", &jobs("b")).await;
    let held = |counts: &Counts| {
        let held = counts.messages.iter().filter(|m| m.reason == Some(Reason::OperatorHold));
        held.map(|m| m.count).sum::<u64>()
    };
    house.until("20 that wait for a provider", |counts| held(counts) == 20).await;
    for hold in [&first, &second] {
        assert!(house.store.release_hold(hold.id, "u17", None).await.unwrap());
    }
    house.until_status(MessageStatus::Sent, 40).await;

    house.store.place_hold(&hold(HoldScope::Site, "lakeside-north")).await.unwrap();
    house.publish("job", &[job("c", "north"), job("d", "P1")]).await;
    house.until_status(MessageStatus::Sent, 41).await;
    house.until("one that waits for its site", |counts| held(counts) == 1).await;
    let filter =
        MessageFilter { site: SiteId::parse("lakeside-north"), limit: 9, ..MessageFilter::default() };
    let of_site = house.store.messages(&filter).await.unwrap();
    assert_eq!(of_site.iter().map(|row| row.facts.job_id.as_str()).collect::<Vec<_>>(), ["c"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_portal_may_have_waits_for_that_portal() {
    let (house, backup) = with_backups(SimulatorConfig::default()).await;
    let people: Vec<_> =
        (0..60).map(|n| patient(&format!("P{n}"), "portal", &format!("Patient/{n}"))).collect();
    house.publish("patient.upsert", &people).await;
    let lost = Faults { lost: 1.0, ..Faults::default() };
    house.simulator.set_faults(Some(ProviderKind::FhirPortal), &lost).unwrap();
    let jobs: Vec<_> = (0..60).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    // How many before its breaker opens is a matter of time.
    house.until_status(MessageStatus::Unknown, 5).await;
    house.until_status(MessageStatus::Sent, 25).await;
    house.simulator.set_faults(Some(ProviderKind::FhirPortal), &Faults::default()).unwrap();
    house.until_status(MessageStatus::Sent, 60).await;
    let keys = |hits: Vec<outreachd::simulator::Hit>| -> HashSet<String> {
        hits.iter().map(|hit| hit.send_key.as_ref().unwrap().as_str().to_owned()).collect()
    };
    let (own, other) = (keys(house.simulator.hits()), keys(backup.hits()));
    assert!(own.len() >= 5, "{} went out over the portal that fails", own.len());
    assert!(own.is_disjoint(&other), "a message was given to both portals");
    assert_eq!(own.len() + other.len(), 60);
    house.close().await;
}
