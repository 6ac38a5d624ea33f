//! The one place that builds everything: from a configuration to a running worker.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerOptions, ConsumeOptions, Prefix, QueueRole};
use crate::callback::Courier;
use crate::campaign::{self, Office};
use crate::client::NoTls;
use crate::config::provider::{
    BreakerSettings, CaptureSettings, MAX_IN_FLIGHT, ProviderSection, ProviderSettings,
};
use crate::config::security::Key;
use crate::config::source::SourceSection;
use crate::config::store::StoreKind;
use crate::config::work::DueTimes;
use crate::config::{Config, span};
use crate::dispatch::{Carrier, Dispatcher, Parts, Setting};
use crate::domain::ids::{ProviderName, WorkerId};
use crate::domain::words::{Channel, SafetyMode};
use crate::http::{HttpServer, HttpState};
use crate::identity::IdentityProvider;
use crate::intake::{Gatekeeper, Intake, queue};
use crate::mailbox::Mailbox;
use crate::policy::surge::SurgeRules;
use crate::provider::capture::Capture;
use crate::provider::registry;
use crate::receipt::Desk;
use crate::simulator::{Simulator, SimulatorConfig, SimulatorError};
use crate::store::emit::Emitter;
use crate::store::engine::Engine;
use crate::store::ledger::Ledger;
use crate::store::postgres::{Connections, PostgresEngine};
use crate::store::rows::Timings;
use crate::store::rules::{ByPriority, Emergencies, LedgerRules, WorkDue};
use crate::store::sealer::Sealer;
use crate::store::sqlite::SqliteEngine;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, Exporter};
use crate::template::{Finding, SharedCatalogue};
use crate::watch::{self, Lookout, Tasks, Teller, Undeliverable};

/// The blind index of a set-up without a key: addresses are hashed, and whoever holds the database can test one.
/// Mode `live` demands a key.
const NO_KEY: &[u8; 32] = b"outreachd: no index key was set.";

