//! Campaigns: planned, looked at, agreed to, started, stopped, and what came of them.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::body::{self, Media, too_large};
use super::import::{PIECES, Pieces, feed};
use super::problem::{Answer, Fail, Kind};
use super::query::{flag, limit, query, truth};
use super::reports;
use super::route::{Call, json as answer, to_the_end};
use crate::campaign::{Brought, Office, Refusal, Refused, Sheet, Wish};
use crate::config::api::Scope;
use crate::domain::campaign::{FollowUp, Pace, Plan};
use crate::domain::ids::{CampaignId, PatientId, SourceName};
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::problem::Problem;
use crate::domain::reader::Slot;
use crate::domain::words::Reason;
use crate::intake::import::{Audience, Format, RefusedFile};
use crate::store::campaigns::{CampaignFilter, CampaignRow};

/// Refused rows that are listed; the others are counted.
const LISTED: usize = 1_000;
/// Patients that one request may name.
const PATIENTS: usize = 10_000;
/// Characters of a dry run's hash.
const HASH: usize = 64;

/// The filters of `GET /v1/campaigns`, for its description.
pub(super) const FILTERS: &[(&str, &str)] = &[
    ("source", "of this source"),
    ("open", "true: only those that are not over"),
    ("limit", "1 to 1000 (100)"),
];

/// What may stand in the query of an audience, for its description.
pub(super) const AUDIENCE: &[(&str, &str)] =
    &[("refused_file", "true: the refused rows as they came, as CSV to mend and send again, 1,000 at most")];

/// The filter of `GET /v1/campaigns/{id}/export`, for its description.
pub(super) const EXPORT: &[(&str, &str)] = &[("refused", "true: only those who could have no message")];

/// How `GET /v1/campaigns/{id}/report` may be asked, for its description.
pub(super) const REPORT: &[(&str, &str)] = &[(
    "soon",
    "true: as last counted, with `counted_seconds_ago`; `report` is null while the first count is under way",
)];

/// The filters of `GET /v1/campaigns/{id}/recipients`, for its description.
pub(super) const RECIPIENTS: &[(&str, &str)] = &[
    ("after", "the `ordinal` of the last row of the page before"),
    ("limit", "rows of a page, 1 to 1000 (100)"),
];

impl From<Refused> for Fail {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::not_found("campaign"),
            Refused::Not(problem) => Self::because(Kind::Conflict, problem),
            Refused::Invalid(problems) => Self::invalid(problems),
            Refused::Store(error) => error.into(),
        }
    }
}

fn office(call: &Call) -> Office {
    call.shared.parts.campaigns.clone()
}

/// A campaign writes to patients of whatever site.
fn of_every_site(call: &Call) -> Result<(), Fail> {
    call.caller.needs_every_site("campaigns write to patients of every site")
}

/// The campaign of the path, if it concerns the caller.
pub(super) async fn one(call: &Call) -> Result<CampaignRow, Fail> {
    let missing = || Fail::not_found("campaign");
    of_every_site(call)?;
    let id = CampaignId::parse(call.param("id")).ok_or_else(missing)?;
    let (row, _) = office(call).one(&id).await?;
    call.caller.speaks_for(&row.plan.source).then_some(row).ok_or_else(missing)
}

/// A campaign with its plan as it was asked, and how far it has come.
fn shown(office: &Office, row: &CampaignRow) -> Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.insert("size".to_owned(), row.size().into());
        map.insert("needs_approval".to_owned(), office.needs_approval(row).into());
    }
    value
}

/// `GET /v1/campaigns`: newest first.
pub(super) async fn list(call: Call) -> Answer {
    of_every_site(&call)?;
    let mut filter = query(&call.uri, |fields| {
        let source = fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE));
        let open = truth(fields, "open");
        Some(CampaignFilter { sources: source.into_iter().collect(), open, limit: limit(fields) })
    })?;
    let Some(sources) = call.caller.narrowed(std::mem::take(&mut filter.sources))? else {
        return answer(StatusCode::OK, &json!({"campaigns": []}));
    };
    filter.sources = sources;
    let office = office(&call);
    let rows = office.store.campaigns(&filter).await?;
    answer(
        StatusCode::OK,
        &json!({"campaigns": rows.iter().map(|row| shown(&office, row)).collect::<Vec<_>>()}),
    )
}

