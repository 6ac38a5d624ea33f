//! Audiences: what is taken, what is refused, and once each.

use std::time::Duration;

use outreachd::campaign::{Brought, Office, Wish};
use outreachd::config::Config;
use outreachd::domain::campaign::{AudienceQuery, FollowUp};
use outreachd::domain::ids::PatientId;
use outreachd::domain::patient::Patient;
use outreachd::intake::import::{Audience, Member, RefusedFile, Row};
use serde_json::json;

use super::{BOTH, Town, name, number, people, plan};

/// Rows, and the column and the word of the rule for which they are refused.
const SPOILT: &[(&str, &str, &str)] = &[
    ("1.31E+10,+13125550001,2026-12-18", "patient_id", "rounded"),
    ("P2,1.31E+10,2026-12-18", "sms", "rounded"),
    ("P3,+13125550003,03/04/2026", "until", "two ways"),
    ("0042,+13125550004,2026-12-18", "", ""),
    ("43,+13125550005,2026-12-18", "patient_id", "zeros"),
    ("P6,+13125550006,2026-12-18", "", ""),
    ("P6,+13125550007,2026-12-18", "patient_id", "stands in row"),
    ("P8,+13125550006,2026-12-18", "sms", "stands in row"),
    ("P9,+13125550009,soon", "data.until", ""),
    ("P 10,+13125550010,2026-12-18", "patient_id", "must be"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_spreadsheet_has_spoilt_is_refused_with_row_and_cure() {
    let town = Town::open(false).await;
    let more = json!({"template": "vaccine-invitation", "data": {"vaccine": "influenza", "free": true}});
    town.office.create(&plan("flu", more), "ann").await.unwrap();
    let rows: Vec<&str> = SPOILT.iter().map(|(row, ..)| *row).collect();
    let text = format!("\u{feff}Patient ID;SMS;Until\r\n{}\r\n", rows.join("\r\n").replace(',', ";"));
    let (tally, refused) = town.bring("flu", &text).await;
    let bad: Vec<(u64, &str, &str)> = (2..)
        .zip(SPOILT)
        .filter(|(_, (_, field, _))| !field.is_empty())
        .map(|(line, (_, field, rule))| (line, *field, *rule))
        .collect();
    assert_eq!((tally.added, tally.refused), (2, u64::try_from(bad.len()).unwrap()));
    for ((line, field, rule), row) in bad.iter().zip(&refused) {
        let problems = row.result.as_ref().unwrap_err();
        assert_eq!((row.line, problems[0].field.as_str()), (*line, *field));
        assert!(problems[0].rule.contains(rule) && !problems[0].cure.is_empty(), "{problems:?}");
        assert!(!row.original.is_empty(), "the row as it came can be mended");
    }
    // Columns that nobody knows are named before anything is read.
    let options = town.office.audience_options(&town.row("flu").await.plan, None);
    let (to, _rows) = tokio::sync::mpsc::channel(1);
    let problems = Office::read_file("patient_id,shoe_size\nP1,9\n".as_bytes(), options, &to).unwrap_err();
    assert!(problems[0].cure.contains("until"), "{problems:?}");
    town.close().await;
}

/// The file of refused rows, mended, goes into the same campaign: each row keeps the place that it had.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_come_back_mended() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.office.create(&plan("mend", json!({"canary": 0})), "ann").await.unwrap();
        let columns = ["patient_id", "sms", "language", "timezone"].map(str::to_owned);
        let text = people(1, 6).replace(&number(2), "1.31E+10").replace(&number(5), "1.31E+10");
        let (tally, refused) = town.bring("mend", &text).await;
        assert_eq!((tally.added, tally.refused), (4, 2));
        let written = |rows: &[Row<Member>]| {
            let mut file = RefusedFile::new(Vec::new(), &columns).unwrap();
            rows.iter().for_each(|row| file.write(row).unwrap());
            String::from_utf8(file.finish().unwrap()).unwrap()
        };
        // One of the two is still wrong, and is told by the line that it had in the first file.
        let mended = written(&refused).replacen("1.31E+10", &number(2), 1);
        let (tally, refused) = town.bring("mend", &mended).await;
        assert_eq!((tally.added, tally.refused, refused[0].line), (1, 1, 6), "{mended}");
        let mended = written(&refused).replacen("1.31E+10", &number(5), 1);
        assert_eq!(town.bring("mend", &mended).await.0.added, 1, "{mended}");
        assert_eq!(town.bring("mend", &mended).await.0.known, 1, "and once");
        assert_eq!(town.bring("mend", &people(1, 6)).await.0.known, 6, "as if it had been right at once");
        let rows = town.office.store.recipients(&name("mend"), 0, 10).await.unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row.patient_id.as_str()).collect();
        assert_eq!(ids, ["P1", "P2", "P3", "P4", "P5", "P6"]);
        // A row that somebody has copied has nobody's place.
        let twice = format!("{mended}{}", mended.lines().last().unwrap().replace("P5", "P55"));
        let (tally, refused) = town.bring("mend", &twice).await;
        assert_eq!((tally.known, tally.refused), (1, 1));
        assert_eq!(refused[0].result.as_ref().unwrap_err()[0].field, "refused_line");
        town.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_cut_off_goes_on_and_a_query_finds_whom_it_means() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.office.create(&plan("ids", json!({"canary": 0})), "ann").await.unwrap();
        let all: String = (1..=9_000).map(|n| format!("P{n}\n")).collect();
        let text = format!("patient_id\n{all}");
        // The first reading ends in the middle of the file.
        let half: String = text.lines().take(5_001).map(|line| format!("{line}\n")).collect();
        assert_eq!(town.bring("ids", &half).await.0.added, 5_000);
        let (tally, refused) = town.bring("ids", &text).await;
        assert_eq!((tally.known, tally.added, refused.len()), (5_000, 4_000, 0));
        let sum = town.row("ids").await.audience;
        let (tally, _) = town.bring("ids", &text).await;
        assert_eq!((tally.known, tally.added), (9_000, 0));
        let row = town.row("ids").await;
        assert_eq!((row.recipients, row.audience), (9_000, sum), "read again it is the same audience");

        let mut patients = Vec::new();
        for n in 0..30_u16 {
            let mut patient = Patient::bare(PatientId::parse(&format!("Q{n:02}")).unwrap());
            patient.birth_date = Some(jiff::civil::date(1940 + i16::try_from(n).unwrap() * 2, 1, 1));
            patient.language = Some(if n % 2 == 0 { "es-US" } else { "en" }.to_owned());
            patients.push(patient);
        }
        town.office.store.upsert_patients(patients).await.unwrap();
        let query = json!({"audience": {"min_age": 65, "languages": ["es"]}});
        let query = plan("query", query);
        assert!(matches!(&query.audience, Some(AudienceQuery { min_age: Some(65), .. })));
        town.office.create(&query, "ann").await.unwrap();
        // Whoever asked and got no answer asks once more; for another plan the name is taken.
        town.office.create(&query, "ann").await.unwrap();
        let other = plan("query", json!({"audience": {"min_age": 66}}));
        let refused = town.office.create(&other, "ann").await.unwrap_err().to_string();
        assert!(refused.contains("another plan"), "{refused}");
        let found = town.office.search(&query, "ann").await.unwrap();
        assert!(found.added > 5 && found.added <= 15, "{found:?}");
        assert_eq!(
            town.office.search(&query, "ann").await.unwrap().added,
            0,
            "done again it adds nobody twice"
        );

        // Those of whom nothing is known are not written to, and the dry run says so.
        let forecast = town.office.dry_run(&name("query")).await.unwrap();
        assert_eq!(forecast.excluded.get("no_contact").copied(), Some(found.added), "{forecast:?}");
        town.close().await;
    }
}

