//! A stand-in for the outside, on loopback: Twilio Messages and Calls with signed callbacks, a FHIR server with
//! its token endpoint, a mail server. It is used by the demo, by `test: true` jobs, by tests, benchmarks and
//! fault runs, so it must be fast, and it must be honest: every request that fully arrives is counted, and never
//! deduplicated.
//!
//! It shares no code with the providers it plays against: what both got wrong alike would go unseen.

mod audit;
mod check;
mod clock;
mod comes_again;
mod config;
mod control;
mod desk;
mod dice;
mod faults;
mod fhir;
mod form;
mod hit_file;
mod hits;
mod marker;
mod postman;
mod providers;
mod signature;
mod smtp;
mod twilio;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use reqwest::Url;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::audit::{AuditStats, Auditor};
pub use self::check::ConfigFault;
pub use self::config::{
    Answers, CallEnd, Calls, FhirServer, NumberRule, ProviderKind, Receipts, SimulatorConfig, SmsEnd,
    SmtpServer, TwilioAccount,
};
pub use self::control::Control;
pub use self::desk::KeptMessage;
pub use self::faults::{Faults, Outage};
pub use self::hits::{Hit, KindStats, Reply, read_hit_log};
pub use self::marker::{Marker, TextDigest};
pub use self::postman::ReceiptStats;
pub use self::signature::twilio_signature;

use self::desk::Desk;
use self::wire::{CuttableListener, Peer};

/// How long open conversations may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// Why a simulator did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("simulator settings: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigFault>),
    #[error("cannot listen on {address}: is the port taken?")]
    Listen {
        address: SocketAddr,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot write the hit log: {0}")]
    HitLog(#[source] std::io::Error),
    #[error("fhir.public_key_pem: must be the PEM of an RSA or P-384 public key")]
    PublicKey,
    #[error("receipts.deliver_to: must be an http URL on loopback, such as http://127.0.0.1:8080")]
    DeliverTo,
    #[error("cannot set up the client for callbacks")]
    Client,
}

/// A running simulator. Dropping it stops it; [`Simulator::shutdown`] also waits for the hit log.
pub struct Simulator {
    desk: Arc<Desk>,
    tokens: Arc<fhir::Tokens>,
    http: SocketAddr,
    smtp: SocketAddr,
    tasks: JoinSet<()>,
    _stop: DropGuard,
}

/// The counts of all kinds.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    pub uptime_us: u64,
    pub kinds: BTreeMap<ProviderKind, KindStats>,
    pub receipts: ReceiptStats,
    pub audit: AuditStats,
    /// Look-ups, tokens and the like: they send nothing and are no hits.
    pub side_requests: u64,
}

impl Simulator {
    /// Starts all servers; returns once they accept connections.
    ///
    /// # Errors
    /// The settings cannot work, a port is taken, or the hit log cannot be opened.
    pub async fn start(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        Self::start_with(config, None).await
    }