/// The plan of the body, if the caller may ask for it.
async fn plan(call: &mut Call) -> Result<Plan, Fail> {
    let bytes = call.bytes(MAX_JOB_BYTES).await?;
    let own = call.caller.sources().and_then(|sources| sources.first().cloned());
    let default = own.or_else(|| call.shared.parts.config.default_source().cloned());
    let plan = Plan::parse(&bytes, default.as_ref(), call.shared.parts.config.campaigns.canary)?;
    call.caller.must_speak_for(&plan.source)?;
    Ok(plan)
}

/// `POST /v1/campaigns`: a draft; where the plan has a query, with everybody whom it means.
pub(super) async fn create(mut call: Call) -> Answer {
    of_every_site(&call)?;
    let plan = plan(&mut call).await?;
    let (office, by, note) = (office(&call), call.caller.name().to_owned(), call.note.clone());
    let desk = office.clone();
    note.say(plan.id.to_string());
    let row = to_the_end(async move {
        office.create(&plan, &by).await?;
        note.begun();
        office.search(&plan, &by).await?;
        Ok::<_, Refused>(office.one(&plan.id).await?.0)
    })
    .await??;
    answer(StatusCode::CREATED, &shown(&desk, &row))
}

/// `GET /v1/campaigns/{id}`.
pub(super) async fn show(call: Call) -> Answer {
    let row = one(&call).await?;
    let office = office(&call);
    let due = office.store.due_of_campaign(&row.plan.id).await?;
    let mut value = shown(&office, &row);
    if let Value::Object(map) = &mut value {
        map.insert("due_now".to_owned(), due.into());
        map.insert("expected_end".to_owned(), json!(office.expected_end(&row).await?));
    }
    answer(StatusCode::OK, &value)
}

/// `POST /v1/campaigns/{id}/audience`: CSV, a workbook, or NDJSON, read as it comes in. The first rows are shown as they were
/// understood; to people masked, as everywhere.
pub(super) async fn audience(mut call: Call) -> Answer {
    let plan = one(&call).await?.plan;
    let wants_file = flag(&call.uri, "refused_file")?;
    let http = &call.shared.parts.config.http;
    let (limit, pause) = (http.max_import, http.request_timeout);
    if body::promised(&call.headers).is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let office = office(&call);
    let format = if call.media == Media::Ndjson { Format::Ndjson } else { Format::Csv };
    let options = office.audience_options(&plan, Some(format));
    let (to_reader, pieces) = mpsc::channel(PIECES);
    let (to_ledger, mut batches) = mpsc::channel(1);
    let (tell_columns, columns) = oneshot::channel();
    let feeding = tokio::spawn(feed(call.take_body(), limit, pause, to_reader));
    let reading = tokio::task::spawn_blocking(move || {
        let rows = Audience::open(Pieces { pieces, rest: Bytes::new() }, options)?;
        let _nobody_may_wait = tell_columns.send(rows.columns());
        Ok(Office::read_rows(rows, &to_ledger))
    });
    let mut tally = Brought::default();
    let mut refusals = Refusals::begin(wants_file.then_some(columns)).await?;
    while let Some(batch) = batches.recv().await {
        call.note.begun();
        for row in office.bring(&plan, batch, &mut tally, call.caller.name()).await? {
            refusals.add(row)?;
        }
    }
    let lost = |_| Fail::new(Kind::Internal, "the log of this program says more");
    let read = reading.await.map_err(lost)?;
    feeding.await.map_err(lost)??;
    let mut first = read.map_err(Fail::invalid)?;
    if call.caller.is_person() {
        first = first.masked();
    }
    call.note.say(format!("{} added, {} refused", tally.added, tally.refused));
    let (listed, file) = refusals.finish()?;
    let mut told = json!({"read": tally.read, "added": tally.added, "changed": tally.changed, "known": tally.known,
        "refused": tally.refused, "refusals": listed, "first_rows": first});
    if let (Some(file), Value::Object(told)) = (file, &mut told) {
        told.insert("refused_file".to_owned(), file.into());
    }
    answer(StatusCode::OK, &told)
}

