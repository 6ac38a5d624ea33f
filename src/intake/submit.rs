//! From bytes to the ledger, in batches. A bad row never sinks its batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::gatekeeper::{Arrival, Gatekeeper};
use super::people::not_taken;
use super::traces::Parents;
use crate::dispatch::{Dispatcher, Handover, Places, breathe};
use crate::domain::ids::{JobId, MessageId, ParkedId, SourceName, WorkerId};
use crate::domain::job::{Cancel, CancelTarget, Job};
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::{BodyKind, Expect, PatientMerge, identify, known_key};
use crate::domain::words::{Priority, Reason};
use crate::store::audit::AuditEntry;
use crate::store::rows::{Admission, AdmitBatch, AdmitOutcome, CancelOutcome, Reject, UpsertOutcome};
use crate::store::{Store, StoreError, patiently};

/// The word for what was accepted before, in answers and counts.
const DUPLICATE: &str = "duplicate";

/// Something that came in.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub body: Vec<u8>,
    pub arrival: Arrival,
    /// The AMQP routing key, where there is one.
    pub key: Option<String>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// Nobody waits for the answer: what cannot be accepted is parked and told by event.
    pub park: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    Accepted(MessageId),
    Duplicate(MessageId),
    /// A cancel or a replacement had come first.
    TakenBack(MessageId, Reason),
    Cancel(CancelOutcome),
    Patient(UpsertOutcome),
    Merged,
    /// It cannot be accepted; parked under this id where nobody waits for the answer.
    Refused {
        parked: Option<ParkedId>,
        problems: Vec<Problem>,
        /// After how long it may be sent again as it is; `None`: not at all.
        wait: Option<SignedDuration>,
    },
}

impl Outcome {
    /// What whoever asked is told, by whatever way they did: `accepted`, `duplicate`, `conflict` or `refused`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Duplicate(_) => DUPLICATE,
            Self::Cancel(CancelOutcome::TooLate(_)) => "conflict",
            Self::Accepted(_) | Self::TakenBack(..) | Self::Cancel(_) | Self::Patient(_) | Self::Merged => {
                "accepted"
            }
            Self::Refused { problems, .. } => match problems.as_slice() {
                [one] if one.reason == Reason::Conflict => "conflict",
                _ => "refused",
            },
        }
    }

    /// The message that it is about, be it a new one or not.
    #[must_use]
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Self::Accepted(id) | Self::Duplicate(id) | Self::TakenBack(id, _) => Some(*id),
            Self::Cancel(_) | Self::Patient(_) | Self::Merged | Self::Refused { .. } => None,
        }
    }

    /// Everything that is wrong, where something is.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused { problems, .. } => problems.clone(),
            Self::Cancel(CancelOutcome::TooLate(_)) => vec![Self::too_late()],
            _ => Vec::new(),
        }
    }

    /// What is wrong with a cancel of what has gone, or is about to.
    #[must_use]
    pub fn too_late() -> Problem {
        let rule = "it is on its way, or has ended";
        let cure = "steps not begun yet are dropped; to correct it, send a job that names it in `replaces`";
        Problem::new("", Reason::TooLate, rule, cure)
    }
}

/// The way in.
#[derive(Clone, Debug)]
pub struct Intake {
    pub store: Arc<dyn Store>,
    pub gatekeeper: Gatekeeper,
    /// Absent where no worker runs in this process: then messages wait in the ledger for one.
    pub dispatcher: Option<Dispatcher>,
    pub worker: WorkerId,
}

