//! What comes back from providers: verify, read, find the attempt, settle it, move the message, tell it.
//!
//! ```text
//! webhook -> Provider::hear      is it the provider, and what does it say?       403, or 404 where there is none
//!         -> Desk (here)         receipts of a moment go to the ledger together
//!         -> Receipts::receive   which attempt; does it rise; what follows       one transaction
//!         -> later.rs            where the ledger is away: sealed, on the disk   503 where the spool is full
//!         -> 2xx                 only now: what is heard is not lost any more
//! ```
//!
//! A receipt may come before the answer to the send that it is about, long after it, twice, or out of order: an attempt
//! keeps the furthest progress ([`crate::domain::status::AttemptStatus`]), and what follows from a status happens once,
//! when it is reached. What did not arrive is due again at its next route, or has failed with its reason; what nobody
//! knew of is known. A machine that takes a call is told what may be left on it.
//!
//! Mail that comes back is handed over by a mail server (`mailbox/`, `outreachd bounce`) and goes the same way,
//! by `Provider::hear_mail`.
//!
//! What patients send back comes in by the same door: `replies.rs` has it read ([`crate::policy::reply`]), written
//! ([`crate::store::Replies::reply`]), and answered with one of the fixed texts, once: in the answer to the webhook, or, where
//! they have written a mail, by one of ours, which `by_mail.rs` words and dispatch sends. `enough.rs` sees to it that two
//! machines stop.
//!
//! **Nothing that a webhook brings is logged**: a forged one is a number, a genuine one ids and words.

mod batch;
mod by_mail;
mod closed;
mod enough;
mod later;
mod machine;
mod replies;
mod spool;
mod texts;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::dispatch::uphold::{outliving, uphold};
use crate::dispatch::{Dispatcher, Spoken};
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::receipt::Receipt;
use crate::domain::reply::Reply;
use crate::policy::reply::More;
use crate::provider::Provider;
use crate::provider::mail::IncomingMail;
use crate::provider::webhook::{self, News, Unheard, Webhook};
use crate::store::Store;
use enough::Enough;
use later::{Later, ToKeep};
use spool::{Item, Spool};
pub use spool::{Waiting as Spooled, waiting as spooled};

/// Receipts that wait for the ledger at once; more are answered as if it were away.
const WAITING: usize = 4_096;
/// A provider that is refused is named in the log this often at most.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Takes webhooks of every provider that has them.
#[derive(Clone, Debug)]
pub struct Desk {
    shared: Arc<Shared>,
    to_write: mpsc::Sender<Waiting>,
    to_keep: mpsc::Sender<ToKeep>,
    /// Ends what runs beside it.
    _open: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    providers: HashMap<ProviderName, Arc<dyn Provider>>,
    store: Arc<dyn Store>,
    /// `None`: the corridor runs in another process, which finds what is due by itself.
    dispatcher: Option<Dispatcher>,
    config: Arc<Config>,
    /// The words that the configuration adds.
    more: More,
    enough: Enough,
    later: Arc<Later>,
    refused_at: Mutex<HashMap<ProviderName, Instant>>,
}

/// A receipt that waits to be written, and who waits for it.
#[derive(Debug)]
struct Waiting {
    receipt: Receipt,
    written: oneshot::Sender<Result<(), Refusal>>,
}

/// Why a webhook was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such webhook.
    NoWebhook,
    /// It is not the provider's, or was changed on its way.
    Forged,
    /// It is the provider's, and of no form that is known.
    Unreadable,
    /// Neither ledger nor spool takes it, or what verifies it cannot be had: it must come again.
    Later,
}

impl Refusal {
    const fn word(self) -> &'static str {
        match self {
            Self::NoWebhook => "no_webhook",
            Self::Forged => "forged",
            Self::Unreadable => "unreadable",
            Self::Later => "later",
        }
    }
}

impl From<Unheard> for Refusal {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::NoWebhook => Self::NoWebhook,
            Unheard::Forged => Self::Forged,
            Unheard::Unreadable => Self::Unreadable,
            Unheard::Later => Self::Later,
        }
    }
}

