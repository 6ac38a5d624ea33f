//! `outreachd demo --tour`: one message for each reason for which a message can be where it is, brought about on the
//! real parts and explained.

mod cast;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::house::SOURCE;
use super::{folder, house, texts};
use crate::app::{self, Worker};
use crate::campaign::{Office, Refused, Wish};
use crate::cli::{Desk, Failure, simulate};
use crate::dispatch::explain;
use crate::domain::campaign::{Plan, RecipientBody};
use crate::domain::ids::{CampaignId, HoldId, JobId, MessageId, PatientId, SendKey, SourceName};
use crate::domain::phi::Phi;
use crate::domain::receipt::{Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::status::MessageStatus;
use crate::domain::words::Reason;
use crate::intake::gatekeeper::Arrival;
use crate::intake::{Incoming, Outcome};
use crate::policy::reply::{More, read_mail};
use crate::simulator::{Faults, Outage, ProviderKind, Simulator};
use crate::store::Store;
use crate::store::campaigns::NewRecipient;
use crate::store::rows::{CancelOutcome, Hold, HoldScope, MessageFilter, MessageRow, OnRelease, ReplyAsk};
use cast::{Cast, NOT_SHOWN, Proof, Scene, Step};

/// Who does what people do.
const TOUR: &str = "tour";
/// How long one scene may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the ledger is asked how a message stands.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run(desk: &mut Desk) -> Result<(), Failure> {
    let home = house::Home::make().map_err(|error| folder(&error))?;
    let templates = texts::with(home.path(), stage::TEXTS).map_err(|error| folder(&error))?;
    let listen = stage::free_address().map_err(|error| folder(&error))?;
    let simulator =
        Simulator::start(stage::simulator(listen)).await.map_err(|error| simulate::failure(&error))?;
    let providers = simulator.providers("demo").map_err(|error| simulate::failure(&error))?;
    let config = Arc::new(stage::config(&home, &templates, listen, providers)?);
    let store = Desk::store_or_new(&config).await?;
    store.migrate().await?;
    let catalogue = app::load_catalogue(&templates)?;
    let worker = Worker::start(config.clone(), store.clone(), catalogue.clone()).await?;
    let gatekeeper = worker.intake.gatekeeper.clone();
    let office = Office { store, config, catalogue, gatekeeper, dispatcher: None };
    let played = play(&office, &worker, &simulator).await;
    worker.stop().await;
    // The counts of the simulator are not what is shown.
    let _ = simulator.shutdown().await;
    show(desk, &played?)
}

/// A reason that was come to, as people read it, and as programs do.
struct Shown {
    reason: Option<Reason>,
    why: &'static str,
    /// `None`: it was not come to.
    story: Option<(String, Value)>,
}

impl Shown {
    fn name(&self) -> &'static str {
        self.reason.map_or(cast::PLAN, Reason::as_str)
    }
}

async fn play(office: &Office, worker: &Worker, simulator: &Simulator) -> Result<Vec<Shown>, Failure> {
    let store = office.store.as_ref();
    let cast = Cast { now: store.ping().await? };
    let stage = Stage { store, office, worker, now: cast.now };
    simulator.set_outage(Some(ProviderKind::FhirPortal), Outage::Unavailable);
    let mut shown = Vec::new();
    for scene in join_all(cast.first_act().into_iter().map(|scene| stage.play(scene))).await {
        shown.push(scene?);
    }
    let lost = Faults { error: 1.0, ..Faults::default() };
    simulator
        .set_faults(Some(ProviderKind::TwilioVoice), &lost)
        .map_err(|error| simulate::failure(&error))?;
    for scene in cast.second_act() {
        shown.push(stage.play(scene).await?);
    }
    shown.sort_by_key(|shown| (shown.reason.is_none(), shown.reason));
    Ok(shown)
}

/// What scenes are played on.
struct Stage<'a> {
    store: &'a dyn Store,
    /// Where campaigns are looked after.
    office: &'a Office,
    worker: &'a Worker,
    now: Timestamp,
}