/// How long a collector may take for the last spans.
const LAST_SPANS: Duration = Duration::from_millis(1_000);

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("provider: {0}")]
    Provider(crate::domain::problem::Problem),
    #[error("templates: {}", .0.first().map_or_else(String::new, ToString::to_string))]
    Templates(Vec<Finding>),
    #[error("[amqp] {0}")]
    Amqp(String),
    #[error("[{section}] listen: {address} cannot be opened ({cause})")]
    Listen { section: &'static str, address: SocketAddr, cause: std::io::ErrorKind },
    #[error(transparent)]
    Tls(#[from] NoTls),
    #[error(transparent)]
    Telemetry(#[from] telemetry::Unusable),
    #[error(transparent)]
    Notify(#[from] Undeliverable),
    #[error("the built-in simulator: {0}")]
    Simulator(#[from] SimulatorError),
}

/// Seals as the configuration says; without a key nothing is sealed.
fn sealer(config: &Config) -> Sealer {
    let security = &config.security;
    match &security.key {
        None => Sealer::new(NO_KEY),
        Some(key) => {
            let own = security.seal_keys.iter().map(Key::expose);
            Sealer::new(key.expose()).with_keys(own, security.encryption)
        }
    }
}

/// Opens the ledger that the configuration names; connects on first use.
///
/// # Errors
/// The URL cannot be read, or the file cannot be opened.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, AppError> {
    let (store, url) = (&config.store, config.store.url.expose());
    Ok(match store.kind {
        StoreKind::Postgres => {
            let connections = Connections {
                at_once: store.pool_size,
                acquire: store.acquire_timeout,
                statement: store.statement_timeout,
            };
            Arc::new(ledger(config, PostgresEngine::open(url, connections)?))
        }
        // The machine's own clock: a single file is used by the processes of one machine.
        StoreKind::Sqlite => Arc::new(ledger(config, SqliteEngine::open(url, Arc::new(wall_clock))?)),
    })
}

/// The ledger over a database, under the keys, times and rules of the configuration.
pub fn ledger<E: Engine>(config: &Config, engine: E) -> Ledger<E> {
    let emitter = Emitter { statuses: config.events.statuses.clone() };
    Ledger::over(engine, sealer(config), emitter, timings(config)).with_rules(ledger_rules(config))
}

/// Loads the templates; all of them or none.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load_catalogue(dir: &Path) -> Result<Arc<SharedCatalogue>, AppError> {
    SharedCatalogue::load(dir).map(Arc::new).map_err(AppError::Templates)
}

/// How the broker is reached; none where none is configured.
///
/// # Errors
/// The URL or the prefix cannot be read.
pub fn broker_options(config: &Config) -> Result<Option<BrokerOptions>, AppError> {
    let Some(amqp) = &config.amqp else { return Ok(None) };
    let prefix = Prefix::parse(&amqp.prefix)
        .ok_or_else(|| AppError::Amqp(format!("prefix must be {}", Prefix::RULE)))?;
    let options = BrokerOptions::new(amqp.url.expose(), prefix)
        .map_err(|error| AppError::Amqp(format!("url is {error}")))?;
    Ok(Some(options.with_heartbeat(amqp.heartbeat)))
}

/// Where people sign in; none where none is configured.
///
/// # Errors
/// TLS cannot be set up on this machine.
pub fn identity_provider(config: &Config) -> Result<Option<IdentityProvider>, NoTls> {
    let (Some(oidc), Some(public)) = (&config.console.oidc, &config.http.public_url) else { return Ok(None) };
    IdentityProvider::new(oidc, public).map(Some)
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    pub intake: Intake,
    pub store: Arc<dyn Store>,
    pub catalogue: Arc<SharedCatalogue>,
    pub config: Arc<Config>,
    pub broker: Option<Broker>,
    /// What carries jobs marked `test`.
    pub simulator: Arc<Simulator>,
    /// Where the API listens.
    pub http: SocketAddr,
    /// Where mail that comes back is taken.
    pub mailbox: Option<Mailbox>,
    server: HttpServer,
    dispatcher: Dispatcher,
    consumers: Vec<JoinHandle<()>>,
    campaigns: JoinHandle<()>,
    watch: JoinHandle<()>,
    spans: Exporter,
    stop: CancellationToken,
}

impl Worker {
    /// Starts the corridor, the API, and consuming where a broker is configured.
    ///
    /// # Errors
    /// A provider's settings cannot work, the broker's address cannot be read, or the port is taken. That a server is away is no
    /// error: the worker waits for it.
    pub async fn start(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        catalogue: Arc<SharedCatalogue>,
    ) -> Result<Self, AppError> {
        // First, so that a taken port stops the start before anything else has begun.
        let listener = listen("http", config.http.listen).await?;
        let mailbox = match config.bounces.listen {
            Some(address) => Some(listen("bounces", address).await?),
            None => None,
        };
        let teller = Teller::new(&config)?;
        let identity = identity_provider(&config)?.map(Arc::new);
        let simulator = Arc::new(Simulator::start(SimulatorConfig::default()).await?);
        let worker = WorkerId::generate();
        let (traces, spans) = telemetry::start(&config.telemetry, &name_of(worker))?;
        let broker = broker_options(&config)?.map(Broker::start);
        let carriers = carriers(&config, &simulator)?;
        let providers: Vec<_> = carriers.iter().map(|carrier| carrier.provider.clone()).collect();
        let dispatcher = Dispatcher::start(Parts {
            store: store.clone(),
            config: config.clone(),
            catalogue: catalogue.clone(),
            carriers,
            publisher: broker.clone(),
            courier: Courier::new(&config.events.callbacks)?,
            traces,
            worker,
            name: name_of(worker),
        });
        let intake = Intake {
            store: store.clone(),
            gatekeeper: Gatekeeper::new(config.clone(), catalogue.clone()),
            dispatcher: Some(dispatcher.clone()),
            worker,
        };
        let stop = CancellationToken::new();
        let queues = Tasks::default();
        let consumers = match (&broker, &config.amqp) {
            (Some(broker), Some(amqp)) => {
                let options = ConsumeOptions { max_prefetch: amqp.prefetch, held_bytes: amqp.held_bytes };
                let batch = config.worker.batch();
                let consume = |queue: QueueRole| {
                    let (intake, broker, stop) = (intake.clone(), broker.clone(), stop.clone());
                    queues.uphold(queue.word(), stop.clone(), move || {
                        queue::consume(intake.clone(), broker.clone(), queue, options, batch, stop.clone())
                    })
                };
                queue::CONSUMED.map(consume).into()
            }
            _ => Vec::new(),
        };
        let receipts = Desk::open(providers, store.clone(), Some(dispatcher.clone()), config.clone());
        let unopened = |section, address| {
            move |error: std::io::Error| AppError::Listen { section, address, cause: error.kind() }
        };
        let mailbox = mailbox.map(|listener| Mailbox::open(listener, receipts.clone())).transpose();
        let mailbox =
            mailbox.map_err(unopened("bounces", config.bounces.listen.unwrap_or(config.http.listen)))?;
        let office = Office {
            store: store.clone(),
            config: config.clone(),
            catalogue: catalogue.clone(),
            gatekeeper: intake.gatekeeper.clone(),
            dispatcher: Some(dispatcher.clone()),
        };
        let others = Tasks::default();
        let campaigns = others.uphold("campaigns", stop.clone(), {
            let (office, stop) = (office.clone(), stop.clone());
            move || campaign::run(office.clone(), worker, stop.clone())
        });
        let lookout = Lookout { store: store.clone(), config: config.clone(), broker: broker.clone() };
        let watch = others.uphold("watch", stop.clone(), {
            let (lookout, teller, stop) = (lookout.clone(), Arc::new(teller), stop.clone());
            move || watch::run(lookout.clone(), Arc::clone(&teller), worker, stop.clone())
        });
        let parts = HttpState {
            intake: intake.clone(),
            campaigns: office,
            catalogue: catalogue.clone(),
            config: config.clone(),
            identity,
            broker: broker.clone(),
            lookout,
            queues,
            receipts,
        };
        let server = crate::http::serve(listener, parts).map_err(unopened("http", config.http.listen))?;
        let http = server.address();
        Ok(Self {
            intake,
            store,
            catalogue,
            config,
            broker,
            simulator,
            http,
            mailbox,
            server,
            dispatcher,
            consumers,
            campaigns,
            watch,
            spans,
            stop,
        })
    }

    /// Stops consuming, lets what is on the wire finish, gives the rest back.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(mailbox) = &self.mailbox {
            mailbox.close();
        }
        // A batch that waits for a ledger that is away is not acknowledged: the broker keeps it.
        let intake = async {
            self.server.stop(Duration::from_secs(2)).await;
            let consumers = futures_util::future::join_all(self.consumers);
            let _ = tokio::time::timeout(Duration::from_secs(2), consumers).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), self.campaigns).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), self.watch).await;
        };
        tokio::join!(intake, self.dispatcher.stop());
        let broker = async {
            if let Some(broker) = &self.broker {
                broker.close().await;
            }
        };
        // The last steps are known by now.
        tokio::join!(broker, self.spans.close(LAST_SPANS));
    }
}