impl Intake {
    /// Writes everything down and answers one outcome each, in order.
    ///
    /// # Errors
    /// The ledger is away: nothing was written that will be forgotten, and the same call may be made again.
    pub async fn submit(&self, items: Vec<Incoming>) -> Result<Vec<Outcome>, StoreError> {
        let now = self.now().await?;
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(items.len(), || None);
        let mut jobs = Jobs::default();
        let parents = Parents::of(&items);
        let mut patients: Vec<(usize, Patient, Incoming)> = Vec::new();
        let mut reasons = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            breathe(place).await;
            match self.read(&item, now) {
                Ok(Read::Job(admission)) => {
                    let raw = item.park.then_some(item.body);
                    let admission = Admission { raw, redelivered: item.redelivered, ..*admission };
                    jobs.admissions.push((place, admission));
                }
                Ok(Read::Patient(patient)) => patients.push((place, *patient, item)),
                Ok(Read::Cancel(cancel)) => {
                    // What came before it in this batch is in the ledger first.
                    self.flush(&mut jobs, &parents, &mut outcomes).await?;
                    let outcome = match patiently(|| self.store.cancel(std::slice::from_ref(&cancel))).await {
                        Ok(mut answers) => {
                            reasons.extend(reason_of(&cancel));
                            answers.pop().map(Outcome::Cancel)
                        }
                        Err(StoreError::Data(code)) => {
                            Some(self.refuse(place, item, not_taken(&code), &mut jobs))
                        }
                        Err(other) => return Err(other),
                    };
                    set(&mut outcomes, place, outcome);
                }
                Ok(Read::Merge(merge)) => {
                    self.upsert(&mut patients, &mut jobs, &mut outcomes).await?;
                    let outcome = match patiently(|| self.store.merge_patients(&merge.id, &merge.into)).await
                    {
                        Ok(true) => Outcome::Merged,
                        Ok(false) => self.refuse(place, item, vec![strangers()], &mut jobs),
                        Err(StoreError::Data(code)) => self.refuse(place, item, not_taken(&code), &mut jobs),
                        Err(other) => return Err(other),
                    };
                    set(&mut outcomes, place, Some(outcome));
                }
                Err(unfit) => {
                    let outcome = self.refuse(place, item, unfit, &mut jobs);
                    set(&mut outcomes, place, Some(outcome));
                }
            }
        }
        self.upsert(&mut patients, &mut jobs, &mut outcomes).await?;
        self.flush(&mut jobs, &parents, &mut outcomes).await?;
        // Last: a batch that has to be submitted again has said nothing yet.
        for entry in &reasons {
            patiently(|| self.store.record(entry)).await?;
        }
        self.wake();
        Ok(outcomes.into_iter().map(|o| o.unwrap_or_else(lost)).collect())
    }

    /// The ledger's clock, as this process last read it; asked for where no worker runs.
    async fn now(&self) -> Result<Timestamp, StoreError> {
        match self.dispatcher.as_ref().and_then(Dispatcher::now) {
            Some(now) => Ok(now),
            None => self.store.ping().await,
        }
    }

    /// Takes back what one cancel names.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn take_back(&self, cancel: &Cancel) -> Result<CancelOutcome, StoreError> {
        let mut answers = patiently(|| self.store.cancel(std::slice::from_ref(cancel))).await?;
        self.wake();
        answers.pop().ok_or_else(|| StoreError::Internal("a cancel was not answered".to_owned()))
    }

    /// Something was committed: messages may be due, and there may be something to tell.
    pub fn wake(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.nudge();
        }
    }

    /// The jobs of a batch that are ready for the ledger.
    async fn flush(
        &self,
        jobs: &mut Jobs,
        parents: &Parents,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), StoreError> {
        let jobs = std::mem::take(jobs);
        if jobs.admissions.is_empty() && jobs.rejects.is_empty() {
            return Ok(());
        }
        let mut stack = vec![jobs];
        while let Some(jobs) = stack.pop() {
            let Err((error, jobs)) = self.admit(jobs, parents, outcomes).await else { continue };
            match error {
                // One of the rows is more than the database takes: halve until it stands alone, and park it.
                StoreError::Data(code) if jobs.len() > 1 => {
                    tracing::warn!(
                        code,
                        rows = jobs.len(),
                        "the ledger refuses a row of a batch; splitting it"
                    );
                    let (left, right) = jobs.halve();
                    stack.push(right);
                    stack.push(left);
                }
                StoreError::Data(code) => {
                    let Some(reject) = jobs.alone(&code, outcomes)? else { continue };
                    stack.push(Jobs { rejects: vec![reject], is_bare: true, ..Jobs::default() });
                }
                other => return Err(other),
            }
        }
        Ok(())
    }

    /// Writes the jobs, and gives them back where the ledger would not have them.
    async fn admit(
        &self,
        jobs: Jobs,
        parents: &Parents,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), (StoreError, Jobs)> {
        let mut reserved = None;
        if let Some(dispatcher) = &self.dispatcher {
            let urgent = jobs.admissions.iter().filter(|(_, a)| a.facts.priority == Priority::Urgent).count();
            reserved = Some(dispatcher.reserve(urgent, jobs.admissions.len() - urgent));
        }
        let is_bare = jobs.is_bare;
        let (places, admissions): (Vec<usize>, Vec<Admission>) = jobs.admissions.into_iter().unzip();
        let (told, rejects): (Vec<Option<usize>>, Vec<Reject>) = jobs.rejects.into_iter().unzip();
        let room = reserved.as_ref().map_or(0, Places::count);
        let batch = AdmitBatch { worker: self.worker, admissions, rejects, room };
        let asked = Instant::now();
        let report = match patiently(|| self.store.admit(&batch)).await {
            Ok(report) => report,
            Err(error) => {
                let admissions = places.into_iter().zip(batch.admissions).collect();
                let rejects = told.into_iter().zip(batch.rejects).collect();
                return Err((error, Jobs { admissions, rejects, is_bare }));
            }
        };
        count(report.outcomes.iter().map(result_of).chain(report.repeats.values().map(|_| DUPLICATE)));
        for (at, (place, reject)) in told.iter().zip(&batch.rejects).enumerate() {
            let Some(place) = place else { continue };
            match report.repeats.get(&at) {
                Some(id) => set(outcomes, *place, Some(Outcome::Duplicate(*id))),
                None => count_refused(&reject.problems),
            }
        }
        for ((place, admission), outcome) in places.iter().zip(&batch.admissions).zip(&report.outcomes) {
            self.trace(admission, outcome, parents.at(*place), asked);
            set(outcomes, *place, Some(answer(admission, outcome)));
        }
        if let (Some(dispatcher), Some(reserved)) = (&self.dispatcher, reserved) {
            let mut admissions: Vec<Option<Admission>> = batch.admissions.into_iter().map(Some).collect();
            let taken = report.leased.into_iter().filter_map(|leased| {
                let admission = admissions.get_mut(leased.place)?.take()?;
                let mut facts = admission.facts;
                facts.is_change = leased.is_change;
                Some(Handover { facts, body: admission.body, work: leased.work, asked, line: None })
            });
            dispatcher.take(taken.collect(), reserved).await;
        }
        Ok(())
    }

    async fn upsert(
        &self,
        patients: &mut Vec<(usize, Patient, Incoming)>,
        jobs: &mut Jobs,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), StoreError> {
        if patients.is_empty() {
            return Ok(());
        }
        let mut told = Vec::with_capacity(patients.len());
        let mut places = Vec::with_capacity(patients.len());
        for (place, patient, item) in std::mem::take(patients) {
            told.push(patient);
            places.push((place, item));
        }
        for ((place, item), answer) in places.into_iter().zip(self.upsert_each(told).await?) {
            let outcome = match answer {
                Ok(outcome) => Outcome::Patient(outcome),
                Err(problem) => self.refuse(place, item, vec![problem], jobs),
            };
            set(outcomes, place, Some(outcome));
        }
        Ok(())
    }

    /// Writes down what nobody can be told of, whatever it holds.
    ///
    /// # Errors
    /// The ledger is away.
    pub(super) async fn park(&self, rejects: Vec<Reject>) -> Result<(), StoreError> {
        let rejects = rejects.into_iter().map(|reject| (None, reject)).collect();
        self.flush(&mut Jobs { rejects, ..Jobs::default() }, &Parents::default(), &mut []).await
    }

    fn read(&self, item: &Incoming, now: Timestamp) -> Result<Read, Unfit> {
        let defaults = self.gatekeeper.defaults(&item.arrival);
        Ok(match BodyKind::of(item.key.as_deref(), &item.body) {
            BodyKind::Job => {
                let job = Job::parse(&item.body, &defaults)?;
                // Nobody is told of a job for having named its source.
                let is_own = self.gatekeeper.stands_for(&item.arrival, &job.source).is_ok();
                let key = is_own.then(|| JobKey {
                    source: job.source.clone(),
                    id: job.id.clone(),
                    content_hash: job.content_hash,
                });
                let admission = self.gatekeeper.admit(job, &item.arrival, now);
                Read::Job(Box::new(admission.map_err(|problems| Unfit { problems, key })?))
            }
            // A source takes back its own jobs only.
            BodyKind::Cancel => {
                let cancel = Cancel::parse(&item.body, &defaults)?;
                self.gatekeeper.stands_for(&item.arrival, &cancel.source).map_err(|problem| vec![problem])?;
                Read::Cancel(cancel)
            }
            BodyKind::Patient => {
                let expect = Expect { id: None, updated_at: true };
                Read::Patient(Box::new(Patient::parse(&item.body, &defaults, expect)?))
            }
            BodyKind::PatientMerge => Read::Merge(PatientMerge::parse(&item.body, None)?),
        })
    }

    /// What cannot be accepted: it goes to the rejects where nobody waits for the answer, or where the ledger may know it
    /// as accepted before.
    fn refuse(&self, place: usize, item: Incoming, unfit: impl Into<Unfit>, jobs: &mut Jobs) -> Outcome {
        let Unfit { problems, key } = unfit.into();
        if !item.park && key.is_none() {
            count_refused(&problems);
            return refusal(None, problems);
        }
        let content_hash = key.as_ref().map(|key| key.content_hash);
        let (source, job_id) = match key {
            Some(key) => (Some(key.source), Some(key.id)),
            None => {
                let (named, job_id): (Option<SourceName>, Option<JobId>) = identify(&item.body);
                (self.gatekeeper.owner(&item.arrival, named), job_id)
            }
        };
        let id = ParkedId::generate();
        let reject = Reject {
            id,
            problems: problems.clone(),
            source,
            job_id,
            origin: item.arrival.origin,
            correlation_id: item.arrival.correlation_id,
            key: item.key.as_deref().and_then(known_key),
            body: item.body,
            content_hash,
            park: item.park,
            redelivered: item.redelivered,
        };
        jobs.rejects.push((Some(place), reject));
        refusal(item.park.then_some(id), problems)
    }
}

