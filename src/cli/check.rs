//! `outreachd check`: everything that is wrong, at once, each with its cure.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::failure::store_cure;
use super::{Desk, Failure, absolute, sign_in, templates};
use crate::app;
use crate::broker::{self, DownReason};
use crate::callback::{Courier, Unreachable};
use crate::config::Config;
use crate::config::provider::ProviderSettings;
use crate::config::store::StoreKind;
use crate::domain::outbound::{FailureKind, SendError};
use crate::domain::words::{Channel, SafetyMode};
use crate::provider::registry;
use crate::store::rows::Spend;
use crate::store::{Store, StoreError};
use crate::template::{Catalogue, Severity, lint};

/// The longest that one connection may take.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// Clocks further apart than this make logs and events of several machines hard to read together.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

/// Tells everything that is wrong, at once: the configuration, the templates, the ledger, the broker, every
/// provider, every receiver of results, the identity provider, the clock.
///
/// Connects to everything and sends nothing. The exit code is 0 only if nothing failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outreachd check --config /etc/outreachd/outreachd.toml\n  \
    outreachd check --show          prints every setting in force, secrets masked")]
pub(super) struct Options {
    /// Print the settings in force, defaults included, secrets masked; check nothing else
    #[arg(long)]
    show: bool,
}

/// How one line of the report stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Warning,
    Bad,
}

impl Standing {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warn",
            Self::Bad => "fail",
        }
    }
}

/// One line of the report.
pub(super) struct Line {
    pub(super) standing: Standing,
    /// What was looked at: `config`, `ledger`, `broker`, `provider NAME` ...
    pub(super) subject: String,
    pub(super) what: String,
    pub(super) cure: String,
}

/// The report as it grows.
#[derive(Default)]
pub(super) struct Report(Vec<Line>);

impl Report {
    pub(super) fn lines(&self) -> &[Line] {
        &self.0
    }

    fn add(&mut self, standing: Standing, subject: &str, what: impl ToString, cure: impl ToString) {
        let line =
            Line { standing, subject: subject.to_owned(), what: what.to_string(), cure: cure.to_string() };
        self.0.push(line);
    }

    pub(super) fn good(&mut self, subject: &str, what: impl ToString) {
        self.add(Standing::Good, subject, what, "");
    }

    pub(super) fn bad(&mut self, subject: &str, what: impl ToString, cure: impl ToString) {
        self.add(Standing::Bad, subject, what, cure);
    }

    pub(super) fn warn(&mut self, subject: &str, what: impl ToString, cure: impl ToString) {
        self.add(Standing::Warning, subject, what, cure);
    }
}

pub(super) async fn run(desk: &mut Desk, options: &Options) -> Result<(), Failure> {
    if options.show {
        let config = Config::load(&desk.load_options()?).map_err(Failure::Config)?;
        return Ok(desk.out.raw(config.redacted_toml().as_bytes())?);
    }
    let (report, config) = examine(desk).await?;
    if !desk.json {
        place(desk, config.as_deref())?;
    }
    write(desk, &report)
}

/// Says which settings and which ledger are looked at: a shell seldom has those of the service.
pub(super) fn place(desk: &mut Desk, config: Option<&Config>) -> Result<(), Failure> {
    let options = desk.load_options()?;
    let file = options.chosen_file();
    let file = file.map_or_else(|| "none: built-in defaults".to_owned(), |file| absolute(&file));
    desk.out.line(format!("configuration: {file}"))?;
    if let Some(config) = config {
        let ledger = config.store.file().map_or_else(|| config.store.shown(), absolute);
        desk.out.line(format!("ledger: {ledger}"))?;
    }
    let set = of_environment(&options.env);
    if !set.is_empty() {
        desk.out.line(format!("environment: {} (goes before the file)", set.join(", ")))?;
    }
    Ok(())
}

/// The variables that give a setting, by name: what they hold may be secret.
fn of_environment(env: &[(OsString, OsString)]) -> Vec<&str> {
    let is_setting = |name: &str| name.to_ascii_uppercase().starts_with("OUTREACHD_") && name.contains("__");
    let given = env.iter().filter(|(_, value)| !value.is_empty());
    let mut names: Vec<&str> =
        given.filter_map(|(name, _)| name.to_str()).filter(|name| is_setting(name)).collect();
    names.sort_unstable();
    names
}

