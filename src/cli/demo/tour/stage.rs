//! The tour's stage: an empty ledger, templates and rules of its own beside the shipped ones, and providers that do what
//! the cast's numbers ask of them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use super::cast::{BLOCKED, NO_ANSWER, NOBODY_THERE, SILENT, UNREGISTERED, WRONG};
use crate::cli::Failure;
use crate::cli::demo::house::{Home, KEY, quoted};
use crate::config::Config;
use crate::config::provider::{ProviderSection, ProviderSettings};
use crate::domain::phi::Phi;
use crate::simulator::{CallEnd, Calls, NumberRule, Receipts, SimulatorConfig, SmsEnd};

/// Where the providers believe the worker to be; what they post comes in on loopback all the same.
const PUBLIC: &str = "https://outreach.example.org";

/// A port that is free at this moment: the simulator must know it before the worker listens there.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Providers that report at once, and numbers at which something goes wrong.
pub(super) fn simulator(listen: SocketAddr) -> SimulatorConfig {
    let ends = |sms, code| NumberRule { sms: Some(sms), error_code: Some(code), ..NumberRule::default() };
    let call = |end| NumberRule { call: Some(end), ..NumberRule::default() };
    // Twilio's error dictionary: https://www.twilio.com/docs/api/errors
    let numbers = [
        (BLOCKED, ends(SmsEnd::Failed, 30007)),
        (NOBODY_THERE, ends(SmsEnd::Undelivered, 30003)),
        (UNREGISTERED, ends(SmsEnd::Failed, 30034)),
        (WRONG, NumberRule { refuse: Some(21211), call: Some(CallEnd::Busy), ..NumberRule::default() }),
        (NO_ANSWER, call(CallEnd::NoAnswer)),
        (SILENT, NumberRule { sms: Some(SmsEnd::Silent), ..NumberRule::default() }),
    ];
    SimulatorConfig {
        receipts: Receipts {
            sent_ms: 10,
            final_ms: 30,
            deliver_to: Some(format!("http://{listen}")),
            ..Receipts::default()
        },
        calls: Calls { ring_ms: 10, answer_ms: 10, key_ms: 5, talk_ms: 5, ..Calls::default() },
        numbers: numbers
            .into_iter()
            .map(|(number, rule)| (Phi::new(number.to_owned()), rule))
            .collect::<BTreeMap<_, _>>(),
        ..SimulatorConfig::default()
    }
}

/// The configuration, with the simulator's providers, which call back.
pub(super) fn config(
    home: &Home,
    templates: &Path,
    listen: SocketAddr,
    providers: Vec<ProviderSection>,
) -> Result<Config, Failure> {
    let text = format!(
        "[store]\nurl = {}\n[http]\nlisten = \"{listen}\"\n[security]\nkey = \"{}\"\n[templates]\ndir = {}\n{CLINIC}",
        quoted(&format!("sqlite://{}", home.path().join("ledger.db").display())),
        hex::encode(KEY),
        quoted(&templates.display().to_string()),
    );
    let mut config = Config::from_toml(&text).map_err(Failure::Config)?;
    config.providers = providers;
    for provider in &mut config.providers {
        if let ProviderSettings::TwilioSms(twilio) | ProviderSettings::TwilioVoice(twilio) =
            &mut provider.settings
        {
            twilio.status_callback = Some(format!("{PUBLIC}/webhooks/{}", provider.name));
            twilio.gather_action = Some(format!("{PUBLIC}/webhooks/{}/gather", provider.name));
        }
    }
    Ok(config)
}

/// The shipped rules, but for what a tour of a few seconds cannot wait for.
const CLINIC: &str = r#"
[safety]
mode = "live"
[organisation]
name = "Lakeside Health"
timezone = "America/Chicago"
default_region = "US"
language = "en"
[limits]
countries = ["US"]
[policy]
patient_grace = "1s"
[policy.retry]
max_attempts = 2
first_delay = "100ms"
max_delay = "100ms"
# Whenever the tour is given; who wants it quiet says so.
[policy.hours]
rule = [{ id = "everywhere", open = "always" }]
[policy.phi]
email = "sensitive"
# What has no history yet is judged at once.
[policy.surge]
floor = 100
learning = "0s"
[[source]]
name = "demo"
[[source]]
name = "demo-once"
per_day = 1
[[source]]
name = "demo-billing"
templates = ["preferences-changed"]
[[source]]
name = "demo-flood"
[[source]]
name = "demo-alarm"
purposes = ["emergency"]
second_person_above = 0
[[site]]
id = "lakeside-north"
name = "Lakeside Health North"
phone = "+13125550100"
timezone = "America/Chicago"
[[site]]
id = "lakeside-south"
name = "Lakeside Health South"
phone = "+17735550100"
timezone = "America/Chicago"
[[provider]]
name = "none"
kind = "capture"
channel = "sms"
"#;

