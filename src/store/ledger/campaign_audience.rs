//! Who is meant: the audience of a campaign, their order, and who of them has a message.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use jiff::Timestamp;

use super::campaigns::with_hand;
use super::patient_records::texts_of;
use super::{Ledger, unfit};
use crate::domain::campaign::{CampaignState, FollowUp, RecipientBody};
use crate::domain::ids::{CampaignId, JobId, MessageId, PatientId, SourceName};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::policy::campaign::{Command, member, next};
use crate::store::campaigns::{
    Added, CampaignRow, Expanded, NewRecipient, Outstanding, Place, Recipient, RecipientRow,
};
use crate::store::columns::Columns;
use crate::store::engine::{Column, Engine, args, bytes, ints, maybe_ids, maybe_texts, texts, times};
use crate::store::sealed::Sealed;
use crate::store::{CampaignAudience, Result, StoreError, words};

/// Recipients that are asked for in one statement.
const AT_ONCE: usize = 5_000;

/// Due messages are counted up to here.
const COUNTED: i64 = 20_000;

/// Of a recipient `r` the first message `o`, and `m`: the last of those that were sent instead of it, else itself. Where
/// they have none, neither is there.
const LAST_TRY: &str = "LEFT JOIN messages o ON o.id = r.message_id
    LEFT JOIN messages m ON m.id = COALESCE((SELECT t.id FROM messages t WHERE t.source = o.source AND t.job_id = o.job_id
        AND t.retry_of IS NOT NULL AND t.copy_of IS NULL ORDER BY t.id DESC LIMIT 1), o.id)";

/// The names of the persons whom the ids in $1 name and who have more than one, each with the person.
const SEVERAL_NAMES: &str = "
WITH persons AS (
    SELECT alias_of AS id FROM patients WHERE alias_of IS NOT NULL AND id = ANY($1)
    UNION SELECT alias_of FROM patients WHERE alias_of = ANY($1)
)
SELECT id, id FROM persons UNION ALL SELECT p.id, p.alias_of FROM patients p JOIN persons ON p.alias_of = persons.id";

/// Those of these names who wait or have a message, and whether they need nothing any more. Whose message has begun comes
/// first, then who has one, then the order of the rows.
const PLACES: &str = "
SELECT r.ordinal, r.patient_id, EXISTS (
    SELECT 1 FROM campaign_done d WHERE d.campaign_id = $1 AND d.patient_id = r.patient_id)
FROM campaign_recipients r WHERE r.campaign_id = $1 AND r.patient_id = ANY($2) AND r.state IN (0, 1)
ORDER BY (SELECT m.last_attempt FROM messages m WHERE m.id = r.message_id) IS NULL, r.state DESC, r.ordinal";

/// Whether `m` reached its recipient, as far as is known: by itself, or with the message that told it too.
const RECEIVED: &str =
    "(m.status IN ('sent', 'delivered', 'read') OR (m.status = 'cancelled' AND m.reason = 'merged'))";

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Whether messages may have been written.
fn has_begun(state: CampaignState) -> bool {
    next(state, Command::Change, false, false).is_err()
}

fn job_of(id: &CampaignId, ordinal: u64) -> Result<JobId> {
    JobId::of_campaign(id, ordinal)
        .ok_or_else(|| StoreError::Internal("the name of a recipient's job".to_owned()))
}

