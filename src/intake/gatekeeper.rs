//! What a source may ask for, and what a job must bring: decided from configuration and templates alone.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::config::Config;
use crate::domain::campaign::{Plan, RecipientBody};
use crate::domain::ids::{MessageId, PatientId, SiteId, SourceName};
use crate::domain::job::{Job, When};
use crate::domain::phone::Region;
use crate::domain::problem::Problem;
use crate::domain::reader::ParseDefaults;
use crate::domain::words::{Priority, Purpose, Reason};
use crate::store::rows::{Admission, JobBody, MessageFacts};
use crate::telemetry::TraceParent;
use crate::template::{SharedCatalogue, Template};

/// Wall-clock times lie within this far of the same reading in UTC: zones run from UTC-12 to UTC+14.
const ZONES: SignedDuration = SignedDuration::from_hours(14);

/// Answers for jobs before the ledger sees them.
#[derive(Clone, Debug)]
pub struct Gatekeeper {
    config: Arc<Config>,
    catalogue: Arc<SharedCatalogue>,
    site_regions: Arc<HashMap<crate::domain::ids::SiteId, Region>>,
}

/// How a job came in.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// The source that its token or broker user stands for; the job may name no other.
    pub source: Option<SourceName>,
    /// The broker brought it: then a source that has a broker user is that user's alone.
    pub by_broker: bool,
    /// The class that its routing key names, for a job that names none.
    pub priority: Option<Priority>,
    pub correlation_id: Option<String>,
    /// The queue, `http` or `file`.
    pub origin: String,
    /// Its credentials do not cover emergencies, whatever its source may write for.
    pub no_emergency: bool,
    /// Who asks, where more than the source is known: the token, the broker's user, the user of the command line.
    pub asked_by: Option<String>,
    /// The span of its sender, where that traces.
    pub traceparent: Option<TraceParent>,
}

impl Gatekeeper {
    /// A gatekeeper over this configuration and these templates.
    #[must_use]
    pub fn new(config: Arc<Config>, catalogue: Arc<SharedCatalogue>) -> Self {
        let regions = config
            .sites
            .iter()
            .filter_map(|site| Region::parse(&site.region).map(|region| (site.id.clone(), region)))
            .collect();
        Self { config, catalogue, site_regions: Arc::new(regions) }
    }

    /// What an input need not say because its way in says it.
    #[must_use]
    pub fn defaults(&self, arrival: &Arrival) -> ParseDefaults {
        let region = Region::parse(&self.config.organisation.default_region).unwrap_or(Region::US);
        ParseDefaults {
            source: arrival.source.clone().or_else(|| self.config.default_source().cloned()),
            region,
            site_regions: self.site_regions.clone(),
        }
    }

    /// The source that a broker user stands for.
    #[must_use]
    pub fn source_of_user(&self, user: &str) -> Option<SourceName> {
        self.config.source_of_amqp_user(user).map(|s| s.name.clone())
    }

    /// Whether what came in so may be in the name of `named`.
    ///
    /// # Errors
    /// It stands for another source, or for none where the broker has to vouch for this one.
    pub fn stands_for(&self, arrival: &Arrival, named: &SourceName) -> Result<(), Problem> {
        let refuse =
            |rule: &str, cure: &str| Err(Problem::new("source", Reason::SourceNotAllowed, rule, cure));
        match &arrival.source {
            Some(own) if own == named => Ok(()),
            Some(_) => refuse(
                "is not the source that these credentials stand for",
                "leave `source` out, or use its own credentials",
            ),
            None if arrival.by_broker && self.config.source(named).is_some_and(|s| s.amqp_user.is_some()) => {
                refuse(
                    "is bound to a broker user, and the message does not say that it is theirs",
                    "publish it as the source's `amqp_user`, with the property `user_id`",
                )
            }
            None => Ok(()),
        }
    }

    /// Whose a body is that cannot be accepted: nobody becomes a source by naming it.
    #[must_use]
    pub fn owner(&self, arrival: &Arrival, named: Option<SourceName>) -> Option<SourceName> {
        let named = named.filter(|named| self.stands_for(arrival, named).is_ok());
        arrival.source.clone().or(named)
    }

