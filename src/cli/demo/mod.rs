//! `outreachd demo`: a sample clinic on this machine, from jobs to simulated providers, with nothing to set up.

mod clinic;
mod house;
mod report;
mod texts;
mod tour;
mod wrote;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::time::Instant;

use super::messages::Changes;
use super::out::or_dash;
use super::{Desk, Failure, asked_to_end, logging, simulate};
use crate::app::{self, Worker};
use crate::broker::{ExchangeRole, Outgoing, Publisher};
use crate::config::Config;
use crate::config::log::{LogFormat, LogLevel, LogSection};
use crate::domain::ids::{PatientId, SourceName};
use crate::domain::status::MessageStatus;
use crate::intake::gatekeeper::Arrival;
use crate::intake::{Incoming, Intake, Outcome};
use crate::simulator::{Faults, Simulator, SimulatorConfig};
use crate::store::Store;
use crate::store::rows::{MessageFilter, MessageRow};
use clinic::Clinic;
pub(super) use house::{Home, quoted};
use report::Report;
pub(super) use report::peak_rss;
use wrote::Wrote;

/// Jobs brought at once where nobody watches.
const BATCH: u64 = 50;
/// How long nothing may change before the demo gives up on what is left.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long patients may take to write back to the last texts.
const LAST_WORDS: Duration = Duration::from_millis(800);
/// How often the ledger is asked what has changed.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows everything on this machine: a sample clinic with 200 patients in three languages, jobs arriving, messages
/// going out to simulated providers, a live log, a summary.
///
/// It needs no broker and no database server: the ledger is a SQLite file in a temporary folder, removed at the end.
/// Nothing leaves this machine: all providers are simulated, on loopback.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outreachd demo\n  outreachd demo --jobs 500 --exit --json      for scripts\n  \
                  outreachd demo --tour                        every reason, explained"
)]
pub(super) struct Options {
    /// How many jobs arrive
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    jobs: u64,
    /// End when every job is sent or final, instead of waiting for Ctrl-C; jobs come as fast as they are taken
    #[arg(long)]
    exit: bool,
    /// An empty PostgreSQL database instead of SQLite: postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Bring the jobs by RabbitMQ: amqp://USER:PASSWORD@HOST:PORT/VHOST (queues named outreach-demo.*)
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    /// The same seed brings the same jobs for the same patients
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let one request in ten fail in a way that can be tried again
    #[arg(long)]
    faults: bool,
    /// Instead: one message for each reason for which a message can be where it is, explained; ends by itself
    #[arg(long, conflicts_with_all = ["jobs", "exit", "database", "amqp", "seed", "faults"])]
    tour: bool,
}

pub(super) async fn run(desk: &mut Desk, options: Options) -> Result<(), Failure> {
    logging::start(LogSection { format: LogFormat::Pretty, level: LogLevel::Error })?;
    if options.tour {
        return tour::run(desk).await;
    }
    // From here on a signal is kept until the house can be left in order.
    let mut ended = pin!(asked_to_end());
    let home = house::Home::make().map_err(|error| folder(&error))?;
    let templates = texts::folder(home.path()).map_err(|error| folder(&error))?;
    let mut config = house::config(&home, &templates, &options)?;
    let simulator = Simulator::start(simulated(&options)).await.map_err(|error| simulate::failure(&error))?;
    config.providers = simulator.providers("demo").map_err(|error| simulate::failure(&error))?;
    if !options.exit {
        wrote::reachable(&mut config).map_err(|error| folder(&error))?;
    }
    let config = Arc::new(config);
    let store = Desk::store_or_new(&config).await?;
    store.migrate().await?;
    house::nobody_elses(store.as_ref()).await?;
    let catalogue = app::load_catalogue(&templates)?;
    let worker = Worker::start(config.clone(), store.clone(), catalogue).await?;
    let shown = tokio::select! {
        shown = show(desk, &options, &store, &worker, &simulator) => shown,
        // The house is left in order all the same.
        () = &mut ended => Err(Failure::said("the demo was ended before its jobs were", "run it again")),
    };
    let shown = if shown.is_ok() && !options.exit { look_around(desk, &config, ended).await } else { shown };
    worker.stop().await;
    // The counts were shown; a hit log was not asked for.
    let _ = simulator.shutdown().await;
    shown
}

fn folder(error: &std::io::Error) -> Failure {
    let what = format!("the temporary folder cannot be used ({})", error.kind());
    Failure::said(what, "set TMPDIR to a folder with room")
}

