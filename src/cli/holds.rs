//! `outreachd hold`, `holds`, `release`: a person stops something, and lets it go again.

use clap::Args;
use jiff::Timestamp;

use super::args::{self, Until};
use super::audit::record;
use super::out::{Table, or_dash, tame};
use super::{Desk, Failure, operator};
use crate::domain::ids::HoldId;
use crate::domain::words::{Channel, Purpose, Reason};
use crate::intake::holdable::misspelled;
use crate::store::rows::{Hold, HoldScope, HoldState, HoldThen, OnRelease};

/// Stops sending within two seconds on every worker. What is held stays in the ledger; what is on the wire is not
/// called back.
///
/// `outreachd release ID` ends it, or the time given with --until.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outreachd hold all --reason \"wrong text went out\"\n  \
    outreachd hold template appointment-reminder --until 2h --on-release review --reason \"clinic closed\"")]
pub(super) struct HoldOptions {
    /// all, source, site, template, purpose, channel or provider
    #[arg(value_parser = args::scope)]
    scope: HoldScope,
    /// Which one; left out for `all`
    #[arg(required_if_eq_any = [
        ("scope", "source"), ("scope", "site"), ("scope", "template"), ("scope", "purpose"),
        ("scope", "channel"), ("scope", "provider"),
    ])]
    value: Option<String>,
    /// Why, for the record and for colleagues; no names of patients
    #[arg(long)]
    reason: String,
    /// When it ends by itself: an instant with its offset, or a span such as 2h
    #[arg(long, value_parser = args::until)]
    until: Option<Until>,
    /// What becomes of the held messages at its end: `send`, `expire`, or `review` (they wait until a person says)
    #[arg(long, value_parser = args::on_release, default_value = "send")]
    on_release: OnRelease,
}

/// Lists the holds in force, and those that have ended and whose messages wait for your word.
///
/// THEN is what becomes of what a hold holds when it ends: it is sent, it expires, or it waits for review.
/// `outreachd release ID` ends one, or answers for what waits.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outreachd holds")]
pub(super) struct ListOptions {}

/// Ends a hold. What it held goes as the hold says (`outreachd holds`, column THEN), or as you say here.
///
/// Where the hold has ended already and its messages wait for review, say --send or --drop.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outreachd release 0196f3c0-0000-7000-8000-000000000001\n  \
    outreachd release 0196f3c0-0000-7000-8000-000000000001 --drop")]
pub(super) struct ReleaseOptions {
    /// The hold's id, as `outreachd holds` shows it
    #[arg(value_parser = args::hold)]
    id: HoldId,
    /// What it held goes out, as far as it is still allowed and not expired
    #[arg(long, conflicts_with = "drop")]
    send: bool,
    /// What it held is dropped: those messages end as expired
    #[arg(long)]
    drop: bool,
}

impl ReleaseOptions {
    fn then(&self) -> Option<HoldThen> {
        match (self.send, self.drop) {
            (true, _) => Some(HoldThen::Send),
            (_, true) => Some(HoldThen::Drop),
            _ => None,
        }
    }
}

pub(super) async fn hold(desk: &mut Desk, options: HoldOptions) -> Result<(), Failure> {
    let value = checked(options.scope, options.value.unwrap_or_default())?;
    let config = desk.config()?;
    // A broken folder of templates is no reason to let a wrong text go out: then any name is taken.
    let catalogue = if options.scope == HoldScope::Template { Desk::catalogue(&config).ok() } else { None };
    let catalogue = catalogue.map(|shared| shared.current());
    if let Some(cure) = misspelled(options.scope, &value, &config, catalogue.as_deref()) {
        let what = format!("there is no {} of that name: nothing would be stopped", options.scope);
        return Err(Failure::said(what, cure));
    }
    let store = Desk::store(&config).await?;
    let now = store.ping().await?;
    let hold = Hold {
        id: HoldId::generate(),
        scope: options.scope,
        value,
        cause: Reason::OperatorHold,
        reason: tame(&options.reason),
        placed_by: operator(),
        placed_at: now,
        until: until(options.until, now)?,
        on_release: options.on_release,
    };
    store.place_hold(&hold).await?;
    let told = format!("{} {}: {}", hold.scope, hold.value, hold.reason);
    record(store.as_ref(), "hold.place", hold.id, &told).await?;
    if desk.json {
        return Ok(desk.out.pretty(&hold)?);
    }
    let what = if hold.value.is_empty() {
        "everything".to_owned()
    } else {
        format!("{} {}", hold.scope, hold.value)
    };
    desk.out.line(format!("holding {what} until {}", or_dash_until(hold.until)))?;
    Ok(desk.out.line(format!("end it with: outreachd release {}", hold.id))?)
}

