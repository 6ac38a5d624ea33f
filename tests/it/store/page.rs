//! What patients say on their page is on record, reaches what waits, and is told.

use outreachd::domain::ids::{CampaignId, MessageId};
use outreachd::domain::page::PageHash;
use outreachd::domain::patient::{Consent, ConsentSource, Patient, Preference};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::wish::{Terms, Wish, is_wanted};
use outreachd::domain::words::{Channel, Purpose, Recipient};
use outreachd::store::rows::{Begin, PageRow, PageWish, Subject, Then, WishOutcome};

use super::ledger::{Ledger, worker};
use super::make::{PHONE, Shape, at, job, patient, patient_id, seconds, stop};

fn link() -> PageHash {
    PageHash::of("a-token")
}

fn asking(wish: Wish) -> PageWish {
    PageWish { link: link(), wish, opt_in: vec![Purpose::Marketing], seen: None }
}

fn stop_this() -> Wish {
    Wish::Stop { purpose: Some(Purpose::Appointment), channel: Some(Channel::Sms) }
}

/// Sends one job whose text holds the link.
async fn sent(ledger: &Ledger) -> MessageId {
    let hand = ledger.lease(job("a")).await;
    let row = Begin { page: Some(link()), ..ledger.plan(&hand).await };
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    hand.facts.id
}

async fn known(ledger: &Ledger) -> MessageId {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    sent(ledger).await
}

async fn seen(ledger: &Ledger) -> PageRow {
    ledger.page(&link()).await.unwrap().expect("a page")
}

fn wants(row: &PageRow, purpose: Purpose, channel: Channel) -> bool {
    let terms = Terms { opt_in: &[Purpose::Marketing], now: row.now, evidence: "" };
    is_wanted(row.patient.as_ref().unwrap(), purpose, channel, &terms)
}

pub(super) async fn a_link_leads_to_its_message_and_patient(ledger: Ledger) {
    let id = known(&ledger).await;
    let row = seen(&ledger).await;
    assert_eq!((row.facts.id, row.channel, row.locale.as_str()), (id, Channel::Sms, "en"));
    assert_eq!(row.address, Phi::new(PHONE));
    assert!(row.now.duration_since(row.begun_at) < seconds(60));
    assert_eq!(row.patient.map(|p| p.id), Some(patient_id("P1")));
    assert!(row.said.is_empty());
    ledger.record_address_consents(&[stop("2026-03-01T00:00:00Z")]).await.unwrap();
    let after = seen(&ledger).await;
    assert_eq!(after.said.len(), 1);
    assert!(after.revision > row.revision);
    for other in ["", "a-token ", "A-TOKEN", "another"] {
        assert!(ledger.page(&PageHash::of(other)).await.unwrap().is_none(), "{other}");
        let ask = PageWish { link: PageHash::of(other), ..asking(stop_this()) };
        assert_eq!(ledger.wish(&ask).await.unwrap(), WishOutcome::Unknown);
    }
    let unlinked = ledger.sent(job("b")).await;
    assert_eq!(ledger.standing(unlinked).await.0, MessageStatus::Sent);
}

pub(super) async fn looking_changes_nothing(ledger: Ledger) {
    let id = known(&ledger).await;
    let (before, told) = (seen(&ledger).await, ledger.told(id).await);
    let after = seen(&ledger).await;
    assert_eq!((after.revision, after.patient), (before.revision, before.patient));
    assert_eq!(ledger.told(id).await, told);
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Sent);
}