fn simulated(options: &Options) -> SimulatorConfig {
    let mut config = SimulatorConfig {
        seed: options.seed,
        faults: Faults { latency_ms: 20, jitter_ms: 30, ..Faults::default() },
        ..SimulatorConfig::default()
    };
    if !options.exit {
        // Where somebody watches, patients write back.
        config.answers = wrote::answers();
    }
    if options.faults {
        config.faults.throttled = 0.05;
        config.faults.unavailable = 0.05;
    }
    config
}

async fn show(
    desk: &mut Desk,
    options: &Options,
    store: &Arc<dyn Store>,
    worker: &Worker,
    simulator: &Simulator,
) -> Result<(), Failure> {
    let now = store.ping().await?;
    let run = uuid::Uuid::now_v7().simple().to_string();
    let clinic = Clinic { seed: options.seed, now, run };
    let way = Way::of(worker).await?;
    welcome(desk, options, worker, simulator)?;
    settle_in(&clinic, &way, store.as_ref()).await?;
    let begun = Instant::now();
    let mut report = Report::default();
    let feed = feed(&clinic, &way, options);
    let watch = watch(desk, store.as_ref(), &clinic, options.jobs, &mut report);
    tokio::try_join!(feed, watch)?;
    let elapsed = begun.elapsed();
    if desk.json {
        desk.out.pretty(&report.as_json(options.jobs, elapsed))?;
    } else {
        report.write(&mut desk.out, options.jobs, elapsed)?;
    }
    desk.out.flush()?;
    let missing = report.missing(options.jobs);
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("the demo fell short of what it promises: {}", missing.join("; "));
    Err(Failure::said(
        what,
        "look at the statuses and reasons above; a slow machine needs fewer jobs at once",
    ))
}

/// The worker goes on until somebody has seen enough.
async fn look_around(
    desk: &mut Desk,
    config: &Config,
    ended: impl Future<Output = ()>,
) -> Result<(), Failure> {
    if !desk.json {
        let grace = config.worker.shutdown_grace.as_secs();
        desk.out.line(format!("\nthe worker goes on; look around, Ctrl-C ends it (within {grace} s)"))?;
        desk.out.flush()?;
    }
    ended.await;
    Ok(())
}

fn welcome(
    desk: &mut Desk,
    options: &Options,
    worker: &Worker,
    simulator: &Simulator,
) -> Result<(), Failure> {
    if desk.json {
        return Ok(());
    }
    let ledger = if options.database.is_some() { "PostgreSQL" } else { "SQLite in a temporary folder" };
    let way = if options.amqp.is_some() { "RabbitMQ" } else { "directly" };
    let title = desk.out.strong("outreachd demo: nothing leaves this machine");
    desk.out.line(title)?;
    desk.out.line(format!("ledger     {ledger}; jobs come {way}"))?;
    let api = format!("http://{}", worker.http);
    desk.out.line(format!("console    {api}/"))?;
    desk.out.line(format!("API        {api}/v1/messages   {api}/metrics   {api}/openapi.json"))?;
    desk.out.line(format!("simulator  {} (counts of what the providers got)", simulator.control_url()))?;
    desk.out.line("")?;
    Ok(desk.out.flush()?)
}

/// How jobs and patients are brought in.
enum Way {
    Directly(Intake),
    ByBroker(Publisher),
}

impl Way {
    async fn of(worker: &Worker) -> Result<Self, Failure> {
        let Some(broker) = &worker.broker else {
            return Ok(Self::Directly(worker.intake.clone()));
        };
        if !broker.wait_until_up(Duration::from_secs(20)).await {
            return Err(Failure::said(
                "the broker did not answer within 20 s",
                "start it, or correct --amqp",
            ));
        }
        Ok(Self::ByBroker(broker.publisher()))
    }

    /// Brings bodies in under an AMQP key.
    async fn bring(&self, key: &str, bodies: Vec<String>) -> Result<(), Failure> {
        match self {
            Self::Directly(intake) => bring_directly(intake, key, bodies).await,
            Self::ByBroker(publisher) => publish(publisher, key, bodies).await,
        }
    }
}

/// Brings bodies in without a broker; the first that is refused is told.
pub(super) async fn bring_directly(intake: &Intake, key: &str, bodies: Vec<String>) -> Result<(), Failure> {
    let incoming = |body: String| Incoming {
        body: body.into_bytes(),
        arrival: Arrival { origin: "file".to_owned(), ..Arrival::default() },
        key: Some(key.to_owned()),
        redelivered: false,
        park: false,
    };
    for outcome in intake.submit(bodies.into_iter().map(incoming).collect()).await? {
        if let Outcome::Refused { problems, .. } = outcome {
            return Err(Failure::Input(problems));
        }
    }
    Ok(())
}

