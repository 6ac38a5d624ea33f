//! `outreachd work`: what people have to do, and who does it.

use clap::{Args, Subcommand};

use super::audit::record;
use super::messages::short;
use super::out::{Listing, or_dash, tame};
use super::{Desk, Failure, args, operator};
use crate::domain::ids::{MessageId, SiteId, SourceName, WorkItemId};
use crate::domain::words::{WorkKind, WorkOutcome, WorkState};
use crate::store::rows::{WorkFilter, WorkItem, WorkMove, WorkMoved};

/// The most rows that one question to the ledger answers.
const PAGE: u32 = 1_000;

/// What people have to do. Patients appear by their ids.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what is to do: words of danger first, then by when it is due; what is closed, the newest first
    #[command(after_help = "Example:\n  outreachd work list --kind safety")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Show one; `--text` shows what the patient wrote, with its digits masked
    #[command(
        after_help = "Example:\n  outreachd work show 0196f3c0-0000-7000-8000-000000000001 --text --reason 'to answer it'"
    )]
    Show {
        /// The work item, as `work list` shows it
        #[arg(value_parser = args::work)]
        id: WorkItemId,
        /// What the patient wrote, which is health information: look to who stands behind you
        #[arg(long, requires = "reason")]
        text: bool,
        /// Why, for the record
        #[arg(long, value_parser = super::patients::reason, requires = "text")]
        reason: Option<String>,
    },
    /// Take one upon yourself, so that nobody is called a second time
    #[command(after_help = "Example:\n  outreachd work claim 0196f3c0-0000-7000-8000-000000000001")]
    Claim {
        /// The work item, as `work list` shows it
        #[arg(value_parser = args::work)]
        id: WorkItemId,
    },
    /// Give back one that was claimed
    #[command(after_help = "Example:\n  outreachd work release 0196f3c0-0000-7000-8000-000000000001")]
    Release {
        /// The work item, as `work list` shows it
        #[arg(value_parser = args::work)]
        id: WorkItemId,
    },
    /// Close one with what became of it
    #[command(
        after_help = "Example:\n  outreachd work close 0196f3c0-0000-7000-8000-000000000001 --outcome reached"
    )]
    Close {
        /// The work item, as `work list` shows it
        #[arg(value_parser = args::work)]
        id: WorkItemId,
        /// reached (in another way), resent, not_needed, unreachable or resolved
        #[arg(long, value_parser = args::work_outcome)]
        outcome: WorkOutcome,
    },
}

/// Which ones.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// open, claimed or closed [default: all that are not closed]
    #[arg(long, value_parser = args::work_state)]
    state: Option<WorkState>,
    /// plan_exhausted, outcome_unknown, came_back, unacknowledged, surge_hold, hold_review, reply, safety or maybe_cancel_visit
    #[arg(long, value_parser = args::work_kind)]
    kind: Option<WorkKind>,
    /// Of this source
    #[arg(long, value_parser = args::source)]
    source: Option<SourceName>,
    /// Of this site
    #[arg(long, value_parser = args::site)]
    site: Option<SiteId>,
    /// About this message
    #[arg(long, value_parser = args::message)]
    message: Option<MessageId>,
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { filter, limit } => list(desk, filter, limit).await,
        Command::Show { id, text, reason } => {
            show(desk, id, text.then_some(reason).flatten().as_deref()).await
        }
        Command::Claim { id } => change(desk, id, WorkMove::Claim).await,
        Command::Release { id } => change(desk, id, WorkMove::Release).await,
        Command::Close { id, outcome } => change(desk, id, WorkMove::Close(outcome)).await,
    }
}

async fn list(desk: &mut Desk, filter: Filter, limit: u32) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let mut filter = WorkFilter {
        state: filter.state,
        kind: filter.kind,
        site: filter.site,
        sources: filter.source.into_iter().collect(),
        message: filter.message,
        ..WorkFilter::default()
    };
    let columns = ["id", "kind", "state", "due", "claimed by", "source", "about"];
    let ask = async |limit: u32, last: Option<&WorkItem>| {
        filter.limit = limit;
        filter.after = last.map(|item| item.id);
        store.work_items(&filter).await
    };
    let listing = Listing { columns, none: Some("there is nothing to do"), limit, page: PAGE };
    listing.write(desk, ask, |out, item| out.json(item), cells).await
}

