//! Who is meant: from a file, from a search of the directory, or those of another campaign.

use std::io::Read;

use tokio::sync::mpsc;

use super::{Office, Refused, refuse};
use crate::domain::campaign::{AudienceQuery, FollowUp, Plan, RecipientBody};
use crate::domain::ids::{CampaignId, PatientId};
use crate::domain::job::When;
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::domain::words::Reason;
use crate::intake::gatekeeper::Arrival;
use crate::intake::import::{Audience, AudienceOptions, FirstRows, Format, Member, Row};
use crate::policy::campaign::{is_meant, ready_at};
use crate::store::campaigns::{Added, NewRecipient};
use crate::store::patiently;

/// Rows of one transaction.
const BATCH: usize = 4_000;

/// What became of the rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Brought {
    pub read: u64,
    pub added: u64,
    /// They were there before, from an earlier reading of the same file, with other data.
    pub changed: u64,
    /// They were there before as they are.
    pub known: u64,
    pub refused: u64,
}

/// A row that is not taken.
pub type Refusal = Row<Member>;

impl Office {
    /// How a file for `plan` is read.
    #[must_use]
    pub fn audience_options(&self, plan: &Plan, format: Option<Format>) -> AudienceOptions {
        AudienceOptions {
            defaults: self.gatekeeper.defaults(&Arrival::default()),
            format,
            template: plan.template.clone(),
            catalogue: self.catalogue.current(),
            data: plan.data.clone(),
        }
    }

    /// Reads a file and hands its rows on in batches; ends early when nobody takes them any more. Answers its first rows.
    /// It blocks.
    ///
    /// # Errors
    /// What is wrong with the file as a whole.
    pub fn read_file(
        input: impl Read,
        options: AudienceOptions,
        to: &mpsc::Sender<Vec<Row<Member>>>,
    ) -> Result<FirstRows, Vec<Problem>> {
        Ok(Self::read_rows(Audience::open(input, options)?, to))
    }

    /// The same with a file that is open already.
    pub fn read_rows(mut rows: Audience<impl Read>, to: &mpsc::Sender<Vec<Row<Member>>>) -> FirstRows {
        loop {
            let batch: Vec<Row<Member>> = rows.by_ref().take(BATCH).collect();
            if batch.is_empty() || to.blocking_send(batch).is_err() {
                return rows.first_rows();
            }
        }
    }

    /// Adds rows of a file to the audience. Answers those that are not taken.
    ///
    /// # Errors
    /// The campaign has begun, the rows are of another file, or the ledger is away; what was added before stays, and the
    /// same file may be read again.
    pub async fn bring(
        &self,
        plan: &Plan,
        batch: Vec<Row<Member>>,
        tally: &mut Brought,
        by: &str,
    ) -> Result<Vec<Refusal>, Refused> {
        let (mut refusals, mut lines, mut good) = (Vec::new(), Vec::new(), Vec::new());
        tally.read += count(batch.len());
        for row in batch {
            match row.result {
                Ok(member) => {
                    lines.push(row.line);
                    good.push((member.ordinal, member.patient, member.body));
                }
                Err(problems) => {
                    refusals.push(Row { line: row.line, result: Err(problems), original: row.original });
                }
            }
        }
        let added = self.add(plan, good, by).await?;
        for (line, added) in lines.into_iter().zip(added) {
            match added {
                Added::New => tally.added += 1,
                Added::Changed => tally.changed += 1,
                // Those whose place is taken have been refused, and all with them.
                Added::Known | Added::Taken => tally.known += 1,
                Added::Repeated(row) => {
                    let rule = format!("is in the audience already, from row {row}");
                    let problem = Problem::new("patient_id", Reason::Duplicate, rule, "leave the row out");
                    refusals.push(Row { line, result: Err(vec![problem]), original: Vec::new() });
                }
            }
        }
        tally.refused += count(refusals.len());
        Ok(refusals)
    }

    /// Where everybody has the same place in the order, it is known at once.
    async fn add(
        &self,
        plan: &Plan,
        members: Vec<(u64, PatientId, RecipientBody)>,
        by: &str,
    ) -> Result<Vec<Added>, Refused> {
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let alike = plan.waves.is_empty() && !matches!(plan.start, Some(When::Local(_)));
        let place = alike.then(|| (0, ready_at(plan.start, None, &self.home(plan, None))));
        let rows: Vec<NewRecipient> = members
            .into_iter()
            .map(|(ordinal, patient, body)| NewRecipient { ordinal, patient, body, place })
            .collect();
        let added = patiently(|| self.store.add_recipients(&plan.id, &rows, by)).await?;
        let added = added.ok_or_else(|| {
            let cure = "make a new campaign for those who are missing";
            refuse("audience", Reason::Conflict, "the campaign has begun", cure)
        })?;
        if added.contains(&Added::Taken) {
            let cure = "one campaign has one list, and the refused rows of its file with their refused_line: make a new \
                        campaign for this one";
            return Err(refuse("", Reason::Conflict, "another list has been read in before", cure));
        }
        Ok(added)
    }

    /// Adds everybody of the directory whom the plan's query means; where that was cut off, those who are missing.
    ///
    /// # Errors
    /// The campaign has begun, or the ledger is away.
    pub async fn search(&self, plan: &Plan, by: &str) -> Result<Brought, Refused> {
        let mut tally = Brought::default();
        let Some(query) = &plan.audience else { return Ok(tally) };
        let (_, now) = self.one(&plan.id).await?;
        let today = now.to_zoned(self.config.organisation.timezone.clone()).date();
        // Whoever was found twice has left a gap: places are counted on from the last.
        let mut ordinal = self.store.last_ordinal(&plan.id).await?;
        let mut after: Option<PatientId> = None;
        loop {
            let patients = self.store.patients_after(after.as_ref(), 1_000).await?;
            let Some(last) = patients.last() else { return Ok(tally) };
            after = Some(last.id.clone());
            tally.read += count(patients.len());
            let meant: Vec<Patient> = patients.into_iter().filter(|p| is_meant(query, p, today)).collect();
            let mut members = Vec::with_capacity(meant.len());
            for id in self.by_history(query, meant.into_iter().map(|p| p.id).collect()).await? {
                ordinal += 1;
                members.push((ordinal, id, RecipientBody::default()));
            }
            for added in self.add(plan, members, by).await? {
                match added {
                    Added::New => tally.added += 1,
                    _ => tally.known += 1,
                }
            }
        }
    }

    async fn by_history(
        &self,
        query: &AudienceQuery,
        mut ids: Vec<PatientId>,
    ) -> Result<Vec<PatientId>, Refused> {
        if let Some(campaign) = &query.received {
            let had = self.store.received(campaign, &ids, false).await?;
            ids.retain(|id| had.contains(id));
        }
        if let Some(campaign) = &query.not_received {
            let had = self.store.received(campaign, &ids, true).await?;
            ids.retain(|id| !had.contains(id));
        }
        Ok(ids)
    }

    /// Adds those of `parent` whom `kind` names, each under the number they had there.
    pub(super) async fn fill_from(
        &self,
        plan: &Plan,
        parent: &CampaignId,
        kind: FollowUp,
        by: &str,
    ) -> Result<(), Refused> {
        let mut after = 0;
        loop {
            let batch = self.store.follow_up(parent, kind, after, 2_000).await?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = last.ordinal;
            let members = batch.into_iter().map(|r| (r.ordinal, r.patient, r.body)).collect();
            self.add(plan, members, by).await?;
        }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
