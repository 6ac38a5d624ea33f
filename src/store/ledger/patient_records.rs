//! One patient: all that is known of them, and nothing of it any more.

use std::collections::HashSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::Ledger;
use crate::domain::ids::{CampaignId, MessageId, PatientId, ProviderName, ReplyId};
use crate::domain::patient::{Consent, Patient};
use crate::domain::phi::Phi;
use crate::domain::reply::Intent;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, bytes};
use crate::store::patient_records::{CampaignPlace, PatientRecord, PatientWord, RecordChange, ReplyRecord};
use crate::store::retention::Class;
use crate::store::rows::{MessageFilter, MessageRow};
use crate::store::sealed::Sealed;
use crate::store::{CampaignAudience, Messages, PatientDirectory, PatientRecords, Result};

/// Messages read at once.
const PAGE: u32 = 1_000;

/// Those of a patient's messages that may still do something.
const UNDER_WAY: &str = "
SELECT id FROM messages WHERE patient_id = ANY($1)
  AND (status IN ('accepted', 'scheduled', 'held', 'sending') OR due_at IS NOT NULL OR lease_token IS NOT NULL)
ORDER BY id";

/// The ids that count, then those that lead to them.
const NAMES: &str = "
SELECT id FROM patients WHERE id IN (SELECT COALESCE(alias_of, id) FROM patients WHERE id = ANY($1))
UNION ALL
SELECT id FROM patients WHERE alias_of IS NOT NULL
    AND alias_of IN (SELECT COALESCE(alias_of, id) FROM patients WHERE id = ANY($1))";

#[async_trait]
impl<E: Engine> PatientRecords for Ledger<E> {
    async fn patient_word(&self, id: &PatientId) -> Result<PatientWord> {
        let patient = self.patient(id).await?;
        self.word_of(&self.names_of(std::slice::from_ref(id)).await?, patient.as_ref()).await
    }

    async fn patient_record(&self, id: &PatientId) -> Result<Option<PatientRecord>> {
        let ids = self.names_of(std::slice::from_ref(id)).await?;
        let patient = self.patient(id).await?;
        let word = self.word_of(&ids, patient.as_ref()).await?;
        let mut messages = Vec::new();
        for name in &ids {
            for row in self.all_messages_of(name).await? {
                let attempts = self.attempts(row.facts.id).await?;
                messages.push((row, attempts));
            }
        }
        let replies = self.written_by(&ids, patient.as_ref()).await?;
        let campaigns = self.places_of(&ids).await?;
        let record = PatientRecord { patient, word, replies, campaigns, messages, ids };
        let nothing = record.patient.is_none()
            && record.messages.is_empty()
            && record.replies.is_empty()
            && record.word.changes.is_empty();
        Ok((!nothing).then_some(record))
    }