/// Looks at everything; and gives the configuration, where it is good.
pub(super) async fn examine(desk: &Desk) -> Result<(Report, Option<Arc<Config>>), Failure> {
    let mut report = Report::default();
    match Config::load(&desk.load_options()?) {
        Ok(config) => {
            report.good("config", "all settings can work together");
            safety(&mut report, &config);
            on_call(&mut report, &config);
            places(&mut report, &config);
            texts(&mut report, &config).await;
            ledger(&mut report, &config).await?;
            queues(&mut report, &config).await?;
            providers(&mut report, &config).await;
            receivers(&mut report, &config).await;
            sign_in::provider(&mut report, &config).await;
            Ok((report, Some(Arc::new(config))))
        }
        Err(faults) => {
            for fault in faults {
                let what = format!("{}: {}: {}", fault.file, fault.path, fault.rule);
                report.bad("config", what, fault.cure);
            }
            report.warn(
                "rest",
                "not looked at: it depends on the configuration",
                "mend the configuration first",
            );
            Ok((report, None))
        }
    }
}

fn write(desk: &mut Desk, report: &Report) -> Result<(), Failure> {
    let count = |standing| report.0.iter().filter(|line| line.standing == standing).count();
    let (bad, warnings) = (count(Standing::Bad), count(Standing::Warning));
    let width = report.0.iter().map(|line| line.subject.chars().count()).max().unwrap_or(0);
    for line in &report.0 {
        if desk.json {
            desk.out.json(&json!({
                "result": line.standing.as_str(), "subject": line.subject, "what": line.what, "cure": line.cure,
            }))?;
            continue;
        }
        desk.out.line(format!("{:<4}  {:width$}  {}", line.standing.as_str(), line.subject, line.what))?;
        if !line.cure.is_empty() {
            desk.out.line(format!("      {:width$}  cure: {}", "", line.cure))?;
        }
    }
    if !desk.json {
        desk.out.line(match (bad, warnings) {
            (0, 0) => "all is well".to_owned(),
            (bad, warnings) => format!("{bad} failed, {warnings} warnings"),
        })?;
    }
    if bad > 0 { Err(Failure::Reported) } else { Ok(()) }
}

fn safety(report: &mut Report, config: &Config) {
    let mode = config.safety.mode;
    let what = match mode {
        SafetyMode::Capture => {
            "mode capture: nothing leaves, every message is kept to be looked at".to_owned()
        }
        SafetyMode::AllowList => {
            format!("mode allow_list: only {} addresses are written to", config.safety.allow.len())
        }
        SafetyMode::Live => "mode live: patients are written to".to_owned(),
    };
    report.good("safety", what);
    if mode != SafetyMode::Live {
        return;
    }
    if !config.security.seals() {
        let what = "patients' columns lie open in the ledger and its backups: [security] encryption is off";
        report.warn("safety", what, "set encryption = true, then run `outreachd keys reseal`");
    }
    if config.store.trusts_the_network() {
        let what = "the ledger's database may be on another machine, and nothing proves that it is the right one: who stands \
                    between can read along";
        let cure = "add ?sslmode=verify-full to [store] url, and &sslrootcert=FILE where the authority is your own; \
                    between containers of one machine it may stay so";
        report.warn("ledger", what, cure);
    }
    let points = config.policy.phi.pointer && config.providers_for(Channel::Portal).next().is_some();
    for provider in config.providers.iter().filter(|provider| !provider.baa) {
        let instead =
            if points { "; instead of others a pointer to the portal, where that has them" } else { "" };
        report.warn(
            &format!("provider {}", provider.name),
            format!(
                "no business associate agreement: only texts of PHI class `minimal` may go there{instead}"
            ),
            "set baa = true once the agreement is signed",
        );
    }
    answers(report, config);
    mail(report, config);
    for site in config.sites.iter().filter(|site| points && site.portal_url.is_none()) {
        report.warn(
            &format!("site {}", site.id),
            "no portal_url: what points to its portal cannot say where that is",
            "set portal_url in this [[site]]",
        );
    }
}

