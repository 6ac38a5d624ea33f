//! `outreachd recover`: after a restore from a dump, nothing is sent twice and no opt-out is lost, as far as anybody knows.

mod asking;
mod evidence;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::audit::record;
use super::out::tame;
use super::{Desk, Failure, files, operator, optouts};
use crate::campaign::{Office, Wish as CampaignWish};
use crate::config::retention::LEAST_ROWS;
use crate::config::{self, Config};
use crate::domain::campaign::CampaignState;
use crate::domain::ids::{CampaignId, HoldId, MessageId, ProviderName, TemplateName};
use crate::domain::patient::{ConsentSource, Contact, Patient, ProxyPerson};
use crate::domain::words::Channel;
use crate::intake::Gatekeeper;
use crate::store::Store;
use crate::store::campaigns::CampaignFilter;
use crate::store::recover::{LostJob, RecoveryAsk, RecoveryRow};
use crate::store::rows::AddressConsent;
use crate::template::Within;
use asking::{Asked, Listeners, NotAsked};
use evidence::{Evidence, Providers, Reach, Wish};

/// Messages, or words of witnesses, in one transaction.
const BATCH: u32 = 2_000;
/// A worker that lives is seen again within this time: it says so every two seconds.
const BEAT: Duration = Duration::from_secs(3);
/// Lost jobs and patients that are shown to people; JSON has all.
const SHOWN: usize = 20;

/// Makes a ledger that was restored from a dump safe to work with. Stop all workers, restore, run this, start the workers:
/// they hold everything until a person releases it.
///
/// What the dump does not know may have happened all the same. So: a hold is placed over all. What waited at the dump's
/// time and may have been sent since becomes `unknown`, and nothing of it is sent again by itself: receipts settle it,
/// the files given here, or a person (`work`). Sessions end, running campaigns are paused, leases, event numbers and `seq`
/// go on without reuse.
///
/// `--sent` takes NDJSON: events as a subscriber kept them, or lines with the send key from a log of what left. What it
/// names is settled; jobs that came in after the dump and were sent are refused as duplicates should their source send
/// them again; stops that were told as events are on record again. With `--complete` whatever the files do not name was not sent, and
/// goes out after the release; plans that an earlier run without it has ended stay ended. May be run again with more files.
///
/// Providers that list what patients have written (`twilio_sms` with numbers in `from`) are asked for all since the dump, and
/// what they list is taken as if it came now, but for the answer. The report names those that were not asked: what was said to
/// them comes by `--optouts` from their own lists, and mail that came back by `outreachd bounce`. Where one cannot be reached the
/// command fails, and is run again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outreachd recover --restored-to 2026-11-28T03:00:00Z --down-since 2026-11-28T09:42:00Z\n  \
    outreachd recover --restored-to 2026-11-28T03:00:00Z --sent events.ndjson --sent gateway.ndjson --complete --optouts stops.csv"
)]
pub(super) struct Options {
    /// When the dump was begun, or the copy of the file
    #[arg(long, value_name = "TIME", value_parser = instant)]
    restored_to: Timestamp,
    /// From when on no worker ran: what was due later was not sent [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    down_since: Option<Timestamp>,
    /// How far clocks, and the time of a dump, may be off
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = span)]
    margin: SignedDuration,
    /// NDJSON of what is known to have happened since; `-` is standard input
    #[arg(long, value_name = "FILE")]
    sent: Vec<PathBuf>,
    /// The files given with --sent name everything that left since the dump, and a margin before it. What an earlier run
    /// without this has ended stays ended
    #[arg(long, requires = "sent")]
    complete: bool,
    /// Ask no provider what patients have written since: this machine has no way out
    #[arg(long)]
    no_providers: bool,
    /// CSV of opt-outs, as `optouts import` takes it
    #[arg(long, value_name = "FILE")]
    optouts: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Report {
    restored_to: Timestamp,
    hold: Option<HoldId>,
    /// Known to have been sent, or to have ended.
    settled: u64,
    known: u64,
    /// May have been sent: nobody knows.
    unknown: u64,
    /// Not sent, and due again.
    due: u64,
    taken_over: u64,
    optouts: u64,
    optouts_refused: u64,
    campaigns_paused: Vec<CampaignId>,
    /// Jobs that came in after the dump.
    lost_jobs: Vec<LostJob>,
    /// Messages that left and of which the ledger knows nothing, not even their job.
    nameless: u64,
    /// Patients who changed something on their page, or of whose reply it is not known how far it went.
    ask: Vec<String>,
    /// Patients who said stop and are not in the directory.
    missing: Vec<String>,
    /// Providers whose lists of replies were read.
    asked: Vec<Asked>,
    /// Providers that may have been told things which nobody here knows.
    not_asked: Vec<NotAsked>,
}

