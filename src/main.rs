//! The `outreachd` program: hands the app's parts to the command line.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use outreachd::app::{self, AppError, Worker};
use outreachd::broker::{Broker, BrokerOptions};
use outreachd::cli::{self, Failure, Running, Workshop};
use outreachd::config::Config;
use outreachd::intake::Intake;
use outreachd::store::Store;
use outreachd::template::SharedCatalogue;

fn main() -> ExitCode {
    cli::main(&Parts)
}

/// Builds what commands ask for, by way of the app.
#[derive(Debug)]
struct Parts;

#[async_trait]
impl Workshop for Parts {
    async fn open_store(&self, config: &Config) -> Result<Arc<dyn Store>, Failure> {
        app::open_store(config).await.map_err(failure)
    }

    fn broker_options(&self, config: &Config) -> Result<Option<BrokerOptions>, Failure> {
        app::broker_options(config).map_err(failure)
    }

    async fn start(
        &self,
        config: Arc<Config>,
        store: Arc<dyn Store>,
        catalogue: Arc<SharedCatalogue>,
    ) -> Result<Box<dyn Running>, Failure> {
        let worker = Worker::start(config, store, catalogue).await.map_err(failure)?;
        Ok(Box::new(Started(worker)))
    }
}

/// A worker as the command line sees it.
#[derive(Debug)]
struct Started(Worker);

#[async_trait]
impl Running for Started {
    fn intake(&self) -> &Intake {
        &self.0.intake
    }

    fn broker(&self) -> Option<&Broker> {
        self.0.broker.as_ref()
    }

    fn http(&self) -> Option<SocketAddr> {
        None
    }

    async fn stop(self: Box<Self>) {
        self.0.stop().await;
    }
}

fn failure(error: AppError) -> Failure {
    match error {
        AppError::Store(error) => error.into(),
        AppError::Templates(findings) => Failure::Templates(findings),
        other => Failure::said(other, "correct the configuration; `outreachd check` tells all that is wrong"),
    }
}