    /// Takes back what waits, and erases the texts and addresses of everything that was ever sent, the replies, those too that
    /// followed no message and came from a contact of theirs, and the record. What they refused stays, bound to their addresses by the blind index; so do statuses and the history of wishes, which
    /// name nobody. False: nothing is known of them.
    async fn erase_patient(&self, id: &PatientId) -> Result<bool> {
        let (mut tx, names, stored) = loop {
            let names = self.names_of(std::slice::from_ref(id)).await?;
            for campaign in self.waiting_campaigns(&names).await? {
                self.no_longer_needed(&campaign, &names).await?;
            }
            let mut tx = self.engine.begin().await?;
            let stored = self.lock_patients(&mut tx, &names).await?;
            // From here on a merge waits; whoever one has brought in meanwhile is erased too.
            let rows = E::run(&mut tx, NAMES, args![vec![id.as_str()]]).await?;
            if named(&rows)?.iter().all(|name| names.contains(name)) {
                break (tx, names, stored);
            }
        };
        let target = stored.resolve(id);
        let now = Self::now(&mut tx).await?;
        let patient = stored.patients.get(&target);
        if let Some(patient) = patient {
            self.write_consents(&mut tx, &super::patients::wishes(patient, now)).await?;
        }
        let all = texts_of(&names);
        let under_way = id_list::<E>(&E::run(&mut tx, UNDER_WAY, args![all.clone()]).await?)?;
        self.end_messages(&mut tx, &under_way, now).await?;
        let rows =
            E::run(&mut tx, "SELECT id FROM messages WHERE patient_id = ANY($1)", args![all.clone()]).await?;
        let messages = id_list::<E>(&rows)?;
        let sql = "SELECT id FROM attempts WHERE message_id = ANY($1)";
        let attempts = id_list::<E>(&E::run(&mut tx, sql, args![messages.clone()]).await?)?;
        Self::wipe(&mut tx, Self::wiping(Class::Messages), &messages).await?;
        Self::wipe(&mut tx, Self::wiping(Class::Attempts), &attempts).await?;
        let blank = vec![bytes("blank", &[()], |()| Vec::new())];
        E::run(
            &mut tx,
            "UPDATE campaign_recipients SET body = input.blank FROM {input}, campaigns c
             WHERE campaign_recipients.campaign_id = c.id AND campaign_recipients.patient_id = ANY($1)",
            args![all.clone()].batch(blank),
        )
        .await?;
        let sql = "SELECT id FROM replies WHERE patient_id = ANY($1)";
        let mut replies = id_list::<E>(&E::run(&mut tx, sql, args![all.clone()]).await?)?;
        let own = self.own_indexes(patient);
        if !own.is_empty() {
            let sql = "SELECT r.id FROM {input} JOIN replies r ON r.address_index = input.address_index
                WHERE r.patient_id IS NULL";
            let there = Args::none().batch(vec![bytes("address_index", &own, Clone::clone)]);
            replies.extend(id_list::<E>(&E::run(&mut tx, sql, there).await?)?);
        }
        Self::wipe(&mut tx, Self::wiping(Class::Replies), &replies).await?;
        let sql = "UPDATE preference_changes SET superseded = NULL WHERE patient_id = ANY($1)";
        E::run(&mut tx, sql, args![all.clone()]).await?;
        E::run(&mut tx, "DELETE FROM patients WHERE id = ANY($1)", args![all.clone()]).await?;
        E::run(&mut tx, "DELETE FROM patient_addresses WHERE patient_id = ANY($1)", args![all.clone()])
            .await?;
        Self::bump(&mut tx, &all).await?;
        let known = patient.is_some() || !messages.is_empty() || !replies.is_empty();
        E::commit(tx).await?;
        Ok(known)
    }
}

impl<E: Engine> Ledger<E> {
    /// The ids that count, then those that lead to them, then those that nobody has.
    pub(super) async fn names_of(&self, ids: &[PatientId]) -> Result<Vec<PatientId>> {
        let mut names = named(&self.engine.read(NAMES, args![texts_of(ids)]).await?)?;
        let found: HashSet<PatientId> = names.iter().cloned().collect();
        names.extend(ids.iter().filter(|id| !found.contains(id)).cloned());
        Ok(names)
    }

