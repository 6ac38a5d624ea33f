//! `outreachd callbacks`: results that receivers have not taken, and another try for those that were given up.

use clap::{Args, Subcommand};
use serde_json::json;

use super::audit::record;
use super::messages::short;
use super::out::{Listing, or_dash};
use super::{Desk, Failure, args};
use crate::domain::ids::{EventId, SourceName};
use crate::store::rows::{CallbackFilter, CallbackRow, CallbackState};

/// The most rows that one question to the ledger answers.
const PAGE: u32 = 1_000;

/// Results that are posted to sources and were not taken yet. Ids and codes only.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what waits and what is dead, oldest first
    ///
    /// `waiting` is posted, again where it failed before; `last` says what became of the last try: the status of the
    /// answer, or connect, dns, timeout, connection_lost, address_refused, url_... `dead` was answered 410, or failed
    /// for as long as [events.callbacks] give_up_after says; where nothing gets through to a receiver, what has waited for
    /// twice as long is dead as well. The later events of its message wait behind it, so that their order has no gap.
    #[command(after_help = "Example:\n  outreachd callbacks list --state dead")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// waiting or dead [default: both]
        #[arg(long, value_parser = args::callback_state)]
        state: Option<CallbackState>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Have dead ones posted again from the start, and what waits behind them, once their receiver is in order
    #[command(after_help = "Example:\n  outreachd callbacks retry --source lakeside-ehr")]
    Retry {
        #[command(flatten)]
        filter: Filter,
        /// Everything that is dead
        #[arg(long, conflicts_with_all = ["id", "source"])]
        all: bool,
    },
}

/// Which ones.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// By the event's id; may be given several times
    #[arg(long, value_parser = args::event)]
    id: Vec<EventId>,
    /// Of this source
    #[arg(long, value_parser = args::source)]
    source: Option<SourceName>,
}

impl Filter {
    fn into_rows(self) -> CallbackFilter {
        CallbackFilter {
            ids: self.id,
            sources: self.source.into_iter().collect(),
            ..CallbackFilter::default()
        }
    }
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { filter, state, limit } => {
            list(desk, CallbackFilter { state, ..filter.into_rows() }, limit).await
        }
        Command::Retry { filter, all } => {
            if filter.id.is_empty() && filter.source.is_none() && !all {
                let cure = "give --id or --source, or --all";
                return Err(Failure::said("nothing says what to post again", cure));
            }
            retry(desk, &filter.into_rows()).await
        }
    }
}

async fn list(desk: &mut Desk, mut filter: CallbackFilter, limit: u32) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let columns = ["id", "state", "source", "event", "message", "tries", "since", "due", "last"];
    let ask = async |limit: u32, last: Option<&CallbackRow>| {
        filter.limit = limit;
        filter.after = last.map(|row| row.id);
        store.callbacks(&filter).await
    };
    let listing = Listing { columns, none: Some("every result was taken"), limit, page: PAGE };
    listing.write(desk, ask, |out, row| out.json(row), cells).await
}

fn cells(row: &CallbackRow) -> [String; 9] {
    let due = if row.state == CallbackState::Dead { or_dash(None::<u8>) } else { short(row.due_at) };
    [
        row.id.to_string(),
        row.state.to_string(),
        row.source.to_string(),
        row.kind.clone(),
        or_dash(row.message_id),
        row.tries.to_string(),
        short(row.since),
        due,
        or_dash(row.code.as_deref()),
    ]
}

async fn retry(desk: &mut Desk, filter: &CallbackFilter) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let retried = store.retry_callbacks(filter).await?;
    if retried > 0 {
        record(store.as_ref(), "callback.retry", "", &format!("{retried} results")).await?;
    }
    if retried == 0 && !filter.ids.is_empty() {
        let cure = "look at `outreachd callbacks list --state dead`";
        return Err(Failure::said("nothing under that id is dead", cure));
    }
    if desk.json {
        return Ok(desk.out.pretty(&json!({ "retried": retried }))?);
    }
    Ok(desk.out.line(format!("{retried} will be posted again"))?)
}
