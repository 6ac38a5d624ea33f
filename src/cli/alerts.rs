//! `outreachd alerts`: what people on call are told of, and what they say to it.

use clap::Subcommand;
use jiff::SignedDuration;

use super::args::{self, Until};
use super::audit::record;
use super::messages::short;
use super::out::{Table, or_dash, tame};
use super::{Desk, Failure, operator};
use crate::domain::alert::Alert;
use crate::store::alerts::AlertAnswer;

/// What is wrong with the whole of it, since when, and who looks after it.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what stands, and what has ended within a day
    #[command(after_help = "Example:\n  outreachd alerts list")]
    List,
    /// Say that you look after one: it is not told again until it is over, or there is twice as much
    #[command(after_help = "Example:\n  outreachd alerts acknowledge breaker_open:twilio-main")]
    Acknowledge {
        /// As the list shows it
        key: String,
    },
    /// Have nothing told of one for a while
    #[command(after_help = "Example:\n  outreachd alerts snooze dead_jobs --for 8h")]
    Snooze {
        /// As the list shows it
        key: String,
        /// A span such as 2h, or an instant with its offset
        #[arg(long = "for", value_name = "SPAN", value_parser = args::until)]
        span: Until,
    },
}

/// Nobody snoozes for longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(desk).await,
        Command::Acknowledge { key } => say(desk, &key, None).await,
        Command::Snooze { key, span } => say(desk, &key, Some(span)).await,
    }
}

async fn list(desk: &mut Desk) -> Result<(), Failure> {
    let config = desk.config()?;
    let (alerts, _) = Desk::store(&config).await?.alerts().await?;
    if desk.json {
        return Ok(alerts.iter().try_for_each(|alert| desk.out.json(alert))?);
    }
    if alerts.is_empty() {
        return Ok(desk.out.line("nothing is wrong, and nothing was for a day")?);
    }
    let mut table = Table::new(&["key", "since", "state", "what", "told", "looked after by"]);
    for alert in &alerts {
        table.row(cells(alert));
    }
    Ok(table.write(&mut desk.out)?)
}

fn cells(alert: &Alert) -> [String; 6] {
    let state = match (alert.ended_at, alert.snoozed_until) {
        (Some(at), _) => format!("over {}", short(at)),
        (None, Some(until)) => format!("snoozed until {}", short(until)),
        (None, None) => "stands".to_owned(),
    };
    [
        tame(&alert.key),
        short(alert.since),
        state,
        tame(&alert.finding.what),
        or_dash(alert.told_at.map(short)),
        or_dash(alert.acknowledged_by.as_deref().map(tame)),
    ]
}

async fn say(desk: &mut Desk, key: &str, snooze: Option<Until>) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let now = store.ping().await?;
    let answer = match snooze {
        None => AlertAnswer::Acknowledge,
        Some(until) => {
            let span = until.after(now).duration_since(now);
            if !span.is_positive() || span > LONGEST {
                return Err(Failure::said(
                    "--for must lie within the next seven days",
                    "give a span such as 2h",
                ));
            }
            AlertAnswer::Snooze(span)
        }
    };
    let Some(alert) = store.answer_alert(key, &operator(), answer).await? else {
        return Err(Failure::said("no alert of that key stands", "look at `outreachd alerts list`"));
    };
    let act = if snooze.is_some() { "alert.snooze" } else { "alert.acknowledge" };
    record(store.as_ref(), act, key, &or_dash(alert.snoozed_until.filter(|_| snooze.is_some()))).await?;
    if desk.json {
        return Ok(desk.out.pretty(&alert)?);
    }
    Ok(desk.out.line(match snooze {
        Some(_) => format!("{key}: nothing is told of it until {}", or_dash(alert.snoozed_until.map(short))),
        None => format!("{key}: you look after it; it is told once more when it is over"),
    })?)
}
