//! `outreachd simulate`: the simulated providers as a process of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Desk, Failure, files};
use crate::simulator::{Simulator, SimulatorConfig, SimulatorError, Stats};

/// The largest settings file, in bytes.
const MAX_SETTINGS: u64 = 1 << 20;

/// Runs simulated providers on loopback until Ctrl-C: Twilio messages and calls with signed callbacks, a FHIR portal
/// with its token endpoint, a mail server. Point [[provider]] sections at the URLs that it prints.
///
/// Every request that arrives is counted, repeats too; only the portal knows them again, by If-None-Exist. Faults can be
/// changed while it runs, by posting to the control URL.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  outreachd simulate --http 127.0.0.1:9080 --latency-ms 30 --throttled 0.05 --hit-log hits.ndjson"
)]
pub(super) struct Options {
    /// Settings in TOML: faults, receipts, calls, single numbers
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Where to serve HTTP [default: a free port on loopback]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Where to take mail [default: a free port on loopback]
    #[arg(long, value_name = "ADDRESS")]
    smtp: Option<SocketAddr>,
    /// The same seed gives the n-th request the same fate
    #[arg(long)]
    seed: Option<u64>,
    /// Wait before every answer
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,
    /// Share of requests answered with 429, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    throttled: Option<f64>,
    /// Share of requests answered with 503
    #[arg(long, value_name = "SHARE")]
    unavailable: Option<f64>,
    /// Share of requests that are taken and never answered
    #[arg(long, value_name = "SHARE")]
    stalled: Option<f64>,
    /// Share of requests that are taken and answered with a reset connection
    #[arg(long, value_name = "SHARE")]
    lost: Option<f64>,
    /// Write every hit here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    hit_log: Option<PathBuf>,
}

impl Options {
    fn config(self) -> Result<SimulatorConfig, Failure> {
        let mut config = match &self.settings {
            None => SimulatorConfig::default(),
            Some(file) => {
                let text = String::from_utf8(files::read_all(file, MAX_SETTINGS)?).unwrap_or_default();
                toml::from_str(&text).map_err(|error: toml::de::Error| {
                    // Of the parser's message only the first line: the others quote the file.
                    let rule = error.message().lines().next().unwrap_or_default().to_owned();
                    Failure::said(format!("{}: {rule}", file.display()), "mend the settings")
                })?
            }
        };
        config.http_listen = self.http.unwrap_or(config.http_listen);
        config.smtp_listen = self.smtp.unwrap_or(config.smtp_listen);
        config.seed = self.seed.unwrap_or(config.seed);
        config.hit_log = self.hit_log.or(config.hit_log);
        let faults = &mut config.faults;
        faults.latency_ms = self.latency_ms.unwrap_or(faults.latency_ms);
        faults.throttled = self.throttled.unwrap_or(faults.throttled);
        faults.unavailable = self.unavailable.unwrap_or(faults.unavailable);
        faults.stalled = self.stalled.unwrap_or(faults.stalled);
        faults.lost = self.lost.unwrap_or(faults.lost);
        Ok(config)
    }
}

pub(super) async fn run(desk: &mut Desk, options: Options) -> Result<(), Failure> {
    let simulator = Simulator::start(options.config()?).await.map_err(|error| failure(&error))?;
    announce(desk, &simulator)?;
    desk.out.flush()?;
    super::asked_to_end().await;
    let stats = simulator.shutdown().await.map_err(|error| failure(&error))?;
    tell(desk, &stats)
}

/// What a simulator that did not start wants.
pub(super) fn failure(error: &SimulatorError) -> Failure {
    Failure::said(error, "correct the simulator's settings; `outreachd simulate --help` explains them")
}

fn announce(desk: &mut Desk, simulator: &Simulator) -> Result<(), Failure> {
    let twilio = &simulator.config().twilio;
    if desk.json {
        return Ok(desk.out.json(&json!({
            "twilio_url": simulator.twilio_url(), "account_sid": twilio.account_sid,
            "fhir_url": simulator.fhir_url(), "token_url": simulator.token_url(),
            "smtp": simulator.smtp_addr().to_string(), "control_url": simulator.control_url(),
        }))?);
    }
    let lines = [
        ("twilio", format!("{}   account_sid = \"{}\"", simulator.twilio_url(), twilio.account_sid)),
        ("auth token", twilio.auth_token.expose().to_owned()),
        ("portal", format!("{}   token_url = \"{}\"", simulator.fhir_url(), simulator.token_url())),
        ("mail", format!("{}   tls = \"none\"", simulator.smtp_addr())),
        ("control", simulator.control_url()),
    ];
    for (name, value) in lines {
        desk.out.line(format!("{name:<11} {value}"))?;
    }
    Ok(desk.out.line("simulating; Ctrl-C ends it")?)
}

fn tell(desk: &mut Desk, stats: &Stats) -> Result<(), Failure> {
    Ok(desk.out.json(stats)?)
}