/// A file that was mended and is read again brings what was mended, and what was approved before is another audience.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_mended_replaces_what_it_said_before() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.office.create(&plan("mended", json!({"canary": 0})), "ann").await.unwrap();
        let text = people(1, 5);
        town.bring("mended", &text).await;
        let before = town.row("mended").await;
        let (tally, _) = town.bring("mended", &text.replace(&number(3), &number(33))).await;
        assert_eq!((tally.added, tally.changed, tally.known), (0, 1, 4));
        let rows = town.office.store.recipients(&name("mended"), 0, 10).await.unwrap();
        let address = |row: usize| {
            let patient = rows[row].body.patient.as_deref().unwrap();
            patient.addresses().next().unwrap().expose().to_owned()
        };
        assert_eq!([address(1), address(2)], [number(2), number(33)]);
        let row = town.row("mended").await;
        assert!(row.recipients == 5 && row.audience != before.audience && row.revision > before.revision);
        assert_eq!(town.bring("mended", &text).await.0.changed, 1);
        assert_eq!(town.row("mended").await.audience, before.audience, "as it was");
        town.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_never_was_is_no_reason_to_write_to_everybody() {
    let town = Town::open(false).await;
    for field in ["received", "not_received"] {
        let query = plan("query", json!({"audience": {field: "flu-2025"}}));
        let refused = town.office.create(&query, "ann").await.unwrap_err().to_string();
        assert!(refused.contains(field) && refused.contains("no campaign flu-2025"), "{refused}");
    }
    town.office.create(&plan("flu-2025", json!({})), "ann").await.unwrap();
    let query = plan("query", json!({"audience": {"not_received": "flu-2025"}}));
    assert_eq!(town.office.create(&query, "ann").await.unwrap().recipients, 0);

    // Whoever is still to have something from it will have, and needs no other.
    let patients = ["Q1", "Q2"].map(|id| Patient::bare(PatientId::parse(id).unwrap()));
    town.office.store.upsert_patients(patients.to_vec()).await.unwrap();
    town.bring("flu-2025", "patient_id\nQ1\n").await;
    assert_eq!(town.office.search(&query, "ann").await.unwrap().added, 1, "Q2");
    let later = plan("later", json!({"audience": {"not_received": "flu-2025"}}));
    town.office.create(&later, "ann").await.unwrap();
    town.wish("flu-2025", "ann", Wish::Cancel).await.unwrap();
    assert_eq!(town.office.search(&later, "ann").await.unwrap().added, 2, "it never went out");
    town.close().await;
}

