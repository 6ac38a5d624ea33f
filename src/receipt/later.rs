//! What the ledger cannot take now is kept in the spool, and written in its order once the ledger answers.
//!
//! Receipts may overtake each other. Replies may not: START after STOP is another thing than STOP after START. So while
//! anything waits, replies wait behind it. What each says it said when it came, whichever process writes it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::batch::{self, Taken};
use super::spool::{Item, Kept, Spool};
use super::{Refusal, Shared, replies};
use crate::dispatch::uphold::Outliving;
use crate::domain::receipt::Receipt;

/// Webhooks that wait for the disk at once.
pub(super) const WAITING: usize = 4_096;
/// Webhooks in one file ...
const MOST: usize = 500;
/// ... and the texts in it, in bytes, above which it takes no more.
const MOST_TEXT: usize = 1 << 20;
/// How long the ledger may take for receipts that have waited here. Nobody waits for an answer, and what it cannot do in
/// that time it is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the folder is looked at while this process has nothing there: another that shared it may have died.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// How often the ledger is asked whether it is back, at first and later.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];

/// How long a file waits for more. Providers wait 15 s in all (Twilio), and files are counted: the more there are, the more
/// goes into each, so that there is room for hours.
const fn linger(files: u64) -> Duration {
    match files {
        0..2_000 => Duration::from_millis(100),
        2_000..10_000 => Duration::from_secs(1),
        _ => Duration::from_secs(2),
    }
}

/// A webhook that waits for the disk, and who waits for it.
#[derive(Debug)]
pub(super) struct ToKeep {
    kept: Kept,
    written: oneshot::Sender<Result<(), Refusal>>,
    under_way: UnderWay,
}

/// A webhook counts as under way until the disk has it, though its sender may hang up before.
#[derive(Debug)]
struct UnderWay(Arc<Later>);

impl UnderWay {
    fn of(later: &Arc<Later>) -> Self {
        later.pending.fetch_add(1, Ordering::AcqRel);
        Self(later.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::AcqRel);
        self.0.more.notify_one();
    }
}

/// What waits for the ledger.
#[derive(Debug)]
pub(super) struct Later {
    spool: Arc<Spool>,
    /// Under way to the disk.
    pending: AtomicU64,
    /// The ledger has not answered lately.
    away: AtomicBool,
    more: Notify,
}

impl Later {
    pub(super) fn new(spool: Spool) -> Self {
        let later = Self {
            spool: Arc::new(spool),
            pending: AtomicU64::new(0),
            away: AtomicBool::new(false),
            more: Notify::new(),
        };
        later.tell();
        later
    }

    /// Whether anything waits that replies must not overtake.
    pub(super) fn holds(&self) -> bool {
        self.pending.load(Ordering::Acquire) > 0 || self.spool.webhooks() > 0
    }

    /// Whether nobody need ask the ledger: it is known to be away, and what comes is kept.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire) && self.holds()
    }

    /// Keeps a webhook: it is on the disk when this returns.
    ///
    /// # Errors
    /// [`Refusal::Later`]: the spool is full, or the disk does not take it.
    pub(super) async fn keep(
        self: &Arc<Self>,
        to_keep: &mpsc::Sender<ToKeep>,
        at: Option<Timestamp>,
        news: Vec<Item>,
    ) -> Result<(), Refusal> {
        let (written, answer) = oneshot::channel();
        let one = ToKeep { kept: Kept { at, news }, written, under_way: UnderWay::of(self) };
        to_keep.try_send(one).map_err(|_| Refusal::Later)?;
        answer.await.unwrap_or(Err(Refusal::Later))
    }

    /// Tells how much waits.
    fn tell(&self) {
        let webhooks = u32::try_from(self.spool.webhooks()).unwrap_or(u32::MAX);
        metrics::gauge!("outreachd_webhooks_spooled").set(f64::from(webhooks));
    }
}

