//! Stops that a person puts in place, and their end.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::auth::Caller;
use super::problem::{Answer, Fail, Kind};
use super::query::{flag, query};
use super::route::{Call, json as answer, to_the_end};
use crate::config::api::Scope;
use crate::domain::ids::{HoldId, ProviderName, SiteId, SourceName, TemplateName};
use crate::domain::problem::Problem;
use crate::domain::reader::{Fault, Fields, Slot, instant};
use crate::domain::words::{Channel, Purpose, Reason};
use crate::intake::holdable::{holdable, misspelled};
use crate::store::rows::{Hold, HoldRow, HoldScope, HoldState, HoldThen, OnRelease};

/// Characters of a hold's reason.
const REASON: usize = 200;
/// A hold that is placed for some minutes lasts so many at most: a year.
const LONGEST: u32 = 366 * 24 * 60;

/// `GET /v1/holds`.
pub(super) async fn list(call: Call) -> Answer {
    let mut holds = call.store().holds().await?;
    // What stops everybody concerns everybody; another source's holds do not.
    holds.retain(|row| row.hold.scope != HoldScope::Source || concerns(&call.caller, &row.hold));
    let mut told = json!({ "holds": holds });
    if let (true, Value::Object(fields)) = (flag(&call.uri, "known")?, &mut told) {
        fields.insert("known".to_owned(), known(&call).into());
    }
    answer(StatusCode::OK, &told)
}

/// What can be held, by scope, as far as it concerns the caller; a scope of which any name may come stands not among them.
fn known(call: &Call) -> Map<String, Value> {
    let parts = &call.shared.parts;
    let catalogue = parts.catalogue.current();
    let is_theirs =
        |scope: HoldScope, name: &String| match (scope, call.caller.sites(), call.caller.sources()) {
            (HoldScope::Site, Some(sites), _) => sites.iter().any(|site| site.as_str() == name),
            (HoldScope::Source, _, Some(sources)) => sources.iter().any(|source| source.as_str() == name),
            _ => true,
        };
    let of_scope = |scope: &HoldScope| {
        let mut names = holdable(*scope, &parts.config, Some(&catalogue))?;
        names.retain(|name| is_theirs(*scope, name));
        Some((scope.to_string(), json!(names)))
    };
    HoldScope::ALL.iter().filter_map(of_scope).collect()
}

/// What may stand in the query of `GET /v1/holds`, for its description.
pub(super) const KNOWN: &[(&str, &str)] = &[("known", "true: with `known`, what can be held, by scope")];

/// `POST /v1/holds`.
pub(super) async fn place(mut call: Call) -> Answer {
    let by = call.caller.name().to_owned();
    let store = call.store().clone();
    let now = store.ping().await?;
    let hold = call
        .form(|fields| {
            let (scope, value) = target(fields)?;
            let reason = fields.read("reason", |slot| slot.text(REASON)).unwrap_or_default();
            let until = end(fields, now);
            let on_release = fields.read("on_release", |slot| slot.word(OnRelease::ALL, OnRelease::as_str));
            let on_release = on_release.unwrap_or(OnRelease::Send);
            let id = HoldId::generate();
            let cause = Reason::OperatorHold;
            Some(Hold { id, scope, value, cause, reason, placed_by: by, placed_at: now, until, on_release })
        })
        .await?;
    if hold.until.is_some_and(|until| until <= now) {
        let cure = "give a later instant, or leave it out: then it lasts until it is released";
        return Err(Fail::invalid(vec![Problem::new("until", Reason::BadData, "has passed", cure)]));
    }
    if !may(&call.caller, &hold) {
        return Err(Fail::new(
            Kind::Forbidden,
            "you may hold your own sources or sites only, as your role allows: scope \"source\" or \"site\"",
        ));
    }
    let parts = &call.shared.parts;
    let catalogue = parts.catalogue.current();
    if let Some(cure) = misspelled(hold.scope, &hold.value, &parts.config, Some(&catalogue)) {
        let rule = format!("is the name of no {}: nothing would be stopped", hold.scope);
        return Err(Fail::invalid(vec![Problem::new("value", Reason::BadData, rule, cure)]));
    }
    call.note.say(format!("{} {} ({}): {}", hold.scope, hold.value, hold.id, hold.reason));
    let placed = HoldRow { hold: hold.clone(), state: HoldState::InForce, held: 0, asked_by: Vec::new() };
    to_the_end(async move { store.place_hold(&hold).await }).await??;
    answer(StatusCode::CREATED, &placed)
}

/// When a hold ends by itself: at an instant, or so many minutes from now by the ledger's clock, whatever the caller's says.
fn end(fields: &mut Fields<'_>, now: Timestamp) -> Option<Timestamp> {
    let until = fields.read("until", instant);
    let minutes = fields.read("minutes", |slot| slot.whole(1, LONGEST));
    if until.is_some() && minutes.is_some() {
        fields.refuse("minutes", Fault::malformed("two ends are given", "leave out until or minutes"));
    }
    until.or_else(|| now.checked_add(SignedDuration::from_mins(i64::from(minutes?))).ok())
}