pub(super) async fn run(desk: &mut Desk, options: Options) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let now = store.ping().await?;
    check_times(&options, now)?;
    // All files are read before anything is written: a bad line is mended first.
    let evidence = read(desk, &config, &options.sent)?;
    let listeners = Listeners::of(&config, options.no_providers)?;
    let together = together(&config)?;
    let row = begin(store.as_ref(), &options, now).await?;
    let mut report = Report { restored_to: row.restored_to, hold: Some(row.hold), ..Report::default() };
    loop {
        let taken = store.take_over(BATCH).await?;
        report.taken_over += u64::from(taken.released) + u64::from(taken.unknown);
        if taken.released + taken.unknown == 0 {
            break;
        }
    }
    report.campaigns_paused = pause_campaigns(&config, store.clone()).await?;
    if !row.gathered {
        let mut last = None;
        loop {
            last = store.gather(&row, &together, last, BATCH).await?;
            if last.is_none() {
                break;
            }
        }
    }
    for file in &options.optouts {
        let counts = optouts::import(desk, &config, store.as_ref(), file).await?;
        report.optouts += counts.recorded;
        report.optouts_refused += counts.refused;
    }
    stop(store.as_ref(), &evidence.wishes, &mut report).await?;
    testify(store.as_ref(), &evidence, options.restored_to, &mut report).await?;
    let since = options.restored_to.checked_sub(options.margin).unwrap_or(Timestamp::MIN);
    (report.asked, report.not_asked) = listeners.ask(&config, store.clone(), since).await;
    if options.complete {
        report.due = repeat(async || store.acquit(&row, BATCH).await).await?;
    } else {
        report.unknown = repeat(async || store.doubt(&row, BATCH).await).await?;
    }
    let told =
        format!("restored to {}: {} settled, {} unknown", row.restored_to, report.settled, report.unknown);
    record(store.as_ref(), "recover", row.id, &told).await?;
    tell(desk, &report)?;
    let is_whole = report.optouts_refused == 0 && !report.not_asked.iter().any(NotAsked::is_failure);
    if is_whole { Ok(()) } else { Err(Failure::Reported) }
}

/// The templates whose messages of one day go out together.
fn together(config: &Config) -> Result<Vec<TemplateName>, Failure> {
    let catalogue = Desk::catalogue(config)?.current();
    let day = catalogue.templates().filter(|template| template.manifest.digest_within == Within::Day);
    Ok(day.map(|template| template.name.clone()).collect())
}

fn check_times(options: &Options, now: Timestamp) -> Result<(), Failure> {
    if options.restored_to > now {
        return Err(Failure::said(
            "--restored-to lies in the future",
            "give the time when the dump was begun",
        ));
    }
    if options.down_since.is_some_and(|down| down < options.restored_to || down > now) {
        let cure = "give when the last worker stopped: after the dump, and before now";
        return Err(Failure::said("--down-since lies before the dump, or in the future", cure));
    }
    Ok(())
}

fn read(desk: &mut Desk, config: &Config, paths: &[PathBuf]) -> Result<Evidence, Failure> {
    let mut evidence = Evidence::default();
    let mut bad = 0_u64;
    for path in paths {
        let bar = files::progress(path);
        let from = bar.wrap_read(files::open(path)?);
        let name = files::name(path);
        let refused = |line, problem| {
            bad += 1;
            bar.suspend(|| desk.out.line(format!("{name} line {line}: {problem}")))
        };
        evidence.read(from, &Named(config), refused).map_err(|error| Failure::file(path, &error))?;
        bar.finish_and_clear();
    }
    if bad > 0 {
        desk.out.flush()?;
        let what = format!("{bad} lines cannot be read, and nothing was done");
        return Err(Failure::said(what, "mend them, or leave out files that are of another kind"));
    }
    Ok(evidence)
}