/// Nobody lives by UTC, which stands where no zone is named.
fn places(report: &mut Report, config: &Config) {
    for site in config.sites.iter().filter(|site| site.zone().is_none()) {
        report.warn(
            &format!("site {}", site.id),
            "no timezone, nor has [organisation] one: its hours are counted by UTC, and visits are told at the offset that \
             their values carry",
            "set timezone in this [[site]], or in [organisation]",
        );
    }
}

/// Who is told by a worker hears nothing of one that is dead.
fn on_call(report: &mut Report, config: &Config) {
    let notify = &config.notify;
    let is_told = notify.webhook.is_some() || !notify.email.is_empty();
    if !is_told && config.safety.mode == SafetyMode::Live {
        let what = "mode live, and nobody is told when something is wrong, nor when a patient writes words of danger";
        let cure =
            "set webhook_url or email in [notify], or have Prometheus call somebody by deploy/alerts.yml";
        report.warn("notify", what, cure);
    }
    if is_told && notify.heartbeat.is_none() {
        let what = "nobody would notice silence: whoever tells people on call is a worker, and a dead one tells nothing";
        let cure = "set [notify] heartbeat_url to a service that calls somebody once it hears nothing, or use \
                    OutreachdGone of deploy/alerts.yml";
        report.warn("notify", what, cure);
    }
}

/// Where nothing comes in, no answer of a patient is heard, a stop or words of danger among them.
fn answers(report: &mut Report, config: &Config) {
    if config.safety.mode != SafetyMode::Live {
        return;
    }
    for provider in &config.providers {
        let subject = format!("provider {}", provider.name);
        match &provider.settings {
            ProviderSettings::TwilioSms(twilio) | ProviderSettings::TwilioVoice(twilio)
                if twilio.status_callback.is_none() =>
            {
                report.warn(
                    &subject,
                    "it has no webhook: what patients answer is not heard, and nobody learns whether anything arrives",
                    "set [http] public_url, and enter the webhook at the provider",
                );
            }
            ProviderSettings::Smtp(smtp) if smtp.bounce_address.is_none() && smtp.reply_address.is_none() => {
                report.warn(
                    &subject,
                    "mails that come back, and what patients answer, are not heard",
                    "set bounce_address and reply_address; deploy/mail.md tells how",
                );
            }
            _ => {}
        }
    }
}

/// What receivers of bulk mail ask for: a way to unsubscribe with one click, and a signature in the sender's name.
fn mail(report: &mut Report, config: &Config) {
    for provider in config.providers_for(Channel::Email) {
        let ProviderSettings::Smtp(smtp) = &provider.settings else { continue };
        let subject = format!("provider {}", provider.name);
        if config.http.public_url.is_none() {
            let what =
                "[http] public_url is not set: its mails have no List-Unsubscribe, and lead to no page";
            report.warn(&subject, what, "set public_url to where patients reach this server");
        }
        let Some(dkim) = &smtp.dkim else { continue };
        let senders = config.sites.iter().flat_map(|site| &site.senders.email).map(|sender| &sender.address);
        for from in std::iter::once(&smtp.from).chain(senders).filter(|from| !is_aligned(from, &dkim.domain))
        {
            let what = format!(
                "DKIM signs for {}, and {from} is of another domain: receivers refuse it",
                dkim.domain
            );
            report.warn(
                &subject,
                what,
                "sign for the domain of the From address, or write from the one that is signed",
            );
        }
    }
}

/// Whether a signature for `signed` stands for a sender: the same domain, one within the other, or both within what looks
/// like one organisation's (relaxed alignment, RFC 7489 sections 3.1.1 and 3.2).
fn is_aligned(from: &str, signed: &str) -> bool {
    let domain = from.trim_end_matches('>').rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let signed = signed.to_ascii_lowercase();
    let within = |one: &str, other: &str| one.strip_suffix(other).is_some_and(|rest| rest.ends_with('.'));
    domain == signed || within(&domain, &signed) || within(&signed, &domain) || are_siblings(&domain, &signed)
}