impl Desk {
    /// Opens it; it closes when the last of its clones is dropped. Where there is a corridor, what earlier processes have
    /// left in the spool is written.
    #[must_use]
    pub fn open(
        providers: impl IntoIterator<Item = Arc<dyn Provider>>,
        store: Arc<dyn Store>,
        dispatcher: Option<Dispatcher>,
        config: Arc<Config>,
    ) -> Self {
        let providers = providers.into_iter().map(|p| (p.name().clone(), p)).collect();
        let more = replies::more(&config);
        let refused_at = Mutex::default();
        if let Some(dispatcher) = &dispatcher {
            dispatcher.answer_mail(by_mail::composer(config.clone()));
        }
        let worker = &config.worker;
        let later = Later::new(Spool::open(&worker.spool, store.sealer().clone(), worker.spool_most));
        let (enough, later) = (Enough::new(), Arc::new(later));
        let shared = Shared { providers, store, dispatcher, config, more, enough, later, refused_at };
        let shared = Arc::new(shared);
        let tasks = TaskTracker::new();
        let (to_write, waiting) = mpsc::channel(WAITING);
        let (writing, waiting) = (shared.clone(), outliving(waiting));
        uphold(&tasks, "receipts", move || batch::run(writing.clone(), waiting.clone()));
        let (to_keep, keeping) = mpsc::channel(later::WAITING);
        let (later, keeping) = (shared.later.clone(), outliving(keeping));
        uphold(&tasks, "webhooks_kept", move || later::keep(later.clone(), keeping.clone()));
        let open = CancellationToken::new();
        while_open(&tasks, "answers_counted", &open, &shared, enough::upkeep);
        if shared.dispatcher.is_some() {
            while_open(&tasks, "webhooks_replayed", &open, &shared, later::replay);
        }
        Self { shared, to_write, to_keep, _open: Arc::new(open.drop_guard()) }
    }

    /// Whether `provider` is one of ours; whether it has a webhook it says itself.
    #[must_use]
    pub fn knows(&self, provider: &str) -> bool {
        self.shared.provider(provider).is_some()
    }

