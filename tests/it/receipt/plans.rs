//! Plans over the wire: each step in its time, in the patient's order, until somebody has it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use outreachd::dispatch::explain;
use outreachd::domain::patience::Until;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Reason};
use outreachd::simulator::{CallEnd, SmsEnd};
use serde_json::{Value, json};

use super::stories::{call, ruled, sms};
use super::{calling_back, free_address, message, with_webhooks};
use crate::support::house::{House, job, of};

/// Waits that a test can wait for.
const PLAN: &str = r#"
[plan]
sms = { wait = "1s", until = "delivered" }
email = { wait = "60s", until = "answered" }
voice = { wait = "60s", until = "answered" }
portal = { wait = "60s", until = "answered" }
"#;

/// The product's templates, the reminder with a plan, and one for emergencies.
fn templates(dir: &Path) {
    let product = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
    };
    copy(&product, &dir.join("templates"));
    let reminder = dir.join("templates/appointment-reminder/template.toml");
    let text = std::fs::read_to_string(&reminder).unwrap();
    std::fs::write(&reminder, format!("{text}{PLAN}")).unwrap();
    let storm = dir.join("templates/storm");
    copy(&product.join("preferences-changed"), &storm);
    let text = std::fs::read_to_string(storm.join("template.toml")).unwrap();
    let text = text.replace("purposes = [\"care\"]", "purposes = [\"emergency\"]");
    std::fs::write(storm.join("template.toml"), format!("{text}\n[plan]\nmode = \"all\"\n")).unwrap();
}

fn person(id: &str, number: &str, preferred: &[&str]) -> Value {
    json!({
        "id": id, "updated_at": "2026-11-20T08:00:00Z", "language": "en", "timezone": "America/Chicago",
        "preferred_channels": preferred,
        "contacts": [{"channel": "voice", "address": number}, {"channel": "sms", "address": number},
            {"channel": "email", "address": format!("{}@example.org", id.to_lowercase())}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_goes_on_until_somebody_has_it_and_an_emergency_takes_every_way() {
    let (dir, listen) = (tempfile::tempdir().unwrap(), free_address());
    templates(dir.path());
    let mut silent = sms(SmsEnd::Silent, 30003);
    let answers = call(CallEnd::Human, "1");
    (silent.call, silent.keys) = (answers.call, answers.keys);
    let simulator = ruled(&[
        ("+13125550141", silent.clone()),
        ("+13125550142", sms(SmsEnd::Delivered, 30003)),
        ("+13125550143", silent.clone()),
        ("+13125550144", silent),
    ]);
    let house = House::open_with(calling_back(simulator, listen), |config| {
        with_webhooks(config, listen);
        config.templates.dir = dir.path().join("templates");
    })
    .await;
    let people = [
        person("P1", "+13125550141", &["sms", "voice"]),
        person("P2", "+13125550142", &["sms", "voice"]),
        person("P3", "+13125550143", &["email", "sms"]),
        person("P4", "+13125550144", &["sms", "email", "voice"]),
    ];
    house.publish("patient.upsert", &people).await;
    let storm = json!({
        "id": "storm", "source": "lakeside-ehr", "patient_id": "P4", "template": "storm", "data": {},
        "purpose": "emergency", "override_reason": "The clinic is closed by the storm",
    });
    let jobs = [job("called", "P1"), job("there", "P2"), job("taken-back", "P3"), storm];
    house.publish("job", &jobs).await;
    house.until("all four", |c| c.messages.iter().map(|m| m.count).sum::<u64>() == 4).await;
    let mut row = message(&house, "taken-back").await.0;
    while row.status != MessageStatus::Sent {
        tokio::time::sleep(Duration::from_millis(20)).await;
        row = message(&house, "taken-back").await.0;
    }
    let explained = explain(house.store.as_ref(), row.facts.id).await.unwrap().unwrap();
    assert_eq!((explained.next.unless, explained.next.channel), (Some(Until::Answered), Some(Channel::Sms)));
    let text = explained.to_text();
    assert!(
        text.contains("next     next_step over sms at ") && text.contains(", unless answered before"),
        "{text}"
    );
    assert!(text.contains("plan     the next way is taken unless it is answered within"), "{text}");

    let cancel = json!({"action": "cancel", "source": "lakeside-ehr", "id": "taken-back"});
    house.publish("job.cancel", &[cancel]).await;
    house
        .until("one there, both read", |c| {
            of(c, MessageStatus::Read) == 2 && of(c, MessageStatus::Delivered) == 1
        })
        .await;

    use AttemptStatus::{Delivered, Read, Sent};
    use Channel::{Email, Sms, Voice};
    for (name, status, reason, tried) in [
        ("called", MessageStatus::Read, None, &[(Sms, Sent), (Voice, Read)][..]),
        ("there", MessageStatus::Delivered, None, &[(Sms, Delivered)]),
        ("taken-back", MessageStatus::Sent, None::<Reason>, &[(Email, Sent)]),
        ("storm", MessageStatus::Read, None, &[(Sms, Sent), (Email, Sent), (Voice, Read)]),
    ] {
        let (row, attempts) = message(&house, name).await;
        let mut seen: Vec<_> = attempts.iter().map(|a| (a.channel, a.status)).collect();
        seen.sort_unstable();
        let mut tried = tried.to_vec();
        tried.sort_unstable();
        assert_eq!((row.status, row.reason, seen), (status, reason, tried), "{name}");
        assert_eq!(row.due_at, None, "{name}");
        let steps: Vec<u16> = attempts.iter().map(|a| a.step).collect();
        assert!(steps.iter().enumerate().all(|(n, step)| usize::from(*step) == n), "{name}: {steps:?}");
    }
    house.close().await;
}