/// What keeps something out.
struct Unfit {
    problems: Vec<Problem>,
    /// Of a job that was understood and is its sender's own: it may have been accepted before.
    key: Option<JobKey>,
}

impl From<Vec<Problem>> for Unfit {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems, key: None }
    }
}

/// What tells a repeat.
struct JobKey {
    source: SourceName,
    id: JobId,
    content_hash: [u8; 32],
}

enum Read {
    Job(Box<Admission>),
    Cancel(Cancel),
    Patient(Box<Patient>),
    Merge(PatientMerge),
}

#[derive(Default)]
struct Jobs {
    /// With their places in the batch.
    admissions: Vec<(usize, Admission)>,
    /// With the places of those that are counted as refused, or told to be repeats.
    rejects: Vec<(Option<usize>, Reject)>,
    /// Nothing describes them any more but the bodies, which any database takes.
    is_bare: bool,
}

impl Jobs {
    fn len(&self) -> usize {
        self.admissions.len() + self.rejects.len()
    }

    fn halve(mut self) -> (Self, Self) {
        let right = Self {
            admissions: self.admissions.split_off(self.admissions.len() / 2),
            rejects: self.rejects.split_off(self.rejects.len().div_ceil(2)),
            is_bare: false,
        };
        (self, right)
    }