    /// Takes one webhook of `provider`. What it says is on record when this returns, or in the spool where the ledger is
    /// away; answers what the provider wants to read, empty for nothing.
    ///
    /// # Errors
    /// It was not taken, and nothing of it is on record; but where the ledger refuses one receipt of it
    /// ([`Refusal::Unreadable`]), the rest is.
    pub async fn take(&self, provider: &str, call: &Webhook<'_>) -> Result<Cow<'static, str>, Refusal> {
        let Some(provider) = self.shared.provider(provider) else { return Err(Refusal::NoWebhook) };
        let taken = self.taken(provider, call).await;
        let result = taken.as_ref().map_or_else(|refusal| refusal.word(), |_| "taken");
        metrics::counter!("outreachd_webhooks_total", "provider" => provider.name().to_string(), "result" => result)
            .increment(1);
        if taken == Err(Refusal::Forged) {
            self.shared.say_refused(provider.name());
        }
        taken
    }

    /// Takes a mail that somebody handed to us. What it says is on record when this returns; a `silent` one is answered by no
    /// machine.
    ///
    /// # Errors
    /// It was not taken, and nothing of it is on record. [`Refusal::NoWebhook`]: it is about nothing that we sent.
    pub async fn take_mail(&self, mail: &IncomingMail<'_>, silent: bool) -> Result<(), Refusal> {
        let taken = self.taken_mail(mail, silent).await;
        let result = taken.map_or_else(Refusal::word, |()| "taken");
        metrics::counter!("outreachd_mails_total", "result" => result).increment(1);
        taken
    }

    /// Takes what a provider has in its list of replies, said at that time. What had come before is known; nobody is
    /// answered, and what would have been asked back a person asks.
    ///
    /// # Errors
    /// It was not taken, and nothing of it is on record.
    pub async fn take_said(&self, reply: Reply, said_at: Timestamp) -> Result<(), Refusal> {
        replies::take(&self.shared, reply, Some(said_at)).await.map(drop)
    }

    /// Whose mail it was the mark in it tells; several providers may share their addresses.
    async fn taken_mail(&self, mail: &IncomingMail<'_>, silent: bool) -> Result<(), Refusal> {
        let mut answer = Err(Refusal::NoWebhook);
        for provider in self.shared.providers.values() {
            match provider.hear_mail(mail) {
                Ok(News::Receipt(receipt)) => return self.written(receipt).await,
                // Whoever hands mail over keeps it for days.
                Ok(News::Reply(reply)) => {
                    // An answer goes into the thread of what it answers.
                    let thread = reply.thread.filter(|_| !silent);
                    return replies::take(&self.shared, Reply { thread, ..reply }, None)
                        .await
                        .map(drop)
                        .map_err(|_| Refusal::Later);
                }
                Ok(News::Machine { .. } | News::Key { .. } | News::Several(_) | News::Nothing) => {
                    answer = Ok(());
                }
                Err(Unheard::NoWebhook) => {}
                Err(unheard) => answer = answer.or(Err(unheard.into())),
            }
        }
        answer
    }

    /// Waits until all of it is on record: receipts together, then replies, each after the other. What comes again after a
    /// part of it was is known. Answers what the last reply is to be answered.
    async fn on_record(&self, news: &[Item]) -> Result<Option<Back>, Refusal> {
        let later = &self.shared.later;
        let replies: Vec<&Reply> = news.iter().filter_map(Item::reply).collect();
        if later.is_away() || (later.holds() && !replies.is_empty()) {
            return Err(Refusal::Later);
        }
        let receipts: Vec<Receipt> = news.iter().filter_map(Item::receipt).cloned().collect();
        let mut refused = Ok(());
        for written in join_all(receipts.into_iter().map(|receipt| self.written(receipt))).await {
            match written {
                Err(Refusal::Later) => return Err(Refusal::Later),
                // What came with it is taken all the same.
                written => refused = refused.and(written),
            }
        }
        let mut answer = None;
        for reply in replies {
            // One that the ledger will never take waits for people, in the spool.
            answer = replies::take(&self.shared, reply.clone(), None).await.map_err(|_| Refusal::Later)?;
        }
        refused.map(|()| answer)
    }

    /// Keeps what the ledger cannot take now; answers what can be said all the same.
    async fn kept(&self, came_at: Option<Timestamp>, news: Vec<Item>) -> Result<Option<Back>, Refusal> {
        let said =
            news.iter().filter_map(Item::reply).find_map(|reply| replies::at_once(&self.shared, reply));
        self.shared.later.keep(&self.to_keep, came_at, news).await.map(|()| said.map(Back::Answer))
    }

    /// What the call has said already; `None` where that cannot be had.
    async fn said_again(&self, key: SendKey) -> Option<Spoken> {
        let said = self.shared.dispatcher.as_ref()?.said_again(key).await;
        said.unwrap_or_else(|error| {
            tracing::warn!(%error, message = %key.message, "a call cannot be said again");
            None
        })
    }

    /// Waits until the receipt is on record.
    async fn written(&self, receipt: Receipt) -> Result<(), Refusal> {
        let (written, answer) = oneshot::channel();
        self.to_write.try_send(Waiting { receipt, written }).map_err(|_| Refusal::Later)?;
        answer.await.map_err(|_| Refusal::Later)?
    }

    async fn taken(
        &self,
        provider: &Arc<dyn Provider>,
        call: &Webhook<'_>,
    ) -> Result<Cow<'static, str>, Refusal> {
        // Before the ledger is tried, which takes its time: another word may come meanwhile, and that is the later one.
        let came_at = self.shared.dispatcher.as_ref().and_then(Dispatcher::now);
        let heard = provider.hear(call).await?;
        let converses = matches!(heard.news, News::Reply(_) | News::Key { .. });
        let news = match heard.news {
            News::Machine { key, reference } => {
                let receipt = machine::answered(&self.shared, provider, key, reference).await?;
                receipt.into_iter().map(Item::Receipt).collect()
            }
            news => items(news),
        };
        let answer = match self.on_record(&news).await {
            Err(Refusal::Later) => self.kept(came_at, news).await?,
            answer => answer?,
        };
        if !converses {
            return Ok(heard.answer.into());
        }
        let answer = match answer {
            Some(Back::Again(key)) => match self.said_again(key).await {
                Some(said) => return Ok(provider.saying_again(key, &said.speech, &said.language).into()),
                None => None,
            },
            Some(Back::Answer(answer)) => Some(answer),
            None => None,
        };
        Ok(provider.answering(answer.as_ref()).into())
    }
}