async fn listen(section: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let opened = TcpListener::bind(address).await;
    opened.map_err(|error| AppError::Listen { section, address, cause: error.kind() })
}

/// Everything that can carry a message: the configured providers, the simulator for test jobs, and what captures
/// the rest where the safety mode keeps messages in.
fn carriers(config: &Config, simulator: &Simulator) -> Result<Vec<Carrier>, AppError> {
    let mut carriers = Vec::new();
    if config.safety.mode != SafetyMode::Capture {
        for section in &config.providers {
            carriers.push(carrier(section, Setting::Live)?);
        }
    }
    for section in simulator.providers("test")? {
        carriers.push(carrier(&section, Setting::Test)?);
    }
    if config.safety.mode != SafetyMode::Live {
        for channel in Channel::ALL {
            carriers.extend(capture(*channel));
        }
    }
    Ok(carriers)
}

fn carrier(section: &ProviderSection, setting: Setting) -> Result<Carrier, AppError> {
    let provider = registry::build(section).map_err(AppError::Provider)?;
    let senders = match &section.settings {
        // The service chooses.
        ProviderSettings::TwilioSms(twilio) if twilio.messaging_service_sid.is_some() => Vec::new(),
        ProviderSettings::TwilioSms(twilio) | ProviderSettings::TwilioVoice(twilio) => twilio.from.clone(),
        ProviderSettings::Smtp(_) | ProviderSettings::FhirPortal(_) | ProviderSettings::Capture(_) => {
            Vec::new()
        }
    };
    let max_in_flight = match &section.settings {
        // A relay takes one mail at a time over each connection; the wait for one is none of its own time.
        ProviderSettings::Smtp(smtp) => {
            section.max_in_flight.min(usize::try_from(smtp.pool_size).unwrap_or(usize::MAX))
        }
        _ => section.max_in_flight,
    };
    Ok(Carrier {
        provider,
        setting,
        limits: section.limits.clone(),
        weight: section.weight,
        max_in_flight,
        // The simulator is us: what goes there stays here.
        baa: section.baa || setting != Setting::Live,
        senders,
        breaker: section.breaker,
    })
}