pub(super) async fn a_wish_is_kept_counted_as_read_and_told(ledger: Ledger) {
    let id = known(&ledger).await;
    let before = seen(&ledger).await;
    assert_eq!(ledger.wish(&asking(stop_this())).await.unwrap(), WishOutcome::Changed);
    let row = seen(&ledger).await;
    assert!(!wants(&row, Purpose::Appointment, Channel::Sms) && wants(&row, Purpose::Care, Channel::Sms));
    assert!(row.revision > before.revision);
    let consent = &row.patient.as_ref().unwrap().consents[0];
    assert_eq!(consent.source, ConsentSource::Patient);
    assert_eq!(consent.evidence, Some(format!("preference page {id}")));
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Read);
    assert_eq!(ledger.attempts(id).await.unwrap()[0].status, AttemptStatus::Read);
    assert_eq!(ledger.told(id).await, ["message.sent.ehr", "message.read.ehr", "preference.changed"]);
    let kept = format!(
        "UPDATE messages SET about = about WHERE EXISTS (SELECT 1 FROM preference_changes WHERE patient_id = 'P1'
         AND changed_by = 'patient' AND what = 'stop appointment sms' AND evidence = 'preference page {id}')"
    );
    assert_eq!(ledger.execute(&kept).await.unwrap(), 1, "on record in its words");
    // Once more: nothing new.
    assert_eq!(ledger.wish(&asking(stop_this())).await.unwrap(), WishOutcome::Unchanged);
    assert_eq!(ledger.told(id).await.len(), 3);
    assert_eq!(seen(&ledger).await.revision, row.revision);
}

pub(super) async fn a_history_is_not_rewritten(ledger: Ledger) {
    known(&ledger).await;
    ledger.wish(&asking(stop_this())).await.unwrap();
    // A record that comes in and a merge leave their lines as well, and what was said before.
    let said = |granted, at_time, source, evidence: Option<&str>| Consent {
        purpose: Some(Purpose::Marketing),
        channel: None,
        address: None,
        granted,
        at: at(at_time),
        source,
        by: None,
        evidence: evidence.map(str::to_owned),
        expires_at: None,
        shadow: None,
    };
    let grant = said(true, "2026-02-01T00:00:00Z", ConsentSource::Staff, Some("form 12, signed by Ana"));
    let stop = said(false, "2026-03-01T00:00:00Z", ConsentSource::Ehr, None);
    for (consent, updated_at) in [(grant, "2026-02-01T00:00:00Z"), (stop, "2026-03-01T00:00:00Z")] {
        let record = Patient { consents: vec![consent], ..patient("P1", updated_at) };
        // Once more: nothing new.
        ledger.upsert_patients(vec![record.clone(), record]).await.unwrap();
    }
    let no_bills = Preference { purpose: Purpose::Billing, channels: Vec::new(), updated_at: None };
    let twin = Patient { preferences: vec![no_bills], ..patient("P2", "2026-01-01T00:00:00Z") };
    ledger.upsert_patients(vec![twin]).await.unwrap();
    assert!(ledger.merge_patients(&patient_id("P2"), &patient_id("P1")).await.unwrap());
    let record = ledger.patient_record(&patient_id("P1")).await.unwrap().expect("a record");
    let lines: Vec<_> = record.word.changes.iter().map(|c| (c.what.as_str(), c.by.as_str())).collect();
    assert_eq!(
        lines,
        [
            ("stop appointment sms", "patient"),
            ("grant marketing every channel", "staff"),
            ("stop marketing every channel", "ehr"),
            ("choose billing none", "directory"),
        ]
    );
    let before: Vec<_> = record
        .word
        .changes
        .iter()
        .map(|c| c.superseded.as_ref().and_then(|was| was.evidence.as_deref()))
        .collect();
    assert_eq!(before, [None, None, Some("form 12, signed by Ana"), None]);
    assert_eq!(
        record.word.changes[2].evidence,
        "record of 2026-03-01T00:00:00Z, said at 2026-03-01T00:00:00Z"
    );
    assert_eq!(record.word.changes[3].evidence, "merge of P2");
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    let wishes = told.iter().filter(|event| event.routing_key == "preference.changed");
    assert_eq!(wishes.count(), 4);
    for sql in ["UPDATE preference_changes SET what = 'start sms'", "DELETE FROM preference_changes"] {
        assert!(ledger.execute(sql).await.is_err(), "{sql}");
    }
}