/// Refuses a ledger that is not what the caller takes it for; else places the hold.
async fn begin(store: &dyn Store, options: &Options, now: Timestamp) -> Result<RecoveryRow, Failure> {
    let down_since = options.down_since.and_then(|down| down.checked_add(options.margin).ok()).unwrap_or(now);
    let ask = RecoveryAsk {
        restored_to: options.restored_to,
        down_since,
        by: operator(),
        reason: format!(
            "restored from a dump of {}: look at what `outreachd recover` said, then release",
            options.restored_to
        ),
    };
    if let Some(row) = store.recovery(options.restored_to).await? {
        return if options.down_since.is_none_or(|_| is_same(&row, down_since)) {
            Ok(row)
        } else {
            let what = format!(
                "{} began this recovery with {} as the time after which nothing was sent, and what was due later is as it was",
                tame(&row.begun_by),
                row.down_since
            );
            let cure = "leave --down-since out to go on with it; had it to be another, restore the dump once more and give it the first time";
            Err(Failure::said(what, cure))
        };
    }
    let living =
        |rows: &[crate::store::rows::WorkerRow]| rows.iter().map(|w| (w.id, w.seen_at)).collect::<Vec<_>>();
    let before = living(&store.workers().await?);
    if !before.is_empty() {
        tokio::time::sleep(BEAT).await;
    }
    let after = living(&store.workers().await?);
    let alive = after.iter().filter(|seen| !before.contains(seen)).count();
    if alive > 0 {
        let what = format!("{alive} workers are running on this ledger");
        return Err(Failure::said(what, "stop them all (SIGTERM), and run this again before they start"));
    }
    let newest = store.last_trace().await?;
    let latest = options.restored_to.checked_add(options.margin).unwrap_or(Timestamp::MAX);
    if let Some(newest) = newest.filter(|newest| *newest > latest) {
        let what = format!("this ledger was written to at {newest}, after the dump");
        let cure = "give the time of the dump that was restored; had a worker run since, or `outreachd bounce` taken mail, restore again: \
            that worker may have sent what was sent before; hand that mail over again after this";
        return Err(Failure::said(what, cure));
    }
    Ok(store.begin_recovery(&ask).await?)
}

/// Whether a recovery was begun with that end. The ledger keeps microseconds; an end just before the recovery is "until now",
/// and so is a later one.
fn is_same(row: &RecoveryRow, down_since: Timestamp) -> bool {
    let until_now = |at: Timestamp| row.begun_at.duration_since(at) < SignedDuration::from_mins(1);
    down_since.as_microsecond() == row.down_since.as_microsecond()
        || (until_now(down_since) && until_now(row.down_since))
}

/// Whoever wrote to people with a plan of its own stands still until a person has looked.
async fn pause_campaigns(config: &Arc<Config>, store: Arc<dyn Store>) -> Result<Vec<CampaignId>, Failure> {
    let filter = CampaignFilter { open: true, limit: 1_000, ..CampaignFilter::default() };
    let all = store.campaigns(&filter).await?;
    let running: Vec<CampaignId> = all
        .into_iter()
        .filter(|c| matches!(c.state, CampaignState::Running | CampaignState::CanaryHold))
        .map(|c| c.plan.id)
        .collect();
    if running.is_empty() {
        return Ok(running);
    }
    let catalogue = Desk::catalogue(config)?;
    let gatekeeper = Gatekeeper::new(config.clone(), catalogue.clone());
    let office = Office { store, config: config.clone(), catalogue, gatekeeper, dispatcher: None };
    for id in &running {
        let paused = office.wish(id, &operator(), &CampaignWish::Pause).await;
        paused.map_err(|refused| {
            Failure::said(format!("campaign {id}: {refused}"), "pause it by hand, and run this again")
        })?;
    }
    Ok(running)
}

/// Puts stops on record again that were told as events, for whoever may have said them: the patient, and those who stand in.
/// Of what an event does not tell in full all that it can mean is left alone until somebody has asked.
async fn stop(store: &dyn Store, wishes: &[Wish], report: &mut Report) -> Result<(), Failure> {
    for wish in wishes {
        let Some(patient) = store.patient(&wish.patient).await? else {
            report.missing.push(wish.patient.to_string());
            continue;
        };
        if !matches!(wish.reach, Reach::One(_)) || !patient.proxies.is_empty() {
            report.ask.push(wish.patient.to_string());
        }
        let consents: Vec<AddressConsent> = contacts_behind(store, &patient, wish.reach)
            .await?
            .into_iter()
            .filter(|contact| wish.reach.covers(contact.channel))
            .map(|contact| AddressConsent {
                channel: contact.channel,
                address: contact.address,
                purpose: None,
                granted: false,
                at: wish.at,
                source: match wish.reach {
                    Reach::Everywhere => ConsentSource::Staff,
                    _ => ConsentSource::Patient,
                },
                by: Some("recover".to_owned()),
                evidence: Some(
                    "told as an event after the dump that the ledger was restored from".to_owned(),
                ),
            })
            .collect();
        let new = store.record_address_consents(&consents).await?;
        report.optouts += u64::from(new.contains(&true));
    }
    report.ask.sort_unstable();
    report.ask.dedup();
    Ok(())
}

/// The contacts of whoever may have said it: a page is the patient's own.
async fn contacts_behind(
    store: &dyn Store,
    patient: &Patient,
    reach: Reach,
) -> Result<Vec<Contact>, Failure> {
    if reach == Reach::Everywhere {
        return Ok(patient.contacts.clone());
    }
    let mut contacts: Vec<Contact> = patient.every_contact().cloned().collect();
    for proxy in &patient.proxies {
        if let ProxyPerson::Patient(id) = &proxy.person
            && let Some(person) = store.patient(id).await?
        {
            contacts.extend(person.contacts);
        }
    }
    Ok(contacts)
}

