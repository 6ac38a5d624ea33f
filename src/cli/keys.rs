//! `outreachd keys`: under which keys the ledger is sealed, and what lies under old ones sealed anew.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::json;

use super::audit::record;
use super::out::Table;
use super::{Desk, Failure};
use crate::store::reseal::Walk;
use crate::store::sealed::{RowAt, Sealed};
use crate::store::sealer::Form;
use crate::store::{Result, Store, patiently};

/// Rows that are looked at in one go.
const LOOKED_AT: u32 = 2_000;
/// What runs beside workers that still seal under the old key finds more each time; they are to be restarted by then.
const ROUNDS: u32 = 5;

/// The keys that patients' columns are sealed under.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Count the sealed values of each column by key
    #[command(after_help = "Example:\n  outreachd keys list\n\n\
        A key may be taken out of [security] seal_keys when nothing lies under it any more. Backups that were made before\n\
        cannot be read without it: that is how what was erased is gone from them too.")]
    List,
    /// Seal anew what lies plain or under another key than the first of [security] seal_keys
    ///
    /// Runs beside the workers, in small steps; cut, it goes on where it is begun again.
    #[command(after_help = "Example, to exchange a key:\n  \
        umask 077                                       # the files are for their owner alone\n  \
        head -c 32 /dev/urandom | base64 >> seal.keys   # second line; restart every process\n  \
        tac seal.keys > new && mv new seal.keys         # now it is the first; restart again\n  \
        outreachd keys reseal\n  \
        outreachd keys list                             # nothing under the old one: take it out\n\n\
        The very first key of your own has no line above it: it seals as soon as one process has it, and the others cannot\n\
        read that. Stop all workers but one, restart that one with the key, then start the others with it.")]
    Reseal {
        /// Rows in one transaction
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        batch: u32,
    },
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    match command {
        Command::List => list(desk, store.as_ref()).await,
        Command::Reseal { batch } => reseal(desk, store.as_ref(), batch).await,
    }
}

/// What lies in a column.
#[derive(Default)]
struct Found {
    forms: BTreeMap<Form, u64>,
    resealed: u64,
    unreadable: u64,
}

async fn list(desk: &mut Desk, store: &dyn Store) -> Result<(), Failure> {
    let (present, keys) = store.sealing();
    let mut table = Table::new(&["column", "values", "lie", "standing"]);
    for column in Sealed::ALL {
        let found = through(store, *column, LOOKED_AT, false).await?;
        for (form, count) in found.forms {
            let (lie, standing) = match form {
                Form::Empty => continue,
                Form::Plain if present == form => ("plain".to_owned(), "as new values do"),
                Form::Plain => ("plain".to_owned(), "to be sealed"),
                Form::Under(id) if present == form => (id.to_string(), "as new values do"),
                Form::Under(id) if keys.contains(&id) => (id.to_string(), "to be sealed anew"),
                Form::Under(id) => (id.to_string(), "key missing"),
            };
            if desk.json {
                desk.out.json(
                    &json!({"column": column.to_string(), "values": count, "key": lie, "standing": standing}),
                )?;
            } else {
                table.row([column.to_string(), count.to_string(), lie, standing.to_owned()]);
            }
        }
    }
    if !desk.json {
        table.write(&mut desk.out)?;
    }
    Ok(())
}

async fn reseal(desk: &mut Desk, store: &dyn Store, batch: u32) -> Result<(), Failure> {
    record(store, "keys.reseal", "", "").await?;
    let (mut all, mut unreadable) = (0, 0);
    for column in Sealed::ALL {
        let (mut resealed, mut closed) = (0, 0);
        for _ in 0..ROUNDS {
            let found = through(store, *column, batch, true).await?;
            resealed += found.resealed;
            closed = found.unreadable;
            if found.resealed == 0 {
                break;
            }
        }
        if desk.json {
            desk.out.json(&json!({"column": column.to_string(), "resealed": resealed}))?;
        } else if resealed > 0 {
            desk.out.line(format!("{column}: {resealed} sealed anew"))?;
            desk.out.flush()?;
        }
        all += resealed;
        unreadable += closed;
    }
    if unreadable > 0 {
        let what =
            format!("{unreadable} values cannot be opened: their key is missing, or they were altered");
        let cure = "`outreachd keys list` names the keys; put a missing one back into [security] seal_keys";
        return Err(Failure::said(what, cure));
    }
    if !desk.json {
        desk.out.line(format!("{all} values sealed anew"))?;
    }
    Ok(())
}

/// From the first row to the last.
async fn through(store: &dyn Store, column: Sealed, limit: u32, reseal: bool) -> Result<Found> {
    let mut found = Found::default();
    let mut after: Option<RowAt> = None;
    loop {
        let walk = Walk { column, after, limit, reseal };
        let step = patiently(|| store.look_through(&walk)).await?;
        for (form, count) in step.forms {
            *found.forms.entry(form).or_default() += count;
        }
        found.resealed += step.resealed;
        found.unreadable += step.unreadable;
        match step.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
