//! The API: jobs in, results and explanations out, JSON over HTTP; the webhooks of providers; the console, which is the API's
//! first user, and people's rights in it (`session.rs`, `rights.rs`, `reveal.rs`, `audit.rs`); and the page where patients
//! choose.
//!
//! Every route stands in one table ([`table::all`]) with its scopes, its word in the audit log, its bodies and its
//! answers; the router, the guard at each door and `/openapi.json` are made from it, so none can say something else than
//! the others. Whatever goes wrong is answered as problem details (RFC 9457) that name the field, the rule and the cure,
//! never the value.

mod actions;
mod alerts;
mod audit;
mod auth;
mod body;
mod callbacks;
mod campaigns;
mod console;
mod dead;
mod health;
mod holds;
mod import;
mod jobs;
mod kept;
mod listen;
mod messages;
mod now;
mod observe;
mod oidc;
mod openapi;
mod page;
mod patients;
mod problem;
mod query;
mod reports;
mod reveal;
mod rights;
mod route;
mod session;
mod stream;
mod table;
mod templates;
mod troubles;
mod webhooks;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::kept::Kept;
use crate::broker::Broker;
use crate::campaign::Office;
use crate::config::Config;
use crate::identity::IdentityProvider;
use crate::intake::Intake;
use crate::receipt::Desk;
use crate::store::Store;
use crate::store::rows::Counts;
use crate::template::SharedCatalogue;
use crate::watch::{Lookout, Tasks};

/// What the API is made of.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The way in, and through it the ledger.
    pub intake: Intake,
    /// Where campaigns are looked after.
    pub campaigns: Office,
    pub catalogue: Arc<SharedCatalogue>,
    pub config: Arc<Config>,
    /// Where people sign in; `None`: with a password alone.
    pub identity: Option<Arc<IdentityProvider>>,
    /// `None` where none is configured.
    pub broker: Option<Broker>,
    /// From where it is seen what is wrong.
    pub lookout: Lookout,
    /// What consumes the broker's queues.
    pub queues: Tasks,
    /// Where webhooks go.
    pub receipts: Desk,
}

/// What every request sees.
#[derive(Debug)]
struct Shared {
    parts: HttpState,
    /// Only this machine can reach the listener, and no public address leads to it.
    local_only: bool,
    in_flight: Arc<Semaphore>,
    /// Room for those whom nobody knows, apart from that of the API.
    strangers: Arc<Semaphore>,
    /// Room for webhooks, apart from both.
    providers: Arc<Semaphore>,
    metrics: PrometheusHandle,
    counts: Arc<Kept<Counts>>,
    troubles: Arc<Kept<troubles::Looked>>,
    reports: reports::Reports,
    page: page::Desk,
    people: session::Doorman,
    live: stream::Hub,
    stop: CancellationToken,
}

impl Shared {
    /// The ledger.
    fn store(&self) -> &Arc<dyn Store> {
        &self.parts.intake.store
    }
}

/// The running listener.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Serves the API on `listener` until [`HttpServer::stop`].
///
/// # Errors
/// The listener has no address.
pub fn serve(listener: TcpListener, parts: HttpState) -> std::io::Result<HttpServer> {
    let address = listener.local_addr()?;
    let http = &parts.config.http;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let shared = Arc::new(Shared {
        local_only: address.ip().is_loopback() && !http.token_needed(),
        in_flight: Arc::new(Semaphore::new(http.max_in_flight)),
        strangers: Arc::new(Semaphore::new(http.max_in_flight.div_ceil(4))),
        providers: Arc::new(Semaphore::new(http.max_in_flight.div_ceil(4))),
        metrics: observe::recorder(),
        counts: Arc::default(),
        troubles: Arc::default(),
        reports: reports::Reports::default(),
        page: page::Desk::new(),
        people: session::Doorman::new(),
        live: stream::Hub::new(),
        stop: stop.clone(),
        parts,
    });
    observe::begin(&shared.parts.config);
    tasks.spawn(observe::upkeep(Arc::clone(&shared), stop.clone()));
    let http = shared.parts.config.http.clone();
    tasks.spawn(listen::run(listener, route::router(&shared), http, stop.clone(), tasks.clone()));
    Ok(HttpServer { address, stop, tasks })
}

impl HttpServer {
    /// Where it listens; with port 0 in the configuration this is the port that was free.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests and waits for those under way, for `grace` at most.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests were still under way when the listener closed");
        }
    }
}