async fn testify(
    store: &dyn Store,
    evidence: &Evidence,
    restored_to: Timestamp,
    report: &mut Report,
) -> Result<(), Failure> {
    let witnesses = evidence.witnesses();
    let mut strange: Vec<MessageId> = Vec::new();
    for part in witnesses.chunks(500) {
        let heard = store.testify(part).await?;
        report.settled += heard.settled;
        report.known += heard.known;
        // What the ledger may have forgotten by itself, long before the dump, was not lost with it.
        let can_be_lost = |at: Timestamp| restored_to.duration_since(at) < config::span(LEAST_ROWS);
        strange.extend(heard.strange.into_iter().filter(|id| id.given_at().is_none_or(can_be_lost)));
    }
    let jobs = evidence.lost(&strange);
    report.nameless = u64::try_from(strange.len().saturating_sub(jobs.len())).unwrap_or_default();
    for part in jobs.chunks(500) {
        let lost = store.bury_lost(part).await?;
        report.lost_jobs.extend(part.iter().zip(lost).filter(|(_, lost)| *lost).map(|(job, _)| job.clone()));
    }
    Ok(())
}

async fn repeat(step: impl AsyncFn() -> crate::store::Result<u32>) -> Result<u64, Failure> {
    let mut total = 0;
    loop {
        match step().await? {
            0 => return Ok(total),
            more => total += u64::from(more),
        }
    }
}

fn tell(desk: &mut Desk, report: &Report) -> Result<(), Failure> {
    if desk.json {
        return Ok(desk.out.pretty(report)?);
    }
    let hold = report.hold.map(|id| id.to_string()).unwrap_or_default();
    for (count, what) in [
        (report.settled, "settled: the files say what became of them"),
        (report.known, "named by the files, and known already"),
        (
            report.unknown,
            "unknown: they may have been sent; receipts settle them, or a person (`outreachd work list`)",
        ),
        (report.due, "not sent, and due again"),
        (report.taken_over, "were in the hands of workers that are gone"),
        (report.optouts, "opt-outs on record again"),
        (report.optouts_refused, "rows of opt-outs refused"),
        (report.asked.iter().map(|one| one.replies).sum::<u64>(), "replies that providers list, on record"),
        (report.nameless, "left, and nothing is known of their jobs: ask their sources"),
    ] {
        if count > 0 {
            desk.out.line(format!("{count:>8}  {what}"))?;
        }
    }
    let jobs: Vec<String> = report.lost_jobs.iter().map(lost).collect();
    let campaigns: Vec<String> = report.campaigns_paused.iter().map(ToString::to_string).collect();
    let not_asked: Vec<String> = report.not_asked.iter().map(ToString::to_string).collect();
    for (list, what) in [
        (&jobs, "jobs came in after the dump and are gone; sources send them again"),
        (&campaigns, "campaigns are paused: resume each once it is known whom it has reached"),
        (
            &report.ask,
            "patients changed something on their page, or wrote what events do not tell in full: ask them; until then \
             nothing goes where they may not want it",
        ),
        (
            &report.missing,
            "patients said stop and are not in the directory: bring them in, then run this again",
        ),
        (&not_asked, "providers were not asked what patients have said since"),
    ] {
        if list.is_empty() {
            continue;
        }
        desk.out.line(format!("{:>8}  {what}", list.len()))?;
        for one in list.iter().take(SHOWN) {
            desk.out.line(format!("          {}", tame(one)))?;
        }
        if list.len() > SHOWN {
            desk.out.line("          ... (all of them with --json)")?;
        }
    }
    desk.out.line(format!(
        "everything is held; start the workers, and when all is looked at: outreachd release {hold}"
    ))?;
    Ok(())
}

fn lost(job: &LostJob) -> String {
    let then = if job.reason.is_some() {
        "was sent or taken back: refused when it comes again"
    } else {
        "was not sent"
    };
    format!("{}:{}  {then}", job.source, job.job_id)
}

/// The configured providers, as logs call them.
struct Named<'c>(&'c Config);

impl Providers for Named<'_> {
    fn find(&self, name: &str) -> Option<(ProviderName, Channel)> {
        let all = &self.0.providers;
        let one = all.iter().find(|p| p.name.as_str() == name);
        let one = one.or_else(|| all.iter().find(|p| p.settings.kind() == name))?;
        Some((one.name.clone(), one.settings.channel()))
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    crate::domain::reader::timestamp(text).map_err(|fault| format!("{}: {}", fault.rule, fault.cure))
}

fn span(text: &str) -> Result<SignedDuration, String> {
    let rule = "write a span such as 5m or 90s";
    text.parse::<SignedDuration>().ok().filter(|span| !span.is_negative()).ok_or_else(|| rule.to_owned())
}
