//! `outreachd migrate`: the ledger's schema and the broker's queues.

use clap::Args;

use super::{Desk, Failure};
use crate::app;
use crate::broker;
use crate::store::StoreError;

/// Brings the ledger's schema up to this program's version and declares the exchanges and queues that are missing.
///
/// Safe to run again, and while workers run. It needs a database role that may create tables, and a broker user
/// that may configure; workers need neither.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outreachd migrate --config /etc/outreachd/outreachd.toml")]
pub(super) struct Options {}

pub(super) async fn run(desk: &mut Desk, _options: &Options) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store_or_new(&config).await?;
    store.migrate().await.map_err(unmigrated)?;
    store.take_key().await?;
    store.ping().await?;
    desk.out.line("ledger  the schema is up to date")?;
    desk.out.flush()?;
    match app::broker_options(&config)? {
        None => desk.out.line("broker  none is configured")?,
        Some(options) => {
            broker::declare(&options).await.map_err(|reason| {
                Failure::said(
                    format!("the broker could not be set up ({})", reason.code()),
                    super::check::broker_cure(reason),
                )
            })?;
            desk.out.line("broker  exchanges and queues are declared")?;
        }
    }
    Ok(())
}

/// To give the same command again is no cure for what it stumbles over.
fn unmigrated(error: StoreError) -> Failure {
    match error {
        StoreError::Schema(_) => Failure::said(
            error,
            "that migration has changed nothing: report it to the maintainers, with the versions of before and now",
        ),
        other => other.into(),
    }
}