#[async_trait]
impl<E: Engine> CampaignAudience for Ledger<E> {
    /// The campaign's row is locked first: the sum of the audience is exact whoever adds to it.
    async fn add_recipients(
        &self,
        id: &CampaignId,
        rows: &[NewRecipient],
        by: &str,
    ) -> Result<Option<Vec<Added>>> {
        let mut tx = self.engine.begin().await?;
        let head = E::run(
            &mut tx,
            "SELECT state, audience, changed_by FROM campaigns WHERE id = $1 {for update}",
            args![id.as_str()],
        )
        .await?;
        let Some(head) = head.first() else { return Ok(None) };
        if has_begun(head.word(0, CampaignState::from_word)?) {
            return Ok(None);
        }
        let hands: Vec<String> = head.text(2)?.lines().map(str::to_owned).collect();
        let mut sum = u128::from_str_radix(head.text(1)?, 16).unwrap_or(0);
        let bodies = rows.iter().map(|row| self.sealed_body(id, row)).collect::<Result<Vec<_>>>()?;
        let (bodies, prints): (Vec<Vec<u8>>, Vec<Vec<u8>>) = bodies.into_iter().unzip();
        // Of a patient who stands in the batch twice, the first row counts.
        let mut seen = HashSet::new();
        let once: Vec<(&NewRecipient, &Vec<u8>)> =
            rows.iter().zip(&bodies).filter(|(row, _)| seen.insert(&row.patient)).collect();
        let new = Self::insert_recipients(&mut tx, id, &once).await?;
        let mut answers = Vec::with_capacity(rows.len());
        let mut changed = Vec::new();
        let known = Self::known_recipients(&mut tx, id, rows, &new).await?;
        for ((row, print), body) in rows.iter().zip(&prints).zip(&bodies) {
            let added = if new.contains(&row.ordinal) {
                sum = sum.wrapping_add(member(row.ordinal, row.patient.as_str(), print));
                Added::New
            } else {
                match (known.by_ordinal.get(&row.ordinal), known.by_patient.get(row.patient.as_str())) {
                    (Some(stood), _) if stood.patient == row.patient.as_str() => {
                        let before = self.print_of((id, number(row.ordinal)), &stood.body)?;
                        if before == *print || !stood.waits {
                            Added::Known
                        } else {
                            let of = |print| member(row.ordinal, row.patient.as_str(), print);
                            sum = sum.wrapping_sub(of(&before)).wrapping_add(of(print));
                            changed.push((row, body));
                            Added::Changed
                        }
                    }
                    (Some(_), _) => Added::Taken,
                    (None, Some(ordinal)) => Added::Repeated(*ordinal),
                    (None, None) => Added::Repeated(row.ordinal),
                }
            };
            answers.push(added);
        }
        // Of another file nothing is taken.
        if answers.contains(&Added::Taken) {
            return Ok(Some(answers));
        }
        Self::replace_bodies(&mut tx, id, &changed).await?;
        if !new.is_empty() || !changed.is_empty() {
            let left_out = Self::leave_out_new(&mut tx, id, rows, &new).await?;
            let sum = Self::without(sum, &left_out)?;
            E::run(
                &mut tx,
                "UPDATE campaigns SET recipients = recipients + $2, audience = $3, state = 'draft', changed_at = now(),
                     changed_by = $4, revision = revision + 1, no_longer = no_longer + $5 WHERE id = $1",
                args![
                    id.as_str(),
                    i64::try_from(new.len()).unwrap_or(i64::MAX),
                    format!("{sum:032x}").as_str(),
                    with_hand(&hands, by).as_str(),
                    i64::try_from(left_out.len()).unwrap_or(i64::MAX),
                ],
            )
            .await?;
        }
        E::commit(tx).await?;
        Ok(Some(answers))
    }

    async fn last_ordinal(&self, id: &CampaignId) -> Result<u64> {
        let sql = "SELECT COALESCE(max(ordinal), 0) FROM campaign_recipients WHERE campaign_id = $1";
        let rows = self.engine.read(sql, args![id.as_str()]).await?;
        rows.first().map_or(Ok(0), |row| row.count(0))
    }

