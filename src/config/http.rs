//! `[http]`: the listener for the API, webhooks, health and the console.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use toml::Value;

use super::fault::Broken;
use super::kind::{Int, Parsed, Size, Span, text};
use super::read::Section;
use super::rules;
use crate::domain::destination::Network;

/// The listener and its limits.
#[derive(Clone, Debug)]
pub struct HttpSection {
    pub listen: SocketAddr,
    /// How the outside reaches the listener, without a slash at the end; receipts and links need it.
    pub public_url: Option<String>,
    /// The largest request body, in bytes; a job stays within 256 KiB.
    pub max_body: usize,
    /// The largest patient import, in bytes; it is read as a stream.
    pub max_import: usize,
    /// The largest webhook body, in bytes. SendGrid posts up to 768 KiB at once.
    pub max_webhook: usize,
    /// Requests under way at once; more are answered 503.
    pub max_in_flight: usize,
    pub request_timeout: Duration,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

impl HttpSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let trusted_proxies = s.list("trusted_proxies", NETWORK).unwrap_or_else(|| {
            let here = LOOPBACK.iter().copied();
            s.show(
                "trusted_proxies",
                Value::Array(here.clone().map(|n| Value::String(n.to_owned())).collect()),
            );
            here.filter_map(Network::parse).collect()
        });
        Self {
            listen: s.or("listen", ADDRESS, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)),
            public_url: s.optional("public_url", text(rules::web_base)),
            max_body: s.or("max_body", Size((256 << 10)..=(256 << 20)), 16 << 20),
            max_import: s.or("max_import", Size((1 << 20)..=(4 << 30)), 512 << 20),
            max_webhook: s.or("max_webhook", Size((4 << 10)..=(16 << 20)), 1 << 20),
            max_in_flight: s.or("max_in_flight", Int(1..=65_536), 512),
            request_timeout: s.or("request_timeout", SECONDS, Duration::from_secs(30)),
            trusted_proxies,
        }
    }

    /// Where people open the console, without a slash at the end: under the public address; without one, from this machine.
    #[must_use]
    pub fn own_url(&self) -> String {
        let mut here = self.listen;
        if here.ip().is_unspecified() {
            here.set_ip(match here.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        self.public_url
            .as_deref()
            .map_or_else(|| format!("http://{here}"), |url| url.trim_end_matches('/').to_owned())
    }

    /// Whether `peer` is a proxy that tells whom it speaks for.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }

    /// Whether a caller must show a token. Without one only where nobody else can come: a loopback listener
    /// with no public address. The request's Host and Forwarded headers are for the listener to judge.
    #[must_use]
    pub fn token_needed(&self) -> bool {
        !self.listen.ip().is_loopback() || self.public_url.is_some()
    }
}

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

const NETWORK: Parsed<Network> = Parsed {
    parse: |text| {
        Network::parse(text).ok_or_else(|| {
            Broken::new("must be an address or a network", "write it as \"10.20.0.7\" or \"10.20.0.0/16\"")
        })
    },
    show: Network::to_string,
};

const SECONDS: Span = Span(Duration::from_secs(1)..=Duration::from_secs(600));

/// Where to listen.
pub(super) const ADDRESS: Parsed<SocketAddr> = Parsed {
    parse: |text| {
        text.parse().map_err(|_| {
            Broken::new("must be an IP address and a port", "write it as \"127.0.0.1:8080\" or \"[::]:8080\"")
        })
    },
    show: SocketAddr::to_string,
};