    /// Turns a parsed job into an admission, or names everything that is wrong with it. `now` is the database's.
    ///
    /// # Errors
    /// Every fault of the job that configuration and templates show.
    pub fn admit(&self, job: Job, arrival: &Arrival, now: Timestamp) -> Result<Admission, Vec<Problem>> {
        let mut problems = Vec::new();
        self.check_source(&job, arrival, &mut problems);
        problems.extend(job.site.as_ref().and_then(|site| self.no_such_site(site)));
        let catalogue = self.catalogue.current();
        let Some(template) = catalogue.get(&job.template) else {
            let cure = "use one of `outreachd template list`";
            problems.push(Problem::new("template", Reason::UnknownTemplate, "is not in the catalogue", cure));
            return Err(problems);
        };
        if let Err(more) = template.manifest.check_data(&job.data) {
            problems.extend(more);
        }
        let purpose = self.purpose(&job, template, &mut problems);
        if purpose == Purpose::Emergency && job.override_reason.as_deref().is_none_or(|r| r.trim().is_empty())
        {
            let rule = "is required for purpose `emergency`, which passes quiet hours, caps and preferences";
            let cure = "say why in a sentence that stands up to questions later; it is kept with the message";
            problems.push(Problem::new("override_reason", Reason::BadData, rule, cure));
        }
        if purpose == Purpose::Emergency && arrival.no_emergency {
            let rule = "is `emergency`, which these credentials do not cover";
            let cure = "give the token the scope `jobs:emergency`";
            problems.push(Problem::new("purpose", Reason::SourceNotAllowed, rule, cure));
        }
        let priority = self.priority(&job, template, arrival, &mut problems);
        let expires_at = job.expires_at.unwrap_or_else(|| self.expiry(&job, template, purpose, now));
        if latest(expires_at) <= now {
            let cure = "send it earlier, or give a later `expires_at`";
            problems.push(Problem::new("expires_at", Reason::Expired, "has passed", cure));
        }
        if let Some(not_before) = job.not_before
            && earliest(not_before) >= latest(expires_at)
        {
            let cure = "let it start before it expires";
            problems.push(Problem::new("not_before", Reason::Expired, "is not before `expires_at`", cure));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let ack_by = template.manifest.urgent_deadline.filter(|_| priority == Priority::Urgent).map(|span| {
            job.not_before.map_or(now, earliest).max(now).checked_add(span).unwrap_or(Timestamp::MAX)
        });
        let mut admission = admission(job, arrival, purpose, priority, expires_at);
        admission.facts.site = admission.facts.site.or_else(|| self.site_of(&admission.facts.source));
        Ok(Admission { ack_by, ..admission })
    }

    /// What is wrong with the name of a site. Where none is configured, any is a label.
    fn no_such_site(&self, site: &SiteId) -> Option<Problem> {
        let is_wrong = !self.config.sites.is_empty() && self.config.site(site).is_none();
        let cure = "use the id of a `[[site]]`";
        is_wrong.then(|| Problem::new("site", Reason::BadData, "is not configured", cure))
    }

    /// The site of what a source asks for that names none.
    fn site_of(&self, source: &SourceName) -> Option<SiteId> {
        self.config.source(source).and_then(|source| source.site.clone())
    }

    /// What is wrong with a campaign's plan, as far as configuration and templates show. What its recipients bring is
    /// judged with them.
    ///
    /// # Errors
    /// Every fault.
    pub fn plan(&self, plan: &Plan) -> Result<(), Vec<Problem>> {
        let nobody = PatientId::parse("nobody");
        let Some(job) = nobody.and_then(|id| plan.job(1, &id, &RecipientBody::default(), None)) else {
            return Ok(());
        };
        let (mut problems, arrival) = (Vec::new(), Arrival::default());
        self.check_source(&job, &arrival, &mut problems);
        problems.extend(plan.site.as_ref().and_then(|site| self.no_such_site(site)));
        let catalogue = self.catalogue.current();
        match catalogue.get(&plan.template) {
            None => {
                let cure = "use one of `outreachd template list`";
                problems.push(Problem::new(
                    "template",
                    Reason::UnknownTemplate,
                    "is not in the catalogue",
                    cure,
                ));
            }
            Some(template) => {
                if self.purpose(&job, template, &mut problems) == Purpose::Emergency {
                    let rule = "is `emergency`, which each job must give its own `override_reason` for";
                    let cure = "send jobs, or name another purpose of the template";
                    problems.push(Problem::new("purpose", Reason::BadData, rule, cure));
                }
                // What everybody brings of their own is missing here.
                problems.extend(template.manifest.check_given(&plan.data).err().into_iter().flatten());
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn check_source(&self, job: &Job, arrival: &Arrival, problems: &mut Vec<Problem>) {
        if let Err(problem) = self.stands_for(arrival, &job.source) {
            problems.push(problem);
            return;
        }
        let mut refuse = |field: &str, reason, rule: &str, cure: &str| {
            problems.push(Problem::new(field, reason, rule, cure));
        };
        let Some(source) = self.config.source(&job.source) else {
            refuse("source", Reason::UnknownSource, "is not configured", "add a `[[source]]` of that name");
            return;
        };
        if !source.may_use(&job.template) {
            refuse(
                "template",
                Reason::SourceNotAllowed,
                "this source may not use it",
                "add it to the source's `templates`",
            );
        }
        if job.patient.is_some() && !source.allow_inline {
            let cure = "send the patient to the directory and name it by `patient_id`, or set `allow_inline`";
            refuse("patient", Reason::SourceNotAllowed, "this source may not send inline patients", cure);
        }
        if job.purpose.is_some_and(|p| !source.may_write_for(p)) {
            refuse(
                "purpose",
                Reason::SourceNotAllowed,
                "this source may not write for it",
                "add it to the source's `purposes`",
            );
        }
    }

    fn purpose(&self, job: &Job, template: &Template, problems: &mut Vec<Problem>) -> Purpose {
        let listed = &template.manifest.purposes;
        let allowed = |p: Purpose| self.config.source(&job.source).is_none_or(|s| s.may_write_for(p));
        match job.purpose {
            Some(purpose) if listed.contains(&purpose) => purpose,
            Some(purpose) => {
                let words: Vec<&str> = listed.iter().map(|p| p.as_str()).collect();
                let cure = format!("use one of: {}", words.join(", "));
                problems.push(Problem::new(
                    "purpose",
                    Reason::BadData,
                    "is not one that the template lists",
                    cure,
                ));
                purpose
            }
            None => {
                let first = listed.first().copied().unwrap_or(Purpose::Care);
                if !allowed(first) {
                    let rule = "this source may not write for the template's purpose";
                    let cure = "name a purpose it may write for, or add it to the source's `purposes`";
                    problems.push(Problem::new("purpose", Reason::SourceNotAllowed, rule, cure));
                }
                first
            }
        }
    }

    /// May be lowered below the template's, never raised above it or above what the source may use.
    fn priority(
        &self,
        job: &Job,
        template: &Template,
        arrival: &Arrival,
        problems: &mut Vec<Problem>,
    ) -> Priority {
        let of_template = template.manifest.priority;
        let highest =
            self.config.source(&job.source).map_or(Priority::Urgent, |s| s.max_priority).max(of_template);
        match job.priority {
            Some(asked) if asked < highest => {
                let cure = format!("leave it out, or lower it: {highest} is the highest here");
                problems.push(Problem::new(
                    "priority",
                    Reason::SourceNotAllowed,
                    "is above what is allowed",
                    cure,
                ));
                asked
            }
            Some(asked) => asked,
            None => arrival.priority.map_or(highest, |keyed| keyed.max(highest)),
        }
    }

    /// The template's own field, else so long from when it may first be sent.
    fn expiry(&self, job: &Job, template: &Template, purpose: Purpose, now: Timestamp) -> When {
        if let Some(at) = template.manifest.expires_at(&job.data) {
            return When::At(at);
        }
        let start = job.not_before.map_or(now, latest).max(now);
        let span =
            SignedDuration::try_from(self.config.policy.purpose(purpose).expires_after).unwrap_or(ZONES);
        When::At(start.checked_add(span).unwrap_or(Timestamp::MAX))
    }
}

fn admission(
    job: Job,
    arrival: &Arrival,
    purpose: Purpose,
    priority: Priority,
    expires_at: When,
) -> Admission {
    Admission {
        facts: MessageFacts {
            id: MessageId::generate(),
            source: job.source,
            job_id: job.id,
            patient_id: job.patient_id,
            template: job.template,
            purpose,
            priority,
            about: job.about,
            site: job.site,
            campaign_id: job.campaign_id,
            correlation_id: arrival.correlation_id.clone(),
            test: job.test,
            is_change: false,
            retry_of: None,
        },
        content_hash: job.content_hash,
        replaces: job.replaces,
        // Emergencies are decided upon at once, whatever their hour: one that waits for a second person waits under its hold.
        due_at: job.not_before.map(earliest).filter(|_| purpose != Purpose::Emergency),
        expires_at: latest(expires_at),
        ack_by: None,
        body: JobBody {
            data: job.data,
            channels: job.channels,
            not_before: job.not_before,
            expires_at,
            override_reason: job.override_reason,
            patient: job.patient,
            lifts_cap: false,
            copy: None,
        },
        raw: None,
        origin: arrival.origin.clone(),
        asked_by: arrival.asked_by.clone(),
        redelivered: false,
    }
}

/// The first instant at which this could be meant anywhere.
fn earliest(when: When) -> Timestamp {
    match when {
        When::At(at) => at,
        When::Local(local) => in_utc(local).checked_sub(ZONES).unwrap_or(Timestamp::MIN),
    }
}

/// The last instant at which this could be meant anywhere.
pub(crate) fn latest(when: When) -> Timestamp {
    match when {
        When::At(at) => at,
        When::Local(local) => in_utc(local).checked_add(ZONES).unwrap_or(Timestamp::MAX),
    }
}

fn in_utc(local: jiff::civil::DateTime) -> Timestamp {
    jiff::tz::TimeZone::UTC.to_timestamp(local).unwrap_or(Timestamp::MAX)
}