/// Upholds a task for as long as the desk is open.
fn while_open<F>(
    tasks: &TaskTracker,
    name: &'static str,
    open: &CancellationToken,
    shared: &Arc<Shared>,
    task: impl Fn(Arc<Shared>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (open, shared) = (open.clone(), shared.clone());
    uphold(tasks, name, move || {
        let ended = open.clone().run_until_cancelled_owned(task(shared.clone()));
        async move {
            ended.await;
        }
    });
}

/// What is said back at once.
enum Back {
    Answer(webhook::Answer),
    /// What the call of this key has said already.
    Again(SendKey),
}

/// What is to be written of it.
fn items(news: News) -> Vec<Item> {
    match news {
        News::Receipt(receipt) => vec![Item::Receipt(receipt)],
        News::Reply(reply) => vec![Item::Reply(reply)],
        News::Key { receipt, reply } => vec![Item::Receipt(receipt), Item::Reply(reply)],
        News::Several(several) => several.into_iter().flat_map(items).collect(),
        // A machine is spoken to before there is anything to write.
        News::Machine { .. } | News::Nothing => Vec::new(),
    }
}

impl Shared {
    fn nudge(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.nudge();
        }
    }

    fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(&ProviderName::parse(name)?)
    }

    /// Forgeries are counted. That every one of a provider's is refused is a wrong setting, and somebody must know.
    fn say_refused(&self, provider: &ProviderName) {
        let now = Instant::now();
        let mut refused_at = self.refused_at.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = refused_at.get(provider).is_some_and(|at| now.duration_since(*at) < SAY_EVERY);
        if !silent {
            refused_at.insert(provider.clone(), now);
            tracing::warn!(%provider, "a webhook was refused: its signature does not fit. If this is the provider, compare \
                its secret or key and status_callback (or public_url) with what it was given");
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Executor as _, Row as _, SqliteConnection};
    use tempfile::TempDir;

    use super::*;
    use crate::domain::ids::MessageId;
    use crate::domain::phi::Phi;
    use crate::domain::receipt::Said;
    use crate::domain::reply::Keyword;
    use crate::domain::words::Channel;
    use crate::store::sqlite::ledger_of_a_test;

    /// A desk, its spool, and the way past the store into its ledger, which refuses a receipt and fails on another: their
    /// references are `SMrefused` and `SMfails`.
    pub(super) struct Office {
        pub(super) dir: TempDir,
        pub(super) desk: Desk,
        pub(super) sql: SqliteConnection,
    }

    impl Office {
        pub(super) async fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("ledger.db");
            let store = ledger_of_a_test(&file, Timestamp::UNIX_EPOCH);
            store.migrate().await.unwrap();
            let mut sql = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
            sql.execute(
                "CREATE TRIGGER refuses BEFORE INSERT ON receipts WHEN NEW.provider_ref = 'SMrefused'
                 BEGIN SELECT RAISE(ABORT, 'of a test'); END",
            )
            .await
            .unwrap();
            // SQLITE_ERROR, as no value is to blame for it.
            sql.execute(
                "CREATE TRIGGER fails BEFORE INSERT ON receipts WHEN NEW.provider_ref = 'SMfails'
                 BEGIN SELECT abs(-9223372036854775807 - 1); END",
            )
            .await
            .unwrap();
            let mut config = Config::from_toml("").unwrap();
            config.worker.spool = dir.path().to_owned();
            Self { dir, desk: Desk::open([], Arc::new(store), None, Arc::new(config)), sql }
        }

        pub(super) fn shared(&self) -> Arc<Shared> {
            self.desk.shared.clone()
        }

        pub(super) async fn number(&mut self, sql: &'static str) -> i64 {
            self.sql.fetch_one(sql).await.unwrap().get(0)
        }
    }

    /// About a message that is not on record: it is kept.
    pub(super) fn receipt(reference: &str) -> Receipt {
        Receipt {
            provider: ProviderName::parse("sms").unwrap(),
            key: SendKey { message: MessageId::generate(), step: 0 },
            reference: Some(reference.to_owned()),
            said: Said::Delivered,
            code: None,
            named: Vec::new(),
        }
    }

    pub(super) fn stop() -> Reply {
        Reply {
            provider: ProviderName::parse("sms").unwrap(),
            channel: Channel::Sms,
            reference: "SMstop".to_owned(),
            from: Phi::new("+13125550142"),
            about: None,
            text: Phi::new("STOP"),
            keyword: Some(Keyword::Stop),
            thread: None,
        }
    }

    #[tokio::test]
    async fn a_stop_is_taken_though_the_receipt_that_came_with_it_is_refused() {
        let mut office = Office::open().await;
        let news = [Item::Receipt(receipt("SMrefused")), Item::Reply(stop())];
        let answer = office.desk.on_record(&news).await;
        assert_eq!(answer.err(), Some(Refusal::Unreadable));
        assert_eq!(office.number("SELECT count(*) FROM replies").await, 1);
    }
}