/// Templates for what the shipped ones do not show.
pub(super) const TEXTS: &[(&str, &str)] = &[
    (
        "tour-offer/template.toml",
        r#"
title = "Offer"
purposes = ["marketing"]
priority = "normal"
phi = "minimal"
channels = ["sms"]
default_locale = "en"
approved = ["en"]
"#,
    ),
    ("tour-offer/en/sms.hbs", "{{site.name}}: Yoga on Thursdays. {{> opt_out}}\n"),
    (
        "tour-alarm/template.toml",
        r#"
title = "Alarm"
purposes = ["emergency"]
priority = "normal"
phi = "minimal"
channels = ["sms"]
default_locale = "en"
approved = ["en"]
"#,
    ),
    ("tour-alarm/en/sms.hbs", "{{site.name}}: Closed today. Please {{> call_us}}. {{> opt_out}}\n"),
    (
        "tour-finding/template.toml",
        r#"
title = "Finding"
purposes = ["results"]
priority = "normal"
phi = "sensitive"
channels = ["sms", "email"]
default_locale = "en"
approved = ["en"]
"#,
    ),
    ("tour-finding/en/sms.hbs", "{{site.name}}: The tissue sample is benign. {{> opt_out}}\n"),
    ("tour-finding/en/email.subject.hbs", "News from {{site.name}}\n"),
    ("tour-finding/en/email.txt.hbs", "The tissue sample is benign.\n\n{{> email_footer_text}}\n"),
    (
        "tour-finding/en/email.html.hbs",
        "{{#> email_page}}\n<p>The tissue sample is benign.</p>\n{{/email_page}}\n",
    ),
    (
        "tour-private/template.toml",
        r#"
title = "In confidence"
purposes = ["care"]
priority = "normal"
phi = "minimal"
channels = ["sms"]
confidential = true
default_locale = "en"
approved = ["en"]
"#,
    ),
    ("tour-private/en/sms.hbs", "{{site.name}}: Please {{> call_us}}. {{> opt_out}}\n"),
    (
        "tour-steps/template.toml",
        r#"
title = "Steps"
purposes = ["care"]
priority = "normal"
phi = "minimal"
channels = ["sms", "email"]
default_locale = "en"
approved = ["en"]

[plan]
sms = { wait = "1s", until = "delivered" }
email = { wait = "24h", until = "answered" }
"#,
    ),
    ("tour-steps/en/sms.hbs", "{{site.name}}: Please {{> call_us}}. {{> opt_out}}\n"),
    ("tour-steps/en/email.subject.hbs", "News from {{site.name}}\n"),
    ("tour-steps/en/email.txt.hbs", "Please {{> call_us}}.\n\n{{> email_footer_text}}\n"),
    ("tour-steps/en/email.html.hbs", "{{#> email_page}}\n<p>Please {{> call_us}}.</p>\n{{/email_page}}\n"),
    (
        "tour-aviso/template.toml",
        r#"
title = "Aviso"
purposes = ["care"]
priority = "normal"
phi = "minimal"
channels = ["sms"]
default_locale = "es"
on_missing_locale = "refuse"
approved = ["es"]
"#,
    ),
    ("tour-aviso/es/sms.hbs", "{{site.name}}: Por favor, {{> call_us}}. {{> opt_out}}\n"),
    (
        "tour-note/template.toml",
        r#"
title = "Note"
purposes = ["care"]
priority = "normal"
phi = "minimal"
channels = ["sms"]
default_locale = "en"
approved = ["en"]
opt_out_line = false

[channel.sms]
max_segments = 1

[variables.note]
type = "text"
max_length = 400
examples = ["The door is on the left."]
"#,
    ),
    ("tour-note/en/sms.hbs", "{{#if data.note}}{{data.note}}{{/if}}\n"),
];
