//! One person, one message, under whatever ids they stand in the audience.

use std::time::Duration;

use outreachd::campaign::Wish;
use outreachd::domain::campaign::CampaignState;
use outreachd::domain::ids::PatientId;
use outreachd::domain::job::When;
use outreachd::domain::patient::Patient;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::Reason;
use serde_json::json;

use super::{BOTH, Town, name, plan};

fn id(id: &str) -> PatientId {
    PatientId::parse(id).unwrap()
}

impl Town {
    async fn know(&self, ids: &[&str]) {
        let patients = ids.iter().map(|name| Patient::bare(id(name))).collect();
        self.office.store.upsert_patients(patients).await.unwrap();
    }

    async fn merge(&self, old: &str, into: &str) {
        assert!(self.office.store.merge_patients(&id(old), &id(into)).await.unwrap());
    }

    /// Those who are still meant, by their ids.
    async fn meant(&self, campaign: &str) -> Vec<String> {
        let rows = self.office.store.recipients(&name(campaign), 0, 20).await.unwrap();
        let rows: Vec<String> =
            rows.iter().filter(|row| row.reason.is_none()).map(|row| row.patient_id.to_string()).collect();
        let row = self.row(campaign).await;
        assert_eq!(u64::try_from(rows.len()).unwrap(), row.recipients - row.no_longer_needed);
        rows
    }
}

/// The records were one before the list came in, or the search was done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_names_a_person_twice_is_for_them_once() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.know(&["Q1", "Q2", "Q3", "Q4"]).await;
        town.merge("Q1", "Q2").await;
        town.merge("Q3", "Q2").await;
        town.office.create(&plan("list", json!({})), "ann").await.unwrap();
        town.bring("list", "patient_id\nQ4\nQ3\nQ1\nQ2\n").await;
        assert_eq!(town.meant("list").await, ["Q4", "Q3"]);
        assert_eq!(town.bring("list", "patient_id\nQ4\nQ3\nQ1\nQ2\n").await.0.known, 4);
        assert_eq!(town.meant("list").await, ["Q4", "Q3"], "read again it is the same audience");

        let query = plan("query", json!({"audience": {}}));
        town.office.create(&query, "ann").await.unwrap();
        town.office.search(&query, "ann").await.unwrap();
        town.know(&["R1"]).await;
        town.merge("Q4", "R1").await;
        town.office.search(&query, "ann").await.unwrap();
        assert_eq!(town.meant("query").await, ["Q2", "Q4"], "and no more R1");
        town.close().await;
    }
}

/// Both have their messages when their records become one: the later one's is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_messages_that_wait_for_one_person_one_is_sent() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.know(&["Q1", "Q2", "Q3"]).await;
        let mut asked = plan("ahead", json!({"canary": 0}));
        asked.start = Some(When::At(jiff::Timestamp::now() + Duration::from_secs(3_600)));
        town.office.create(&asked, "ann").await.unwrap();
        town.bring("ahead", "patient_id\nQ1\nQ2\nQ3\n").await;
        town.wish("ahead", "ann", Wish::Start).await.unwrap();
        town.until_written("ahead", 3).await;
        town.merge("Q1", "Q2").await;
        let rows = town.office.store.recipients(&name("ahead"), 0, 3).await.unwrap();
        let stand: Vec<_> = rows.iter().map(|row| (row.status.unwrap(), row.reason)).collect();
        let waits = (MessageStatus::Scheduled, None);
        assert_eq!(stand, [waits, (MessageStatus::Cancelled, Some(Reason::NoLongerNeeded)), waits]);
        town.close().await;
    }
}

/// Who has booked under one id has booked under the other, whether they wait, have a message, or come in later.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_booked_has_so_under_every_name() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.know(&["Q1", "Q2", "Q3", "Q4", "Q5"]).await;
        for campaign in ["waits", "later"] {
            town.office.create(&plan(campaign, json!({})), "ann").await.unwrap();
            assert_eq!(town.office.done(&name(campaign), &[id("Q1")]).await.unwrap(), 0);
        }
        town.bring("waits", "patient_id\nQ3\nQ2\n").await;
        let mut asked = plan("ahead", json!({"canary": 0}));
        asked.start = Some(When::At(jiff::Timestamp::now() + Duration::from_secs(3_600)));
        town.office.create(&asked, "ann").await.unwrap();
        town.office.done(&name("ahead"), &[id("Q1")]).await.unwrap();
        town.bring("ahead", "patient_id\nQ2\nQ3\n").await;
        town.wish("ahead", "ann", Wish::Start).await.unwrap();
        town.until_written("ahead", 2).await;

        town.merge("Q1", "Q2").await;
        assert_eq!(town.meant("waits").await, ["Q3"]);
        town.bring("later", "patient_id\nQ2\nQ3\n").await;
        assert_eq!(town.meant("later").await, ["Q3"]);
        let rows = town.office.store.recipients(&name("ahead"), 0, 3).await.unwrap();
        let stand: Vec<_> = rows.iter().map(|row| row.status.unwrap()).collect();
        assert_eq!(stand, [MessageStatus::Cancelled, MessageStatus::Scheduled]);
        assert_eq!(town.row("ahead").await.state, CampaignState::Running);
        town.close().await;
    }
}
