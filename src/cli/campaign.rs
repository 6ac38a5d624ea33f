//! `outreachd campaign`: one message to many people, from the list to the report.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::audit::record;
use super::files::{Refusals, private_file};
use super::out::{Table, or_dash, tame};
use super::{Desk, Failure, args, files, operator};
use crate::campaign::{Brought, Forecast, Office, Refused, Sheet, Wish};
use crate::domain::campaign::{CampaignState, FollowUp, Pace, PaceUnit, Plan};
use crate::domain::ids::{CampaignId, PatientId, SiteId, SourceName, TemplateName};
use crate::domain::job::{MAX_JOB_BYTES, When};
use crate::domain::reader::campaign_start;
use crate::intake::Gatekeeper;
use crate::intake::import::{Audience, FirstRows};
use crate::store::campaigns::{CampaignFilter, CampaignRow};

/// Campaigns: one message to many people. Patients appear by their ids.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a draft, with an audience from a file or by the query of a plan
    #[command(
        after_help = "Examples:\n  outreachd campaign create flu-2026 --template vaccine-invitation \\\n    \
        --audience people.csv --data vaccine=influenza --data until=2026-12-18 --data free=true \\\n    \
        --start 2026-11-28T10:00 --per-hour 300 --hours \"mon-fri 09:00-17:00, sat-sun closed\"\n  \
        outreachd campaign create flu-2026 --plan plan.json"
    )]
    Create(Box<CreateOptions>),
    /// Tell who would get what, when, and what it costs; nothing is sent
    #[command(after_help = "Example:\n  outreachd campaign dry-run flu-2026")]
    DryRun {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
    },
    /// Agree to a campaign as another person, or say that its canary is well
    #[command(after_help = "Example:\n  outreachd campaign approve flu-2026 --recipients 41200")]
    Approve {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
        /// The number of recipients, as the dry run shows it
        #[arg(long)]
        recipients: u64,
        /// The hash that the dry run shows: refused if anything is another since then
        #[arg(long)]
        hash: Option<String>,
    },
    /// Start it, or ask for approval where it needs one
    #[command(after_help = "Example:\n  outreachd campaign start flu-2026")]
    Start {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
    },
    /// Stop it at once; what is on the wire is not called back
    #[command(after_help = "Example:\n  outreachd campaign pause flu-2026")]
    Pause {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
    },
    /// Go on exactly where it was stopped
    #[command(after_help = "Example:\n  outreachd campaign resume flu-2026")]
    Resume {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
    },
    /// End it, and take back what has not begun; of one that is done, what would follow
    #[command(after_help = "Example:\n  outreachd campaign cancel flu-2026")]
    Cancel {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
    },
    /// Change how fast it goes
    #[command(
        after_help = "Example:\n  outreachd campaign pace flu-2026 --per-hour 120\n  outreachd campaign pace flu-2026 --none"
    )]
    Pace {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
        #[command(flatten)]
        pace: PaceOptions,
        /// As fast as the providers allow, at any hour that suits the recipients
        #[arg(long, required_unless_present = "rate", conflicts_with_all = ["rate", "hours"])]
        none: bool,
    },
    /// Show how far it has come
    #[command(after_help = "Example:\n  outreachd campaign status flu-2026 --watch")]
    Status {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
        /// Until it is over, paused, or waits for a person
        #[arg(long)]
        watch: bool,
    },
    /// Tell what came of it
    #[command(after_help = "Example:\n  outreachd campaign report flu-2026 --csv result.csv")]
    Report {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
        /// Write what became of each recipient to this file, readable by its owner only
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
    },
    /// Write again to those whom it could not reach
    #[command(after_help = "Example:\n  outreachd campaign retry-failed flu-2026 --as flu-2026-again")]
    RetryFailed(FollowOptions),
    /// Write again to those who did not answer
    #[command(after_help = "Example:\n  outreachd campaign retry-unanswered flu-2026 --as flu-2026-reminder")]
    RetryUnanswered(FollowOptions),
    /// Put it right with exactly those who received it; always needs another person's approval
    #[command(
        after_help = "Example:\n  outreachd campaign correct flu-2026 --as flu-2026-correction --data until=2026-12-19"
    )]
    Correct(FollowOptions),
    /// Leave out those who need nothing any more, such as who has booked
    #[command(
        after_help = "Example:\n  outreachd campaign done flu-2026 P0000042 P0000077\n  outreachd campaign done flu-2026 --file booked.txt"
    )]
    Done {
        /// The campaign, as `campaign list` shows it
        #[arg(value_parser = args::campaign)]
        id: CampaignId,
        /// Who needs nothing any more, by their ids in the directory
        #[arg(value_parser = args::patient)]
        patients: Vec<PatientId>,
        /// A file with a patient's id a line
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List campaigns, newest first
    #[command(after_help = "Example:\n  outreachd campaign list --open")]
    List {
        /// Only those that are not over
        #[arg(long)]
        open: bool,
    },
}

