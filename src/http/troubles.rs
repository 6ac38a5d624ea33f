//! What is wrong, as measures: one line for each finding, so that whoever is told by Prometheus hears of each by itself.

use std::fmt::{self, Write};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Shared;
use crate::domain::alert::{Finding, Trouble};
use crate::policy::watch::{untold, wrong};
use crate::store::StoreError;
use crate::watch::Lookout;

/// Nobody waits for a look for longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// It is looked no more often, however many ask ...
const KEEP: Duration = Duration::from_secs(5);
/// ... and looking takes at most this part of the ledger's time.
const SHARE: u32 = 5;

/// What was last seen.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// It is good until then; held by whoever looks.
    until: Mutex<Option<Instant>>,
    /// The last look that came to an end, and when; read without waiting for one that is under way.
    latest: std::sync::Mutex<Option<(Looked, Instant)>>,
}

impl Troubles {
    fn latest(&self) -> Option<(Looked, Duration)> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().map(|(looked, at)| (looked.clone(), at.elapsed()))
    }
}

/// What is wrong, and how far people know.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    findings: Vec<Finding>,
    /// Alerts that somebody should have been told of, and was not.
    untold: usize,
}

/// What is wrong, as it was last seen, and how long ago; `None`: it never was. A look that takes longer than anybody waits
/// goes on, and is there for whoever asks next.
pub(super) async fn seen(shared: &Arc<Shared>) -> Option<(Looked, Duration)> {
    let looking = tokio::spawn({
        let shared = Arc::clone(shared);
        async move { look_again(&shared).await }
    });
    let _in_time = timeout(PATIENCE, looking).await;
    shared.troubles.latest()
}

async fn look_again(shared: &Shared) {
    let mut until = shared.troubles.until.lock().await;
    if until.is_some_and(|until| Instant::now() < until) {
        return;
    }
    let started = Instant::now();
    let mut pause = KEEP;
    match look(shared).await {
        Ok(looked) => {
            *shared.troubles.latest.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((looked, Instant::now()));
            pause = pause.max(started.elapsed().saturating_mul(SHARE));
        }
        Err(error) => tracing::warn!(%error, "what is wrong cannot be seen"),
    }
    *until = Some(Instant::now() + pause);
}

async fn look(shared: &Shared) -> Result<Looked, StoreError> {
    let parts = &shared.parts;
    let lookout = Lookout {
        store: parts.intake.store.clone(),
        config: parts.config.clone(),
        broker: parts.broker.clone(),
    };
    let (signs, now) = lookout.signs().await?;
    let alerts = parts.intake.store.standing_alerts().await?;
    let untold = alerts.iter().filter(|alert| !untold(alert, now).is_empty()).count();
    Ok(Looked { findings: wrong(&signs), untold })
}

/// Written whole each time: what is over must not keep its last value.
pub(super) fn write(out: &mut String, looked: Option<&(Looked, Duration)>) -> fmt::Result {
    let Some((looked, age)) = looked else { return Ok(()) };
    writeln!(out, "# HELP outreachd_trouble_age_seconds How long ago it was looked what is wrong.")?;
    writeln!(out, "# TYPE outreachd_trouble_age_seconds gauge")?;
    writeln!(out, "outreachd_trouble_age_seconds {}", age.as_secs_f64())?;
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
