//! `GET /v1/now`: whether it is well, and if not, why: what somebody on call wants to know at a glance.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::health::counted;
use super::kept::Wait;
use super::problem::Answer;
use super::route::{Call, json as answer};
use crate::domain::alert::{Finding, Level};
use crate::policy::watch::wrong;
use crate::watch::Seen;

/// The charts show so many minutes ...
const MINUTES: u32 = 6 * 60;
/// ... in spans of so many.
const STEP: u32 = 5;
/// A first count of a small ledger is waited for so long.
const FIRST: Wait = Wait::ForFirst(Duration::from_millis(40));

/// `GET /v1/now`.
pub(super) async fn now(call: Call) -> Answer {
    let shared = &call.shared;
    let (lookout, config) = (&shared.parts.lookout, &shared.parts.config);
    counted(shared, FIRST).await;
    let (looked, pulse) = tokio::try_join!(lookout.look(), call.store().pulse(MINUTES, STEP))?;
    let Seen { signs, now: at, workers, oldest } = looked;
    // What was counted meanwhile is shown already.
    let seen = shared.counts.latest();
    let counts = seen.as_ref().map(|(counts, _)| counts);
    let findings = wrong(&signs);
    let told: Vec<Value> = findings.iter().map(shown).collect();
    let providers: Vec<Value> = config
        .providers
        .iter()
        .map(|p| {
            let limits: Vec<String> = p.limits.iter().map(ToString::to_string).collect();
            json!({"name": p.name, "channel": p.settings.channel(), "weight": p.weight, "limits": limits})
        })
        .collect();
    answer(
        StatusCode::OK,
        &json!({
            "at": at, "mode": config.safety.mode, "findings": told,
            "healthy": !findings.iter().any(|finding| finding.level == Level::Bad),
            "broker": signs.broker, "oldest": oldest, "workers": workers, "providers": providers,
            "stale_seconds": config.worker.heartbeat_stale.as_secs(), "pulse": {"step_minutes": STEP, "minutes": MINUTES, "rows": pulse},
            "counts": counts, "counted_seconds_ago": seen.as_ref().map(|(_, age)| age.as_secs()),
        }),
    )
}

fn shown(finding: &Finding) -> Value {
    json!({
        "kind": finding.trouble, "level": finding.level, "what": finding.what, "page": finding.trouble.page(),
        "link": finding.link(), "first": finding.trouble.first_step(),
    })
}