/// Its messages go one by one: an audience of those who have not received it would be everybody in the end.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_campaign_that_is_being_forgotten_nobody_asks_who_received_it() {
    let town = Town::open_with(false, |config| config.retention.rows = Some(Duration::ZERO)).await;
    town.office.create(&plan("flu-2025", json!({})), "ann").await.unwrap();
    let query = plan("query", json!({"audience": {"not_received": "flu-2025"}}));
    town.office.create(&query, "ann").await.unwrap();
    town.wish("flu-2025", "ann", Wish::Cancel).await.unwrap();
    let query = plan("another", json!({"audience": {"not_received": "flu-2025"}}));
    let next = plan("next", json!({}));
    for refused in [
        town.office.create(&query, "ann").await,
        town.office.follow(&name("flu-2025"), FollowUp::RetryFailed, next, "ann").await,
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("has been over for so long"), "{refused}");
    }
    town.close().await;
}

/// Two records of one person: what went to one of them has reached them.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_had_it_under_an_old_name_has_had_it() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let store = &town.office.store;
        let id = |id: &str| PatientId::parse(id).unwrap();
        store.upsert_patients(["Q1", "Q2", "Q3"].map(|name| Patient::bare(id(name))).to_vec()).await.unwrap();
        for campaign in ["flu", "both"] {
            town.office.create(&plan(campaign, json!({})), "ann").await.unwrap();
        }
        town.bring("flu", "patient_id\nQ1\n").await;
        town.bring("both", "patient_id\nQ3\nQ2\nQ1\n").await;
        assert!(store.merge_patients(&id("Q1"), &id("Q2")).await.unwrap());
        let query = plan("query", json!({"audience": {"not_received": "flu"}}));
        town.office.create(&query, "ann").await.unwrap();
        assert_eq!(town.office.search(&query, "ann").await.unwrap().added, 1, "Q3");
        let had = store.received(&name("flu"), &[id("Q2"), id("Q3")], true).await.unwrap();
        assert_eq!(had.into_iter().collect::<Vec<_>>(), [id("Q2")]);
        // Of the two in one audience the first is left.
        let row = town.row("both").await;
        assert_eq!((row.recipients, row.no_longer_needed), (3, 1));
        let left = store.recipients(&name("both"), 0, 10).await.unwrap();
        let left: Vec<bool> = left.iter().map(|who| who.reason.is_none()).collect();
        assert_eq!(left, [true, true, false], "Q3, Q2, and no more Q1");
        town.close().await;
    }
}