/// A new campaign.
#[derive(Debug, Args)]
pub(super) struct CreateOptions {
    /// What it is called from now on, such as flu-2026
    #[arg(value_parser = args::campaign)]
    id: CampaignId,
    /// The plan as JSON, as the API takes it; the other options come on top of it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// CSV, .xlsx or NDJSON; - is standard input
    #[arg(long, value_name = "FILE")]
    audience: Option<PathBuf>,
    /// Write the rows that are not taken to this file, readable by its owner only
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// People to leave out: a file with a patient's id a line
    #[arg(long, value_name = "FILE")]
    exclude: Vec<PathBuf>,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    pace: PaceOptions,
}

/// What is said, and when.
#[derive(Debug, Args)]
struct What {
    /// What colleagues know it by
    #[arg(long)]
    title: Option<String>,
    /// In whose name it is sent: the name of a [[source]]
    #[arg(long, value_parser = args::source)]
    source: Option<SourceName>,
    /// What is said: one of `outreachd template list`
    #[arg(long, value_parser = args::template)]
    template: Option<TemplateName>,
    /// The place that writes: the id of a [[site]]
    #[arg(long, value_parser = args::site)]
    site: Option<SiteId>,
    /// A variable of the template that is the same for everybody
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    data: Vec<(String, Value)>,
    /// An instant with its offset, or without one: at that hour where each recipient lives
    #[arg(long, value_parser = when)]
    start: Option<When>,
    /// What was not sent by then expires
    #[arg(long, value_parser = when)]
    end: Option<When>,
    /// How many go first, before a person says that all is well
    #[arg(long)]
    canary: Option<u32>,
}

/// How fast.
#[derive(Debug, Args)]
pub(super) struct PaceOptions {
    /// So many messages a minute at most
    #[arg(long, group = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    per_minute: Option<u32>,
    /// So many messages an hour at most
    #[arg(long, group = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    per_hour: Option<u32>,
    /// When the booking line is answered; goes with a rate
    #[arg(long, requires = "rate", value_parser = hours)]
    hours: Option<String>,
}

impl PaceOptions {
    fn pace(&self) -> Option<Pace> {
        let hours = self.hours.clone();
        match (self.per_minute, self.per_hour) {
            (Some(count), _) => Some(Pace { count, per: PaceUnit::Minute, hours }),
            (None, Some(count)) => Some(Pace { count, per: PaceUnit::Hour, hours }),
            (None, None) => None,
        }
    }
}

/// A campaign that follows another.
#[derive(Debug, Args)]
pub(super) struct FollowOptions {
    /// The campaign that is followed, as `campaign list` shows it
    #[arg(value_parser = args::campaign)]
    id: CampaignId,
    /// The new campaign's id
    #[arg(long = "as", value_parser = args::campaign)]
    new: CampaignId,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    pace: PaceOptions,
}