/// Whether both lie within a domain that somebody may have registered. Without the list of public suffixes a short name below
/// a country, such as co.uk or com.au, is held to be one.
fn are_siblings(one: &str, other: &str) -> bool {
    let labels = one.rsplit('.').zip(other.rsplit('.'));
    let shared: Vec<&str> = labels.take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    match shared.as_slice() {
        [] | [_] => false,
        [top, second] => top.len() > 2 || second.len() > 3,
        _ => true,
    }
}

async fn texts(report: &mut Report, config: &Config) {
    let mut catalogue = match Catalogue::load(&config.templates.dir) {
        Ok(catalogue) => catalogue,
        Err(findings) => {
            for finding in findings {
                let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
                report.bad("templates", format!("{}{line}: {}", finding.file, finding.message), finding.cure);
            }
            return;
        }
    };
    // That the ledger is away is told elsewhere.
    if let Ok(store) = Desk::unasked_store(config).await
        && let Ok(Ok(said)) = timeout(LIMIT, store.sign_offs()).await
    {
        catalogue = catalogue.with_sign_offs(said);
    }
    for finding in lint(&catalogue, &templates::options(config)) {
        let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        let what = format!("{}{line}: {}", finding.file, finding.message);
        match finding.severity {
            Severity::Error => report.bad("templates", what, finding.cure),
            Severity::Warning => report.warn("templates", what, finding.cure),
            Severity::Info => {}
        }
    }
    let folder = absolute(&config.templates.dir);
    report.good("templates", format!("{} loaded from {folder}", catalogue.templates().count()));
}