/// The shipped templates, written into `home`.
pub(super) fn with_templates(home: &std::path::Path) -> std::io::Result<std::path::PathBuf> {
    texts::with(home, &[])
}

/// Publishes bodies; each is confirmed.
pub(super) async fn publish(publisher: &Publisher, key: &str, bodies: Vec<String>) -> Result<(), Failure> {
    let outgoing: Vec<Outgoing> = bodies
        .into_iter()
        .map(|body| Outgoing {
            exchange: ExchangeRole::Jobs,
            routing_key: key.to_owned(),
            body: body.into_bytes(),
            headers: Vec::new(),
            mandatory: true,
            message_id: uuid::Uuid::now_v7().to_string(),
            correlation_id: None,
        })
        .collect();
    for answer in publisher.publish(&outgoing).await {
        answer.map_err(|error| Failure::said(error, "look at the broker given by --amqp"))?;
    }
    Ok(())
}

/// Brings the patients in, and waits until the directory has them: two queues have no order between them.
async fn settle_in(clinic: &Clinic, way: &Way, store: &dyn Store) -> Result<(), Failure> {
    let patients = (0..clinic::PATIENTS).map(|number| clinic.patient(number).to_string()).collect();
    way.bring("patient.upsert", patients).await?;
    let deadline = Instant::now() + PATIENCE;
    for number in 0..clinic::PATIENTS {
        let Some(id) = PatientId::parse(&clinic::patient_id(number)) else { continue };
        while store.patient(&id).await?.is_none() {
            if Instant::now() > deadline {
                return Err(Failure::said(
                    "the patients have not arrived",
                    "look at the broker given by --amqp",
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Jobs arrive: one after the other where somebody watches, in batches where a script waits.
async fn feed(clinic: &Clinic, way: &Way, options: &Options) -> Result<(), Failure> {
    let (batch, pause) = if options.exit { (BATCH, Duration::ZERO) } else { (1, Duration::from_millis(150)) };
    let mut next = 0;
    while next < options.jobs {
        let end = (next + batch).min(options.jobs);
        way.bring("job.normal", (next..end).map(|number| clinic.job(number).to_string()).collect()).await?;
        next = end;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Shows what changes until every job is sent or final, or nothing changes any more.
async fn watch(
    desk: &mut Desk,
    store: &dyn Store,
    clinic: &Clinic,
    jobs: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let filter = MessageFilter {
        source: SourceName::parse(house::SOURCE),
        changed_since: Some(clinic.now),
        ..MessageFilter::default()
    };
    let mut changes = Changes::new(filter);
    let mut wrote = Wrote::from_now(store).await?;
    let mut quiet_since = Instant::now();
    while report.finished() < jobs && quiet_since.elapsed() < PATIENCE {
        let rows = changes.next(store).await?;
        for row in rows.iter().filter(|row| row.facts.job_id.as_str().starts_with(&clinic.run)) {
            report.note(row);
            quiet_since = Instant::now();
            if !desk.json && is_news(row.status) {
                let line = line(row, &desk.out.status(row.status, 10));
                desk.out.line(line)?;
            }
        }
        show_replies(desk, &mut wrote, store, report).await?;
        tokio::time::sleep(PAUSE).await;
    }
    if desk.json {
        return Ok(());
    }
    // The last of them take a moment to write.
    tokio::time::sleep(LAST_WORDS).await;
    show_replies(desk, &mut wrote, store, report).await
}

/// Shows what patients have written back since.
async fn show_replies(
    desk: &mut Desk,
    wrote: &mut Wrote,
    store: &dyn Store,
    report: &mut Report,
) -> Result<(), Failure> {
    for line in wrote.next(store).await? {
        report.note_reply(&line.intent);
        if !desk.json {
            desk.out.line(line.to_string())?;
        }
    }
    Ok(desk.out.flush()?)
}

/// Not the steps on the way.
const fn is_news(status: MessageStatus) -> bool {
    !matches!(status, MessageStatus::Accepted | MessageStatus::Scheduled | MessageStatus::Sending)
}

/// One line of the live log: ids and words, never a name.
fn line(row: &MessageRow, status: &str) -> String {
    let patient = row.facts.patient_id.as_str();
    let language = clinic::number_of(patient).map_or("", clinic::language);
    let reason = row.reason.map(|reason| format!("({reason})")).unwrap_or_default();
    let at: Timestamp = row.changed_at;
    let text = format!(
        "{}  {status}  {:<6}  {:<20}  {patient:<9}  {language:<7}  {reason}",
        at.strftime("%H:%M:%S"),
        or_dash(row.channel),
        row.facts.template,
    );
    text.trim_end().to_owned()
}