fn variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    // Numbers and truths are themselves; everything else is text.
    let value = serde_json::from_str::<Value>(value)
        .ok()
        .filter(|value| value.is_number() || value.is_boolean())
        .unwrap_or_else(|| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

fn when(text: &str) -> Result<When, String> {
    campaign_start(text).map_err(|fault| format!("{}; {}", fault.rule, fault.cure))
}

fn hours(text: &str) -> Result<String, String> {
    crate::domain::hours::WeekHours::parse(text).map(|hours| hours.to_string()).map_err(str::to_owned)
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::said("there is no such campaign", "look at `outreachd campaign list`"),
            Refused::Not(problem) => {
                Self::said(format!("{} {}", problem.field, problem.rule).trim(), problem.cure)
            }
            Refused::Invalid(problems) => Self::Input(problems),
            Refused::Store(error) => error.into(),
        }
    }
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    let office = office(desk).await?;
    match command {
        Command::Create(options) => create(desk, &office, *options).await,
        Command::DryRun { id } => dry_run(desk, &office, &id).await,
        Command::Approve { id, recipients, hash } => {
            act(desk, &office, &id, &Wish::Approve(recipients, hash)).await
        }
        Command::Start { id } => act(desk, &office, &id, &Wish::Start).await,
        Command::Pause { id } => act(desk, &office, &id, &Wish::Pause).await,
        Command::Resume { id } => act(desk, &office, &id, &Wish::Resume).await,
        Command::Cancel { id } => act(desk, &office, &id, &Wish::Cancel).await,
        Command::Pace { id, pace, none: _ } => act(desk, &office, &id, &Wish::Pace(pace.pace())).await,
        Command::Status { id, watch } => status(desk, &office, &id, watch).await,
        Command::Report { id, csv } => report(desk, &office, &id, csv.as_deref()).await,
        Command::RetryFailed(options) => follow(desk, &office, FollowUp::RetryFailed, options).await,
        Command::RetryUnanswered(options) => follow(desk, &office, FollowUp::RetryUnanswered, options).await,
        Command::Correct(options) => follow(desk, &office, FollowUp::Correct, options).await,
        Command::Done { id, patients, file } => done(desk, &office, &id, patients, file.as_deref()).await,
        Command::List { open } => list(desk, &office, open).await,
    }
}

async fn office(desk: &Desk) -> Result<Office, Failure> {
    let config = desk.config()?;
    let catalogue = Desk::catalogue(&config)?;
    let gatekeeper = Gatekeeper::new(config.clone(), catalogue.clone());
    Ok(Office { store: Desk::store(&config).await?, config, catalogue, gatekeeper, dispatcher: None })
}

/// The plan of the file, if one is given, with what the options say.
fn plan(
    office: &Office,
    id: &CampaignId,
    file: Option<&Path>,
    base: Option<Plan>,
    what: What,
    pace: Option<Pace>,
) -> Result<Plan, Failure> {
    let source = what.source.clone().or_else(|| office.config.default_source().cloned());
    let canary = office.config.campaigns.canary;
    let limit = u64::try_from(MAX_JOB_BYTES).unwrap_or(u64::MAX);
    let mut plan = match (file, base) {
        (Some(path), _) => {
            Plan::parse(&files::read_all(path, limit)?, source.as_ref(), canary).map_err(Failure::Input)?
        }
        (None, Some(base)) => base,
        (None, None) => {
            let mut map = Map::new();
            map.insert("id".to_owned(), json!(id));
            if let Some(template) = &what.template {
                map.insert("template".to_owned(), json!(template));
            }
            Plan::parse(Value::Object(map).to_string().as_bytes(), source.as_ref(), canary)
                .map_err(Failure::Input)?
        }
    };
    plan.id = id.clone();
    plan.title = what.title.unwrap_or(plan.title);
    plan.source = what.source.unwrap_or(plan.source);
    plan.template = what.template.unwrap_or(plan.template);
    plan.site = what.site.or(plan.site);
    plan.data.extend(what.data);
    plan.start = what.start.or(plan.start);
    plan.end = what.end.or(plan.end);
    plan.pace = pace.or(plan.pace);
    plan.canary = what.canary.unwrap_or(plan.canary);
    Ok(plan)
}