pub(super) async fn an_opt_out_on_the_page_begins_nothing(ledger: Ledger) {
    known(&ledger).await;
    let waiting = ledger.lease(job("b")).await;
    let planned = ledger.plan(&waiting).await;
    ledger.wish(&asking(stop_this())).await.unwrap();
    assert!(!ledger.try_begin(planned).await, "planned on what was so before");
    let directory = ledger.directory(&[super::ledger::subject(&waiting)]).await.unwrap();
    assert_eq!(directory.entries[0].patient.as_ref().unwrap().consents.len(), 1);
}

pub(super) async fn a_stop_on_the_page_counts_against_its_campaign_once(ledger: Ledger) {
    let message = known(&ledger).await;
    ledger
        .execute(&format!(
            "UPDATE messages SET campaign_id = 'flu', job_id = 'campaign:flu:1' WHERE id = '{message}'"
        ))
        .await
        .unwrap();
    let flu = CampaignId::parse("flu").unwrap();
    let opted_out =
        async || ledger.campaign_health(&flu, jiff::Timestamp::UNIX_EPOCH).await.unwrap().opted_out;
    ledger.wish(&asking(Wish::Language("es".to_owned()))).await.unwrap();
    assert_eq!(opted_out().await, 0, "it is no stop");
    for wish in [stop_this(), Wish::Stop { purpose: None, channel: None }] {
        assert_eq!(ledger.wish(&asking(wish)).await.unwrap(), WishOutcome::Changed);
        assert_eq!(opted_out().await, 1);
    }
}

pub(super) async fn choices_made_on_an_old_page_are_not_taken(ledger: Ledger) {
    let id = known(&ledger).await;
    let looked = seen(&ledger).await;
    ledger.wish(&asking(Wish::Stop { purpose: None, channel: None })).await.unwrap();
    let all = Wish::Choose(vec![(Purpose::Care, vec![Channel::Sms])]);
    let stale = PageWish { seen: Some(looked.revision), ..asking(all.clone()) };
    let told = ledger.told(id).await;
    assert_eq!(ledger.wish(&stale).await.unwrap(), WishOutcome::Outdated);
    assert!(!wants(&seen(&ledger).await, Purpose::Care, Channel::Sms));
    assert_eq!(ledger.told(id).await, told);
    let fresh = PageWish { seen: Some(seen(&ledger).await.revision), ..asking(all) };
    assert_eq!(ledger.wish(&fresh).await.unwrap(), WishOutcome::Changed);
    assert!(wants(&seen(&ledger).await, Purpose::Care, Channel::Sms));
}

pub(super) async fn the_page_binds_the_patient_and_nobody_else_at_the_address(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P2", "2026-01-01T00:00:00Z")]).await.unwrap();
    known(&ledger).await;
    ledger.wish(&asking(Wish::Stop { purpose: None, channel: None })).await.unwrap();
    let other = ledger.lease(job("b").patient("P2")).await;
    assert!(ledger.try_begin(ledger.plan(&other).await).await);
    let directory = ledger.directory(&[super::ledger::subject(&other)]).await.unwrap();
    assert!(directory.entries[0].address_consents.is_empty());
}

pub(super) async fn a_merged_patient_is_reached_by_an_older_link(ledger: Ledger) {
    known(&ledger).await;
    ledger.upsert_patients(vec![patient("P2", "2026-01-01T00:00:00Z")]).await.unwrap();
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    let row = seen(&ledger).await;
    assert_eq!(row.patient.as_ref().map(|p| p.id.clone()), Some(patient_id("P2")));
    let ask = PageWish { seen: Some(row.revision), ..asking(Wish::Language("es".to_owned())) };
    assert_eq!(ledger.wish(&ask).await.unwrap(), WishOutcome::Changed);
    let kept = ledger.patient(&patient_id("P2")).await.unwrap().unwrap();
    assert_eq!(kept.language.as_deref(), Some("es"));
}