/// The refused rows of an audience, as far as they are listed.
struct Refusals {
    listed: Vec<Value>,
    file: Option<RefusedFile<Vec<u8>>>,
}

impl Refusals {
    /// With a file, where its columns are to come.
    async fn begin(columns: Option<oneshot::Receiver<Vec<String>>>) -> Result<Self, Fail> {
        // A file that cannot be read as a whole has no columns; why is told by whoever read it.
        let columns = match columns {
            Some(columns) => columns.await.ok(),
            None => None,
        };
        let file = columns.map(|columns| RefusedFile::new(Vec::new(), &columns)).transpose();
        Ok(Self { listed: Vec::new(), file: file.map_err(unwritten)? })
    }

    fn add(&mut self, row: Refusal) -> Result<(), Fail> {
        if self.listed.len() < LISTED {
            if let Some(file) = &mut self.file {
                file.write(&row).map_err(unwritten)?;
            }
            self.listed.push(json!({"line": row.line, "errors": row.result.err()}));
        }
        Ok(())
    }

    fn finish(self) -> Result<(Vec<Value>, Option<String>), Fail> {
        let written = self.file.map(RefusedFile::finish).transpose().map_err(unwritten)?;
        Ok((self.listed, written.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
    }
}

fn unwritten(_: std::io::Error) -> Fail {
    Fail::new(Kind::Internal, "the table could not be written")
}

/// `POST /v1/campaigns/{id}/dry-run`. The samples say what stands in the rows: people say why they read them.
pub(super) async fn dry_run(mut call: Call) -> Answer {
    call.form(|_| Some(())).await?;
    let row = one(&call).await?;
    let mut forecast = office(&call).dry_run(&row.plan.id).await?;
    if call.caller.is_person() {
        forecast.mask();
    }
    answer(StatusCode::OK, &forecast)
}

async fn act(call: &Call, wish: Wish) -> Answer {
    let (id, office, by) = (one(call).await?.plan.id, office(call), call.caller.name().to_owned());
    let desk = office.clone();
    let row = to_the_end(async move { office.wish(&id, &by, &wish).await }).await??;
    answer(StatusCode::OK, &shown(&desk, &row))
}

/// `POST /v1/campaigns/{id}/approve`: with the number of recipients, as the approver has read it. What needs another
/// person's word needs somebody whose office that is; the canary of a small campaign may be looked at by its own people.
pub(super) async fn approve(mut call: Call) -> Answer {
    let (count, seen) = call
        .form(|fields| {
            let count = fields.need("recipients", |slot| slot.whole(0, u32::MAX));
            let seen = fields.read("hash", |slot| slot.text(HASH));
            Some((count?, seen))
        })
        .await?;
    if office(&call).needs_approval(&one(&call).await?) && !call.caller.allows(Scope::CampaignsApprove) {
        let why = "this campaign needs somebody with the scope campaigns:approve, such as an approver";
        return Err(Fail::new(Kind::Forbidden, why));
    }
    call.note.say(format!("{count} recipients"));
    act(&call, Wish::Approve(u64::from(count), seen)).await
}

/// `POST /v1/campaigns/{id}/start`, `pause`, `resume` and `cancel`.
pub(super) async fn command(mut call: Call, wish: Wish) -> Answer {
    call.form(|_| Some(())).await?;
    act(&call, wish).await
}

/// `POST /v1/campaigns/{id}/pace`: an empty object takes the pace away.
pub(super) async fn pace(mut call: Call) -> Answer {
    let map = call.object().await?;
    let pace = if map.is_empty() { None } else { Some(Pace::parse(Value::Object(map))?) };
    act(&call, Wish::Pace(pace)).await
}

/// `POST /v1/campaigns/{id}/done`: those have booked, or need nothing for another reason.
pub(super) async fn done(mut call: Call) -> Answer {
    let patients = call
        .form(|fields| {
            fields.need("patient_ids", |slot| {
                slot.list(PATIENTS, |slot: Slot<'_>| slot.name(PatientId::parse, PatientId::RULE))
            })
        })
        .await?;
    let (id, office) = (one(&call).await?.plan.id, office(&call));
    let left_out = to_the_end(async move { office.done(&id, &patients).await }).await??;
    answer(StatusCode::OK, &json!({"left_out": left_out}))
}

/// `GET /v1/campaigns/{id}/report`.
pub(super) async fn report(call: Call) -> Answer {
    let row = one(&call).await?;
    let office = office(&call);
    if flag(&call.uri, "soon")? {
        let (report, age) = reports::soon(&call.shared, &row.plan.id).await.unzip();
        let age = age.map(|age| age.as_secs());
        let told = json!({"campaign": shown(&office, &row), "report": report, "counted_seconds_ago": age});
        return answer(StatusCode::OK, &told);
    }
    let report = office.store.campaign_report(&row.plan.id).await?;
    answer(StatusCode::OK, &json!({"campaign": shown(&office, &row), "report": report}))
}

/// `GET /v1/campaigns/{id}/recipients`: ids and words, a page at a time.
pub(super) async fn recipients(call: Call) -> Answer {
    let row = one(&call).await?;
    let (after, limit) = query(&call.uri, |fields| {
        let after =
            fields.read("after", |slot| slot.name(|text| text.parse::<u64>().ok(), "the ordinal of a row"));
        Some((after.unwrap_or(0), limit(fields)))
    })?;
    let rows = office(&call).store.recipients(&row.plan.id, after, limit).await?;
    answer(StatusCode::OK, &json!({"recipients": rows}))
}

/// `GET /v1/campaigns/{id}/export`: the whole audience as CSV, written as it is read.
pub(super) async fn export(call: Call) -> Answer {
    let id = one(&call).await?.plan.id;
    let refused = flag(&call.uri, "refused")?;
    let sheet = Sheet { office: office(&call), id: id.clone(), refused };
    let pages = unfold((sheet, Some(0)), |(sheet, after)| async move {
        let page = sheet.page(after?).await;
        // A fault cuts the answer off, so that nobody takes a part for the whole.
        let next = page.as_ref().ok().and_then(|page| page.next);
        let bytes = page.map(|page| Bytes::from(page.csv)).map_err(std::io::Error::other);
        Some((bytes, (sheet, next)))
    });
    let head = [(CONTENT_TYPE, "text/csv; charset=utf-8")];
    let mut response = (head, Body::from_stream(pages)).into_response();
    let name = HeaderValue::from_str(&format!("attachment; filename=\"campaign-{id}.csv\""))
        .map_err(|_| Fail::new(Kind::Internal, "the campaign's name cannot stand in a header"))?;
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

/// `POST /v1/campaigns/{id}/retry-failed`, `retry-unanswered` and `correct`: a new campaign, by the plan in the body.
pub(super) async fn follow(mut call: Call, kind: FollowUp) -> Answer {
    let parent = one(&call).await?.plan;
    let plan = plan(&mut call).await?;
    if plan.source != parent.source {
        let cure = "leave it out, or name that one";
        let problem = Problem::new("source", Reason::SourceNotAllowed, "is not the first campaign's", cure);
        return Err(Fail::invalid(vec![problem]));
    }
    let (office, by) = (office(&call), call.caller.name().to_owned());
    let desk = office.clone();
    let row = to_the_end(async move { office.follow(&parent.id, kind, plan, &by).await }).await??;
    answer(StatusCode::CREATED, &shown(&desk, &row))
}