async fn create(desk: &mut Desk, office: &Office, options: CreateOptions) -> Result<(), Failure> {
    let pace = options.pace.pace();
    let plan = plan(office, &options.id, options.plan.as_deref(), None, options.what, pace)?;
    // Whom to leave out is known before anybody is in it.
    let excluded = options.exclude.iter().map(|file| ids(file)).collect::<Result<Vec<_>, _>>()?.concat();
    office.create(&plan, &operator()).await?;
    record(office.store.as_ref(), "campaign.create", &plan.id, "").await?;
    let (tally, first) = match &options.audience {
        Some(file) => bring(desk, office, &plan, file, options.refused.as_deref()).await?,
        None => (office.search(&plan, &operator()).await?, FirstRows::default()),
    };
    let left_out = office.done(&plan.id, &excluded).await?;
    let (row, _) = office.one(&plan.id).await?;
    if desk.json {
        let told = json!({"campaign": row, "audience": tally, "left_out": left_out, "first_rows": first});
        desk.out.pretty(&told)?;
    } else {
        if !first.rows.is_empty() {
            write_first(desk, &first)?;
        }
        let Brought { read, added, changed, known, refused } = tally;
        desk.out.line(format!(
            "{read} read, {added} added, {changed} changed, {known} there before, {refused} refused, {left_out} left out"
        ))?;
        desk.out.line(format!(
            "{} people are meant; look at it with: outreachd campaign dry-run {}",
            row.size(),
            plan.id
        ))?;
    }
    if tally.refused > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// So that whoever sent the list sees whether each column is what it is called.
fn write_first(desk: &mut Desk, first: &FirstRows) -> Result<(), Failure> {
    let mut heads = vec!["row"];
    heads.extend(first.columns.iter().map(String::as_str));
    let mut table = Table::new(&heads);
    for row in &first.rows {
        let cells =
            row.cells.iter().map(|cell| or_dash(Some(tame(cell.expose())).filter(|text| !text.is_empty())));
        let dashes = std::iter::repeat_with(|| or_dash(None::<u8>));
        let cells = cells.chain(dashes).take(first.columns.len());
        table.row(std::iter::once(row.line.to_string()).chain(cells));
    }
    Ok(table.write(&mut desk.out)?)
}

/// Reads the file in one thread while the ledger writes in another.
async fn bring(
    desk: &mut Desk,
    office: &Office,
    plan: &Plan,
    file: &Path,
    refused: Option<&Path>,
) -> Result<(Brought, FirstRows), Failure> {
    let bar = files::progress(file);
    let input = bar.wrap_read(files::open(file)?);
    let options = office.audience_options(plan, None);
    let rows = Audience::open(input, options).map_err(Failure::Input)?;
    let columns = rows.columns();
    let (to, mut batches) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || Office::read_rows(rows, &to));
    let mut tally = Brought::default();
    let mut refused = Refusals::open(refused, &columns)?;
    while let Some(batch) = batches.recv().await {
        let refusals = office.bring(plan, batch, &mut tally, &operator()).await?;
        bar.set_message(format!("{} added, {} refused", tally.added + tally.changed, tally.refused));
        for row in refusals {
            refused.add(desk, &bar, &row)?;
        }
    }
    bar.finish_and_clear();
    record(office.store.as_ref(), "campaign.audience", &plan.id, &format!("{} added", tally.added)).await?;
    let lost = |_| Failure::said("the file could not be read", "look at the log, and try again");
    let first = reading.await.map_err(lost)?.masked();
    refused.finish()?;
    Ok((tally, first))
}

/// A patient's id a line.
fn ids(file: &Path) -> Result<Vec<PatientId>, Failure> {
    let bytes = files::read_all(file, 64 << 20)?;
    let text = String::from_utf8_lossy(&bytes);
    // Editors put a byte order mark before the first id.
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(n, line)| {
            PatientId::parse(line).ok_or_else(|| {
                let what = format!("{}, line {}: must be {}", files::name(file), n + 1, PatientId::RULE);
                Failure::said(what, "give a patient's id a line, and nothing else")
            })
        })
        .collect()
}

async fn done(
    desk: &mut Desk,
    office: &Office,
    id: &CampaignId,
    mut patients: Vec<PatientId>,
    file: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(file) = file {
        patients.extend(ids(file)?);
    }
    let left_out = office.done(id, &patients).await?;
    record(office.store.as_ref(), "campaign.done", id, &format!("{left_out} left out")).await?;
    if desk.json {
        return Ok(desk.out.pretty(&json!({"left_out": left_out}))?);
    }
    Ok(desk.out.line(format!("{left_out} who were still to be written to are left out"))?)
}

