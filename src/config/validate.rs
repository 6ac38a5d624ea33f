//! What only several settings together can break.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Url;

use super::Config;
use super::context::{Context, harmless};
use super::fault::{Broken, closest};
use super::read::Section;
use crate::domain::destination::judge_url;
use crate::domain::ids::{SiteId, SourceName};
use crate::domain::words::SafetyMode;

/// Where faults of several settings are said to be.
const PLACE: &str = "configuration";

/// What is begun has so much of its lease left beside the time that it may take.
const TO_SPARE: Duration = Duration::from_secs(4);

pub(super) fn validate(config: &Config, root: &Section<'_>) {
    let context = root.context;
    live_mode_can_send(config, root);
    references_lead_somewhere(config, context);
    broker_users_are_distinct(config, context);
    results_go_where_they_may(config, context);
    people_come_back_from_their_provider(config, context);
    sends_end_within_their_lease(config, context);
}

/// Live without any provider would suppress every message.
fn live_mode_can_send(config: &Config, root: &Section<'_>) {
    // A provider that is there but faulty has had its own say.
    if config.safety.mode == SafetyMode::Live && root.in_file("provider").is_none() {
        let rule = "must name at least one provider in mode live";
        let cure = "add a [[provider]], or set [safety] mode = \"capture\"";
        root.context.fault(PLACE, "provider", Broken::new(rule, cure));
    }
}

fn references_lead_somewhere(config: &Config, context: &Context) {
    let sites: Vec<&str> = config.sites.iter().map(|site| site.id.as_str()).collect();
    for source in &config.sources {
        let unknown = |site: &&SiteId| !sites.contains(&site.as_str());
        if let Some(site) = source.site.as_ref().filter(unknown) {
            let path = format!("source[{}].site", source.name);
            context.fault(PLACE, &path, unknown_name("[[site]]", site.as_str(), &sites));
        }
    }
    for rule in config.console.oidc.iter().flat_map(|oidc| &oidc.groups) {
        for site in rule.sites.iter().filter(|site| !sites.contains(&site.as_str())) {
            let path = format!("console.oidc.group[{}].sites", harmless(&rule.group));
            context.fault(PLACE, &path, unknown_name("[[site]]", site.as_str(), &sites));
        }
    }
    let sources: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    if config.default_source().is_some() {
        return;
    }
    for token in &config.api.tokens {
        let unknown = |source: &&SourceName| !sources.contains(&source.as_str());
        for source in token.sources.iter().flatten().filter(unknown) {
            let path = format!("api.tokens[{}].sources", token.name);
            context.fault(PLACE, &path, unknown_name("[[source]]", source.as_str(), &sources));
        }
    }
}

fn unknown_name(list: &str, name: &str, known: &[&str]) -> Broken {
    let cure = match closest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("add a {list} of that name"),
    };
    Broken::new(format!("must name a {list}"), cure)
}

/// One broker user for two sources would leave it open whose job it is.
fn broker_users_are_distinct(config: &Config, context: &Context) {
    let mut taken = BTreeSet::new();
    for source in &config.sources {
        if source.amqp_user.as_ref().is_some_and(|user| !taken.insert(user)) {
            let path = format!("source[{}].amqp_user", source.name);
            let rule = "must not be another source's";
            context.fault(PLACE, &path, Broken::new(rule, "give each source a broker user of its own"));
        }
    }
}

/// A name can only be judged when it is looked up, at every connection; what is written is judged here already.
fn results_go_where_they_may(config: &Config, context: &Context) {
    for source in &config.sources {
        let url = source.callback.as_ref().and_then(|callback| Url::parse(&callback.url).ok());
        if let Some(Err(refusal)) = url.map(|url| judge_url(&url, &config.events.callbacks.allow)) {
            let path = format!("source[{}].callback_url", source.name);
            context.fault(PLACE, &path, Broken::new(refusal.rule(), refusal.cure()));
        }
    }
}

/// The provider leads browsers back to an address that it knows, and to no other.
fn people_come_back_from_their_provider(config: &Config, context: &Context) {
    if config.console.oidc.is_some() && config.http.public_url.is_none() {
        let rule = "is needed for [console.oidc]: browsers come back to it";
        let cure = "set it to the address that people open the console by, such as \"https://ops.example.org/outreach\"";
        context.fault(PLACE, "http.public_url", Broken::new(rule, cure));
    }
}

/// A send that may outlast its lease could be taken over while it is on the wire; and where the time that is left is too
/// short for one, the ledger lets none begin.
fn sends_end_within_their_lease(config: &Config, context: &Context) {
    let worker = &config.worker;
    for provider in &config.providers {
        let send = provider.timeout + worker.first_byte;
        if send >= worker.lease_local || worker.lease_local + send + TO_SPARE > worker.lease {
            let path = format!("provider[{}].timeout", provider.name);
            let rule = "must be shorter than the worker's `lease_local`, and fit between that and its `lease` with 4s to \
                        spare, `first_byte` included";
            context.fault(PLACE, &path, Broken::new(rule, "lower it, or raise `lease` and `lease_local`"));
        }
    }
}
