//! `outreachd audit`: who did what.

use std::fmt::Display;

use clap::Subcommand;

use super::messages::short;
use super::out::{Table, or_dash, tame};
use super::{Desk, Failure, operator};
use crate::domain::phi::Phi;
use crate::store::Store;
use crate::store::audit::{AuditEntry, AuditFilter, verify};

/// The audit log. Each entry is chained to the one before it.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List entries, newest first
    #[command(after_help = "Example:\n  outreachd audit list --who ana --limit 20")]
    List {
        /// By this account, token, or `cli:` and an account of the system
        #[arg(long)]
        who: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Look through all of it for an entry that was altered, lost or slipped in; the exit code is 0 only if there is none
    #[command(after_help = "Example:\n  outreachd audit verify\n\n\
        Note the hash it prints somewhere else: whoever can write to the database could make the whole log anew.")]
    Verify,
}

pub(super) async fn run(desk: &mut Desk, command: &Command) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    match command {
        Command::List { who, limit } => {
            let filter = AuditFilter {
                before: Some(i64::MAX),
                who: who.clone(),
                limit: *limit,
                ..AuditFilter::default()
            };
            list(desk, store.as_ref(), &filter).await
        }
        Command::Verify => verified(desk, store.as_ref()).await,
    }
}

async fn list(desk: &mut Desk, store: &dyn Store, filter: &AuditFilter) -> Result<(), Failure> {
    let rows = store.audit(filter).await?;
    if desk.json {
        return Ok(rows.iter().try_for_each(|row| desk.out.json(row))?);
    }
    let mut table = Table::new(&["no", "at", "who", "what", "about", "with"]);
    for row in &rows {
        table.row([
            row.ord.to_string(),
            short(row.at),
            tame(&row.who),
            tame(&row.act),
            or_dash(Some(tame(&row.subject)).filter(|subject| !subject.is_empty())),
            tame(row.detail.expose()),
        ]);
    }
    Ok(table.write(&mut desk.out)?)
}

async fn verified(desk: &mut Desk, store: &dyn Store) -> Result<(), Failure> {
    let found = verify(store).await?;
    if desk.json {
        desk.out.json(&found)?;
    }
    if let Some(ord) = found.broken_at {
        let what = format!("the audit log was altered: entry {ord} does not fit the one before it");
        let cure = "compare it with a backup; the entries before it are whole";
        return Err(Failure::said(what, cure));
    }
    if desk.json {
        return Ok(());
    }
    desk.out.line(format!("{} entries, all in their places", found.entries))?;
    Ok(desk
        .out
        .line(format!("hash of the last one: {}", or_dash(Some(&found.hash).filter(|h| !h.is_empty()))))?)
}

/// Writes what somebody did by a command.
pub(super) async fn record(
    store: &dyn Store,
    act: &str,
    subject: impl Display,
    detail: &str,
) -> Result<(), Failure> {
    let entry = AuditEntry {
        who: operator(),
        act: act.to_owned(),
        subject: subject.to_string(),
        detail: Phi::new(detail),
    };
    Ok(store.record(&entry).await?)
}