async fn dry_run(desk: &mut Desk, office: &Office, id: &CampaignId) -> Result<(), Failure> {
    let forecast = office.dry_run(id).await?;
    if desk.json {
        return Ok(desk.out.pretty(&forecast)?);
    }
    let Forecast { hash, recipients, would_get, by_proxy, segments, cost, currency, .. } = &forecast;
    desk.out.line(format!(
        "{would_get} of {recipients} would get a message: {segments} SMS segments, {cost} {currency}"
    ))?;
    if *by_proxy > 0 {
        desk.out.line(format!("{by_proxy} of them are read by a proxy in the patient's place"))?;
    }
    let when = |at: Option<jiff::Timestamp>| or_dash(at);
    desk.out.line(format!("first {}  last {}", when(forecast.first_send_at), when(forecast.last_send_at)))?;
    for (name, counts) in [
        ("channel", forecast.by_channel.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect::<Vec<_>>()),
        ("language", forecast.by_language.iter().map(|(k, n)| (k.clone(), *n)).collect()),
        ("not sent", forecast.excluded.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()),
        ("hour", forecast.by_hour.iter().map(|(k, n)| (k.clone(), *n)).collect()),
    ] {
        for (word, count) in counts {
            desk.out.line(format!("{name:<9} {word:<24} {count}"))?;
        }
    }
    for sample in &forecast.samples {
        let what = if sample.pointer { "a pointer to the portal, the longest" } else { "the longest" };
        let head = format!("-- {} in {}, {what}:", sample.channel, sample.language);
        let head = desk.out.strong(&head);
        desk.out.line(head)?;
        desk.out.line(tame_lines(sample.text.as_ref().map_or("", |text| text.expose())))?;
    }
    if forecast.needs_approval {
        desk.out.line(format!(
            "another person has to agree: outreachd campaign approve {id} --recipients {recipients} --hash {hash}"
        ))?;
    }
    Ok(())
}

fn tame_lines(text: &str) -> String {
    text.lines().map(tame).collect::<Vec<_>>().join("\n")
}

/// What the audit log calls it, over HTTP as well.
const fn act_of(wish: &Wish) -> &'static str {
    match wish {
        Wish::Approve(..) => "campaign.approve",
        Wish::Start => "campaign.start",
        Wish::Pause => "campaign.pause",
        Wish::Resume => "campaign.resume",
        Wish::Cancel => "campaign.cancel",
        Wish::Pace(_) => "campaign.pace",
    }
}

async fn act(desk: &mut Desk, office: &Office, id: &CampaignId, wish: &Wish) -> Result<(), Failure> {
    let row = office.wish(id, &operator(), wish).await?;
    record(office.store.as_ref(), act_of(wish), id, "").await?;
    write(desk, office, &row)?;
    if matches!(wish, Wish::Start) && row.state == CampaignState::AwaitingApproval {
        return Err(Failure::said(
            "it needs another person's approval before it starts",
            format!("outreachd campaign approve {id} --recipients {}, then start it again", row.size()),
        ));
    }
    Ok(())
}

fn write(desk: &mut Desk, office: &Office, row: &CampaignRow) -> Result<(), Failure> {
    if desk.json {
        return Ok(desk.out.pretty(row)?);
    }
    let approval = row.approval.as_ref().map(|a| format!("{} at {}", tame(&a.by), a.at));
    for (name, value) in [
        ("campaign", row.plan.id.to_string()),
        ("title", tame(&row.plan.title)),
        (
            "state",
            row.reason.map_or_else(|| row.state.to_string(), |reason| format!("{} ({reason})", row.state)),
        ),
        ("template", row.plan.template.to_string()),
        ("meant", row.size().to_string()),
        ("written", row.expanded.to_string()),
        ("refused", row.refused.to_string()),
        ("left out", row.no_longer_needed.to_string()),
        ("made by", tame(&row.created_by)),
        ("approved", if office.needs_approval(row) { or_dash(approval) } else { "not needed".to_owned() }),
    ] {
        desk.out.line(format!("{name:<9} {value}"))?;
    }
    Ok(())
}

