//! The right person at the right time, walked through the whole house.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use outreachd::dispatch::explain;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Reason, Recipient};
use outreachd::simulator::{ProviderKind, SimulatorConfig};
use outreachd::store::rows::{Counts, MessageFilter, MessageRow};
use serde_json::{Value, json};

use crate::support::house::{House, job, of, patient};

/// A house that counts and keeps hours, by no rule but the patients' own.
async fn house() -> House {
    House::open_with(SimulatorConfig::default(), |config| {
        config.policy.cap.per_day = 1;
        config.policy.cap.per_week = 3;
        config.policy.hours.disturbing = vec![Channel::Sms, Channel::Voice];
        config.policy.hours.rules.clear();
    })
    .await
}

async fn row(house: &House, id: &str) -> MessageRow {
    let filter = MessageFilter { limit: 100, ..MessageFilter::default() };
    let rows = house.store.messages(&filter).await.unwrap();
    rows.into_iter().find(|row| row.facts.job_id.as_str() == id).unwrap()
}

/// Quiet since an hour ago and for two more, by her own clock.
fn asleep(id: &str) -> Value {
    let clock = |hours: i64| {
        let at = Timestamp::now() + SignedDuration::from_hours(hours);
        at.to_zoned(TimeZone::get("America/Chicago").unwrap()).strftime("%H:%M").to_string()
    };
    let mut patient = patient(id, "sms", "+13125550142");
    patient["quiet_hours"] = json!({ "start": clock(-1), "end": clock(2) });
    patient
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_text_of_a_day_waits_and_a_mail_does_not_count() {
    let house = house().await;
    let mut mailed = patient("P2", "email", "ana@example.org");
    mailed["contacts"] = json!([{"channel": "email", "address": "ana@example.org"}]);
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142"), mailed]).await;
    house.publish("job", &[job("a", "P1")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    house.publish("job", &[job("b", "P1"), job("c", "P2"), job("d", "P2")]).await;
    house.until_status(MessageStatus::Sent, 3).await;
    house.until_status(MessageStatus::Held, 1).await;
    let held = row(&house, "b").await;
    assert_eq!((held.status, held.reason), (MessageStatus::Held, Some(Reason::FrequencyCap)));
    let told = held.explanation.unwrap();
    assert!(told.contains("1 of 1 today, 1 of 3 in seven days"), "{told}");
    assert!(held.due_at.unwrap() > Timestamp::now(), "until tomorrow");
    house.close().await;
}

/// Three workers, and fifty jobs for one patient at once: what they may not send, none of them does.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_jobs_at_once_never_cross_a_cap() {
    let mut house = House::open_with(SimulatorConfig::default(), |config| {
        config.policy.cap.per_day = 3;
        config.policy.cap.per_week = 3;
    })
    .await;
    house.start().await;
    house.start().await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<Value> = (0..50).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    let waits = |counts: &Counts| {
        let held = counts.messages.iter().filter(|m| m.reason == Some(Reason::FrequencyCap));
        held.map(|m| m.count).sum::<u64>() == 47 && of(counts, MessageStatus::Sent) == 3
    };
    house.until("3 sent, and 47 that wait for another day", waits).await;
    assert_eq!(house.simulator.stats().of(ProviderKind::TwilioSms).hits, 3, "at the provider, too");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_is_not_woken() {
    let house = house().await;
    house.publish("patient.upsert", &[asleep("P1")]).await;
    house.publish("job", &[job("a", "P1")]).await;
    // Two queues have no order between them: she may be unknown for a moment.
    let asleep = |counts: &Counts| counts.messages.iter().any(|m| m.reason == Some(Reason::QuietHours));
    house.until("a message that waits for the morning", asleep).await;
    let held = row(&house, "a").await;
    assert_eq!((held.status, held.reason), (MessageStatus::Held, Some(Reason::QuietHours)));
    let wait = held.due_at.unwrap().duration_since(Timestamp::now());
    assert!(wait > SignedDuration::from_mins(110) && wait < SignedDuration::from_mins(135), "{wait}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mother_reads_what_is_about_her_child() {
    let house = house().await;
    let mut child = patient("P1", "sms", "+13125550142");
    child["birth_date"] = json!("2019-05-01");
    child["proxies"] = json!([{"patient_id": "P2", "relationship": "mother", "authority": "guardian",
        "mode": "instead", "purposes": ["*"]}]);
    let mut mother = patient("P2", "email", "mother@example.org");
    mother["name"] = json!({"given": "Rosa", "family": "López"});
    mother["language"] = json!("es");
    house.publish("patient.upsert", &[mother, child]).await;
    house.publish("job", &[job("a", "P1")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    let sent = row(&house, "a").await;
    assert_eq!(sent.channel, Some(Channel::Email), "hers, not the child's number");
    assert!(sent.explanation.unwrap().contains(r#""recipient":"proxy""#));
    let events = house.store.attempts(sent.facts.id).await.unwrap();
    assert_eq!(events[0].locale, "es", "in her language");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cares_for_somebody_reads_along() {
    let house = house().await;
    let mut mother = patient("P1", "sms", "+13125550142");
    let luis = json!({"name": {"given": "Luis"}, "language": "es", "timezone": "America/Chicago",
        "contacts": [{"channel": "email", "address": "luis@example.org"}]});
    mother["proxies"] = json!([
        {"person": luis, "authority": "caregiver", "mode": "also", "purposes": ["appointment"]},
        {"patient_id": "P2", "authority": "caregiver", "mode": "also", "purposes": ["*"]},
        {"patient_id": "P3", "authority": "caregiver", "mode": "also", "purposes": ["billing"]},
    ]);
    // One of them sleeps.
    let mut daughter = asleep("P2");
    daughter["contacts"] = json!([{"channel": "sms", "address": "+13125550177"}]);
    house.publish("patient.upsert", &[daughter, patient("P3", "sms", "+13125550178"), mother]).await;
    house.publish("job", &[job("a", "P1")]).await;
    house.until_status(MessageStatus::Sent, 2).await;
    house.until_status(MessageStatus::Held, 1).await;

    let filter = MessageFilter { limit: 100, ..MessageFilter::default() };
    let rows = house.store.messages(&filter).await.unwrap();
    assert_eq!(rows.len(), 3, "nobody else");
    let original = rows.iter().find(|row| row.copy_of.is_none()).unwrap();
    let explained = explain(house.store.as_ref(), original.facts.id).await.unwrap().unwrap();
    assert_eq!((original.channel, explained.copies.len()), (Some(Channel::Sms), 2));
    assert!(explained.to_text().contains("held (quiet_hours)"), "{}", explained.to_text());
    for copy in rows.iter().filter(|row| row.copy_of == Some(original.facts.id)) {
        let told = explain(house.store.as_ref(), copy.facts.id).await.unwrap().unwrap().to_text();
        assert!(told.contains("a proxy, beside the patient") && told.contains("copy of"), "{told}");
        match copy.status {
            MessageStatus::Sent => {
                let attempts = house.store.attempts(copy.facts.id).await.unwrap();
                let to = (attempts[0].channel, attempts[0].recipient, attempts[0].locale.as_str());
                assert_eq!(to, (Channel::Email, Recipient::Proxy, "es"), "his mail, in his language");
            }
            _ => assert_eq!(copy.reason, Some(Reason::QuietHours), "she is asleep"),
        }
    }
    // What is taken back is taken back from whoever has not read it yet.
    let cancel = json!({"action": "cancel", "source": "lakeside-ehr", "id": "a", "reason": "visit moved"});
    house.publish("job.cancel", &[cancel]).await;
    house.until_status(MessageStatus::Cancelled, 1).await;
    house.close().await;
}
