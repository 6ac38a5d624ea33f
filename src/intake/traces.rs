//! Where a message's trace begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::submit::{Incoming, Intake};
use crate::store::rows::{Admission, AdmitOutcome};
use crate::telemetry::{Caller, Step};

impl Intake {
    /// The callers' spans, by place; none while nothing is traced.
    pub(super) fn callers(&self, items: &[Incoming]) -> Arc<HashMap<usize, Caller>> {
        let traced = items.iter().enumerate().filter_map(|(place, item)| Some((place, item.arrival.caller?)));
        Arc::new(traced.collect())
    }

    /// What a message goes through begins with this.
    pub(super) fn trace(
        &self,
        admission: &Admission,
        outcome: &AdmitOutcome,
        caller: Option<Caller>,
        asked: Instant,
    ) {
        let (id, result) = match outcome {
            AdmitOutcome::Accepted(id) => (*id, "accepted"),
            AdmitOutcome::TakenBack(id, _) => (*id, "taken_back"),
            AdmitOutcome::Duplicate(_) | AdmitOutcome::Conflict(_) | AdmitOutcome::OverLimit { .. } => return,
        };
        let Some(trace) = self.dispatcher.as_ref().and_then(|dispatcher| dispatcher.traces().of(id)) else {
            return;
        };
        let facts = &admission.facts;
        trace
            .step(Step::Intake, asked, Instant::now())
            .led_to_by(caller)
            .with("outreach.source", facts.source.to_string())
            .with("outreach.job_id", facts.job_id.to_string())
            .with("outreach.template", facts.template.to_string())
            .with("outreach.priority", facts.priority.as_str())
            .with("outreach.origin", admission.origin.clone())
            .with("outreach.result", result)
            .maybe("outreach.campaign_id", facts.campaign_id.as_ref().map(ToString::to_string))
            .end();
    }
}