fn capture(channel: Channel) -> Option<Carrier> {
    let name = ProviderName::parse(&format!("capture-{channel}"))?;
    Some(Carrier {
        provider: Arc::new(Capture::new(name, &CaptureSettings { channel })),
        setting: Setting::Capture,
        limits: Vec::new(),
        weight: 1,
        max_in_flight: MAX_IN_FLIGHT,
        baa: true,
        senders: Vec::new(),
        breaker: BreakerSettings::default(),
    })
}

fn ledger_rules(config: &Config) -> LedgerRules {
    let hours = |d: Duration| i64::try_from(d.as_secs().div_ceil(3_600)).unwrap_or(i64::MAX);
    let surge = config.policy.surge;
    let rules = SurgeRules {
        factor: surge.factor,
        floor: surge.floor,
        window_hours: i64::from(surge.days) * 24,
        learning_hours: hours(surge.learning),
        learning_factor: surge.learning_factor,
    };
    let by_priority = |due: &DueTimes| ByPriority {
        urgent: span(due.urgent),
        normal: span(due.normal),
        bulk: span(due.bulk.unwrap_or(due.normal)),
    };
    let work = &config.work;
    let told = config.sources.iter().filter(|source| source.callback.is_some());
    let limited = |source: &SourceSection| Some((source.name.clone(), source.per_day?));
    let watched = |source: &SourceSection| Some((source.name.clone(), source.second_person_above?));
    LedgerRules {
        surge: surge.enabled.then_some(rules),
        per_day: config.sources.iter().filter_map(limited).collect(),
        callbacks: told.map(|source| source.name.clone()).collect(),
        zone: config.organisation.timezone.clone(),
        unknown_deadline: span(config.policy.unknown_deadline),
        receipt_deadline: span(config.policy.receipt_deadline),
        emergencies: Emergencies {
            above: config.policy.second_person_above,
            by_source: config.sources.iter().filter_map(watched).collect(),
        },
        channels: config.providers.iter().map(|p| (p.name.clone(), p.settings.channel())).collect(),
        work: WorkDue {
            plan_exhausted: by_priority(&work.plan_exhausted),
            outcome_unknown: by_priority(&work.outcome_unknown),
            came_back: by_priority(&work.came_back),
            unacknowledged: span(work.unacknowledged),
            surge_hold: span(work.surge_hold),
            hold_review: span(work.hold_review),
            reply: span(work.reply),
            safety: span(work.safety),
            maybe_cancel_visit: span(work.maybe_cancel_visit),
        },
    }
}

fn timings(config: &Config) -> Timings {
    let longest = config.providers.iter().map(|p| p.timeout).max().unwrap_or(Duration::from_secs(15));
    Timings {
        lease: span(config.worker.lease),
        stale: span(config.worker.heartbeat_stale),
        send: span(longest + Duration::from_secs(4)),
        tombstone: span(config.policy.cancel_memory),
    }
}

/// What time it is, where no database server says so.
#[expect(
    clippy::disallowed_methods,
    reason = "SQLite has no clock of its own; this is the edge where one is read"
)]
fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The machine and the process, for people who look for it.
fn name_of(worker: WorkerId) -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "worker" } else { host };
    format!("{host}/{}/{}", std::process::id(), worker.0.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_relay_has_as_many_places_as_connections() {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        for mut section in simulator.providers("sim").unwrap() {
            let places = match &mut section.settings {
                ProviderSettings::Smtp(smtp) => {
                    smtp.pool_size = 3;
                    3
                }
                _ => section.max_in_flight,
            };
            assert_eq!(carrier(&section, Setting::Live).unwrap().max_in_flight, places, "{}", section.name);
        }
    }

    #[test]
    fn a_ledger_that_is_told_no_rules_has_the_deadlines_of_an_empty_configuration() {
        let (rules, empty) = (LedgerRules::default(), ledger_rules(&Config::from_toml("").unwrap()));
        assert_eq!(rules.unknown_deadline, empty.unknown_deadline);
        assert_eq!(rules.receipt_deadline, empty.receipt_deadline);
        assert_eq!(rules.emergencies, empty.emergencies);
        assert_eq!(rules.work, empty.work);
    }
}