impl Stage<'_> {
    async fn play(&self, scene: Scene) -> Result<Shown, Failure> {
        let mut last = None;
        for step in scene.steps {
            match step {
                Step::Bring(bodies) => last = self.bring(bodies).await?,
                Step::Left(job) => {
                    self.until(job, |row| is_out(row.status)).await?;
                }
                Step::HoldSite(site) => self.hold(site).await?,
                Step::CameBack(job, why) => self.came_back(job, why).await?,
                Step::Complained(job) => self.complained(job).await?,
                Step::Campaign(plan, people) => self.campaign(&plan, &people).await?,
                Step::Written(job) => {
                    self.until(job, |_| true).await?;
                }
                Step::Pause(campaign) => self.wish(campaign, &Wish::Pause).await?,
                Step::Done(campaign, patient) => {
                    if let (Some(campaign), Some(patient)) =
                        (CampaignId::parse(campaign), PatientId::parse(&patient))
                    {
                        self.office.done(&campaign, &[patient]).await.map_err(|error| refused(&error))?;
                    }
                }
            }
        }
        let story = match scene.proof {
            Proof::Message { job, status } => {
                let found = self.until(job, |row| row.status == status && row.reason == scene.reason);
                let found = found.await?;
                if status == MessageStatus::Failed || scene.reason.is_some_and(Reason::asks_for_people) {
                    self.story_with(found, "work.opened").await?
                } else {
                    self.story(found).await?
                }
            }
            Proof::Step { job, channel } => {
                let sent = |row: &MessageRow| row.step > 1 && row.status == MessageStatus::Sent;
                let found = self.until(job, |row| sent(row) && row.channel == Some(channel));
                self.story(found.await?).await?
            }
            Proof::Told { job, key } => {
                let story = match self.until(job, |_| true).await? {
                    Some(row) => Some(self.explained(row.facts.id).await?),
                    None => None,
                };
                story.filter(|(text, _)| text.contains(key))
            }
            Proof::Answer => match scene.reason {
                Some(reason) => self.answered(reason, last).await?,
                None => None,
            },
        };
        Ok(Shown { reason: scene.reason, why: scene.why, story })
    }

    /// Everything goes in as it would by the queue; answers the last outcome.
    async fn bring(&self, bodies: Vec<(&'static str, String)>) -> Result<Option<Outcome>, Failure> {
        let incoming = bodies.into_iter().map(|(key, body)| Incoming {
            body: body.into_bytes(),
            arrival: Arrival { origin: "jobs".to_owned(), ..Arrival::default() },
            key: Some(key.to_owned()),
            redelivered: false,
            park: true,
        });
        Ok(self.worker.intake.submit(incoming.collect()).await?.pop())
    }

    async fn hold(&self, site: &str) -> Result<(), Failure> {
        let hold = Hold {
            id: HoldId::generate(),
            scope: HoldScope::Site,
            value: site.to_owned(),
            cause: Reason::OperatorHold,
            reason: "the visit plan is being checked".to_owned(),
            placed_by: TOUR.to_owned(),
            placed_at: self.now,
            until: None,
            on_release: OnRelease::Send,
        };
        Ok(self.store.place_hold(&hold).await?)
    }

    /// A mail server's report, as it is understood once it was read.
    async fn came_back(
        &self,
        job: &'static str,
        why: crate::domain::failure::Failure,
    ) -> Result<(), Failure> {
        let Some(row) = self.until(job, |row| row.status == MessageStatus::Sent).await? else {
            return Ok(());
        };
        let Some(attempt) = self.store.attempts(row.facts.id).await?.pop() else { return Ok(()) };
        let receipt = Receipt {
            provider: attempt.provider,
            key: SendKey { message: row.facts.id, step: attempt.step },
            reference: None,
            said: Said::Undelivered(why),
            code: Some("5.2.2".to_owned()),
            named: Vec::new(),
        };
        self.store.receive(&[receipt]).await?;
        Ok(())
    }

    /// A report of the recipient's mail provider, as it is understood once it was read.
    async fn complained(&self, job: &'static str) -> Result<(), Failure> {
        let Some(row) = self.until(job, |row| row.status == MessageStatus::Sent).await? else {
            return Ok(());
        };
        let Some(attempt) = self.store.attempts(row.facts.id).await?.pop() else { return Ok(()) };
        let keyword = Some(Keyword::Complaint);
        let reply = Reply {
            provider: attempt.provider,
            channel: attempt.channel,
            reference: format!("complaint-{}", attempt.id),
            from: attempt.address,
            about: Some(SendKey { message: row.facts.id, step: attempt.step }),
            text: Phi::new(""),
            thread: None,
            keyword,
        };
        let meaning = read_mail("", keyword, &More::default());
        self.store
            .reply(&ReplyAsk { reply, meaning, opt_in: Vec::new(), stops_all_from: None, said_at: None })
            .await?;
        Ok(())
    }

    /// On record, with its audience, and under way.
    async fn campaign(&self, plan: &Value, people: &[String]) -> Result<(), Failure> {
        let plan = Plan::parse(plan.to_string().as_bytes(), SourceName::parse(SOURCE).as_ref(), 0)
            .map_err(Failure::Input)?;
        self.office.create(&plan, TOUR).await.map_err(|error| refused(&error))?;
        let rows: Vec<NewRecipient> = (1_u64..)
            .zip(people.iter().filter_map(|id| PatientId::parse(id)))
            .map(|(ordinal, patient)| NewRecipient {
                ordinal,
                patient,
                body: RecipientBody::default(),
                place: None,
            })
            .collect();
        self.store.add_recipients(&plan.id, &rows, TOUR).await?;
        self.wish(plan.id.as_str(), &Wish::Start).await
    }

    async fn wish(&self, campaign: &str, wish: &Wish) -> Result<(), Failure> {
        if let Some(campaign) = CampaignId::parse(campaign) {
            self.office.wish(&campaign, TOUR, wish).await.map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    /// The message of a job, once it stands so; `None`: it never does.
    async fn until(
        &self,
        job: &'static str,
        stands: impl Fn(&MessageRow) -> bool,
    ) -> Result<Option<MessageRow>, Failure> {
        let filter = MessageFilter {
            job_ids: JobId::parse(job).into_iter().collect(),
            limit: 1,
            ..MessageFilter::default()
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let row = self.store.messages(&filter).await?.pop();
            if let Some(row) = row.filter(&stands) {
                return Ok(Some(row));
            }
            if Instant::now() > end {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn story(&self, found: Option<MessageRow>) -> Result<Option<(String, Value)>, Failure> {
        match found {
            Some(row) => Ok(Some(self.explained(row.facts.id).await?)),
            None => Ok(None),
        }
    }

    /// The same, once it tells that people are called: a sweep tells it.
    async fn story_with(
        &self,
        found: Option<MessageRow>,
        key: &str,
    ) -> Result<Option<(String, Value)>, Failure> {
        let Some(row) = found else { return Ok(None) };
        let end = Instant::now() + PATIENCE;
        loop {
            let story = self.explained(row.facts.id).await?;
            if story.0.contains(key) || Instant::now() > end {
                return Ok(Some(story).filter(|(text, _)| text.contains(key)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn explained(&self, id: MessageId) -> Result<(String, Value), Failure> {
        let gone = || Failure::said("a message of the tour is gone", "report this");
        let explained = explain(self.store, id).await?.ok_or_else(gone)?;
        let value = serde_json::to_value(&explained).map_err(|_| gone())?;
        Ok((explained.to_text(), value))
    }

    /// What the caller was told, where that is the reason.
    async fn answered(
        &self,
        reason: Reason,
        last: Option<Outcome>,
    ) -> Result<Option<(String, Value)>, Failure> {
        match (reason, last) {
            (_, Some(Outcome::Refused { problems, .. }))
                if problems.first().is_some_and(|p| p.reason == reason) =>
            {
                let lines: Vec<String> = problems.iter().map(|p| format!("refused  {p}\n")).collect();
                Ok(Some((lines.concat(), json!({ "problems": problems }))))
            }
            (Reason::Duplicate, Some(Outcome::Duplicate(id))) => {
                Ok(Some((format!("accepted before, as message {id}\n"), json!({ "message_id": id }))))
            }
            (Reason::TooLate, Some(Outcome::Cancel(CancelOutcome::TooLate(ids)))) => {
                let Some(id) = ids.first() else { return Ok(None) };
                let (text, value) = self.explained(*id).await?;
                Ok(Some((format!("cancel   too late; the status stays\n{text}"), value)))
            }
            _ => Ok(None),
        }
    }
}

fn refused(error: &Refused) -> Failure {
    Failure::said(error, "report this")
}

/// It has left, and nothing more is heard.
const fn is_out(status: MessageStatus) -> bool {
    matches!(status, MessageStatus::Delivered | MessageStatus::Read)
}

fn show(desk: &mut Desk, shown: &[Shown]) -> Result<(), Failure> {
    let missing: Vec<&str> = shown.iter().filter(|s| s.story.is_none()).map(Shown::name).collect();
    if desk.json {
        let reasons: Vec<Value> = shown
            .iter()
            .map(|s| {
                json!({ "reason": s.name(), "why": s.why, "text": s.story.as_ref().map(|(text, _)| text),
                "explained": s.story.as_ref().map(|(_, value)| value) })
            })
            .collect();
        let not_shown: Vec<Value> =
            NOT_SHOWN.iter().map(|(reason, why)| json!({ "reason": reason, "why": why })).collect();
        desk.out.pretty(&json!({
            "ok": missing.is_empty(), "reasons": reasons, "missing": missing, "not_shown": not_shown,
        }))?;
    } else {
        for stop in shown {
            let title = desk.out.strong(stop.name());
            desk.out.line(format!("{title}: {}\n", stop.why))?;
            let text = stop.story.as_ref().map_or("it was not come to\n", |(text, _)| text);
            desk.out.line(text.lines().map(|line| format!("    {line}\n")).collect::<String>())?;
        }
        for (reason, why) in NOT_SHOWN {
            desk.out.line(format!("not shown: {reason} ({why})"))?;
        }
        let seen = shown.len() - missing.len();
        desk.out.line(format!("{seen} of {} stops were come to", shown.len()))?;
    }
    desk.out.flush()?;
    if missing.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}
