//! `outreachd messages`: what became of what was asked for.

use std::collections::HashSet;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::args::{self, Until, Which};
use super::out::{Listing, Out, Table, or_dash};
use super::{Desk, Failure};
use crate::domain::ids::{
    About, CampaignId, JobId, MessageId, PatientId, ProviderName, SiteId, SourceName, TemplateName,
};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::store::Store;
use crate::store::rows::{AttemptRow, MessageFilter, MessageRow};

/// The most rows that one question to the ledger answers.
const PAGE: u32 = 1_000;
/// How often `tail` asks.
const TAIL_PAUSE: Duration = Duration::from_millis(500);

/// Lists, shows and follows messages. Patients appear by their ids, addresses masked.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List messages, newest first
    #[command(
        after_help = "Examples:\n  outreachd messages list --status failed --template appointment-reminder --limit 20\n  \
        outreachd messages list --since 2026-11-28T06:00:00-06:00 --until 2h"
    )]
    List {
        #[command(flatten)]
        filter: Filter,
        /// Accepted at or after this: an instant with its offset, or a span such as 2h for so long ago
        #[arg(long, value_name = "TIME", value_parser = args::until)]
        since: Option<Until>,
        /// Accepted before this: an instant with its offset, or a span such as 2h for so long ago
        #[arg(long, value_name = "TIME", value_parser = args::until)]
        until: Option<Until>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        /// Only those older than this message
        #[arg(long, value_name = "ID", value_parser = args::message)]
        before: Option<MessageId>,
    },
    /// Show one message with its attempts and events
    #[command(after_help = "Example:\n  outreachd messages show lakeside-ehr:appt-2041-r1")]
    Show {
        /// A message id, or SOURCE:JOB_ID
        #[arg(value_parser = args::which)]
        id: Which,
    },
    /// Follow messages as they change, until Ctrl-C
    #[command(after_help = "Example:\n  outreachd messages tail --source lakeside-ehr --since 10m")]
    Tail {
        #[command(flatten)]
        filter: Filter,
        /// Begin so far back [default: now]
        #[arg(long, value_parser = args::until)]
        since: Option<Until>,
        /// End after so many changes
        #[arg(long, value_name = "N")]
        lines: Option<u64>,
    },
}

/// Which messages.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// accepted, scheduled, held, sending, unknown, sent, failed, delivered, read, suppressed, expired, cancelled
    #[arg(long, value_parser = args::status)]
    status: Option<MessageStatus>,
    /// Such as opted_out or no_contact
    #[arg(long, value_parser = args::reason)]
    reason: Option<Reason>,
    /// sms, email, portal or voice
    #[arg(long, value_parser = args::channel)]
    channel: Option<Channel>,
    /// Given to this provider, whatever came of it
    #[arg(long, value_parser = args::provider)]
    provider: Option<ProviderName>,
    /// Of this campaign
    #[arg(long, value_parser = args::campaign)]
    campaign: Option<CampaignId>,
    /// With this template
    #[arg(long, value_parser = args::template)]
    template: Option<TemplateName>,
    /// Of this source
    #[arg(long, value_parser = args::source)]
    source: Option<SourceName>,
    /// Of this site
    #[arg(long, value_parser = args::site)]
    site: Option<SiteId>,
    /// The patient's id
    #[arg(long, value_parser = args::patient)]
    patient: Option<PatientId>,
    /// The visit or matter
    #[arg(long, value_parser = args::about)]
    about: Option<About>,
    /// The caller's own job id
    #[arg(long, value_parser = args::job)]
    job: Vec<JobId>,
}

impl Filter {
    fn into_rows(self) -> MessageFilter {
        MessageFilter {
            source: self.source,
            job_ids: self.job,
            about: self.about,
            status: self.status,
            reason: self.reason,
            channel: self.channel,
            provider: self.provider,
            campaign_id: self.campaign,
            template: self.template,
            site: self.site,
            patient_id: self.patient,
            ..MessageFilter::default()
        }
    }
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    match command {
        Command::List { filter, since, until, limit, before } => {
            let now = store.ping().await?;
            let back = |time: Option<Until>| time.map(|time| time.before(now));
            let (since, until) = (back(since), back(until));
            let filter = MessageFilter { since, until, before, ..filter.into_rows() };
            list(desk, store.as_ref(), filter, limit).await
        }
        Command::Show { id } => show(desk, store.as_ref(), &id, config.amqp.is_some()).await,
        Command::Tail { filter, since, lines } => {
            let now = store.ping().await?;
            let since = since.map_or(now, |since| since.before(now));
            let filter = MessageFilter { changed_since: Some(since), ..filter.into_rows() };
            tokio::select! {
                done = tail(desk, store.as_ref(), filter, lines) => done,
                () = super::asked_to_end() => Ok(()),
            }
        }
    }
}

