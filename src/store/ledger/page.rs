//! The patient's page: whose it is, and what they change there.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Ledger, Numbered};
use crate::domain::ids::{AttemptId, PatientId};
use crate::domain::page::PageHash;
use crate::domain::patient::{ConsentSource, Patient};
use crate::domain::phi::Phi;
use crate::domain::status::MessageStatus;
use crate::domain::wish::{Terms, Wish};
use crate::domain::words::{Channel, Recipient};
use crate::store::columns::{Columns, facts};
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{Engine, args};
use crate::store::rows::{AddressConsent, MessageFacts, PageRow, PageWish, WishOutcome};
use crate::store::words;
use crate::store::{Pages, Result};

/// Whoever spoke, spoke here.
const PLACE: &str = "preference page";

const PAGE: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", a.channel, a.address, a.locale, a.begun_at, COALESCE(t.document, p.document), COALESCE(s.revision, 0), now(), a.id, ",
    "COALESCE(t.id, p.id), a.recipient ",
    "FROM attempts a JOIN messages m ON m.id = a.message_id ",
    "LEFT JOIN patients p ON p.id = m.patient_id LEFT JOIN patients t ON t.id = p.alias_of ",
    "LEFT JOIN patient_state s ON s.subject = COALESCE(p.alias_of, p.id, m.patient_id) ",
    "WHERE a.page_hash = $1"
);

const SUBJECT: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", a.channel, a.address, a.id, now(), a.recipient FROM attempts a JOIN messages m ON m.id = a.message_id WHERE a.page_hash = $1"
);

/// Whom a wish is about, as the link says.
struct Asker {
    facts: MessageFacts,
    attempt: AttemptId,
    channel: Channel,
    address: Phi,
    /// A proxy speaks for the address that they read at, never for the patient.
    recipient: Recipient,
    now: Timestamp,
}