    /// The job of each is taken back by its name, so that it does not matter whether it is being written at this moment.
    /// Answers how many were left out or taken back.
    async fn no_longer_needed(&self, id: &CampaignId, patients: &[PatientId]) -> Result<u64> {
        let patients = self.names_of(patients).await?;
        let mut tx = self.engine.begin().await?;
        let head = E::run(
            &mut tx,
            "SELECT source, audience, state FROM campaigns WHERE id = $1 {for update}",
            args![id.as_str()],
        )
        .await?;
        let Some(head) = head.first() else { return Ok(0) };
        let source = head.word(0, SourceName::parse)?;
        let sum = u128::from_str_radix(head.text(1)?, 16).unwrap_or(0);
        let begun = has_begun(head.word(2, CampaignState::from_word)?);
        let now = Self::now(&mut tx).await?;
        // Whoever comes into the audience later, and whoever was written to, is left out of what follows too.
        E::run(
            &mut tx,
            "INSERT INTO campaign_done (campaign_id, patient_id) SELECT $1, patient_id FROM {input} WHERE true
             ON CONFLICT DO NOTHING",
            args![id.as_str()].batch(vec![texts("patient_id", &patients, PatientId::as_str)]),
        )
        .await?;
        let rows = E::run(
            &mut tx,
            "UPDATE campaign_recipients SET state = 2, reason = 'no_longer_needed'
             WHERE campaign_id = $1 AND patient_id = ANY($2) AND state = 0 RETURNING ordinal, patient_id",
            args![id.as_str(), texts_of(&patients)],
        )
        .await?;
        let without = Self::without(sum, &rows)?;
        let mut left_out = rows.iter().map(|row| row.count(0)).collect::<Result<HashSet<u64>>>()?;
        // Of one that has not begun there are no jobs to be taken back.
        if begun {
            left_out.extend(self.take_back_jobs(&mut tx, id, &source, &patients, now).await?);
        }
        // Who needs nothing any more makes no approval void once it has begun: fewer are written to, and no others.
        let audience = if begun { head.text(1)?.to_owned() } else { format!("{without:032x}") };
        E::run(
            &mut tx,
            "UPDATE campaigns SET no_longer = no_longer + $2, audience = $3 WHERE id = $1",
            args![id.as_str(), i64::try_from(rows.len()).unwrap_or(i64::MAX), audience.as_str()],
        )
        .await?;
        E::commit(tx).await?;
        Ok(u64::try_from(left_out.len()).unwrap_or(u64::MAX))
    }

    async fn unsorted(&self, id: &CampaignId, limit: u32) -> Result<Vec<Recipient>> {
        let rows = self
            .engine
            .read(
                "SELECT ordinal, patient_id, body, ready_at FROM campaign_recipients
                 WHERE campaign_id = $1 AND state = 0 AND wave IS NULL LIMIT $2",
                args![id.as_str(), i64::from(limit)],
            )
            .await?;
        rows.iter().map(|row| self.recipient(id, row)).collect()
    }

