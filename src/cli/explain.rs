//! `outreachd explain`: why a message is where it is.

use clap::Args;

use super::args::{self, Which};
use super::{Desk, Failure, messages};
use crate::dispatch::explain;

/// Tells why a message is where it is.
///
/// Which gates it passed, what stopped it, what was tried, what was told, and what comes next.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outreachd explain lakeside-ehr:appt-2041-r1")]
pub(super) struct Options {
    /// A message id, or SOURCE:JOB_ID
    #[arg(value_parser = args::which)]
    id: Which,
}

pub(super) async fn run(desk: &mut Desk, options: &Options) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let id = messages::find(store.as_ref(), &options.id).await?.facts.id;
    let explained = explain(store.as_ref(), id).await?;
    let Some(explained) = explained else {
        return Err(Failure::said("the message is gone", "it was archived or erased meanwhile"));
    };
    if desk.json {
        return Ok(desk.out.pretty(&explained)?);
    }
    Ok(desk.out.raw(explained.to_text().as_bytes())?)
}
