//! What comes back, over the wire: the simulator's signed callbacks against a running worker.

mod answers;
pub(crate) mod bounces;
mod calls;
mod digests;
pub(crate) mod forged;
mod lmtp;
mod looked_up;
pub(crate) mod lost;
mod mail;
pub(crate) mod outage;
mod plans;
mod pointers;
mod replies;
mod stories;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use outreachd::config::Config;
use outreachd::config::provider::ProviderSettings;
use outreachd::domain::ids::JobId;
use outreachd::simulator::SimulatorConfig;
use outreachd::store::rows::{AttemptRow, MessageFilter, MessageRow};

use crate::support::house::House;

/// Where providers believe us to be. What they post comes in on loopback all the same, as through a proxy.
pub(crate) const PUBLIC: &str = "https://outreach.example.org";

/// Points the simulator's callbacks at the worker that `listen` is for.
pub(crate) fn calling_back(mut simulator: SimulatorConfig, listen: SocketAddr) -> SimulatorConfig {
    simulator.receipts.deliver_to = Some(format!("http://{listen}"));
    simulator
}

/// Gives the providers of the simulator their public webhooks, and the worker the port that leads to them.
pub(crate) fn with_webhooks(config: &mut Config, listen: SocketAddr) {
    config.http.listen = listen;
    for provider in &mut config.providers {
        if let ProviderSettings::TwilioSms(twilio) | ProviderSettings::TwilioVoice(twilio) =
            &mut provider.settings
        {
            twilio.status_callback = Some(format!("{PUBLIC}/webhooks/{}", provider.name));
            twilio.gather_action = Some(format!("{PUBLIC}/webhooks/{}/gather", provider.name));
        }
    }
}

/// A port that nobody has at this moment, and that the system gives to nobody by itself.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + rand::random::<u16>() % 10_000));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A running house whose simulator reports.
async fn open(simulator: SimulatorConfig) -> House {
    let listen = free_address();
    House::open_with(calling_back(simulator, listen), |config| with_webhooks(config, listen)).await
}

/// A job's message and its attempts.
async fn message(house: &House, job: &str) -> (MessageRow, Vec<AttemptRow>) {
    let filter =
        MessageFilter { job_ids: vec![JobId::parse(job).unwrap()], limit: 1, ..MessageFilter::default() };
    let row = house.store.messages(&filter).await.unwrap().pop().expect("a message of that job");
    let attempts = house.store.attempts(row.facts.id).await.unwrap();
    (row, attempts)
}