async fn status(desk: &mut Desk, office: &Office, id: &CampaignId, watch: bool) -> Result<(), Failure> {
    let (mut row, _) = office.one(id).await?;
    if watch && !desk.json {
        let target = ProgressDrawTarget::stderr_with_hz(4);
        let bar = ProgressBar::with_draw_target(Some(row.size()), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} written  {msg}") {
            bar.set_style(style);
        }
        while row.state == CampaignState::Running {
            bar.set_position(row.expanded + row.refused);
            bar.set_message(row.state.as_str());
            tokio::time::sleep(Duration::from_millis(500)).await;
            row = office.one(id).await?.0;
        }
        bar.finish_and_clear();
    }
    write(desk, office, &row)
}

async fn report(
    desk: &mut Desk,
    office: &Office,
    id: &CampaignId,
    csv: Option<&Path>,
) -> Result<(), Failure> {
    let (row, _) = office.one(id).await?;
    let report = office.store.campaign_report(id).await?;
    if let Some(path) = csv {
        export(office, id, path).await?;
    }
    if desk.json {
        return Ok(desk.out.pretty(&json!({"campaign": row, "report": report}))?);
    }
    write(desk, office, &row)?;
    let mut table = Table::new(&["status", "reason", "channel", "language", "hour", "count"]);
    for line in &report.lines {
        table.row([
            line.status.to_string(),
            or_dash(line.reason),
            or_dash(line.channel),
            or_dash(Some(&line.locale).filter(|text| !text.is_empty())),
            or_dash(line.hour),
            line.count.to_string(),
        ]);
    }
    for (reason, count) in &report.refused {
        let dash = || or_dash(None::<u8>);
        table.row(["not written".to_owned(), reason.to_string(), dash(), dash(), dash(), count.to_string()]);
    }
    for line in &report.replies {
        table.row([
            "replied".to_owned(),
            line.intent.to_string(),
            or_dash(line.channel),
            or_dash(Some(&line.locale).filter(|text| !text.is_empty())),
            or_dash(line.hour),
            line.count.to_string(),
        ]);
    }
    Ok(table.write(&mut desk.out)?)
}

/// The campaign's table, into a file that its owner alone may read.
async fn export(office: &Office, id: &CampaignId, path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::unwritten(path, &error);
    let mut file = BufWriter::new(private_file(path).map_err(failed)?);
    let sheet = Sheet { office: office.clone(), id: id.clone(), refused: false };
    let mut after = Some(0);
    while let Some(last) = after {
        let page = sheet.page(last).await?;
        file.write_all(&page.csv).map_err(failed)?;
        after = page.next;
    }
    file.flush().map_err(failed)
}

async fn follow(
    desk: &mut Desk,
    office: &Office,
    kind: FollowUp,
    options: FollowOptions,
) -> Result<(), Failure> {
    let (parent, _) = office.one(&options.id).await?;
    // It goes out when it is started, not when the first one was planned to.
    let base = Plan { start: None, end: None, title: options.new.to_string(), ..parent.plan };
    let pace = options.pace.pace();
    let plan = plan(office, &options.new, None, Some(base), options.what, pace)?;
    let row = office.follow(&options.id, kind, plan, &operator()).await?;
    let act = match kind {
        FollowUp::RetryFailed => "campaign.retry_failed",
        FollowUp::RetryUnanswered => "campaign.retry_unanswered",
        FollowUp::Correct => "campaign.correct",
    };
    record(office.store.as_ref(), act, &options.id, options.new.as_str()).await?;
    write(desk, office, &row)
}

async fn list(desk: &mut Desk, office: &Office, open: bool) -> Result<(), Failure> {
    let rows =
        office.store.campaigns(&CampaignFilter { open, limit: 1_000, ..CampaignFilter::default() }).await?;
    if desk.json {
        return Ok(rows.iter().try_for_each(|row| desk.out.json(row))?);
    }
    if rows.is_empty() {
        return Ok(desk.out.line("there are no campaigns")?);
    }
    let mut table = Table::new(&["id", "state", "meant", "written", "template", "made by", "title"]);
    for row in &rows {
        table.row([
            row.plan.id.to_string(),
            row.state.to_string(),
            row.size().to_string(),
            row.expanded.to_string(),
            row.plan.template.to_string(),
            tame(&row.created_by),
            tame(&row.plan.title),
        ]);
    }
    Ok(table.write(&mut desk.out)?)
}
