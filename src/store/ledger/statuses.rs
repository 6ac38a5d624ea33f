//! What was found out about contacts that no record has: those of people who are not in the directory, and those that a job
//! brings along for somebody who is, and that the directory does not have. It is kept by the address alone, and honoured
//! whoever sends it again, until somebody there writes START, or a record that is newer calls the contact good.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Ledger;
use crate::domain::patient::{Contact, Patient};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, ContactStatus};
use crate::store::Result;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, bytes, texts, times};
use crate::store::rows::Subject;

/// A contact that was found not to work.
type Spoilt = (Channel, Phi, ContactStatus);

impl<E: Engine> Ledger<E> {
    /// Marks an address over these channels; whoever is planned for there is planned anew. False: it is so already.
    pub(super) async fn mark_address(
        &self,
        tx: &mut E::Tx,
        address: &Phi,
        channels: &[Channel],
        (status, evidence): (ContactStatus, &str),
    ) -> Result<bool> {
        let index = self.sealer.index(address);
        let batch = vec![
            bytes("address_index", channels, |_| index.clone()),
            texts("channel", channels, |channel| channel.as_str()),
        ];
        let rows = E::run(
            tx,
            "INSERT INTO address_statuses (address_index, channel, status, at, evidence)
             SELECT address_index, channel, $1, now(), $2 FROM {input} WHERE true
             ON CONFLICT (address_index, channel) DO UPDATE SET status = excluded.status, at = excluded.at,
                 evidence = excluded.evidence
             WHERE address_statuses.status = 'bad' AND excluded.status <> 'bad' RETURNING channel",
            args![status.as_str(), evidence].batch(batch),
        )
        .await?;
        if rows.is_empty() {
            return Ok(false);
        }
        Self::bump(tx, &[self.sealer.address_subject(address).as_str()]).await?;
        Ok(true)
    }

    /// Somebody there wants to be written to: what was found out before proves nothing any more.
    pub(super) async fn unmark_address(&self, tx: &mut E::Tx, address: &Phi) -> Result<()> {
        let index = [self.sealer.index(address)];
        let columns = vec![bytes("address_index", &index, Clone::clone)];
        E::run(
            tx,
            "DELETE FROM address_statuses WHERE address_index IN (SELECT address_index FROM {input})",
            Args::none().batch(columns),
        )
        .await?;
        Ok(())
    }

    /// The senders of these records know better: they say that a contact is good, or that it was verified, later than it
    /// was found out that it is not.
    pub(super) async fn unmark_where_good(&self, tx: &mut E::Tx, sent: &[Patient]) -> Result<()> {
        let good: Vec<(&Contact, Timestamp)> = sent
            .iter()
            .flat_map(|p| p.every_contact().filter_map(|c| Some((c, c.good_since(p.updated_at)?))))
            .collect();
        if good.is_empty() {
            return Ok(());
        }
        let columns = vec![
            bytes("address_index", &good, |(contact, _)| self.sealer.index(&contact.address)),
            texts("channel", &good, |(contact, _)| contact.channel.as_str()),
            times("at", &good, |(_, at)| Some(*at)),
        ];
        E::run(
            tx,
            "DELETE FROM address_statuses WHERE EXISTS (SELECT 1 FROM {input}
                 WHERE input.address_index = address_statuses.address_index
                     AND input.channel = address_statuses.channel AND input.at > address_statuses.at)",
            Args::none().batch(columns),
        )
        .await?;
        Ok(())
    }

    /// What was found out about the addresses of snapshots; asks nothing where there are none.
    pub(super) async fn statuses(&self, subjects: &[Subject]) -> Result<HashMap<Phi, Vec<Spoilt>>> {
        // A mailbox may be spelt in several ways.
        let mut by_index: HashMap<Vec<u8>, HashSet<&Phi>> = HashMap::new();
        for address in subjects.iter().flat_map(|s| &s.inline_addresses) {
            by_index.entry(self.sealer.index(address)).or_default().insert(address);
        }
        if by_index.is_empty() {
            return Ok(HashMap::new());
        }
        let indexes: Vec<&Vec<u8>> = by_index.keys().collect();
        let rows = self
            .engine
            .read(
                "SELECT a.address_index, a.channel, a.status FROM {input}
                 JOIN address_statuses a ON a.address_index = input.address_index",
                Args::none().batch(vec![bytes("address_index", &indexes, |index| index.to_vec())]),
            )
            .await?;
        let mut found: HashMap<Phi, Vec<Spoilt>> = HashMap::new();
        for row in &rows {
            let channel = row.word(1, Channel::from_word)?;
            let status = row.word(2, ContactStatus::from_word)?;
            for &address in by_index.get(row.bytes(0)?).into_iter().flatten() {
                found.entry(address.clone()).or_default().push((channel, address.clone(), status));
            }
        }
        Ok(found)
    }
}
