//! What is wrong, as measures: one line for each finding, so that whoever is told by Prometheus hears of each by itself.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Shared;
use crate::domain::alert::{Finding, Trouble};
use crate::policy::watch::{untold, wrong};
use crate::store::StoreError;
use crate::watch::Lookout;

/// The ledger may take so long to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// It is looked no more often, however many ask.
const KEEP: Duration = Duration::from_secs(5);

/// What was last seen.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    latest: Mutex<Option<(Instant, Option<Looked>)>>,
}

/// What is wrong, and how far people know.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    findings: Vec<Finding>,
    /// Alerts that somebody should have been told of, and was not.
    untold: usize,
}

/// What is wrong, a few seconds old; `None`: the ledger does not answer.
pub(super) async fn seen(shared: &Shared) -> Option<Looked> {
    let mut latest = shared.troubles.latest.lock().await;
    if let Some((at, looked)) = latest.as_ref()
        && at.elapsed() < KEEP
    {
        return looked.clone();
    }
    let looked = match timeout(PATIENCE, look(shared)).await {
        Ok(Ok(looked)) => Some(looked),
        Ok(Err(error)) => {
            tracing::warn!(%error, "what is wrong cannot be seen");
            None
        }
        Err(_) => None,
    };
    *latest = Some((Instant::now(), looked.clone()));
    looked
}

async fn look(shared: &Shared) -> Result<Looked, StoreError> {
    let parts = &shared.parts;
    let lookout = Lookout {
        store: parts.intake.store.clone(),
        config: parts.config.clone(),
        broker: parts.broker.clone(),
    };
    let (signs, now) = lookout.signs().await?;
    let (alerts, _) = parts.intake.store.alerts().await?;
    let untold = alerts.iter().filter(|alert| !untold(alert, now).is_empty()).count();
    Ok(Looked { findings: wrong(&signs), untold })
}

/// Written whole each time: what is over must not keep its last value.
pub(super) fn write(out: &mut String, looked: Option<&Looked>) -> fmt::Result {
    let Some(looked) = looked else { return Ok(()) };
    writeln!(out, "# HELP outreachd_trouble What is wrong, and how many things are.")?;
    writeln!(out, "# TYPE outreachd_trouble gauge")?;
    for finding in &looked.findings {
        // Who has stopped everything is a person's name.
        let subject = if finding.trouble == Trouble::Stopped { "" } else { &finding.subject };
        let subject = subject.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
        let (kind, level, extent) = (finding.trouble, finding.level, finding.extent);
        writeln!(
            out,
            "outreachd_trouble{{kind=\"{kind}\",subject=\"{subject}\",level=\"{level}\"}} {extent}"
        )?;
    }
    writeln!(out, "# HELP outreachd_alerts_undelivered Alerts that people on call could not be told of.")?;
    writeln!(out, "# TYPE outreachd_alerts_undelivered gauge")?;
    writeln!(out, "outreachd_alerts_undelivered {}", looked.untold)
}