    /// Campaigns in which they wait for their turn.
    async fn waiting_campaigns(&self, names: &[PatientId]) -> Result<Vec<CampaignId>> {
        let rows = self
            .engine
            .read(
                "SELECT c.id FROM campaigns c WHERE EXISTS (
                     SELECT 1 FROM campaign_recipients r WHERE r.campaign_id = c.id AND r.patient_id = ANY($1) AND r.state = 0)
                 ORDER BY c.id",
                args![texts_of(names)],
            )
            .await?;
        rows.iter().map(|row| row.word(0, CampaignId::parse)).collect()
    }

    async fn word_of(&self, ids: &[PatientId], patient: Option<&Patient>) -> Result<PatientWord> {
        let own: Vec<Phi> = patient.iter().flat_map(|p| &p.contacts).map(|c| c.address.clone()).collect();
        let mut said: Vec<Consent> = self.said_at(&own).await?.into_values().flatten().collect();
        said.sort_by_key(|one| one.at);
        Ok(PatientWord { said, changes: self.changes_of(ids).await? })
    }

    async fn all_messages_of(&self, id: &PatientId) -> Result<Vec<MessageRow>> {
        let mut filter =
            MessageFilter { patient_id: Some(id.clone()), limit: PAGE, ..MessageFilter::default() };
        let mut all = Vec::new();
        loop {
            let page = self.messages(&filter).await?;
            filter.before = page.last().map(|row| row.facts.id);
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    async fn changes_of(&self, ids: &[PatientId]) -> Result<Vec<RecordChange>> {
        let sql = "SELECT changed_at, changed_by, what, evidence, id, superseded FROM preference_changes
            WHERE patient_id = ANY($1) ORDER BY changed_at, id";
        let rows = self.engine.read(sql, args![texts_of(ids)]).await?;
        rows.iter()
            .map(|row| {
                Ok(RecordChange {
                    at: row.time(0)?,
                    by: row.text(1)?.to_owned(),
                    what: row.text(2)?.to_owned(),
                    evidence: row.text(3)?.to_owned(),
                    superseded: self.consent_before(row.id(4)?, row.maybe_bytes(5)?)?,
                })
            })
            .collect()
    }

    /// The blind indexes of the patient's own contacts, each once.
    fn own_indexes(&self, patient: Option<&Patient>) -> Vec<Vec<u8>> {
        let contacts = patient.iter().flat_map(|patient| &patient.contacts);
        let mut own: Vec<Vec<u8>> = contacts.map(|contact| self.sealer.index(&contact.address)).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// What they wrote, and what came from a contact of theirs and followed no message.
    async fn written_by(&self, ids: &[PatientId], patient: Option<&Patient>) -> Result<Vec<ReplyRecord>> {
        let sql = "SELECT id, provider, intent, received_at, message_id, address, body FROM replies
            WHERE patient_id = ANY($1)";
        let mut rows = self.engine.read(sql, args![texts_of(ids)]).await?;
        let own = self.own_indexes(patient);
        if !own.is_empty() {
            let sql = "SELECT r.id, r.provider, r.intent, r.received_at, r.message_id, r.address, r.body FROM {input}
                JOIN replies r ON r.address_index = input.address_index WHERE r.patient_id IS NULL";
            let there = Args::none().batch(vec![bytes("address_index", &own, Clone::clone)]);
            rows.extend(self.engine.read(sql, there).await?);
        }
        let mut replies: Vec<ReplyRecord> = self.replies_of(&rows)?;
        replies.sort_by_key(|reply| reply.id.0);
        Ok(replies)
    }

    fn replies_of(&self, rows: &[E::Row]) -> Result<Vec<ReplyRecord>> {
        rows.iter()
            .map(|row| {
                let id = row.id(0)?;
                let open = |column: Sealed, stored: Option<&[u8]>| {
                    stored.map(|stored| self.sealer.open_text(column.of(id), stored)).transpose()
                };
                Ok(ReplyRecord {
                    id: ReplyId(id),
                    provider: row.word(1, ProviderName::parse)?,
                    intent: row.word(2, Intent::from_word)?,
                    received_at: row.time(3)?,
                    message_id: row.maybe_id(4)?.map(MessageId),
                    from: open(Sealed::ReplyAddress, row.maybe_bytes(5)?)?,
                    text: open(Sealed::ReplyBody, row.maybe_bytes(6)?)?,
                })
            })
            .collect()
    }

    async fn places_of(&self, ids: &[PatientId]) -> Result<Vec<CampaignPlace>> {
        let sql = "SELECT r.ordinal, r.campaign_id, r.body, r.message_id
            FROM campaigns c JOIN campaign_recipients r ON r.campaign_id = c.id AND r.patient_id = ANY($1)
            ORDER BY r.campaign_id, r.ordinal";
        let rows = self.engine.read(sql, args![texts_of(ids)]).await?;
        rows.iter()
            .map(|row| {
                let campaign = row.word(1, CampaignId::parse)?;
                let body = self.opened_body((&campaign, row.int(0)?), row.bytes(2)?)?;
                Ok(CampaignPlace { message_id: row.maybe_id(3)?.map(MessageId), body, campaign })
            })
            .collect()
    }
}

pub(super) fn texts_of(names: &[PatientId]) -> Vec<&str> {
    names.iter().map(PatientId::as_str).collect()
}

fn named(rows: &[impl Columns]) -> Result<Vec<PatientId>> {
    rows.iter().map(|row| row.word(0, PatientId::parse)).collect()
}

fn id_list<E: Engine>(rows: &[E::Row]) -> Result<Vec<Uuid>> {
    rows.iter().map(|row| row.id(0)).collect()
}