    /// Starts with an auditor, who sees hits before they are answered.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_audited(
        config: SimulatorConfig,
        auditor: Arc<dyn Auditor>,
    ) -> Result<Self, SimulatorError> {
        Self::start_with(config, Some(auditor)).await
    }

    async fn start_with(
        config: SimulatorConfig,
        auditor: Option<Arc<dyn Auditor>>,
    ) -> Result<Self, SimulatorError> {
        config.check().map_err(SimulatorError::Config)?;
        let stop = CancellationToken::new();
        let (http_listener, http) = listen(config.http_listen).await?;
        let (smtp_listener, smtp) = listen(config.smtp_listen).await?;
        let desk = Arc::new(Desk::new(config, auditor, stop.clone())?);
        let (fhir, tokens) = fhir::routes(Arc::clone(&desk), &format!("http://{http}"))?;
        let router = Router::new()
            .merge(twilio::routes(Arc::clone(&desk)))
            .merge(fhir)
            .merge(control::routes(Arc::clone(&desk), Arc::clone(&tokens)));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_http(http_listener, router, stop.clone()));
        tasks.spawn(smtp::serve(smtp_listener, Arc::clone(&desk)));
        let courier = Arc::clone(&desk);
        tasks.spawn(async move { courier.postman.run().await });
        Ok(Self { desk, tokens, http, smtp, tasks, _stop: stop.drop_guard() })
    }

    /// Where HTTP is served.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where mail is taken.
    #[must_use]
    pub const fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    /// `base_url` of the `twilio_sms` and `twilio_voice` providers.
    #[must_use]
    pub fn twilio_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// `base_url` of the `fhir_portal` provider.
    #[must_use]
    pub fn fhir_url(&self) -> String {
        format!("http://{}/fhir", self.http)
    }

    /// The FHIR server's token endpoint, which is also the audience of assertions.
    #[must_use]
    pub fn token_url(&self) -> &str {
        self.tokens.endpoint()
    }

    /// Where [`Control`] is posted.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}/_control", self.http)
    }

    /// The settings it runs with.
    #[must_use]
    pub fn config(&self) -> &SimulatorConfig {
        &self.desk.config
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::read(&self.desk)
    }

    /// The last hits, the oldest first; all of them are in the hit log only.
    #[must_use]
    pub fn hits(&self) -> Vec<Hit> {
        self.desk.hits.recent()
    }

    /// The last messages taken, the newest first.
    #[must_use]
    pub fn recent(&self, limit: usize) -> Vec<Arc<KeptMessage>> {
        self.desk.kept.newest(limit, |message| !message.is_inbound())
    }

    /// Has a patient write a text to a number of ours, of which no webhook tells anybody; answers its SID. It stands in the
    /// list of messages.
    pub fn text_comes_in(&self, from: &str, to: &str, text: &str) -> String {
        twilio::text_comes_in(&self.desk, from, to, text)
    }

    /// Microseconds since it started, by the clock of the hits.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.desk.clock.now().at_us
    }

    /// How many hits have arrived, of all kinds together.
    #[must_use]
    pub fn now_hits(&self) -> u64 {
        self.desk.hits.total()
    }

    /// Returns once this many hits have arrived, of all kinds together.
    pub async fn wait_for_hits(&self, count: u64) {
        self.desk.hits.wait_for(count).await;
    }

    /// Switches an outage on or off, for one kind or for all.
    pub fn set_outage(&self, kind: Option<ProviderKind>, outage: Outage) {
        self.desk.switches.set_outage(kind, outage);
    }

    /// Replaces the faults of one kind or of all.
    ///
    /// # Errors
    /// The shares do not fit into one whole.
    pub fn set_faults(&self, kind: Option<ProviderKind>, faults: &Faults) -> Result<(), SimulatorError> {
        self.desk.switches.set_faults(kind, faults).map_err(SimulatorError::Config)
    }

    /// Ends every FHIR access token, as a server that restarts does.
    pub fn revoke_tokens(&self) {
        self.tokens.revoke_all();
    }

    /// Returns once every hit so far is in the hit log. Blocks for the length of a write.
    ///
    /// # Errors
    /// The hit log could not be written, now or earlier.
    pub fn flush(&self) -> Result<(), SimulatorError> {
        self.desk.hits.flush().map_err(SimulatorError::HitLog)
    }

    /// Stops, waits for open conversations (2 s at most) and for the hit log, and gives the final counts.
    /// Receipts still waiting are not brought.
    ///
    /// # Errors
    /// The hit log could not be written.
    pub async fn shutdown(mut self) -> Result<Stats, SimulatorError> {
        self.desk.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever is still talking then is cut off.
        let _in_time = tokio::time::timeout(GRACE, ended).await;
        self.flush()?;
        Ok(self.stats())
    }
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator")
            .field("http", &self.http)
            .field("smtp", &self.smtp)
            .finish_non_exhaustive()
    }
}

impl Stats {
    fn read(desk: &Desk) -> Self {
        Self {
            uptime_us: desk.clock.now().at_us,
            kinds: ProviderKind::ALL.into_iter().map(|kind| (kind, desk.hits.stats(kind))).collect(),
            receipts: desk.postman.stats(),
            audit: desk.sampler.stats(),
            side_requests: desk.side_requests.load(Ordering::Relaxed),
        }
    }

    /// The counts of one kind.
    #[must_use]
    pub fn of(&self, kind: ProviderKind) -> KindStats {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SimulatorError> {
    let failed = |cause| SimulatorError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn serve_http(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<Peer>();
    // Serving ends only by the signal; the type has room for errors that this listener never gives.
    let _ended = axum::serve(CuttableListener::new(listener), service)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await;
}

/// The URL, if it is plain HTTP to this machine.
fn loopback(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "http")?;
    let host = url.host_str()?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    (host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_stay_on_this_machine() {
        for (url, local) in [
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost/x?y=1", true),
            ("http://[::1]:80/", true),
            ("http://127.1:80/", true),
            ("https://127.0.0.1/", false),
            ("http://localhost.example.org/", false),
            ("http://127.0.0.1@example.org/", false),
            ("http://10.0.0.1/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(loopback(url).is_some(), local, "{url}");
        }
    }
}