/// What the end of a hold may say, for its description.
pub(super) const ENDS: &[(&str, &str)] =
    &[("then", "send or drop what it held, whatever the hold says; a hold in review needs it")];

/// `DELETE /v1/holds/{id}`: what it held goes as the hold says, or as `then` says.
pub(super) async fn release(call: Call) -> Answer {
    let missing = || Fail::not_found("hold in force");
    let id = HoldId(Uuid::try_parse(call.param("id")).map_err(|_| missing())?);
    let store = call.store().clone();
    let then = query(&call.uri, |fields| {
        Some(fields.read("then", |slot| slot.word(HoldThen::ALL, HoldThen::as_str)))
    })?;
    let row = store.holds().await?.into_iter().find(|row| row.hold.id == id).ok_or_else(missing)?;
    if row.state == HoldState::Review && then.is_none() {
        let rule = "is needed: the hold has ended, and what it held waits for a person's word";
        let problem = Problem::new("then", Reason::BadData, rule, "say `then=send` or `then=drop`");
        return Err(Fail::invalid(vec![problem]));
    }
    if row.hold.scope == HoldScope::Campaign {
        return Err(Fail::new(Kind::Conflict, "a campaign's hold ends with POST /v1/campaigns/{id}/resume"));
    }
    if !may(&call.caller, &row.hold) {
        return Err(Fail::new(Kind::Forbidden, "you may release holds of your own sources or sites only"));
    }
    let by = call.caller.name().to_owned();
    // A token of the source is the source.
    let is_source = call.caller.sources().is_some() && row.refuses(&row.hold.value, then);
    if is_source || row.refuses(&by, then) {
        let detail = "these emergencies wait for a second person: somebody else than whoever asked for them, and than \
                      their source, must release them; `then=drop` drops them";
        return Err(Fail::new(Kind::Forbidden, detail));
    }
    let intake = call.shared.parts.intake.clone();
    let released = to_the_end(async move {
        let released = store.release_hold(id, &by, then).await;
        intake.wake();
        released
    })
    .await??;
    if released { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(missing()) }
}

/// Whoever plans campaigns, or agrees to them, stops a site for which they do; and takes back that stop.
fn is_own_stop(caller: &Caller, hold: &Hold) -> bool {
    let in_sites = caller.sites().is_none_or(|sites| sites.iter().any(|site| site.as_str() == hold.value));
    hold.scope == HoldScope::Site && in_sites && hold.placed_by == caller.name()
}

/// Whether the caller may place or release it.
fn may(caller: &Caller, hold: &Hold) -> bool {
    if caller.allows(Scope::HoldsWrite) {
        return concerns(caller, hold);
    }
    caller.is_person() && is_own_stop(caller, hold)
}

/// What a caller that is bound to sources, or to sites, has to do with.
fn concerns(caller: &Caller, hold: &Hold) -> bool {
    if let Some(sites) = caller.sites() {
        return hold.scope == HoldScope::Site && sites.iter().any(|site| site.as_str() == hold.value);
    }
    caller.sources().is_none()
        || (hold.scope == HoldScope::Source
            && SourceName::parse(&hold.value).is_some_and(|source| caller.speaks_for(&source)))
}

/// The scope, and a value that has the form of one.
fn target(fields: &mut Fields<'_>) -> Option<(HoldScope, String)> {
    let scope = fields.need("scope", |slot| slot.word(HoldScope::ALL, HoldScope::as_str))?;
    if scope == HoldScope::All {
        if fields.gives("value") {
            let fault = Fault::malformed("must be left out", "the scope \"all\" needs no value");
            fields.refuse("value", fault);
            return None;
        }
        return Some((scope, String::new()));
    }
    let text = |slot: Slot<'_>| match scope {
        HoldScope::Source => slot.name(SourceName::parse, SourceName::RULE).map(|x| x.to_string()),
        HoldScope::Site => slot.name(SiteId::parse, SiteId::RULE).map(|x| x.to_string()),
        HoldScope::Template => slot.name(TemplateName::parse, TemplateName::RULE).map(|x| x.to_string()),
        HoldScope::Provider => slot.name(ProviderName::parse, ProviderName::RULE).map(|x| x.to_string()),
        HoldScope::Purpose => slot.word(Purpose::ALL, Purpose::as_str).map(|x| x.to_string()),
        HoldScope::Channel => slot.word(Channel::ALL, Channel::as_str).map(|x| x.to_string()),
        // Campaigns have a control of their own.
        HoldScope::Campaign => {
            let fault = Fault::malformed("a campaign is paused, not held", "POST /v1/campaigns/{id}/pause");
            slot.refuse(fault)
        }
        HoldScope::All => None,
    };
    Some((scope, fields.need("value", text)?))
}
