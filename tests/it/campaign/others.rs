//! What one campaign or one worker lacks keeps no other campaign, and no other worker, from going on.

use std::time::Duration;

use outreachd::campaign::Wish;
use outreachd::domain::campaign::CampaignState;
use outreachd::domain::job::When;
use serde_json::json;

use super::{BOTH, Town, people, plan};
use crate::support::copy_templates;

/// Its messages wait; those of others that are due with them go out, and others are written.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_cannot_be_read_stops_no_other() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let start = jiff::Timestamp::now() + Duration::from_secs(4);
        for (id, from) in [("broken", 1), ("sound", 11)] {
            let mut asked = plan(id, json!({"canary": 0}));
            asked.start = Some(When::At(start));
            town.office.create(&asked, "ann").await.unwrap();
            town.bring(id, &people(from, from + 7)).await;
            town.wish(id, "ann", Wish::Start).await.unwrap();
            town.until_written(id, 8).await;
        }
        town.execute("UPDATE campaigns SET reason = 'tomorrow' WHERE id = 'broken'").await;
        town.until_hits(8).await;
        town.until("sound", CampaignState::Done).await;
        town.office.create(&plan("next", json!({"canary": 0})), "ann").await.unwrap();
        town.bring("next", &people(21, 28)).await;
        town.wish("next", "ann", Wish::Start).await.unwrap();
        town.until("next", CampaignState::Done).await;
        assert_eq!(town.hits(), 16, "none of the one that cannot be read");
        town.close().await;
    }
}

/// An old worker while a new program comes in: its templates come later, or another worker has them.
#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_its_template_refuses_nobody() {
    for postgres in BOTH {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let templates = folder.path().to_owned();
        let town = Town::open_with(postgres, |config| {
            copy_templates(&templates);
            config.templates.dir.clone_from(&templates);
        })
        .await;
        town.office.create(&plan("early", json!({"canary": 0})), "ann").await.unwrap();
        town.bring("early", &people(1, 8)).await;
        let (here, away) = (templates.join("appointment-reminder"), elsewhere.path().join("kept"));
        std::fs::rename(&here, &away).unwrap();
        assert!(town.office.catalogue.reload().unwrap());
        town.wish("early", "ann", Wish::Start).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let row = town.row("early").await;
        assert_eq!((row.state, row.expanded, row.refused), (CampaignState::Running, 0, 0));

        std::fs::rename(&away, &here).unwrap();
        assert!(town.office.catalogue.reload().unwrap());
        let row = town.until("early", CampaignState::Done).await;
        assert_eq!((row.expanded, row.refused), (8, 0));
        town.close().await;
    }
}