/// Writes what is to be kept, a file for what comes within a moment.
pub(super) async fn keep(later: Arc<Later>, to_keep: Outliving<ToKeep>) {
    let mut to_keep = to_keep.lock().await;
    while let Some(first) = to_keep.recv().await {
        let mut size = first.size();
        let mut batch = vec![first];
        let until = Instant::now() + linger(later.spool.files());
        while batch.len() < MOST && size < MOST_TEXT {
            match timeout_at(until, to_keep.recv()).await {
                Ok(Some(next)) => {
                    size += next.size();
                    batch.push(next);
                }
                Ok(None) | Err(_) => break,
            }
        }
        let (kept, waiting): (Vec<Kept>, Vec<_>) =
            batch.into_iter().map(|one| (one.kept, (one.written, one.under_way))).unzip();
        let spool = later.spool.clone();
        let webhooks = kept.len();
        let written =
            spawn_blocking(move || spool.keep(&kept)).await.unwrap_or_else(|_| Err(ErrorKind::Other.into()));
        match &written {
            Ok(()) => tracing::warn!(webhooks, "the ledger is away: webhooks are kept in the spool"),
            Err(error) => {
                tracing::error!(kind = %error.kind(), webhooks, "neither ledger nor spool took these webhooks: their senders are told to come again")
            }
        }
        let answer = if written.is_ok() { Ok(()) } else { Err(Refusal::Later) };
        for (written, _under_way) in waiting {
            // Whoever has hung up comes again, and it changes nothing.
            let _ = written.send(answer);
        }
        later.tell();
    }
}

/// Gives the ledger what waits, also what earlier processes left, as soon as it answers.
pub(super) async fn replay(shared: Arc<Shared>) {
    let later = &shared.later;
    let mut pause = PAUSES;
    loop {
        if !later.holds() {
            later.away.store(false, Ordering::Release);
            if timeout(LOOK_EVERY, later.more.notified()).await.is_err() {
                let spool = later.spool.clone();
                // What lies there counts from here on, whoever has left it.
                let _found = spawn_blocking(move || spool.left()).await;
            }
            continue;
        }
        let pass = pass(&shared).await;
        later.tell();
        match pass {
            Ok(0) => {}
            Ok(webhooks) => {
                tracing::warn!(webhooks, "wrote webhooks that had waited for the ledger");
                pause = PAUSES;
            }
            Err(_) => {
                let [now, most] = pause;
                pause = [(now * 2).min(most), most];
            }
        }
        // Also where what is held is still on its way to the disk.
        let [now, _] = pause;
        tokio::time::sleep(now).await;
    }
}

/// Writes file after file; answers how many webhooks. Ends with the first that must wait.
async fn pass(shared: &Arc<Shared>) -> Result<u64, Refusal> {
    let (spool, away) = (&shared.later.spool, &shared.later.away);
    let blocking = spool.clone();
    let left = spawn_blocking(move || blocking.left()).await.map_err(|_| Refusal::Later)?;
    let mut count = 0;
    for path in left {
        let (blocking, file) = (spool.clone(), path.clone());
        let opened = spawn_blocking(move || opened(&blocking, &file)).await.map_err(|_| Refusal::Later)?;
        let Some(kept) = opened? else { continue };
        let written = write(shared, &kept).await;
        away.store(written.is_err(), Ordering::Release);
        let refused = written?;
        count += kept.len() as u64;
        let blocking = spool.clone();
        let done = spawn_blocking(move || done(&blocking, &path, &refused));
        done.await.map_err(|_| Refusal::Later)??;
    }
    Ok(count)
}

/// The file goes, but for what the ledger refuses of it, which is put aside.
fn done(spool: &Spool, path: &Path, refused: &[Kept]) -> Result<(), Refusal> {
    if !refused.is_empty() {
        let webhooks = refused.len();
        tracing::error!(webhooks, "the ledger refuses what had waited for it; it is put aside");
        // Left in its place where it cannot be put aside.
        spool.put_aside(refused).map_err(|error| {
            tracing::error!(kind = %error.kind(), webhooks, "what the ledger refuses cannot be put aside: all that waits stays");
            Refusal::Later
        })?;
    }
    spool.remove(path);
    Ok(())
}