async fn list(
    desk: &mut Desk,
    store: &dyn Store,
    mut filter: MessageFilter,
    limit: u32,
) -> Result<(), Failure> {
    let columns = ["message", "status", "channel", "job", "patient", "template", "changed"];
    let ask = async |limit: u32, last: Option<&MessageRow>| {
        filter.limit = limit;
        filter.before = last.map(|row| row.facts.id).or(filter.before);
        store.messages(&filter).await
    };
    let listing = Listing { columns, none: None, limit, page: PAGE };
    listing.write(desk, ask, |out, row| out.json(row), cells).await
}

fn cells(row: &MessageRow) -> [String; 7] {
    [
        row.facts.id.to_string(),
        standing(row),
        or_dash(row.channel),
        format!("{}:{}", row.facts.source, row.facts.job_id),
        row.facts.patient_id.to_string(),
        row.facts.template.to_string(),
        short(row.changed_at),
    ]
}

/// The status with its reason.
pub(super) fn standing(row: &MessageRow) -> String {
    match row.reason {
        Some(reason) => format!("{} ({reason})", row.status),
        None => row.status.to_string(),
    }
}

/// To the second, in UTC.
pub(super) fn short(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The message that is meant.
///
/// # Errors
/// There is none.
pub(super) async fn find(store: &dyn Store, which: &Which) -> Result<MessageRow, Failure> {
    let found = match which {
        Which::Message(id) => store.message(*id).await?,
        Which::Job(source, job) => {
            let filter = MessageFilter {
                source: Some(source.clone()),
                job_ids: vec![job.clone()],
                limit: 1,
                ..MessageFilter::default()
            };
            store.messages(&filter).await?.pop()
        }
    };
    found.ok_or_else(|| {
        Failure::said(
            "there is no such message",
            "look at `outreachd messages list`; what could not be accepted is in `outreachd dead list`",
        )
    })
}

async fn show(desk: &mut Desk, store: &dyn Store, which: &Which, has_broker: bool) -> Result<(), Failure> {
    let row = find(store, which).await?;
    let attempts = store.attempts(row.facts.id).await?;
    let events = store.events(row.facts.id).await?;
    let of_it = MessageFilter { copies_of: vec![row.facts.id], limit: PAGE, ..MessageFilter::default() };
    let copies = store.messages(&of_it).await?;
    if desk.json {
        let attempts: Vec<_> = attempts.iter().map(attempt_json).collect();
        let shown = json!({ "message": row, "copies": copies, "attempts": attempts, "events": events });
        return Ok(desk.out.pretty(&shown)?);
    }
    write_facts(&mut desk.out, &row)?;
    for copy in &copies {
        desk.out.line(format!("copy      {}  {}", copy.facts.id, standing(copy)))?;
    }
    let mut table =
        Table::new(&["attempt", "status", "channel", "provider", "address", "begun", "reference"]);
    for attempt in &attempts {
        let status = match (attempt.failure, &attempt.code) {
            (Some(failure), Some(code)) => format!("{} ({failure}, {code})", attempt.status),
            (Some(failure), None) => format!("{} ({failure})", attempt.status),
            (None, _) => attempt.status.to_string(),
        };
        table.row([
            format!("{}.{}", attempt.step.saturating_add(1), attempt.number),
            status,
            attempt.channel.to_string(),
            attempt.provider.to_string(),
            attempt.address.masked(),
            short(attempt.begun_at),
            or_dash(attempt.provider_ref.as_deref()),
        ]);
    }
    if !attempts.is_empty() {
        desk.out.line("")?;
    }
    table.write(&mut desk.out)?;
    let mut table = Table::new(&["event", "key", "written", "published"]);
    for event in &events {
        table.row([
            event.seq.to_string(),
            event.routing_key.clone(),
            short(event.created_at),
            match (has_broker, event.published) {
                (false, _) => "no broker",
                (true, true) => "yes",
                (true, false) => "not yet",
            }
            .to_owned(),
        ]);
    }
    if !events.is_empty() {
        desk.out.line("")?;
    }
    Ok(table.write(&mut desk.out)?)
}

fn attempt_json(attempt: &AttemptRow) -> serde_json::Value {
    let mut shape = json!(attempt);
    if let Some(fields) = shape.as_object_mut() {
        fields.insert("address".to_owned(), json!(attempt.address.masked()));
    }
    shape
}

fn write_facts(out: &mut Out, row: &MessageRow) -> Result<(), Failure> {
    let facts = &row.facts;
    let mut lines = vec![
        ("message", facts.id.to_string()),
        ("status", standing(row)),
        ("job", format!("{}:{}", facts.source, facts.job_id)),
        ("patient", facts.patient_id.to_string()),
        ("template", format!("{} ({}, {})", facts.template, facts.purpose, facts.priority)),
        ("accepted", short(row.accepted_at)),
        ("changed", short(row.changed_at)),
        ("expires", short(row.expires_at)),
    ];
    lines.extend(row.channel.map(|channel| ("channel", channel.to_string())));
    lines.extend(facts.site.as_ref().map(|site| ("site", site.to_string())));
    lines.extend(facts.about.as_ref().map(|about| ("about", about.to_string())));
    lines.extend(row.due_at.filter(|at| *at < Timestamp::MAX).map(|at| ("due", short(at))));
    lines.extend(facts.retry_of.map(|id| ("retry of", id.to_string())));
    lines.extend(row.copy_of.map(|id| ("copy of", id.to_string())));
    lines.extend(row.merged_into.map(|id| ("merged", format!("into {id}"))));
    lines.extend(facts.test.then(|| ("test", "yes: the built-in simulator takes it".to_owned())));
    Ok(lines.into_iter().try_for_each(|(name, value)| out.line(format!("{name:<9} {value}")))?)
}

async fn tail(
    desk: &mut Desk,
    store: &dyn Store,
    filter: MessageFilter,
    lines: Option<u64>,
) -> Result<(), Failure> {
    let mut changes = Changes::new(filter);
    let mut left = lines.unwrap_or(u64::MAX);
    while left > 0 {
        let rows = changes.next(store).await?;
        for row in &rows {
            if left == 0 {
                break;
            }
            left -= 1;
            if desk.json {
                desk.out.json(row)?;
            } else {
                let standing = desk.out.status(row.status, 10);
                desk.out.line(tail_line(row, &standing))?;
            }
        }
        desk.out.flush()?;
        if rows.is_empty() {
            tokio::time::sleep(TAIL_PAUSE).await;
        }
    }
    Ok(())
}

/// One change for people: when, what, how, for whom.
pub(super) fn tail_line(row: &MessageRow, status: &str) -> String {
    let reason = row.reason.map(|reason| format!("  ({reason})")).unwrap_or_default();
    format!(
        "{}  {status}  {:<6}  {:<22}  {:<16}  {}:{}{reason}",
        row.changed_at.strftime("%H:%M:%S"),
        or_dash(row.channel),
        row.facts.template,
        row.facts.patient_id,
        row.facts.source,
        row.facts.job_id,
    )
}

/// Changes of messages as they happen: the ledger is asked again and again for what changed since.
pub(super) struct Changes {
    filter: MessageFilter,
    /// What was seen of the instants that the next question covers again.
    seen: HashSet<(MessageId, Timestamp, MessageStatus)>,
}

/// How far back each question reaches: a transaction that began earlier may commit later.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);

impl Changes {
    /// Changes from `filter.changed_since` on.
    pub(super) fn new(filter: MessageFilter) -> Self {
        Self { filter: MessageFilter { limit: PAGE, ..filter }, seen: HashSet::new() }
    }

    /// What is new; empty where nothing has changed.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Vec<MessageRow>, Failure> {
        let mut fresh = Vec::new();
        let mut filter = self.filter.clone();
        loop {
            let rows = store.messages(&filter).await?;
            let full = rows.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
            let last = rows.last().map(|row| (row.changed_at, row.facts.id));
            fresh.extend(
                rows.into_iter().filter(|row| self.seen.insert((row.facts.id, row.changed_at, row.status))),
            );
            let Some(last) = last else { break };
            if !full {
                break;
            }
            // The page is full: go on where it ends, within an instant as well.
            (filter.changed_since, filter.changed_after) = (Some(last.0), Some(last.1));
        }
        if let Some(newest) = fresh.iter().map(|row| row.changed_at).max() {
            let from = newest.checked_sub(OVERLAP).unwrap_or(newest);
            if self.filter.changed_since.is_none_or(|since| since < from) {
                self.filter.changed_since = Some(from);
                self.seen.retain(|(_, at, _)| *at >= from);
            }
        }
        Ok(fresh)
    }
}