pub(super) async fn somebody_who_is_not_on_record_stops_their_address(ledger: Ledger) {
    let id = sent(&ledger).await;
    assert!(seen(&ledger).await.patient.is_none());
    for refused in [
        Wish::Language("es".to_owned()),
        Wish::Start { channel: None },
        Wish::Stop { purpose: None, channel: Some(Channel::Email) },
    ] {
        assert_eq!(ledger.wish(&asking(refused)).await.unwrap(), WishOutcome::Unchanged);
    }
    assert_eq!(ledger.wish(&asking(stop_this())).await.unwrap(), WishOutcome::Changed);
    assert_eq!(ledger.told(id).await.last().unwrap(), "preference.changed");
    let snapshot = Subject {
        message: id,
        patient: patient_id("P1"),
        inline_addresses: vec![Phi::new(PHONE)],
        step: 0,
        tried: false,
        yields: false,
    };
    let directory = ledger.directory(&[snapshot]).await.unwrap();
    let said = &directory.entries[0].address_consents;
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].purpose, said[0].granted), (Some(Purpose::Appointment), false));
    assert!(ledger.patient(&patient_id("P1")).await.unwrap().is_none(), "nobody was put on record");
}

/// Who reads in a patient's place stops what comes to them, and neither sees nor changes anything of the patient's.
pub(super) async fn a_proxys_link_stops_at_their_address(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let hand = ledger.lease(job("a")).await;
    let row = Begin { page: Some(link()), recipient: Recipient::Proxy, ..ledger.plan(&hand).await };
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert!(seen(&ledger).await.patient.is_none());
    for refused in [Wish::Language("es".to_owned()), Wish::QuietHours(None)] {
        assert_eq!(ledger.wish(&asking(refused)).await.unwrap(), WishOutcome::Unchanged);
    }
    assert_eq!(ledger.wish(&asking(stop_this())).await.unwrap(), WishOutcome::Changed);
    let row = seen(&ledger).await;
    assert_eq!(
        row.said.iter().map(|said| (said.channel, said.granted)).collect::<Vec<_>>(),
        [(Some(Channel::Sms), false)]
    );
    let kept = ledger.patient(&patient_id("P1")).await.unwrap().unwrap();
    assert!(kept.consents.is_empty(), "the patient has said nothing");
    let told = ledger.outbox(worker(), &[], 100).await.unwrap();
    for key in ["message.read.ehr", "preference.changed"] {
        let event = told.iter().find(|event| event.routing_key == key).unwrap();
        assert!(event.body.contains("\"recipient\":\"proxy\""), "{}", event.body);
    }
}

pub(super) async fn an_act_while_the_send_is_under_way_ends_the_message(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let hand = ledger.lease(job("a")).await;
    let row = Begin { page: Some(link()), ..ledger.plan(&hand).await };
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.wish(&asking(stop_this())).await.unwrap();
    // The provider answers after the patient did.
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    let message = ledger.row(hand.facts.id).await;
    assert_eq!((message.status, message.due_at), (MessageStatus::Read, None));
    assert_eq!(ledger.told(hand.facts.id).await, ["message.read.ehr", "preference.changed"]);
    let again = ledger.begin(worker(), &[ledger.plan(&hand).await]).await.unwrap();
    assert!(again.attempts.is_empty());
}

pub(super) async fn wishes_at_once_lose_nothing(ledger: Ledger) {
    known(&ledger).await;
    let purposes = [Purpose::Care, Purpose::Results, Purpose::Billing, Purpose::Survey];
    let mut askers = Vec::new();
    for purpose in purposes {
        let store = ledger.another();
        askers.push(tokio::spawn(async move {
            store.wish(&asking(Wish::Stop { purpose: Some(purpose), channel: None })).await.unwrap()
        }));
    }
    for asker in askers {
        assert_eq!(asker.await.unwrap(), WishOutcome::Changed);
    }
    let row = seen(&ledger).await;
    let patient: &Patient = row.patient.as_ref().unwrap();
    assert_eq!(patient.consents.len(), purposes.len());
}