    /// What is left of the one that the database refuses: its body, and nothing of what describes it; `None` of an
    /// admission for whose answer somebody waits.
    ///
    /// # Errors
    /// It was bare already, so it is not the row.
    fn alone(
        self,
        code: &str,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Option<(Option<usize>, Reject)>, StoreError> {
        let problems = not_taken(code);
        let bare = |id, origin, body, park, redelivered| Reject {
            id,
            problems: problems.clone(),
            source: None,
            job_id: None,
            origin,
            correlation_id: None,
            key: None,
            body,
            content_hash: None,
            park,
            redelivered,
        };
        if let Some((place, admission)) = self.admissions.into_iter().next() {
            let Admission { raw, origin, redelivered, .. } = admission;
            let reject = raw.map(|body| bare(ParkedId::generate(), origin, body, true, redelivered));
            set(outcomes, place, Some(refusal(reject.as_ref().map(|r| r.id), problems)));
            return Ok(reject.map(|reject| (None, reject)));
        }
        let reject = self.rejects.into_iter().next().filter(|_| !self.is_bare);
        let (place, reject) = reject.ok_or_else(|| StoreError::Data(code.to_owned()))?;
        Ok(Some((place, bare(reject.id, reject.origin, reject.body, reject.park, reject.redelivered))))
    }
}

fn answer(admission: &Admission, outcome: &AdmitOutcome) -> Outcome {
    match outcome {
        AdmitOutcome::Accepted(id) => Outcome::Accepted(*id),
        AdmitOutcome::Duplicate(id) => Outcome::Duplicate(*id),
        AdmitOutcome::TakenBack(id, reason) => Outcome::TakenBack(*id, *reason),
        AdmitOutcome::Conflict(id) => {
            refusal(admission.raw.is_some().then_some(*id), vec![crate::store::conflict()])
        }
        AdmitOutcome::OverLimit { parked, wait } => Outcome::Refused {
            parked: admission.raw.is_some().then_some(*parked),
            problems: vec![crate::store::over_limit()],
            wait: Some(*wait),
        },
    }
}

fn refusal(parked: Option<ParkedId>, problems: Vec<Problem>) -> Outcome {
    Outcome::Refused { parked, problems, wait: None }
}

fn strangers() -> Problem {
    let (rule, cure) = ("one of the two patients is not in the directory", "send both patients first");
    Problem::new("id", Reason::UnknownPatient, rule, cure)
}

/// As which a job is counted.
const fn result_of(outcome: &AdmitOutcome) -> &'static str {
    match outcome {
        AdmitOutcome::Accepted(_) => "accepted",
        AdmitOutcome::Duplicate(_) => DUPLICATE,
        AdmitOutcome::Conflict(_) => "conflict",
        AdmitOutcome::TakenBack(..) => "taken_back",
        AdmitOutcome::OverLimit { .. } => "over_limit",
    }
}

