//! `outreachd run`: the worker, from start to an orderly end.

use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Desk, Failure, logging};
use crate::app::Worker;
use crate::config::Config;
use crate::config::store::StoreKind;
use crate::store::{Store, StoreError};
use crate::template::SharedCatalogue;

/// Runs the worker: takes jobs in, sends them, tells the results.
///
/// SIGTERM or SIGINT stops it in good order, within [worker] shutdown_grace; a second one at once. SIGHUP loads the
/// templates again and keeps the old set where the new one has faults. The log goes to standard error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outreachd run --config /etc/outreachd/outreachd.toml")]
pub(super) struct Options {}

pub(super) async fn run(desk: &mut Desk, _options: &Options) -> Result<(), Failure> {
    let config = desk.config()?;
    logging::start(config.log)?;
    let catalogue = Desk::catalogue(&config)?;
    let store = Desk::store_or_new(&config).await?;
    let away = match ready(&config, store.as_ref()).await {
        Ok(()) => false,
        Err(StoreError::Unavailable(why)) if config.store.kind == StoreKind::Postgres => {
            tracing::warn!(why, "the ledger is away; the worker starts and waits for it");
            true
        }
        Err(other) => return Err(other.into()),
    };
    let mut signals = Signals::listen()?;
    let worker = Worker::start(config.clone(), store.clone(), catalogue.clone()).await?;
    tracing::info!(http = %worker.http, mode = %config.safety.mode, providers = config.providers.len(), "the worker runs");
    let refused = tokio::select! {
        () = signals.until_stop(&catalogue) => None,
        refused = unfit(&config, store.as_ref()), if away => Some(refused),
    };
    tracing::info!("stopping: what is on the wire is finished first");
    tokio::select! {
        () = worker.stop() => tracing::info!("stopped"),
        _ = signals.stop() => tracing::warn!("stopped at once: what was on the wire will be unknown"),
    }
    match refused {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// An embedded ledger is brought up to date by its one worker; a shared one by `outreachd migrate`, at a moment
/// that people choose.
async fn ready(config: &Config, store: &dyn Store) -> Result<(), StoreError> {
    if config.store.kind == StoreKind::Sqlite {
        store.migrate().await?;
    }
    store.take_key().await?;
    store.ping().await.map(drop)
}

/// Asks a ledger that was away at the start until it answers; resolves if it and this program do not go together.
async fn unfit(config: &Config, store: &dyn Store) -> StoreError {
    loop {
        match ready(config, store).await {
            Ok(()) => return std::future::pending().await,
            Err(StoreError::Unavailable(_) | StoreError::Contention) => {
                tokio::time::sleep(config.worker.poll).await;
            }
            Err(other) => return other,
        }
    }
}

/// The signals that this process answers.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                let what = format!("signals cannot be listened to ({})", error.kind());
                Failure::said(what, "look at the limits of the process")
            })
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) -> Option<()> {
        tokio::select! {
            seen = self.term.recv() => seen,
            seen = self.int.recv() => seen,
        }
    }

    async fn until_stop(&mut self, catalogue: &Arc<SharedCatalogue>) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => reload(catalogue).await,
            }
        }
    }
}

async fn reload(catalogue: &Arc<SharedCatalogue>) {
    let reading = catalogue.clone();
    match tokio::task::spawn_blocking(move || reading.reload()).await {
        Ok(Ok(true)) => {
            tracing::info!(bundle = catalogue.current().bundle_hash(), "new templates are in use")
        }
        Ok(Ok(false)) => tracing::info!("the templates have not changed"),
        Ok(Err(findings)) => {
            for finding in &findings {
                tracing::error!(%finding, "a fault in the templates");
            }
            tracing::error!(faults = findings.len(), "the old templates stay in use until these are mended");
        }
        Err(_) => tracing::error!("loading the templates failed; the old ones stay in use"),
    }
}