pub(super) async fn list(desk: &mut Desk) -> Result<(), Failure> {
    let config = desk.config()?;
    let holds = Desk::store(&config).await?.holds().await?;
    if desk.json {
        return Ok(holds.iter().try_for_each(|hold| desk.out.json(hold))?);
    }
    if holds.is_empty() {
        return Ok(desk.out.line("nothing is held")?);
    }
    let mut table = Table::new(&["id", "scope", "value", "until", "then", "held", "placed by", "reason"]);
    for row in &holds {
        let hold = &row.hold;
        table.row([
            hold.id.to_string(),
            hold.scope.to_string(),
            or_dash(Some(&hold.value).filter(|v| !v.is_empty())),
            match row.state {
                HoldState::InForce => or_dash_until(hold.until),
                HoldState::Review => "ended".to_owned(),
            },
            match row.state {
                HoldState::InForce => hold.on_release.to_string(),
                HoldState::Review => "waits: --send or --drop".to_owned(),
            },
            row.held.to_string(),
            tame(&hold.placed_by),
            tame(&hold.reason),
        ]);
    }
    Ok(table.write(&mut desk.out)?)
}

pub(super) async fn release(desk: &mut Desk, options: &ReleaseOptions) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let missing = || {
        let what = format!("no hold {} is in force, and none of that id waits for review", options.id);
        Failure::said(what, "look at `outreachd holds`")
    };
    let row = store.holds().await?.into_iter().find(|row| row.hold.id == options.id).ok_or_else(missing)?;
    if row.hold.scope == HoldScope::Campaign {
        let cure = format!("use `outreachd campaign resume {}`", row.hold.value);
        return Err(Failure::said("this hold belongs to a campaign", cure));
    }
    let then = options.then();
    if row.state == HoldState::Review && then.is_none() {
        let what = format!("the hold has ended, and {} messages wait for your word", row.held);
        return Err(Failure::said(what, "say --send or --drop"));
    }
    if row.refuses(&operator(), then) {
        let what = "these emergencies wait for a second person, and you asked for them";
        return Err(Failure::said(what, "let somebody else release them, or drop them with --drop"));
    }
    if !store.release_hold(options.id, &operator(), then).await? {
        return Err(missing());
    }
    record(store.as_ref(), "hold.release", options.id, "").await?;
    let end = match (then, row.hold.on_release) {
        (Some(HoldThen::Send), _) | (None, OnRelease::Send) => {
            "go out as far as they are still allowed".to_owned()
        }
        (Some(HoldThen::Drop), _) | (None, OnRelease::Expire) => "are dropped".to_owned(),
        (None, OnRelease::Review) => {
            format!("wait for your word: outreachd release {} --send, or --drop", options.id)
        }
    };
    Ok(desk.out.line(format!("released; the {} messages it held {end}", row.held))?)
}

fn or_dash_until(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "released".to_owned(), |until| until.to_string())
}

fn until(until: Option<Until>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let at = until.map(|until| until.after(now));
    match at {
        Some(at) if at <= now => Err(Failure::said("--until has passed", "give a later instant")),
        at => Ok(at),
    }
}

/// The value has the form of one.
fn checked(scope: HoldScope, value: String) -> Result<String, Failure> {
    let slug = |text: &str| crate::domain::ids::SourceName::parse(text).is_some();
    let one_of = |words: Vec<&str>| Some(format!("use one of: {}", words.join(", ")));
    let mut cure = None;
    let (good, rule) = match scope {
        HoldScope::All => (value.is_empty(), "`all` takes no value"),
        HoldScope::Purpose => {
            cure = one_of(Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect());
            (Purpose::from_word(&value).is_some(), "there is no such purpose")
        }
        HoldScope::Channel => {
            cure = one_of(Channel::ALL.iter().map(|channel| channel.as_str()).collect());
            (Channel::from_word(&value).is_some(), "there is no such channel")
        }
        HoldScope::Source | HoldScope::Site | HoldScope::Template | HoldScope::Provider => {
            (slug(&value), "the value must be 1 to 64 of a-z 0-9 _ -")
        }
        // Campaigns have a control of their own.
        HoldScope::Campaign => (false, "a campaign is paused, not held: outreachd campaign pause ID"),
    };
    if good {
        return Ok(value);
    }
    Err(Failure::said(rule, cure.unwrap_or_else(|| "see `outreachd hold --help`".to_owned())))
}