async fn ledger(report: &mut Report, config: &Config) -> Result<(), Failure> {
    let store = match Desk::unasked_store(config).await {
        Ok(store) => store,
        Err(Failure::Said { what, cure }) => {
            report.bad("ledger", what, cure);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    let before = machine_clock();
    let asked = Instant::now();
    let answer = timeout(LIMIT, store.ping()).await;
    let now = match answer {
        Ok(Ok(now)) => now,
        Ok(Err(error)) => {
            report.bad("ledger", &error, store_cure(&error));
            return Ok(());
        }
        Err(_) => {
            report.bad(
                "ledger",
                "did not answer within 15 s",
                store_cure(&StoreError::Unavailable(String::new())),
            );
            return Ok(());
        }
    };
    // Half of the round trip lies before the database read its clock.
    let halfway = before.checked_add(asked.elapsed() / 2).unwrap_or(before);
    report.good("ledger", format!("{}: reached, its schema fits", kind(config)));
    writable(report, store.as_ref()).await;
    opt_outs(report, config, store.as_ref()).await;
    console(report, config, store.as_ref()).await;
    sign_in::accounts(report, config, store.as_ref()).await;
    clock(report, now.duration_since(halfway));
    Ok(())
}

const fn kind(config: &Config) -> &'static str {
    match config.store.kind {
        StoreKind::Postgres => "PostgreSQL",
        StoreKind::Sqlite => "SQLite",
    }
}

/// Takes nothing from a budget of nobody: the least that is a write.
async fn writable(report: &mut Report, store: &dyn Store) {
    let nothing = Spend { budgets: vec![("check".to_owned(), i64::MAX)], amount: 0 };
    match timeout(LIMIT, store.spend(&[nothing])).await {
        Ok(Ok(_)) => report.good("ledger", "can be written to"),
        Ok(Err(error)) => report.bad(
            "ledger",
            format!("cannot be written to: {error}"),
            "let the role write; look for a full disk or a read-only standby",
        ),
        Err(_) => report.bad("ledger", "a write did not end within 15 s", "look for locks and a full disk"),
    }
}

/// Whoever opted out with a former system is known here only once their addresses were imported.
async fn opt_outs(report: &mut Report, config: &Config, store: &dyn Store) {
    if config.safety.mode != SafetyMode::Live {
        return;
    }
    // That the ledger does not answer was told above; one that is large may take longer to count.
    let counts = timeout(LIMIT, store.counts()).await;
    if matches!(&counts, Ok(Ok(counts)) if !counts.address_consents_known) {
        report.warn(
            "opt-outs",
            "mode live, and not one opt-out by address is on record",
            "run `outreachd optouts import FILE` with the stop list of the former system before the first message",
        );
    }
}

/// Whoever reaches the listener from this machine needs no token before there is an account; a proxy that tells nothing of
/// those behind it looks like this machine.
async fn console(report: &mut Report, config: &Config, store: &dyn Store) {
    if config.safety.mode != SafetyMode::Live {
        return;
    }
    if matches!(timeout(LIMIT, store.users()).await, Ok(Ok(users)) if users.is_empty()) {
        let what = if config.http.token_needed() {
            "nobody has an account: nobody can open the console, nor the work that patients' answers make"
        } else {
            "nobody has an account: whoever reaches the listener on this machine, a proxy without headers included, may do \
             everything"
        };
        report.warn("console", what, "outreachd users add NAME --role admin");
    }
}

fn clock(report: &mut Report, skew: SignedDuration) {
    if skew.abs() > SKEW {
        let what = format!("this machine is {} s away from the database", skew.abs().as_secs());
        report.warn("clock", what, "run an NTP client on both; decisions use the database's clock");
    } else {
        report.good("clock", "this machine and the database agree");
    }
}

#[expect(clippy::disallowed_methods, reason = "the machine's clock is what is being checked here")]
fn machine_clock() -> Timestamp {
    Timestamp::now()
}

async fn queues(report: &mut Report, config: &Config) -> Result<(), Failure> {
    let options = match app::broker_options(config).map_err(Failure::from) {
        Ok(Some(options)) => options,
        Ok(None) => {
            report.good("broker", "none is configured: jobs come over HTTP and from files");
            return Ok(());
        }
        Err(Failure::Said { what, cure }) => {
            report.bad("broker", what, cure);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    match timeout(LIMIT, broker::inspect(&options)).await {
        Ok(Ok(findings)) if findings.is_empty() => {
            report.good("broker", "reached; exchanges and queues are as they should be");
        }
        Ok(Ok(findings)) => {
            for finding in findings {
                let standing = if finding.is_fatal() { Standing::Bad } else { Standing::Warning };
                let whole = finding.to_string();
                let what = whole.split_once("; ").map_or(whole.as_str(), |(what, _)| what);
                report.add(standing, "broker", what, finding.cure);
            }
        }
        Ok(Err(reason)) => {
            report.bad("broker", format!("cannot be used ({})", reason.code()), broker_cure(reason))
        }
        Err(_) => report.bad("broker", "did not answer within 15 s", broker_cure(DownReason::TimedOut)),
    }
    Ok(())
}

/// What to do about a broker that cannot be used.
pub(super) const fn broker_cure(reason: DownReason) -> &'static str {
    match reason {
        DownReason::Refused => "correct user, password or virtual host in [amqp] url, or create them",
        DownReason::TopologyForbidden => {
            "let an administrator run `outreachd migrate`, or grant the user configure permission"
        }
        DownReason::Protocol => "see that [amqp] url leads to RabbitMQ 3.10 or later, on its AMQP port",
        DownReason::Starting
        | DownReason::Unreachable
        | DownReason::TimedOut
        | DownReason::NoHeartbeat
        | DownReason::Closed
        | DownReason::Stuck
        | DownReason::Stopped => "start the broker, or correct host and port in [amqp] url",
    }
}

/// All at once: one that hangs must not keep the others waiting.
async fn providers(report: &mut Report, config: &Config) {
    let mut asked = JoinSet::new();
    for section in &config.providers {
        let subject = format!("provider {}", section.name);
        match registry::build(section) {
            Ok(provider) => {
                asked.spawn(async move { (subject, timeout(LIMIT, provider.check()).await) });
            }
            Err(problem) => {
                report.bad(&subject, format!("{}: {}", problem.field, problem.rule), problem.cure)
            }
        }
    }
    let mut answers: Vec<_> = asked.join_all().await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    for (subject, answer) in answers {
        match answer {
            Ok(Ok(())) => report.good(&subject, "reached, and it knows us"),
            Ok(Err(error)) => {
                let (what, cure) = refusal(&error);
                report.bad(&subject, what, cure);
            }
            Err(_) => {
                report.bad(&subject, "did not answer within 15 s", "look at the network and the firewall")
            }
        }
    }
    if config.providers.is_empty() {
        report.good("providers", "none is configured: every message is captured");
    }
}

/// Those that are told by HTTP. Whether a receiver likes our key shows only at the first result.
async fn receivers(report: &mut Report, config: &Config) {
    if config.sources.iter().all(|source| source.callback.is_none()) {
        return;
    }
    let courier = match Courier::new(&config.events.callbacks) {
        Ok(courier) => courier,
        Err(error) => {
            report.bad("callbacks", error, "install the root certificates of this system (ca-certificates)");
            return;
        }
    };
    let mut asked = JoinSet::new();
    for source in &config.sources {
        let Some(callback) = source.callback.clone() else { continue };
        let (subject, courier) = (format!("callback {}", source.name), courier.clone());
        asked.spawn(async move { (subject, timeout(LIMIT, courier.check(&callback)).await) });
    }
    let mut answers: Vec<_> = asked.join_all().await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    for (subject, answer) in answers {
        match answer {
            Ok(Ok(())) => report.good(&subject, "takes connections, at an address that may be posted to"),
            Ok(Err(Unreachable::Refused(refusal))) => {
                report.bad(&subject, format!("callback_url {refusal}"), refusal.cure());
            }
            Ok(Err(Unreachable::Dns)) => report.bad(
                &subject,
                "the host of callback_url leads nowhere",
                "correct its name, or look at this machine's name servers",
            ),
            Ok(Err(Unreachable::Connect)) | Err(_) => report.bad(
                &subject,
                "nobody takes connections there; results wait",
                "start the receiver, correct callback_url, or look at network and firewall",
            ),
        }
    }
}

fn refusal(error: &SendError) -> (String, &'static str) {
    let code = error.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
    match error.kind {
        FailureKind::Misconfigured => {
            (format!("refuses us{code}"), "correct account, credentials or sender of this [[provider]]")
        }
        FailureKind::Throttled { .. } => {
            (format!("asks for a pause{code}"), "try again later; lower its `limits`")
        }
        FailureKind::Transient
        | FailureKind::Ambiguous
        | FailureKind::BadAddress
        | FailureKind::OptedOut
        | FailureKind::Rejected => (
            format!("cannot be reached, or is not well{code}"),
            "correct its address in this [[provider]], look at network and firewall, or wait until it is back",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{is_aligned, of_environment};

    #[test]
    fn settings_of_the_environment_are_named_without_what_they_hold() {
        let env = [
            ("OUTREACHD_STORE__URL", "postgres://u:secret@h/d"),
            ("Outreachd_Http__Listen", "0.0.0.0:8080"),
            ("OUTREACHD_LOG__LEVEL", ""),
            ("OUTREACHD_CONFIG", "/etc/outreachd.toml"),
            ("HOME", "/root"),
        ];
        let env = env.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        assert_eq!(of_environment(&env), ["OUTREACHD_STORE__URL", "Outreachd_Http__Listen"]);
    }

    #[test]
    fn a_signature_stands_for_its_domain_and_those_within_it() {
        for (from, signed, aligned) in [
            ("visits@clinic.example", "clinic.example", true),
            ("Lakeside <visits@Clinic.example>", "clinic.example", true),
            ("visits@mail.clinic.example", "clinic.example", true),
            ("visits@clinic.example", "mail.clinic.example", true),
            ("visits@myclinic.example", "clinic.example", false),
            ("visits@clinic.example", "other.example", false),
            ("visits@news.clinic.example", "mail.clinic.example", true),
            ("visits@news.clinic.co.uk", "mail.clinic.co.uk", true),
            ("visits@clinic.co.uk", "other.co.uk", false),
            ("visits@clinic.com.au", "other.com.au", false),
        ] {
            assert_eq!(is_aligned(from, signed), aligned, "{from} {signed}");
        }
    }
}
