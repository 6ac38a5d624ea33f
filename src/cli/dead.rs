//! `outreachd dead`: what could not be accepted, kept in the ledger until somebody repairs and replays it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::audit::record;
use super::enqueue::detail;
use super::messages::short;
use super::out::{Listing, or_dash};
use super::{Desk, Failure, args, files, operator};
use crate::domain::ids::{ParkedId, SourceName};
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::words::Reason;
use crate::intake::replay::{Repaired, Replayed};
use crate::intake::{Intake, Outcome};
use crate::store::rows::{ParkedFilter, ParkedRow};

/// Read and replayed in one go.
const PAGE: u32 = 200;

/// What could not be accepted: its reasons, its body, and another try.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what waits for repair, oldest first
    #[command(after_help = "Example:\n  outreachd dead list --reason unknown_template")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show everything that is wrong with one
    #[command(
        after_help = "Example, to repair a body by hand (it may hold patients' data: keep it from others):\n  \
        umask 077; outreachd dead show ID --raw --reason 'to repair it' > job.json\n  \
        outreachd dead replay --id ID --body job.json"
    )]
    Show {
        /// The job, as `dead list` shows it
        #[arg(value_parser = args::parked)]
        id: ParkedId,
        /// Write the body itself, as it came, and nothing else
        #[arg(long, requires = "reason")]
        raw: bool,
        /// Why, for the record
        #[arg(long, value_parser = super::patients::reason, requires = "raw")]
        reason: Option<String>,
    },
    /// Submit again what was repaired: the template, the configuration, or the body by --body
    #[command(after_help = "Example:\n  outreachd dead replay --reason unknown_template --dry-run")]
    Replay {
        #[command(flatten)]
        filter: Filter,
        /// Replay everything that waits
        #[arg(long, conflicts_with_all = ["id", "reason", "source"])]
        all: bool,
        /// Tell what would be replayed, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// The repaired body, for one --id; `-` is standard input
        #[arg(long, value_name = "FILE", requires = "id")]
        body: Option<PathBuf>,
    },
}

/// Which ones.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// By id; may be given several times
    #[arg(long, value_parser = args::parked)]
    id: Vec<ParkedId>,
    /// By the first reason
    #[arg(long, value_parser = args::reason)]
    reason: Option<Reason>,
    /// Of this source
    #[arg(long, value_parser = args::source)]
    source: Option<SourceName>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.id.is_empty() && self.reason.is_none() && self.source.is_none()
    }

    fn into_rows(self, limit: u32) -> ParkedFilter {
        ParkedFilter { ids: self.id, reason: self.reason, source: self.source, after: None, limit }
    }
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { filter, limit } => list(desk, filter.into_rows(PAGE), limit).await,
        Command::Show { id, raw, reason } => show(desk, id, raw.then_some(reason).flatten().as_deref()).await,
        Command::Replay { filter, all, dry_run, body } => {
            if filter.is_empty() && !all {
                let cure = "give --id, --reason or --source, or --all";
                return Err(Failure::said("nothing says what to replay", cure));
            }
            if body.is_some() && filter.id.len() != 1 {
                return Err(Failure::said("--body repairs one", "give exactly one --id with it"));
            }
            let repaired = body.map(|file| files::read_all(&file, repaired_limit())).transpose()?;
            let repaired = repaired.as_deref().map(|body| Repaired { body, emergency: true });
            replay(desk, filter.into_rows(PAGE), dry_run, repaired).await
        }
    }
}

fn repaired_limit() -> u64 {
    u64::try_from(MAX_JOB_BYTES).unwrap_or(u64::MAX)
}

async fn list(desk: &mut Desk, mut filter: ParkedFilter, limit: u32) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let columns = ["id", "parked", "reason", "source", "job", "came by", "what is wrong"];
    let ask = async |limit: u32, last: Option<&ParkedRow>| {
        filter.limit = limit;
        filter.after = last.map(|row| row.id);
        store.parked(&filter).await
    };
    let listing = Listing { columns, none: Some("nothing waits for repair"), limit, page: PAGE };
    listing.write(desk, ask, |out, row| out.json(&as_json(row)), cells).await
}

fn cells(row: &ParkedRow) -> [String; 7] {
    let first = row.problems.first();
    let more = match row.problems.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    [
        row.id.to_string(),
        short(row.parked_at),
        or_dash(first.map(|p| p.reason)),
        or_dash(row.source.as_ref()),
        or_dash(row.job_id.as_ref()),
        row.origin.clone(),
        first.map(|p| format!("{}: {}{more}", p.field, p.rule)).unwrap_or_default(),
    ]
}