fn count_refused(problems: &[Problem]) {
    let reason = problems.first().map_or(Reason::Malformed, |p| p.reason);
    metrics::counter!("outreachd_rejected_total", "reason" => reason.as_str()).increment(1);
}

fn count(words: impl Iterator<Item = &'static str>) {
    let mut results: BTreeMap<&'static str, u64> = BTreeMap::new();
    for word in words {
        *results.entry(word).or_default() += 1;
    }
    for (word, jobs) in results {
        metrics::counter!("outreachd_jobs_total", "result" => word).increment(jobs);
    }
}

/// Why a source takes something back stands in the audit log: whoever asks later why nothing went out finds it there,
/// and nobody else reads what it has written freely.
fn reason_of(cancel: &Cancel) -> Option<AuditEntry> {
    let reason = cancel.reason.as_ref()?;
    Some(AuditEntry {
        who: format!("source:{}", cancel.source),
        act: "job.cancel".to_owned(),
        subject: match &cancel.target {
            CancelTarget::Job(job) => format!("{}:{job}", cancel.source),
            CancelTarget::About(matter) => format!("about {matter}"),
            CancelTarget::Message(message) => message.to_string(),
        },
        detail: Phi::new(reason.as_str()),
    })
}

fn set(outcomes: &mut [Option<Outcome>], place: usize, outcome: Option<Outcome>) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = outcome;
    }
}

/// Every item gets an outcome above; should one not, its sender hears of it.
fn lost() -> Outcome {
    let problem = Problem::new("", Reason::Malformed, "was not answered", "send it again and report this");
    refusal(None, vec![problem])
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_batch_is_counted_by_what_became_of_each_job() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let accepted = || AdmitOutcome::Accepted(MessageId::generate());
        let conflict = || AdmitOutcome::Conflict(ParkedId::generate());
        let taken_back = || AdmitOutcome::TakenBack(MessageId::generate(), Reason::Superseded);
        metrics::with_local_recorder(&recorder, || {
            count([accepted(), conflict(), accepted(), taken_back()].iter().map(result_of));
            count(std::iter::empty());
            count([accepted()].iter().map(result_of));
        });
        let told = recorder.handle().render();
        let mut counts: Vec<&str> =
            told.lines().filter_map(|line| line.strip_prefix("outreachd_jobs_total")).collect();
        counts.sort_unstable();
        let of = |word: &str, jobs: u32| format!("{{result=\"{word}\"}} {jobs}");
        assert_eq!(counts, [of("accepted", 3), of("conflict", 1), of("taken_back", 1)]);
    }
}
