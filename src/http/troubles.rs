//! What is wrong, as measures: one line for each finding, so that whoever is told by Prometheus hears of each by itself.

use std::fmt::{self, Write};
use std::time::Duration;

use super::Shared;
use super::kept::{Pace, Wait};
use crate::domain::alert::{Finding, Trouble};
use crate::policy::watch::{untold, wrong};
use crate::store::StoreError;
use crate::watch::Lookout;

/// How often it is looked, however many ask.
const PACE: Pace = Pace { every: EVERY, share: 5, again: EVERY };
const EVERY: Duration = Duration::from_secs(5);

/// What is wrong, and how far people know.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    findings: Vec<Finding>,
    /// Alerts that somebody should have been told of, and was not.
    untold: usize,
}

/// What is wrong, as it was last seen, and how long ago; `None`: it never was.
pub(super) async fn seen(shared: &Shared) -> Option<(Looked, Duration)> {
    let look = look(shared.parts.lookout.clone());
    shared.troubles.get(&PACE, Wait::ForNews, look, "what is wrong cannot be seen").await
}

async fn look(lookout: Lookout) -> Result<Looked, StoreError> {
    let (signs, now) = lookout.signs().await?;
    let alerts = lookout.store.standing_alerts().await?;
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