/// Of another file nothing is taken, not even the rows that would have had a place.
#[tokio::test(flavor = "multi_thread")]
async fn another_file_is_refused_as_a_whole() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        town.office.create(&plan("one", json!({})), "ann").await.unwrap();
        town.bring("one", &people(1, 3)).await;
        let before = town.row("one").await;
        let options = town.office.audience_options(&before.plan, None);
        let other = people(11, 20);
        let rows = Audience::open(other.as_bytes(), options).unwrap().collect();
        let refused = town.office.bring(&before.plan, rows, &mut Brought::default(), "ann").await;
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("another list"), "{refused}");
        let row = town.row("one").await;
        assert_eq!((row.recipients, row.revision), (3, before.revision));
        assert_eq!(town.office.store.recipients(&name("one"), 0, 20).await.unwrap().len(), 3);
        town.close().await;
    }
}

/// Whoever is found again takes a number that nobody gets: a search that is done once more finds everybody all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_is_done_again_misses_nobody() {
    for postgres in BOTH {
        let town = Town::open(postgres).await;
        let know = async |ids: &[&str]| {
            let patients = ids.iter().map(|id| Patient::bare(PatientId::parse(id).unwrap())).collect();
            town.office.store.upsert_patients(patients).await.unwrap();
        };
        let query = plan("again", json!({"audience": {}}));
        town.office.create(&query, "ann").await.unwrap();
        for (new, found) in [(&["Q1", "Q2", "Q3"][..], 3), (&["Q4"], 1), (&["A1", "A2", "A3"], 3)] {
            know(new).await;
            assert_eq!(town.office.search(&query, "ann").await.unwrap().added, found, "{new:?}");
        }
        town.close().await;
    }
}

/// Only the postcodes of the United States are known to have lost a zero when they have four digits.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_postcode_is_refused_where_they_are_long() {
    for (region, refused) in [("US", &["P1", "P3"][..]), ("CH", &["P1"])] {
        let lies = |config: &mut Config| config.organisation.default_region = region.to_owned();
        let town = Town::open_with(false, lies).await;
        town.office.create(&plan("codes", json!({})), "ann").await.unwrap();
        let rows = [(1, "US"), (2, "CH"), (3, "")];
        let rows = rows.map(|(n, country)| format!("P{n},{},2115,{country}\n", number(n)));
        let text = format!("patient_id,sms,postal_code,country\n{}", rows.concat());
        let (tally, told) = town.bring("codes", &text).await;
        let told: Vec<&str> = told.iter().map(|row| row.original[0].expose()).collect();
        assert_eq!((told.as_slice(), tally.added), (refused, 3 - tally.refused));
        town.close().await;
    }
}