#[async_trait]
impl<E: Engine> Pages for Ledger<E> {
    async fn page(&self, link: &PageHash) -> Result<Option<PageRow>> {
        let rows = self.engine.read(PAGE, args![link.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let address = self.address_of(row, 21, 15)?;
        // A proxy sees nothing of the patient's record.
        let patient = match row.word(23, Recipient::from_word)? {
            Recipient::Patient => self.maybe_document(row, 22, 18)?,
            Recipient::Proxy => None,
        };
        if patient.is_none() && address.expose().is_empty() {
            return Ok(None);
        }
        let mut said = self.said_at(std::slice::from_ref(&address)).await?;
        Ok(Some(PageRow {
            facts: facts(row)?,
            channel: row.word(14, Channel::from_word)?,
            locale: row.text(16)?.to_owned(),
            begun_at: row.time(17)?,
            patient,
            revision: row.int(19)?,
            said: said.remove(&address).unwrap_or_default(),
            address,
            now: row.time(20)?,
        }))
    }

    /// Grants the wish, keeps it for the record, and counts it as an answer to the message: all or nothing.
    async fn wish(&self, ask: &PageWish) -> Result<WishOutcome> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(&mut tx, SUBJECT, args![ask.link.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(WishOutcome::Unknown) };
        let asker = Asker {
            facts: facts(row)?,
            channel: row.word(14, Channel::from_word)?,
            address: self.address_of(row, 16, 15)?,
            attempt: AttemptId(row.id(16)?),
            now: row.time(17)?,
            recipient: row.word(18, Recipient::from_word)?,
        };
        let stored = self.lock_patients(&mut tx, std::slice::from_ref(&asker.facts.patient_id)).await?;
        let id = stored.resolve(&asker.facts.patient_id);
        let patient = stored.patients.get(&id).filter(|_| asker.recipient == Recipient::Patient);
        let changes = match patient {
            Some(_) if self.has_moved_on(&mut tx, &id, ask.seen).await? => return Ok(WishOutcome::Outdated),
            Some(patient) => self.grant_to(&mut tx, patient, ask, &asker).await?,
            // Neither their record nor the address is kept any more: nothing is left that a word could bind.
            None if asker.address.expose().is_empty() => return Ok(WishOutcome::Unknown),
            None => self.stop_at_address(&mut tx, &ask.wish, &asker).await?,
        };
        let by = ConsentSource::Patient.as_str();
        // What a proxy says is no part of the patient's history; it stands with the address.
        if asker.recipient == Recipient::Patient {
            Self::keep_changes(&mut tx, &id, by, &changes, &evidence(&asker.facts)).await?;
        }
        if matches!(ask.wish, Wish::Stop { .. }) && !changes.is_empty() {
            Self::keep_campaign_stop(&mut tx, asker.facts.id).await?;
        }
        self.answered(&mut tx, &asker, !changes.is_empty()).await?;
        E::commit(tx).await?;
        self.look_again(
            Some(&asker.address).filter(|_| patient.is_none() && !changes.is_empty()).into_iter(),
        )
        .await;
        Ok(if changes.is_empty() { WishOutcome::Unchanged } else { WishOutcome::Changed })
    }
}

impl<E: Engine> Ledger<E> {
    async fn has_moved_on(&self, tx: &mut E::Tx, id: &PatientId, seen: Option<i64>) -> Result<bool> {
        let Some(seen) = seen else { return Ok(false) };
        let rows =
            E::run(tx, "SELECT revision FROM patient_state WHERE subject = $1", args![id.as_str()]).await?;
        Ok(rows.first().map(|row| row.int(0)).transpose()? != Some(seen))
    }

    async fn grant_to(
        &self,
        tx: &mut E::Tx,
        patient: &Patient,
        ask: &PageWish,
        asker: &Asker,
    ) -> Result<Vec<String>> {
        let evidence = evidence(&asker.facts);
        let terms = Terms { opt_in: &ask.opt_in, now: asker.now, evidence: &evidence };
        let granted = ask.wish.grant(patient, &terms);
        if !granted.changes.is_empty() {
            self.write_patients(tx, vec![granted.patient]).await?;
        }
        Ok(granted.changes)
    }

    /// Somebody who is not in the directory, or reads in a patient's place, has no record to write it into, only the
    /// address that the message went to. What can be kept there is a stop.
    async fn stop_at_address(&self, tx: &mut E::Tx, wish: &Wish, asker: &Asker) -> Result<Vec<String>> {
        let &Wish::Stop { purpose, channel } = wish else { return Ok(Vec::new()) };
        if channel.is_some_and(|asked| asked != asker.channel) {
            return Ok(Vec::new());
        }
        let stop = AddressConsent {
            channel: asker.channel,
            address: asker.address.clone(),
            purpose,
            granted: false,
            at: asker.now,
            source: ConsentSource::Patient,
            by: None,
            evidence: Some(evidence(&asker.facts)),
        };
        self.write_consents(tx, &[stop]).await?;
        Ok(vec![Wish::Stop { purpose, channel: Some(asker.channel) }.words()])
    }

    /// Who acts on the page has read the message: nothing more of it is sent, and both are told.
    async fn answered(&self, tx: &mut E::Tx, asker: &Asker, changed: bool) -> Result<()> {
        let id = asker.facts.id;
        let read = (asker.attempt, asker.channel, asker.recipient);
        self.has_read(tx, &asker.facts, read, asker.now).await?;
        let mut events = Vec::new();
        if changed {
            let event =
                Emitter::preference_changed(&asker.facts, (asker.channel, asker.recipient), asker.now);
            events.push(Numbered { message: Some(id), seq: Self::next_seq(tx, id).await?, event });
        }
        self.insert_events(tx, &events).await
    }

    /// The recipient has read what an attempt brought them: nothing more of the message is sent, and its caller is told.
    pub(super) async fn has_read(
        &self,
        tx: &mut E::Tx,
        facts: &MessageFacts,
        (attempt, channel, recipient): (AttemptId, Channel, Recipient),
        now: Timestamp,
    ) -> Result<()> {
        E::run(
            tx,
            "UPDATE attempts SET status = 'read', settled_at = COALESCE(settled_at, now())
             WHERE id = $1 AND status <> 'read'",
            args![attempt.0],
        )
        .await?;
        let raised = E::run(
            tx,
            "UPDATE messages
             SET status = 'read', reason = NULL, due_at = NULL, receipt_by = NULL, lease_token = NULL,
                 changed_at = now(), seq = seq + 1
             WHERE id = $1 AND status IN ('sending', 'unknown', 'sent', 'failed', 'delivered') RETURNING seq",
            args![facts.id.0],
        )
        .await?;
        let Some(row) = raised.first() else { return Ok(()) };
        let read = Move { channel: Some(channel), recipient, ..Move::bare(MessageStatus::Read, None, now) };
        let event = Emitter::always(facts, &read);
        self.insert_events(tx, &[Numbered { message: Some(facts.id), seq: row.count(0)?, event }]).await
    }
}

/// Where it was said, and the message that led there.
fn evidence(facts: &MessageFacts) -> String {
    format!("{PLACE} {}", facts.id)
}
