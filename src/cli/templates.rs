//! `outreachd template`: what there is, what is wrong with it, what it says, who answers for it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::audit::record;
use super::out::{Out, Table, or_dash, tame};
use super::{Desk, Failure, args, files, operator};
use crate::config::Config;
use crate::dispatch::sign_off::{self, Unsigned};
use crate::dispatch::site_context;
use crate::domain::ids::{SiteId, TemplateName};
use crate::domain::sign_off::Word;
use crate::domain::words::{Channel, Reason};
use crate::policy::sign_off::Standing;
use crate::template::{
    Catalogue, LintOptions, Preview, RecipientContext, RenderError, RenderRequest, Sample, Severity,
    SharedCatalogue, SiteContext, Template, lint, preview,
};

/// The largest file of sample data, in bytes.
const MAX_DATA: u64 = 256 * 1024;

/// Lists, checks, previews and signs off templates. None of these sends anything; only sign-offs need the ledger.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List templates with their purposes, channels, languages and variables
    #[command(after_help = "Example:\n  outreachd template list")]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Read every text as patients and carriers would, and tell what they would object to
    ///
    /// The exit code is 0 only if there is no error. Figures show segments and cost with the longest sample.
    #[command(after_help = "Example:\n  outreachd template lint --dir templates --quiet")]
    Lint {
        #[command(flatten)]
        place: Place,
        /// Errors and warnings only
        #[arg(long)]
        quiet: bool,
    },
    /// Show what a template says, with its own samples or with data of yours
    #[command(
        after_help = "Example:\n  outreachd template preview appointment-reminder --channel sms --locale es"
    )]
    Preview(PreviewOptions),
    /// Answer for the texts of one language: they may be sent from now on, until one of them changes
    ///
    /// Read them first (`template preview`). What counts are the texts in the folder as they are now; workers that have
    /// others do not send these. With --take-back the word is withdrawn.
    #[command(after_help = "Examples:\n  \
        outreachd template sign-off appointment-reminder es --note \"read with the interpreters\"\n  \
        outreachd template sign-off appointment-reminder es --take-back --note \"the hours are wrong\"")]
    SignOff(SignOffOptions),
    /// List by language who answers for the texts
    #[command(after_help = "Example:\n  outreachd template sign-offs")]
    SignOffs {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub(super) struct SignOffOptions {
    /// The template, as `template list` shows it
    #[arg(value_parser = args::template)]
    name: TemplateName,
    /// Such as es or zh-Hans
    locale: String,
    /// Why, for colleagues; no names of patients
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    note: String,
    /// Nobody answers for them any more
    #[arg(long)]
    take_back: bool,
    #[command(flatten)]
    place: Place,
}

/// Where the templates are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The templates' folder [default: [templates] dir]
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PreviewOptions {
    /// The template, as `template list` shows it
    #[arg(value_parser = args::template)]
    name: TemplateName,
    /// Only this channel: sms, email, portal or voice
    #[arg(long, value_parser = args::channel)]
    channel: Option<Channel>,
    /// Only this locale, such as es or zh-Hans
    #[arg(long)]
    locale: Option<String>,
    /// Which sample: typical, longest, least, change, proxy or digest
    #[arg(long, value_parser = args::sample, default_value = "typical", conflicts_with = "data")]
    sample: Sample,
    /// A JSON object of variables instead of the sample; `-` is standard input
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The site that signs [default: a sample clinic]
    #[arg(long, value_parser = args::site)]
    site: Option<SiteId>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    let config = desk.config()?;
    match command {
        Command::List { place } => list(desk, &load(&config, &place)?),
        Command::Lint { place, quiet } => check(desk, &config, &place, quiet),
        Command::Preview(options) => show(desk, &config, &options),
        Command::SignOff(options) => sign_off(desk, &config, &options).await,
        Command::SignOffs { place } => sign_offs(desk, &config, &place).await,
    }
}

fn load(config: &Config, place: &Place) -> Result<Catalogue, Failure> {
    Catalogue::load(place.dir.as_deref().unwrap_or(&config.templates.dir)).map_err(Failure::Templates)
}

fn shared(config: &Config, place: &Place) -> Result<SharedCatalogue, Failure> {
    SharedCatalogue::load(place.dir.as_deref().unwrap_or(&config.templates.dir)).map_err(Failure::Templates)
}

async fn sign_off(desk: &mut Desk, config: &Config, options: &SignOffOptions) -> Result<(), Failure> {
    let catalogue = shared(config, &options.place)?;
    let store = Desk::store(config).await?;
    let (by, note, locale) = (operator(), tame(&options.note), options.locale.as_str());
    let word = Word { template: &options.name, locale, by: &by, note: &note };
    let name = &options.name;
    if options.take_back {
        sign_off::take_back(store.as_ref(), &catalogue, &word).await.map_err(refused)?;
        record(store.as_ref(), "template.take_back", name, &format!("{locale}: {note}")).await?;
    } else {
        let hash = sign_off::sign_off(store.as_ref(), &catalogue, &word, None).await.map_err(refused)?;
        record(store.as_ref(), "template.sign_off", name, &format!("{locale} {hash}: {note}")).await?;
    }
    let catalogue = catalogue.current();
    let Some(template) = catalogue.get(name) else {
        return Ok(desk.out.line(format!("{name} {locale}: taken back"))?);
    };
    if desk.json {
        return Ok(desk.out.json(&sign_off::shown(&catalogue, template, locale))?);
    }
    Ok(desk.out.line(format!("{name} {locale}: {}", words(&catalogue.standing(template, locale))))?)
}

fn refused(why: Unsigned) -> Failure {
    match why {
        Unsigned::Unknown => Failure::said("there is no such template", "look at `outreachd template list`"),
        Unsigned::Not(problem) => Failure::said(format!("{}: {}", problem.field, problem.rule), problem.cure),
        Unsigned::Store(error) => error.into(),
    }
}

async fn sign_offs(desk: &mut Desk, config: &Config, place: &Place) -> Result<(), Failure> {
    let shared = shared(config, place)?;
    sign_off::refresh(Desk::store(config).await?.as_ref(), &shared).await?;
    let catalogue = shared.current();
    let mut table = Table::new(&["template", "locale", "standing", "by", "at", "note"]);
    for template in catalogue.templates() {
        for locale in template.locales() {
            if desk.json {
                desk.out.json(&sign_off::shown(&catalogue, template, locale))?;
                continue;
            }
            let standing = catalogue.standing(template, locale);
            let word = standing.word();
            table.row([
                template.name.to_string(),
                locale.to_owned(),
                words(&standing).to_owned(),
                or_dash(word.map(|word| &word.by)),
                or_dash(word.map(|word| word.at)),
                or_dash(word.map(|word| tame(&word.note))),
            ]);
        }
    }
    Ok(table.write(&mut desk.out)?)
}

const fn words(standing: &Standing<'_>) -> &'static str {
    match standing {
        Standing::SignedOff(_) => "signed off",
        Standing::InFile => "approved in its file",
        Standing::TakenBack(_) => "taken back",
        Standing::Changed(_) => "changed since it was signed off",
        Standing::Open => "not signed off",
    }
}

fn list(desk: &mut Desk, catalogue: &Catalogue) -> Result<(), Failure> {
    let mut table = Table::new(&["name", "purposes", "priority", "channels", "locales", "variables"]);
    for template in catalogue.templates() {
        let manifest = &template.manifest;
        let variables = || manifest.variables.iter().map(|(name, variable)| (name, variable.required));
        if desk.json {
            desk.out.json(&json!({
                "name": template.name, "title": manifest.title, "purposes": manifest.purposes,
                "priority": manifest.priority, "channels": template.channels().collect::<Vec<_>>(),
                "locales": template.locales().collect::<Vec<_>>(),
                "variables": variables()
                    .map(|(name, required)| (name.clone(), json!({ "required": required })))
                    .collect::<Map<String, Value>>(),
            }))?;
            continue;
        }
        table.row([
            template.name.to_string(),
            joined(manifest.purposes.iter()),
            manifest.priority.to_string(),
            joined(template.channels()),
            joined(template.locales()),
            joined(variables().map(|(name, required)| format!("{name}{}", if required { "*" } else { "" }))),
        ]);
    }
    table.write(&mut desk.out)?;
    if desk.json {
        Ok(())
    } else {
        Ok(desk.out.line("\n* is required; bundle ".to_owned() + catalogue.bundle_hash())?)
    }
}

fn joined<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

fn check(desk: &mut Desk, config: &Config, place: &Place, quiet: bool) -> Result<(), Failure> {
    let findings = match load(config, place) {
        Ok(catalogue) => lint(&catalogue, &options(config)),
        // What does not load is told in the same way as what does not please.
        Err(Failure::Templates(findings)) => findings,
        Err(other) => return Err(other),
    };
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    for finding in findings.iter().filter(|finding| !quiet || finding.severity != Severity::Info) {
        if desk.json {
            desk.out.json(finding)?;
        } else {
            desk.out.line(finding)?;
        }
    }
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if !desk.json {
        desk.out.line(format!("{errors} errors, {warnings} warnings"))?;
    }
    if errors > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// Samples show the first site of the configuration, as patients would see it.
pub(super) fn options(config: &Config) -> LintOptions {
    let mut options = LintOptions::default();
    if let Some(site) = config.sites.first() {
        options.site = SiteContext {
            names: site.name.by_tag(),
            phone: site.phone.clone().or(options.site.phone),
            timezone: site.zone().and_then(TimeZone::iana_name).map(str::to_owned),
            postal_address: site.postal_address.clone(),
            ..SiteContext::sample()
        };
    }
    options
}

fn show(desk: &mut Desk, config: &Config, options: &PreviewOptions) -> Result<(), Failure> {
    let catalogue = load(config, &options.place)?;
    let Some(template) = catalogue.get(&options.name) else {
        return Err(Failure::said("there is no such template", "look at `outreachd template list`"));
    };
    let site = site(config, options.site.as_ref())?;
    let wanted = |channel: Channel, locale: &str| {
        options.channel.is_none_or(|wanted| wanted == channel)
            && options.locale.as_deref().is_none_or(|wanted| wanted == locale)
    };
    let previews: Vec<Preview> = match &options.data {
        None => preview(&catalogue, template, options.sample, &site),
        Some(file) => with_data(&catalogue, template, &site, config, &data(file)?),
    };
    let mut shown = 0;
    let mut faults = 0;
    for preview in previews.iter().filter(|preview| wanted(preview.channel, &preview.locale)) {
        shown += 1;
        faults += usize::from(preview.result.is_err());
        if desk.json { desk.out.json(&as_json(preview))? } else { write(&mut desk.out, preview)? }
    }
    if shown == 0 {
        return Err(Failure::said(
            "the template has no such channel or locale",
            "look at `outreachd template list`",
        ));
    }
    if faults > 0 { Err(Failure::Reported) } else { Ok(()) }
}

fn site(config: &Config, id: Option<&SiteId>) -> Result<SiteContext, Failure> {
    let Some(id) = id else { return Ok(SiteContext::sample()) };
    site_context(config, id).ok_or_else(|| {
        Failure::said("there is no such site", "use the id of a [[site]] of the configuration")
    })
}

fn data(file: &std::path::Path) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(&files::read_all(file, MAX_DATA)?)
        .map_err(|_| Failure::said("--data must be a JSON object", "write it as {\"variable\": \"value\"}"))
}

/// The texts with data from outside, for a patient without a name.
fn with_data(
    catalogue: &Catalogue,
    template: &Template,
    site: &SiteContext,
    config: &Config,
    data: &Map<String, Value>,
) -> Vec<Preview> {
    let mut previews = Vec::new();
    for locale in template.locales() {
        for channel in template.channels().filter(|&channel| template.has(locale, channel)) {
            let result = catalogue.render(&RenderRequest {
                template: &template.name,
                channel,
                languages: &[locale],
                data,
                patient: None,
                recipient: RecipientContext::PATIENT,
                site: Some(site),
                organisation: &config.organisation.name,
                is_change: false,
                test: false,
                drafts: true,
                keypad: false,
                mailbox: false,
                digits: &[],
                unsubscribe_url: Some("https://outreach.example.org/u/sample"),
                region: Some(&config.organisation.default_region),
            });
            previews.push(Preview {
                template: template.name.to_string(),
                channel,
                locale: locale.to_owned(),
                sample: Sample::Typical,
                short: false,
                result,
            });
        }
    }
    previews
}

fn problems(error: &RenderError) -> Vec<String> {
    error.problems.iter().map(ToString::to_string).collect()
}

fn as_json(preview: &Preview) -> Value {
    let texts: Map<String, Value> =
        preview.texts().into_iter().map(|(part, text)| (part.to_owned(), json!(text))).collect();
    let reason: Option<Reason> =
        preview.result.as_ref().err().and_then(|e| e.problems.first()).map(|p| p.reason);
    json!({
        "template": preview.template, "channel": preview.channel, "locale": preview.locale, "short": preview.short,
        "texts": texts, "reason": reason,
        "problems": preview.result.as_ref().err().map(problems).unwrap_or_default(),
    })
}

fn write(out: &mut Out, preview: &Preview) -> Result<(), Failure> {
    let short = if preview.short { ", short" } else { "" };
    let title = format!("{} {} {}{short}", preview.template, preview.channel, preview.locale);
    out.line(out.strong(&format!("== {title}")))?;
    if let Err(error) = &preview.result {
        problems(error).iter().try_for_each(|problem| out.line(problem))?;
    }
    for (part, text) in preview.texts() {
        let figures = if preview.channel == Channel::Sms {
            let count = crate::template::segments(text);
            format!(" ({} segments, {})", count.segments, count.encoding)
        } else {
            String::new()
        };
        out.line(format!("-- {part}{figures}\n{}", text.trim_end()))?;
    }
    Ok(out.line("")?)
}