fn cells(item: &WorkItem) -> [String; 7] {
    [
        item.id.to_string(),
        item.kind.to_string(),
        item.state.to_string(),
        short(item.due_at),
        or_dash(item.claimed_by.as_deref().map(tame)),
        or_dash(item.source.as_ref()),
        about(item),
    ]
}

/// The message, or the hold.
fn about(item: &WorkItem) -> String {
    match (item.message_id, item.hold_id) {
        (Some(message), _) => message.to_string(),
        (None, Some(hold)) => format!("hold {hold}"),
        (None, None) => or_dash(None::<u8>),
    }
}

/// With what the patient wrote where there is a reason to read it.
async fn show(desk: &mut Desk, id: WorkItemId, reason: Option<&str>) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let item = store.work_item(id).await?.ok_or_else(|| missing(id))?;
    let reply = match (reason, item.reply_id) {
        (Some(reason), Some(_)) => {
            record(store.as_ref(), "work.reveal", id, &format!("text: {reason}")).await?;
            store.reply_text(id).await?
        }
        _ => None,
    };
    write(desk, &item)?;
    if reason.is_none() {
        return Ok(());
    }
    let Some(reply) = reply else {
        return Err(Failure::said("no patient has written this one", "show it without --text"));
    };
    // Numbers that people write are theirs or their family's; nothing that is to be done needs them here.
    let wrote = reply.text.as_ref().map_or("", |text| text.expose());
    let wrote: String = wrote.chars().map(|c| if c.is_numeric() { '*' } else { c }).collect();
    if desk.json {
        let body = serde_json::json!({ "intent": reply.intent, "answer": reply.answer, "text": wrote, "received_at": reply.received_at });
        return Ok(desk.out.pretty(&body)?);
    }
    if let Some(answer) = &reply.answer {
        desk.out.line(format!("{:<9} {answer}", "answer"))?;
    }
    let gone = if reply.text.is_none() { "(erased)" } else { "" };
    Ok(desk.out.line(format!("{:<9} {}{gone}", "wrote", tame(&wrote)))?)
}

fn write(desk: &mut Desk, item: &WorkItem) -> Result<(), Failure> {
    if desk.json {
        return Ok(desk.out.pretty(item)?);
    }
    for (name, value) in [
        ("id", item.id.to_string()),
        ("kind", item.kind.to_string()),
        ("state", item.state.to_string()),
        ("priority", item.priority.to_string()),
        ("source", or_dash(item.source.as_ref())),
        ("site", or_dash(item.site.as_ref())),
        ("about", about(item)),
        ("patient", or_dash(item.patient_id.as_ref())),
        ("opened", short(item.opened_at)),
        ("due", short(item.due_at)),
        ("called", format!("{} times", item.alerts)),
        ("claimed", or_dash(item.claimed_by.as_deref().map(tame))),
        ("closed", or_dash(item.closed_by.as_deref().map(tame))),
        ("outcome", or_dash(item.outcome)),
    ] {
        desk.out.line(format!("{name:<9} {value}"))?;
    }
    Ok(())
}

async fn change(desk: &mut Desk, id: WorkItemId, to: WorkMove) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    match store.move_work(id, &operator(), to).await? {
        WorkMoved::Done(item) => {
            let act = match to {
                WorkMove::Claim => "work.claim",
                WorkMove::Release => "work.release",
                WorkMove::Close(_) => "work.close",
            };
            record(store.as_ref(), act, id, "").await?;
            write(desk, &item)
        }
        WorkMoved::Refused(item) => Err(refusal(&item)),
        WorkMoved::Unknown => Err(missing(id)),
    }
}

fn refusal(item: &WorkItem) -> Failure {
    match item.state {
        WorkState::Open => Failure::said("nobody has claimed it", "claim it first, or close it"),
        WorkState::Claimed => {
            let who = tame(item.claimed_by.as_deref().unwrap_or_default());
            Failure::said(
                format!("{who} has claimed it"),
                format!("ask them, or take it over: outreachd work release {}", item.id),
            )
        }
        WorkState::Closed => Failure::said("it is closed", format!("see `outreachd work show {}`", item.id)),
    }
}

fn missing(id: WorkItemId) -> Failure {
    Failure::said(format!("there is no work item {id}"), "look at `outreachd work list`")
}