/// What one file holds; `None`: nothing that can be written.
fn opened(spool: &Spool, path: &Path) -> Result<Option<Vec<Kept>>, Refusal> {
    match spool.read(path) {
        Ok(kept) => Ok(Some(kept)),
        // Another process that shares the folder was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // What is in it is whole, and what came later stays behind it.
        Err(error) if passes(&error) => {
            tracing::error!(kind = %error.kind(), file = %path.display(), "kept webhooks cannot be read now; they are tried again");
            Err(Refusal::Later)
        }
        Err(error) => {
            tracing::error!(
                kind = %error.kind(), file = %path.display(),
                "kept webhooks cannot be read: may this user read them, and is the key that sealed them still there?"
            );
            spool.leave(path);
            Ok(None)
        }
    }
}

/// Whether it passes by itself: too many files are open here (EMFILE), or on the machine (ENFILE).
fn passes(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

/// Writes what one file holds; answers what the ledger does not take, though it is there.
async fn write(shared: &Arc<Shared>, kept: &[Kept]) -> Result<Vec<Kept>, Refusal> {
    let (came_at, receipts): (Vec<_>, Vec<_>) = kept
        .iter()
        .flat_map(|one| {
            one.news.iter().filter_map(Item::receipt).map(move |receipt| (one.at, receipt.clone()))
        })
        .unzip();
    let mut refused = Vec::new();
    for (came_at, some) in came_at.chunks(batch::MOST).zip(receipts.chunks(batch::MOST)) {
        let taken = batch::write(shared, some, PATIENCE).await;
        // What it takes of the others shows that it is there.
        let in_doubt = taken.contains(&Taken::Fails) && !taken.contains(&Taken::Yes);
        if taken.contains(&Taken::NotNow) || (in_doubt && !answers(shared).await) {
            return Err(Refusal::Later);
        }
        let not_taken = came_at.iter().zip(some).zip(&taken).filter(|(_, one)| **one != Taken::Yes);
        let alone = |(at, receipt): (&Option<Timestamp>, &Receipt)| Kept {
            at: *at,
            news: vec![Item::Receipt(receipt.clone())],
        };
        refused.extend(not_taken.map(|(one, _)| alone(one)));
    }
    for Kept { at, news } in kept {
        for item in news {
            let Some(reply) = item.reply() else { continue };
            match replies::take(shared, reply.clone(), *at).await {
                // Whoever wrote it was answered then, or is not any more.
                Ok(_) => {}
                Err(Refusal::Later) => return Err(Refusal::Later),
                Err(_) => refused.push(Kept { at: *at, news: vec![item.clone()] }),
            }
        }
    }
    Ok(refused)
}

/// Whether the ledger is there, and one that this program can work with.
async fn answers(shared: &Shared) -> bool {
    matches!(timeout(PATIENCE, shared.store.ping()).await, Ok(Ok(_)))
}

impl ToKeep {
    /// About what it takes.
    fn size(&self) -> usize {
        let text = |item: &Item| match item {
            Item::Receipt(_) => 300,
            Item::Reply(reply) => 300 + reply.text.expose().len(),
        };
        self.kept.news.iter().map(text).sum()
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;
    use uuid::Uuid;

    use super::*;
    use crate::dispatch::uphold::outliving;
    use crate::receipt::spool::waiting;
    use crate::receipt::tests::{Office, receipt, stop};
    use crate::store::sealer::Sealer;

    fn spool(dir: &Path) -> Spool {
        Spool::open(dir, Sealer::new(&[7; 32]).with_keys([&[8; 32]], true), 1 << 20)
    }

    fn kept(item: Item) -> Kept {
        Kept { at: None, news: vec![item] }
    }

    #[tokio::test]
    async fn a_receipt_that_the_ledger_fails_on_holds_up_nothing_behind_it() {
        let mut office = Office::open().await;
        let shared = office.shared();
        let spool = &shared.later.spool;
        // Alone, among others, and with a stop behind it.
        spool.keep(&[kept(Item::Receipt(receipt("SMfails")))]).unwrap();
        let several = ["SM1", "SMfails", "SMrefused", "SM2"];
        spool.keep(&several.map(|reference| kept(Item::Receipt(receipt(reference))))).unwrap();
        spool.keep(&[kept(Item::Reply(stop()))]).unwrap();
        assert_eq!(pass(&shared).await, Ok(6));
        assert!(!shared.later.holds(), "replies are taken again as they come");
        assert_eq!(office.number("SELECT count(*) FROM receipts").await, 2);
        assert_eq!(office.number("SELECT count(*) FROM replies").await, 1);
        let left = waiting(office.dir.path());
        assert_eq!((left.webhooks, left.refused), (0, 3));
    }

    #[tokio::test]
    async fn where_the_ledger_is_none_of_ours_what_fails_waits() {
        let mut office = Office::open().await;
        let shared = office.shared();
        shared.later.spool.keep(&[kept(Item::Receipt(receipt("SMfails")))]).unwrap();
        office.sql.execute("UPDATE schema_info SET min_compatible = 1000000").await.unwrap();
        assert_eq!(pass(&shared).await, Err(Refusal::Later));
        assert!(shared.later.is_away());
        let left = waiting(office.dir.path());
        assert_eq!((left.webhooks, left.refused), (1, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_ledger_has_more_time_for_what_waits_than_providers_have() {
        let mut office = Office::open().await;
        let shared = office.shared();
        office.sql.execute("BEGIN IMMEDIATE").await.unwrap();
        let written =
            tokio::spawn(async move { write(&shared, &[kept(Item::Receipt(receipt("SM1")))]).await });
        tokio::time::sleep(batch::PATIENCE + Duration::from_millis(500)).await;
        office.sql.execute("COMMIT").await.unwrap();
        assert_eq!(written.await.unwrap(), Ok(Vec::new()));
        assert_eq!(office.number("SELECT count(*) FROM receipts").await, 1);
    }

    #[test]
    fn files_take_more_the_more_there_are_and_no_webhook_waits_for_long() {
        // One that comes each tenth of a second for seven hours, into a spool that is empty.
        let (mut files, mut time) = (0, Duration::ZERO);
        while time < Duration::from_hours(7) {
            time += linger(files);
            files += 1;
        }
        assert!(files < 20_000, "{files}");
        assert_eq!(linger(0), Duration::from_millis(100));
        assert!(linger(u64::MAX) <= Duration::from_secs(2));
    }

    #[tokio::test]
    async fn whoever_hangs_up_leaves_nothing_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let later = Arc::new(Later::new(spool(dir.path())));
        let (to_keep, keeping) = mpsc::channel(WAITING);
        let hung_up = timeout(Duration::ZERO, later.keep(&to_keep, None, Vec::new())).await;
        assert!(hung_up.is_err() && later.holds(), "replies wait behind it all the same");
        tokio::spawn(keep(later.clone(), outliving(keeping)));
        let woken = timeout(Duration::from_secs(10), later.more.notified()).await;
        assert!(woken.is_ok(), "whoever writes what waits is called");
        assert_eq!((later.pending.load(Ordering::Acquire), later.spool.webhooks()), (0, 1));
    }

    #[test]
    fn what_will_not_be_read_is_put_aside_and_what_passes_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = || dir.path().join(format!("webhooks-{}-1.sealed", Uuid::now_v7().simple()));
        let (gone, damaged, unreadable) = (path(), path(), path());
        std::fs::write(&damaged, "no seal").unwrap();
        // A folder cannot be read as a file, however often.
        std::fs::create_dir(&unreadable).unwrap();
        let spool = spool(dir.path());
        for path in [&gone, &damaged, &unreadable] {
            assert_eq!(opened(&spool, path), Ok(None), "{}", path.display());
            assert!(!path.exists(), "{}", path.display());
        }
        assert!(damaged.with_extension("refused").exists());
        assert!(unreadable.with_extension("refused").exists());
        for (code, expected) in [(23, true), (24, true), (5, false), (13, false)] {
            assert_eq!(passes(&std::io::Error::from_raw_os_error(code)), expected, "{code}");
        }
    }
}