/// Without the body, which may hold anything.
fn as_json(row: &ParkedRow) -> Value {
    json!({
        "id": row.id, "parked_at": row.parked_at, "source": row.source, "job_id": row.job_id,
        "origin": row.origin, "correlation_id": row.correlation_id, "body_bytes": row.body.len(),
        "problems": row.problems,
    })
}

/// The body itself where there is a reason to read it.
async fn show(desk: &mut Desk, id: ParkedId, reason: Option<&str>) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let filter = ParkedFilter { ids: vec![id], limit: 1, ..ParkedFilter::default() };
    let Some(row) = store.parked(&filter).await?.pop() else {
        let cure = "look at `outreachd dead list`; what was replayed is not shown any more";
        return Err(Failure::said(format!("nothing waits for repair under {id}"), cure));
    };
    if let Some(reason) = reason {
        if row.unread {
            return Err(Failure::said("its body cannot be opened", ParkedRow::closed().cure));
        }
        record(store.as_ref(), "dead.reveal", id, reason).await?;
        return Ok(desk.out.raw(&row.body)?);
    }
    if desk.json {
        return Ok(desk.out.pretty(&as_json(&row))?);
    }
    for (name, value) in [
        ("id", row.id.to_string()),
        ("parked", short(row.parked_at)),
        ("came by", row.origin.clone()),
        ("source", or_dash(row.source.as_ref())),
        ("job", or_dash(row.job_id.as_ref())),
        ("body", format!("{} bytes; --raw --reason WHY writes it", row.body.len())),
    ] {
        desk.out.line(format!("{name:<9} {value}"))?;
    }
    desk.out.line("")?;
    Ok(row.problems.iter().try_for_each(|p| desk.out.line(format!("{} [{}]", p, p.reason)))?)
}

async fn replay(
    desk: &mut Desk,
    mut filter: ParkedFilter,
    dry_run: bool,
    repaired: Option<Repaired<'_>>,
) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let catalogue = Desk::catalogue(&config)?;
    let intake = Desk::intake(&config, store.clone(), catalogue);
    let (mut good, mut bad) = (0_u64, 0_u64);
    loop {
        let rows = store.parked(&filter).await?;
        let Some(last) = rows.last().map(|row| row.id) else { break };
        if dry_run {
            good += u64::try_from(rows.len()).unwrap_or(0);
            rows.iter().try_for_each(|row| desk.out.line(cells(row).join("  ")))?;
        } else {
            let (done, left) = replay_page(desk, &intake, rows, repaired).await?;
            good += done;
            bad += left;
        }
        filter.after = Some(last);
    }
    if good > 0 && !dry_run {
        record(store.as_ref(), "dead.replay", "", &format!("{good} bodies")).await?;
    }
    if good + bad == 0 && !filter.ids.is_empty() {
        let cure = "look at `outreachd dead list`; what was replayed is not shown any more";
        return Err(Failure::said("nothing waits for repair under that id", cure));
    }
    if !desk.json {
        let line = if dry_run {
            format!("{good} would be replayed")
        } else {
            format!("{good} replayed, {bad} still refused")
        };
        desk.out.line(line)?;
    }
    if bad > 0 { Err(Failure::Reported) } else { Ok(()) }
}

async fn replay_page(
    desk: &mut Desk,
    intake: &Intake,
    rows: Vec<ParkedRow>,
    repaired: Option<Repaired<'_>>,
) -> Result<(u64, u64), Failure> {
    let replayed = intake.replay(rows, &operator(), repaired).await?;
    let mut good = 0_u64;
    for Replayed { id, outcome } in &replayed {
        let (word, detail, problems) = (outcome.word(), detail(outcome), outcome.problems());
        good += u64::from(!matches!(outcome, Outcome::Refused { .. }));
        if desk.json {
            desk.out.json(&json!({ "id": id, "result": word, "problems": problems }))?;
            continue;
        }
        desk.out.line(format!("{word:<10} {id}  {detail}"))?;
        problems.iter().try_for_each(|problem| desk.out.line(format!("           {problem}")))?;
    }
    let all = u64::try_from(replayed.len()).unwrap_or(0);
    Ok((good, all - good))
}
