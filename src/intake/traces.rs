//! Where a message's trace begins.

use std::collections::HashMap;

use tokio::time::Instant;

use super::submit::{Incoming, Intake};
use crate::store::rows::{Admission, AdmitOutcome};
use crate::telemetry::{Step, TraceParent};

/// The spans that the jobs of a batch came from, by their places in it; none while nothing is traced.
#[derive(Debug, Default)]
pub(super) struct Parents(HashMap<usize, TraceParent>);

impl Parents {
    pub(super) fn of(items: &[Incoming]) -> Self {
        let named = |(place, item): (usize, &Incoming)| Some((place, item.arrival.traceparent?));
        Self(items.iter().enumerate().filter_map(named).collect())
    }

    pub(super) fn at(&self, place: usize) -> Option<TraceParent> {
        self.0.get(&place).copied()
    }
}

impl Intake {
    /// What a job's header `traceparent` names, where messages are traced here.
    #[must_use]
    pub fn traceparent(&self, header: Option<&str>) -> Option<TraceParent> {
        let traced = self.dispatcher.as_ref().is_some_and(|dispatcher| dispatcher.traces().are_on());
        header.filter(|_| traced).and_then(TraceParent::parse)
    }

    /// What a message goes through begins with this.
    pub(super) fn trace(
        &self,
        admission: &Admission,
        outcome: &AdmitOutcome,
        parent: Option<TraceParent>,
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
            .led_to_by(parent)
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