    async fn sort_recipients(&self, id: &CampaignId, places: &[Place]) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let batch = vec![
            ints("ordinal", places, |p| number(p.ordinal)),
            ints("wave", places, |p| i64::from(p.wave)),
            times("ready_at", places, |p| Some(p.ready_at)),
        ];
        self.engine
            .write(
                "UPDATE campaign_recipients SET wave = input.wave, ready_at = input.ready_at FROM {input}
                 WHERE campaign_recipients.campaign_id = $1 AND campaign_recipients.ordinal = input.ordinal",
                args![id.as_str()].batch(batch),
            )
            .await?;
        Ok(())
    }

    /// One statement: whoever it answers waited while the campaign stood so.
    async fn next_recipients(
        &self,
        row: &CampaignRow,
        until: Timestamp,
        limit: u32,
    ) -> Result<Option<Vec<Recipient>>> {
        let id = &row.plan.id;
        let rows = self
            .engine
            .read(
                "SELECT r.ordinal, r.patient_id, r.body, r.ready_at
                 FROM campaigns c LEFT JOIN (
                     SELECT ordinal, patient_id, body, ready_at, wave FROM campaign_recipients
                     WHERE campaign_id = $1 AND state = 0 AND wave <= $2 AND ready_at <= $3
                     ORDER BY wave, ready_at, ordinal LIMIT $4) AS r ON true
                 WHERE c.id = $1 AND c.revision = $5 AND c.expanded = $6 AND c.refused = $7 AND c.next_turn = $8
                 ORDER BY r.wave, r.ready_at, r.ordinal",
                args![
                    id.as_str(),
                    i64::from(row.wave),
                    until,
                    i64::from(limit),
                    row.revision,
                    number(row.expanded),
                    number(row.refused),
                    row.next_turn,
                ],
            )
            .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut waiting = Vec::with_capacity(rows.len());
        for row in &rows {
            // Where nobody waits, the campaign stands there alone.
            if row.maybe_int(0)?.is_some() {
                waiting.push(self.recipient(id, row)?);
            }
        }
        Ok(Some(waiting))
    }

    async fn expanded(&self, ask: &Expanded) -> Result<()> {
        let batch = vec![
            ints("ordinal", &ask.rows, |(ordinal, _)| number(*ordinal)),
            ints("state", &ask.rows, |(_, became)| if became.is_ok() { 1 } else { 3 }),
            maybe_ids("message_id", &ask.rows, |(_, became)| became.as_ref().ok().map(|id| id.0)),
            maybe_texts("reason", &ask.rows, |(_, became)| became.as_ref().err().map(|r| r.as_str())),
        ];
        let mut tx = self.engine.begin().await?;
        // The campaign first, as everybody does who writes to both.
        E::run(&mut tx, "SELECT id FROM campaigns WHERE id = $1 {for update}", args![ask.id.as_str()])
            .await?;
        let mut done = Vec::new();
        if !ask.rows.is_empty() {
            done = E::run(
                &mut tx,
                "UPDATE campaign_recipients SET state = input.state, message_id = input.message_id, reason = input.reason
                 FROM {input}
                 WHERE campaign_recipients.campaign_id = $1 AND campaign_recipients.ordinal = input.ordinal
                     AND campaign_recipients.state = 0
                 RETURNING campaign_recipients.message_id",
                args![ask.id.as_str()].batch(batch),
            )
            .await?;
        }
        if !ask.later.is_empty() {
            let batch = vec![
                ints("ordinal", &ask.later, |(ordinal, _)| number(*ordinal)),
                times("ready_at", &ask.later, |(_, at)| Some(*at)),
            ];
            E::run(
                &mut tx,
                "UPDATE campaign_recipients SET ready_at = input.ready_at FROM {input}
                 WHERE campaign_recipients.campaign_id = $1 AND campaign_recipients.ordinal = input.ordinal
                     AND campaign_recipients.state = 0",
                args![ask.id.as_str()].batch(batch),
            )
            .await?;
        }
        let mut written = 0_i64;
        for row in &done {
            written += i64::from(row.maybe_id(0)?.is_some());
        }
        let refused = i64::try_from(done.len()).unwrap_or(i64::MAX) - written;
        E::run(
            &mut tx,
            "UPDATE campaigns SET expanded = expanded + $2, refused = refused + $3,
                 next_turn = CASE WHEN revision = $4 AND next_turn < $5 THEN $5 ELSE next_turn END WHERE id = $1",
            args![ask.id.as_str(), written, refused, ask.revision, ask.next_turn],
        )
        .await?;
        E::commit(tx).await
    }

    /// With what waits for a provider, a limit or a budget, or for a hold that keeps all of a campaign: it would all go at once
    /// in the end.
    async fn due_of_campaign(&self, id: &CampaignId) -> Result<u64> {
        let rows = self
            .engine
            .read(
                concat!(
                    "SELECT count(*) FROM (SELECT 1 FROM messages m WHERE m.campaign_id = $1
                         AND m.campaign_status IN ('accepted', 'scheduled', 'held') AND ",
                    words::by_campaign!("m"),
                    " AND (m.due_at <= now() OR m.reason IN ('provider_unavailable', 'paced', 'over_budget') OR m.held_by IN (
                         SELECT id FROM holds WHERE scope IN ('all', 'source', 'template', 'purpose'))) LIMIT $2) AS due"
                ),
                args![id.as_str(), COUNTED],
            )
            .await?;
        rows.first().map_or(Ok(0), |row| row.count(0))
    }

    async fn outstanding(&self, id: &CampaignId) -> Result<Outstanding> {
        let rows = self
            .engine
            .read(
                concat!(
                    "SELECT
                         EXISTS (SELECT 1 FROM messages m WHERE m.campaign_id = $1
                             AND m.campaign_status IN ('accepted', 'scheduled', 'held', 'sending') AND ",
                    words::by_campaign!("m"),
                    "),
                         (SELECT CAST(wave AS bigint) FROM campaign_recipients WHERE campaign_id = $1 AND state = 0
                             AND wave IS NOT NULL ORDER BY wave LIMIT 1),
                         EXISTS (SELECT 1 FROM campaign_recipients WHERE campaign_id = $1 AND state = 0 AND wave IS NULL)"
                ),
                args![id.as_str()],
            )
            .await?;
        let row = rows.first().ok_or_else(|| StoreError::Internal("no answer".to_owned()))?;
        let wave = row.maybe_int(1)?.and_then(|wave| u16::try_from(wave).ok());
        Ok(Outstanding { open: row.flag(0)?, next_wave: wave, unsorted: row.flag(2)? })
    }

    async fn ready_at(&self, id: &CampaignId, ordinals: &[u64]) -> Result<HashMap<u64, Timestamp>> {
        let mut ready = HashMap::with_capacity(ordinals.len());
        for some in ordinals.chunks(AT_ONCE) {
            let some: Vec<i64> = some.iter().map(|ordinal| number(*ordinal)).collect();
            let sql = "SELECT ordinal, ready_at FROM campaign_recipients WHERE campaign_id = $1 AND ordinal = ANY($2)";
            for row in &self.engine.read(sql, args![id.as_str(), some]).await? {
                ready.insert(row.count(0)?, row.time(1)?);
            }
        }
        Ok(ready)
    }

    async fn recipients(&self, id: &CampaignId, after: u64, limit: u32) -> Result<Vec<RecipientRow>> {
        let rows = self
            .engine
            .read(
                format!(
                    "SELECT r.ordinal, r.patient_id, r.body, r.ready_at, CAST(r.wave AS bigint),
                         COALESCE(m.id, r.message_id), m.status, COALESCE(m.reason, r.reason,
                             CASE WHEN r.state = 0 AND c.state = 'done' THEN 'expired'
                                 WHEN r.state = 0 AND c.state = 'cancelled' THEN 'cancelled' END), m.channel
                     FROM campaign_recipients r JOIN campaigns c ON c.id = r.campaign_id {LAST_TRY}
                     WHERE r.campaign_id = $1 AND r.ordinal > $2 ORDER BY r.ordinal LIMIT $3"
                ),
                args![id.as_str(), number(after), i64::from(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let who = self.recipient(id, row)?;
                Ok(RecipientRow {
                    ordinal: who.ordinal,
                    patient_id: who.patient,
                    wave: row.maybe_int(4)?.and_then(|wave| u16::try_from(wave).ok()),
                    message_id: row.maybe_id(5)?.map(MessageId),
                    status: row.maybe_word(6, MessageStatus::from_word)?,
                    reason: row.maybe_word(7, Reason::from_word)?,
                    channel: row.maybe_word(8, Channel::from_word)?,
                    body: who.body,
                    ready_at: who.ready_at,
                })
            })
            .collect()
    }

    async fn follow_up(
        &self,
        parent: &CampaignId,
        kind: FollowUp,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Recipient>> {
        let not_done = "NOT EXISTS (SELECT 1 FROM campaign_done d WHERE d.campaign_id = $1 AND d.patient_id = r.patient_id)";
        let wanted = match kind {
            FollowUp::RetryFailed => format!("m.status = 'failed' AND {not_done}"),
            FollowUp::Correct => RECEIVED.to_owned(),
            // Who answers a message that told several things answers all of them; a telephone that does so by itself is nobody.
            FollowUp::RetryUnanswered => format!(
                "{RECEIVED} AND {not_done}
                 AND NOT EXISTS (SELECT 1 FROM replies p
                     WHERE p.message_id IN (o.id, m.id, m.merged_into) AND p.intent <> 'machine')"
            ),
        };
        let sql = format!(
            "SELECT r.ordinal, r.patient_id, r.body, r.ready_at
             FROM campaign_recipients r {LAST_TRY}
             WHERE r.campaign_id = $1 AND r.ordinal > $2 AND r.state = 1 AND {wanted} ORDER BY r.ordinal LIMIT $3"
        );
        let rows = self.engine.read(sql, args![parent.as_str(), number(after), i64::from(limit)]).await?;
        rows.iter().map(|row| self.recipient(parent, row)).collect()
    }

    async fn received(
        &self,
        id: &CampaignId,
        patients: &[PatientId],
        or_may: bool,
    ) -> Result<HashSet<PatientId>> {
        // They may have received it under another id, which leads to theirs now.
        let names = self.names_of(patients).await?;
        let mut sql = format!(
            "SELECT COALESCE(p.alias_of, r.patient_id) FROM campaign_recipients r LEFT JOIN patients p ON p.id = r.patient_id {LAST_TRY}
             WHERE r.campaign_id = $1 AND r.patient_id = ANY($2) AND ({RECEIVED}{})",
            if or_may { " OR m.status IN ('accepted', 'scheduled', 'held', 'sending', 'unknown')" } else { "" }
        );
        if or_may {
            sql += " UNION SELECT COALESCE(p.alias_of, r.patient_id) FROM campaign_recipients r
                 LEFT JOIN patients p ON p.id = r.patient_id JOIN campaigns c ON c.id = r.campaign_id
             WHERE r.campaign_id = $1 AND r.patient_id = ANY($2) AND r.state = 0 AND c.state NOT IN ('done', 'cancelled')";
        }
        let rows = self.engine.read(sql, args![id.as_str(), texts_of(&names)]).await?;
        rows.iter().map(|row| row.word(0, PatientId::parse)).collect()
    }
}

impl<E: Engine> Ledger<E> {
    /// The body, sealed and as a fingerprint: what is sealed twice never looks the same.
    fn sealed_body(&self, id: &CampaignId, row: &NewRecipient) -> Result<(Vec<u8>, Vec<u8>)> {
        if row.body.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let place = Sealed::RecipientBody.of((id.as_str(), number(row.ordinal)));
        let text = serde_json::to_vec(&row.body).map_err(|_| unfit("recipient"))?;
        Ok((self.sealer.seal(place, &text)?, self.sealer.fingerprint(&text).to_vec()))
    }

    pub(super) fn opened_body(&self, place: (&CampaignId, i64), sealed: &[u8]) -> Result<RecipientBody> {
        if sealed.is_empty() {
            return Ok(RecipientBody::default());
        }
        serde_json::from_slice(&self.opened_text(place, sealed)?)
            .map_err(|_| StoreError::Internal("a stored recipient does not fit".to_owned()))
    }

    fn opened_text<'a>(&self, (id, ordinal): (&CampaignId, i64), sealed: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        self.sealer.open(Sealed::RecipientBody.of((id.as_str(), ordinal)), sealed)
    }

    /// The fingerprint of what stands there, as [`Self::sealed_body`] makes it.
    fn print_of(&self, place: (&CampaignId, i64), sealed: &[u8]) -> Result<Vec<u8>> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.sealer.fingerprint(&self.opened_text(place, sealed)?).to_vec())
    }

    fn columns<'a>(picked: &'a [(&NewRecipient, &Vec<u8>)]) -> Vec<Column<'a>> {
        let placed = |row: &NewRecipient| row.place.map_or(Timestamp::UNIX_EPOCH, |(_, at)| at);
        vec![
            ints("ordinal", picked, |(row, _)| number(row.ordinal)),
            texts("patient_id", picked, |(row, _)| row.patient.as_str()),
            bytes("body", picked, |(_, body)| (*body).clone()),
            // -1: has no place in the order yet.
            ints("wave", picked, |(row, _)| row.place.map_or(-1, |(wave, _)| i64::from(wave))),
            times("ready_at", picked, |(row, _)| Some(placed(row))),
        ]
    }

    async fn insert_recipients(
        tx: &mut E::Tx,
        id: &CampaignId,
        picked: &[(&NewRecipient, &Vec<u8>)],
    ) -> Result<HashSet<u64>> {
        let rows = E::run(
            tx,
            "INSERT INTO campaign_recipients (campaign_id, ordinal, patient_id, body, wave, ready_at)
             SELECT $1, ordinal, patient_id, body, CASE WHEN wave >= 0 THEN wave END, ready_at FROM {input} WHERE true
             ON CONFLICT DO NOTHING RETURNING ordinal",
            args![id.as_str()].batch(Self::columns(picked)),
        )
        .await?;
        rows.iter().map(|row| row.count(0)).collect()
    }

    /// Rows that were mended in the file.
    async fn replace_bodies(
        tx: &mut E::Tx,
        id: &CampaignId,
        changed: &[(&NewRecipient, &Vec<u8>)],
    ) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        E::run(
            tx,
            "UPDATE campaign_recipients SET body = input.body, ready_at = input.ready_at,
                 wave = CASE WHEN input.wave >= 0 THEN input.wave END FROM {input}
             WHERE campaign_recipients.campaign_id = $1 AND campaign_recipients.ordinal = input.ordinal
                 AND campaign_recipients.patient_id = input.patient_id AND campaign_recipients.state = 0",
            args![id.as_str()].batch(Self::columns(changed)),
        )
        .await?;
        Ok(())
    }

    /// Of those who have just come in, whoever was named as done before, and whoever stands there under another id.
    async fn leave_out_new(
        tx: &mut E::Tx,
        id: &CampaignId,
        rows: &[NewRecipient],
        new: &HashSet<u64>,
    ) -> Result<Vec<E::Row>> {
        let ordinals: Vec<i64> = new.iter().map(|ordinal| number(*ordinal)).collect();
        let mut left_out = E::run(
            tx,
            "UPDATE campaign_recipients SET state = 2, reason = 'no_longer_needed'
             WHERE campaign_id = $1 AND ordinal = ANY($2) AND state = 0 AND EXISTS (SELECT 1 FROM campaign_done d
                 WHERE d.campaign_id = $1 AND d.patient_id = campaign_recipients.patient_id)
             RETURNING ordinal, patient_id",
            args![id.as_str(), ordinals],
        )
        .await?;
        let came = rows.iter().filter(|row| new.contains(&row.ordinal));
        let names: Vec<&str> = came.map(|row| row.patient.as_str()).collect();
        let places = Self::not_needed(tx, id, &names).await?;
        left_out.extend(Self::leave_out_places(tx, id, &places).await?);
        Ok(left_out)
    }

    /// What stands in the way of those that were not written.
    async fn known_recipients(
        tx: &mut E::Tx,
        id: &CampaignId,
        rows: &[NewRecipient],
        new: &HashSet<u64>,
    ) -> Result<KnownRecipients> {
        let rest: Vec<&NewRecipient> = rows.iter().filter(|row| !new.contains(&row.ordinal)).collect();
        let mut known = KnownRecipients::default();
        if rest.is_empty() {
            return Ok(known);
        }
        let ordinals: Vec<i64> = rest.iter().map(|row| number(row.ordinal)).collect();
        let patients: Vec<&str> = rest.iter().map(|row| row.patient.as_str()).collect();
        let found = E::run(
            tx,
            "SELECT ordinal, patient_id, body, state = 0 FROM campaign_recipients
             WHERE campaign_id = $1 AND ordinal = ANY($2)
             UNION ALL
             SELECT ordinal, patient_id, body, state = 0 FROM campaign_recipients
             WHERE campaign_id = $1 AND patient_id = ANY($3)",
            args![id.as_str(), ordinals, patients],
        )
        .await?;
        for row in &found {
            let (ordinal, patient) = (row.count::<u64>(0)?, row.text(1)?.to_owned());
            known.by_patient.insert(patient.clone(), ordinal);
            let stood = Stood { patient, body: row.bytes(2)?.to_vec(), waits: row.flag(3)? };
            known.by_ordinal.insert(ordinal, stood);
        }
        Ok(known)
    }

    /// The sum of an audience without these, each with its ordinal and patient.
    fn without(sum: u128, left_out: &[E::Row]) -> Result<u128> {
        left_out
            .iter()
            .try_fold(sum, |sum, row| Ok(sum.wrapping_sub(member(row.count(0)?, row.text(1)?, b"left out"))))
    }

    /// Two records have become one, of these `names`: who needs nothing under one of them needs nothing under any, and of the
    /// one person's turns in a campaign one is left.
    pub(super) async fn leave_out_twice(&self, tx: &mut E::Tx, names: &[PatientId]) -> Result<()> {
        let (now, names) = (Self::now(tx).await?, texts_of(names));
        // The campaigns first, as everybody does who writes to both.
        let open = "SELECT id, source, state FROM campaigns c
             WHERE state NOT IN ('done', 'cancelled') AND EXISTS (
                 SELECT 1 FROM campaign_recipients r
                 WHERE r.campaign_id = c.id AND r.patient_id = ANY($1) AND r.state IN (0, 1))
             ORDER BY id {for update}";
        let open = E::run(tx, open, args![names.clone()]).await?;
        E::run(
            tx,
            "INSERT INTO campaign_done (campaign_id, patient_id)
             SELECT c.id, p.id FROM campaigns c JOIN campaign_done d ON d.campaign_id = c.id AND d.patient_id = ANY($1)
                 JOIN patients p ON p.id = ANY($1) WHERE true
             ON CONFLICT DO NOTHING",
            args![names.clone()],
        )
        .await?;
        for row in &open {
            let (id, source) = (row.word(0, CampaignId::parse)?, row.word(1, SourceName::parse)?);
            let places = Self::not_needed(tx, &id, &names).await?;
            let left_out = Self::leave_out_places(tx, &id, &places).await?;
            let sql = "UPDATE campaigns SET no_longer = no_longer + $2 WHERE id = $1";
            E::run(tx, sql, args![id.as_str(), i64::try_from(left_out.len()).unwrap_or(i64::MAX)]).await?;
            if has_begun(row.word(2, CampaignState::from_word)?) {
                self.take_back_places(tx, &id, &source, &places, now).await?;
            }
        }
        Ok(())
    }

    /// The places of those whom these ids mean who are to have no message of the campaign: they need nothing any more under
    /// another of their names, or have another place in it.
    async fn not_needed(tx: &mut E::Tx, id: &CampaignId, ids: &[&str]) -> Result<Vec<u64>> {
        let rows = E::run(tx, SEVERAL_NAMES, args![ids.to_vec()]).await?;
        let persons: HashMap<&str, &str> =
            rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_>>()?;
        if persons.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = persons.keys().copied().collect();
        let (mut seen, mut places) = (HashSet::new(), Vec::new());
        for row in &E::run(tx, PLACES, args![id.as_str(), names]).await? {
            if row.flag(2)? || !seen.insert(persons.get(row.text(1)?)) {
                places.push(row.count(0)?);
            }
        }
        Ok(places)
    }

    /// Those of these places who wait need no message any more.
    async fn leave_out_places(tx: &mut E::Tx, id: &CampaignId, places: &[u64]) -> Result<Vec<E::Row>> {
        let places: Vec<i64> = places.iter().map(|ordinal| number(*ordinal)).collect();
        E::run(
            tx,
            "UPDATE campaign_recipients SET state = 2, reason = 'no_longer_needed'
             WHERE campaign_id = $1 AND ordinal = ANY($2) AND state = 0 RETURNING ordinal, patient_id",
            args![id.as_str(), places],
        )
        .await
    }

    /// Answers the places of those whose messages were taken back.
    async fn take_back_jobs(
        &self,
        tx: &mut E::Tx,
        id: &CampaignId,
        source: &SourceName,
        patients: &[PatientId],
        now: Timestamp,
    ) -> Result<Vec<u64>> {
        let asked = E::run(
            tx,
            "SELECT ordinal FROM campaign_recipients WHERE campaign_id = $1 AND patient_id = ANY($2) AND state IN (1, 2)",
            args![id.as_str(), texts_of(patients)],
        )
        .await?;
        let places = asked.iter().map(|row| row.count(0)).collect::<Result<Vec<u64>>>()?;
        self.take_back_places(tx, id, source, &places, now).await
    }

    /// The same of these places.
    async fn take_back_places(
        &self,
        tx: &mut E::Tx,
        id: &CampaignId,
        source: &SourceName,
        places: &[u64],
        now: Timestamp,
    ) -> Result<Vec<u64>> {
        let mut taken_back = Vec::new();
        for &ordinal in places {
            let job = job_of(id, ordinal)?;
            if !self.take_back(tx, source, &job, Reason::NoLongerNeeded, now).await?.cancelled.is_empty() {
                taken_back.push(ordinal);
            }
        }
        Ok(taken_back)
    }

    fn recipient(&self, id: &CampaignId, row: &E::Row) -> Result<Recipient> {
        Ok(Recipient {
            ordinal: row.count(0)?,
            patient: row.word(1, PatientId::parse)?,
            body: self.opened_body((id, row.int(0)?), row.bytes(2)?)?,
            ready_at: row.time(3)?,
        })
    }
}

/// Rows that stand in the way of others.
#[derive(Default)]
struct KnownRecipients {
    by_ordinal: HashMap<u64, Stood>,
    by_patient: HashMap<String, u64>,
}

/// One of them.
struct Stood {
    patient: String,
    /// Sealed.
    body: Vec<u8>,
    /// Nothing was written for them so far.
    waits: bool,
}
